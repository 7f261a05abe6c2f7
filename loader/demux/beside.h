/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * beside.h - sockets of other users on the ports of sockets that LRP serves.
 *
 * XDP demultiplexes a port to a family as if no other sockets were there. But two users can have
 * sockets on one port:
 *   - if both set SO_REUSEADDR;
 *   - if one socket is moved out of the way of the other's bind(), by connect() or
 *     SO_BINDTODEVICE, and back afterwards.
 * The family must not get packets that the other user's socket would receive. So LRP does not serve
 * a socket that has another user's beside it. Its shadow receives, and the kernel decides.
 */
#ifndef LRP_CORE_BESIDE_H
#define LRP_CORE_BESIDE_H

#include "../base/internal.h"

/* Does another user have a socket that could receive the same packets? Another user: neither `uid`
 * nor the user who made the socket. Of TCP only sockets that listen are looked at.
 * -EADDRINUSE: yes; 0: no; or -errno: sock_diag does not say. */
int lrp_core_beside(const struct lrp_core *core, const struct lrp_published *pub, uint32_t uid);

/* Somebody has bound a UDP socket to this port. If he is another user, the watcher has shut the
 * port. lrp_core_beside_run() looks soon, and opens the port for whom nobody else is in the way. */
void lrp_core_port_bound(struct lrp_core *core, uint32_t port);
/* Has the watcher shut it? */
bool lrp_core_port_shut(const struct lrp_core *core, uint32_t port);
/* Returns when to call again; 0: when somebody binds. */
uint64_t lrp_core_beside_run(struct lrp_core *core);

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * beside.h - sockets of other users beside those that LRP serves.
 *
 * A port is demultiplexed to a family as if its sockets were alone there. The kernel lets two
 * users on one port if both say SO_REUSEADDR, and it can be brought to do so if one does not:
 * connect() and SO_BINDTODEVICE move a socket out of the way of a bind(), and back afterwards.
 * What the other user's socket would receive must not come to the family. Such a socket is
 * therefore not served: its shadow receives, and the kernel decides.
 */
#ifndef LRP_CORE_BESIDE_H
#define LRP_CORE_BESIDE_H

#include "internal.h"

/* Has another user than `uid`, and than the socket's own, a socket that could receive the same?
 * Of TCP one that listens. -EADDRINUSE: yes; 0: no; or -errno: sock_diag does not say. */
int lrp_core_beside(const struct lrp_core *core, const struct lrp_published *pub, uint32_t uid);

/* Somebody has bound a UDP socket to this port; the watcher has shut it if he is another user.
 * Looked at soon, in lrp_core_beside_run(), and opened again if nobody is in the way. */
void lrp_core_port_bound(struct lrp_core *core, uint32_t port);
/* That is still to come. */
bool lrp_core_port_to_look(const struct lrp_core *core, uint32_t port);
/* Returns when to call again; 0: when somebody binds. */
uint64_t lrp_core_beside_run(struct lrp_core *core);

#endif

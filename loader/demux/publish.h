/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* publish.h - sockets come to their ports and leave them. */
#ifndef LRP_CORE_PUBLISH_H
#define LRP_CORE_PUBLISH_H

#include "../base/internal.h"

/* LRP_REQ_PUBLISH. 0 or -errno, see lrp_core_shadow_read(); EEXIST: the socket has another
 * endpoint; ENOSPC: a map is full; of TCP also EDESTADDRREQ: it does not listen.
 * *refused: memberships that the kernel serves. */
int lrp_core_publish(struct lrp_core *core, const struct lrp_request *request, int shadow_fd,
		     uint32_t *refused);
void lrp_core_withdraw(struct lrp_core *core, uint32_t endpoint);

/* The watcher says that a socket has left a port, by LRP_LEFT_INDEX(). */
void lrp_core_port_left(struct lrp_core *core, uint32_t index);
/* The same for all ports of which we have not heard, should an event have been lost. */
void lrp_core_ports_left(struct lrp_core *core);

#endif

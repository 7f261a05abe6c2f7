/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* flow.h - making the demultiplexing maps agree with the shadows. */
#ifndef LRP_CORE_FLOW_H
#define LRP_CORE_FLOW_H

#include "internal.h"

/* LRP_REQ_PUBLISH. 0 or -errno, see lrp_core_shadow_read(); EEXIST: the socket has another
 * endpoint; ENOSPC: a map is full; of TCP also EDESTADDRREQ: it neither listens nor has a peer; EINVAL,
 * EAFNOSUPPORT: the peer does not fit.
 * *refused: memberships that the kernel serves. */
int lrp_core_publish(struct lrp_core *core, const struct lrp_request *request, int shadow_fd,
		     uint32_t *refused);
void lrp_core_withdraw(struct lrp_core *core, uint32_t endpoint);

int lrp_core_flows_index(struct lrp_core *core);    /* once, when the state is there */
void lrp_core_flows_rebuild(struct lrp_core *core); /* maps := table, nothing else left in them */
void lrp_core_memberships_rebuild(struct lrp_core *core); /* devices came or went */

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* flow.h - making the demultiplexing maps agree with the shadows. */
#ifndef LRP_CORE_FLOW_H
#define LRP_CORE_FLOW_H

#include "internal.h"
#include "reset.h"

/* LRP_REQ_PUBLISH. 0 or -errno, see lrp_core_shadow_read(); EEXIST: the socket has another
 * endpoint; ENOSPC: a map is full; of TCP also EDESTADDRREQ: it does not listen.
 * *refused: memberships that the kernel serves. */
int lrp_core_publish(struct lrp_core *core, const struct lrp_request *request, int shadow_fd,
		     uint32_t *refused);
void lrp_core_withdraw(struct lrp_core *core, uint32_t endpoint);

/*
 * LRP_REQ_CLAIM: the owner has these TCP sockets, bound, so the kernel gave it their ports: XDP looks
 * for the exact entries that the owner writes. Good until the owner is gone, or, of a port that several
 * owners have claimed, for good; a claim of a port that is no longer used costs its packets one look-up. 0, or -errno of the first that cannot be, as
 * lrp_core_shadow_read() says, EPROTONOSUPPORT: not TCP.
 */
int lrp_core_claim(struct lrp_core *core, uint32_t owner, const int *fds, int count);
/* Its endpoints have been released: entries of TCP that lead to them go, and the peers are reset
 * [reset.h]. */
void lrp_core_flows_purge(struct lrp_core *core);
/* The same, and its claims go. */
void lrp_core_flows_owner_gone(struct lrp_core *core, uint32_t owner);

int lrp_core_flows_index(struct lrp_core *core); /* once, when the state is there */
void lrp_core_flows_rebuild(
	struct lrp_core *core); /* maps := table, and what living owners wrote */
void lrp_core_memberships_rebuild(struct lrp_core *core); /* devices came or went */

/* Of each endpoint the ends of a TCP connection that an exact entry leads there (rport 0: none), as the
 * processes have written them; to be freed. NULL: no memory. */
struct lrp_core_reset *lrp_core_flows_ends(struct lrp_core *core);

#endif

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

/* The watcher says that a socket has left a port, by LRP_LEFT_INDEX(). */
void lrp_core_port_left(struct lrp_core *core, uint32_t index);
/* The same for all ports of which we have not heard, should an event have been lost. */
void lrp_core_ports_left(struct lrp_core *core);

/* Entries of TCP whose endpoint, owner or end is gone; a grace period after that they go, and the
 * peers are reset [reset.h]. */
void lrp_core_flows_purge(struct lrp_core *core);
/* From time to time, for tombstones. Returns when to call again; 0: when there are entries. */
uint64_t lrp_core_flows_run(struct lrp_core *core);
/* A TCP port has been watched, or is no longer. */
void lrp_core_sync_tcp_port(struct lrp_core *core, __be16 port);

int lrp_core_flows_index(struct lrp_core *core); /* once, when the state is there */
void lrp_core_flows_rebuild(
	struct lrp_core *core); /* maps := table, and what living owners wrote */
void lrp_core_memberships_rebuild(struct lrp_core *core); /* devices came or went */

/* Of each endpoint the ends of a TCP connection that an exact entry leads there (rport 0: none), as the
 * processes have written them; to be freed. NULL: no memory. */
struct lrp_core_reset *lrp_core_flows_ends(struct lrp_core *core);

#endif

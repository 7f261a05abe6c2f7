/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * flow.h - the entries of the demultiplexing maps. Each call computes what one key leads to from
 * the published sockets and writes it. core->sync_error: a map was full.
 */
#ifndef LRP_CORE_FLOW_H
#define LRP_CORE_FLOW_H

#include "../base/internal.h"

struct lrp_port_key {
	bool v6;
	__u8 proto;
	__be16 port;
};

void lrp_core_sync_port(struct lrp_core *core, const struct lrp_port_key *key);
/* A TCP port has been watched, or is no longer. */
void lrp_core_sync_tcp_port(struct lrp_core *core, __be16 port);
void lrp_core_sync_udp_port(struct lrp_core *core, __be16 port, bool v6);
/* Unconnected sockets that are bound to the address. */
void lrp_core_sync_bind(struct lrp_core *core, const struct lrp_port_key *key,
			const struct lrp_addr6 *addr);
/* Sockets with the addresses and ports of `like` that are connected. */
void lrp_core_sync_flow(struct lrp_core *core, const struct lrp_published *like, bool v6);
/* True if there is an entry: all members are of one family. */
bool lrp_core_sync_membership(struct lrp_core *core, const struct lrp_membership *key);
/* All keys that the socket has to do with. How many of its memberships have no entry. */
uint32_t lrp_core_sync_socket(struct lrp_core *core, const struct lrp_published *pub);

/* Marks the sockets that have left the port, by LRP_LEFT_INDEX(). True if none has since the last
 * look. */
bool lrp_core_left_look(struct lrp_core *core, uint32_t index);

#endif

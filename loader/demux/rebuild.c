/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* rebuild.c - see rebuild.h. */
#include <bpf/bpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "end.h"
#include "exact.h"
#include "flow.h"
#include "index.h"
#include "rebuild.h"
#include "watch.h"

/* Calls fn for each key; keys are collected first, since fn deletes. */
static void for_each_key(int fd, size_t key_size,
			 void (*fn)(struct lrp_core *core, const void *key), struct lrp_core *core)
{
	uint8_t *keys = NULL, *grown;
	size_t count = 0, room = 0;

	for (;;) {
		if (count == room) {
			room = room ? 2 * room : 256;
			grown = realloc(keys, room * key_size);
			if (!grown)
				break;
			keys = grown;
		}
		if (bpf_map_get_next_key(fd, count ? keys + (count - 1) * key_size : NULL,
					 keys + count * key_size))
			break;
		count++;
	}
	for (size_t i = 0; i < count; i++)
		fn(core, keys + i * key_size);
	free(keys);
}

static void from_bind4(struct lrp_core *core, const void *data)
{
	const struct lrp_bind4 *bind = data;
	struct lrp_port_key key = {.proto = bind->proto, .port = bind->port};
	struct lrp_addr6 addr = {.byte = {[10] = 0xff, [11] = 0xff}};

	memcpy(&addr.byte[12], &bind->addr, 4);
	lrp_core_sync_bind(core, &key, &addr);
}

static void from_bind6(struct lrp_core *core, const void *data)
{
	const struct lrp_bind6 *bind = data;
	struct lrp_port_key key = {.v6 = true, .proto = bind->proto, .port = bind->port};

	lrp_core_sync_bind(core, &key, &bind->addr);
}

static void from_flow4(struct lrp_core *core, const void *data)
{
	const struct lrp_flow4 *flow = data;
	struct lrp_published like = {
		.lport = flow->lport,
		.rport = flow->rport,
		.proto = flow->proto,
		.laddr.byte = {[10] = 0xff, [11] = 0xff},
		.raddr.byte = {[10] = 0xff, [11] = 0xff},
	};

	if (flow->proto == IPPROTO_TCP)
		return;
	memcpy(&like.laddr.byte[12], &flow->laddr, 4);
	memcpy(&like.raddr.byte[12], &flow->raddr, 4);
	lrp_core_sync_flow(core, &like, false);
}

static void from_flow6(struct lrp_core *core, const void *data)
{
	const struct lrp_flow6 *flow = data;
	struct lrp_published like = {
		.lport = flow->lport,
		.rport = flow->rport,
		.proto = flow->proto,
		.laddr = flow->laddr,
		.raddr = flow->raddr,
	};

	if (flow->proto != IPPROTO_TCP)
		lrp_core_sync_flow(core, &like, true);
}

static void from_membership(struct lrp_core *core, const void *data)
{
	lrp_core_sync_membership(core, data);
}

void lrp_core_memberships_rebuild(struct lrp_core *core)
{
	for_each_key(core->map_fd[LRP_MAP_MEMBERSHIPS], sizeof(struct lrp_membership),
		     from_membership, core);
	for (uint32_t e = LRP_ENDPOINT_FIRST; e < core->state->endpoints; e++)
		if (lrp_core_published(core, e)->on &&
		    lrp_core_published(core, e)->membership_count)
			lrp_core_sync_socket(core, lrp_core_published(core, e));
}

int lrp_core_flows_index(struct lrp_core *core)
{
	uint32_t *lost = calloc(core->state->endpoints, sizeof(*lost)), count = 0;

	core->by_port = calloc(65536, sizeof(*core->by_port));
	core->next_on_port = calloc(core->state->endpoints, sizeof(*core->next_on_port));
	core->left_seen = calloc(LRP_LEFT_ENTRIES, sizeof(*core->left_seen));
	if (!core->by_port || !core->next_on_port || !core->left_seen || !lost) {
		free(lost);
		return -ENOMEM;
	}
	for (uint32_t e = LRP_ENDPOINT_FIRST; e < core->state->endpoints; e++)
		if (lrp_core_published(core, e)->on &&
		    core->state->endpoint[e].use == LRP_ENDPOINT_USED)
			lrp_core_index_add(core, e);
		else if (lrp_core_published(core, e)->on)
			lost[count++] = e;
	/* Closed while lrpd was replaced. */
	for (uint32_t i = 0; i < count; i++) {
		lrp_core_published(core, lost[i])->on = 0;
		lrp_core_unwatch(core, lrp_core_published(core, lost[i])->cookie,
				 LRP_SHADOW_PUBLISHED);
	}
	free(lost);
	return 0;
}

void lrp_core_flows_rebuild(struct lrp_core *core)
{
	for (uint32_t index = 0; index < LRP_PORT_ENTRIES; index++) {
		struct lrp_port_key key = {
			.v6 = index >> 17,
			.proto = index >> 16 & 1 ? IPPROTO_TCP : IPPROTO_UDP,
			.port = htons((uint16_t)index),
		};

		if (core->ports[index].flags ||
		    (key.proto == IPPROTO_TCP && lrp_core_port_watched(core, key.port)))
			lrp_core_sync_port(core, &key);
	}
	lrp_core_flows_purge(core);
	for_each_key(core->map_fd[LRP_MAP_BINDS4], sizeof(struct lrp_bind4), from_bind4, core);
	for_each_key(core->map_fd[LRP_MAP_BINDS6], sizeof(struct lrp_bind6), from_bind6, core);
	for_each_key(core->map_fd[LRP_MAP_FLOWS4], sizeof(struct lrp_flow4), from_flow4, core);
	for_each_key(core->map_fd[LRP_MAP_FLOWS6], sizeof(struct lrp_flow6), from_flow6, core);
	for_each_key(core->map_fd[LRP_MAP_MEMBERSHIPS], sizeof(struct lrp_membership),
		     from_membership, core);
	for (uint32_t e = LRP_ENDPOINT_FIRST; e < core->state->endpoints; e++)
		if (lrp_core_published(core, e)->on)
			lrp_core_sync_socket(core, lrp_core_published(core, e));
}

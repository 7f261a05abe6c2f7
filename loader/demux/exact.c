/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* exact.c - see exact.h. */
#include <bpf/bpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "end.h"
#include "exact.h"
#include "reset.h"
#include "watch.h"

#define FLOW_BATCH 4096u /* more than ever are in one bucket */
#define WALK_NS	   (5ull * 1000000000u)

/* The process that made it has the endpoint still, or one that it forked, and the local end. */
static bool lives(const struct lrp_core *core, const struct lrp_flow *flow)
{
	const struct lrp_endpoint_state *ep;

	if (flow->endpoint >= core->state->endpoints)
		return false;
	ep = &core->state->endpoint[flow->endpoint];
	return flow->owner < LRP_OWNERS && ep->use == LRP_ENDPOINT_USED &&
	       ep->owner == flow->owner && core->state->owner[flow->owner].used &&
	       !core->state->owner[flow->owner].gone && lrp_core_end_counts(core, flow);
}

static void peer4(const void *key, struct lrp_core_reset *peer)
{
	const struct lrp_flow4 *flow = key;

	*peer = (struct lrp_core_reset){.laddr.byte = {[10] = 0xff, [11] = 0xff},
					.raddr.byte = {[10] = 0xff, [11] = 0xff},
					.lport = flow->lport,
					.rport = flow->rport};
	memcpy(&peer->laddr.byte[12], &flow->laddr, 4);
	memcpy(&peer->raddr.byte[12], &flow->raddr, 4);
}

static void peer6(const void *key, struct lrp_core_reset *peer)
{
	const struct lrp_flow6 *flow = key;

	*peer = (struct lrp_core_reset){.laddr = flow->laddr,
					.raddr = flow->raddr,
					.lport = flow->lport,
					.rport = flow->rport};
}

struct flow_map {
	enum lrp_shared_map map;
	size_t key_size, proto_offset;
	void (*peer)(const void *key, struct lrp_core_reset *peer);
};

static const struct flow_map flow_maps[] = {
	{LRP_MAP_FLOWS4, sizeof(struct lrp_flow4), offsetof(struct lrp_flow4, proto), peer4},
	{LRP_MAP_FLOWS6, sizeof(struct lrp_flow6), offsetof(struct lrp_flow6, proto), peer6},
};

/* By batches: the owners write meanwhile, and after a key that has been deleted the next one is the
 * first. */
static void walk(struct lrp_core *core, const struct flow_map *m,
		 void (*see)(struct lrp_core *core, const struct flow_map *m, const uint8_t *key,
			     const struct lrp_flow *flow, void *arg),
		 void *arg)
{
	uint8_t *keys = malloc(FLOW_BATCH * m->key_size);
	struct lrp_flow *flows = malloc(FLOW_BATCH * sizeof(*flows));
	uint32_t from, to, count;
	bool more = keys && flows, first = true;

	while (more) {
		count = FLOW_BATCH;
		more = !bpf_map_lookup_batch(core->map_fd[m->map], first ? NULL : &from, &to, keys,
					     flows, &count, NULL);
		if (!more && errno != ENOENT)
			break;
		first = false;
		from = to;
		for (uint32_t i = 0; i < count; i++)
			if (keys[i * m->key_size + m->proto_offset] == IPPROTO_TCP)
				see(core, m, keys + i * m->key_size, &flows[i], arg);
	}
	free(keys);
	free(flows);
}

static void walk_all(struct lrp_core *core,
		     void (*see)(struct lrp_core *core, const struct flow_map *m,
				 const uint8_t *key, const struct lrp_flow *flow, void *arg),
		     void *arg)
{
	if (core->map_fd[LRP_MAP_PORTS] < 0)
		return;
	for (size_t i = 0; i < sizeof(flow_maps) / sizeof(flow_maps[0]); i++)
		walk(core, &flow_maps[i], see, arg);
}

static void purge(struct lrp_core *core, const struct flow_map *m, const uint8_t *key,
		  const struct lrp_flow *flow, void *unused)
{
	struct lrp_core_reset peer;

	(void)unused;
	if (lives(core, flow) || !lrp_core_purge(core, m->map == LRP_MAP_FLOWS4, key))
		return;
	m->peer(key, &peer);
	lrp_core_reset(core, &peer);
}

static bool any_flows(const struct lrp_core *core)
{
	return core->quotas &&
	       (core->quotas[LRP_QUOTA_ALL].flows || core->quotas[LRP_QUOTA_ROOT].flows);
}

void lrp_core_flows_purge(struct lrp_core *core)
{
	if (any_flows(core))
		walk_all(core, purge, NULL);
}

/* A tombstone that was left behind is marked by one walk and deleted by the next: see lrp_purge. */
uint64_t lrp_core_flows_run(struct lrp_core *core)
{
	uint64_t now = lrp_core_now_ns();

	if (any_flows(core))
		core->flow_walks = 3;
	if (!core->flow_walks || core->map_fd[LRP_MAP_FLOWS4] < 0)
		return 0;
	if (now >= core->next_walk_ns) {
		if (core->next_walk_ns) {
			walk_all(core, purge, NULL);
			core->flow_walks--;
		}
		/* Never more than a fiftieth of a CPU. */
		core->next_walk_ns = lrp_core_now_ns() + WALK_NS + 50 * (lrp_core_now_ns() - now);
	}
	return core->next_walk_ns;
}

static void note(struct lrp_core *core, const struct flow_map *m, const uint8_t *key,
		 const struct lrp_flow *flow, void *arg)
{
	struct lrp_core_reset *ends = arg;

	if (flow->endpoint < core->state->endpoints)
		m->peer(key, &ends[flow->endpoint]);
}

struct lrp_core_reset *lrp_core_flows_ends(struct lrp_core *core)
{
	struct lrp_core_reset *ends = calloc(core->state->endpoints, sizeof(*ends));

	if (ends)
		walk_all(core, note, ends);
	return ends;
}

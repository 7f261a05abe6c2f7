/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* channel.c - see channel.h. */
#include <bpf/bpf.h>
#include <errno.h>

#include "channel.h"
#include "umem.h"
#include "user_page.h"

#define LARGE_RING(core) (LRP_DEFAULT_RING > 2 * (core)->cpus ? LRP_DEFAULT_RING : 4 * (core)->cpus)
#define NO_USER		 UINT32_MAX /* no process has this uid: nobody gets them again */

/* uid + 1, as in struct lrp_endpoint_state. */
uint32_t lrp_core_socket_user(const struct lrp_core *core, uint32_t owner)
{
	const struct lrp_owner_state *state = &core->state->owner[owner];

	return state->mixed ? NO_USER : state->uid + 1;
}

void lrp_core_sockets_close(struct lrp_core *core, uint32_t endpoint)
{
	for (uint32_t i = 0; i < LRP_MAX_POOLS_TOTAL; i++)
		if (core->pool[i].xsk)
			lrp_core_xsk_close(core, &core->pool[i], endpoint);
}

/* Makes the endpoint's channel in this pool, if it is not there, and opens it to XDP. */
int lrp_core_channel_open(struct lrp_core *core, struct lrp_core_pool *pool, uint32_t endpoint)
{
	struct lrp_endpoint_state *ep = &core->state->endpoint[endpoint];
	struct lrp_channel *channel = lrp_core_channel(core, pool, endpoint);
	uint32_t id = lrp_core_channel_id(core, pool, endpoint);
	uint32_t page, slot;
	int err;

	if (channel->flags & LRP_CHANNEL_ACTIVE)
		return 0;
	/* Open, but the pool is being repaired. */
	if (pool->health.state == LRP_POOL_PASSED && channel->ring_size &&
	    pool->xsk[endpoint] >= 0 && channel->owner == ep->owner)
		return 0;
	/* Recycled, but with a ring of another size. */
	if (pool->xsk[endpoint] >= 0 && channel->ring_size && channel->ring_size != ep->ring_size)
		lrp_core_xsk_close(core, pool, endpoint);
	if (pool->xsk[endpoint] < 0) {
		err = lrp_core_xsk_create(core, pool, endpoint, ep->ring_size);
		if (err)
			return err;
	}
	err = lrp_core_user_slot_take(core, ep->owner, &page, &slot);
	if (err)
		return err;
	channel->limit = pool->health.state == LRP_POOL_WELL ? ep->limit : 0;
	channel->guarantee = ep->guarantee;
	channel->owner = ep->owner;
	channel->user_page = page;
	channel->user_slot = slot;
	channel->endpoint = endpoint;
	channel->ring_size = ep->ring_size;
	channel->generation++;
	channel->corrected = channel->enqueued; /* occupancy starts at zero */
	if (bpf_map_update_elem(pool->device->map_fd[LRP_MAP_XSKS], &id, &pool->xsk[endpoint],
				BPF_ANY)) {
		err = -errno;
		lrp_core_user_slot_free(core, channel);
		return err;
	}
	__atomic_store_n(&channel->flags,
			 pool->health.state == LRP_POOL_PASSED ? 0 : LRP_CHANNEL_ACTIVE,
			 __ATOMIC_RELEASE);
	return 0;
}

/* Shut to XDP; what is under way still arrives (reclaim.c waits for it). */
void lrp_core_channel_shut(struct lrp_core *core, struct lrp_core_pool *pool, uint32_t endpoint)
{
	struct lrp_channel *channel = lrp_core_channel(core, pool, endpoint);

	(void)core;
	__atomic_store_n(&channel->flags, 0, __ATOMIC_RELEASE);
}

/* Last step of reclaiming: the record is free, the loan given back. */
void lrp_core_channel_free(struct lrp_core *core, struct lrp_core_pool *pool, uint32_t endpoint)
{
	struct lrp_channel *channel = lrp_core_channel(core, pool, endpoint);
	struct lrp_endpoint_state *ep = &core->state->endpoint[endpoint];
	uint32_t loan = __atomic_exchange_n(&channel->loan, 0, __ATOMIC_ACQ_REL);

	if (loan)
		__atomic_fetch_sub(&pool->shared->lent, loan, __ATOMIC_ACQ_REL);
	lrp_core_user_slot_free(core, channel);
	channel->owner = LRP_OWNER_LRPD;
	channel->corrected = channel->enqueued;
	if (core->opts.embedded)
		return;
	/* The family may have become mixed since. */
	ep->socket_user = lrp_core_socket_user(core, ep->owner);
	if (ep->socket_user == NO_USER || ep->ring_size > LARGE_RING(core))
		lrp_core_xsk_close(core, pool, endpoint);
}

/* The fragment endpoint: one for all processes, its records in lrpd's own page. */
int lrp_core_fragment_endpoint(struct lrp_core *core, struct lrp_core_pool *pool)
{
	struct lrp_endpoint_state *ep = &core->state->endpoint[LRP_ENDPOINT_FRAGMENT];

	ep->use = LRP_ENDPOINT_USED;
	ep->owner = LRP_OWNER_LRPD;
	ep->ring_size = LRP_FRAGMENT_RING;
	ep->limit = LRP_FRAGMENT_RING - core->cpus;
	ep->guarantee = LRP_FRAGMENT_GUARANTEE;
	return lrp_core_channel_open(core, pool, LRP_ENDPOINT_FRAGMENT);
}

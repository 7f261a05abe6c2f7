/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* places.c - see places.h. */
#include <errno.h>

#include "../../runtime/ring/ring_map.h"
#include "places.h"
#include "umem.h"

uint32_t lrp_core_kernel_bound(const struct lrp_core_pool *pool)
{
	if (pool->state->zerocopy)
		return pool->state->reserve;
	return pool->state->sg ? 24 : 4;
}

static void see(uint8_t *place, uint8_t where)
{
	if (*place & (LRP_FRAME_IN_FILL | LRP_FRAME_IN_RX) && !(*place & LRP_FRAME_AT_HEAD))
		*place |= LRP_FRAME_TWICE;
	*place = (uint8_t)((*place | where) & ~LRP_FRAME_AT_HEAD);
}

/*
 * The frame at a ring's consumer may be anywhere else by now: a process that is stopped, or died,
 * between returning it and moving the consumer leaves it so. That is in order.
 */
static void see_head(uint8_t *place)
{
	if (!(*place & (LRP_FRAME_IN_FILL | LRP_FRAME_IN_RX)))
		*place |= LRP_FRAME_IN_RX | LRP_FRAME_AT_HEAD;
}

/*
 * The rings lie in memory that clients write. Each value is read once; a ring has no more entries
 * than slots, whatever its indices say.
 */
int lrp_core_fill_places(const struct lrp_core_pool *pool, uint8_t *place)
{
	const struct lrp_pool_view *view = &pool->view;
	struct xdp_mmap_offsets offsets;
	const _Atomic uint32_t *consumer;
	uint32_t at, end;
	int err = lrp_ring_offsets(pool->xsk[LRP_ENDPOINT_FRAGMENT], &offsets);

	if (err)
		return err;
	consumer =
		(const _Atomic uint32_t *)((const uint8_t *)view->fill_map + offsets.fr.consumer);
	at = atomic_load_explicit(consumer, memory_order_acquire);
	end = atomic_load_explicit(view->fill_producer, memory_order_acquire);
	if (end - at > view->fill_size)
		at = end - view->fill_size;
	for (; at != end; at++) {
		uint64_t slot = atomic_load_explicit(&view->fill_slot[at & (view->fill_size - 1)],
						     memory_order_relaxed);
		uint64_t frame = slot >> view->frame_shift;

		if (frame < view->frames)
			see(&place[frame], LRP_FRAME_IN_FILL);
	}
	return 0;
}

uint32_t lrp_core_ring_bounds(const struct lrp_chan *chan, uint32_t *end)
{
	uint32_t at = atomic_load_explicit(chan->consumer, memory_order_acquire);

	*end = atomic_load_explicit(chan->producer, memory_order_acquire);
	return *end - at > chan->ring_mask + 1 ? *end - (chan->ring_mask + 1) : at;
}

uint32_t lrp_core_ring_frame(const struct lrp_chan *chan, uint32_t at)
{
	uint64_t addr = __atomic_load_n(&chan->desc[at & chan->ring_mask].addr, __ATOMIC_RELAXED);
	uint64_t frame = addr >> chan->pool->frame_shift;

	return frame < chan->pool->frames ? (uint32_t)frame : UINT32_MAX;
}

/* *budget: entries that may still be looked at in all rings of the pool. */
static int rx_places(struct lrp_core *core, struct lrp_core_pool *pool, uint32_t endpoint,
		     uint8_t *place, uint32_t *budget)
{
	struct lrp_chan chan;
	uint32_t at, end, head;
	int err = lrp_core_ring_open(core, pool, endpoint, &chan);

	if (err)
		return err;
	at = head = lrp_core_ring_bounds(&chan, &end);
	if (end - at > *budget) {
		lrp_core_ring_close(&chan);
		return -EOVERFLOW;
	}
	*budget -= end - at;
	for (; at != end; at++) {
		uint32_t frame = lrp_core_ring_frame(&chan, at);

		if (frame == UINT32_MAX)
			continue;
		if (at == head)
			see_head(&place[frame]);
		else
			see(&place[frame], LRP_FRAME_IN_RX);
	}
	lrp_core_ring_close(&chan);
	return 0;
}

static void table_places(const struct lrp_core_pool *pool, uint8_t *place)
{
	for (uint32_t frame = 0; frame < pool->view.frames; frame++) {
		uint32_t holder =
			__atomic_load_n(&pool->view.frame[frame].holder, __ATOMIC_ACQUIRE);

		/* Claims on fragments are about frames that are in their ring. */
		if (holder == LRP_FRAME_FREE || holder & 0x80000000u)
			continue;
		if (holder == LRP_FRAME_RESTING)
			place[frame] |= LRP_FRAME_AT_REST;
		else
			place[frame] |= holder & LRP_FRAME_RETURNING ? LRP_FRAME_QUARANTINED
								     : LRP_FRAME_HELD;
	}
	for (uint32_t i = 0; i < pool->state->quarantined; i++)
		place[pool->state->quarantine[i].frame] |= LRP_FRAME_QUARANTINED;
}

int lrp_core_places(struct lrp_core *core, struct lrp_core_pool *pool, uint8_t *place,
		    enum lrp_rings rings, uint64_t until_ns)
{
	/* Each frame is in one ring. While packets move some are seen twice. */
	uint32_t budget = 2 * pool->view.frames;
	int err = lrp_core_fill_places(pool, place);

	for (uint32_t e = 0; rings != LRP_RINGS_NONE && e < core->state->endpoints && !err; e++) {
		/* Nothing of a free endpoint's ring is anybody's. */
		if (pool->xsk[e] < 0 || core->state->endpoint[e].use == LRP_ENDPOINT_FREE ||
		    (rings == LRP_RINGS_OTHERS && lrp_core_in_batch(core, e)) ||
		    (rings == LRP_RINGS_USED && core->state->endpoint[e].use != LRP_ENDPOINT_USED))
			continue;
		if (until_ns && lrp_core_now_ns() >= until_ns)
			err = -ETIME;
		else
			err = rx_places(core, pool, e, place, &budget);
	}
	table_places(pool, place);
	return err;
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * reclaim.c - taking an endpoint back, from a process that closed it or that is
 * dead. In this order:
 *
 *   1. its demultiplexing entries go, its channels are shut: no new packet;
 *   2. a grace period: a packet that passed the test before is on the ring now;
 *   3. frames in the rings go back to the fill ring, oldest first; the consumer follows
 *      each, so that dying here leaves nothing undone that cannot be done again;
 *   4. frames marked in the frame table go back;
 *   5. the channel, its record and its guarantee are free.
 *
 * The process could write all of this memory: nothing goes back that is in another place, too,
 * and where the picture makes no sense the pool is repaired (repair.c).
 *
 * Two kinds of frames are in doubt, because the process may have died in
 * between two stores: the one at the consumer of its ring, and those marked
 * RETURNING. Found on a ring they are returned already; found nowhere they may
 * be in the kernel's hands this very moment, so they go to quarantine until
 * later looks find them nowhere either.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../../runtime/base/log.h"
#include "../pool/channel.h"
#include "../pool/circulate.h"
#include "../pool/places.h"
#include "../pool/quarantine.h"
#include "../pool/umem.h"
#include "../demux/exact.h"
#include "../demux/release.h"
#include "../device/park.h"
#include "owner.h"
#include "reclaim.h"

#define LOOK_NS	  200000000ull /* what a look at all rings may take */
#define BATCH_MAX 2048u	       /* what is looked at in one go takes up to 100 ms */
#define BLOCK_MS  100u	/* between two requests that wait for frames or endpoints to come back */
#define LATE_MS	  2000u /* the same, after one that has waited in vain */

/* ---- 3 and 4: finding the frames ----------------------------------------------------------- */

static bool ring_open(struct lrp_core *core, struct lrp_core_pool *pool, uint32_t endpoint,
		      struct lrp_chan *chan)
{
	if (pool->xsk[endpoint] < 0)
		return false;
	if (!lrp_core_ring_open(core, pool, endpoint, chan))
		return true;
	lrp_log(LRP_LOG_ERROR,
		"lrpd: the ring of channel %u cannot be mapped: its frames wait "
		"for a repair",
		lrp_core_channel_id(core, pool, endpoint));
	lrp_core_suspect(core, pool);
	return false;
}

static bool ring_empty(struct lrp_core *core, struct lrp_core_pool *pool, uint32_t endpoint)
{
	struct lrp_chan chan;
	uint32_t at, end;

	if (!ring_open(core, pool, endpoint, &chan))
		return true;
	at = lrp_core_ring_bounds(&chan, &end);
	lrp_core_ring_close(&chan);
	return at == end;
}

/*
 * What the ring says was the kernel's to write, but the dead process could write it, too. A frame
 * goes back if it is in no other place; place[] tells, and notes what goes back here.
 */
static void drain_ring(struct lrp_core *core, struct lrp_core_pool *pool, uint32_t endpoint,
		       uint8_t *place)
{
	uint32_t mark = LRP_FRAME_MARK(lrp_core_channel_id(core, pool, endpoint));
	struct lrp_chan chan;
	bool first = true, nonsense = false;
	uint32_t at, end;

	if (!ring_open(core, pool, endpoint, &chan))
		return;
	for (at = lrp_core_ring_bounds(&chan, &end); at != end; at++) {
		uint32_t frame = lrp_core_ring_frame(&chan, at), holder;

		if (frame >= pool->state->circulating) {
			nonsense = true;
		} else if (place[frame] & LRP_FRAME_IN_FILL) {
			/* Returned, the consumer had not followed. */
		} else if (place[frame] & LRP_FRAME_IN_RX) {
			nonsense |= !first; /* another's */
		} else {
			holder = __atomic_load_n(&pool->view.frame[frame].holder, __ATOMIC_ACQUIRE);
			if ((holder & ~LRP_FRAME_RETURNING) == mark) {
				/* Marked: found in the table. */
			} else if (holder != LRP_FRAME_FREE) {
				nonsense |= !first;
			} else if (first) {
				lrp_core_quarantine(core, pool, frame);
			} else {
				lrp_core_frame_return(pool, frame);
				place[frame] |= LRP_FRAME_IN_FILL;
			}
		}
		first = false;
		atomic_store_explicit(chan.consumer, at + 1, memory_order_release);
	}
	lrp_core_ring_close(&chan);
	if (nonsense)
		lrp_core_suspect(core, pool);
}

/* Is the holder one of those that are being reclaimed? */
static bool holder_gone(const struct lrp_core *core, const struct lrp_core_pool *pool,
			uint32_t holder)
{
	uint32_t channel;

	/* Claims on fragments: fragment.c sees to them. */
	if (holder == LRP_FRAME_FREE || holder & 0x80000000u)
		return false;
	channel = (holder & ~LRP_FRAME_RETURNING) - LRP_FRAME_MARK(0);
	return channel / core->state->endpoints == pool->state->queue &&
	       lrp_core_in_batch(core, channel % core->state->endpoints);
}

static bool any_holder_gone(const struct lrp_core *core, const struct lrp_core_pool *pool)
{
	for (uint32_t frame = 0; frame < pool->view.frames; frame++) {
		uint32_t holder =
			__atomic_load_n(&pool->view.frame[frame].holder, __ATOMIC_ACQUIRE);

		if (holder && holder_gone(core, pool, holder))
			return true;
	}
	return false;
}

static void sweep_table(struct lrp_core *core, struct lrp_core_pool *pool, const uint8_t *place)
{
	for (uint32_t frame = 0; frame < pool->view.frames; frame++) {
		uint32_t *word = &pool->view.frame[frame].holder;
		uint32_t holder = __atomic_load_n(word, __ATOMIC_ACQUIRE), next = LRP_FRAME_FREE;

		if (!holder_gone(core, pool, holder))
			continue;
		if (place[frame] & (LRP_FRAME_IN_FILL | LRP_FRAME_IN_RX) ||
		    frame >= pool->state->circulating) {
			/* Returned, the mark had not followed; or it never was where that says. */
		} else if (holder & LRP_FRAME_RETURNING) {
			lrp_core_quarantine(core, pool, frame); /* may be back with the kernel */
		} else {
			/* If we die now, our heir finds it, and in doubt. */
			__atomic_store_n(word, holder | LRP_FRAME_RETURNING, __ATOMIC_RELEASE);
			holder |= LRP_FRAME_RETURNING;
			if (!lrp_fill_push(&pool->view, (uint64_t)frame << pool->view.frame_shift))
				next = LRP_FRAME_RESTING;
		}
		/* Out of the fill ring again already, it may be another's. */
		__atomic_compare_exchange_n(word, &holder, next, false, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED);
	}
}

static void reclaim_pool(struct lrp_core *core, struct lrp_core_pool *pool,
			 const struct lrp_core_batch *batch)
{
	uint8_t *place = calloc(pool->view.frames, 1);
	bool *full = calloc(batch->count, sizeof(*full)), any = false;

	if (!place || !full) {
		free(place);
		free(full);
		lrp_core_suspect(core, pool);
		return;
	}
	for (uint32_t i = 0; i < batch->count; i++) {
		full[i] = !ring_empty(core, pool, batch->endpoint[i]);
		any |= full[i];
	}
	lrp_fill_settle(&pool->view, pool->xsk[LRP_ENDPOINT_FRAGMENT]);
	if (any &&
	    lrp_core_places(core, pool, place, LRP_RINGS_OTHERS, lrp_core_now_ns() + LOOK_NS))
		lrp_core_suspect(core, pool); /* not all seen */
	for (uint32_t i = 0; i < batch->count; i++)
		if (full[i])
			drain_ring(core, pool, batch->endpoint[i], place);
	/* The rings of those that go are empty now: only others' count. */
	if (any_holder_gone(core, pool)) {
		memset(place, 0, pool->view.frames);
		if (lrp_core_places(core, pool, place, LRP_RINGS_OTHERS,
				    lrp_core_now_ns() + LOOK_NS))
			lrp_core_suspect(core, pool);
		sweep_table(core, pool, place);
	}
	for (uint32_t i = 0; i < batch->count; i++)
		lrp_core_channel_free(core, pool, batch->endpoint[i]);
	lrp_fill_settle(&pool->view, pool->xsk[LRP_ENDPOINT_FRAGMENT]);
	free(place);
	free(full);
}

/* ---- all together ------------------------------------------------------------------- */

/* Steps 1 and 2: all that are closing now, and the ticket of their grace period. */
static void gather(struct lrp_core *core)
{
	struct lrp_core_batch *batch = &core->batch;
	uint32_t most;

	core->gather_at_ns = 0;
	most = core->closing < BATCH_MAX ? core->closing : BATCH_MAX;
	batch->endpoint = malloc(most * sizeof(*batch->endpoint));
	if (!batch->endpoint) {
		core->gather_at_ns = lrp_core_now_ns() + LRP_GATHER_MS * 1000000ull;
		return;
	}
	batch->count = 0;
	for (uint32_t e = LRP_ENDPOINT_FIRST; e < core->state->endpoints && batch->count < most;
	     e++)
		if (core->state->endpoint[e].use == LRP_ENDPOINT_CLOSING)
			batch->endpoint[batch->count++] = e;
	if (core->closing > batch->count)
		core->gather_at_ns = lrp_core_now_ns();
	/* A lrpd that took over may find channels that its predecessor had not shut. */
	for (uint32_t i = 0; i < batch->count; i++)
		for (uint32_t p = 0; p < LRP_MAX_POOLS_TOTAL; p++)
			if (lrp_core_pool_on(&core->pool[p]))
				lrp_core_channel_shut(core, &core->pool[p], batch->endpoint[i]);
	batch->ticket = lrp_core_grace_ask(core);
}

/* Steps 3 to 5, when the grace period is over. */
static void take_back(struct lrp_core *core)
{
	struct lrp_core_batch *batch = &core->batch;

	/* No program of theirs makes an entry any more. */
	lrp_core_flows_purge(core);
	for (uint32_t p = 0; p < LRP_MAX_POOLS_TOTAL; p++)
		if (lrp_core_pool_on(&core->pool[p]))
			reclaim_pool(core, &core->pool[p], batch);
	for (uint32_t i = 0; i < batch->count; i++) {
		struct lrp_endpoint_state *ep = &core->state->endpoint[batch->endpoint[i]];
		struct lrp_owner_state *owner = &core->state->owner[ep->owner];

		if (owner->endpoints)
			owner->endpoints--;
		ep->use = LRP_ENDPOINT_FREE;
	}
	core->closing -= batch->count;
	lrp_core_reclaim_forget(core);
	for (uint32_t o = LRP_OWNER_LRPD + 1; o < LRP_OWNERS; o++) {
		if (core->state->owner[o].used)
			lrp_core_owner_sync(core, o);
	}
	lrp_core_guarantees(core);
	lrp_core_parked_run(core);
}

uint64_t lrp_core_reclaim_run(struct lrp_core *core)
{
	if (core->batch.endpoint && lrp_core_grace_over(core, core->batch.ticket))
		take_back(core);
	/* One batch at a time: the end of its grace period wakes us. */
	if (!core->batch.endpoint && core->gather_at_ns && lrp_core_now_ns() >= core->gather_at_ns)
		gather(core);
	return core->batch.endpoint ? 0 : core->gather_at_ns;
}

bool lrp_core_reclaim_now(struct lrp_core *core)
{
	uint64_t now = lrp_core_now_ns();

	if (!core->closing || now < core->next_block_ns)
		return false;
	/* What is under way, then what was closed since. */
	for (int i = 0; i < 2 && core->closing; i++) {
		if (!core->batch.endpoint)
			gather(core);
		if (!core->batch.endpoint)
			return false;
		/* The batch stays: lrp_core_reclaim_run() takes it back when the period is over. */
		if (!lrp_core_grace_wait(core, core->batch.ticket)) {
			core->next_block_ns = lrp_core_now_ns() + LATE_MS * 1000000ull;
			return i > 0;
		}
		take_back(core);
	}
	core->next_block_ns = lrp_core_now_ns() + BLOCK_MS * 1000000ull;
	return true;
}

void lrp_core_reclaim_forget(struct lrp_core *core)
{
	free(core->batch.endpoint);
	core->batch = (struct lrp_core_batch){0};
}

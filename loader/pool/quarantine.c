/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * quarantine.c - frames in doubt, because a process may have died between two stores: they are on
 * the fill ring, in the kernel's hands, or nowhere. Later looks tell.
 */
#include <stdlib.h>

#include "../../runtime/base/log.h"
#include "places.h"
#include "quarantine.h"

#define QUARANTINE_MS	  250u	       /* between two looks */
#define QUARANTINE_MISSES 4u	       /* looks in a row that found the frame nowhere */
#define LOOK_NS		  200000000ull /* what a look at all rings may take */
#define QUARANTINE_PUSHES                                                                          \
	64u /* frames that came back on the fill ring between two looks: the kernel's              \
	       pool keeps a few by last-in-first-out, traffic shakes them out */

void lrp_core_quarantine(struct lrp_core *core, struct lrp_core_pool *pool, uint32_t frame)
{
	struct lrp_pool_state *state = pool->state;

	for (uint32_t i = 0; i < state->quarantined; i++)
		if (state->quarantine[i].frame == frame)
			return;
	if (state->quarantined == LRP_QUARANTINE) {
		lrp_core_suspect(core, pool); /* the repair finds it nowhere */
		return;
	}
	state->quarantine[state->quarantined].frame = frame;
	state->quarantine[state->quarantined].misses = 0;
	state->quarantine[state->quarantined].at_producer =
		atomic_load_explicit(pool->view.fill_producer, memory_order_acquire);
	state->quarantined++;
	if (!core->next_quarantine_ns)
		core->next_quarantine_ns = lrp_core_now_ns() + QUARANTINE_MS * 1000000ull;
}

static void unquarantine(struct lrp_pool_state *state, uint32_t i)
{
	state->quarantine[i] = state->quarantine[state->quarantined - 1];
	state->quarantined--;
}

/*
 * After a takeover: the clock of the quarantine died with the old lrpd. Its looks do not count
 * either: it may have died just after it had pushed a frame that is still listed.
 */
void lrp_core_quarantine_adopt(struct lrp_core *core)
{
	for (uint32_t p = 0; p < LRP_MAX_POOLS_TOTAL; p++) {
		struct lrp_core_pool *pool = &core->pool[p];

		if (!lrp_core_pool_on(pool))
			continue;
		/* It may have died before it pushed the last frame that it had counted. */
		if (pool->state->circulating)
			lrp_core_quarantine(core, pool, pool->state->circulating - 1);
		/* Or while it let one circulate again. */
		for (uint32_t f = 0; f < pool->state->circulating; f++) {
			uint32_t is = LRP_FRAME_RESTING | LRP_FRAME_RETURNING;

			if (__atomic_compare_exchange_n(&pool->view.frame[f].holder, &is,
							LRP_FRAME_FREE, false, __ATOMIC_ACQ_REL,
							__ATOMIC_RELAXED))
				lrp_core_quarantine(core, pool, f);
		}
		for (uint32_t i = 0; i < pool->state->quarantined; i++) {
			pool->state->quarantine[i].misses = 0;
			pool->state->quarantine[i].at_producer = atomic_load_explicit(
				pool->view.fill_producer, memory_order_acquire);
		}
		core->next_quarantine_ns = lrp_core_now_ns() + QUARANTINE_MS * 1000000ull;
	}
}

bool lrp_core_frame_return(struct lrp_core_pool *pool, uint32_t frame)
{
	uint32_t none = LRP_FRAME_FREE;

	if (lrp_fill_push(&pool->view, (uint64_t)frame << pool->view.frame_shift))
		return true;
	__atomic_compare_exchange_n(&pool->view.frame[frame].holder, &none, LRP_FRAME_RESTING,
				    false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
	return false;
}

/* True if the frame is surely the kernel's: it has got all descriptors of its driver's ring. */
static bool kernel_may_hold_long(const struct lrp_core_pool *pool)
{
	return pool->state->zerocopy;
}

void lrp_core_quarantine_run(struct lrp_core *core)
{
	uint64_t now = lrp_core_now_ns();
	bool left = false;

	if (!core->next_quarantine_ns || now < core->next_quarantine_ns)
		return;
	for (uint32_t p = 0; p < LRP_MAX_POOLS_TOTAL; p++) {
		struct lrp_core_pool *pool = &core->pool[p];
		struct lrp_pool_state *state = pool->state;
		uint32_t producer;
		uint8_t *place;

		if (!lrp_core_pool_on(pool) || !state->quarantined)
			continue;
		place = calloc(state->frames, 1);
		if (!place)
			return;
		if (lrp_core_places(core, pool, place, LRP_RINGS_ALL, now + LOOK_NS)) {
			free(place); /* not all seen: nothing can be told */
			left = true;
			continue;
		}
		producer = atomic_load_explicit(pool->view.fill_producer, memory_order_acquire);
		for (uint32_t i = state->quarantined; i-- > 0;) {
			uint32_t frame = state->quarantine[i].frame;

			if (place[frame] & (LRP_FRAME_IN_FILL | LRP_FRAME_IN_RX | LRP_FRAME_HELD |
					    LRP_FRAME_AT_REST)) {
				unquarantine(state, i); /* it had been returned */
				continue;
			}
			state->quarantine[i].misses++;
			if (state->quarantine[i].misses < QUARANTINE_MISSES ||
			    kernel_may_hold_long(pool) ||
			    (producer - state->quarantine[i].at_producer < QUARANTINE_PUSHES &&
			     state->quarantine[i].misses < 4 * QUARANTINE_MISSES))
				continue;
			/* In this order: whoever dies in between leaves it listed, not lost. */
			lrp_core_frame_return(pool, frame);
			place[frame] |=
				LRP_FRAME_IN_FILL; /* listed twice, if unquarantine() died */
			unquarantine(state, i);
		}
		left |= state->quarantined && !kernel_may_hold_long(pool);
		free(place);
	}
	core->next_quarantine_ns = left ? now + QUARANTINE_MS * 1000000ull : 0;
}

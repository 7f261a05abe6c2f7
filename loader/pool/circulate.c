/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * circulate.c - how many frames of a pool go round.
 *
 * They do so in the order of the fill ring, so all that circulate pass through the caches in
 * turn. Therefore only as many do as are needed: those that are guaranteed; for loans what
 * the largest channel may hold, and two for each socket, should all borrow at once. When half of that is
 * lent XDP says so, and they become twice as many. The rest of the UMEM waits.
 *
 * When far fewer are needed, because sockets are gone or nobody has been short of frames for a
 * while, some are to rest: only a process that has a frame can take it out of the round, so it is told to
 * those who return frames how many are too many [struct lrp_rest].
 */
#include <stdlib.h>

#include "../../runtime/base/log.h"
#include "../../runtime/ring/fill.h"
#include "circulate.h"
#include "places.h"
#include "quarantine.h"

#define LOANS_FEW   512u /* frames for loans, at least */
#define SPARES_FREE 64u /* endpoints with next to no guarantee that count for nothing: spare hubs */
#define CALM_NS	    (5ull * 1000000000u) /* after somebody was short of frames */

uint32_t lrp_core_guarantee_sum(const struct lrp_core *core)
{
	uint32_t sum = LRP_FRAGMENT_GUARANTEE;

	for (uint32_t e = LRP_ENDPOINT_FIRST; e < core->state->endpoints; e++)
		if (core->state->endpoint[e].use != LRP_ENDPOINT_FREE)
			sum += core->state->endpoint[e].guarantee;
	return sum;
}

/* ---- more --------------------------------------------------------------------------------- */

static uint32_t resting(const struct lrp_core_pool *pool)
{
	uint32_t n = 0;

	for (uint32_t f = 0; f < pool->state->circulating; f++)
		n += __atomic_load_n(&pool->view.frame[f].holder, __ATOMIC_RELAXED) ==
		     LRP_FRAME_RESTING;
	return n;
}

/*
 * Up to `more` of those that rest; how many. Any process can write the mark: what is on the fill
 * ring does not rest. What is in somebody's RX ring, the repair finds.
 */
static uint32_t wake(struct lrp_core *core, struct lrp_core_pool *pool, uint32_t more)
{
	uint8_t *place = more && resting(pool) ? calloc(pool->view.frames, 1) : NULL;
	uint32_t n = 0;

	if (!place || lrp_core_places(core, pool, place, LRP_RINGS_NONE, 0))
		more = 0;
	for (uint32_t f = 0; f < pool->state->circulating && n < more; f++) {
		uint32_t *holder = &pool->view.frame[f].holder;
		uint32_t is = LRP_FRAME_RESTING | LRP_FRAME_RETURNING, rests = LRP_FRAME_RESTING;
		bool done = true;

		if (__atomic_load_n(holder, __ATOMIC_ACQUIRE) != LRP_FRAME_RESTING)
			continue;
		/* If we die now, our heir finds it, and in doubt. */
		if (!__atomic_compare_exchange_n(holder, &rests, is, false, __ATOMIC_ACQ_REL,
						 __ATOMIC_RELAXED))
			continue;
		if (!(place[f] & LRP_FRAME_IN_FILL))
			done = lrp_fill_push(&pool->view, (uint64_t)f << pool->view.frame_shift);
		else
			lrp_core_suspect(core, pool);
		/* Out of the fill ring again already, it may have another's mark. */
		__atomic_compare_exchange_n(holder, &is, done ? LRP_FRAME_FREE : LRP_FRAME_RESTING,
					    false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
		if (!done)
			break;
		n++;
	}
	free(place);
	return n;
}

/* Up to `more` that never circulated. Counted before it is pushed: should we die in between, our heir
 * finds the frame nowhere, and its quarantine brings it back (lrp_core_quarantine_adopt). */
static void add_new(struct lrp_core_pool *pool, uint32_t more)
{
	struct lrp_pool_state *state = pool->state;
	bool done = true;

	for (; done && more && state->circulating < state->frames; more--) {
		uint32_t frame = state->circulating;

		/* Nobody can have had it, whatever its mark says. */
		__atomic_store_n(&pool->view.frame[frame].holder, LRP_FRAME_FREE, __ATOMIC_RELAXED);
		__atomic_store_n(&state->circulating, frame + 1, __ATOMIC_RELEASE);
		done = lrp_core_frame_return(pool, frame);
	}
}

/* From now on `goal` circulate, or as many as there are. */
static void set_goal(struct lrp_core *core, struct lrp_core_pool *pool, uint64_t goal)
{
	uint32_t now = pool->state->circulating - resting(pool), more;

	pool->goal = goal < pool->state->frames ? (uint32_t)goal : pool->state->frames;
	__atomic_store_n(&pool->view.rest->frames, now > pool->goal ? now - pool->goal : 0,
			 __ATOMIC_RELAXED);
	if (now >= pool->goal)
		return;
	more = pool->goal - now;
	add_new(pool, more - wake(core, pool, more));
	lrp_fill_settle(&pool->view, pool->xsk[LRP_ENDPOINT_FRAGMENT]);
}

/* ---- how many ---------------------------------------------------------------------------- */

static uint32_t wanted(const struct lrp_core *core, const struct lrp_core_pool *pool)
{
	uint32_t fixed = pool->guaranteed + pool->state->reserve;
	uint32_t most = core->demand > pool->guaranteed ? core->demand - pool->guaranteed : 0;
	uint32_t loans = core->largest > LOANS_FEW ? core->largest : LOANS_FEW;

	loans += core->sockets * 2 * LRP_LOAN_UNIT;
	if (core->others > SPARES_FREE)
		loans += (core->others - SPARES_FREE) * LRP_LOAN_FIRST;
	return fixed + (loans < most ? loans : most);
}

static void look_again(struct lrp_core *core, uint64_t at_ns)
{
	if (!core->next_rest_ns || at_ns < core->next_rest_ns)
		core->next_rest_ns = at_ns;
}

/* More at once, fewer when nobody has been short for a while. */
static void adjust(struct lrp_core *core, struct lrp_core_pool *pool)
{
	uint32_t fixed = pool->guaranteed + pool->state->reserve, want = wanted(core, pool);
	uint64_t calm_ns = pool->short_ns + CALM_NS, now = lrp_core_now_ns();
	uint64_t lent = __atomic_load_n(&pool->shared->lent, __ATOMIC_RELAXED);
	bool fewer;

	if (!pool->goal) /* we have just come */
		pool->goal = pool->state->circulating - resting(pool);
	/* Not so few that XDP would complain. */
	if (want < 2 * lent + fixed)
		want = (uint32_t)(2 * lent + fixed);
	if (want > pool->state->frames)
		want = pool->state->frames;
	fewer = pool->goal / 2 > want;
	if (pool->goal < want)
		set_goal(core, pool, want);
	else if (fewer && now >= calm_ns)
		set_goal(core, pool, want);
	else if (fewer)
		look_again(core, calm_ns);
	__atomic_store_n(&pool->shared->surplus, pool->goal > fixed ? pool->goal - fixed : 0,
			 __ATOMIC_RELAXED);
	/* It was left standing when there were no more frames; from now on there are. */
	if (fewer && now >= calm_ns)
		__atomic_store_n(&pool->shared->short_of, 0, __ATOMIC_RELEASE);
}

void lrp_core_circulate(struct lrp_core *core, struct lrp_core_pool *pool)
{
	if (pool->goal)
		set_goal(core, pool, pool->goal);
}

void lrp_core_pool_short(struct lrp_core *core, struct lrp_core_pool *pool)
{
	if (!pool->shared->short_of || pool->goal >= pool->state->frames)
		return;
	pool->short_ns = lrp_core_now_ns();
	set_goal(core, pool, 2ull * pool->goal);
	adjust(core, pool);
	__atomic_store_n(&pool->shared->short_of, 0, __ATOMIC_RELEASE);
	lrp_log(LRP_LOG_DEBUG, "%s: %u frames circulate", pool->device->state->ifname, pool->goal);
}

uint64_t lrp_core_rest_run(struct lrp_core *core)
{
	/* An event may have been lost. */
	for (uint32_t i = 0; i < LRP_MAX_POOLS_TOTAL; i++)
		if (lrp_core_pool_on(&core->pool[i]))
			lrp_core_pool_short(core, &core->pool[i]);
	if (core->next_rest_ns && lrp_core_now_ns() >= core->next_rest_ns) {
		core->next_rest_ns = 0;
		for (uint32_t i = 0; i < LRP_MAX_POOLS_TOTAL; i++)
			if (lrp_core_pool_on(&core->pool[i]))
				adjust(core, &core->pool[i]);
	}
	return core->next_rest_ns;
}

/* ---- guarantees ------------------------------------------------------------------------------ */

static void count(struct lrp_core *core, const struct lrp_endpoint_state *ep)
{
	if (ep->guarantee < LRP_DEFAULT_GUARANTEE)
		core->others++;
	else
		core->sockets++;
	core->demand += ep->limit;
	if (core->largest < ep->limit)
		core->largest = ep->limit;
}

static void guaranteed(struct lrp_core *core, uint32_t more)
{
	for (uint32_t i = 0; i < LRP_MAX_POOLS_TOTAL; i++)
		if (lrp_core_pool_on(&core->pool[i])) {
			core->pool[i].guaranteed += more;
			adjust(core, &core->pool[i]);
		}
}

void lrp_core_guarantee_add(struct lrp_core *core, const struct lrp_endpoint_state *ep)
{
	count(core, ep);
	guaranteed(core, ep->guarantee);
}

void lrp_core_limit_add(struct lrp_core *core, uint32_t more, uint32_t limit)
{
	core->demand += more;
	if (core->largest < limit)
		core->largest = limit;
	guaranteed(core, 0);
}

void lrp_core_guarantees(struct lrp_core *core)
{
	uint32_t sum = lrp_core_guarantee_sum(core);

	core->demand = LRP_FRAGMENT_RING;
	core->largest = core->sockets = core->others = 0;
	for (uint32_t e = LRP_ENDPOINT_FIRST; e < core->state->endpoints; e++)
		if (core->state->endpoint[e].use != LRP_ENDPOINT_FREE)
			count(core, &core->state->endpoint[e]);
	for (uint32_t i = 0; i < LRP_MAX_POOLS_TOTAL; i++)
		if (lrp_core_pool_on(&core->pool[i])) {
			core->pool[i].guaranteed = sum;
			adjust(core, &core->pool[i]);
			/* An lrpd before us may have died over it. */
			lrp_core_pool_short(core, &core->pool[i]);
		}
}

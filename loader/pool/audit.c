/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * audit.c - Invariant 2: each frame of a pool is in exactly one place. What is
 * in no place that can be seen is the kernel's, and there is a bound on that.
 *
 * While packets move, a frame can be seen twice or not at all. So the audit
 * looks several times: what is wrong in every look is wrong.
 *
 * It ends after AUDIT_MS, whatever the rings hold and however many there are.
 */
#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../runtime/ring/ring_map.h"
#include "../endpoint/census.h"

#define LOOKS	      24
#define LOOK_PAUSE_MS 4
#define AUDIT_MS      300 /* all pools together: lrpd answers nobody meanwhile */

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

/* ---- the verdict ------------------------------------------------------------------------ */

struct tally {
	uint32_t fill, spare, queued, held, quarantined, nowhere, twice;
};

static bool twice(uint8_t place)
{
	return place & LRP_FRAME_TWICE ||
	       (place & (LRP_FRAME_HELD | LRP_FRAME_AT_REST) && place & LRP_FRAME_IN_FILL);
}

/* Each frame once, by the strongest evidence. */
static void count(const struct lrp_core_pool *pool, const uint8_t *place, struct tally *tally)
{
	memset(tally, 0, sizeof(*tally));
	for (uint32_t frame = 0; frame < pool->view.frames; frame++) {
		uint8_t p = place[frame];

		tally->twice += twice(p);
		if (p & LRP_FRAME_IN_FILL)
			tally->fill++;
		else if (p & LRP_FRAME_IN_RX)
			tally->queued++;
		else if (p & LRP_FRAME_HELD)
			tally->held++;
		else if (p & LRP_FRAME_QUARANTINED)
			tally->quarantined++;
		else if (p & LRP_FRAME_AT_REST || frame >= pool->state->circulating)
			tally->spare++;
		else
			tally->nowhere++;
	}
}

static void pause_ms(long ms)
{
	struct timespec ts = {.tv_nsec = ms * 1000000};

	nanosleep(&ts, NULL);
}

static const char *audit_error(int err)
{
	switch (err) {
	case -EOVERFLOW:
		return "the RX rings name more frames than there are";
	case -ETIME:
		return "too many channels to be looked at in time";
	default:
		return strerror(-err);
	}
}

static bool audit_pool(struct lrp_core *core, struct lrp_core_pool *pool, uint64_t until_ns,
		       struct json_object *out)
{
	uint32_t frames = pool->view.frames, bound = lrp_core_kernel_bound(pool), looks;
	uint8_t *place = malloc(frames), *always_lost = malloc(frames),
		*always_twice = malloc(frames);
	uint32_t lost = 0, doubled = 0;
	struct tally tally = {0};
	bool ok = false;
	int err = 0;

	if (!place || !always_lost || !always_twice) {
		err = -ENOMEM;
		goto out;
	}
	memset(always_lost, 1, frames);
	memset(always_twice, 1, frames);
	for (looks = 0; looks < LOOKS && !ok && !err; looks++) {
		if (looks && lrp_core_now_ns() >= until_ns)
			break;
		if (looks)
			pause_ms(LOOK_PAUSE_MS);
		memset(place, 0, frames);
		lrp_fill_settle(&pool->view, pool->xsk[LRP_ENDPOINT_FRAGMENT]);
		err = lrp_core_places(core, pool, place, LRP_RINGS_ALL, until_ns);
		count(pool, place, &tally);
		for (uint32_t f = 0; f < frames; f++) {
			always_lost[f] &= !place[f] && f < pool->state->circulating;
			always_twice[f] &= twice(place[f]);
		}
		ok = !tally.twice && tally.nowhere <= bound;
	}
	for (uint32_t f = 0; f < frames; f++) {
		lost += always_lost[f];
		doubled += always_twice[f];
	}
	if (!err && !ok)
		ok = !doubled && lost <= bound;
out:
	free(place);
	free(always_lost);
	free(always_twice);
	json_object_object_add(out, "device", json_object_new_string(pool->device->state->ifname));
	json_object_object_add(out, "queue", json_object_new_int64(pool->state->queue));
	json_object_object_add(out, "frames", json_object_new_int64(frames));
	json_object_object_add(out, "free", json_object_new_int64(tally.fill + tally.spare));
	json_object_object_add(out, "spare", json_object_new_int64(tally.spare));
	json_object_object_add(out, "queued", json_object_new_int64(tally.queued));
	json_object_object_add(out, "held", json_object_new_int64(tally.held));
	json_object_object_add(out, "quarantined", json_object_new_int64(tally.quarantined));
	json_object_object_add(out, "kernel", json_object_new_int64(tally.nowhere));
	json_object_object_add(out, "kernel_bound", json_object_new_int64(bound));
	json_object_object_add(out, "lost", json_object_new_int64(lost > bound ? lost : 0));
	json_object_object_add(out, "doubled", json_object_new_int64(doubled));
	if (err)
		json_object_object_add(out, "error", json_object_new_string(audit_error(err)));
	json_object_object_add(out, "ok", json_object_new_boolean(ok && !err));
	return ok && !err;
}

struct json_object *lrp_core_audit(struct lrp_core *core)
{
	struct json_object *out = json_object_new_object();
	struct json_object *pools = json_object_new_array();
	uint64_t until_ns = lrp_core_now_ns() + AUDIT_MS * 1000000ull;
	bool ok = true;

	for (uint32_t i = 0; i < LRP_MAX_POOLS_TOTAL; i++) {
		struct json_object *pool;

		if (!lrp_core_pool_on(&core->pool[i]))
			continue;
		pool = json_object_new_object();
		ok &= audit_pool(core, &core->pool[i], until_ns, pool);
		json_object_array_add(pools, pool);
	}
	json_object_object_add(out, "ok", json_object_new_boolean(ok));
	json_object_object_add(out, "pools", pools);
	return out;
}

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
#include "audit.h"
#include "places.h"

#define LOOKS	      24
#define LOOK_PAUSE_MS 4
#define AUDIT_MS      300 /* all pools together: lrpd answers nobody meanwhile */

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

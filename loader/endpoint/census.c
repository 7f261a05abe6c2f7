/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* census.c - see census.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../../runtime/base/log.h"
#include "../pool/places.h"
#include "../pool/umem.h"
#include "../pool/user_page.h"
#include "../demux/release.h"
#include "census.h"

#define LOOK_NS 200000000ull /* what a look at all rings may take */
#define SLACK	64u	     /* frames by which honest counts may be behind */
#define NAMED	4u	     /* families in a line */

int lrp_core_census_begin(struct lrp_core *core, struct lrp_core_pool *pool,
			  struct lrp_census *census)
{
	int err;

	census->before = calloc(pool->view.frames, sizeof(*census->before));
	census->free = malloc(pool->view.frames * sizeof(*census->free));
	census->held = calloc(core->state->endpoints, sizeof(*census->held));
	if (!census->before || !census->free || !census->held)
		return -ENOMEM;
	lrp_fill_settle(&pool->view, -1);
	err = lrp_core_fill_places(pool, census->before);
	for (uint32_t f = 0; f < pool->view.frames; f++)
		census->in_fill += !!census->before[f];
	return err;
}

void lrp_core_census_end(struct lrp_census *census)
{
	free(census->before);
	free(census->free);
	free(census->held);
}

/* ---- who cannot be right ------------------------------------------------------------------ */

static void convict(struct lrp_core *core, struct lrp_core_pool *pool, uint32_t endpoint,
		    struct lrp_chan *chan, uint32_t end, const char *what)
{
	uint32_t owner = core->state->endpoint[endpoint].owner;
	const struct lrp_owner_state *family = &core->state->owner[owner];

	lrp_log(LRP_LOG_WARN,
		"lrpd: %s queue %u: %s of %s (pid %u, uid %u) cannot be true: its endpoint %u is "
		"closed",
		pool->device->state->ifname, pool->state->queue, what, family->comm, family->pid,
		family->uid, endpoint);
	/* What it named is free, or another's. */
	atomic_store_explicit(chan->consumer, end, memory_order_release);
	lrp_core_release(core, endpoint);
}

/* Frames that XDP has put on the channel and that are not back, by the family's own word. */
static int64_t outstanding(struct lrp_core *core, const struct lrp_channel *channel)
{
	struct lrp_user *user = lrp_core_user(core, channel);
	uint64_t put = __atomic_load_n(&channel->enqueued, __ATOMIC_RELAXED) - channel->corrected;

	if (user)
		put -= __atomic_load_n(&user->returned, __ATOMIC_RELAXED) +
		       __atomic_load_n(&user->lost, __ATOMIC_RELAXED);
	return (int64_t)put;
}

/* The ring names more frames than XDP has put there, or than the family says that it has. */
static bool ring_lies(struct lrp_core *core, struct lrp_core_pool *pool, uint32_t endpoint,
		      uint32_t *held)
{
	const struct lrp_channel *channel = lrp_core_channel(core, pool, endpoint);
	uint64_t put = __atomic_load_n(&channel->enqueued, __ATOMIC_RELAXED) - channel->corrected;
	struct lrp_chan chan;
	const char *what = NULL;
	uint32_t at, end;

	if (lrp_core_ring_open(core, pool, endpoint, &chan))
		return false;
	at = lrp_core_ring_bounds(&chan, &end);
	*held = end - at;
	if (end - at > put)
		what = "the RX ring";
	else if ((int64_t)(end - at) > outstanding(core, channel) + (int64_t)SLACK)
		what = "the user record";
	if (what)
		convict(core, pool, endpoint, &chan, end, what);
	lrp_core_ring_close(&chan);
	return what != NULL;
}

static int convict_liars(struct lrp_core *core, struct lrp_core_pool *pool,
			 struct lrp_census *census, uint64_t until_ns)
{
	for (uint32_t e = LRP_ENDPOINT_FIRST; e < core->state->endpoints; e++) {
		if (pool->xsk[e] < 0 || core->state->endpoint[e].use != LRP_ENDPOINT_USED ||
		    lrp_core_channel(core, pool, e)->owner != core->state->endpoint[e].owner)
			continue;
		if (lrp_core_now_ns() >= until_ns)
			return -ETIME;
		census->convicted += ring_lies(core, pool, e, &census->held[e]);
	}
	return 0;
}

/* ---- the frame table ----------------------------------------------------------------------- */

static uint32_t mark_endpoint(const struct lrp_core *core, const struct lrp_core_pool *pool,
			      uint32_t holder)
{
	uint32_t channel = (holder & ~LRP_FRAME_RETURNING) - LRP_FRAME_MARK(0);

	return channel / core->state->endpoints == pool->state->queue
		       ? channel % core->state->endpoints
		       : UINT32_MAX;
}

static bool is_mark(uint32_t holder)
{
	return holder != LRP_FRAME_FREE && !(holder & 0x80000000u) && holder != LRP_FRAME_RESTING;
}

static void clear(uint32_t *word, uint32_t holder)
{
	__atomic_compare_exchange_n(word, &holder, LRP_FRAME_FREE, false, __ATOMIC_ACQ_REL,
				    __ATOMIC_RELAXED);
}

/*
 * Anybody can write any mark. One counts if its endpoint is there and if not more frames have its
 * mark than XDP has put on the channel; which of too many are true nobody can tell.
 */
static int check_marks(struct lrp_core *core, struct lrp_core_pool *pool, struct lrp_census *census)
{
	uint32_t *marks = calloc(core->state->endpoints, sizeof(*marks));

	if (!marks)
		return -ENOMEM;
	for (uint32_t f = 0; f < pool->view.frames; f++) {
		uint32_t holder = __atomic_load_n(&pool->view.frame[f].holder, __ATOMIC_ACQUIRE);
		uint32_t e = is_mark(holder) ? mark_endpoint(core, pool, holder) : UINT32_MAX;

		if (e != UINT32_MAX)
			marks[e]++;
	}
	for (uint32_t f = 0; f < pool->view.frames; f++) {
		uint32_t *word = &pool->view.frame[f].holder;
		uint32_t holder = __atomic_load_n(word, __ATOMIC_ACQUIRE), e;

		if (!is_mark(holder))
			continue;
		e = mark_endpoint(core, pool, holder);
		if (e < LRP_ENDPOINT_FIRST || e == UINT32_MAX ||
		    core->state->endpoint[e].use == LRP_ENDPOINT_FREE ||
		    (core->state->endpoint[e].use == LRP_ENDPOINT_USED &&
		     marks[e] >
			     outstanding(core, lrp_core_channel(core, pool, e)) + (int64_t)SLACK))
			clear(word, holder);
		else
			census->held[e]++;
	}
	free(marks);
	return 0;
}

/*
 * While the fill ring was empty the kernel lost frames that XDP had counted. A family finds out
 * when it asks the kernel; one that sleeps on a channel at its limit never asks. What is neither
 * held nor returned is lost: the same number that the family would find.
 */
static void tell_losses(struct lrp_core *core, struct lrp_core_pool *pool,
			const struct lrp_census *census)
{
	for (uint32_t e = LRP_ENDPOINT_FIRST; e < core->state->endpoints; e++) {
		const struct lrp_channel *channel = lrp_core_channel(core, pool, e);
		struct lrp_user *user = lrp_core_user(core, channel);
		int64_t lost;

		if (pool->xsk[e] < 0 || core->state->endpoint[e].use != LRP_ENDPOINT_USED ||
		    channel->owner != core->state->endpoint[e].owner || !user)
			continue;
		lost = outstanding(core, channel) - (int64_t)census->held[e];
		if (lost > 0)
			__atomic_fetch_add(&user->lost, (uint64_t)lost, __ATOMIC_RELEASE);
	}
}

/* ---- all frames ---------------------------------------------------------------------------- */

static void sort(struct lrp_core_pool *pool, struct lrp_census *census, const uint8_t *place)
{
	uint32_t bound = lrp_core_kernel_bound(pool), nowhere = 0;

	for (uint32_t f = 0; f < pool->view.frames; f++) {
		if (place[f])
			census->twice += census->before[f] != 0;
		else if (f < pool->state->circulating)
			nowhere += !census->before[f];
		census->twice += !!(census->before[f] & LRP_FRAME_TWICE);
	}
	/* So few may be the kernel's, which uses them for the next packets. */
	census->brought_back = nowhere > bound;
	census->lost = census->brought_back ? nowhere : 0;
	for (uint32_t f = 0; f < pool->state->circulating; f++) {
		uint32_t *word = &pool->view.frame[f].holder;

		if (place[f] & LRP_FRAME_IN_RX && place[f] & LRP_FRAME_AT_REST)
			clear(word, LRP_FRAME_RESTING); /* in a ring it does not rest */
		if (place[f] || !(census->before[f] || census->brought_back))
			continue;
		__atomic_store_n(word, LRP_FRAME_FREE, __ATOMIC_RELEASE);
		census->free[census->free_count++] = f;
	}
}

int lrp_core_census_take(struct lrp_core *core, struct lrp_core_pool *pool,
			 struct lrp_census *census)
{
	uint64_t until_ns = lrp_core_now_ns() + LOOK_NS;
	uint8_t *place = calloc(pool->view.frames, 1);
	int err = place ? convict_liars(core, pool, census, until_ns) : -ENOMEM;

	if (!err)
		err = check_marks(core, pool, census);
	/* The fill ring is poisoned: nothing is seen there. What a closed ring still
	 * names is free. */
	if (!err)
		err = lrp_core_places(core, pool, place, LRP_RINGS_USED, until_ns);
	if (!err) {
		sort(pool, census, place);
		tell_losses(core, pool, census);
	}
	free(place);
	return err;
}

/* ---- names ---------------------------------------------------------------------------------- */

void lrp_core_census_families(const struct lrp_core *core, const struct lrp_core_pool *pool,
			      char *text, size_t size)
{
	bool has[LRP_OWNERS] = {false};
	uint32_t families = 0, named = 0;
	size_t used = 0;

	text[0] = 0;
	for (uint32_t e = LRP_ENDPOINT_FIRST; e < core->state->endpoints; e++) {
		uint32_t owner = core->state->endpoint[e].owner;

		if (core->state->endpoint[e].use == LRP_ENDPOINT_FREE || pool->xsk[e] < 0 ||
		    owner >= LRP_OWNERS || has[owner])
			continue;
		has[owner] = true;
		families++;
	}
	for (uint32_t o = 0; o < LRP_OWNERS && named < NAMED; o++) {
		const struct lrp_owner_state *family = &core->state->owner[o];
		int n;

		if (!has[o])
			continue;
		n = snprintf(text + used, size - used, "%s%s (pid %u, uid %u)", named ? ", " : "",
			     family->comm, family->pid, family->uid);
		if (n < 0 || (size_t)n >= size - used)
			break;
		used += (size_t)n;
		named++;
	}
	if (families > named)
		snprintf(text + used, size - used, " and %u more", families - named);
	else if (!families)
		snprintf(text, size, "nobody's any more");
}

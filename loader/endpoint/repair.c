/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * repair.c - the health of a pool whose memory any of its users can write.
 *
 * Several times a second each pool is checked: is there a tag in the fill ring that only nonsense
 * explains, is the kernel's place in it no more than a lap behind the index, does the kernel find
 * it empty, has a process said that it could not return a frame. When something is amiss:
 *
 *   1. Stop. All limits of the pool's channels become 0, so XDP drops what comes. After a grace
 *      period the kernel neither takes frames nor publishes them.
 *   2. Look (census.c). Families whose rings or records cannot be true lose these endpoints. What
 *      then is in no ring and held by nobody is free.
 *   3. Rebuild the fill ring from where the kernel reads next: the free frames, and in all other
 *      slots an address beyond the UMEM, which the kernel skips. So a kernel that has cached a
 *      wrong index, and reads past the true one, finds no frame twice.
 *   4. Go on. Processes that could not return frames meanwhile have let them rest.
 *
 * If that is needed again and again, somebody goes on writing: the channels of datagram sockets are
 * shut, so that XDP passes their packets to the kernel, and the next repair waits for a while. What
 * belongs to TCP goes on being dropped, to be sent again.
 * The limit of the fragment channel is the first to become 0 and the last to be restored: a new
 * lrpd sees by it that the old one died in between.
 */
#include <errno.h>
#include <linux/if_xdp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "../../runtime/base/log.h"
#include "../../runtime/ring/ring_map.h"
#include "../pool/circulate.h"
#include "census.h"
#include "repair.h"

#define CHECK_MS	250u
#define LATELY_NS	(10ull * 1000000000u)
#define REPAIRS_LATELY	3u /* more than that: to the kernel */
#define PASS_NS		800000000ull
#define FAILED_NS	8000000000ull /* there was no time, or no memory, to look at all frames */
#define STRAGGLERS_NS	300000000ull  /* who meets the ring while it is rebuilt says so by then */
#define VERIFY_NS	1000000000ull
#define SAY_NS		(5ull * 1000000000u)
#define EMPTY_IGNORE_NS (10ull * 1000000000u) /* after an empty ring turned out to be in order */

/* ---- checks -------------------------------------------------------------------------------- */

static const _Atomic uint32_t *fill_consumer(const struct lrp_core_pool *pool)
{
	struct xdp_mmap_offsets offsets;

	if (lrp_ring_offsets(pool->xsk[LRP_ENDPOINT_FRAGMENT], &offsets))
		return NULL;
	return (const _Atomic uint32_t *)((const uint8_t *)pool->view.fill_map +
					  offsets.fr.consumer);
}

/* A slot ahead of the index has the tag of its lap or of the lap before [fill.c]. */
static bool tag_amiss(const struct lrp_pool_view *view)
{
	uint32_t mask = lrp_fill_lap_mask(view), slots = view->fill_size - 1;

	for (uint32_t i = 0; i < view->fill_size; i++) {
		uint32_t p = atomic_load_explicit(view->fill_producer, memory_order_acquire) + i;
		uint64_t slot =
			atomic_load_explicit(&view->fill_slot[p & slots], memory_order_acquire);
		uint32_t ahead = ((uint32_t)slot - lrp_fill_lap(view, p)) & mask;

		if (ahead == mask || ahead == 0)
			continue;
		/* Unless the index has moved, and with it what is right. */
		if (atomic_load_explicit(view->fill_producer, memory_order_acquire) == p - i)
			return true;
	}
	return false;
}

/* The kernel publishes where it reads after each batch of packets. */
static bool index_amiss(const struct lrp_core_pool *pool)
{
	const _Atomic uint32_t *consumer = fill_consumer(pool);
	uint32_t at, end;

	if (!consumer)
		return false;
	at = atomic_load_explicit(consumer, memory_order_acquire);
	end = atomic_load_explicit(pool->view.fill_producer, memory_order_acquire);
	return end - at > pool->view.fill_size &&
	       atomic_load_explicit(consumer, memory_order_acquire) == at;
}

/*
 * XDP lends no more than there is, so the kernel finds frames. If it did not, and goes on to find
 * none or the ring stays empty, somebody has more frames than he admits. Once all channels are at
 * their limits nobody asks the kernel any more, and its count stands still.
 */
static bool empty_amiss(struct lrp_core_pool *pool, uint64_t now)
{
	const _Atomic uint32_t *consumer = fill_consumer(pool);
	struct lrp_core_health *health = &pool->health;
	struct xdp_statistics stats = {0};
	socklen_t length = sizeof(stats);
	bool more, empty;

	if (!consumer ||
	    getsockopt(pool->xsk[LRP_ENDPOINT_FRAGMENT], SOL_XDP, XDP_STATISTICS, &stats, &length))
		return false;
	more = stats.rx_fill_ring_empty_descs != health->empty;
	empty = stats.rx_fill_ring_empty_descs != health->empty_when_repaired &&
		atomic_load_explicit(consumer, memory_order_acquire) ==
			atomic_load_explicit(pool->view.fill_producer, memory_order_acquire);
	health->empty = stats.rx_fill_ring_empty_descs;
	health->empty_checks = more || empty ? health->empty_checks + 1 : 0;
	return health->empty_checks > 2 && now >= health->ignore_empty_ns;
}

static const char *check(struct lrp_core_pool *pool, uint64_t now)
{
	struct lrp_core_health *health = &pool->health;
	bool broken = __atomic_exchange_n(&pool->view.rest->broken, 0, __ATOMIC_ACQ_REL);

	health->index_checks = index_amiss(pool) ? health->index_checks + 1 : 0;
	if (health->index_checks > 1)
		return "the index of the fill ring makes no sense";
	if (tag_amiss(&pool->view))
		return "a slot of the fill ring makes no sense";
	/* What follows may need a look at all frames, and they do not stand still. */
	if (pool->state->zerocopy)
		return NULL;
	/* While it was rebuilt, nobody could. */
	if (broken && now - health->repaired_ns > STRAGGLERS_NS)
		return "a process could not return a frame to the fill ring";
	if (health->suspect)
		return "what a process left behind makes no sense";
	if (empty_amiss(pool, now))
		return "the fill ring runs empty";
	if (health->verify_ns && now >= health->verify_ns)
		return "lost frames have been brought back";
	return NULL;
}

/* With zero-copy the ring is not rebuilt: the driver reads it at any time. A slot
 * is mended alone. */
static void mend_tags(const struct lrp_pool_view *view)
{
	uint32_t mask = lrp_fill_lap_mask(view), slots = view->fill_size - 1;
	uint32_t at = atomic_load_explicit(view->fill_producer, memory_order_acquire);

	for (uint32_t p = at; p != at + view->fill_size; p++) {
		_Atomic uint64_t *slot = &view->fill_slot[p & slots];
		uint64_t is = atomic_load_explicit(slot, memory_order_acquire);
		uint32_t lap = lrp_fill_lap(view, p), ahead = ((uint32_t)is - lap) & mask;

		/* While the slot is nonsense the index cannot pass it. */
		if (ahead != mask && ahead != 0)
			atomic_compare_exchange_strong(slot, &is,
						       (uint64_t)view->frames << view->frame_shift |
							       ((lap - 1) & mask));
	}
}

/* ---- stopping and going on ------------------------------------------------------- */

static void each_channel(struct lrp_core *core, struct lrp_core_pool *pool,
			 void (*what)(struct lrp_channel *channel,
				      const struct lrp_endpoint_state *ep))
{
	for (uint32_t e = LRP_ENDPOINT_FIRST; e < core->state->endpoints; e++) {
		const struct lrp_endpoint_state *ep = &core->state->endpoint[e];
		struct lrp_channel *channel = lrp_core_channel(core, pool, e);

		if (ep->use == LRP_ENDPOINT_USED && pool->xsk[e] >= 0 && channel->ring_size &&
		    channel->owner == ep->owner)
			what(channel, ep);
	}
}

static void channel_stop(struct lrp_channel *channel, const struct lrp_endpoint_state *ep)
{
	(void)ep;
	__atomic_store_n(&channel->limit, 0, __ATOMIC_RELEASE);
}

/*
 * A datagram's shadow serves it. Segments of connections are left to be dropped and sent again: the
 * kernel, which knows no such connection, would reset it.
 */
static void channel_pass(struct lrp_channel *channel, const struct lrp_endpoint_state *ep)
{
	if (!ep || (ep->pub.on && ep->pub.proto == IPPROTO_UDP))
		__atomic_store_n(&channel->flags, 0, __ATOMIC_RELEASE);
}

static void channel_go_on(struct lrp_channel *channel, const struct lrp_endpoint_state *ep)
{
	__atomic_store_n(&channel->limit, ep->limit, __ATOMIC_RELEASE);
	__atomic_store_n(&channel->flags, LRP_CHANNEL_ACTIVE, __ATOMIC_RELEASE);
}

static void stop(struct lrp_core *core, struct lrp_core_pool *pool, const char *why)
{
	struct lrp_core_health *health = &pool->health;
	uint64_t now = lrp_core_now_ns();

	if (health->repaired_ns && now - health->repaired_ns > LATELY_NS)
		health->repairs = 0;
	health->repairs++;
	health->why = why;
	health->suspect = false;
	health->verify_ns = 0;
	health->index_checks = 0;
	channel_stop(lrp_core_channel(core, pool, LRP_ENDPOINT_FRAGMENT), NULL);
	each_channel(core, pool, channel_stop);
	health->state = LRP_POOL_STOPPED;
	health->ticket = lrp_core_grace_ask(core);
}

static void go_on(struct lrp_core *core, struct lrp_core_pool *pool)
{
	pool->health.state = LRP_POOL_WELL;
	each_channel(core, pool, channel_go_on);
	channel_go_on(lrp_core_channel(core, pool, LRP_ENDPOINT_FRAGMENT),
		      &core->state->endpoint[LRP_ENDPOINT_FRAGMENT]);
	lrp_core_circulate(core, pool);
}

static void pass_all(struct lrp_core *core, struct lrp_core_pool *pool)
{
	channel_pass(lrp_core_channel(core, pool, LRP_ENDPOINT_FRAGMENT), NULL);
	each_channel(core, pool, channel_pass);
}

static void pass(struct lrp_core *core, struct lrp_core_pool *pool, bool failed)
{
	struct lrp_core_health *health = &pool->health;

	health->state = LRP_POOL_PASSED;
	health->again_ns = pool->state->zerocopy
				   ? UINT64_MAX
				   : lrp_core_now_ns() + (failed ? FAILED_NS : PASS_NS);
	pass_all(core, pool);
}

/* ---- rebuilding ----------------------------------------------------------------------------- */

static void slot_write(const struct lrp_pool_view *view, uint32_t p, uint64_t frame, uint32_t tag)
{
	atomic_store_explicit(&view->fill_slot[p & (view->fill_size - 1)],
			      frame << view->frame_shift | (tag & lrp_fill_lap_mask(view)),
			      memory_order_release);
}

/* A tag that is nonsense to who looks with either index. */
static uint32_t poison(const struct lrp_pool_view *view, uint32_t p, uint32_t q)
{
	uint32_t mask = lrp_fill_lap_mask(view), tag = 0;

	/* Of four in a row, and four more, at most six are taken. */
	while (((tag - lrp_fill_lap(view, p) + 2) & mask) < 4 ||
	       ((tag - lrp_fill_lap(view, q) + 2) & mask) < 4)
		tag++;
	return tag;
}

/* Who returns a frame now is told that the ring is broken, and lets it rest. */
static void poison_all(const struct lrp_pool_view *view, uint32_t p, uint32_t q)
{
	uint32_t tag = poison(view, p, q);

	for (uint32_t i = 0; i < view->fill_size; i++)
		slot_write(view, i, view->frames, tag);
}

/* The ring begins at `at`, where the kernel reads next, with these frames. */
static void rebuild(const struct lrp_pool_view *view, uint32_t at, const uint32_t *frame,
		    uint32_t count)
{
	uint32_t end = at + count;

	atomic_store_explicit(view->fill_producer, end, memory_order_release);
	for (uint32_t p = at; p != end; p++)
		slot_write(view, p, frame[p - at], lrp_fill_lap(view, p));
	/* Backwards: the slot at the index lets the others in, so it is the last. */
	for (uint32_t p = at + view->fill_size; p != end; p--)
		slot_write(view, p - 1, view->frames, lrp_fill_lap(view, p - 1) - 1);
}

static void say(struct lrp_core *core, struct lrp_core_pool *pool, const struct lrp_census *census)
{
	bool passed = pool->health.state == LRP_POOL_PASSED;
	uint64_t now = lrp_core_now_ns();
	char families[256];

	if (!passed && pool->health.said_ns && now - pool->health.said_ns < SAY_NS)
		return;
	pool->health.said_ns = now;
	lrp_core_census_families(core, pool, families, sizeof(families));
	lrp_log(LRP_LOG_WARN,
		"lrpd: %s queue %u: %s: %s (%u frames were lost, %u in two places, %u endpoints "
		"closed); channels there: %s",
		pool->device->state->ifname, pool->state->queue, pool->health.why,
		passed ? "passed to the kernel for a while" : "repaired", census->lost,
		census->twice, census->convicted, families);
}

static void repair(struct lrp_core *core, struct lrp_core_pool *pool)
{
	struct lrp_core_health *health = &pool->health;
	const _Atomic uint32_t *consumer = fill_consumer(pool);
	struct lrp_pool_view *view = &pool->view;
	struct lrp_census census = {0};
	uint64_t now = lrp_core_now_ns();
	bool retry = health->state == LRP_POOL_PASSED;
	uint32_t at, end;
	int err;

	/* A driver with zero-copy takes frames at any time: its ring cannot be rebuilt. */
	if (pool->state->zerocopy)
		mend_tags(view);
	err = !consumer || pool->state->zerocopy ? -EOPNOTSUPP
						 : lrp_core_census_begin(core, pool, &census);
	if (!err) {
		at = atomic_load_explicit(consumer, memory_order_acquire);
		end = atomic_load_explicit(view->fill_producer, memory_order_acquire);
		poison_all(view, end, at + census.in_fill);
		err = lrp_core_census_take(core, pool, &census);
		if (err)
			census.free_count = 0;
		rebuild(view, at, census.free, census.free_count);
		__atomic_store_n(&view->rest->broken, 0, __ATOMIC_RELEASE);
	}
	health->repaired_ns = now;
	health->empty_when_repaired = health->empty;
	health->total++;
	/* A driver's index that is wrong stays so. */
	if (pool->state->zerocopy && !index_amiss(pool))
		go_on(core, pool);
	else if (err || !census.free_count || (health->repairs > REPAIRS_LATELY && !retry))
		pass(core, pool, err != 0);
	else
		go_on(core, pool);
	if (!err && census.brought_back)
		health->verify_ns = now + VERIFY_NS;
	if (!err && !census.lost && !census.twice && !census.convicted)
		health->ignore_empty_ns = now + EMPTY_IGNORE_NS;
	say(core, pool, &census);
	lrp_core_census_end(&census);
}

/* ---- all pools ------------------------------------------------------------------------------ */

static bool anybody(const struct lrp_core *core)
{
	for (uint32_t o = LRP_OWNER_LRPD + 1; o < LRP_OWNERS; o++)
		if (core->state->owner[o].used)
			return true;
	return false;
}

static uint64_t pool_run(struct lrp_core *core, struct lrp_core_pool *pool, uint64_t now, bool due)
{
	struct lrp_core_health *health = &pool->health;
	const char *why;

	switch (health->state) {
	case LRP_POOL_WELL:
		/* Left by a predecessor that died over it? */
		if (due && !lrp_core_channel(core, pool, LRP_ENDPOINT_FRAGMENT)->limit)
			why = "an earlier lrpd died while it repaired";
		else
			why = due ? check(pool, now) : NULL;
		if (why)
			stop(core, pool, why);
		return 0;
	case LRP_POOL_STOPPED:
		if (lrp_core_grace_over(core, health->ticket))
			repair(core, pool);
		return 0;
	case LRP_POOL_PASSED:
		if (due)
			pass_all(core, pool); /* who has come meanwhile, too */
		if (now < health->again_ns)
			return health->again_ns;
		health->repairs++;
		repair(core, pool);
		return health->state == LRP_POOL_PASSED ? health->again_ns : 0;
	}
	return 0;
}

uint64_t lrp_core_repair_run(struct lrp_core *core)
{
	uint64_t now = lrp_core_now_ns(), next = 0;
	bool due = now >= core->next_check_ns, live = false;

	if (due) {
		core->checks = anybody(core)  ? LRP_CHECKS_AFTER
			       : core->checks ? core->checks - 1
					      : 0;
		core->next_check_ns = now + CHECK_MS * 1000000ull;
	}
	for (uint32_t i = 0; i < LRP_MAX_POOLS_TOTAL; i++) {
		uint64_t at;

		if (!lrp_core_pool_live(&core->pool[i]))
			continue;
		live = true;
		at = pool_run(core, &core->pool[i], now, due);
		if (at && at != UINT64_MAX && (!next || at < next))
			next = at;
	}
	if (live && core->checks && (!next || core->next_check_ns < next))
		next = core->next_check_ns;
	return next;
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* stray.c - see stray.h. */
#include <string.h>

#include "stray.h"

#define NONE	  0xffffu
#define RETURN_MS 100 /* orphans are looked at, and what was taken goes back, so often */
#define MINE	  LRP_FRAME_CLAIM(LRP_OWNER_LRPD)

enum state {
	STRAY_WAITING = 1, /* for its first fragment; in its bucket */
	STRAY_SETTLED,	   /* claimed by the core; its frame goes back */
	STRAY_NONSENSE,	   /* its descriptor names no frame */
};

static struct lrp_stray *stray_at(struct lrp_stray_ring *ring, uint32_t at)
{
	return &ring->stray[at % LRP_FRAGMENT_RING];
}

static uint32_t *holder_of(const struct lrp_stray_ring *ring, const struct lrp_stray *stray)
{
	return &ring->chan.pool->frame[stray->addr >> ring->chan.pool->frame_shift].holder;
}

/* ---- the index ------------------------------------------------------------------------ */

static uint64_t fold(uint64_t a, uint64_t b)
{
	__uint128_t product = (__uint128_t)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint16_t *bucket_of(struct lrp_stray_ring *ring, const struct lrp_fragment_key *key)
{
	uint64_t word[5], hash = ring->secret;

	_Static_assert(sizeof(word) == sizeof(*key), "a key is five words");
	memcpy(word, key, sizeof(word));
	for (int i = 0; i < 5; i++)
		hash = fold(hash ^ word[i], ring->secret | 1);
	return &ring->bucket[hash % LRP_FRAGMENT_RING];
}

static void link_in(struct lrp_stray_ring *ring, struct lrp_stray *stray)
{
	uint16_t *bucket = bucket_of(ring, &stray->key);

	stray->next = *bucket;
	*bucket = (uint16_t)(stray - ring->stray);
}

/* An old one is at the end: the walk is as long as the bucket. */
static void unlink_from(struct lrp_stray_ring *ring, struct lrp_stray *stray)
{
	uint16_t *at = bucket_of(ring, &stray->key), self = (uint16_t)(stray - ring->stray);

	for (uint32_t i = 0; i < LRP_FRAGMENT_RING && *at != NONE; i++) {
		ring->work++;
		if (*at == self) {
			*at = stray->next;
			return;
		}
		at = &ring->stray[*at].next;
	}
}

/* ---- one orphan ---------------------------------------------------------------------------- */

/* Copies the packet into ring->packet. False: it is not (or no longer) a fragment. */
static bool copy(struct lrp_stray_ring *ring, const struct lrp_stray *stray,
		 struct lrp_fragment_key *key)
{
	memcpy(ring->packet, ring->chan.pool->umem + stray->addr, stray->len);
	return lrp_stray_key(ring->packet, stray->len, key);
}

/* Nobody waits for it any more; its frame goes back when it is at the head. */
static void settle(struct lrp_stray_ring *ring, struct lrp_stray *stray)
{
	unlink_from(ring, stray);
	stray->state = STRAY_SETTLED;
}

static bool claim(struct lrp_stray_ring *ring, struct lrp_stray *stray)
{
	uint32_t none = LRP_FRAME_FREE;

	return __atomic_compare_exchange_n(holder_of(ring, stray), &none, MINE, false,
					   __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

/* The datagram is the kernel's: so is this part of it. */
static void give(struct lrp_stray_ring *ring, struct lrp_stray *stray)
{
	struct lrp_fragment_key key;

	if (!claim(ring, stray))
		return; /* reassembly was faster */
	if (!copy(ring, stray, &key) || memcmp(&key, &stray->key, sizeof(key)) ||
	    ring->ops->inject(ring->arg, ring->packet, stray->len))
		ring->counts->failed++;
	else
		ring->counts->injected++;
	settle(ring, stray);
}

/* Its first fragment has not come in time. If none has come at all the kernel may wait for it. */
static void expire(struct lrp_stray_ring *ring, struct lrp_stray *stray)
{
	uint32_t way = ring->ops->way(ring->arg, &stray->key);

	if (way == LRP_FRAGMENT_STORED) {
		ring->ops->mark(ring->arg, &stray->key);
		way = LRP_FRAGMENT_KERNEL;
	}
	if (way == LRP_FRAGMENT_KERNEL) {
		give(ring, stray);
	} else if (claim(ring, stray)) {
		ring->counts->expired++;
		settle(ring, stray);
	}
}

/* Reads a descriptor, once. */
static void receive(struct lrp_stray_ring *ring, uint32_t at, uint64_t now_ns)
{
	const struct lrp_pool_view *pool = ring->chan.pool;
	const volatile struct xdp_desc *slot = &ring->chan.desc[at & ring->chan.ring_mask];
	struct xdp_desc desc = {.addr = slot->addr, .len = slot->len, .options = slot->options};
	struct lrp_stray *stray = stray_at(ring, at);
	uint64_t frame = desc.addr >> pool->frame_shift;
	uint64_t within = desc.addr & (pool->frame_size - 1);
	uint32_t holder;

	ring->work++;
	*stray = (struct lrp_stray){.addr = desc.addr, .len = desc.len, .seen_ns = now_ns};
	if (frame >= pool->frames) {
		ring->counts->nonsense++;
		stray->state = STRAY_NONSENSE;
		return;
	}
	stray->state = STRAY_SETTLED;
	if (desc.options & XDP_PKT_CONTD || desc.len > LRP_ORPHAN_MAX ||
	    desc.len > pool->frame_size - within || !copy(ring, stray, &stray->key)) {
		ring->counts->nonsense++;
		return;
	}
	/* A frame on this ring is nobody's, or claimed. Another mark is nonsense,
	 * and in the way. */
	holder = __atomic_load_n(holder_of(ring, stray), __ATOMIC_RELAXED);
	if (!(holder & LRP_FRAME_CLAIM(0)))
		__atomic_compare_exchange_n(holder_of(ring, stray), &holder, LRP_FRAME_FREE, false,
					    __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
	stray->state = STRAY_WAITING;
	link_in(ring, stray);
	/* The event may have come before the orphan was on the ring. */
	if (ring->ops->way(ring->arg, &stray->key) == LRP_FRAGMENT_KERNEL)
		give(ring, stray);
}

bool lrp_stray_kernels(struct lrp_stray_ring *ring, const struct lrp_fragment_key *key)
{
	uint16_t at = *bucket_of(ring, key), next;
	bool found = false;

	for (uint32_t i = 0; i < LRP_FRAGMENT_RING && at != NONE; i++, at = next) {
		struct lrp_stray *stray = &ring->stray[at];

		ring->work++;
		next = stray->next;
		if (memcmp(&stray->key, key, sizeof(*key)))
			continue;
		give(ring, stray);
		found = true;
	}
	return found;
}

/* ---- the ring -------------------------------------------------------------------- */

/* Is the head done with? A claim that is too old is taken over. */
static bool head_done(struct lrp_stray_ring *ring, struct lrp_stray *stray, uint64_t now_ns)
{
	uint32_t holder;

	if (stray->state != STRAY_WAITING)
		return true;
	if (now_ns - stray->seen_ns >= LRP_STRAY_LIFE_NS)
		expire(ring, stray);
	if (stray->state != STRAY_WAITING)
		return true;
	holder = __atomic_load_n(holder_of(ring, stray), __ATOMIC_ACQUIRE);
	if (holder != LRP_FRAME_DONE &&
	    now_ns - stray->seen_ns < LRP_STRAY_LIFE_NS + LRP_STRAY_CLAIM_NS)
		return false;
	settle(ring, stray);
	return true;
}

/* Moves the consumer past what is done. The consumer moves before the frame goes back. */
static void advance(struct lrp_stray_ring *ring, uint64_t now_ns)
{
	for (; ring->head != ring->tail; ring->head++) {
		struct lrp_stray *stray = stray_at(ring, ring->head);

		ring->work++;
		if (!head_done(ring, stray, now_ns))
			break;
		atomic_store_explicit(ring->chan.consumer, ring->head + 1, memory_order_release);
		if (stray->state == STRAY_SETTLED) {
			__atomic_store_n(holder_of(ring, stray), LRP_FRAME_FREE, __ATOMIC_RELEASE);
			lrp_fill_push(ring->chan.pool, stray->addr);
		}
		ring->returned++;
	}
	/* Stored, not added to: whatever others have written there is gone. */
	atomic_store_explicit(ring->chan.consumer, ring->head, memory_order_release);
	if (ring->user)
		__atomic_store_n(&ring->user->returned, ring->returned, __ATOMIC_RELEASE);
}

/* What user->returned must be for XDP to see `held` frames in the ring. */
static void count_returned(struct lrp_stray_ring *ring, uint64_t sent, uint32_t held)
{
	ring->returned = sent - ring->channel->corrected - ring->lost - held;
}

/* Gives up what it knows of the ring and goes on at `at`. Frames that were not looked at are left
 * to the audit: nobody can say whether they are there. */
static void resync(struct lrp_stray_ring *ring, uint32_t at, uint64_t sent, uint32_t held)
{
	for (uint32_t old = ring->head; old != ring->tail; old++) {
		struct lrp_stray *stray = stray_at(ring, old);

		if (stray->state == STRAY_WAITING)
			settle(ring, stray);
	}
	advance(ring, 0);
	ring->head = ring->tail = at;
	count_returned(ring, sent, held);
}

/*
 * The producer, if it can be: XDP counts a frame before it sends it. What somebody else has
 * stored there is gone with the next frame, for the kernel stores a counter of its own. If what
 * cannot be goes on like the kernel's counter it is `base` that is wrong: it was read after
 * somebody had written.
 */
static bool producer_of(struct lrp_stray_ring *ring, uint32_t *producer)
{
	uint32_t at = atomic_load_explicit(ring->chan.producer, memory_order_acquire);
	uint64_t sent = __atomic_load_n(&ring->channel->enqueued, __ATOMIC_ACQUIRE);

	*producer = at;
	if (at - ring->base > sent - ring->sent_base + ring->slack) {
		if (!ring->nonsense)
			ring->counts->nonsense++;
		if (!ring->nonsense || at == ring->candidate ||
		    at - ring->candidate > sent - ring->sent_candidate) {
			ring->nonsense = true;
			ring->candidate = at;
			ring->sent_candidate = sent;
			return false;
		}
		resync(ring, ring->candidate, sent, at - ring->candidate);
	}
	ring->nonsense = false;
	/* The kernel has lapped us: somebody has moved the consumer. */
	if (at - ring->head > LRP_FRAGMENT_RING)
		resync(ring, at - LRP_FRAGMENT_RING, sent, LRP_FRAGMENT_RING);
	ring->sent_base += at - ring->base;
	ring->base = at;
	return true;
}

void lrp_stray_start(struct lrp_stray_ring *ring, uint64_t sent, uint32_t slack, uint64_t secret)
{
	uint32_t producer = atomic_load_explicit(ring->chan.producer, memory_order_acquire);
	uint32_t consumer = atomic_load_explicit(ring->chan.consumer, memory_order_acquire);

	ring->secret = secret;
	ring->slack = slack;
	ring->sent_base = sent;
	ring->base = producer;
	ring->head = ring->tail = producer - consumer <= LRP_FRAGMENT_RING ? consumer : producer;
	count_returned(ring, sent, producer - ring->head);
	memset(ring->bucket, 0xff, sizeof(ring->bucket));
}

int lrp_stray_run(struct lrp_stray_ring *ring, uint64_t now_ns)
{
	uint32_t producer;

	if (producer_of(ring, &producer))
		for (; ring->tail != producer; ring->tail++)
			receive(ring, ring->tail, now_ns);
	advance(ring, now_ns);
	return ring->head != ring->tail || ring->nonsense ? RETURN_MS : -1;
}

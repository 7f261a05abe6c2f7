/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * fragments.c - reassembly in the receiving thread, and the search for orphans,
 * fragments that came before their first [design 4].
 *
 * Orphans lie in the rings of the fragment endpoint, which all processes share. Each socket that
 * receives fragments looks at each of them once: it takes what it waits for and notes the others
 * (runtime/ip/orphans.h), so that a first fragment that comes later finds its own.
 *
 * An orphan is claimed by a compare-and-swap in the frame table, copied, parsed from the copy,
 * and marked done; the core, which is the consumer of these rings, returns what is done. Whoever
 * has a channel of the pool can write ring, frames and table at any time. So a descriptor is read
 * once and bounded, and nothing is believed of a frame but what is in the copy.
 */
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../ip/ip_input.h"
#include "../ip/orphans.h"
#include "../ip/reassembly.h"
#include "../udp/udp_input.h"
#include "dgram.h"

/* On several queues a fragment can overtake its first by so much: who sleeps looks again. */
#define LATE_NS (100 * LRP_NS_PER_MS)

#define POOLS (LRP_MAX_DEVICES * 4u) /* pool indices are below; as in struct lrp_status_page */

/* A socket looks at so many orphans at a time, more only when it looks for the first time: it
 * bounds what somebody costs who moves a ring's index to and fro. */
#define LOOK_MAX 256u

/* A socket's memory for fragments. */
struct memory {
	uint32_t pools_epoch, incarnation; /* of the rings that `seen` is about */
	uint64_t began;			   /* a bit for each pool whose `seen` is valid */
	uint32_t seen[POOLS];		   /* first descriptor that was not looked at */
	struct lrp_orphan_index index;
	uint8_t copy[LRP_ORPHAN_MAX];
	_Alignas(64) uint8_t reassembly[];
};

static struct memory *memory_of(const struct lrp_sock *s)
{
	return (struct memory *)((uint8_t *)s->dgram.reassembly -
				 offsetof(struct memory, reassembly));
}

static struct lrp_reassembly *reassembly(struct lrp_sock *s)
{
	size_t size = offsetof(struct memory, reassembly) + lrp_reassembly_size();
	struct memory *m;

	if (s->dgram.reassembly)
		return s->dgram.reassembly;
	lrp_inside++;
	m = lrp_arena_alloc(size);
	lrp_inside--;
	if (!m)
		return NULL;
	m->pools_epoch = m->incarnation = 0;
	m->began = 0;
	lrp_orphan_index_init(&m->index);
	s->dgram.reassembly_size = size;
	s->dgram.reassembly =
		lrp_reassembly_init(m->reassembly, lrp_reassembly_size(), lrp_secret()[0]);
	return s->dgram.reassembly;
}

/* A whole datagram: UDP input, then to the ready queue. */
static int whole_input(struct lrp_sock *s, struct lrp_packet *whole, const struct lrp_chan *chan)
{
	int dropped;

	if (whole->proto != IPPROTO_UDP)
		return LRP_DROPPED(LRP_DROP_PROTOCOL);
	/* A sender on this machine fragments after it has made the checksum. */
	dropped = lrp_udp_input(whole, whole->frame + whole->l4_offset, chan->pool->virtual_device);
	if (dropped)
		return dropped;
	if (whole->dport != s->dgram.lport)
		return LRP_DROPPED(LRP_DROP_STALE);
	if (lrp_ready_push(s, whole, chan->pool->ifindex, 0))
		return LRP_DROPPED(LRP_DROP_MEMORY);
	return 0;
}

static void count_given_up(struct lrp_sock *s, const struct lrp_chan *chan)
{
	uint32_t dropped[LRP_DROP_REASON_COUNT] = {0};
	int i;

	lrp_reassembly_take_dropped(s->dgram.reassembly, dropped);
	for (i = 0; i < LRP_DROP_REASON_COUNT; i++)
		if (dropped[i] && chan->user)
			__atomic_fetch_add(&chan->user->dropped[i], dropped[i], __ATOMIC_RELAXED);
}

static int store(struct lrp_sock *s, const struct lrp_packet *p, const struct lrp_chan *chan,
		 uint64_t now)
{
	struct lrp_packet whole;
	int r = lrp_reassembly_input(s->dgram.reassembly, now, p, &whole);

	count_given_up(s, chan);
	if (r < 0)
		return -r;
	return r ? whole_input(s, &whole, chan) : 0;
}

/* Copies the packet at `at`, if there can be one. */
static bool copy(struct memory *m, const struct lrp_chan *chan, uint32_t at, struct lrp_packet *p,
		 uint32_t **holder)
{
	const volatile struct xdp_desc *slot = &chan->desc[at & chan->ring_mask];
	struct xdp_desc desc = {.addr = slot->addr, .len = slot->len};
	const struct lrp_pool_view *pool = chan->pool;
	uint64_t frame = desc.addr >> pool->frame_shift;

	if (frame >= pool->frames || desc.len > sizeof(m->copy) ||
	    desc.len > pool->frame_size - (desc.addr & (pool->frame_size - 1)))
		return false;
	*holder = &pool->frame[frame].holder;
	memcpy(m->copy, pool->umem + desc.addr, desc.len);
	p->frame = m->copy;
	p->frame_len = desc.len;
	return !lrp_ip_input(p) && p->fragment;
}

static void count(const struct lrp_chan *chan, int dropped)
{
	if (!chan->user)
		return;
	__atomic_fetch_add(&chan->user->processed[LRP_CONTEXT_CALL], 1, __ATOMIC_RELAXED);
	if (dropped)
		__atomic_fetch_add(&chan->user->dropped[LRP_DROPPED_REASON(dropped)], 1,
				   __ATOMIC_RELAXED);
}

/* Takes the orphan at `at` if it is still there and still wanted. False: it was not to be had. */
static bool claim(struct lrp_sock *s, const struct lrp_chan *chan, uint32_t at, uint32_t *holder)
{
	uint32_t me = LRP_FRAME_CLAIM((uint32_t)getpid() & 0x3fffffffu), none = LRP_FRAME_FREE;
	uint32_t *same = NULL, left;
	struct lrp_packet p;

	if (!__atomic_compare_exchange_n(holder, &none, me, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_RELAXED))
		return false;
	/* Still in the ring? Else it was returned between our look and the claim. */
	left = atomic_load_explicit(chan->producer, memory_order_acquire) - at - 1;
	if (left > chan->ring_mask ||
	    (int32_t)(atomic_load_explicit(chan->consumer, memory_order_acquire) - at) > 0 ||
	    !copy(memory_of(s), chan, at, &p, &same) || same != holder ||
	    !lrp_reassembly_wants(s->dgram.reassembly, &p)) {
		__atomic_store_n(holder, LRP_FRAME_FREE, __ATOMIC_RELEASE);
		return false;
	}
	count(chan, store(s, &p, chan, lrp_now_ns()));
	__atomic_store_n(holder, LRP_FRAME_DONE, __ATOMIC_RELEASE);
	return true;
}

/* Looks at an orphan that it has not seen: takes or notes it. */
static void look_at(struct lrp_sock *s, const struct lrp_chan *chan, uint32_t at)
{
	struct memory *m = memory_of(s);
	uint32_t *holder, hash;
	struct lrp_packet p;

	if (!copy(m, chan, at, &p, &holder))
		return;
	hash = lrp_reassembly_hash(s->dgram.reassembly, &p);
	if (!lrp_reassembly_wants(s->dgram.reassembly, &p) || !claim(s, chan, at, holder))
		lrp_orphan_index_note(&m->index, hash,
				      (struct lrp_orphan_place){chan->pool->index, at});
}

static void look_through(struct lrp_sock *s, const struct lrp_chan *chan)
{
	uint32_t end = atomic_load_explicit(chan->producer, memory_order_acquire);
	uint32_t consumer = atomic_load_explicit(chan->consumer, memory_order_acquire);
	uint32_t pool = chan->pool->index, ring = chan->ring_mask + 1, most = LOOK_MAX, at;
	struct memory *m = memory_of(s);

	if (pool >= POOLS)
		return;
	at = m->seen[pool];
	if (!(m->began & 1ull << pool)) {
		m->began |= 1ull << pool;
		at = consumer;
		most = ring;
	}
	/* What has gone since is nobody's any more. */
	if (end - at > ring || end - consumer < end - at)
		at = end - consumer <= ring ? consumer : end - ring;
	for (; at != end && most; at++, most--)
		look_at(s, chan, at);
	m->seen[pool] = at;
}

void lrp_fragment_collect(struct lrp_sock *s)
{
	struct lrp_endpoint *fragments = lrp_broker_fragments();
	struct memory *m;

	if (!fragments || !s->dgram.reassembly)
		return;
	m = memory_of(s);
	if (m->pools_epoch != fragments->pools_epoch || m->incarnation != fragments->incarnation) {
		m->pools_epoch = fragments->pools_epoch;
		m->incarnation = fragments->incarnation;
		m->began = 0;
		lrp_orphan_index_init(&m->index);
	}
	for (uint32_t i = 0; i < fragments->channels; i++)
		look_through(s, &fragments->chan[i]);
}

/* Takes an orphan that was noted. */
static void fragments_fetch(struct lrp_sock *s, struct lrp_orphan_place place)
{
	struct lrp_endpoint *fragments = lrp_broker_fragments();
	uint32_t *holder;
	struct lrp_packet p;

	for (uint32_t i = 0; fragments && i < fragments->channels; i++) {
		const struct lrp_chan *chan = &fragments->chan[i];

		if (chan->pool->index != place.channel)
			continue;
		if (copy(memory_of(s), chan, place.at, &p, &holder))
			claim(s, chan, place.at, holder);
		return;
	}
}

int lrp_fragment_input(struct lrp_sock *s, const struct lrp_packet *p, const struct lrp_chan *chan)
{
	struct lrp_reassembly *r = reassembly(s);
	struct lrp_orphan_place place;
	struct lrp_fragment_key key;
	uint32_t cursor = 0, hash;
	uint64_t now;
	int dropped;

	if (!r)
		return LRP_DROPPED(LRP_DROP_MEMORY);
	now = lrp_now_ns();
	dropped = store(s, p, chan, now);
	/* Is something missing that came too early? */
	s->dgram.fragment_until_ns = 0;
	if (!lrp_reassembly_missing(r, &cursor, &key))
		return dropped;
	lrp_fragment_collect(s);
	hash = lrp_reassembly_hash(r, p);
	while (lrp_reassembly_wants(r, p) &&
	       lrp_orphan_index_take(&memory_of(s)->index, hash, &place))
		fragments_fetch(s, place);
	cursor = 0;
	if (lrp_reassembly_missing(r, &cursor, &key))
		s->dgram.fragment_until_ns = now + LATE_NS;
	return dropped;
}

void lrp_fragment_free(struct lrp_sock *s)
{
	if (s->dgram.reassembly)
		lrp_arena_free(memory_of(s), s->dgram.reassembly_size);
	s->dgram.reassembly = NULL;
}

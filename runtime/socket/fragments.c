/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * fragments.c - reassembly in the receiving thread, and the search for
 * fragments that came before their first [design 4].
 *
 * Those lie in the rings of the fragment endpoint, which all processes share.
 * A fragment is claimed by a compare-and-swap in the frame table, copied into the
 * socket's reassembly, and marked done; the core, which is the consumer of these
 * rings, returns what is done.
 */
#include <unistd.h>

#include "../base/clock.h"
#include "../ip/ip_input.h"
#include "../ip/reassembly.h"
#include "../udp/udp_input.h"
#include "socket.h"
#include "stream.h"

/* On several queues a fragment can overtake its first by so much: who sleeps looks again. */
#define LATE_NS (100 * LRP_NS_PER_MS)

static struct lrp_reassembly *reassembly(struct lrp_sock *s)
{
	size_t size;
	void *mem;

	if (s->reassembly)
		return s->reassembly;
	size = lrp_reassembly_size();
	lrp_inside++;
	mem = lrp_arena_alloc(size);
	lrp_inside--;
	if (!mem)
		return NULL;
	s->reassembly_size = size;
	s->reassembly = lrp_reassembly_init(mem, size, lrp_secret()[0]);
	return s->reassembly;
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
	if (whole->dport != s->lport)
		return LRP_DROPPED(LRP_DROP_STALE);
	if (lrp_ready_push(s, whole, chan->pool->ifindex, 0))
		return LRP_DROPPED(LRP_DROP_MEMORY);
	return 0;
}

static void count_given_up(struct lrp_sock *s, const struct lrp_chan *chan)
{
	uint32_t dropped[LRP_DROP_REASON_COUNT] = {0};
	int i;

	lrp_reassembly_take_dropped(s->reassembly, dropped);
	for (i = 0; i < LRP_DROP_REASON_COUNT; i++)
		if (dropped[i] && chan->user)
			__atomic_fetch_add(&chan->user->dropped[i], dropped[i], __ATOMIC_RELAXED);
}

static int store(struct lrp_sock *s, const struct lrp_packet *p, const struct lrp_chan *chan,
		 uint64_t now)
{
	struct lrp_packet whole;
	int r = lrp_reassembly_input(s->reassembly, now, p, &whole);

	count_given_up(s, chan);
	if (r < 0)
		return -r;
	return r ? whole_input(s, &whole, chan) : 0;
}

int lrp_fragment_input(struct lrp_sock *s, const struct lrp_packet *p, const struct lrp_chan *chan)
{
	struct lrp_reassembly *r = reassembly(s);
	struct lrp_fragment_key key;
	uint32_t cursor = 0;
	uint64_t now;
	int dropped;

	if (!r)
		return LRP_DROPPED(LRP_DROP_MEMORY);
	now = lrp_now_ns();
	dropped = store(s, p, chan, now);
	/* Is something missing that came too early? */
	s->fragment_until_ns = 0;
	if (lrp_reassembly_missing(r, &cursor, &key)) {
		s->fragment_until_ns = now + LATE_NS;
		lrp_fragment_collect(s);
	}
	return dropped;
}

static void collect_from(struct lrp_sock *s, struct lrp_chan *chan)
{
	struct lrp_pool_view *pool = chan->pool;
	uint32_t at = atomic_load_explicit(chan->consumer, memory_order_acquire);
	uint32_t end = atomic_load_explicit(chan->producer, memory_order_acquire);
	uint32_t me = LRP_FRAME_CLAIM((uint32_t)getpid() & 0x3fffffffu);
	struct lrp_packet p;

	if (end - at > chan->ring_mask + 1)
		return; /* the consumer moved between the two looks */
	for (; at != end; at++) {
		struct xdp_desc desc = chan->desc[at & chan->ring_mask];
		uint32_t *holder, none = LRP_FRAME_FREE;

		if (desc.addr >= (uint64_t)pool->frames << pool->frame_shift)
			continue;
		holder = &pool->frame[desc.addr >> pool->frame_shift].holder;
		if (__atomic_load_n(holder, __ATOMIC_RELAXED) != LRP_FRAME_FREE)
			continue;
		/* A look before the claim; it may be another's already, then the claim fails or the
		 * index has moved on, and what was read is thrown away. */
		p.frame = pool->umem + desc.addr;
		p.frame_len = desc.len;
		if (lrp_ip_input(&p) || !p.fragment || !lrp_reassembly_wants(s->reassembly, &p))
			continue;
		if (!__atomic_compare_exchange_n(holder, &none, me, false, __ATOMIC_ACQ_REL,
						 __ATOMIC_RELAXED))
			continue;
		/* Still in the ring? Else it was returned between our look and the claim. */
		if ((int32_t)(atomic_load_explicit(chan->consumer, memory_order_acquire) - at) >
		    0) {
			__atomic_store_n(holder, LRP_FRAME_FREE, __ATOMIC_RELEASE);
			continue;
		}
		if (chan->user)
			__atomic_fetch_add(&chan->user->processed[LRP_CONTEXT_CALL], 1,
					   __ATOMIC_RELAXED);
		/* Read again: it may have changed between look and claim. */
		if (!lrp_ip_input(&p) && p.fragment) {
			int dropped = store(s, &p, chan, lrp_now_ns());

			if (dropped && chan->user)
				__atomic_fetch_add(
					&chan->user->dropped[LRP_DROPPED_REASON(dropped)], 1,
					__ATOMIC_RELAXED);
		}
		__atomic_store_n(holder, LRP_FRAME_DONE, __ATOMIC_RELEASE);
	}
}

void lrp_fragment_collect(struct lrp_sock *s)
{
	struct lrp_endpoint *fragments = lrp_broker_fragments();
	uint32_t i;

	for (i = 0; fragments && i < fragments->channels; i++)
		collect_from(s, &fragments->chan[i]);
}

void lrp_fragment_free(struct lrp_sock *s)
{
	if (s->reassembly)
		lrp_arena_free(s->reassembly, s->reassembly_size);
	s->reassembly = NULL;
}

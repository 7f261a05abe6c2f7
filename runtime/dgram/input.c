/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * input.c - lazy receiver processing itself [paper 3.3]: takes the next packet
 * off the socket's own channels and runs IP and UDP input on it, in the thread
 * that wants the data.
 *
 * A packet stays in its ring while it is looked at; lrp_input_take() gives the
 * frame up. What was found out about the head of a ring is remembered in
 * rxq->head, so that poll() and MSG_PEEK do not make the work be done twice.
 */
#include "../base/clock.h"
#include "../ip/ip_input.h"
#include "../drive/verdict.h"
#include "../udp/udp_input.h"
#include "dgram.h"

#define BURST 64u /* packets of one channel before the next has its turn */

enum head { HEAD_GOOD, HEAD_GONE, HEAD_INCOMPLETE };

/* Whether the packet is for this socket: a recycled channel may hold frames
 * that were meant for its earlier owner, and demultiplexing changes a moment after connect(). */
static inline int match(const struct lrp_sock *s, const struct lrp_packet *p)
{
	uint32_t m = s->dgram.match;

	if (lrp_unlikely(p->dport != s->dgram.lport))
		return LRP_DROPPED(LRP_DROP_STALE);
	if (lrp_likely(p->family == AF_INET)) {
		if (lrp_unlikely(m & LRP_MATCH_NO4))
			return LRP_DROPPED(LRP_DROP_STALE);
		if (m & LRP_MATCH_LOCAL && p->dst.v4.s_addr != s->dgram.laddr4.s_addr)
			return LRP_DROPPED(LRP_DROP_STALE);
		if (m & LRP_MATCH_PEER &&
		    (p->sport != s->dgram.rport || p->src.v4.s_addr != s->dgram.raddr4.s_addr))
			return LRP_DROPPED(LRP_DROP_PEER);
		return 0;
	}
	if (lrp_unlikely(m & LRP_MATCH_NO6))
		return LRP_DROPPED(LRP_DROP_STALE);
	if (m & LRP_MATCH_LOCAL && memcmp(&p->dst.v6, &s->dgram.laddr6, sizeof(s->dgram.laddr6)))
		return LRP_DROPPED(LRP_DROP_STALE);
	if (m & LRP_MATCH_PEER && (p->sport != s->dgram.rport ||
				   memcmp(&p->src.v6, &s->dgram.raddr6, sizeof(s->dgram.raddr6))))
		return LRP_DROPPED(LRP_DROP_PEER);
	return 0;
}

static enum head drop(struct lrp_chan *chan, int dropped, uint32_t descs)
{
	__atomic_fetch_add(&chan->user->dropped[LRP_DROPPED_REASON(dropped)], 1, __ATOMIC_RELAXED);
	lrp_chan_take(chan, descs);
	return HEAD_GONE;
}

/* What is no UDP datagram: fragments and ICMP errors. */
static enum head input_other(struct lrp_sock *s, struct lrp_chan *chan, struct lrp_rxq *q,
			     const struct lrp_packet *p, uint32_t descs)
{
	int dropped = LRP_DROPPED(LRP_DROP_PROTOCOL);

	if (p->fragment) {
		dropped = lrp_fragment_input(s, p, chan);
	} else if (p->proto == IPPROTO_ICMP || p->proto == IPPROTO_ICMPV6) {
		/* Taken earlier by a sender who wanted to know [error.c]? */
		if ((int32_t)(q->scanned - chan->next) > 0)
			dropped = 0;
		else
			dropped = lrp_icmp_received(s, p, chan);
	}
	if (dropped)
		return drop(chan, dropped, descs);
	lrp_chan_take(chan, descs);
	return HEAD_GONE;
}

static enum head linearise(struct lrp_chan *chan, uint32_t avail, struct lrp_packet *p,
			   uint32_t *descs)
{
	int linear = lrp_linear(chan, avail, p, descs);
	enum head head = !linear ? HEAD_GOOD : linear > 0 ? HEAD_GONE : HEAD_INCOMPLETE;

	return head == HEAD_GONE ? drop(chan, LRP_DROPPED(LRP_DROP_MEMORY), *descs) : head;
}

/* Verifies the packet at the head of a channel. */
static inline enum head input_head(struct lrp_sock *s, struct lrp_chan *chan, struct lrp_rxq *q,
				   uint32_t avail, struct lrp_packet *p, struct lrp_from *from,
				   enum lrp_context context)
{
	const struct xdp_desc *desc = lrp_chan_desc(chan, 0);
	_Atomic uint64_t *table;
	enum head head;
	uint64_t verdict = q->head;
	int dropped;

	from->descs = 1;
	p->frame = lrp_chan_data(chan, desc);
	p->frame_len = desc->len;
	if (lrp_unlikely(desc->options & XDP_PKT_CONTD)) {
		head = linearise(chan, avail, p, &from->descs);
		if (head != HEAD_GOOD)
			return head;
	}
	/* The line was last written by another CPU: fetch those after it meanwhile. */
	if (lrp_likely(avail > 4)) {
		__builtin_prefetch(lrp_chan_data(chan, lrp_chan_desc(chan, 4)));
		__builtin_prefetch(lrp_chan_desc(chan, 8));
	}

	table = atomic_load_explicit(&q->verdict, memory_order_relaxed);
	if (!lrp_verdict_is(verdict, chan->next) && table)
		verdict = atomic_load_explicit(&table[chan->next & chan->ring_mask],
					       memory_order_acquire);
	if (lrp_verdict_is(verdict, chan->next) && from->descs == 1) {
		dropped = lrp_verdict_dropped(verdict);
		if (!dropped)
			lrp_verdict_apply(verdict, p);
	} else {
		dropped = lrp_ip_input(p);
		chan->user->processed[context]++;
		if (lrp_unlikely(!dropped && (p->proto != IPPROTO_UDP || p->fragment)))
			return input_other(s, chan, q, p, from->descs);
		if (!dropped)
			dropped = lrp_udp_input(p, p->frame + p->l4_offset,
						chan->pool->virtual_device);
		if (!dropped && from->descs == 1)
			q->head = lrp_verdict_make(chan->next, 0, p);
	}
	if (!dropped)
		dropped = match(s, p);
	if (lrp_unlikely(dropped))
		return drop(chan, dropped, from->descs);
	from->chan = chan;
	from->ifindex = chan->pool->ifindex;
	from->time_ns = 0;
	return HEAD_GOOD;
}

/* The ring that a larger one replaced: what it holds came first. */
static bool next_of_old(struct lrp_view *l, struct lrp_packet *p, struct lrp_from *from,
			enum lrp_context context)
{
	struct lrp_sock *s = l->sock;
	uint32_t i, avail;

	if (!lrp_view_mapped(l))
		return false;
	for (i = 0; i < s->dgram.old.channels; i++) {
		struct lrp_chan *chan = &s->dgram.old.chan[i];

		while ((avail = lrp_chan_available(chan, UINT32_MAX)))
			switch (input_head(s, chan, &s->dgram.old_rxq[i], avail, p, from,
					   context)) {
			case HEAD_GOOD:
				return true;
			case HEAD_GONE:
				continue;
			case HEAD_INCOMPLETE:
				return false;
			}
	}
	return false;
}

bool lrp_input_next(struct lrp_view *l, struct lrp_packet *p, struct lrp_from *from,
		    enum lrp_context context)
{
	struct lrp_sock *s = l->sock;
	bool all_mapped = lrp_view_mapped(l);
	uint32_t tries = 0, avail;
	struct lrp_chan *chan;
	struct lrp_rxq *q;

	if (lrp_unlikely(s->dgram.ready != NULL) && context != LRP_CONTEXT_EAGER &&
	    lrp_ready_peek(s, p, from))
		return true;
	if (lrp_unlikely(s->dgram.eager) && context != LRP_CONTEXT_EAGER)
		return false;
	if (lrp_unlikely(s->dgram.old.channels != 0) && next_of_old(l, p, from, context))
		return true;
	while (tries <= s->dgram.ep.channels) {
		if (lrp_unlikely(s->dgram.current >= s->dgram.ep.channels)) {
			if (!s->dgram.ep.channels)
				return false;
			s->dgram.current = 0;
		}
		chan = &s->dgram.ep.chan[s->dgram.current];
		q = &s->dgram.rxq[s->dgram.current];
		/* Opened after our fork by another process: not mapped here. */
		if (lrp_unlikely(!all_mapped) && (int32_t)(q->serial - l->serial) > 0)
			avail = 0;
		else
			avail = q->known - chan->next;
		if (avail == 0 || s->dgram.burst == 0) {
			if (++s->dgram.current >= s->dgram.ep.channels)
				s->dgram.current = 0;
			s->dgram.burst = BURST;
			tries++;
			chan = &s->dgram.ep.chan[s->dgram.current];
			q = &s->dgram.rxq[s->dgram.current];
			if (lrp_likely(all_mapped) || (int32_t)(q->serial - l->serial) <= 0)
				q->known = chan->next + lrp_chan_available(chan, UINT32_MAX);
			continue;
		}
		switch (input_head(s, chan, q, avail, p, from, context)) {
		case HEAD_GOOD:
			return true;
		case HEAD_GONE:
			break;
		case HEAD_INCOMPLETE:
			/* The rest is published with the next flush: look again then. */
			q->known = chan->next;
			s->dgram.burst = 0;
			break;
		}
		/* A fragment completed a datagram, or an ICMP error is to be reported. */
		if (lrp_unlikely(s->dgram.ready != NULL) && context != LRP_CONTEXT_EAGER &&
		    lrp_ready_peek(s, p, from))
			return true;
		if (lrp_unlikely(atomic_load_explicit(&s->error, memory_order_relaxed)))
			return false;
	}
	return false;
}

void lrp_input_take(struct lrp_sock *s, const struct lrp_from *from)
{
	s->dgram.peeked = LRP_PEEKED_NONE;
	if (lrp_unlikely(!from->chan)) {
		lrp_ready_pop(s);
		return;
	}
	lrp_chan_take(from->chan, from->descs);
	s->dgram.burst--;
	s->dgram.since_shadow++;
}

void lrp_input_return(struct lrp_view *l)
{
	struct lrp_sock *s = l->sock;
	uint32_t i;

	if (s->dgram.eager)
		return;
	lrp_rx_lock(s);
	for (i = 0; i < s->dgram.ep.channels; i++) {
		struct lrp_chan *chan = &s->dgram.ep.chan[i];

		if (chan->next != chan->returned_at &&
		    (lrp_view_mapped(l) || (int32_t)(s->dgram.rxq[i].serial - l->serial) <= 0))
			lrp_chan_settle(chan);
	}
	lrp_rx_unlock(s);
}

bool lrp_old_pending(const struct lrp_view *l)
{
	const struct lrp_sock *s = l->sock;
	uint32_t i;

	for (i = 0; lrp_view_mapped(l) && i < s->dgram.old.channels; i++)
		if (lrp_chan_available(&s->dgram.old.chan[i], 1))
			return true;
	return false;
}

bool lrp_input_pending(struct lrp_view *l)
{
	struct lrp_sock *s = l->sock;
	uint32_t i;

	if (!lrp_ready_empty(s))
		return true;
	if (s->dgram.eager)
		return false;
	if (lrp_old_pending(l))
		return true;
	for (i = 0; i < s->dgram.ep.channels; i++)
		if ((lrp_view_mapped(l) || (int32_t)(s->dgram.rxq[i].serial - l->serial) <= 0) &&
		    lrp_chan_available(&s->dgram.ep.chan[i], 1))
			return true;
	return false;
}

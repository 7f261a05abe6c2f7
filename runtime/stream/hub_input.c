/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * hub_input.c - TCP input in the context of whoever holds the lock [paper 3.4], demultiplexing in
 * software, timers.
 *
 * Segments are taken in batches; what they make due is sent once per batch, so that one
 * acknowledgement answers what arrived together.
 */
#include "../base/clock.h"
#include "../drive/app.h"
#include "../drive/drive.h"
#include "../ip/icmp_input.h"
#include "../ip/ip_input.h"
#include "../tx/hold.h"
#include "hub_internal.h"

#define BATCH  64u
#define ROUNDS 16u /* batches in a call: who is flooded comes to an end */

/*
 * The connection has moved to channels of its own since XDP sent us something of it. All that
 * its hub needs for that lies in the arena, so the process that has the segment processes it,
 * whoever has the hub; a post tells the other one. False: that one is stopped, and TCP sees
 * to what is lost.
 */
static bool moved_lock(struct lrp_conn *c)
{
	struct lrp_hub *hub = c->hub;
	int error = 0;

	if (!lrp_hub_foreign(hub)) {
		lrp_hub_take(hub);
	} else {
		lrp_inside++;
		error = lrp_lock_within(&hub->lock, LRP_STALLED_NS);
		if (error < 0) {
			lrp_inside--;
			return false;
		}
		hub->broken |= error > 0;
		hub->turn++;
	}
	if (hub->conns == c && !hub->broken)
		return true;
	lrp_hub_release(hub);
	return false;
}

static void moved_unlock(struct lrp_hub *hub, int64_t now)
{
	bool ours = !lrp_hub_foreign(hub);

	lrp_hub_flush_as(hub, now, NULL, ours);
	/* Closing it takes the listener's lock, which we have: left to the APP thread. */
	if (ours && !hub->conns) {
		atomic_store(&hub->driven.deadline_ns, now);
		lrp_app_deadline(&hub->driven);
	}
	lrp_hub_release(hub);
}

static int take_icmp(struct lrp_hub *hub, int64_t now, struct lrp_packet *p, bool partial_ok,
		     enum lrp_context context)
{
	const struct lrp_hub_ops *ops = lrp_hub_ops_of(hub);
	struct lrp_icmp_error e;
	struct lrp_tcp_flow flow;
	struct lrp_conn *c;
	uint32_t seq;
	int dropped = lrp_icmp_input(p, p->frame + p->l4_offset, partial_ok, &e);

	if (dropped)
		return dropped;
	if (e.proto != IPPROTO_TCP)
		return LRP_DROPPED(LRP_DROP_PROTOCOL);
	memset(&flow, 0, sizeof(flow));
	flow.family = e.family;
	flow.laddr = e.src;
	flow.raddr = e.dst;
	flow.lport = e.sport;
	flow.rport = e.dport;
	memcpy(&seq, e.l4 + 4, sizeof(seq));
	seq = ntohl(seq);
	c = lrp_conn_find(hub, &flow);
	if (!c) {
		if (ops->unreachable && e.error != EMSGSIZE)
			ops->unreachable(hub, &flow, seq, e.fatal);
		return 0;
	}
	if (c->hub != hub && !moved_lock(c))
		return LRP_DROPPED(LRP_DROP_STALE);
	if (c->over) {
		if (c->hub != hub)
			moved_unlock(c->hub, now);
		return 0;
	}
	if (e.error == EMSGSIZE)
		lrp_tcp_too_big(&c->tcp, now, seq, e.info);
	else
		lrp_tcp_unreachable(&c->tcp, now, seq, e.error, e.fatal);
	c->news = true;
	c->processed[context]++;
	lrp_hub_touch(c);
	if (c->hub != hub)
		moved_unlock(c->hub, now);
	return 0;
}

static int conn_input(struct lrp_conn *c, int64_t now, const struct lrp_tcp_segment *s,
		      struct lrp_tcp_into *into, enum lrp_context context)
{
	int dropped;

	c->tcp.attended = context == LRP_CONTEXT_CALL;
	dropped = lrp_tcp_input(&c->tcp, now, s, into);
	c->news = true;
	c->processed[context]++;
	c->dropped += dropped != 0;
	lrp_hub_touch(c);
	return dropped;
}

/* It belongs to no connection. */
static int unknown_segment(struct lrp_hub *hub, int64_t now, const struct lrp_tcp_flow *flow,
			   const struct lrp_tcp_segment *s, enum lrp_context context)
{
	const struct lrp_hub_ops *ops = lrp_hub_ops_of(hub);

	return ops->segment ? ops->segment(hub, now, flow, s, context)
			    : LRP_DROPPED(LRP_DROP_STALE);
}

/* The listener's hub is locked, and the connection's. True: it has ended, and its four-tuple is
 * the listener's. */
static bool conn_yield(struct lrp_hub *hub, int64_t now, struct lrp_conn *c,
		       const struct lrp_tcp_segment *s)
{
	bool waits = c->tcp.state == LRP_TCP_TIME_WAIT && s->flags & LRP_TCP_SYN && c->held;

	if (c->tcp.state != LRP_TCP_CLOSED && !waits)
		return false;
	/* What a socket does not hold the listener remembers, too: a SYN may begin
	 * anew [RFC 6191]. */
	if (waits && !c->over)
		lrp_waits_add(hub, c, now);
	if (c->exact)
		lrp_flow_hide(&c->flow);
	c->exact = false;
	c->over = true;
	lrp_conn_unindex(hub, c);
	return true;
}

/*
 * A SYN came on the channels of a connection that has ended: it was on its way when the entry
 * went. The listener's lock comes before ours, so it is not waited for. False: who sent the
 * SYN tries again.
 */
static bool conn_pass_up(struct lrp_hub *hub, int64_t now, struct lrp_conn *c,
			 const struct lrp_tcp_segment *s, enum lrp_context context)
{
	struct lrp_hub *parent = hub->own.parent;
	bool mine;
	int error;

	error = parent && lrp_app_watches(&parent->driven) ? lrp_lock_try(&parent->lock) : -EBUSY;
	if (error < 0)
		return false;
	if (error > 0)
		lrp_hub_recover(parent);
	lrp_inside++;
	parent->turn++;
	mine = !parent->broken && conn_yield(parent, now, c, s);
	if (mine) {
		unknown_segment(parent, now, &c->flow, s, context);
		lrp_hub_flush(parent, now, NULL);
	}
	lrp_hub_release(parent);
	return mine;
}

/* On its own channels. */
static int conn_last_segment(struct lrp_hub *hub, int64_t now, struct lrp_conn *c,
			     const struct lrp_tcp_segment *s, enum lrp_context context)
{
	struct lrp_tcp_tx reply;

	if (s->flags & LRP_TCP_SYN && conn_pass_up(hub, now, c, s, context))
		return 0;
	if (c->tcp.state != LRP_TCP_CLOSED)
		return conn_input(c, now, s, NULL, context);
	if (!(s->flags & LRP_TCP_SYN) && lrp_tcp_reset_for(s, &reply))
		lrp_stream_answer(hub, &c->flow, &reply);
	return 0;
}

/* Of a connection that is on channels of its own by now, or has ended. */
static int conn_late_segment(struct lrp_hub *hub, int64_t now, struct lrp_conn *c,
			     const struct lrp_tcp_segment *s, enum lrp_context context)
{
	struct lrp_tcp_flow flow = c->flow;
	bool moved = c->hub != hub, free_now;
	int dropped = 0;

	if (!lrp_hub_is(hub, LRP_HUB_LISTENER))
		return conn_last_segment(hub, now, c, s, context);
	if (moved && !moved_lock(c))
		return LRP_DROPPED(LRP_DROP_STALE);
	free_now = conn_yield(hub, now, c, s);
	if (!free_now)
		dropped = conn_input(c, now, s, NULL, context);
	if (moved)
		moved_unlock(c->hub, now);
	if (free_now)
		unknown_segment(hub, now, &flow, s, context);
	return dropped;
}

static int take_segment(struct lrp_hub *hub, int64_t now, struct lrp_packet *p, bool partial_ok,
			enum lrp_context context)
{
	struct lrp_tcp_segment s;
	struct lrp_tcp_flow flow;
	struct lrp_conn *c;
	int dropped = lrp_tcp_segment_parse(p, p->frame + p->l4_offset, partial_ok, &s);

	if (dropped)
		return dropped;
	memset(&flow, 0, sizeof(flow));
	flow.family = p->family;
	if (p->family == AF_INET) {
		flow.laddr.v4 = p->dst.v4;
		flow.raddr.v4 = p->src.v4;
	} else {
		flow.laddr = p->dst;
		flow.raddr = p->src;
	}
	flow.lport = p->dport;
	flow.rport = p->sport;
	c = lrp_conn_find(hub, &flow);
	if (c && (c->hub != hub || c->tcp.state == LRP_TCP_CLOSED ||
		  (c->tcp.state == LRP_TCP_TIME_WAIT && s.flags & LRP_TCP_SYN)))
		return conn_late_segment(hub, now, c, &s, context);
	if (!c)
		return unknown_segment(hub, now, &flow, &s, context);
	return conn_input(c, now, &s, c == hub->reader ? hub->into : NULL, context);
}

/* False: the packet has not come whole yet. */
static bool take_packet(struct lrp_hub *hub, int64_t now, struct lrp_chan *chan, uint32_t avail,
			enum lrp_context context)
{
	struct lrp_packet p;
	uint32_t descs = 1;
	int dropped = 0;

	memset(&p, 0, sizeof(p));
	p.frame = lrp_chan_data(chan, lrp_chan_desc(chan, 0));
	p.frame_len = lrp_chan_desc(chan, 0)->len;
	if (lrp_chan_desc(chan, 0)->options & XDP_PKT_CONTD)
		dropped = lrp_linear(chan, avail, &p, &descs);
	if (dropped < 0)
		return false;
	if (!dropped)
		dropped = lrp_ip_input(&p);
	if (!dropped && p.fragment)
		dropped = LRP_DROPPED(LRP_DROP_FRAGMENT);
	if (!dropped && (p.proto == IPPROTO_ICMP || p.proto == IPPROTO_ICMPV6))
		dropped = take_icmp(hub, now, &p, chan->pool->virtual_device, context);
	else if (!dropped && p.proto != IPPROTO_TCP)
		dropped = LRP_DROPPED(LRP_DROP_STALE);
	else if (!dropped)
		dropped = take_segment(hub, now, &p, chan->pool->virtual_device, context);
	chan->user->processed[context]++;
	hub->processed[context]++;
	if (dropped) {
		__atomic_fetch_add(&chan->user->dropped[LRP_DROPPED_REASON(dropped)], 1,
				   __ATOMIC_RELAXED);
		hub->dropped++;
	}
	lrp_chan_take(chan, descs);
	return true;
}

void lrp_hub_input(struct lrp_hub *hub, int64_t now, const struct lrp_conn *mine,
		   enum lrp_context context)
{
	const struct lrp_hub_ops *ops = lrp_hub_ops_of(hub);
	/* APP looks in between whether it is its turn still. */
	uint32_t i, n, avail, rounds = context == LRP_CONTEXT_APP ? 1 : ROUNDS;
	bool more, any = false;

	lrp_tx_hold_call(now);
	if (lrp_unlikely(lrp_eager())) {
		/* Nothing waits for a call: what comes to the channels is the thread's. */
		rounds = context == LRP_CONTEXT_CALL ? 0 : ROUNDS;
		context = LRP_CONTEXT_EAGER;
	}
	if (context == LRP_CONTEXT_CALL &&
	    !atomic_load_explicit(&hub->driven.called, memory_order_relaxed))
		atomic_store_explicit(&hub->driven.called, true, memory_order_relaxed);
	if (context == LRP_CONTEXT_CALL && ops->attend)
		ops->attend(hub);
	for (more = true; more && rounds; rounds--) {
		more = false;
		for (i = 0; i < hub->ep.channels; i++) {
			struct lrp_chan *chan = &hub->ep.chan[i];

			for (n = 0; n < BATCH; n++) {
				avail = lrp_chan_available(chan, UINT32_MAX);
				if (!avail || !take_packet(hub, now, chan, avail, context))
					break;
			}
			any |= n > 0;
			more |= n == BATCH;
		}
		if (any || hub->touched)
			lrp_hub_flush(hub, now, mine);
	}
	if (now >= atomic_load_explicit(&hub->driven.deadline_ns, memory_order_relaxed))
		lrp_hub_timers(hub, now);
}

bool lrp_hub_settle(struct lrp_hub *hub)
{
	bool empty = true;
	uint32_t i;

	for (i = 0; i < hub->ep.channels; i++)
		empty &= lrp_chan_settle(&hub->ep.chan[i]);
	return empty || lrp_eager();
}

void lrp_hub_forget(struct lrp_hub *hub, int64_t now)
{
	struct lrp_conn *c, *next;

	for (c = hub->listen.open ? NULL : hub->conns; c; c = next) {
		next = c->next;
		if (!c->held && !c->touched &&
		    (c->tcp.state == LRP_TCP_FIN_WAIT_2 || c->tcp.state == LRP_TCP_TIME_WAIT))
			lrp_hub_conn_ended(hub, c, now);
	}
}

void lrp_hub_timers(struct lrp_hub *hub, int64_t now)
{
	const struct lrp_hub_ops *ops = lrp_hub_ops_of(hub);
	int64_t next = LRP_TCP_NEVER, due;
	struct lrp_conn *c;

	for (c = hub->conns; c; c = c->next) {
		due = lrp_tcp_deadline(&c->tcp);
		if (due <= now) {
			lrp_tcp_timer(&c->tcp, now);
			c->news = true;
			lrp_hub_touch(c);
		} else if (due < next) {
			next = due;
		}
	}
	if (ops->timers)
		ops->timers(hub, now);
	atomic_store(&hub->driven.deadline_ns, next);
	lrp_hub_flush(hub, now, NULL);
}

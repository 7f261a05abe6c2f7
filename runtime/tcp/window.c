/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * window.c - the window that is offered (RFC 9293 3.8.6.2.2), and how large the
 * receive buffer should be (dynamic right-sizing, Fisk and Feng 2001, as Linux does it).
 *
 * The right edge does not move left, but for less than one unit of the window scale when nothing
 * else is left (RFC 7323 2.4): an edge is a multiple of the unit away from the acknowledgement, and
 * may not lie beyond the buffer. What was promised once is accepted in any case (rcv_adv).
 */
#include "tcp_internal.h"

static uint32_t room(const struct lrp_tcp *c)
{
	uint32_t used = c->rcv_nxt - c->rcv_read, limit = lrp_tcp_rcv_limit(c);

	return used < limit ? limit - used : 0;
}

/* What the channel takes, in segments as the peer sends them. */
static uint32_t quota(const struct lrp_tcp *c)
{
	uint64_t frames = c->rcv_quota / LRP_TCP_FRAME_BYTES;

	if (c->rcv_quota == UINT32_MAX || c->rcv_mss >= LRP_TCP_FRAME_BYTES)
		return c->rcv_quota;
	return (uint32_t)(frames * c->rcv_mss);
}

/* What could be offered, in whole units. */
static uint32_t offer(const struct lrp_tcp *c)
{
	uint32_t most = 0xffffu << c->rcv_wscale, bytes = lrp_tcp_min(room(c), quota(c));

	return lrp_tcp_min(bytes, most) >> c->rcv_wscale << c->rcv_wscale;
}

uint16_t lrp_tcp_window(const struct lrp_tcp *c)
{
	uint32_t left = lrp_tcp_window_left(c), bytes = offer(c), unit = 1u << c->rcv_wscale, up;

	/* Clark's half of silly-window avoidance: in steps of a segment at least. */
	if (bytes >= left + lrp_tcp_min(c->rcv_mss, lrp_tcp_rcv_limit(c) / 2))
		return (uint16_t)(bytes >> c->rcv_wscale);
	up = (left + unit - 1) & -unit;
	if (up > room(c))
		up = left & -unit;
	return (uint16_t)lrp_tcp_min(up >> c->rcv_wscale, 0xffff);
}

void lrp_tcp_window_update(struct lrp_tcp *c)
{
	const uint32_t states =
		1 << LRP_TCP_ESTABLISHED | 1 << LRP_TCP_FIN_WAIT_1 | 1 << LRP_TCP_FIN_WAIT_2;
	uint32_t left, bytes, step;

	if (!(states >> c->state & 1))
		return;
	left = lrp_tcp_window_left(c);
	/* Far from running out: the next ACK of data says it. */
	if (left >= lrp_tcp_rcv_limit(c) / 2)
		return;
	bytes = offer(c);
	/* Worth a segment of its own, and the sender's waking up: a part of all that can be
	 * offered. */
	step = lrp_tcp_max(lrp_tcp_min(c->rcv_mss, lrp_tcp_rcv_limit(c) / 2),
			   lrp_tcp_min(lrp_tcp_rcv_limit(c), c->rcv_quota) / 8);
	if (bytes && bytes >= 2 * left && bytes >= left + step)
		c->due |= LRP_TCP_DUE_ACK;
}

void lrp_tcp_quota(struct lrp_tcp *c, uint32_t bytes)
{
	bool more = bytes > c->rcv_quota;

	c->rcv_quota = bytes;
	if (more)
		lrp_tcp_window_update(c);
}

/* The receiver's round trip: of a timestamp that came back, or the time in which a window was
 * filled. An upper bound; smoothed downwards. */
static void rtt_sample(struct lrp_tcp *c, int64_t rtt)
{
	if (rtt <= 0)
		rtt = 1000000; /* the clock of timestamps does not resolve it */
	if (!c->rcv_rtt_ns || rtt < c->rcv_rtt_ns)
		c->rcv_rtt_ns = rtt;
	else
		c->rcv_rtt_ns += (rtt - c->rcv_rtt_ns) / 8;
}

void lrp_tcp_tune_segment(struct lrp_tcp *c, int64_t now, const struct lrp_tcp_segment *s)
{
	/* Once for each window, or, with timestamps, each round trip. */
	if (c->rcv_rtt_at_ns && lrp_seq_lt(c->rcv_nxt, c->rcv_rtt_seq) &&
	    now - c->rcv_rtt_at_ns < c->rcv_rtt_ns)
		return;
	if (c->timestamps && s->options & LRP_TCP_HAS_TIMESTAMP && s->ts_ecr) {
		rtt_sample(c, (int32_t)(lrp_tcp_clock(c, now) - s->ts_ecr) * 1000000ll);
	} else {
		if (lrp_seq_lt(c->rcv_nxt, c->rcv_rtt_seq))
			return;
		if (c->rcv_rtt_at_ns)
			rtt_sample(c, now - c->rcv_rtt_at_ns);
	}
	c->rcv_rtt_at_ns = now;
	c->rcv_rtt_seq = c->rcv_nxt + lrp_tcp_window_left(c);
}

void lrp_tcp_tune_read(struct lrp_tcp *c, int64_t now, uint32_t len)
{
	uint64_t wanted;

	c->rcv_tune_read += len;
	if (!c->rcv_rtt_ns || now - c->rcv_tune_ns < c->rcv_rtt_ns)
		return;
	/* Twice what one round trip brought, since the sender may double it in the next one. */
	if (c->rcv_tune_ns) {
		wanted = 2ull * c->rcv_tune_read + 16u * c->rcv_mss;
		if (wanted > c->opt.rcv_max)
			wanted = c->opt.rcv_max;
		c->rcv_wanted = lrp_tcp_max(c->rcv_wanted, (uint32_t)wanted);
	}
	c->rcv_tune_ns = now;
	c->rcv_tune_read = 0;
}

static uint32_t power_of_two(uint32_t atleast, uint32_t bytes, uint32_t most)
{
	uint32_t size = atleast ? atleast : 1;

	while (size < bytes && size < most && size < 1u << 31)
		size *= 2;
	return atleast || bytes ? size : 0;
}

void lrp_tcp_wanted(const struct lrp_tcp *c, uint32_t *snd, uint32_t *rcv)
{
	/* Twice the congestion window: one in the network, one that waits for it. */
	uint64_t out = 2ull * c->cc.cwnd;

	if (out < c->opt.snd_min)
		out = c->opt.snd_min;
	if (out > c->opt.snd_max)
		out = c->opt.snd_max;
	*snd = power_of_two(c->snd.size, (uint32_t)out, c->opt.snd_max);
	*rcv = power_of_two(c->rcv.size, lrp_tcp_max(c->rcv_wanted, c->opt.rcv_min),
			    c->opt.rcv_max);
}

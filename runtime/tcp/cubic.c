/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * CUBIC (RFC 9438) in integers. Time since the epoch counts in 1/1024 s, so
 * that W(t) = C (t - K)^3 + W_max, C = 0.4, needs multiplications and shifts only.
 */
#include "cc.h"

#define BETA	      717      /* of 1024: 0.7 */
#define C	      410      /* of 1024: 0.4 */
#define TICK_NS	      976562ll /* 1/1024 s */
#define LOOK_AGAIN_NS 31250000ll
#define TIME_MAX      (1u << 18) /* ticks: what the cube below can take */
#define NEED_MAX      (UINT32_MAX / 2)

static void cubic_init(struct lrp_tcp_cc *cc)
{
	cc->cubic = (struct lrp_tcp_cubic_state){0};
	lrp_tcp_hystart_init(&cc->hystart);
	cc->hystart.on = cc->ssthresh == LRP_TCP_CC_UNKNOWN;
}

/* Largest r with r^3 <= x < 2^63. Once in a congestion epoch. */
static uint32_t cube_root(uint64_t x)
{
	uint64_t r = 0;

	for (int bit = 20; bit >= 0; bit--) {
		uint64_t t = r | 1ull << bit;

		if (t * t * t <= x)
			r = t;
	}
	return (uint32_t)r;
}

/* Congestion avoidance begins (RFC 9438 4.2); after a timeout on its plateau (4.8). */
static void begin(struct lrp_tcp_cc *cc, int64_t now)
{
	struct lrp_tcp_cubic_state *c = &cc->cubic;

	c->epoch_ns = now;
	c->looked_cwnd = 0;
	c->w_est = cc->cwnd;
	c->w_est_counted = 0;
	c->k = 0;
	c->origin = cc->cwnd;
	if (c->after_timeout) {
		c->w_max = cc->cwnd;
		c->after_timeout = false;
	} else if (c->w_max > cc->cwnd) {
		/* K = cbrt((W_max - cwnd) / C), in ticks: 2^30 of their cubes to one of a second's
		 */
		c->k = cube_root((((uint64_t)c->w_max - cc->cwnd) * 5 << 29) / cc->mss);
		c->origin = c->w_max;
	}
}

/* W_cubic, a round trip ahead. */
static uint64_t target(const struct lrp_tcp_cc *cc, int64_t ns)
{
	const struct lrp_tcp_cubic_state *c = &cc->cubic;
	int64_t t = ns / TICK_NS - c->k;
	uint64_t d = (uint64_t)(t < 0 ? -t : t), delta;

	if (d > TIME_MAX)
		d = TIME_MAX;
	delta = ((((d * d * d) >> 10) * C) >> 20) * cc->mss >> 10;
	if (t >= 0)
		return c->origin + delta;
	return delta < c->origin ? c->origin - delta : 0;
}

static void look(struct lrp_tcp_cc *cc, const struct lrp_tcp_cc_ack *a)
{
	struct lrp_tcp_cubic_state *c = &cc->cubic;
	uint64_t cwnd = cc->cwnd, to, need = 100 * cwnd;

	if (c->looked_cwnd == cc->cwnd && a->now_ns - c->looked_ns < LOOK_AGAIN_NS)
		return;
	c->looked_cwnd = cc->cwnd;
	c->looked_ns = a->now_ns;
	to = target(cc, a->now_ns + a->srtt_ns - c->epoch_ns);
	if (to > cwnd + cwnd / 2)
		to = cwnd + cwnd / 2; /* RFC 9438 4.4 */
	if (to > cwnd)
		need = cc->mss * cwnd / (to - cwnd);
	/* No loss was seen yet: search by a twentieth of the window in a round trip, as Linux does.
	 */
	if (!c->w_max && need > 20 * cc->mss)
		need = 20 * cc->mss;
	c->need = need < NEED_MAX ? (uint32_t)need : NEED_MAX;
}

/* What Reno would have (RFC 9438 4.3): alpha is 9/17 below the window of the last reduction. */
static void grow_reno(struct lrp_tcp_cc *cc, uint32_t delivered)
{
	struct lrp_tcp_cubic_state *c = &cc->cubic;
	uint32_t need = cc->cwnd;

	if (c->w_est < c->w_prior)
		need += cc->cwnd / 9 * 8;
	c->w_est_counted += delivered;
	while (c->w_est_counted >= need) {
		c->w_est_counted -= need;
		c->w_est += cc->mss;
	}
	if (c->w_est > cc->cwnd)
		cc->cwnd = c->w_est;
}

static void cubic_ack(struct lrp_tcp_cc *cc, const struct lrp_tcp_cc_ack *a)
{
	struct lrp_tcp_cubic_state *c = &cc->cubic;
	int64_t since = a->now_ns - c->acked_ns;
	uint32_t left = a->delivered;

	c->acked_ns = a->now_ns;
	if (lrp_tcp_cc_slow_start(cc))
		left = lrp_tcp_hystart_ack(cc, a);
	if (!a->cwnd_limited) {
		/* Time that the application wastes is none of the network's (RFC 9438 5.8). */
		if (c->epoch_ns)
			c->epoch_ns += since;
		return;
	}
	if (lrp_tcp_cc_slow_start(cc))
		left = lrp_tcp_cc_grow_slow(cc, left);
	if (!left || lrp_tcp_cc_slow_start(cc))
		return;
	if (!c->epoch_ns)
		begin(cc, a->now_ns);
	look(cc, a);
	lrp_tcp_cc_grow(cc, left, c->need);
	grow_reno(cc, left);
}

static void cubic_reduce(struct lrp_tcp_cc *cc)
{
	struct lrp_tcp_cubic_state *c = &cc->cubic;
	uint32_t ssthresh = (uint32_t)((uint64_t)cc->cwnd * BETA >> 10);

	c->before.epoch_ns = c->epoch_ns;
	c->before.k = c->k;
	c->before.origin = c->origin;
	c->before.w_max = c->w_max;
	c->before.w_est = c->w_est;
	c->before.w_prior = c->w_prior;
	/* Fast convergence (RFC 9438 4.7): lower than last time means that others came. */
	c->w_max = cc->cwnd < c->w_max ? (uint32_t)((uint64_t)cc->cwnd * (1024 + BETA) >> 11)
				       : cc->cwnd;
	c->w_prior = cc->cwnd;
	c->epoch_ns = 0;
	cc->ssthresh = ssthresh > 2 * cc->mss ? ssthresh : 2 * cc->mss;
	cc->hystart.on = false;
}

static void cubic_timeout(struct lrp_tcp_cc *cc)
{
	cubic_reduce(cc);
	cc->cubic.after_timeout = true;
}

static void cubic_undo(struct lrp_tcp_cc *cc)
{
	struct lrp_tcp_cubic_state *c = &cc->cubic;

	c->epoch_ns = c->before.epoch_ns;
	c->k = c->before.k;
	c->origin = c->before.origin;
	c->w_max = c->before.w_max;
	c->w_est = c->before.w_est;
	c->w_prior = c->before.w_prior;
	c->looked_cwnd = 0;
	c->after_timeout = false;
}

static void cubic_idle(struct lrp_tcp_cc *cc, int64_t idle_ns)
{
	struct lrp_tcp_cubic_state *c = &cc->cubic;

	c->acked_ns += idle_ns;
	if (c->epoch_ns)
		c->epoch_ns += idle_ns;
}

const struct lrp_tcp_cc_ops lrp_tcp_cubic = {
	.name = "cubic",
	.init = cubic_init,
	.ack = cubic_ack,
	.reduce = cubic_reduce,
	.timeout = cubic_timeout,
	.undo = cubic_undo,
	.idle = cubic_idle,
};

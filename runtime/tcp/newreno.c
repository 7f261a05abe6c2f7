/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "cc.h"

static void newreno_init(struct lrp_tcp_cc *cc)
{
	(void)cc;
}

/* Appropriate byte counting (RFC 3465 2.1): a segment for each window acknowledged. */
static void newreno_ack(struct lrp_tcp_cc *cc, const struct lrp_tcp_cc_ack *a)
{
	uint32_t left = a->delivered;

	if (!a->cwnd_limited)
		return;
	if (lrp_tcp_cc_slow_start(cc))
		left = lrp_tcp_cc_grow_slow(cc, left);
	if (left)
		lrp_tcp_cc_grow(cc, left, cc->cwnd);
}

static void newreno_reduce(struct lrp_tcp_cc *cc)
{
	cc->ssthresh = cc->cwnd / 2 > 2 * cc->mss ? cc->cwnd / 2 : 2 * cc->mss;
}

static void newreno_undo(struct lrp_tcp_cc *cc)
{
	(void)cc;
}

static void newreno_idle(struct lrp_tcp_cc *cc, int64_t idle_ns)
{
	(void)cc;
	(void)idle_ns;
}

const struct lrp_tcp_cc_ops lrp_tcp_newreno = {
	.name = "reno",
	.init = newreno_init,
	.ack = newreno_ack,
	.reduce = newreno_reduce,
	.timeout = newreno_reduce,
	.undo = newreno_undo,
	.idle = newreno_idle,
};

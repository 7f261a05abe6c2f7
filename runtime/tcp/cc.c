/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "cc.h"

#include <string.h>

#define CWND_MAX (1u << 30) /* as much as a scaled window can name */

static inline uint32_t max32(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

static inline uint32_t min32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

const struct lrp_tcp_cc_ops *lrp_tcp_cc_find(const char *name)
{
	static const struct lrp_tcp_cc_ops *const all[] = {&lrp_tcp_cubic, &lrp_tcp_newreno};

	for (uint32_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (!strcmp(all[i]->name, name))
			return all[i];
	return NULL;
}

/* RFC 6928 2. */
static uint32_t initial_window(uint32_t mss)
{
	return min32(10 * mss, max32(2 * mss, 14600));
}

void lrp_tcp_cc_init(struct lrp_tcp_cc *cc, const struct lrp_tcp_cc_ops *ops, uint32_t mss)
{
	memset(cc, 0, sizeof(*cc));
	cc->mss = mss;
	cc->cwnd = initial_window(mss);
	cc->ssthresh = LRP_TCP_CC_UNKNOWN;
	lrp_tcp_cc_change(cc, ops);
}

void lrp_tcp_cc_change(struct lrp_tcp_cc *cc, const struct lrp_tcp_cc_ops *ops)
{
	cc->ops = ops;
	cc->counted = 0;
	ops->init(cc);
}

void lrp_tcp_cc_mss(struct lrp_tcp_cc *cc, uint32_t mss)
{
	cc->mss = mss;
	cc->cwnd = max32(cc->cwnd, mss);
	cc->ssthresh = max32(cc->ssthresh, 2 * mss);
}

static void remember(struct lrp_tcp_cc *cc)
{
	cc->prior_cwnd = cc->cwnd;
	cc->prior_ssthresh = cc->ssthresh;
	cc->counted = 0;
}

void lrp_tcp_cc_reduce(struct lrp_tcp_cc *cc)
{
	remember(cc);
	cc->ops->reduce(cc);
}

void lrp_tcp_cc_timeout(struct lrp_tcp_cc *cc)
{
	remember(cc);
	cc->ops->timeout(cc);
}

void lrp_tcp_cc_undo(struct lrp_tcp_cc *cc)
{
	cc->cwnd = max32(cc->cwnd, cc->prior_cwnd);
	cc->ssthresh = max32(cc->ssthresh, cc->prior_ssthresh);
	cc->ops->undo(cc);
}

void lrp_tcp_cc_idle(struct lrp_tcp_cc *cc, int64_t idle_ns, int64_t rto_ns)
{
	uint32_t least = min32(cc->cwnd, initial_window(cc->mss));

	cc->ops->idle(cc, idle_ns);
	if (idle_ns <= rto_ns)
		return;
	cc->ssthresh = max32(cc->ssthresh, cc->cwnd / 4 * 3);
	for (; idle_ns > rto_ns && cc->cwnd > least; idle_ns -= rto_ns)
		cc->cwnd /= 2;
	cc->cwnd = max32(cc->cwnd, least);
	cc->counted = 0;
}

void lrp_tcp_cc_unused(struct lrp_tcp_cc *cc, uint32_t used)
{
	used = max32(used, initial_window(cc->mss));
	if (used >= cc->cwnd)
		return;
	cc->ssthresh = max32(cc->ssthresh, cc->cwnd / 4 * 3);
	cc->cwnd = used + (cc->cwnd - used) / 2;
}

uint32_t lrp_tcp_cc_grow_slow(struct lrp_tcp_cc *cc, uint32_t delivered)
{
	uint32_t step = min32(delivered, cc->ssthresh - cc->cwnd);

	cc->cwnd = min32(cc->cwnd + step, CWND_MAX);
	return delivered - step;
}

void lrp_tcp_cc_grow(struct lrp_tcp_cc *cc, uint32_t delivered, uint32_t need)
{
	cc->counted += delivered;
	while (cc->counted >= need) {
		cc->counted -= need;
		cc->cwnd = min32(cc->cwnd + cc->mss, CWND_MAX);
	}
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "rtt.h"

#include <string.h>

#include "seq.h"

void lrp_tcp_rtt_init(struct lrp_tcp_rtt *t)
{
	memset(t, 0, sizeof(*t));
	t->rto_ns = LRP_TCP_RTO_INITIAL_NS;
}

static inline int64_t at_least(int64_t x, int64_t least)
{
	return x > least ? x : least;
}

static void first_sample(struct lrp_tcp_rtt *t, int64_t rtt, uint32_t nxt)
{
	t->srtt_ns = rtt;
	t->mdev_ns = rtt / 2;
	t->rttvar_ns = t->mdev_max_ns = at_least(t->mdev_ns, LRP_TCP_RTO_MIN_NS / 4);
	t->round_end = nxt;
}

static void smooth(struct lrp_tcp_rtt *t, int64_t rtt)
{
	int64_t error = rtt - t->srtt_ns;

	t->srtt_ns = at_least(t->srtt_ns + error / 8, 1);
	if (error < 0) {
		/* The path became shorter: let that not lengthen the timeout. */
		error = -error - t->mdev_ns;
		t->mdev_ns += error > 0 ? error / 32 : error / 4;
	} else {
		t->mdev_ns += (error - t->mdev_ns) / 4;
	}
}

void lrp_tcp_rtt_sample(struct lrp_tcp_rtt *t, int64_t rtt_ns, uint32_t una, uint32_t nxt)
{
	rtt_ns = at_least(rtt_ns, 1);
	if (!t->srtt_ns) {
		first_sample(t, rtt_ns, nxt);
	} else {
		smooth(t, rtt_ns);
		t->mdev_max_ns = at_least(t->mdev_max_ns, t->mdev_ns);
		t->rttvar_ns = at_least(t->rttvar_ns, t->mdev_max_ns);
		if (lrp_seq_geq(una, t->round_end)) {
			t->rttvar_ns -= (t->rttvar_ns - t->mdev_max_ns) / 4;
			t->mdev_max_ns = LRP_TCP_RTO_MIN_NS / 4;
			t->round_end = nxt;
		}
	}
	t->rto_ns = t->srtt_ns + 4 * t->rttvar_ns;
	if (t->rto_ns > LRP_TCP_RTO_MAX_NS)
		t->rto_ns = LRP_TCP_RTO_MAX_NS;
}

void lrp_tcp_rtt_min(struct lrp_tcp_rtt *t, int64_t now_ns, int64_t rtt_ns)
{
	rtt_ns = at_least(rtt_ns, 1);
	if (t->min_ns && rtt_ns > t->min_ns && now_ns - t->min_at_ns < LRP_TCP_MIN_RTT_AGE_NS)
		return;
	t->min_ns = rtt_ns;
	t->min_at_ns = now_ns;
}

int64_t lrp_tcp_rtt_backed_off(const struct lrp_tcp_rtt *t, uint32_t backoff)
{
	int64_t rto = t->rto_ns;

	while (backoff-- && rto < LRP_TCP_RTO_MAX_NS)
		rto *= 2;
	return rto < LRP_TCP_RTO_MAX_NS ? rto : LRP_TCP_RTO_MAX_NS;
}

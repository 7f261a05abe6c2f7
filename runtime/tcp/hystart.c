/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* HyStart++ (RFC 9406). Without its limit L on growth per ACK, which would throttle receivers that
 * acknowledge a whole offloaded run at once. */
#include "cc.h"
#include "seq.h"

#define RTT_GROWTH_MIN_NS 4000000ll
#define RTT_GROWTH_MAX_NS 16000000ll
#define SAMPLES		  8 /* that make a round's minimum believable */
#define CSS_DIVISOR	  4
#define CSS_ROUNDS	  5
#define NO_RTT		  INT64_MAX

void lrp_tcp_hystart_init(struct lrp_tcp_hystart *h)
{
	*h = (struct lrp_tcp_hystart){
		.round_min_ns = NO_RTT, .last_min_ns = NO_RTT, .baseline_ns = NO_RTT, .on = true};
}

static void next_round(struct lrp_tcp_cc *cc, uint32_t nxt)
{
	struct lrp_tcp_hystart *h = &cc->hystart;

	h->last_min_ns = h->round_min_ns;
	h->round_min_ns = NO_RTT;
	h->samples = 0;
	h->round_end = nxt;
	h->in_round = true;
	if (h->css && ++h->css_rounds >= CSS_ROUNDS) {
		cc->ssthresh = cc->cwnd;
		h->on = false;
	}
}

static int64_t growth(int64_t last_ns)
{
	int64_t g = last_ns / 8;

	if (g < RTT_GROWTH_MIN_NS)
		return RTT_GROWTH_MIN_NS;
	return g < RTT_GROWTH_MAX_NS ? g : RTT_GROWTH_MAX_NS;
}

/* Into conservative slow start when the RTT has grown; back if that was a passing thing. */
static void judge(struct lrp_tcp_hystart *h)
{
	if (h->samples < SAMPLES || h->last_min_ns == NO_RTT)
		return;
	if (h->css) {
		h->css = h->round_min_ns >= h->baseline_ns;
	} else if (h->round_min_ns >= h->last_min_ns + growth(h->last_min_ns)) {
		h->css = true;
		h->css_rounds = 0;
		h->baseline_ns = h->round_min_ns;
	}
}

uint32_t lrp_tcp_hystart_ack(struct lrp_tcp_cc *cc, const struct lrp_tcp_cc_ack *a)
{
	struct lrp_tcp_hystart *h = &cc->hystart;

	if (!h->on)
		return a->delivered;
	if (!h->in_round || lrp_seq_geq(a->una, h->round_end))
		next_round(cc, a->nxt);
	if (a->rtt_ns >= 0) {
		h->samples++;
		if (a->rtt_ns < h->round_min_ns)
			h->round_min_ns = a->rtt_ns;
		judge(h);
	}
	return h->css ? a->delivered / CSS_DIVISOR : a->delivered;
}

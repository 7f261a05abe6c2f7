/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * cc.h - congestion control: how large the window may be (RFC 5681). Which
 * bytes to send again is recovery.h's; the two meet here only.
 *
 * Pure. All sizes in bytes, all times in nanoseconds.
 */
#ifndef LRP_TCP_CC_H
#define LRP_TCP_CC_H

#include <stdbool.h>
#include <stdint.h>

#define LRP_TCP_CC_NAME 16 /* as TCP_CA_NAME_MAX */

struct lrp_tcp_cc;

/* What an acknowledgement said. */
struct lrp_tcp_cc_ack {
	int64_t now_ns;
	int64_t rtt_ns;	      /* sample of this acknowledgement, or -1 */
	int64_t srtt_ns, min_rtt_ns;
	uint32_t delivered;   /* bytes newly acknowledged or sacked */
	uint32_t in_flight;   /* before it */
	bool cwnd_limited;    /* the window, not the application, held the sender back (RFC 9661) */
};

struct lrp_tcp_cc_ops {
	const char *name; /* TCP_CONGESTION */
	void (*init)(struct lrp_tcp_cc *cc);
	/* outside recovery: growth */
	void (*ack)(struct lrp_tcp_cc *cc, const struct lrp_tcp_cc_ack *a);
	/* a loss or ECN mark that begins a recovery: sets ssthresh; cwnd follows by PRR */
	void (*reduce)(struct lrp_tcp_cc *cc, int64_t now_ns, uint32_t in_flight);
	/* retransmission timeout: sets ssthresh and cwnd (RFC 5681 3.1) */
	void (*timeout)(struct lrp_tcp_cc *cc, int64_t now_ns, uint32_t in_flight, bool first);
	/* the reduction was spurious: as it was before (RFC 3522, RFC 4015) */
	void (*undo)(struct lrp_tcp_cc *cc);
	/* the connection was idle for longer than the RTO (RFC 2861 as Linux does it) */
	void (*idle)(struct lrp_tcp_cc *cc, int64_t idle_ns, int64_t rto_ns);
};

struct lrp_tcp_cc {
	const struct lrp_tcp_cc_ops *ops;
	uint32_t mss;
	uint32_t cwnd, ssthresh; /* bytes; ssthresh UINT32_MAX: not known */
	uint32_t prior_cwnd, prior_ssthresh; /* before the last reduction, for undo */
	uint32_t counted;	 /* bytes counted towards the next growth step */
	union {
		struct {
			int64_t epoch_ns, k_ns;
			uint32_t w_max, w_last_max, w_est, origin;
			/* HyStart (RFC 9406) */
			int64_t round_min_ns, last_round_min_ns;
			uint32_t round_end, samples;
			uint32_t css_rounds;
			bool css;
		} cubic;
	};
};

extern const struct lrp_tcp_cc_ops lrp_tcp_newreno; /* "reno" */
extern const struct lrp_tcp_cc_ops lrp_tcp_cubic;   /* "cubic", RFC 9438 */

/* By name; NULL: unknown. */
const struct lrp_tcp_cc_ops *lrp_tcp_cc_find(const char *name);
/* Initial window of RFC 6928. */
void lrp_tcp_cc_init(struct lrp_tcp_cc *cc, const struct lrp_tcp_cc_ops *ops, uint32_t mss);
/* The other algorithm goes on from the present window. */
void lrp_tcp_cc_change(struct lrp_tcp_cc *cc, const struct lrp_tcp_cc_ops *ops);
/* Another MSS (path MTU): windows keep their size in bytes, at least one segment. */
void lrp_tcp_cc_mss(struct lrp_tcp_cc *cc, uint32_t mss);

#endif

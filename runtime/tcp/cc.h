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

#define LRP_TCP_CC_NAME	   16	      /* as TCP_CA_NAME_MAX */
#define LRP_TCP_CC_UNKNOWN UINT32_MAX /* ssthresh, before the first loss */

struct lrp_tcp_cc;

/* What an acknowledgement said. */
struct lrp_tcp_cc_ack {
	int64_t now_ns;
	int64_t rtt_ns;	    /* sample of this acknowledgement, or -1 */
	int64_t srtt_ns;    /* 0: not known */
	uint32_t una, nxt;  /* after it */
	uint32_t delivered; /* bytes newly acknowledged or sacked */
	bool cwnd_limited;  /* the window, not the application, held the sender back (RFC 9661) */
};

struct lrp_tcp_cc_ops {
	const char *name; /* TCP_CONGESTION */
	void (*init)(struct lrp_tcp_cc *cc);
	/* outside a reduction: growth */
	void (*ack)(struct lrp_tcp_cc *cc, const struct lrp_tcp_cc_ack *a);
	/* a loss or an ECN mark: sets ssthresh; cwnd follows by PRR */
	void (*reduce)(struct lrp_tcp_cc *cc);
	/* a retransmission timeout, the first of a row: sets ssthresh; cwnd is the caller's */
	void (*timeout)(struct lrp_tcp_cc *cc);
	/* the last reduction or timeout was spurious: what the algorithm remembers, as it was
	 * before; cwnd and ssthresh are the caller's */
	void (*undo)(struct lrp_tcp_cc *cc);
	/* sending goes on after `idle_ns` with nothing out */
	void (*idle)(struct lrp_tcp_cc *cc, int64_t idle_ns);
};

struct lrp_tcp_cubic_state {
	int64_t epoch_ns;  /* when this stage of congestion avoidance began; 0: at the next ACK */
	int64_t looked_ns; /* when `need` was computed, */
	uint32_t looked_cwnd; /* and for which window */
	uint32_t k;	      /* 1/1024 s from epoch to origin */
	uint32_t origin;      /* window at the plateau */
	uint32_t w_max;	      /* window before the last reduction, or less (fast convergence) */
	uint32_t w_est, w_est_counted; /* window of Reno, and bytes towards its next step */
	uint32_t w_prior;   /* window before the last reduction: from there Reno's alpha is 1 */
	int64_t acked_ns;   /* time of the last ACK: the epoch waits for the application */
	uint32_t need;	    /* bytes to be delivered for each segment of growth */
	bool after_timeout; /* the stage to come begins at its plateau (RFC 9438 4.8) */
	struct {
		int64_t epoch_ns;
		uint32_t k, origin, w_max, w_est, w_prior;
	} before; /* the last reduction, for undo */
};

/* HyStart++ (RFC 9406). */
struct lrp_tcp_hystart {
	int64_t round_min_ns, last_min_ns, baseline_ns; /* INT64_MAX: none */
	uint32_t round_end, samples;
	uint8_t css_rounds;
	bool css; /* conservative slow start */
	bool on, in_round;
};

struct lrp_tcp_cc {
	const struct lrp_tcp_cc_ops *ops;
	uint32_t mss;
	uint32_t cwnd, ssthresh;	     /* ssthresh LRP_TCP_CC_UNKNOWN: not known */
	uint32_t prior_cwnd, prior_ssthresh; /* before the last reduction, for undo */
	uint32_t counted;		     /* bytes delivered towards the next growth step */
	struct lrp_tcp_cubic_state cubic;
	struct lrp_tcp_hystart hystart;
};

extern const struct lrp_tcp_cc_ops lrp_tcp_newreno; /* "reno", newreno.c */
extern const struct lrp_tcp_cc_ops lrp_tcp_cubic;   /* "cubic", cubic.c; RFC 9438 */

/* By name; NULL: unknown. */
const struct lrp_tcp_cc_ops *lrp_tcp_cc_find(const char *name);
/* Initial window of RFC 6928. To be called again when the handshake has shown the MSS. */
void lrp_tcp_cc_init(struct lrp_tcp_cc *cc, const struct lrp_tcp_cc_ops *ops, uint32_t mss);
/* The other algorithm goes on from the present window. */
void lrp_tcp_cc_change(struct lrp_tcp_cc *cc, const struct lrp_tcp_cc_ops *ops);
/* Another MSS (path MTU): windows keep their size in bytes, at least one segment. */
void lrp_tcp_cc_mss(struct lrp_tcp_cc *cc, uint32_t mss);

static inline bool lrp_tcp_cc_slow_start(const struct lrp_tcp_cc *cc)
{
	return cc->cwnd < cc->ssthresh;
}

/* ---- for recovery.c ---- */

/* A reduction begins: remembers the windows and sets ssthresh. */
void lrp_tcp_cc_reduce(struct lrp_tcp_cc *cc);
void lrp_tcp_cc_timeout(struct lrp_tcp_cc *cc);
/* The windows from before the reduction, unless they are larger by now. */
void lrp_tcp_cc_undo(struct lrp_tcp_cc *cc);
/* Nothing was out for `idle_ns`: beyond the RTO, the window is halved for each, down to the initial
 * one (RFC 2861, RFC 5681 4.1). */
void lrp_tcp_cc_idle(struct lrp_tcp_cc *cc, int64_t idle_ns, int64_t rto_ns);
/* The application used at most `used` bytes for an RTO: halfway down to it (RFC 2861). */
void lrp_tcp_cc_unused(struct lrp_tcp_cc *cc, uint32_t used);

/* ---- for the algorithms ---- */

/* Slow start by `delivered` bytes (RFC 5681 3.1, RFC 3465 with no limit); returns what is left of
 * them past ssthresh. */
uint32_t lrp_tcp_cc_grow_slow(struct lrp_tcp_cc *cc, uint32_t delivered);
/* One segment for each `need` bytes delivered. */
void lrp_tcp_cc_grow(struct lrp_tcp_cc *cc, uint32_t delivered, uint32_t need);

/* hystart.c: leaves slow start before losses, when the RTT grows. */
void lrp_tcp_hystart_init(struct lrp_tcp_hystart *h);
/* Before slow start by a->delivered: how much of it counts. Sets cc->ssthresh to leave. */
uint32_t lrp_tcp_hystart_ack(struct lrp_tcp_cc *cc, const struct lrp_tcp_cc_ack *a);

#endif

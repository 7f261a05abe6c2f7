/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * rtt.h - round-trip time and retransmission timeout (RFC 6298), the variance
 * smoothed as Linux does it: a shrinking RTT does not lengthen the RTO, and the variance falls
 * at most once in a round trip. RTO = SRTT + max(4 RTTVAR, 200 ms).
 *
 * Pure. Nanoseconds.
 */
#ifndef LRP_TCP_RTT_H
#define LRP_TCP_RTT_H

#include <stdint.h>

#define LRP_TCP_RTO_MIN_NS     200000000ll /* as Linux; RFC 6298 says 1 s, see docs */
#define LRP_TCP_RTO_MAX_NS     120000000000ll
#define LRP_TCP_RTO_INITIAL_NS 1000000000ll
#define LRP_TCP_MIN_RTT_AGE_NS 300000000000ll /* a minimum is forgotten after five minutes */

struct lrp_tcp_rtt {
	int64_t srtt_ns;	      /* 0: no sample yet */
	int64_t rttvar_ns;	      /* one mean deviation; RTO takes four */
	int64_t mdev_ns, mdev_max_ns; /* as it goes; largest in this round trip */
	int64_t rto_ns;		      /* without backoff */
	int64_t min_ns, min_at_ns;    /* least in five minutes, 0: none; when it was seen */
	uint32_t round_end;	      /* nxt when this round trip began */
};

void lrp_tcp_rtt_init(struct lrp_tcp_rtt *t);
/* A sample (RFC 6298 2); at least 1 ns is taken. `una`, `nxt`: of the connection. */
void lrp_tcp_rtt_sample(struct lrp_tcp_rtt *t, int64_t rtt_ns, uint32_t una, uint32_t nxt);
/* The shortest way: a sample without the receiver's delay, for the windowed minimum. */
void lrp_tcp_rtt_min(struct lrp_tcp_rtt *t, int64_t now_ns, int64_t rtt_ns);
/* RTO doubled `backoff` times, at most LRP_TCP_RTO_MAX_NS (RFC 6298 5.5). */
int64_t lrp_tcp_rtt_backed_off(const struct lrp_tcp_rtt *t, uint32_t backoff);

#endif

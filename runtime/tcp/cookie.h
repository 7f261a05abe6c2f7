/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * cookie.h - SYN cookies (RFC 4987 3.6): what a half-open connection would have to remember, in
 * the sequence number and timestamp of the SYN-ACK, laid out as Linux does:
 *
 *   ISN        F(flow) + the peer's ISN + minute * 2^24 + (G(flow, minute) + MSS index) mod 2^24
 *   timestamp  low six bits: the peer's window scale (15: none), SACK, ECN
 *
 * Pure. Any thread.
 */
#ifndef LRP_TCP_COOKIE_H
#define LRP_TCP_COOKIE_H

#include "segment.h"

#define LRP_TCP_COOKIE_NS 120000000000ll /* none is good for longer */

/* The ISN for a SYN with sequence number `irs`; the MSS is rounded down to what an index can say.
 * False: it is smaller than all of them. */
bool lrp_tcp_cookie(const uint64_t key[2], const struct lrp_tcp_flow *flow, uint32_t irs,
		    uint16_t mss, int64_t now_ns, uint32_t *iss);
/* Did we make `iss`, in this minute or the one before? */
bool lrp_tcp_cookie_check(const uint64_t key[2], const struct lrp_tcp_flow *flow, uint32_t irs,
			  uint32_t iss, int64_t now_ns, uint16_t *mss);

/* The timestamp to send, before its offset: a little earlier than now. `options`: LRP_TCP_HAS_*. */
uint32_t lrp_tcp_cookie_timestamp(int64_t now_ns, uint8_t options, uint8_t wscale, bool ecn);
/* From its echo: LRP_TCP_HAS_*. */
uint8_t lrp_tcp_cookie_options(uint32_t ts, uint8_t *wscale, bool *ecn);

#endif

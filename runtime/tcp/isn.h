/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* isn.h - initial sequence numbers (RFC 6528) and timestamp offsets: SipHash-2-4 of the flow under a
 * secret, plus the clock. Pure. */
#ifndef LRP_TCP_ISN_H
#define LRP_TCP_ISN_H

#include "segment.h"

/* SipHash-2-4 (Aumasson, Bernstein 2012). */
uint64_t lrp_siphash(const uint64_t key[2], const void *data, uint32_t len);
/* Advances by one every 64 ns, as Linux's does. */
uint32_t lrp_tcp_isn(const uint64_t key[2], const struct lrp_tcp_flow *flow, int64_t now_ns);
/* Per pair of addresses, so that timestamps of successive connections grow (RFC 7323 5.4). */
uint32_t lrp_tcp_ts_offset(const uint64_t key[2], const struct lrp_tcp_flow *flow);

#endif

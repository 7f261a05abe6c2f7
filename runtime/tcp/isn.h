/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * isn.h - what is derived from a flow under a secret: hashes, initial sequence
 * numbers (RFC 6528), timestamp offsets. All by SipHash-2-4.
 *
 * Pure. Any thread. One key may serve several of these and SYN cookies (listen.h): the inputs
 * differ in length. Keep the key of a hash table apart all the same, for an ISN is shown to the
 * peer.
 */
#ifndef LRP_TCP_ISN_H
#define LRP_TCP_ISN_H

#include <string.h>

#include "segment.h"

/* SipHash-2-4 (Aumasson, Bernstein 2012); the key as two little-endian words. */
uint64_t lrp_siphash(const uint64_t key[2], const void *data, uint32_t len);

#define LRP_TCP_FLOW_BYTES_MAX 36
/* The flow without padding: addresses, then ports, ours first. Returns the bytes: 12 or 36. */
uint32_t lrp_tcp_flow_bytes(const struct lrp_tcp_flow *flow, uint8_t out[LRP_TCP_FLOW_BYTES_MAX]);

uint64_t lrp_tcp_flow_hash(const uint64_t key[2], const struct lrp_tcp_flow *flow);

static inline bool lrp_tcp_flow_equal(const struct lrp_tcp_flow *a, const struct lrp_tcp_flow *b)
{
	size_t len = a->family == AF_INET ? 4 : 16;

	return a->family == b->family && a->lport == b->lport && a->rport == b->rport &&
	       memcmp(&a->raddr, &b->raddr, len) == 0 && memcmp(&a->laddr, &b->laddr, len) == 0;
}

/* Advances by one every 64 ns, as Linux's does. */
uint32_t lrp_tcp_isn(const uint64_t key[2], const struct lrp_tcp_flow *flow, int64_t now_ns);
/* Per pair of addresses, so that timestamps of successive connections grow (RFC 7323 5.4). */
uint32_t lrp_tcp_ts_offset(const uint64_t key[2], const struct lrp_tcp_flow *flow);
/* The timestamp clock before its offset: milliseconds. */
static inline uint32_t lrp_tcp_ts_clock(int64_t now_ns)
{
	return (uint32_t)(now_ns / 1000000);
}

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* seq.h - sequence number arithmetic modulo 2^32 (RFC 9293, section 3.4). Pure. */
#ifndef LRP_TCP_SEQ_H
#define LRP_TCP_SEQ_H

#include <stdbool.h>
#include <stdint.h>

static inline bool lrp_seq_lt(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}

static inline bool lrp_seq_leq(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) <= 0;
}

static inline bool lrp_seq_gt(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) > 0;
}

static inline bool lrp_seq_geq(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) >= 0;
}

static inline uint32_t lrp_seq_max(uint32_t a, uint32_t b)
{
	return lrp_seq_gt(a, b) ? a : b;
}

static inline uint32_t lrp_seq_min(uint32_t a, uint32_t b)
{
	return lrp_seq_lt(a, b) ? a : b;
}

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bytes.h - numbers in network byte order, at any address. */
#ifndef LRP_BYTES_H
#define LRP_BYTES_H

#include <stdint.h>

static inline uint16_t lrp_get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t lrp_get32(const uint8_t *p)
{
	return (uint32_t)lrp_get16(p) << 16 | lrp_get16(p + 2);
}

static inline void lrp_put16(uint8_t *p, uint32_t value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

static inline void lrp_put32(uint8_t *p, uint32_t value)
{
	lrp_put16(p, value >> 16);
	lrp_put16(p + 2, value);
}

#endif

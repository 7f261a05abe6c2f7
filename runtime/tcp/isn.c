/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "isn.h"

#include <endian.h>

static inline uint64_t rotate(uint64_t x, int by)
{
	return x << by | x >> (64 - by);
}

static inline void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = rotate(v[1], 13) ^ v[0];
	v[3] = rotate(v[3], 16) ^ v[2];
	v[0] = rotate(v[0], 32) + v[3];
	v[2] += v[1];
	v[3] = rotate(v[3], 21) ^ v[0];
	v[1] = rotate(v[1], 17) ^ v[2];
	v[2] = rotate(v[2], 32);
}

static inline void sip_word(uint64_t v[4], uint64_t word)
{
	v[3] ^= word;
	sip_round(v);
	sip_round(v);
	v[0] ^= word;
}

uint64_t lrp_siphash(const uint64_t key[2], const void *data, uint32_t len)
{
	const uint8_t *p = data;
	uint64_t v[4] = {key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d,
			 key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573};
	uint64_t word, last = (uint64_t)len << 56;

	for (; len >= 8; p += 8, len -= 8) {
		/* cppcheck-suppress uninitvar ; it takes data for unset */
		memcpy(&word, p, 8);
		sip_word(v, le64toh(word));
	}
	for (uint32_t i = 0; i < len; i++)
		last |= (uint64_t)p[i] << 8 * i;
	sip_word(v, last);
	v[2] ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint32_t lrp_tcp_flow_bytes(const struct lrp_tcp_flow *flow, uint8_t out[LRP_TCP_FLOW_BYTES_MAX])
{
	uint32_t len = flow->family == AF_INET ? 4 : 16;

	memcpy(out, &flow->laddr, len);
	memcpy(out + len, &flow->raddr, len);
	memcpy(out + 2 * len, &flow->lport, 2);
	memcpy(out + 2 * len + 2, &flow->rport, 2);
	return 2 * len + 4;
}

uint64_t lrp_tcp_flow_hash(const uint64_t key[2], const struct lrp_tcp_flow *flow)
{
	uint8_t bytes[LRP_TCP_FLOW_BYTES_MAX];

	return lrp_siphash(key, bytes, lrp_tcp_flow_bytes(flow, bytes));
}

uint32_t lrp_tcp_isn(const uint64_t key[2], const struct lrp_tcp_flow *flow, int64_t now_ns)
{
	return (uint32_t)lrp_tcp_flow_hash(key, flow) + (uint32_t)(now_ns >> 6);
}

uint32_t lrp_tcp_ts_offset(const uint64_t key[2], const struct lrp_tcp_flow *flow)
{
	uint8_t bytes[LRP_TCP_FLOW_BYTES_MAX];
	uint32_t len = lrp_tcp_flow_bytes(flow, bytes);

	return (uint32_t)lrp_siphash(key, bytes, len - 4); /* without the ports */
}

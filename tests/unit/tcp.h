/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tcp.h - flows and segments for the tests of what surrounds a TCP connection. */
#ifndef LRP_TEST_TCP_H
#define LRP_TEST_TCP_H

#include <arpa/inet.h>
#include <string.h>

#include "runtime/tcp/tcp.h"

#define SECOND 1000000000ll

/* The flow of client number `n`; what is padding is garbage, and must not matter. */
static inline struct lrp_tcp_flow flow_of(int family, uint32_t n)
{
	struct lrp_tcp_flow f;

	memset(&f, (int)(n ^ 0x5a), sizeof(f));
	f.family = (uint8_t)family;
	f.lport = htons(80);
	f.rport = htons((uint16_t)(1024 + n % 60000));
	if (family == AF_INET) {
		f.laddr.v4.s_addr = htonl(0xc6120001);
		f.raddr.v4.s_addr = htonl(0x0a000000 + n / 60000);
	} else {
		inet_pton(AF_INET6, "2001:db8::1", &f.laddr);
		inet_pton(AF_INET6, "2001:db8::2", &f.raddr);
		memcpy(&f.raddr.v6.s6_addr[8], &n, 4);
	}
	return f;
}

static inline struct lrp_tcp_segment seg(uint8_t flags, uint32_t seq, uint32_t ack)
{
	return (struct lrp_tcp_segment){.flags = flags, .seq = seq, .ack = ack, .window = 1000};
}

static inline struct lrp_tcp_segment seg_ts(uint8_t flags, uint32_t seq, uint32_t ack, uint32_t val,
					    uint32_t ecr)
{
	struct lrp_tcp_segment s = seg(flags, seq, ack);

	s.options = LRP_TCP_HAS_TIMESTAMP;
	s.ts_val = val;
	s.ts_ecr = ecr;
	return s;
}

/* The value of option `kind` (offset of its data), or NULL. */
static inline const uint8_t *option_of(const struct lrp_tcp_tx *tx, uint8_t kind)
{
	for (uint32_t i = 0; i < tx->options_len;) {
		if (tx->options[i] == 0)
			break;
		if (tx->options[i] == 1) {
			i++;
			continue;
		}
		if (tx->options[i] == kind)
			return tx->options + i + 2;
		i += tx->options[i + 1];
	}
	return NULL;
}

static inline uint32_t be32_at(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

enum { KIND_MSS = 2, KIND_WSCALE = 3, KIND_SACK_OK = 4, KIND_SACK = 5, KIND_TIMESTAMP = 8 };

#endif

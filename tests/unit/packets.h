/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * packets.h - packets for the tests of the protocol code, made without it: byte
 * by byte, and with the checksum as RFC 1071 defines it.
 */
#ifndef LRP_TEST_PACKETS_H
#define LRP_TEST_PACKETS_H

#include <arpa/inet.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/ip/packet.h"

#define PACKET_MAX 66000u

/* Seeded, so that a failure can be had again. */
static uint64_t random_state = 0x1d872b41f5c3ull;

static inline uint32_t rnd(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state >> 16);
}

static inline uint32_t rnd_below(uint32_t n)
{
	return rnd() % n;
}

static inline void rnd_fill(uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)rnd();
}

/* In host order, not complemented: words are numbers as they are written. */
static inline uint32_t naive_sum(uint32_t sum, const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

static inline uint8_t *w16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
	return p + 2;
}

static inline uint8_t *w32(uint8_t *p, uint32_t v)
{
	return w16(w16(p, v >> 16), v);
}

static const uint8_t addr4[2][4] = {{198, 18, 0, 1}, {198, 18, 0, 2}};
static const uint8_t addr6[2][16] = {
	{0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1},
	{0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2},
};

struct make {
	int family;    /* AF_INET (also 0), AF_INET6 */
	int tags;      /* VLAN tags */
	uint8_t proto; /* of the l4 bytes; 0: UDP */
	uint8_t tos;
	uint32_t id;	    /* host order */
	bool more;	    /* more fragments */
	uint32_t offset;    /* of the fragment, bytes */
	bool fragment;	    /* IPv6: with a fragment header in any case */
	const uint8_t *ext; /* IPv4 options; IPv6 extension headers, next header of the last left
			       to us (ext_last is where it is) */
	uint32_t ext_len, ext_last;
	uint8_t ext_type; /* IPv6: type of the first of them */
	uint32_t padding; /* of the link */
};

static inline uint32_t make_link(uint8_t *out, const struct make *m)
{
	static const uint8_t macs[12] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1};
	uint8_t *p = out;

	memcpy(p, macs, 12);
	p += 12;
	for (int i = 0; i < m->tags; i++)
		p = w16(w16(p, i + 1 < m->tags ? 0x88a8 : 0x8100), 100u + (uint32_t)i);
	p = w16(p, m->family == AF_INET6 ? 0x86dd : 0x0800);
	return (uint32_t)(p - out);
}

static inline uint32_t make_packet(uint8_t *out, const struct make *m, const uint8_t *l4,
				   uint32_t l4_len)
{
	uint8_t proto = m->proto ? m->proto : IPPROTO_UDP;
	uint8_t *ip = out + make_link(out, m), *p = ip;

	if (m->family == AF_INET6) {
		bool frag = m->fragment || m->more || m->offset;

		p = w32(p, 6u << 28 | (uint32_t)m->tos << 20 | 0x12345);
		p = w16(p, m->ext_len + (frag ? 8 : 0) + l4_len);
		*p++ = m->ext_len ? m->ext_type : frag ? IPPROTO_FRAGMENT : proto;
		*p++ = 64;
		memcpy(p, addr6, 32);
		p += 32;
		if (m->ext_len) {
			memcpy(p, m->ext, m->ext_len);
			p[m->ext_last] = frag ? IPPROTO_FRAGMENT : proto;
			p += m->ext_len;
		}
		if (frag) {
			*p++ = proto;
			*p++ = 0;
			p = w32(w16(p, m->offset | m->more), m->id);
		}
	} else {
		*p++ = (uint8_t)(0x45 + m->ext_len / 4);
		*p++ = m->tos;
		p = w16(p, 20 + m->ext_len + l4_len);
		p = w16(p, m->id);
		p = w16(p, (m->more ? 0x2000u : 0) | m->offset / 8);
		*p++ = 64;
		*p++ = proto;
		p = w16(p, 0);
		memcpy(p, addr4, 8);
		p += 8;
		if (m->ext_len)
			memcpy(p, m->ext, m->ext_len);
		p += m->ext_len;
		w16(ip + 10, ~naive_sum(0, ip, (size_t)(p - ip)));
	}
	memcpy(p, l4, l4_len);
	p += l4_len;
	memset(p, 0, m->padding);
	return (uint32_t)(p - out) + m->padding;
}

/* The sum of the pseudo-header, host order. */
static inline uint32_t naive_pseudo(int family, uint8_t proto, uint32_t len)
{
	uint8_t tail[8] = {0};

	w32(tail, len);
	tail[7] = proto;
	return naive_sum(family == AF_INET6 ? naive_sum(0, addr6[0], 32)
					    : naive_sum(0, addr4[0], 8),
			 tail, 8);
}

/* UDP header and payload with the right checksum: 1000 -> 2000. */
static inline uint32_t make_udp(uint8_t *out, int family, const uint8_t *payload, uint32_t len)
{
	uint32_t sum;

	w16(w16(w16(w16(out, 1000), 2000), 8 + len), 0);
	memcpy(out + 8, payload, len);
	sum = ~naive_sum(naive_pseudo(family, IPPROTO_UDP, 8 + len), out, 8 + len) & 0xffff;
	w16(out + 6, sum ? sum : 0xffff);
	return 8 + len;
}

/* A copy at the end of an allocation of its own: a read beyond it is seen by the sanitizer. */
static inline uint8_t *exact_copy(const uint8_t *bytes, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);

	if (!copy)
		abort();
	memcpy(copy, bytes, len);
	return copy;
}

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * checksum.h - the Internet checksum (RFC 1071, RFC 1624).
 *
 * A running sum is a uint64_t of any value; sums of pieces may be added with
 * lrp_checksum_add(). Every piece but the last must have an even length, or the
 * one after it be swapped with lrp_checksum_odd(). Words are summed in the
 * machine's byte order, which RFC 1071 (2)(B) allows: what lrp_checksum_fold()
 * returns is stored in the header as it is.
 */
#ifndef LRP_CHECKSUM_H
#define LRP_CHECKSUM_H

#include <linux/types.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

/* One's complement sum of two sums: the carry is added back. */
static inline uint64_t lrp_checksum_add(uint64_t a, uint64_t b)
{
	uint64_t sum;

	return __builtin_add_overflow(a, b, &sum) ? sum + 1 : sum;
}

/* A running sum as 16 bits, not complemented: what CHECKSUM_PARTIAL leaves in the header. */
static inline uint16_t lrp_checksum_fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

/* The sum of a piece that begins at an odd offset. */
static inline uint64_t lrp_checksum_odd(uint64_t sum)
{
	return __builtin_bswap16(lrp_checksum_fold(sum));
}

/* Sum of `len` bytes at any alignment. lrp_checksum_sum() has the short path inline. */
uint64_t lrp_checksum_long(const void *data, size_t len);
/* Copies, and returns the sum of what was copied: one pass instead of two. No overlap. */
uint64_t lrp_checksum_copy(void *restrict to, const void *restrict from, size_t len);

static inline uint64_t lrp_checksum_short(const uint8_t *p, size_t len)
{
	uint64_t sum = 0, word;
	uint32_t half;
	uint16_t quarter;

	for (; len >= 8; p += 8, len -= 8) {
		memcpy(&word, p, 8);
		sum = lrp_checksum_add(sum, word);
	}
	/* What remains is gathered into one word. */
	word = 0;
	if (len & 4) {
		memcpy(&half, p, 4);
		word = half;
		p += 4;
	}
	sum = lrp_checksum_add(sum, word);
	word = 0;
	if (len & 2) {
		memcpy(&quarter, p, 2);
		word = quarter;
		p += 2;
	}
	if (len & 1) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
		word += *p;
#else
		word += (uint64_t)*p << 8;
#endif
	}
	return lrp_checksum_add(sum, word);
}

#define LRP_CHECKSUM_SHORT 64

static inline uint64_t lrp_checksum_sum(const void *data, size_t len)
{
	return len <= LRP_CHECKSUM_SHORT ? lrp_checksum_short(data, len)
					 : lrp_checksum_long(data, len);
}

/* Sum of an IPv4 header of `words` 32-bit words. 0xffff when folded: the header is right. */
static inline uint64_t lrp_checksum_header4(const uint8_t *header, unsigned int words)
{
	uint64_t sum = 0;
	uint32_t word;

	if (__builtin_expect(words == 5, 1))
		return lrp_checksum_short(header, 20);
	for (unsigned int i = 0; i < words; i++) {
		memcpy(&word, header + 4 * i, 4);
		sum += word;
	}
	return sum;
}

/* Sum over all pieces of an iovec, at most `len` bytes, whatever their lengths. */
uint64_t lrp_checksum_iov(const struct iovec *iov, uint32_t count, size_t len);

/* Pseudo-header of RFC 768 and of RFC 8200 8.1; `len` is that of transport header and payload. */
static inline uint64_t lrp_checksum_pseudo4(struct in_addr src, struct in_addr dst, uint8_t proto,
					    uint32_t len)
{
	return (uint64_t)src.s_addr + dst.s_addr + htonl((uint32_t)proto) + htonl(len);
}

static inline uint64_t lrp_checksum_pseudo6(const struct in6_addr *src, const struct in6_addr *dst,
					    uint8_t proto, uint32_t len)
{
	uint64_t s[2], d[2], sum;

	memcpy(s, src, sizeof(s));
	memcpy(d, dst, sizeof(d));
	sum = (uint64_t)htonl((uint32_t)proto) + htonl(len);
	sum = lrp_checksum_add(sum, s[0]);
	sum = lrp_checksum_add(sum, s[1]);
	sum = lrp_checksum_add(sum, d[0]);
	return lrp_checksum_add(sum, d[1]);
}

/* RFC 1624, equation 3: the checksum field after a 16-bit word of what it covers has changed. */
static inline uint16_t lrp_checksum_update(uint16_t check, uint16_t from, uint16_t to)
{
	return (uint16_t)~lrp_checksum_fold((uint64_t)(uint16_t)~check + (uint16_t)~from + to);
}

/* The same for a 32-bit word, such as an IPv4 address. */
static inline uint16_t lrp_checksum_update32(uint16_t check, uint32_t from, uint32_t to)
{
	return (uint16_t)~lrp_checksum_fold((uint64_t)(uint16_t)~check + (uint32_t)~from + to);
}

#endif

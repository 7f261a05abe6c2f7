/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "checksum.h"

/*
 * 32-bit words are added into 64-bit lanes: no carry can be lost below 16 GiB,
 * and the compiler turns it into what vector unit there is. On the machine it
 * was tried on this is ahead of chains of add-with-carry, which the compiler
 * does not keep in the flags.
 */
typedef uint32_t words __attribute__((vector_size(16), aligned(1), may_alias));
typedef uint32_t lanes32 __attribute__((vector_size(16)));
typedef uint64_t lanes64 __attribute__((vector_size(16)));

static inline lanes32 load(const uint8_t *p)
{
	return (lanes32) * (const words *)p;
}

uint64_t lrp_checksum_long(const void *data, size_t len)
{
	const uint8_t *p = data;
	const lanes64 low = {0xffffffff, 0xffffffff};
	lanes64 a = {0, 0}, b = {0, 0}, c = {0, 0}, d = {0, 0};
	uint64_t sum;

	for (; len >= 64; p += 64, len -= 64) {
		lanes64 w0 = (lanes64)load(p), w1 = (lanes64)load(p + 16);
		lanes64 w2 = (lanes64)load(p + 32), w3 = (lanes64)load(p + 48);

		a += (w0 & low) + (w1 & low);
		b += (w0 >> 32) + (w1 >> 32);
		c += (w2 & low) + (w3 & low);
		d += (w2 >> 32) + (w3 >> 32);
	}
	for (; len >= 16; p += 16, len -= 16) {
		lanes64 w = (lanes64)load(p);

		a += w & low;
		b += w >> 32;
	}
	a += c;
	b += d;
	a += b;
	sum = lrp_checksum_add(a[0], a[1]);
	return lrp_checksum_add(sum, lrp_checksum_short(p, len));
}

uint64_t lrp_checksum_iov(const struct iovec *iov, uint32_t count, size_t len)
{
	uint64_t sum = 0;
	bool odd = false;

	for (uint32_t i = 0; i < count && len; i++) {
		size_t n = iov[i].iov_len < len ? iov[i].iov_len : len;
		uint64_t piece = lrp_checksum_sum(iov[i].iov_base, n);

		sum = lrp_checksum_add(sum, odd ? lrp_checksum_odd(piece) : piece);
		odd ^= n & 1;
		len -= n;
	}
	return sum;
}

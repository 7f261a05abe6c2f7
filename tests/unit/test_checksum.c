/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "packets.h"
#include "runtime/wire/checksum.h"

static uint16_t folded(const void *p, size_t len)
{
	return ntohs(lrp_checksum_fold(lrp_checksum_sum(p, len)));
}

static void rfc_vectors(void **state)
{
	static const uint8_t rfc1071[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
	static const uint8_t header[] = {0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40,
					 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8,
					 0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7};

	(void)state;
	assert_int_equal(folded(rfc1071, 8), 0xddf2); /* RFC 1071 section 3 */
	assert_int_equal(folded(header, 20), 0xffff);
	assert_int_equal(lrp_checksum_fold(lrp_checksum_header4(header, 5)), 0xffff);
	/* RFC 1624 section 4: equation 2 would give 0xffff */
	assert_int_equal(lrp_checksum_update(htons(0xdd2f), htons(0x5555), htons(0x3285)), 0);
}

static void edges(void **state)
{
	static uint8_t ones[70000];

	(void)state;
	memset(ones, 0xff, sizeof(ones));
	assert_int_equal(folded("", 0), 0);
	assert_int_equal(folded("\x12", 1), 0x1200);
	assert_int_equal(folded("\x12\x34\x56", 3), 0x6834);
	for (size_t len = 2; len < sizeof(ones); len += 2)
		assert_int_equal(folded(ones, len), 0xffff);
	assert_int_equal(lrp_checksum_fold(~0ull), 0xffff);
	assert_int_equal(lrp_checksum_add(~0ull, ~0ull), ~0ull);
	assert_int_equal(lrp_checksum_add(~0ull, 1), 1);
}

static void as_naive(void **state)
{
	static uint8_t bytes[70016];

	(void)state;
	rnd_fill(bytes, sizeof(bytes));
	for (size_t at = 0; at < 16; at++)
		for (size_t len = 0; len < 600; len++)
			assert_int_equal(folded(bytes + at, len), naive_sum(0, bytes + at, len));
	for (int i = 0; i < 300; i++) {
		size_t at = rnd_below(16), len = rnd_below(70000);

		rnd_fill(bytes + at + rnd_below((uint32_t)len + 1) % 1000, 8);
		assert_int_equal(folded(bytes + at, len), naive_sum(0, bytes + at, len));
		assert_int_equal(ntohs(lrp_checksum_fold(lrp_checksum_long(bytes + at, len))),
				 naive_sum(0, bytes + at, len));
	}
}

/* Nothing behind the last byte is read: the copies end where their memory does. */
static void reads_no_further(void **state)
{
	uint8_t bytes[300];

	(void)state;
	rnd_fill(bytes, sizeof(bytes));
	for (size_t len = 0; len <= sizeof(bytes); len++) {
		uint8_t *copy = exact_copy(bytes, len);

		assert_int_equal(folded(copy, len), naive_sum(0, bytes, len));
		free(copy);
	}
}

/* One pass: the copy is one, its sum that of two passes, and nothing around it is touched. */
static void copies(void **state)
{
	static uint8_t from[70016], to[70032], want[70032];

	(void)state;
	rnd_fill(from, sizeof(from));
	for (uint32_t i = 0; i < 4000; i++) {
		size_t at = rnd_below(16), len = i < 1000 ? i : rnd_below(i < 3990 ? 4000 : 70000);
		size_t where = rnd_below(16);

		memset(to, 0xee, len + 32);
		memset(want, 0xee, len + 32);
		memcpy(want + where, from + at, len);
		assert_int_equal(
			ntohs(lrp_checksum_fold(lrp_checksum_copy(to + where, from + at, len))),
			naive_sum(0, from + at, len));
		assert_memory_equal(to, want, len + 32);
	}
}

static void pieces(void **state)
{
	uint8_t bytes[3000];

	(void)state;
	rnd_fill(bytes, sizeof(bytes));
	for (int i = 0; i < 2000; i++) {
		struct iovec iov[8];
		size_t at = 0, want = rnd_below(2000);
		uint32_t count = 0;

		while (count < 8) {
			size_t n = rnd_below(4) ? rnd_below(400) : 0;

			iov[count].iov_base = bytes + at;
			iov[count++].iov_len = n;
			at += n;
		}
		if (want > at)
			want = at;
		assert_int_equal(ntohs(lrp_checksum_fold(lrp_checksum_iov(iov, count, want))),
				 naive_sum(0, bytes, want));
	}
}

static void pseudo_headers(void **state)
{
	struct in_addr s4, d4;
	struct in6_addr s6, d6;

	(void)state;
	memcpy(&s4, addr4[0], 4);
	memcpy(&d4, addr4[1], 4);
	memcpy(&s6, addr6[0], 16);
	memcpy(&d6, addr6[1], 16);
	for (uint32_t len = 0; len < 70000; len += 61) {
		assert_int_equal(ntohs(lrp_checksum_fold(lrp_checksum_pseudo4(s4, d4, 17, len))),
				 naive_pseudo(AF_INET, 17, len));
		assert_int_equal(ntohs(lrp_checksum_fold(lrp_checksum_pseudo6(&s6, &d6, 58, len))),
				 naive_pseudo(AF_INET6, 58, len));
	}
}

/* The check field updated is one that a receiver accepts. */
static void updates(void **state)
{
	(void)state;
	for (int i = 0; i < 20000; i++) {
		uint16_t words[10], check, from16;
		uint32_t from, to;

		rnd_fill((uint8_t *)words, sizeof(words));
		words[0] = 0;
		words[0] = check = (uint16_t)~lrp_checksum_fold(lrp_checksum_sum(words, 20));
		from16 = words[3];
		words[3] = (uint16_t)rnd();
		words[0] = lrp_checksum_update(check, from16, words[3]);
		assert_int_equal(folded(words, 20), 0xffff);
		memcpy(&from, words + 4, 4);
		to = rnd();
		memcpy(words + 4, &to, 4);
		words[0] = lrp_checksum_update32(words[0], from, to);
		assert_int_equal(folded(words, 20), 0xffff);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rfc_vectors), cmocka_unit_test(edges),
		cmocka_unit_test(as_naive),    cmocka_unit_test(reads_no_further),
		cmocka_unit_test(pieces),      cmocka_unit_test(pseudo_headers),
		cmocka_unit_test(updates),     cmocka_unit_test(copies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tcp.h"
#include "runtime/tcp/isn.h"

/* The vectors of the reference implementation: key 00..0f, input 00, 01, 02, ... */
static void siphash_vectors(void **state)
{
	static const uint64_t key[2] = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
	static const struct {
		uint32_t len;
		uint64_t hash;
	} vector[] = {
		{0, 0x726fdb47dd0e0e31},  {1, 0x74f839c593dc67fd},  {2, 0x0d6c8009d9a94f5a},
		{3, 0x85676696d7fb7e2d},  {4, 0xcf2794e0277187b7},  {5, 0x18765564cd99a68d},
		{6, 0xcbc9466e58fee3ce},  {7, 0xab0200f58b01d137},  {8, 0x93f5f5799a932462},
		{9, 0x9e0082df0ba9e4b0},  {12, 0x751e8fbc860ee5fb}, {15, 0xa129ca6149be45e5},
		{16, 0x3f2acc7f57c29bdb}, {36, 0x314dffbe0815a3b4}, {63, 0x958a324ceb064572},
	};
	uint8_t in[65];

	(void)state;
	for (int i = 0; i < 65; i++)
		in[i] = (uint8_t)(i - 1);
	for (size_t i = 0; i < sizeof(vector) / sizeof(vector[0]); i++)
		assert_int_equal(lrp_siphash(key, in + 1, vector[i].len), vector[i].hash);
}

static const uint64_t key_a[2] = {1, 2}, key_b[2] = {1, 3};

/* RFC 6528 3: a flow's numbers follow the clock; another flow's are unrelated. */
static void isn_follows_clock(void **state)
{
	(void)state;
	for (int family = AF_INET; family <= AF_INET6; family += AF_INET6 - AF_INET) {
		struct lrp_tcp_flow f = flow_of(family, 1), g = flow_of(family, 2);
		uint32_t isn = lrp_tcp_isn(key_a, &f, 1000 * SECOND);

		assert_int_equal(lrp_tcp_isn(key_a, &f, 1000 * SECOND + 64), isn + 1);
		assert_int_equal(lrp_tcp_isn(key_a, &f, 1001 * SECOND), isn + SECOND / 64);
		assert_int_not_equal(lrp_tcp_isn(key_a, &g, 1000 * SECOND), isn);
		assert_int_not_equal(lrp_tcp_isn(key_b, &f, 1000 * SECOND), isn);
		g = f;
		g.lport = f.rport;
		g.rport = f.lport;
		assert_int_not_equal(lrp_tcp_isn(key_a, &g, 1000 * SECOND), isn);
	}
}

/* Bytes of an address that its family does not have are nobody's. */
static void padding_does_not_count(void **state)
{
	(void)state;
	for (int family = AF_INET; family <= AF_INET6; family += AF_INET6 - AF_INET) {
		struct lrp_tcp_flow f = flow_of(family, 1), g = f;

		memset(g.pad, 0x77, sizeof(g.pad));
		if (family == AF_INET) {
			memset((uint8_t *)&g.laddr + 4, 0x77, 12);
			memset((uint8_t *)&g.raddr + 4, 0x77, 12);
		}
		assert_true(lrp_tcp_flow_equal(&f, &g));
		assert_int_equal(lrp_tcp_flow_hash(key_a, &f), lrp_tcp_flow_hash(key_a, &g));
		g = flow_of(family, 2);
		assert_false(lrp_tcp_flow_equal(&f, &g));
	}
}

/* Every byte of a flow counts in hash and equality. */
static void every_byte_counts(void **state)
{
	(void)state;
	for (int family = AF_INET; family <= AF_INET6; family += AF_INET6 - AF_INET) {
		struct lrp_tcp_flow f = flow_of(family, 1);
		uint32_t len = family == AF_INET ? 4 : 16;

		for (uint32_t i = 0; i < 2 * len + 4; i++) {
			struct lrp_tcp_flow g = f;
			uint8_t *p = i < len	   ? (uint8_t *)&g.laddr + i
				     : i < 2 * len ? (uint8_t *)&g.raddr + i - len
						   : (uint8_t *)&g.lport + i - 2 * len;

			*p ^= 1;
			assert_false(lrp_tcp_flow_equal(&f, &g));
			assert_int_not_equal(lrp_tcp_flow_hash(key_a, &f),
					     lrp_tcp_flow_hash(key_a, &g));
		}
	}
}

/* RFC 7323 5.4: successive connections between two hosts see one clock, whatever their ports. */
static void timestamp_offset_of_hosts(void **state)
{
	struct lrp_tcp_flow f = flow_of(AF_INET, 1), g = flow_of(AF_INET, 2),
			    h = flow_of(AF_INET, 60001);

	(void)state;
	assert_int_equal(lrp_tcp_ts_offset(key_a, &f), lrp_tcp_ts_offset(key_a, &g));
	assert_int_not_equal(lrp_tcp_ts_offset(key_a, &f), lrp_tcp_ts_offset(key_a, &h));
	assert_int_not_equal(lrp_tcp_ts_offset(key_a, &f), lrp_tcp_ts_offset(key_b, &f));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(siphash_vectors),	     cmocka_unit_test(isn_follows_clock),
		cmocka_unit_test(padding_does_not_count),    cmocka_unit_test(every_byte_counts),
		cmocka_unit_test(timestamp_offset_of_hosts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

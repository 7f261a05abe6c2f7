/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "packets.h"
#include "runtime/ip/ip_input.h"
#include "runtime/udp/udp_input.h"

#define OK	     0
#define BAD_LENGTH   LRP_DROPPED(LRP_DROP_LENGTH)
#define BAD_CHECKSUM LRP_DROPPED(LRP_DROP_CHECKSUM)
#define NOT_OURS     LRP_DROPPED(LRP_DROP_PROTOCOL)

#define for_each_family(f) for (int f = AF_INET; f <= AF_INET6; f += AF_INET6 - AF_INET)

/* As lrp_ip_input() leaves it. */
static struct lrp_packet packet_of(int family, uint32_t l4_len)
{
	struct lrp_packet p;

	memset(&p, 0xee, sizeof(p));
	p.family = (uint8_t)family;
	p.proto = IPPROTO_UDP;
	p.l4_len = l4_len;
	p.fragment = false;
	memcpy(&p.src, family == AF_INET ? addr4[0] : addr6[0], family == AF_INET ? 4 : 16);
	memcpy(&p.dst, family == AF_INET ? addr4[1] : addr6[1], family == AF_INET ? 4 : 16);
	return p;
}

static int input(int family, const uint8_t *l4, uint32_t len, bool partial_ok)
{
	struct lrp_packet p = packet_of(family, len);
	uint8_t *copy = exact_copy(l4, len);
	int result = lrp_udp_input(&p, copy, partial_ok);

	free(copy);
	return result;
}

static void set_partial(uint8_t *l4, int family, uint32_t len)
{
	w16(l4 + 6, naive_pseudo(family, IPPROTO_UDP, len));
}

static void every_length(void **state)
{
	static uint8_t payload[3000], l4[3100];

	(void)state;
	rnd_fill(payload, sizeof(payload));
	for_each_family (family) {
		for (uint32_t n = 0; n <= 3000; n += n < 300 ? 1 : 37) {
			uint32_t len = make_udp(l4, family, payload, n);
			struct lrp_packet p = packet_of(family, len);

			assert_int_equal(lrp_udp_input(&p, l4, false), OK);
			assert_int_equal(p.sport, htons(1000));
			assert_int_equal(p.dport, htons(2000));
			assert_ptr_equal(p.payload, l4 + 8);
			assert_int_equal(p.payload_len, n);
			assert_int_equal(input(family, l4, len, true), OK);
			/* one bit anywhere */
			l4[rnd_below(4)] ^= (uint8_t)(1 << rnd_below(8));
			assert_int_equal(input(family, l4, len, false), BAD_CHECKSUM);
			assert_int_equal(input(family, l4, len, true), BAD_CHECKSUM);
			if (n) {
				len = make_udp(l4, family, payload, n);
				l4[8 + rnd_below(n)] ^= (uint8_t)(1 << rnd_below(8));
				assert_int_equal(input(family, l4, len, false), BAD_CHECKSUM);
				assert_int_equal(input(family, l4, len, true), BAD_CHECKSUM);
			}
		}
	}
}

/* Addresses are covered too, and in order. */
static void covers_addresses(void **state)
{
	uint8_t l4[100];
	uint32_t len;

	(void)state;
	for_each_family (family) {
		len = make_udp(l4, family, (const uint8_t *)"fourteen bytes", 14);
		for (unsigned int bit = 0; bit < (family == AF_INET ? 32u : 128u); bit++) {
			struct lrp_packet p = packet_of(family, len);

			((uint8_t *)&p.src)[bit / 8] ^= (uint8_t)(1 << bit % 8);
			assert_int_equal(lrp_udp_input(&p, l4, false), BAD_CHECKSUM);
			p = packet_of(family, len);
			((uint8_t *)&p.dst)[bit / 8] ^= (uint8_t)(1 << bit % 8);
			assert_int_equal(lrp_udp_input(&p, l4, true), BAD_CHECKSUM);
		}
	}
}

static void zero_checksum(void **state)
{
	uint8_t l4[100];
	uint32_t len;

	(void)state;
	for_each_family (family) {
		len = make_udp(l4, family, (const uint8_t *)"no checksum", 11);
		w16(l4 + 6, 0);
		assert_int_equal(input(family, l4, len, false),
				 family == AF_INET ? OK : BAD_CHECKSUM);
		assert_int_equal(input(family, l4, len, true),
				 family == AF_INET ? OK : BAD_CHECKSUM);
	}
}

/* A checksum that comes out as 0 is sent as 0xffff [RFC 768]. */
static void checksum_that_is_zero(void **state)
{
	uint8_t l4[100], payload[2] = {0, 0};

	(void)state;
	for_each_family (family) {
		uint32_t len = make_udp(l4, family, payload, 2);

		memcpy(payload, l4 + 6, 2); /* makes the sum 0xffff, its complement 0 */
		len = make_udp(l4, family, payload, 2);
		assert_int_equal(l4[6] << 8 | l4[7], 0xffff);
		assert_int_equal(input(family, l4, len, false), OK);
		/* 0 in the field would sum up just as well, but in IPv6 says that there is none */
		w16(l4 + 6, 0);
		assert_int_equal(input(family, l4, len, false),
				 family == AF_INET ? OK : BAD_CHECKSUM);
		memset(payload, 0, 2);
	}
}

static void partial(void **state)
{
	uint8_t l4[1600], payload[1500];

	(void)state;
	rnd_fill(payload, sizeof(payload));
	for_each_family (family) {
		for (uint32_t n = 1; n < 1500; n += 13) {
			uint32_t len = make_udp(l4, family, payload, n);

			set_partial(l4, family, len);
			assert_int_equal(input(family, l4, len, true), OK);
			assert_int_equal(input(family, l4, len, false), BAD_CHECKSUM);
			/* its complement is no partial checksum */
			l4[6] ^= 0xff;
			l4[7] ^= 0xff;
			assert_int_equal(input(family, l4, len, true), BAD_CHECKSUM);
			/* nor one of another length */
			set_partial(l4, family, len + 1);
			assert_int_equal(input(family, l4, len, true), BAD_CHECKSUM);
		}
	}
}

static void lengths(void **state)
{
	uint8_t l4[64];
	struct lrp_packet p;

	(void)state;
	for_each_family (family) {
		uint32_t len = make_udp(l4, family, (const uint8_t *)"0123456789", 10);

		for (uint32_t cut = 0; cut < len; cut++)
			assert_int_equal(input(family, l4, cut, true), BAD_LENGTH);
		/* IP has more than UDP says: the rest is not the payload's, nor summed */
		memset(l4 + len, 0x55, 20);
		p = packet_of(family, len + 20);
		assert_int_equal(lrp_udp_input(&p, l4, false), OK);
		assert_int_equal(p.payload_len, 10);
		for (uint32_t bad = 0; bad < 8; bad++) {
			w16(l4 + 4, bad);
			assert_int_equal(input(family, l4, len, true), BAD_LENGTH);
		}
		w16(l4 + 4, len + 1);
		assert_int_equal(input(family, l4, len, true), BAD_LENGTH);
		w16(l4 + 4, 0xffff);
		assert_int_equal(input(family, l4, len, true), BAD_LENGTH);

		p = packet_of(family, len);
		p.proto = IPPROTO_TCP;
		assert_int_equal(lrp_udp_input(&p, l4, true), NOT_OURS);
	}
}

/* From the wire, both inputs one after the other. */
static void behind_ip_input(void **state)
{
	static const uint8_t options[] = {1, 1, 1, 0};
	uint8_t l4[64], frame[200];

	(void)state;
	for_each_family (family) {
		struct make m = {.family = family,
				 .tags = 1,
				 .padding = 7,
				 .ext = options,
				 .ext_len = family == AF_INET ? 4 : 0};
		uint32_t len = make_udp(l4, family, (const uint8_t *)"hello", 5);
		struct lrp_packet p = {.frame = frame};

		p.frame_len = make_packet(frame, &m, l4, len);
		assert_int_equal(lrp_ip_input(&p), OK);
		assert_int_equal(lrp_udp_input(&p, p.frame + p.l4_offset, false), OK);
		assert_int_equal(p.payload_len, 5);
		assert_memory_equal(p.payload, "hello", 5);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_length),	   cmocka_unit_test(covers_addresses),
		cmocka_unit_test(zero_checksum),   cmocka_unit_test(checksum_that_is_zero),
		cmocka_unit_test(partial),	   cmocka_unit_test(lengths),
		cmocka_unit_test(behind_ip_input),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

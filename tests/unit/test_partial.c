/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Twin of proxy/partial.c: which checksum is partial, and completing it. */
#include "../../proxy/partial.c"

#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* cmocka.h wants those first */
#include <cmocka.h>

struct frame {
	uint8_t data[256];
	uint32_t length, l4;
	uint8_t proto;
	bool ipv6;
};

static void put16(uint8_t *p, uint32_t value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

/* A UDP or TCP segment with 20 bytes of payload and `vlans` tags; the checksum field is 0. */
static struct frame make(bool ipv6, uint8_t proto, uint32_t vlans)
{
	struct frame f = {.proto = proto, .ipv6 = ipv6};
	uint32_t header = proto == IPPROTO_TCP ? 20 : 8, l3 = 14, room = header + 20;
	uint8_t *ip;

	for (uint32_t i = 0; i < vlans; i++, l3 += 4) {
		put16(f.data + l3 - 2, i + 1 < vlans ? 0x88a8 : 0x8100);
		put16(f.data + l3, 5);
	}
	put16(f.data + l3 - 2, ipv6 ? 0x86dd : 0x0800);
	ip = f.data + l3;
	if (ipv6) {
		ip[0] = 0x60;
		put16(ip + 4, room);
		ip[6] = proto;
		ip[8] = 0x20;
		ip[39] = 0x77;
		f.l4 = l3 + 40;
	} else {
		ip[0] = 0x45;
		put16(ip + 2, 20 + room);
		ip[9] = proto;
		put16(ip + 12, 0xc612);
		put16(ip + 18, 0x0101);
		f.l4 = l3 + 20;
	}
	for (uint32_t i = 0; i < room; i++)
		f.data[f.l4 + i] = (uint8_t)(i * 7 + 1);
	if (proto == IPPROTO_UDP)
		put16(f.data + f.l4 + 4, room);
	memset(f.data + f.l4 + (proto == IPPROTO_TCP ? 16 : 6), 0, 2);
	f.length = f.l4 + room;
	return f;
}

/* As the kernel leaves it to the device. */
static void make_partial(struct frame *f)
{
	struct span span;
	uint16_t sum;

	assert_true(span_find(f->data, f->length, &span));
	sum = lrp_checksum_fold(span.pseudo);
	memcpy(f->data + f->l4 + (f->proto == IPPROTO_TCP ? 16 : 6), &sum, 2);
}

static uint16_t verify(const struct frame *f)
{
	struct span span;

	assert_true(span_find(f->data, f->length, &span));
	return lrp_checksum_fold(lrp_checksum_add(
		span.pseudo, lrp_checksum_sum(f->data + span.start, span.end - span.start)));
}

static void test_found_and_completed(void **state)
{
	(void)state;
	for (int v6 = 0; v6 < 2; v6++)
		for (int tcp = 0; tcp < 2; tcp++)
			for (uint32_t vlans = 0; vlans < 3; vlans++) {
				struct frame f = make(v6, tcp ? IPPROTO_TCP : IPPROTO_UDP, vlans);
				struct lrp_partial partial;

				make_partial(&f);
				assert_true(lrp_partial_find(f.data, f.length, &partial));
				assert_int_equal(partial.start, f.l4);
				assert_int_equal(partial.offset, tcp ? 16 : 6);
				lrp_partial_complete(f.data, f.length, &partial);
				/* All that is covered, with the pseudo header, adds up to -0. */
				assert_int_equal(verify(&f), 0xffff);
				assert_false(lrp_partial_find(f.data, f.length, &partial));
			}
}

static void test_ethernet_padding_is_not_covered(void **state)
{
	struct frame f = make(false, IPPROTO_UDP, 0);
	struct lrp_partial partial;

	(void)state;
	make_partial(&f);
	f.length += 9;
	memset(f.data + f.length - 9, 0xee, 9);
	assert_true(lrp_partial_find(f.data, f.length, &partial));
	lrp_partial_complete(f.data, f.length, &partial);
	assert_int_equal(verify(&f), 0xffff);
}

static void test_no_checksum_is_none(void **state)
{
	struct frame f = make(false, IPPROTO_UDP, 0);
	struct lrp_partial partial;

	(void)state;
	assert_false(lrp_partial_find(f.data, f.length, &partial));
}

static void test_fragments_are_complete(void **state)
{
	struct frame f = make(false, IPPROTO_UDP, 0);
	struct lrp_partial partial;

	(void)state;
	make_partial(&f);
	put16(f.data + 20, 0x2000); /* more fragments */
	assert_false(lrp_partial_find(f.data, f.length, &partial));
	put16(f.data + 20, 0x4000); /* don't */
	assert_true(lrp_partial_find(f.data, f.length, &partial));
}

static void test_lengths_that_lie(void **state)
{
	struct lrp_partial partial;

	(void)state;
	/* Cut anywhere: found only if all is there, and never read beyond (address sanitizer). */
	for (int v6 = 0; v6 < 2; v6++) {
		struct frame f = make(v6, IPPROTO_TCP, 1);

		make_partial(&f);
		for (uint32_t n = 0; n < f.length; n++) {
			uint8_t *exact = malloc(n ? n : 1);

			assert_non_null(exact);
			memcpy(exact, f.data, n);
			assert_false(lrp_partial_find(exact, n, &partial));
			free(exact);
		}
		/* A header that ends behind its packet. */
		put16(f.data + 18 + (v6 ? 4 : 2), v6 ? 12 : 32);
		assert_false(lrp_partial_find(f.data, f.length, &partial));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_found_and_completed),
		cmocka_unit_test(test_ethernet_padding_is_not_covered),
		cmocka_unit_test(test_no_checksum_is_none),
		cmocka_unit_test(test_fragments_are_complete),
		cmocka_unit_test(test_lengths_that_lie),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

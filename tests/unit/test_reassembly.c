/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "packets.h"
#include "runtime/ip/ip_input.h"
#include "runtime/ip/reassembly.h"
#include "runtime/udp/udp_input.h"

#define SECOND		   1000000000ull
#define BAD		   (-LRP_DROPPED(LRP_DROP_FRAGMENT))
#define for_each_family(f) for (int f = AF_INET; f <= AF_INET6; f += AF_INET6 - AF_INET)

static uint64_t memory[LRP_REASSEMBLY_SIZE / 8];
static uint8_t datagram[PACKET_MAX + 1000], other[PACKET_MAX + 1000];

static struct lrp_reassembly *fresh(void)
{
	struct lrp_reassembly *r;

	memset(memory, 0xa5, sizeof(memory)); /* contents do not matter */
	r = lrp_reassembly_init(memory, sizeof(memory), 0x1234567890abcdef);
	assert_non_null(r);
	return r;
}

/* Through the wire: the fragment is made, parsed, and its frame forgotten. */
static int send_made(struct lrp_reassembly *r, uint64_t now, const struct make *m,
		     const uint8_t *bytes, uint32_t len, struct lrp_packet *whole)
{
	static uint8_t frame[PACKET_MAX];
	struct lrp_packet p = {.frame = frame, .frame_len = make_packet(frame, m, bytes, len)};
	int result;

	assert_int_equal(lrp_ip_input(&p), 0);
	assert_true(p.fragment);
	result = lrp_reassembly_input(r, now, &p, whole);
	memset(frame, 0x5a, p.frame_len);
	return result;
}

struct range {
	uint32_t offset, len;
	bool last;
};

static int send_range(struct lrp_reassembly *r, int family, uint32_t id, struct range f,
		      const uint8_t *bytes, struct lrp_packet *whole)
{
	struct make m = {.family = family, .id = id, .offset = f.offset, .more = !f.last};

	return send_made(r, 0, &m, bytes + f.offset, f.len, whole);
}

static void assert_nothing_waits(struct lrp_reassembly *r)
{
	struct lrp_fragment_key key;
	uint32_t cursor = 0;

	assert_false(lrp_reassembly_missing(r, &cursor, &key));
	assert_true(lrp_reassembly_expire(r, 0) == UINT64_MAX);
}

static void assert_dropped(struct lrp_reassembly *r, uint32_t fragment, uint32_t mem)
{
	uint32_t dropped[LRP_DROP_REASON_COUNT] = {0};

	lrp_reassembly_take_dropped(r, dropped);
	assert_int_equal(dropped[LRP_DROP_FRAGMENT], fragment);
	assert_int_equal(dropped[LRP_DROP_MEMORY], mem);
	dropped[LRP_DROP_FRAGMENT] = dropped[LRP_DROP_MEMORY] = 0;
	for (int i = 0; i < LRP_DROP_REASON_COUNT; i++)
		assert_int_equal(dropped[i], 0);
}

static void two_fragments(void **state)
{
	uint8_t payload[2000];

	(void)state;
	rnd_fill(payload, sizeof(payload));
	for_each_family (family) {
		for (int first = 0; first < 2; first++) {
			for (int tags = 0; tags < 3; tags++) {
				struct lrp_reassembly *r = fresh();
				uint32_t len = make_udp(datagram, family, payload, 2000);
				struct make m[2] = {
					{.family = family, .tags = tags, .id = 7, .more = true},
					{.family = family, .tags = tags, .id = 7, .offset = 1480},
				};
				struct lrp_packet whole, again;

				assert_int_equal(send_made(r, 5, &m[first],
							   datagram + m[first].offset,
							   first ? len - 1480 : 1480, &whole),
						 0);
				assert_int_equal(send_made(r, 6, &m[!first],
							   datagram + m[!first].offset,
							   first ? 1480 : len - 1480, &whole),
						 1);
				assert_false(whole.fragment);
				assert_int_equal(whole.family, family);
				assert_int_equal(whole.proto, IPPROTO_UDP);
				assert_int_equal(whole.ttl, 64);
				assert_int_equal(whole.l3_offset, 14 + 4 * tags);
				assert_int_equal(whole.l4_len, len);
				assert_int_equal(
					lrp_udp_input(&whole, whole.frame + whole.l4_offset, false),
					0);
				assert_int_equal(whole.payload_len, 2000);
				assert_memory_equal(whole.payload, payload, 2000);
				/* it is a packet by itself, with right headers */
				again.frame = whole.frame;
				again.frame_len = whole.frame_len;
				assert_int_equal(lrp_ip_input(&again), 0);
				assert_false(again.fragment);
				assert_int_equal(again.l4_len, len);
				assert_nothing_waits(r);
				assert_dropped(r, 0, 0);
			}
		}
	}
}

/* The first fragment's options stay, the others' do not count. */
static void options_of_the_first(void **state)
{
	static const uint8_t alert[] = {0x94, 4, 0, 0};
	struct lrp_reassembly *r = fresh();
	struct make first = {.more = true, .ext = alert, .ext_len = 4, .tos = 0x48};
	struct make second = {.offset = 8, .tos = 0x10};
	struct lrp_packet whole;

	(void)state;
	assert_int_equal(send_made(r, 0, &second, datagram + 8, 5, &whole), 0);
	assert_int_equal(send_made(r, 0, &first, datagram, 8, &whole), 1);
	assert_int_equal(whole.options_len, 4);
	assert_memory_equal(whole.frame + whole.l3_offset + 20, alert, 4);
	assert_int_equal(whole.tos, 0x48);
	assert_int_equal(whole.l4_len, 13);
}

static void every_order(void **state)
{
	static const struct range part[6] = {{0, 16, false},	  {16, 8, false},
					     {24, 2048, false},	  {2072, 8, false},
					     {2080, 4000, false}, {6080, 3, true}};

	(void)state;
	rnd_fill(datagram, 7000);
	for_each_family (family) {
		struct lrp_reassembly *r = fresh();

		for (uint32_t n = 0; n < 720; n++) {
			int order[6] = {0, 1, 2, 3, 4, 5};
			struct lrp_packet whole;

			/* the n-th permutation */
			for (uint32_t i = 0, rest = n; i < 6; i++) {
				uint32_t j = i + rest % (6 - i);
				int swap = order[i];

				rest /= 6 - i;
				order[i] = order[j];
				order[j] = swap;
			}
			for (int i = 0; i < 6; i++)
				assert_int_equal(
					send_range(r, family, n, part[order[i]], datagram, &whole),
					i == 5);
			assert_int_equal(whole.l4_len, 6083);
			assert_memory_equal(whole.frame + whole.l4_offset, datagram, 6083);
		}
		assert_nothing_waits(r);
		assert_dropped(r, 0, 0);
	}
}

/* Ranges in the order they come; bytes from `other` where it says so. */
static const struct overlap {
	const char *what;
	struct {
		struct range range;
		bool other;
		int want;
	} step[5];
	uint32_t dropped; /* stored ones that were given up, repetitions */
} overlaps[] = {
	{"repetition of the first",
	 {{{0, 16, false}, false, 0}, {{0, 16, false}, false, 0}, {{16, 8, true}, false, 1}},
	 1},
	{"repetition of the last",
	 {{{16, 8, true}, false, 0}, {{16, 8, true}, false, 0}, {{0, 16, false}, false, 1}},
	 1},
	{"repetition of a last of odd length",
	 {{{16, 5, true}, false, 0}, {{16, 5, true}, false, 0}, {{0, 16, false}, false, 1}},
	 1},
	{"repetition of a part",
	 {{{0, 24, false}, false, 0}, {{8, 8, false}, false, 0}, {{24, 1, true}, false, 1}},
	 1},
	{"repetition of two in one",
	 {{{0, 8, false}, false, 0},
	  {{8, 8, false}, false, 0},
	  {{0, 16, false}, false, 0},
	  {{16, 1, true}, false, 1}},
	 1},
	{"repetition with other bytes",
	 {{{0, 16, false}, false, 0}, {{0, 16, false}, true, BAD}},
	 1},
	{"part with other bytes", {{{0, 24, false}, false, 0}, {{8, 8, false}, true, BAD}}, 1},
	{"overlaps the end", {{{0, 16, false}, false, 0}, {{8, 16, false}, false, BAD}}, 1},
	{"overlaps the beginning", {{{16, 16, false}, false, 0}, {{8, 16, false}, false, BAD}}, 1},
	{"covers another", {{{8, 8, false}, false, 0}, {{0, 24, false}, false, BAD}}, 1},
	{"fills a hole and more",
	 {{{0, 8, false}, false, 0}, {{16, 8, false}, false, 0}, {{0, 24, false}, false, BAD}},
	 2},
	{"overlaps by one unit, over a block's end",
	 {{{2040, 16, false}, false, 0}, {{2048, 2048, false}, false, BAD}},
	 1},
	{"last overlaps", {{{0, 16, false}, false, 0}, {{8, 9, true}, false, BAD}}, 1},
	{"last ends below what is here",
	 {{{0, 32, false}, false, 0}, {{8, 8, true}, false, BAD}},
	 1},
	{"last within what is here", {{{0, 32, false}, false, 0}, {{8, 24, true}, false, 1}}, 1},
	{"two lasts that disagree: shorter",
	 {{{16, 8, true}, false, 0}, {{8, 8, true}, false, BAD}},
	 1},
	{"two lasts that disagree: longer",
	 {{{16, 8, true}, false, 0}, {{24, 8, true}, false, BAD}},
	 1},
	{"goes on behind the last", {{{16, 8, true}, false, 0}, {{24, 8, false}, false, BAD}}, 1},
	{"overlaps a last of odd length",
	 {{{16, 3, true}, false, 0}, {{16, 8, false}, false, BAD}},
	 1},
};

static void overlapping(void **state)
{
	(void)state;
	rnd_fill(datagram, 8192);
	rnd_fill(other, 8192);
	for (size_t i = 0; i < sizeof(overlaps) / sizeof(overlaps[0]); i++) {
		for_each_family (family) {
			const struct overlap *t = &overlaps[i];
			struct lrp_reassembly *r = fresh();
			struct lrp_packet whole;

			/* A datagram before leaves the very same bytes in the memory that this
			 * one gets: they must not be taken for its own. */
			send_range(r, family, 9, (struct range){0, 2040, false}, datagram, &whole);
			assert_int_equal(send_range(r, family, 9, (struct range){2040, 8, true},
						    datagram, &whole),
					 1);
			for (int s = 0; s < 5 && t->step[s].range.len; s++) {
				int got = send_range(r, family, 1, t->step[s].range,
						     t->step[s].other ? other : datagram, &whole);

				if (got != t->step[s].want)
					fail_msg("%s: step %d: got %d, want %d", t->what, s, got,
						 t->step[s].want);
				if (got == 1)
					assert_memory_equal(whole.frame + whole.l4_offset, datagram,
							    whole.l4_len);
			}
			assert_nothing_waits(r);
			assert_dropped(r, t->dropped, 0);
			/* and the same datagram can be sent again */
			assert_int_equal(send_range(r, family, 1, (struct range){0, 8, false},
						    datagram, &whole),
					 0);
			assert_int_equal(send_range(r, family, 1, (struct range){8, 8, true},
						    datagram, &whole),
					 1);
		}
	}
}

static void lengths(void **state)
{
	struct lrp_packet whole;

	(void)state;
	for_each_family (family) {
		struct lrp_reassembly *r = fresh();
		struct make empty = {.family = family, .more = true};

		for (uint32_t len = 1; len < 8; len++)
			assert_int_equal(send_range(r, family, 1, (struct range){0, len, false},
						    datagram, &whole),
					 BAD);
		assert_int_equal(send_made(r, 0, &empty, datagram, 0, &whole), BAD);
		empty.more = false;
		empty.offset = 8;
		assert_int_equal(send_made(r, 0, &empty, datagram, 0, &whole), BAD);
		/* 65,535 is what 16 bits can say */
		assert_int_equal(
			send_range(r, family, 1, (struct range){65528, 8, true}, datagram, &whole),
			BAD);
		assert_int_equal(send_range(r, family, 1, (struct range){65520, 800, true},
					    datagram, &whole),
				 BAD);
		assert_nothing_waits(r);
		assert_dropped(r, 0, 0);
	}
}

/* The largest that there can be, and one byte more. */
static void largest(void **state)
{
	(void)state;
	rnd_fill(datagram, sizeof(datagram));
	for_each_family (family) {
		uint32_t max = family == AF_INET ? 65515 : 65535;
		struct lrp_reassembly *r = fresh();
		struct lrp_packet whole;

		for (int backwards = 0; backwards < 2; backwards++) {
			for (uint32_t n = 0; n < 64; n++) {
				uint32_t i = backwards ? 63 - n : n;
				struct range f = {i * 1024, i == 63 ? max - 63 * 1024 : 1024,
						  i == 63};

				assert_int_equal(send_range(r, family, 1, f, datagram, &whole),
						 n == 63);
			}
			assert_int_equal(whole.l4_len, max);
			assert_memory_equal(whole.frame + whole.l4_offset, datagram, max);
		}
		assert_dropped(r, 0, 0);
		if (family == AF_INET) {
			for (uint32_t n = 0; n < 64; n++) {
				struct range f = {n * 1024, n == 63 ? max + 1 - 63 * 1024 : 1024,
						  n == 63};

				assert_int_equal(send_range(r, family, 1, f, datagram, &whole),
						 n == 63 ? BAD : 0);
			}
			assert_dropped(r, 63, 0);
		}
		assert_nothing_waits(r);
	}
}

/* RFC 3168 5.3. */
static void ecn(void **state)
{
	enum { NOT, ECT1, ECT0, CE };
	static const struct {
		uint8_t a, b, c;
		int want; /* -1: dropped */
	} t[] = {
		{NOT, NOT, NOT, NOT}, {ECT0, ECT0, ECT0, ECT0}, {ECT1, ECT1, ECT1, ECT1},
		{CE, CE, CE, CE},     {ECT0, CE, ECT0, CE},	{CE, ECT0, ECT0, CE},
		{ECT1, ECT1, CE, CE}, {ECT1, CE, ECT0, CE},	{ECT0, ECT1, ECT0, ECT0},
		{NOT, CE, NOT, -1},   {CE, NOT, CE, -1},	{NOT, ECT0, NOT, -1},
		{ECT1, NOT, CE, -1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		for_each_family (family) {
			struct lrp_reassembly *r = fresh();
			struct make m = {.family = family, .more = true, .tos = 0xb8 | t[i].a};
			struct lrp_packet whole;
			int got;

			assert_int_equal(send_made(r, 0, &m, datagram, 8, &whole), 0);
			m.offset = 8;
			m.tos = 0xb8 | t[i].b;
			assert_int_equal(send_made(r, 0, &m, datagram + 8, 8, &whole), 0);
			m.offset = 16;
			m.more = false;
			m.tos = 0xb8 | t[i].c;
			got = send_made(r, 0, &m, datagram + 16, 8, &whole);
			assert_int_equal(got, t[i].want < 0 ? BAD : 1);
			if (got == 1)
				assert_int_equal(whole.tos, 0xb8 | t[i].want);
			assert_dropped(r, got == 1 ? 0 : 2, 0);
			assert_nothing_waits(r);
		}
	}
}

static void timeout(void **state)
{
	struct lrp_reassembly *r = fresh();
	struct make m = {.more = true, .id = 1};
	struct lrp_packet whole;
	const uint64_t t0 = 7 * SECOND;

	(void)state;
	assert_true(lrp_reassembly_expire(r, t0) == UINT64_MAX);
	assert_int_equal(send_made(r, t0, &m, datagram, 8, &whole), 0);
	m.id = 2;
	assert_int_equal(send_made(r, t0 + SECOND, &m, datagram, 8, &whole), 0);
	m.offset = 8; /* a further one does not buy time */
	m.id = 1;
	assert_int_equal(send_made(r, t0 + 29 * SECOND, &m, datagram, 8, &whole), 0);
	assert_true(lrp_reassembly_expire(r, t0 + 30 * SECOND - 1) == t0 + 30 * SECOND);
	assert_dropped(r, 0, 0);
	assert_true(lrp_reassembly_expire(r, t0 + 30 * SECOND) == t0 + 31 * SECOND);
	assert_dropped(r, 2, 0);
	/* input looks at the time itself */
	m.id = 2;
	m.more = false;
	assert_int_equal(send_made(r, t0 + 31 * SECOND, &m, datagram, 8, &whole), 0);
	assert_dropped(r, 1, 0);
	assert_true(lrp_reassembly_expire(r, t0 + 61 * SECOND) == UINT64_MAX);
	assert_dropped(r, 1, 0);
	assert_nothing_waits(r);
	/* a clock that goes back is no reason to drop */
	m.more = true;
	assert_int_equal(send_made(r, t0, &m, datagram, 8, &whole), 0);
	assert_true(lrp_reassembly_expire(r, 0) == t0 + 30 * SECOND);
}

/* However many are begun, memory holds; the oldest goes, and a later one can be completed. */
static void bound(void **state)
{
	struct lrp_reassembly *r = fresh();
	struct lrp_fragment_key key;
	struct lrp_packet whole;
	uint32_t waiting = 0, cursor = 0, first = 0, dropped[LRP_DROP_REASON_COUNT] = {0};
	const uint32_t count = 5000;

	(void)state;
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(send_range(r, AF_INET6, i,
					    (struct range){rnd_below(100) * 8 + 8, 8, false},
					    datagram, &whole),
				 0);
	while (lrp_reassembly_missing(r, &cursor, &key)) {
		if (!waiting++)
			first = ntohl(key.id);
		assert_int_equal(ntohl(key.id), first + waiting - 1);
	}
	assert_true(waiting >= 64);
	assert_int_equal(first + waiting, count); /* the newest are still there */
	lrp_reassembly_take_dropped(r, dropped);
	assert_int_equal(dropped[LRP_DROP_MEMORY], count - waiting);
	assert_int_equal(dropped[LRP_DROP_FRAGMENT], 0);
	/* the largest, as the oldest of all that wait, against a flood of others between */
	cursor = 0;
	assert_true(lrp_reassembly_missing(r, &cursor, &key));
	rnd_fill(datagram, sizeof(datagram));
	for (uint32_t i = 0; i < 64; i++)
		assert_int_equal(send_range(r, AF_INET, 1, (struct range){i * 1000, 1000, i == 63},
					    datagram, &whole),
				 i == 63);
	assert_memory_equal(whole.frame + whole.l4_offset, datagram, 64000);
}

/* The one that is being completed does not push itself out, though it is the oldest. */
static void not_itself(void **state)
{
	struct lrp_reassembly *r = fresh();
	struct lrp_fragment_key key;
	struct lrp_packet whole;
	uint32_t cursor = 0, room = 0;

	(void)state;
	for (uint32_t i = 0; i < 1000; i++)
		send_range(r, AF_INET, i, (struct range){0, 8, false}, datagram, &whole);
	while (lrp_reassembly_missing(r, &cursor, &key))
		room++;
	r = fresh();
	rnd_fill(datagram, 8192);
	for (uint32_t i = 0; i < room; i++)
		assert_int_equal(
			send_range(r, AF_INET, i, (struct range){0, 2048, false}, datagram, &whole),
			0);
	assert_dropped(r, 0, 0);
	assert_int_equal(
		send_range(r, AF_INET, 0, (struct range){2048, 4096, true}, datagram, &whole), 1);
	assert_memory_equal(whole.frame + whole.l4_offset, datagram, 6144);
	assert_dropped(r, 0, 2);
	cursor = 0;
	assert_true(lrp_reassembly_missing(r, &cursor, &key));
	assert_int_equal(ntohs((uint16_t)key.id), 3); /* 1 and 2 went */
}

static void two_of_the_largest_at_a_time(void **state)
{
	struct lrp_reassembly *r = fresh();
	struct lrp_packet whole;

	(void)state;
	rnd_fill(datagram, sizeof(datagram));
	rnd_fill(other, sizeof(other));
	for (uint32_t i = 0; i < 64; i++) {
		struct range f = {i * 1000, 1000, i == 63};

		assert_int_equal(send_range(r, AF_INET, 1, f, datagram, &whole), i == 63);
		if (i == 63)
			assert_memory_equal(whole.frame + whole.l4_offset, datagram, 64000);
		assert_int_equal(send_range(r, AF_INET, 2, f, other, &whole), i == 63);
	}
	assert_memory_equal(whole.frame + whole.l4_offset, other, 64000);
	assert_dropped(r, 0, 0);
}

static void keys(void **state)
{
	struct lrp_reassembly *r = fresh();
	struct lrp_fragment_key key;
	struct lrp_packet whole, p;
	static uint8_t frame[200];
	uint32_t cursor = 0;
	struct make m = {.id = 0x1234, .more = true};

	(void)state;
	assert_int_equal(send_made(r, 0, &m, datagram, 8, &whole), 0);
	assert_true(lrp_reassembly_missing(r, &cursor, &key));
	assert_int_equal(key.family, 4);
	assert_int_equal(key.proto, 17);
	assert_int_equal(key.id, htons(0x1234));
	assert_memory_equal(key.saddr.byte, "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc6\x12\0\1", 16);
	assert_memory_equal(key.daddr.byte, "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc6\x12\0\2", 16);
	assert_false(lrp_reassembly_missing(r, &cursor, &key));

	/* of the same datagram, or not */
	m.offset = 8;
	for (int i = 0; i < 6; i++) {
		struct make v = m;

		if (i == 1)
			v.id++;
		if (i == 2)
			v.proto = 6;
		if (i == 3)
			v.family = AF_INET6;
		p.frame = frame;
		p.frame_len = make_packet(frame, &v, datagram, 8);
		assert_int_equal(lrp_ip_input(&p), 0);
		if (i == 3) {
			/* even if its addresses say that they are IPv4's */
			memcpy(&p.src.v6, &key.saddr, 16);
			memcpy(&p.dst.v6, &key.daddr, 16);
			p.fragment_id = key.id;
		}
		if (i == 4)
			p.src.v4.s_addr ^= htonl(1);
		if (i == 5)
			p.dst.v4.s_addr ^= htonl(1);
		assert_int_equal(lrp_reassembly_wants(r, &p), i == 0);
	}

	/* RFC 8200 4.5: in IPv6 the next header of the first fragment is the one that counts */
	m.family = AF_INET6;
	m.proto = 6;
	m.more = false;
	assert_int_equal(send_made(r, 0, &m, datagram + 8, 8, &whole), 0);
	m.proto = 17;
	m.more = true;
	m.offset = 0;
	assert_int_equal(send_made(r, 0, &m, datagram, 8, &whole), 1);
	assert_int_equal(whole.proto, 17);
	cursor = 0;
	assert_true(lrp_reassembly_missing(r, &cursor, &key));
	assert_int_equal(key.family, 4); /* the IPv4 one waits still */
}

/* What was cut may begin with extension headers. They are walked when it is whole. */
static void extension_headers(void **state)
{
	static const uint8_t unfragmentable[] = {0, 0, 5, 2, 0, 0, 1, 0};
	static const struct {
		const char *what;
		uint8_t type, bytes[8];
		int want;
	} t[] = {
		{"destination options", 60, {17, 0, 1, 4, 0, 0, 0, 0}, 1},
		{"destination options with one that forbids",
		 60,
		 {17, 0, 0x40, 4, 0, 0, 0, 0},
		 BAD},
		{"destination options cut", 60, {17, 9, 1, 4, 0, 0, 0, 0}, BAD},
		{"hop-by-hop behind the fragment header", 0, {17, 0, 1, 4, 0, 0, 0, 0}, BAD},
		{"a fragment within a fragment", 44, {17, 0, 0, 1, 0, 0, 0, 9}, BAD},
		{"destination options, then a fragment", 60, {44, 0, 1, 4, 0, 0, 0, 0}, BAD},
		{"an only fragment within a fragment", 44, {17, 0, 0, 0, 0, 0, 0, 9}, 1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct lrp_reassembly *r = fresh();
		struct lrp_packet whole;
		uint8_t bytes[40];
		struct make m = {.family = AF_INET6,
				 .proto = t[i].type,
				 .more = true,
				 .ext = unfragmentable,
				 .ext_len = 8};
		int got;

		memcpy(bytes, t[i].bytes, 8);
		make_udp(bytes + 8, AF_INET6, (const uint8_t *)"0123456789abcdef", 16);
		if (i == 5) {
			static const uint8_t frag[8] = {17, 0, 0, 1, 0, 0, 0, 9};

			memcpy(bytes + 8, frag, 8);
		}
		if (t[i].type == 0)
			m.proto = 0;
		/* make_packet() takes protocol 0 for UDP: write it */
		{
			static uint8_t frame[300];
			struct lrp_packet p = {.frame = frame};

			for (uint32_t part = 0; part < 2; part++) {
				m.offset = part * 16;
				m.more = !part;
				p.frame_len = make_packet(frame, &m, bytes + 16 * part, 16);
				frame[14 + 40 + 8] = t[i].type;
				assert_int_equal(lrp_ip_input(&p), 0);
				assert_true(p.fragment);
				got = lrp_reassembly_input(r, 0, &p, &whole);
				if (!part)
					assert_int_equal(got, 0);
			}
		}
		if (got != t[i].want)
			fail_msg("%s: got %d, want %d", t[i].what, got, t[i].want);
		if (got == 1) {
			assert_int_equal(whole.proto, 17);
			assert_int_equal(whole.l4_len, 24);
			assert_int_equal(
				lrp_udp_input(&whole, whole.frame + whole.l4_offset, false), 0);
			assert_memory_equal(whole.payload, "0123456789abcdef", 16);
		}
		assert_dropped(r, got == 1 ? 0 : 1, 0);
		assert_nothing_waits(r);
	}
}

static void memory_block(void **state)
{
	struct lrp_packet whole;
	struct lrp_reassembly *r;
	uint8_t *moved;

	(void)state;
	assert_int_equal(lrp_reassembly_size(), LRP_REASSEMBLY_SIZE);
	assert_null(lrp_reassembly_init(memory, LRP_REASSEMBLY_SIZE_MIN - 1, 0x1234567890abcdef));
	/* fresh pages stay fresh */
	r = fresh();
	for (size_t i = 4096 / 8; i < sizeof(memory) / 8; i++)
		assert_true(memory[i] == 0xa5a5a5a5a5a5a5a5ull);
	/* no pointers: it works where it was moved */
	rnd_fill(datagram, 4000);
	assert_int_equal(
		send_range(r, AF_INET, 1, (struct range){0, 2400, false}, datagram, &whole), 0);
	moved = malloc(sizeof(memory));
	assert_non_null(moved);
	memcpy(moved, memory, sizeof(memory));
	memset(memory, 0, sizeof(memory));
	assert_int_equal(send_range((struct lrp_reassembly *)moved, AF_INET, 1,
				    (struct range){2400, 600, true}, datagram, &whole),
			 1);
	assert_memory_equal(whole.frame + whole.l4_offset, datagram, 3000);
	free(moved);
	/* the least size holds the largest datagram, beside others that wait */
	for_each_family (family) {
		moved = malloc(LRP_REASSEMBLY_SIZE_MIN);
		assert_non_null(moved);
		r = lrp_reassembly_init(moved, LRP_REASSEMBLY_SIZE_MIN, 0x1234567890abcdef);
		assert_non_null(r);
		for (uint32_t i = 2; i < 200; i++)
			send_range(r, family, i, (struct range){8, 8, false}, datagram, &whole);
		for (uint32_t i = 0; i < 64; i++)
			assert_int_equal(send_range(r, family, 1,
						    (struct range){i * 1016, 1016, i == 63},
						    datagram, &whole),
					 i == 63);
		free(moved);
	}
}

/* A first fragment costs the same whatever is stored: its datagram is found, or not, in a step
 * or two. Also the oldest, which makes room. */
static void cost(void **state)
{
	const uint32_t n = 1000;
	struct lrp_packet whole;
	uint64_t steps[2];

	(void)state;
	for (int full = 0; full < 2; full++) {
		struct lrp_reassembly *r = fresh();

		for (uint32_t i = 0; full && i < n; i++)
			send_range(r, AF_INET, 10000 + i, (struct range){0, 16, false}, datagram,
				   &whole);
		steps[full] = lrp_reassembly_steps(r);
		for (uint32_t i = 0; i < n; i++) {
			if (!full)
				r = fresh();
			send_range(r, AF_INET, i, (struct range){0, 16, false}, datagram, &whole);
			send_range(r, AF_INET, i, (struct range){16, 16, false}, datagram, &whole);
		}
		/* one by one in fresh memory: a step for each second fragment */
		steps[full] = full ? lrp_reassembly_steps(r) - steps[full] : n;
	}
	assert_true(steps[1] <= 5 * steps[0]);
}

/* Who shares the frames may change a packet while lrp_ip_input() reads it. */
static void inconsistent(void **state)
{
	struct lrp_reassembly *r = fresh();
	struct lrp_packet good, whole;
	uint8_t frame[200];
	struct make m = {.family = AF_INET, .id = 1, .more = true};

	(void)state;
	good = (struct lrp_packet){.frame = frame,
				   .frame_len = make_packet(frame, &m, datagram, 64)};
	assert_int_equal(lrp_ip_input(&good), 0);
	for (int i = 0; i < 8; i++) {
		struct lrp_packet p = good;

		switch (i) {
		case 0:
			p.l4_len += 200;
			break;
		case 1:
			p.l4_offset = (uint16_t)(p.frame_len - 63);
			break;
		case 2:
			p.l4_offset = 0xffff;
			break;
		case 3:
			p.l4_len = 65528;
			break;
		case 4:
			p.options_len = 48;
			break;
		case 5:
			p.l3_offset = 0xfff0;
			break;
		case 6:
			p.fragment_offset = 4;
			break;
		case 7:
			p.frame_len = 30;
			break;
		}
		assert_int_equal(lrp_reassembly_input(r, 0, &p, &whole), BAD);
		assert_nothing_waits(r);
	}
	assert_int_equal(lrp_reassembly_input(r, 0, &good, &whole), 0);
}

/* ---- properties ----------------------------------------------------------- */

#define FLOWS 6
#define PARTS 80

struct flow {
	uint8_t bytes[9000];
	uint32_t id, len, count, sent;
	int family;
	struct range part[PARTS];
};

static void new_flow(struct flow *f, uint32_t id)
{
	uint32_t at = 0;

	f->id = id;
	f->family = rnd_below(2) ? AF_INET : AF_INET6;
	f->len = 9 + rnd_below(rnd_below(4) ? 200 : 8900);
	rnd_fill(f->bytes, f->len);
	f->count = f->sent = 0;
	while (at < f->len) {
		uint32_t n = 8 * (1 + rnd_below(f->len < 300 ? 4 : 60));

		if (n >= f->len - at || f->count + 20 == PARTS)
			n = f->len - at;
		if (n == f->len) /* not in one piece */
			n = 8;
		f->part[f->count++] = (struct range){at, n, at + n == f->len};
		at += n;
	}
	/* some come twice */
	for (uint32_t n = rnd_below(5); n; n--)
		f->part[f->count] = f->part[rnd_below(f->count)], f->count++;
	for (uint32_t i = 0; i < f->count; i++) {
		uint32_t j = i + rnd_below(f->count - i);
		struct range swap = f->part[i];

		f->part[i] = f->part[j];
		f->part[j] = swap;
	}
}

/* Datagrams of any size, cut anyhow, in any order, some pieces twice, several at a
 * time: each comes out once, when its last byte is there, byte for byte. */
static void any_datagram(void **state)
{
	static struct flow flows[FLOWS];
	struct lrp_reassembly *r = fresh();
	uint32_t id = 0;

	(void)state;
	for (int i = 0; i < FLOWS; i++)
		new_flow(&flows[i], ++id);
	for (int n = 0; n < 100000; n++) {
		struct flow *f = &flows[rnd_below(FLOWS)];
		struct lrp_packet whole;
		bool seen[9000 / 8 + 2] = {false};
		bool complete = true;
		int got;

		got = send_range(r, f->family, f->id, f->part[f->sent++], f->bytes, &whole);
		for (uint32_t i = 0; i < f->sent; i++)
			for (uint32_t u = 0; u < f->part[i].len; u += 8)
				seen[(f->part[i].offset + u) / 8] = true;
		for (uint32_t u = 0; u < f->len; u += 8)
			complete = complete && seen[u / 8];
		assert_int_equal(got, complete);
		if (!complete)
			continue;
		assert_int_equal(whole.l4_len, f->len);
		assert_memory_equal(whole.frame + whole.l4_offset, f->bytes, f->len);
		new_flow(f, ++id);
	}
	assert_true(id > 1000);
}

/* Every fragment ends in exactly one place. All are of one unit, so that a whole
 * datagram tells how many it was made of. */
static void every_fragment_is_counted(void **state)
{
	struct lrp_reassembly *r = fresh();
	uint32_t sent = 0, refused = 0, used = 0, dropped[LRP_DROP_REASON_COUNT] = {0};
	uint64_t now = 0;

	(void)state;
	rnd_fill(datagram, 256);
	for (int n = 0; n < 200000; n++) {
		struct make m = {.family = rnd_below(2) ? AF_INET : AF_INET6,
				 .id = rnd_below(rnd_below(8) ? 40 : 4000),
				 .offset = 8 * rnd_below(6),
				 .tos = !rnd_below(20)};
		struct lrp_packet whole;
		int got;

		m.more = m.offset < 40 ? rnd_below(30) != 0 : false;
		if (!m.offset && !m.more)
			continue;
		now += rnd_below(SECOND / 20);
		got = send_made(r, now, &m, datagram + m.offset + (rnd_below(40) ? 0 : 128), 8,
				&whole);
		sent++;
		if (got < 0)
			refused++;
		else if (got == 1)
			used += whole.l4_len / 8;
		if (!rnd_below(100))
			lrp_reassembly_take_dropped(r, dropped);
	}
	assert_true(lrp_reassembly_expire(r, now + 31 * SECOND) == UINT64_MAX);
	lrp_reassembly_take_dropped(r, dropped);
	assert_true(used > 1000 && refused > 1000);
	assert_true(dropped[LRP_DROP_MEMORY] > 100 && dropped[LRP_DROP_FRAGMENT] > 1000);
	assert_int_equal(sent,
			 refused + used + dropped[LRP_DROP_MEMORY] + dropped[LRP_DROP_FRAGMENT]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_fragments),
		cmocka_unit_test(options_of_the_first),
		cmocka_unit_test(every_order),
		cmocka_unit_test(overlapping),
		cmocka_unit_test(lengths),
		cmocka_unit_test(largest),
		cmocka_unit_test(ecn),
		cmocka_unit_test(timeout),
		cmocka_unit_test(bound),
		cmocka_unit_test(not_itself),
		cmocka_unit_test(two_of_the_largest_at_a_time),
		cmocka_unit_test(keys),
		cmocka_unit_test(extension_headers),
		cmocka_unit_test(memory_block),
		cmocka_unit_test(cost),
		cmocka_unit_test(inconsistent),
		cmocka_unit_test(any_datagram),
		cmocka_unit_test(every_fragment_is_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

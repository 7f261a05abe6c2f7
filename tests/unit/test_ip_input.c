/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "packets.h"
#include "runtime/ip/ip_input.h"

#define OK	     0
#define BAD_HEADER   LRP_DROPPED(LRP_DROP_IP_HEADER)
#define BAD_LENGTH   LRP_DROPPED(LRP_DROP_LENGTH)
#define BAD_CHECKSUM LRP_DROPPED(LRP_DROP_CHECKSUM)
#define NOT_OURS     LRP_DROPPED(LRP_DROP_PROTOCOL)

#define BYTES(...) (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})

static uint8_t packet[PACKET_MAX];

/* The packet alone in its memory, so that a read behind it is seen under the sanitizer. */
static int input(const uint8_t *bytes, uint32_t len, struct lrp_packet *p)
{
	static uint8_t *copy;

	free(copy);
	copy = exact_copy(bytes, len);
	memset(p, 0xee, sizeof(*p));
	p->frame = copy;
	p->frame_len = len;
	return lrp_ip_input(p);
}

static void assert_is(const char *what, int got, int want)
{
	if (got != want)
		fail_msg("%s: got %d, want %d", what, got, want);
}

static void plain(void **state)
{
	static const uint8_t l4[] = "transport header and payload";

	(void)state;
	for (int family = AF_INET; family <= AF_INET6; family += AF_INET6 - AF_INET) {
		for (int tags = 0; tags <= 2; tags++) {
			for (uint32_t padding = 0; padding <= 18; padding += 9) {
				struct make m = {.family = family,
						 .tags = tags,
						 .tos = 0xb9,
						 .id = 0xabcd,
						 .padding = padding};
				struct lrp_packet p;
				uint32_t len = make_packet(packet, &m, l4, sizeof(l4));

				assert_int_equal(input(packet, len, &p), OK);
				assert_int_equal(p.family, family);
				assert_int_equal(p.proto, IPPROTO_UDP);
				assert_int_equal(p.ttl, 64);
				assert_int_equal(p.tos, 0xb9);
				assert_int_equal(p.l3_offset, 14 + 4 * tags);
				assert_int_equal(p.l4_offset,
						 p.l3_offset + (family == AF_INET ? 20 : 40));
				assert_int_equal(p.l4_len, sizeof(l4));
				assert_memory_equal(p.frame + p.l4_offset, l4, sizeof(l4));
				assert_int_equal(p.options_len, 0);
				assert_false(p.fragment);
				assert_false(p.more_fragments);
				assert_int_equal(p.fragment_offset, 0);
				if (family == AF_INET) {
					assert_memory_equal(&p.src, addr4[0], 4);
					assert_memory_equal(&p.dst, addr4[1], 4);
					assert_int_equal(p.fragment_id, htons(0xabcd));
				} else {
					assert_memory_equal(&p.src, addr6[0], 16);
					assert_memory_equal(&p.dst, addr6[1], 16);
					assert_int_equal(p.flow_label, htonl(0x0b912345));
				}
			}
		}
	}
	{
		struct make m = {.tags = 3};
		struct lrp_packet p;

		assert_int_equal(input(packet, make_packet(packet, &m, l4, 8), &p), NOT_OURS);
		m.tags = 0;
		make_packet(packet, &m, l4, 8);
		w16(packet + 12, 0x0806);
		assert_int_equal(input(packet, 42, &p), NOT_OURS);
	}
}

static const struct patch4 {
	const char *what;
	uint8_t at, mask, value; /* in the IPv4 header; then the checksum is made right */
	int want;
} patches4[] = {
	{"untouched", 8, 0, 0, OK},
	{"version 5", 0, 0xf0, 0x50, BAD_HEADER},
	{"version 0", 0, 0xf0, 0x00, BAD_HEADER},
	{"header of 16 bytes", 0, 0x0f, 0x04, BAD_HEADER},
	{"header of 0 bytes", 0, 0x0f, 0x00, BAD_HEADER},
	{"header longer than the packet", 0, 0x0f, 0x0f, BAD_HEADER},
	{"total length of 0", 3, 0xff, 0, BAD_HEADER},
	{"total length less than the header", 3, 0xff, 19, BAD_HEADER},
	{"total length that is the header", 3, 0xff, 20, OK},
	{"total length one too long", 3, 0xff, 20 + 17, BAD_LENGTH},
	{"total length far too long", 2, 0xff, 0xff, BAD_LENGTH},
	{"reserved flag: ignored, as everywhere", 6, 0x80, 0x80, OK},
	{"don't fragment", 6, 0x40, 0x40, OK},
	{"TTL of 0 is still for us", 8, 0xff, 0, OK},
	{"another protocol", 9, 0xff, 132, OK},
};

static void headers4(void **state)
{
	uint8_t l4[16] = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(patches4) / sizeof(patches4[0]); i++) {
		const struct patch4 *t = &patches4[i];
		struct lrp_packet p;
		uint32_t len = make_packet(packet, &(struct make){0}, l4, sizeof(l4));
		uint8_t *ip = packet + 14;
		uint32_t header_len;

		ip[t->at] = (uint8_t)((ip[t->at] & ~t->mask) | t->value);
		header_len = (ip[0] & 15) * 4u;
		w16(ip + 10, 0);
		w16(ip + 10, ~naive_sum(0, ip, header_len > 36 ? 36 : header_len));
		assert_is(t->what, input(packet, len, &p), t->want);
	}
}

/* No change of any one bit of the header passes, but for some where the checksum
 * itself cannot tell. There are none with one bit. */
static void header_checksum(void **state)
{
	uint8_t l4[64] = {0};
	struct make m = {.ext = (const uint8_t *)"\x94\x04\0\0\1\1\1\0", .ext_len = 8};
	uint32_t len = make_packet(packet, &m, l4, sizeof(l4));

	(void)state;
	for (unsigned int bit = 0; bit < 28 * 8; bit++) {
		struct lrp_packet p;

		packet[14 + bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_not_equal(input(packet, len, &p), OK);
		packet[14 + bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	/* and with total length and header length left alone it is the checksum that says so */
	packet[14 + 15] ^= 0x40;
	{
		struct lrp_packet p;

		assert_int_equal(input(packet, len, &p), BAD_CHECKSUM);
	}
}

static const struct options4 {
	const char *what;
	const uint8_t *bytes;
	uint32_t len;
	int want;
} options4[] = {
	{"end of list", BYTES(0, 0, 0, 0), OK},
	{"anything behind the end of list", BYTES(0, 0x83, 0xff, 0xff), OK},
	{"no operation", BYTES(1, 1, 1, 1), OK},
	{"router alert", BYTES(0x94, 4, 0, 0), OK},
	{"router alert too short", BYTES(0x94, 3, 0, 0), BAD_HEADER},
	{"unknown option", BYTES(0x1e, 4, 9, 9), OK},
	{"unknown option of length 2", BYTES(0x1e, 2, 1, 0), OK},
	{"unknown option of length 0", BYTES(0x1e, 0, 1, 1), BAD_HEADER},
	{"unknown option of length 1", BYTES(0x1e, 1, 1, 1), BAD_HEADER},
	{"option longer than the header", BYTES(1, 0x1e, 4, 0), BAD_HEADER},
	{"option cut before its length", BYTES(1, 1, 1, 0x1e), BAD_HEADER},
	{"loose source route", BYTES(0x83, 7, 4, 198, 18, 0, 9, 0), BAD_HEADER},
	{"loose source route, used up", BYTES(0x83, 7, 8, 198, 18, 0, 9, 0), BAD_HEADER},
	{"strict source route behind another option", BYTES(1, 0x89, 7, 4, 198, 18, 0, 9),
	 BAD_HEADER},
	{"record route", BYTES(7, 7, 4, 0, 0, 0, 0, 0), OK},
	{"record route, full", BYTES(7, 7, 8, 1, 2, 3, 4, 0), OK},
	{"record route, pointer into the header", BYTES(7, 7, 3, 0, 0, 0, 0, 0), BAD_HEADER},
	{"record route, no room for an address", BYTES(7, 7, 5, 0, 0, 0, 0, 0), BAD_HEADER},
	{"record route without pointer", BYTES(7, 2, 1, 0), BAD_HEADER},
	{"record route twice", BYTES(7, 3, 4, 7, 3, 4, 0, 0), BAD_HEADER},
	{"timestamp", BYTES(0x44, 8, 5, 0, 0, 0, 0, 0), OK},
	{"timestamp with addresses", BYTES(0x44, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0), OK},
	{"timestamp with address, no room", BYTES(0x44, 8, 5, 1, 0, 0, 0, 0), BAD_HEADER},
	{"timestamp prespecified, no room", BYTES(0x44, 8, 5, 3, 0, 0, 0, 0), BAD_HEADER},
	{"timestamp, pointer into the header", BYTES(0x44, 8, 4, 0, 0, 0, 0, 0), BAD_HEADER},
	{"timestamp, full", BYTES(0x44, 8, 9, 0, 0, 0, 0, 0), OK},
	{"timestamp, full, overflow full", BYTES(0x44, 8, 9, 0xf0, 0, 0, 0, 0), BAD_HEADER},
	{"timestamp of length 3", BYTES(0x44, 3, 5, 0), BAD_HEADER},
	{"timestamp twice", BYTES(0x44, 4, 5, 0, 0x44, 4, 5, 0), BAD_HEADER},
	{"40 bytes",
	 BYTES(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
	       1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1),
	 OK},
};

static void options_of_ipv4(void **state)
{
	uint8_t l4[12] = "udp";

	(void)state;
	for (size_t i = 0; i < sizeof(options4) / sizeof(options4[0]); i++) {
		const struct options4 *t = &options4[i];
		struct make m = {.ext = t->bytes, .ext_len = t->len};
		struct lrp_packet p;
		int got = input(packet, make_packet(packet, &m, l4, sizeof(l4)), &p);

		assert_is(t->what, got, t->want);
		if (got)
			continue;
		assert_int_equal(p.options_len, t->len);
		assert_int_equal(p.l4_len, sizeof(l4));
		assert_memory_equal(p.frame + p.l4_offset, l4, sizeof(l4));
	}
}

static const struct extensions6 {
	const char *what;
	uint8_t type;
	uint32_t last; /* where the next header is left open */
	const uint8_t *bytes;
	uint32_t len;
	int want;
} extensions6[] = {
	{"hop-by-hop, padding", 0, 0, BYTES(0, 0, 1, 4, 0, 0, 0, 0), OK},
	{"hop-by-hop, six times one byte", 0, 0, BYTES(0, 0, 0, 0, 0, 0, 0, 0), OK},
	{"hop-by-hop, padding that hides data", 0, 0, BYTES(0, 0, 1, 4, 0, 0, 1, 0), BAD_HEADER},
	{"hop-by-hop, more padding than alignment needs", 0, 0,
	 BYTES(0, 1, 1, 6, 0, 0, 0, 0, 0, 0, 0x1e, 2, 0, 0, 0, 0), BAD_HEADER},
	{"hop-by-hop, padding runs out of the header", 0, 0, BYTES(0, 0, 1, 5, 0, 0, 0, 0),
	 BAD_HEADER},
	{"hop-by-hop, option cut before its length", 0, 0, BYTES(0, 0, 0, 0, 0, 0, 0, 0x1e),
	 BAD_HEADER},
	{"router alert", 0, 0, BYTES(0, 0, 5, 2, 0, 0, 0, 0), OK},
	{"router alert of the wrong length", 0, 0, BYTES(0, 0, 5, 3, 0, 0, 0, 0), BAD_HEADER},
	{"unknown option, 00: skip", 0, 0, BYTES(0, 0, 0x1e, 4, 1, 2, 3, 4), OK},
	{"unknown option, 01: discard", 0, 0, BYTES(0, 0, 0x5e, 4, 1, 2, 3, 4), BAD_HEADER},
	{"unknown option, 10: discard", 0, 0, BYTES(0, 0, 0x9e, 4, 1, 2, 3, 4), BAD_HEADER},
	{"unknown option, 11: discard", 0, 0, BYTES(0, 0, 0xde, 4, 1, 2, 3, 4), BAD_HEADER},
	{"jumbo payload", 0, 0, BYTES(0, 0, 0xc2, 4, 0, 1, 0, 0), BAD_HEADER},
	{"eight options", 0, 0,
	 BYTES(0, 2, 0x1e, 0, 0x1e, 0, 0x1e, 0, 0x1e, 0, 0x1e, 0, 0x1e, 0, 0x1e, 0, 0x1e, 0, 1, 4,
	       0, 0, 0, 0),
	 OK},
	{"nine options", 0, 0,
	 BYTES(0, 2, 0x1e, 0, 0x1e, 0, 0x1e, 0, 0x1e, 0, 0x1e, 0, 0x1e, 0, 0x1e, 0, 0x1e, 0, 0x1e,
	       0, 1, 2, 0, 0),
	 BAD_HEADER},
	{"destination options", 60, 0, BYTES(0, 0, 0x1e, 4, 1, 2, 3, 4), OK},
	{"destination options, discard", 60, 0, BYTES(0, 0, 0x40, 4, 1, 2, 3, 4), BAD_HEADER},
	{"destination options, home address", 60, 0,
	 BYTES(0, 2, 1, 2, 0, 0, 0xc9, 16, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8),
	 BAD_HEADER},
	{"routing, no segments left", 43, 0, BYTES(0, 0, 0, 0, 0, 0, 0, 0), OK},
	{"routing of an unknown type, no segments left", 43, 0, BYTES(0, 0, 77, 0, 1, 2, 3, 4), OK},
	{"routing, one segment left", 43, 0, BYTES(0, 0, 0, 1, 0, 0, 0, 0), BAD_HEADER},
	{"routing, segments left in a long header", 43, 0,
	 BYTES(0, 2, 0, 255, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16),
	 BAD_HEADER},
	{"hop-by-hop, destination, routing, destination", 0, 24,
	 BYTES(60, 0, 1, 4, 0, 0, 0, 0, 43, 0, 1, 4, 0, 0, 0, 0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
	       4, 0, 0, 0, 0),
	 OK},
	{"hop-by-hop not first", 60, 8, BYTES(0, 0, 1, 4, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 0),
	 BAD_HEADER},
	{"hop-by-hop twice", 0, 8, BYTES(0, 0, 1, 4, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 0),
	 BAD_HEADER},
	{"header longer than the packet", 60, 0, BYTES(0, 9, 1, 4, 0, 0, 0, 0), BAD_HEADER},
	{"eight headers", 60, 56,
	 BYTES(60, 0, 1, 4, 0, 0, 0, 0, 60, 0, 1, 4, 0, 0, 0, 0, 60, 0, 1, 4, 0, 0, 0, 0, 60, 0, 1,
	       4, 0, 0, 0, 0, 60, 0, 1, 4, 0, 0, 0, 0, 60, 0, 1, 4, 0, 0, 0, 0, 60, 0, 1, 4, 0, 0,
	       0, 0, 60, 0, 1, 4, 0, 0, 0, 0),
	 OK},
	{"nine headers", 60, 64,
	 BYTES(60, 0, 1, 4, 0, 0, 0, 0, 60, 0, 1, 4, 0, 0, 0, 0, 60, 0, 1, 4, 0, 0, 0, 0, 60, 0, 1,
	       4, 0, 0, 0, 0, 60, 0, 1, 4, 0, 0, 0, 0, 60, 0, 1, 4, 0, 0, 0, 0, 60, 0, 1, 4, 0, 0,
	       0, 0, 60, 0, 1, 4, 0, 0, 0, 0, 60, 0, 1, 4, 0, 0, 0, 0),
	 BAD_HEADER},
};

static void extensions_of_ipv6(void **state)
{
	uint8_t l4[12] = "udp";

	(void)state;
	for (size_t i = 0; i < sizeof(extensions6) / sizeof(extensions6[0]); i++) {
		const struct extensions6 *t = &extensions6[i];
		struct make m = {.family = AF_INET6,
				 .ext = t->bytes,
				 .ext_len = t->len,
				 .ext_type = t->type,
				 .ext_last = t->last};
		struct lrp_packet p;
		int got = input(packet, make_packet(packet, &m, l4, sizeof(l4)), &p);

		assert_is(t->what, got, t->want);
		if (got)
			continue;
		assert_int_equal(p.proto, IPPROTO_UDP);
		assert_int_equal(p.l4_len, sizeof(l4));
		assert_memory_equal(p.frame + p.l4_offset, l4, sizeof(l4));
	}
}

static void headers6(void **state)
{
	uint8_t l4[16] = {0};
	struct make m = {.family = AF_INET6};
	uint32_t len = make_packet(packet, &m, l4, sizeof(l4));
	uint8_t *ip = packet + 14;
	struct lrp_packet p;

	(void)state;
	ip[0] = 0x40;
	assert_int_equal(input(packet, len, &p), BAD_HEADER);
	ip[0] = 0x60;
	ip[5] = 17;
	assert_int_equal(input(packet, len, &p), BAD_LENGTH);
	ip[5] = 15; /* the rest is padding */
	assert_int_equal(input(packet, len, &p), OK);
	assert_int_equal(p.l4_len, 15);
	ip[5] = 0;
	assert_int_equal(input(packet, len, &p), OK);
	assert_int_equal(p.l4_len, 0);
	ip[6] = 0; /* hop-by-hop: where a jumbogram would begin */
	assert_int_equal(input(packet, len, &p), BAD_HEADER);
	ip[6] = 59; /* no next header */
	assert_int_equal(input(packet, len, &p), OK);
	assert_int_equal(p.proto, 59);
	ip[8] = 0xff; /* from a group */
	assert_int_equal(input(packet, len, &p), BAD_HEADER);
}

static void fragments(void **state)
{
	uint8_t l4[64];
	struct lrp_packet p;

	(void)state;
	rnd_fill(l4, sizeof(l4));
	for (int family = AF_INET; family <= AF_INET6; family += AF_INET6 - AF_INET) {
		for (uint32_t offset = 0; offset <= 65528; offset += 8) {
			struct make m = {.family = family,
					 .offset = offset,
					 .id = 0x1234,
					 .more = offset % 16 == 0,
					 .proto = 6};

			assert_int_equal(input(packet, make_packet(packet, &m, l4, 64), &p), OK);
			assert_true(p.fragment);
			assert_int_equal(p.more_fragments, m.more);
			assert_int_equal(p.fragment_offset, offset);
			assert_int_equal(p.fragment_id,
					 family == AF_INET ? htons(0x1234) : htonl(0x1234));
			assert_int_equal(p.proto, 6);
			assert_int_equal(p.l4_len, 64);
			assert_memory_equal(p.frame + p.l4_offset, l4, 64);
		}
	}
	{
		/* RFC 6946: an only fragment is none, and the walk goes on behind it. */
		static const uint8_t dst[] = {60, 0, 1, 4, 0, 0, 0, 0};
		struct make m = {.family = AF_INET6,
				 .fragment = true,
				 .proto = 60,
				 .id = 9,
				 .ext = dst,
				 .ext_len = 8,
				 .ext_type = 60};
		uint8_t behind[24] = {17, 0, 1, 4, 0, 0, 0, 0};

		assert_int_equal(input(packet, make_packet(packet, &m, behind, 24), &p), OK);
		assert_false(p.fragment);
		assert_int_equal(p.proto, 17);
		assert_int_equal(p.l4_len, 16);
		/* whereas a first fragment stops it */
		m.more = true;
		assert_int_equal(input(packet, make_packet(packet, &m, behind, 24), &p), OK);
		assert_true(p.fragment);
		assert_int_equal(p.proto, 60);
		assert_int_equal(p.l4_len, 24);
	}
}

static void every_truncation(void **state)
{
	static const uint8_t chain[] = {60, 0, 1, 4, 0, 0, 0, 0, 43, 0, 0, 0, 0, 0, 0, 0,
					60, 0, 0, 0, 0, 0, 0, 0, 0,  0, 1, 4, 0, 0, 0, 0};
	const struct make shapes[] = {
		{.family = AF_INET},
		{.family = AF_INET, .tags = 2},
		{.family = AF_INET, .ext = options4[14].bytes, .ext_len = 8},
		{.family = AF_INET, .more = true},
		{.family = AF_INET6},
		{.family = AF_INET6, .tags = 1},
		{.family = AF_INET6, .ext = chain, .ext_len = 32, .ext_last = 24},
		{.family = AF_INET6, .ext = chain, .ext_len = 32, .ext_last = 24, .offset = 8},
	};
	uint8_t l4[20] = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		uint32_t len = make_packet(packet, &shapes[i], l4, sizeof(l4));
		struct lrp_packet p;

		assert_int_equal(input(packet, len, &p), OK);
		for (uint32_t cut = 0; cut < len; cut++)
			if (!input(packet, cut, &p))
				fail_msg("shape %zu cut to %u of %u bytes was accepted", i, cut,
					 len);
	}
}

/* Whatever the bytes: no crash, and what is accepted lies within the packet. */
static void hostile(void **state)
{
	uint8_t l4[100] = {0};

	(void)state;
	for (int i = 0; i < 300000; i++) {
		struct make m = {.family = i & 1 ? AF_INET : AF_INET6,
				 .tags = (int)rnd_below(3),
				 .more = !rnd_below(4),
				 .offset = rnd_below(3) * 8,
				 .ext = extensions6[22].bytes,
				 .ext_len = i & 1 ? 0 : 32,
				 .ext_last = 24};
		uint32_t len = make_packet(packet, &m, l4, rnd_below(100));
		struct lrp_packet p;

		for (uint32_t n = rnd_below(4); n; n--)
			packet[12 + rnd_below(len - 12)] = (uint8_t)rnd();
		if (rnd_below(4) == 0)
			len = rnd_below(len + 1);
		if (input(packet, len, &p))
			continue;
		assert_true(p.l4_offset + p.l4_len <= len);
		assert_true(p.l3_offset < p.l4_offset);
		assert_true(p.l3_offset + 20 + p.options_len <= p.l4_offset);
		assert_true(p.fragment == (p.more_fragments || p.fragment_offset));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain),
		cmocka_unit_test(headers4),
		cmocka_unit_test(header_checksum),
		cmocka_unit_test(options_of_ipv4),
		cmocka_unit_test(extensions_of_ipv6),
		cmocka_unit_test(headers6),
		cmocka_unit_test(fragments),
		cmocka_unit_test(every_truncation),
		cmocka_unit_test(hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

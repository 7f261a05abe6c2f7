/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include "packets.h"
#include "runtime/ip/icmp_input.h"
#include "runtime/ip/ip_input.h"

#define OK	     0
#define BAD_HEADER   LRP_DROPPED(LRP_DROP_IP_HEADER)
#define BAD_LENGTH   LRP_DROPPED(LRP_DROP_LENGTH)
#define BAD_CHECKSUM LRP_DROPPED(LRP_DROP_CHECKSUM)
#define NOT_OURS     LRP_DROPPED(LRP_DROP_PROTOCOL)

#define for_each_family(f) for (int f = AF_INET; f <= AF_INET6; f += AF_INET6 - AF_INET)

static uint8_t frame[4000], message[3000], quoted[2000];

static void set_checksum(int family, uint8_t *icmp, uint32_t len)
{
	uint32_t sum = family == AF_INET6 ? naive_pseudo(family, IPPROTO_ICMPV6, len) : 0;

	w16(icmp + 2, 0);
	w16(icmp + 2, ~naive_sum(sum, icmp, len));
}

/* An ICMP message about the packet in `quoted`, which begins with its link header. */
static uint32_t make_message(int family, uint8_t type, uint8_t code, uint32_t word,
			     uint32_t quoted_len)
{
	message[0] = type;
	message[1] = code;
	w32(message + 4, word);
	memcpy(message + 8, quoted + 14, quoted_len - 14);
	set_checksum(family, message, 8 + quoted_len - 14);
	return 8 + quoted_len - 14;
}

static int input_l4(int family, const uint8_t *icmp, uint32_t len, bool partial_ok,
		    struct lrp_icmp_error *e)
{
	static uint8_t *copy;
	struct make m = {.family = family,
			 .proto = family == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6};
	struct lrp_packet p = {.frame = frame, .frame_len = make_packet(frame, &m, icmp, len)};

	assert_int_equal(lrp_ip_input(&p), 0);
	free(copy);
	copy = exact_copy(icmp, len);
	memset(e, 0xee, sizeof(*e));
	return lrp_icmp_input(&p, copy, partial_ok, e);
}

/* About a UDP datagram with 32 bytes of payload. */
static uint32_t quote(const struct make *m)
{
	uint8_t l4[64];
	uint32_t len =
		make_udp(l4, m->family, (const uint8_t *)"what was sent, or the head of it", 32);

	return make_packet(quoted, m, l4, len);
}

/* clang-format off */
static const struct meaning {
	uint8_t type, code;
	int want;
	int error;
	bool fatal;
	uint32_t word, info;
} meanings4[] = {
	/* net/ipv4/icmp.c: icmp_err_convert; net/ipv4/udp.c: __udp4_lib_err */
	{3, 0, OK, ENETUNREACH, false, 0, 0},
	{3, 1, OK, EHOSTUNREACH, false, 0, 0},
	{3, 2, OK, ENOPROTOOPT, true, 0, 0},
	{3, 3, OK, ECONNREFUSED, true, 0, 0},
	{3, 4, OK, EMSGSIZE, true, 1400, 1400},
	{3, 4, OK, EMSGSIZE, true, 0xabcd0000 | 576, 576},
	{3, 4, OK, EMSGSIZE, true, 0, 0},
	{3, 5, OK, EOPNOTSUPP, false, 0, 0},
	{3, 6, OK, ENETUNREACH, true, 0, 0},
	{3, 7, OK, EHOSTDOWN, true, 0, 0},
	{3, 8, OK, ENONET, true, 0, 0},
	{3, 9, OK, ENETUNREACH, true, 0, 0},
	{3, 10, OK, EHOSTUNREACH, true, 0, 0},
	{3, 11, OK, ENETUNREACH, false, 0, 0},
	{3, 12, OK, EHOSTUNREACH, false, 0, 0},
	{3, 13, OK, EHOSTUNREACH, true, 0, 0},
	{3, 14, OK, EHOSTUNREACH, true, 0, 0},
	{3, 15, OK, EHOSTUNREACH, true, 0x12345678, 0},
	{3, 16, NOT_OURS, 0, false, 0, 0},
	{3, 255, NOT_OURS, 0, false, 0, 0},
	{11, 0, OK, EHOSTUNREACH, false, 0, 0},
	{11, 1, NOT_OURS, 0, false, 0, 0},
	{12, 0, OK, EPROTO, true, 20u << 24, 20},
	{4, 0, NOT_OURS, 0, false, 0, 0},
	{5, 1, NOT_OURS, 0, false, 0, 0},
	{0, 0, NOT_OURS, 0, false, 0, 0},
	{8, 0, NOT_OURS, 0, false, 0, 0},
	{13, 0, NOT_OURS, 0, false, 0, 0},
	{42, 0, NOT_OURS, 0, false, 0, 0},
};
/* clang-format on */

/* clang-format off */
static const struct meaning meanings6[] = {
	/* net/ipv6/icmp.c: icmpv6_err_convert; net/ipv6/udp.c: __udp6_lib_err */
	{1, 0, OK, ENETUNREACH, false, 0, 0},
	{1, 1, OK, EACCES, true, 0, 0},
	{1, 2, OK, EHOSTUNREACH, false, 0, 0},
	{1, 3, OK, EHOSTUNREACH, false, 0, 0},
	{1, 4, OK, ECONNREFUSED, true, 0, 0},
	{1, 5, OK, EACCES, true, 0, 0},
	{1, 6, OK, EACCES, true, 0, 0},
	{1, 7, OK, EPROTO, true, 0, 0},
	{2, 0, OK, EMSGSIZE, true, 1280, 1280},
	{3, 0, OK, EHOSTUNREACH, false, 0, 0},
	{3, 1, OK, EHOSTUNREACH, false, 0, 0},
	{4, 1, OK, EPROTO, true, 40, 40},
	{100, 0, OK, EPROTO, false, 0, 0},
	{128, 0, NOT_OURS, 0, false, 0, 0},
	{129, 0, NOT_OURS, 0, false, 0, 0},
	{135, 0, NOT_OURS, 0, false, 0, 0},
	{137, 0, NOT_OURS, 0, false, 0, 0},
	{255, 0, NOT_OURS, 0, false, 0, 0},
};
/* clang-format on */

static void as_linux(void **state)
{
	(void)state;
	for_each_family (family) {
		const struct meaning *t = family == AF_INET ? meanings4 : meanings6;
		size_t count = family == AF_INET ? sizeof(meanings4) / sizeof(*t)
						 : sizeof(meanings6) / sizeof(*t);
		struct make m = {.family = family};
		uint32_t quoted_len = quote(&m);

		for (; count; t++, count--) {
			struct lrp_icmp_error e;
			uint32_t len = make_message(family, t->type, t->code, t->word, quoted_len);
			int got = input_l4(family, message, len, false, &e);
			uint32_t alen = family == AF_INET ? 4 : 16;

			if (got != t->want)
				fail_msg("%d/%d: got %d, want %d", t->type, t->code, got, t->want);
			if (got)
				continue;
			if (e.error != t->error || e.fatal != t->fatal || e.info != t->info)
				fail_msg("%d/%d: errno %d fatal %d info %u", t->type, t->code,
					 e.error, e.fatal, e.info);
			assert_int_equal(e.family, family);
			assert_int_equal(e.type, t->type);
			assert_int_equal(e.code, t->code);
			assert_int_equal(e.proto, IPPROTO_UDP);
			assert_memory_equal(&e.offender, family == AF_INET ? addr4[0] : addr6[0],
					    alen);
			assert_memory_equal(&e.src, family == AF_INET ? addr4[0] : addr6[0], alen);
			assert_memory_equal(&e.dst, family == AF_INET ? addr4[1] : addr6[1], alen);
			assert_int_equal(e.sport, htons(1000));
			assert_int_equal(e.dport, htons(2000));
			assert_int_equal(e.payload_len, 32);
			assert_memory_equal(e.payload, "what was sent, or the head of it", 32);
			assert_memory_equal(e.l4, "\x03\xe8\x07\xd0", 4);
		}
	}
}

static void checksum_is_verified(void **state)
{
	(void)state;
	for_each_family (family) {
		struct make m = {.family = family};
		uint32_t len = make_message(family, family == AF_INET ? 3 : 1, 4, 0, quote(&m));
		struct lrp_icmp_error e;

		for (uint32_t bit = 0; bit < len * 8; bit++) {
			message[bit / 8] ^= (uint8_t)(1 << bit % 8);
			assert_int_equal(input_l4(family, message, len, false, &e), BAD_CHECKSUM);
			message[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		assert_int_equal(input_l4(family, message, len, false, &e), OK);
		w16(message + 2, naive_pseudo(family, IPPROTO_ICMPV6, len));
		assert_int_equal(input_l4(family, message, len, false, &e), BAD_CHECKSUM);
		assert_int_equal(input_l4(family, message, len, true, &e),
				 family == AF_INET6 ? OK : BAD_CHECKSUM);
	}
}

/* The quoted packet's own extension headers and options are walked. */
static void quoted_headers(void **state)
{
	static const uint8_t alert[] = {0x94, 4, 0, 0, 0, 0, 0, 0};
	static const uint8_t ah[] = {17, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8};
	static const uint8_t chain[] = {60, 0, 1,  4, 0, 0, 0, 0, 43, 0, 0, 0, 0, 0,
					0,  0, 60, 1, 0, 1, 0, 0, 0,  0, 9, 9, 9, 9,
					9,  9, 9,  9, 0, 0, 1, 4, 0,  0, 0, 0};
	const struct {
		const char *what;
		struct make m;
		int want;
	} t[] = {
		{"options", {.ext = alert, .ext_len = 8}, OK},
		{"first fragment", {.more = true, .id = 9}, OK},
		{"later fragment", {.offset = 8, .id = 9}, NOT_OURS},
		{"TCP", {.proto = 6}, OK},
		{"neither UDP nor TCP", {.proto = 1}, NOT_OURS},
		{"IPv6, chain",
		 {.family = AF_INET6, .ext = chain, .ext_len = 40, .ext_last = 32},
		 OK},
		{"IPv6, chain and first fragment",
		 {.family = AF_INET6, .ext = chain, .ext_len = 40, .ext_last = 32, .more = true},
		 OK},
		{"IPv6, authentication header",
		 {.family = AF_INET6, .ext = ah, .ext_len = 12, .ext_type = 51},
		 OK},
		{"IPv6, later fragment", {.family = AF_INET6, .offset = 8, .more = true}, NOT_OURS},
		{"IPv6, TCP", {.family = AF_INET6, .proto = 6}, OK},
		{"IPv6, ICMP", {.family = AF_INET6, .proto = 58}, NOT_OURS},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		int family = t[i].m.family ? t[i].m.family : AF_INET;
		uint32_t len =
			make_message(family, family == AF_INET ? 3 : 1, 3, 0, quote(&t[i].m));
		struct lrp_icmp_error e;
		int got = input_l4(family, message, len, false, &e);

		if (got != t[i].want)
			fail_msg("%s: got %d, want %d", t[i].what, got, t[i].want);
		if (got)
			continue;
		assert_int_equal(e.proto, t[i].m.proto ? t[i].m.proto : 17);
		assert_int_equal(e.sport, htons(1000));
		assert_int_equal(e.dport, htons(2000));
		assert_int_equal(e.payload_len, 32);
	}
}

/* Of a long datagram only the head comes back; behind a short one there can be extensions. */
static void quoted_length(void **state)
{
	(void)state;
	for_each_family (family) {
		struct make m = {.family = family};
		uint32_t quoted_len = quote(&m), hdr = 14 + (family == AF_INET ? 20 : 40) + 8, len;
		uint8_t type = family == AF_INET ? 3 : 1;
		struct lrp_icmp_error e;

		for (uint32_t cut = 14; cut <= quoted_len; cut++) {
			len = make_message(family, type, 3, 0, cut);
			if (cut < hdr) {
				assert_int_not_equal(input_l4(family, message, len, false, &e), OK);
				continue;
			}
			assert_int_equal(input_l4(family, message, len, false, &e), OK);
			assert_int_equal(e.payload_len, cut - hdr);
		}
		memset(quoted + quoted_len, 0x11, 100);
		len = make_message(family, type, 3, 0, quoted_len + 100);
		assert_int_equal(input_l4(family, message, len, false, &e), OK);
		assert_int_equal(e.payload_len, 32);
		/* less than a header */
		for (len = 0; len < 8; len++) {
			set_checksum(family, message, len > 4 ? len : 4);
			assert_int_equal(input_l4(family, message, len, false, &e), BAD_LENGTH);
		}
	}
}

static void hostile_quotes(void **state)
{
	struct make m4 = {0}, m6 = {.family = AF_INET6};
	struct lrp_icmp_error e;
	uint32_t len, qlen;

	(void)state;
	qlen = quote(&m4);
	quoted[14] = 0x65;
	len = make_message(AF_INET, 3, 3, 0, qlen);
	assert_int_equal(input_l4(AF_INET, message, len, false, &e), BAD_HEADER);
	for (uint8_t ihl = 0; ihl < 5; ihl++) {
		quoted[14] = 0x40 | ihl;
		len = make_message(AF_INET, 3, 3, 0, qlen);
		assert_int_equal(input_l4(AF_INET, message, len, false, &e), BAD_HEADER);
	}
	quoted[14] = 0x4f;
	len = make_message(AF_INET, 3, 3, 0, qlen);
	assert_int_equal(input_l4(AF_INET, message, len, false, &e), BAD_LENGTH);
	quoted[14] = 0x45;
	w16(quoted + 16, 27);
	len = make_message(AF_INET, 3, 3, 0, qlen);
	assert_int_equal(input_l4(AF_INET, message, len, false, &e), BAD_LENGTH);

	qlen = quote(&m6);
	quoted[14] = 0x45;
	len = make_message(AF_INET6, 1, 4, 0, qlen);
	assert_int_equal(input_l4(AF_INET6, message, len, false, &e), BAD_HEADER);
	quoted[14] = 0x60;
	quoted[20] = 60; /* destination options, whose length is the port: beyond the message */
	quoted[14 + 41] = 0xff;
	len = make_message(AF_INET6, 1, 4, 0, qlen);
	assert_int_equal(input_l4(AF_INET6, message, len, false, &e), BAD_LENGTH);
	/* a chain without end */
	memset(quoted + 54, 0, 200);
	for (int i = 0; i < 25; i++)
		quoted[54 + 8 * i] = 60;
	w16(quoted + 18, 200);
	len = make_message(AF_INET6, 1, 4, 0, 254);
	assert_int_equal(input_l4(AF_INET6, message, len, false, &e), BAD_HEADER);

	for (int i = 0; i < 200000; i++) {
		int family = i & 1 ? AF_INET : AF_INET6;

		qlen = quote(i & 1 ? &m4 : &m6);
		for (uint32_t n = rnd_below(6); n; n--)
			quoted[14 + rnd_below(qlen - 14)] = (uint8_t)rnd();
		len = make_message(family, i & 1 ? 3 : 1, 3, 0, 14 + rnd_below(qlen - 13));
		if (input_l4(family, message, len, false, &e))
			continue;
		assert_true(e.payload == e.l4 + 8);
		assert_true(e.payload_len + 8 + (i & 1 ? 20 : 40) + 8 <= len);
		assert_true(e.proto == 6 || e.proto == 17);
	}
}

/* An error is for one host; a group that gets one is an attack. */
static void to_a_group(void **state)
{
	struct make m = {.proto = 1};
	uint32_t len = make_message(AF_INET, 3, 3, 0, quote(&(struct make){0}));
	struct lrp_packet p = {.frame = frame, .frame_len = make_packet(frame, &m, message, len)};
	struct lrp_icmp_error e;

	(void)state;
	assert_int_equal(lrp_ip_input(&p), 0);
	p.dst.v4.s_addr = htonl(0xe0000001);
	assert_int_equal(lrp_icmp_input(&p, message, false, &e), NOT_OURS);
	p.dst.v4.s_addr = htonl(0xffffffff);
	assert_int_equal(lrp_icmp_input(&p, message, false, &e), NOT_OURS);
	p.dst.v4.s_addr = htonl(0xc6120001);
	assert_int_equal(lrp_icmp_input(&p, message, false, &e), OK);
	p.dst.v4.s_addr = htonl(0xf0000101); /* class E: one host as any other */
	assert_int_equal(lrp_icmp_input(&p, message, false, &e), OK);
	p.proto = IPPROTO_ICMPV6;
	assert_int_equal(lrp_icmp_input(&p, message, false, &e), NOT_OURS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_linux),	  cmocka_unit_test(checksum_is_verified),
		cmocka_unit_test(quoted_headers), cmocka_unit_test(quoted_length),
		cmocka_unit_test(hostile_quotes), cmocka_unit_test(to_a_group),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

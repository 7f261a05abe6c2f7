/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "packets.h"
#include "runtime/tcp/segment.h"

#define for_each_family(f) for (int f = AF_INET; f <= AF_INET6; f += AF_INET6 - AF_INET)

static uint8_t wire[PACKET_MAX] __attribute__((aligned(4)));

static struct lrp_tcp_flow flow_of(int family)
{
	struct lrp_tcp_flow flow = {
		.family = (uint8_t)family, .lport = htons(1000), .rport = htons(2000)};

	memcpy(&flow.laddr, family == AF_INET ? addr4[0] : addr6[0], family == AF_INET ? 4 : 16);
	memcpy(&flow.raddr, family == AF_INET ? addr4[1] : addr6[1], family == AF_INET ? 4 : 16);
	return flow;
}

static struct lrp_packet packet_of(int family, uint32_t l4_len)
{
	struct lrp_packet p;

	memset(&p, 0xee, sizeof(p));
	p.family = (uint8_t)family;
	p.proto = IPPROTO_TCP;
	p.tos = 3;
	p.l4_len = l4_len;
	memcpy(&p.src, family == AF_INET ? addr4[0] : addr6[0], family == AF_INET ? 4 : 16);
	memcpy(&p.dst, family == AF_INET ? addr4[1] : addr6[1], family == AF_INET ? 4 : 16);
	return p;
}

static int parse(int family, uint32_t len, bool partial_ok, struct lrp_tcp_segment *s)
{
	struct lrp_packet p = packet_of(family, len);
	uint8_t *copy = exact_copy(wire, len);
	int result = lrp_tcp_segment_read(&p, copy, partial_ok, s);

	/* What is long is not looked at until somebody asks. */
	if (!result && s->unchecked) {
		assert_true(s->len >= 256);
		result = lrp_tcp_segment_check(s);
		assert_int_equal(s->unchecked, result != 0);
	}
	assert_int_equal(result, lrp_tcp_segment_parse(&p, copy, partial_ok, s));
	if (!result) {
		assert_int_equal(p.sport, htons(1000));
		assert_int_equal(p.dport, htons(2000));
		assert_int_equal(p.payload_len, s->len);
		assert_ptr_equal(p.payload, s->payload);
		s->payload = wire + (s->payload - copy);
	}
	free(copy);
	return result;
}

static void checksum(int family, uint32_t len)
{
	w16(wire + 16, 0);
	w16(wire + 16, ~naive_sum(naive_pseudo(family, IPPROTO_TCP, len), wire, len));
}

/* What is built is what is read, whatever the split of the payload. */
static void there_and_back(void **state)
{
	static uint8_t payload[3000];

	(void)state;
	rnd_fill(payload, sizeof(payload));
	for_each_family (family) {
		struct lrp_tcp_flow flow = flow_of(family);

		for (uint32_t i = 0; i < 2000; i++) {
			struct lrp_tcp_tx tx = {.seq = rnd(),
						.ack = rnd(),
						.window = (uint16_t)rnd(),
						.urgent = (uint16_t)rnd(),
						.flags = (uint8_t)rnd()};
			uint32_t cut = rnd_below(1400), header, ts = rnd(), ecr = rnd();
			struct lrp_tcp_segment s;

			tx.payload_len = i < 100 ? i : rnd_below(1400);
			if (cut > tx.payload_len)
				cut = tx.payload_len;
			tx.payload[0] = (struct iovec){payload, cut};
			tx.payload[1] = (struct iovec){payload + cut, tx.payload_len - cut};
			if (i & 1)
				tx.options_len =
					(uint8_t)lrp_tcp_put_timestamp(tx.options, ts, ecr);
			header = lrp_tcp_build(wire, &flow, &tx, 0, tx.payload_len,
					       LRP_TCP_CHECKSUM_FULL);
			assert_int_equal(header, 20 + tx.options_len);
			memcpy(wire + header, payload, tx.payload_len);
			assert_int_equal(parse(family, header + tx.payload_len, false, &s), 0);
			assert_int_equal(s.seq, tx.seq);
			assert_int_equal(s.ack, tx.ack);
			assert_int_equal(s.len, tx.payload_len);
			assert_int_equal(s.window, tx.window);
			assert_int_equal(s.urgent, tx.urgent);
			assert_int_equal(s.flags, tx.flags);
			assert_int_equal(s.ecn, 3);
			assert_int_equal(s.options, i & 1 ? LRP_TCP_HAS_TIMESTAMP : 0);
			if (i & 1) {
				assert_int_equal(s.ts_val, ts);
				assert_int_equal(s.ts_ecr, ecr);
			}
			/* one bit anywhere */
			wire[rnd_below(header + tx.payload_len)] ^= (uint8_t)(1 << rnd_below(8));
			assert_int_not_equal(parse(family, header + tx.payload_len, false, &s), 0);
		}
	}
}

/* A run cut into segments: PSH and FIN on the last, CWR on the first. */
static void run_cut(void **state)
{
	static uint8_t payload[3001];
	struct lrp_tcp_flow flow = flow_of(AF_INET);
	struct lrp_tcp_tx tx = {.seq = 0xfffffff0,
				.payload_len = 3001,
				.mss = 1000,
				.flags = LRP_TCP_ACK | LRP_TCP_PSH | LRP_TCP_FIN | LRP_TCP_CWR};

	(void)state;
	rnd_fill(payload, sizeof(payload));
	tx.payload[0] = (struct iovec){payload, 1501};
	tx.payload[1] = (struct iovec){payload + 1501, 1500};
	for (uint32_t at = 0; at < 3001; at += 1000) {
		uint32_t len = 3001 - at < 1000 ? 3001 - at : 1000, flags = LRP_TCP_ACK;
		struct lrp_tcp_segment s;

		lrp_tcp_build(wire, &flow, &tx, at, len, LRP_TCP_CHECKSUM_FULL);
		memcpy(wire + 20, payload + at, len);
		assert_int_equal(parse(AF_INET, 20 + len, false, &s), 0);
		assert_int_equal(s.seq, 0xfffffff0 + at);
		if (!at)
			flags |= LRP_TCP_CWR;
		if (at == 3000)
			flags |= LRP_TCP_PSH | LRP_TCP_FIN;
		assert_int_equal(s.flags, flags);
	}
}

/* Partial checksums are those of the pseudo-header, and accepted only where that is allowed. */
static void partial(void **state)
{
	(void)state;
	for_each_family (family) {
		struct lrp_tcp_flow flow = flow_of(family);
		struct lrp_tcp_tx tx = {.seq = 1, .payload_len = 3, .flags = LRP_TCP_ACK};
		struct lrp_tcp_segment s;

		lrp_tcp_build(wire, &flow, &tx, 0, 3, LRP_TCP_CHECKSUM_PARTIAL);
		memcpy(wire + 20, "abc", 3);
		assert_int_equal((uint32_t)wire[16] << 8 | wire[17],
				 naive_pseudo(family, IPPROTO_TCP, 23));
		assert_int_equal(parse(family, 23, true, &s), 0);
		assert_int_equal(parse(family, 23, false, &s), LRP_DROPPED(LRP_DROP_CHECKSUM));
		checksum(family, 23);
		assert_int_equal(parse(family, 23, true, &s), 0);
		wire[22] ^= 1;
		assert_int_equal(parse(family, 23, true, &s), LRP_DROPPED(LRP_DROP_CHECKSUM));
	}
}

static void too_short(void **state)
{
	struct lrp_tcp_segment s;

	(void)state;
	memset(wire, 0, 100);
	for (uint32_t len = 0; len < 20; len++)
		assert_int_equal(parse(AF_INET, len, false, &s), LRP_DROPPED(LRP_DROP_LENGTH));
	for (uint32_t words = 0; words < 16; words++) {
		wire[12] = (uint8_t)(words << 4);
		checksum(AF_INET, 40);
		w16(wire, 1000);
		w16(wire + 2, 2000);
		checksum(AF_INET, 40);
		assert_int_equal(parse(AF_INET, 40, false, &s),
				 words < 5 || words > 10 ? LRP_DROPPED(LRP_DROP_LENGTH) : 0);
	}
}

static int with_options(uint8_t flags, const char *options, uint32_t len, struct lrp_tcp_segment *s)
{
	uint32_t padded = (len + 3) & ~3u;

	memset(wire, 0, 60);
	w16(wire, 1000);
	w16(wire + 2, 2000);
	wire[12] = (uint8_t)((20 + padded) / 4 << 4);
	wire[13] = flags;
	memcpy(wire + 20, options, len);
	checksum(AF_INET, 20 + padded);
	return parse(AF_INET, 20 + padded, false, s);
}
#define OPTIONS(flags, o, s) assert_int_equal(with_options(flags, o, sizeof(o) - 1, s), 0)

static void options(void **state)
{
	struct lrp_tcp_segment s;

	(void)state;
	OPTIONS(LRP_TCP_SYN, "\2\4\5\xb4\4\2\x8\xa\0\0\0\1\0\0\0\2\1\3\3\7", &s);
	assert_int_equal(s.options, LRP_TCP_HAS_MSS | LRP_TCP_HAS_SACK_OK | LRP_TCP_HAS_TIMESTAMP |
					    LRP_TCP_HAS_WSCALE);
	assert_int_equal(s.mss, 1460);
	assert_int_equal(s.wscale, 7);
	assert_int_equal(s.ts_val, 1);
	assert_int_equal(s.ts_ecr, 2);
	/* only a SYN offers */
	OPTIONS(LRP_TCP_ACK, "\2\4\5\xb4\4\2\x8\xa\0\0\0\1\0\0\0\2\1\3\3\7", &s);
	assert_int_equal(s.options, LRP_TCP_HAS_TIMESTAMP);
	/* RFC 7323 2.3: more than 14 means 14 */
	OPTIONS(LRP_TCP_SYN, "\3\3\xff", &s);
	assert_int_equal(s.wscale, 14);
	/* what nobody knows is stepped over (RFC 9293 3.1) */
	OPTIONS(LRP_TCP_SYN, "\xfe\4xx\xfd\2\2\4\2\x18", &s);
	assert_int_equal(s.mss, 536);
	/* lengths that cannot be end the walk; what came before counts */
	OPTIONS(LRP_TCP_SYN, "\3\3\1\x99\1\2\4\5\xb4", &s);
	assert_int_equal(s.options, LRP_TCP_HAS_WSCALE);
	OPTIONS(LRP_TCP_SYN, "\3\3\1\x99\x20\2\4\5\xb4", &s);
	assert_int_equal(s.options, LRP_TCP_HAS_WSCALE);
	OPTIONS(LRP_TCP_SYN, "\1\1\1\2", &s);
	assert_int_equal(s.options, 0);
	/* the wrong length for what it is */
	OPTIONS(LRP_TCP_SYN, "\2\3\5\1\3\4\1\1\4\3\1\1\x8\x9\0\0\0\1\0\0\0", &s);
	assert_int_equal(s.options, 0);
	/* nothing behind the end */
	OPTIONS(LRP_TCP_SYN, "\0\1\1\1\2\4\5\xb4", &s);
	assert_int_equal(s.options, 0);
}

static void sacks(void **state)
{
	struct lrp_tcp_sack sack[4] = {{1, 2}, {3, 4}, {0xfffffff0, 5}, {7, 8}};
	struct lrp_tcp_segment s;
	uint8_t o[40];

	(void)state;
	for (uint32_t n = 1; n <= 4; n++) {
		uint32_t len = lrp_tcp_put_sacks(o, sack, n);

		assert_int_equal(len, 4 + 8 * n);
		assert_int_equal(with_options(LRP_TCP_ACK, (char *)o, len, &s), 0);
		assert_int_equal(s.sacks, n);
		assert_memory_equal(s.sack, sack, n * sizeof(sack[0]));
		/* not of whole blocks */
		o[3]--;
		assert_int_equal(with_options(LRP_TCP_ACK, (char *)o, len, &s), 0);
		assert_int_equal(s.sacks, 0);
	}
	assert_int_equal(lrp_tcp_put_sacks(o, sack, 0), 0);
}

static void no_connection(void **state)
{
	struct lrp_tcp_segment s = {.seq = 0xffffffff, .ack = 77, .len = 10, .flags = LRP_TCP_SYN};
	struct lrp_tcp_tx tx;

	(void)state;
	assert_true(lrp_tcp_reset_for(&s, &tx));
	assert_int_equal(tx.flags, LRP_TCP_RST | LRP_TCP_ACK);
	assert_int_equal(tx.seq, 0);
	assert_int_equal(tx.ack, 10);
	s.flags = LRP_TCP_ACK;
	assert_true(lrp_tcp_reset_for(&s, &tx));
	assert_int_equal(tx.flags, LRP_TCP_RST);
	assert_int_equal(tx.seq, 77);
	s.flags = LRP_TCP_RST;
	assert_false(lrp_tcp_reset_for(&s, &tx));
}

static void scale(void **state)
{
	(void)state;
	assert_int_equal(lrp_tcp_wscale(0), 0);
	assert_int_equal(lrp_tcp_wscale(65535), 0);
	assert_int_equal(lrp_tcp_wscale(65536), 1);
	assert_int_equal(lrp_tcp_wscale(6 << 20), 7);
	assert_int_equal(lrp_tcp_wscale(UINT32_MAX), 14);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_and_back), cmocka_unit_test(run_cut),
		cmocka_unit_test(partial),	  cmocka_unit_test(too_short),
		cmocka_unit_test(options),	  cmocka_unit_test(sacks),
		cmocka_unit_test(no_connection),  cmocka_unit_test(scale),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Whole lives of a connection: calls, segments and time from the fuzzer's bytes, invariants after
 * each. Segments are named relative to what the connection expects, so that most are near something
 * that matters.
 *
 * What is sent is checked as a peer would: within the window that it offered, the right edge of
 * ours never further left than a unit of the window scale.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/tcp/tcp.h"

#define MS     1000000ll
#define BUFFER (32u << 10)
#define RUNS   32
#define ENSURE(condition)                                                                          \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);            \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

static struct lrp_tcp c;
static int64_t now;
static const uint8_t *at, *end;
static uint8_t bytes[2 * BUFFER], got[BUFFER];
static uint32_t edge; /* right edge that the peer has seen */
static bool edge_known;

static uint32_t take(int n)
{
	uint32_t v = 0;

	while (n--)
		v = v << 8 | (at < end ? *at++ : 0);
	return v;
}

static void check(void)
{
	const char *wrong = lrp_tcp_check(&c);

	if (wrong) {
		fprintf(stderr, "state %d: %s\n", c.state, wrong);
		abort();
	}
}

/* Signed and mostly small; at times in segments, at times anything. */
static uint32_t offset(void)
{
	uint32_t v = take(1);

	switch (v >> 6) {
	case 0:
		return 0;
	case 1:
		return (uint32_t)(int32_t)(int8_t)(v << 2);
	case 2:
		return ((v & 63) - 8) * c.mss;
	default:
		return take(4);
	}
}

static void segment(void)
{
	static const uint8_t common[] = {LRP_TCP_ACK,
					 LRP_TCP_ACK | LRP_TCP_PSH,
					 LRP_TCP_SYN | LRP_TCP_ACK,
					 LRP_TCP_SYN,
					 LRP_TCP_FIN | LRP_TCP_ACK,
					 LRP_TCP_RST,
					 LRP_TCP_RST | LRP_TCP_ACK};
	struct lrp_tcp_segment s = {
		.payload = bytes, .window = (uint16_t)take(2), .ecn = take(1) & 3};
	struct iovec iov = {got, take(1) * 8};
	struct lrp_tcp_into into = {&iov, iov.iov_len != 0, 0};
	uint32_t how = take(1), v = take(1);

	s.flags = how & 128 ? (uint8_t)take(1) : common[(how & 127) % sizeof(common)];
	s.seq = c.rcv_nxt + offset();
	s.ack = (v & 1 ? c.snd_nxt : c.snd_una) + offset();
	s.len = v & 2 ? c.mss : v & 4 ? take(2) % BUFFER : 0;
	if (s.flags & LRP_TCP_URG)
		s.urgent = (uint16_t)(take(1) * (v & 8 ? 1u : 300u));
	if (!(v & 16)) {
		s.options |= LRP_TCP_HAS_TIMESTAMP;
		s.ts_val = c.ts_recent + (v & 32 ? offset() : 0);
		s.ts_ecr = (uint32_t)(now / MS) + c.ts_offset - (take(1) & 63);
	}
	if (s.flags & LRP_TCP_SYN) {
		uint32_t o = take(1);

		s.options |= (uint8_t)(o & 7);
		s.wscale = (uint8_t)(o >> 4 > 14 ? 14 : o >> 4);
		s.mss = o & 8 ? 1460 : (uint16_t)(1 + take(2) % 65535);
	} else if (v & 64) {
		for (s.sacks = 0; s.sacks < 1 + (v >> 7) * 3; s.sacks++) {
			s.sack[s.sacks].start = c.snd_una + offset();
			s.sack[s.sacks].end = s.sack[s.sacks].start + (v & 1 ? c.mss : offset());
		}
	}
	lrp_tcp_input(&c, now, &s, how & 64 ? &into : NULL);
}

static void sent(const struct lrp_tcp_tx *tx)
{
	uint32_t space = tx->payload_len + !!(tx->flags & LRP_TCP_SYN) +
			 !!(tx->flags & LRP_TCP_FIN),
		 right;

	ENSURE(tx->payload_len == tx->payload[0].iov_len + tx->payload[1].iov_len);
	ENSURE(tx->options_len <= 40 && tx->options_len % 4 == 0);
	ENSURE(!tx->payload_len || tx->mss);
	ENSURE(!tx->payload_len || (uint8_t *)tx->payload[0].iov_base >= c.snd.base);
	ENSURE(!tx->payload[1].iov_len || tx->payload[1].iov_base == c.snd.base);
	if (tx->kind == LRP_TCP_TX_NEW && tx->payload_len)
		ENSURE((int32_t)(tx->seq + space - c.snd_una - c.snd_wnd) <= 0);
	if (!(tx->flags & LRP_TCP_ACK) || tx->flags & LRP_TCP_RST)
		return;
	right = tx->ack + ((uint32_t)tx->window << (tx->flags & LRP_TCP_SYN ? 0 : c.rcv_wscale));
	if (edge_known && !c.fin_received)
		ENSURE((int32_t)(right - edge) > -(1 << c.rcv_wscale));
	if (!edge_known || (int32_t)(right - edge) > 0)
		edge = right;
	edge_known = true;
}

static void output(void)
{
	uint32_t how = take(1), max = how & 1 ? 65536 : how & 2 ? 1 : 10000;
	struct lrp_tcp_tx tx;

	for (uint32_t n = 0; lrp_tcp_output(&c, now, max, &tx); n++) {
		struct lrp_tcp_tx same;

		/* No segment without end: what is due gets less with each. */
		ENSURE(n < 2000);
		if (how & 128 && n > (how >> 4 & 7)) {
			ENSURE(lrp_tcp_local_drop(&c, now) > now);
			check();
			return;
		}
		ENSURE(lrp_tcp_output(&c, now, max, &same) && same.seq == tx.seq &&
		       same.payload_len == tx.payload_len);
		sent(&tx);
		lrp_tcp_sent(&c, now, &tx);
		check();
	}
}

static void resize(void)
{
	static uint8_t spare[4][4 * BUFFER];
	static uint32_t turn;
	struct lrp_tcp_buffer snd = {spare[turn & 1], BUFFER << (take(1) % 3)},
			      rcv = {spare[2 + (turn & 1)], BUFFER << (take(1) % 3)};

	if (!lrp_tcp_resize(&c, &snd, &rcv))
		turn++;
}

static void user(void)
{
	uint32_t how = take(1), len = take(2) % sizeof(bytes);
	struct iovec iov[2] = {{bytes, len / 2}, {bytes + len / 2, len - len / 2}};
	struct iovec rd[2] = {{got, len / 2 % BUFFER}, {got, len % BUFFER}};
	struct lrp_tcp_options o = c.opt;
	struct tcp_info info;
	uint32_t snd, rcv;
	ssize_t n;

	switch (how & 15) {
	case 0:
	case 1:
	case 2:
		n = lrp_tcp_write(&c, now, iov, 2, (how >> 4 & 3) | (how & 64 ? LRP_TCP_EOR : 0));
		ENSURE(n <= (ssize_t)len);
		break;
	case 3:
	case 4:
		n = lrp_tcp_read(&c, now, rd, 2, how >> 4);
		ENSURE(n <= (ssize_t)(2 * BUFFER));
		break;
	case 5:
		lrp_tcp_shutdown(&c, now, how & 16, how & 32);
		break;
	case 6:
		lrp_tcp_close(&c, now);
		break;
	case 7:
		if (how == 7)
			lrp_tcp_abort(&c, now);
		break;
	case 8:
		o.nodelay = how & 16;
		o.cork = how & 32;
		o.keepalive = how & 64;
		o.keep_idle_s = 1 + take(1);
		o.user_timeout_ms = how & 128 ? take(2) : 0;
		o.notsent_low = take(2);
		o.snd_max = 1 + take(2);
		o.rcv_max = 1 + take(2);
		lrp_tcp_options_set(&c, now, &o);
		if (how & 64)
			lrp_tcp_push(&c, now);
		break;
	case 9:
		lrp_tcp_quota(&c, how & 16 ? UINT32_MAX : take(2));
		break;
	case 10:
		resize();
		break;
	case 11:
		lrp_tcp_unreachable(&c, now, c.snd_una + offset(), 111, how & 16);
		break;
	case 12:
		lrp_tcp_too_big(&c, now, c.snd_una + offset(), take(2));
		break;
	case 13:
		lrp_tcp_quickack(&c, how & 16);
		break;
	default:
		lrp_tcp_wanted(&c, &snd, &rcv);
		ENSURE(snd >= c.snd.size && rcv >= c.rcv.size);
		lrp_tcp_info(&c, now, &info);
		lrp_tcp_ready(&c);
		lrp_tcp_error(&c);
		ENSURE(lrp_tcp_readable(&c) <= c.rcv.size);
		ENSURE(c.state == LRP_TCP_CLOSED || lrp_tcp_unsent(&c) <= c.snd.size);
	}
}

static void pass(void)
{
	uint32_t how = take(1);
	int64_t deadline = lrp_tcp_deadline(&c);

	if (how & 128 && deadline != LRP_TCP_NEVER)
		now = deadline > now ? deadline : now;
	else
		now += (int64_t)(how & 127) * (how & 127) * 100000;
	lrp_tcp_timer(&c, now);
	check();
	/* What was due is done. */
	ENSURE(lrp_tcp_deadline(&c) > now);
}

static void begin(void)
{
	static uint8_t snd[BUFFER], rcv[BUFFER];
	static struct lrp_tcp_sent_run run[RUNS];
	struct lrp_tcp_memory m = {{snd, BUFFER}, {rcv, BUFFER}, run, RUNS};
	uint32_t how = take(1), more = take(1);
	struct lrp_tcp_options o;

	lrp_tcp_options_default(&o);
	o.timestamps = how & 1;
	o.sack = how & 2;
	o.wscale = how & 4;
	o.ecn = how & 8;
	o.oob_inline = how & 16;
	o.nodelay = how & 32;
	if (how & 64)
		o.cc = &lrp_tcp_newreno;
	o.mss = more & 1 ? 100 : 0;
	o.rcv_max = more & 2 ? 64 << 10 : 6 << 20;
	now = 1000 * MS;
	edge_known = false;
	lrp_tcp_init(&c, &o, &m);
	check();
	if (how & 128) {
		struct lrp_tcp_opened opened = {.iss = 0xffffff00,
						.irs = 0xfffffff0,
						.peer_mss = (uint16_t)take(2),
						.snd_wscale = more >> 2 & 7,
						.rcv_wscale = more >> 5,
						.wscale = o.wscale,
						.timestamps = o.timestamps,
						.sack = o.sack,
						.ecn = o.ecn,
						.ts_offset = 7,
						.ts_recent = 0xfffffff0,
						.window = (uint16_t)take(2),
						.rcv_window = BUFFER,
						.rtt_ns = (int64_t)take(1) * MS - MS};

		lrp_tcp_accept(&c, now, more & 4 ? AF_INET6 : AF_INET, 1500, &opened);
	} else {
		lrp_tcp_connect(&c, now, more & 4 ? AF_INET6 : AF_INET, 1500, 0xffffff00, 7);
	}
	check();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	at = data;
	end = data + size;
	begin();
	while (at < end) {
		switch (take(1) % 6) {
		case 0:
		case 1:
			segment();
			break;
		case 2:
			user();
			break;
		case 3:
			pass();
			break;
		default:
			output();
		}
		check();
	}
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "packets.h"
#include "tcp.h"
#include "runtime/tcp/cookie.h"
#include "runtime/tcp/isn.h"
#include "runtime/tcp/listen.h"

#define SLOTS	 64
#define MAX_USED 40
#define IRS	 0xffffffffu /* the peer's first byte is number 0 */
#define T0	 (1000 * SECOND)

static const uint8_t secret[32] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
static struct lrp_tcp_half slot[SLOTS];
static struct lrp_tcp_listener l;
static struct lrp_tcp_flow flow;
static struct lrp_tcp_tx reply;
static struct lrp_tcp_opened opened;
static uint32_t iss; /* of the last SYN-ACK */

static int setup(void **state)
{
	static const struct lrp_tcp_options o = {
		.ecn = true, .timestamps = true, .sack = true, .wscale = true, .rcv_max = 6 << 20};

	(void)state;
	memset(slot, 0, sizeof(slot));
	lrp_tcp_listen_init(&l, &o, slot, SLOTS, MAX_USED, secret);
	l.rcv_wscale = 7;
	flow = flow_of(AF_INET, 1);
	return 0;
}

static enum lrp_tcp_listen_result input(int64_t now, struct lrp_tcp_segment s)
{
	enum lrp_tcp_listen_result r;

	memset(&reply, 0xee, sizeof(reply));
	memset(&opened, 0xee, sizeof(opened));
	r = lrp_tcp_listen_input(&l, now, &flow, &s, 0, &reply, &opened);
	if (r == LRP_TCP_LISTEN_REPLY && (reply.flags & LRP_TCP_SYN))
		iss = reply.seq;
	return r;
}

/* A SYN as today's hosts send it. */
static struct lrp_tcp_segment full_syn(void)
{
	struct lrp_tcp_segment s = seg_ts(LRP_TCP_SYN, IRS, 0, 7000, 0);

	s.options |= LRP_TCP_HAS_MSS | LRP_TCP_HAS_WSCALE | LRP_TCP_HAS_SACK_OK;
	s.mss = 1452;
	s.wscale = 9;
	s.window = 64240;
	return s;
}

static void fill(uint32_t from, uint32_t to)
{
	for (uint32_t n = from; n < to; n++) {
		flow = flow_of(n % 2 ? AF_INET : AF_INET6, n);
		assert_int_equal(input(T0, seg(LRP_TCP_SYN, IRS, 0)), LRP_TCP_LISTEN_REPLY);
	}
}

/* ---- handshake ---------------------------------------------------------------- */

static void syn_ack_offers_what_both_have(void **state)
{
	struct lrp_tcp_segment s = full_syn();
	const uint8_t *o;

	(void)state;
	assert_int_equal(input(T0, s), LRP_TCP_LISTEN_REPLY);
	assert_int_equal(reply.flags, LRP_TCP_SYN | LRP_TCP_ACK);
	assert_int_equal(reply.ack, 0);
	assert_int_equal(reply.window, 65535);
	assert_int_equal(reply.payload_len, 0);
	assert_int_equal(reply.ecn, 0);
	assert_int_equal(be32_at(option_of(&reply, KIND_MSS)) >> 16, 1460);
	assert_int_equal(option_of(&reply, KIND_WSCALE)[0], 7);
	assert_non_null(option_of(&reply, KIND_SACK_OK));
	o = option_of(&reply, KIND_TIMESTAMP);
	assert_int_equal(be32_at(o), 1000000 + lrp_tcp_ts_offset(l.secret, &flow));
	assert_int_equal(be32_at(o + 4), 7000);
	assert_int_equal(reply.seq, lrp_tcp_isn(l.secret, &flow, T0));

	/* nothing that the peer did not offer */
	flow = flow_of(AF_INET6, 2);
	assert_int_equal(input(T0, seg(LRP_TCP_SYN, IRS, 0)), LRP_TCP_LISTEN_REPLY);
	assert_int_equal(reply.options_len, 4);
	assert_int_equal(be32_at(option_of(&reply, KIND_MSS)) >> 16, 1440);

	/* SO_RCVBUF of the listener */
	flow = flow_of(AF_INET6, 4);
	l.opt.rcv_max = 5000;
	assert_int_equal(input(T0, seg(LRP_TCP_SYN, IRS, 0)), LRP_TCP_LISTEN_REPLY);
	assert_int_equal(reply.window, 5000);
	l.opt.rcv_max = 6 << 20;

	/* nothing that we do not want */
	flow = flow_of(AF_INET, 3);
	l.opt.timestamps = l.opt.sack = l.opt.wscale = false;
	l.opt.mss = 1000;
	assert_int_equal(input(T0, s), LRP_TCP_LISTEN_REPLY);
	assert_int_equal(reply.options_len, 4);
	assert_int_equal(be32_at(option_of(&reply, KIND_MSS)) >> 16, 1000);
}

static void third_ack_opens(void **state)
{
	(void)state;
	input(T0, full_syn());
	assert_int_equal(input(T0 + SECOND / 10, seg_ts(LRP_TCP_ACK, 0, iss + 1, 7100, 0)),
			 LRP_TCP_LISTEN_OPENED);
	assert_int_equal(opened.iss, iss);
	assert_int_equal(opened.irs, IRS);
	assert_int_equal(opened.peer_mss, 1452);
	assert_int_equal(opened.snd_wscale, 9);
	assert_int_equal(opened.rcv_wscale, 7);
	assert_true(opened.wscale && opened.timestamps && opened.sack);
	assert_false(opened.ecn);
	assert_int_equal(opened.ts_recent, 7000);
	assert_int_equal(opened.ts_offset, lrp_tcp_ts_offset(l.secret, &flow));
	assert_int_equal(opened.window, 64240);
	assert_int_equal(opened.rcv_window, 65535);
	assert_int_equal(opened.rtt_ns, SECOND / 10);
	assert_int_equal(l.table.used, 0);
	assert_int_equal(l.completed, 1);
	/* a duplicate of it has no connection here: the owner looks for one first */
	assert_int_equal(input(T0 + SECOND, seg_ts(LRP_TCP_ACK, 0, iss + 1, 7100, 0)),
			 LRP_TCP_LISTEN_REPLY);
	assert_int_equal(reply.flags, LRP_TCP_RST);
}

/* RFC 9293 3.7.1: without the option the peer's MSS is 536, with IPv6 1220. */
static void defaults_without_options(void **state)
{
	(void)state;
	for (uint32_t n = 1; n <= 2; n++) {
		flow = flow_of(n == 1 ? AF_INET : AF_INET6, n);
		input(T0, seg(LRP_TCP_SYN, IRS, 0));
		assert_int_equal(input(T0, seg(LRP_TCP_ACK, 0, iss + 1)), LRP_TCP_LISTEN_OPENED);
		assert_int_equal(opened.peer_mss, n == 1 ? 536 : 1220);
		assert_false(opened.wscale || opened.timestamps || opened.sack || opened.ecn);
		assert_int_equal(opened.snd_wscale, 0);
		assert_int_equal(opened.rcv_wscale, 0);
	}
}

/* RFC 7323 2.3 */
static void shift_at_most_fourteen(void **state)
{
	struct lrp_tcp_segment s = full_syn();

	(void)state;
	s.wscale = 200;
	input(T0, s);
	input(T0, seg(LRP_TCP_ACK, 0, iss + 1));
	assert_int_equal(opened.snd_wscale, 14);
}

/* RFC 3168 6.1.1: only with both flags, not on an ECN-capable SYN, and if we want it. */
static void ecn_setup(void **state)
{
	static const struct {
		uint8_t flags, ip;
		bool want, ecn;
	} line[] = {
		{LRP_TCP_ECE | LRP_TCP_CWR, 0, true, true},
		{LRP_TCP_ECE, 0, true, false},
		{LRP_TCP_CWR, 0, true, false},
		{LRP_TCP_ECE | LRP_TCP_CWR, 2, true, false},
		{LRP_TCP_ECE | LRP_TCP_CWR, 0, false, false},
	};

	(void)state;
	for (uint32_t i = 0; i < sizeof(line) / sizeof(line[0]); i++) {
		struct lrp_tcp_segment s = seg(LRP_TCP_SYN | line[i].flags, IRS, 0);

		flow = flow_of(AF_INET, i);
		s.ecn = line[i].ip;
		l.opt.ecn = line[i].want;
		input(T0, s);
		assert_int_equal(!!(reply.flags & LRP_TCP_ECE), line[i].ecn);
		assert_false(reply.flags & LRP_TCP_CWR);
		input(T0, seg(LRP_TCP_ACK, 0, iss + 1));
		assert_int_equal(opened.ecn, line[i].ecn);
	}
}

static void iss_of_timewait_is_used(void **state)
{
	struct lrp_tcp_segment s = full_syn();

	(void)state;
	assert_int_equal(lrp_tcp_listen_input(&l, T0, &flow, &s, 4711, &reply, &opened),
			 LRP_TCP_LISTEN_REPLY);
	assert_int_equal(reply.seq, 4711);
}

/* ---- time ----------------------------------------------------------------------- */

/* 1, 2, 4, 8, 16 s; given up 32 s after the last. */
static void syn_ack_backs_off(void **state)
{
	struct lrp_tcp_flow f;
	int64_t now = T0, wait = SECOND;

	(void)state;
	assert_int_equal(lrp_tcp_listen_deadline(&l), LRP_TCP_NEVER);
	input(T0, full_syn());
	for (int i = 0; i < 5; i++, wait *= 2) {
		struct lrp_tcp_tx tx;

		assert_int_equal(lrp_tcp_listen_deadline(&l), now + wait);
		assert_false(lrp_tcp_listen_timer(&l, now + wait - 1, &f, &tx));
		now += wait;
		assert_true(lrp_tcp_listen_timer(&l, now, &f, &tx));
		assert_false(lrp_tcp_listen_timer(&l, now, &f, &reply));
		assert_true(lrp_tcp_flow_equal(&f, &flow));
		assert_int_equal(tx.seq, iss);
		assert_int_equal(tx.ack, 0);
		assert_int_equal(tx.flags, LRP_TCP_SYN | LRP_TCP_ACK);
		assert_int_equal(be32_at(option_of(&tx, KIND_TIMESTAMP)) -
					 lrp_tcp_ts_offset(l.secret, &flow),
				 now / 1000000);
	}
	assert_int_equal(l.table.used, 1);
	assert_false(lrp_tcp_listen_timer(&l, now + wait - 1, &f, &reply));
	assert_int_equal(l.table.used, 1);
	assert_false(lrp_tcp_listen_timer(&l, now + wait, &f, &reply));
	assert_int_equal(l.table.used, 0);
	assert_int_equal(l.timeouts, 1);
	assert_int_equal(lrp_tcp_listen_deadline(&l), LRP_TCP_NEVER);
}

/* All that are due at one time come out, each once, the earliest first. */
static void many_are_due(void **state)
{
	bool seen[MAX_USED] = {false};
	struct lrp_tcp_flow f;
	uint32_t count = 0;

	(void)state;
	for (uint32_t n = 0; n < MAX_USED; n++) {
		flow = flow_of(AF_INET, n);
		input(T0 + n, seg(LRP_TCP_SYN, IRS, 0));
	}
	while (lrp_tcp_listen_timer(&l, T0 + SECOND + MAX_USED, &f, &reply)) {
		uint32_t n = ntohs(f.rport) - 1024u;

		assert_int_equal(n, count);
		assert_false(seen[n]);
		seen[n] = true;
		count++;
	}
	assert_int_equal(count, MAX_USED);
}

/* Karn: with timestamps the echo tells which SYN-ACK was answered; without them nothing does. */
static void rtt_after_a_retransmission(void **state)
{
	struct lrp_tcp_flow f;
	uint32_t offset;

	(void)state;
	input(T0, full_syn());
	offset = lrp_tcp_ts_offset(l.secret, &flow);
	lrp_tcp_listen_timer(&l, T0 + SECOND, &f, &reply);
	input(T0 + SECOND * 11 / 10, seg_ts(LRP_TCP_ACK, 0, iss + 1, 7001, 1001000 + offset));
	assert_int_equal(opened.rtt_ns, SECOND / 10);
	/* an echo from the future or from before the SYN says nothing */
	input(T0, full_syn());
	lrp_tcp_listen_timer(&l, T0 + SECOND, &f, &reply);
	input(T0 + SECOND * 11 / 10, seg_ts(LRP_TCP_ACK, 0, iss + 1, 7001, 1002000 + offset));
	assert_int_equal(opened.rtt_ns, -1);
	input(T0, seg(LRP_TCP_SYN, IRS, 0));
	lrp_tcp_listen_timer(&l, T0 + SECOND, &f, &reply);
	input(T0 + SECOND * 11 / 10, seg(LRP_TCP_ACK, 0, iss + 1));
	assert_int_equal(opened.rtt_ns, -1);
}

/* TCP_DEFER_ACCEPT: data opens at once; silence opens after the time, with one more SYN-ACK. */
static void deferred(void **state)
{
	struct lrp_tcp_segment data = seg(LRP_TCP_ACK | LRP_TCP_PSH, 0, 0);
	struct lrp_tcp_flow f;

	(void)state;
	l.defer_ns = 3 * SECOND;
	input(T0, seg(LRP_TCP_SYN, IRS, 0));
	assert_int_equal(input(T0, seg(LRP_TCP_ACK, 0, iss + 1)), LRP_TCP_LISTEN_DROP);
	assert_false(lrp_tcp_listen_timer(&l, T0 + 2 * SECOND, &f, &reply));
	data.ack = iss + 1;
	data.len = 100;
	assert_int_equal(input(T0 + 2 * SECOND, data), LRP_TCP_LISTEN_OPENED);

	input(T0, seg(LRP_TCP_SYN, IRS, 0));
	assert_int_equal(input(T0, seg(LRP_TCP_ACK, 0, iss + 1)), LRP_TCP_LISTEN_DROP);
	assert_int_equal(input(T0 + SECOND, seg(LRP_TCP_ACK, 0, iss + 1)), LRP_TCP_LISTEN_DROP);
	assert_int_equal(lrp_tcp_listen_deadline(&l), T0 + 3 * SECOND);
	assert_true(lrp_tcp_listen_timer(&l, T0 + 3 * SECOND, &f, &reply));
	assert_int_equal(reply.flags, LRP_TCP_SYN | LRP_TCP_ACK);
	assert_int_equal(input(T0 + 3 * SECOND, seg(LRP_TCP_ACK, 0, iss + 1)),
			 LRP_TCP_LISTEN_OPENED);
	assert_int_equal(opened.rtt_ns, -1);
	/* a FIN is data enough */
	input(T0, seg(LRP_TCP_SYN, IRS, 0));
	assert_int_equal(input(T0, seg(LRP_TCP_ACK | LRP_TCP_FIN, 0, iss + 1)),
			 LRP_TCP_LISTEN_OPENED);
}

/* ---- what else may come ----------------------------------------------------------- */

/* RFC 9293 3.10.7.2 */
static void no_connection(void **state)
{
	(void)state;
	assert_int_equal(input(T0, seg(LRP_TCP_RST, 5, 0)), LRP_TCP_LISTEN_DROP);
	assert_int_equal(input(T0, seg(LRP_TCP_RST | LRP_TCP_SYN, 5, 0)), LRP_TCP_LISTEN_DROP);
	assert_int_equal(input(T0, seg(LRP_TCP_FIN, 5, 0)), LRP_TCP_LISTEN_DROP);
	assert_int_equal(input(T0, seg(0, 5, 0)), LRP_TCP_LISTEN_DROP);
	assert_int_equal(input(T0, seg(LRP_TCP_SYN | LRP_TCP_FIN, 5, 0)), LRP_TCP_LISTEN_DROP);
	assert_int_equal(input(T0, seg(LRP_TCP_ACK, 5, 77)), LRP_TCP_LISTEN_REPLY);
	assert_int_equal(reply.flags, LRP_TCP_RST);
	assert_int_equal(reply.seq, 77);
	assert_int_equal(input(T0, seg(LRP_TCP_SYN | LRP_TCP_ACK, 5, 78)), LRP_TCP_LISTEN_REPLY);
	assert_int_equal(reply.flags, LRP_TCP_RST);
	assert_int_equal(reply.seq, 78);
	assert_int_equal(l.table.used, 0);
}

/* The SYN again is answered with the same SYN-ACK, but not oftener than the rate allows. */
static void duplicate_syns(void **state)
{
	struct lrp_tcp_segment s = full_syn();
	uint32_t first;

	(void)state;
	input(T0, s);
	first = iss;
	s.ts_val += 400;
	assert_int_equal(input(T0 + SECOND * 4 / 10, s), LRP_TCP_LISTEN_REPLY);
	assert_int_equal(reply.seq, first);
	assert_int_equal(be32_at(option_of(&reply, KIND_TIMESTAMP) + 4), 7400);
	assert_int_equal(input(T0 + SECOND * 5 / 10, s), LRP_TCP_LISTEN_DROP);
	assert_int_equal(input(T0 + SECOND * 9 / 10, s), LRP_TCP_LISTEN_REPLY);
	assert_int_equal(l.table.used, 1);
	assert_int_equal(l.syns, 1);
	/* the time of the retransmission stands */
	assert_int_equal(lrp_tcp_listen_deadline(&l), T0 + SECOND);
	/* no RTT sample without an echo */
	assert_int_equal(input(T0 + SECOND, seg(LRP_TCP_ACK, 0, first + 1)), LRP_TCP_LISTEN_OPENED);
	assert_int_equal(opened.rtt_ns, -1);
}

/* A SYN with another number: a challenge, which a host that has started afresh answers with an
 * exact reset (RFC 9293 3.5.1). */
static void other_syn_is_challenged(void **state)
{
	static const uint32_t other[] = {1, 2, 65535, 65537, 0x70000000, 0x90000000, IRS};

	(void)state;
	for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++) {
		setup(NULL);
		input(T0, full_syn());
		assert_int_equal(input(T0, seg(LRP_TCP_SYN, IRS + other[i], 0)),
				 LRP_TCP_LISTEN_REPLY);
		assert_int_equal(reply.flags, LRP_TCP_ACK);
		assert_int_equal(reply.seq, iss + 1);
		assert_int_equal(reply.ack, 0);
		assert_int_equal(reply.window, 65535 >> 7);
		assert_int_equal(l.table.used, 1);
		assert_int_equal(input(T0, seg(LRP_TCP_RST, 0, 0)), LRP_TCP_LISTEN_DROP);
		assert_int_equal(l.table.used, 0);
	}
}

/* RFC 5961 3.2 */
static void resets(void **state)
{
	static const struct {
		uint32_t seq;
		enum lrp_tcp_listen_result result;
		uint32_t left;
	} line[] = {
		{0, LRP_TCP_LISTEN_DROP, 0},	  {1, LRP_TCP_LISTEN_REPLY, 1},
		{65534, LRP_TCP_LISTEN_REPLY, 1}, {65535, LRP_TCP_LISTEN_DROP, 1},
		{IRS, LRP_TCP_LISTEN_DROP, 1},	  {0x80000000, LRP_TCP_LISTEN_DROP, 1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(line) / sizeof(line[0]); i++) {
		for (int ack = 0; ack < 2; ack++) {
			setup(NULL);
			input(T0, full_syn());
			assert_int_equal(input(T0, seg(LRP_TCP_RST | (ack ? LRP_TCP_ACK : 0),
						       line[i].seq, iss + 1)),
					 line[i].result);
			assert_int_equal(l.table.used, line[i].left);
			if (line[i].result == LRP_TCP_LISTEN_REPLY)
				assert_int_equal(reply.flags, LRP_TCP_ACK);
		}
	}
}

static void third_ack_must_be_right(void **state)
{
	(void)state;
	input(T0, full_syn());
	/* of something that we did not send: a reset, and the entry stays (RFC 9293 3.10.7.4) */
	assert_int_equal(input(T0, seg(LRP_TCP_ACK, 0, iss)), LRP_TCP_LISTEN_REPLY);
	assert_int_equal(reply.flags, LRP_TCP_RST);
	assert_int_equal(reply.seq, iss);
	assert_int_equal(input(T0, seg(LRP_TCP_ACK, 0, iss + 2)), LRP_TCP_LISTEN_REPLY);
	assert_int_equal(reply.flags, LRP_TCP_RST);
	/* out of window: an ACK */
	assert_int_equal(input(T0, seg(LRP_TCP_ACK, 65535, iss + 1)), LRP_TCP_LISTEN_REPLY);
	assert_int_equal(reply.flags, LRP_TCP_ACK);
	assert_int_equal(input(T0 + SECOND, seg(LRP_TCP_ACK, IRS, iss + 1)), LRP_TCP_LISTEN_REPLY);
	assert_int_equal(reply.flags, LRP_TCP_ACK);
	/* rate limit */
	assert_int_equal(input(T0 + SECOND, seg(LRP_TCP_ACK, IRS, iss + 1)), LRP_TCP_LISTEN_DROP);
	/* PAWS: older than the SYN */
	assert_int_equal(input(T0 + 2 * SECOND, seg_ts(LRP_TCP_ACK, 0, iss + 1, 6999, 0)),
			 LRP_TCP_LISTEN_REPLY);
	assert_int_equal(reply.flags, LRP_TCP_ACK);
	assert_int_equal(input(T0, seg(0, 0, 0)), LRP_TCP_LISTEN_DROP);
	assert_int_equal(l.table.used, 1);
	/* the first segment was lost: what comes after it opens as well */
	assert_int_equal(input(T0, seg_ts(LRP_TCP_ACK, 1000, iss + 1, 7000, 0)),
			 LRP_TCP_LISTEN_OPENED);
}

static void icmp_errors(void **state)
{
	(void)state;
	input(T0, full_syn());
	lrp_tcp_listen_unreachable(&l, &flow, iss + 1, true);
	lrp_tcp_listen_unreachable(&l, &flow, iss - 1, true);
	lrp_tcp_listen_unreachable(&l, &flow, iss, false);
	assert_int_equal(l.table.used, 1);
	lrp_tcp_listen_unreachable(&l, &flow, iss, true);
	assert_int_equal(l.table.used, 0);
	lrp_tcp_listen_unreachable(&l, &flow, iss, true);
}

static void closing_resets_all(void **state)
{
	struct lrp_tcp_flow f;
	uint32_t count = 0;

	(void)state;
	fill(0, 10);
	while (lrp_tcp_listen_close(&l, &f, &reply)) {
		assert_int_equal(reply.flags, LRP_TCP_RST | LRP_TCP_ACK);
		assert_int_equal(reply.seq, lrp_tcp_isn(l.secret, &f, T0) + 1);
		assert_int_equal(reply.ack, 0);
		count++;
	}
	assert_int_equal(count, 10);
	assert_int_equal(l.table.used, 0);
}

/* ---- the accept queue is full ----------------------------------------------------- */

static void full_is_silent(void **state)
{
	struct lrp_tcp_flow f;

	(void)state;
	input(T0, full_syn());
	l.full = true;
	/* no SYN is answered, new or old, and no cookie is sent */
	assert_int_equal(input(T0 + SECOND, full_syn()), LRP_TCP_LISTEN_DROP);
	flow = flow_of(AF_INET, 2);
	assert_int_equal(input(T0, full_syn()), LRP_TCP_LISTEN_DROP);
	assert_int_equal(l.overflows, 1);
	assert_int_equal(l.cookies_sent, 0);
	/* a third ACK leaves its entry as it is */
	flow = flow_of(AF_INET, 1);
	assert_int_equal(input(T0, seg(LRP_TCP_ACK, 0, iss + 1)), LRP_TCP_LISTEN_DROP);
	assert_int_equal(l.table.used, 1);
	assert_true(lrp_tcp_listen_timer(&l, T0 + SECOND, &f, &reply));
	/* resets still count */
	l.full = false;
	assert_int_equal(input(T0, seg(LRP_TCP_ACK, 0, iss + 1)), LRP_TCP_LISTEN_OPENED);
}

/* No new SYN is answered, everything else is as it was. */
static void gated(void **state)
{
	(void)state;
	input(T0, full_syn());
	l.gated = true;
	flow = flow_of(AF_INET, 2);
	assert_int_equal(input(T0, full_syn()), LRP_TCP_LISTEN_DROP);
	assert_int_equal(l.cookies_sent, 0);
	flow = flow_of(AF_INET, 1);
	assert_int_equal(input(T0, seg(LRP_TCP_ACK, 0, iss + 1)), LRP_TCP_LISTEN_OPENED);
}

/* ---- cookies ------------------------------------------------------------------------ */

static void cookies_when_full(void **state)
{
	(void)state;
	fill(100, 100 + MAX_USED);
	flow = flow_of(AF_INET, 1);
	assert_int_equal(input(T0, full_syn()), LRP_TCP_LISTEN_REPLY);
	assert_int_equal(l.table.used, MAX_USED);
	assert_int_equal(l.cookies_sent, 1);
	assert_int_equal(reply.flags, LRP_TCP_SYN | LRP_TCP_ACK);
	assert_int_equal(reply.ack, 0);
	assert_non_null(option_of(&reply, KIND_SACK_OK));
	assert_int_equal(option_of(&reply, KIND_WSCALE)[0], 7);
	/* off: nothing */
	l.cookies = false;
	flow = flow_of(AF_INET, 2);
	assert_int_equal(input(T0, full_syn()), LRP_TCP_LISTEN_DROP);
	assert_int_equal(l.overflows, 2);
}

/* The third ACK brings back all that the SYN said, for every combination of options. */
static void cookie_with_timestamps(void **state)
{
	(void)state;
	fill(100, 100 + MAX_USED);
	for (uint32_t i = 0; i < 64; i++) {
		struct lrp_tcp_segment s = full_syn();
		int64_t now = T0 + i * 1234567;
		uint32_t ts, clock = (uint32_t)(now / 1000000);

		flow = flow_of(i & 1 ? AF_INET : AF_INET6, i);
		s.options = LRP_TCP_HAS_TIMESTAMP | LRP_TCP_HAS_MSS |
			    (i & 2 ? LRP_TCP_HAS_SACK_OK : 0) | (i & 4 ? LRP_TCP_HAS_WSCALE : 0);
		s.flags |= i & 8 ? LRP_TCP_ECE | LRP_TCP_CWR : 0;
		s.wscale = (uint8_t)(i % 15);
		assert_int_equal(input(now, s), LRP_TCP_LISTEN_REPLY);
		assert_int_equal(!!(reply.flags & LRP_TCP_ECE), !!(i & 8));
		ts = be32_at(option_of(&reply, KIND_TIMESTAMP));
		/* not ahead of the clock, nor far behind it */
		assert_in_range(clock - (ts - lrp_tcp_ts_offset(l.secret, &flow)), 0, 127);
		assert_int_equal(input(now + SECOND, seg_ts(LRP_TCP_ACK, 0, iss + 1, 7900, ts)),
				 LRP_TCP_LISTEN_OPENED);
		assert_int_equal(opened.iss, iss);
		assert_int_equal(opened.irs, IRS);
		assert_int_equal(opened.peer_mss, 1452);
		assert_true(opened.timestamps);
		assert_int_equal(opened.sack, !!(i & 2));
		assert_int_equal(opened.wscale, !!(i & 4));
		assert_int_equal(opened.snd_wscale, i & 4 ? i % 15 : 0);
		assert_int_equal(opened.rcv_wscale, i & 4 ? 7 : 0);
		assert_int_equal(opened.ecn, !!(i & 8));
		assert_int_equal(opened.ts_recent, 7900);
		assert_int_equal(opened.rtt_ns, -1);
	}
	assert_int_equal(opened.rcv_window, 65535);
	assert_int_equal(l.cookies_ok, 64);
}

/* Without timestamps there is nowhere to keep options: none are offered. */
static void cookie_without_timestamps(void **state)
{
	struct lrp_tcp_segment s = full_syn();

	(void)state;
	fill(100, 100 + MAX_USED);
	flow = flow_of(AF_INET, 1);
	s.options &= (uint8_t)~LRP_TCP_HAS_TIMESTAMP;
	s.flags |= LRP_TCP_ECE | LRP_TCP_CWR;
	input(T0, s);
	assert_int_equal(reply.options_len, 4);
	assert_int_equal(reply.flags, LRP_TCP_SYN | LRP_TCP_ACK);
	assert_int_equal(input(T0, seg(LRP_TCP_ACK, 0, iss + 1)), LRP_TCP_LISTEN_OPENED);
	assert_false(opened.wscale || opened.timestamps || opened.sack || opened.ecn);
	assert_int_equal(opened.peer_mss, 1452);
}

/* The MSS is rounded down, never up. */
static void cookie_mss(void **state)
{
	uint16_t mss;
	uint32_t c;

	(void)state;
	for (uint32_t want = 536; want <= 65535; want += want < 1500 ? 1 : 111) {
		assert_true(lrp_tcp_cookie(l.secret, &flow, IRS, (uint16_t)want, T0, &c));
		assert_true(lrp_tcp_cookie_check(l.secret, &flow, IRS, c, T0, &mss));
		assert_in_range(mss, 536, want);
		if (want == 536 || want == 1220 || want == 1440 || want == 1460 || want == 8940)
			assert_int_equal(mss, want);
	}
	assert_false(lrp_tcp_cookie(l.secret, &flow, IRS, 535, T0, &c));
}

/* Good for its minute and the next. */
static void cookie_ages(void **state)
{
	uint16_t mss;
	uint32_t c;

	(void)state;
	/* T0 is 40 s into a minute; minutes run on beyond the eight bits that a cookie has */
	for (int64_t t = T0; t < T0 + 300 * 60 * SECOND; t += 60 * SECOND) {
		lrp_tcp_cookie(l.secret, &flow, IRS, 1460, t, &c);
		assert_true(lrp_tcp_cookie_check(l.secret, &flow, IRS, c, t + 79 * SECOND, &mss));
		assert_false(lrp_tcp_cookie_check(l.secret, &flow, IRS, c, t + 80 * SECOND, &mss));
		assert_false(lrp_tcp_cookie_check(l.secret, &flow, IRS, c, t - 41 * SECOND, &mss));
	}
	/* and only while the listener has sent any lately */
	fill(100, 100 + MAX_USED);
	flow = flow_of(AF_INET, 1);
	input(T0, full_syn());
	l.cookie_sent_ns = LRP_TCP_NEVER;
	assert_int_equal(input(T0, seg(LRP_TCP_ACK, 0, iss + 1)), LRP_TCP_LISTEN_REPLY);
	assert_int_equal(reply.flags, LRP_TCP_RST);
	l.cookie_sent_ns = T0 - 121 * SECOND;
	assert_int_equal(input(T0, seg(LRP_TCP_ACK, 0, iss + 1)), LRP_TCP_LISTEN_REPLY);
	l.cookie_sent_ns = T0;
	l.full = true;
	assert_int_equal(input(T0, seg(LRP_TCP_ACK, 0, iss + 1)), LRP_TCP_LISTEN_DROP);
	l.full = false;
	assert_int_equal(input(T0, seg(LRP_TCP_ACK, 0, iss + 1)), LRP_TCP_LISTEN_OPENED);
}

/* A cookie holds for one flow, one ISN of the peer, one secret; guesses fail. */
static void cookie_forgery(void **state)
{
	static const uint64_t other[2] = {1, 1};
	struct lrp_tcp_flow g = flow_of(AF_INET, 2);
	uint32_t c, let_in = 0;
	uint16_t mss;

	(void)state;
	lrp_tcp_cookie(l.secret, &flow, IRS, 1460, T0, &c);
	assert_false(lrp_tcp_cookie_check(l.secret, &g, IRS, c, T0, &mss));
	assert_false(lrp_tcp_cookie_check(other, &flow, IRS, c, T0, &mss));
	assert_false(lrp_tcp_cookie_check(l.secret, &flow, IRS + 100, c, T0, &mss));
	for (uint32_t i = 0; i < 1000000; i++)
		let_in += lrp_tcp_cookie_check(l.secret, &flow, IRS, rnd(), T0, &mss);
	assert_in_range(let_in, 0, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(syn_ack_offers_what_both_have, setup),
		cmocka_unit_test_setup(third_ack_opens, setup),
		cmocka_unit_test_setup(defaults_without_options, setup),
		cmocka_unit_test_setup(shift_at_most_fourteen, setup),
		cmocka_unit_test_setup(ecn_setup, setup),
		cmocka_unit_test_setup(iss_of_timewait_is_used, setup),
		cmocka_unit_test_setup(syn_ack_backs_off, setup),
		cmocka_unit_test_setup(many_are_due, setup),
		cmocka_unit_test_setup(rtt_after_a_retransmission, setup),
		cmocka_unit_test_setup(deferred, setup),
		cmocka_unit_test_setup(no_connection, setup),
		cmocka_unit_test_setup(duplicate_syns, setup),
		cmocka_unit_test_setup(other_syn_is_challenged, setup),
		cmocka_unit_test_setup(resets, setup),
		cmocka_unit_test_setup(third_ack_must_be_right, setup),
		cmocka_unit_test_setup(icmp_errors, setup),
		cmocka_unit_test_setup(closing_resets_all, setup),
		cmocka_unit_test_setup(full_is_silent, setup),
		cmocka_unit_test_setup(gated, setup),
		cmocka_unit_test_setup(cookies_when_full, setup),
		cmocka_unit_test_setup(cookie_with_timestamps, setup),
		cmocka_unit_test_setup(cookie_without_timestamps, setup),
		cmocka_unit_test_setup(cookie_mss, setup),
		cmocka_unit_test_setup(cookie_ages, setup),
		cmocka_unit_test_setup(cookie_forgery, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

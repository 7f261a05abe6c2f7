/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "connection.h"

#define SYN   LRP_TCP_SYN
#define ACK   LRP_TCP_ACK
#define FIN   LRP_TCP_FIN
#define RST   LRP_TCP_RST
#define STALE LRP_DROPPED(LRP_DROP_STALE)

static void start(void)
{
	fresh();
	lrp_tcp_connect(&conn, now, AF_INET, MTU, ISS, TS_OFFSET);
	expect(SYN, 0, 0);
	assert_int_equal(conn.state, LRP_TCP_SYN_SENT);
}

/* The options of a SYN, and what is agreed if the peer knows them all or none (RFC 7323 1.3, 2.2;
 * RFC 2018 2). */
static void agreement(void **state)
{
	const uint8_t all = LRP_TCP_HAS_WSCALE | LRP_TCP_HAS_SACK_OK | LRP_TCP_HAS_TIMESTAMP;

	(void)state;
	lrp_tcp_options_default(&opt);
	start();
	assert_int_equal(tx.options_len, 4 + 4 + 12 + 4);
	assert_memory_equal(tx.options, "\2\4\3\xe8", 4);
	assert_int_equal(tx.window, 0xffff);
	expect_nothing();
	open_with(all, 5, 1000, 0);
	assert_true(conn.timestamps && conn.sack && conn.wscale_ok);
	assert_int_equal(conn.snd_wscale, 5);
	assert_int_equal(conn.rcv_wscale, 7); /* for 6 MB */
	assert_int_equal(conn.mss, MSS - 12);
	assert_int_equal(conn.snd_wnd, 1000); /* that of a SYN is not scaled */
	open_with(0, 5, 1000, 0);
	assert_false(conn.timestamps || conn.sack || conn.wscale_ok);
	assert_int_equal(conn.snd_wscale, 0);
	assert_int_equal(conn.rcv_wscale, 0);
	assert_int_equal(conn.mss, MSS);
	/* offered by the peer, not by us */
	opt.timestamps = opt.sack = opt.wscale = false;
	open_with(all, 5, 1000, 0);
	assert_false(conn.timestamps || conn.sack || conn.wscale_ok || conn.snd_wscale);
}

/* RFC 9293 3.7.1: the peer's MSS, 536 without the option; TCP_MAXSEG; the path. */
static void segment_size(void **state)
{
	struct lrp_tcp_segment s;

	(void)state;
	plain();
	start();
	assert_int_equal(in(SYN | ACK, 0, 1, 0), 0);
	assert_int_equal(conn.mss, 536);
	opt.mss = 700;
	open_with(0, 0, 1000, 0);
	assert_int_equal(conn.mss, 700);
	opt.mss = 0;
	start();
	s = seg(SYN | ACK, 0, 1, 0);
	s.options = LRP_TCP_HAS_MSS;
	s.mss = 1; /* an attack */
	assert_int_equal(input(&s), 0);
	assert_int_equal(conn.mss, 48);
}

/* RFC 9293 3.10.7.3: an ACK of what was not sent is refused, and a reset believed only with the
 * right one. */
static void syn_sent(void **state)
{
	(void)state;
	plain();
	for (uint32_t ack = 0; ack < 4; ack += ack ? 2 : 2) {
		start();
		assert_int_equal(in(ACK, 0, ack, 0), STALE);
		expect(RST, ack, 0);
		assert_int_equal(in(SYN | ACK, 0, ack, 0), STALE);
		expect(RST, ack, 0);
		assert_int_equal(in(RST | ACK, 0, ack, 0), STALE);
		expect_nothing();
		assert_int_equal(conn.state, LRP_TCP_SYN_SENT);
	}
	assert_int_equal(in(RST, 0, 1, 0), STALE);
	assert_int_equal(in(ACK, 0, 1, 0), STALE);
	assert_int_equal(in(FIN, 0, 1, 0), STALE);
	assert_int_equal(conn.state, LRP_TCP_SYN_SENT);
	assert_int_equal(in(RST | ACK, 0, 1, 0), 0);
	assert_int_equal(conn.state, LRP_TCP_CLOSED);
	assert_int_equal(lrp_tcp_error(&conn), ECONNREFUSED);
	expect_nothing();
}

/* RFC 6298 5.5, 5.7: 1, 2, 4, ... seconds, then ETIMEDOUT. */
static void syn_again(void **state)
{
	int64_t wait = S;

	(void)state;
	plain();
	opt.syn_retries = 3;
	start();
	for (uint32_t i = 0; i < 3; i++, wait *= 2) {
		assert_in_range(wait_output(100 * S), wait - MS, wait + MS);
		expect(SYN, 0, 0);
	}
	wait_until(now + 100 * S);
	assert_int_equal(conn.state, LRP_TCP_CLOSED);
	assert_int_equal(lrp_tcp_error(&conn), ETIMEDOUT);
	assert_int_equal(lrp_tcp_deadline(&conn), LRP_TCP_NEVER);
}

/* As Linux's tcp_syn_linear_timeouts: so many more that do not double, before those that do. */
static void syn_linear(void **state)
{
	static const int64_t wait_s[] = {1, 1, 1, 1, 1, 2, 4};

	(void)state;
	plain();
	opt.syn_retries = 3;
	opt.syn_linear = 4;
	start();
	for (uint32_t i = 0; i < sizeof(wait_s) / sizeof(wait_s[0]); i++) {
		assert_in_range(wait_output(100 * S), wait_s[i] * S - MS, wait_s[i] * S + MS);
		expect(SYN, 0, 0);
	}
	wait_until(now + 8 * S - 10 * MS);
	assert_int_equal(conn.state, LRP_TCP_SYN_SENT);
	wait_until(now + 20 * MS);
	assert_int_equal(conn.state, LRP_TCP_CLOSED);
	assert_int_equal(lrp_tcp_error(&conn), ETIMEDOUT);
}

/* RFC 5681 3.1: a path that loses SYNs gets no initial burst. */
static void slow_after_loss(void **state)
{
	(void)state;
	plain();
	for (uint32_t lost = 0; lost < 3; lost++) {
		start();
		for (uint32_t i = 0; i < lost; i++) {
			wait_output(10 * S);
			expect(SYN, 0, 0);
		}
		in(SYN | ACK, 0, 1, 0);
		assert_int_equal(conn.cc.cwnd, lost < 2 ? 10 * 536 : 536);
	}
}

/* Whatever ICMP says ends it at once, as in Linux, unless it speaks of what was never sent (RFC
 * 5927). */
static void unreachable(void **state)
{
	(void)state;
	plain();
	start();
	lrp_tcp_unreachable(&conn, now, ISS, EHOSTUNREACH, false);
	assert_int_equal(conn.state, LRP_TCP_CLOSED);
	assert_int_equal(lrp_tcp_error(&conn), EHOSTUNREACH);
	start();
	lrp_tcp_unreachable(&conn, now, ISS + 1, ECONNREFUSED, true);
	lrp_tcp_unreachable(&conn, now, ISS - 1, ECONNREFUSED, true);
	assert_int_equal(conn.state, LRP_TCP_SYN_SENT);
	lrp_tcp_unreachable(&conn, now, ISS, ECONNREFUSED, true);
	assert_int_equal(conn.state, LRP_TCP_CLOSED);
	assert_int_equal(lrp_tcp_error(&conn), ECONNREFUSED);
	open_plain();
	write_bytes(10);
	expect(ACK, 1, 10);
	lrp_tcp_unreachable(&conn, now, ISS + 1, ECONNREFUSED, true);
	assert_int_equal(conn.state, LRP_TCP_ESTABLISHED);
	assert_int_equal(conn.soft_error, ECONNREFUSED);
}

/* RFC 9293 3.5, figure 8, in both forms: with the peer's SYN-ACK, and with its ACK only. */
static void at_once(void **state)
{
	(void)state;
	lrp_tcp_options_default(&opt);
	opt.timestamps = false;
	for (int form = 0; form < 2; form++) {
		struct lrp_tcp_segment s;

		start();
		s = seg(SYN, 0, 0, 0);
		s.options = LRP_TCP_HAS_MSS | LRP_TCP_HAS_WSCALE | LRP_TCP_HAS_SACK_OK;
		s.mss = MSS;
		s.wscale = 3;
		assert_int_equal(input(&s), 0);
		assert_int_equal(conn.state, LRP_TCP_SYN_RCVD);
		assert_int_equal(write_bytes(1), -EAGAIN);
		expect(SYN | ACK, 0, 0);
		assert_int_equal(tx.ack, IRS + 1);
		expect_nothing();
		/* lost: the timer of the SYN runs on */
		wait_output(10 * S);
		expect(SYN | ACK, 0, 0);
		s.flags = form ? ACK : SYN | ACK;
		s.seq += form != 0;
		s.ack = ISS + 1;
		assert_int_equal(input(&s), 0);
		assert_int_equal(conn.state, LRP_TCP_ESTABLISHED);
		assert_int_equal(conn.snd_wscale, 3);
		if (!form)
			expect_ack(1);
		expect_nothing();
		assert_int_equal(write_bytes(10), 10);
		expect(ACK, 1, 10);
	}
}

/* An ACK of something else while both open at once is refused (RFC 9293 3.10.7.4, fifth). */
static void at_once_refused(void **state)
{
	(void)state;
	plain();
	start();
	in(SYN, 0, 0, 0);
	expect(SYN | ACK, 0, 0);
	assert_int_equal(in(ACK, 1, 2, 0), STALE);
	expect(RST, 2, 0);
	assert_int_equal(conn.state, LRP_TCP_SYN_RCVD);
	assert_int_equal(in(RST, 1, 0, 0), 0);
	assert_int_equal(lrp_tcp_error(&conn), ECONNREFUSED);
}

/* Data and FIN that come with the SYN-ACK count. */
static void data_with_syn(void **state)
{
	(void)state;
	plain();
	start();
	assert_int_equal(in(SYN | ACK | FIN, 0, 1, 0), 0);
	assert_int_equal(conn.state, LRP_TCP_CLOSE_WAIT);
	expect_ack(2);
}

static void passive(void **state)
{
	struct lrp_tcp_opened o = {.iss = ISS,
				   .irs = IRS,
				   .peer_mss = MSS,
				   .snd_wscale = 4,
				   .rcv_wscale = 2,
				   .wscale = true,
				   .timestamps = true,
				   .sack = true,
				   .ts_offset = TS_OFFSET,
				   .ts_recent = 0xfffffff0,
				   .window = 500,
				   .rcv_window = 32768,
				   .rtt_ns = 7 * MS};

	(void)state;
	plain();
	fresh();
	lrp_tcp_accept(&conn, now, AF_INET, MTU, &o);
	holds();
	assert_int_equal(conn.state, LRP_TCP_ESTABLISHED);
	assert_int_equal(conn.mss, MSS - 12);
	assert_int_equal(conn.recovery.rtt.srtt_ns, 7 * MS);
	expect_nothing();
	peer_has_ts = true;
	assert_int_equal(in_window(ACK, 1, 1, 100, 100), 0);
	assert_int_equal(conn.snd_wnd, 1600);
	assert_int_equal(read_io(1000, 0), 100);
	assert_memory_equal(got, bytes + 1, 100);
	write_bytes(5);
	expect(ACK, 1, 5);
	assert_int_equal(tx.ack, IRS + 101);
}

/* RFC 3168 6.1.1, and a SYN that was lost is tried without (6.1.1.1). */
static void ecn(void **state)
{
	const uint8_t ece = LRP_TCP_ECE, cwr = LRP_TCP_CWR;

	(void)state;
	plain();
	opt.ecn = true;
	fresh();
	lrp_tcp_connect(&conn, now, AF_INET, MTU, ISS, TS_OFFSET);
	expect(SYN | ece | cwr, 0, 0);
	wait_output(5 * S);
	expect(SYN, 0, 0);
	open_with(0, 0, 0xffff, ece);
	assert_true(conn.ecn);
	open_with(0, 0, 0xffff, 0);
	assert_false(conn.ecn);
	open_with(0, 0, 0xffff, ece | cwr); /* reflected by something that does not understand */
	assert_false(conn.ecn);
	opt.ecn = false;
	open_with(0, 0, 0xffff, ece);
	assert_false(conn.ecn);
}

/* RFC 9293 3.10.4: nothing was opened yet, nothing is left. */
static void closed_early(void **state)
{
	(void)state;
	plain();
	start();
	lrp_tcp_close(&conn, now);
	assert_int_equal(conn.state, LRP_TCP_CLOSED);
	expect_nothing();
	start();
	lrp_tcp_shutdown(&conn, now, false, true);
	assert_int_equal(conn.state, LRP_TCP_CLOSED);
	/* in SYN_RCVD a FIN follows */
	start();
	in(SYN, 0, 0, 0);
	expect(SYN | ACK, 0, 0);
	lrp_tcp_close(&conn, now);
	assert_int_equal(conn.state, LRP_TCP_FIN_WAIT_1);
	expect_nothing();
	wait_output(5 * S);
	expect(SYN | ACK, 0, 0);
	assert_int_equal(in(ACK, 1, 1, 0), 0);
	expect(FIN | ACK, 1, 0);
	assert_int_equal(in(ACK, 1, 2, 0), 0);
	assert_int_equal(conn.state, LRP_TCP_FIN_WAIT_2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(agreement),	 cmocka_unit_test(segment_size),
		cmocka_unit_test(syn_sent),	 cmocka_unit_test(syn_again),
		cmocka_unit_test(syn_sent),	 cmocka_unit_test(syn_linear),
		cmocka_unit_test(unreachable),	 cmocka_unit_test(slow_after_loss),
		cmocka_unit_test(at_once),	 cmocka_unit_test(at_once_refused),
		cmocka_unit_test(data_with_syn), cmocka_unit_test(passive),
		cmocka_unit_test(ecn),		 cmocka_unit_test(closed_early),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

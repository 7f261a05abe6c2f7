/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What time brings. */
#include "connection.h"

#define ACK LRP_TCP_ACK
#define FIN LRP_TCP_FIN
#define RST LRP_TCP_RST

/* RFC 9293 3.8.6.1: a closed window is asked about, less and less often, and never given up while
 * it answers. */
static void closed_window(void **state)
{
	int64_t wait = S; /* no RTT sample counts: it is below the least RTO */

	(void)state;
	open_plain();
	in_window(ACK, 1, 1, 0, 0);
	write_bytes(1000);
	expect_nothing();
	wait = conn.recovery.rtt.rto_ns < 200 * MS ? 200 * MS : conn.recovery.rtt.rto_ns;
	for (int i = 0; i < 30; i++, wait = wait * 2 < 120 * S ? wait * 2 : 120 * S) {
		assert_int_equal(wait_output(200 * S), wait);
		expect(ACK, 0, 0); /* what it has had already */
		expect_nothing();
		in_window(ACK, 1, 1, 0, 0);
		expect_nothing();
	}
	assert_int_equal(conn.state, LRP_TCP_ESTABLISHED);
	in_window(ACK, 1, 1, 0, 2000);
	expect(ACK, 1, 1000);
	assert_int_equal(conn.probe_ns, LRP_TCP_NEVER);
	in_window(ACK, 1, 1001, 0, 0);
	write_bytes(10);
	assert_in_range(wait_output(200 * S), 200 * MS, S); /* the backoff starts over */
}

static void closed_window_unanswered(void **state)
{
	(void)state;
	plain();
	opt.retries = 4;
	open_with(0, 0, 0xffff, 0);
	in_window(ACK, 1, 1, 0, 0);
	write_bytes(1000);
	for (int i = 0; i < 4; i++) {
		wait_output(200 * S);
		expect(ACK, 0, 0);
	}
	wait_until(now + 200 * S);
	assert_int_equal(conn.state, LRP_TCP_CLOSED);
	assert_int_equal(lrp_tcp_error(&conn), ETIMEDOUT);
}

/* An orphan does not wait for a closed window for ever. */
static void closed_window_of_an_orphan(void **state)
{
	int n;

	(void)state;
	open_plain();
	in_window(ACK, 1, 1, 0, 0);
	write_bytes(1000);
	lrp_tcp_close(&conn, now);
	for (n = 0; n < 100 && conn.state != LRP_TCP_CLOSED; n++) {
		wait_output(200 * S);
		if (out())
			in_window(ACK, 1, 1, 0, 0);
	}
	assert_in_range(n, 8, 10);
}

/* RFC 9293 3.8.4. */
static void keepalive(void **state)
{
	(void)state;
	plain();
	opt.keepalive = true;
	opt.keep_idle_s = 100;
	opt.keep_interval_s = 10;
	opt.keep_count = 3;
	open_with(0, 0, 0xffff, 0);
	assert_int_equal(wait_output(1000 * S), 100 * S);
	expect(ACK, 0, 0);
	now += MS;
	in(ACK, 1, 1, 0); /* it lives */
	assert_in_range(wait_output(1000 * S), 99 * S, 100 * S);
	for (int i = 0; i < 3; i++) {
		expect(ACK, 0, 0);
		expect_nothing();
		if (i < 2)
			assert_int_equal(wait_output(1000 * S), 10 * S);
	}
	assert_int_equal(wait_output(1000 * S), 10 * S);
	assert_int_equal(conn.state, LRP_TCP_CLOSED);
	assert_int_equal(lrp_tcp_error(&conn), ETIMEDOUT);
	expect(RST | ACK, 1, 0);
	/* data that is out is question enough */
	open_with(0, 0, 0xffff, 0);
	now += 99 * S;
	write_bytes(10);
	expect(ACK, 1, 10);
	while (conn.keep_ns < now + 100 * S) {
		wait_output(1000 * S);
		if (out())
			assert_int_equal(tx.payload_len, 10);
	}
	/* off, and on again */
	open_plain();
	assert_int_equal(lrp_tcp_deadline(&conn), LRP_TCP_NEVER);
	opt.keepalive = true;
	opt.keep_idle_s = 7;
	lrp_tcp_options_set(&conn, now, &opt);
	assert_int_equal(lrp_tcp_deadline(&conn), now + 7 * S);
	opt.keepalive = false;
	lrp_tcp_options_set(&conn, now, &opt);
	assert_int_equal(lrp_tcp_deadline(&conn), LRP_TCP_NEVER);
}

/* TCP_USER_TIMEOUT (RFC 5482): data not acknowledged for so long, sent or not. */
static void user_timeout(void **state)
{
	(void)state;
	for (int closed = 0; closed < 2; closed++) {
		int64_t start;

		plain();
		opt.user_timeout_ms = 5000;
		open_with(0, 0, 0xffff, 0);
		assert_int_equal(lrp_tcp_deadline(&conn), LRP_TCP_NEVER);
		in_window(ACK, 1, 1, 0, closed ? 0 : 1000);
		now += 10 * S; /* idle time does not count */
		write_bytes(100);
		start = now;
		while (conn.state != LRP_TCP_CLOSED) {
			if (out() && closed)
				in_window(ACK, 1, 1, 0, 0);
			now = lrp_tcp_deadline(&conn);
			lrp_tcp_timer(&conn, now);
		}
		assert_int_equal(now - start, 5 * S);
		assert_int_equal(lrp_tcp_error(&conn), ETIMEDOUT);
	}
	/* what is acknowledged begins it anew */
	plain();
	opt.user_timeout_ms = 5000;
	open_with(0, 0, 0xffff, 0);
	for (uint32_t i = 0; i < 5; i++) {
		write_bytes(100);
		assert_true(out());
		now += 3 * S;
		in(ACK, 1, 101 + 100 * i, 0);
	}
	assert_int_equal(conn.state, LRP_TCP_ESTABLISHED);
}

/* RFC 9293 3.8.3: after so many timeouts the connection is dead. */
static void retries(void **state)
{
	int n;

	(void)state;
	plain();
	opt.retries = 5;
	open_with(0, 0, 0xffff, 0);
	write_bytes(100);
	for (n = 0; conn.state != LRP_TCP_CLOSED; n++) {
		assert_true(out());
		wait_output(1000 * S);
	}
	assert_int_equal(n, 1 + 5);
	assert_int_equal(lrp_tcp_error(&conn), ETIMEDOUT);
	assert_int_equal(write_bytes(1), -EPIPE);
	/* what ICMP said is the reason, unless something was acknowledged since */
	for (int form = 0; form < 2; form++) {
		open_with(0, 0, 0xffff, 0);
		write_bytes(100);
		assert_true(out());
		lrp_tcp_unreachable(&conn, now, ISS + 1, EHOSTUNREACH, false);
		if (form)
			in(ACK, 1, 51, 0);
		while (conn.state != LRP_TCP_CLOSED) {
			wait_output(1000 * S);
			out();
		}
		assert_int_equal(lrp_tcp_error(&conn), form ? ETIMEDOUT : EHOSTUNREACH);
	}
	/* a closed socket gives up earlier */
	opt.retries = 15;
	open_with(0, 0, 0xffff, 0);
	write_bytes(100);
	lrp_tcp_close(&conn, now);
	for (n = 0; conn.state != LRP_TCP_CLOSED; n++) {
		assert_true(out());
		wait_output(1000 * S);
	}
	assert_int_equal(n, 1 + 8);
}

/* A window that closes over what is out: as long as the peer answers, it lives. */
static void closed_over_data(void **state)
{
	(void)state;
	plain();
	opt.retries = 3;
	open_with(0, 0, 0xffff, 0);
	write_bytes(100);
	assert_true(out());
	in_window(ACK, 1, 1, 0, 0);
	for (int i = 0; i < 20; i++) {
		wait_output(1000 * S);
		assert_true(out());
		in_window(ACK, 1, 1, 0, 0);
	}
	assert_int_equal(conn.state, LRP_TCP_ESTABLISHED);
}

/* RFC 6298 5: from the last thing acknowledged; nothing out, no timer. */
static void retransmission(void **state)
{
	(void)state;
	open_plain();
	write_bytes(10);
	expect(ACK, 1, 10);
	assert_in_range(wait_output(10 * S), 200 * MS, S);
	expect(ACK, 1, 10);
	in(ACK, 1, 11, 0);
	assert_int_equal(lrp_tcp_deadline(&conn), LRP_TCP_NEVER);
	assert_int_equal(conn.recovery.timeouts, 1);
}

/* RFC 8985 7: the last segment is probed long before the timeout. */
static void tail_probe(void **state)
{
	(void)state;
	plain();
	opt.sack = true;
	open_with(LRP_TCP_HAS_SACK_OK, 0, 0xffff, 0);
	conn.recovery.rtt.srtt_ns = 0;
	lrp_tcp_recovery_rtt(&conn.recovery, now, 20 * MS);
	write_bytes(2500);
	while (out())
		;
	assert_in_range(wait_output(10 * S), 40 * MS, 60 * MS);
	expect(ACK, 1501, 1000);
	assert_int_equal(tx.kind, LRP_TCP_TX_TAIL_PROBE);
	expect_nothing();
	in(ACK, 1, 2501, 0);
	assert_int_equal(lrp_tcp_deadline(&conn), LRP_TCP_NEVER);
	/* the ACK was quicker than the probe */
	write_bytes(1000);
	assert_true(out());
	in(ACK, 1, 3501, 0);
	write_bytes(500);
	assert_true(out());
	wait_output(10 * S);
	assert_true(conn.due & LRP_TCP_DUE_TAIL_PROBE);
	in(ACK, 1, 4001, 0);
	assert_int_equal(conn.due, 0);
	expect_nothing();
	/* new data, if there is any */
	open_with(LRP_TCP_HAS_SACK_OK, 0, 0xffff, 0);
	conn.recovery.rtt.srtt_ns = 0;
	lrp_tcp_recovery_rtt(&conn.recovery, now, 20 * MS);
	conn.cc.cwnd = 2000;
	write_bytes(4000);
	while (out())
		;
	assert_in_range(wait_output(10 * S), 40 * MS, 60 * MS);
	expect(ACK, 2001, 1000);
	assert_int_equal(tx.kind, LRP_TCP_TX_TAIL_PROBE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(closed_window),
		cmocka_unit_test(closed_window_unanswered),
		cmocka_unit_test(closed_window_of_an_orphan),
		cmocka_unit_test(keepalive),
		cmocka_unit_test(user_timeout),
		cmocka_unit_test(retries),
		cmocka_unit_test(closed_over_data),
		cmocka_unit_test(retransmission),
		cmocka_unit_test(tail_probe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

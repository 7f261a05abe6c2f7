/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is sent, and when it is not: windows, Nagle, silly windows, runs for segmentation offload.
 */
#include "connection.h"

#define ACK LRP_TCP_ACK
#define FIN LRP_TCP_FIN
#define PSH LRP_TCP_PSH
#define URG LRP_TCP_URG

static void open_window(uint16_t window)
{
	plain();
	open_with(0, 0, window, 0);
}

/* The payload of tx, which may lie in two pieces. */
static void expect_bytes(uint32_t from)
{
	uint32_t at = 0;

	for (int p = 0; p < 2; p++)
		for (uint32_t i = 0; i < tx.payload[p].iov_len; i++, at++)
			assert_int_equal(((uint8_t *)tx.payload[p].iov_base)[i], bytes[from + at]);
	assert_int_equal(at, tx.payload_len);
}

static void all_of_it(void **state)
{
	(void)state;
	open_plain();
	assert_int_equal(write_bytes(3500), 3500);
	for (uint32_t i = 0; i < 3; i++) {
		expect(ACK, 1 + 1000 * i, 1000);
		assert_false(tx.flags & PSH);
		expect_bytes(1000 * i);
	}
	expect(ACK, 3001, 500);
	assert_true(tx.flags & PSH);
	expect_bytes(3000);
	expect_nothing();
	assert_int_equal(lrp_tcp_unsent(&conn), 3500);
	in(ACK, 1, 3001, 0);
	assert_int_equal(lrp_tcp_unsent(&conn), 500);
}

/* Runs are whole segments, unless it is the tail; no larger than asked for. */
static void runs_of_segments(void **state)
{
	(void)state;
	open_plain();
	conn.cc.cwnd = 50000;
	write_bytes(20500);
	assert_true(out_max(5999));
	assert_int_equal(tx.payload_len, 5000);
	assert_int_equal(tx.mss, 1000);
	assert_true(out_max(6000));
	assert_int_equal(tx.payload_len, 6000);
	assert_true(out_max(65536));
	assert_int_equal(tx.payload_len, 9500);
	assert_true(tx.flags & PSH);
	assert_int_equal(conn.data_segs_out, 21);
	assert_int_equal(conn.bytes_sent, 20500);
	expect_nothing();
}

/* cwnd and the peer's window in whole segments. */
static void windows(void **state)
{
	(void)state;
	open_plain();
	assert_int_equal(conn.cc.cwnd, 10000); /* RFC 6928 */
	write_bytes(30000);
	assert_true(out_max(65536));
	assert_int_equal(tx.payload_len, 10000);
	expect_nothing();
	open_window(4500);
	write_bytes(30000);
	/* The peer reads one half while the other is under way. */
	assert_true(out_max(65536));
	assert_int_equal(tx.payload_len, 2000);
	assert_true(out_max(65536));
	assert_int_equal(tx.payload_len, 2000);
	expect_nothing(); /* 500 more would be silly (RFC 9293 3.8.6.2.1) */
	in_window(ACK, 1, 4001, 0, 4500);
	now += 2 * MS;
	assert_true(out_max(65536));
	assert_int_equal(tx.payload_len, 2000);
}

/* RFC 9293 3.8.6.2.1: less than a segment goes if it is half of the largest window there was, or
 * all there is. */
static void silly_window(void **state)
{
	(void)state;
	open_window(600);
	write_bytes(5000);
	expect(ACK, 1, 600);
	in_window(ACK, 1, 601, 0, 299);
	expect_nothing();
	in_window(ACK, 1, 601, 0, 300);
	expect(ACK, 601, 300);
	in_window(ACK, 1, 901, 0, 100);
	expect_nothing();
	/* after a while what fits, fits */
	wait_output(S);
	expect(ACK, 901, 100);
	open_window(600);
	write_bytes(50);
	in_window(ACK, 1, 1, 0, 50);
	expect(ACK, 1, 50);
}

/* RFC 9293 3.7.4, with Minshall's change: only a small segment that is out holds back another. */
static void nagle(void **state)
{
	(void)state;
	open_plain();
	conn.opt.nodelay = false;
	write_bytes(10);
	expect(ACK, 1, 10);
	write_bytes(10);
	expect_nothing();
	write_bytes(995);
	expect(ACK, 11, 1000);
	expect_nothing();
	in(ACK, 1, 11, 0);
	/* a full segment is out, no small one */
	expect(ACK, 1011, 5);
	in(ACK, 1, 1016, 0);
	write_bytes(1000);
	expect(ACK, 1016, 1000);
	write_bytes(1);
	expect(ACK, 2016, 1);
	write_bytes(1);
	expect_nothing();
	/* TCP_NODELAY lets it go at once */
	opt = conn.opt;
	opt.nodelay = true;
	lrp_tcp_options_set(&conn, now, &opt);
	expect(ACK, 2017, 1);
	/* and so does a FIN */
	opt.nodelay = false;
	lrp_tcp_options_set(&conn, now, &opt);
	write_bytes(1);
	expect_nothing();
	lrp_tcp_shutdown(&conn, now, false, true);
	expect(ACK | FIN, 2018, 1);
}

/* TCP_CORK: full segments only, at most 200 ms. */
static void cork(void **state)
{
	(void)state;
	open_plain();
	opt.cork = true;
	lrp_tcp_options_set(&conn, now, &opt);
	write_bytes(1500);
	expect(ACK, 1, 1000);
	expect_nothing();
	in(ACK, 1, 1001, 0);
	expect_nothing();
	assert_in_range(wait_output(S), 200 * MS, 300 * MS);
	expect(ACK, 1001, 500);
	in(ACK, 1, 1501, 0);
	write_bytes(100);
	expect_nothing();
	opt.cork = false;
	lrp_tcp_options_set(&conn, now, &opt);
	expect(ACK, 1501, 100);
	/* MSG_MORE is a cork for one write */
	write_io(100, LRP_TCP_MORE);
	expect_nothing();
	write_bytes(100);
	expect(ACK, 1601, 200);
}

static void fin_with_data(void **state)
{
	(void)state;
	open_plain();
	write_bytes(1500);
	lrp_tcp_shutdown(&conn, now, false, true);
	expect(ACK, 1, 1000);
	expect(ACK | FIN, 1001, 500);
	expect_nothing();
	/* without room in the window for it: later */
	open_window(500);
	write_bytes(500);
	lrp_tcp_shutdown(&conn, now, false, true);
	expect(ACK, 1, 500);
	expect_nothing();
	in_window(ACK, 1, 501, 0, 500);
	expect(ACK | FIN, 501, 0);
}

/* A segment that the device refused leaves no trace: no timer, no window, the same comes again. */
static void local_drop(void **state)
{
	struct lrp_tcp before;

	(void)state;
	open_plain();
	write_bytes(500);
	before = conn;
	assert_true(lrp_tcp_output(&conn, now, 1, &tx));
	assert_memory_equal(&before, &conn, sizeof(conn));
	assert_int_equal(lrp_tcp_local_drop(&conn, now), now + MS);
	assert_int_equal(lrp_tcp_deadline(&conn), now + MS);
	assert_int_equal(lrp_tcp_local_drop(&conn, now), now + 2 * MS);
	assert_int_equal(conn.cc.cwnd, before.cc.cwnd);
	assert_int_equal(conn.recovery.rto_at_ns, LRP_TCP_NEVER);
	now += 2 * MS;
	lrp_tcp_timer(&conn, now);
	assert_int_equal(lrp_tcp_deadline(&conn), LRP_TCP_NEVER);
	lrp_tcp_local_drop(&conn, now);
	expect(ACK, 1, 500);
	assert_true(lrp_tcp_deadline(&conn) >= now + 200 * MS);
}

/* RFC 9293 3.8.5, RFC 6093: the pointer says where urgent data ends; segments one by one. */
static void urgent(void **state)
{
	(void)state;
	open_plain();
	write_bytes(1500);
	assert_int_equal(write_io(1, LRP_TCP_OOB), 1);
	assert_true(out_max(65536));
	assert_int_equal(tx.payload_len, 1000);
	assert_int_equal(tx.flags, ACK | URG);
	assert_int_equal(tx.urgent, 1501);
	assert_true(out_max(65536));
	assert_int_equal(tx.payload_len, 501);
	assert_true(tx.flags & URG);
	assert_int_equal(tx.urgent, 501);
	write_bytes(5);
	expect(ACK, 1502, 5);
	in(ACK, 1, 1507, 0);
	assert_false(conn.snd_urgent);
}

/* What is lost is sent again from the buffer, with the FIN, never past a window that has shrunk but
 * for the first. */
static void again(void **state)
{
	(void)state;
	open_plain();
	write_bytes(1500);
	lrp_tcp_shutdown(&conn, now, false, true);
	expect(ACK, 1, 1000);
	expect(ACK | FIN, 1001, 500);
	wait_output(5 * S);
	expect(ACK, 1, 1000);
	expect_bytes(0);
	in(ACK, 1, 1001, 0);
	expect(ACK | FIN, 1001, 500);
	expect_bytes(1000);
	in(ACK, 1, 1502, 0);
	assert_int_equal(conn.state, LRP_TCP_FIN_WAIT_2);
	assert_int_equal(lrp_tcp_deadline(&conn), LRP_TCP_NEVER);
}

/* What is lost beyond a window that has shrunk waits (RFC 9293 3.8.6: not to send, but to be
 * ready). */
static void shrunk(void **state)
{
	(void)state;
	open_plain();
	write_bytes(3000);
	while (out())
		;
	in_window(ACK, 1, 1, 0, 1);
	in_window(ACK, 1, 1001, 0, 0);
	wait_output(10 * S);
	expect(ACK, 1001, 1000);
	conn.cc.cwnd = 10000;
	expect_nothing();
	in_window(ACK, 1, 1001, 0, 1500);
	expect(ACK, 2001, 500);
	expect_nothing();
}

/* While ACKs keep coming, a few of them are waited for: one large run costs less than many small
 * ones. */
static void deferred(void **state)
{
	(void)state;
	open_plain();
	conn.cc.cwnd = 30000;
	write_bytes(60000);
	assert_true(out_max(65536));
	assert_int_equal(tx.payload_len, 30000);
	in(ACK, 1, 2001, 0);
	assert_false(out_max(65536));
	assert_true(out_max(1)); /* no run is wanted */
	in(ACK, 1, 15001, 0);
	assert_true(out_max(65536));
	assert_true(tx.payload_len >= 10000);
	/* not for long */
	write_bytes(20000);
	in(ACK, 1, 17001, 0);
	assert_false(out_max(65536));
	now += MS;
	assert_true(out_max(65536));
	/* nor if what is out is too little to be acknowledged soon */
	open_plain();
	conn.cc.cwnd = 2000;
	write_bytes(60000);
	assert_true(out_max(65536));
	in(ACK, 1, 1001, 0);
	assert_true(out_max(65536));
}

/* Where the round trip is long, a run is what the path takes in a millisecond, and the window is used up
 * all the same. */
static void autosized(void **state)
{
	uint32_t sum = 0;

	(void)state;
	open_plain();
	conn.cc.cwnd = conn.cc.ssthresh = 25000;
	conn.recovery.rtt.srtt_ns = conn.recovery.rtt.min_ns = 100 * MS;
	write_bytes(60000);
	while (out_max(65536)) {
		assert_in_range(tx.payload_len, 1000, 3000);
		sum += tx.payload_len;
	}
	assert_int_equal(sum, 25000);
	/* 10 Mbyte/s: 12,000 bytes, with the fifth that lets it grow */
	open_plain();
	conn.cc.cwnd = conn.cc.ssthresh = 60000;
	conn.recovery.rtt.srtt_ns = conn.recovery.rtt.min_ns = 6 * MS;
	write_bytes(60000);
	assert_true(out_max(65536));
	assert_int_equal(tx.payload_len, 12000 + (65536 >> 11) - (12000 + (65536 >> 11)) % 1000);
	/* a short way */
	open_plain();
	conn.cc.cwnd = 60000;
	conn.recovery.rtt.srtt_ns = conn.recovery.rtt.min_ns = MS / 10;
	write_bytes(60000);
	assert_true(out_max(65536));
	assert_int_equal(tx.payload_len, 32000); /* half of the peer's window */
}

/* RFC 5681 4.1: after a pause no burst. */
static void pause(void **state)
{
	(void)state;
	open_plain();
	write_bytes(1000);
	assert_true(out());
	now += MS;
	in(ACK, 1, 1001, 0);
	conn.cc.cwnd = 50000;
	now += 100 * S;
	write_bytes(60000);
	assert_true(out_max(65536));
	assert_true(tx.payload_len <= 10000);
}

/* RFC 3168 6.1.2: ECT on new data only; an echo reduces the window once and is answered with CWR.
 */
static void ecn(void **state)
{
	const uint8_t ece = LRP_TCP_ECE, cwr = LRP_TCP_CWR;

	(void)state;
	plain();
	opt.ecn = true;
	open_with(0, 0, 0xffff, ece);
	assert_int_equal(tx.ecn, 0); /* a bare ACK is not */
	write_bytes(5000);
	for (int i = 0; i < 5; i++) {
		assert_true(out());
		assert_int_equal(tx.ecn, 2);
		assert_int_equal(tx.flags & cwr, 0);
	}
	now += 5 * MS;
	in(ACK | ece, 1, 1001, 0);
	assert_true(conn.cc.ssthresh < 10000);
	write_bytes(20000);
	while (!out()) {
		now += MS;
		in(ACK | ece, 1, 5001, 0);
	}
	assert_int_equal(tx.flags & cwr, cwr);
	now += MS;
	in(ACK, 1, 5001, 0);
	while (out())
		assert_int_equal(tx.flags & cwr, 0);
	wait_output(10 * S);
	assert_true(out());
	assert_int_equal(tx.ecn, 0); /* nor is what is sent again (6.1.5) */
}

/* SACK blocks take their place from the payload. */
static void room_for_options(void **state)
{
	(void)state;
	plain();
	opt.sack = opt.timestamps = true;
	open_with(LRP_TCP_HAS_SACK_OK | LRP_TCP_HAS_TIMESTAMP, 0, 0xffff, 0);
	in(ACK, 101, 1, 100);
	write_bytes(3000);
	assert_true(out_max(65536));
	assert_int_equal(tx.options_len, 12 + 12);
	assert_int_equal(tx.mss, MSS - 24);
	assert_int_equal(tx.payload_len, 3000);
	in(ACK, 1, 3001, 100);
	write_bytes(3000);
	assert_true(out_max(65536));
	assert_int_equal(tx.mss, MSS - 12);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_of_it),	 cmocka_unit_test(runs_of_segments),
		cmocka_unit_test(windows),	 cmocka_unit_test(silly_window),
		cmocka_unit_test(nagle),	 cmocka_unit_test(cork),
		cmocka_unit_test(fin_with_data), cmocka_unit_test(local_drop),
		cmocka_unit_test(urgent),	 cmocka_unit_test(again),
		cmocka_unit_test(shrunk),	 cmocka_unit_test(deferred),
		cmocka_unit_test(autosized),	 cmocka_unit_test(pause),
		cmocka_unit_test(ecn),		 cmocka_unit_test(room_for_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Path MTU: down by ICMP and by silence, up by trial. */
#include "connection.h"

#define ACK LRP_TCP_ACK

/* Full segments vanish and no ICMP comes (RFC 2923 2.1). */
static void black_hole(void **state)
{
	uint32_t least = UINT32_MAX;

	(void)state;
	plain();
	open_with(0, 0, 0xffff, 0);
	conn.peer_mss = conn.path_mss = 1460;
	opt = conn.opt;
	lrp_tcp_options_set(&conn, now, &opt);
	assert_int_equal(conn.mss, 1460);
	write_bytes(10000);
	while (out())
		;
	for (int i = 0; i < 2; i++) {
		wait_output(100 * S);
		if (i < 1)
			assert_true(out());
	}
	assert_int_equal(conn.mss, 1220);
	assert_true(out());
	assert_int_equal(tx.payload_len, 1220);
	/* that gets through: it stays */
	in(ACK, 1, 1221, 0);
	assert_int_equal(conn.mss, 1220);
	assert_int_equal(conn.black_hole_mss, 0);
	/* it was none: as before */
	while (out())
		;
	for (int i = 0; i < 7 && conn.state == LRP_TCP_ESTABLISHED; i++) {
		wait_output(1000 * S);
		least = conn.mss < least ? conn.mss : least;
		while (out())
			;
	}
	assert_int_equal(least, 536);
	assert_int_equal(conn.mss, 1220);
}

/* RFC 1191, RFC 5927: believed if it speaks of what is out and of a size that can be. */
static void too_big(void **state)
{
	uint32_t cwnd;

	(void)state;
	open_plain();
	write_bytes(5000);
	while (out())
		;
	cwnd = conn.cc.cwnd;
	lrp_tcp_too_big(&conn, now, ISS, 800);
	lrp_tcp_too_big(&conn, now, ISS + 5001, 800);
	lrp_tcp_too_big(&conn, now, ISS + 1, 9000);
	assert_int_equal(conn.mss, MSS);
	lrp_tcp_too_big(&conn, now, ISS + 1, 840);
	assert_int_equal(conn.mss, 800);
	holds();
	expect(ACK, 1, 800); /* at once, and the window is as it was */
	assert_true(conn.cc.cwnd >= cwnd / 2);
	expect(ACK, 801, 800);
	lrp_tcp_too_big(&conn, now, ISS + 1, 68);
	assert_int_equal(conn.mss, 552 - 40);
	lrp_tcp_too_big(&conn, now, ISS + 1, 700); /* paths do not grow by ICMP */
	assert_int_equal(conn.mss, 552 - 40);
	in(ACK, 1, 5001, 0);
	assert_int_equal(lrp_tcp_deadline(&conn), LRP_TCP_NEVER);
}

/* ---- up: RFC 4821 ------------------------------------------------------------ */

#define AGAIN (600 * S)

/* A path of MSS + 40 that was found to take 552 only; everything is acknowledged, and there is much
 * to send. */
static uint32_t una; /* relative */
static void narrow(void)
{
	plain();
	opt.sack = true;
	open_with(LRP_TCP_HAS_SACK_OK, 0, 0xffff, 0);
	write_bytes(5000);
	while (out())
		;
	lrp_tcp_too_big(&conn, now, ISS + 1, 552);
	assert_int_equal(conn.mss, 512);
	while (out())
		;
	una = 5001;
	in(ACK, 1, una, 0);
	assert_int_equal(conn.recovery.state, LRP_TCP_OPEN);
	conn.cc.cwnd = 20000;
}

/* All that was sent has arrived. */
static void arrived(void)
{
	una = conn.snd_nxt - ISS;
	in(ACK, 1, una, 0);
}

/* What is out has arrived but for [una, una + len), as SACK tells three times. */
static void all_but(uint32_t len)
{
	for (uint32_t i = 1; i <= 3; i++) {
		struct lrp_tcp_segment s = seg(ACK, 1, una, 0);

		s.sacks = 1;
		s.sack[0].start = ISS + una + len;
		s.sack[0].end = s.sack[0].start + i * 512;
		assert_int_equal(input(&s), 0);
	}
}

/* The next segments that are sent; the first has `first` bytes, the others 512. */
static void sends(uint32_t first)
{
	assert_true(out());
	assert_int_equal(tx.seq - ISS, una);
	assert_int_equal(tx.payload_len, first);
	assert_int_equal(tx.kind == LRP_TCP_TX_MTU_PROBE, first > 512);
	for (int i = 0; i < 4; i++) {
		assert_true(out());
		assert_int_equal(tx.payload_len, 512);
	}
}

/* Ten minutes after it fell, a single segment of the full size is tried; when that arrives, all
 * are as large. */
static void raised(void **state)
{
	(void)state;
	narrow();
	now += AGAIN - 1;
	write_bytes(5000);
	sends(512);
	arrived();
	now++;
	write_bytes(5000);
	sends(1000);
	assert_int_equal(conn.mss, 512);
	arrived();
	assert_int_equal(conn.mss, 1000);
	assert_int_equal(conn.search.next_ns, LRP_TCP_NEVER);
}

/* Nothing is tried with less behind it than tells of its loss, or when something is amiss. */
static void not_tried(void **state)
{
	(void)state;
	narrow();
	now += AGAIN;
	write_bytes(1000 + 4 * 512 - 1);
	sends(512);
	arrived();
	conn.sack = false;
	write_bytes(5000);
	sends(512);
	arrived();
	conn.sack = true;
	conn.cc.cwnd = 4000;
	write_bytes(5000);
	sends(512);
}

/* Lost alone: sent again in small pieces at once, and the window is as before. It takes three to
 * show that it was the size; half of it is next. */
static void too_large(void **state)
{
	uint32_t cwnd, ssthresh;

	(void)state;
	narrow();
	now += AGAIN;
	for (int i = 0; i < 3; i++) {
		write_bytes(5000);
		cwnd = conn.cc.cwnd;
		ssthresh = conn.cc.ssthresh;
		sends(1000);
		all_but(1000);
		assert_true(conn.cc.cwnd >= cwnd);
		assert_int_equal(conn.cc.ssthresh, ssthresh);
		assert_int_equal(conn.recovery.recoveries, 0);
		expect(ACK, una, 512);
		expect(ACK, una + 512, 488);
		while (out())
			;
		arrived();
		assert_int_equal(conn.mss, 512);
	}
	write_bytes(5000);
	sends((512 + 1000) / 2);
	arrived();
	assert_int_equal(conn.mss, 756);
	/* a router says that the next is too large: no need to lose it thrice, and no harm */
	write_bytes(8000);
	assert_true(out());
	assert_int_equal(tx.payload_len, 878);
	lrp_tcp_too_big(&conn, now, tx.seq, 840);
	assert_int_equal(conn.mss, 756);
	for (int i = 0; i < 4; i++)
		assert_true(out());
	all_but(878);
	while (out())
		;
	arrived();
	write_bytes(8000);
	assert_true(out());
	assert_int_equal(tx.payload_len, (756 + 801) / 2);
	while (out())
		;
	arrived();
	assert_int_equal(conn.mss, 778);
	/* 778 to 801: one more; what is left is not worth it, for another ten minutes */
	write_bytes(8000);
	assert_true(out());
	assert_int_equal(tx.payload_len, 789);
	while (out())
		;
	arrived();
	assert_int_equal(conn.mss, 789);
	assert_int_equal(conn.search.next_ns, now + AGAIN);
}

/* Lost with others it may have been congestion: reduced, and nothing is concluded. */
static void inconclusive(void **state)
{
	uint32_t cwnd;

	(void)state;
	narrow();
	now += AGAIN;
	write_bytes(8000);
	cwnd = conn.cc.cwnd;
	sends(1000);
	while (out())
		;
	all_but(1512);
	assert_int_equal(conn.recovery.state, LRP_TCP_RECOVERY);
	while (out())
		;
	arrived();
	assert_true(conn.cc.cwnd < cwnd);
	assert_int_equal(conn.mss, 512);
	assert_int_equal(conn.search.failed, UINT16_MAX);
	write_bytes(8000);
	sends(512);
	arrived();
	now += S;
	conn.cc.cwnd = 20000;
	write_bytes(8000);
	sends(1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(black_hole), cmocka_unit_test(too_big),
		cmocka_unit_test(raised),     cmocka_unit_test(not_tried),
		cmocka_unit_test(too_large),  cmocka_unit_test(inconclusive),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "tcp_sender.h"

static struct sender s;

/* Three sacked segments begin recovery without further waiting. */
static void lost_at_the_threshold(void **state)
{
	(void)state;
	sender_init(&s, &lrp_tcp_newreno, 20);
	transmit(&s, 0, 10);
	s.now += RTT;
	sack(&s, 1, 2, 3);
	assert_int_equal(s.r.state, LRP_TCP_DISORDER);
	sack(&s, 1, 2, 4);
	assert_int_equal(s.r.state, LRP_TCP_DISORDER);
	sack(&s, 1, 2, 5);
	assert_int_equal(s.r.state, LRP_TCP_RECOVERY);
	assert_int_equal(again(&s), 1);
	assert_int_equal(again(&s), -1);
}

/* Below it, a quarter of the least RTT later, by the timer. */
static void lost_by_time(void **state)
{
	int64_t then;

	(void)state;
	sender_init(&s, &lrp_tcp_newreno, 20);
	transmit(&s, 0, 3);
	s.now += RTT;
	then = s.now;
	sack(&s, 1, 2, 3);
	assert_int_equal(s.r.state, LRP_TCP_DISORDER);
	assert_int_equal(expire(&s), LRP_TCP_TIMER_LOST);
	assert_in_range(s.now - then, RTT / 4 - MS, RTT / 4 + MS);
	assert_int_equal(s.r.state, LRP_TCP_RECOVERY);
	assert_int_equal(again(&s), 1);
}

/* Once reordering was seen, three are no proof. */
static void reordering_waits(void **state)
{
	(void)state;
	sender_init(&s, &lrp_tcp_newreno, 40);
	transmit(&s, 0, 20);
	s.now += RTT;
	sack(&s, 0, 1, 2);
	ack(&s, 2);
	assert_true(s.r.rack.reordering);
	sack(&s, 2, 3, 10);
	assert_int_equal(s.r.state, LRP_TCP_DISORDER);
	assert_int_equal(again(&s), -1);
	ack(&s, 10); /* it was only late */
	assert_int_equal(s.r.state, LRP_TCP_OPEN);
	assert_int_equal(s.r.recoveries, 0);
}

/* What dupack counting cannot see: what was sent after the retransmission arrives before it. */
static void lost_retransmission(void **state)
{
	(void)state;
	sender_init(&s, &lrp_tcp_newreno, 20);
	lose_one(&s, 0, 20);
	for (uint32_t i = 5; i <= 20; i++)
		sack(&s, 0, 1, i);
	transmit(&s, 20, 24);
	s.now += RTT;
	sack(&s, 0, 1, 21);
	assert_int_equal(again(&s), 0);
	assert_int_equal(s.r.timeouts, 0);
	s.now += RTT;
	ack(&s, 24);
	assert_int_equal(s.r.state, LRP_TCP_OPEN);
	assert_int_equal(s.r.recoveries, 1);
}

/* An answer within less than the least RTT is one to the original (RFC 8985 6.2 step 2). */
static void early_answer_proves_nothing(void **state)
{
	(void)state;
	sender_init(&s, &lrp_tcp_newreno, 20);
	lose_one(&s, 0, 10);
	transmit(&s, 10, 14);
	s.now += RTT / 10;
	assert_true(s.r.rack.sent_ns < s.now - RTT);
	ack(&s, 5);
	assert_true(s.r.rack.sent_ns < s.now - RTT);
	assert_int_equal(s.r.board.lost_bytes, 0);
}

/* Each round trip with a D-SACK adds a quarter, up to the smoothed RTT; sixteen recoveries take
 * it back (RFC 8985 6.2 step 4). */
static void window_adapts(void **state)
{
	struct lrp_tcp_rack k;
	struct lrp_tcp_delivery d = {.newest_ns = -1};
	struct lrp_tcp_rtt t;

	(void)state;
	lrp_tcp_rack_init(&k);
	lrp_tcp_rtt_init(&t);
	lrp_tcp_rtt_sample(&t, RTT, ISN, ISN);
	lrp_tcp_rtt_min(&t, MS, RTT);
	k.reordering = true;
	assert_int_equal(lrp_tcp_rack_window(&k, &t, true), RTT / 4);
	lrp_tcp_rack_update(&k, &d, true, seg(0), seg(10));
	lrp_tcp_rack_update(&k, &d, true, seg(5), seg(15)); /* the same round trip */
	assert_int_equal(lrp_tcp_rack_window(&k, &t, true), RTT / 2);
	lrp_tcp_rack_update(&k, &d, true, seg(10), seg(20));
	assert_int_equal(lrp_tcp_rack_window(&k, &t, true), RTT / 4 * 3);
	for (uint32_t i = 2; i < 10; i++)
		lrp_tcp_rack_update(&k, &d, true, seg(10 * i), seg(10 * i + 10));
	assert_int_equal(lrp_tcp_rack_window(&k, &t, true), RTT);
	for (int i = 0; i < 15; i++)
		lrp_tcp_rack_recovered(&k);
	lrp_tcp_rack_update(&k, &d, false, seg(200), seg(210));
	assert_int_equal(lrp_tcp_rack_window(&k, &t, true), RTT);
	lrp_tcp_rack_recovered(&k);
	lrp_tcp_rack_update(&k, &d, false, seg(200), seg(210));
	assert_int_equal(lrp_tcp_rack_window(&k, &t, true), RTT / 4);
}

static void window_is_shut_in_recovery(void **state)
{
	struct lrp_tcp_rack k;
	struct lrp_tcp_rtt t;

	(void)state;
	lrp_tcp_rack_init(&k);
	lrp_tcp_rtt_init(&t);
	lrp_tcp_rtt_sample(&t, RTT, ISN, ISN);
	lrp_tcp_rtt_min(&t, MS, RTT);
	assert_int_equal(lrp_tcp_rack_window(&k, &t, true), 0);
	assert_int_equal(lrp_tcp_rack_window(&k, &t, false), RTT / 4);
}

/* ---- tail loss probe ---- */

static void probe_after_two_rtt(void **state)
{
	int64_t then;
	uint32_t seq, len;

	(void)state;
	sender_init(&s, &lrp_tcp_newreno, 20);
	transmit(&s, 0, 5);
	then = s.now;
	assert_int_equal(expire(&s), LRP_TCP_TIMER_PROBE);
	assert_in_range(s.now - then, 2 * RTT - MS, 2 * RTT + 3 * MS);
	lrp_tcp_recovery_probe(&s.r, MSS, &seq, &len);
	assert_int_equal(seq, seg(4));
	assert_int_equal(len, MSS);
	/* One only, then the timeout. */
	lrp_tcp_recovery_sent(&s.r, &s.cc, s.now, seq, len, 0);
	lrp_tcp_recovery_probed(&s.r, true);
	sender_check(&s);
	assert_int_equal(expire(&s), LRP_TCP_TIMER_TIMEOUT);
}

/* A receiver may delay its answer to a single segment: no probe before that. */
static void lone_segment_waits(void **state)
{
	int64_t then;

	(void)state;
	sender_init(&s, &lrp_tcp_newreno, 20);
	for (int i = 0; i < 50; i++)
		lrp_tcp_recovery_rtt(&s.r, s.now, 10 * MS);
	transmit(&s, 0, 1);
	then = s.now;
	assert_int_equal(expire(&s), LRP_TCP_TIMER_PROBE);
	assert_true(s.now - then > LRP_TCP_MAX_ACK_DELAY_NS);
}

static void probe(uint32_t n)
{
	sender_init(&s, &lrp_tcp_newreno, 10);
	s.cc.ssthresh = s.cc.cwnd;
	transmit(&s, 0, n);
	assert_int_equal(expire(&s), LRP_TCP_TIMER_PROBE);
	lrp_tcp_recovery_sent(&s.r, &s.cc, s.now, seg(n - 1), MSS, 0);
	lrp_tcp_recovery_probed(&s.r, true);
	s.now += RTT;
}

/* The probe shows losses before it: repaired without a timeout. */
static void probe_finds_the_tail_lost(void **state)
{
	(void)state;
	probe(6);
	sack(&s, 3, 5, 6);
	assert_int_equal(s.r.state, LRP_TCP_RECOVERY);
	assert_int_equal(again(&s), 3);
	assert_int_equal(again(&s), 4);
	s.now += RTT;
	ack(&s, 6);
	assert_int_equal(s.r.timeouts, 0);
}

/* RFC 8985 7.4: the probe repaired the loss, and hid it: the window is reduced all the same. */
static void repaired_by_the_probe(void **state)
{
	(void)state;
	probe(6);
	ack(&s, 6);
	assert_int_equal(s.cc.cwnd, 10 * MSS);
	transmit(&s, 6, 7);
	s.now += RTT;
	ack(&s, 7);
	assert_int_equal(s.cc.cwnd, 5 * MSS);
	assert_true(s.r.cwr);
	assert_int_equal(s.r.state, LRP_TCP_OPEN);
}

/* Both arrived: by D-SACK, or by a duplicate acknowledgement. */
static void needless_probe(void **state)
{
	(void)state;
	for (int by_dsack = 0; by_dsack < 2; by_dsack++) {
		probe(6);
		ack(&s, 6);
		if (by_dsack) {
			transmit(&s, 6, 7);
			sack(&s, 6, 5, 6);
		} else {
			transmit(&s, 6, 7);
			ack(&s, 6);
		}
		s.now += RTT;
		ack(&s, 7);
		assert_true(s.cc.cwnd >= 10 * MSS);
		assert_false(s.r.tlp_out);
		assert_int_equal(s.r.rack.mult, 1); /* no sign of reordering */
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lost_at_the_threshold),
		cmocka_unit_test(lost_by_time),
		cmocka_unit_test(reordering_waits),
		cmocka_unit_test(lost_retransmission),
		cmocka_unit_test(early_answer_proves_nothing),
		cmocka_unit_test(window_adapts),
		cmocka_unit_test(window_is_shut_in_recovery),
		cmocka_unit_test(probe_after_two_rtt),
		cmocka_unit_test(lone_segment_waits),
		cmocka_unit_test(probe_finds_the_tail_lost),
		cmocka_unit_test(repaired_by_the_probe),
		cmocka_unit_test(needless_probe),
	};

	return cmocka_run_group_tests_name("tcp_rack", tests, NULL, NULL);
}

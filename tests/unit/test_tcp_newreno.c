/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "tcp_sender.h"

static struct sender s;

static void grow(struct lrp_tcp_cc *cc, uint32_t bytes, bool limited)
{
	struct lrp_tcp_cc_ack a = {
		.now_ns = MS, .rtt_ns = -1, .delivered = bytes, .cwnd_limited = limited};

	cc->ops->ack(cc, &a);
}

static void named(void **state)
{
	(void)state;
	assert_ptr_equal(lrp_tcp_cc_find("reno"), &lrp_tcp_newreno);
	assert_ptr_equal(lrp_tcp_cc_find("cubic"), &lrp_tcp_cubic);
	assert_null(lrp_tcp_cc_find("bbr"));
}

static void initial_window(void **state)
{
	struct lrp_tcp_cc cc;

	(void)state;
	lrp_tcp_cc_init(&cc, &lrp_tcp_newreno, 1448);
	assert_int_equal(cc.cwnd, 14480);
	lrp_tcp_cc_init(&cc, &lrp_tcp_newreno, 536);
	assert_int_equal(cc.cwnd, 5360);
	lrp_tcp_cc_init(&cc, &lrp_tcp_newreno, 8948);
	assert_int_equal(cc.cwnd, 17896);
}

static void slow_start_then_avoidance(void **state)
{
	struct lrp_tcp_cc cc;

	(void)state;
	lrp_tcp_cc_init(&cc, &lrp_tcp_newreno, MSS);
	grow(&cc, 10 * MSS, true);
	assert_int_equal(cc.cwnd, 20 * MSS);
	cc.ssthresh = 30 * MSS;
	grow(&cc, 20 * MSS, true); /* half of it reaches ssthresh, the rest counts */
	assert_int_equal(cc.cwnd, 30 * MSS);
	grow(&cc, 19 * MSS, true);
	assert_int_equal(cc.cwnd, 30 * MSS);
	grow(&cc, MSS, true);
	assert_int_equal(cc.cwnd, 31 * MSS);
	for (int i = 0; i < 31; i++)
		grow(&cc, MSS, true);
	assert_int_equal(cc.cwnd, 32 * MSS);
}

/* RFC 9661: what is not used does not grow. */
static void unused_window_stays(void **state)
{
	struct lrp_tcp_cc cc;

	(void)state;
	lrp_tcp_cc_init(&cc, &lrp_tcp_newreno, MSS);
	grow(&cc, 100 * MSS, false);
	assert_int_equal(cc.cwnd, 10 * MSS);
	cc.ssthresh = 5 * MSS;
	grow(&cc, 100 * MSS, false);
	assert_int_equal(cc.cwnd, 10 * MSS);
}

static void another_mss(void **state)
{
	struct lrp_tcp_cc cc;

	(void)state;
	lrp_tcp_cc_init(&cc, &lrp_tcp_newreno, MSS);
	lrp_tcp_cc_mss(&cc, 500);
	assert_int_equal(cc.cwnd, 10 * MSS);
	cc.cwnd = cc.ssthresh = 500;
	lrp_tcp_cc_mss(&cc, 2000);
	assert_int_equal(cc.cwnd, 2000);
	assert_int_equal(cc.ssthresh, 4000);
}

static void without_sack(uint32_t window)
{
	sender_init(&s, &lrp_tcp_newreno, window);
	s.r.sack = false;
}

static void three_duplicates(void **state)
{
	(void)state;
	without_sack(10);
	transmit(&s, 0, 10);
	s.now += RTT;
	ack(&s, 2);
	ack(&s, 2);
	ack(&s, 2);
	assert_int_equal(again(&s), -1);
	ack(&s, 2);
	assert_int_equal(s.r.state, LRP_TCP_RECOVERY);
	assert_int_equal(s.cc.ssthresh, 6 * MSS); /* half of 12, after two in slow start */
	assert_int_equal(again(&s), 2);
	assert_int_equal(again(&s), -1);
	s.now += RTT;
	ack(&s, 10);
	assert_int_equal(s.r.state, LRP_TCP_OPEN);
	assert_int_equal(s.cc.cwnd, 6 * MSS);
}

/* RFC 3042: each of the first two duplicates lets a new segment go. */
static void limited_transmit(void **state)
{
	(void)state;
	without_sack(10);
	transmit(&s, 0, 10);
	s.now += RTT;
	assert_int_equal(room(&s), 0);
	ack(&s, 0);
	assert_int_equal(room(&s), 1);
	transmit(&s, 10, 11);
	ack(&s, 0);
	assert_int_equal(room(&s), 1);
	assert_int_equal(s.cc.cwnd, 10 * MSS);
}

/* What is no duplicate (RFC 5681 2): data in it, or a change of the window. */
static void no_duplicates(void **state)
{
	(void)state;
	without_sack(10);
	transmit(&s, 0, 10);
	s.now += RTT;
	s.duplicate_data = true;
	for (int i = 0; i < 5; i++)
		ack(&s, 0);
	assert_int_equal(s.r.state, LRP_TCP_OPEN);
}

/* RFC 6582 3.2 step 3: each partial acknowledgement shows the next hole. */
static void partial_acknowledgements(void **state)
{
	(void)state;
	without_sack(10);
	transmit(&s, 0, 10);
	s.now += RTT;
	for (int i = 0; i < 3; i++)
		ack(&s, 0);
	assert_int_equal(again(&s), 0);
	s.now += RTT;
	ack(&s, 4);
	assert_int_equal(again(&s), 4);
	s.now += RTT;
	ack(&s, 7);
	assert_int_equal(again(&s), 7);
	s.now += RTT;
	ack(&s, 10);
	assert_int_equal(s.r.recoveries, 1);
	assert_int_equal(s.r.timeouts, 0);
}

/* RFC 6582 4.1: duplicates that needless retransmissions cause begin no second recovery. */
static void held_after_recovery(void **state)
{
	(void)state;
	partial_acknowledgements(state);
	transmit(&s, 10, 15);
	for (int i = 0; i < 5; i++)
		ack(&s, 10);
	assert_int_equal(s.r.state, LRP_TCP_OPEN);
	assert_int_equal(s.r.recoveries, 1);
	s.now += RTT;
	ack(&s, 11); /* above: from here they count */
	for (int i = 0; i < 3; i++)
		ack(&s, 11);
	assert_int_equal(s.r.recoveries, 2);
}

/* After a timeout everything goes again, in slow start. */
static void go_back(void **state)
{
	(void)state;
	without_sack(10);
	transmit(&s, 0, 10);
	assert_int_equal(expire(&s), LRP_TCP_TIMER_TIMEOUT);
	assert_int_equal(s.cc.cwnd, MSS);
	assert_int_equal(s.cc.ssthresh, 5 * MSS);
	assert_int_equal(again(&s), 0);
	assert_int_equal(again(&s), -1);
	s.now += RTT;
	ack(&s, 1);
	assert_int_equal(again(&s), 1);
	assert_int_equal(again(&s), 2);
	assert_int_equal(again(&s), -1);
	s.now += RTT;
	ack(&s, 3);
	for (int i = 3; i < 7; i++)
		assert_int_equal(again(&s), i);
	s.now += RTT;
	ack(&s, 10);
	assert_int_equal(s.r.state, LRP_TCP_OPEN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(named),
		cmocka_unit_test(initial_window),
		cmocka_unit_test(slow_start_then_avoidance),
		cmocka_unit_test(unused_window_stays),
		cmocka_unit_test(another_mss),
		cmocka_unit_test(three_duplicates),
		cmocka_unit_test(limited_transmit),
		cmocka_unit_test(no_duplicates),
		cmocka_unit_test(partial_acknowledgements),
		cmocka_unit_test(held_after_recovery),
		cmocka_unit_test(go_back),
	};

	return cmocka_run_group_tests_name("tcp_newreno", tests, NULL, NULL);
}

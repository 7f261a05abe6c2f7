/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "tcp_sender.h"

static void first_sample(void **state)
{
	struct lrp_tcp_rtt t;

	(void)state;
	lrp_tcp_rtt_init(&t);
	assert_int_equal(t.rto_ns, 1000 * MS); /* RFC 6298 2.1 */
	lrp_tcp_rtt_sample(&t, 1000 * MS, ISN, seg(10));
	assert_int_equal(t.srtt_ns, 1000 * MS);
	assert_int_equal(t.rto_ns, 3000 * MS); /* R + 4 R/2 */
}

static void variance_has_a_floor(void **state)
{
	struct lrp_tcp_rtt t;

	(void)state;
	lrp_tcp_rtt_init(&t);
	for (int i = 0; i < 100; i++)
		lrp_tcp_rtt_sample(&t, MS, seg(i), seg(i + 1));
	assert_int_equal(t.rto_ns, 201 * MS);
	lrp_tcp_rtt_sample(&t, 0, seg(100), seg(101));
	assert_true(t.srtt_ns > 0);
}

static void smoothed(void **state)
{
	struct lrp_tcp_rtt t;

	(void)state;
	lrp_tcp_rtt_init(&t);
	lrp_tcp_rtt_sample(&t, 80 * MS, ISN, seg(10));
	lrp_tcp_rtt_sample(&t, 160 * MS, ISN, seg(10));
	assert_int_equal(t.srtt_ns, 90 * MS); /* an eighth */
	assert_int_equal(t.mdev_ns, 50 * MS); /* 40 + (80 - 40) / 4 */
}

/* As Linux: RFC 6298 to the letter would raise the RTO when the RTT falls. */
static void shorter_path_raises_nothing(void **state)
{
	struct lrp_tcp_rtt t;
	int64_t rto;

	(void)state;
	lrp_tcp_rtt_init(&t);
	for (int i = 0; i < 400; i++)
		lrp_tcp_rtt_sample(&t, 500 * MS, seg(i), seg(i + 1));
	rto = t.rto_ns;
	for (int i = 400; i < 440; i++) {
		lrp_tcp_rtt_sample(&t, 50 * MS, seg(i), seg(i + 1));
		assert_true(t.rto_ns <= rto);
		rto = t.rto_ns;
	}
}

/* Many samples in one round trip must not wear the variance away. */
static void variance_falls_once_a_round(void **state)
{
	struct lrp_tcp_rtt t;
	int64_t var;

	(void)state;
	lrp_tcp_rtt_init(&t);
	lrp_tcp_rtt_sample(&t, 1000 * MS, ISN, seg(100));
	var = t.rttvar_ns;
	for (int i = 1; i < 100; i++)
		lrp_tcp_rtt_sample(&t, 1000 * MS, seg(i), seg(100 + i));
	assert_int_equal(t.rttvar_ns, var);
	lrp_tcp_rtt_sample(&t, 1000 * MS, seg(100), seg(200));
	lrp_tcp_rtt_sample(&t, 1000 * MS, seg(200), seg(300));
	assert_true(t.rttvar_ns < var);
}

static void backed_off(void **state)
{
	struct lrp_tcp_rtt t;

	(void)state;
	lrp_tcp_rtt_init(&t);
	assert_int_equal(lrp_tcp_rtt_backed_off(&t, 0), 1000 * MS);
	assert_int_equal(lrp_tcp_rtt_backed_off(&t, 3), 8000 * MS);
	assert_int_equal(lrp_tcp_rtt_backed_off(&t, 32), LRP_TCP_RTO_MAX_NS);
}

static void minimum_grows_old(void **state)
{
	struct lrp_tcp_rtt t;

	(void)state;
	lrp_tcp_rtt_init(&t);
	lrp_tcp_rtt_min(&t, MS, 5 * MS);
	lrp_tcp_rtt_min(&t, 2 * MS, 7 * MS);
	assert_int_equal(t.min_ns, 5 * MS);
	lrp_tcp_rtt_min(&t, 2 * MS + LRP_TCP_MIN_RTT_AGE_NS, 7 * MS);
	assert_int_equal(t.min_ns, 7 * MS);
}

/* Karn: the answer to a retransmission may be one to the original; a timestamp tells which. */
static void retransmissions_give_no_sample(void **state)
{
	for (int timestamps = 0; timestamps < 2; timestamps++) {
		struct sender s;

		(void)state;
		sender_init(&s, &lrp_tcp_newreno, 20);
		s.r.timestamps = timestamps;
		transmit(&s, 0, 1);
		while (expire(&s) != LRP_TCP_TIMER_TIMEOUT)
			;
		assert_int_equal(s.r.rto_shift, 1);
		assert_int_equal(again(&s), 0);
		s.ecr = ts(&s);
		s.now += 7 * MS;
		ack(&s, 1);
		assert_int_equal(s.r.backoff, 0);
		assert_int_equal(s.r.rto_shift, !timestamps);
		assert_int_equal(s.r.rtt.srtt_ns, timestamps ? RTT - (RTT - 7 * MS) / 8 : RTT);
	}
}

/* Nor does one that is sacked. */
static void sacked_retransmissions_give_no_sample(void **state)
{
	struct sender s;

	(void)state;
	sender_init(&s, &lrp_tcp_newreno, 20);
	transmit(&s, 0, 10);
	s.now += RTT;
	sack(&s, 0, 2, 6);
	assert_int_equal(s.acked.rtt_ns > 0, true);
	assert_int_equal(again(&s), 0);
	assert_int_equal(again(&s), 1);
	s.now += RTT / 2;
	sack(&s, 0, 1, 6);
	assert_int_equal(s.acked.sacked, MSS);
	assert_int_equal(s.acked.rtt_ns, -1);
}

/* Without SACK, what arrived long ago is acknowledged when the hole before it is filled. */
static void filled_hole_gives_no_sample(void **state)
{
	struct sender s;

	(void)state;
	sender_init(&s, &lrp_tcp_newreno, 20);
	s.r.sack = false;
	transmit(&s, 0, 10);
	assert_int_equal(expire(&s), LRP_TCP_TIMER_TIMEOUT);
	assert_int_equal(again(&s), 0);
	s.now += 5000 * MS;
	ack(&s, 10);
	assert_int_equal(s.r.rtt.srtt_ns, RTT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_sample),
		cmocka_unit_test(variance_has_a_floor),
		cmocka_unit_test(smoothed),
		cmocka_unit_test(shorter_path_raises_nothing),
		cmocka_unit_test(variance_falls_once_a_round),
		cmocka_unit_test(backed_off),
		cmocka_unit_test(minimum_grows_old),
		cmocka_unit_test(retransmissions_give_no_sample),
		cmocka_unit_test(sacked_retransmissions_give_no_sample),
		cmocka_unit_test(filled_hole_gives_no_sample),
	};

	return cmocka_run_group_tests_name("tcp_rtt", tests, NULL, NULL);
}

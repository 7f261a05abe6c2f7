/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "tcp_sender.h"

static struct lrp_tcp_cc cc;
static int64_t now;

static void ack_bytes(uint32_t bytes, int64_t rtt, bool limited)
{
	struct lrp_tcp_cc_ack a = {.now_ns = now,
				   .rtt_ns = rtt,
				   .srtt_ns = rtt,
				   .delivered = bytes,
				   .cwnd_limited = limited};

	cc.ops->ack(&cc, &a);
}

/* A round trip: the whole window is acknowledged, evenly spread. */
static void round_trip(int64_t rtt)
{
	uint32_t n = cc.cwnd / MSS;

	for (uint32_t i = 0; i < n; i++) {
		now += rtt / n;
		ack_bytes(MSS, rtt, true);
	}
}

/* As if the window had been `segments` when it was reduced. */
static void reduced_from(uint32_t segments)
{
	now = 1000 * MS;
	lrp_tcp_cc_init(&cc, &lrp_tcp_cubic, MSS);
	cc.cwnd = segments * MSS;
	lrp_tcp_cc_reduce(&cc);
	cc.cwnd = cc.ssthresh;
}

static void beta(void **state)
{
	(void)state;
	reduced_from(1000);
	assert_in_range(cc.ssthresh, 699 * MSS, 701 * MSS);
	assert_int_equal(cc.prior_cwnd, 1000 * MSS);
	cc.cwnd = MSS;
	lrp_tcp_cc_reduce(&cc);
	assert_int_equal(cc.ssthresh, 2 * MSS); /* no less */
}

/* RFC 9438 4.2: W(t) = 0.4 (t - K)^3 + W_max, with a long RTT and a large window, where Reno is
 * slow. */
static void follows_the_cube(void **state)
{
	double k = cbrt(1000 * 0.3 / 0.4);
	int64_t begun;

	(void)state;
	reduced_from(1000);
	begun = now;
	while (now - begun < 16000 * MS) {
		double t, w;

		round_trip(RTT);
		t = (double)(now - begun) / 1e9;
		w = 0.4 * pow(t - k, 3) + 1000;
		assert_true(fabs(cc.cwnd / MSS - w) < 25);
	}
}

/* RFC 9438 4.3: where Reno would be faster, its window; short RTT, small window. */
static void as_fast_as_reno(void **state)
{
	uint32_t rounds = 0;

	(void)state;
	reduced_from(20);
	for (; cc.cwnd < 20 * MSS; rounds++)
		round_trip(5 * MS);
	assert_in_range(rounds, 9, 15); /* 6 segments by 9/17 in each: 11.3 */
	for (rounds = 0; cc.cwnd < 30 * MSS; rounds++)
		round_trip(5 * MS);
	assert_in_range(rounds, 8, 12); /* from there by a whole one, as Reno */
}

/* RFC 9438 4.7: a window that was never regained: others came, make room. */
static void fast_convergence(void **state)
{
	(void)state;
	reduced_from(1000);
	cc.cwnd = 800 * MSS;
	lrp_tcp_cc_reduce(&cc);
	assert_in_range(cc.cubic.w_max, 679 * MSS, 681 * MSS);
	reduced_from(1000);
	cc.cwnd = 1100 * MSS;
	lrp_tcp_cc_reduce(&cc);
	assert_int_equal(cc.cubic.w_max, 1100 * MSS);
}

/* At most half as much again in a round trip (RFC 9438 4.4). */
static void bounded_growth(void **state)
{
	(void)state;
	reduced_from(1000);
	ack_bytes(MSS, RTT, true);
	now += 60000 * MS; /* W(t) is far above by now */
	for (int i = 0; i < 3; i++) {
		uint32_t before = cc.cwnd;

		round_trip(RTT);
		assert_true(cc.cwnd <= before + before / 2 + 2 * MSS);
	}
}

/* RFC 9438 5.8: time in which the application has nothing to send is not the network's. */
static void time_stands_still(void **state)
{
	uint32_t before;

	(void)state;
	for (int idle = 0; idle < 2; idle++) {
		reduced_from(1000);
		round_trip(RTT);
		now += 60000 * MS;
		if (idle)
			lrp_tcp_cc_idle(&cc, 60000 * MS, 100000 * MS);
		else
			ack_bytes(MSS, RTT, false);
		before = cc.cwnd;
		round_trip(RTT);
		assert_true(cc.cwnd - before < 30 * MSS);
	}
}

static void undone(void **state)
{
	struct lrp_tcp_cc was;

	(void)state;
	reduced_from(1000);
	for (int i = 0; i < 20; i++)
		round_trip(RTT);
	was = cc;
	lrp_tcp_cc_reduce(&cc);
	cc.cwnd = cc.ssthresh;
	round_trip(RTT);
	lrp_tcp_cc_undo(&cc);
	assert_int_equal(cc.cwnd, was.cwnd);
	assert_int_equal(cc.ssthresh, was.ssthresh);
	assert_int_equal(cc.cubic.epoch_ns, was.cubic.epoch_ns);
	assert_int_equal(cc.cubic.w_max, was.cubic.w_max);
	assert_int_equal(cc.cubic.k, was.cubic.k);
}

/* RFC 9438 4.8: after a timeout and slow start, from the plateau on. */
static void after_timeout(void **state)
{
	(void)state;
	reduced_from(1000);
	lrp_tcp_cc_timeout(&cc);
	cc.cwnd = MSS;
	while (lrp_tcp_cc_slow_start(&cc))
		round_trip(RTT);
	round_trip(RTT);
	assert_int_equal(cc.cubic.k, 0);
	assert_true(cc.cubic.w_max <= cc.cwnd);
}

/* ---- slow start ---- */

/* A round of HyStart++ with this RTT. */
static void slow_round(int64_t rtt, uint32_t *seq)
{
	uint32_t n = cc.cwnd / MSS, end = *seq + 2 * n;

	for (uint32_t i = 0; i < n; i++) {
		struct lrp_tcp_cc_ack a = {.now_ns = now += rtt / n,
					   .rtt_ns = rtt,
					   .srtt_ns = rtt,
					   .una = seg(++*seq),
					   .nxt = seg(end),
					   .delivered = MSS,
					   .cwnd_limited = true};

		cc.ops->ack(&cc, &a);
	}
}

static void hystart_leaves_before_losses(void **state)
{
	uint32_t seq = 0, before, rounds = 0;

	(void)state;
	now = MS;
	lrp_tcp_cc_init(&cc, &lrp_tcp_cubic, MSS);
	slow_round(RTT, &seq);
	slow_round(RTT, &seq);
	slow_round(RTT, &seq);
	assert_int_equal(cc.cwnd, 80 * MSS);
	slow_round(RTT + 20 * MS, &seq); /* the queue fills */
	before = cc.cwnd;
	slow_round(RTT + 20 * MS, &seq);
	assert_true(cc.cwnd < before + before / 3); /* a quarter of the speed */
	for (; cc.ssthresh == LRP_TCP_CC_UNKNOWN && rounds < 20; rounds++)
		slow_round(RTT + 20 * MS, &seq);
	assert_in_range(rounds, 3, 6);
	assert_false(lrp_tcp_cc_slow_start(&cc));
}

static void hystart_goes_on_if_it_passes(void **state)
{
	uint32_t seq = 0, before;

	(void)state;
	now = MS;
	lrp_tcp_cc_init(&cc, &lrp_tcp_cubic, MSS);
	for (int i = 0; i < 2; i++)
		slow_round(RTT, &seq);
	slow_round(RTT + 20 * MS, &seq);
	slow_round(RTT, &seq);
	before = cc.cwnd;
	slow_round(RTT, &seq);
	assert_in_range(cc.cwnd, before + before / 10 * 9, 2 * before);
}

/* Quiet for longer than the RTO: halved for each, down to the initial window. */
static void restart_after_idle(void **state)
{
	(void)state;
	reduced_from(1000);
	lrp_tcp_cc_idle(&cc, 150 * MS, 200 * MS);
	assert_in_range(cc.cwnd, 699 * MSS, 701 * MSS);
	lrp_tcp_cc_idle(&cc, 500 * MS, 200 * MS);
	assert_in_range(cc.cwnd, 174 * MSS, 176 * MSS);
	lrp_tcp_cc_idle(&cc, 50000 * MS, 200 * MS);
	assert_int_equal(cc.cwnd, 10 * MSS);
	assert_in_range(cc.ssthresh, 699 * MSS, 701 * MSS); /* slow start leads back */
}

/* The other algorithm goes on from the same window. */
static void changed(void **state)
{
	(void)state;
	reduced_from(100);
	lrp_tcp_cc_change(&cc, &lrp_tcp_newreno);
	assert_in_range(cc.cwnd, 69 * MSS, 71 * MSS);
	lrp_tcp_cc_change(&cc, &lrp_tcp_cubic);
	round_trip(RTT);
	assert_in_range(cc.cwnd, 70 * MSS, 75 * MSS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(beta),
		cmocka_unit_test(follows_the_cube),
		cmocka_unit_test(as_fast_as_reno),
		cmocka_unit_test(fast_convergence),
		cmocka_unit_test(bounded_growth),
		cmocka_unit_test(time_stands_still),
		cmocka_unit_test(undone),
		cmocka_unit_test(after_timeout),
		cmocka_unit_test(hystart_leaves_before_losses),
		cmocka_unit_test(hystart_goes_on_if_it_passes),
		cmocka_unit_test(restart_after_idle),
		cmocka_unit_test(changed),
	};

	return cmocka_run_group_tests_name("tcp_cubic", tests, NULL, NULL);
}

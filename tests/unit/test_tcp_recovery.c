/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "tcp_model.h"
#include "tcp_sender.h"

static const struct lrp_tcp_cc_ops *const algorithm[] = {&lrp_tcp_cubic, &lrp_tcp_newreno};

static struct model_config any_network(void)
{
	static const uint32_t rate[] = {0, 0, 10, 100, 500, 1000};
	static const uint32_t runs[] = {16, 16, 20, 64, 1024};
	struct model_config c = {
		.loss = rate[rnd_below(6)],
		.ack_loss = rate[rnd_below(6)],
		.reorder = rate[rnd_below(6)],
		.duplicate = rate[rnd_below(5)],
		.delay_ns = 1 + rnd_below(rnd() & 1 ? 100000 : 50000000),
		.reorder_ns = 1 + rnd_below(20000000),
		.ns_per_segment = rnd() & 1 ? 1 + rnd_below(200000) : 0,
		.queue = 1 + rnd_below(200),
		.window = rnd() & 3 ? 100 + rnd_below(500000) : 0,
		.runs = runs[rnd_below(5)],
		.burst = 1 + rnd_below(44),
		.isn = 0u - rnd_below(1000000),
		.bytes = 1 + rnd_below(2000000),
		.no_sack = !rnd_below(4),
		.no_timestamps = rnd() & 1,
		.no_dsack = !rnd_below(4),
		.bursty_app = rnd() & 1,
		.quick = rnd() & 1,
		.renege = rnd_below(8) ? 0 : 100,
		.cc = algorithm[rnd() & 1],
	};

	/* Without clean RTT samples the backed-off RTO stays (Karn), for hours. */
	if (c.no_sack && c.loss > 500)
		c.loss = c.ack_loss = 500;
	return c;
}

/* Whatever the network does: all arrives, the sums hold after each step, and while anything is
 * out there is a deadline. */
static void everything_arrives(void **state)
{
	const char *storm = getenv("LRP_STORM");
	uint64_t steps = 0, most = storm ? strtoull(storm, NULL, 10) : 300000;

	(void)state;
	while (steps < most) {
		struct model_config c = any_network();
		uint64_t seed = random_state;
		struct model m;

		model_init(&m, &c);
		while (model_step(&m))
			if (m.steps > 2000000 || m.now > 20000000ll * MODEL_MS)
				fail_msg("seed %llx: no end", (unsigned long long)seed);
		assert_int_equal(m.rcv_nxt, c.isn + (uint32_t)c.bytes);
		steps += m.steps;
		model_free(&m);
	}
}

/* ---- needless reductions undone ---- */

static struct sender s;

/* RFC 3522: what is acknowledged carries the timestamp of the original. */
static void eifel(void **state)
{
	uint32_t sent;

	(void)state;
	sender_init(&s, &lrp_tcp_cubic, 20);
	s.r.timestamps = true;
	s.ecr = sent = ts(&s);
	transmit(&s, 0, 20);
	s.now += RTT;
	for (uint32_t i = 2; i < 5; i++)
		sack(&s, 0, 1, i);
	assert_int_equal(again(&s), 0);
	assert_true(s.cc.ssthresh < 20 * MSS);
	s.now += 10 * MS;
	s.ecr = sent;
	ack(&s, 5); /* the original was late */
	s.now += 10 * MS;
	ack(&s, 20);
	assert_int_equal(s.r.spurious, 1);
	assert_int_equal(s.r.state, LRP_TCP_OPEN);
	assert_true(s.cc.cwnd >= 20 * MSS);
	assert_int_equal(s.cc.ssthresh, LRP_TCP_CC_UNKNOWN);

	sender_init(&s, &lrp_tcp_cubic, 20);
	s.r.timestamps = true;
	s.ecr = ts(&s);
	lose_one(&s, 0, 20);
	s.ecr = ts(&s);
	s.now += RTT;
	ack(&s, 20); /* the retransmission was needed */
	assert_int_equal(s.r.spurious, 0);
	assert_true(s.cc.cwnd < 15 * MSS);
}

/* RFC 3708: all that was sent again is reported as duplicate, if after the end of recovery. */
static void all_duplicates(void **state)
{
	(void)state;
	sender_init(&s, &lrp_tcp_cubic, 20);
	lose_one(&s, 0, 20);
	ack(&s, 20);
	assert_true(s.cc.cwnd < 15 * MSS);
	s.now += RTT;
	transmit(&s, 20, 22);
	ack_blocks(&s, 20, (struct blocks){{0}, {1}});
	assert_int_equal(s.r.dsacks, 1);
	assert_int_equal(s.r.spurious, 1);
	assert_true(s.cc.cwnd >= 20 * MSS);
	assert_true(s.r.rack.reordering);
	/* More than was sent again is no report, but a lie. */
	ack_blocks(&s, 20, (struct blocks){{0}, {1}});
	assert_int_equal(s.r.dsacks, 1);
}

static void timeout_with_answers_to_come(void)
{
	sender_init(&s, &lrp_tcp_cubic, 20);
	transmit(&s, 0, 10);
	s.r.tlp_at_ns = LRP_TCP_NEVER;
	assert_int_equal(expire(&s), LRP_TCP_TIMER_TIMEOUT);
	assert_int_equal(again(&s), 0);
	s.now += 50 * MS; /* too soon for an answer to what was sent again */
}

/* F-RTO: after the timeout, data that was never sent again is acknowledged. */
static void spurious_timeout(void **state)
{
	(void)state;
	timeout_with_answers_to_come();
	ack(&s, 3);
	assert_int_equal(s.r.spurious, 1);
	assert_true(s.r.state < LRP_TCP_LOSS);
	assert_int_equal(s.r.board.lost_bytes, 0);
	assert_true(s.cc.cwnd >= 20 * MSS);
	assert_int_equal(again(&s), -1);
	ack(&s, 10);
	assert_int_equal(s.r.state, LRP_TCP_OPEN);
}

/* The acknowledgement that shows that the timeout was needless shows a loss, too: it is repaired at
 * once, as in Linux. */
static void spurious_timeout_and_a_loss(void **state)
{
	(void)state;
	timeout_with_answers_to_come();
	sack(&s, 2, 4, 10);
	assert_int_equal(s.r.spurious, 1);
	assert_int_equal(s.r.state, LRP_TCP_RECOVERY);
	assert_int_equal(again(&s), 2);
}

/* The same where one recovery ends. */
static void recovery_after_recovery(void **state)
{
	(void)state;
	sender_init(&s, &lrp_tcp_cubic, 20);
	lose_one(&s, 0, 10);
	transmit(&s, 10, 18);
	s.now += RTT;
	ack_blocks(&s, 10, (struct blocks){{12}, {18}});
	assert_int_equal(s.r.state, LRP_TCP_RECOVERY);
	assert_int_equal(s.r.recoveries, 2);
	assert_int_equal(again(&s), 10);
}

/* RFC 6582 3.2: the hole that a partial acknowledgement shows goes at once, though the new data
 * that duplicates let out has used up the window. */
static void partial_acknowledgement(void **state)
{
	(void)state;
	for (int duplicates = 3; duplicates < 19; duplicates++) {
		uint32_t next = 20;

		sender_init(&s, &lrp_tcp_newreno, 20);
		s.r.sack = false;
		transmit(&s, 0, next);
		s.now += RTT;
		for (int i = 0; i < duplicates; i++) {
			ack(&s, 0);
			assert_int_equal(again(&s), i == 2 ? 0 : -1);
			for (; room(&s); next++)
				transmit(&s, next, next + 1);
		}
		s.now += RTT;
		ack(&s, 1);
		assert_int_equal(again(&s), 1);
	}
}

/* RFC 5682 2.1 step 2b: with new data at hand, that goes first; its answer decides. */
static void new_data_first(void **state)
{
	(void)state;
	for (int lost = 0; lost < 2; lost++) {
		timeout_with_answers_to_come();
		s.r.more = true;
		ack(&s, 1); /* of the retransmission, or of the original */
		assert_int_equal(s.r.state, LRP_TCP_LOSS);
		assert_int_equal(again(&s), -1);
		assert_true(room(&s) >= 2);
		transmit(&s, 10, 12);
		s.now += RTT;
		if (lost) {
			sack(&s, 1, 10, 11);
			assert_int_equal(s.r.spurious, 0);
			assert_int_equal(again(&s), 1);
		} else {
			ack(&s, 5);
			assert_int_equal(s.r.spurious, 1);
			assert_int_equal(again(&s), -1);
		}
	}
}

static void needed_timeout(void **state)
{
	(void)state;
	timeout_with_answers_to_come();
	ack(&s, 1);
	assert_int_equal(s.r.spurious, 0);
	assert_int_equal(again(&s), 1);
	assert_int_equal(again(&s), 2);
	s.now += RTT;
	ack(&s, 3);
	assert_true(s.cc.cwnd <= 4 * MSS);
}

/* ---- timeouts ---- */

static void doubled(void **state)
{
	int64_t rto, then;

	(void)state;
	sender_init(&s, &lrp_tcp_cubic, 20);
	s.r.sack = false;
	transmit(&s, 0, 10);
	rto = s.r.rtt.rto_ns;
	for (uint32_t i = 1; i < 20; i++) {
		uint32_t ssthresh = s.cc.ssthresh;

		assert_int_equal(expire(&s), LRP_TCP_TIMER_TIMEOUT);
		assert_int_equal(s.r.backoff, i);
		if (i > 1)
			assert_int_equal(s.cc.ssthresh, ssthresh); /* reduced once (RFC 5681 4.3) */
		then = s.now;
		rto = 2 * rto < LRP_TCP_RTO_MAX_NS ? 2 * rto : LRP_TCP_RTO_MAX_NS;
		assert_int_equal(again(&s), 0);
		assert_in_range(lrp_tcp_recovery_deadline(&s.r) - then, rto - MS, rto + MS);
	}
	ack(&s, 1);
	assert_int_equal(s.r.backoff, 0);
}

/* A receiver that has thrown away what it sacked: the timer is short, then that goes again. */
static void reneging(void **state)
{
	(void)state;
	sender_init(&s, &lrp_tcp_cubic, 20);
	transmit(&s, 0, 6);
	s.now += RTT;
	sack(&s, 0, 2, 4);
	ack(&s, 2);
	assert_true(lrp_tcp_recovery_deadline(&s.r) <= s.now + RTT / 2 + MS);
	while (s.r.state != LRP_TCP_LOSS)
		expire(&s);
	assert_int_equal(s.r.board.sacked_bytes, 0);
	assert_int_equal(again(&s), 2);
}

/* ---- window ---- */

/* RFC 3168 6.1.2: once in a window. */
static void ecn_echo(void **state)
{
	uint32_t n = 10;

	(void)state;
	sender_init(&s, &lrp_tcp_newreno, 10);
	transmit(&s, 0, 10);
	s.now += RTT;
	s.ece = true;
	for (uint32_t i = 1; i <= 10; i++) {
		ack(&s, i);
		assert_int_equal(s.r.state, LRP_TCP_CWR_STATE);
		for (; room(&s); n++)
			transmit(&s, n, n + 1);
	}
	assert_true(s.r.cwr);
	assert_int_equal(s.cc.ssthresh, 5 * MSS);
	assert_in_range(n, 14, 16); /* one for two */
	s.now += RTT;
	s.ece = false; /* the receiver has CWR */
	ack(&s, 11);
	assert_int_equal(s.r.state, LRP_TCP_OPEN);
	assert_int_equal(s.cc.cwnd, 5 * MSS);
	s.ece = true;
	ack(&s, 12);
	assert_int_equal(s.r.state, LRP_TCP_CWR_STATE);
	assert_true(s.cc.ssthresh < 5 * MSS);
}

/* A mark and a loss in one window are one congestion: what echoes the mark at the end of recovery
 * is old. */
static void ecn_echo_of_the_same_window(void **state)
{
	uint32_t ssthresh;

	(void)state;
	sender_init(&s, &lrp_tcp_newreno, 20);
	lose_one(&s, 0, 20);
	ssthresh = s.cc.ssthresh;
	s.ece = true;
	s.now += RTT;
	ack(&s, 20);
	assert_int_equal(s.r.state, LRP_TCP_OPEN);
	transmit(&s, 20, 22);
	ack(&s, 20);
	assert_int_equal(s.cc.ssthresh, ssthresh);
	s.now += RTT;
	ack(&s, 21);
	assert_true(s.cc.ssthresh < ssthresh);
}

/* RFC 9661: a window that the application does not fill does not grow, and is given up. */
static void application_limited(void **state)
{
	uint32_t n = 0;

	(void)state;
	sender_init(&s, &lrp_tcp_newreno, 40);
	s.cc.ssthresh = 40 * MSS;
	for (int i = 0; i < 30; i++) {
		transmit(&s, n, n + 5);
		s.now += RTT;
		ack(&s, n += 5);
		assert_true(s.cc.cwnd <= 40 * MSS);
	}
	assert_true(s.cc.cwnd < 20 * MSS);
}

static void restart_after_idle(void **state)
{
	(void)state;
	sender_init(&s, &lrp_tcp_cubic, 40);
	transmit(&s, 0, 40);
	s.now += RTT;
	ack(&s, 40);
	s.now += 30000 * MS;
	lrp_tcp_recovery_restart(&s.r, &s.cc, s.now);
	assert_int_equal(s.cc.cwnd, 10 * MSS);
}

/* RFC 3042, with SACK: what has arrived makes room for new data before any loss is certain. */
static void limited_transmit(void **state)
{
	(void)state;
	sender_init(&s, &lrp_tcp_cubic, 10);
	transmit(&s, 0, 10);
	s.now += RTT;
	sack(&s, 0, 1, 2);
	assert_int_equal(s.r.state, LRP_TCP_DISORDER);
	assert_int_equal(room(&s), 1);
}

/* The path MTU fell: all again, no reduction. */
static void sent_smaller(void **state)
{
	(void)state;
	sender_init(&s, &lrp_tcp_cubic, 10);
	transmit(&s, 0, 10);
	lrp_tcp_cc_mss(&s.cc, MSS / 2);
	lrp_tcp_recovery_resend(&s.r);
	assert_int_equal(s.cc.cwnd, 10 * MSS);
	for (uint32_t i = 0; i < 10; i++)
		assert_int_equal(again(&s), i);
	s.now += RTT;
	ack(&s, 10);
	assert_int_equal(s.r.state, LRP_TCP_OPEN);
	assert_int_equal(s.r.spurious + s.r.recoveries, 0);
}

/* ---- goodput, in the model ---- */

/* 1 % loss at random, 5 ms: sqrt(3/2 / 0.01) = 12.2 segments for each round trip is what Reno's
 * law gives (RFC 9438 4.3), without timeouts or needless retransmissions. */
static void one_percent_loss(void **state)
{
	struct model_config c = {.loss = 100,
				 .delay_ns = 5 * MODEL_MS / 2,
				 .isn = 0u - 5000000,
				 .bytes = 40000000,
				 .burst = 8};
	struct model m;
	uint64_t goodput;

	(void)state;
	model_init(&m, &c);
	goodput = model_run(&m);
	assert_true(goodput > 12 * MODEL_MSS * 200);
	assert_int_equal(m.timeouts, 0);
	assert_true(m.r.segs_again < m.lost + m.lost / 50);
	model_free(&m);
}

/* Reordering by a fifth of the RTT costs next to nothing once it was noticed. */
static void reordering_is_learnt(void **state)
{
	struct model_config c = {.reorder = 200,
				 .reorder_ns = 5 * MODEL_MS,
				 .delay_ns = 25 * MODEL_MS / 2,
				 .bytes = 40000000,
				 .burst = 8};
	struct model m;

	(void)state;
	model_init(&m, &c);
	model_run(&m);
	assert_true(m.r.segs_again < 20);
	assert_int_equal(m.r.recoveries, m.r.spurious);
	model_free(&m);
}

/* A bottleneck with a queue of one round trip is kept full. */
static void fills_a_bottleneck(void **state)
{
	struct model_config c = {.ns_per_segment = 116000,
				 .queue = 86,
				 .delay_ns = 5 * MODEL_MS,
				 .bytes = 60000000,
				 .burst = 8};
	struct model m;

	(void)state;
	model_init(&m, &c);
	assert_true(model_run(&m) > 12483000 / 100 * 97);
	assert_int_equal(m.timeouts, 0);
	model_free(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_arrives),
		cmocka_unit_test(eifel),
		cmocka_unit_test(all_duplicates),
		cmocka_unit_test(spurious_timeout),
		cmocka_unit_test(spurious_timeout_and_a_loss),
		cmocka_unit_test(recovery_after_recovery),
		cmocka_unit_test(partial_acknowledgement),
		cmocka_unit_test(new_data_first),
		cmocka_unit_test(needed_timeout),
		cmocka_unit_test(doubled),
		cmocka_unit_test(reneging),
		cmocka_unit_test(ecn_echo),
		cmocka_unit_test(ecn_echo_of_the_same_window),
		cmocka_unit_test(application_limited),
		cmocka_unit_test(restart_after_idle),
		cmocka_unit_test(limited_transmit),
		cmocka_unit_test(sent_smaller),
		cmocka_unit_test(one_percent_loss),
		cmocka_unit_test(reordering_is_learnt),
		cmocka_unit_test(fills_a_bottleneck),
	};

	return cmocka_run_group_tests_name("tcp_recovery", tests, NULL, NULL);
}

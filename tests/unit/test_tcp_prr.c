/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "tcp_sender.h"

/* RFC 6937 3: from 20 segments to 10, one goes out for two that arrive. */
static void in_proportion(void **state)
{
	struct lrp_tcp_prr p;
	uint32_t flight = 19 * MSS;

	(void)state;
	lrp_tcp_prr_start(&p, 20 * MSS);
	for (int i = 0; i < 20; i++) {
		uint32_t window;

		window = lrp_tcp_prr_window(&p, MSS, flight, 10 * MSS, MSS, false);
		while (flight + MSS <= window) {
			lrp_tcp_prr_sent(&p, MSS);
			flight += MSS;
		}
		flight -= i < 19 ? MSS : 0;
	}
	assert_in_range(p.out, 9 * MSS, 11 * MSS);
	assert_in_range(flight, 9 * MSS, 10 * MSS);
}

static void first_goes_at_once(void **state)
{
	struct lrp_tcp_prr p;

	(void)state;
	lrp_tcp_prr_start(&p, 100 * MSS);
	assert_int_equal(lrp_tcp_prr_window(&p, 0, 99 * MSS, 70 * MSS, MSS, false), 100 * MSS);
	lrp_tcp_prr_sent(&p, MSS);
	assert_int_equal(lrp_tcp_prr_window(&p, 0, 100 * MSS, 70 * MSS, MSS, false), 100 * MSS);
}

/* RFC 9937: below ssthresh as much as arrives goes out, and one more if nothing else was lost. */
static void bound_below_ssthresh(void **state)
{
	struct lrp_tcp_prr p;

	(void)state;
	lrp_tcp_prr_start(&p, 20 * MSS);
	lrp_tcp_prr_sent(&p, MSS);
	p.delivered = MSS;
	assert_int_equal(lrp_tcp_prr_window(&p, MSS, 4 * MSS, 10 * MSS, MSS, false), 5 * MSS);
	lrp_tcp_prr_sent(&p, MSS);
	assert_int_equal(lrp_tcp_prr_window(&p, MSS, 4 * MSS, 10 * MSS, MSS, true), 6 * MSS);
	assert_int_equal(lrp_tcp_prr_window(&p, 8 * MSS, 9 * MSS, 10 * MSS, MSS, true), 10 * MSS);
}

/* Nothing out: something may always go, or nothing would come back. */
static void never_shut(void **state)
{
	struct lrp_tcp_prr p;

	(void)state;
	lrp_tcp_prr_start(&p, 0);
	lrp_tcp_prr_sent(&p, 5 * MSS);
	assert_int_equal(lrp_tcp_prr_window(&p, 0, 0, 2 * MSS, MSS, false), MSS);
}

/* In recovery: the window goes down with the ACKs, not at once, and ends at ssthresh. */
static void recovery_shrinks_gradually(void **state)
{
	struct sender s;
	uint32_t sent = 20, most = 0;

	(void)state;
	sender_init(&s, &lrp_tcp_newreno, 20);
	lose_one(&s, 0, 20);
	assert_int_equal(s.cc.ssthresh, 10 * MSS);
	assert_true(s.cc.cwnd > 15 * MSS);
	for (uint32_t i = 5; i <= 20; i++) {
		uint32_t n = 0;

		sack(&s, 0, 1, i);
		while (room(&s) && n < 20) {
			transmit(&s, sent, sent + 1);
			sent++;
			n++;
		}
		most = n > most ? n : most;
	}
	assert_int_equal(most, 1);
	assert_in_range(sent, 27, 29);
	s.now += RTT;
	ack(&s, 20);
	assert_int_equal(s.r.state, LRP_TCP_OPEN);
	assert_int_equal(s.cc.cwnd, 10 * MSS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_proportion),
		cmocka_unit_test(first_goes_at_once),
		cmocka_unit_test(bound_below_ssthresh),
		cmocka_unit_test(never_shut),
		cmocka_unit_test(recovery_shrinks_gradually),
	};

	return cmocka_run_group_tests_name("tcp_prr", tests, NULL, NULL);
}

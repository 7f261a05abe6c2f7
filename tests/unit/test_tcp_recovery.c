/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "tcp_model.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_arrives),
	};

	return cmocka_run_group_tests_name("tcp_recovery", tests, NULL, NULL);
}

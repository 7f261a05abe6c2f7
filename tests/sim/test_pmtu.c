/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A transfer over a path that is narrower than its device, says so or not, and becomes wider: the
 * segments follow, and the search costs no reductions.
 */
#include <stdio.h>
#include <sys/socket.h>

#include "net.h"

static int failed;

static void expect(bool ok, const char *what, long got)
{
	if (ok)
		return;
	fprintf(stderr, "%s: %ld\n", what, got);
	failed++;
}

static void path(int family, uint32_t mtu, bool silent, double loss)
{
	struct sim *s = sim_new(3);
	struct sim_link l = {.delay_ns = 5 * MS,
			     .bits_per_s = 1000000,
			     .queue_bytes = 1 << 20,
			     .loss = loss,
			     .mtu = mtu,
			     .black_hole = silent};
	struct sim_link back = {.delay_ns = 5 * MS};
	struct sim_app client = sim_app(1ull << 40), server = sim_app(0);
	struct sim_link *there = sim_link(s, &l);
	struct sim_end *c;
	uint32_t headers = (family == AF_INET ? 20 : 40) + 20, reductions;
	long found;

	s->unchecked = true;
	client.snd_bytes = 1 << 15;
	c = sim_pair(s, family, there, sim_link(s, &back), &client, &server);
	sim_run(s, 30 * SECOND);
	found = c->c.path_mss + headers;
	expect(found <= mtu && found > mtu - 16, "path MTU found", found);
	reductions = c->c.recovery.recoveries;
	expect(loss > 0 || !reductions, "reductions", reductions);
	expect(c->c.recovery.timeouts <= (silent ? 4 : 0), "timeouts", c->c.recovery.timeouts);
	/* a router moves */
	there->mtu = 0;
	sim_run(s, 700 * SECOND);
	found = c->c.path_mss + headers;
	expect(found == 1500, "path MTU when it is wide again", found);
	expect(loss > 0 || c->c.recovery.recoveries == reductions, "reductions later",
	       c->c.recovery.recoveries);
	sim_free(s);
}

int main(void)
{
	sim_not_sanitized();
	path(AF_INET, 1400, false, 0);
	path(AF_INET, 1400, true, 0);
	path(AF_INET6, 1300, true, 0);
	path(AF_INET, 900, true, 0);
	path(AF_INET, 1400, true, 0.001);
	return failed != 0;
}

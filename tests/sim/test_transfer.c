/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Both streams arrive whole and in order whatever the network does: seeds choose the network, the
 * applications and the options. LRP_SIM_SEED runs one of them, LRP_SIM_COUNT so many; otherwise
 * there are as many as LRP_SOAK_SECONDS allows.
 */
#include <stdlib.h>
#include <sys/socket.h>

#include "net.h"

#define COUNT 250
#define LIMIT (1800 * SECOND)

static uint64_t pick(struct sim *s, uint64_t n)
{
	return sim_random(s) % n;
}

static uint64_t one_of(struct sim *s, const uint64_t *value, uint32_t n)
{
	return value[pick(s, n)];
}
#define ONE_OF(s, ...)                                                                             \
	one_of(s, (const uint64_t[]){__VA_ARGS__},                                                 \
	       sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

static struct sim_link some_link(struct sim *s)
{
	struct sim_link l = {.delay_ns = (int64_t)ONE_OF(s, 0, 50000, MS, 10 * MS, 100 * MS)};

	if (pick(s, 2))
		l.loss = (double)ONE_OF(s, 1, 10, 30, 100) / 1000;
	if (pick(s, 3) == 0)
		l.reorder = (double)ONE_OF(s, 10, 50, 300) / 1000;
	l.reorder_ns = (int64_t)ONE_OF(s, 100000, 3 * MS, 30 * MS);
	if (pick(s, 3) == 0)
		l.duplicate = 0.03;
	if (pick(s, 3) == 0)
		l.corrupt = 0.02;
	if (pick(s, 3) == 0)
		l.jitter_ns = (int64_t)ONE_OF(s, 10000, MS, 20 * MS);
	if (pick(s, 2)) {
		l.bits_per_s = ONE_OF(s, 1000000, 10000000, 100000000, 1000000000);
		l.queue_bytes = (uint32_t)ONE_OF(s, 5000, 30000, 200000);
		l.mark_bytes = pick(s, 2) ? l.queue_bytes / 3 : 0;
	}
	if (pick(s, 6) == 0) {
		l.mtu = (uint32_t)ONE_OF(s, 1280, 1400, 1499);
		l.black_hole = pick(s, 2);
	}
	return l;
}

static struct sim_app some_app(struct sim *s)
{
	struct sim_app a = sim_app(ONE_OF(s, 0, 1, 1000, 70000, 300000, 1000000));

	a.mtu = (uint32_t)ONE_OF(s, 1500, 1500, 1280, 9000);
	a.snd_bytes = (uint32_t)ONE_OF(s, 4096, 65536, 262144, 1048576);
	a.rcv_bytes = (uint32_t)ONE_OF(s, 4096, 65536, 262144, 1048576);
	a.run_max = (uint32_t)ONE_OF(s, 1, 10000, 65536);
	a.autotune = pick(s, 2);
	if (pick(s, 4) == 0) {
		a.pause_ns = (int64_t)ONE_OF(s, 10000, MS);
		a.read_most = (uint32_t)ONE_OF(s, 1000, 10000, 100000);
	}
	if (pick(s, 8) == 0)
		a.refuse = 0.1;
	a.opt.timestamps = pick(s, 4) != 0;
	a.opt.sack = pick(s, 4) != 0;
	a.opt.wscale = pick(s, 4) != 0;
	a.opt.ecn = pick(s, 2);
	a.opt.nodelay = pick(s, 2);
	a.opt.cc = pick(s, 2) ? &lrp_tcp_cubic : &lrp_tcp_newreno;
	return a;
}

static void one(uint64_t seed)
{
	struct sim *s = sim_new(seed);
	struct sim_link there = some_link(s), back = some_link(s);
	struct sim_link *l[2] = {sim_link(s, &there), sim_link(s, &back)};
	struct sim_app client = some_app(s), server = some_app(s);

	sim_pair(s, pick(s, 2) ? AF_INET : AF_INET6, l[0], l[1], &client, &server);
	sim_finish(s, LIMIT);
	sim_free(s);
}

int main(void)
{
	const char *seed = getenv("LRP_SIM_SEED"), *count = getenv("LRP_SIM_COUNT");
	const char *soak = getenv("LRP_SOAK_SECONDS");
	uint64_t n = COUNT;

	if (soak && strtoull(soak, NULL, 0) > 30)
		n = COUNT * strtoull(soak, NULL, 0) / 30;
	if (count)
		n = strtoull(count, NULL, 0);

	if (seed) {
		one(strtoull(seed, NULL, 0));
		return 0;
	}
	for (uint64_t i = 1; i <= n; i++)
		one(i);
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a bulk transfer reaches over a table of networks, compared with what it reached before
 * (goodput.txt): a change of more than a tenth is a failure, so that a regression is seen, and an
 * improvement written down. LRP_UPDATE=1 writes the file anew.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "net.h"

#define SNAPSHOT  "tests/sim/goodput.txt"
#define TOLERANCE 0.10
#define SEEDS	  3 /* the median counts */
#define LINE	  120

static const struct network {
	const char *name;
	double loss, reorder;
	int64_t rtt_ns;
	double mbit;
	double queue;  /* in bandwidth × round trip */
	double mark;   /* ECN: share of the queue */
	double jitter; /* share of the round trip */
} network[] = {
	{"clean", 0, 0, 20 * MS, 100, 1, 0, 0},
	{"clean, long", 0, 0, 200 * MS, 50, 1, 0, 0},
	{"clean, short", 0, 0, MS / 5, 1000, 2, 0, 0},
	{"shallow queue", 0, 0, 40 * MS, 100, 0.2, 0, 0},
	{"deep queue", 0, 0, 20 * MS, 20, 5, 0, 0},
	{"marks", 0, 0, 20 * MS, 100, 1, 0.5, 0},
	{"loss 0.01 %", 0.0001, 0, 20 * MS, 100, 1, 0, 0},
	{"loss 0.1 %", 0.001, 0, 20 * MS, 100, 1, 0, 0},
	{"loss 1 %", 0.01, 0, 20 * MS, 100, 1, 0, 0},
	{"loss 1 %, short", 0.01, 0, 5 * MS, 100, 1, 0, 0},
	{"loss 5 %", 0.05, 0, 20 * MS, 100, 1, 0, 0},
	{"loss 10 %", 0.10, 0, 20 * MS, 100, 1, 0, 0},
	{"reordering 1 %", 0, 0.01, 20 * MS, 100, 1, 0, 0},
	{"reordering 10 %", 0, 0.10, 20 * MS, 100, 1, 0, 0},
	{"reordering 1 %, loss 0.1 %", 0.001, 0.01, 20 * MS, 100, 1, 0, 0},
	{"jitter", 0, 0, 20 * MS, 100, 1, 0, 0.3},
};
#define NETWORKS (sizeof(network) / sizeof(network[0]))

static const struct variant {
	const char *name;
	const struct lrp_tcp_cc_ops *cc;
	bool sack, timestamps;
} variant[] = {
	{"cubic", &lrp_tcp_cubic, true, true},
	{"reno", &lrp_tcp_newreno, true, true},
	{"cubic without SACK", &lrp_tcp_cubic, false, true},
	{"cubic without timestamps", &lrp_tcp_cubic, true, false},
};
#define VARIANTS (sizeof(variant) / sizeof(variant[0]))

/* Mbit/s of payload: of ten seconds of the bottleneck at most, or what came in 40 s. */
static double one(const struct network *n, const struct variant *v, uint64_t seed)
{
	double bdp = n->mbit * 1e6 / 8 * (double)n->rtt_ns / SECOND;
	struct sim *s = sim_new(seed);
	struct sim_link l = {.loss = n->loss,
			     .reorder = n->reorder,
			     .reorder_ns = n->rtt_ns / 4,
			     .delay_ns = n->rtt_ns / 2,
			     .bits_per_s = (uint64_t)(n->mbit * 1e6),
			     .jitter_ns = (int64_t)((double)n->rtt_ns * n->jitter)};
	struct sim_link back = {.delay_ns = n->rtt_ns / 2};
	uint64_t bytes = (uint64_t)fmin(n->mbit * 1e6 / 8 * 10, 8e6);
	struct sim_app client = sim_app(bytes), server = sim_app(0);
	struct sim_end *e;
	double rate;

	s->unchecked = true;
	l.queue_bytes = (uint32_t)fmax(n->queue * bdp, 20000);
	l.mark_bytes = (uint32_t)(n->mark * l.queue_bytes);
	client.opt.cc = v->cc;
	client.opt.sack = v->sack;
	client.opt.timestamps = v->timestamps;
	client.opt.ecn = server.opt.ecn = n->mark > 0;
	client.snd_bytes = 1 << 22;
	server.rcv_bytes = 1 << 22;
	e = sim_pair(s, AF_INET, sim_link(s, &l), sim_link(s, &back), &client, &server)->peer;
	sim_run(s, 40 * SECOND);
	rate = (double)e->read * 8 / 1e6 /
	       ((double)(e->eof ? e->eof_ns - SIM_T0 : 40 * SECOND) / SECOND);
	sim_free(s);
	return rate;
}

static int ascending(const void *a, const void *b)
{
	double d = *(const double *)a - *(const double *)b;

	return (d > 0) - (d < 0);
}

static double median(const struct network *n, const struct variant *v)
{
	/* the seed matters only where there is chance */
	int seeds = n->loss > 0 || n->reorder > 0 || n->jitter > 0 ? SEEDS : 1;
	double rate[SEEDS];

	for (int i = 0; i < seeds; i++)
		rate[i] = one(n, v, (uint64_t)i + 1);
	qsort(rate, (size_t)seeds, sizeof(rate[0]), ascending);
	return rate[seeds / 2];
}

/* The committed figure, or -1. */
static double before(const char *what)
{
	FILE *f = fopen(SNAPSHOT, "r");
	char line[LINE];
	double rate = -1;

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f))
		if (strncmp(line, what, strlen(what)) == 0 && line[strlen(what)] == ':')
			rate = atof(line + strlen(what) + 1);
	fclose(f);
	return rate;
}

int main(void)
{
	const char *want = getenv("LRP_UPDATE");
	bool update = want && want[0] == '1';
	int failed = 0;
	FILE *f;

	sim_not_sanitized();
	f = update ? fopen(SNAPSHOT, "w") : NULL;
	if (f)
		fprintf(f, "# Mbit/s of payload in the simulator; test_goodput compares, "
			   "LRP_UPDATE=1 rewrites.\n");
	for (size_t i = 0; i < NETWORKS; i++) {
		for (size_t k = 0; k < VARIANTS; k++) {
			double rate = median(&network[i], &variant[k]), old;
			char what[LINE];

			snprintf(what, sizeof(what), "%s, %g ms, %g Mbit/s, %s", network[i].name,
				 (double)network[i].rtt_ns / MS, network[i].mbit, variant[k].name);
			if (f)
				fprintf(f, "%s: %.2f\n", what, rate);
			old = update ? rate : before(what);
			printf("%-70s %8.2f (%8.2f)\n", what, rate, old);
			if (fabs(rate - old) <= TOLERANCE * old)
				continue;
			fprintf(stderr, "%s: %.2f Mbit/s, not %.2f as before\n", what, rate, old);
			failed++;
		}
	}
	if (f)
		fclose(f);
	return failed != 0;
}

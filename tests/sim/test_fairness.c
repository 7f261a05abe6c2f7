/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Flows that share a bottleneck: none starves, all together fill it, and equals get about the same.
 * The shares are those of the second half, when nobody profits from having begun first any more.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "net.h"

#define FLOWS 16
#define TIME  (20 * SECOND)

struct share {
	double first, second; /* of the bottleneck: flows 0..7, flows 8..15 */
	double least;	      /* of a flow, against a sixteenth */
	double jain;	      /* fairness among all: 1 is equal */
};

static struct share share(const struct lrp_tcp_cc_ops *a, const struct lrp_tcp_cc_ops *b,
			  double mbit, int64_t rtt_ns, double queue)
{
	struct sim *s = sim_new(7);
	double bdp = mbit * 1e6 / 8 * (double)rtt_ns / SECOND, sum = 0, squares = 0, total;
	struct sim_link l = {.delay_ns = rtt_ns / 2,
			     .bits_per_s = (uint64_t)(mbit * 1e6),
			     .queue_bytes = (uint32_t)(queue * bdp),
			     .jitter_ns = MS};
	struct sim_link back = {.delay_ns = rtt_ns / 2, .jitter_ns = MS};
	struct sim_link *there = sim_link(s, &l), *home = sim_link(s, &back);
	struct sim_app client = sim_app(1ull << 40), server = sim_app(0);
	struct sim_end *e[FLOWS];
	uint64_t half[FLOWS];
	struct share r = {.least = 1e9};

	s->unchecked = true;
	client.snd_bytes = server.rcv_bytes = 1 << 20;
	for (int i = 0; i < FLOWS; i++) {
		client.opt.cc = i < FLOWS / 2 ? a : b;
		client.start_ns =
			(int64_t)(i % (FLOWS / 2)) * 200 * MS + (i >= FLOWS / 2) * 100 * MS;
		e[i] = sim_pair(s, AF_INET, there, home, &client, &server)->peer;
	}
	sim_run(s, TIME / 2);
	for (int i = 0; i < FLOWS; i++)
		half[i] = e[i]->read;
	sim_run(s, TIME);
	total = mbit * 1e6 / 8 * (double)(TIME / 2) / SECOND;
	for (int i = 0; i < FLOWS; i++) {
		double bytes = (double)(e[i]->read - half[i]);

		sum += bytes;
		squares += bytes * bytes;
		*(i < FLOWS / 2 ? &r.first : &r.second) += bytes / total;
		if (bytes / total * FLOWS < r.least)
			r.least = bytes / total * FLOWS;
	}
	r.jain = sum * sum / (FLOWS * squares);
	sim_free(s);
	return r;
}

static int failed;

static void expect(const char *what, double got, double least, double most)
{
	if (got >= least && got <= most)
		return;
	fprintf(stderr, "%s: %.3f is not within %.2f and %.2f\n", what, got, least, most);
	failed++;
}

int main(void)
{
	static const struct {
		const char *name;
		const struct lrp_tcp_cc_ops *a, *b;
		double mbit;
		int64_t rtt_ns;
		double queue;
	} line[] = {
		{"cubic and cubic", &lrp_tcp_cubic, &lrp_tcp_cubic, 40, 20 * MS, 1},
		{"reno and reno", &lrp_tcp_newreno, &lrp_tcp_newreno, 40, 20 * MS, 1},
		/* where CUBIC works as Reno would (RFC 9438 4.3) */
		{"cubic and reno", &lrp_tcp_cubic, &lrp_tcp_newreno, 40, 20 * MS, 1},
		{"cubic and reno, shallow", &lrp_tcp_cubic, &lrp_tcp_newreno, 40, 20 * MS, 0.5},
	};

	sim_not_sanitized();
	for (size_t i = 0; i < sizeof(line) / sizeof(line[0]); i++) {
		struct share r =
			share(line[i].a, line[i].b, line[i].mbit, line[i].rtt_ns, line[i].queue);
		char what[100];

		printf("%-28s %.3f + %.3f, least %.2f of its part, Jain %.3f\n", line[i].name,
		       r.first, r.second, r.least, r.jain);
		snprintf(what, sizeof(what), "%s: share of the first", line[i].name);
		expect(what, r.first / (r.first + r.second), 0.35, 0.65);
		snprintf(what, sizeof(what), "%s: use of the bottleneck", line[i].name);
		expect(what, r.first + r.second, 0.85, 1);
		snprintf(what, sizeof(what), "%s: least flow", line[i].name);
		expect(what, r.least, 0.25, 1);
		snprintf(what, sizeof(what), "%s: Jain's index", line[i].name);
		expect(what, r.jain, 0.8, 1);
	}
	return failed != 0;
}

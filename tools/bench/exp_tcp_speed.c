// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * exp_tcp_speed.c - TCP unloaded: bulk throughput, requests and answers,
 * connections, and Table 1's transfer with a small buffer.
 */
#include <errno.h>
#include <string.h>

#include "exp_tcp.h"

#define READ_BYTES 131072

static const int repeats_of[] = {2, 5, 9};
static const double seconds_of[] = {0.5, 1, 2};

/* Each case in each placement that is wanted. */
static int run_cases(struct bench *b, const char *name, const char *note,
		     const struct tcp_case *cases, int count)
{
	int p, i, err = 0;

	result_begin(name, b->json_dir);
	result_note("%s", note);
	for (p = 0; p < BED_PLACEMENTS && !err; p++) {
		if (!bench_wants(b, (enum bed_placement)p, BENCH_LONG))
			continue;
		err = bench_place(b, (enum bed_placement)p, TCP_PROGRAMS);
		for (i = 0; i < count && !err; i++)
			if (!b->only || strstr(cases[i].name, b->only))
				err = tcp_compare(b, &cases[i], repeats_of[b->length],
						  seconds_of[b->length]);
	}
	return result_end() ? -EIO : err;
}

int exp_tcp_bulk(struct bench *b)
{
	static char *const discard[] = {"--serve", "discard", "--length", "131072", NULL};
	static char *const source[] = {"--serve", "source", "--length", "131072", NULL};
	static const struct tcp_case cases[] = {
		{.name = "bulk, receiver LRP",
		 .serve = discard,
		 .client = {.kind = TCP_SEND, .length = READ_BYTES},
		 .unit = TCP_MBIT_IN,
		 .baseline = &bench_systems[SYS_STOCK],
		 .target = 1},
		{.name = "bulk, sender LRP",
		 .serve = source,
		 .client = {.kind = TCP_RECEIVE, .length = READ_BYTES},
		 .unit = TCP_MBIT_OUT,
		 .baseline = &bench_systems[SYS_VENDOR],
		 .target = 0.8},
	};

	return run_cases(b, "tcp-bulk",
			 "one connection, reads and writes of 128 KiB. Received: segments of 1500 "
			 "B on both, GRO on for stock. Sent: "
			 "all offloads on, no program on the baseline's pair",
			 cases, 2);
}

int exp_tcp_rr(struct bench *b)
{
	static char *const one[] = {"--serve", "echo", NULL};
	static char *const many[] = {"--serve", "echo", "--poll", NULL};
	static const struct tcp_case cases[] = {
		{.name = "64 B requests, 1 connection",
		 .serve = one,
		 .client = {.kind = TCP_REQUESTS, .length = 64},
		 .baseline = &bench_systems[SYS_STOCK],
		 .target = 1,
		 .awake = true},
		{.name = "64 B requests, 100 connections",
		 .serve = many,
		 .client = {.kind = TCP_REQUESTS, .length = 64, .connections = 100},
		 .baseline = &bench_systems[SYS_STOCK],
		 .target = 1.3},
	};

	return run_cases(b, "tcp-rr",
			 "requests and answers of 64 B, one at a time on each connection", cases,
			 2);
}

int exp_tcp_crr(struct bench *b)
{
	static char *const once[] = {"--serve", "once", NULL};
	static const struct tcp_case cases[] = {
		{.name = "connect, request, close",
		 .serve = once,
		 .client = {.kind = TCP_CONNECTS, .length = 64, .connections = 16},
		 .baseline = &bench_systems[SYS_STOCK],
		 .target = 1},
	};

	return run_cases(b, "tcp-crr", "16 at a time; 64 B each way, the server closes first",
			 cases, 1);
}

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * exp_tcp_speed.c - TCP unloaded: bulk throughput, requests and answers,
 * connections, and Table 1's transfer with a small buffer.
 */
#include "exp_tcp.h"

#define READ_BYTES 131072

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

	return tcp_cases(b, "tcp-bulk",
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

	return tcp_cases(b, "tcp-rr",
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

	return tcp_cases(b, "tcp-crr", "16 at a time; 64 B each way, the server closes first",
			 cases, 1);
}

int exp_tcp_window(struct bench *b)
{
	static char *const discard[] = {"--serve",  "discard", "--length", "32768",
					"--window", "32768",   NULL};
	static char *const source[] = {"--serve", "source",   "--length", "32768",
				       "--total", "25165824", NULL};
	static const struct tcp_case cases[] = {
		{.name = "24 MB, 32 KiB buffered, receiver LRP",
		 .serve = discard,
		 .client = {.kind = TCP_SEND, .length = 32768, .total = 24 << 20},
		 .unit = TCP_MBIT_IN,
		 .baseline = &bench_systems[SYS_STOCK],
		 .target = 1},
		{.name = "24 MB, 32 KiB buffered, sender LRP",
		 .serve = source,
		 .client =
			 {.kind = TCP_RECEIVE, .length = 32768, .total = 24 << 20, .window = 32768},
		 .unit = TCP_MBIT_OUT,
		 .baseline = &bench_systems[SYS_STOCK],
		 .target = 1},
	};

	return tcp_cases(b, "tcp-window",
			 "Table 1: from connect to end of file, five transfers; the receiver "
			 "advertises 32 KiB "
			 "at most; programs on both pairs",
			 cases, 2);
}

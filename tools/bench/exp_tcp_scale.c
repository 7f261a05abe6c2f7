// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * exp_tcp_scale.c - many TCP connections: what they cost those that are active, and
 * memory.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>

#include "exp_tcp.h"
#include "memory.h"

/* ---- 10,000 connections ---------------------------------------------------------------- */

#define PROCESSES 5
#define ACTIVE	  2 /* connections of each process: 10 */
#define MANY	  2000

/* One way to use many connections. */
struct way {
	const char *name;
	bool in_turn; /* a message on each in turn; else on ACTIVE of them, while the others are open */
	double target;
};

static int connect_one(struct bench *b, const struct bench_system *system, uint16_t port,
		       enum tcp_client_kind kind, uint32_t connections, struct tcp_client **client)
{
	*client = tcp_client_new();
	if (!*client)
		return -ENOMEM;
	**client = (struct tcp_client){.kind = kind, .length = 64, .connections = connections};
	return tcp_connect(b, system, false, port, *client) ? bench_error(b, system->name) : 0;
}

/* Transactions a second of all processes with so many connections each. */
static int many(struct bench *b, const struct bench_system *system, const struct way *way,
		uint32_t connections, double seconds, struct tcp_sample *sample)
{
	char count[16], active[16];
	char *turn[] = {"--serve", "echo", "--turn", count, NULL};
	char *poll[] = {"--serve", "echo", "--poll", "--active", active, NULL};
	struct tcp_client *client[2 * PROCESSES] = {0};
	struct bed_proc server[PROCESSES] = {0};
	uint64_t before = 0, after = 0, from, ns;
	struct bed_window w = {0};
	uint16_t port;
	int i, err = 0;

	snprintf(count, sizeof(count), "%u", connections);
	snprintf(active, sizeof(active), "%u", ACTIVE);
	for (i = 0; i < PROCESSES && !err; i++) {
		err = tcp_serve(b, system, way->in_turn ? turn : poll, false, &port, &server[i]);
		if (!err)
			err = connect_one(b, system, port, way->in_turn ? TCP_TURNS : TCP_REQUESTS,
					  way->in_turn ? connections : ACTIVE, &client[i]);
		if (!err && !way->in_turn && connections > ACTIVE)
			err = connect_one(b, system, port, TCP_HOLD, connections - ACTIVE,
					  &client[PROCESSES + i]);
	}
	if (!err) {
		bed_sleep(0.5);
		for (i = 0; i < PROCESSES; i++)
			before += client[i]->done;
		from = bed_now();
		bed_measure(&b->bed, system->program, NULL, seconds, &w);
		for (i = 0; i < PROCESSES; i++)
			after += client[i]->done;
		ns = bed_now() - from;
		sample->value = (double)(after - before) * 1e9 / (double)ns;
		sample->cpu = 1 - fmin(w.left[0], 1);
		sample->left = w.left[1];
		sample->disturbed = w.disturbed;
	}
	for (i = 0; i < 2 * PROCESSES; i++) {
		if (client[i] && client[i]->pid > 0 && tcp_client_stop(&b->bed, client[i]) && !err)
			err = bench_error(b, system->name);
		tcp_client_free(client[i]);
	}
	for (i = 0; i < PROCESSES; i++) {
		if (!err && bench_died(&server[i], system->name))
			err = -EIO;
		bed_stop(&server[i]);
	}
	/* What the kernel and lrpd clear away is not the next run's work. */
	bed_sleep(connections > ACTIVE ? 2 : 0.2);
	return err;
}

static int many_way(struct bench *b, const struct way *way)
{
	static const int repeats[] = {2, 3, 7};
	static const double seconds[] = {0.5, 1, 3};
	static const uint32_t sizes[2] = {ACTIVE, MANY};
	static const int systems[2] = {SYS_STOCK, SYS_LRP};
	struct series rate[2][2] = {0}, cpu[2][2] = {0};
	const char *placement = bed_placement_name[b->bed.placement];
	bool disturbed = false;
	char text[96];
	int k, s, n, err = 0;

	for (k = 0; k < repeats[b->length] && !err; k++) {
		for (n = 0; n < 2; n++) {
			for (s = 0; s < 2 && !err; s++) {
				struct tcp_sample sample = {0};

				progress("%s, %s: %s, %u connections", way->name, placement,
					 bench_systems[systems[s]].name, PROCESSES * sizes[n]);
				err = many(b, &bench_systems[systems[s]], way, sizes[n],
					   seconds[b->length], &sample);
				series_add(&rate[s][n], sample.value);
				series_add(&cpu[s][n], sample.cpu);
				disturbed |= sample.disturbed;
			}
		}
	}
	for (s = 0; s < 2; s++) {
		for (n = 0; n < 2; n++) {
			const char *name =
				bench_system_name(&bench_systems[systems[s]], b->bed.placement);
			struct json_object *o = result_point(name, placement, rate[s][n].count,
							     series_spread(&rate[s][n]), disturbed);

			result_string(o, "measure", way->name);
			result_number(o, "connections", PROCESSES * sizes[n]);
			result_number(o, "per_s", series_median(&rate[s][n]));
			result_number(o, "cpu_server", series_median(&cpu[s][n]));
			result_note(
				"%-8s %-9s %s, %5u connections: %.0f /s (spread %.0f %%), CPU S "
				"%.0f %%%s",
				placement, name, way->name, PROCESSES * sizes[n],
				series_median(&rate[s][n]), 100 * series_spread(&rate[s][n]),
				100 * series_median(&cpu[s][n]), disturbed ? " *" : "");
		}
	}
	for (s = 0; s < 2; s++) {
		double ratio = series_median(&rate[s][1]) / series_median(&rate[s][0]);

		snprintf(text, sizeof(text), "%s, %u connections against %u, %s%s", way->name,
			 PROCESSES * MANY, PROCESSES * ACTIVE, s ? "" : "stock, ", placement);
		if (s && way->target > 0)
			result_target(text, err ? NAN : ratio, "x", AT_LEAST, way->target);
		else
			result_note("%-64s %9.4g x", text, ratio);
	}
	return err;
}

int exp_tcp_many(struct bench *b)
{
	static const struct way ways[] = {{"10 active", false, 0.9}, {"all in turn", true, 0}};
	int p, i, err = 0;

	result_begin("tcp-many", b->json_dir);
	result_note(
		"%d processes, 64 B requests; on 10 connections while the others are idle, or on "
		"each in turn",
		PROCESSES);
	for (p = 0; p < BED_PLACEMENTS && !err; p++) {
		if (!bench_wants(b, (enum bed_placement)p, BENCH_LONG) ||
		    (b->length == BENCH_QUICK && !b->placements && p != BED_NI))
			continue;
		err = bench_place(b, (enum bed_placement)p, TCP_PROGRAMS);
		for (i = 0; i < 2 && !err; i++)
			if (tcp_wants(b, ways[i].name) && (i == 0 || b->length != BENCH_QUICK))
				err = many_way(b, &ways[i]);
	}
	return result_end() ? -EIO : err;
}

/* ---- memory ------------------------------------------------------------------------------ */

/* What `connections` idle ones add to a server, each. */
static int idle_memory(struct bench *b, const struct bench_system *system, uint32_t connections,
		       struct bench_memory *each)
{
	char *serve[] = {"--serve", "echo", "--poll", "--active", "1", NULL};
	struct tcp_client *client[2] = {0};
	struct bench_memory without, with;
	struct bed_proc server = {0};
	uint16_t port;
	int i, err = tcp_serve(b, system, serve, false, &port, &server);

	if (err)
		return err;
	/* What the first connection makes is not the others'. */
	err = connect_one(b, system, port, TCP_REQUESTS, 1, &client[0]);
	bed_sleep(0.3);
	if (!err)
		err = bench_memory(server.pid, &without);
	if (!err)
		err = connect_one(b, system, port, TCP_HOLD, connections, &client[1]);
	bed_sleep(0.5);
	if (!err && server.counters->sockets < connections)
		err = -EIO;
	if (!err)
		err = bench_memory(server.pid, &with);
	for (i = 0; i < 2; i++) {
		if (client[i] && client[i]->pid > 0)
			tcp_client_stop(&b->bed, client[i]);
		tcp_client_free(client[i]);
	}
	bed_stop(&server);
	bed_sleep(2);
	if (err)
		return err;
	*each = (struct bench_memory){.user = (with.user - without.user) / connections,
				      .rings = (with.rings - without.rings) / connections,
				      .records = (with.records - without.records) / connections,
				      .umem = (with.umem - without.umem) / connections,
				      .kernel = (with.kernel - without.kernel) / connections};
	return 0;
}

int exp_tcp_memory(struct bench *b)
{
	struct bench_memory stock = {0}, lrp = {0};
	struct json_object *o;
	int err;

	result_begin("tcp-memory", b->json_dir);
	err = bench_place(b, BED_NI, TCP_PROGRAMS);
	progress("memory: %u connections", MANY);
	if (!err)
		err = idle_memory(b, &bench_systems[SYS_STOCK], MANY, &stock);
	if (!err)
		err = idle_memory(b, &bench_systems[SYS_LRP], MANY, &lrp);
	if (err)
		result_note("did not run to its end: %d connections of one process", MANY);
	o = result_point("lrp", "-", 1, 0, false);
	result_number(o, "connections", MANY);
	result_number(o, "user_bytes", err ? NAN : lrp.user);
	result_number(o, "ring_bytes", lrp.rings);
	result_number(o, "record_bytes", lrp.records);
	result_number(o, "umem_bytes", lrp.umem);
	/* The client's end is a kernel socket in both cases: half of stock's. */
	result_number(o, "kernel_bytes", lrp.kernel - stock.kernel / 2);
	result_number(o, "kernel_bytes_stock", stock.kernel / 2);
	result_target("user memory of an idle connection", err ? NAN : lrp.user / 1024, "KiB",
		      AT_MOST, 8);
	result_note(
		"beside it, each: mapped rings %.1f KiB, user records %.1f KiB; kernel objects "
		"(slab, vmalloc, per-CPU; less the client's socket) %.1f KiB; a kernel connection: "
		"%.1f KiB",
		lrp.rings / 1024, lrp.records / 1024, (lrp.kernel - stock.kernel / 2) / 1024,
		stock.kernel / 2048);
	return result_end() ? -EIO : err;
}

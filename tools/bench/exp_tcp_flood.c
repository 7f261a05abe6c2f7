// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * exp_tcp_flood.c - TCP under floods: does a receiver get more than its share of the CPU, do
 * junk segments on one connection or SYNs at a port that nobody accepts on disturb others.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "exp_tcp.h"
#include "flood.h"

static const int systems[2] = {SYS_STOCK, SYS_LRP};

/* ---- bystanders ------------------------------------------------------------------------------ */

enum bystander_kind {
	JUNK, /* segments with a wrong sequence number at one connection; another of the process */
	SYNS, /* at a port on which nobody accepts; connections of another process */
};

struct bystander {
	const char *name;
	enum bystander_kind kind;
	uint32_t connections; /* of the bystander */
	uint64_t rate;	      /* of the flood */
};

/* What is there during a run. */
struct scene {
	struct bed_proc server, victim;
	struct tcp_client *client, *flooded;
	struct flood *flood;
};

static int scene_open(struct bench *b, const struct bystander *c, const struct bench_system *system,
		      struct scene *s)
{
	char *threads[] = {"--serve", "echo", "--threads", NULL};
	char *poll[] = {"--serve", "echo", "--poll", NULL};
	char *none[] = {"--serve", "none", "--backlog", "16", NULL};
	struct lrp_inject_spec *spec = &s->flood->spec;
	uint16_t port;
	int err = tcp_serve(b, system, c->kind == JUNK ? threads : poll, false, &port, &s->server);

	if (err)
		return err;
	s->flood->rate = c->rate;
	*s->client = (struct tcp_client){
		.kind = TCP_REQUESTS, .length = 64, .connections = c->connections};
	err = tcp_connect(b, system, false, port, s->client);
	if (!err && c->kind == JUNK) {
		*s->flooded = (struct tcp_client){.kind = TCP_HOLD, .length = 64};
		err = tcp_connect(b, system, false, port, s->flooded);
		spec->kind = LRP_INJECT_ACK;
		spec->src.v4 = b->bed.pair[system->program].client_addr;
		spec->sport = s->flooded->first_port;
	} else if (!err) {
		spec->kind = LRP_INJECT_SYN;
		spec->src.v4 = b->bed.pair[system->program].flood_addr;
		spec->sources = 200;
		spec->sport = 1024;
		spec->sports = 50000;
	}
	if (err)
		return bench_error(b, c->name);
	if (c->kind == SYNS)
		err = tcp_serve(b, system, none, false, &port, &s->victim);
	spec->dport = port;
	return err;
}

/* Transactions of the bystander: alone, with the flood at the control's pair, with the flood. */
static int bystander_run(struct bench *b, const struct bystander *c,
			 const struct bench_system *system, double seconds, double rate[3],
			 uint64_t *sent, bool *disturbed)
{
	struct scene s = {
		.client = tcp_client_new(), .flooded = tcp_client_new(), .flood = flood_new()};
	enum bed_program target[3] = {BED_PROGRAMS, BED_DROP, system->program};
	struct bed_window w;
	int i, err = s.client && s.flooded && s.flood ? 0 : -ENOMEM;

	if (!err)
		err = scene_open(b, c, system, &s);
	for (i = 0; i < 3 && !err; i++) {
		uint64_t before, from, flooded;

		if (target[i] != BED_PROGRAMS)
			err = flood_start(b, s.flood, target[i]);
		if (err)
			break;
		bed_sleep(0.3);
		before = s.client->done;
		flooded = s.flood->sent;
		from = bed_now();
		bed_measure(&b->bed, system->program, &s.server, seconds, &w);
		rate[i] = (double)(s.client->done - before) * 1e9 / (double)(bed_now() - from);
		*sent = (uint64_t)((double)(s.flood->sent - flooded) / w.seconds);
		*disturbed |= w.disturbed;
		flood_stop(s.flood);
	}
	if (s.flood)
		flood_stop(s.flood);
	/* A client that got no answer for seconds is a result, not a failure of the run. */
	if (s.client && s.client->pid > 0 && tcp_client_stop(&b->bed, s.client))
		progress("%s: %s", c->name, b->bed.error);
	if (s.flooded && s.flooded->pid > 0)
		tcp_client_stop(&b->bed, s.flooded);
	if (!err && bench_died(&s.server, system->name))
		err = -EIO;
	bed_stop(&s.server);
	bed_stop(&s.victim);
	tcp_client_free(s.client);
	tcp_client_free(s.flooded);
	if (s.flood)
		munmap(s.flood, sizeof(*s.flood));
	return err;
}

static int bystander(struct bench *b, const struct bystander *c)
{
	static const int repeats[] = {2, 3, 7};
	static const double seconds[] = {0.4, 0.8, 2};
	const char *placement = bed_placement_name[b->bed.placement];
	struct series alone[2] = {0}, control[2] = {0}, flooded[2] = {0}, offered[2] = {0};
	bool disturbed = false;
	char text[96];
	int k, s, err = 0;

	for (k = 0; k < repeats[b->length] && !err; k++) {
		for (s = 0; s < 2 && !err; s++) {
			double rate[3] = {0};
			uint64_t sent = 0;

			progress("%s, %s: %s", c->name, placement, bench_systems[systems[s]].name);
			err = bystander_run(b, c, &bench_systems[systems[s]], seconds[b->length],
					    rate, &sent, &disturbed);
			series_add(&alone[s], rate[0]);
			series_add(&control[s], rate[1]);
			series_add(&flooded[s], rate[2]);
			series_add(&offered[s], (double)sent);
		}
	}
	for (s = 0; s < 2; s++) {
		const char *name = bench_system_name(&bench_systems[systems[s]], b->bed.placement);
		struct json_object *o = result_point(name, placement, flooded[s].count,
						     series_spread(&flooded[s]), disturbed);

		result_string(o, "measure", c->name);
		result_number(o, "offered", series_median(&offered[s]));
		result_number(o, "per_s", series_median(&flooded[s]));
		result_number(o, "per_s_control", series_median(&control[s]));
		result_number(o, "per_s_alone", series_median(&alone[s]));
		result_note("%-8s %-9s %-26s %6.0f /s under %s/s (spread %.0f %%), %6.0f in the "
			    "control "
			    "run, %6.0f alone%s",
			    placement, name, c->name, series_median(&flooded[s]),
			    si(series_median(&offered[s])), 100 * series_spread(&flooded[s]),
			    series_median(&control[s]), series_median(&alone[s]),
			    disturbed ? " *" : "");
	}
	snprintf(text, sizeof(text), "%s, against control, %s", c->name, placement);
	result_note("%-64s %9.4g x (stock)", text,
		    series_median(&flooded[0]) / series_median(&control[0]));
	result_target(text, err ? NAN : series_median(&flooded[1]) / series_median(&control[1]),
		      "x", AT_LEAST, 0.9);
	return err;
}

/* ---- shares of the CPU ---------------------------------------------------------------------------- */

#define BESIDE 2

/* The processes that a server has started: their pids as this process sees them. */
static int children(pid_t pid, pid_t child[BESIDE])
{
	char path[64];
	int n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
	f = fopen(path, "re");
	while (f && n < BESIDE && fscanf(f, "%d", &child[n]) == 1)
		n++;
	if (f)
		fclose(f);
	return n == BESIDE ? 0 : -ESRCH;
}

/* A receiver of bulk data and junk beside two processes that compute. Share of what the three got. */
static int share_run(struct bench *b, const struct bench_system *system, const char *nice_text,
		     double seconds, double *part, double *mbit, bool *disturbed)
{
	char *serve[] = {"--serve", "discard", "--length",	  "131072", "--beside",
			 "2",	    "--nice",  (char *)nice_text, NULL};
	struct tcp_client *client = tcp_client_new();
	struct flood *flood = flood_new();
	struct bed_proc server = {0};
	uint64_t before[1 + BESIDE], ns[1 + BESIDE], bytes, from;
	pid_t pid[1 + BESIDE] = {0};
	struct bed_window w;
	double all = 0;
	uint16_t port;
	int i, err = client && flood ? tcp_serve(b, system, serve, false, &port, &server) : -ENOMEM;

	if (err)
		return err;
	pid[0] = server.pid;
	err = children(server.pid, pid + 1);
	*client = (struct tcp_client){.kind = TCP_SEND, .length = 131072};
	if (!err && tcp_connect(b, system, false, port, client))
		err = bench_error(b, "fair share");
	flood->spec = (struct lrp_inject_spec){.kind = LRP_INJECT_ACK,
					       .src.v4 = b->bed.pair[system->program].client_addr,
					       .sport = client->first_port,
					       .dport = port};
	flood->rate = 300000;
	if (!err)
		err = flood_start(b, flood, system->program);
	if (!err) {
		bed_sleep(0.5);
		bytes = server.counters->bytes;
		for (i = 0; i <= BESIDE; i++)
			before[i] = bed_cpu_ns(pid[i]);
		from = bed_now();
		bed_measure(&b->bed, system->program, &server, seconds, &w);
		for (i = 0; i <= BESIDE; i++)
			all += (double)(ns[i] = bed_cpu_ns(pid[i]) - before[i]);
		*mbit = (double)(server.counters->bytes - bytes) * 8e3 / (double)(bed_now() - from);
		*part = 100 * (double)ns[0] / all;
		*disturbed |= w.disturbed;
	}
	flood_stop(flood);
	munmap(flood, sizeof(*flood));
	if (client->pid > 0 && tcp_client_stop(&b->bed, client) && !err)
		err = bench_error(b, "fair share");
	tcp_client_free(client);
	bed_stop(&server);
	return err;
}

static int fair_share(struct bench *b, int nice)
{
	static const int repeats[] = {2, 3, 5};
	static const double seconds[] = {1.5, 3, 6};
	/* Of nice 0 and 10 [kernel/sched/core.c: sched_prio_to_weight]. */
	double weight = nice ? 110 : 1024, bound = 100 * weight / (weight + BESIDE * 1024) + 2;
	const char *placement = bed_placement_name[b->bed.placement];
	struct series part[2] = {0}, mbit[2] = {0};
	bool disturbed = false;
	char text[96], nice_text[8];
	int k, s, err = 0;

	snprintf(nice_text, sizeof(nice_text), "%d", nice);
	for (k = 0; k < repeats[b->length] && !err; k++) {
		for (s = 0; s < 2 && !err; s++) {
			double p = NAN, m = NAN;

			progress("share of a receiver at nice %d, %s: %s", nice, placement,
				 bench_systems[systems[s]].name);
			err = share_run(b, &bench_systems[systems[s]], nice_text,
					seconds[b->length], &p, &m, &disturbed);
			series_add(&part[s], p);
			series_add(&mbit[s], m);
		}
	}
	for (s = 0; s < 2; s++) {
		const char *name = bench_system_name(&bench_systems[systems[s]], b->bed.placement);
		struct json_object *o = result_point(name, placement, part[s].count,
						     series_spread(&part[s]), disturbed);

		result_string(o, "measure", "share of a receiver");
		result_number(o, "nice", nice);
		result_number(o, "share_percent", series_median(&part[s]));
		result_number(o, "mbit_per_s", series_median(&mbit[s]));
		result_note("%-8s %-9s receiver at nice %2d beside two that compute: %.1f %% of "
			    "the three "
			    "(spread %.0f %%), %.0f Mb/s%s",
			    placement, name, nice, series_median(&part[s]),
			    100 * series_spread(&part[s]), series_median(&mbit[s]),
			    disturbed ? " *" : "");
	}
	snprintf(text, sizeof(text), "share of a flooded receiver at nice %d, %s", nice, placement);
	result_target(text, err ? NAN : series_median(&part[1]), "%", AT_MOST, bound);
	return err;
}

int exp_tcp_flood(struct bench *b)
{
	static const struct bystander cases[] = {
		{"junk at another connection", JUNK, 1, 500000},
		{"SYNs at a port unaccepted", SYNS, 8, 500000},
	};
	int p, i, err = 0;

	result_begin("tcp-flood", b->json_dir);
	result_note("share: bulk data and junk at 300 k/s to a receiver beside two processes that "
		    "compute, all in one session; bystanders: 64 B requests, control: the same "
		    "flood at "
		    "a pair that drops everything");
	for (p = 0; p < BED_PLACEMENTS && !err; p++) {
		if (!bench_wants(b, (enum bed_placement)p, BENCH_LONG) ||
		    (b->length == BENCH_QUICK && !b->placements && p != BED_NI))
			continue;
		err = bench_place(b, (enum bed_placement)p, TCP_PROGRAMS);
		for (i = 0; i < 2 && !err; i++)
			if (tcp_wants(b, "share"))
				err = fair_share(b, i ? 10 : 0);
		for (i = 0; i < 2 && !err; i++)
			if (tcp_wants(b, cases[i].name))
				err = bystander(b, &cases[i]);
	}
	return result_end() ? -EIO : err;
}

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * exp_small.c - the smaller costs: a bare AF_XDP loop against a socket, many
 * sockets against one, memory of a socket, and the programs that measure
 * sending, demultiplexing and the fill ring.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "memory.h"
#include "raw_loop.h"

/* ---- bare AF_XDP -------------------------------------------------------------------- */

int exp_raw(struct bench *b)
{
	static const uint64_t rates[] = {1000000, 1500000, 2000000, 2500000, 3000000, UINT64_MAX};
	enum { RATES = sizeof(rates) / sizeof(*rates) };
	static const double seconds[] = {0.3, 0.6, 1.5};
	static const int repeats[] = {2, 3, 5};
	static const enum bed_placement placements[] = {BED_NI, BED_STRICT};
	int p, r, k, s, err = 0;

	result_begin("raw", b->json_dir);
	result_note("a bare AF_XDP receive loop (no protocol, no demultiplexing, no discard) "
		    "against an LRP socket");
	for (p = 0; p < 2 && !err; p++) {
		struct series delivered[2][RATES] = {0}, offered[2][RATES] = {0},
			      cost[2][RATES] = {0};
		struct bed_proc proc[2] = {0};
		double peak[2] = {0};
		bool disturbed = false;
		char text[96];

		err = bench_place(b, placements[p], 1u << BED_LRP | 1u << BED_RAW);
		if (!err)
			err = bench_start(b, &bench_systems[SYS_LRP], "sink", 9000, NULL, &proc[0]);
		if (!err && raw_loop_start(&b->bed, &proc[1]))
			err = bench_error(b, "bare AF_XDP loop");
		for (r = 0; r < RATES && !err; r++) {
			for (k = 0; k < repeats[b->length] && !err; k++) {
				for (s = 0; s < 2 && !err; s++) {
					struct bed_window w;

					progress("raw, %s: %s at %s/s",
						 bed_placement_name[placements[p]],
						 s ? "bare AF_XDP" : "LRP",
						 rates[r] == UINT64_MAX ? "all"
									: si((double)rates[r]));
					err = bench_point(b, s ? BED_RAW : BED_LRP, &proc[s],
							  rates[r], 9000, 0.1, seconds[b->length],
							  &w);
					if (!err && bench_died(&proc[s], s ? "bare AF_XDP" : "LRP"))
						err = -EIO;
					series_add(&delivered[s][r], w.delivered);
					series_add(&offered[s][r], w.offered);
					series_add(&cost[s][r],
						   w.delivered > 0 ? w.receiver * 1e9 / w.delivered
								   : NAN);
					disturbed |= w.disturbed;
				}
			}
		}
		bench_quiet(b);
		bed_stop(&proc[0]);
		bed_stop(&proc[1]);
		if (err)
			break;
		for (r = 0; r < RATES; r++) {
			for (s = 0; s < 2; s++) {
				struct json_object *o = result_point(
					s ? "raw" : "lrp", bed_placement_name[placements[p]],
					delivered[s][r].count, series_spread(&delivered[s][r]),
					disturbed);

				result_number(o, "offered", series_median(&offered[s][r]));
				result_number(o, "delivered", series_median(&delivered[s][r]));
				result_number(o, "receiver_ns_per_packet",
					      series_median(&cost[s][r]));
				peak[s] = fmax(peak[s], series_median(&delivered[s][r]));
			}
			result_note(
				"%-8s %10s: LRP %8s of %8s (%4.0f ns each) | bare %8s of %8s sent "
				"(%4.0f ns each)%s",
				bed_placement_name[placements[p]],
				rates[r] == UINT64_MAX ? "max" : si((double)rates[r]),
				si(series_median(&delivered[0][r])),
				si(series_median(&offered[0][r])), series_median(&cost[0][r]),
				si(series_median(&delivered[1][r])),
				si(series_median(&offered[1][r])), series_median(&cost[1][r]),
				disturbed ? " *" : "");
		}
		snprintf(text, sizeof(text), "peak delivered, LRP against bare AF_XDP, %s",
			 bed_placement_name[placements[p]]);
		result_target(text, peak[1] > 0 ? 100 * peak[0] / peak[1] : NAN, "%", AT_LEAST, 85);
	}
	return result_end() ? -EIO : err;
}

/* ---- many sockets ---------------------------------------------------------------------- */

static int scale_run(struct bench *b, const struct bench_system *s, uint32_t sockets, bool active,
		     double seconds, struct bed_window *w)
{
	char count[16];
	char *extra[] = {active ? "--active" : "--idle", count, NULL};
	struct bed_proc proc;
	int err, tries = 0;

	snprintf(count, sizeof(count), "%u", active ? sockets : sockets - 1);
	err = bench_start(b, s, "sink", 9000, extra, &proc);
	if (err)
		return err;
	err = bed_load(&b->bed, s->program, UINT64_MAX, 9000, active ? sockets : 1, 1);
	if (err)
		bench_error(b, "flood");
	bed_sleep(0.15);
	while (!err) {
		bed_measure(&b->bed, s->program, &proc, seconds, w);
		if (!bench_again(b, w->disturbed, &tries))
			break;
	}
	bench_quiet(b);
	if (!err && bench_died(&proc, s->name))
		err = -EIO;
	bed_stop(&proc);
	/* What lrpd reclaims of the old sockets is not the next run's work. */
	bed_sleep(sockets > 100 ? 1.0 : 0.1);
	return err;
}

int exp_scale(struct bench *b)
{
	static const uint32_t quick[] = {1, 4000}, full[] = {1, 10, 100, 1000, 4000};
	static const double seconds[] = {0.4, 0.6, 1.5};
	static const int repeats[] = {2, 3, 5};
	static const enum bed_placement placements[] = {BED_NI, BED_STRICT};
	const uint32_t *sockets = b->length == BENCH_QUICK ? quick : full;
	int sizes = b->length == BENCH_QUICK ? 2 : 5,
	    placement_count = b->length == BENCH_QUICK ? 1 : 2;
	int p, n, k, a, err = 0;

	result_begin("scale", b->json_dir);
	result_note("open sockets of one process, flood beyond capacity to one of them (open), or "
		    "to all in turn (active)");
	for (p = 0; p < placement_count && !err; p++) {
		/* [active][size]: ns of elapsed time per delivered packet; ns of receiver's CPU */
		struct series ns[2][5] = {0}, cpu[2][5] = {0}, offered[2][5] = {0};
		bool disturbed = false;
		char text[96];

		err = bench_place(b, placements[p], 1u << BED_LRP);
		for (k = 0; k < repeats[b->length] && !err; k++) {
			for (n = 0; n < sizes && !err; n++) {
				for (a = 0; a < (b->length == BENCH_QUICK ? 1 : 2) && !err; a++) {
					struct bed_window w;

					progress("scale, %s: %u sockets %s",
						 bed_placement_name[placements[p]], sockets[n],
						 a ? "active" : "open");
					err = scale_run(b, &bench_systems[SYS_LRP], sockets[n], a,
							seconds[b->length], &w);
					if (err)
						break;
					series_add(&ns[a][n],
						   w.delivered > 0 ? 1e9 / w.delivered : NAN);
					series_add(&cpu[a][n],
						   w.delivered > 0 ? w.receiver * 1e9 / w.delivered
								   : NAN);
					series_add(&offered[a][n], w.offered);
					disturbed |= w.disturbed;
				}
			}
		}
		if (err)
			break;
		for (a = 0; a < 2; a++) {
			for (n = 0; n < sizes && ns[a][n].count; n++) {
				struct json_object *o = result_point(
					"lrp", bed_placement_name[placements[p]], ns[a][n].count,
					series_spread(&ns[a][n]), disturbed);

				result_string(o, "traffic", a ? "to all" : "to one");
				result_number(o, "sockets", sockets[n]);
				result_number(o, "ns_per_packet", series_median(&ns[a][n]));
				result_number(o, "receiver_ns_per_packet",
					      series_median(&cpu[a][n]));
				result_number(o, "offered", series_median(&offered[a][n]));
				result_number(o, "delivered", 1e9 / series_median(&ns[a][n]));
				result_note("%-8s %5u %s: %.0f ns a packet delivered, %.0f ns of "
					    "the receiver's CPU, %s/s offered%s",
					    bed_placement_name[placements[p]], sockets[n],
					    a ? "active" : "open  ", series_median(&ns[a][n]),
					    series_median(&cpu[a][n]),
					    si(series_median(&offered[a][n])),
					    disturbed ? " *" : "");
			}
		}
		snprintf(text, sizeof(text), "cost of a packet, %u open sockets against one, %s",
			 sockets[sizes - 1], bed_placement_name[placements[p]]);
		result_target(text, series_median(&ns[0][sizes - 1]) / series_median(&ns[0][0]),
			      "x", AT_MOST, 1.10);
	}
	return result_end() ? -EIO : err;
}

/* ---- memory of a socket ------------------------------------------------------------------ */

int exp_memory(struct bench *b)
{
	const double sockets = 4000;
	char *extra[] = {"--idle", "4000", NULL};
	struct bed_proc proc = {0};
	struct bench_memory without = {0}, with = {0};
	struct json_object *o;
	int err;

	result_begin("memory", b->json_dir);
	err = bench_place(b, BED_NI, 1u << BED_LRP);
	if (!err)
		err = bench_start(b, &bench_systems[SYS_LRP], "sink", 9000, NULL, &proc);
	if (!err) {
		err = bench_memory(proc.pid, &without);
		bed_stop(&proc);
	}
	bed_sleep(0.3);
	progress("memory: 4000 sockets");
	if (!err)
		err = bench_start(b, &bench_systems[SYS_LRP], "sink", 9000, extra, &proc);
	if (!err) {
		err = bench_memory(proc.pid, &with);
		bed_stop(&proc);
		bed_sleep(1);
	}
	if (!err) {
		o = result_point("lrp", "-", 1, 0, false);
		result_number(o, "sockets", sockets);
		result_number(o, "user_bytes", (with.user - without.user) / sockets);
		result_number(o, "ring_bytes", (with.rings - without.rings) / sockets);
		result_number(o, "record_bytes", (with.records - without.records) / sockets);
		result_number(o, "umem_bytes", (with.umem - without.umem) / sockets);
		result_number(o, "kernel_bytes", (with.kernel - without.kernel) / sockets);
		result_target("user memory of an open socket",
			      (with.user - without.user) / sockets / 1024, "KiB", AT_MOST, 8);
		result_note("beside it, each: mapped rings %.1f KiB, user records %.1f KiB; kernel "
			    "objects (slab, vmalloc, per-CPU; whole machine) %.1f KiB",
			    (with.rings - without.rings) / sockets / 1024,
			    (with.records - without.records) / sockets / 1024,
			    (with.kernel - without.kernel) / sockets / 1024);
	}
	return result_end() ? -EIO : err;
}

/* ---- programs that measure by themselves --------------------------------------------------- */

struct tool {
	const char *path;
	char *const *argv;
	int out;
};

static int tool_main(void *arg)
{
	struct tool *tool = arg;

	dup2(tool->out, 1);
	execv(tool->path, tool->argv);
	perror(tool->path);
	return 127;
}

/* Runs a program that prints one JSON object a line; calls `each` with every one of them. */
static int run_tool(struct bench *b, const char *name, char *const argv[],
		    void (*each)(struct json_object *line))
{
	char path[4200], line[1024];
	struct tool tool = {.path = path, .argv = argv};
	int fds[2], lines = 0, status;
	pid_t pid;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", b->bed.bin, name);
	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	tool.out = fds[1];
	progress("%s", name);
	pid = bed_fork(&b->bed, BED_SERVER, -1, 0, tool_main, &tool);
	close(fds[1]);
	f = fdopen(fds[0], "r");
	while (f && fgets(line, sizeof(line), f)) {
		struct json_object *o = json_tokener_parse(line);

		if (!o)
			continue;
		lines++;
		each(o);
		json_object_put(o);
	}
	if (f)
		fclose(f);
	status = bed_wait(pid, 60000);
	if (status != 0 || !lines) {
		snprintf(b->bed.error, sizeof(b->bed.error),
			 "%s ended with status %d after %d results", name, status, lines);
		return bench_error(b, name);
	}
	return 0;
}

static double number_of(struct json_object *o, const char *name)
{
	struct json_object *v;

	return json_object_object_get_ex(o, name, &v) ? json_object_get_double(v) : NAN;
}

static const char *string_of(struct json_object *o, const char *name)
{
	struct json_object *v;

	return json_object_object_get_ex(o, name, &v) ? json_object_get_string(v) : "";
}

/* A point with all that the program said. */
static struct json_object *copy_point(struct json_object *line, const char *system,
				      const char *placement)
{
	struct json_object *o = result_point(system, placement, (int)number_of(line, "repeats"),
					     number_of(line, "spread"), false);

	json_object_object_foreach(line, key, value)
	{
		if (!json_object_object_get_ex(o, key, NULL))
			json_object_object_add(o, key, json_object_get(value));
	}
	return o;
}

static void send_line(struct json_object *line)
{
	const char *system = string_of(line, "system");
	double ratio = number_of(line, "ratio");
	char text[96];

	copy_point(line, system, "sender");
	result_note("%-24s %s/s, %.2f x its baseline, %.0f ns of CPU each (%.2f x)", system,
		    si(number_of(line, "offered")), ratio, number_of(line, "cpu_ns"),
		    number_of(line, "cpu_ratio"));
	if (strncmp(system, "lrp", 3) != 0)
		return;
	snprintf(text, sizeof(text), "sends per second of a privileged process, %s", system);
	result_target(text, ratio, "x", AT_LEAST, 1.4);
}

int exp_send(struct bench *b)
{
	char *quick[] = {"send_rate", "--json", "--rounds", "5", "--ms", "100", NULL};
	char *full[] = {"send_rate", "--json", NULL};
	int err;

	result_begin("send", b->json_dir);
	err = run_tool(b, "send_rate", b->length == BENCH_QUICK ? quick : full, send_line);
	return result_end() ? -EIO : err;
}

static void demux_line(struct json_object *line)
{
	const char *name = string_of(line, "case");

	copy_point(line, "lrp", "test-run");
	if (strcmp(name, "scale") == 0) {
		result_note("%.0f sockets against one, in the program: %.3f x",
			    number_of(line, "sockets"), number_of(line, "ratio"));
		return;
	}
	result_note("%-18s %6.1f ns, above drop %6.1f ns", name, number_of(line, "ns"),
		    number_of(line, "above_drop_ns"));
	if (strcmp(name, "udp4_any") == 0)
		result_target("demultiplex and discard, above a program that only drops",
			      number_of(line, "above_drop_ns"), "ns", AT_MOST, 80);
}

int exp_demux(struct bench *b)
{
	char *quick[] = {"demux_cost", "--json", "--rounds", "7", "--repeat", "100000", NULL};
	char *full[] = {"demux_cost", "--json", NULL};
	int err;

	result_begin("demux", b->json_dir);
	err = run_tool(b, "demux_cost", b->length == BENCH_QUICK ? quick : full, demux_line);
	return result_end() ? -EIO : err;
}

static void fill_line(struct json_object *line)
{
	const char *system = string_of(line, "system");
	int processes = (int)number_of(line, "processes");

	copy_point(line, system, "-");
	result_note("%-12s %d processes: %.1f ns a frame", system, processes,
		    number_of(line, "ns"));
	/* As a channel returns them, in batches; "lrp-1" is one by one. */
	if (processes == 3 && strcmp(system, "lrp") == 0)
		result_target("frame return to the fill ring, three processes contending",
			      number_of(line, "ns"), "ns", AT_MOST, 30);
}

int exp_fill(struct bench *b)
{
	char *quick[] = {"fill_cost", "--json", "--repeats", "3", "--ms", "100", NULL};
	char *full[] = {"fill_cost", "--json", NULL};
	int err;

	result_begin("fill", b->json_dir);
	err = run_tool(b, "fill_cost", b->length == BENCH_QUICK ? quick : full, fill_line);
	return result_end() ? -EIO : err;
}

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * exp_latency.c - the UDP half of Table 1 (round trip and sliding window), and
 * Figure 4 (round trip while another process is blasted) [4.2].
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "client.h"

#define PROGRAMS    (1u << BED_PASS | 1u << BED_LRP | 1u << BED_DROP)
#define ECHO_PORT   7000
#define WINDOW_PORT 9100

static const struct bench_system *const pair_of_systems[2] = {&bench_systems[SYS_STOCK],
							      &bench_systems[SYS_LRP]};

/* ---- Table 1 ----------------------------------------------------------------------- */

static int round_trips(struct bench *b, enum bed_placement p, struct client_ping *ping)
{
	static const uint32_t counts[] = {2000, 10000, 10000};
	static const int repeats[] = {5, 7, 15};
	struct bed_proc proc[2] = {0};
	struct series mean[2] = {0}, p50[2] = {0}, p99[2] = {0};
	uint32_t lost[2] = {0};
	bool disturbed[2] = {0};
	char text[96];
	int s, k, err = 0;

	for (s = 0; s < 2 && !err; s++)
		err = bench_start(b, pair_of_systems[s], "echo", ECHO_PORT, NULL, &proc[s]);
	/* Run -1 warms up. */
	for (k = -1; k < repeats[b->length] && !err; k++) {
		for (s = 0; s < 2 && !err; s++) {
			struct bed_quiet quiet;
			double steal, foreign;
			int tries = 0;
			bool alone;

			progress("table 1, %s: round trips, %s", bed_placement_name[p],
				 bench_system_name(pair_of_systems[s], p));
			do {
				*ping = (struct client_ping){
					.addr = b->bed.pair[pair_of_systems[s]->program]
							.server_addr,
					.port = ECHO_PORT,
					.length = 1,
					.count = k < 0 ? 200 : counts[b->length],
					.timeout_ms = 200};
				bed_quiet_begin(&b->bed, &quiet);
				err = client_ping_run(&b->bed, ping);
				alone = bed_quiet_end(&b->bed, &quiet, &steal, &foreign);
			} while (!err && bench_again(b, !alone, &tries));
			if (err) {
				bench_error(b, "round trips");
				break;
			}
			if (bench_died(&proc[s], pair_of_systems[s]->name))
				err = -EIO;
			if (k < 0 || err)
				continue;
			disturbed[s] |= !alone;
			lost[s] += ping->lost;
			series_add(&mean[s], (double)ping->elapsed_ns / fmax(1, ping->done) / 1e3);
			series_add(&p50[s], client_ping_quantile(ping, 0.5) / 1e3);
			series_add(&p99[s], client_ping_quantile(ping, 0.99) / 1e3);
		}
	}
	for (s = 0; s < 2; s++)
		bed_stop(&proc[s]);
	if (err)
		return err;
	for (s = 0; s < 2; s++) {
		const char *name = bench_system_name(pair_of_systems[s], p);
		struct json_object *o = result_point(name, bed_placement_name[p], mean[s].count,
						     series_spread(&mean[s]), disturbed[s]);

		result_string(o, "measure", "round trip, 1 byte");
		result_number(o, "mean_us", series_median(&mean[s]));
		result_number(o, "p50_us", series_median(&p50[s]));
		result_number(o, "p99_us", series_median(&p99[s]));
		result_number(o, "lost", lost[s]);
		result_note("%-8s %-9s round trip %.1f us (p50 %.1f, p99 %.1f), spread %.0f %%%s%s",
			    bed_placement_name[p], name, series_median(&mean[s]),
			    series_median(&p50[s]), series_median(&p99[s]),
			    100 * series_spread(&mean[s]), lost[s] ? ", lost some" : "",
			    disturbed[s] ? " *" : "");
	}
	snprintf(text, sizeof(text), "UDP round trip, LRP against stock, unloaded, %s",
		 bed_placement_name[p]);
	result_target(text, series_median(&mean[1]) / series_median(&mean[0]), "x", AT_MOST, 1.02);
	return 0;
}

static int sliding_window(struct bench *b, enum bed_placement p, uint32_t payload)
{
	static const double seconds[] = {0.4, 0.8, 2};
	static const int repeats[] = {3, 5, 7};
	struct bed_proc proc[2] = {0};
	struct series mbit[2] = {0}, per_cpu[2] = {0}, starved[2] = {0};
	uint32_t timeouts[2] = {0};
	bool disturbed[2] = {0};
	bool large = payload > 1472;
	char *extra[] = {"--ack", large ? "4" : "16", "--length", "16384", NULL};
	char text[96];
	int s, k, err = 0;

	for (s = 0; s < 2 && !err; s++)
		err = bench_start(b, pair_of_systems[s], "sink", WINDOW_PORT, extra, &proc[s]);
	for (k = 0; k < repeats[b->length] && !err; k++) {
		for (s = 0; s < 2 && !err; s++) {
			struct bed_window w;
			struct client_window c;
			int tries = 0;

			progress("table 1, %s: sliding window of %u bytes, %s",
				 bed_placement_name[p], payload,
				 bench_system_name(pair_of_systems[s], p));
			do {
				c = (struct client_window){.port = WINDOW_PORT,
							   .payload = payload,
							   .window = large ? 32 : 128,
							   .seconds = seconds[b->length] + 0.2};
				err = client_window_run(&b->bed, &c, &proc[s], 0.1, &w);
			} while (!err && bench_again(b, w.disturbed, &tries));
			if (err) {
				bench_error(b, "sliding window");
				break;
			}
			disturbed[s] |= w.disturbed;
			timeouts[s] += c.timeouts;
			series_add(&mbit[s], c.mbit);
			if (w.left[0] < 0.999)
				series_add(&per_cpu[s], c.mbit / (1 - fmin(w.left[0], 1)));
			series_add(&starved[s], (double)c.starved_ns / (double)c.elapsed_ns);
		}
	}
	for (s = 0; s < 2; s++)
		bed_stop(&proc[s]);
	if (err)
		return err;
	for (s = 0; s < 2; s++) {
		const char *name = bench_system_name(pair_of_systems[s], p);
		struct json_object *o = result_point(name, bed_placement_name[p], mbit[s].count,
						     series_spread(&mbit[s]), disturbed[s]);

		result_string(o, "measure", "sliding window");
		result_number(o, "payload", payload);
		result_number(o, "mbit_per_s", series_median(&mbit[s]));
		result_number(o, "mbit_per_cpu_s", series_median(&per_cpu[s]));
		result_number(o, "client_starved", series_median(&starved[s]));
		result_number(o, "timeouts", timeouts[s]);
		result_note("%-8s %-9s %5u B: %.0f Mb/s (%.0f Mb per second of CPU S; client the "
			    "bottleneck %.0f %%%s), spread %.0f %%%s",
			    bed_placement_name[p], name, payload, series_median(&mbit[s]),
			    series_median(&per_cpu[s]), 100 * series_median(&starved[s]),
			    timeouts[s] ? "; windows lost" : "", 100 * series_spread(&mbit[s]),
			    disturbed[s] ? " *" : "");
	}
	snprintf(text, sizeof(text), "UDP %u B, LRP against stock, %s", payload,
		 bed_placement_name[p]);
	result_target(text, series_median(&mbit[1]) / series_median(&mbit[0]), "x", AT_LEAST, 1.1);
	return 0;
}

int exp_table1(struct bench *b)
{
	struct client_ping *ping = client_ping_new();
	int p, err = ping ? 0 : -ENOMEM;

	result_begin("table1", b->json_dir);
	result_note("round trip of a 1-byte UDP message; sliding window of 128 datagrams of 1,400 "
		    "B or 32 of 8 KiB, no checksums, MTU 1500");
	for (p = 0; p < BED_PLACEMENTS && !err; p++) {
		if (!bench_wants(b, (enum bed_placement)p, BENCH_NORMAL))
			continue;
		err = bench_place(b, (enum bed_placement)p, PROGRAMS);
		if (!err)
			err = round_trips(b, (enum bed_placement)p, ping);
		if (!err)
			err = sliding_window(b, (enum bed_placement)p, 1400);
		if (!err)
			err = sliding_window(b, (enum bed_placement)p, 8192);
	}
	bed_poll_idle(&b->bed, false);
	client_ping_free(ping);
	return result_end() ? -EIO : err;
}

/* ---- Figure 4 ------------------------------------------------------------------------ */

#define FIG4_RATES 16

struct load_point {
	struct series p50, p99, pings, offered, delivered, link;
	uint64_t lost, late, done;
	bool disturbed;
};

enum { FLOOD, CONTROL };

/* One run: flood at `rate` to `target`, ping-pong with the system meanwhile. */
static int loaded_run(struct bench *b, const struct bench_system *s, const struct bed_proc *blast,
		      enum bed_program target, uint64_t rate, double seconds,
		      struct client_ping *ping, struct load_point *out)
{
	struct bed_window w;
	struct bed_quiet quiet;
	double steal, foreign;
	bool alone;
	int tries = 0, err;

	do {
		uint64_t before[2], after[2], seen, sent, received, t;

		err = bed_load(&b->bed, target, rate, s->port, 1, 1);
		if (err)
			return bench_error(b, "flood");
		bed_sleep(rate ? 0.1 : 0);
		*ping = (struct client_ping){.addr = b->bed.pair[s->program].server_addr,
					     .port = ECHO_PORT,
					     .length = 14,
					     .seconds = seconds,
					     .timeout_ms = 100};
		bed_quiet_begin(&b->bed, &quiet);
		seen = bed_seen(&b->bed, target, before);
		sent = bed_sent(&b->bed, target);
		received = blast->counters->received;
		t = bed_now();
		err = client_ping_run(&b->bed, ping);
		t = bed_now() - t;
		seen = bed_seen(&b->bed, target, after) - seen;
		sent = bed_sent(&b->bed, target) - sent;
		received = blast->counters->received - received;
		alone = bed_quiet_end(&b->bed, &quiet, &steal, &foreign);
		w = (struct bed_window){.seconds = (double)t / 1e9};
		/* The pings themselves pass the program too. */
		if (target == s->program && seen > ping->done + ping->lost)
			seen -= ping->done + ping->lost;
		w.offered = (double)seen / w.seconds;
		w.link = sent > seen + seen / 1000 ? (double)(sent - seen) / w.seconds : 0;
		w.delivered = (double)received / w.seconds;
	} while (!err && bench_again(b, !alone, &tries));
	bench_quiet(b);
	if (err)
		return bench_error(b, "ping-pong");
	out->disturbed |= !alone;
	out->lost += ping->lost;
	out->late += ping->late;
	out->done += ping->done;
	series_add(&out->pings, ping->done / w.seconds);
	series_add(&out->offered, rate ? w.offered : 0);
	series_add(&out->link, rate ? w.link : 0);
	series_add(&out->delivered, w.delivered);
	/* A run without an answer has no latency; it has lost pings. */
	series_add(&out->p50, ping->done ? client_ping_quantile(ping, 0.5) / 1e3 : NAN);
	series_add(&out->p99, ping->done ? client_ping_quantile(ping, 0.99) / 1e3 : NAN);
	return 0;
}

static void report_loaded(enum bed_placement p, const struct bench_system *s, const char *run,
			  uint64_t rate, const struct load_point *l)
{
	struct json_object *o = result_point(bench_system_name(s, p), bed_placement_name[p],
					     l->p50.count, series_spread(&l->p50), l->disturbed);

	result_string(o, "run", run);
	result_number(o, "rate", rate == UINT64_MAX ? -1 : (double)rate);
	result_number(o, "offered", series_median(&l->offered));
	result_number(o, "delivered", series_median(&l->delivered));
	result_number(o, "link", series_median(&l->link));
	if (l->done) {
		result_number(o, "p50_us", series_median(&l->p50));
		result_number(o, "p99_us", series_median(&l->p99));
	}
	result_number(o, "round_trips", (double)l->done);
	result_number(o, "lost", (double)l->lost);
	result_number(o, "late", (double)l->late);
}

int exp_fig4(struct bench *b)
{
	static const uint64_t quick[] = {0, 200000, 500000, 1000000, 2000000, UINT64_MAX};
	static const uint64_t full[] = {0,	 50000,	  100000,    200000,  300000,
					400000,	 500000,  700000,    1000000, 1500000,
					2000000, 3000000, UINT64_MAX};
	static const double seconds[] = {0.3, 0.8, 2};
	static const int repeats[] = {2, 3, 5};
	const uint64_t *rate = b->rate ? &b->rate : b->length == BENCH_QUICK ? quick : full;
	int rates = b->rate		       ? 1
		    : b->length == BENCH_QUICK ? (int)(sizeof(quick) / sizeof(*quick))
					       : (int)(sizeof(full) / sizeof(*full));
	/* 4.4BSD prefers a process that has used little of the CPU; EEVDF lets the other end its turn
	 * first, unless the one that wakes has asked for shorter turns. All systems alike. */
	char *slice[] = {"--slice", "100", NULL};
	struct client_ping *ping = client_ping_new();
	int p, s, r, k, err = ping ? 0 : -ENOMEM;

	result_begin("fig4", b->json_dir);
	bed_poll_idle(&b->bed, true);
	result_note("14-byte ping-pong with one process while another is blasted; control: the "
		    "same blast at the pair that drops all");
	for (p = 0; p < BED_PLACEMENTS && !err; p++) {
		static struct load_point point[2][2]
					      [FIG4_RATES]; /* system, FLOOD or CONTROL, rate */
		struct bed_proc echo[2] = {0}, blast[2] = {0};
		double worst50 = 0, worst99 = 0;
		uint64_t lost = 0;
		bool judged = false;
		char text[128];

		if (!bench_wants(b, (enum bed_placement)p, BENCH_NORMAL))
			continue;
		memset(point, 0, sizeof(point));
		err = bench_place(b, (enum bed_placement)p, PROGRAMS);
		for (s = 0; s < 2 && !err; s++) {
			err = bench_start(b, pair_of_systems[s], "echo", ECHO_PORT, slice,
					  &echo[s]);
			if (!err)
				err = bench_start(b, pair_of_systems[s], "sink",
						  pair_of_systems[s]->port, NULL, &blast[s]);
		}
		for (r = 0; r < rates && !err; r++) {
			for (k = 0; k < repeats[b->length] && !err; k++) {
				for (s = 0; s < 2 && !err; s++) {
					const struct bench_system *system = pair_of_systems[s];

					progress("figure 4, %s: %s, blast of %s/s",
						 bed_placement_name[p],
						 bench_system_name(system, (enum bed_placement)p),
						 rate[r] == UINT64_MAX ? "all"
								       : si((double)rate[r]));
					err = loaded_run(b, system, &blast[s], system->program,
							 rate[r], seconds[b->length], ping,
							 &point[s][FLOOD][r]);
					/* Stock's control is for the long run. */
					if (!err && (s == 1 || b->length == BENCH_LONG))
						err = loaded_run(b, system, &blast[s], BED_DROP,
								 rate[r], seconds[b->length], ping,
								 &point[s][CONTROL][r]);
					if (!err && (bench_died(&echo[s], system->name) ||
						     bench_died(&blast[s], system->name)))
						err = -EIO;
				}
			}
		}
		bench_quiet(b);
		for (s = 0; s < 2; s++) {
			bed_stop(&echo[s]);
			bed_stop(&blast[s]);
		}
		if (err)
			break;
		result_note("placement %s: round trip in us, p50/p99, lost of all; the blast as "
			    "offered (link: dropped before the program)",
			    bed_placement_name[p]);
		result_note("%9s | %-30s | %-30s | %-26s | %s", "rate", "stock", "LRP",
			    "LRP, control", "blast, delivered of offered: stock, LRP");
		for (r = 0; r < rates; r++) {
			const struct load_point *st = &point[0][FLOOD][r], *l = &point[1][FLOOD][r],
						*c = &point[1][CONTROL][r];
			double r50 = series_median(&l->p50) / series_median(&c->p50);
			double r99 = series_median(&l->p99) / series_median(&c->p99);
			bool loss_free = series_median(&l->link) == 0;

			for (s = 0; s < 2; s++) {
				report_loaded((enum bed_placement)p, pair_of_systems[s], "flood",
					      rate[r], &point[s][FLOOD][r]);
				if (point[s][CONTROL][r].p50.count)
					report_loaded((enum bed_placement)p, pair_of_systems[s],
						      "control", rate[r], &point[s][CONTROL][r]);
			}
			result_note(
				"%9s | %7.1f/%8.1f %4llu of %-6llu | %7.1f/%8.1f %4llu of %-6llu | "
				"%7.1f/%8.1f %4llu%s | %s of %s, %s of %s%s",
				rate[r] == UINT64_MAX ? "max" : si((double)rate[r]),
				series_median(&st->p50), series_median(&st->p99),
				(unsigned long long)st->lost,
				(unsigned long long)(st->lost + st->done), series_median(&l->p50),
				series_median(&l->p99), (unsigned long long)l->lost,
				(unsigned long long)(l->lost + l->done), series_median(&c->p50),
				series_median(&c->p99), (unsigned long long)c->lost,
				l->disturbed || c->disturbed ? " *" : "  ",
				si(series_median(&st->delivered)), si(series_median(&st->offered)),
				si(series_median(&l->delivered)), si(series_median(&l->offered)),
				loss_free ? "" : " (LRP's link dropped)");
			/* Up to the demux's loss-free rate: where the link had to drop nothing. */
			if (!rate[r] || !loss_free)
				continue;
			judged = true;
			lost += l->lost;
			/* no answer at all: not a number, and not met */
			worst50 = isnan(r50) || isnan(worst50) ? NAN : fmax(worst50, r50);
			worst99 = isnan(r99) || isnan(worst99) ? NAN : fmax(worst99, r99);
		}
		snprintf(text, sizeof(text), "round trip p50 under blast against control, %s",
			 bed_placement_name[p]);
		result_target(text, judged ? worst50 : NAN, "x", AT_MOST, 1.2);
		snprintf(text, sizeof(text), "round trip p99 under blast against control, %s",
			 bed_placement_name[p]);
		result_target(text, judged ? worst99 : NAN, "x", AT_MOST, 2);
		if (p == BED_NI || p == BED_STRICT) {
			snprintf(text, sizeof(text),
				 "pings lost up to the demux's loss-free rate, %s",
				 bed_placement_name[p]);
			result_target(text, judged ? (double)lost : NAN, "", AT_MOST, 0);
		}
	}
	bed_poll_idle(&b->bed, false);
	client_ping_free(ping);
	return result_end() ? -EIO : err;
}

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * exp_overload.c - Figure 3 (delivered against offered) and the maximum
 * loss-free receive rate [4.2].
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"

#define MAX_RATES 24
#define OVERLOAD  4000000u /* packets/s */
#define PROGRAMS  (1u << BED_PASS | 1u << BED_LRP | 1u << BED_DROP)

struct point {
	struct series offered, delivered, link, left, late, cost;
	bool disturbed;
};

struct figure {
	enum bed_placement placement;
	uint64_t rate[MAX_RATES];
	int rates;
	const struct bench_system *system[SYS_COUNT];
	int systems;
	struct point point[SYS_COUNT][MAX_RATES];
	double drop_cost_ns, drop_offered; /* at the highest rate */
};

static struct figure figure;

static void set_rates(struct figure *f, const struct bench *b)
{
	static const uint64_t quick[] = {100000,  300000,  600000,  1000000,   1500000,
					 2000000, 3000000, 4000000, UINT64_MAX};
	static const uint64_t full[] = {50000,	 100000,  200000,    300000,  400000,  500000,
					600000,	 700000,  800000,    1000000, 1250000, 1500000,
					1750000, 2000000, 2500000,   3000000, 3500000, 4000000,
					4500000, 5000000, UINT64_MAX};
	const uint64_t *r = b->length == BENCH_QUICK ? quick : full;

	f->rates = b->length == BENCH_QUICK ? (int)(sizeof(quick) / sizeof(*quick))
					    : (int)(sizeof(full) / sizeof(*full));
	if (b->rate) {
		r = &b->rate;
		f->rates = 1;
	}
	memcpy(f->rate, r, (size_t)f->rates * sizeof(*r));
}

static int measure_figure(struct bench *b, struct figure *f)
{
	static const double seconds[] = {0.35, 0.6, 1.5};
	static const int repeats[] = {2, 3, 5};
	struct bed_proc proc[SYS_COUNT] = {0};
	int s, r, k, err = 0;

	for (s = 0; s < f->systems && !err; s++)
		err = bench_start(b, f->system[s], "sink", f->system[s]->port, NULL, &proc[s]);
	for (r = 0; r < f->rates && !err; r++) {
		for (k = 0; k < repeats[b->length] && !err; k++) {
			for (s = 0; s < f->systems && !err; s++) {
				struct point *p = &f->point[s][r];
				struct bed_window w;

				/* Further systems are for the shape: one repeat of them in a quick
				 * run. */
				if (b->length == BENCH_QUICK && s > 1 && k > 0)
					continue;
				progress("figure 3, %s: %s at %s/s",
					 bed_placement_name[f->placement],
					 bench_system_name(f->system[s], f->placement),
					 f->rate[r] == UINT64_MAX ? "all" : si((double)f->rate[r]));
				err = bench_point(b, f->system[s]->program, &proc[s], f->rate[r],
						  f->system[s]->port, 0.1, seconds[b->length], &w);
				if (!err && bench_died(&proc[s], f->system[s]->name))
					err = -EIO;
				if (err)
					break;
				series_add(&p->offered, w.offered);
				series_add(&p->delivered, w.delivered);
				series_add(&p->link, w.link);
				series_add(&p->left, w.left[0]);
				series_add(&p->late, w.late);
				if (w.delivered > 0)
					series_add(&p->cost, w.receiver * 1e9 / w.delivered);
				p->disturbed |= w.disturbed;
			}
		}
	}
	if (!err) {
		struct bed_window w;

		f->drop_cost_ns = bench_drop_cost(b, UINT64_MAX, seconds[b->length], &w);
		f->drop_offered = w.offered;
	}
	bench_quiet(b);
	for (s = 0; s < f->systems; s++)
		bed_stop(&proc[s]);
	return err;
}

static double delivered(const struct figure *f, int s, int r)
{
	return series_median(&f->point[s][r].delivered);
}

static double offered(const struct figure *f, int s, int r)
{
	return series_median(&f->point[s][r].offered);
}

static double peak(const struct figure *f, int s)
{
	double best = 0;
	int r;

	for (r = 0; r < f->rates; r++)
		best = fmax(best, delivered(f, s, r));
	return best;
}

static void report_figure(struct bench *b, const struct figure *f)
{
	const char *placement = bed_placement_name[f->placement];
	char line[512];
	int s, r;
	size_t n;

	result_note(
		"placement %s: delivered of offered (link: dropped before the program), packets/s",
		placement);
	n = (size_t)snprintf(line, sizeof(line), "%10s", "rate");
	for (s = 0; s < f->systems; s++)
		n += (size_t)snprintf(line + n, sizeof(line) - n, " | %-30s",
				      bench_system_name(f->system[s], f->placement));
	result_note("%s", line);
	for (r = 0; r < f->rates; r++) {
		n = (size_t)snprintf(line, sizeof(line), "%10s",
				     f->rate[r] == UINT64_MAX ? "max" : si((double)f->rate[r]));
		for (s = 0; s < f->systems; s++) {
			const struct point *p = &f->point[s][r];
			struct json_object *o;

			n += (size_t)snprintf(
				line + n, sizeof(line) - n, " | %8s of %8s %7s%s",
				si(delivered(f, s, r)), si(offered(f, s, r)),
				series_median(&p->link) > 0 ? si(series_median(&p->link)) : "",
				p->disturbed ? " *" : "  ");
			o = result_point(bench_system_name(f->system[s], f->placement), placement,
					 p->delivered.count, series_spread(&p->delivered),
					 p->disturbed);
			result_number(o, "offered", offered(f, s, r));
			result_number(o, "delivered", delivered(f, s, r));
			result_number(o, "lost", fmax(0, offered(f, s, r) - delivered(f, s, r)));
			result_number(o, "link", series_median(&p->link));
			result_number(o, "late", series_median(&p->late));
			result_number(o, "cpu_left", series_median(&p->left));
			result_number(o, "receiver_ns_per_packet", series_median(&p->cost));
			result_number(o, "capacity", b->capacity);
			if (f->rate[r] == UINT64_MAX)
				result_string(o, "rate", "max");
			else
				result_number(o, "rate", (double)f->rate[r]);
		}
		result_note("%s", line);
	}
	if (!isnan(f->drop_cost_ns)) {
		struct json_object *o = result_point("control", placement, 1, 0, false);

		result_number(o, "offered", f->drop_offered);
		result_number(o, "drop_cost_ns", f->drop_cost_ns);
		result_note("d, a packet that is only dropped on CPU S: %.0f ns at %s/s; soft "
			    "demux livelocks at 1/d = %s/s at the latest",
			    f->drop_cost_ns, si(f->drop_offered), si(1e9 / f->drop_cost_ns));
	}
}

/*
 * CPU N cannot offer several millions a second while it also puts them into rings: a receiver that is
 * slower overflows earlier. What it delivers at its best rate, and at the highest.
 */
static int measure_overload(struct bench *b)
{
	static const uint64_t rates[] = {200000,  300000,  400000,  600000,
					 1000000, 2000000, 4000000, UINT64_MAX};
	static const double seconds[] = {0.35, 1, 2};
	char *extra[] = {"--work", "2000", NULL};
	const struct bench_system *s = &bench_systems[SYS_LRP];
	struct series at[8] = {0}, offer = {0};
	struct bed_proc proc = {0};
	double best = 0;
	bool disturbed = false;
	int r, k, err = bench_start(b, s, "sink", s->port, extra, &proc);

	for (k = 0; k < 3 && !err; k++)
		for (r = 0; r < 8 && !err; r++) {
			struct bed_window w;

			progress("figure 3, ni: a receiver that works, at %s/s",
				 rates[r] == UINT64_MAX ? "all" : si((double)rates[r]));
			err = bench_point(b, s->program, &proc, rates[r], s->port, 0.1,
					  seconds[b->length], &w);
			if (err)
				break;
			series_add(&at[r], w.delivered);
			if (r == 7)
				series_add(&offer, w.offered);
			disturbed |= w.disturbed;
		}
	bench_quiet(b);
	bed_stop(&proc);
	if (!err) {
		char text[160];
		struct json_object *o = result_point("ni-lrp, 2 us of work", "ni", at[7].count,
						     series_spread(&at[7]), disturbed);

		for (r = 0; r < 8; r++)
			best = fmax(best, series_median(&at[r]));
		result_number(o, "offered", series_median(&offer));
		result_number(o, "delivered", series_median(&at[7]));
		result_number(o, "peak", best);
		snprintf(text, sizeof(text),
			 "ni-lrp, 2 us of work a datagram, delivered at %s/s offered, of own peak",
			 si(series_median(&offer)));
		result_target(text,
			      series_median(&offer) >= 4e6 ? 100 * series_median(&at[7]) / best
							   : NAN,
			      "%", AT_LEAST, 97);
	}
	return err;
}

/* The point with the highest offered rate. */
static int highest(const struct figure *f, int s)
{
	int r, best = 0;

	for (r = 1; r < f->rates; r++)
		if (offered(f, s, r) > offered(f, s, best))
			best = r;
	return best;
}

/* Overload is judged at 4 M/s; the rates beyond are for the shape. */
static int overloaded(const struct figure *f)
{
	int r;

	for (r = 0; r < f->rates; r++)
		if (f->rate[r] == OVERLOAD)
			return r;
	return highest(f, 1);
}

static void judge_figure(const struct figure *f)
{
	const char *placement = bed_placement_name[f->placement];
	int top_stock = highest(f, 0), top = overloaded(f);
	char text[160];

	snprintf(text, sizeof(text), "peak delivered, LRP against stock, %s", placement);
	if (f->placement == BED_FAIR)
		result_note("%s: %.2f x", text, peak(f, 1) / peak(f, 0));
	else
		result_target(text, peak(f, 1) / peak(f, 0), "x", AT_LEAST,
			      f->placement == BED_NI ? 3.0 : 1.32);
	if (f->placement == BED_STRICT) {
		double room = 1 - offered(f, 1, top) * f->drop_cost_ns / 1e9;

		snprintf(text, sizeof(text), "soft-lrp at %s/s offered, strict, of stock's peak",
			 si(offered(f, 1, top)));
		result_target(text, delivered(f, 1, top) / peak(f, 0), "x", AT_LEAST, 0.88);
		snprintf(text, sizeof(text), "the same, of own peak times 1 - offered * d = %.2f",
			 room);
		/* Past 1/d nothing is asked for. */
		result_target(text,
			      room > 0 ? delivered(f, 1, top) / (peak(f, 1) * room) : INFINITY, "x",
			      AT_LEAST, 0.9);
		snprintf(text, sizeof(text),
			 "stock's collapse: delivered at %s/s, strict, of own peak",
			 si(offered(f, 0, top_stock)));
		result_target(text, 100 * delivered(f, 0, top_stock) / peak(f, 0), "%", AT_MOST,
			      20);
	}
}

int exp_fig3(struct bench *b)
{
	int p, err = 0;

	result_begin("fig3", b->json_dir);
	result_note("14-byte UDP, receiver discards; queues of %u datagrams on every system",
		    b->capacity);
	for (p = 0; p < BED_PLACEMENTS && !err; p++) {
		struct figure *f = &figure;

		if (!bench_wants(b, (enum bed_placement)p, BENCH_NORMAL))
			continue;
		memset(f, 0, sizeof(*f));
		f->placement = (enum bed_placement)p;
		set_rates(f, b);
		f->system[f->systems++] = &bench_systems[SYS_STOCK];
		f->system[f->systems++] = &bench_systems[SYS_LRP];
		f->system[f->systems++] = &bench_systems[SYS_EAGER];
		if (b->length != BENCH_QUICK) {
			f->system[f->systems++] = &bench_systems[SYS_STOCK_RECV];
			f->system[f->systems++] = &bench_systems[SYS_LRP_RECV];
		}
		err = bench_place(b, f->placement, PROGRAMS);
		if (!err)
			err = measure_figure(b, f);
		if (!err) {
			report_figure(b, f);
			judge_figure(f);
			if (p == BED_NI)
				err = measure_overload(b);
		}
		/* The next placement attaches anew if its mode differs; receivers are gone. */
	}
	return result_end() ? -EIO : err;
}

/* ---- maximum loss-free receive rate --------------------------------------------- */

struct search {
	double seconds;
	int wanted, runs; /* so many of so many runs must pass */
	double precision; /* stop when high / low is below */
	double ppm;
};

enum verdict { FREE, LOSSY, TOO_FAST }; /* TOO_FAST: the generator does not reach the rate */

static bool search_disturbed; /* some run of this search was */

static int run_once(struct bench *b, const struct bench_system *s, const struct bed_proc *proc,
		    uint64_t rate, const struct search *q, enum verdict *verdict)
{
	uint64_t sent, received, t, settle;
	const volatile uint64_t *count = &proc->counters->received;
	struct bed_quiet quiet;
	double loss, steal, foreign;
	int err;

	bed_quiet_begin(&b->bed, &quiet);
	received = *count;
	sent = bed_sent(&b->bed, s->program);
	err = bed_load(&b->bed, s->program, rate, s->port, 1, 1);
	t = bed_now();
	if (err)
		return bench_error(b, "flood");
	bed_sleep(q->seconds);
	t = bed_now() - t;
	err = bed_load(&b->bed, s->program, 0, s->port, 1, 1);
	if (err)
		return bench_error(b, "flood");
	sent = bed_sent(&b->bed, s->program) - sent;
	/* What is still queued is not lost: until nothing more comes. */
	do {
		settle = *count;
		bed_sleep(0.02);
	} while (*count != settle);
	received = *count - received;
	search_disturbed |= !bed_quiet_end(&b->bed, &quiet, &steal, &foreign);
	loss = sent > received ? (double)(sent - received) / (double)sent * 1e6 : 0;
	*verdict = loss > q->ppm					  ? LOSSY
		   : (double)sent * 1e9 / (double)t < 0.97 * (double)rate ? TOO_FAST
									  : FREE;
	return 0;
}

static int is_loss_free(struct bench *b, const struct bench_system *s, const struct bed_proc *proc,
			uint64_t rate, const struct search *q, enum verdict *verdict)
{
	int passed = 0, slow = 0, failed = 0, k, err;

	for (k = 0; k < q->runs; k++) {
		enum verdict v = LOSSY;

		err = run_once(b, s, proc, rate, q, &v);
		if (err)
			return err;
		passed += v == FREE;
		slow += v == TOO_FAST;
		failed += v == LOSSY;
		if (passed >= q->wanted || failed > q->runs - q->wanted || slow >= q->wanted)
			break;
	}
	*verdict = passed >= q->wanted		  ? FREE
		   : failed > q->runs - q->wanted ? LOSSY
		   : slow >= q->wanted		  ? TOO_FAST
						  : LOSSY;
	return 0;
}

static int search_rate(struct bench *b, const struct bench_system *s, const struct search *q,
		       double *rate, bool *generator_limited)
{
	double low = 0, high = 50000;
	struct bed_proc proc;
	enum verdict v = FREE;
	int err = bench_start(b, s, "sink", s->port, NULL, &proc);

	*generator_limited = search_disturbed = false;
	while (!err && high < 2e7) {
		progress("MLFRR, %s: %s at %s/s", bed_placement_name[b->bed.placement],
			 bench_system_name(s, b->bed.placement), si(high));
		err = is_loss_free(b, s, &proc, (uint64_t)high, q, &v);
		if (err || v != FREE)
			break;
		low = high;
		high *= 2;
	}
	/* Not even that: down to where it is. */
	while (!err && low == 0 && high > 1000) {
		progress("MLFRR, %s: %s at %s/s", bed_placement_name[b->bed.placement],
			 bench_system_name(s, b->bed.placement), si(high / 2));
		err = is_loss_free(b, s, &proc, (uint64_t)(high / 2), q, &v);
		if (v == FREE)
			low = high / 2;
		else
			high /= 2;
	}
	while (!err && low > 0 && high / low > q->precision) {
		double middle = sqrt(low * high);

		progress("MLFRR, %s: %s between %s and %s/s", bed_placement_name[b->bed.placement],
			 bench_system_name(s, b->bed.placement), si(low), si(high));
		err = is_loss_free(b, s, &proc, (uint64_t)middle, q, &v);
		if (v == FREE)
			low = middle;
		else
			high = middle;
		*generator_limited = v == TOO_FAST;
	}
	*rate = low;
	bench_quiet(b);
	if (!err && bench_died(&proc, s->name))
		err = -EIO;
	bed_stop(&proc);
	return err;
}

int exp_mlfrr(struct bench *b)
{
	static const struct search how[] = {
		{0.3, 2, 3, 1.08, 10}, {1, 3, 5, 1.04, 10}, {3, 5, 7, 1.02, 10}};
	const struct search *q = &how[b->length];
	int p, s, err = 0;

	result_begin("mlfrr", b->json_dir);
	result_note(
		"highest rate with at most %.0f ppm loss in %d of %d runs of %.1f s, to %.0f %%",
		q->ppm, q->wanted, q->runs, q->seconds, (q->precision - 1) * 100);
	for (p = 0; p < BED_PLACEMENTS && !err; p++) {
		double rate[2] = {0};
		char text[96];

		if (!bench_wants(b, (enum bed_placement)p, BENCH_LONG))
			continue;
		err = bench_place(b, (enum bed_placement)p, PROGRAMS);
		for (s = 0; s < 2 && !err; s++) {
			const struct bench_system *system = &bench_systems[s ? SYS_LRP : SYS_STOCK];
			struct json_object *o;
			bool limited;

			err = search_rate(b, system, q, &rate[s], &limited);
			if (err)
				break;
			o = result_point(bench_system_name(system, (enum bed_placement)p),
					 bed_placement_name[p], q->runs, q->precision - 1,
					 search_disturbed);
			result_number(o, "offered", rate[s]);
			result_number(o, "delivered", rate[s]);
			result_number(o, "lost", 0);
			json_object_object_add(o, "generator_limited",
					       json_object_new_boolean(limited));
			result_note("%-8s %-9s %s/s%s", bed_placement_name[p],
				    bench_system_name(system, (enum bed_placement)p), si(rate[s]),
				    limited ? " (the generator goes no faster)" : "");
		}
		if (err)
			break;
		snprintf(text, sizeof(text), "MLFRR, LRP against stock, %s", bed_placement_name[p]);
		if (p == BED_FAIR)
			result_note("%s: %.2f x", text, rate[1] / rate[0]);
		else
			result_target(text, rate[0] > 0 ? rate[1] / rate[0] : NAN, "x", AT_LEAST,
				      p == BED_NI ? 2.0 : 1.44);
	}
	return result_end() ? -EIO : err;
}

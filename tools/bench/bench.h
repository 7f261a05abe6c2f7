/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * bench.h - what the experiments share: the bed, how long to measure, the
 * systems that are compared.
 */
#ifndef LRP_BENCH_BENCH_H
#define LRP_BENCH_BENCH_H

#include "bed/bed.h"
#include "bed/measure.h"
#include "result.h"

enum bench_length { BENCH_QUICK, BENCH_NORMAL, BENCH_LONG };

struct bench {
	struct bed bed;
	enum bench_length length;
	const char *json_dir;
	uint32_t capacity; /* datagrams that a receive queue holds, on every system */
	uint32_t truesize[BED_PLACEMENTS]; /* what the kernel accounts for one of ours; 0: not yet
					      measured */
	int retries;			   /* how often a disturbed window is measured again */
	int retries_left; /* of all: on a machine that is never quiet a run must end all the same */
	bool no_plots;
	unsigned int placements; /* bit per placement that was asked for; 0: those of the length */
	uint64_t rate;		 /* of fig3 alone; 0: all */
	const char *only;	 /* part of the names of the TCP cases that are wanted; NULL: all */
};

/* Whether an experiment is to be run in a placement; `fair` only if asked for or from `least` on. */
static inline bool bench_wants(const struct bench *b, enum bed_placement p, enum bench_length least)
{
	if (b->placements)
		return b->placements >> p & 1;
	return p != BED_FAIR || b->length >= least;
}

/* A system under test: a program on a pair and a receiver on it. */
struct bench_system {
	const char *name;
	enum bed_program program;
	const char *receiver; /* --system of sink and echo */
	const char *call;     /* further option of sink, or NULL */
	bool eager;
	uint16_t port;
};

enum { SYS_STOCK, SYS_LRP, SYS_EAGER, SYS_STOCK_RECV, SYS_LRP_RECV, SYS_VENDOR, SYS_COUNT };
extern const struct bench_system bench_systems[SYS_COUNT];

/* stock, eager; ni-lrp or soft-lrp, by placement. */
const char *bench_system_name(const struct bench_system *s, enum bed_placement placement);

/* Placement with stock, LRP and control, and the truesize in it. 0 or -errno, said on stderr. */
int bench_place(struct bench *b, enum bed_placement placement, unsigned int programs);

/* Starts sink or echo; `extra` are further arguments, NULL-terminated, or NULL. */
int bench_start(struct bench *b, const struct bench_system *s, const char *program, uint16_t port,
		char *const extra[], struct bed_proc *proc);
/* Has it ended by itself? Then says so and returns true. */
bool bench_died(const struct bed_proc *proc, const char *name);

/*
 * Flood at `rate`, warm up, measure; again if disturbed. Leaves the flood on.
 */
int bench_point(struct bench *b, enum bed_program target, const struct bed_proc *proc,
		uint64_t rate, uint16_t port, double warm_s, double seconds, struct bed_window *w);
/* True if what was disturbed is to be measured again; `tries`: so often already. */
bool bench_again(struct bench *b, bool disturbed, int *tries);
int bench_quiet(struct bench *b); /* flood off */

/* d: what a packet costs CPU S when the program drops it, at a rate; ns. NAN on CPU N's placements.
 */
double bench_drop_cost(struct bench *b, uint64_t rate, double seconds, struct bed_window *w);

/* One way of a cache line from one CPU to another, ns. Takes some 20 ms of both. */
double bench_bounce_ns(int cpu_a, int cpu_b);

int bench_error(struct bench *b, const char *what); /* prints bed.error, returns -EIO */

/* The experiments: 0 or -errno. */
int exp_fig3(struct bench *b);
int exp_mlfrr(struct bench *b);
int exp_table1(struct bench *b);
int exp_fig4(struct bench *b);
int exp_raw(struct bench *b);
int exp_scale(struct bench *b);
int exp_memory(struct bench *b);
int exp_send(struct bench *b);
int exp_demux(struct bench *b);
int exp_fill(struct bench *b);
int exp_tcp_bulk(struct bench *b);
int exp_tcp_rr(struct bench *b);
int exp_tcp_crr(struct bench *b);
int exp_tcp_window(struct bench *b);
int exp_tcp_loss(struct bench *b);
int exp_tcp_fair(struct bench *b);
int exp_tcp_many(struct bench *b);
int exp_tcp_memory(struct bench *b);
int exp_tcp_flood(struct bench *b);
int exp_proxies(struct bench *b);

/* Plots from the JSON files, if gnuplot is there. */
void plot_fig3(const char *json_dir);
void plot_fig4(const char *json_dir);

#endif

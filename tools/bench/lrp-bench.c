// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * lrp-bench - runs the paper's experiments in a bed of its own and says which
 * targets are met.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "bench.h"

struct experiment {
	const char *name;
	int (*run)(struct bench *b);
	const char *text;
	bool long_only; /* not among "quick" */
};

static const struct experiment experiments[] = {
	{"fig3", exp_fig3, "delivered against offered (Figure 3)", false},
	{"mlfrr", exp_mlfrr, "maximum loss-free receive rate", false},
	{"table1", exp_table1, "UDP round trip and sliding window (Table 1)", false},
	{"fig4", exp_fig4, "round trip while another process is blasted (Figure 4)", false},
	{"raw", exp_raw, "a bare AF_XDP loop against a socket", false},
	{"send", exp_send, "UDP sends per second", false},
	{"demux", exp_demux, "cost of demultiplexing and discard", false},
	{"fill", exp_fill, "frames back to the fill ring", false},
	{"scale", exp_scale, "many sockets against one", false},
	{"memory", exp_memory, "memory of an open socket", false},
	{"tcp-bulk", exp_tcp_bulk, "TCP throughput, one connection", false},
	{"tcp-rr", exp_tcp_rr, "TCP requests and answers", false},
	{"tcp-crr", exp_tcp_crr, "TCP connections per second", false},
	{"tcp-window", exp_tcp_window, "24 MB with 32 KiB buffered (Table 1)", true},
	{"tcp-loss", exp_tcp_loss, "TCP goodput with loss", true},
	{"tcp-fair", exp_tcp_fair, "TCP connections of both systems at one bottleneck", true},
	{"tcp-many", exp_tcp_many, "10,000 connections against 10", true},
	{"tcp-memory", exp_tcp_memory, "memory of an idle connection", true},
	{"proxies", exp_proxies, "floods of what no socket owns, and who pays for them", true},
	{"tcp-flood", exp_tcp_flood, "TCP under floods: shares of the CPU, bystanders", true},
};
#define EXPERIMENTS (sizeof(experiments) / sizeof(*experiments))

/* By its name, or by that of a group. */
static bool named(const struct experiment *e, const char *name)
{
	if (strcmp(name, "quick") == 0)
		return !e->long_only;
	if (strcmp(name, "tcp") == 0)
		return strncmp(e->name, "tcp-", 4) == 0;
	return strcmp(name, "all") == 0 || strcmp(name, e->name) == 0;
}

static void usage(FILE *to)
{
	size_t i;

	fprintf(to, "Usage: lrp-bench NAME... [--quick|--long] [--json DIR] [--capacity N] "
		    "[--placement P] [--rate R] [--only TEXT] [--no-spinners] [--same]\n"
		    "Builds a test bed of network namespaces, measures, and leaves nothing behind. "
		    "Needs root and two CPUs.\n");
	for (i = 0; i < EXPERIMENTS; i++)
		fprintf(to, "  %-10s %s\n", experiments[i].name, experiments[i].text);
	fprintf(to, "  %-10s those of TCP\n  %-10s a choice that takes five minutes\n  %-10s all\n",
		"tcp", "quick", "all");
	fprintf(to, "--placement ni, strict, softirq or fair: that one alone; --rate: fig3 and "
		    "fig4 at that "
		    "rate alone, packets/s.\n");
	fprintf(to, "--only: of the TCP cases those whose name contains the text.\n");
	fprintf(to, "--same puts stock in LRP's place: what then differs from 1 is the method's "
		    "error.\n");
	fprintf(to, "A * marks what other load or the hypervisor disturbed, repeats included.\n");
}

static void describe(const struct bench *b)
{
	struct utsname u;

	uname(&u);
	printf("Linux %s, %s; CPU S = %d (server), CPU N = %d (load and clients)%s\n", u.release,
	       u.machine, b->bed.cpu_server, b->bed.cpu_load,
	       b->bed.spinners ? "; SCHED_IDLE spinner on each" : "");
	printf("Offloads, all pairs alike: GRO on at both ends; segmentation as veth leaves it "
	       "with a program attached; MTU 1500\n");
	fflush(stdout);
}

static int run(struct bench *b, const struct experiment *e)
{
	double before = bench_bounce_ns(b->bed.cpu_server, b->bed.cpu_load);
	uint64_t t = bed_now();
	int err = e->run(b);

	result_note("%s: %.0f s; a cache line between the CPUs: %.0f ns before, %.0f ns after",
		    e->name, (double)(bed_now() - t) / 1e9, before,
		    bench_bounce_ns(b->bed.cpu_server, b->bed.cpu_load));
	if (!err && b->json_dir && strcmp(e->name, "fig3") == 0)
		plot_fig3(b->json_dir);
	if (!err && b->json_dir && strcmp(e->name, "fig4") == 0)
		plot_fig4(b->json_dir);
	return err;
}

static void on_signal(int signo)
{
	/* The bed goes with this process; nothing else is to be done. */
	_exit(128 + signo);
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {{"quick", 0, 0, 'q'},
					      {"long", 0, 0, 'l'},
					      {"json", 1, 0, 'j'},
					      {"capacity", 1, 0, 'c'},
					      {"no-spinners", 0, 0, 's'},
					      {"same", 0, 0, 'S'},
					      {"only", 1, 0, 'o'},
					      {"placement", 1, 0, 'p'},
					      {"rate", 1, 0, 'r'},
					      {"help", 0, 0, 'h'},
					      {0}};
	static struct bench b = {
		.length = BENCH_NORMAL, .capacity = 1024, .retries = 2, .retries_left = 300};
	bool chosen[EXPERIMENTS] = {0}, any = false, spinners = true, same = false;
	int c, failed = 0;
	size_t i;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (c) {
		case 'q':
			b.length = BENCH_QUICK;
			break;
		case 'l':
			b.length = BENCH_LONG;
			break;
		case 'j':
			b.json_dir = optarg;
			break;
		case 'c':
			b.capacity = (uint32_t)atoi(optarg);
			break;
		case 's':
			spinners = false;
			break;
		case 'S':
			same = true;
			break;
		case 'p':
			for (c = 0; c < BED_PLACEMENTS; c++)
				if (strcmp(optarg, bed_placement_name[c]) == 0)
					b.placements = 1u << c;
			if (!b.placements) {
				fprintf(stderr,
					"lrp-bench: --placement %s: ni, strict, softirq or fair\n",
					optarg);
				return 2;
			}
			break;
		case 'r':
			b.rate = (uint64_t)strtod(optarg, NULL);
			if (!b.rate) {
				fprintf(stderr,
					"lrp-bench: --rate %s: packets a second, such as 4e6\n",
					optarg);
				return 2;
			}
			break;
		case 'o':
			b.only = optarg;
			break;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	for (; optind < argc; optind++) {
		bool known = false;

		if (strcmp(argv[optind], "quick") == 0)
			b.length = BENCH_QUICK;
		for (i = 0; i < EXPERIMENTS; i++)
			if (named(&experiments[i], argv[optind]))
				known = chosen[i] = any = true;
		if (!known) {
			fprintf(stderr, "lrp-bench: %s: no such experiment\n", argv[optind]);
			usage(stderr);
			return 2;
		}
	}
	if (!any || b.capacity < 16 || b.capacity > 16384) {
		usage(stderr);
		return 2;
	}
	if (b.length == BENCH_QUICK)
		b.retries = 1, b.retries_left = 40;
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	signal(SIGPIPE, SIG_IGN);
	if (bed_open(&b.bed, spinners)) {
		bool skip = geteuid() != 0;

		fprintf(stderr, "lrp-bench: %s\n", b.bed.error);
		bed_close(&b.bed);
		return skip ? 77 : 1;
	}
	b.bed.same = same;
	describe(&b);
	for (i = 0; i < EXPERIMENTS; i++)
		if (chosen[i] && run(&b, &experiments[i]))
			failed++;
	bed_close(&b.bed);
	printf("\n%d target%s missed%s\n", result_missed(), result_missed() == 1 ? "" : "s",
	       failed ? "; some experiments did not run to their end" : "");
	if (result_doubtful())
		printf("%d verdicts (*) rest on points that other load disturbed: repeat them on a "
		       "quiet machine\n",
		       result_doubtful());
	if (b.json_dir)
		printf("results: %s\n", b.json_dir);
	return failed ? 1 : 0;
}

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * lrp-demo - overloads the same UDP server on stock sockets and on LRP, shows
 * both side by side while it runs, and leaves a plot.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/bench/bed/bed.h"
#include "tools/bench/bed/measure.h"

#include "view.h"

#define CAPACITY 1024u /* datagrams in a receive queue, on both systems */
#define PORT	 9000
#define ROUNDS	 3

static const uint64_t rates[] = {50000,	  100000,  200000,  400000,  700000,	1000000,
				 1500000, 2000000, 3000000, 4000000, UINT64_MAX};
#define STEPS (int)(sizeof(rates) / sizeof(*rates))

static const struct {
	const char *name, *receiver;
	enum bed_program program;
} systems[2] = {{"stock sockets", "stock", BED_PASS}, {"LRP sockets", "lrp", BED_LRP}};

static const char *const placement_text[BED_PLACEMENTS] = {
	"demultiplexing on the other CPU, as on an interface with its own processor",
	"receive processing at interrupt priority on the server's CPU",
	"receive processing in softirq on the server's CPU",
	"receive processing in a thread of ordinary priority on the server's CPU",
};

static struct bed bed;
static struct view_step steps[STEPS];

static void usage(FILE *to)
{
	fprintf(to, "Usage: lrp-demo [--placement strict|ni|softirq|fair] [--plain] [--out DIR]\n"
		    "Floods a UDP server on stock sockets and on LRP, from calm to several million "
		    "packets a second,\n"
		    "in network namespaces of its own. About a minute; needs root and two CPUs; "
		    "leaves nothing behind\n"
		    "but the plot.\n");
}

/* Several short windows, so that the view lives; the step's value is their mean. */
static int run_step(int at, int s, const struct bed_proc *proc)
{
	struct bed_window w;
	double offered = 0, delivered = 0;
	int k, err;

	err = bed_load(&bed, systems[s].program, rates[at], PORT, 1, 64);
	if (err)
		return err;
	bed_sleep(0.15);
	for (k = 0; k < ROUNDS; k++) {
		bed_measure(&bed, systems[s].program, proc, 0.4, &w);
		offered += w.offered;
		delivered += w.delivered;
		steps[at].offered[s] = offered / (k + 1);
		steps[at].delivered[s] = delivered / (k + 1);
		view_update(steps, at, s, &w);
	}
	return bed_load(&bed, systems[s].program, 0, PORT, 1, 1);
}

static int start(int s, uint32_t truesize, struct bed_proc *proc)
{
	char rcvbuf[16], addr[INET_ADDRSTRLEN];
	char *argv[] = {"sink",	  "--system", (char *)systems[s].receiver,
			"--addr", addr,	      "--port",
			"9000",	  "--rcvbuf", rcvbuf,
			NULL};

	inet_ntop(AF_INET, &bed.pair[systems[s].program].server_addr, addr, sizeof(addr));
	snprintf(rcvbuf, sizeof(rcvbuf), "%u", bed_rcvbuf(systems[s].program, CAPACITY, truesize));
	return bed_start(&bed, proc, systems[s].program, argv, NULL);
}

static int run(enum bed_placement placement)
{
	struct bed_proc proc[2] = {0};
	uint32_t truesize;
	int at, s, err;

	err = bed_place(&bed, placement, 1u << BED_PASS | 1u << BED_LRP);
	if (!err)
		err = bed_truesize(&bed, &truesize);
	for (s = 0; s < 2 && !err; s++)
		err = start(s, truesize, &proc[s]);
	for (at = 0; at < STEPS && !err; at++) {
		steps[at].rate = rates[at];
		for (s = 0; s < 2 && !err; s++)
			err = run_step(at, s, &proc[s]);
	}
	for (s = 0; s < 2; s++)
		bed_stop(&proc[s]);
	return err;
}

/* ---- what remains ------------------------------------------------------------------- */

static void write_plot(const char *dir, enum bed_placement placement)
{
	char data[4200], svg[4200], real[4096];
	FILE *f;
	int i, s;

	if (mkdir(dir, 0777) && errno != EEXIST) {
		fprintf(stderr, "lrp-demo: %s: %s\n", dir, strerror(errno));
		return;
	}
	if (!realpath(dir, real))
		return;
	snprintf(data, sizeof(data), "%s/demo-%s.dat", real, bed_placement_name[placement]);
	snprintf(svg, sizeof(svg), "%s/demo-%s.svg", real, bed_placement_name[placement]);
	f = fopen(data, "we");
	if (!f) {
		fprintf(stderr, "lrp-demo: %s: %s\n", data, strerror(errno));
		return;
	}
	fprintf(f, "# offered and delivered, packets/s: stock, then LRP\n");
	for (i = 0; i < STEPS; i++) {
		for (s = 0; s < 2; s++)
			fprintf(f, "%.0f %.0f ", steps[i].offered[s], steps[i].delivered[s]);
		fprintf(f, "\n");
	}
	fclose(f);
	f = popen("gnuplot 2>&1", "w");
	if (!f) {
		printf("Data: %s (no plot: %s)\n", data, strerror(errno));
		return;
	}
	fprintf(f,
		"set terminal svg size 800,480 font 'sans,13' background 'white'\nset output '%s'\n"
		"set title 'UDP delivered under overload, placement %s'\n"
		"set xlabel 'offered (million packets/s)'\nset ylabel 'delivered (million "
		"packets/s)'\n"
		"set key top left\nset grid\nset xrange [0:*]\nset yrange [0:*]\n"
		"plot '%s' using ($1/1e6):($2/1e6) with linespoints lw 2 pt 6 title 'stock "
		"sockets', "
		"'%s' using ($3/1e6):($4/1e6) with linespoints lw 2 pt 7 title 'LRP sockets'\n",
		svg, bed_placement_name[placement], data, data);
	if (pclose(f) == 0)
		printf("Plot: %s\n", svg);
	else
		printf("Data: %s (no plot: gnuplot failed; Debian package gnuplot-nox)\n", data);
}

static void report(enum bed_placement placement)
{
	double peak[2] = {0};
	int i, s;

	printf("\nPlacement %s: %s.\n\n", bed_placement_name[placement], placement_text[placement]);
	printf("%24s %25s\n", systems[0].name, systems[1].name);
	printf("%12s %11s %13s %11s\n", "offered", "delivered", "offered", "delivered");
	for (i = 0; i < STEPS; i++) {
		for (s = 0; s < 2; s++) {
			printf("%*s/s", s ? 11 : 10, view_si(steps[i].offered[s]));
			printf(" %9s/s", view_si(steps[i].delivered[s]));
			peak[s] = fmax(peak[s], steps[i].delivered[s]);
		}
		printf("\n");
	}
	printf("\n");
	for (s = 0; s < 2; s++)
		printf("%-14s peak %s/s; at the highest rate %s/s, %.0f %% of that\n",
		       systems[s].name, view_si(peak[s]), view_si(steps[STEPS - 1].delivered[s]),
		       peak[s] > 0 ? 100 * steps[STEPS - 1].delivered[s] / peak[s] : 0);
}

static void on_signal(int signo)
{
	view_close();
	_exit(128 + signo);
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {{"placement", 1, 0, 'p'},
					      {"plain", 0, 0, 't'},
					      {"out", 1, 0, 'o'},
					      {"help", 0, 0, 'h'},
					      {0}};
	enum bed_placement placement = BED_STRICT;
	char out[4200];
	bool plain = false;
	int c, i, err;

	out[0] = 0;
	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (c) {
		case 'p':
			for (i = 0; i < BED_PLACEMENTS && strcmp(optarg, bed_placement_name[i]);
			     i++)
				;
			if (i == BED_PLACEMENTS) {
				fprintf(stderr,
					"lrp-demo: --placement %s: strict, ni, softirq or fair\n",
					optarg);
				return 2;
			}
			placement = (enum bed_placement)i;
			break;
		case 't':
			plain = true;
			break;
		case 'o':
			snprintf(out, sizeof(out), "%s", optarg);
			break;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	signal(SIGPIPE, SIG_IGN);
	err = bed_open(&bed, true);
	if (!err) {
		if (!out[0])
			snprintf(out, sizeof(out), "%s/../demo", bed.bin);
		view_open(plain, bed_placement_name[placement], placement_text[placement],
			  systems[0].name, systems[1].name, STEPS);
		err = run(placement);
		view_close();
	}
	if (err)
		fprintf(stderr, "lrp-demo: %s\n", bed.error);
	if (!err) {
		report(placement);
		/* Before the bed goes: without its process 1 this process can start no other. */
		write_plot(out, placement);
	}
	bed_close(&bed);
	return !err ? 0 : geteuid() ? 77 : 1;
}

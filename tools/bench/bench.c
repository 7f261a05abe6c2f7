// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

const struct bench_system bench_systems[SYS_COUNT] = {
	[SYS_STOCK] = {"stock", BED_PASS, "stock", NULL, false, 9000},
	[SYS_LRP] = {"lrp", BED_LRP, "lrp", NULL, false, 9000},
	[SYS_EAGER] = {"eager", BED_LRP, "lrp", NULL, true, 9001},
	[SYS_STOCK_RECV] = {"stock-recvfrom", BED_PASS, "stock", "--recv", false, 9002},
	[SYS_LRP_RECV] = {"lrp-recvfrom", BED_LRP, "lrp", "--recv", false, 9002},
	[SYS_VENDOR] = {"vendor", BED_BARE, "stock", NULL, false, 9000},
};

const char *bench_system_name(const struct bench_system *s, enum bed_placement placement)
{
	if (s == &bench_systems[SYS_LRP])
		return placement == BED_NI ? "ni-lrp" : "soft-lrp";
	if (s == &bench_systems[SYS_LRP_RECV])
		return placement == BED_NI ? "ni-lrp-recvfrom" : "soft-lrp-recvfrom";
	return s->name;
}

int bench_error(struct bench *b, const char *what)
{
	progress("%s", "");
	fprintf(stderr, "lrp-bench: %s: %s\n", what, b->bed.error);
	return -EIO;
}

int bench_place(struct bench *b, enum bed_placement placement, unsigned int programs)
{
	int err = bed_place(&b->bed, placement, programs);

	result_section();
	if (!err && (programs & 1u << BED_PASS) && !b->truesize[placement])
		err = bed_truesize(&b->bed, &b->truesize[placement]);
	return err ? bench_error(b, bed_placement_name[placement]) : 0;
}

int bench_start(struct bench *b, const struct bench_system *s, const char *program, uint16_t port,
		char *const extra[], struct bed_proc *proc)
{
	char addr[INET_ADDRSTRLEN], port_text[8], rcvbuf[16], what[64];
	char *argv[24] = {(char *)program, "--system", (char *)s->receiver, "--addr", addr,
			  "--port",	   port_text};
	char *env[] = {"LRP_EAGER=1", NULL};
	int n = 7, i;

	if (b->bed.same)
		argv[2] = "stock";
	inet_ntop(AF_INET, &b->bed.pair[s->program].server_addr, addr, sizeof(addr));
	snprintf(port_text, sizeof(port_text), "%u", port);
	if (strcmp(program, "sink") == 0) {
		snprintf(rcvbuf, sizeof(rcvbuf), "%u",
			 bed_rcvbuf(b->bed.same ? BED_PASS : s->program, b->capacity,
				    b->truesize[b->bed.placement]));
		argv[n++] = "--rcvbuf";
		argv[n++] = rcvbuf;
		if (s->call)
			argv[n++] = (char *)s->call;
	}
	for (i = 0; extra && extra[i] && n < 23; i++)
		argv[n++] = extra[i];
	argv[n] = NULL;
	if (bed_start(&b->bed, proc, s->program, argv, s->eager ? env : NULL) == 0)
		return 0;
	snprintf(what, sizeof(what), "%s (%s)", program, s->name);
	return bench_error(b, what);
}

bool bench_died(const struct bed_proc *proc, const char *name)
{
	siginfo_t info = {0};

	if (proc->pid <= 0 || waitid(P_PID, (id_t)proc->pid, &info, WEXITED | WNOHANG | WNOWAIT) ||
	    !info.si_pid)
		return false;
	progress("%s", "");
	fprintf(stderr, "lrp-bench: the receiver of %s ended by itself\n", name);
	return true;
}

bool bench_again(struct bench *b, bool disturbed, int *tries)
{
	if (!disturbed || *tries >= b->retries || b->retries_left <= 0)
		return false;
	(*tries)++;
	b->retries_left--;
	return true;
}

int bench_point(struct bench *b, enum bed_program target, const struct bed_proc *proc,
		uint64_t rate, uint16_t port, double warm_s, double seconds, struct bed_window *w)
{
	int tries = 0, err;

	err = bed_load(&b->bed, target, rate, port, 1, 1);
	if (err)
		return bench_error(b, "flood");
	bed_sleep(warm_s);
	do {
		bed_measure(&b->bed, target, proc, seconds, w);
	} while (bench_again(b, w->disturbed, &tries));
	return 0;
}

int bench_quiet(struct bench *b)
{
	int err = bed_load(&b->bed, BED_PASS, 0, 9, 1, 1);

	return err ? bench_error(b, "flood") : 0;
}

double bench_drop_cost(struct bench *b, uint64_t rate, double seconds, struct bed_window *w)
{
	if (bench_point(b, BED_DROP, NULL, rate, 9, 0.1, seconds, w))
		return NAN;
	if (b->bed.placement == BED_NI || !b->bed.spinners || w->offered < 1)
		return NAN;
	return (1 - fmin(w->left[0], 1)) * 1e9 / w->offered;
}

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "measure.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

#define PF_KTHREAD 0x00200000u

/* Stolen ticks of all CPUs. */
static uint64_t steal_ticks(void)
{
	unsigned long long v[8] = {0};
	FILE *f = fopen("/proc/stat", "re");

	if (f && fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2],
			&v[3], &v[4], &v[5], &v[6], &v[7]) != 8)
		v[7] = 0;
	if (f)
		fclose(f);
	return v[7];
}

/* CPU time of processes that are neither kernel threads nor the bed's nor this one, in ticks. */
static uint64_t foreign_ticks(const struct bed *bed)
{
	struct dirent *entry;
	char path[300], line[1024], link[64];
	DIR *proc = opendir("/proc");
	uint64_t sum = 0;

	while (proc && (entry = readdir(proc))) {
		unsigned long long utime, stime;
		unsigned int flags;
		ssize_t n;
		char *p;
		FILE *f;

		if (!isdigit((unsigned char)entry->d_name[0]) || atoi(entry->d_name) == getpid())
			continue;
		snprintf(path, sizeof(path), "/proc/%s/ns/pid", entry->d_name);
		n = readlink(path, link, sizeof(link) - 1);
		if (n > 0) {
			link[n] = 0;
			if (strcmp(link, bed->inner_pidns) == 0)
				continue;
		}
		snprintf(path, sizeof(path), "/proc/%s/stat", entry->d_name);
		f = fopen(path, "re");
		if (!f)
			continue;
		if (fgets(line, sizeof(line), f) && (p = strrchr(line, ')')) &&
		    sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %u %*u %*u %*u %*u %llu %llu", &flags,
			   &utime, &stime) == 3 &&
		    !(flags & PF_KTHREAD))
			sum += utime + stime;
		fclose(f);
	}
	if (proc)
		closedir(proc);
	return sum;
}

uint64_t bed_cpu_ns(pid_t pid)
{
	char path[300];
	struct dirent *entry;
	uint64_t sum = 0;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	tasks = opendir(path);
	while (tasks && (entry = readdir(tasks))) {
		unsigned long long ns;
		FILE *f;

		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", pid, entry->d_name);
		f = fopen(path, "re");
		if (f && fscanf(f, "%llu", &ns) == 1)
			sum += ns;
		if (f)
			fclose(f);
	}
	if (tasks)
		closedir(tasks);
	return sum;
}

void bed_quiet_begin(struct bed *bed, struct bed_quiet *quiet)
{
	quiet->foreign_ns = foreign_ticks(bed);
	quiet->steal = steal_ticks();
	quiet->t_ns = bed_now();
}

bool bed_quiet_end(struct bed *bed, const struct bed_quiet *quiet, double *steal, double *foreign)
{
	double ticks = (double)sysconf(_SC_CLK_TCK) * (double)(bed_now() - quiet->t_ns) / 1e9;
	uint64_t s = steal_ticks(), f = foreign_ticks(bed);

	/* A process that ended takes its ticks with it: not below zero. */
	*steal = s > quiet->steal ? (double)(s - quiet->steal) / ticks : 0;
	*foreign = f > quiet->foreign_ns ? (double)(f - quiet->foreign_ns) / ticks : 0;
	return *steal <= BED_STEAL_LIMIT && *foreign <= BED_FOREIGN_LIMIT;
}

/* What the runtime takes of SO_RCVBUF for one datagram, before the kernel doubles it
 * [runtime/dgram/options.c: FRAME_COST]. */
#define LRP_RCVBUF_UNIT 416u

uint32_t bed_rcvbuf(enum bed_program program, uint32_t capacity, uint32_t truesize)
{
	return capacity * (program == BED_LRP ? LRP_RCVBUF_UNIT : (truesize + 1) / 2);
}

int bed_truesize(struct bed *bed, uint32_t *truesize)
{
	struct bed_proc proc;
	char *argv[] = {"sink", "--port", "9900", "--rcvbuf", "4000000", "--truesize", NULL};
	int err;

	err = bed_start(bed, &proc, BED_PASS, argv, NULL);
	if (err)
		return err;
	err = bed_load(bed, BED_PASS, 2000, 9900, 1, 1);
	bed_sleep(0.03);
	if (!err)
		err = bed_load(bed, BED_PASS, 0, 9900, 1, 1);
	if (!err && bed_wait(proc.pid, 6000) != 0)
		err = -EIO;
	else if (!err)
		proc.pid = 0;
	*truesize = (uint32_t)proc.counters->truesize;
	bed_stop(&proc);
	if (!err && !*truesize)
		err = -EIO;
	return err ? bed_fail(bed, err,
			      "the kernel does not say what a datagram takes of SO_RCVBUF")
		   : 0;
}

struct sample {
	uint64_t t_ns, sent, seen, received, late, spin[2], receiver_ns, napi_ns;
};

static void take(const struct bed *bed, enum bed_program program, const struct bed_proc *proc,
		 struct sample *s)
{
	const struct bed_pair *pair = &bed->pair[program];
	uint64_t per_cpu[2];

	/* Slow things first, then the counters close together. */
	s->receiver_ns = proc ? bed_cpu_ns(proc->pid) : 0;
	s->napi_ns = pair->napi ? bed_cpu_ns(pair->napi) : 0;
	s->seen = bed_seen(bed, program, per_cpu);
	s->sent = bed_sent(bed, program);
	s->received = proc ? __atomic_load_n(&proc->counters->received, __ATOMIC_RELAXED) : 0;
	s->late = proc ? __atomic_load_n(&proc->counters->late, __ATOMIC_RELAXED) : 0;
	s->spin[0] = bed_spun(bed, 0);
	s->spin[1] = bed_spun(bed, 1);
	s->t_ns = bed_now();
}

void bed_measure(struct bed *bed, enum bed_program program, const struct bed_proc *proc,
		 double seconds, struct bed_window *w)
{
	struct bed_quiet quiet;
	struct sample a, b;
	double ns;
	int i;

	memset(w, 0, sizeof(*w));
	bed_quiet_begin(bed, &quiet);
	take(bed, program, proc, &a);
	bed_sleep(seconds);
	take(bed, program, proc, &b);
	w->disturbed = !bed_quiet_end(bed, &quiet, &w->steal, &w->foreign);
	ns = (double)(b.t_ns - a.t_ns);
	w->seconds = ns / 1e9;
	w->sent = (double)(b.sent - a.sent) / w->seconds;
	w->offered =
		bed->pair[program].seen_fd >= 0 ? (double)(b.seen - a.seen) / w->seconds : w->sent;
	w->delivered = (double)(b.received - a.received) / w->seconds;
	w->late = (double)(b.late - a.late) / w->seconds;
	/* The two are not read at one instant: below a thousandth it is that. */
	w->link = w->sent > w->offered * 1.001 ? w->sent - w->offered : 0;
	w->receiver = (double)(b.receiver_ns - a.receiver_ns) / ns;
	w->napi = (double)(b.napi_ns - a.napi_ns) / ns;
	for (i = 0; i < 2; i++)
		w->left[i] = bed->spin_per_s[i] ? (double)(b.spin[i] - a.spin[i]) / w->seconds /
							  (double)bed->spin_per_s[i]
						: 0;
}

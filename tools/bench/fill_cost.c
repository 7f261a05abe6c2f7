/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * fill_cost.c - what it costs to put a frame back on a fill ring: ours, with
 * many producers, in batches as a channel returns them ("lrp") and one by one
 * ("lrp-1"), against libxdp's ring, which allows one producer, and against that ring behind a
 * process-shared mutex, which a stopped process would leave locked.
 *
 *     fill_cost [--json] [--repeats N] [--ms N]
 *
 * Rings lie in shared memory and nobody reads them: no algorithm here waits for
 * a reader. Processes are pinned round robin to the CPUs. Reported is CPU time
 * per frame over all processes (and wall time), median of the repeats, with their spread;
 * systems take turns.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <xdp/xsk.h>

#include "runtime/base/clock.h"
#include "runtime/ring/fill.h"

#define FRAMES	      32768u
#define FRAME_SHIFT   11
#define BURST	      63 /* frames of a batch: a quarter of the usual limit */
#define PROCESSES_MAX 8
#define REPEATS_MAX   101

enum system { SYSTEM_LRP, SYSTEM_LRP_SINGLE, SYSTEM_LIBXDP, SYSTEM_MUTEX };

static const char *const names[] = {"lrp", "lrp-1", "libxdp", "mutex"};

static const struct {
	enum system system;
	int processes;
} points[] = {
	{SYSTEM_LIBXDP, 1}, {SYSTEM_MUTEX, 1},	    {SYSTEM_LRP_SINGLE, 1}, {SYSTEM_LRP, 1},
	{SYSTEM_MUTEX, 3},  {SYSTEM_LRP_SINGLE, 3}, {SYSTEM_LRP, 3},
};
#define POINTS (sizeof(points) / sizeof(points[0]))

struct shared {
	_Atomic uint32_t ready, go, stop;
	struct {
		uint64_t frames, cpu_ns;
		uint8_t pad[48];
	} result[PROCESSES_MAX];
	pthread_mutex_t mutex;
	struct xsk_ring_prod prod;
	uint8_t pad[64];
	_Atomic uint32_t producer;
	uint8_t pad2[60];
	_Atomic uint32_t flags;
	uint8_t pad3[60];
	_Atomic uint64_t slot[FRAMES];
};

static struct shared *shared;
static struct lrp_pool_view pool;

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * LRP_NS_PER_S + (uint64_t)ts.tv_nsec;
}

static void push_libxdp(uint64_t addr)
{
	uint32_t index;

	if (xsk_ring_prod__reserve(&shared->prod, 1, &index) == 1) {
		*xsk_ring_prod__fill_addr(&shared->prod, index) = addr;
		xsk_ring_prod__submit(&shared->prod, 1);
	}
}

static uint64_t next_addr(uint64_t addr)
{
	return (addr + (7u << FRAME_SHIFT)) % ((uint64_t)FRAMES << FRAME_SHIFT);
}

static void push_burst(enum system system, uint64_t addr)
{
	struct lrp_fill_cursor cursor;

	switch (system) {
	case SYSTEM_LRP:
		cursor = lrp_fill_begin(&pool);
		for (int i = 0; i < BURST; i++, addr = next_addr(addr))
			lrp_fill_put(&pool, &cursor, addr);
		lrp_fill_end(&pool, &cursor);
		break;
	case SYSTEM_LRP_SINGLE:
		for (int i = 0; i < BURST; i++, addr = next_addr(addr))
			lrp_fill_push(&pool, addr);
		break;
	case SYSTEM_LIBXDP:
		for (int i = 0; i < BURST; i++, addr = next_addr(addr))
			push_libxdp(addr);
		break;
	case SYSTEM_MUTEX:
		for (int i = 0; i < BURST; i++, addr = next_addr(addr)) {
			pthread_mutex_lock(&shared->mutex);
			push_libxdp(addr);
			pthread_mutex_unlock(&shared->mutex);
		}
		break;
	}
}

static void work(enum system system, int self, int cpu)
{
	uint64_t frames = 0, start;
	cpu_set_t set;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
	push_burst(system, (uint64_t)self << FRAME_SHIFT);
	shared->ready++;
	while (!shared->go)
		sched_yield();
	start = cpu_ns();
	while (!atomic_load_explicit(&shared->stop, memory_order_relaxed)) {
		push_burst(system, (frames % FRAMES) << FRAME_SHIFT);
		frames += BURST;
	}
	shared->result[self].cpu_ns = cpu_ns() - start;
	shared->result[self].frames = frames;
	_exit(0);
}

static int reset(void)
{
	pthread_mutexattr_t attr;

	memset(shared, 0, sizeof(*shared));
	shared->prod = (struct xsk_ring_prod){
		.mask = FRAMES - 1,
		.size = FRAMES,
		/* The kernel has always read everything. */
		.producer = (uint32_t *)&shared->producer,
		.consumer = (uint32_t *)&shared->producer,
		.ring = (void *)shared->slot,
		.flags = (uint32_t *)&shared->flags,
		.cached_cons = FRAMES,
	};
	return pthread_mutexattr_init(&attr) ||
	       pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED) ||
	       pthread_mutex_init(&shared->mutex, &attr);
}

/* 0, or -1: a process could not be made. */
static int measure(enum system system, int processes, unsigned int ms, const int *cpus,
		   int cpu_count, double *ns_cpu, double *ns_wall)
{
	uint64_t frames = 0, cpu = 0, start, wall;
	pid_t pid[PROCESSES_MAX];
	int i, started;

	if (reset())
		return -1;
	for (started = 0; started < processes; started++) {
		pid[started] = fork();
		if (pid[started] < 0)
			break;
		if (pid[started] == 0)
			work(system, started, cpus[started % cpu_count]);
	}
	while (started == processes && shared->ready < (uint32_t)processes)
		usleep(1000);
	start = lrp_now_ns();
	shared->go = 1;
	usleep(ms * 1000);
	shared->stop = 1;
	wall = lrp_now_ns() - start;
	for (i = 0; i < started; i++) {
		waitpid(pid[i], NULL, 0);
		frames += shared->result[i].frames;
		cpu += shared->result[i].cpu_ns;
	}
	if (started < processes || !frames)
		return -1;
	*ns_cpu = (double)cpu / (double)frames;
	*ns_wall = (double)wall / (double)frames;
	return 0;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static int number(const char *s, long min, long max, long *value)
{
	char *end;

	errno = 0;
	*value = s ? strtol(s, &end, 10) : 0;
	return !s || errno || *end || *value < min || *value > max;
}

int main(int argc, char **argv)
{
	static double ns[POINTS][REPEATS_MAX], wall[POINTS][REPEATS_MAX];
	int cpus[CPU_SETSIZE], cpu_count = 0;
	long repeats = 7, ms = 100;
	bool json = false, bad = false;
	cpu_set_t set;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--json"))
			json = true;
		else if (!strcmp(argv[i], "--repeats"))
			bad |= number(argv[++i], 1, REPEATS_MAX, &repeats);
		else if (!strcmp(argv[i], "--ms"))
			bad |= number(argv[++i], 10, 10000, &ms);
		else
			bad = true;
		if (bad) {
			fprintf(stderr, "usage: %s [--json] [--repeats 1..101] [--ms 10..10000]\n",
				argv[0]);
			return 2;
		}
	}
	if (sched_getaffinity(0, sizeof(set), &set)) {
		perror("sched_getaffinity");
		return 1;
	}
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &set))
			cpus[cpu_count++] = i;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (shared == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	pool = (struct lrp_pool_view){
		.fill_producer = &shared->producer,
		.fill_slot = shared->slot,
		.fill_flags = &shared->flags,
		.fill_size = FRAMES,
		.fill_shift = 15,
		.frames = FRAMES,
		.frame_size = 1u << FRAME_SHIFT,
		.frame_shift = FRAME_SHIFT,
	};
	for (long r = 0; r < repeats; r++) {
		for (size_t i = 0; i < POINTS; i++) {
			if (measure(points[i].system, points[i].processes, (unsigned int)ms, cpus,
				    cpu_count, &ns[i][r], &wall[i][r])) {
				fprintf(stderr, "fill_cost: %s with %d processes did not run\n",
					names[points[i].system], points[i].processes);
				return 1;
			}
		}
	}
	if (!json)
		printf("%-8s %9s %14s %15s %18s   (%d CPUs, %ld repeats of %ld ms)\n", "ring",
		       "processes", "ns CPU a frame", "ns wall a frame", "spread (CPU)", cpu_count,
		       repeats, ms);
	for (size_t i = 0; i < POINTS; i++) {
		qsort(ns[i], (size_t)repeats, sizeof(double), compare);
		qsort(wall[i], (size_t)repeats, sizeof(double), compare);
		printf(json ? "{\"experiment\":\"fill-cost\",\"system\":\"%s\",\"processes\":%d,"
			      "\"ns\":%.2f,\"ns_wall\":%.2f,\"ns_min\":%.2f,\"ns_max\":%.2f,"
			    : "%-8s %9d %14.1f %15.1f %8.1f .. %6.1f\n",
		       names[points[i].system], points[i].processes, ns[i][repeats / 2],
		       wall[i][repeats / 2], ns[i][0], ns[i][repeats - 1]);
		if (json)
			printf("\"spread\":%.3f,\"repeats\":%ld,\"cpus\":%d}\n",
			       (ns[i][repeats - 1] - ns[i][0]) / ns[i][repeats / 2], repeats,
			       cpu_count);
	}
	return 0;
}

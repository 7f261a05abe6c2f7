// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * bounce.c - how long a cache line takes from one CPU to the other. Everything that passes between
 * CPU N and CPU S pays for it: frames, rings, locks. A hypervisor may move a virtual CPU to
 * another cache at any time, and then figures of the same run differ by a factor of two.
 */
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define ROUNDS 50000u

struct line {
	_Atomic uint32_t turn __attribute__((aligned(64)));
};

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void await(struct line *line, uint32_t turn)
{
	while (atomic_load_explicit(&line->turn, memory_order_acquire) != turn)
		;
}

/* Both sides are processes: this one has other pid namespaces for its children, which excludes
 * threads. */
double bench_bounce_ns(int cpu_a, int cpu_b)
{
	struct line *line = mmap(NULL, sizeof(*line), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	double ns = 0;
	cpu_set_t before;
	uint64_t t;
	uint32_t i;
	pid_t pid;

	if (line == MAP_FAILED || sched_getaffinity(0, sizeof(before), &before))
		return 0;
	pid = fork();
	if (pid == 0) {
		pin(cpu_b);
		for (i = 0; i <= ROUNDS; i++) {
			await(line, 2 * i + 1);
			atomic_store_explicit(&line->turn, 2 * i + 2, memory_order_release);
		}
		_exit(0);
	}
	if (pid > 0) {
		pin(cpu_a);
		atomic_store(&line->turn, 1); /* the first turn: both are there */
		await(line, 2);
		t = bed_now();
		for (i = 1; i <= ROUNDS; i++) {
			atomic_store_explicit(&line->turn, 2 * i + 1, memory_order_release);
			await(line, 2 * i + 2);
		}
		ns = (double)(bed_now() - t) / (2.0 * ROUNDS);
		waitpid(pid, NULL, 0);
		sched_setaffinity(0, sizeof(before), &before);
	}
	munmap(line, sizeof(*line));
	return ns;
}

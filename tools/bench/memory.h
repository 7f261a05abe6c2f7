/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* memory.h - what sockets cost a process and the kernel. */
#ifndef LRP_BENCH_MEMORY_H
#define LRP_BENCH_MEMORY_H

#include <sys/types.h>

/* Bytes. */
struct bench_memory {
	double user;	/* heap, stacks, arena, data */
	double rings;	/* mapped kernel memory: RX rings */
	double records; /* mapped BPF maps: user records */
	double umem;	/* pages of the common UMEM that the process has touched */
	double kernel;	/* of the machine: slab, vmalloc, per-CPU */
};

/* Resident memory that is the process's alone, and the arena, by kind of mapping. 0 or -errno. */
int bench_memory(pid_t pid, struct bench_memory *m);

#endif

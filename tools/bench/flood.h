/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* flood.h - floods of other kinds than the bed's generator sends, each from a process of its own. */
#ifndef LRP_BENCH_FLOOD_H
#define LRP_BENCH_FLOOD_H

#include "bench.h"
#include "tools/load/inject.h"

/* Shared with its process, which runs on CPU N below the clients. */
struct flood {
	struct lrp_inject_spec spec; /* device, MAC and family are filled in, dst, too, unless: */
	bool elsewhere;		     /* dst is set: not the server's own address */
	uint64_t rate;		     /* frames a second */
	uint64_t sent;
	pid_t pid;
	char text[128];
};

struct flood *flood_new(void); /* munmap() it */

/* Aimed at the system's pair, or, as its control, at the one whose program drops everything. */
int flood_start(struct bench *b, struct flood *f, enum bed_program program);
void flood_stop(struct flood *f);

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * raw_loop.h - the fastest that AF_XDP receives here: one socket that takes
 * every UDP packet of the queue, rings of the usual size, frames back at once.
 */
#ifndef LRP_BENCH_RAW_LOOP_H
#define LRP_BENCH_RAW_LOOP_H

#include "bed/bed.h"

/* Starts it on CPU S, on the pair BED_RAW, which must be placed. 0 or -errno. */
int raw_loop_start(struct bed *bed, struct bed_proc *proc);

#endif

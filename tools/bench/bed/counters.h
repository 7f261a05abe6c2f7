/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * counters.h - what a receiver says about itself while it runs. A page of
 * shared memory, written by the receiver alone, read by whoever measures.
 */
#ifndef LRP_BENCH_COUNTERS_H
#define LRP_BENCH_COUNTERS_H

#include <stdint.h>

struct bench_counters {
	uint64_t ready;	   /* 1 once all sockets are open */
	uint64_t received; /* datagrams */
	uint64_t bytes;
	uint64_t late;	  /* sequence number not above the highest before: late or duplicated */
	uint64_t highest; /* sequence number + 1 */
	uint64_t calls;	  /* receive calls that returned something */
	uint64_t sent;	  /* echoes or acknowledgements */
	uint64_t failed;  /* sends that failed */
	uint64_t call, helper, eager, kernel; /* lrp_stats(): where LRP's packets were processed */
	uint64_t sockets;
	uint64_t truesize; /* bytes that the kernel accounts for one queued datagram */
	uint64_t app;	   /* lrp_stats(): segments that the APP thread processed */
};

/* Both programs: the counters' memfd, inherited under this number. */
#define BENCH_COUNTERS_FD 3

#endif

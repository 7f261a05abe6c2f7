/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * clock.h - the one clock of the runtime: CLOCK_MONOTONIC in nanoseconds, the
 * same that bpf_ktime_get_ns() reads. Sampled once per entry, at the edge;
 * protocol code gets it as an argument.
 */
#ifndef LRP_CLOCK_H
#define LRP_CLOCK_H

#include <stdint.h>
#include <time.h>

#define LRP_NS_PER_US 1000ull
#define LRP_NS_PER_MS 1000000ull
#define LRP_NS_PER_S  1000000000ull

static inline uint64_t lrp_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * LRP_NS_PER_S + (uint64_t)ts.tv_nsec;
}

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* internal.h - what the files of the bed tell each other. */
#ifndef LRP_BENCH_BED_INTERNAL_H
#define LRP_BENCH_BED_INTERNAL_H

#include "bed.h"

/* bed.c */
int bed_fail(struct bed *bed, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* A shell command in a namespace. */
int bed_sh(struct bed *bed, enum bed_ns ns, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Writes a file below / as the namespace sees it, e.g. "/sys/class/net/...". */
int bed_write(struct bed *bed, enum bed_ns ns, const char *path, const char *text);
/* This process enters the server's or the client's network namespace and leaves it again. */
int bed_netns_enter(struct bed *bed, enum bed_ns ns);
void bed_netns_leave(struct bed *bed);

/* place.c: embedded mode: a process has attached the pair's device. Counts what it sees from now on, and
 * places and verifies the pair. */
int bed_place_embedded(struct bed *bed, enum bed_program program);

/* generator.c */
int bed_generator_open(struct bed *bed);
int bed_generator_main(void *arg); /* struct bed */
int bed_spinner_main(void *arg);   /* uint64_t counter */

#endif

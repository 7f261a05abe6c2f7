/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * result.h - points, their medians and spread, JSON, and the table in which
 * every target is met or MISSED.
 */
#ifndef LRP_BENCH_RESULT_H
#define LRP_BENCH_RESULT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#define RESULT_REPEATS 32

/* The values of one quantity over the repeats of one point. */
struct series {
	double value[RESULT_REPEATS];
	int count;
};

void series_add(struct series *s, double value);
double series_median(const struct series *s); /* NAN if there is none */
/* (largest - smallest) / median, 0 for fewer than two. */
double series_spread(const struct series *s);

/* Where results go: DIR/NAME.json, one object per point; NULL: nowhere. */
void result_begin(const char *experiment, const char *json_dir);
/* A new object in the current experiment; the caller adds fields. Named fields come from
 * here so that every experiment has them. */
struct json_object *result_point(const char *system, const char *placement, int repeats,
				 double spread, bool disturbed);
void result_number(struct json_object *point, const char *name, double value);
void result_string(struct json_object *point, const char *name, const char *value);
int result_end(void); /* writes the file; 0 or -errno */

enum result_bound { AT_LEAST, AT_MOST };

/* A line of the table: "text  value unit   target  met|MISSED", and an object in the file. */
void result_target(const char *text, double value, const char *unit, enum result_bound bound,
		   double target);
/* A line without a target. */
void result_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* From here on other points count: a verdict is marked * if one of its section was disturbed. */
void result_section(void);
int result_doubtful(void); /* verdicts so marked, over all experiments */
int result_missed(void);   /* targets missed so far, over all experiments */

/* Progress, to stderr, overwritten if it is a terminal. */
void progress(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* 1234567 -> "1.235 M" */
const char *si(double value);

#endif

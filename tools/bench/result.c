// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "result.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

static struct {
	char name[64];
	const char *dir;
	struct json_object *points;
	int missed, doubtful;
	bool disturbed; /* a point of this section was */
	bool line_open;
} r;

void series_add(struct series *s, double value)
{
	/* What was not measured has no place in a median. */
	if (s->count < RESULT_REPEATS && !isnan(value))
		s->value[s->count++] = value;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

double series_median(const struct series *s)
{
	double v[RESULT_REPEATS];

	if (!s->count)
		return NAN;
	memcpy(v, s->value, sizeof(v));
	qsort(v, (size_t)s->count, sizeof(*v), compare);
	return s->count % 2 ? v[s->count / 2] : (v[s->count / 2 - 1] + v[s->count / 2]) / 2;
}

double series_spread(const struct series *s)
{
	double lo, hi, median = s->count ? series_median(s) : 0;
	int i;

	if (s->count < 2 || median == 0)
		return 0;
	lo = hi = s->value[0];
	for (i = 1; i < s->count; i++) {
		lo = fmin(lo, s->value[i]);
		hi = fmax(hi, s->value[i]);
	}
	return (hi - lo) / fabs(median);
}

static void close_line(void)
{
	if (r.line_open)
		fprintf(stderr, "\r\033[K");
	r.line_open = false;
}

void progress(const char *format, ...)
{
	va_list ap;

	/* Where nobody watches, a log of every step would only hide the table. */
	if (!isatty(2))
		return;
	fflush(stdout);
	fprintf(stderr, "\r\033[K");
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	r.line_open = true;
}

const char *si(double value)
{
	static char buf[8][32];
	static int at;

	at = (at + 1) % 8;
	if (value >= 1e6)
		snprintf(buf[at], sizeof(buf[at]), "%.3f M", value / 1e6);
	else if (value >= 1e3)
		snprintf(buf[at], sizeof(buf[at]), "%.1f k", value / 1e3);
	else
		snprintf(buf[at], sizeof(buf[at]), "%.0f", value);
	return buf[at];
}

void result_begin(const char *experiment, const char *json_dir)
{
	snprintf(r.name, sizeof(r.name), "%s", experiment);
	r.dir = json_dir;
	r.points = json_object_new_array();
	r.disturbed = false;
	close_line();
	printf("\n== %s ==\n", experiment);
}

void result_number(struct json_object *point, const char *name, double value)
{
	char text[48];

	if (!isfinite(value)) {
		json_object_object_add(point, name, NULL);
		return;
	}
	/* Enough digits for a rate, no noise behind them. */
	snprintf(text, sizeof(text), fabs(value) >= 1000 || value == 0 ? "%.0f" : "%.6g", value);
	json_object_object_add(point, name, json_object_new_double_s(value, text));
}

void result_string(struct json_object *point, const char *name, const char *value)
{
	json_object_object_add(point, name, json_object_new_string(value));
}

struct json_object *result_point(const char *system, const char *placement, int repeats,
				 double spread, bool disturbed)
{
	struct json_object *point = json_object_new_object();

	result_string(point, "experiment", r.name);
	result_string(point, "system", system);
	result_string(point, "placement", placement);
	json_object_object_add(point, "repeats", json_object_new_int(repeats));
	result_number(point, "spread", spread);
	json_object_object_add(point, "disturbed", json_object_new_boolean(disturbed));
	r.disturbed |= disturbed;
	json_object_array_add(r.points, point);
	return point;
}

void result_target(const char *text, double value, const char *unit, enum result_bound bound,
		   double target)
{
	bool met = bound == AT_LEAST ? value >= target : value <= target;
	struct json_object *o = json_object_new_object();

	/* What could not be measured is not met. */
	if (isnan(value))
		met = false;
	close_line();
	printf("  %-64s %9.4g %-5s %s %.4g  %s%s\n", text, value, unit,
	       bound == AT_LEAST ? ">=" : "<=", target, met ? "met" : "MISSED",
	       r.disturbed ? " *" : "");
	fflush(stdout);
	r.missed += !met;
	r.doubtful += r.disturbed;
	result_string(o, "experiment", r.name);
	result_string(o, "target", text);
	result_number(o, "value", value);
	result_string(o, "unit", unit);
	result_string(o, "bound", bound == AT_LEAST ? "at least" : "at most");
	result_number(o, "bound_value", target);
	json_object_object_add(o, "met", json_object_new_boolean(met));
	json_object_object_add(o, "disturbed", json_object_new_boolean(r.disturbed));
	json_object_array_add(r.points, o);
}

void result_note(const char *format, ...)
{
	va_list ap;

	close_line();
	printf("  ");
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
}

void result_section(void)
{
	r.disturbed = false;
}

int result_doubtful(void)
{
	return r.doubtful;
}

int result_missed(void)
{
	return r.missed;
}

int result_end(void)
{
	char path[4096];
	int err = 0;

	if (r.dir) {
		if (mkdir(r.dir, 0777) && errno != EEXIST)
			err = -errno;
		snprintf(path, sizeof(path), "%s/%s.json", r.dir, r.name);
		if (!err &&
		    json_object_to_file_ext(path, r.points,
					    JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED))
			err = -errno;
		if (err)
			fprintf(stderr, "lrp-bench: %s: %s\n", path, strerror(-err));
	}
	json_object_put(r.points);
	r.points = NULL;
	return err;
}

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * plot.c - Figures 3 and 4 as SVG, drawn like the paper's, from the JSON that
 * the experiments wrote.
 */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define MAX_CURVES 32

struct curve {
	const char *system, *placement, *run;
};

static const char *text_of(struct json_object *o, const char *name)
{
	struct json_object *v;

	return json_object_object_get_ex(o, name, &v) ? json_object_get_string(v) : NULL;
}

static double value_of(struct json_object *o, const char *name, bool *there)
{
	struct json_object *v;

	*there = json_object_object_get_ex(o, name, &v);
	return *there ? json_object_get_double(v) : 0;
}

static bool same(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/* The curves of one placement, in the order in which they occur. */
static int find_curves(struct json_object *points, const char *placement, const char *y,
		       struct curve *curves)
{
	size_t i, n = json_object_array_length(points);
	int found = 0, k;

	for (i = 0; i < n; i++) {
		struct json_object *o = json_object_array_get_idx(points, i);
		struct curve c = {text_of(o, "system"), text_of(o, "placement"), text_of(o, "run")};
		bool there;

		value_of(o, y, &there);
		if (!c.system || !there || !same(c.placement, placement))
			continue;
		for (k = 0; k < found; k++)
			if (same(curves[k].system, c.system) && same(curves[k].run, c.run))
				break;
		if (k == found && found < MAX_CURVES)
			curves[found++] = c;
	}
	return found;
}

struct xy {
	double x, y;
};

static int by_x(const void *a, const void *b)
{
	const struct xy *p = a, *q = b;

	return p->x < q->x ? -1 : p->x > q->x;
}

static void write_curve(FILE *f, struct json_object *points, const struct curve *c, const char *y,
			double scale_y)
{
	size_t i, n = json_object_array_length(points), count = 0, k;
	struct xy *xy = calloc(n, sizeof(*xy));
	bool x_there, y_there;

	for (i = 0; xy && i < n; i++) {
		struct json_object *o = json_object_array_get_idx(points, i);

		if (!same(text_of(o, "system"), c->system) ||
		    !same(text_of(o, "placement"), c->placement) ||
		    !same(text_of(o, "run"), c->run))
			continue;
		xy[count] = (struct xy){value_of(o, "offered", &x_there), value_of(o, y, &y_there)};
		if (x_there && y_there)
			count++;
	}
	if (xy)
		qsort(xy, count, sizeof(*xy), by_x);
	for (k = 0; k < count; k++)
		fprintf(f, "%g %g\n", xy[k].x / 1e6, xy[k].y * scale_y);
	fprintf(f, "e\n");
	free(xy);
}

static void plot(const char *json_dir, const char *name, const char *title, const char *y,
		 double scale_y, const char *y_label, bool log_y)
{
	char path[4096], svg[4096];
	struct json_object *points;
	int p, k, placements = 0;
	bool used[BED_PLACEMENTS] = {0};
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s.json", json_dir, name);
	snprintf(svg, sizeof(svg), "%s/%s.svg", json_dir, name);
	points = json_object_from_file(path);
	if (!points)
		return;
	for (p = 0; p < BED_PLACEMENTS; p++) {
		struct curve curves[MAX_CURVES];

		used[p] = find_curves(points, bed_placement_name[p], y, curves) > 0;
		placements += used[p];
	}
	f = placements ? popen("gnuplot 2>&1", "w") : NULL;
	if (!f) {
		json_object_put(points);
		return;
	}
	fprintf(f,
		"set terminal svg size 720,%d font 'sans,12' background 'white'\nset output '%s'\n",
		360 * placements, svg);
	fprintf(f, "set multiplot layout %d,1 title '%s'\n", placements, title);
	fprintf(f,
		"set xlabel 'offered load (million packets/s)'\nset ylabel '%s'\nset key outside "
		"right\nset grid\n",
		y_label);
	if (log_y)
		fprintf(f, "set logscale y\n");
	fprintf(f, "set xrange [0:*]\n%s", log_y ? "" : "set yrange [0:*]\n");
	for (p = 0; p < BED_PLACEMENTS; p++) {
		struct curve curves[MAX_CURVES];
		int n = used[p] ? find_curves(points, bed_placement_name[p], y, curves) : 0;

		if (!n)
			continue;
		fprintf(f, "set title 'placement %s'\nplot ", bed_placement_name[p]);
		for (k = 0; k < n; k++)
			fprintf(f,
				"%s'-' using 1:2 with linespoints pointtype %d %s title '%s%s%s'",
				k ? ", " : "", k + 4,
				same(curves[k].run, "control") ? "dashtype 2" : "",
				curves[k].system, same(curves[k].run, "control") ? ", " : "",
				same(curves[k].run, "control") ? "control" : "");
		fprintf(f, "\n");
		for (k = 0; k < n; k++)
			write_curve(f, points, &curves[k], y, scale_y);
	}
	fprintf(f, "unset multiplot\n");
	if (pclose(f) == 0)
		result_note("plot: %s", svg);
	else
		result_note("gnuplot failed: no %s (Debian package gnuplot-nox)", svg);
	json_object_put(points);
}

void plot_fig3(const char *json_dir)
{
	plot(json_dir, "fig3", "Figure 3: throughput against offered load", "delivered", 1e-6,
	     "delivered (million packets/s)", false);
}

void plot_fig4(const char *json_dir)
{
	plot(json_dir, "fig4", "Figure 4: round trip with concurrent load (p50)", "p50_us", 1,
	     "round trip (us)", true);
}

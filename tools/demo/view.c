// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "view.h"

#include <curses.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
	SCREEN *screen;
	const char *placement, *text, *name[2];
	int steps;
	double largest; /* delivered: full width of a bar */
} v;

const char *view_si(double value)
{
	static char buf[8][16];
	static int at;

	at = (at + 1) % 8;
	if (value >= 1e6)
		snprintf(buf[at], sizeof(buf[at]), "%.2f M", value / 1e6);
	else if (value >= 1e3)
		snprintf(buf[at], sizeof(buf[at]), "%.0f k", value / 1e3);
	else
		snprintf(buf[at], sizeof(buf[at]), "%.0f", value);
	return buf[at];
}

void view_open(bool plain, const char *placement, const char *text, const char *left,
	       const char *right, int steps)
{
	v.placement = placement;
	v.text = text;
	v.name[0] = left;
	v.name[1] = right;
	v.steps = steps;
	v.largest = 1e6;
	/* newterm() rather than initscr(): that one ends the program on a strange terminal. */
	if (!plain && isatty(1) && getenv("TERM"))
		v.screen = newterm(NULL, stdout, stdin);
	if (v.screen) {
		set_term(v.screen);
		cbreak();
		noecho();
		curs_set(0);
		if (has_colors()) {
			start_color();
			use_default_colors();
			init_pair(1, COLOR_RED, -1);
			init_pair(2, COLOR_GREEN, -1);
		}
	} else {
		printf("LRP demo, placement %s: %s\n", placement, text);
		printf("The same UDP server on %s and on %s, flooded in turn:\n", left, right);
	}
}

static void bar(int row, int column, int width, const struct view_step *step, int s, bool now)
{
	double value = step->delivered[s];
	int length = (int)(value / v.largest * width + 0.5), i;

	if (step->offered[s] <= 0)
		return;
	attron(COLOR_PAIR(s + 1));
	for (i = 0; i < length && i < width; i++)
		mvaddch(row, column + i, '#' | (now ? A_BOLD : 0));
	attroff(COLOR_PAIR(s + 1));
	mvprintw(row, column + width + 1, "%7s/s", view_si(value));
}

static void draw(const struct view_step *steps, int at, int s, const struct bed_window *w)
{
	int columns = COLS < 60 ? 60 : COLS, half = (columns - 12) / 2, width = half - 13, i;

	erase();
	attron(A_BOLD);
	mvprintw(0, 0, "Lazy Receiver Processing: a UDP server under overload");
	attroff(A_BOLD);
	mvprintw(1, 0, "placement %s: %s", v.placement, v.text);
	attron(A_BOLD);
	mvprintw(3, 0, "%9s", "offered");
	mvprintw(3, 12, "%s: delivered", v.name[0]);
	mvprintw(3, 12 + half, "%s: delivered", v.name[1]);
	attroff(A_BOLD);
	for (i = 0; i <= at && 4 + i < LINES - 3; i++) {
		double offered = fmax(steps[i].offered[0], steps[i].offered[1]);

		mvprintw(4 + i, 0, "%7s/s", view_si(offered));
		bar(4 + i, 12, width, &steps[i], 0, i == at && s == 0);
		bar(4 + i, 12 + half, width, &steps[i], 1, i == at && s == 1);
	}
	mvprintw(5 + v.steps, 0,
		 "now: %s, %s/s offered, %s/s delivered; the server's process has %.0f %% of its "
		 "CPU",
		 v.name[s], view_si(w->offered), view_si(w->delivered), 100 * w->receiver);
	mvprintw(6 + v.steps, 0, "step %d of %d; Ctrl-C ends, nothing is left behind", at + 1,
		 v.steps);
	refresh();
}

void view_update(const struct view_step *steps, int at, int s, const struct bed_window *w)
{
	static int shown = -1;

	v.largest = fmax(v.largest, steps[at].delivered[s]);
	if (v.screen) {
		draw(steps, at, s, w);
	} else if (s == 1 && shown != at) {
		/* The first window of the second system: the line of this step says both. */
		shown = at;
		printf("  offered %8s/s   %s %8s/s   %s %8s/s\n", view_si(steps[at].offered[1]),
		       v.name[0], view_si(steps[at].delivered[0]), v.name[1],
		       view_si(steps[at].delivered[1]));
	}
}

void view_close(void)
{
	if (!v.screen)
		return;
	endwin();
	delscreen(v.screen);
	v.screen = NULL;
}

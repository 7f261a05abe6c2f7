/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* view.h - the demo's live view: two columns of bars on a terminal, lines elsewhere. */
#ifndef LRP_DEMO_VIEW_H
#define LRP_DEMO_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/bench/bed/measure.h"

struct view_step {
	uint64_t rate;
	double offered[2], delivered[2]; /* [0]: stock, [1]: LRP; 0: not yet */
};

void view_open(bool plain, const char *placement, const char *text, const char *left,
	       const char *right, int steps);
/* A new window of system `s` at step `at`; all steps so far are in `steps`. */
void view_update(const struct view_step *steps, int at, int s, const struct bed_window *w);
void view_close(void);

/* 1234567 -> "1.23 M" */
const char *view_si(double value);

#endif

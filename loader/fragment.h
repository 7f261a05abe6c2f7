/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* fragment.h - the fragment endpoint's service in the core. */
#ifndef LRP_CORE_FRAGMENT_H
#define LRP_CORE_FRAGMENT_H

#include "internal.h"

struct lrp_core_stray_counts {
	uint64_t injected; /* fragments given to the kernel's stack */
	uint64_t expired;  /* nobody wanted them for 30 s */
	uint64_t failed;   /* the kernel's, but too large to give to it */
};

int lrp_core_strays_open(struct lrp_core *core);
void lrp_core_strays_close(struct lrp_core *core);
void lrp_core_strays_watch(struct lrp_core *core, struct lrp_core_pool *pool);
int lrp_core_strays_run(struct lrp_core *core); /* ms until it wants to run again, -1: never */
void lrp_core_strays_counts(const struct lrp_core *core, struct lrp_core_stray_counts *counts);

#endif

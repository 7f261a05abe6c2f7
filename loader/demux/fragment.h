/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* fragment.h - the fragment endpoint's service in the core. */
#ifndef LRP_CORE_FRAGMENT_H
#define LRP_CORE_FRAGMENT_H

#include "../base/internal.h"
#include "stray.h"

int lrp_core_strays_open(struct lrp_core *core);
void lrp_core_strays_close(struct lrp_core *core);
/* From now on the pool's ring is served; before its socket is closed it must be forgotten. */
void lrp_core_strays_watch(struct lrp_core *core, struct lrp_core_pool *pool);
void lrp_core_strays_forget(struct lrp_core *core, struct lrp_core_pool *pool);
/* A socket more, or one less, that could want orphans: XDP stores them only while there is one. */
void lrp_core_strays_wanted(struct lrp_core *core, const struct lrp_published *pub, bool more);
int lrp_core_strays_run(struct lrp_core *core); /* ms until it wants to run again, -1: never */
void lrp_core_strays_counts(const struct lrp_core *core, struct lrp_core_stray_counts *counts);

#endif

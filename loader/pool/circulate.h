/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* circulate.h - guarantees, and how many frames of a pool circulate. */
#ifndef LRP_CORE_CIRCULATE_H
#define LRP_CORE_CIRCULATE_H

#include "../base/internal.h"

void lrp_core_guarantees(
	struct lrp_core *core); /* recomputes guaranteed and surplus of all pools */
uint32_t lrp_core_guarantee_sum(const struct lrp_core *core); /* of one pool */
/* An endpoint more; a limit that has become larger by `more`. */
void lrp_core_guarantee_add(struct lrp_core *core, const struct lrp_endpoint_state *ep);
void lrp_core_limit_add(struct lrp_core *core, uint32_t more, uint32_t limit);
/* XDP has said so: more of its frames circulate from now on. */
void lrp_core_pool_short(struct lrp_core *core, struct lrp_core_pool *pool);
uint64_t lrp_core_rest_run(struct lrp_core *core); /* when to come again, 0: no need */
/* The goal once more: frames that could not be returned rest. */
void lrp_core_circulate(struct lrp_core *core, struct lrp_core_pool *pool);

#endif

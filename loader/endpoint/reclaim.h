/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* reclaim.h - taking endpoints back. */
#ifndef LRP_CORE_RECLAIM_H
#define LRP_CORE_RECLAIM_H

#include "../base/internal.h"

/* Endpoints in LRP_ENDPOINT_CLOSING are taken back after a grace period. When to come again, 0: no
 * need before the core's descriptor is readable. */
uint64_t lrp_core_reclaim_run(struct lrp_core *core);
/* For a request that lacks what closing endpoints still have: waits for their grace period, and
 * takes them back. False: nothing is closing, the grace period is not over soon, or another
 * request has waited just now. */
bool lrp_core_reclaim_now(struct lrp_core *core);
void lrp_core_reclaim_forget(struct lrp_core *core); /* on the way out */

#endif

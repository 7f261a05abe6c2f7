/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* repair.h - the health of pools. */
#ifndef LRP_CORE_REPAIR_H
#define LRP_CORE_REPAIR_H

#include "../base/internal.h"

uint64_t lrp_core_repair_run(struct lrp_core *core); /* when to come again, 0: no need */

#endif

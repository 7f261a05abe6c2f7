/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* memory.h - each family's share of the memory that the host gives to TCP. */
#ifndef LRP_CORE_MEMORY_H
#define LRP_CORE_MEMORY_H

#include "../base/internal.h"

/* Publishes the share on the status page. When a family comes, goes, or gets its first or loses its
 * last endpoint. */
void lrp_core_memory_share(struct lrp_core *core);

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * exact.h - the exact entries of TCP connections, which the families' programs make
 * [bpf/authority.bpf.c]: lrpd reads them, and deletes those that nobody has any more.
 *
 * Threads: as for the core, one at a time. The programs run meanwhile.
 */
#ifndef LRP_CORE_EXACT_H
#define LRP_CORE_EXACT_H

#include "../base/internal.h"
#include "reset.h"

/* Entries of TCP whose endpoint, owner or end is gone; a grace period after that they go, and the
 * peers are reset [reset.h]. */
void lrp_core_flows_purge(struct lrp_core *core);
/* From time to time, for tombstones. Returns when to call again; 0: when there are entries. */
uint64_t lrp_core_flows_run(struct lrp_core *core);

/* For each endpoint the two ends of a TCP connection whose exact entry leads there (rport 0: none).
 * Processes have written them. The caller frees the array. NULL: no memory. */
struct lrp_core_reset *lrp_core_flows_ends(struct lrp_core *core);

#endif

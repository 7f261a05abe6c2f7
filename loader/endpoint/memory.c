/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * memory.c - see memory.h.
 *
 * Buffers of TCP lie in the arenas of the families, and the sum of them must stay below tcp_mem.
 * No counter of a family can be trusted, and one that all could write, anyone could spoil. lrpd
 * knows without asking how many families have endpoints. So each gets an equal share of tcp_mem,
 * and counts for itself what it uses of it. A process that ignores its share takes memory that is
 * its own in any case: charged to its cgroup, and freed with it.
 */
#include "../../runtime/base/tcp_mem.h"
#include "memory.h"

void lrp_core_memory_share(struct lrp_core *core)
{
	uint64_t kib, families = 0;

	if (!core->page)
		return;
	for (uint32_t o = LRP_OWNER_LRPD + 1; o < LRP_OWNERS; o++)
		families += core->state->owner[o].used && core->state->owner[o].endpoints;
	kib = lrp_tcp_mem_bytes() / (families ? families : 1) >> 10;
	if (kib > UINT32_MAX)
		kib = UINT32_MAX;
	__atomic_store_n(&core->page->family_memory_kib, (uint32_t)(kib ? kib : 1),
			 __ATOMIC_RELAXED);
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * quota.h - what the sockets of one user other than root may take: how many, the memory of their
 * rings, the frames that these can hold, and guarantees. All of it is counted from the tables that
 * outlive lrpd, so there is nothing that could drift.
 */
#ifndef LRP_CORE_QUOTA_H
#define LRP_CORE_QUOTA_H

#include "../base/internal.h"

#define LRP_DEFAULT_RING_MIB 64u
#define LRP_DEFAULT_SLOTS    262144u /* on one queue */

struct lrp_quota_use {
	uint32_t endpoints;
	uint64_t ring_bytes; /* of all channels */
	uint64_t frames;     /* slots on one queue: so many frames can they hold */
};

/* Kernel memory of one RX ring. */
uint64_t lrp_quota_ring_bytes(uint32_t ring_size);

void lrp_quota_use(const struct lrp_core *core, uint32_t uid, struct lrp_quota_use *use);

/*
 * How many of the `wanted` endpoints with such rings the user may have now. Fewer
 * than one: 0, -EDQUOT or -EPERM in *error and a line in text[LRP_ERROR_SIZE] that names the limit
 * and how to raise it.
 */
uint32_t lrp_quota_room(const struct lrp_core *core, uint32_t uid, uint32_t wanted,
			uint32_t ring_size, uint32_t guarantee, int *error, char *text);

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * census.h - where each frame of a pool is, while the kernel takes none and publishes none
 * (repair.c has stopped it).
 *
 * Rings, records and the frame table are written by the pool's users. What cannot be true by
 * XDP's own counts does not count, and costs its family the endpoint.
 */
#ifndef LRP_CORE_CENSUS_H
#define LRP_CORE_CENSUS_H

#include "../base/internal.h"

struct lrp_census {
	uint8_t *before; /* places in the fill ring, before it was poisoned */
	uint32_t *free;	 /* frames that belong on the fill ring */
	uint32_t *held;	 /* by endpoint: frames in its ring or with its mark */
	uint32_t free_count;
	uint32_t in_fill;
	uint32_t lost;	/* circulate and were nowhere, beyond what the kernel may keep */
	uint32_t twice; /* were on the fill ring and somewhere else */
	uint32_t convicted;
	bool brought_back; /* lost frames, of which the kernel may have a few: look again */
};

/* Looks at the fill ring; then the caller poisons it. 0 or -errno. */
int lrp_core_census_begin(struct lrp_core *core, struct lrp_core_pool *pool,
			  struct lrp_census *census);
/* Looks at all else. 0, -ETIME: too many rings, or -errno. */
int lrp_core_census_take(struct lrp_core *core, struct lrp_core_pool *pool,
			 struct lrp_census *census);
void lrp_core_census_end(struct lrp_census *census);

/* Who has channels on the pool, for a line: "comm (pid N, uid N), ...". */
void lrp_core_census_families(const struct lrp_core *core, const struct lrp_core_pool *pool,
			      char *text, size_t size);

#endif

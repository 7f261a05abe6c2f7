/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* places.h - where the frames of a pool are, as its shared memory says. */
#ifndef LRP_CORE_PLACES_H
#define LRP_CORE_PLACES_H

#include "../base/internal.h"

enum lrp_frame_place {
	LRP_FRAME_NOWHERE = 0, /* the kernel's, or lost */
	LRP_FRAME_IN_FILL = 1 << 0,
	LRP_FRAME_IN_RX = 1 << 1,
	LRP_FRAME_HELD = 1 << 2, /* marked in the frame table */
	LRP_FRAME_QUARANTINED = 1 << 3,
	LRP_FRAME_TWICE = 1 << 4,   /* in two rings, or twice in one */
	LRP_FRAME_AT_HEAD = 1 << 5, /* seen only at the consumer of an RX ring */
	LRP_FRAME_AT_REST = 1 << 6,
};
/* ORs what is true of each frame into place[]. The RX rings only if asked for: there may be
 * thousands. While packets move the picture is blurred. -ETIME: not finished by until_ns (0: no
 * limit); -EOVERFLOW: the RX rings name more frames than there are. */
enum lrp_rings {
	LRP_RINGS_NONE,
	LRP_RINGS_USED,	  /* not those of endpoints that are closing */
	LRP_RINGS_OTHERS, /* not those of the batch */
	LRP_RINGS_ALL,
};
int lrp_core_places(struct lrp_core *core, struct lrp_core_pool *pool, uint8_t *place,
		    enum lrp_rings rings, uint64_t until_ns);
/* The fill ring alone. */
int lrp_core_fill_places(const struct lrp_core_pool *pool, uint8_t *place);
/* The entries of an RX ring as its shared indices say, at most a ring full: the first, and in *end
 * one past the last. And the frame of one of them, UINT32_MAX: none of the pool. Read once. */
uint32_t lrp_core_ring_bounds(const struct lrp_chan *chan, uint32_t *end);
uint32_t lrp_core_ring_frame(const struct lrp_chan *chan, uint32_t at);

/* Copy mode: frames that the kernel keeps while nothing moves. Zero-copy: the driver's ring. */
uint32_t lrp_core_kernel_bound(const struct lrp_core_pool *pool);

#endif

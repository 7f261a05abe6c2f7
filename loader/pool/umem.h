/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * umem.h - pools and their AF_XDP sockets. Errors: 0 or -errno; `text` gets a
 * line for people (LRP_ERROR_SIZE).
 */
#ifndef LRP_CORE_UMEM_H
#define LRP_CORE_UMEM_H

#include "../base/internal.h"

/* Makes the pool in slot `index`; no frame circulates yet. Nothing is left on failure. */
int lrp_core_pool_create(struct lrp_core *core, struct lrp_core_device *device, uint32_t index,
			 uint32_t queue, uint32_t frames, uint32_t frame_size, bool sg,
			 uint32_t driver_ring, char *text);
int lrp_core_pool_map(struct lrp_core *core, struct lrp_core_pool *pool);
void lrp_core_pool_close(struct lrp_core *core, struct lrp_core_pool *pool);

/* The endpoint's AF_XDP socket in this pool, bound, not yet in lrp_xsks. */
int lrp_core_xsk_create(struct lrp_core *core, struct lrp_core_pool *pool, uint32_t endpoint,
			uint32_t ring_size);
void lrp_core_xsk_close(struct lrp_core *core, struct lrp_core_pool *pool, uint32_t endpoint);

/* Its RX ring, mapped for a moment (kept mapped in embedded mode). */
int lrp_core_ring_open(struct lrp_core *core, struct lrp_core_pool *pool, uint32_t endpoint,
		       struct lrp_chan *chan);
void lrp_core_ring_close(struct lrp_chan *chan);

#endif

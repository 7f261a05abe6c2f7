/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * pool.h - mapping the UMEM and the fill ring of one pool [channel.h:
 * struct lrp_pool_view].
 */
#ifndef LRP_POOL_H
#define LRP_POOL_H

#include <lrp/control.h>

#include "channel.h"

/*
 * Maps pool `index`, described by lrpd's reply to LRP_REQ_POOL: the UMEM from
 * its memfd, and the fill ring through any AF_XDP socket of the pool, unless it is mapped already
 * (`fill_map`, stays the caller's to unmap). Both fds are borrowed. Children inherit the mapping. 0
 * or -errno: EPROTO if the sizes do not make sense.
 */
int lrp_pool_map(struct lrp_pool_view *pool, uint32_t index, const struct lrp_reply *reply,
		 int umem_fd, int xsk_fd, void *fill_map);
void lrp_pool_unmap(struct lrp_pool_view *pool);

/* The same on a fill ring and UMEM that are mapped already: sets the pointers and shifts that
 * follow from pool->{umem, fill_map, frames, frame_size, fill_size}. */
int lrp_pool_init(struct lrp_pool_view *pool, const struct xdp_mmap_offsets *offsets);

#endif

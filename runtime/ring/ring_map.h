/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ring_map.h - mapping an AF_XDP socket's rings.
 *
 * From Linux 6.6 on any process that has a bound socket can map its rings.
 * Before, mmap() says EBUSY once the socket is bound: there whoever makes the
 * socket maps first and hands the mapping on (loader/core/core.h).
 */
#ifndef LRP_RING_MAP_H
#define LRP_RING_MAP_H

#include <linux/if_xdp.h>
#include <stddef.h>
#include <stdint.h>

/* Offsets within a socket's rings; bound or not. 0 or -errno. */
int lrp_ring_offsets(int fd, struct xdp_mmap_offsets *offsets);

static inline size_t lrp_ring_rx_size(const struct xdp_mmap_offsets *offsets, uint32_t slots)
{
	return (size_t)offsets->rx.desc + (size_t)slots * sizeof(struct xdp_desc);
}

static inline size_t lrp_ring_fill_size(const struct xdp_mmap_offsets *offsets, uint32_t slots)
{
	return (size_t)offsets->fr.desc + (size_t)slots * sizeof(uint64_t);
}

/* Maps the ring at `pgoff` (XDP_PGOFF_RX_RING, XDP_UMEM_PGOFF_FILL_RING). 0 or -errno; EBUSY: the
 * socket is bound and the kernel older than 6.6. */
int lrp_ring_map(int fd, uint64_t pgoff, size_t size, void **map);

#endif

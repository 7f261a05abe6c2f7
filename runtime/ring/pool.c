/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* pool.c - see pool.h. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "pool.h"
#include "ring_map.h"

static bool power_of_two(uint32_t n)
{
	return n && !(n & (n - 1));
}

int lrp_pool_init(struct lrp_pool_view *pool, const struct xdp_mmap_offsets *offsets)
{
	uint8_t *fill = pool->fill_map;

	/* The lap tags need whole frames, and a slot for each of them [fill.h]. */
	if (!power_of_two(pool->frame_size) || pool->frame_size < 2048 ||
	    !power_of_two(pool->fill_size) || pool->fill_size < pool->frames || !pool->frames ||
	    pool->fill_size > 1u << 24)
		return -EPROTO;
	pool->frame_shift = (uint32_t)__builtin_ctz(pool->frame_size);
	pool->fill_shift = (uint32_t)__builtin_ctz(pool->fill_size);
	pool->frame =
		(struct lrp_frame *)(pool->umem + ((uint64_t)pool->frames << pool->frame_shift));
	pool->rest = (struct lrp_rest *)((uint8_t *)pool->frame + LRP_REST_OFFSET(pool->frames));
	pool->fill_producer = (_Atomic uint32_t *)(fill + offsets->fr.producer);
	pool->fill_flags = (_Atomic uint32_t *)(fill + offsets->fr.flags);
	pool->fill_slot = (_Atomic uint64_t *)(fill + offsets->fr.desc);
	return 0;
}

int lrp_pool_map(struct lrp_pool_view *pool, uint32_t index, const struct lrp_reply *reply,
		 int umem_fd, int xsk_fd, void *fill_map)
{
	struct xdp_mmap_offsets offsets;
	struct stat st;
	uint64_t need;
	int error;

	memset(pool, 0, sizeof(*pool));
	pool->index = index;
	pool->frames = reply->pool.frames;
	pool->frame_size = reply->pool.frame_size;
	pool->frame_payload = reply->pool.frame_payload;
	pool->fill_size = reply->pool.fill_size;
	pool->umem_size = reply->pool.umem_size;
	pool->ifindex = reply->pool.ifindex;
	pool->queue = reply->pool.queue;
	pool->mtu = reply->pool.mtu;
	pool->virtual_device = reply->pool.virtual_device;

	need = (uint64_t)pool->frames * pool->frame_size + LRP_REST_OFFSET(pool->frames) +
	       sizeof(struct lrp_rest);
	if (fstat(umem_fd, &st))
		return -errno;
	/* Beyond the end of the memfd lies SIGBUS. */
	if (pool->umem_size < need || (uint64_t)st.st_size < pool->umem_size)
		return -EPROTO;
	error = lrp_ring_offsets(xsk_fd, &offsets);
	if (error)
		return error;
	pool->fill_map = fill_map;
	if (!fill_map) {
		size_t size = lrp_ring_fill_size(&offsets, pool->fill_size);

		error = lrp_ring_map(xsk_fd, XDP_UMEM_PGOFF_FILL_RING, size, &pool->fill_map);
		if (error)
			return error;
		pool->fill_map_size = size;
	}
	pool->umem = mmap(NULL, pool->umem_size, PROT_READ | PROT_WRITE, MAP_SHARED, umem_fd, 0);
	if (pool->umem == MAP_FAILED) {
		error = -errno;
		pool->umem = NULL;
	} else {
		error = lrp_pool_init(pool, &offsets);
	}
	if (error)
		lrp_pool_unmap(pool);
	return error;
}

void lrp_pool_unmap(struct lrp_pool_view *pool)
{
	if (pool->umem)
		munmap(pool->umem, pool->umem_size);
	if (pool->fill_map && pool->fill_map_size)
		munmap(pool->fill_map, pool->fill_map_size);
	memset(pool, 0, sizeof(*pool));
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * umem.c - the pool of one (device, queue): a memfd of frames and their table,
 * the fill ring, and the first AF_XDP socket, which the kernel wants to own both. That socket
 * is the fragment endpoint's channel.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../../runtime/base/log.h"
#include "../../runtime/ring/pool.h"
#include "../../runtime/ring/ring_map.h"
#include "../base/closer.h"
#include "umem.h"

#ifndef AF_XDP
#define AF_XDP 44
#endif

#define BIND_TRIES 40 /* with 50 ms between: note 5 */

static int memfd_umem(size_t size)
{
	int fd = memfd_create("lrp-umem", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -errno;
	/* A client that could shrink it would take the pages from under all others. */
	if (fchmod(fd, 0600) || ftruncate(fd, (off_t)size) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
		int err = -errno;

		close(fd);
		return err;
	}
	return fd;
}

static size_t umem_size(uint32_t frames, uint32_t frame_size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t table = LRP_REST_OFFSET((size_t)frames) + sizeof(struct lrp_rest);

	table = (table + page - 1) & ~(page - 1);
	return (size_t)frames * frame_size + table;
}

static int set_ring(int fd, int option, uint32_t slots)
{
	return setsockopt(fd, SOL_XDP, option, &slots, sizeof(slots)) ? -errno : 0;
}

static void pause_ms(long ms)
{
	struct timespec ts = {.tv_nsec = ms * 1000000};

	nanosleep(&ts, NULL);
}

static int bind_socket(int fd, uint32_t ifindex, uint32_t queue, uint16_t flags, int shared_fd)
{
	struct sockaddr_xdp addr = {
		.sxdp_family = AF_XDP,
		.sxdp_flags = flags,
		.sxdp_ifindex = ifindex,
		.sxdp_queue_id = queue,
	};

	if (shared_fd >= 0)
		addr.sxdp_shared_umem_fd = (uint32_t)shared_fd;
	for (int i = 0; bind(fd, (struct sockaddr *)&addr, sizeof(addr)); i++) {
		if (errno != EBUSY || i == BIND_TRIES || shared_fd >= 0)
			return -errno;
		pause_ms(50); /* an earlier pool of this queue is being torn down */
	}
	return 0;
}

static int keep_rx_ring(struct lrp_core_pool *pool, int fd, uint32_t endpoint, uint32_t slots)
{
	struct lrp_core_ring *ring = &pool->rx[endpoint];
	struct xdp_mmap_offsets offsets;
	int err = lrp_ring_offsets(fd, &offsets);

	if (err)
		return err;
	ring->size = lrp_ring_rx_size(&offsets, slots);
	return lrp_ring_map(fd, XDP_PGOFF_RX_RING, ring->size, &ring->map);
}

/* ---- further sockets ------------------------------------------------------------ */

int lrp_core_xsk_create(struct lrp_core *core, struct lrp_core_pool *pool, uint32_t endpoint,
			uint32_t ring_size)
{
	int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	int err;

	if (fd < 0)
		return -errno;
	err = set_ring(fd, XDP_RX_RING, ring_size);
	if (!err && core->opts.embedded)
		err = keep_rx_ring(pool, fd, endpoint, ring_size);
	if (!err)
		err = bind_socket(fd, pool->device->state->ifindex, pool->state->queue,
				  XDP_SHARED_UMEM, pool->xsk[LRP_ENDPOINT_FRAGMENT]);
	if (err) {
		close(fd);
		return err;
	}
	pool->xsk[endpoint] = fd;
	lrp_core_put(core, fd, "xsk:%u:%u", lrp_core_pool_index(core, pool), endpoint);
	return 0;
}

void lrp_core_xsk_close(struct lrp_core *core, struct lrp_core_pool *pool, uint32_t endpoint)
{
	if (pool->rx && pool->rx[endpoint].map) {
		munmap(pool->rx[endpoint].map, pool->rx[endpoint].size);
		memset(&pool->rx[endpoint], 0, sizeof(pool->rx[endpoint]));
	}
	if (pool->xsk[endpoint] < 0)
		return;
	lrp_core_drop(core, "xsk:%u:%u", lrp_core_pool_index(core, pool), endpoint);
	lrp_close_later(&core->closer, pool->xsk[endpoint]);
	pool->xsk[endpoint] = -1;
}

int lrp_core_ring_open(struct lrp_core *core, struct lrp_core_pool *pool, uint32_t endpoint,
		       struct lrp_chan *chan)
{
	void *map = pool->rx ? pool->rx[endpoint].map : NULL;

	return lrp_chan_open(chan, &pool->view, pool->xsk[endpoint],
			     core->state->endpoint[endpoint].ring_size, NULL, map);
}

void lrp_core_ring_close(struct lrp_chan *chan)
{
	chan->fd = -1; /* ours, not the channel's */
	lrp_chan_close(chan);
}

/* ---- the pool ---------------------------------------------------------------------- */

static int register_umem(struct lrp_core_pool *pool, int fd, char *text)
{
	struct xdp_umem_reg reg = {
		.addr = (uint64_t)(uintptr_t)pool->view.umem,
		.len = (uint64_t)pool->state->frames * pool->state->frame_size,
		.chunk_size = pool->state->frame_size,
	};
	int err;

	if (!setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &reg, sizeof(reg)))
		return 0;
	err = -errno;
	if (err == -ENOBUFS)
		return lrp_core_error(text, err,
				      "%s: %llu MiB of UMEM exceed RLIMIT_MEMLOCK: raise it "
				      "(ulimit -l), give CAP_IPC_LOCK, or use --frames with less",
				      pool->device->state->ifname,
				      (unsigned long long)(reg.len >> 20));
	return lrp_core_error(text, err, "%s: XDP_UMEM_REG of %llu MiB: %s: use --frames with less",
			      pool->device->state->ifname, (unsigned long long)(reg.len >> 20),
			      strerror(-err));
}

static int map_fill(struct lrp_core_pool *pool, int fd)
{
	struct xdp_mmap_offsets offsets;
	int err = lrp_ring_offsets(fd, &offsets);

	if (err)
		return err;
	pool->view.fill_map_size = lrp_ring_fill_size(&offsets, pool->view.fill_size);
	err = lrp_ring_map(fd, XDP_UMEM_PGOFF_FILL_RING, pool->view.fill_map_size,
			   &pool->view.fill_map);
	return err ? err : lrp_pool_init(&pool->view, &offsets);
}

static int map_umem(struct lrp_core_pool *pool)
{
	struct lrp_pool_view *view = &pool->view;

	view->frames = pool->state->frames;
	view->frame_size = pool->state->frame_size;
	view->fill_size = pool->state->fill_size;
	view->umem_size = umem_size(view->frames, view->frame_size);
	view->frame_payload = pool->device->state->frame_payload;
	view->ifindex = pool->device->state->ifindex;
	view->queue = pool->state->queue;
	view->mtu = pool->device->state->mtu;
	view->virtual_device = pool->device->state->virtual_device;
	view->umem =
		mmap(NULL, view->umem_size, PROT_READ | PROT_WRITE, MAP_SHARED, pool->umem_fd, 0);
	if (view->umem != MAP_FAILED)
		return 0;
	view->umem = NULL;
	return -errno;
}

static int alloc_tables(struct lrp_core *core, struct lrp_core_pool *pool)
{
	uint32_t n = core->state->endpoints;

	if (!pool->xsk) {
		pool->xsk = malloc(n * sizeof(*pool->xsk));
		if (!pool->xsk)
			return -ENOMEM;
		for (uint32_t e = 0; e < n; e++)
			pool->xsk[e] = -1;
	}
	if (core->opts.embedded && !pool->rx) {
		pool->rx = calloc(n, sizeof(*pool->rx));
		if (!pool->rx)
			return -ENOMEM;
	}
	return 0;
}

static int bind_first(struct lrp_core_pool *pool, int fd, bool sg, char *text)
{
	const struct lrp_device_state *device = pool->device->state;
	uint16_t flags = XDP_USE_NEED_WAKEUP;
	int err;

	if (device->mode == LRP_MODE_SKB)
		flags |= XDP_COPY;
	if (sg)
		flags |= XDP_USE_SG;
	err = bind_socket(fd, device->ifindex, pool->state->queue, flags, -1);
	if (!err)
		return 0;
	if (err == -EINVAL && sg)
		return lrp_core_error(
			text, err,
			"%s: MTU %u needs packets in several frames, which this "
			"kernel or driver does not do with AF_XDP (Linux 6.6): lower the MTU "
			"to %u",
			device->ifname, device->mtu, device->frame_payload - 22);
	if (err == -EBUSY)
		return lrp_core_error(text, err,
				      "%s: queue %u is held by another AF_XDP program, or by a "
				      "process whose lrpd was killed: end it "
				      "first",
				      device->ifname, pool->state->queue);
	return lrp_core_error(text, err, "%s: AF_XDP bind to queue %u: %s", device->ifname,
			      pool->state->queue, strerror(-err));
}

static bool is_zerocopy(int fd)
{
	struct xdp_options options = {0};
	socklen_t len = sizeof(options);

	return !getsockopt(fd, SOL_XDP, XDP_OPTIONS, &options, &len) &&
	       options.flags & XDP_OPTIONS_ZEROCOPY;
}

static int open_first(struct lrp_core *core, struct lrp_core_pool *pool, bool sg, char *text)
{
	int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	int err;

	if (fd < 0)
		return lrp_core_error(text, -errno, "AF_XDP socket: %s%s", strerror(errno),
				      errno == EPERM ? ": needs CAP_NET_RAW"
				      : errno == EAFNOSUPPORT
					      ? ": kernel without CONFIG_XDP_SOCKETS"
					      : "");
	err = register_umem(pool, fd, text);
	if (err)
		goto fail;
	err = set_ring(fd, XDP_UMEM_FILL_RING, pool->state->fill_size);
	if (!err)
		err = set_ring(fd, XDP_UMEM_COMPLETION_RING, 2); /* demanded, not used */
	if (!err)
		err = set_ring(fd, XDP_RX_RING, LRP_FRAGMENT_RING);
	if (!err)
		err = map_fill(pool, fd);
	if (!err && core->opts.embedded)
		err = keep_rx_ring(pool, fd, LRP_ENDPOINT_FRAGMENT, LRP_FRAGMENT_RING);
	if (err) {
		lrp_core_error(text, err, "%s: AF_XDP rings: %s", pool->device->state->ifname,
			       strerror(-err));
		goto fail;
	}
	err = bind_first(pool, fd, sg, text);
	if (err)
		goto fail;
	pool->xsk[LRP_ENDPOINT_FRAGMENT] = fd;
	return 0;
fail:
	close(fd);
	return err;
}

int lrp_core_pool_create(struct lrp_core *core, struct lrp_core_device *device, uint32_t index,
			 uint32_t queue, uint32_t frames, uint32_t frame_size, bool sg,
			 uint32_t driver_ring, char *text)
{
	struct lrp_core_pool *pool = &core->pool[index];
	struct lrp_pool_state *state = &core->state->pool[index];
	int err;

	memset(state, 0, sizeof(*state));
	pool->state = state;
	pool->device = device;
	state->device = (uint32_t)(device - core->device);
	state->queue = queue;
	state->frames = frames;
	state->frame_size = frame_size;
	state->fill_size = frames;
	state->sg = sg;
	pool->view.index = index;
	pool->umem_fd = memfd_umem(umem_size(frames, frame_size));
	if (pool->umem_fd < 0) {
		err = pool->umem_fd;
		return lrp_core_error(text, err, "%s: memory for %u frames: %s",
				      device->state->ifname, frames, strerror(-err));
	}
	err = alloc_tables(core, pool);
	if (!err)
		err = map_umem(pool);
	if (err) {
		lrp_core_error(text, err, "%s: memory for %u frames: %s", device->state->ifname,
			       frames, strerror(-err));
	} else {
		err = open_first(core, pool, sg, text);
	}
	if (err) {
		lrp_core_pool_close(core, pool);
		return err;
	}
	state->zerocopy = is_zerocopy(pool->xsk[LRP_ENDPOINT_FRAGMENT]);
	/* Copy mode: a batch of NAPI, and what its pool keeps after a full ring. Zero-copy: all
	 * descriptors of the driver's ring hold frames all the time. */
	state->reserve = 64 + (state->zerocopy ? (driver_ring ? driver_ring : 2048) : 0);
	state->circulating = 0; /* the first guarantees bring them in: see circulate.c */
	pool->shared = &device->pools[queue];
	state->used = ++core->state->generation;
	lrp_core_put(core, pool->umem_fd, "pool:%u", index);
	lrp_core_put(core, pool->xsk[LRP_ENDPOINT_FRAGMENT], "xsk:%u:0", index);
	return 0;
}

/* After adoption: the descriptors are there, map what they stand for. */
int lrp_core_pool_map(struct lrp_core *core, struct lrp_core_pool *pool)
{
	int err;

	if (pool->umem_fd < 0 || !pool->xsk || pool->xsk[LRP_ENDPOINT_FRAGMENT] < 0)
		return -EBADF;
	pool->view.index = lrp_core_pool_index(core, pool);
	err = map_umem(pool);
	if (!err)
		err = map_fill(pool, pool->xsk[LRP_ENDPOINT_FRAGMENT]);
	if (!err)
		pool->shared = &pool->device->pools[pool->state->queue];
	return err;
}

void lrp_core_pool_close(struct lrp_core *core, struct lrp_core_pool *pool)
{
	uint32_t index = lrp_core_pool_index(core, pool);

	for (uint32_t e = 0; pool->xsk && e < core->state->endpoints; e++) {
		if (pool->rx && pool->rx[e].map)
			munmap(pool->rx[e].map, pool->rx[e].size);
		if (pool->xsk[e] >= 0)
			lrp_core_drop(core, "xsk:%u:%u", index, e);
	}
	/* Sockets that are being closed still are bound to the UMEM. */
	lrp_closer_end(&core->closer);
	/* The owner of the UMEM last: the others are bound to its pool. */
	if (pool->xsk) {
		lrp_close_all(pool->xsk + 1, core->state->endpoints - 1);
		lrp_close_all(pool->xsk, 1);
	}
	free(pool->xsk);
	free(pool->rx);
	pool->xsk = NULL;
	pool->rx = NULL;
	lrp_pool_unmap(&pool->view);
	if (pool->umem_fd >= 0) {
		lrp_core_drop(core, "pool:%u", index);
		close(pool->umem_fd);
		pool->umem_fd = -1;
	}
	if (pool->state)
		memset(pool->state, 0, sizeof(*pool->state));
	pool->shared = NULL;
	pool->guaranteed = pool->goal = 0;
	pool->short_ns = 0;
	memset(&pool->health, 0, sizeof(pool->health));
}

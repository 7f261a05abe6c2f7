/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* ring_map.c - see ring_map.h. */
#include <errno.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "ring_map.h"

int lrp_ring_offsets(int fd, struct xdp_mmap_offsets *offsets)
{
	socklen_t len = sizeof(*offsets);

	if (getsockopt(fd, SOL_XDP, XDP_MMAP_OFFSETS, offsets, &len))
		return -errno;
	/* Kernels before 5.4 answer in a shorter form; they are below the floor. */
	return len == sizeof(*offsets) ? 0 : -EOPNOTSUPP;
}

int lrp_ring_map(int fd, uint64_t pgoff, size_t size, void **map)
{
	/* Populate: the first packet should not meet page faults. */
	*map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd,
		    (off_t)pgoff);
	if (*map != MAP_FAILED)
		return 0;
	*map = NULL;
	return -errno;
}

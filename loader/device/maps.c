/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* maps.c - see maps.h. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>

#include "../base/family.h"
#include "../pool/circulate.h"
#include "../demux/beside.h"
#include "../demux/publish.h"
#include "maps.h"

/* The kernel lays out array values in multiples of 8 bytes. */
static size_t array_size(size_t value, size_t entries)
{
	return ((value + 7) & ~(size_t)7) * entries;
}

static int map_array(int fd, size_t size, void **map)
{
	*map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (*map != MAP_FAILED)
		return 0;
	*map = NULL;
	return -errno;
}

static void pool_short(struct lrp_core *core, const struct lrp_event *event)
{
	for (uint32_t i = 0; i < LRP_MAX_POOLS_TOTAL; i++) {
		struct lrp_core_pool *pool = &core->pool[i];

		if (lrp_core_pool_on(pool) && pool->state->queue == event->queue &&
		    pool->device->state->ifindex == event->index)
			lrp_core_pool_short(core, pool);
	}
}

static int on_event(void *arg, void *data, size_t size)
{
	const struct lrp_event *event = data;
	struct lrp_core *core = arg;

	if (size < sizeof(*event))
		return 0;
	switch (event->kind) {
	case LRP_EVENT_SHORT:
		pool_short(core, event);
		break;
	case LRP_EVENT_LEFT:
		lrp_core_port_left(core, event->index);
		break;
	case LRP_EVENT_EVICT:
		lrp_core_port_left(core, LRP_LEFT_INDEX(true, event->index));
		break;
	case LRP_EVENT_BOUND:
		lrp_core_port_bound(core, event->index);
		break;
	}
	return 0;
}

static int open_events(struct lrp_core *core)
{
	struct epoll_event wanted = {.events = EPOLLIN};

	core->events = ring_buffer__new(core->map_fd[LRP_MAP_EVENTS], on_event, core, NULL);
	if (!core->events)
		return -errno;
	return epoll_ctl(core->epoll_fd, EPOLL_CTL_ADD, core->map_fd[LRP_MAP_EVENTS], &wanted)
		       ? -errno
		       : 0;
}

int lrp_core_map_shared(struct lrp_core *core)
{
	const struct {
		enum lrp_shared_map map;
		size_t value, entries;
		void **at;
	} array[] = {
		{LRP_MAP_PORTS, sizeof(struct lrp_port), LRP_PORT_ENTRIES, (void **)&core->ports},
		{LRP_MAP_ENDS, sizeof(struct lrp_end), LRP_ENDS, (void **)&core->ends},
		{LRP_MAP_END_HEADS, sizeof(__u32), LRP_PORTS, (void **)&core->end_heads},
		{LRP_MAP_ENDPOINT_OWNERS, sizeof(__u32), core->state->endpoints,
		 (void **)&core->endpoint_owners},
		{LRP_MAP_FAMILIES, sizeof(struct lrp_family), LRP_OWNERS, (void **)&core->families},
		{LRP_MAP_QUOTAS, sizeof(struct lrp_quota), LRP_QUOTAS, (void **)&core->quotas},
		{LRP_MAP_LEFT, sizeof(__u32), LRP_LEFT_ENTRIES, (void **)&core->left},
	};
	int err = 0;

	for (size_t i = 0; i < sizeof(array) / sizeof(array[0]) && !err; i++)
		if (!*array[i].at)
			err = map_array(core->map_fd[array[i].map],
					array_size(array[i].value, array[i].entries), array[i].at);
	if (err)
		return err;
	lrp_core_families_sync(core);
	return core->events ? 0 : open_events(core);
}

void lrp_core_unmap_shared(struct lrp_core *core)
{
	const struct {
		size_t size;
		void *at;
	} array[] = {
		{array_size(sizeof(struct lrp_port), LRP_PORT_ENTRIES), core->ports},
		{array_size(sizeof(struct lrp_end), LRP_ENDS), core->ends},
		{array_size(sizeof(__u32), LRP_PORTS), core->end_heads},
		{core->state ? array_size(sizeof(__u32), core->state->endpoints) : 0,
		 core->endpoint_owners},
		{array_size(sizeof(struct lrp_family), LRP_OWNERS), core->families},
		{array_size(sizeof(struct lrp_quota), LRP_QUOTAS), core->quotas},
		{array_size(sizeof(__u32), LRP_LEFT_ENTRIES), core->left},
	};

	for (size_t i = 0; i < sizeof(array) / sizeof(array[0]); i++)
		if (array[i].at)
			munmap(array[i].at, array[i].size);
}

int lrp_core_map_device(struct lrp_core *core, struct lrp_core_device *device)
{
	int err;

	if (device->channels)
		return 0;
	device->channels_size = array_size(sizeof(struct lrp_channel),
					   (size_t)device->state->queues * core->state->endpoints);
	device->pools_size = array_size(sizeof(struct lrp_pool), device->state->queues);
	err = map_array(device->map_fd[LRP_MAP_CHANNELS], device->channels_size,
			(void **)&device->channels);
	if (!err)
		err = map_array(device->map_fd[LRP_MAP_POOLS], device->pools_size,
				(void **)&device->pools);
	return err;
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * device.c - attached devices: letting go of them, adopting them after a takeover, sending through
 * them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../runtime/base/log.h"
#include "../pool/channel.h"
#include "../pool/umem.h"
#include "../demux/fragment.h"
#include "../demux/rebuild.h"
#include "device.h"
#include "link.h"
#include "maps.h"
#include "pin.h"
#include "tap.h"
#include "xdp.h"

struct lrp_core_device *lrp_core_device_find(struct lrp_core *core, uint32_t ifindex)
{
	for (uint32_t i = 0; i < LRP_MAX_DEVICES; i++)
		if (core->device[i].state && core->device[i].state->used &&
		    core->device[i].state->ifindex == ifindex)
			return &core->device[i];
	return NULL;
}

/* Tells the clients. Last when pools come, first when they go. */
void lrp_core_publish_pools(struct lrp_core *core, struct lrp_core_device *device, bool on)
{
	for (uint32_t q = 0; q < device->state->queues; q++) {
		uint32_t i = device->state->pool[q];

		if (i >= LRP_MAX_POOLS_TOTAL)
			continue;
		core->page->pool[i].ifindex = on ? device->state->ifindex : 0;
		core->page->pool[i].queue = on ? q : 0;
		__atomic_store_n(&core->page->pool[i].state, on ? core->state->pool[i].used : 0,
				 __ATOMIC_RELEASE);
	}
	__atomic_fetch_add(&core->page->pools_epoch, 1, __ATOMIC_RELEASE);
}

void lrp_core_put_device(struct lrp_core *core, struct lrp_core_device *device)
{
	uint32_t i = (uint32_t)(device - core->device);

	for (int m = 0; m < LRP_MAP_PER_DEVICE; m++)
		lrp_core_put(core, device->map_fd[m], "dev:%u:map:%s", i, lrp_device_map_name[m]);
	lrp_core_put(core, device->prog_fd, "dev:%u:prog", i);
	lrp_core_put(core, device->link_fd, "dev:%u:link", i);
}

/* ---- letting go ------------------------------------------------------------------------------ */

void lrp_core_device_silence(struct lrp_core *core, struct lrp_core_device *device)
{
	uint32_t i = (uint32_t)(device - core->device);

	lrp_core_xdp_detach(core, device);
	lrp_core_drop(core, "dev:%u:link", i);
	lrp_core_drop(core, "dev:%u:prog", i);
	if (device->taps)
		lrp_taps_free(device->taps);
	device->taps = NULL;
	lrp_core_publish_pools(core, device, false);
	lrp_core_unpin_device(core, device);
}

void lrp_core_device_close(struct lrp_core *core, struct lrp_core_device *device)
{
	uint32_t i = (uint32_t)(device - core->device);

	/* The program goes first: what comes now is the kernel's. */
	lrp_core_device_silence(core, device);
	for (uint32_t q = 0; q < device->state->queues; q++) {
		struct lrp_core_pool *pool;

		if (device->state->pool[q] >= LRP_MAX_POOLS_TOTAL)
			continue;
		pool = &core->pool[device->state->pool[q]];
		for (uint32_t e = 0;
		     device->channels && lrp_core_pool_on(pool) && e < core->state->endpoints;
		     e++) {
			struct lrp_channel *channel = lrp_core_channel(core, pool, e);

			/* Its record, too, is free for channels of other pools. */
			if (channel->ring_size && core->state->endpoint[e].use != LRP_ENDPOINT_FREE)
				lrp_core_channel_free(core, pool, e);
		}
		lrp_core_strays_forget(core, pool);
		lrp_core_pool_close(core, pool);
	}
	if (device->channels)
		munmap(device->channels, device->channels_size);
	if (device->pools)
		munmap(device->pools, device->pools_size);
	device->channels = NULL;
	device->pools = NULL;
	for (int m = 0; m < LRP_MAP_PER_DEVICE; m++) {
		if (device->map_fd[m] < 0)
			continue;
		lrp_core_drop(core, "dev:%u:map:%s", i, lrp_device_map_name[m]);
		close(device->map_fd[m]);
		device->map_fd[m] = -1;
	}
	device->state->used = device->state->parked = 0;
	if (core->map_fd[LRP_MAP_PORTS] >= 0)
		lrp_core_memberships_rebuild(core);
}

/* ---- sending ------------------------------------------------------------------------ */

int lrp_core_device_tap(struct lrp_core *core, uint32_t ifindex, uint32_t owner)
{
	struct lrp_core_device *device = lrp_core_device_find(core, ifindex);
	struct lrp_tap_maps maps = {
		.ports = core->map_fd[LRP_MAP_PORTS],
		.local4 = core->map_fd[LRP_MAP_LOCAL4],
		.local6 = core->map_fd[LRP_MAP_LOCAL6],
		.binds4 = core->map_fd[LRP_MAP_BINDS4],
		.binds6 = core->map_fd[LRP_MAP_BINDS6],
		.flows4 = core->map_fd[LRP_MAP_FLOWS4],
		.flows6 = core->map_fd[LRP_MAP_FLOWS6],
		.groups = core->map_fd[LRP_MAP_GROUPS],
		.ends = core->map_fd[LRP_MAP_ENDS],
		.kernel4 = core->map_fd[LRP_MAP_KERNEL4],
		.kernel6 = core->map_fd[LRP_MAP_KERNEL6],
	};
	char text[LRP_ERROR_SIZE] = "";
	int fd;

	if (!device || device->state->parked)
		return -ENODEV;
	if (!device->taps) {
		maps.channels = device->map_fd[LRP_MAP_CHANNELS];
		fd = lrp_taps_new(&device->taps, ifindex, &maps, text, sizeof(text));
		if (fd) {
			device->taps = NULL;
			lrp_log_once(LRP_LOG_WARN,
				     "lrpd: %s: %s: processes without CAP_NET_RAW send "
				     "through the kernel's sockets",
				     device->state->ifname, text);
			return fd;
		}
	}
	fd = lrp_tap_new(device->taps, owner, text, sizeof(text));
	if (fd < 0)
		lrp_log_once(LRP_LOG_WARN, "lrpd: %s: %s", device->state->ifname, text);
	return fd;
}

/* ---- adoption ----------------------------------------------------------------------------------
 */

int lrp_core_device_adopt(struct lrp_core *core, struct lrp_core_device *device)
{
	char text[LRP_ERROR_SIZE];
	struct lrp_link_info info;
	int err;

	if (!device->state->parked &&
	    (device->prog_fd < 0 || (device->link_fd < 0 && !device->state->libxdp)))
		return -EBADF;
	for (int m = 0; m < LRP_MAP_PER_DEVICE; m++)
		if (device->map_fd[m] < 0)
			return -EBADF;
	err = lrp_core_map_device(core, device);
	for (uint32_t q = 0; q < device->state->queues && !err; q++) {
		uint32_t i = device->state->pool[q];

		if (i >= LRP_MAX_POOLS_TOTAL || !core->state->pool[i].used)
			return -EBADF;
		core->pool[i].device = device;
		err = lrp_core_pool_map(core, &core->pool[i]);
		if (!err)
			lrp_core_strays_watch(core, &core->pool[i]);
	}
	if (err)
		return err;
	if (device->state->program != lrp_core_xdp_hash() && device->link_fd >= 0) {
		err = lrp_core_link_info(device->state->ifname, &info);
		if (!err)
			err = lrp_core_xdp_attach(core, device, &info, text);
		lrp_log(LRP_LOG_WARN, "lrpd: %s: %s", device->state->ifname,
			err ? "program of another version stays attached" : "program replaced");
	}
	return 0;
}

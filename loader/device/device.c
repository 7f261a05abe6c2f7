/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * device.c - attaching to an interface and letting go of it: the program, one
 * pool for each RX queue, the maps of the device.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../runtime/base/log.h"
#include "../../runtime/ring/ring_map.h"
#include "../base/family.h"
#include "../pool/channel.h"
#include "../pool/circulate.h"
#include "../pool/umem.h"
#include "../demux/beside.h"
#include "../demux/fragment.h"
#include "../demux/publish.h"
#include "../demux/rebuild.h"
#include "../demux/watch.h"
#include "device.h"
#include "kernel.h"
#include "link.h"
#include "local.h"
#include "pin.h"
#include "tap.h"
#include "xdp.h"

#define LINK_HEADERS 22u /* Ethernet and two VLAN tags */

/* ---- maps that are mmapable ------------------------------------------------------- */

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

static int map_device(struct lrp_core *core, struct lrp_core_device *device)
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

/* ---- what is asked for ---------------------------------------------------------------- */

int lrp_core_plan(const struct lrp_core *core, const struct lrp_attach_request *request,
		  const struct lrp_link_info *info, struct lrp_core_plan *plan, char *text)
{
	uint32_t need = lrp_core_guarantee_sum(core) + 64; /* and the reserve */
	uint32_t least = 256;

	plan->frame_size = request->frame_size;
	if (!plan->frame_size) /* 256 bytes are headroom */
		plan->frame_size = info->mtu + LINK_HEADERS <= 2048 - 256 ? 2048 : 4096;
	if (plan->frame_size != 2048 && plan->frame_size != 4096)
		return lrp_core_error(text, -EINVAL, "--frame-size %u: 2048 or 4096 are possible",
				      plan->frame_size);
	plan->payload = plan->frame_size - 256;
	plan->sg = info->mtu + LINK_HEADERS > plan->payload;
	plan->frames = request->frames ? request->frames : LRP_DEFAULT_FRAMES;
	if (plan->frames & (plan->frames - 1) || plan->frames > 1u << 22)
		return lrp_core_error(text, -EINVAL,
				      "--frames %u: must be a power of two, at most %u",
				      plan->frames, 1u << 22);
	while (least < need)
		least <<= 1;
	if (plan->frames < least)
		return lrp_core_error(text, -ENOBUFS,
				      "%s: %u frames are too few: guarantees and reserve need %u, "
				      "use --frames %u or more",
				      info->ifname, plan->frames, need, least);
	return 0;
}

static int plan_pools(const struct lrp_core *core, const struct lrp_link_info *info,
		      uint32_t *slots, char *text)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < LRP_MAX_POOLS_TOTAL && n < info->queues; i++)
		if (!core->state->pool[i].used)
			slots[n++] = i;
	if (n < info->queues)
		return lrp_core_error(
			text, -ENOSPC,
			"%s: has %u queues, but only %u pools are left: reduce the "
			"queues (ethtool -L %s combined %u) or detach another interface",
			info->ifname, info->queues, n, info->ifname, n ? n : 1);
	return 0;
}

struct lrp_core_device *lrp_core_device_find(struct lrp_core *core, uint32_t ifindex)
{
	for (uint32_t i = 0; i < LRP_MAX_DEVICES; i++)
		if (core->device[i].state && core->device[i].state->used &&
		    core->device[i].state->ifindex == ifindex)
			return &core->device[i];
	return NULL;
}

/* ---- attaching --------------------------------------------------------------------------- */

/*
 * With lrpd the clients map rings of sockets that are bound. Tried here, where
 * there is somebody to read the answer.
 */
static int check_ring_mapping(struct lrp_core *core, struct lrp_core_pool *pool, char *text)
{
	struct lrp_chan chan;
	int err;

	if (core->opts.embedded)
		return 0;
	err = lrp_core_ring_open(core, pool, LRP_ENDPOINT_FRAGMENT, &chan);
	if (err == -EBUSY)
		return lrp_core_error(
			text, -EOPNOTSUPP,
			"this kernel does not map the rings of a bound AF_XDP socket: "
			"lrpd needs Linux 6.6 or later; on 6.1 use the embedded mode "
			"(lrp_embed)");
	if (err)
		return lrp_core_error(text, err, "%s: mapping a ring: %s",
				      pool->device->state->ifname, strerror(-err));
	lrp_core_ring_close(&chan);
	return 0;
}

static int make_pools(struct lrp_core *core, struct lrp_core_device *device,
		      const struct lrp_link_info *info, const struct lrp_core_plan *plan,
		      const uint32_t *slots, char *text)
{
	int err;

	for (uint32_t q = 0; q < info->queues; q++) {
		struct lrp_core_pool *pool = &core->pool[slots[q]];

		device->state->pool[q] = slots[q];
		err = lrp_core_pool_create(core, device, slots[q], q, plan->frames,
					   plan->frame_size, plan->sg, info->rx_ring, text);
		if (err)
			return err;
		device->pools[q].frames = plan->frames;
		if (lrp_core_guarantee_sum(core) + pool->state->reserve > plan->frames)
			return lrp_core_error(
				text, -ENOBUFS,
				"%s: %u frames are too few: guarantees need %u and the "
				"driver's ring %u: use --frames with more",
				info->ifname, plan->frames, lrp_core_guarantee_sum(core),
				pool->state->reserve);
		err = lrp_core_fragment_endpoint(core, pool);
		if (err)
			return lrp_core_error(text, err, "%s: fragment channel: %s", info->ifname,
					      strerror(-err));
		err = q ? 0 : check_ring_mapping(core, pool, text);
		if (err)
			return err;
		lrp_core_strays_watch(core, pool);
	}
	return 0;
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

/* A second attach of the same interface: the program alone is replaced. */
static int upgrade(struct lrp_core *core, struct lrp_core_device *device,
		   const struct lrp_attach_request *request, const struct lrp_link_info *info,
		   char *text)
{
	const struct lrp_device_state *state = device->state;
	int err;

	if ((request->mode != LRP_MODE_AUTO && request->mode != state->mode) ||
	    (request->frames && request->frames != state->frames) ||
	    request->libxdp != state->libxdp)
		return lrp_core_error(text, -EALREADY,
				      "%s is attached already, in another way: lrp detach %s first",
				      info->ifname, info->ifname);
	err = lrp_core_xdp_attach(core, device, info, text);
	if (err)
		return err;
	lrp_core_put_device(core, device);
	lrp_core_pin_device(core, device);
	lrp_core_error(text, 0, "%s: program replaced", info->ifname);
	return 0;
}

static void fill_state(struct lrp_device_state *state, const struct lrp_attach_request *request,
		       const struct lrp_link_info *info, const struct lrp_core_plan *plan)
{
	memset(state, 0, sizeof(*state));
	state->ifindex = info->ifindex;
	memcpy(state->ifname, info->ifname, sizeof(state->ifname));
	state->mode = request->mode;
	state->libxdp = request->libxdp;
	state->queues = info->queues;
	state->mtu = info->mtu;
	state->virtual_device = info->virtual_device;
	state->frame_payload = plan->payload;
	state->frames = plan->frames;
	for (uint32_t q = 0; q < LRP_MAX_QUEUES; q++)
		state->pool[q] = LRP_NO_POOL;
}

void lrp_core_attached_line(const struct lrp_core_device *device,
			    const struct lrp_attach_request *request, uint32_t frame_size, bool sg,
			    char *text)
{
	const struct lrp_device_state *state = device->state;
	bool fallback = request->mode == LRP_MODE_AUTO && state->mode == LRP_MODE_SKB;

	lrp_core_error(text, 0,
		       "%s: attached in %s mode%s, %u queue%s, %u frames of %u bytes each%s%s",
		       state->ifname, state->mode == LRP_MODE_NATIVE ? "native" : "skb",
		       state->libxdp ? " through libxdp" : "", state->queues,
		       state->queues == 1 ? "" : "s", state->frames, frame_size,
		       sg ? ", several frames a packet" : "",
		       fallback ? " (native mode is not available)" : "");
}

/* Before anything is changed. */
static int check_kernel(const struct lrp_core *core, const struct lrp_attach_request *request,
			const struct lrp_link_info *info, const struct lrp_core_plan *plan,
			char *text)
{
	struct lrp_kernel_needs needs = {
		.embedded = core->opts.embedded,
		.libxdp = request->libxdp,
		.several_frames = plan->sg,
		.locked_bytes = (uint64_t)info->queues * plan->frames * plan->frame_size,
	};
	struct lrp_kernel_facts facts;

	lrp_kernel_ask(&facts);
	return lrp_kernel_judge(&facts, &needs, text);
}

static int attach_new(struct lrp_core *core, struct lrp_core_device *device,
		      const struct lrp_attach_request *request, const struct lrp_link_info *info,
		      char *text)
{
	uint32_t slots[LRP_MAX_QUEUES];
	struct lrp_core_plan plan = {0};
	bool first = core->map_fd[LRP_MAP_PORTS] < 0;
	int err;

	err = lrp_core_link_refusal(info, request->libxdp, text);
	if (!err)
		err = lrp_core_plan(core, request, info, &plan, text);
	if (!err)
		err = plan_pools(core, info, slots, text);
	if (!err)
		err = check_kernel(core, request, info, &plan, text);
	if (err)
		return err;
	fill_state(device->state, request, info, &plan);
	device->state->used = 1;
	/* Until local.c has filled in the device record the program passes everything. */
	err = lrp_core_xdp_attach(core, device, info, text);
	if (err)
		goto fail;
	err = lrp_core_map_shared(core);
	if (!err)
		err = map_device(core, device);
	if (err) {
		lrp_core_error(text, err, "%s: mapping the maps: %s", info->ifname, strerror(-err));
		goto fail;
	}
	err = lrp_core_watch_open(core, text);
	if (err && !core->opts.embedded)
		goto fail;
	if (err) /* one family, which would only fool itself: it sweeps */
		lrp_log_once(LRP_LOG_WARN, "%s: sockets are not followed at once", text);
	if (first)
		lrp_core_pin_shared(core);
	err = make_pools(core, device, info, &plan, slots, text);
	if (err)
		goto fail;
	lrp_core_guarantees(core);
	err = lrp_core_local_sync(core);
	if (err) {
		lrp_core_error(text, err, "%s: reading addresses: %s", info->ifname,
			       strerror(-err));
		goto fail;
	}
	lrp_core_flows_rebuild(core); /* memberships are by device */
	lrp_core_put_device(core, device);
	lrp_core_pin_device(core, device);
	lrp_core_publish_pools(core, device, true);
	lrp_core_attached_line(device, request, plan.frame_size, plan.sg, text);
	return 0;
fail:
	lrp_core_device_close(core, device);
	return err;
}

int lrp_core_attach(struct lrp_core *core, const struct lrp_attach_request *request, char *text)
{
	struct lrp_core_device *device;
	struct lrp_link_info info;
	int err;

	err = lrp_core_link_info(request->ifname, &info);
	if (err == -ENODEV)
		return lrp_core_error(text, err,
				      "%s: no such interface in this network namespace (ip link "
				      "lists them)",
				      request->ifname);
	if (err)
		return lrp_core_error(text, err, "%s: rtnetlink: %s", request->ifname,
				      strerror(-err));
	device = lrp_core_device_find(core, info.ifindex);
	if (device && !device->state->parked)
		return upgrade(core, device, request, &info, text);
	if (device) {
		err = lrp_core_unpark(core, device, request, &info, text);
		if (err != -ESTALE)
			return err;
	}
	for (uint32_t i = 0; i < LRP_MAX_DEVICES; i++)
		if (!core->device[i].state->used)
			return attach_new(core, &core->device[i], request, &info, text);
	return lrp_core_error(text, -ENOSPC,
			      "%s: %u interfaces are attached, more are not possible",
			      request->ifname, LRP_MAX_DEVICES);
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
	err = map_device(core, device);
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

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * attach.c - attaching to an interface: the program, one pool for each RX queue, the maps of the
 * device.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../runtime/base/log.h"
#include "../../runtime/ring/ring_map.h"
#include "../pool/channel.h"
#include "../pool/circulate.h"
#include "../pool/umem.h"
#include "../demux/fragment.h"
#include "../demux/rebuild.h"
#include "../demux/watch.h"
#include "device.h"
#include "kernel.h"
#include "link.h"
#include "local.h"
#include "maps.h"
#include "pin.h"
#include "xdp.h"

#define LINK_HEADERS 22u /* Ethernet and two VLAN tags */

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
		err = lrp_core_map_device(core, device);
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

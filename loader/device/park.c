/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * park.c - detaching while sockets use the device.
 *
 * The kernel allows one UMEM for a queue, and keeps it for as long as any process
 * has a socket or a ring of it. A process that is not receiving keeps them
 * without knowing that they are dead. So the device is not taken down but parked:
 * the program is off the interface, all traffic is the kernel's, and the pools
 * wait. Attaching it again finds them as they were; else they are freed with the
 * last socket that uses them.
 */
#include <errno.h>
#include <string.h>

#include "../pool/circulate.h"
#include "../demux/rebuild.h"
#include "device.h"
#include "link.h"
#include "local.h"
#include "park.h"
#include "pin.h"
#include "xdp.h"

static uint32_t users(const struct lrp_core *core, const struct lrp_core_device *device)
{
	uint32_t n = 0;

	for (uint32_t e = LRP_ENDPOINT_FIRST; e < core->state->endpoints; e++) {
		bool uses = false;

		for (uint32_t q = 0; q < device->state->queues && !uses; q++) {
			uint32_t i = device->state->pool[q];

			uses = i < LRP_MAX_POOLS_TOTAL && core->pool[i].xsk &&
			       core->pool[i].xsk[e] >= 0 &&
			       core->state->endpoint[e].use != LRP_ENDPOINT_FREE;
		}
		n += uses;
	}
	return n;
}

int lrp_core_detach(struct lrp_core *core, const char *ifname, char *text)
{
	for (uint32_t i = 0; i < LRP_MAX_DEVICES; i++) {
		struct lrp_core_device *device = &core->device[i];
		uint32_t n;

		if (!lrp_core_device_live(device->state) || strcmp(device->state->ifname, ifname))
			continue;
		n = users(core, device);
		if (!n) {
			lrp_core_device_close(core, device);
			return lrp_core_error(text, 0, "%s: detached", ifname);
		}
		device->state->parked = 1;
		lrp_core_device_silence(core, device);
		lrp_core_memberships_rebuild(core);
		return lrp_core_error(text, 0,
				      "%s: detached; its memory is kept for %u socket%s that use%s "
				      "it",
				      ifname, n, n == 1 ? "" : "s", n == 1 ? "s" : "");
	}
	return lrp_core_error(text, -ENODEV, "%s: is not attached (lrp status lists what is)",
			      ifname);
}

void lrp_core_silence(struct lrp_core *core)
{
	for (uint32_t i = 0; i < LRP_MAX_DEVICES; i++) {
		struct lrp_core_device *device = &core->device[i];

		if (!lrp_core_device_live(device->state))
			continue;
		device->state->parked = 1;
		lrp_core_device_silence(core, device);
	}
}

void lrp_core_parked_run(struct lrp_core *core)
{
	for (uint32_t i = 0; i < LRP_MAX_DEVICES; i++)
		if (core->device[i].state->used && core->device[i].state->parked &&
		    !users(core, &core->device[i]))
			lrp_core_device_close(core, &core->device[i]);
}

/* Do the pools that wait fit what is asked for now? */
static bool fits(const struct lrp_core *core, const struct lrp_core_device *device,
		 const struct lrp_link_info *info, const struct lrp_core_plan *plan)
{
	const struct lrp_pool_state *pool = &core->state->pool[device->state->pool[0]];

	return info->queues == device->state->queues && pool->frames == plan->frames &&
	       pool->frame_size == plan->frame_size && pool->sg >= plan->sg && !pool->zerocopy;
}

int lrp_core_unpark(struct lrp_core *core, struct lrp_core_device *device,
		    const struct lrp_attach_request *request, const struct lrp_link_info *info,
		    char *text)
{
	struct lrp_attach_request like = *request;
	struct lrp_core_plan plan = {0};
	int err;

	if (!like.frames)
		like.frames = device->state->frames;
	if (!like.frame_size)
		like.frame_size = core->state->pool[device->state->pool[0]].frame_size;
	err = lrp_core_link_refusal(info, request->libxdp, text);
	if (!err)
		err = lrp_core_plan(core, &like, info, &plan, text);
	if (err)
		return err;
	if (!fits(core, device, info, &plan)) {
		lrp_core_device_close(core, device);
		return -ESTALE;
	}
	device->state->mode = request->mode;
	device->state->libxdp = request->libxdp;
	device->state->mtu = info->mtu;
	err = lrp_core_xdp_attach(core, device, info, text);
	if (err)
		return err;
	device->state->parked = 0;
	lrp_core_guarantees(core);
	err = lrp_core_local_sync(core);
	if (err) {
		device->state->parked = 1;
		lrp_core_device_silence(core, device);
		return lrp_core_error(text, err, "%s: reading addresses: %s", info->ifname,
				      strerror(-err));
	}
	lrp_core_memberships_rebuild(core);
	lrp_core_put_device(core, device);
	lrp_core_pin_device(core, device);
	lrp_core_publish_pools(core, device, true);
	lrp_core_attached_line(device, request, plan.frame_size, plan.sg, text);
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * device.h - attaching to an interface and letting go; steps that device.c and park.c share.
 * Errors: 0 or -errno, a line in `text` (LRP_ERROR_SIZE).
 */
#ifndef LRP_CORE_DEVICE_H
#define LRP_CORE_DEVICE_H

#include "../base/internal.h"
#include "link.h"
#include "park.h"

/* LRP_REQ_ATTACH. */
int lrp_core_attach(struct lrp_core *core, const struct lrp_attach_request *request, char *text);
void lrp_core_device_close(struct lrp_core *core, struct lrp_core_device *device);
int lrp_core_device_adopt(struct lrp_core *core, struct lrp_core_device *device);
struct lrp_core_device *lrp_core_device_find(struct lrp_core *core, uint32_t ifindex);

/* A TAP queue that leads to the device, for the family; a descriptor or -errno. */
int lrp_core_device_tap(struct lrp_core *core, uint32_t ifindex, uint32_t owner);

struct lrp_core_plan {
	uint32_t frames, frame_size, payload;
	bool sg; /* packets in several frames */
};

/* What pools the interface needs, from the request and its MTU. */
int lrp_core_plan(const struct lrp_core *core, const struct lrp_attach_request *request,
		  const struct lrp_link_info *info, struct lrp_core_plan *plan, char *text);

/* Tells the clients. Last when pools come, first when they go. */
void lrp_core_publish_pools(struct lrp_core *core, struct lrp_core_device *device, bool on);
/* Its descriptors, to the keeper. */
void lrp_core_put_device(struct lrp_core *core, struct lrp_core_device *device);
/* The line that `lrp attach` prints. */
void lrp_core_attached_line(const struct lrp_core_device *device,
			    const struct lrp_attach_request *request, uint32_t frame_size, bool sg,
			    char *text);
/* Takes the program off the interface; pools and channels stay. */
void lrp_core_device_silence(struct lrp_core *core, struct lrp_core_device *device);

/* A parked device is attached again; -ESTALE: it was freed, attach it anew. */
int lrp_core_unpark(struct lrp_core *core, struct lrp_core_device *device,
		    const struct lrp_attach_request *request, const struct lrp_link_info *info,
		    char *text);

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* xdp.h - loading the XDP program and attaching it. Errors: 0 or -errno, a line in `text`. */
#ifndef LRP_CORE_XDP_H
#define LRP_CORE_XDP_H

#include "../base/internal.h"
#include "link.h"

/*
 * Loads the program for the device and attaches it as device->state->mode says
 * (LRP_MODE_AUTO: native, else generic; the mode becomes what it is). Maps that exist already
 * (shared ones; the device's own when the program is replaced) are reused,
 * others are made. A device that has a link keeps it: the program behind it is
 * replaced atomically.
 */
int lrp_core_xdp_attach(struct lrp_core *core, struct lrp_core_device *device,
			const struct lrp_link_info *info, char *text);
void lrp_core_xdp_detach(struct lrp_core *core, struct lrp_core_device *device);

/* Identifies the program that this binary carries; device->state->program is the attached one. */
uint64_t lrp_core_xdp_hash(void);

#endif

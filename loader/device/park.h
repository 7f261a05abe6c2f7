/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* park.h - letting go of a device while sockets use it. */
#ifndef LRP_CORE_PARK_H
#define LRP_CORE_PARK_H

#include "../base/client.h"

struct lrp_core;

/* LRP_REQ_DETACH. 0 or -errno, a line in `text` (LRP_ERROR_SIZE). */
int lrp_core_detach(struct lrp_core *core, const char *ifname, char *text);
/* Closes parked devices that nobody uses any more. */
void lrp_core_parked_run(struct lrp_core *core);
/* Takes the program off all interfaces: all traffic is the kernel's at once. What is left, closing
 * thousands of AF_XDP sockets, can take seconds: lrp_core_free(). */
void lrp_core_silence(struct lrp_core *core);

#endif

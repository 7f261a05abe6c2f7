/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* release.h - an endpoint that nobody has any more. */
#ifndef LRP_CORE_RELEASE_H
#define LRP_CORE_RELEASE_H

#include "../base/internal.h"

/*
 * What is closed is gathered for so long, since a look at all frames and a grace period take some
 * milliseconds, and one of each serves for all: a program that opens and closes sockets in a loop
 * costs no more than that. Well below the second in which the frames of a dead process must be
 * back.
 */
#define LRP_GATHER_MS 100u

/* Takes the endpoint out of the maps and shuts its channels. From then on it is
 * LRP_ENDPOINT_CLOSING, and lrp_core_reclaim_run() takes it back after a grace period. */
void lrp_core_release(struct lrp_core *core, uint32_t endpoint);

#endif

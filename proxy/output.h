/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * output.h - the way of frames into the kernel's stack, as if they had just come in on a device
 * and no XDP program were attached.
 *
 * Two ways. A TAP device whose ingress is redirected to the real device [tap.h] takes frames one by
 * one, in both modes of XDP. BPF_PROG_RUN [run.h] takes batches, in native mode alone. A call of it
 * costs as much as several frames do through the TAP, so only large batches go there.
 *
 * Threads: one at a time.
 */
#ifndef LRP_PROXY_OUTPUT_H
#define LRP_PROXY_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "run.h"
#include "tap.h"

/* Frames that BPF_PROG_RUN pays for; measured by lrp-bench proxies. */
#define LRP_OUTPUT_BATCH 16u

struct lrp_output {
	struct lrp_proxy_tap tap;
	struct lrp_proxy_run *run; /* the caller's; NULL: all goes through the TAP */
	uint32_t ifindex;
	bool partial; /* checksums may be partial: a virtual device */
	/* counters */
	uint64_t by_tap, by_run, failed;
};

/* `run` must be NULL for a device in generic mode. 0 or -errno, and a line for
 * people in error[]. */
int lrp_output_open(struct lrp_output *out, uint32_t ifindex, bool partial,
		    struct lrp_proxy_run *run, char *error, size_t size);
void lrp_output_close(struct lrp_output *out);

/* The device may have another MAC or MTU now, or has gone. 0 or -errno. */
int lrp_output_check(struct lrp_output *out);

struct lrp_output_frame {
	const uint8_t *data; /* from the link header on */
	uint32_t length;
};

/* Hands over all of them, in this order, before it returns. `queue`: from which they came. */
void lrp_output_frames(struct lrp_output *out, uint32_t queue, const struct lrp_output_frame *frame,
		       uint32_t count);

#endif

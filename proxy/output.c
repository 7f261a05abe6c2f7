/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* output.c - see output.h. */
#include "output.h"

#include <string.h>

#include "partial.h"

#define FRAME_MAX 4096u /* AF_XDP frames are at most a page */

int lrp_output_open(struct lrp_output *out, uint32_t ifindex, bool partial,
		    struct lrp_proxy_run *run, char *error, size_t size)
{
	*out = (struct lrp_output){.ifindex = ifindex, .partial = partial, .run = run};
	return lrp_proxy_tap_open(&out->tap, ifindex, error, size);
}

void lrp_output_close(struct lrp_output *out)
{
	lrp_proxy_tap_close(&out->tap);
}

int lrp_output_check(struct lrp_output *out)
{
	return lrp_proxy_tap_check(&out->tap);
}

/* Others can write the frame while it is parsed, so a copy is. */
static void by_tap(struct lrp_output *out, const struct lrp_output_frame *frame, uint32_t count)
{
	struct lrp_partial partial;
	uint8_t copy[FRAME_MAX];

	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *data = frame[i].data;
		bool found = false;

		if (out->partial && frame[i].length <= sizeof(copy)) {
			data = memcpy(copy, data, frame[i].length);
			found = lrp_partial_find(copy, frame[i].length, &partial);
		}
		if (lrp_proxy_tap_write(&out->tap, data, frame[i].length, found ? &partial : NULL))
			out->failed++;
		else
			out->by_tap++;
	}
}

static void by_run(struct lrp_output *out, uint32_t queue, const struct lrp_output_frame *frame,
		   uint32_t count)
{
	struct lrp_partial partial;

	for (uint32_t i = 0; i < count; i++) {
		uint8_t *copy = lrp_proxy_run_next(out->run);

		memcpy(copy, frame[i].data, frame[i].length);
		if (out->partial && lrp_partial_find(copy, frame[i].length, &partial))
			lrp_partial_complete(copy, frame[i].length, &partial);
		lrp_proxy_run_add(out->run, frame[i].length);
	}
	if (lrp_proxy_run_flush(out->run, out->ifindex, queue))
		out->failed += count;
	else
		out->by_run += count;
}

void lrp_output_frames(struct lrp_output *out, uint32_t queue, const struct lrp_output_frame *frame,
		       uint32_t count)
{
	uint32_t at = 0, n;

	while (at < count) {
		for (n = 0; at + n < count && n < LRP_HANDOVER_BATCH &&
			    frame[at + n].length <= LRP_HANDOVER_FRAME;)
			n++;
		if (out->run && n >= LRP_OUTPUT_BATCH) {
			by_run(out, queue, frame + at, n);
		} else {
			n += n == 0; /* too long for a live frame */
			by_tap(out, frame + at, n);
		}
		at += n;
	}
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * partial.h - where the checksum of a frame is to be completed.
 *
 * A virtual device passes on packets in whose transport header only the sum of the pseudo-header
 * stands (CHECKSUM_PARTIAL). The frame alone tells: UDP or TCP, not a fragment, and exactly that
 * sum in the field. A complete checksum looks like that only if all that it covers besides adds
 * up to zero, once in 65,535 packets; completing it anew gives the same value then.
 *
 * Pure; bounds are checked, nothing is believed.
 */
#ifndef LRP_PROXY_PARTIAL_H
#define LRP_PROXY_PARTIAL_H

#include <stdbool.h>
#include <stdint.h>

struct lrp_partial {
	uint16_t start;	 /* of the transport header in the frame */
	uint16_t offset; /* of the field from there */
};

/* True: the frame's checksum is partial. */
bool lrp_partial_find(const uint8_t *frame, uint32_t length, struct lrp_partial *partial);

/* Completes it in place. The length that the IP header claims bounds what is summed up. */
void lrp_partial_complete(uint8_t *frame, uint32_t length, const struct lrp_partial *partial);

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tap.h - a TAP device through which frames enter the stack of a real one.
 *
 * Its ingress is redirected to the real device's (mirred): the kernel calls the real device's
 * receive path directly, in the context of the write(), and skips generic XDP there. Its MAC is the
 * real device's, else the kernel would take each frame for another host's. It has no IPv6
 * address, no ARP, and goes with its descriptor.
 */
#ifndef LRP_PROXY_TAP_H
#define LRP_PROXY_TAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "partial.h"

#define LRP_PROXY_TAP_PREFIX "lrppx"

struct lrp_proxy_tap {
	int fd;
	uint32_t ifindex; /* the TAP's */
	uint32_t device;  /* the real one's */
	uint8_t mac[6];
};

/* 0 or -errno, and a line for people in error[]. */
int lrp_proxy_tap_open(struct lrp_proxy_tap *tap, uint32_t device, char *error, size_t size);
void lrp_proxy_tap_close(struct lrp_proxy_tap *tap);

/* Follows the real device's MAC and MTU. -ENODEV: it has gone. */
int lrp_proxy_tap_check(struct lrp_proxy_tap *tap);

/* partial: where the checksum is to be completed; NULL: nowhere. 0 or -errno. */
int lrp_proxy_tap_write(const struct lrp_proxy_tap *tap, const uint8_t *frame, uint32_t length,
			const struct lrp_partial *partial);

#endif

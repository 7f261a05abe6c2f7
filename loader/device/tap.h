/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tap.h - TAP queues through which processes without CAP_NET_RAW send [design 6].
 *
 * Each belongs to one process family and leads to one attached device; the
 * program of bpf/tx_tap.bpf.c lets through what the family may send. The
 * device is named lrptx<n>, has no address and nothing can be read from it. It
 * vanishes with its last descriptor.
 *
 * The holder of a descriptor can change attributes of its own TAP by ioctl
 * (MAC, offloads, send buffer, persistence): none of them has a part in the check. With a
 * larger send buffer it can fill the real device's queueing discipline, as anybody can
 * with a few UDP sockets. A TAP made persistent is removed with its family, or when
 * lrpd starts.
 *
 * Threads: one at a time, as the core.
 */
#ifndef LRP_LOADER_TAP_H
#define LRP_LOADER_TAP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define LRP_TAP_PREFIX	  "lrptx"
#define LRP_TAP_SNDBUF	  212992 /* net.core.wmem_default */
#define LRP_TAP_PER_OWNER 64u

struct lrp_taps; /* those that lead to one device */

/* The demultiplexing maps that say what belongs to whom; borrowed. */
struct lrp_tap_maps {
	int ports, local4, local6, binds4, binds6, flows4, flows6, groups, ends, kernel4, kernel6;
	int channels; /* of the device */
};

/* Loads the program for the device. 0 or -errno, and a line for people in error[]. */
int lrp_taps_new(struct lrp_taps **taps, uint32_t ifindex, const struct lrp_tap_maps *maps,
		 char *error, size_t error_size);
/* Removes all of its TAP devices. */
void lrp_taps_free(struct lrp_taps *taps);

/* A descriptor for the family, to be passed on and closed; or -errno: EDQUOT, ... */
int lrp_tap_new(struct lrp_taps *taps, uint32_t owner, char *error, size_t error_size);
/* The family is gone, or is another now. */
void lrp_taps_owner_gone(struct lrp_taps *taps, uint32_t owner);

/* What the family's TAPs passed and dropped, summed up. */
struct lrp_tap_counts {
	uint32_t taps;
	uint64_t passed, dropped_source, dropped_malformed, dropped_size;
};
void lrp_taps_count(struct lrp_taps *taps, uint32_t owner, struct lrp_tap_counts *counts);

/* Removes TAPs that an earlier lrpd left; their holders ask for new ones. */
void lrp_taps_sweep(void);

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * run.h - frames into the kernel's stack in batches, by BPF_PROG_RUN with live frames.
 *
 * Only for devices in native mode: generic XDP would run on the frames again. The frames carry no
 * partial checksums, so those are completed before. The kernel makes a page pool for each
 * call, and a frame that stays in a socket's queue keeps it, so the proxy `host` does without.
 *
 * Threads: one at a time.
 */
#ifndef LRP_PROXY_RUN_H
#define LRP_PROXY_RUN_H

#include <stddef.h>
#include <stdint.h>

#include "../bpf/handover.h"

struct lrp_proxy_run;

/* One for all devices. 0 or -errno, and a line for people in error[]. */
int lrp_proxy_run_open(struct lrp_proxy_run **run, char *error, size_t size);
void lrp_proxy_run_close(struct lrp_proxy_run *run);

/* Where the next frame goes, LRP_HANDOVER_FRAME bytes; NULL: the batch is full. */
uint8_t *lrp_proxy_run_next(struct lrp_proxy_run *run);
/* It is there, with so many bytes. */
void lrp_proxy_run_add(struct lrp_proxy_run *run, uint32_t length);
uint32_t lrp_proxy_run_count(const struct lrp_proxy_run *run);

/* The batch enters the stack of the device, as from this queue, before this returns. 0 or -errno;
 * either way the batch is empty afterwards. */
int lrp_proxy_run_flush(struct lrp_proxy_run *run, uint32_t ifindex, uint32_t queue);

#endif

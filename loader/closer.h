/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * closer.h - closes AF_XDP sockets off the event loop. Each close of a bound one waits for a grace
 * period; threads wait together.
 */
#ifndef LRP_CORE_CLOSER_H
#define LRP_CORE_CLOSER_H

#include <stdint.h>

struct lrp_core;

/* Closes them all before it returns. -1 among them is allowed. For the way out. */
void lrp_core_close_all(const int *fd, uint32_t count);

/* Closes it soon; now, if there is no thread to be had. */
void lrp_core_close_later(struct lrp_core *core, int fd);

/* Waits until all is closed. */
void lrp_core_closer_end(struct lrp_core *core);

#endif

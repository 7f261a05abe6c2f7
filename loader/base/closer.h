/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * closer.h - closes AF_XDP sockets off the event loop. Each close of a bound one waits for a grace
 * period; threads wait together.
 */
#ifndef LRP_CLOSER_H
#define LRP_CLOSER_H

#include <stdint.h>

struct lrp_closer;

/* Closes them all before it returns. -1 among them is allowed. For the way out. */
void lrp_close_all(const int *fd, uint32_t count);

/* Closes it soon; now, if there is no thread to be had. *closer is made when it is NULL. */
void lrp_close_later(struct lrp_closer **closer, int fd);

/* Waits until all is closed. *closer is NULL then. */
void lrp_closer_end(struct lrp_closer **closer);

#endif

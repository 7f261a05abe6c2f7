/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * prr.h - how fast the window shrinks while it is being reduced: proportional
 * rate reduction, with the slow-start reduction bound chosen per ACK (RFC 6937, RFC 9937).
 *
 * Pure. Bytes.
 */
#ifndef LRP_TCP_PRR_H
#define LRP_TCP_PRR_H

#include <stdbool.h>
#include <stdint.h>

struct lrp_tcp_prr {
	uint32_t recover_fs;	 /* in flight before the reduction, at least 1 */
	uint32_t delivered, out; /* since then */
};

void lrp_tcp_prr_start(struct lrp_tcp_prr *p, uint32_t flight);
static inline void lrp_tcp_prr_sent(struct lrp_tcp_prr *p, uint32_t len)
{
	p->out += len;
}
/* The window after an acknowledgement of `delivered` bytes that leaves `flight`. `safe`: una
 * advanced and no further loss was found. */
uint32_t lrp_tcp_prr_window(struct lrp_tcp_prr *p, uint32_t delivered, uint32_t flight,
			    uint32_t ssthresh, uint32_t mss, bool safe);

#endif

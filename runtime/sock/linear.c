/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* linear.c - packets that came in several frames, copied together. */
#include <errno.h>
#include <stdlib.h>

#include "socket.h"

#define SCRATCH (80u * 1024u) /* a packet of the largest size, with its link header */

static __thread uint8_t *scratch;

int lrp_linear(struct lrp_chan *chan, uint32_t avail, struct lrp_packet *p, uint32_t *descs)
{
	uint32_t n = 0, len = 0;
	const struct xdp_desc *desc;

	if (!scratch)
		scratch = malloc(SCRATCH);
	do {
		if (n == avail)
			return -EAGAIN;
		desc = lrp_chan_desc(chan, n++);
		if (scratch && desc->len <= SCRATCH - len)
			memcpy(scratch + len, lrp_chan_data(chan, desc), desc->len);
		else
			len = SCRATCH;
		if (len < SCRATCH)
			len += desc->len;
	} while (desc->options & XDP_PKT_CONTD);
	*descs = n;
	if (!scratch || len >= SCRATCH)
		return LRP_DROPPED(LRP_DROP_MEMORY);
	p->frame = scratch;
	p->frame_len = len;
	return 0;
}

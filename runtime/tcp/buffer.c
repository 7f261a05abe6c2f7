/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* buffer.c - rings of bytes addressed by sequence number. */
#include <errno.h>
#include <string.h>

#include "tcp_internal.h"

void lrp_tcp_ring_put(const struct lrp_tcp_buffer *b, uint32_t seq, const uint8_t *from,
		      uint32_t len)
{
	uint32_t at = seq & (b->size - 1), first = lrp_tcp_min(len, b->size - at);

	memcpy(b->base + at, from, first);
	if (len > first)
		memcpy(b->base, from + first, len - first);
}

void lrp_tcp_ring_get(const struct lrp_tcp_buffer *b, uint32_t seq, uint8_t *to, uint32_t len)
{
	uint32_t at = seq & (b->size - 1), first = lrp_tcp_min(len, b->size - at);

	memcpy(to, b->base + at, first);
	if (len > first)
		memcpy(to + first, b->base, len - first);
}

/* [from, to) from one ring to another. */
static void move(const struct lrp_tcp_buffer *source, const struct lrp_tcp_buffer *target,
		 uint32_t from, uint32_t to)
{
	while (from != to) {
		uint32_t at = from & (source->size - 1);
		uint32_t len = lrp_tcp_min(to - from, source->size - at);

		lrp_tcp_ring_put(target, from, source->base + at, len);
		from += len;
	}
}

int lrp_tcp_resize(struct lrp_tcp *c, const struct lrp_tcp_buffer *snd,
		   const struct lrp_tcp_buffer *rcv)
{
	/* A SYN and a FIN take no place. */
	uint32_t out =
		lrp_seq_gt(c->snd_una, c->snd_end) || c->opening ? 0 : c->snd_end - c->snd_una;
	uint32_t promised = lrp_seq_max(c->rcv_adv, c->rcv_nxt) - c->rcv_read;

	if (snd && snd->size < out)
		return -EBUSY;
	/* Before the peer's SYN the window counts from 0 and nothing is there; a received FIN ends
	 * it. */
	if (c->fin_received)
		promised = lrp_tcp_buffered(c);
	if (rcv && rcv->size < promised)
		return -EBUSY;
	if (snd) {
		move(&c->snd, snd, c->snd_end - out, c->snd_end);
		c->snd = *snd;
	}
	if (rcv) {
		move(&c->rcv, rcv, c->rcv_read, c->rcv_nxt - c->fin_received);
		for (uint32_t i = 0; i < c->ranges; i++)
			move(&c->rcv, rcv, c->range[i].start, c->range[i].end);
		c->rcv = *rcv;
		lrp_tcp_window_update(c);
	}
	return 0;
}

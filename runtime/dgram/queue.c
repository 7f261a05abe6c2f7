/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ready.c - datagrams that were processed before their receiver asked: by the
 * eager thread, or put together from fragments. A ring of records in the arena;
 * allocated when the first one comes, bounded by the receive buffer.
 *
 * head and tail change last, by one store, so that a holder of the lock who is
 * killed leaves the old state or the new one.
 */
#include <string.h>

#include "dgram.h"

#define FRAME_BYTES    2048u /* room per datagram of the limit */
#define SIZE_MIN       (256u * 1024u)
#define SIZE_MAX_BYTES (16u << 20)

struct record {
	uint32_t size; /* of the whole record; 0: the ring goes on at its start */
	uint32_t ifindex;
	uint64_t time_ns;
	struct lrp_packet packet;
	uint8_t payload[];
};

struct lrp_ready {
	size_t alloc;
	uint64_t size; /* a power of two */
	uint64_t head; /* free-running: next to be taken */
	uint64_t tail; /* next to be written */
	uint32_t count;
	uint32_t pad;
	uint8_t bytes[] __attribute__((aligned(16)));
};

static struct lrp_ready *ready_make(struct lrp_sock *s)
{
	uint64_t size = SIZE_MIN;
	struct lrp_ready *r;

	while (size < (uint64_t)s->dgram.limit * FRAME_BYTES && size < SIZE_MAX_BYTES)
		size <<= 1;
	lrp_inside++;
	r = lrp_arena_alloc(sizeof(*r) + size);
	lrp_inside--;
	if (!r)
		return NULL;
	r->alloc = sizeof(*r) + size;
	r->size = size;
	s->dgram.ready = r;
	return r;
}

/* 0; -ENOBUFS: the receive buffer is full. */
int lrp_ready_push(struct lrp_sock *s, const struct lrp_packet *p, uint32_t ifindex,
		   uint64_t time_ns)
{
	struct lrp_ready *r = s->dgram.ready ? s->dgram.ready : ready_make(s);
	uint64_t need = (sizeof(struct record) + p->payload_len + 15) & ~15ull, at, left;
	struct record *rec;

	if (!r)
		return -ENOBUFS;
	if (r->count >= s->dgram.limit)
		return -ENOBUFS;
	at = r->tail & (r->size - 1);
	left = r->size - at;
	/* A record is in one piece: the rest of the ring is skipped if it does not fit. */
	if (r->tail + need + (left < need ? left : 0) - r->head > r->size)
		return -ENOBUFS;
	if (left < need) {
		((struct record *)(r->bytes + at))->size = 0;
		r->tail += left;
		at = 0;
	}
	rec = (struct record *)(r->bytes + at);
	rec->size = (uint32_t)need;
	rec->ifindex = ifindex;
	rec->time_ns = time_ns;
	rec->packet = *p;
	memcpy(rec->payload, p->payload, p->payload_len);
	r->count++;
	atomic_signal_fence(memory_order_seq_cst);
	r->tail += need;
	return 0;
}

static struct record *ready_head(struct lrp_ready *r)
{
	struct record *rec;

	if (r->head == r->tail)
		return NULL;
	rec = (struct record *)(r->bytes + (r->head & (r->size - 1)));
	if (rec->size)
		return rec;
	r->head += r->size - (r->head & (r->size - 1));
	return r->head == r->tail ? NULL : (struct record *)r->bytes;
}

bool lrp_ready_peek(struct lrp_sock *s, struct lrp_packet *p, struct lrp_from *from)
{
	struct record *rec = ready_head(s->dgram.ready);

	if (!rec)
		return false;
	*p = rec->packet;
	p->payload = rec->payload;
	from->chan = NULL;
	from->descs = 0;
	from->ifindex = rec->ifindex;
	from->time_ns = rec->time_ns;
	return true;
}

void lrp_ready_pop(struct lrp_sock *s)
{
	struct record *rec = ready_head(s->dgram.ready);

	if (!rec)
		return;
	s->dgram.ready->count--;
	atomic_signal_fence(memory_order_seq_cst);
	s->dgram.ready->head += rec->size;
}

bool lrp_ready_empty(const struct lrp_sock *s)
{
	return !s->dgram.ready || s->dgram.ready->head == s->dgram.ready->tail;
}

void lrp_ready_free(struct lrp_sock *s)
{
	if (s->dgram.ready)
		lrp_arena_free(s->dgram.ready, s->dgram.ready->alloc);
	s->dgram.ready = NULL;
}

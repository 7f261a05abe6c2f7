/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * hostile.h - a client that speaks the control protocol by itself, maps all that lrpd gives to it,
 * and writes what it likes there. No privilege is needed.
 */
#ifndef LRP_TEST_HOSTILE_H
#define LRP_TEST_HOSTILE_H

#include <stdbool.h>
#include <stdint.h>

#include <lrp/control.h>

/* -1: nobody listens. */
int hostile_dial(void);
/* The reply's error; fds[LRP_CONTROL_MAX_FDS], *count of them. 1: no reply within
 * 10 s, or closed. */
int hostile_ask(int control, struct lrp_request *request, struct lrp_reply *reply, int *fds,
		int *count);

/* The same with descriptors in the request. */
int hostile_ask_with(int control, struct lrp_request *request, const int *in_fds, int in_count,
		     struct lrp_reply *reply, int *fds, int *count);

struct hostile_ring {
	volatile uint32_t *producer, *consumer;
	volatile uint64_t *slot; /* of a fill ring */
	volatile struct xdp_desc *desc;
	uint32_t size;
};

/* What a client has of one pool. */
struct hostile {
	int control;
	uint32_t owner, endpoint, channel, pool;
	struct hostile_ring rx, fragments, fill;
	uint8_t *umem;
	volatile uint32_t *holder, *rest;
	uint32_t frames, frame_size;
	volatile struct lrp_user *user; /* the whole page */
	int page_fd;			/* its map */
	uint32_t user_slot;		/* of the channel */
};

/* As a client does, for the pool of `ifindex`. False: lrpd refuses, or is not there. */
bool hostile_open(struct hostile *h, uint32_t ifindex, uint32_t ring_size);

/* Binds a UDP socket to the port (host order) and publishes it as the endpoint's: XDP sends what
 * comes there to its ring. False: refused. */
bool hostile_publish(struct hostile *h, uint16_t port);

/* Writes nonsense of many kinds, random and structured, `times` times. */
void hostile_write(struct hostile *h, uint64_t *seed, unsigned int times);

#endif

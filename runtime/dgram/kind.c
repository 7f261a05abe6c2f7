/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* kind.c - UDP sockets, as the folders below know them. */
#include <time.h>

#include "../base/clock.h"
#include "../drive/drive.h"
#include "../sock/kind.h"
#include "dgram.h"

#define BATCH 64u /* packets per hold of the lock */

static uint64_t wall_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * LRP_NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* What a batch leaves comes up again: the set is level-triggered. */
static void eager_drain(struct lrp_view *l)
{
	struct lrp_sock *s = l->sock;
	struct lrp_packet p;
	struct lrp_from from;
	bool wake, more = true;
	uint64_t now = wall_ns();
	uint32_t n, i;

	lrp_rx_lock(s);
	for (n = 0; n < BATCH; n++) {
		more = lrp_input_next(l, &p, &from, LRP_CONTEXT_EAGER);
		if (!more)
			break;
		if (lrp_ready_push(s, &p, from.ifindex, now))
			__atomic_fetch_add(&from.chan->user->dropped[LRP_DROP_MEMORY], 1,
					   __ATOMIC_RELAXED);
		lrp_chan_take(from.chan, from.descs);
		s->dgram.burst--;
	}
	if (!more)
		for (i = 0; i < s->dgram.ep.channels; i++)
			lrp_chan_settle(&s->dgram.ep.chan[i]);
	/* An error, or a datagram that its last fragment made whole, is no packet of these. */
	wake = n || atomic_load(&s->error) || !lrp_ready_empty(s);
	lrp_rx_unlock(s);
	if (wake)
		lrp_wait_signal(l);
}

const enum lrp_kind_number lrp_dgram_kind = LRP_KIND_DGRAM;

static const struct lrp_kind kind = {
	.ready = &lrp_dgram_ready,
	.init = lrp_dgram_init,
	.wake = lrp_wait_ring,
	.leave = lrp_dgram_leave,
	.end = lrp_dgram_end,
	.recover = lrp_dgram_recover,
	.bound = lrp_sock_publish,
	.connect = lrp_dgram_connect,
	.shutdown = lrp_dgram_shutdown,
	.name = lrp_dgram_name,
	.ioctl = lrp_dgram_ioctl,
	.setsockopt = lrp_dgram_setsockopt,
	.getsockopt = lrp_dgram_getsockopt,
	.receive = lrp_dgram_receive,
	.receive_many = lrp_dgram_receive_many,
	.send = lrp_dgram_send,
	.send_many = lrp_dgram_send_many,
	.zc_receive = lrp_dgram_zc_receive,
	.zc_return = lrp_dgram_zc_return,
	.stats = lrp_dgram_stats,
};

static __attribute__((constructor)) void dgram_register(void)
{
	static const struct lrp_drive_ops drive = {
		.drain = eager_drain,
		.discard = lrp_endpoint_discard,
	};

	lrp_kind_register(LRP_KIND_DGRAM, &kind);
	lrp_drive_register(&drive);
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * eager.c - LRP_EAGER=1: a thread that processes each packet when it arrives,
 * as the eager systems that LRP is compared with do. Whether the receiver has
 * room for it is found out afterwards, when the work has been done; dropping it
 * then is the point of the comparison.
 */
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>

#include "../base/clock.h"
#include "drive_internal.h"

#define BATCH 64u /* packets per hold of the lock */

static uint64_t wall_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * LRP_NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* Returns true if there is more. */
static bool drain(struct lrp_view *l)
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
		s->burst--;
	}
	if (!more)
		for (i = 0; i < s->ep.channels; i++)
			lrp_chan_settle(&s->ep.chan[i]);
	/* An error, or a datagram that its last fragment made whole, is no packet of these. */
	wake = n || atomic_load(&s->error) || !lrp_ready_empty(s);
	lrp_rx_unlock(s);
	if (wake)
		lrp_wait_signal(l);
	return more;
}

void *lrp_eager_main(void *unused)
{
	struct epoll_event ev[64];
	int n, i;

	(void)unused;
	prctl(PR_SET_NAME, "lrp-eager");
	for (;;) {
		/* Level-triggered: what a batch left over comes up again, after the others' turn. */
		n = epoll_wait(lrp_sched_epfd, ev, 64, -1);
		for (i = 0; i < n; i++) {
			struct lrp_view *l = ev[i].data.ptr;

			if (!lrp_sched_enter(l))
				continue;
			drain(l);
			lrp_sched_leave();
		}
	}
	return NULL;
}

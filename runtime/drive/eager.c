/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * eager.c - LRP_EAGER=1: a thread that processes each packet when it arrives,
 * as the eager systems that LRP is compared with do. Whether the receiver has
 * room for it is found out afterwards, when the work has been done; dropping it
 * then is the point of the comparison.
 */
#include <sys/epoll.h>
#include <sys/prctl.h>

#include "drive_internal.h"

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
			lrp_drive_ops.drain(l);
			lrp_sched_leave();
		}
	}
	return NULL;
}

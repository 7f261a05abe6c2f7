/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "prr.h"

void lrp_tcp_prr_start(struct lrp_tcp_prr *p, uint32_t flight)
{
	p->recover_fs = flight ? flight : 1;
	p->delivered = p->out = 0;
}

static int64_t min64(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t max64(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

uint32_t lrp_tcp_prr_window(struct lrp_tcp_prr *p, uint32_t delivered, uint32_t flight,
			    uint32_t ssthresh, uint32_t mss, bool safe)
{
	int64_t send;

	p->delivered += delivered;
	if (flight > ssthresh) {
		/* In proportion, rounded up: ssthresh is reached when all of RecoverFS is gone. */
		send = (int64_t)(((uint64_t)p->delivered * ssthresh + p->recover_fs - 1) /
				 p->recover_fs) -
		       p->out;
	} else {
		send = max64((int64_t)p->delivered - p->out, delivered);
		if (safe)
			send += mss;
		send = min64((int64_t)ssthresh - flight, send);
	}
	/* The first retransmission goes out at once; and something always may when nothing is out.
	 */
	if (!p->out || !flight)
		send = max64(send, mss);
	return flight + (uint32_t)max64(send, 0);
}

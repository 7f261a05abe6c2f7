/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * loss.h - the states of recovery: what an acknowledgement or a timer means in
 * each, when one begins and ends. For recovery.c; contracts as there.
 */
#ifndef LRP_TCP_LOSS_H
#define LRP_TCP_LOSS_H

#include "recovery.h"

/* What an acknowledgement said, once the scoreboard has it. */
struct lrp_tcp_event {
	int64_t now_ns;
	uint32_t delivered; /* bytes, estimated without SACK */
	uint32_t lost;	    /* bytes found lost by it */
	bool advanced;	    /* una moved */
	bool duplicate;	    /* it did not, nor did anything else change */
	bool sacked;	    /* newly */
	bool ece;
	bool early;		 /* acknowledges what was sent before the first retransmission */
	bool original;		 /* data from before the timeout, sent once, has arrived */
	bool dsack, probe_dsack; /* a duplicate was reported; of the tail loss probe */
	bool rack;		 /* RACK knows more */
};

/* Any but an acknowledgement of new data in the open state. */
void lrp_tcp_loss_ack(struct lrp_tcp_recovery *r, struct lrp_tcp_cc *cc, struct lrp_tcp_event *e);
/* After lrp_tcp_rack_detect() was due; false: nothing was lost. */
bool lrp_tcp_loss_reordering(struct lrp_tcp_recovery *r, struct lrp_tcp_cc *cc, int64_t now_ns);
/* The retransmission timer. */
void lrp_tcp_loss_timeout(struct lrp_tcp_recovery *r, struct lrp_tcp_cc *cc, int64_t now_ns);
/* The window was too large, as a probe that was needed shows (RFC 8985 7.4.2): reduced at once. */
void lrp_tcp_loss_probe(struct lrp_tcp_recovery *r, struct lrp_tcp_cc *cc);

static inline uint32_t lrp_tcp_recovery_out(const struct lrp_tcp_recovery *r)
{
	return r->board.nxt - r->board.una;
}

static inline bool lrp_tcp_recovery_reducing(const struct lrp_tcp_recovery *r)
{
	return r->state == LRP_TCP_CWR_STATE || r->state == LRP_TCP_RECOVERY;
}

#endif

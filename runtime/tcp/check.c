/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* check.c - what must hold between any two calls. */
#include <stddef.h>

#include "tcp_internal.h"

#define MUST(condition)                                                                            \
	do {                                                                                       \
		if (!(condition))                                                                  \
			return #condition;                                                         \
	} while (0)

static bool power_of_two(uint32_t size)
{
	return !(size & (size - 1));
}

static const char *check_sending(const struct lrp_tcp *c)
{
	const struct lrp_tcp_recovery *r = &c->recovery;

	MUST(lrp_seq_leq(c->snd_una, c->snd_nxt));
	MUST(lrp_seq_leq(c->snd_nxt, c->snd_end + 1));
	MUST(!lrp_tcp_fin_sent(c) || c->shut_write);
	MUST(c->state == LRP_TCP_CLOSED || lrp_tcp_unsent(c) <= c->snd.size);
	MUST(c->mss >= LRP_TCP_MSS_MIN - LRP_TCP_TS_LEN);
	MUST(c->cc.mss == c->mss);
	MUST(!c->opening || c->snd_una == c->iss);
	MUST(c->records <= LRP_TCP_RECORDS_MAX);
	for (uint32_t i = 0; i < c->records; i++) {
		MUST(lrp_seq_gt(c->record[i], i ? c->record[i - 1] : c->snd_nxt));
		MUST(lrp_seq_leq(c->record[i], c->snd_end));
	}
	/* at most one reason to send again at a time */
	MUST(c->probe_ns == LRP_TCP_NEVER || c->snd_una == c->snd_nxt);
	if (c->state == LRP_TCP_CLOSED)
		return NULL;
	MUST(r->board.una == c->snd_una);
	MUST(r->board.nxt == c->snd_nxt);
	return lrp_tcp_recovery_check(r);
}

static const char *check_receiving(const struct lrp_tcp *c)
{
	MUST(lrp_seq_leq(c->rcv_wup, c->rcv_nxt));
	MUST(lrp_seq_leq(c->rcv_read, c->rcv_nxt - c->fin_received));
	MUST(c->rcv_nxt - c->fin_received - c->rcv_read <= c->rcv.size);
	MUST(c->fin_received || lrp_seq_leq(c->rcv_nxt, c->rcv_adv));
	/* what was offered fits */
	MUST(c->fin_received || c->rcv_adv - c->rcv_read <= c->rcv.size);
	MUST(c->ranges <= LRP_TCP_RANGES_MAX);
	MUST(!c->ranges || !c->fin_received);
	for (uint32_t i = 0; i < c->ranges; i++) {
		struct lrp_tcp_sack a = c->range[i];

		MUST(lrp_seq_lt(a.start, a.end));
		MUST(lrp_seq_gt(a.start, c->rcv_nxt));
		MUST(lrp_seq_leq(a.end, c->rcv_adv));
		for (uint32_t j = 0; j < i; j++)
			MUST(lrp_seq_lt(a.end, c->range[j].start) ||
			     lrp_seq_gt(a.start, c->range[j].end));
	}
	return NULL;
}

static const char *check_state(const struct lrp_tcp *c)
{
	const uint32_t fin = 1 << LRP_TCP_CLOSE_WAIT | 1 << LRP_TCP_LAST_ACK |
			     1 << LRP_TCP_CLOSING | 1 << LRP_TCP_TIME_WAIT;
	const uint32_t shut = 1 << LRP_TCP_FIN_WAIT_1 | 1 << LRP_TCP_FIN_WAIT_2 |
			      1 << LRP_TCP_CLOSING | 1 << LRP_TCP_LAST_ACK | 1 << LRP_TCP_TIME_WAIT;

	MUST(c->state >= LRP_TCP_ESTABLISHED && c->state <= LRP_TCP_CLOSING);
	MUST(power_of_two(c->snd.size) && power_of_two(c->rcv.size));
	if (c->state == LRP_TCP_CLOSED) {
		MUST(!(c->due & ~LRP_TCP_DUE_RESET));
		return NULL;
	}
	MUST(c->fin_received == !!(fin >> c->state & 1));
	MUST(c->shut_write == !!(shut >> c->state & 1));
	MUST(c->state != LRP_TCP_FIN_WAIT_2 || lrp_tcp_fin_acked(c));
	MUST(c->state != LRP_TCP_TIME_WAIT || lrp_tcp_fin_acked(c));
	return NULL;
}

const char *lrp_tcp_check(const struct lrp_tcp *c)
{
	const char *wrong = check_state(c);

	if (!wrong)
		wrong = check_sending(c);
	return wrong ? wrong : check_receiving(c);
}

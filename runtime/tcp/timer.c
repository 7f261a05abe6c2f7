/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * timer.c - what time brings: retransmission (recovery.h), delayed ACK, probes of a zero
 * window (RFC 9293 3.8.6.1), keepalive (3.8.4), user timeout (RFC 5482), the end of
 * FIN_WAIT_2 and TIME_WAIT.
 */
#include <errno.h>

#include "tcp_internal.h"

static void fail(struct lrp_tcp *c)
{
	lrp_tcp_done(c, c->soft_error ? c->soft_error : ETIMEDOUT);
}

/* ---- retransmission ------------------------------------------------------- */

static void timeout(struct lrp_tcp *c, int64_t now)
{
	uint32_t linear = c->state == LRP_TCP_SYN_SENT ? c->opt.syn_linear : 0;
	uint32_t most = c->opening  ? c->opt.syn_retries + linear
			: c->orphan ? LRP_TCP_ORPHAN_RETRIES
				    : c->opt.retries;

	c->due &= (uint8_t)~LRP_TCP_DUE_TAIL_PROBE;
	if (c->recovery.backoff <= linear)
		c->recovery.rto_shift = 0;
	/* A peer that answers with a closed window is alive (RFC 9293 3.8.6.1). */
	if (!c->snd_wnd && !c->opening && now - c->heard_ns < 2 * LRP_TCP_RTO_MAX_NS)
		return;
	if (c->recovery.backoff > most)
		fail(c);
	else if (!c->opening)
		lrp_tcp_black_hole(c, now);
}

static void retransmission(struct lrp_tcp *c, int64_t now)
{
	enum lrp_tcp_recovery_event event;

	while ((event = lrp_tcp_recovery_timer(&c->recovery, &c->cc, now)) != LRP_TCP_TIMER_NONE) {
		if (event == LRP_TCP_TIMER_PROBE)
			c->due |= LRP_TCP_DUE_TAIL_PROBE;
		else if (event == LRP_TCP_TIMER_TIMEOUT)
			timeout(c, now);
		else if (c->search.size)
			lrp_tcp_search_ack(c, now);
	}
}

/* ---- probes ---------------------------------------------------------------- */

static int64_t backed_off(const struct lrp_tcp *c)
{
	int64_t wait = c->recovery.rtt.rto_ns;

	if (wait < LRP_TCP_RTO_MIN_NS)
		wait = LRP_TCP_RTO_MIN_NS;
	for (uint32_t i = 0; i < c->probes && wait < LRP_TCP_RTO_MAX_NS; i++)
		wait *= 2;
	return lrp_tcp_earlier(wait, LRP_TCP_RTO_MAX_NS);
}

void lrp_tcp_persist(struct lrp_tcp *c, int64_t now)
{
	if (c->snd_una != c->snd_nxt || !lrp_tcp_sends(c) || !lrp_tcp_pending(c) ||
	    lrp_tcp_sendable(c, now)) {
		c->probe_ns = LRP_TCP_NEVER;
		c->probes = 0;
		c->due &= (uint8_t)~LRP_TCP_DUE_PROBE;
	} else if (c->probe_ns == LRP_TCP_NEVER) {
		c->probe_ns = now + backed_off(c);
	}
}

/* Counts questions in a row that had no answer. */
static uint32_t unanswered(struct lrp_tcp *c)
{
	if (c->heard_ns >= c->asked_ns)
		c->unanswered = 0;
	return c->unanswered;
}

static void ask(struct lrp_tcp *c)
{
	c->due |= LRP_TCP_DUE_PROBE;
	if (c->unanswered < UINT16_MAX)
		c->unanswered++;
}

static void probe(struct lrp_tcp *c, int64_t now)
{
	c->probe_ns = LRP_TCP_NEVER;
	/* Something fits, or was only held back by cork or Nagle: long enough. */
	if (c->snd_wnd) {
		c->due |= LRP_TCP_DUE_PUSH;
		return;
	}
	/* A closed socket does not wait for ever, though the peer answers (as Linux). */
	if (unanswered(c) >= c->opt.retries || (c->orphan && c->probes >= LRP_TCP_ORPHAN_RETRIES)) {
		fail(c);
		return;
	}
	ask(c);
	c->probes++;
	c->probe_ns = now + backed_off(c);
}

static void keepalive(struct lrp_tcp *c, int64_t now)
{
	int64_t idle = c->opt.keep_idle_s * 1000000000ll,
		interval = c->opt.keep_interval_s * 1000000000ll;
	int64_t limit = c->opt.user_timeout_ms * 1000000ll;

	/* What is out or waits is asked about already; and if the peer was heard it lives. */
	if (lrp_tcp_pending(c) || now - c->heard_ns < idle) {
		c->keep_ns = (lrp_tcp_pending(c) ? now : c->heard_ns) + idle;
		return;
	}
	if (unanswered(c) >= c->opt.keep_count ||
	    (limit && c->unanswered && now - c->heard_ns >= limit)) {
		lrp_tcp_reset(c, c->soft_error ? c->soft_error : ETIMEDOUT);
		return;
	}
	ask(c);
	c->keep_ns = now + interval;
}

/* ---- all -------------------------------------------------------------------- */

static int64_t user_timeout(const struct lrp_tcp *c)
{
	if (!c->opt.user_timeout_ms || !lrp_tcp_pending(c))
		return LRP_TCP_NEVER;
	return c->progress_ns + c->opt.user_timeout_ms * 1000000ll;
}

int64_t lrp_tcp_deadline(const struct lrp_tcp *c)
{
	int64_t at;

	if (c->state == LRP_TCP_CLOSED)
		return c->due ? c->retry_ns : LRP_TCP_NEVER;
	at = lrp_tcp_earlier(lrp_tcp_recovery_deadline(&c->recovery), c->delack_ns);
	at = lrp_tcp_earlier(at, lrp_tcp_earlier(c->probe_ns, c->keep_ns));
	at = lrp_tcp_earlier(at, lrp_tcp_earlier(c->wait_ns, c->retry_ns));
	return c->opt.user_timeout_ms ? lrp_tcp_earlier(at, user_timeout(c)) : at;
}

static bool due(const struct lrp_tcp *c, int64_t at, int64_t now)
{
	return at <= now && c->state != LRP_TCP_CLOSED;
}

void lrp_tcp_timer(struct lrp_tcp *c, int64_t now)
{
	if (c->retry_ns <= now)
		c->retry_ns = LRP_TCP_NEVER;
	if (due(c, user_timeout(c), now))
		fail(c);
	if (due(c, lrp_tcp_recovery_deadline(&c->recovery), now))
		retransmission(c, now);
	if (due(c, c->delack_ns, now)) {
		c->delack_ns = LRP_TCP_NEVER;
		c->due |= LRP_TCP_DUE_ACK;
		/* The reply did not come in time: Linux takes back what it had assumed. */
		if (c->pingpong && c->state == LRP_TCP_ESTABLISHED) {
			c->pingpong = false;
			c->ack_delay_ns = LRP_TCP_DELACK_MIN_NS;
		} else {
			c->ack_delay_ns =
				lrp_tcp_earlier(2 * c->ack_delay_ns, LRP_TCP_DELACK_MAX_NS);
		}
	}
	if (due(c, c->probe_ns, now))
		probe(c, now);
	if (due(c, c->keep_ns, now))
		keepalive(c, now);
	if (due(c, c->wait_ns, now))
		lrp_tcp_done(c, 0); /* TIME_WAIT, or an orphan's FIN_WAIT_2 */
}

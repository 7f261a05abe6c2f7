/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * input.c - a segment arrived (RFC 9293 3.10.7): is it acceptable, what does it
 * acknowledge, what does it bring (receive.c).
 */
#include <errno.h>

#include "tcp_internal.h"

#define STALE LRP_DROPPED(LRP_DROP_STALE)

/* An ACK in answer to what cannot be right, at most one in half a second (RFC 5961 7). */
static void challenge(struct lrp_tcp *c, int64_t now)
{
	if (c->challenge_ns && now - c->challenge_ns < LRP_TCP_CHALLENGE_NS)
		return;
	c->challenge_ns = now;
	c->challenges++;
	c->due |= LRP_TCP_DUE_ACK;
}

/* ---- acknowledgements ---------------------------------------------------- */

/* A FIN of ours was acknowledged. */
static void fin_acked(struct lrp_tcp *c, int64_t now)
{
	switch (c->state) {
	case LRP_TCP_FIN_WAIT_1:
		c->state = LRP_TCP_FIN_WAIT_2;
		if (c->orphan)
			c->wait_ns = now + c->opt.linger2_s * 1000000000ll;
		break;
	case LRP_TCP_CLOSING:
		lrp_tcp_time_wait(c, now);
		break;
	case LRP_TCP_LAST_ACK:
		lrp_tcp_done(c, 0);
		break;
	}
}

static void advance(struct lrp_tcp *c, int64_t now, uint32_t ack)
{
	uint32_t bytes = ack - c->snd_una;

	if (__builtin_expect(c->opening, 0)) {
		c->opening = false;
		bytes--;
	}
	c->snd_una = ack;
	if (lrp_tcp_fin_acked(c)) {
		bytes--;
		fin_acked(c, now);
	}
	c->bytes_acked += bytes;
	c->progress_ns = now;
	c->soft_error = 0;
	c->black_hole_mss = 0; /* what is in use gets through */
	if (c->snd_urgent && lrp_seq_geq(ack, c->snd_up))
		c->snd_urgent = false;
}

/* True if the window may have been updated; reordered segments must not bring an old one back. */
static bool window(struct lrp_tcp *c, const struct lrp_tcp_segment *s)
{
	uint32_t wnd = (uint32_t)s->window << (s->flags & LRP_TCP_SYN ? 0 : c->snd_wscale);
	bool changed = wnd != c->snd_wnd;

	if (lrp_seq_leq(s->ack, c->snd_una) && lrp_seq_leq(s->seq, c->snd_wl1) &&
	    (s->seq != c->snd_wl1 || (wnd < c->snd_wnd && wnd)))
		return false;
	c->snd_wl1 = s->seq;
	c->snd_wnd = wnd;
	c->max_wnd = lrp_tcp_max(c->max_wnd, wnd);
	return changed;
}

/* The ACK field of an acceptable segment. False: it is to be dropped. */
static bool ack_input(struct lrp_tcp *c, int64_t now, const struct lrp_tcp_segment *s)
{
	struct lrp_tcp_recovery *r = &c->recovery;
	struct lrp_tcp_acked acked;
	bool update, ece;

	if (__builtin_expect(lrp_seq_gt(s->ack, c->snd_nxt), 0)) {
		challenge(c, now); /* RFC 9293 3.10.7.4, RFC 5961 5.2 */
		return false;
	}
	if (__builtin_expect(lrp_seq_lt(s->ack, c->snd_una), 0)) {
		/* RFC 5961 5.2. Nothing was sent before the first byte that was acknowledged. */
		if (c->snd_una - s->ack > c->max_wnd || c->snd_una - s->ack > c->bytes_acked) {
			challenge(c, now);
			return false;
		}
		/* Late; what it carries may be of use. It was overtaken by one that acknowledged
		 * more, which may not have had its blocks. */
		if (s->sacks)
			lrp_tcp_recovery_ack(r, &c->cc, now, s, false, false, &acked);
		return true;
	}
	r->more = lrp_tcp_waiting(c) && (int32_t)(c->snd_una + c->snd_wnd - c->snd_nxt) >= c->mss;
	update = window(c, s);
	if (s->ack == c->snd_nxt && s->ack == c->snd_una && !s->sacks) {
		if (update || c->probe_ns != LRP_TCP_NEVER)
			lrp_tcp_persist(c, now);
		if (update)
			lrp_tcp_held(c, now);
		return true;
	}
	/* That of a SYN-ACK means something else. */
	ece = c->ecn && (s->flags & (LRP_TCP_ECE | LRP_TCP_SYN)) == LRP_TCP_ECE;
	lrp_tcp_recovery_ack(r, &c->cc, now, s, update, ece, &acked);
	if (acked.progress)
		c->due &= (uint8_t)~LRP_TCP_DUE_TAIL_PROBE;
	if (s->ack != c->snd_una)
		advance(c, now, s->ack);
	if (__builtin_expect(c->search.size, 0))
		lrp_tcp_search_ack(c, now);
	if (c->snd_una == c->snd_nxt)
		lrp_tcp_persist(c, now);
	lrp_tcp_held(c, now);
	return true;
}

/* ---- acceptability -------------------------------------------------------- */

/* Older than what was received before, as far as that still says anything (RFC 7323 5.5)? */
static bool outdated(const struct lrp_tcp *c, int64_t now, const struct lrp_tcp_segment *s)
{
	return (int32_t)(s->ts_val - c->ts_recent) < 0 &&
	       now - c->ts_recent_ns <= LRP_TCP_PAWS_AGE_NS;
}

static void timestamp(struct lrp_tcp *c, int64_t now, const struct lrp_tcp_segment *s)
{
	/* RFC 7323 4.3: of the segment that the last ACK sent was waiting for. */
	if (s->options & LRP_TCP_HAS_TIMESTAMP && lrp_seq_leq(s->seq, c->rcv_wup) &&
	    !outdated(c, now, s)) {
		c->ts_recent = s->ts_val;
		c->ts_recent_ns = now;
	}
}

/* PAWS (RFC 7323 5). A bare ACK that was overtaken may pass: it can do no
 * harm, and an answer to each would be a storm. */
static bool paws_rejects(const struct lrp_tcp *c, int64_t now, const struct lrp_tcp_segment *s)
{
	if (!c->timestamps || !(s->options & LRP_TCP_HAS_TIMESTAMP) || !outdated(c, now, s))
		return false;
	return s->len || s->flags & (LRP_TCP_SYN | LRP_TCP_FIN) || s->seq != c->rcv_nxt ||
	       s->ack != c->snd_una || (uint32_t)s->window << c->snd_wscale != c->snd_wnd;
}

/* Not acceptable: an ACK says where we are; what was received before is reported. */
static int unacceptable(struct lrp_tcp *c, int64_t now, const struct lrp_tcp_segment *s)
{
	if (s->flags & LRP_TCP_RST)
		return STALE;
	if (s->len && lrp_seq_lt(s->seq, c->rcv_nxt)) {
		lrp_tcp_dsack(c, s->seq, lrp_seq_min(s->seq + s->len, c->rcv_nxt));
		c->due |= LRP_TCP_DUE_ACK;
	} else {
		challenge(c, now);
	}
	return STALE;
}

static int reset_input(struct lrp_tcp *c, int64_t now, const struct lrp_tcp_segment *s)
{
	/* RFC 5961 3.2: exactly what is expected next, else the peer is asked. */
	if (s->seq != c->rcv_nxt) {
		challenge(c, now);
		return STALE;
	}
	switch (c->state) {
	case LRP_TCP_CLOSE_WAIT:
		lrp_tcp_done(c, EPIPE);
		break;
	case LRP_TCP_CLOSING:
	case LRP_TCP_LAST_ACK:
		lrp_tcp_done(c, 0);
		break;
	case LRP_TCP_SYN_RCVD:
		lrp_tcp_done(c, ECONNREFUSED);
		break;
	default:
		lrp_tcp_done(c, ECONNRESET);
	}
	return 0;
}

/* ---- states --------------------------------------------------------------- */

/* RFC 9293 3.10.7.3. */
static int syn_sent(struct lrp_tcp *c, int64_t now, const struct lrp_tcp_segment *s,
		    struct lrp_tcp_into *into)
{
	struct lrp_tcp_segment rest = *s;
	bool ack = s->flags & LRP_TCP_ACK;

	if (ack && (lrp_seq_leq(s->ack, c->iss) || lrp_seq_gt(s->ack, c->snd_nxt))) {
		if (!(s->flags & LRP_TCP_RST))
			lrp_tcp_refuse(c, s);
		return STALE;
	}
	if (s->flags & LRP_TCP_RST) {
		if (!ack)
			return STALE;
		lrp_tcp_done(c, ECONNREFUSED);
		return 0;
	}
	if (!(s->flags & LRP_TCP_SYN))
		return STALE;
	lrp_tcp_negotiate(c, now, s);
	c->heard_ns = now;
	c->due |= LRP_TCP_DUE_ACK;
	if (!ack) {
		/* Both opened at once: our SYN once more, with an ACK. */
		c->state = LRP_TCP_SYN_RCVD;
		return 0;
	}
	ack_input(c, now, s);
	lrp_tcp_established(c, now);
	if (!s->len && !(s->flags & LRP_TCP_FIN))
		return 0;
	rest.seq++;
	rest.flags &= (uint8_t) ~(LRP_TCP_SYN | LRP_TCP_URG);
	return lrp_tcp_receive(c, now, &rest, into, false);
}

/* In TIME_WAIT all that can come is the peer's FIN again: its ACK was lost. */
static int time_wait(struct lrp_tcp *c, int64_t now, const struct lrp_tcp_segment *s)
{
	if (s->flags & LRP_TCP_RST) /* RFC 1337 */
		return STALE;
	if (s->flags & LRP_TCP_FIN && !(s->flags & LRP_TCP_SYN) &&
	    s->seq + lrp_tcp_seg_len(s) == c->rcv_nxt) {
		c->due |= LRP_TCP_DUE_ACK;
		c->wait_ns = now + 2 * LRP_TCP_MSL_NS;
	} else if (lrp_tcp_seg_len(s)) {
		challenge(c, now);
	}
	return STALE;
}

/* RFC 9293 3.10.7.4, in its order. */
static int synchronized(struct lrp_tcp *c, int64_t now, const struct lrp_tcp_segment *s,
			struct lrp_tcp_into *into)
{
	struct lrp_tcp_segment plain;
	uint32_t edge = lrp_seq_max(c->rcv_adv, c->rcv_nxt);

	if (c->state == LRP_TCP_SYN_RCVD &&
	    (s->flags & (LRP_TCP_SYN | LRP_TCP_ACK | LRP_TCP_RST)) == (LRP_TCP_SYN | LRP_TCP_ACK) &&
	    s->seq == c->irs && s->ack == c->snd_nxt) {
		/* Both opened at once and the peer's SYN came again with its ACK (RFC 9293, figure
		 * 8). */
		plain = *s;
		plain.seq++;
		plain.flags &= (uint8_t)~LRP_TCP_SYN;
		plain.window = (uint16_t)(s->window >> c->snd_wscale);
		c->due |= LRP_TCP_DUE_ACK;
		s = &plain;
	}
	if (!(s->flags & LRP_TCP_RST) && paws_rejects(c, now, s))
		return unacceptable(c, now, s);
	/* From the last ACK sent on, rather than from rcv_nxt: what left before our last ACK
	 * reached the peer may acknowledge something. */
	if (lrp_seq_lt(s->seq + lrp_tcp_seg_len(s), c->rcv_wup) || lrp_seq_gt(s->seq, edge))
		return unacceptable(c, now, s);
	if (s->flags & LRP_TCP_RST)
		return reset_input(c, now, s);
	if (s->flags & LRP_TCP_SYN) {
		challenge(c, now); /* RFC 5961 4.2 */
		return STALE;
	}
	if (!(s->flags & LRP_TCP_ACK))
		return STALE;
	if (c->state == LRP_TCP_SYN_RCVD || c->opening) {
		if (lrp_seq_leq(s->ack, c->snd_una) || lrp_seq_gt(s->ack, c->snd_nxt)) {
			lrp_tcp_refuse(c, s);
			return STALE;
		}
	}
	c->heard_ns = now;
	if (!ack_input(c, now, s))
		return STALE;
	timestamp(c, now, s);
	if (c->state == LRP_TCP_SYN_RCVD)
		lrp_tcp_established(c, now);
	if (c->state == LRP_TCP_CLOSED || c->state == LRP_TCP_TIME_WAIT)
		return 0;
	return s->len || s->flags & (LRP_TCP_FIN | LRP_TCP_URG | LRP_TCP_CWR)
		       ? lrp_tcp_receive(c, now, s, into, false)
		       : 0;
}

/* Header prediction (Van Jacobson): in order, nothing unusual about it or the connection. */
static inline bool expected(const struct lrp_tcp *c, const struct lrp_tcp_segment *s)
{
	const uint8_t unusual = (uint8_t)~LRP_TCP_PSH;

	return c->state == LRP_TCP_ESTABLISHED && (s->flags & unusual) == LRP_TCP_ACK &&
	       s->seq == c->rcv_nxt && !lrp_seq_gt(s->seq + s->len, c->rcv_adv) &&
	       (!c->timestamps ||
		(s->options & LRP_TCP_HAS_TIMESTAMP && (int32_t)(s->ts_val - c->ts_recent) >= 0));
}

int lrp_tcp_input(struct lrp_tcp *c, int64_t now, const struct lrp_tcp_segment *s,
		  struct lrp_tcp_into *into)
{
	bool usual = expected(c, s), placed = false;

	if (s->unchecked) {
		uint64_t sum;

		placed = usual && lrp_tcp_place(c, s, into, &sum);
		if (!placed)
			sum = lrp_checksum_sum(s->payload, s->len);
		if (!lrp_tcp_segment_intact(s, sum))
			return LRP_DROPPED(LRP_DROP_CHECKSUM);
	}
	c->segs_in++;
	c->data_segs_in += s->len != 0;
	if (__builtin_expect(usual, 1)) {
		c->heard_ns = now;
		if (!ack_input(c, now, s))
			return STALE;
		if (c->rcv_wup == s->seq && c->timestamps) {
			c->ts_recent = s->ts_val;
			c->ts_recent_ns = now;
		}
		return s->len ? lrp_tcp_receive(c, now, s, into, placed) : 0;
	}
	switch (c->state) {
	case LRP_TCP_CLOSED:
		/* A new SYN may find a listener: that is the owner's [lrp_tcp_reopens()]. */
		if (!(s->flags & LRP_TCP_RST) &&
		    (s->flags & (LRP_TCP_SYN | LRP_TCP_ACK)) != LRP_TCP_SYN)
			lrp_tcp_refuse(c, s);
		return STALE;
	case LRP_TCP_LISTEN:
		return STALE;
	case LRP_TCP_SYN_SENT:
		return syn_sent(c, now, s, into);
	case LRP_TCP_TIME_WAIT:
		return time_wait(c, now, s);
	default:
		return synchronized(c, now, s, into);
	}
}

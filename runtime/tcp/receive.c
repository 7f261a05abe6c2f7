/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* receive.c - what an acceptable segment brings: data, urgent data, FIN; and when it is
 * acknowledged. */
#include <errno.h>
#include <string.h>

#include "tcp_internal.h"

#define STALE	    LRP_DROPPED(LRP_DROP_STALE)
#define MEMORY	    LRP_DROPPED(LRP_DROP_MEMORY)
#define QUICK_AGAIN 2 /* ACKs at once after anything out of order, as in Linux */

/* ---- when to acknowledge (RFC 9293 3.8.6.3, RFC 5681 4.2) ------------------- */

/* Linux's estimate of the time between segments. */
static void estimate_delay(struct lrp_tcp *c, int64_t now)
{
	int64_t since = now - c->data_ns, delay = c->ack_delay_ns;

	if (!delay)
		delay = LRP_TCP_DELACK_MIN_NS;
	else if (since <= LRP_TCP_DELACK_MIN_NS / 2)
		delay = delay / 2 + LRP_TCP_DELACK_MIN_NS / 2;
	else if (since < delay)
		delay = delay / 2 + since;
	else if (since > c->recovery.rtt.rto_ns && !c->pingpong && !c->quick)
		c->quick = QUICK_AGAIN; /* the sender may have started slowly again */
	c->ack_delay_ns = lrp_tcp_earlier(delay, LRP_TCP_DELACK_MAX_NS);
	c->data_ns = now;
}

static void ack_later(struct lrp_tcp *c, int64_t now)
{
	int64_t delay = c->ack_delay_ns;

	/* Well before the sender's timeout: it is not above our own estimate by much. */
	if (c->recovery.rtt.srtt_ns && c->recovery.rtt.srtt_ns < delay)
		delay = c->recovery.rtt.srtt_ns > LRP_TCP_DELACK_MIN_NS ? c->recovery.rtt.srtt_ns
									: LRP_TCP_DELACK_MIN_NS;
	c->delack_ns = lrp_tcp_earlier(c->delack_ns, now + delay);
}

static void acknowledge(struct lrp_tcp *c, int64_t now, bool at_once)
{
	uint32_t bytes = c->rcv_nxt - c->rcv_wup;

	/* All read already and the sender had no more: it may be waiting (Nagle). */
	bool soon = !c->pingpong && (c->quick || (c->rcv_read == c->rcv_nxt && bytes < c->rcv_mss));

	if (at_once || bytes > c->rcv_mss || (soon && !lrp_tcp_reply_likely(c))) {
		c->due |= LRP_TCP_DUE_ACK;
		return;
	}
	c->owing |= soon;
	ack_later(c, now);
}

/* Something is missing, or came twice: the sender must hear of it (RFC 5681 4.2). */
static void acknowledge_disorder(struct lrp_tcp *c, bool duplicate)
{
	c->due |= LRP_TCP_DUE_ACK;
	c->quick = (uint8_t)lrp_tcp_max(c->quick, QUICK_AGAIN);
	c->pingpong = false;
	/* A sender without SACK counts them. */
	if (duplicate && !c->sack && c->duplicates < UINT8_MAX)
		c->duplicates++;
}

/* ---- urgent data, as Linux has it: one byte, before the pointer (RFC 6093) ---- */

static void urgent_announced(struct lrp_tcp *c, const struct lrp_tcp_segment *s)
{
	uint32_t up = s->seq + s->urgent - !!s->urgent;

	/* Here already; or repeated. */
	if (lrp_seq_lt(up, c->rcv_nxt))
		return;
	if (c->rcv_urgent && lrp_seq_leq(up, c->rcv_up))
		return;
	/* The reader stands at an old mark whose byte it was never given as data: it must not be
	 * now. */
	if (c->rcv_urgent && c->rcv_up == c->rcv_read && !c->opt.oob_inline &&
	    c->rcv_read != c->rcv_nxt)
		c->rcv_read++;
	c->rcv_urgent = LRP_TCP_URGENT_ANNOUNCED;
	c->rcv_up = up;
}

static void urgent(struct lrp_tcp *c, const struct lrp_tcp_segment *s)
{
	if (s->flags & LRP_TCP_URG)
		urgent_announced(c, s);
	if (c->rcv_urgent == LRP_TCP_URGENT_ANNOUNCED && c->rcv_up - s->seq < s->len) {
		c->oob_byte = s->payload[c->rcv_up - s->seq];
		c->rcv_urgent = LRP_TCP_URGENT_HERE;
	}
}

/* ---- data ------------------------------------------------------------------ */

/* What comes in order may bypass the buffer. */
static bool direct(const struct lrp_tcp *c, const struct lrp_tcp_into *into)
{
	return into && into->count && c->rcv_read == c->rcv_nxt && !c->rcv_urgent;
}

/* Copies what follows `before` bytes; their sum too, if it is wanted. */
static void copy(uint8_t *to, const uint8_t *from, uint32_t len, uint32_t before, uint64_t *sum)
{
	uint64_t piece;

	if (!sum) {
		memcpy(to, from, len);
		return;
	}
	piece = lrp_checksum_copy(to, from, len);
	*sum = lrp_checksum_add(*sum, before & 1 ? lrp_checksum_odd(piece) : piece);
}

/* To where the next bytes of the stream belong; nothing changes but memory that counts as free. */
static void place(const struct lrp_tcp *c, const uint8_t *from, uint32_t len,
		  const struct lrp_tcp_into *into, uint64_t *sum)
{
	uint32_t done = 0, n;

	for (uint32_t i = 0; direct(c, into) && i < into->count && done < len; i++) {
		n = into->iov[i].iov_len < len - done ? (uint32_t)into->iov[i].iov_len : len - done;
		if (n)
			copy(into->iov[i].iov_base, from + done, n, done, sum);
		done += n;
	}
	while (done < len) {
		uint32_t at = (c->rcv_nxt + done) & (c->rcv.size - 1);

		n = lrp_tcp_min(len - done, c->rcv.size - at);
		copy(c->rcv.base + at, from + done, n, done, sum);
		done += n;
	}
}

bool lrp_tcp_place(const struct lrp_tcp *c, const struct lrp_tcp_segment *s,
		   const struct lrp_tcp_into *into, uint64_t *sum)
{
	/* Ranges lie where a segment that is corrupt would be written. */
	if (c->ranges || c->rcv_nxt - c->rcv_read + s->len > c->rcv.size)
		return false;
	*sum = 0;
	place(c, s->payload, s->len, into, sum);
	return true;
}

static uint32_t consume(struct lrp_tcp_into *into, uint32_t len)
{
	uint32_t done = 0, n;

	while (done < len && into->count) {
		n = into->iov->iov_len < len - done ? (uint32_t)into->iov->iov_len : len - done;
		into->iov->iov_base = (uint8_t *)into->iov->iov_base + n;
		into->iov->iov_len -= n;
		done += n;
		if (!into->iov->iov_len) {
			into->iov++;
			into->count--;
		}
	}
	into->done += done;
	return done;
}

static void in_order(struct lrp_tcp *c, int64_t now, const uint8_t *from, uint32_t len,
		     struct lrp_tcp_into *into, bool placed)
{
	if (!placed)
		place(c, from, len, into, NULL);
	c->bytes_received += len;
	if (direct(c, into)) {
		uint32_t read = consume(into, len);

		c->rcv_read += read;
		lrp_tcp_tune_read(c, now, read);
	}
	c->rcv_nxt += len;
}

/* The peer's FIN is next. */
static void fin(struct lrp_tcp *c, int64_t now)
{
	c->rcv_nxt++;
	c->fin_received = true;
	c->fin_early = false;
	c->ranges = 0; /* there is nothing beyond it */
	switch (c->state) {
	case LRP_TCP_ESTABLISHED:
		c->state = LRP_TCP_CLOSE_WAIT;
		c->pingpong = true;
		break;
	case LRP_TCP_FIN_WAIT_1:
		c->state = LRP_TCP_CLOSING;
		break;
	case LRP_TCP_FIN_WAIT_2:
		lrp_tcp_time_wait(c, now);
		break;
	}
}

/* Cuts what came before and what does not fit. False: nothing is left. */
static bool trim(struct lrp_tcp *c, const uint8_t **from, uint32_t *seq, uint32_t *end,
		 bool *has_fin)
{
	/* What was advertised was room in the buffer; more so after a resize. */
	uint32_t limit = lrp_seq_min(c->rcv_adv, c->rcv_read + c->rcv.size);

	if (lrp_seq_lt(*seq, c->rcv_nxt)) {
		lrp_tcp_dsack(c, *seq, lrp_seq_min(*end, c->rcv_nxt));
		if (lrp_seq_lt(*end + *has_fin, c->rcv_nxt + 1))
			return false;
		*from += c->rcv_nxt - *seq;
		*seq = c->rcv_nxt;
	}
	if (lrp_seq_gt(*end, limit)) {
		*end = limit;
		*has_fin = false;
		return lrp_seq_gt(*end, *seq);
	}
	return true;
}

static void congestion_marks(struct lrp_tcp *c, const struct lrp_tcp_segment *s)
{
	if (!c->ecn || !s->len)
		return;
	if (s->flags & LRP_TCP_CWR)
		c->ece_pending = false;
	if (s->ecn == LRP_TCP_CE && !c->ece_pending) {
		c->ece_pending = true;
		c->due |= LRP_TCP_DUE_ACK;
	}
}

int lrp_tcp_receive(struct lrp_tcp *c, int64_t now, const struct lrp_tcp_segment *s,
		    struct lrp_tcp_into *into, bool placed)
{
	const uint8_t *from = s->payload;
	uint32_t seq = s->seq, end = seq + s->len, before = c->rcv_nxt;
	bool has_fin = s->flags & LRP_TCP_FIN,
	     ordered = seq == c->rcv_nxt && !c->ranges && !c->fin_early;

	if (__builtin_expect(c->fin_received, 0)) {
		/* The stream has ended (RFC 9293 3.10.7.4): the FIN again, or rubbish. */
		if (lrp_tcp_seg_len(s))
			c->due |= LRP_TCP_DUE_ACK;
		return STALE;
	}
	/* Nobody will read it, and the sender must know (RFC 2525 2.17, RFC 9293 3.10.4). */
	if (__builtin_expect(c->shut_read, 0) && lrp_seq_gt(end, c->rcv_nxt) &&
	    (c->state == LRP_TCP_FIN_WAIT_1 || c->state == LRP_TCP_FIN_WAIT_2)) {
		lrp_tcp_refuse(c, s);
		lrp_tcp_done(c, c->orphan ? 0 : ECONNRESET);
		return STALE;
	}
	if (__builtin_expect(s->flags & LRP_TCP_URG || c->rcv_urgent == LRP_TCP_URGENT_ANNOUNCED,
			     0))
		urgent(c, s);
	if (__builtin_expect(c->ecn, 0))
		congestion_marks(c, s);
	if (!s->len && !has_fin)
		return 0;
	if (s->len > c->rcv_mss)
		c->rcv_mss = (uint16_t)lrp_tcp_min(s->len, c->path_mss);
	estimate_delay(c, now);
	if (s->len)
		lrp_tcp_tune_segment(c, now, s);
	if (!trim(c, &from, &seq, &end, &has_fin)) {
		acknowledge_disorder(c, true);
		return lrp_seq_leq(s->seq + s->len, before) ? STALE : MEMORY;
	}
	if (has_fin && seq != c->rcv_nxt) {
		c->fin_early = true;
		c->rcv_fin = end;
	}
	if (seq != c->rcv_nxt) {
		bool room = seq == end || lrp_tcp_reorder_insert(c, seq, end);

		c->disordered++;
		if (room && seq != end)
			lrp_tcp_ring_put(&c->rcv, seq, from, end - seq);
		acknowledge_disorder(c, true);
		return room ? 0 : MEMORY;
	}
	in_order(c, now, from, end - seq, into, placed);
	if (__builtin_expect(c->ranges, 0))
		lrp_tcp_reorder_advance(c);
	if (__builtin_expect((has_fin && c->rcv_nxt == end) ||
				     (c->fin_early && c->rcv_nxt == c->rcv_fin),
			     0))
		fin(c, now);
	if (__builtin_expect(!ordered || seq != s->seq, 0))
		acknowledge_disorder(c, false);
	acknowledge(c, now, c->state == LRP_TCP_TIME_WAIT || c->state == LRP_TCP_CLOSING);
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * output.c - what is to be sent next, and what changes once it was. Nothing is decided
 * in lrp_tcp_sent(): a segment that the device refused leaves no trace.
 *
 * Order: reset, SYN, what is to be sent again, tail loss probe, new data, window
 * probe or keepalive, bare ACK.
 */
#include <string.h>

#include "tcp_internal.h"

#define DEFER_NS 1000000ll /* as Linux: no longer than this without sending */
#define RUN_NS	 1000000u

/* ---- the fields of a segment -------------------------------------------- */

/* A FIN came before what precedes it, and so did what is next to it: it is not of any range. */
static bool lone_fin(const struct lrp_tcp *c)
{
	if (!c->fin_early)
		return false;
	for (uint32_t i = 0; i < c->ranges; i++)
		if (c->range[i].end == c->rcv_fin)
			return false;
	return true;
}

static uint32_t sack_blocks(const struct lrp_tcp *c)
{
	uint32_t blocks = c->ranges + (c->dsack.start != c->dsack.end);

	if (!c->sack)
		return 0;
	blocks += __builtin_expect(c->fin_early, 0) && lone_fin(c);
	return lrp_tcp_min(blocks, c->timestamps ? 3 : 4);
}

static uint32_t sack_len(const struct lrp_tcp *c)
{
	uint32_t blocks = sack_blocks(c);

	return blocks ? 4 + 8 * blocks : 0;
}

static void put_sacks(const struct lrp_tcp *c, struct lrp_tcp_tx *tx)
{
	struct lrp_tcp_sack sack[LRP_TCP_SACKS_MAX];
	uint32_t blocks = sack_blocks(c), n = 0;

	if (!blocks)
		return;
	if (c->dsack.start != c->dsack.end)
		sack[n++] = c->dsack;
	/* A FIN has a sequence number (RFC 9293 3.4), and its sender wants to know that it came. */
	if (lone_fin(c) && n < blocks)
		sack[n++] = (struct lrp_tcp_sack){c->rcv_fin, c->rcv_fin + 1};
	for (uint32_t i = 0; n < blocks; i++, n++) {
		sack[n] = c->range[i];
		sack[n].end += c->fin_early && sack[n].end == c->rcv_fin;
	}
	tx->options_len += (uint8_t)lrp_tcp_put_sacks(tx->options + tx->options_len, sack, n);
}

/* A segment of a connection past its handshake, without payload. */
static void header(const struct lrp_tcp *c, int64_t now, struct lrp_tcp_tx *tx, uint32_t seq,
		   enum lrp_tcp_tx_kind kind)
{
	tx->seq = seq;
	tx->ack = c->rcv_nxt;
	tx->payload_len = 0;
	tx->payload[0].iov_len = tx->payload[1].iov_len = 0;
	tx->window = lrp_tcp_window(c);
	tx->urgent = 0;
	tx->mss = c->mss;
	tx->flags = LRP_TCP_ACK;
	tx->ecn = 0;
	tx->options_len = 0;
	tx->kind = (uint8_t)kind;
	if (c->timestamps)
		tx->options_len = (uint8_t)lrp_tcp_put_timestamp(tx->options, lrp_tcp_clock(c, now),
								 c->ts_recent);
	if (__builtin_expect(
		    c->sack && (c->ranges || c->fin_early || c->dsack.start != c->dsack.end), 0))
		put_sacks(c, tx);
	if (__builtin_expect(c->ece_pending, 0))
		tx->flags |= LRP_TCP_ECE;
}

static void payload(const struct lrp_tcp *c, struct lrp_tcp_tx *tx, uint32_t len)
{
	uint32_t at = tx->seq & (c->snd.size - 1), first = lrp_tcp_min(len, c->snd.size - at);

	tx->payload_len = len;
	tx->payload[0] = (struct iovec){c->snd.base + at, first};
	tx->payload[1] = (struct iovec){c->snd.base, len - first};
	tx->mss = (uint16_t)(c->mss - sack_len(c));
	if (tx->seq + len == c->snd_end || (c->records && tx->seq + len == c->record[0]))
		tx->flags |= LRP_TCP_PSH;
	/* RFC 9293 3.8.5, as Linux: what is out of the pointer's reach says so as well as it can.
	 */
	if (__builtin_expect(c->snd_urgent, 0) && lrp_seq_lt(tx->seq, c->snd_up)) {
		tx->flags |= LRP_TCP_URG;
		tx->urgent = (uint16_t)lrp_tcp_min(c->snd_up - tx->seq, 0xffff);
	}
}

static void syn(const struct lrp_tcp *c, int64_t now, struct lrp_tcp_tx *tx)
{
	uint32_t mss = c->path_mss, window = lrp_tcp_window_left(c);
	bool reply = c->state != LRP_TCP_SYN_SENT;

	memset(tx, 0, sizeof(*tx));
	tx->seq = c->iss;
	tx->flags = LRP_TCP_SYN;
	if (reply) {
		tx->flags |= LRP_TCP_ACK;
		tx->ack = c->rcv_nxt;
	}
	tx->window = (uint16_t)lrp_tcp_min(window, 0xffff);
	tx->mss = c->mss;
	tx->kind = c->snd_nxt == c->iss ? LRP_TCP_TX_NEW : LRP_TCP_TX_AGAIN;
	if (c->opt.mss)
		mss = lrp_tcp_min(mss, c->opt.mss);
	tx->options_len = (uint8_t)lrp_tcp_put_mss(tx->options, (uint16_t)mss);
	if (reply ? c->sack : c->opt.sack)
		tx->options_len += (uint8_t)lrp_tcp_put_sack_ok(tx->options + tx->options_len);
	if (reply ? c->timestamps : c->opt.timestamps)
		tx->options_len += (uint8_t)lrp_tcp_put_timestamp(
			tx->options + tx->options_len, lrp_tcp_clock(c, now), c->ts_recent);
	/* In reply only to the peer's: what rcv_wscale says then, which may be 0. */
	if (c->opt.wscale && (!reply || c->wscale_ok))
		tx->options_len +=
			(uint8_t)lrp_tcp_put_wscale(tx->options + tx->options_len, c->wscale_offer);
	/* RFC 3168 6.1.1; a SYN that was lost may have been refused for it (6.1.1.1). */
	if (reply ? c->ecn : c->opt.ecn && tx->kind == LRP_TCP_TX_NEW)
		tx->flags |= reply ? LRP_TCP_ECE : LRP_TCP_ECE | LRP_TCP_CWR;
}

static void reset(const struct lrp_tcp *c, int64_t now, struct lrp_tcp_tx *tx)
{
	memset(tx, 0, sizeof(*tx));
	tx->seq = c->reset_seq;
	tx->flags = LRP_TCP_RST;
	if (!c->reset_bare) {
		tx->flags |= LRP_TCP_ACK;
		tx->ack = c->reset_ack;
	}
	tx->kind = LRP_TCP_TX_RESET;
	if (c->reset_answer)
		return;
	tx->window = lrp_tcp_window(c);
	if (c->timestamps)
		tx->options_len = (uint8_t)lrp_tcp_put_timestamp(tx->options, lrp_tcp_clock(c, now),
								 c->ts_recent);
}

/* ---- how much ----------------------------------------------------------- */

static bool fin_waits(const struct lrp_tcp *c)
{
	return c->shut_write && !lrp_tcp_fin_sent(c);
}

/* May the last piece go, though it is no full segment? Nagle's algorithm with Minshall's change
 * (RFC 9293 3.7.4): not while one like it is out. */
static bool tail_may_go(const struct lrp_tcp *c)
{
	if (c->due & LRP_TCP_DUE_PUSH || c->push || c->shut_write || c->snd_urgent)
		return true;
	if (c->opt.cork || c->more)
		return false;
	/* With nothing out, or after 2 GB, snd_sml lies outside. */
	return c->opt.nodelay || lrp_seq_leq(c->snd_sml, c->snd_una) ||
	       lrp_seq_gt(c->snd_sml, c->snd_nxt);
}

/* Better wait for the next ACK than send a small run now? Only while more ACKs must come soon. */
static bool defer(const struct lrp_tcp *c, int64_t now, uint32_t n, uint32_t max, uint32_t mss)
{
	uint32_t out = c->snd_nxt - c->snd_una;

	if (c->recovery.state != LRP_TCP_OPEN || now - c->sent_ns >= DEFER_NS)
		return false;
	return out > n && out >= 2 * mss &&
	       n + mss <= lrp_tcp_min(max, lrp_tcp_min(c->cc.cwnd, c->snd_wnd) / 3);
}

/* Bytes of new data that may go now; *fin: with the FIN. 0 and no FIN: nothing. */
static uint32_t sendable(const struct lrp_tcp *c, int64_t now, uint32_t max, bool *fin)
{
	uint32_t waiting = lrp_tcp_waiting(c), mss = c->mss - sack_len(c), window, room, n, full;
	bool more = false;

	*fin = false;
	if (!waiting && !fin_waits(c))
		return 0;
	window = lrp_tcp_peer_room(c);
	if (!waiting) {
		/* A FIN alone is not the congestion window's affair, as in Linux. */
		*fin = window > 0;
		return 0;
	}
	/* What follows a record waits for no other: there is no way to fill its last segment. */
	if (__builtin_expect(c->records, 0) && c->record[0] - c->snd_nxt < waiting) {
		waiting = c->record[0] - c->snd_nxt;
		more = true;
	}
	room = lrp_tcp_recovery_room(&c->recovery, &c->cc);
	/* Urgent mode: a segment at a time, each with a pointer of its own. */
	max = c->snd_urgent ? mss : lrp_tcp_max(max, mss);
	n = lrp_tcp_min(lrp_tcp_min(window, room), lrp_tcp_min(waiting, max));
	full = n - n % mss;
	if (n == waiting) {
		if (n != full && !more && !tail_may_go(c))
			n = full;
	} else if (full) {
		n = full;
		if (defer(c, now, n, max, mss))
			return 0;
	} else if (n != window || (n < c->max_wnd / 2 && !(c->due & LRP_TCP_DUE_PUSH))) {
		/* Silly-window avoidance (RFC 9293 3.8.6.2.1). */
		return 0;
	}
	*fin = n == waiting && !more && fin_waits(c) && window > n;
	return n;
}

bool lrp_tcp_sendable(const struct lrp_tcp *c, int64_t now)
{
	bool fin;

	return sendable(c, now, UINT32_MAX, &fin) || fin;
}

/* ---- what --------------------------------------------------------------- */

/* [seq, seq + len) of what was sent before; a FIN may be part of it. */
static bool again(const struct lrp_tcp *c, int64_t now, struct lrp_tcp_tx *tx, uint32_t seq,
		  uint32_t len, enum lrp_tcp_tx_kind kind)
{
	uint32_t end = seq + len, edge = c->snd_una + c->snd_wnd;

	/* A window that has shrunk: the first segment goes nevertheless (RFC 9293 3.8.6). */
	if (lrp_seq_gt(end, edge) && seq != c->snd_una) {
		if (lrp_seq_leq(edge, seq))
			return false;
		end = edge;
	}
	header(c, now, tx, seq, kind);
	if (lrp_seq_gt(end, c->snd_end)) {
		tx->flags |= LRP_TCP_FIN;
		end = c->snd_end;
	}
	if (end != seq)
		payload(c, tx, end - seq);
	return true;
}

static bool fresh(const struct lrp_tcp *c, int64_t now, struct lrp_tcp_tx *tx, uint32_t len,
		  bool fin, enum lrp_tcp_tx_kind kind)
{
	header(c, now, tx, c->snd_nxt, kind);
	if (len)
		payload(c, tx, len);
	if (fin)
		tx->flags |= LRP_TCP_FIN;
	if (c->ecn && len) {
		tx->ecn = LRP_TCP_ECT0;
		if (c->recovery.cwr)
			tx->flags |= LRP_TCP_CWR;
	}
	return true;
}

/* RFC 8985 7.3: new data if there is any and the peer's window allows, whatever the congestion
 * window. */
static bool tail_probe(const struct lrp_tcp *c, int64_t now, struct lrp_tcp_tx *tx)
{
	uint32_t mss = c->mss - sack_len(c), seq, len;
	uint32_t n = lrp_tcp_min(lrp_tcp_min(lrp_tcp_waiting(c), lrp_tcp_peer_room(c)), mss);

	if (c->records)
		n = lrp_tcp_min(n, c->record[0] - c->snd_nxt);
	if (n)
		return fresh(c, now, tx, n, false, LRP_TCP_TX_TAIL_PROBE);
	lrp_tcp_recovery_probe(&c->recovery, mss, &seq, &len);
	return len && again(c, now, tx, seq, len, LRP_TCP_TX_TAIL_PROBE);
}

static bool data(const struct lrp_tcp *c, int64_t now, uint32_t max, struct lrp_tcp_tx *tx)
{
	uint32_t seq, len;
	bool fin;

	if (c->snd_una != c->snd_nxt) {
		uint32_t mss = c->mss - sack_len(c), run = c->snd_urgent ? mss : max - max % mss;

		if (lrp_tcp_recovery_again(&c->recovery, &c->cc, lrp_tcp_max(run, mss), &seq,
					   &len) &&
		    again(c, now, tx, seq, len, LRP_TCP_TX_AGAIN))
			return true;
		if (c->due & LRP_TCP_DUE_TAIL_PROBE && tail_probe(c, now, tx))
			return true;
	}
	len = __builtin_expect(now >= c->search.next_ns, 0) ? lrp_tcp_search(c, now) : 0;
	if (__builtin_expect(len, 0)) {
		fresh(c, now, tx, len, false, LRP_TCP_TX_MTU_PROBE);
		tx->mss = (uint16_t)len;
		return true;
	}
	len = sendable(c, now, max, &fin);
	return (len || fin) && fresh(c, now, tx, len, fin, LRP_TCP_TX_NEW);
}

/*
 * A run is no longer than what the path takes in a millisecond, two segments at least: a third of the
 * window at once would find a queue full that the same bytes pass one by one (Linux's TSO
 * autosizing, which also lets runs grow where the round trip is short). And no longer than half of the
 * largest window that the peer has offered: it reads one half while the other is under way.
 */
static uint32_t run_length(const struct lrp_tcp *c, uint32_t max)
{
	const struct lrp_tcp_rtt *t = &c->recovery.rtt;
	uint64_t bytes = c->cc.cwnd;
	int64_t steps = t->min_ns >> 19; /* of half a millisecond */
	uint32_t room, half = lrp_tcp_max(c->max_wnd / 2, c->mss);

	max = lrp_tcp_min(max, half - half % c->mss);
	if (!t->srtt_ns)
		return max;
	bytes += lrp_tcp_cc_slow_start(&c->cc) ? bytes : bytes / 5;
	bytes = bytes * RUN_NS / (uint64_t)t->srtt_ns + (steps < 16 ? 65536u >> steps : 0);
	if (bytes < 2u * c->mss)
		bytes = 2u * c->mss;
	/* Nothing is left over that is too small to go alone: the window is used up, and seen to be. */
	room = lrp_tcp_min(lrp_tcp_recovery_room(&c->recovery, &c->cc), lrp_tcp_peer_room(c));
	if (room > bytes && room < 2 * bytes)
		bytes = room;
	return bytes < max ? (uint32_t)bytes : max;
}

bool lrp_tcp_output(const struct lrp_tcp *c, int64_t now, uint32_t max, struct lrp_tcp_tx *tx)
{
	uint32_t seq, len;

	if (__builtin_expect(c->due & LRP_TCP_DUE_RESET, 0)) {
		reset(c, now, tx);
		return true;
	}
	if (__builtin_expect(c->opening, 0)) {
		bool lost = lrp_tcp_recovery_again(&c->recovery, &c->cc, 1, &seq, &len);

		if (c->snd_nxt != c->iss && !lost && !(c->due & LRP_TCP_DUE_ACK))
			return false;
		syn(c, now, tx);
		/* A reply to the peer's SYN or to a stray segment; it says the same once more. */
		if (c->snd_nxt != c->iss && !lost)
			tx->kind = LRP_TCP_TX_ACK;
		return true;
	}
	if (lrp_tcp_sends(c) && data(c, now, run_length(c, max), tx))
		return true;
	if (__builtin_expect(c->due & LRP_TCP_DUE_PROBE, 0)) {
		/* Not in the window: the peer must answer (RFC 9293 3.8.4). */
		header(c, now, tx, c->snd_una - 1, LRP_TCP_TX_PROBE);
		return true;
	}
	if (c->due & LRP_TCP_DUE_ACK || c->duplicates) {
		header(c, now, tx, c->snd_nxt, LRP_TCP_TX_ACK);
		return true;
	}
	return false;
}

/* ---- it went out -------------------------------------------------------- */

static void ack_sent(struct lrp_tcp *c, const struct lrp_tcp_tx *tx)
{
	uint32_t edge =
		tx->ack + ((uint32_t)tx->window << (tx->flags & LRP_TCP_SYN ? 0 : c->rcv_wscale));

	c->rcv_adv = lrp_seq_max(c->rcv_adv, edge);
	if (c->rcv_nxt != c->rcv_wup && c->quick)
		c->quick--;
	c->rcv_wup = c->rcv_nxt;
	c->dsack.end = c->dsack.start;
	c->due &= (uint8_t)~LRP_TCP_DUE_ACK;
	c->delack_ns = LRP_TCP_NEVER;
	c->owing = false;
	if (c->duplicates)
		c->duplicates--;
}

static void data_sent(struct lrp_tcp *c, int64_t now, const struct lrp_tcp_tx *tx, uint32_t space)
{
	uint32_t end = tx->seq + space,
		 segments = tx->payload_len ? (tx->payload_len + tx->mss - 1) / tx->mss : 1;
	bool first = lrp_seq_gt(end, c->snd_nxt);

	c->recovery.segment = tx->mss;
	lrp_tcp_recovery_sent(&c->recovery, &c->cc, now, tx->seq, space, lrp_tcp_clock(c, now));
	if (tx->kind == LRP_TCP_TX_TAIL_PROBE)
		lrp_tcp_recovery_probed(&c->recovery, !first);
	c->due &= (uint8_t) ~(LRP_TCP_DUE_TAIL_PROBE | LRP_TCP_DUE_PUSH);
	if (__builtin_expect(c->search.size && !first, 0) && lrp_seq_lt(tx->seq, c->search.end) &&
	    lrp_seq_gt(end, c->search.seq))
		lrp_tcp_search_again(c, now);
	c->segs_out += segments;
	if (tx->payload_len) {
		c->data_segs_out += segments;
		c->bytes_sent += tx->payload_len;
		c->sent_ns = now;
	}
	if (!first)
		return;
	c->snd_nxt = end;
	while (__builtin_expect(c->records && lrp_seq_leq(c->record[0], end), 0))
		memmove(c->record, c->record + 1, --c->records * sizeof(c->record[0]));
	lrp_tcp_held(c, now);
	if (tx->kind == LRP_TCP_TX_MTU_PROBE)
		lrp_tcp_search_sent(c, tx->seq);
	c->probe_ns = LRP_TCP_NEVER;
	if (tx->payload_len % tx->mss)
		c->snd_sml = tx->seq + tx->payload_len;
	if (tx->flags & LRP_TCP_CWR && !(tx->flags & LRP_TCP_SYN))
		c->recovery.cwr = false;
	/* A reply: the next ACKs may wait for the one after it (Linux's ping-pong mode). */
	if (now - c->data_ns < c->ack_delay_ns) {
		c->pingpong = true;
		c->prompt = false;
	}
}

void lrp_tcp_sent(struct lrp_tcp *c, int64_t now, const struct lrp_tcp_tx *tx)
{
	uint32_t space =
		tx->payload_len + !!(tx->flags & LRP_TCP_SYN) + !!(tx->flags & LRP_TCP_FIN);

	c->local_drops = 0;
	c->retry_ns = LRP_TCP_NEVER;
	if (tx->kind == LRP_TCP_TX_RESET) {
		c->due &= (uint8_t)~LRP_TCP_DUE_RESET;
		c->segs_out++;
		return;
	}
	if (tx->flags & LRP_TCP_ACK)
		ack_sent(c, tx);
	if (tx->kind == LRP_TCP_TX_PROBE) {
		c->due &= (uint8_t)~LRP_TCP_DUE_PROBE;
		c->asked_ns = now;
	}
	if (space && tx->kind != LRP_TCP_TX_ACK)
		data_sent(c, now, tx, space);
	else
		c->segs_out++;
}

int64_t lrp_tcp_local_drop(struct lrp_tcp *c, int64_t now)
{
	/* From 1 ms on, at most 16: the queue below drains faster than any RTO. */
	c->retry_ns = now + (1000000ll << lrp_tcp_min(c->local_drops, 4));
	if (c->local_drops < UINT16_MAX)
		c->local_drops++;
	return c->retry_ns;
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "recovery.h"

#include <string.h>

#include "loss.h"
#include "seq.h"

#define MS		 1000000ll
#define PROBE_SLACK_NS	 (2 * MS)  /* timers of hosts are no better */
#define RENEGE_MIN_NS	 (10 * MS) /* as Linux has it */
#define REORDERING_MAX	 300
#define TIMESTAMP_MAX_MS (1u << 20) /* an echo older than that is no RTT */

void lrp_tcp_recovery_init(struct lrp_tcp_recovery *r, struct lrp_tcp_sent_run *run, uint16_t runs,
			   uint32_t isn)
{
	memset(r, 0, sizeof(*r));
	lrp_tcp_scoreboard_init(&r->board, run, runs, isn);
	lrp_tcp_rtt_init(&r->rtt);
	lrp_tcp_rack_init(&r->rack);
	r->high_seq = r->used_end = isn;
	r->reordering = 3;
	r->rto_at_ns = r->tlp_at_ns = r->reo_at_ns = LRP_TCP_NEVER;
}

uint32_t lrp_tcp_recovery_in_flight(const struct lrp_tcp_recovery *r)
{
	const struct lrp_tcp_scoreboard *b = &r->board;
	uint32_t flight = b->nxt - b->una - b->sacked_bytes - b->lost_bytes;

	return flight - (r->dup_bytes < flight ? r->dup_bytes : flight);
}

/* ---- timers ---- */

static int64_t rto(const struct lrp_tcp_recovery *r)
{
	return lrp_tcp_rtt_backed_off(&r->rtt, r->rto_shift);
}

static bool may_probe(const struct lrp_tcp_recovery *r)
{
	return r->sack && r->rtt.srtt_ns && !r->tlp_out && !r->board.sacked_bytes &&
	       !r->board.lost_bytes && (r->state == LRP_TCP_OPEN || r->state == LRP_TCP_CWR_STATE);
}

/* RFC 8985 7.2: the receiver may delay its answer to a single segment. */
static void set_probe(struct lrp_tcp_recovery *r, const struct lrp_tcp_cc *cc, int64_t now)
{
	int64_t pto = 2 * r->rtt.srtt_ns;

	r->tlp_at_ns = LRP_TCP_NEVER;
	if (!may_probe(r))
		return;
	pto += lrp_tcp_recovery_out(r) <= cc->mss ? LRP_TCP_MAX_ACK_DELAY_NS : PROBE_SLACK_NS;
	r->tlp_at_ns = now + pto < r->rto_at_ns ? now + pto : r->rto_at_ns;
}

/* After an acknowledgement (RFC 6298 5.2, 5.3). */
static void set_timers(struct lrp_tcp_recovery *r, const struct lrp_tcp_cc *cc, int64_t now,
		       bool advanced)
{
	if (!lrp_tcp_recovery_out(r)) {
		r->rto_at_ns = r->tlp_at_ns = r->reo_at_ns = LRP_TCP_NEVER;
		return;
	}
	if (advanced)
		r->rto_at_ns = now + rto(r);
	if (advanced && lrp_tcp_scoreboard_reneged(&r->board)) {
		int64_t wait = r->rtt.srtt_ns / 2;

		r->rto_at_ns = now + (wait > RENEGE_MIN_NS ? wait : RENEGE_MIN_NS);
	}
	set_probe(r, cc, now);
}

int64_t lrp_tcp_recovery_deadline(const struct lrp_tcp_recovery *r)
{
	int64_t at = r->rto_at_ns < r->tlp_at_ns ? r->rto_at_ns : r->tlp_at_ns;

	return r->reo_at_ns < at ? r->reo_at_ns : at;
}

enum lrp_tcp_recovery_event lrp_tcp_recovery_timer(struct lrp_tcp_recovery *r,
						   struct lrp_tcp_cc *cc, int64_t now_ns)
{
	if (r->reo_at_ns <= now_ns) {
		r->reo_at_ns = LRP_TCP_NEVER;
		if (lrp_tcp_loss_reordering(r, cc, now_ns)) {
			r->tlp_at_ns = LRP_TCP_NEVER;
			return LRP_TCP_TIMER_LOST;
		}
	}
	if (r->tlp_at_ns <= now_ns) {
		r->tlp_at_ns = LRP_TCP_NEVER;
		r->rto_at_ns = now_ns + rto(r);
		r->probes++;
		return LRP_TCP_TIMER_PROBE;
	}
	if (r->rto_at_ns > now_ns)
		return LRP_TCP_TIMER_NONE;
	lrp_tcp_loss_timeout(r, cc, now_ns);
	r->rto_at_ns = now_ns + rto(r);
	r->tlp_at_ns = r->reo_at_ns = LRP_TCP_NEVER;
	return LRP_TCP_TIMER_TIMEOUT;
}

void lrp_tcp_recovery_probe(const struct lrp_tcp_recovery *r, uint32_t mss, uint32_t *seq,
			    uint32_t *len)
{
	const struct lrp_tcp_sent_run *last = &r->board.run[r->board.last];

	*len = last->end - last->seq < mss ? last->end - last->seq : mss;
	*seq = last->end - *len;
}

void lrp_tcp_recovery_probed(struct lrp_tcp_recovery *r, bool again)
{
	r->tlp_out = true;
	r->tlp_again = again;
	r->tlp_end = r->board.nxt;
	r->tlp_at_ns = LRP_TCP_NEVER;
}

/* ---- sending ---- */

/* RFC 9661, RFC 2861: was it the window or the application that held back. What is not used for
 * an RTO is given up. */
static void note_use(struct lrp_tcp_recovery *r, struct lrp_tcp_cc *cc, int64_t now)
{
	uint32_t out = lrp_tcp_recovery_out(r);
	bool full = lrp_tcp_recovery_in_flight(r) + cc->mss > cc->cwnd;

	if (full || lrp_seq_geq(r->board.una, r->used_end) || (!r->limited && out > r->max_out)) {
		r->limited = full;
		r->max_out = out;
		r->used_end = r->board.nxt;
	}
	r->used = out > r->used ? out : r->used;
	if (!full && r->limited_ns) {
		if (now - r->limited_ns < r->rtt.rto_ns)
			return;
		lrp_tcp_cc_unused(cc, r->used);
	}
	r->limited_ns = now;
	r->used = 0;
}

static void sent_new(struct lrp_tcp_recovery *r, struct lrp_tcp_cc *cc, int64_t now, uint32_t len)
{
	if (!lrp_tcp_recovery_out(r))
		r->rto_at_ns = now + rto(r); /* RFC 6298 5.1 */
	r->board.mss = r->segment ? r->segment : (uint16_t)cc->mss;
	lrp_tcp_scoreboard_new(&r->board, now, len, (uint32_t)r->delivered);
	note_use(r, cc, now);
	set_probe(r, cc, now);
}

static void sent_again(struct lrp_tcp_recovery *r, const struct lrp_tcp_cc *cc, int64_t now,
		       uint32_t seq, uint32_t len, uint32_t now_ts)
{
	bool first = seq == r->board.una;

	r->board.mss = r->segment ? r->segment : (uint16_t)cc->mss;
	lrp_tcp_scoreboard_again(&r->board, now, seq, seq + len, (uint32_t)r->delivered);
	lrp_tcp_undo_resent(&r->undo, len, now_ts);
	r->bytes_again += len;
	r->segs_again += len <= cc->mss ? 1 : (len + cc->mss - 1) / cc->mss;
	if (first)
		r->rto_at_ns = now + rto(r);
}

void lrp_tcp_recovery_sent(struct lrp_tcp_recovery *r, struct lrp_tcp_cc *cc, int64_t now_ns,
			   uint32_t seq, uint32_t len, uint32_t now_ts)
{
	uint32_t old = lrp_seq_lt(seq, r->board.nxt) ? r->board.nxt - seq : 0;

	r->ts_offset = now_ts - (uint32_t)(now_ns / MS);
	r->sent_ns = now_ns;
	if (old > len)
		old = len;
	if (old)
		sent_again(r, cc, now_ns, seq, old, now_ts);
	if (len > old)
		sent_new(r, cc, now_ns, len - old);
	if (lrp_tcp_recovery_reducing(r))
		lrp_tcp_prr_sent(&r->prr, len);
}

void lrp_tcp_recovery_restart(struct lrp_tcp_recovery *r, struct lrp_tcp_cc *cc, int64_t now_ns)
{
	if (lrp_tcp_recovery_out(r) || !r->sent_ns)
		return;
	lrp_tcp_cc_idle(cc, now_ns - r->sent_ns, r->rtt.rto_ns);
	r->sent_ns = now_ns;
}

static uint32_t budget(const struct lrp_tcp_recovery *r, const struct lrp_tcp_cc *cc)
{
	uint32_t flight = lrp_tcp_recovery_in_flight(r);
	uint32_t left = flight < cc->cwnd ? cc->cwnd - flight : 0;

	/* Something must be out, or nothing comes back. */
	return !flight && left < cc->mss ? cc->mss : left;
}

bool lrp_tcp_recovery_again(const struct lrp_tcp_recovery *r, const struct lrp_tcp_cc *cc,
			    uint32_t max, uint32_t *seq, uint32_t *len)
{
	const struct lrp_tcp_scoreboard *b = &r->board;
	uint16_t lost = lrp_tcp_scoreboard_lost(b);
	uint32_t left;

	if (lost == LRP_TCP_SENT_NONE || r->frto_new)
		return false;
	left = budget(r, cc);
	*seq = b->run[lost].seq;
	*len = b->run[lost].end - *seq;
	if (*len > max)
		*len = max;
	if (*len <= left)
		return true;
	if (left < cc->mss)
		return false;
	*len = left - left % cc->mss;
	return true;
}

uint32_t lrp_tcp_recovery_room(const struct lrp_tcp_recovery *r, const struct lrp_tcp_cc *cc)
{
	return budget(r, cc);
}

void lrp_tcp_recovery_resend(struct lrp_tcp_recovery *r)
{
	if (!lrp_tcp_recovery_out(r))
		return;
	lrp_tcp_scoreboard_lose_sent(&r->board, INT64_MAX);
	r->dupacks = r->dup_bytes = 0;
	r->undo.possible = false;
	r->frto = r->frto_new = r->tlp_out = false;
	r->tlp_at_ns = r->reo_at_ns = LRP_TCP_NEVER;
	r->high_seq = r->board.nxt;
	r->state = LRP_TCP_LOSS;
}

bool lrp_tcp_recovery_forgive(struct lrp_tcp_recovery *r, struct lrp_tcp_cc *cc, uint32_t seq,
			      uint32_t end)
{
	const struct lrp_tcp_scoreboard *b = &r->board;
	uint16_t lost = lrp_tcp_scoreboard_lost(b);

	if (r->state != LRP_TCP_RECOVERY || !r->undo.possible || r->undo.una != seq ||
	    lost == LRP_TCP_SENT_NONE || b->run[lost].seq != seq || b->lost_bytes != end - seq ||
	    b->again_bytes)
		return false;
	lrp_tcp_cc_undo(cc);
	r->undo.possible = false;
	r->cwr = r->frto = r->frto_new = false;
	r->recoveries--;
	r->high_seq = b->nxt;
	r->state = LRP_TCP_LOSS;
	return true;
}

/* ---- acknowledgements ---- */

/* The echo of a timestamp tells the RTT of retransmissions too (RFC 7323 4); in whole ms. */
static int64_t rtt_by_timestamp(const struct lrp_tcp_recovery *r, int64_t now,
				const struct lrp_tcp_segment *s)
{
	uint32_t ms = (uint32_t)(now / MS) + r->ts_offset - s->ts_ecr;

	if (!r->timestamps || !(s->options & LRP_TCP_HAS_TIMESTAMP) || !s->ts_ecr ||
	    ms > TIMESTAMP_MAX_MS)
		return -1;
	return (ms ? ms : 1) * MS;
}

/* The sample for congestion control, of what was sent last; -1: none. */
static int64_t take_rtt(struct lrp_tcp_recovery *r, const struct lrp_tcp_delivery *d,
			const struct lrp_tcp_segment *s, bool advanced)
{
	int64_t rtt = -1, least = -1;

	if (d->acked_first_ns >= 0 && !d->filled) {
		rtt = d->now_ns - d->acked_first_ns;
		least = d->now_ns - d->acked_last_ns;
	} else if (d->sacked_first_ns >= 0) {
		rtt = least = d->now_ns - d->sacked_first_ns;
	} else if (advanced) {
		rtt = rtt_by_timestamp(r, d->now_ns, s);
	}
	if (rtt >= 0) {
		lrp_tcp_rtt_sample(&r->rtt, rtt, r->board.una, r->board.nxt);
		r->rto_shift = 0;
	}
	if (least >= 0)
		lrp_tcp_rtt_min(&r->rtt, d->now_ns, least);
	return least;
}

void lrp_tcp_recovery_rtt(struct lrp_tcp_recovery *r, int64_t now_ns, int64_t rtt_ns)
{
	lrp_tcp_rtt_sample(&r->rtt, rtt_ns, r->board.una, r->board.nxt);
	lrp_tcp_rtt_min(&r->rtt, now_ns, rtt_ns);
}

/* A report of a duplicate, if it can be one: no more than was sent again. */
static void take_dsack(struct lrp_tcp_recovery *r, const struct lrp_tcp_delivery *d,
		       struct lrp_tcp_event *e)
{
	uint32_t len = d->duplicate.end - d->duplicate.start;

	if (lrp_seq_gt(d->duplicate.end, r->board.nxt) || r->dsack_bytes + len > r->bytes_again)
		return;
	r->dsack_bytes += len;
	r->dsacks++;
	e->dsack = true;
	e->probe_dsack = r->tlp_out && r->tlp_again && d->duplicate.end == r->tlp_end;
	lrp_tcp_undo_duplicate(&r->undo, &d->duplicate);
}

/* Without SACK, duplicates have announced some of what is acknowledged now: all but the hole. */
static uint32_t newly_delivered(struct lrp_tcp_recovery *r, const struct lrp_tcp_cc *cc,
				const struct lrp_tcp_delivery *d)
{
	uint32_t told = d->acked > cc->mss ? d->acked - cc->mss : 0;

	if (r->sack || !d->acked || !r->dup_bytes)
		return d->acked + d->sacked;
	if (told > r->dup_bytes)
		told = r->dup_bytes;
	r->dup_bytes -= told;
	if (r->dup_bytes > lrp_tcp_recovery_out(r))
		r->dup_bytes = lrp_tcp_recovery_out(r);
	return d->acked - told;
}

/* RFC 8985 7.4: was the probe needed. */
static void judge_probe(struct lrp_tcp_recovery *r, struct lrp_tcp_cc *cc,
			const struct lrp_tcp_event *e)
{
	if (!r->tlp_out || lrp_seq_lt(r->board.una, r->tlp_end))
		return;
	if (!r->tlp_again || e->probe_dsack || (e->duplicate && !e->sacked)) {
		r->tlp_out = false;
	} else if (lrp_seq_gt(r->board.una, r->tlp_end)) {
		r->tlp_out = false;
		lrp_tcp_loss_probe(r, cc);
	}
}

static void set_window(struct lrp_tcp_recovery *r, struct lrp_tcp_cc *cc,
		       const struct lrp_tcp_event *e, int64_t rtt)
{
	uint32_t flight = lrp_tcp_recovery_in_flight(r);

	if (lrp_tcp_recovery_reducing(r)) {
		if (e->delivered || !r->prr.out)
			cc->cwnd = lrp_tcp_prr_window(&r->prr, e->delivered, flight, cc->ssthresh,
						      cc->mss, e->advanced && !e->lost);
		/* The hole that a partial acknowledgement shows goes at once (RFC 6582 3.2). */
		if (!r->sack && e->lost && cc->cwnd < flight + cc->mss)
			cc->cwnd = flight + cc->mss;
	} else if (e->delivered && (e->advanced || r->rack.reordering)) {
		struct lrp_tcp_cc_ack a = {
			.now_ns = e->now_ns,
			.rtt_ns = rtt,
			.srtt_ns = r->rtt.srtt_ns,
			.una = r->board.una,
			.nxt = r->board.nxt,
			.delivered = e->delivered,
			.cwnd_limited = r->limited ||
					(lrp_tcp_cc_slow_start(cc) && cc->cwnd < 2 * r->max_out),
		};

		cc->ops->ack(cc, &a);
	}
}

/* What the delivery says beyond the bytes. */
static void take_delivery(struct lrp_tcp_recovery *r, const struct lrp_tcp_cc *cc,
			  const struct lrp_tcp_delivery *d, struct lrp_tcp_event *e)
{
	if (d->dsack)
		take_dsack(r, d, e);
	e->rack = lrp_tcp_rack_update(&r->rack, d, e->dsack && !e->probe_dsack, r->board.una,
				      r->board.nxt);
	if (d->reordered) {
		uint32_t segs = (d->prior_fack - d->reordered_seq) / cc->mss;

		if (segs > REORDERING_MAX)
			segs = REORDERING_MAX;
		r->reordering = segs > r->reordering ? segs : r->reordering;
		r->reordered++;
	}
}

/* What was delivered since the newest of it was sent; a round trip. What the application sends too
 * slowly does not show the path's rate, unless it is a better one (Linux's rate samples). */
static void take_rate(struct lrp_tcp_recovery *r, const struct lrp_tcp_delivery *d)
{
	int64_t ns = d->now_ns > d->newest_ns ? d->now_ns - d->newest_ns : 1;
	uint32_t bytes = (uint32_t)r->delivered - d->newest_delivered;

	if (d->newest_ns < 0)
		return;
	if (r->bubble && r->delivered > r->bubble)
		r->bubble = 0;
	else if (r->bubble && r->rate_ns &&
		 (double)bytes * (double)r->rate_ns < (double)r->rate_bytes * (double)ns)
		return;
	r->rate_ns = ns;
	r->rate_bytes = bytes;
	r->rate_limited = r->bubble != 0;
}

void lrp_tcp_recovery_unlimited(struct lrp_tcp_recovery *r, const struct lrp_tcp_cc *cc)
{
	uint32_t flight = lrp_tcp_recovery_in_flight(r);

	if (flight < cc->cwnd && !r->board.lost_bytes)
		r->bubble = r->delivered + flight + 1;
}

void lrp_tcp_recovery_ack(struct lrp_tcp_recovery *r, struct lrp_tcp_cc *cc, int64_t now_ns,
			  const struct lrp_tcp_segment *s, bool window_update, bool ece,
			  struct lrp_tcp_acked *acked)
{
	struct lrp_tcp_scoreboard *b = &r->board;
	uint32_t ack = lrp_seq_max(s->ack, b->una);
	struct lrp_tcp_event e = {
		.now_ns = now_ns,
		.ece = ece,
		.advanced = ack != b->una,
		.early = r->timestamps && lrp_tcp_undo_early(&r->undo, s),
	};
	struct lrp_tcp_delivery d;
	uint32_t prior = b->una;
	int64_t rtt;

	acked->bytes = ack - b->una;
	lrp_tcp_delivery_init(&d, b, now_ns, r->rtt.min_ns, r->high_seq);
	d.early = e.early;
	if (r->sack && s->sacks)
		lrp_tcp_scoreboard_sacked(b, s->ack, s->sack, s->sacks, &d);
	lrp_tcp_scoreboard_acked(b, ack, &d);

	e.sacked = d.sacked != 0;
	e.original = d.original;
	e.duplicate = s->ack == prior && !s->len && !window_update && b->una != b->nxt &&
		      !(s->flags & (LRP_TCP_SYN | LRP_TCP_FIN));
	e.delivered = newly_delivered(r, cc, &d);
	if (e.advanced)
		r->backoff = 0;
	if (r->held && lrp_seq_gt(b->una, r->high_seq))
		r->held = false;
	if (r->ecn_hold && lrp_seq_gt(b->una, r->ecn_seq))
		r->ecn_hold = false;
	rtt = take_rtt(r, &d, s, e.advanced);
	take_delivery(r, cc, &d, &e);
	judge_probe(r, cc, &e);
	if (r->state != LRP_TCP_OPEN || e.duplicate || e.sacked || e.dsack || e.ece)
		lrp_tcp_loss_ack(r, cc, &e);
	r->delivered += e.delivered;
	r->delivered_ce += ece ? e.delivered : 0;
	take_rate(r, &d);
	set_window(r, cc, &e, rtt);
	set_timers(r, cc, now_ns, e.advanced);

	acked->sacked = d.sacked;
	acked->progress = e.advanced || e.sacked;
	acked->rtt_ns = rtt;
}

/* ---- checking ---- */

const char *lrp_tcp_recovery_check(const struct lrp_tcp_recovery *r)
{
	const char *broken = lrp_tcp_scoreboard_check(&r->board);
	bool out = r->board.una != r->board.nxt;

	if (broken)
		return broken;
	if (out != (lrp_tcp_recovery_deadline(r) != LRP_TCP_NEVER))
		return "a deadline while something is out";
	if (out != (r->rto_at_ns != LRP_TCP_NEVER))
		return "the retransmission timer";
	if (r->sack && r->dup_bytes)
		return "duplicates are counted without SACK only";
	if (r->dup_bytes > lrp_tcp_recovery_out(r))
		return "duplicates for more than is out";
	if (r->state == LRP_TCP_OPEN && (r->board.sacked_bytes || r->board.lost_bytes))
		return "open with losses";
	return NULL;
}

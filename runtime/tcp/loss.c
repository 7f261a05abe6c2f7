/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "loss.h"

#include "seq.h"

#define DUP_THRESH 3u

/* ---- beginnings and ends ---- */

static void reduce(struct lrp_tcp_recovery *r, struct lrp_tcp_cc *cc)
{
	lrp_tcp_cc_reduce(cc);
	r->cwr = true;
	r->ecn_hold = true;
	r->ecn_seq = r->board.nxt;
	r->tlp_out = false;
}

/* `delivered`: by the acknowledgement that shows the congestion; it was in flight before. */
static void start_reduction(struct lrp_tcp_recovery *r, struct lrp_tcp_cc *cc, uint32_t delivered,
			    enum lrp_tcp_recovery_state state)
{
	uint32_t gone = r->board.sacked_bytes + r->dup_bytes;

	reduce(r, cc);
	lrp_tcp_prr_start(&r->prr, lrp_tcp_recovery_out(r) - gone + delivered);
	r->high_seq = r->board.nxt;
	r->state = state;
}

static void enter_recovery(struct lrp_tcp_recovery *r, struct lrp_tcp_cc *cc, uint32_t delivered)
{
	r->recoveries++;
	if (r->state == LRP_TCP_CWR_STATE) {
		/* Reduced already, and rightly. */
		r->undo.possible = false;
		r->state = LRP_TCP_RECOVERY;
		return;
	}
	lrp_tcp_undo_start(&r->undo, r->board.una, r->board.again_bytes);
	start_reduction(r, cc, delivered, LRP_TCP_RECOVERY);
}

static void forget_duplicates(struct lrp_tcp_recovery *r)
{
	r->dupacks = r->dup_bytes = 0;
}

/* Open, unless something is still wrong. */
static void reopen(struct lrp_tcp_recovery *r)
{
	const struct lrp_tcp_scoreboard *b = &r->board;

	r->frto = r->frto_new = false;
	r->state = b->sacked_bytes || b->lost_bytes || b->again_bytes || r->dup_bytes
			   ? LRP_TCP_DISORDER
			   : LRP_TCP_OPEN;
}

static void end_reduction(struct lrp_tcp_recovery *r, struct lrp_tcp_cc *cc)
{
	cc->cwnd = cc->ssthresh;
	reopen(r);
}

static void undo(struct lrp_tcp_recovery *r, struct lrp_tcp_cc *cc)
{
	lrp_tcp_cc_undo(cc);
	r->undo.possible = false;
	r->cwr = false;
	r->spurious++;
}

/* What was taken for lost had only been overtaken: RACK is to wait longer from now on. */
static void undo_recovery(struct lrp_tcp_recovery *r, struct lrp_tcp_cc *cc)
{
	r->rack.reordering = true;
	undo(r, cc);
}

static bool may_undo(const struct lrp_tcp_recovery *r, const struct lrp_tcp_event *e)
{
	return r->undo.possible && (e->early || lrp_tcp_undo_all_duplicates(&r->undo));
}

/* Without SACK, duplicates of what was sent before the end of a recovery start no other one. */
static void hold(struct lrp_tcp_recovery *r)
{
	r->held = !r->sack;
	forget_duplicates(r);
}

static void end_recovery(struct lrp_tcp_recovery *r, struct lrp_tcp_cc *cc,
			 const struct lrp_tcp_event *e)
{
	hold(r);
	lrp_tcp_rack_recovered(&r->rack);
	if (may_undo(r, e)) {
		undo_recovery(r, cc);
		reopen(r);
	} else {
		end_reduction(r, cc);
	}
}

/* ---- which data is lost ---- */

static bool eager(const struct lrp_tcp_recovery *r, const struct lrp_tcp_cc *cc)
{
	return r->state >= LRP_TCP_RECOVERY || r->dupacks >= DUP_THRESH ||
	       r->board.sacked_bytes >= DUP_THRESH * cc->mss;
}

static struct lrp_tcp_rack_losses detect(struct lrp_tcp_recovery *r, const struct lrp_tcp_cc *cc,
					 int64_t now)
{
	int64_t window = lrp_tcp_rack_window(&r->rack, &r->rtt, eager(r, cc));
	struct lrp_tcp_rack_losses found = lrp_tcp_rack_detect(&r->rack, &r->board, now, window);

	r->reo_at_ns = found.wait_ns ? now + found.wait_ns : LRP_TCP_NEVER;
	return found;
}

/* RFC 6582 3.2: the first segment after three duplicates, and after each partial acknowledgement.
 */
static void lose_first(struct lrp_tcp_recovery *r, const struct lrp_tcp_cc *cc, bool advanced)
{
	if (r->state == LRP_TCP_RECOVERY ? advanced
					 : r->state != LRP_TCP_LOSS && r->dupacks >= DUP_THRESH)
		lrp_tcp_scoreboard_lose_first(&r->board, cc->mss);
}

/* True if a retransmission was lost. */
static bool find_losses(struct lrp_tcp_recovery *r, const struct lrp_tcp_cc *cc,
			struct lrp_tcp_event *e)
{
	struct lrp_tcp_rack_losses found = {0};
	uint32_t before = r->board.lost_bytes;

	if (!r->sack) {
		lose_first(r, cc, e->advanced);
		e->lost += r->board.lost_bytes - before;
	} else if (e->rack) {
		found = detect(r, cc, e->now_ns);
		e->lost += found.bytes;
	}
	return found.again;
}

/* Duplicates say that something has arrived; with SACK, they say what. */
static void count_duplicate(struct lrp_tcp_recovery *r, const struct lrp_tcp_cc *cc,
			    struct lrp_tcp_event *e)
{
	uint32_t most = lrp_tcp_recovery_out(r);

	if (r->sack) {
		r->dupacks += e->sacked && !e->advanced;
		return;
	}
	if (!e->duplicate || r->held)
		return;
	r->dupacks++;
	/* One segment is missing at least. */
	most -= most < cc->mss ? most : cc->mss;
	if (r->dup_bytes < most) {
		uint32_t len = most - r->dup_bytes < cc->mss ? most - r->dup_bytes : cc->mss;

		r->dup_bytes += len;
		e->delivered += len;
	}
}

/* ---- states ---- */

static void in_order(struct lrp_tcp_recovery *r, struct lrp_tcp_cc *cc, struct lrp_tcp_event *e)
{
	if (e->advanced)
		forget_duplicates(r);
	count_duplicate(r, cc, e);
	if (e->dsack && lrp_tcp_undo_all_duplicates(&r->undo))
		undo_recovery(r, cc);
	find_losses(r, cc, e);
	if (r->board.lost_bytes) {
		enter_recovery(r, cc, e->delivered);
	} else if (r->state == LRP_TCP_CWR_STATE) {
		return;
	} else if (e->ece && !r->ecn_hold) {
		r->undo.possible = false;
		start_reduction(r, cc, e->delivered, LRP_TCP_CWR_STATE);
	} else {
		reopen(r);
	}
}

static void in_recovery(struct lrp_tcp_recovery *r, struct lrp_tcp_cc *cc, struct lrp_tcp_event *e)
{
	if (lrp_seq_geq(r->board.una, r->high_seq)) {
		end_recovery(r, cc, e);
		in_order(r, cc, e);
		return;
	}
	count_duplicate(r, cc, e);
	if (r->undo.possible && e->early && e->advanced) {
		/* The first partial acknowledgement is for an original: it was only late. When more
		 * was sent again, its answers decide. */
		if (r->board.again_bytes)
			return;
		lrp_tcp_scoreboard_find_all(&r->board);
		undo_recovery(r, cc);
		reopen(r);
		return;
	}
	find_losses(r, cc, e);
	if (e->dsack && !r->board.lost_bytes && lrp_tcp_undo_all_duplicates(&r->undo)) {
		undo_recovery(r, cc);
		reopen(r);
	}
}

/* The same acknowledgement may show what is lost apart from that. */
static void leave_loss(struct lrp_tcp_recovery *r, struct lrp_tcp_cc *cc, struct lrp_tcp_event *e)
{
	hold(r);
	reopen(r);
	in_order(r, cc, e);
}

/* F-RTO, the form with SACK (RFC 5682 3.1). True if nothing else is to be done. */
static bool forward(struct lrp_tcp_recovery *r, struct lrp_tcp_cc *cc, struct lrp_tcp_event *e)
{
	r->frto_new = false;
	if (!r->frto)
		return false;
	if (e->original) { /* step 3b: it was not lost, only late */
		lrp_tcp_scoreboard_find_all(&r->board);
		undo(r, cc);
		leave_loss(r, cc, e);
		return true;
	}
	if (r->high_seq != r->board.nxt) {
		/* Step 3a: the new data has arrived, the old has not. */
		if (e->sacked || e->duplicate)
			r->frto = false;
	} else if (e->advanced && r->board.una != r->board.nxt) {
		r->frto = r->frto_new = r->more; /* step 2b */
		return r->more;
	}
	return false;
}

static void in_loss(struct lrp_tcp_recovery *r, struct lrp_tcp_cc *cc, struct lrp_tcp_event *e)
{
	if (e->advanced && may_undo(r, e)) {
		lrp_tcp_scoreboard_find_all(&r->board);
		undo(r, cc);
		leave_loss(r, cc, e);
		return;
	}
	if (forward(r, cc, e))
		return;
	if (lrp_seq_geq(r->board.una, r->high_seq)) {
		leave_loss(r, cc, e);
		return;
	}
	if (find_losses(r, cc, e))
		enter_recovery(r, cc,
			       e->delivered); /* a retransmission was lost: congestion goes on */
}

void lrp_tcp_loss_ack(struct lrp_tcp_recovery *r, struct lrp_tcp_cc *cc, struct lrp_tcp_event *e)
{
	const struct lrp_tcp_scoreboard *b = &r->board;

	/* Until the segment with CWR is acknowledged, which follows high_seq. */
	if (r->state == LRP_TCP_CWR_STATE && (lrp_seq_gt(b->una, r->high_seq) || b->una == b->nxt))
		end_reduction(r, cc);
	if (r->state == LRP_TCP_RECOVERY)
		in_recovery(r, cc, e);
	else if (r->state == LRP_TCP_LOSS)
		in_loss(r, cc, e);
	else
		in_order(r, cc, e);
}

bool lrp_tcp_loss_reordering(struct lrp_tcp_recovery *r, struct lrp_tcp_cc *cc, int64_t now_ns)
{
	if (!detect(r, cc, now_ns).bytes)
		return false;
	if (r->state != LRP_TCP_RECOVERY)
		enter_recovery(r, cc, 0);
	cc->cwnd = lrp_tcp_prr_window(&r->prr, 0, lrp_tcp_recovery_in_flight(r), cc->ssthresh,
				      cc->mss, false);
	return true;
}

void lrp_tcp_loss_timeout(struct lrp_tcp_recovery *r, struct lrp_tcp_cc *cc, int64_t now_ns)
{
	struct lrp_tcp_scoreboard *b = &r->board;
	bool fresh = r->state < LRP_TCP_RECOVERY;

	/* Once for the data that was out (RFC 5681 4.3). */
	if (fresh || lrp_seq_geq(b->una, r->high_seq) ||
	    (r->state == LRP_TCP_LOSS && !r->backoff)) {
		lrp_tcp_undo_start(&r->undo, b->una, b->again_bytes);
		lrp_tcp_cc_timeout(cc);
		r->cwr = r->ecn_hold = true;
		r->ecn_seq = b->nxt;
	}
	forget_duplicates(r);
	if (!r->sack || lrp_tcp_scoreboard_reneged(b))
		lrp_tcp_scoreboard_lose_all(b);
	else
		lrp_tcp_rack_timeout(&r->rack, b, now_ns,
				     lrp_tcp_rack_window(&r->rack, &r->rtt, true));
	cc->cwnd = lrp_tcp_recovery_in_flight(r) + cc->mss;
	r->frto = fresh || r->backoff;
	r->frto_new = r->tlp_out = false;
	r->state = LRP_TCP_LOSS;
	r->high_seq = b->nxt;
	r->timeouts++;
	r->backoff += r->backoff < UINT8_MAX;
	r->rto_shift += r->rto_shift < 32;
}

void lrp_tcp_loss_probe(struct lrp_tcp_recovery *r, struct lrp_tcp_cc *cc)
{
	r->undo.possible = false;
	reduce(r, cc);
	cc->cwnd = cc->ssthresh;
}

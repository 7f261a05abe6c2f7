/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "scoreboard.h"

#include <string.h>

#include "run.h"

/* ---- sending ---- */

/* No two sendings have one time, though the owner's clock may stand still between them: RACK has
 * to know which was first. */
static int64_t stamp(struct lrp_tcp_scoreboard *b, int64_t now)
{
	return b->stamp_ns = now > b->stamp_ns ? now : b->stamp_ns + 1;
}

/* `i` is what was sent last, and just now. */
static bool just_sent(const struct lrp_tcp_scoreboard *b, uint16_t i, int64_t now)
{
	return b->newest == i && b->run[i].sent_ns >= now;
}

/* May what follows the last run be part of it? */
static bool extensible(const struct lrp_tcp_scoreboard *b, int64_t now)
{
	const struct lrp_tcp_sent_run *run;

	if (b->last == NONE)
		return false;
	run = &b->run[b->last];
	if (lrp_tcp_sacked(run) || lrp_tcp_marked(b, run) || run->flags & LRP_TCP_SENT_AGAIN)
		return false;
	if (lrp_tcp_scoreboard_crowded(b))
		return true;
	return just_sent(b, b->last, now) && run->mss == b->mss &&
	       (!run->mss || (run->end - run->seq) % run->mss == 0);
}

/* The last run goes on; one of several times of sending counts as of the latest. */
static void extend(struct lrp_tcp_scoreboard *b, int64_t now, uint32_t len, uint32_t delivered)
{
	struct lrp_tcp_sent_run *run = &b->run[b->last];

	if (run->mss != b->mss || (run->mss && (run->end - run->seq) % run->mss))
		run->mss = 0;
	lrp_tcp_run_count(b, run, false);
	run->end += len;
	lrp_tcp_run_count(b, run, true);
	if (just_sent(b, b->last, now))
		return;
	lrp_tcp_order_remove(b, b->last);
	run->sent_ns = stamp(b, now);
	run->delivered = delivered;
	run->flags |= LRP_TCP_SENT_JOINED;
	lrp_tcp_order_insert(b, b->last, b->newest);
}

void lrp_tcp_scoreboard_new(struct lrp_tcp_scoreboard *b, int64_t now_ns, uint32_t len,
			    uint32_t delivered)
{
	if (extensible(b, now_ns)) {
		extend(b, now_ns, len, delivered);
	} else {
		struct lrp_tcp_sent_run *run;
		uint16_t i;

		lrp_tcp_runs_room(b, 1);
		i = lrp_tcp_run_take(b);
		run = &b->run[i];
		run->seq = b->nxt;
		run->end = b->nxt + len;
		run->sent_ns = stamp(b, now_ns);
		run->delivered = delivered;
		run->mss = b->mss;
		run->flags = 0;
		memset(run->pad, 0, sizeof(run->pad));
		lrp_tcp_run_link(b, i, b->last);
		lrp_tcp_order_insert(b, i, b->newest);
	}
	b->nxt += len;
}

static void run_again(struct lrp_tcp_scoreboard *b, uint16_t i, int64_t now, uint32_t delivered)
{
	struct lrp_tcp_sent_run *run = &b->run[i];

	lrp_tcp_run_count(b, run, false);
	lrp_tcp_order_remove(b, i);
	run->flags = LRP_TCP_SENT_AGAIN;
	run->sent_ns = stamp(b, now);
	run->delivered = delivered;
	run->mss = b->mss;
	lrp_tcp_order_insert(b, i, b->newest);
	lrp_tcp_run_count(b, run, true);
}

/* Part of what was just sent again, or to be treated so because few records are left. */
static bool again_goes_on(const struct lrp_tcp_scoreboard *b, uint16_t prev, int64_t now)
{
	const struct lrp_tcp_sent_run *run;

	if (prev == NONE)
		return false;
	run = &b->run[prev];
	if (!lrp_tcp_in_flight(b, run) || !(run->flags & LRP_TCP_SENT_AGAIN))
		return false;
	if (lrp_tcp_scoreboard_crowded(b))
		return true;
	return just_sent(b, prev, now) && run->mss == b->mss &&
	       (!run->mss || (run->end - run->seq) % run->mss == 0);
}

void lrp_tcp_scoreboard_again(struct lrp_tcp_scoreboard *b, int64_t now_ns, uint32_t seq,
			      uint32_t end, uint32_t delivered)
{
	uint16_t i;
	bool goes_on;

	lrp_tcp_runs_room(b, 2);
	for (i = lrp_tcp_tree_find(b, seq); i != NONE && lrp_seq_lt(b->run[i].seq, end);
	     i = b->run[i].next) {
		struct lrp_tcp_sent_run *run = &b->run[i];

		b->steps++;
		if (lrp_tcp_sacked(run))
			continue;
		if (lrp_seq_lt(run->seq, seq)) {
			lrp_tcp_run_split(b, i, seq);
			continue;
		}
		if (lrp_seq_gt(run->end, end))
			lrp_tcp_run_split(b, i, end);
		goes_on = again_goes_on(b, run->prev, now_ns);
		run_again(b, i, now_ns, delivered);
		if (goes_on) {
			i = run->prev;
			lrp_tcp_run_join(b, i);
		}
	}
}

/* ---- acknowledgements ---- */

void lrp_tcp_delivery_init(struct lrp_tcp_delivery *d, const struct lrp_tcp_scoreboard *b,
			   int64_t now_ns, int64_t min_rtt_ns, uint32_t high_seq)
{
	memset(d, 0, sizeof(*d));
	d->now_ns = now_ns;
	d->min_rtt_ns = min_rtt_ns;
	d->high_seq = high_seq;
	d->prior_fack = b->fack;
	d->acked_first_ns = d->acked_last_ns = d->sacked_first_ns = d->newest_ns = -1;
}

/* What the delivery of [run->seq, end) tells. */
static void deliver(struct lrp_tcp_delivery *d, const struct lrp_tcp_sent_run *run, uint32_t end)
{
	if (!(run->flags & LRP_TCP_SENT_AGAIN)) {
		if (lrp_seq_leq(end, d->high_seq))
			d->original = true;
		if (lrp_seq_lt(run->seq, d->prior_fack)) {
			if (!d->reordered || lrp_seq_lt(run->seq, d->reordered_seq))
				d->reordered_seq = run->seq;
			d->reordered = true;
		}
	} else if (d->early || d->now_ns - run->sent_ns < d->min_rtt_ns) {
		return; /* the original has arrived, not this (RFC 8985 6.2 step 2) */
	}
	if (run->sent_ns > d->newest_ns ||
	    (run->sent_ns == d->newest_ns && lrp_seq_gt(end, d->newest_end))) {
		d->newest_ns = run->sent_ns;
		d->newest_end = end;
		d->newest_delivered = run->delivered;
	}
}

static bool sampled(const struct lrp_tcp_sent_run *run)
{
	return !(run->flags & (LRP_TCP_SENT_AGAIN | LRP_TCP_SENT_JOINED));
}

/* Sacked runs have no history: neighbours become one. Returns the index that `i` has then. */
static uint16_t run_sacked(struct lrp_tcp_scoreboard *b, uint16_t i, struct lrp_tcp_delivery *d)
{
	struct lrp_tcp_sent_run *run = &b->run[i];

	deliver(d, run, run->end);
	d->sacked += run->end - run->seq;
	if (sampled(run) && d->sacked_first_ns < 0)
		d->sacked_first_ns = run->sent_ns;
	lrp_tcp_run_count(b, run, false);
	lrp_tcp_order_remove(b, i);
	run->flags = (run->flags & LRP_TCP_SENT_AGAIN) | LRP_TCP_SENT_SACKED;
	lrp_tcp_run_count(b, run, true);
	b->fack = lrp_seq_max(b->fack, run->end);
	if (run->next != NONE && lrp_tcp_sacked(&b->run[run->next]))
		lrp_tcp_run_join(b, i);
	if (run->prev != NONE && lrp_tcp_sacked(&b->run[run->prev])) {
		i = run->prev;
		lrp_tcp_run_join(b, i);
	}
	return i;
}

/* The end of the segment of `run` that holds `seq`, or the beginning: data counts as
 * sacked in whole segments only, as in Linux. Without that, blocks of one byte would make
 * a run of each byte. */
static uint32_t segment_end(const struct lrp_tcp_sent_run *run, uint32_t seq)
{
	uint32_t len = seq - run->seq, mss = run->mss ? run->mss : 1;

	return lrp_seq_min(run->seq + (len + mss - 1) / mss * mss, run->end);
}

static uint32_t segment_begin(const struct lrp_tcp_sent_run *run, uint32_t seq)
{
	uint32_t len = seq - run->seq;

	return seq - (run->mss ? len % run->mss : 0);
}

/* `i` ends at `seq` afterwards. The last records are for what is sent: false if no
 * other is free. */
static bool cut(struct lrp_tcp_scoreboard *b, uint16_t i, uint32_t seq)
{
	return b->runs - b->used > b->runs >> 4 && lrp_tcp_run_split(b, i, seq);
}

/* False: the block has to be looked at again when it comes again. */
static bool block_sacked(struct lrp_tcp_scoreboard *b, uint32_t start, uint32_t end,
			 struct lrp_tcp_delivery *d)
{
	uint16_t i = lrp_tcp_tree_find(b, start);
	bool whole = true;

	for (; i != NONE && lrp_seq_lt(b->run[i].seq, end); i = b->run[i].next) {
		const struct lrp_tcp_sent_run *run = &b->run[i];
		uint32_t from = lrp_seq_max(run->seq, start), to = lrp_seq_min(run->end, end);
		uint32_t first = segment_end(run, from),
			 last = to == run->end ? to : segment_begin(run, to);

		b->steps++;
		if (lrp_tcp_sacked(run))
			continue;
		whole &= first == from && last == to;
		if (!lrp_seq_lt(first, last))
			continue;
		if (first != run->seq) {
			if (!cut(b, i, first))
				return false;
			i = b->run[i].next;
		}
		if (last != b->run[i].end && !cut(b, i, last))
			return false;
		i = run_sacked(b, i, d);
	}
	return whole;
}

/* What of a block the previous acknowledgement did not have; false: nothing. */
static bool unseen(const struct lrp_tcp_scoreboard *b, struct lrp_tcp_sack *s)
{
	for (uint32_t i = 0; i < b->seen; i++) {
		if (b->block[i].start != s->start)
			continue;
		if (lrp_seq_leq(s->end, b->block[i].end))
			return false;
		s->start = b->block[i].end;
		return true;
	}
	return true;
}

/* RFC 2883 4: below the acknowledgement, or inside the second block. */
static bool is_duplicate(uint32_t ack, const struct lrp_tcp_sack *sack, uint32_t sacks)
{
	return lrp_seq_lt(sack->start, ack) ||
	       (sacks > 1 && lrp_seq_geq(sack->start, sack[1].start) &&
		lrp_seq_leq(sack->end, sack[1].end));
}

void lrp_tcp_scoreboard_sacked(struct lrp_tcp_scoreboard *b, uint32_t ack,
			       const struct lrp_tcp_sack *sack, uint32_t sacks,
			       struct lrp_tcp_delivery *d)
{
	struct lrp_tcp_sack now[LRP_TCP_SACKS_MAX];
	uint32_t i = 0, kept = 0;

	if (sacks && lrp_seq_lt(sack->start, sack->end) && is_duplicate(ack, sack, sacks)) {
		d->dsack = true;
		d->duplicate = *sack;
		i = 1;
	}
	for (; i < sacks; i++) {
		struct lrp_tcp_sack s = sack[i];

		if (!lrp_seq_lt(s.start, s.end) || lrp_seq_lt(s.start, lrp_seq_max(ack, b->una)) ||
		    lrp_seq_gt(s.end, b->nxt))
			continue;
		if (!unseen(b, &s) || block_sacked(b, s.start, s.end, d))
			now[kept++] = sack[i];
	}
	/* cppcheck-suppress uninitvar ; the first `kept` are set */
	memcpy(b->block, now, kept * sizeof(now[0]));
	b->seen = (uint8_t)kept;
}

void lrp_tcp_scoreboard_acked(struct lrp_tcp_scoreboard *b, uint32_t ack,
			      struct lrp_tcp_delivery *d)
{
	while (b->first != NONE) {
		uint16_t i = b->first;
		struct lrp_tcp_sent_run *run = &b->run[i];
		uint32_t end = lrp_seq_min(run->end, ack);

		if (lrp_seq_leq(ack, run->seq))
			break;
		b->steps++;
		if (!lrp_tcp_sacked(run)) {
			deliver(d, run, end);
			d->acked += end - run->seq;
			d->filled |= run->flags & LRP_TCP_SENT_AGAIN;
			if (sampled(run)) {
				d->acked_last_ns = run->sent_ns;
				if (d->acked_first_ns < 0)
					d->acked_first_ns = run->sent_ns;
			}
		}
		lrp_tcp_run_count(b, run, false);
		if (end != run->end) {
			run->seq = end;
			lrp_tcp_run_count(b, run, true);
			break;
		}
		if (!lrp_tcp_sacked(run))
			lrp_tcp_order_remove(b, i);
		lrp_tcp_run_release(b, i);
	}
	b->una = ack;
	b->fack = lrp_seq_max(b->fack, ack);
}

/* ---- losses ---- */

uint16_t lrp_tcp_scoreboard_lost(const struct lrp_tcp_scoreboard *b)
{
	if (!b->lost_bytes)
		return NONE;
	return lrp_tcp_is_lost(b, &b->run[b->first]) ? b->first : b->oldest;
}

void lrp_tcp_scoreboard_lose(struct lrp_tcp_scoreboard *b)
{
	const struct lrp_tcp_sent_run *run = &b->run[b->beyond];

	b->steps++;
	lrp_tcp_run_count(b, run, false);
	b->mark_ns = run->sent_ns;
	b->mark_end = run->end;
	b->beyond = run->later;
	lrp_tcp_run_count(b, run, true);
}

void lrp_tcp_scoreboard_lose_marked(struct lrp_tcp_scoreboard *b)
{
	if (!b->forgiven)
		return;
	b->forgiven = false;
	b->lost_bytes = b->marked_bytes;
	b->again_bytes -= b->marked_again;
}

/* The first run is lost, whenever it was sent: it becomes the first in the order of sending. Then
 * its time of sending is no sample. */
static void lose_head(struct lrp_tcp_scoreboard *b)
{
	uint16_t i = b->first;
	struct lrp_tcp_sent_run *run = &b->run[i];

	if (b->forgiven)
		lrp_tcp_mark_reset(b);
	if (i != b->oldest) {
		lrp_tcp_run_count(b, run, false);
		lrp_tcp_order_remove(b, i);
		run->sent_ns = b->run[b->oldest].sent_ns - 1;
		run->flags |= LRP_TCP_SENT_JOINED;
		lrp_tcp_order_insert(b, i, NONE);
		lrp_tcp_run_count(b, run, true);
	}
	if (!lrp_tcp_marked(b, run))
		lrp_tcp_scoreboard_lose(b);
}

void lrp_tcp_scoreboard_lose_first(struct lrp_tcp_scoreboard *b, uint32_t len)
{
	uint16_t i = b->first;

	if (i == NONE || !lrp_tcp_in_flight(b, &b->run[i]) || b->run[i].flags & LRP_TCP_SENT_AGAIN)
		return;
	if (b->run[i].end - b->run[i].seq > len) {
		lrp_tcp_runs_room(b, 1);
		i = b->first; /* may have been joined to the next */
		if (!lrp_tcp_in_flight(b, &b->run[i]))
			return;
		lrp_tcp_run_split(b, i, b->run[i].seq + len);
	}
	lose_head(b);
}

void lrp_tcp_scoreboard_lose_sent(struct lrp_tcp_scoreboard *b, int64_t sent_ns)
{
	if (b->forgiven)
		lrp_tcp_mark_reset(b);
	while (b->beyond != NONE && b->run[b->beyond].sent_ns <= sent_ns)
		lrp_tcp_scoreboard_lose(b);
	if (b->first != NONE && lrp_tcp_in_flight(b, &b->run[b->first]))
		lose_head(b);
}

void lrp_tcp_scoreboard_find_all(struct lrp_tcp_scoreboard *b)
{
	if (b->forgiven)
		return;
	b->forgiven = true;
	b->lost_bytes = 0;
	b->again_bytes += b->marked_again;
}

void lrp_tcp_scoreboard_lose_all(struct lrp_tcp_scoreboard *b)
{
	lrp_tcp_mark_reset(b);
	b->oldest = b->newest = b->beyond = b->overtaken = NONE;
	/* What was sent again counts as sent with what follows it: the order of sending becomes
	 * that of the sequence. */
	for (uint16_t i = b->last; i != NONE; i = b->run[i].prev) {
		struct lrp_tcp_sent_run *run = &b->run[i];
		int64_t most = run->next == NONE ? b->stamp_ns : b->run[run->next].sent_ns;

		lrp_tcp_run_count(b, run, false);
		if (run->sent_ns > most || lrp_tcp_sacked(run))
			run->flags |= LRP_TCP_SENT_JOINED;
		if (run->sent_ns > most)
			run->sent_ns = most;
		run->flags &= (uint8_t)~LRP_TCP_SENT_SACKED;
		lrp_tcp_run_count(b, run, true);
		lrp_tcp_order_insert(b, i, NONE);
	}
	while (b->beyond != NONE)
		lrp_tcp_scoreboard_lose(b);
	b->seen = 0;
	b->fack = b->una;
}

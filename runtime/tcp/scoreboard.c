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

/* The last run goes on; one of several times of sending counts as of the latest. */
static void extend(struct lrp_tcp_scoreboard *b, int64_t now, uint32_t len, uint32_t delivered)
{
	struct lrp_tcp_sent_run *run = &b->run[b->last];

	lrp_tcp_run_count(b, run, false);
	run->end += len;
	lrp_tcp_run_count(b, run, true);
	if (just_sent(b, b->last, now))
		return;
	run->sent_ns = stamp(b, now);
	run->delivered = delivered;
	run->flags |= LRP_TCP_SENT_JOINED;
	lrp_tcp_flight_remove(b, b->last);
	lrp_tcp_flight_insert(b, b->last, b->newest);
}

void lrp_tcp_scoreboard_new(struct lrp_tcp_scoreboard *b, int64_t now_ns, uint32_t len,
			    uint32_t delivered)
{
	struct lrp_tcp_sent_run *run = b->last == NONE ? NULL : &b->run[b->last];

	if (run && lrp_tcp_in_flight(run) && !(run->flags & LRP_TCP_SENT_AGAIN) &&
	    (just_sent(b, b->last, now_ns) || lrp_tcp_scoreboard_crowded(b))) {
		extend(b, now_ns, len, delivered);
	} else {
		uint16_t i;

		lrp_tcp_runs_room(b, 1);
		i = lrp_tcp_run_take(b);
		run = &b->run[i];
		run->seq = b->nxt;
		run->end = b->nxt + len;
		run->sent_ns = stamp(b, now_ns);
		run->delivered = delivered;
		run->flags = 0;
		memset(run->pad, 0, sizeof(run->pad));
		lrp_tcp_run_link(b, i, b->last);
		lrp_tcp_flight_insert(b, i, b->newest);
	}
	b->nxt += len;
}

static void run_again(struct lrp_tcp_scoreboard *b, uint16_t i, int64_t now, uint32_t delivered)
{
	struct lrp_tcp_sent_run *run = &b->run[i];

	if (lrp_tcp_in_flight(run))
		lrp_tcp_flight_remove(b, i);
	lrp_tcp_run_count(b, run, false);
	run->flags = LRP_TCP_SENT_AGAIN;
	run->sent_ns = stamp(b, now);
	run->delivered = delivered;
	lrp_tcp_run_count(b, run, true);
	lrp_tcp_flight_insert(b, i, b->newest);
	lrp_tcp_lost_gone(b, i);
}

/* Where [seq, ...) is; the usual places first. */
static uint16_t find(const struct lrp_tcp_scoreboard *b, uint32_t seq, uint16_t from)
{
	uint16_t i = b->first;

	if (from != NONE && lrp_seq_leq(b->run[from].seq, seq))
		i = from;
	while (i != NONE && lrp_seq_leq(b->run[i].end, seq))
		i = b->run[i].next;
	return i;
}

void lrp_tcp_scoreboard_again(struct lrp_tcp_scoreboard *b, int64_t now_ns, uint32_t seq,
			      uint32_t end, uint32_t delivered)
{
	uint16_t i, from;
	bool follows;

	lrp_tcp_runs_room(b, 2);
	from = b->last != NONE && lrp_seq_leq(b->run[b->last].seq, seq) ? b->last : b->lost;
	for (i = find(b, seq, from); i != NONE && lrp_seq_lt(b->run[i].seq, end);
	     i = b->run[i].next) {
		struct lrp_tcp_sent_run *run = &b->run[i];

		if (run->flags & LRP_TCP_SENT_SACKED)
			continue;
		if (lrp_seq_lt(run->seq, seq)) {
			lrp_tcp_run_split(b, i, seq);
			continue;
		}
		if (lrp_seq_gt(run->end, end))
			lrp_tcp_run_split(b, i, end);
		follows = run->prev != NONE && just_sent(b, run->prev, now_ns);
		run_again(b, i, now_ns, delivered);
		if (run->prev != NONE && lrp_tcp_sent_again(&b->run[run->prev]) &&
		    (follows || lrp_tcp_scoreboard_crowded(b))) {
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
	if (lrp_tcp_in_flight(run))
		lrp_tcp_flight_remove(b, i);
	lrp_tcp_run_count(b, run, false);
	run->flags = (run->flags & LRP_TCP_SENT_AGAIN) | LRP_TCP_SENT_SACKED;
	lrp_tcp_run_count(b, run, true);
	lrp_tcp_lost_gone(b, i);
	b->fack = lrp_seq_max(b->fack, run->end);
	if (run->next != NONE && b->run[run->next].flags & LRP_TCP_SENT_SACKED)
		lrp_tcp_run_join(b, i);
	if (run->prev != NONE && b->run[run->prev].flags & LRP_TCP_SENT_SACKED) {
		i = run->prev;
		lrp_tcp_run_join(b, i);
	}
	return i;
}

static bool block_sacked(struct lrp_tcp_scoreboard *b, uint32_t start, uint32_t end,
			 struct lrp_tcp_delivery *d)
{
	uint16_t i = find(b, start, b->hint);
	bool whole = true;

	while (i != NONE && lrp_seq_lt(b->run[i].seq, end)) {
		struct lrp_tcp_sent_run *run = &b->run[i];

		if (run->flags & LRP_TCP_SENT_SACKED) {
			b->hint = i;
		} else if (lrp_seq_lt(run->seq, start)) {
			whole &= lrp_tcp_run_split(b, i, start);
		} else if (lrp_seq_leq(run->end, end) || lrp_tcp_run_split(b, i, end)) {
			b->hint = i = run_sacked(b, i, d);
		} else {
			whole = false;
		}
		i = b->run[i].next;
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

		if (!lrp_seq_lt(s.start, s.end) || lrp_seq_lt(s.start, ack) ||
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
		if (!(run->flags & LRP_TCP_SENT_SACKED)) {
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
		if (lrp_tcp_in_flight(run))
			lrp_tcp_flight_remove(b, i);
		lrp_tcp_lost_gone(b, i);
		lrp_tcp_run_release(b, i);
	}
	b->una = ack;
	b->fack = lrp_seq_max(b->fack, ack);
}

/* ---- losses ---- */

void lrp_tcp_scoreboard_lose(struct lrp_tcp_scoreboard *b, uint16_t i)
{
	struct lrp_tcp_sent_run *run = &b->run[i];

	lrp_tcp_flight_remove(b, i);
	lrp_tcp_run_count(b, run, false);
	run->flags |= LRP_TCP_SENT_LOST;
	lrp_tcp_run_count(b, run, true);
	if (b->lost == NONE || lrp_seq_lt(run->seq, b->run[b->lost].seq))
		b->lost = i;
}

void lrp_tcp_scoreboard_lose_first(struct lrp_tcp_scoreboard *b, uint32_t len)
{
	uint16_t i = b->first;

	if (i == NONE || b->run[i].flags & (FATES | LRP_TCP_SENT_AGAIN))
		return;
	if (b->run[i].end - b->run[i].seq > len) {
		lrp_tcp_runs_room(b, 1);
		i = b->first; /* may have been joined to the next */
		if (!lrp_tcp_in_flight(&b->run[i]))
			return;
		lrp_tcp_run_split(b, i, b->run[i].seq + len);
	}
	lrp_tcp_scoreboard_lose(b, i);
}

void lrp_tcp_scoreboard_lose_sent(struct lrp_tcp_scoreboard *b, int64_t sent_ns)
{
	uint16_t i = b->first;

	if (i != NONE && lrp_tcp_in_flight(&b->run[i]))
		lrp_tcp_scoreboard_lose(b, i);
	while (b->oldest != NONE && b->run[b->oldest].sent_ns <= sent_ns)
		lrp_tcp_scoreboard_lose(b, b->oldest);
}

void lrp_tcp_scoreboard_find_all(struct lrp_tcp_scoreboard *b)
{
	uint16_t from = NONE;

	for (uint16_t i = b->lost; i != NONE; i = b->run[i].next) {
		struct lrp_tcp_sent_run *run = &b->run[i];

		if (!(run->flags & LRP_TCP_SENT_LOST))
			continue;
		lrp_tcp_run_count(b, run, false);
		run->flags &= ~LRP_TCP_SENT_LOST;
		lrp_tcp_run_count(b, run, true);
		lrp_tcp_flight_put(b, i, from);
		from = i;
	}
	b->lost = NONE;
}

void lrp_tcp_scoreboard_renege(struct lrp_tcp_scoreboard *b)
{
	for (uint16_t i = b->first; i != NONE; i = b->run[i].next) {
		struct lrp_tcp_sent_run *run = &b->run[i];

		if (!(run->flags & LRP_TCP_SENT_SACKED))
			continue;
		lrp_tcp_run_count(b, run, false);
		run->flags ^= FATES;
		lrp_tcp_run_count(b, run, true);
		if (b->lost == NONE || lrp_seq_lt(run->seq, b->run[b->lost].seq))
			b->lost = i;
	}
	b->seen = 0;
	b->fack = b->una;
}

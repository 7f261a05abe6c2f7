/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "scoreboard.h"

#include <string.h>

#include "seq.h"

#define NONE  LRP_TCP_SENT_NONE
#define FATES (LRP_TCP_SENT_SACKED | LRP_TCP_SENT_LOST)

static inline bool in_flight(const struct lrp_tcp_sent_run *run)
{
	return !(run->flags & FATES);
}

static inline bool sent_again(const struct lrp_tcp_sent_run *run)
{
	return in_flight(run) && run->flags & LRP_TCP_SENT_AGAIN;
}

/* Adds a run to the sums, or takes it out: around each change of its length or flags. */
static void count(struct lrp_tcp_scoreboard *b, const struct lrp_tcp_sent_run *run, bool in)
{
	uint32_t len = in ? run->end - run->seq : run->seq - run->end;

	if (run->flags & LRP_TCP_SENT_SACKED)
		b->sacked_bytes += len;
	else if (run->flags & LRP_TCP_SENT_LOST)
		b->lost_bytes += len;
	else if (run->flags & LRP_TCP_SENT_AGAIN)
		b->again_bytes += len;
}

/* ---- the order of sending ---- */

static void flight_insert(struct lrp_tcp_scoreboard *b, uint16_t i, uint16_t earlier)
{
	struct lrp_tcp_sent_run *run = &b->run[i];

	run->earlier = earlier;
	run->later = earlier == NONE ? b->oldest : b->run[earlier].later;
	*(earlier == NONE ? &b->oldest : &b->run[earlier].later) = i;
	*(run->later == NONE ? &b->newest : &b->run[run->later].earlier) = i;
}

static void flight_remove(struct lrp_tcp_scoreboard *b, uint16_t i)
{
	const struct lrp_tcp_sent_run *run = &b->run[i];

	*(run->earlier == NONE ? &b->oldest : &b->run[run->earlier].later) = run->later;
	*(run->later == NONE ? &b->newest : &b->run[run->later].earlier) = run->earlier;
}

static bool sent_before(const struct lrp_tcp_sent_run *x, const struct lrp_tcp_sent_run *y)
{
	return x->sent_ns < y->sent_ns || (x->sent_ns == y->sent_ns && lrp_seq_lt(x->end, y->end));
}

/* Back to its place; the search begins at `from`, or the oldest. */
static void flight_put(struct lrp_tcp_scoreboard *b, uint16_t i, uint16_t from)
{
	uint16_t earlier = NONE, later = b->oldest;

	if (from != NONE && sent_before(&b->run[from], &b->run[i])) {
		earlier = from;
		later = b->run[from].later;
	}
	while (later != NONE && sent_before(&b->run[later], &b->run[i])) {
		earlier = later;
		later = b->run[later].later;
	}
	flight_insert(b, i, earlier);
}

/* ---- records ---- */

/* `i` is the first LOST one no more; its links still hold, the sums have changed already. */
static void lost_gone(struct lrp_tcp_scoreboard *b, uint16_t i)
{
	if (b->lost != i)
		return;
	if (!b->lost_bytes) {
		b->lost = NONE;
		return;
	}
	do
		i = b->run[i].next;
	while (!(b->run[i].flags & LRP_TCP_SENT_LOST));
	b->lost = i;
}

static uint16_t take(struct lrp_tcp_scoreboard *b)
{
	uint16_t i = b->free;

	b->free = b->run[i].next;
	b->used++;
	return i;
}

static void link_after(struct lrp_tcp_scoreboard *b, uint16_t i, uint16_t prev)
{
	struct lrp_tcp_sent_run *run = &b->run[i];

	run->prev = prev;
	run->next = prev == NONE ? b->first : b->run[prev].next;
	*(prev == NONE ? &b->first : &b->run[prev].next) = i;
	*(run->next == NONE ? &b->last : &b->run[run->next].prev) = i;
}

static void release(struct lrp_tcp_scoreboard *b, uint16_t i)
{
	struct lrp_tcp_sent_run *run = &b->run[i];

	*(run->prev == NONE ? &b->first : &b->run[run->prev].next) = run->next;
	*(run->next == NONE ? &b->last : &b->run[run->next].prev) = run->prev;
	if (b->hint == i)
		b->hint = run->prev;
	run->next = b->free;
	b->free = i;
	b->used--;
}

/* What a run and the next become as one. In flight wins: it will be found lost again, or sacked,
 * while what was sent again must not be lost at once. */
static uint8_t joined_flags(uint8_t x, uint8_t y)
{
	uint8_t again = (x | y) & LRP_TCP_SENT_AGAIN;

	if (!(x & FATES) || !(y & FATES))
		return again | LRP_TCP_SENT_JOINED;
	return again | (x & y & LRP_TCP_SENT_SACKED ? LRP_TCP_SENT_SACKED : LRP_TCP_SENT_LOST);
}

/* What is lost by joining: nothing; RTT samples; what was sacked; time. */
static uint32_t join_cost(uint8_t x, uint8_t y)
{
	if ((x & FATES) == (y & FATES))
		return !(x & LRP_TCP_SENT_SACKED) && (x ^ y) & LRP_TCP_SENT_AGAIN;
	return (x | y) & LRP_TCP_SENT_SACKED ? 2 : 3;
}

/* When a run and the next were sent: what is sacked does not matter, what is lost is the older. */
static const struct lrp_tcp_sent_run *timed(const struct lrp_tcp_sent_run *x,
					    const struct lrp_tcp_sent_run *y)
{
	if ((x->flags | y->flags) & LRP_TCP_SENT_SACKED)
		return x->flags & LRP_TCP_SENT_SACKED ? y : x;
	if ((x->flags ^ y->flags) & LRP_TCP_SENT_LOST)
		return x->flags & LRP_TCP_SENT_LOST ? x : y;
	return x->sent_ns > y->sent_ns ? x : y;
}

/* `i` takes in its successor. */
static void join(struct lrp_tcp_scoreboard *b, uint16_t i)
{
	struct lrp_tcp_sent_run *run = &b->run[i], *next = &b->run[run->next];
	const struct lrp_tcp_sent_run *time = timed(run, next);
	uint8_t flags = joined_flags(run->flags, next->flags);
	uint16_t gone = run->next;

	if (in_flight(run))
		flight_remove(b, i);
	if (in_flight(next))
		flight_remove(b, gone);
	/* A sacked block that is forgotten has to be found again. */
	if ((run->flags ^ next->flags) & LRP_TCP_SENT_SACKED)
		b->seen = 0;
	count(b, run, false);
	count(b, next, false);
	run->sent_ns = time->sent_ns;
	run->delivered = time->delivered;
	run->end = next->end;
	run->flags = flags;
	count(b, run, true);
	release(b, gone);
	if (in_flight(run))
		flight_put(b, i, NONE);
	if (b->lost == gone || (flags & LRP_TCP_SENT_LOST && b->lost == NONE))
		b->lost = i;
	if (!(flags & LRP_TCP_SENT_LOST))
		lost_gone(b, i);
}

/* At least `need` records are free afterwards, by joining the neighbours that lose least. */
static void make_room(struct lrp_tcp_scoreboard *b, uint16_t need)
{
	while (b->runs - b->used < need) {
		uint32_t least = UINT32_MAX;
		uint16_t best = b->first;

		for (uint16_t i = b->first; b->run[i].next != NONE && least; i = b->run[i].next) {
			uint32_t cost = join_cost(b->run[i].flags, b->run[b->run[i].next].flags);

			if (cost < least) {
				least = cost;
				best = i;
			}
		}
		join(b, best);
	}
}

/* Cuts `i` at `seq`, inside it; false: no record is free. */
static bool split(struct lrp_tcp_scoreboard *b, uint16_t i, uint32_t seq)
{
	struct lrp_tcp_sent_run *run = &b->run[i], *rest;
	uint16_t j;

	if (b->free == NONE)
		return false;
	j = take(b);
	rest = &b->run[j];
	*rest = *run;
	rest->seq = run->end = seq;
	link_after(b, j, i);
	if (in_flight(rest))
		flight_insert(b, j, i);
	return true;
}

void lrp_tcp_scoreboard_init(struct lrp_tcp_scoreboard *b, struct lrp_tcp_sent_run *run,
			     uint16_t runs, uint32_t isn)
{
	memset(b, 0, sizeof(*b));
	b->free = b->first = b->last = b->oldest = b->newest = b->lost = b->hint = NONE;
	b->una = b->nxt = b->fack = isn;
	lrp_tcp_scoreboard_grow(b, run, runs);
}

void lrp_tcp_scoreboard_grow(struct lrp_tcp_scoreboard *b, struct lrp_tcp_sent_run *run,
			     uint16_t runs)
{
	if (b->runs)
		memcpy(run, b->run, b->runs * sizeof(*run));
	for (uint16_t i = runs; i-- > b->runs;) {
		run[i].next = b->free;
		b->free = i;
	}
	b->run = run;
	b->runs = runs;
}

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

	count(b, run, false);
	run->end += len;
	count(b, run, true);
	if (just_sent(b, b->last, now))
		return;
	run->sent_ns = stamp(b, now);
	run->delivered = delivered;
	run->flags |= LRP_TCP_SENT_JOINED;
	flight_remove(b, b->last);
	flight_insert(b, b->last, b->newest);
}

void lrp_tcp_scoreboard_new(struct lrp_tcp_scoreboard *b, int64_t now_ns, uint32_t len,
			    uint32_t delivered)
{
	struct lrp_tcp_sent_run *run = b->last == NONE ? NULL : &b->run[b->last];

	if (run && in_flight(run) && !(run->flags & LRP_TCP_SENT_AGAIN) &&
	    (just_sent(b, b->last, now_ns) || lrp_tcp_scoreboard_crowded(b))) {
		extend(b, now_ns, len, delivered);
	} else {
		uint16_t i;

		make_room(b, 1);
		i = take(b);
		run = &b->run[i];
		run->seq = b->nxt;
		run->end = b->nxt + len;
		run->sent_ns = stamp(b, now_ns);
		run->delivered = delivered;
		run->flags = 0;
		memset(run->pad, 0, sizeof(run->pad));
		link_after(b, i, b->last);
		flight_insert(b, i, b->newest);
	}
	b->nxt += len;
}

static void run_again(struct lrp_tcp_scoreboard *b, uint16_t i, int64_t now, uint32_t delivered)
{
	struct lrp_tcp_sent_run *run = &b->run[i];

	if (in_flight(run))
		flight_remove(b, i);
	count(b, run, false);
	run->flags = LRP_TCP_SENT_AGAIN;
	run->sent_ns = stamp(b, now);
	run->delivered = delivered;
	count(b, run, true);
	flight_insert(b, i, b->newest);
	lost_gone(b, i);
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

	make_room(b, 2);
	from = b->last != NONE && lrp_seq_leq(b->run[b->last].seq, seq) ? b->last : b->lost;
	for (i = find(b, seq, from); i != NONE && lrp_seq_lt(b->run[i].seq, end);
	     i = b->run[i].next) {
		struct lrp_tcp_sent_run *run = &b->run[i];

		if (run->flags & LRP_TCP_SENT_SACKED)
			continue;
		if (lrp_seq_lt(run->seq, seq)) {
			split(b, i, seq);
			continue;
		}
		if (lrp_seq_gt(run->end, end))
			split(b, i, end);
		follows = run->prev != NONE && just_sent(b, run->prev, now_ns);
		run_again(b, i, now_ns, delivered);
		if (run->prev != NONE && sent_again(&b->run[run->prev]) &&
		    (follows || lrp_tcp_scoreboard_crowded(b))) {
			i = run->prev;
			join(b, i);
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
	if (in_flight(run))
		flight_remove(b, i);
	count(b, run, false);
	run->flags = (run->flags & LRP_TCP_SENT_AGAIN) | LRP_TCP_SENT_SACKED;
	count(b, run, true);
	lost_gone(b, i);
	b->fack = lrp_seq_max(b->fack, run->end);
	if (run->next != NONE && b->run[run->next].flags & LRP_TCP_SENT_SACKED)
		join(b, i);
	if (run->prev != NONE && b->run[run->prev].flags & LRP_TCP_SENT_SACKED) {
		i = run->prev;
		join(b, i);
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
			whole &= split(b, i, start);
		} else if (lrp_seq_leq(run->end, end) || split(b, i, end)) {
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
		count(b, run, false);
		if (end != run->end) {
			run->seq = end;
			count(b, run, true);
			break;
		}
		if (in_flight(run))
			flight_remove(b, i);
		lost_gone(b, i);
		release(b, i);
	}
	b->una = ack;
	b->fack = lrp_seq_max(b->fack, ack);
}

/* ---- losses ---- */

void lrp_tcp_scoreboard_lose(struct lrp_tcp_scoreboard *b, uint16_t i)
{
	struct lrp_tcp_sent_run *run = &b->run[i];

	flight_remove(b, i);
	count(b, run, false);
	run->flags |= LRP_TCP_SENT_LOST;
	count(b, run, true);
	if (b->lost == NONE || lrp_seq_lt(run->seq, b->run[b->lost].seq))
		b->lost = i;
}

void lrp_tcp_scoreboard_lose_first(struct lrp_tcp_scoreboard *b, uint32_t len)
{
	uint16_t i = b->first;

	if (i == NONE || b->run[i].flags & (FATES | LRP_TCP_SENT_AGAIN))
		return;
	if (b->run[i].end - b->run[i].seq > len) {
		make_room(b, 1);
		i = b->first; /* may have been joined to the next */
		if (!in_flight(&b->run[i]))
			return;
		split(b, i, b->run[i].seq + len);
	}
	lrp_tcp_scoreboard_lose(b, i);
}

void lrp_tcp_scoreboard_lose_sent(struct lrp_tcp_scoreboard *b, int64_t sent_ns)
{
	uint16_t i = b->first;

	if (i != NONE && in_flight(&b->run[i]))
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
		count(b, run, false);
		run->flags &= ~LRP_TCP_SENT_LOST;
		count(b, run, true);
		flight_put(b, i, from);
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
		count(b, run, false);
		run->flags ^= FATES;
		count(b, run, true);
		if (b->lost == NONE || lrp_seq_lt(run->seq, b->run[b->lost].seq))
			b->lost = i;
	}
	b->seen = 0;
	b->fack = b->una;
}

/* ---- checking ---- */

static const char *check_order(const struct lrp_tcp_scoreboard *b)
{
	uint32_t seq = b->una, sacked = 0, lost = 0, again = 0;
	uint16_t prev = NONE, used = 0, first_lost = NONE;

	for (uint16_t i = b->first; i != NONE; i = b->run[i].next) {
		const struct lrp_tcp_sent_run *run = &b->run[i];
		uint32_t len = run->end - run->seq;

		if (++used > b->used || run->prev != prev)
			return "list of records";
		if (run->seq != seq || !lrp_seq_gt(run->end, run->seq))
			return "runs cover una to nxt, each byte once";
		if ((run->flags & FATES) == FATES)
			return "either sacked or lost";
		if (run->flags & LRP_TCP_SENT_SACKED)
			sacked += len;
		else if (run->flags & LRP_TCP_SENT_LOST)
			lost += len;
		else if (run->flags & LRP_TCP_SENT_AGAIN)
			again += len;
		if (run->flags & LRP_TCP_SENT_LOST && first_lost == NONE)
			first_lost = i;
		if (run->flags & LRP_TCP_SENT_SACKED && lrp_seq_gt(run->end, b->fack))
			return "fack is the highest";
		seq = run->end;
		prev = i;
	}
	if (seq != b->nxt || prev != b->last || used != b->used)
		return "the last run ends at nxt";
	if (sacked != b->sacked_bytes || lost != b->lost_bytes || again != b->again_bytes)
		return "sums over records";
	if (first_lost != b->lost)
		return "the first lost run";
	return NULL;
}

static const char *check_flight(const struct lrp_tcp_scoreboard *b)
{
	const struct lrp_tcp_sent_run *before = NULL;
	uint32_t len = 0;
	uint16_t earlier = NONE, n = 0;

	for (uint16_t i = b->oldest; i != NONE; i = b->run[i].later) {
		const struct lrp_tcp_sent_run *run = &b->run[i];

		if (++n > b->used || run->earlier != earlier || !in_flight(run))
			return "list of what is in flight";
		if (before && run->sent_ns < before->sent_ns)
			return "order of sending";
		len += run->end - run->seq;
		earlier = i;
		before = run;
	}
	if (earlier != b->newest)
		return "the newest run";
	if (len != b->nxt - b->una - b->sacked_bytes - b->lost_bytes)
		return "all in flight in the order of sending";
	return NULL;
}

const char *lrp_tcp_scoreboard_check(const struct lrp_tcp_scoreboard *b)
{
	const char *broken = check_order(b);
	uint32_t n = 0;

	if (!broken)
		broken = check_flight(b);
	if (broken)
		return broken;
	for (uint16_t i = b->free; i != NONE && n <= b->runs; i = b->run[i].next)
		n++;
	if (n + b->used != b->runs)
		return "free and used records";
	if (b->hint != NONE && b->hint >= b->runs)
		return "hint";
	return NULL;
}

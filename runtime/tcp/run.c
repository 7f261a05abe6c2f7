/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "run.h"

#include <string.h>

/* ---- the order of sending ---- */

void lrp_tcp_flight_insert(struct lrp_tcp_scoreboard *b, uint16_t i, uint16_t earlier)
{
	struct lrp_tcp_sent_run *run = &b->run[i];

	run->earlier = earlier;
	run->later = earlier == NONE ? b->oldest : b->run[earlier].later;
	*(earlier == NONE ? &b->oldest : &b->run[earlier].later) = i;
	*(run->later == NONE ? &b->newest : &b->run[run->later].earlier) = i;
}

void lrp_tcp_flight_remove(struct lrp_tcp_scoreboard *b, uint16_t i)
{
	const struct lrp_tcp_sent_run *run = &b->run[i];

	*(run->earlier == NONE ? &b->oldest : &b->run[run->earlier].later) = run->later;
	*(run->later == NONE ? &b->newest : &b->run[run->later].earlier) = run->earlier;
}

static bool sent_before(const struct lrp_tcp_sent_run *x, const struct lrp_tcp_sent_run *y)
{
	return x->sent_ns < y->sent_ns || (x->sent_ns == y->sent_ns && lrp_seq_lt(x->end, y->end));
}

void lrp_tcp_flight_put(struct lrp_tcp_scoreboard *b, uint16_t i, uint16_t from)
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
	lrp_tcp_flight_insert(b, i, earlier);
}

/* ---- records ---- */

void lrp_tcp_lost_gone(struct lrp_tcp_scoreboard *b, uint16_t i)
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

uint16_t lrp_tcp_run_take(struct lrp_tcp_scoreboard *b)
{
	uint16_t i = b->free;

	b->free = b->run[i].next;
	b->used++;
	return i;
}

void lrp_tcp_run_link(struct lrp_tcp_scoreboard *b, uint16_t i, uint16_t prev)
{
	struct lrp_tcp_sent_run *run = &b->run[i];

	run->prev = prev;
	run->next = prev == NONE ? b->first : b->run[prev].next;
	*(prev == NONE ? &b->first : &b->run[prev].next) = i;
	*(run->next == NONE ? &b->last : &b->run[run->next].prev) = i;
}

void lrp_tcp_run_release(struct lrp_tcp_scoreboard *b, uint16_t i)
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

void lrp_tcp_run_join(struct lrp_tcp_scoreboard *b, uint16_t i)
{
	struct lrp_tcp_sent_run *run = &b->run[i], *next = &b->run[run->next];
	const struct lrp_tcp_sent_run *time = timed(run, next);
	uint8_t flags = joined_flags(run->flags, next->flags);
	uint16_t gone = run->next;

	if (lrp_tcp_in_flight(run))
		lrp_tcp_flight_remove(b, i);
	if (lrp_tcp_in_flight(next))
		lrp_tcp_flight_remove(b, gone);
	/* A sacked block that is forgotten has to be found again. */
	if ((run->flags ^ next->flags) & LRP_TCP_SENT_SACKED)
		b->seen = 0;
	lrp_tcp_run_count(b, run, false);
	lrp_tcp_run_count(b, next, false);
	run->sent_ns = time->sent_ns;
	run->delivered = time->delivered;
	run->end = next->end;
	run->flags = flags;
	lrp_tcp_run_count(b, run, true);
	lrp_tcp_run_release(b, gone);
	if (lrp_tcp_in_flight(run))
		lrp_tcp_flight_put(b, i, NONE);
	if (b->lost == gone || (flags & LRP_TCP_SENT_LOST && b->lost == NONE))
		b->lost = i;
	if (!(flags & LRP_TCP_SENT_LOST))
		lrp_tcp_lost_gone(b, i);
}

void lrp_tcp_runs_room(struct lrp_tcp_scoreboard *b, uint16_t need)
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
		lrp_tcp_run_join(b, best);
	}
}

bool lrp_tcp_run_split(struct lrp_tcp_scoreboard *b, uint16_t i, uint32_t seq)
{
	struct lrp_tcp_sent_run *run = &b->run[i], *rest;
	uint16_t j;

	if (b->free == NONE)
		return false;
	j = lrp_tcp_run_take(b);
	rest = &b->run[j];
	*rest = *run;
	rest->seq = run->end = seq;
	lrp_tcp_run_link(b, j, i);
	if (lrp_tcp_in_flight(rest))
		lrp_tcp_flight_insert(b, j, i);
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

		if (++n > b->used || run->earlier != earlier || !lrp_tcp_in_flight(run))
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

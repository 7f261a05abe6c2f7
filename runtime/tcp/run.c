/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "run.h"

#include <string.h>

#define JOIN_SEARCH 16 /* pairs of neighbours that are looked at before the cheapest is joined */

/* ---- the order of sending ---- */

void lrp_tcp_order_insert(struct lrp_tcp_scoreboard *b, uint16_t i, uint16_t earlier)
{
	struct lrp_tcp_sent_run *run = &b->run[i];

	run->earlier = earlier;
	run->later = earlier == NONE ? b->oldest : b->run[earlier].later;
	*(earlier == NONE ? &b->oldest : &b->run[earlier].later) = i;
	*(run->later == NONE ? &b->newest : &b->run[run->later].earlier) = i;
	if (run->later == b->beyond && !lrp_tcp_marked(b, run))
		b->beyond = i;
}

void lrp_tcp_order_remove(struct lrp_tcp_scoreboard *b, uint16_t i)
{
	const struct lrp_tcp_sent_run *run = &b->run[i];

	*(run->earlier == NONE ? &b->oldest : &b->run[run->earlier].later) = run->later;
	*(run->later == NONE ? &b->newest : &b->run[run->later].earlier) = run->earlier;
	if (b->beyond == i)
		b->beyond = run->later;
	if (b->overtaken == i)
		b->overtaken = run->earlier;
}

void lrp_tcp_mark_reset(struct lrp_tcp_scoreboard *b)
{
	if (!b->forgiven)
		b->again_bytes += b->marked_again;
	b->mark_ns = INT64_MIN;
	b->mark_end = 0;
	b->marked_bytes = b->marked_again = b->lost_bytes = 0;
	b->forgiven = false;
	b->beyond = b->oldest;
}

/* ---- records ---- */

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
	lrp_tcp_tree_insert(b, i);
}

void lrp_tcp_run_release(struct lrp_tcp_scoreboard *b, uint16_t i)
{
	struct lrp_tcp_sent_run *run = &b->run[i];

	lrp_tcp_tree_remove(b, i);
	*(run->prev == NONE ? &b->first : &b->run[run->prev].next) = run->next;
	*(run->next == NONE ? &b->last : &b->run[run->next].prev) = run->prev;
	if (b->joins == i)
		b->joins = run->next;
	run->next = b->free;
	b->free = i;
	b->used--;
}

/* ---- joined and cut ---- */

/* What is lost by joining: nothing; RTT samples; what was sacked; time. */
static uint32_t join_cost(const struct lrp_tcp_scoreboard *b, uint16_t i)
{
	const struct lrp_tcp_sent_run *x = &b->run[i], *y = &b->run[x->next];

	if (lrp_tcp_sacked(x) || lrp_tcp_sacked(y))
		return lrp_tcp_sacked(x) && lrp_tcp_sacked(y) ? 0 : 2;
	if (lrp_tcp_marked(b, x) != lrp_tcp_marked(b, y))
		return 3;
	return (x->flags ^ y->flags) & LRP_TCP_SENT_AGAIN;
}

/* What is in flight stays so: it will be found lost again, or sacked, while what was sent again
 * must not be lost at once. So a run counts as of the latest time of sending, and what is
 * sacked has none. */
static void join_order(struct lrp_tcp_scoreboard *b, uint16_t i, uint16_t gone)
{
	struct lrp_tcp_sent_run *run = &b->run[i];
	const struct lrp_tcp_sent_run *next = &b->run[gone];
	uint16_t earlier = next->earlier;

	if (lrp_tcp_sacked(next))
		return;
	if (!lrp_tcp_sacked(run)) {
		if (run->sent_ns > next->sent_ns) {
			lrp_tcp_order_remove(b, gone);
			if (lrp_tcp_marked(b, run) && run->sent_ns == b->mark_ns)
				b->mark_end = lrp_seq_max(b->mark_end, next->end);
			return;
		}
		lrp_tcp_order_remove(b, i);
		earlier = next->earlier;
	}
	lrp_tcp_order_remove(b, gone);
	run->sent_ns = next->sent_ns;
	run->delivered = next->delivered;
	run->end = next->end; /* its place in the order is known by it */
	run->flags &= (uint8_t)~LRP_TCP_SENT_SACKED;
	lrp_tcp_order_insert(b, i, earlier);
}

void lrp_tcp_run_join(struct lrp_tcp_scoreboard *b, uint16_t i)
{
	uint16_t gone = b->run[i].next;
	struct lrp_tcp_sent_run *run = &b->run[i], *next = &b->run[gone];
	uint8_t both = run->flags & next->flags & LRP_TCP_SENT_SACKED,
		again = (run->flags | next->flags) & LRP_TCP_SENT_AGAIN;
	bool even = run->mss && run->mss == next->mss && (run->end - run->seq) % run->mss == 0;

	/* A sacked block that is forgotten has to be found again. */
	if ((run->flags ^ next->flags) & LRP_TCP_SENT_SACKED)
		b->seen = 0;
	lrp_tcp_run_count(b, run, false);
	lrp_tcp_run_count(b, next, false);
	join_order(b, i, gone);
	run->end = next->end;
	run->flags = both | again | (both ? 0 : LRP_TCP_SENT_JOINED);
	if (!even)
		run->mss = 0;
	lrp_tcp_run_count(b, run, true);
	lrp_tcp_run_release(b, gone);
}

void lrp_tcp_runs_room(struct lrp_tcp_scoreboard *b, uint16_t need)
{
	while (b->runs - b->used < need) {
		uint32_t least = UINT32_MAX;
		uint16_t best = NONE, i = b->joins;

		for (int n = 0; n < JOIN_SEARCH && least; n++, i = b->run[i].next) {
			uint32_t cost;

			b->steps++;
			if (i == NONE || b->run[i].next == NONE)
				i = b->first;
			cost = join_cost(b, i);
			if (cost < least) {
				least = cost;
				best = i;
			}
		}
		b->joins = i;
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
	if (!lrp_tcp_sacked(rest))
		lrp_tcp_order_insert(b, j, i);
	return true;
}

void lrp_tcp_scoreboard_init(struct lrp_tcp_scoreboard *b, struct lrp_tcp_sent_run *run,
			     uint16_t runs, uint32_t isn)
{
	memset(b, 0, sizeof(*b));
	b->free = b->first = b->last = b->oldest = b->newest = NONE;
	b->root = b->beyond = b->overtaken = b->joins = NONE;
	b->mark_ns = INT64_MIN;
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

static const char *check_sums(const struct lrp_tcp_scoreboard *b)
{
	uint32_t sacked = 0, lost = 0, again = 0, marked = 0, marked_again = 0;

	for (uint16_t i = b->first; i != NONE; i = b->run[i].next) {
		const struct lrp_tcp_sent_run *run = &b->run[i];
		uint32_t len = run->end - run->seq,
			 again_len = run->flags & LRP_TCP_SENT_AGAIN ? len : 0;

		if (lrp_tcp_sacked(run)) {
			sacked += len;
			continue;
		}
		if (lrp_tcp_marked(b, run)) {
			marked += len;
			marked_again += again_len;
		}
		if (lrp_tcp_is_lost(b, run))
			lost += len;
		else
			again += again_len;
	}
	if (sacked != b->sacked_bytes || lost != b->lost_bytes || again != b->again_bytes)
		return "sums over records";
	return marked != b->marked_bytes || marked_again != b->marked_again ? "sums up to the mark"
									    : NULL;
}

static const char *check_sequence(const struct lrp_tcp_scoreboard *b)
{
	uint32_t seq = b->una;
	uint16_t prev = NONE, used = 0;

	for (uint16_t i = b->first; i != NONE; i = b->run[i].next) {
		const struct lrp_tcp_sent_run *run = &b->run[i];

		if (++used > b->used || run->prev != prev)
			return "list of records";
		if (run->seq != seq || !lrp_seq_gt(run->end, run->seq))
			return "runs cover una to nxt, each byte once";
		if (lrp_tcp_sacked(run) && lrp_seq_gt(run->end, b->fack))
			return "fack is the highest";
		seq = run->end;
		prev = i;
	}
	return seq != b->nxt || prev != b->last || used != b->used ? "the last run ends at nxt"
								   : NULL;
}

static const char *check_order(const struct lrp_tcp_scoreboard *b)
{
	const struct lrp_tcp_sent_run *before = NULL;
	uint32_t len = 0;
	uint16_t earlier = NONE, n = 0, beyond = NONE, overtaken = 0;

	for (uint16_t i = b->oldest; i != NONE; i = b->run[i].later) {
		const struct lrp_tcp_sent_run *run = &b->run[i];

		if (++n > b->used || run->earlier != earlier || lrp_tcp_sacked(run))
			return "list in the order of sending";
		if (before &&
		    (run->sent_ns < before->sent_ns ||
		     (run->sent_ns == before->sent_ns && lrp_seq_leq(run->end, before->end))))
			return "order of sending";
		if (beyond == NONE && !lrp_tcp_marked(b, run))
			beyond = i;
		if (beyond != NONE && lrp_tcp_marked(b, run))
			return "the lost were sent before the others";
		overtaken += b->overtaken == i;
		len += run->end - run->seq;
		earlier = i;
		before = run;
	}
	if (earlier != b->newest || beyond != b->beyond || overtaken != (b->overtaken != NONE))
		return "the newest run, and the mark";
	return len != b->nxt - b->una - b->sacked_bytes
		       ? "all that is not sacked, in the order of sending"
		       : NULL;
}

const char *lrp_tcp_scoreboard_check(const struct lrp_tcp_scoreboard *b)
{
	const char *broken = check_sequence(b);
	uint32_t n = 0;

	if (!broken)
		broken = check_sums(b);
	if (!broken)
		broken = check_order(b);
	if (!broken)
		broken = lrp_tcp_tree_check(b);
	if (broken)
		return broken;
	for (uint16_t i = b->free; i != NONE && n <= b->runs; i = b->run[i].next)
		n++;
	return n + b->used != b->runs ? "free and used records" : NULL;
}

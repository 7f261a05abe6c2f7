/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * run.h - the records of a scoreboard: their lists and their tree, joined and cut. For
 * scoreboard.c, which knows what happens to them.
 */
#ifndef LRP_TCP_RUN_H
#define LRP_TCP_RUN_H

#include "scoreboard.h"
#include "seq.h"

#define NONE LRP_TCP_SENT_NONE

static inline bool lrp_tcp_sacked(const struct lrp_tcp_sent_run *run)
{
	return run->flags & LRP_TCP_SENT_SACKED;
}

/* Sent at the mark or before it. */
static inline bool lrp_tcp_marked(const struct lrp_tcp_scoreboard *b,
				  const struct lrp_tcp_sent_run *run)
{
	return run->sent_ns < b->mark_ns ||
	       (run->sent_ns == b->mark_ns && lrp_seq_leq(run->end, b->mark_end));
}

static inline bool lrp_tcp_is_lost(const struct lrp_tcp_scoreboard *b,
				   const struct lrp_tcp_sent_run *run)
{
	return !b->forgiven && !lrp_tcp_sacked(run) && lrp_tcp_marked(b, run);
}

static inline bool lrp_tcp_in_flight(const struct lrp_tcp_scoreboard *b,
				     const struct lrp_tcp_sent_run *run)
{
	return !lrp_tcp_sacked(run) && (b->forgiven || !lrp_tcp_marked(b, run));
}

/* Adds a run to the sums, or takes it out: around each change of its length, its time of sending,
 * its flags, or the mark. */
static inline void lrp_tcp_run_count(struct lrp_tcp_scoreboard *b,
				     const struct lrp_tcp_sent_run *run, bool in)
{
	uint32_t len = in ? run->end - run->seq : run->seq - run->end;
	uint32_t again = run->flags & LRP_TCP_SENT_AGAIN ? len : 0;

	if (lrp_tcp_sacked(run)) {
		b->sacked_bytes += len;
		return;
	}
	if (!lrp_tcp_marked(b, run)) {
		b->again_bytes += again;
		return;
	}
	b->marked_bytes += len;
	b->marked_again += again;
	if (b->forgiven)
		b->again_bytes += again;
	else
		b->lost_bytes += len;
}

/* ---- in the order of sending: by sent_ns, then by the sequence ---- */

/* After `earlier`; NONE: first. */
void lrp_tcp_order_insert(struct lrp_tcp_scoreboard *b, uint16_t i, uint16_t earlier);
void lrp_tcp_order_remove(struct lrp_tcp_scoreboard *b, uint16_t i);
/* Nothing is marked: the first in the order of sending lies beyond the mark. */
void lrp_tcp_mark_reset(struct lrp_tcp_scoreboard *b);

/* ---- in the order of the sequence ---- */

/* A free record; there is one. */
uint16_t lrp_tcp_run_take(struct lrp_tcp_scoreboard *b);
/* After `prev`; NONE: first. */
void lrp_tcp_run_link(struct lrp_tcp_scoreboard *b, uint16_t i, uint16_t prev);
void lrp_tcp_run_release(struct lrp_tcp_scoreboard *b, uint16_t i);
/* `i` takes in its successor. */
void lrp_tcp_run_join(struct lrp_tcp_scoreboard *b, uint16_t i);
/* Cuts `i` at `seq`, inside it; false: no record is free. */
bool lrp_tcp_run_split(struct lrp_tcp_scoreboard *b, uint16_t i, uint32_t seq);
/* At least `need` records are free afterwards, by joining neighbours that lose little. */
void lrp_tcp_runs_room(struct lrp_tcp_scoreboard *b, uint16_t need);

/* ---- the tree over the sequence (Adelson-Velsky and Landis); run_tree.c ---- */

/* `i` is linked: its neighbours say where it goes. */
void lrp_tcp_tree_insert(struct lrp_tcp_scoreboard *b, uint16_t i);
/* `i` is still linked. */
void lrp_tcp_tree_remove(struct lrp_tcp_scoreboard *b, uint16_t i);
/* The run that holds `seq`, or NONE. */
uint16_t lrp_tcp_tree_find(struct lrp_tcp_scoreboard *b, uint32_t seq);
/* NULL, or what is wrong with it. */
const char *lrp_tcp_tree_check(const struct lrp_tcp_scoreboard *b);

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * run.h - the records of a scoreboard: their lists, joined and cut. For scoreboard.c, which knows
 * what happens to them.
 */
#ifndef LRP_TCP_RUN_H
#define LRP_TCP_RUN_H

#include "scoreboard.h"
#include "seq.h"

#define NONE  LRP_TCP_SENT_NONE
#define FATES (LRP_TCP_SENT_SACKED | LRP_TCP_SENT_LOST)

static inline bool lrp_tcp_in_flight(const struct lrp_tcp_sent_run *run)
{
	return !(run->flags & FATES);
}

static inline bool lrp_tcp_sent_again(const struct lrp_tcp_sent_run *run)
{
	return lrp_tcp_in_flight(run) && run->flags & LRP_TCP_SENT_AGAIN;
}

/* Adds a run to the sums, or takes it out: around each change of its length or flags. */
static inline void lrp_tcp_run_count(struct lrp_tcp_scoreboard *b,
				     const struct lrp_tcp_sent_run *run, bool in)
{
	uint32_t len = in ? run->end - run->seq : run->seq - run->end;

	if (run->flags & LRP_TCP_SENT_SACKED)
		b->sacked_bytes += len;
	else if (run->flags & LRP_TCP_SENT_LOST)
		b->lost_bytes += len;
	else if (run->flags & LRP_TCP_SENT_AGAIN)
		b->again_bytes += len;
}

/* ---- in the order of sending ---- */

/* After `earlier`; NONE: first. */
void lrp_tcp_flight_insert(struct lrp_tcp_scoreboard *b, uint16_t i, uint16_t earlier);
void lrp_tcp_flight_remove(struct lrp_tcp_scoreboard *b, uint16_t i);
/* Back to its place; the search begins at `from`, or the oldest. */
void lrp_tcp_flight_put(struct lrp_tcp_scoreboard *b, uint16_t i, uint16_t from);

/* ---- in the order of the sequence ---- */

/* A free record; there is one. */
uint16_t lrp_tcp_run_take(struct lrp_tcp_scoreboard *b);
/* After `prev`; NONE: first. */
void lrp_tcp_run_link(struct lrp_tcp_scoreboard *b, uint16_t i, uint16_t prev);
void lrp_tcp_run_release(struct lrp_tcp_scoreboard *b, uint16_t i);
/* `i` is the first LOST one no more; its links still hold, the sums have changed already. */
void lrp_tcp_lost_gone(struct lrp_tcp_scoreboard *b, uint16_t i);
/* `i` takes in its successor. */
void lrp_tcp_run_join(struct lrp_tcp_scoreboard *b, uint16_t i);
/* Cuts `i` at `seq`, inside it; false: no record is free. */
bool lrp_tcp_run_split(struct lrp_tcp_scoreboard *b, uint16_t i, uint32_t seq);
/* At least `need` records are free afterwards, by joining the neighbours that lose least. */
void lrp_tcp_runs_room(struct lrp_tcp_scoreboard *b, uint16_t need);

#endif

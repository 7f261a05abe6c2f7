/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The work that a peer can cause by one segment, counted in records visited: no history of
 * acknowledgements makes a later one dear. What is sent, sacked, lost or acknowledged may cost a
 * visit or a few each time; everything else is bounded by the depth of the tree.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "packets.h"
#include "runtime/tcp/recovery.h"
#include "runtime/tcp/seq.h"

#define MSS	1000u
#define ISN	(0u - 1500u * MSS)
#define SECOND	1000000000ll
#define MS	1000000ll
#define RUNS	8192u
#define DEPTH	19u		/* 1.45 log2(RUNS) */
#define PER_ACK (4 * 3 * DEPTH) /* a block: a search and two cuts */

static struct lrp_tcp_recovery r;
static struct lrp_tcp_cc cc;
static struct lrp_tcp_sent_run run[RUNS];
static struct lrp_tcp_segment s;
static int64_t now;
static uint32_t dearest; /* visits beyond what was sent, sacked, lost or acknowledged */

static void begin(void)
{
	now = 100 * SECOND;
	lrp_tcp_recovery_init(&r, run, RUNS, ISN);
	lrp_tcp_cc_init(&cc, &lrp_tcp_cubic, MSS);
	cc.cwnd = 8000 * MSS;
	r.sack = r.timestamps = true;
	lrp_tcp_recovery_rtt(&r, now, 100 * MS);
	dearest = 0;
}

static void transmit(uint32_t bursts, uint32_t segments)
{
	for (uint32_t i = 0; i < bursts; i++) {
		lrp_tcp_recovery_sent(&r, &cc, now, r.board.nxt, segments * MSS,
				      (uint32_t)(now / MS));
		now += 1000;
	}
}

static void ack(uint32_t to)
{
	struct lrp_tcp_scoreboard *b = &r.board;
	uint32_t una = b->una, sacked = b->sacked_bytes, lost = b->lost_bytes, used = b->used,
		 changes, beyond;
	struct lrp_tcp_acked acked;
	const char *broken;

	s.ack = to;
	s.flags = LRP_TCP_ACK;
	s.options = LRP_TCP_HAS_TIMESTAMP;
	b->steps = 0;
	lrp_tcp_recovery_ack(&r, &cc, now, &s, false, false, &acked);
	changes = (to - una) / MSS + (b->lost_bytes > lost ? (b->lost_bytes - lost) / MSS : 0);
	changes += b->sacked_bytes > sacked ? (b->sacked_bytes - sacked) / MSS : 0;
	changes += b->used < used ? used - b->used : 0;
	beyond = b->steps > 4 * changes ? b->steps - 4 * changes : 0;
	dearest = beyond > dearest ? beyond : dearest;
	broken = lrp_tcp_recovery_check(&r);
	if (broken)
		fail_msg("%s", broken);
	s.sacks = 0;
	now += 1000;
}

static void block(uint32_t from, uint32_t len)
{
	s.sack[s.sacks++] = (struct lrp_tcp_sack){r.board.una + from, r.board.una + from + len};
}

/* Blocks of one byte with holes of one byte, first in order, then back and forth. */
static void one_byte_blocks(void **state)
{
	uint32_t at = 2, bytes = 2000 * MSS;

	(void)state;
	begin();
	transmit(200, 10);
	while (at + 8 < bytes / 8) {
		for (int i = 0; i < 3; i++, at += 2)
			block(at, 1);
		ack(ISN);
	}
	for (uint32_t i = 0; i < 2000; i++) {
		block(bytes - 100 - 6 * (i % 50), 1);
		block(2 + 2 * (i % 40), 1);
		block(bytes - 102 - 6 * (i % 50), 1);
		ack(ISN);
	}
	assert_true(r.board.used <= 2000); /* a run for each segment at most */
	assert_true(dearest <= PER_ACK);
}

/* Each second segment, in an order that suits no hint. */
static void scattered_blocks(void **state)
{
	(void)state;
	begin();
	transmit(300, 16);
	for (uint32_t i = 0; i < 6000; i++) {
		while (s.sacks < 4)
			block(rnd_below(2400) * 2 * MSS,
			      rnd_below(4) ? MSS : 1 + rnd_below(5 * MSS));
		ack(ISN);
	}
	assert_true(dearest <= PER_ACK);
}

/* All is lost, then a timestamp says that it was only late, then all is lost again: each time the
 * peer gives away one segment. What lies up to the mark is counted once. */
static void lost_and_found(void **state)
{
	uint32_t undone = 0, steps = 0;

	(void)state;
	begin();
	transmit(4000, 1);
	for (uint32_t i = 0; i < 300; i++) {
		uint32_t seq, len;

		now += 500 * MS;
		s.ts_ecr = 0;
		block((3999 - i) * MSS - (r.board.una - ISN), MSS);
		ack(r.board.una);
		if (i == 10)
			r.board.steps = 0;
		steps += i > 10 ? r.board.steps : 0;
		if (!lrp_tcp_recovery_again(&r, &cc, MSS, &seq, &len))
			continue;
		lrp_tcp_recovery_sent(&r, &cc, now, seq, len, (uint32_t)(now / MS));
		now += MS;
		s.ts_ecr = r.undo.stamp - 1; /* an original has arrived, not what was sent again */
		ack(r.board.una + MSS);
		undone = r.spurious;
		steps += i > 10 ? r.board.steps : 0;
	}
	assert_true(undone > 100);
	assert_true(steps < 300 * 2 * PER_ACK);
}

/* Few records: to join neighbours does not search all of them. */
static void few_records(void **state)
{
	uint32_t most = 0;

	(void)state;
	begin();
	lrp_tcp_scoreboard_init(&r.board, run, 1024, ISN);
	for (uint32_t i = 0; i < 6000; i++) {
		r.board.steps = 0;
		now += MS;
		transmit(1, 1);
		if (i % 3 == 0)
			lrp_tcp_scoreboard_lose_first(&r.board, MSS / 2);
		most = r.board.steps > most ? r.board.steps : most;
		block(rnd_below(i + 1) * MSS, MSS);
		ack(ISN);
	}
	assert_true(most <= 64 + DEPTH);
	assert_true(dearest <= PER_ACK + 64);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_byte_blocks),
		cmocka_unit_test(scattered_blocks),
		cmocka_unit_test(lost_and_found),
		cmocka_unit_test(few_records),
	};

	return cmocka_run_group_tests_name("tcp_work", tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tcp.h"
#include "runtime/tcp/timewait.h"

#define SLOTS 64
/* sequence numbers of the old incarnation, near the end of their space */
#define OURS   0xfffffff0u
#define THEIRS 0xfffffffau
#define TS     0xfffffffeu

static const uint64_t key[2] = {21, 22};
static struct lrp_tcp_timewait slot[SLOTS];
static struct lrp_tcp_timewaits table;
static struct lrp_tcp_flow flow;
static struct lrp_tcp_tx reply;
static uint32_t iss;

static void add(int64_t now, uint32_t n, bool timestamps)
{
	struct lrp_tcp c = {.state = LRP_TCP_TIME_WAIT, .snd_nxt = OURS, .rcv_nxt = THEIRS};

	flow = flow_of(n % 2 ? AF_INET : AF_INET6, n);
	c.timestamps = timestamps;
	c.ts_recent = TS;
	c.ts_offset = 5;
	c.rcv_adv = c.rcv_nxt + 8000;
	c.rcv_wscale = 3;
	lrp_tcp_timewait_add(&table, now, &flow, &c);
}

static int setup(void **state)
{
	(void)state;
	memset(slot, 0, sizeof(slot));
	lrp_tcp_timewait_init(&table, slot, SLOTS, key);
	return 0;
}

static enum lrp_tcp_timewait_result input(int64_t now, struct lrp_tcp_segment s)
{
	memset(&reply, 0xee, sizeof(reply));
	return lrp_tcp_timewait_input(&table, now, &flow, &s, &reply, &iss);
}

/* The peer's FIN again: our ACK was lost (RFC 9293 3.10.7.4). */
static void fin_is_acknowledged(void **state)
{
	const uint8_t *o;

	(void)state;
	add(1 * SECOND, 1, true);
	assert_int_equal(
		input(2 * SECOND, seg_ts(LRP_TCP_FIN | LRP_TCP_ACK, THEIRS - 1, OURS, TS, 0)),
		LRP_TCP_TIMEWAIT_REPLY);
	assert_int_equal(reply.flags, LRP_TCP_ACK);
	assert_int_equal(reply.seq, OURS);
	assert_int_equal(reply.ack, THEIRS);
	assert_int_equal(reply.window, 1000);
	assert_int_equal(reply.payload_len, 0);
	o = option_of(&reply, KIND_TIMESTAMP);
	assert_non_null(o);
	assert_int_equal(be32_at(o), 2000 + 5);
	assert_int_equal(be32_at(o + 4), TS);
}

static void lasts_sixty_seconds(void **state)
{
	(void)state;
	add(1 * SECOND, 1, false);
	assert_int_equal(lrp_tcp_timewait_timer(&table, 61 * SECOND - 1), 61 * SECOND);
	assert_int_equal(table.table.used, 1);
	assert_int_equal(lrp_tcp_timewait_timer(&table, 61 * SECOND), LRP_TCP_NEVER);
	assert_int_equal(table.table.used, 0);
	/* also when nobody called the timer */
	add(1 * SECOND, 1, false);
	assert_int_equal(input(61 * SECOND, seg(LRP_TCP_ACK, THEIRS, OURS)), LRP_TCP_TIMEWAIT_NONE);
}

/* A FIN starts the two MSL again; nothing else prolongs them. */
static void fin_starts_again(void **state)
{
	(void)state;
	add(1 * SECOND, 1, false);
	add(2 * SECOND, 2, false);
	flow = flow_of(AF_INET, 1);
	input(30 * SECOND, seg(LRP_TCP_FIN | LRP_TCP_ACK, THEIRS - 1, OURS));
	flow = flow_of(AF_INET6, 2);
	input(30 * SECOND, seg(LRP_TCP_ACK, THEIRS - 100, OURS));
	assert_int_equal(lrp_tcp_timewait_timer(&table, 31 * SECOND), 62 * SECOND);
	assert_int_equal(lrp_tcp_timewait_timer(&table, 62 * SECOND), 90 * SECOND);
	assert_int_equal(lrp_tcp_timewait_timer(&table, 90 * SECOND), LRP_TCP_NEVER);
}

/* RFC 1337: neither an exact reset nor old segments end it. */
static void no_assassination(void **state)
{
	(void)state;
	add(1 * SECOND, 1, false);
	for (int32_t d = -2; d <= 2; d++) {
		struct lrp_tcp_segment s = seg(LRP_TCP_RST, THEIRS + (uint32_t)d, OURS);

		assert_int_equal(input(2 * SECOND, s), LRP_TCP_TIMEWAIT_DROP);
		s.flags |= LRP_TCP_ACK;
		assert_int_equal(input(2 * SECOND, s), LRP_TCP_TIMEWAIT_DROP);
	}
	assert_int_equal(table.table.used, 1);
}

/* What says nothing new is not answered: two TIME_WAITs must not talk to each other. */
static void plain_ack_is_silent(void **state)
{
	(void)state;
	add(1 * SECOND, 1, false);
	assert_int_equal(input(2 * SECOND, seg(LRP_TCP_ACK, THEIRS, OURS)), LRP_TCP_TIMEWAIT_DROP);
	assert_int_equal(input(2 * SECOND, seg(0, THEIRS, OURS)), LRP_TCP_TIMEWAIT_DROP);
	/* beyond what we sent: RFC 9293 answers */
	assert_int_equal(input(2 * SECOND, seg(LRP_TCP_ACK, THEIRS, OURS + 1)),
			 LRP_TCP_TIMEWAIT_REPLY);
}

/* One answer in half a second for each entry. */
static void answers_are_limited(void **state)
{
	struct lrp_tcp_segment fin = seg(LRP_TCP_FIN | LRP_TCP_ACK, THEIRS - 1, OURS);

	(void)state;
	add(1 * SECOND, 1, false);
	assert_int_equal(input(2 * SECOND, fin), LRP_TCP_TIMEWAIT_REPLY);
	assert_int_equal(input(2 * SECOND + SECOND / 2 - 1, fin), LRP_TCP_TIMEWAIT_DROP);
	assert_int_equal(input(2 * SECOND + SECOND / 2, fin), LRP_TCP_TIMEWAIT_REPLY);
	add(1 * SECOND, 3, false);
	assert_int_equal(input(2 * SECOND + SECOND / 2, fin), LRP_TCP_TIMEWAIT_REPLY);
}

/* RFC 6191, section 2, line by line. */
static void new_incarnations(void **state)
{
	static const struct {
		bool old_ts, new_ts;
		int32_t ts, seq; /* against the last of the old incarnation */
		bool accepted;
	} line[] = {
		{true, true, 1, -100, true},	 {true, true, 0, 1, true},
		{true, true, 0, 0, false},	 {true, true, 0, -1, false},
		{true, true, -1, 100, false},	 {true, false, 0, 1, true},
		{true, false, 0, 0, false},	 {true, false, 0, -1, false},
		{false, true, -1, -100, false},	 {false, true, -1, 1, true},
		{false, true, 100, 0, false},	 {false, false, 0, 1, true},
		{false, false, 0, 0, false},	 {false, false, 0, -1, false},
		{true, true, 100, 100000, true}, {false, false, 0, 100000, true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(line) / sizeof(line[0]); i++) {
		struct lrp_tcp_segment s = seg_ts(LRP_TCP_SYN, THEIRS + (uint32_t)line[i].seq, 0,
						  TS + (uint32_t)line[i].ts, 0);

		setup(NULL);
		add(1 * SECOND, 1, line[i].old_ts);
		if (!line[i].new_ts)
			s.options = 0;
		if (line[i].accepted) {
			assert_int_equal(input(1 * SECOND + 1, s), LRP_TCP_TIMEWAIT_REUSE);
			assert_int_equal(table.table.used, 0);
			assert_true(lrp_seq_gt(iss, OURS + 65535));
		} else {
			assert_int_equal(input(1 * SECOND + 1, s), LRP_TCP_TIMEWAIT_REPLY);
			assert_int_equal(reply.flags, LRP_TCP_ACK);
			assert_int_equal(table.table.used, 1);
		}
		/* a SYN-ACK never opens */
		setup(NULL);
		add(1 * SECOND, 1, line[i].old_ts);
		s.flags |= LRP_TCP_ACK;
		assert_int_not_equal(input(1 * SECOND + 1, s), LRP_TCP_TIMEWAIT_REUSE);
	}
}

/* An ISN of 0 would mean "any" to the listener. */
static void iss_is_never_zero(void **state)
{
	struct lrp_tcp c = {.state = LRP_TCP_TIME_WAIT, .snd_nxt = 0u - 65537, .rcv_nxt = 1};

	(void)state;
	flow = flow_of(AF_INET, 1);
	lrp_tcp_timewait_add(&table, SECOND, &flow, &c);
	assert_int_equal(input(SECOND, seg(LRP_TCP_SYN, 2, 0)), LRP_TCP_TIMEWAIT_REUSE);
	assert_int_equal(iss, 1);
}

/* An active open takes a flow that had timestamps after a second. */
static void active_reuse(void **state)
{
	(void)state;
	flow = flow_of(AF_INET, 1);
	assert_false(lrp_tcp_timewait_reuse(&table, SECOND, &flow, &iss));
	add(1 * SECOND, 1, true);
	assert_false(lrp_tcp_timewait_reuse(&table, 2 * SECOND - 1, &flow, &iss));
	assert_true(lrp_tcp_timewait_reuse(&table, 2 * SECOND, &flow, &iss));
	assert_true(lrp_seq_gt(iss, OURS + 65535));
	assert_int_equal(table.table.used, 0);
	add(1 * SECOND, 1, false);
	assert_false(lrp_tcp_timewait_reuse(&table, 60 * SECOND, &flow, &iss));
	assert_int_equal(table.table.used, 1);
	assert_false(lrp_tcp_timewait_reuse(&table, 61 * SECOND, &flow, &iss));
	assert_int_equal(table.table.used, 0);
}

/* PAWS in TIME_WAIT: an old duplicate is answered, and does not set the clock back. */
static void old_timestamps(void **state)
{
	(void)state;
	add(1 * SECOND, 1, true);
	assert_int_equal(input(2 * SECOND, seg_ts(LRP_TCP_ACK, THEIRS, OURS, TS - 1, 0)),
			 LRP_TCP_TIMEWAIT_REPLY);
	assert_int_equal(be32_at(option_of(&reply, KIND_TIMESTAMP) + 4), TS);
	assert_int_equal(input(2 * SECOND, seg_ts(LRP_TCP_ACK, THEIRS, OURS, TS + 3, 0)),
			 LRP_TCP_TIMEWAIT_DROP);
	assert_int_equal(input(3 * SECOND, seg_ts(LRP_TCP_ACK, THEIRS - 1, OURS, TS + 3, 0)),
			 LRP_TCP_TIMEWAIT_REPLY);
	assert_int_equal(be32_at(option_of(&reply, KIND_TIMESTAMP) + 4), TS + 3);
}

/* More connections than places: the oldest goes. */
static void oldest_makes_room(void **state)
{
	uint32_t most = lrp_tcp_flow_table_most(&table.table);

	(void)state;
	for (uint32_t n = 0; n < most + 10; n++)
		add((1 + n) * 1000, n, false);
	assert_int_equal(table.table.used, most);
	assert_int_equal(table.evicted, 10);
	for (uint32_t n = 0; n < most + 10; n++) {
		flow = flow_of(n % 2 ? AF_INET : AF_INET6, n);
		assert_int_equal(input(SECOND, seg(LRP_TCP_ACK, THEIRS, OURS)),
				 n < 10 ? LRP_TCP_TIMEWAIT_NONE : LRP_TCP_TIMEWAIT_DROP);
	}
	/* the same flow once more replaces its entry */
	add(SECOND, most, false);
	assert_int_equal(table.table.used, most);
	assert_int_equal(table.evicted, 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(fin_is_acknowledged, setup),
		cmocka_unit_test_setup(lasts_sixty_seconds, setup),
		cmocka_unit_test_setup(fin_starts_again, setup),
		cmocka_unit_test_setup(no_assassination, setup),
		cmocka_unit_test_setup(plain_ack_is_silent, setup),
		cmocka_unit_test_setup(answers_are_limited, setup),
		cmocka_unit_test_setup(new_incarnations, setup),
		cmocka_unit_test_setup(iss_is_never_zero, setup),
		cmocka_unit_test_setup(active_reuse, setup),
		cmocka_unit_test_setup(old_timestamps, setup),
		cmocka_unit_test_setup(oldest_makes_room, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

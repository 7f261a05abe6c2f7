/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which segments are believed, and how connections end. */
#include "connection.h"

#define SYN   LRP_TCP_SYN
#define ACK   LRP_TCP_ACK
#define FIN   LRP_TCP_FIN
#define RST   LRP_TCP_RST
#define STALE LRP_DROPPED(LRP_DROP_STALE)

static void open_timestamps(void)
{
	plain();
	opt.timestamps = true;
	open_with(LRP_TCP_HAS_TIMESTAMP, 0, 0xffff, 0);
}

/* ---- bringing a connection into each state, from ESTABLISHED ------------- */

static void reach(int state)
{
	open_plain();
	switch (state) {
	case LRP_TCP_FIN_WAIT_1:
	case LRP_TCP_FIN_WAIT_2:
	case LRP_TCP_CLOSING:
	case LRP_TCP_TIME_WAIT:
		lrp_tcp_shutdown(&conn, now, false, true);
		expect(FIN | ACK, 1, 0);
		if (state == LRP_TCP_FIN_WAIT_2 || state == LRP_TCP_TIME_WAIT)
			in(ACK, 1, 2, 0);
		if (state == LRP_TCP_CLOSING)
			in(FIN | ACK, 1, 1, 0);
		if (state == LRP_TCP_TIME_WAIT)
			in(FIN | ACK, 1, 2, 0);
		break;
	case LRP_TCP_CLOSE_WAIT:
	case LRP_TCP_LAST_ACK:
		in(FIN | ACK, 1, 1, 0);
		if (state == LRP_TCP_LAST_ACK) {
			lrp_tcp_shutdown(&conn, now, false, true);
			expect(FIN | ACK, 1, 0);
		}
		break;
	case LRP_TCP_CLOSED:
		lrp_tcp_abort(&conn, now);
		expect(RST | ACK, 1, 0);
		break;
	}
	assert_int_equal(conn.state, state);
	while (out())
		;
}

/* RFC 9293 figure 5 and 3.10.7: in each state, what each segment leads to. */
#define E  LRP_TCP_ESTABLISHED
#define F1 LRP_TCP_FIN_WAIT_1
#define F2 LRP_TCP_FIN_WAIT_2
#define CG LRP_TCP_CLOSING
#define TW LRP_TCP_TIME_WAIT
#define CW LRP_TCP_CLOSE_WAIT
#define LA LRP_TCP_LAST_ACK
#define C  LRP_TCP_CLOSED

static void matrix(void **state)
{
	static const struct {
		int state;
		/* ACK of all, data, FIN, FIN and ACK of all, RST exact, RST near, RST far, SYN, ACK
		 * beyond, no ACK */
		int next[10];
		int error; /* after the exact reset */
	} table[] = {
		{E, {E, E, CW, CW, C, E, E, E, E, E}, ECONNRESET},
		{F1, {F2, F1, CG, TW, C, F1, F1, F1, F1, F1}, ECONNRESET},
		{F2, {F2, F2, TW, TW, C, F2, F2, F2, F2, F2}, ECONNRESET},
		{CG, {TW, CG, CG, TW, C, CG, CG, CG, CG, CG}, 0},
		{TW, {TW, TW, TW, TW, TW, TW, TW, TW, TW, TW}, 0},
		{CW, {CW, CW, CW, CW, C, CW, CW, CW, CW, CW}, EPIPE},
		{LA, {C, LA, LA, C, C, LA, LA, LA, LA, LA}, 0},
		{C, {C, C, C, C, C, C, C, C, C, C}, 0},
	};

	(void)state;
	for (uint32_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		for (int kind = 0; kind < 10; kind++) {
			uint32_t seq, una, all;

			reach(table[i].state);
			seq = conn.rcv_nxt - IRS;
			una = conn.snd_una - ISS;
			all = conn.snd_nxt - ISS;
			switch (kind) {
			case 0:
				in(ACK, seq, all, 0);
				break;
			case 1:
				in(ACK, seq, una, 10);
				break;
			case 2:
				/* the same FIN again, where there was one */
				in(FIN | ACK, seq - conn.fin_received, una, 0);
				break;
			case 3:
				in(FIN | ACK, seq - conn.fin_received, all, 0);
				break;
			case 4:
				in(RST, seq, all, 0);
				assert_int_equal(lrp_tcp_error(&conn), table[i].error);
				break;
			case 5:
				in(RST, seq + 1, all, 0);
				break;
			case 6:
				in(RST, seq + 0x20000, all, 0);
				break;
			case 7:
				in(SYN, seq, 0, 0);
				break;
			case 8:
				in(ACK, seq, all + 1, 10);
				break;
			case 9:
				in(0, seq, all, 10);
				break;
			}
			if (conn.state != table[i].next[kind])
				print_error("state %d kind %d\n", table[i].state, kind);
			assert_int_equal(conn.state, table[i].next[kind]);
			if (kind == 8 || kind == 9)
				assert_int_equal(conn.bytes_received, 0);
			/* RFC 9293 3.10.7.1; a new SYN is the owner's (lrp_tcp_reopens()) */
			if (table[i].state == C && kind == 9)
				expect(RST | ACK, 0 - ISS, 0);
			else if (table[i].state == C && (kind < 4 || kind == 8))
				expect(RST,
				       kind == 8		? all + 1
				       : kind == 1 || kind == 2 ? una
								: all,
				       0);
			if (table[i].state == C || kind == 4 || kind == 6)
				expect_nothing();
		}
	}
}

/* RFC 5961 3, 4, 5: only what is exact is believed; the rest is asked about, at most twice a second
 * (7). */
static void challenges(void **state)
{
	(void)state;
	open_plain();
	assert_int_equal(in(RST, 2, 1, 0), STALE);
	expect_ack(1);
	assert_int_equal(in(SYN, 1, 1, 0), STALE);
	expect_nothing();
	now += 499 * MS;
	in(SYN | ACK, 0, 1, 0);
	expect_nothing();
	now += 2 * MS;
	in(SYN, 2, 1, 0);
	expect_ack(1);
	now += 501 * MS;
	assert_int_equal(in(ACK, 1, 5, 10), STALE); /* of what was never sent */
	expect_ack(1);
	now += 501 * MS;
	assert_int_equal(in(ACK, 1, (uint32_t)-70000, 10), STALE); /* older than any window */
	expect_ack(1);
	assert_int_equal(in(RST, 1 + 0x10000, 1, 0), STALE);
	expect_nothing();
	assert_int_equal(conn.state, LRP_TCP_ESTABLISHED);
	assert_int_equal(lrp_tcp_readable(&conn), 0);
	now += 501 * MS;
	assert_int_equal(in(ACK, 1, 0, 10), STALE); /* before the first byte */
	expect_ack(1);
	/* late, but possible: its data counts */
	write_bytes(10);
	expect(ACK, 1, 10);
	in(ACK, 1, 11, 0);
	assert_int_equal(in(ACK, 1, 1, 10), 0);
	assert_int_equal(lrp_tcp_readable(&conn), 10);
	assert_int_equal(read_io(100, 0), 10);
	expect_ack(11);
	/* the peer's keepalive is answered */
	now += 501 * MS;
	in(ACK, 10, 1, 0);
	expect_ack(11);
}

static void reset(void **state)
{
	(void)state;
	open_plain();
	in(ACK, 1, 1, 10);
	write_bytes(10);
	assert_int_equal(in(RST, 11, 1, 0), 0);
	expect_nothing();
	assert_int_equal(lrp_tcp_deadline(&conn), LRP_TCP_NEVER);
	assert_int_equal(lrp_tcp_ready(&conn), LRP_TCP_READABLE | LRP_TCP_WRITABLE | LRP_TCP_ERROR |
						       LRP_TCP_HUNG_UP | LRP_TCP_READ_CLOSED);
	/* as Linux: what was received first, then the error once, then the end */
	assert_int_equal(read_io(100, 0), 10);
	assert_int_equal(read_io(100, 0), -ECONNRESET);
	assert_int_equal(read_io(100, 0), 0);
	assert_int_equal(write_bytes(1), -EPIPE);
}

/* RFC 7323 5. */
static void paws(void **state)
{
	struct lrp_tcp_segment s;

	(void)state;
	open_timestamps();
	peer_ts += 100; /* it has wrapped */
	assert_int_equal(in(ACK, 1, 1, 10), 0);
	assert_int_equal(conn.ts_recent, peer_ts);
	peer_ts -= 50;
	assert_int_equal(in(ACK, 11, 1, 10), STALE);
	expect_ack(11);
	assert_memory_equal(tx.options, "\1\1\x8\xa", 4);
	assert_int_equal(lrp_tcp_readable(&conn), 10);
	/* a bare ACK that was overtaken does no harm and has no answer */
	assert_int_equal(in(ACK, 11, 1, 0), 0);
	expect_nothing();
	assert_int_equal(conn.ts_recent, peer_ts + 50);
	/* not for resets */
	assert_int_equal(in(RST, 11, 1, 0), 0);
	assert_int_equal(conn.state, LRP_TCP_CLOSED);
	/* after 24 days of silence a timestamp says nothing */
	open_timestamps();
	now += 25ll * 86400 * S;
	peer_ts -= 50;
	assert_int_equal(in(ACK, 1, 1, 10), 0);
	assert_int_equal(conn.ts_recent, peer_ts);
	/* none at all, after it was agreed: as Linux */
	s = seg(ACK, 11, 1, 10);
	s.options = 0;
	assert_int_equal(input(&s), 0);
}

/* RFC 7323 4.3: the timestamp echoed is of the segment that the last ACK waited for. */
static void timestamp_echoed(void **state)
{
	uint32_t first;

	(void)state;
	open_timestamps();
	first = peer_ts += 5;
	in(ACK, 1, 1, 10);
	peer_ts += 5;
	in(ACK, 11, 1, 10); /* no ACK was sent between them */
	assert_int_equal(conn.ts_recent, first);
	assert_int_equal(read_io(100, 0), 20);
	expect_ack(21);
	peer_ts += 5;
	in(ACK, 31, 1, 10); /* beyond a hole */
	assert_int_equal(conn.ts_recent, first);
	in(ACK, 21, 1, 10);
	assert_int_equal(conn.ts_recent, peer_ts);
}

/* RFC 9293 3.10.7.4: an older segment does not bring back an older window. */
static void window_updates(void **state)
{
	(void)state;
	open_plain();
	in_window(ACK, 1, 1, 10, 500);
	assert_int_equal(conn.snd_wnd, 500);
	in_window(ACK, 11, 1, 10, 300);
	assert_int_equal(conn.snd_wnd, 300);
	in_window(ACK, 1, 1, 10, 500);
	assert_int_equal(conn.snd_wnd, 300);
	in_window(ACK, 11, 1, 0, 200); /* the same again: larger or closed only */
	assert_int_equal(conn.snd_wnd, 300);
	in_window(ACK, 11, 1, 0, 400);
	assert_int_equal(conn.snd_wnd, 400);
	in_window(ACK, 11, 1, 0, 0);
	assert_int_equal(conn.snd_wnd, 0);
}

/* ---- closing -------------------------------------------------------------- */

static void half_closed(void **state)
{
	(void)state;
	open_plain();
	lrp_tcp_shutdown(&conn, now, false, true);
	expect(FIN | ACK, 1, 0);
	assert_int_equal(write_bytes(1), -EPIPE);
	in(ACK, 1, 2, 100);
	assert_int_equal(conn.state, LRP_TCP_FIN_WAIT_2);
	assert_int_equal(read_io(1000, 0), 100);
	assert_int_equal(read_io(1000, 0), -EAGAIN);
	expect_ack(101);
	assert_int_equal(lrp_tcp_deadline(&conn), LRP_TCP_NEVER); /* FIN_WAIT_2 has no limit here */
	in(FIN | ACK, 101, 2, 100);
	assert_int_equal(conn.state, LRP_TCP_TIME_WAIT);
	expect_ack(202);
	assert_int_equal(read_io(1000, 0), 100);
	assert_int_equal(read_io(1000, 0), 0);
	/* the FIN again: TIME_WAIT starts over */
	now += 30 * S;
	in(FIN | ACK, 101, 2, 100);
	expect_ack(202);
	assert_int_equal(lrp_tcp_deadline(&conn), now + 60 * S);
	wait_until(now + 60 * S);
	assert_int_equal(conn.state, LRP_TCP_CLOSED);
	assert_int_equal(conn.error, 0);
}

static void peer_first(void **state)
{
	(void)state;
	open_plain();
	in(FIN | ACK, 1, 1, 100);
	assert_int_equal(conn.state, LRP_TCP_CLOSE_WAIT);
	assert_true(lrp_tcp_ready(&conn) & LRP_TCP_READ_CLOSED);
	assert_false(lrp_tcp_ready(&conn) & LRP_TCP_HUNG_UP);
	assert_int_equal(lrp_tcp_readable(&conn), 100);
	assert_int_equal(read_io(1000, 0), 100);
	assert_int_equal(read_io(1000, 0), 0);
	/* sending goes on; the FIN goes with the last data */
	assert_int_equal(write_bytes(10), 10);
	lrp_tcp_close(&conn, now);
	assert_int_equal(conn.state, LRP_TCP_LAST_ACK);
	expect(FIN | ACK, 1, 10);
	assert_int_equal(tx.ack - IRS, 102);
	in(ACK, 102, 11, 0);
	assert_int_equal(conn.state, LRP_TCP_LAST_ACK);
	in(ACK, 102, 12, 0);
	assert_int_equal(conn.state, LRP_TCP_CLOSED);
	expect_nothing();
}

static bool reopens(uint8_t flags, uint32_t seq, uint32_t *iss)
{
	struct lrp_tcp_segment s = {.flags = flags, .seq = conn.rcv_nxt + seq};

	return lrp_tcp_reopens(&conn, now, &s, iss);
}

/* A connection that has ended owns its four-tuple no more, as soon as a new SYN comes for it. */
static void the_flow_is_free(void **state)
{
	uint32_t iss = 1;

	(void)state;
	open_plain();
	assert_false(reopens(SYN, 1, &iss));
	reach(LRP_TCP_FIN_WAIT_2);
	assert_false(reopens(SYN, 1, &iss));
	reach(LRP_TCP_TIME_WAIT);
	assert_true(reopens(SYN, 1, &iss));
	assert_int_equal(iss, conn.snd_nxt + 65537);
	assert_false(reopens(SYN, 0, &iss));
	assert_false(reopens(SYN | ACK, 1, &iss));
	assert_false(reopens(SYN | RST, 1, &iss));
	assert_false(reopens(ACK, 1, &iss));
	reach(LRP_TCP_CLOSED);
	assert_true(reopens(SYN, 0, &iss));
	assert_int_equal(iss, 0);
	assert_false(reopens(SYN | ACK, 0, &iss));
	assert_false(reopens(ACK, 0, &iss));
}

/* RFC 2525 2.17: what is unread or comes after the close must not look as if it had been read. */
static void reset_on_close(void **state)
{
	(void)state;
	open_plain();
	in(ACK, 1, 1, 100);
	lrp_tcp_close(&conn, now);
	expect(RST | ACK, 1, 0);
	assert_int_equal(conn.state, LRP_TCP_CLOSED);
	reach(LRP_TCP_FIN_WAIT_2);
	lrp_tcp_close(&conn, now);
	in(ACK, 1, 2, 0);
	expect_nothing();
	in(ACK, 1, 2, 1);
	expect(RST, 2, 0);
	assert_int_equal(conn.state, LRP_TCP_CLOSED);
	/* a FIN alone is no data */
	reach(LRP_TCP_FIN_WAIT_2);
	lrp_tcp_close(&conn, now);
	in(FIN | ACK, 1, 2, 0);
	assert_int_equal(conn.state, LRP_TCP_TIME_WAIT);
	/* SO_LINGER 0 */
	open_plain();
	write_bytes(10);
	lrp_tcp_abort(&conn, now);
	expect(RST | ACK, 1, 0);
	expect_nothing();
}

/* A closed socket does not wait for the peer's FIN for ever. */
static void orphan(void **state)
{
	(void)state;
	plain();
	open_plain();
	opt.linger2_s = 7;
	lrp_tcp_options_set(&conn, now, &opt);
	lrp_tcp_close(&conn, now);
	expect(FIN | ACK, 1, 0);
	in(ACK, 1, 2, 0);
	assert_int_equal(conn.state, LRP_TCP_FIN_WAIT_2);
	assert_int_equal(lrp_tcp_deadline(&conn), now + 7 * S);
	wait_until(now + 7 * S);
	assert_int_equal(conn.state, LRP_TCP_CLOSED);
}

/* In order, with a reader that waits: not one copy more. */
static void straight_to_the_reader(void **state)
{
	struct iovec iov[2] = {{got, 60}, {got + 60, 60}};
	struct lrp_tcp_into into = {iov, 2, 0};
	struct lrp_tcp_segment s;

	(void)state;
	open_plain();
	memset(rcv_memory, 0xee, sizeof(rcv_memory));
	s = seg(ACK, 1, 1, 100);
	assert_int_equal(lrp_tcp_input(&conn, now, &s, &into), 0);
	holds();
	assert_int_equal(into.done, 100);
	assert_int_equal(into.count, 1);
	assert_int_equal(iov[1].iov_len, 20);
	assert_memory_equal(got, bytes + 1, 100);
	for (uint32_t i = 0; i < BUFFER; i++)
		assert_int_equal(rcv_memory[i], 0xee);
	s = seg(ACK, 101, 1, 100);
	assert_int_equal(lrp_tcp_input(&conn, now, &s, &into), 0);
	assert_int_equal(into.done, 120);
	assert_int_equal(into.count, 0);
	assert_int_equal(lrp_tcp_readable(&conn), 80);
	/* something waits: behind it */
	iov[0] = (struct iovec){got + 120, 200};
	into = (struct lrp_tcp_into){iov, 1, 0};
	s = seg(ACK, 201, 1, 20);
	assert_int_equal(lrp_tcp_input(&conn, now, &s, &into), 0);
	assert_int_equal(into.done, 0);
	assert_int_equal(lrp_tcp_read(&conn, now, iov, 1, 0), 100);
	assert_memory_equal(got, bytes + 1, 220);
}

/* A checksum that is found wrong while the payload is copied: nothing was received, neither to the
 * reader's memory nor to the buffer; nor was anything acknowledged. */
static void corrupt(void **state)
{
	static struct lrp_tcp before;
	struct iovec iov[3] = {{got, 101}, {NULL, 0}, {got + 101, 100}};
	struct lrp_tcp_into into = {iov, 3, 0};
	struct lrp_tcp_segment s;

	(void)state;
	open_plain();
	assert_int_equal(write_bytes(100), 100);
	expect(ACK, 1, 100);
	for (int taken = 0; taken < 2; taken++) {
		s = seg(ACK, 1, 101, 500);
		s.unchecked = true;
		s.sum = (uint16_t)~lrp_checksum_fold(lrp_checksum_sum(s.payload, s.len));
		s.sum += !taken;
		before = conn;
		assert_int_equal(lrp_tcp_input(&conn, now, &s, &into),
				 taken ? 0 : LRP_DROPPED(LRP_DROP_CHECKSUM));
		if (!taken)
			assert_memory_equal(&conn, &before, sizeof(conn));
		assert_int_equal(into.done, taken ? 201 : 0);
	}
	assert_int_equal(conn.snd_una, conn.snd_nxt);
	assert_memory_equal(got, bytes + 1, 201);
	/* with something missing it is not copied first: that would overwrite what came ahead */
	in(ACK, 601, 101, 400);
	s = seg(ACK, 501, 101, 300);
	s.payload = bytes;
	s.unchecked = true;
	s.sum = 1;
	assert_int_equal(lrp_tcp_input(&conn, now, &s, NULL), LRP_DROPPED(LRP_DROP_CHECKSUM));
	in(ACK, 501, 101, 100);
	iov[0] = (struct iovec){got, sizeof(got)};
	assert_int_equal(lrp_tcp_read(&conn, now, iov, 1, 0), 799);
	assert_memory_equal(got, bytes + 202, 799);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(matrix),
		cmocka_unit_test(challenges),
		cmocka_unit_test(reset),
		cmocka_unit_test(paws),
		cmocka_unit_test(timestamp_echoed),
		cmocka_unit_test(window_updates),
		cmocka_unit_test(half_closed),
		cmocka_unit_test(peer_first),
		cmocka_unit_test(the_flow_is_free),
		cmocka_unit_test(reset_on_close),
		cmocka_unit_test(orphan),
		cmocka_unit_test(straight_to_the_reader),
		cmocka_unit_test(corrupt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

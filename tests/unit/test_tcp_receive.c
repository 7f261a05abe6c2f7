/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What segments bring, in and out of order; when it is acknowledged. */
#include "connection.h"

#define ACK    LRP_TCP_ACK
#define FIN    LRP_TCP_FIN
#define URG    LRP_TCP_URG
#define STALE  LRP_DROPPED(LRP_DROP_STALE)
#define MEMORY LRP_DROPPED(LRP_DROP_MEMORY)

static void open_sack(void)
{
	plain();
	opt.sack = true;
	open_with(LRP_TCP_HAS_SACK_OK, 0, 0xffff, 0);
}

/* The blocks of the ACK that went out, relative. */
static uint32_t blocks(uint32_t sack[8])
{
	uint32_t n;

	if (!tx.options_len)
		return 0;
	assert_int_equal(tx.options[2], 5);
	n = (tx.options[3] - 2u) / 8;
	assert_int_equal(tx.options_len, 4 + 8 * n);
	for (uint32_t i = 0; i < 2 * n; i++) {
		uint32_t v;

		memcpy(&v, tx.options + 4 + 4 * i, 4);
		sack[i] = ntohl(v) - IRS;
	}
	return n;
}
#define expect_sack(a, ...)                                                                        \
	do {                                                                                       \
		const uint32_t want[] = {__VA_ARGS__};                                             \
		uint32_t have[8];                                                                  \
		expect_ack(a);                                                                     \
		assert_int_equal(blocks(have) * 2, sizeof(want) / 4);                              \
		assert_memory_equal(have, want, sizeof(want));                                     \
	} while (0)

static void read_all(uint32_t from, uint32_t len)
{
	assert_int_equal(read_io(BUFFER, 0), len);
	for (uint32_t i = 0; i < len; i++)
		assert_int_equal(got[i], (from + i) % 251);
}

/* RFC 2018 4: the block that the latest segment is in comes first, then the most recent others. */
static void sack(void **state)
{
	(void)state;
	open_sack();
	in(ACK, 101, 1, 100);
	expect_sack(1, 101, 201);
	in(ACK, 301, 1, 100);
	expect_sack(1, 301, 401, 101, 201);
	in(ACK, 501, 1, 100);
	expect_sack(1, 501, 601, 301, 401, 101, 201);
	in(ACK, 201, 1, 100); /* joins two */
	expect_sack(1, 101, 401, 501, 601);
	in(ACK, 701, 1, 100);
	in(ACK, 901, 1, 100);
	in(ACK, 1101, 1, 100);
	expect_sack(1, 1101, 1201, 901, 1001, 701, 801, 101, 401);
	in(ACK, 1, 1, 100);
	expect_sack(401, 1101, 1201, 901, 1001, 701, 801, 501, 601);
	read_all(1, 400);
	for (uint32_t seq = 401; seq < 1201; seq += 200)
		in(ACK, seq, 1, 100);
	expect_ack(1201);
	assert_int_equal(tx.options_len, 0);
	read_all(401, 800);
}

/* RFC 2883: what came twice is reported once, first. */
static void dsack(void **state)
{
	(void)state;
	open_sack();
	in(ACK, 1, 1, 100);
	assert_int_equal(in(ACK, 1, 1, 100), STALE); /* all of it, below the ACK */
	expect_sack(101, 1, 101);
	in(ACK, 51, 1, 100); /* a part of it */
	expect_sack(151, 51, 101);
	in(ACK, 301, 1, 100);
	expect_sack(151, 301, 401);
	in(ACK, 321, 1, 50); /* within what was sacked */
	expect_sack(151, 321, 371, 301, 401);
	in(ACK, 351, 1, 100);
	expect_sack(151, 351, 401, 301, 451);
	in(ACK, 151, 1, 200); /* fills, and over */
	expect_sack(451, 301, 351);
	in(ACK, 451, 1, 1);
	read_all(1, 451);
	expect_ack(452);
	assert_int_equal(in(ACK, 1, 1, 100), STALE); /* before the last ACK */
	expect_sack(452, 1, 101);
	assert_int_equal(in(ACK, 400, 1, 52), STALE);
	expect_sack(452, 400, 452);
}

/* Without SACK the sender counts duplicates: one for each segment (RFC 5681 3.2). */
static void duplicates(void **state)
{
	(void)state;
	open_plain();
	for (uint32_t i = 0; i < 3; i++)
		in(ACK, 101 + 100 * i, 1, 100);
	for (uint32_t i = 0; i < 3; i++) {
		expect_ack(1);
		assert_int_equal(tx.options_len, 0);
	}
	expect_nothing();
	in(ACK, 1, 1, 100);
	expect_ack(401);
	expect_nothing();
}

static void any_order(void **state)
{
	(void)state;
	for (uint32_t seed = 1; seed < 200; seed++) {
		uint32_t x = seed * 2654435761u, left = 20;
		bool here[20] = {false};

		open_sack();
		while (left) {
			uint32_t i;

			x = x * 1664525 + 1013904223;
			i = (x >> 16) % 20;
			/* also twice, and longer than its piece */
			in(ACK, 1 + 100 * i, 1, 100 + (i < 19 ? x % 100 : 0));
			left -= !here[i];
			here[i] = true;
			while (out())
				;
		}
		read_all(1, 2000);
		assert_int_equal(conn.ranges, 0);
	}
}

static void too_many_ranges(void **state)
{
	uint32_t i;

	(void)state;
	open_sack();
	for (i = 0; i < LRP_TCP_RANGES_MAX; i++)
		assert_int_equal(in(ACK, 101 + 20 * i, 1, 10), 0);
	assert_int_equal(in(ACK, 101 + 20 * i, 1, 10), MEMORY);
	assert_int_equal(in(ACK, 111, 1, 10), 0); /* joining needs none */
	assert_int_equal(in(ACK, 1, 1, 100), 0);
	read_all(1, 130);
}

/* RFC 9293 3.10.7.4: beyond the window nothing is taken, at its edge a part. */
static void edge_of_window(void **state)
{
	(void)state;
	open_plain();
	for (uint32_t seq = 1; seq + 1000 <= 0xffff; seq += 1000)
		assert_int_equal(in(ACK, seq, 1, 1000), 0);
	while (out())
		;
	assert_int_equal(tx.window, 535);
	assert_int_equal(in(FIN | ACK, 65001, 1, 1000), 0);
	assert_int_equal(conn.rcv_nxt - IRS, 65536);
	assert_int_equal(conn.state, LRP_TCP_ESTABLISHED); /* its FIN lies outside */
	wait_output(S);
	expect_ack(65536);
	assert_int_equal(tx.window, 0);
	assert_int_equal(in(ACK, 65536, 1, 1),
			 MEMORY); /* the probe of a closed window is answered */
	expect_ack(65536);
	assert_int_equal(in(ACK, 65537, 1, 1), STALE);
	assert_int_equal(read_io(BUFFER, 0), 65535);
	expect_ack(65536); /* it opens */
	assert_int_equal(tx.window, 0xffff);
}

static void early_fin(void **state)
{
	(void)state;
	open_sack();
	in(FIN | ACK, 101, 1, 100);
	expect_sack(1, 101, 202);
	assert_int_equal(conn.state, LRP_TCP_ESTABLISHED);
	in(ACK, 1, 1, 100);
	assert_int_equal(conn.state, LRP_TCP_CLOSE_WAIT);
	expect_ack(202);
	read_all(1, 200);
	assert_int_equal(read_io(1, 0), 0);
	/* what lies beyond it is nothing */
	open_sack();
	in(ACK, 301, 1, 100);
	in(FIN | ACK, 1, 1, 100);
	assert_int_equal(conn.state, LRP_TCP_CLOSE_WAIT);
	expect_ack(102);
	assert_int_equal(tx.options_len, 0);
	read_all(1, 100);
	/* the FIN alone, early */
	open_sack();
	in(FIN | ACK, 101, 1, 0);
	expect_ack(1);
	in(ACK, 1, 1, 100);
	assert_int_equal(conn.state, LRP_TCP_CLOSE_WAIT);
	expect_ack(102);
}

/* ---- when ------------------------------------------------------------------ */

/* RFC 9293 3.8.6.3: every second full segment, 40 ms otherwise; at once when something is missing.
 */
static void delayed(void **state)
{
	(void)state;
	open_plain();
	conn.rcv_mss = 1000;
	in(ACK, 1, 1, 1000);
	expect_nothing();
	in(ACK, 1001, 1, 1000);
	expect_ack(2001);
	in(ACK, 2001, 1, 1000);
	expect_nothing();
	assert_int_equal(lrp_tcp_deadline(&conn), now + 40 * MS);
	wait_output(S);
	expect_ack(3001);
	in(ACK, 4001, 1, 1000);
	expect_ack(3001);
	in(ACK, 3001, 1, 1000); /* fills the hole */
	expect_ack(5001);
	/* with data that goes anyway */
	conn.quick = 0;
	in(ACK, 5001, 1, 10);
	expect_nothing();
	write_bytes(5);
	expect(ACK, 1, 5);
	assert_int_equal(tx.ack - IRS, 5011);
	expect_nothing();
}

/* At the start every segment, for the sender's slow start. */
static void quick(void **state)
{
	(void)state;
	open_plain();
	conn.rcv_mss = 1000;
	conn.quick = LRP_TCP_QUICK_ACKS;
	for (uint32_t i = 0; i < LRP_TCP_QUICK_ACKS; i++) {
		in(ACK, 1 + 1000 * i, 1, 1000);
		expect_ack(1001 + 1000 * i);
	}
	in(ACK, 16001, 1, 1000);
	expect_nothing();
	/* TCP_QUICKACK */
	lrp_tcp_quickack(&conn, true);
	expect_ack(17001);
	in(ACK, 17001, 1, 1000);
	expect_ack(18001);
	lrp_tcp_quickack(&conn, false);
	in(ACK, 18001, 1, 10);
	expect_nothing();
}

/* In a call of the application, which may reply: less than a full segment is acknowledged with the reply,
 * or when the application turns away. */
static void attended(void **state)
{
	(void)state;
	open_plain();
	conn.rcv_mss = 1000;
	conn.quick = LRP_TCP_QUICK_ACKS;
	conn.attended = true;
	in(ACK, 1, 1, 100);
	expect_nothing();
	assert_int_equal(lrp_tcp_deadline(&conn), now + 40 * MS);
	lrp_tcp_unattended(&conn);
	expect_ack(101);
	/* again, with a reply */
	conn.attended = true;
	in(ACK, 101, 1, 100);
	expect_nothing();
	write_bytes(5);
	expect(ACK, 1, 5);
	assert_int_equal(tx.ack - IRS, 201);
	lrp_tcp_unattended(&conn);
	expect_nothing();
	/* a full segment means that more is to come, TCP_QUICKACK that it was not meant */
	conn.pingpong = false;
	conn.attended = true;
	in(ACK, 201, 6, 1000);
	expect_ack(1201);
	lrp_tcp_quickack(&conn, true);
	in(ACK, 1201, 6, 100);
	expect_ack(1301);
}

/* Requests and replies: the reply carries the ACK. */
static void in_turns(void **state)
{
	(void)state;
	open_plain();
	for (uint32_t i = 0; i < 10; i++) {
		in(ACK, 1 + 10 * i, 1 + 10 * i, 10);
		assert_int_equal(read_io(100, 0), 10);
		if (!i) /* not known yet */
			expect_ack(11);
		expect_nothing();
		write_bytes(10);
		expect(ACK, 1 + 10 * i, 10);
		assert_int_equal(tx.ack - IRS, 11 + 10 * i);
		expect_nothing();
		now += MS;
	}
	assert_true(conn.pingpong);
}

/* A sender that waits for the ACK of its small segment before the next one (Nagle) gets it when all
 * is read. */
static void all_read(void **state)
{
	(void)state;
	open_plain();
	in(ACK, 1, 1, 10);
	expect_nothing();
	assert_int_equal(read_io(100, 0), 10);
	expect_ack(11);
	/* and so if it never was in the buffer */
	for (int form = 0; form < 2; form++) {
		struct iovec iov = {got, form ? 100 : 5};
		struct lrp_tcp_into into = {&iov, 1, 0};
		struct lrp_tcp_segment s;

		open_plain();
		s = seg(ACK, 1, 1, 10);
		assert_int_equal(lrp_tcp_input(&conn, now, &s, &into), 0);
		if (form)
			expect_ack(11);
		else
			expect_nothing();
	}
}

/* The delay follows the sender's pace, and a reply that did not come in time ends the waiting for
 * replies. */
static void pace(void **state)
{
	(void)state;
	open_plain();
	conn.rcv_mss = 1000;
	for (uint32_t i = 0; i < 20; i++, now += 100 * MS) {
		in(ACK, 1 + i, 1, 1);
		wait_output(90 * MS);
		while (out())
			;
	}
	conn.pingpong = true;
	conn.recovery.rtt.srtt_ns = 0;
	in(ACK, 21, 1, 1);
	assert_in_range(lrp_tcp_deadline(&conn) - now, 41 * MS, 200 * MS);
	wait_output(S);
	assert_true(out());
	assert_false(conn.pingpong);
	assert_int_equal(conn.ack_delay_ns, 40 * MS);
}

/* ---- urgent data (RFC 6093, as Linux has it) ------------------------------------- */

static int in_urgent(uint32_t seq, uint32_t len, uint16_t pointer)
{
	struct lrp_tcp_segment s = seg(ACK | URG, seq, 1, len);

	s.urgent = pointer;
	return input(&s);
}

static void urgent(void **state)
{
	(void)state;
	open_plain();
	assert_int_equal(read_io(1, LRP_TCP_OOB), -EINVAL);
	in_urgent(1, 10, 5); /* the byte 5, before the pointer */
	assert_true(lrp_tcp_ready(&conn) & LRP_TCP_URGENT);
	assert_int_equal(lrp_tcp_readable(&conn), 4);
	assert_false(lrp_tcp_at_mark(&conn));
	assert_int_equal(read_io(100, 0), 4); /* up to the mark */
	assert_true(lrp_tcp_at_mark(&conn));
	assert_int_equal(read_io(1, LRP_TCP_OOB | LRP_TCP_PEEK), 1);
	assert_int_equal(read_io(1, LRP_TCP_OOB), 1);
	assert_int_equal(got[0], 5);
	assert_int_equal(read_io(1, LRP_TCP_OOB), -EINVAL);
	in_urgent(1, 10, 5); /* again: it is no news */
	assert_int_equal(read_io(1, LRP_TCP_OOB), -EINVAL);
	assert_int_equal(read_io(100, 0), 5); /* behind it */
	assert_int_equal(got[0], 6);
	assert_false(lrp_tcp_at_mark(&conn));
	/* announced before it comes */
	in_urgent(11, 1, 5);
	assert_int_equal(read_io(1, LRP_TCP_OOB), -EAGAIN);
	in(ACK, 12, 1, 8);
	assert_int_equal(read_io(1, LRP_TCP_OOB), 1);
	assert_int_equal(got[0], 15);
	in_urgent(11, 1, 5);
	assert_int_equal(read_io(1, LRP_TCP_OOB), -EINVAL);
	assert_int_equal(read_io(100, 0), 4);
	assert_int_equal(read_io(100, 0), 4);
	in_urgent(16, 4, 2); /* what was passed does not come back */
	assert_int_equal(read_io(1, LRP_TCP_OOB), -EINVAL);
	assert_false(lrp_tcp_at_mark(&conn));
	/* inline */
	conn.opt.oob_inline = true;
	in_urgent(20, 10, 5);
	assert_int_equal(read_io(1, LRP_TCP_OOB), -EINVAL);
	assert_int_equal(read_io(100, 0), 4);
	assert_true(lrp_tcp_at_mark(&conn));
	assert_int_equal(read_io(100, 0), 6);
	assert_int_equal(got[0], 24);
	/* the byte itself came out of order, and is announced again */
	open_plain();
	in_urgent(11, 10, 5);
	assert_int_equal(read_io(1, LRP_TCP_OOB), 1);
	assert_int_equal(got[0], 15);
	in_urgent(1, 5, 15);
	assert_int_equal(read_io(1, LRP_TCP_OOB), -EINVAL);
	in(ACK, 6, 1, 5);
	assert_int_equal(read_io(100, 0), 14);
	assert_int_equal(read_io(100, 0), 5);
}

/* ---- ECN (RFC 3168 6.1.3) ---------------------------------------------------------- */

static void ecn(void **state)
{
	const uint8_t ece = LRP_TCP_ECE, cwr = LRP_TCP_CWR;
	struct lrp_tcp_segment s;

	(void)state;
	plain();
	opt.ecn = true;
	open_with(0, 0, 0xffff, ece);
	s = seg(ACK, 1, 1, 10);
	s.ecn = 3;
	input(&s);
	assert_true(out());
	assert_int_equal(tx.flags, ACK | ece);
	s = seg(ACK, 11, 1, 10);
	s.ecn = 2;
	input(&s);
	read_io(100, 0);
	assert_true(out());
	assert_int_equal(tx.flags, ACK | ece); /* until CWR comes */
	s = seg(ACK | cwr, 21, 1, 10);
	s.ecn = 2;
	input(&s);
	read_io(100, 0);
	assert_true(out());
	assert_int_equal(tx.flags, ACK);
	/* not agreed: nothing */
	open_plain();
	s = seg(ACK, 1, 1, 10);
	s.ecn = 3;
	input(&s);
	read_io(100, 0);
	assert_true(out());
	assert_int_equal(tx.flags, ACK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sack),
		cmocka_unit_test(dsack),
		cmocka_unit_test(duplicates),
		cmocka_unit_test(any_order),
		cmocka_unit_test(too_many_ranges),
		cmocka_unit_test(edge_of_window),
		cmocka_unit_test(early_fin),
		cmocka_unit_test(delayed),
		cmocka_unit_test(quick),
		cmocka_unit_test(attended),
		cmocka_unit_test(in_turns),
		cmocka_unit_test(all_read),
		cmocka_unit_test(pace),
		cmocka_unit_test(urgent),
		cmocka_unit_test(ecn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

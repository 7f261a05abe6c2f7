/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The window that is offered, the buffers behind it, and how large they should be. */
#include "connection.h"

#define ACK    LRP_TCP_ACK
#define MEMORY LRP_DROPPED(LRP_DROP_MEMORY)

static uint32_t edge(void)
{
	return tx.ack - IRS + ((uint32_t)tx.window << conn.rcv_wscale);
}

/* It closes as the buffer fills, and its right edge stays; it opens in steps worth sending for
 * (RFC 9293 3.8.6.2.2). */
static void closes_and_opens(void **state)
{
	uint32_t read = 0, updates = 0;

	(void)state;
	open_plain();
	for (uint32_t seq = 1; seq <= 65001; seq += 1000) {
		in(ACK, seq, 1, seq + 1000 <= 65536 ? 1000 : 535);
		while (out())
			assert_int_equal(edge(), 65536);
	}
	wait_output(S);
	while (out())
		;
	assert_int_equal(edge(), 65536);
	assert_int_equal(tx.window, 0);
	while (read < 65535) {
		ssize_t n = read_io(100, 0);

		assert_true(n > 0);
		read += (uint32_t)n;
		while (out()) {
			/* no stirring for crumbs */
			assert_true(edge() >= 65536 + BUFFER / 8 - 1);
			updates++;
			assert_in_range(edge(), 65536, read + 1 + BUFFER);
		}
	}
	assert_in_range(updates, 3, 12);
	assert_true(conn.rcv_adv - IRS > 65536 + 32768);
}

/* The channel's quota bounds what is offered anew; what was offered is not taken back. */
static void quota(void **state)
{
	(void)state;
	open_plain();
	lrp_tcp_quota(&conn, 10000);
	in(ACK, 1, 1, 1000);
	in(ACK, 1001, 1, 1000);
	assert_true(out());
	assert_int_equal(edge(), 65536);
	for (uint32_t seq = 2001; seq < 64000; seq += 1000) {
		in(ACK, seq, 1, 1000);
		assert_int_equal(read_io(BUFFER, 0), seq == 2001 ? 3000 : 1000);
		while (out())
			assert_true(edge() <= 65536 || edge() - conn.rcv_nxt + IRS <= 10000);
	}
	lrp_tcp_quota(&conn, 0);
	in(ACK, conn.rcv_nxt - IRS, 1, 1000);
	while (out())
		;
	/* and when there is room again, the peer hears of it */
	lrp_tcp_quota(&conn, 60000);
	assert_true(out());
	assert_in_range(tx.window, 58000, 60000);
	expect_nothing();
}

/* A frame is used up by a small segment, too: ten of them, and the peer has sent no larger ones. */
static void quota_of_small_segments(void **state)
{
	(void)state;
	open_plain();
	lrp_tcp_quota(&conn, 10 * LRP_TCP_FRAME_BYTES);
	for (uint32_t seq = 1; seq < 70000; seq += 500) {
		in(ACK, seq, 1, 500);
		assert_int_equal(read_io(BUFFER, 0), 500);
		while (out())
			assert_true(edge() <= 65536 || edge() - conn.rcv_nxt + IRS <= 10 * 536);
	}
	assert_true(edge() > 65536);
	/* A larger one comes: frames bring more. */
	in(ACK, conn.rcv_nxt - IRS, 1, 1000);
	assert_int_equal(read_io(BUFFER, 0), 1000);
	in(ACK, conn.rcv_nxt - IRS, 1, 1000);
	while (out())
		;
	assert_in_range(edge() - conn.rcv_nxt + IRS, 9 * 1000, 10 * 1000);
}

/* RFC 7323 2.3: units; never beyond the buffer, nor left by more than one unit. */
static void scaled(void **state)
{
	uint32_t last, x = 12345;

	(void)state;
	plain();
	opt.wscale = true;
	opt.rcv_max = 6 << 20;
	open_with(LRP_TCP_HAS_WSCALE, 0, 0xffff, 0);
	assert_int_equal(conn.rcv_wscale, 7);
	last = edge();
	for (uint32_t i = 0; i < 20000; i++) {
		uint32_t left = conn.rcv_adv - conn.rcv_nxt, len;

		x = x * 1664525 + 1013904223;
		len = 1 + (x >> 16) % 1000;
		in(ACK, conn.rcv_nxt - IRS, 1, len < left ? len : left);
		if (x & 3)
			read_io(1 + (x >> 8) % 1200, 0);
		while (out()) {
			assert_true((int32_t)(edge() - last) > -128);
			/* not at all while there is room */
			if (last + IRS - conn.rcv_read <= BUFFER - 127)
				assert_true((int32_t)(edge() - last) >= 0);
			assert_true((int32_t)(conn.rcv_adv - IRS - last) >= 0);
			assert_true(tx.ack + ((uint32_t)tx.window << 7) - conn.rcv_read <= BUFFER);
			last = (int32_t)(edge() - last) > 0 ? edge() : last;
		}
		if (conn.rcv_adv == conn.rcv_nxt)
			read_io(BUFFER, 0);
	}
}

/* Buffers are exchanged with what is in them, also out of order; not for one that is too small. */
static void resized(void **state)
{
	static uint8_t more[2][2 * BUFFER];
	struct lrp_tcp_buffer snd = {more[0], 2 * BUFFER}, rcv = {more[1], 2 * BUFFER},
			      small = {more[1], BUFFER / 2};

	(void)state;
	plain();
	opt.sack = true;
	open_with(LRP_TCP_HAS_SACK_OK, 0, 1000, 0);
	in(ACK, 1, 1, 500);
	in(ACK, 1001, 1, 500);
	assert_int_equal(write_bytes(30000), 30000);
	assert_int_equal(lrp_tcp_resize(&conn, NULL, &small), -EBUSY);
	assert_int_equal(lrp_tcp_resize(&conn, &(struct lrp_tcp_buffer){more[0], 16384}, NULL),
			 -EBUSY);
	assert_int_equal(lrp_tcp_resize(&conn, &snd, &rcv), 0);
	holds();
	memset(snd_memory, 0, sizeof(snd_memory));
	memset(rcv_memory, 0, sizeof(rcv_memory));
	in(ACK, 501, 1, 500);
	assert_int_equal(read_io(BUFFER, 0), 1500);
	for (uint32_t i = 0; i < 1500; i++)
		assert_int_equal(got[i], (i + 1) % 251);
	while (out() && !tx.payload_len)
		;
	assert_memory_equal(tx.payload[0].iov_base, bytes, tx.payload[0].iov_len);
	assert_int_equal(write_bytes(BUFFER), BUFFER);
	assert_true(conn.rcv_adv - conn.rcv_read <= 2 * BUFFER);
}

/* A reader that keeps up with a fast sender is given twice what a round trip brings. */
static void tuned(void **state)
{
	uint32_t snd, rcv;

	(void)state;
	plain();
	opt.timestamps = true;
	open_with(LRP_TCP_HAS_TIMESTAMP, 0, 0xffff, 0);
	lrp_tcp_wanted(&conn, &snd, &rcv);
	assert_int_equal(snd, BUFFER);
	assert_int_equal(rcv, BUFFER);
	for (uint32_t i = 0; i < 2000; i++) {
		struct lrp_tcp_segment s = seg(ACK, conn.rcv_nxt - IRS, 1, 988);

		s.ts_ecr -= 20; /* a round trip of 20 ms, 50 segments in each ms */
		input(&s);
		read_io(BUFFER, 0);
		while (out())
			;
		if (i % 5 == 4)
			now += MS;
	}
	lrp_tcp_wanted(&conn, &snd, &rcv);
	assert_in_range(rcv, 128 << 10, 512 << 10);
	conn.cc.cwnd = 1000000;
	lrp_tcp_wanted(&conn, &snd, &rcv);
	assert_int_equal(snd, 2 << 20);
}

/* Sizes that were asked for are had at once; what is waited for must fit the window. */
static void asked_for(void **state)
{
	uint32_t snd, rcv;

	(void)state;
	plain();
	opt.snd_min = opt.snd_max = 300000;
	opt.rcv_min = 200000;
	opt.rcv_low = 1500;
	open_with(0, 0, 1000, 0);
	lrp_tcp_wanted(&conn, &snd, &rcv);
	assert_int_equal(snd, 512 << 10);
	assert_int_equal(rcv, 256 << 10);
	in(ACK, 1, 1, 1000);
	assert_false(lrp_tcp_ready(&conn) & LRP_TCP_READABLE);
	in(ACK, 1001, 1, 500);
	assert_true(lrp_tcp_ready(&conn) & LRP_TCP_READABLE);
	lrp_tcp_quota(&conn, 2000);
	assert_int_equal(lrp_tcp_low_water(&conn), 1000);
	opt.rcv_low = 0;
	opt.mss = 300;
	lrp_tcp_options_set(&conn, now, &opt);
	assert_int_equal(lrp_tcp_low_water(&conn), 1);
	/* It counts before the handshake. */
	assert_int_equal(conn.mss, 1000);
}

/* TCP_INFO says what is. */
static void info(void **state)
{
	struct tcp_info i;

	(void)state;
	lrp_tcp_options_default(&opt);
	opt.nodelay = true;
	open_with(LRP_TCP_HAS_WSCALE | LRP_TCP_HAS_SACK_OK | LRP_TCP_HAS_TIMESTAMP, 3, 0xffff, 0);
	in(ACK, 1, 1, 500);
	write_bytes(5000);
	expect(ACK, 1, 988);
	expect(ACK, 989, 988);
	now += 10 * MS;
	in(ACK, 501, 989, 0);
	lrp_tcp_info(&conn, now, &i);
	assert_int_equal(i.tcpi_state, 1);
	assert_int_equal(i.tcpi_options, TCPI_OPT_TIMESTAMPS | TCPI_OPT_SACK | TCPI_OPT_WSCALE);
	assert_int_equal(i.tcpi_snd_wscale, 3);
	assert_int_equal(i.tcpi_rcv_wscale, 7);
	assert_int_equal(i.tcpi_snd_mss, 988);
	assert_int_equal(i.tcpi_pmtu, MTU);
	assert_int_equal(i.tcpi_unacked, 1);
	assert_int_equal(i.tcpi_bytes_acked, 988);
	assert_int_equal(i.tcpi_bytes_sent, 1976);
	assert_int_equal(i.tcpi_bytes_received, 500);
	assert_int_equal(i.tcpi_notsent_bytes, 3024);
	assert_int_equal(i.tcpi_data_segs_out, 2);
	assert_int_equal(i.tcpi_data_segs_in, 1);
	assert_int_equal(i.tcpi_segs_in, 3);
	assert_int_equal(i.tcpi_segs_out, 4);
	assert_int_equal(i.tcpi_last_data_sent, 10);
	assert_int_equal(i.tcpi_last_ack_recv, 0);
	assert_in_range(i.tcpi_snd_cwnd, 10, 11);
	assert_true(i.tcpi_rtt > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(closes_and_opens),
		cmocka_unit_test(quota),
		cmocka_unit_test(quota_of_small_segments),
		cmocka_unit_test(scaled),
		cmocka_unit_test(resized),
		cmocka_unit_test(tuned),
		cmocka_unit_test(asked_for),
		cmocka_unit_test(info),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

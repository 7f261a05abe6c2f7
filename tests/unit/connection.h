/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * connection.h - one end of a TCP connection under test, and a peer that is nothing but the
 * segments that a test writes down. Sequence numbers are relative: in what the peer
 * sends, 0 is its SYN and 1 its first byte, and so for ours. The real ones wrap at once.
 */
#ifndef LRP_TEST_CONNECTION_H
#define LRP_TEST_CONNECTION_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "runtime/tcp/tcp.h"

#define ISS	  0xfffffff8u
#define IRS	  0xffffffc0u
#define MSS	  1000u /* with timestamps 12 less */
#define MTU	  (MSS + 40)
#define BUFFER	  (64u << 10)
#define RUNS	  256u
#define MS	  1000000ll
#define S	  1000000000ll
#define TS_OFFSET 0xfffff000u /* our timestamps wrap soon, too */

static struct lrp_tcp conn;
static struct lrp_tcp_options opt;
static int64_t now;
static uint8_t snd_memory[BUFFER], rcv_memory[BUFFER], bytes[BUFFER];
static struct lrp_tcp_sent_run runs[RUNS];
static uint32_t peer_ts; /* what the peer's next segment carries, with conn.timestamps */
static bool peer_has_ts;

#define holds() assert_null(lrp_tcp_check(&conn))

/* A segment of the peer. */
static inline struct lrp_tcp_segment seg(uint8_t flags, uint32_t seq, uint32_t ack, uint32_t len)
{
	struct lrp_tcp_segment s = {.seq = IRS + seq,
				    .ack = ISS + ack,
				    .len = len,
				    .payload = bytes + seq % 251,
				    .flags = flags,
				    .window = 0xffff};

	if (peer_has_ts) {
		s.options |= LRP_TCP_HAS_TIMESTAMP;
		s.ts_val = peer_ts;
		s.ts_ecr = (uint32_t)(now / MS) + TS_OFFSET;
	}
	return s;
}

static inline int input(const struct lrp_tcp_segment *s)
{
	int result = lrp_tcp_input(&conn, now, s, NULL);

	holds();
	return result;
}

static inline int in(uint8_t flags, uint32_t seq, uint32_t ack, uint32_t len)
{
	struct lrp_tcp_segment s = seg(flags, seq, ack, len);

	return input(&s);
}

static inline int in_window(uint8_t flags, uint32_t seq, uint32_t ack, uint32_t len,
			    uint16_t window)
{
	struct lrp_tcp_segment s = seg(flags, seq, ack, len);

	s.window = window;
	return input(&s);
}

/* The next segment goes out. */
static struct lrp_tcp_tx tx;
static inline bool out_max(uint32_t max)
{
	bool any = lrp_tcp_output(&conn, now, max, &tx);

	if (any)
		lrp_tcp_sent(&conn, now, &tx);
	holds();
	return any;
}

static inline bool out(void)
{
	return out_max(1);
}

#define expect(f, s, l)                                                                            \
	do {                                                                                       \
		assert_true(out());                                                                \
		assert_int_equal(tx.flags & ~LRP_TCP_PSH, (f));                                    \
		assert_int_equal(tx.seq - ISS, (uint32_t)(s));                                     \
		assert_int_equal(tx.payload_len, (l));                                             \
	} while (0)
#define expect_ack(a)                                                                              \
	do {                                                                                       \
		assert_true(out());                                                                \
		assert_int_equal(tx.flags, LRP_TCP_ACK);                                           \
		assert_int_equal(tx.payload_len, 0);                                               \
		assert_int_equal(tx.ack - IRS, (uint32_t)(a));                                     \
	} while (0)
#define expect_nothing() assert_false(out())

/* Time passes; what is due happens on the way. */
static inline void wait_until(int64_t until)
{
	for (;;) {
		int64_t at = lrp_tcp_deadline(&conn);

		if (at > until)
			break;
		now = at > now ? at : now;
		lrp_tcp_timer(&conn, now);
		holds();
		if (lrp_tcp_output(&conn, now, 1, &tx))
			return;
	}
	now = until;
}

/* The next thing that is sent because of time; fails if nothing is within `limit`. */
static inline int64_t wait_output(int64_t limit)
{
	int64_t start = now;

	wait_until(now + limit);
	return now - start;
}

static inline void fresh(void)
{
	struct lrp_tcp_memory m = {.snd = {snd_memory, BUFFER},
				   .rcv = {rcv_memory, BUFFER},
				   .run = runs,
				   .runs = RUNS};

	for (uint32_t i = 0; i < BUFFER; i++)
		bytes[i] = (uint8_t)(i % 251);
	now = 5 * S;
	peer_ts = 0xfffffff0;
	peer_has_ts = false;
	lrp_tcp_init(&conn, &opt, &m);
}

/* What each test starts with: nothing that is not asked for. */
static inline void plain(void)
{
	lrp_tcp_options_default(&opt);
	opt.timestamps = opt.sack = opt.wscale = false;
	opt.nodelay = true;
	opt.cc = &lrp_tcp_newreno;
}

/* Open from our side, up to ESTABLISHED; the peer's options go with its SYN. */
static inline void open_with(uint8_t options, uint8_t wscale, uint16_t window, uint8_t flags)
{
	struct lrp_tcp_segment s;

	fresh();
	lrp_tcp_connect(&conn, now, AF_INET, MTU, ISS, TS_OFFSET);
	assert_true(out());
	assert_int_equal(tx.seq, ISS);
	peer_has_ts = options & LRP_TCP_HAS_TIMESTAMP;
	s = seg(LRP_TCP_SYN | LRP_TCP_ACK | flags, 0, 1, 0);
	s.options = options | LRP_TCP_HAS_MSS;
	s.mss = MSS;
	s.wscale = wscale;
	s.window = window;
	assert_int_equal(input(&s), 0);
	peer_has_ts = conn.timestamps;
	assert_true(out());
	assert_int_equal(tx.flags, LRP_TCP_ACK);
	assert_int_equal(conn.state, LRP_TCP_ESTABLISHED);
	conn.quick = 0;
}

static inline void open_plain(void)
{
	plain();
	open_with(0, 0, 0xffff, 0);
}

static inline ssize_t write_io(uint32_t len, int io)
{
	struct iovec iov = {bytes, len};
	ssize_t n = lrp_tcp_write(&conn, now, &iov, 1, io);

	holds();
	return n;
}

static inline ssize_t write_bytes(uint32_t len)
{
	return write_io(len, 0);
}

static uint8_t got[BUFFER];
static inline ssize_t read_io(uint32_t len, int io)
{
	struct iovec iov = {got, len};
	ssize_t n = lrp_tcp_read(&conn, now, &iov, 1, io);

	holds();
	return n;
}

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tcp_sender.h - a sender's loss recovery under scripted acknowledgements: segments
 * of 1,000 bytes, numbered from 0, of which the fifth passes 2^32.
 */
#ifndef LRP_TEST_TCP_SENDER_H
#define LRP_TEST_TCP_SENDER_H

#include "runtime/tcp/recovery.h"
#include "runtime/tcp/seq.h"

#define MSS 1000u
#define ISN (0u - 4500u)
#define MS  1000000ll
#define RTT (100 * MS)

struct sender {
	struct lrp_tcp_recovery r;
	struct lrp_tcp_cc cc;
	struct lrp_tcp_sent_run run[256];
	struct lrp_tcp_acked acked;
	int64_t now;
	uint32_t ecr; /* timestamp that the next acknowledgement echoes */
	bool ece, duplicate_data;
};

static inline uint32_t seg(uint32_t n)
{
	return ISN + n * MSS;
}

static inline uint32_t ts(const struct sender *s)
{
	return (uint32_t)(s->now / MS) + 0xfffffff0u;
}

static inline void sender_check(const struct sender *s)
{
	const char *broken = lrp_tcp_recovery_check(&s->r);

	if (broken)
		fail_msg("%s", broken);
}

/* With an RTT of 100 ms known and a window of `window` segments. */
static inline void sender_init(struct sender *s, const struct lrp_tcp_cc_ops *cc, uint32_t window)
{
	memset(s, 0, sizeof(*s));
	s->now = 10000 * MS;
	lrp_tcp_recovery_init(&s->r, s->run, 256, ISN);
	lrp_tcp_cc_init(&s->cc, cc, MSS);
	s->cc.cwnd = window * MSS;
	s->r.sack = true;
	lrp_tcp_recovery_rtt(&s->r, s->now, RTT);
}

/* New segments [from, to), a microsecond apart. */
static inline void transmit(struct sender *s, uint32_t from, uint32_t to)
{
	for (; from < to; from++) {
		assert_int_equal(seg(from), s->r.board.nxt);
		lrp_tcp_recovery_sent(&s->r, &s->cc, s->now, seg(from), MSS, ts(s));
		sender_check(s);
		s->now += 1000;
	}
}

struct blocks {
	uint32_t from[4], to[4];
};

static inline void ack_blocks(struct sender *s, uint32_t n, struct blocks b)
{
	struct lrp_tcp_segment g = {.ack = seg(n), .flags = LRP_TCP_ACK};

	for (; g.sacks < 4 && b.to[g.sacks]; g.sacks++)
		g.sack[g.sacks] = (struct lrp_tcp_sack){seg(b.from[g.sacks]), seg(b.to[g.sacks])};
	if (s->r.timestamps) {
		g.options = LRP_TCP_HAS_TIMESTAMP;
		g.ts_ecr = s->ecr;
	}
	if (s->duplicate_data)
		g.len = 1;
	lrp_tcp_recovery_ack(&s->r, &s->cc, s->now, &g, false, s->ece, &s->acked);
	sender_check(s);
}

static inline void ack(struct sender *s, uint32_t n)
{
	ack_blocks(s, n, (struct blocks){{0}, {0}});
}

/* Acknowledges up to n; [from, to) is sacked. */
static inline void sack(struct sender *s, uint32_t n, uint32_t from, uint32_t to)
{
	ack_blocks(s, n, (struct blocks){{from}, {to}});
}

/* Sends again what recovery names; the number of the segment, or -1 for none. */
static inline int again(struct sender *s)
{
	uint32_t seq, len;

	if (!lrp_tcp_recovery_again(&s->r, &s->cc, MSS, &seq, &len))
		return -1;
	lrp_tcp_recovery_sent(&s->r, &s->cc, s->now, seq, len, ts(s));
	sender_check(s);
	s->now += 1000;
	return (int)((seq - ISN) / MSS);
}

static inline uint32_t room(const struct sender *s)
{
	return lrp_tcp_recovery_room(&s->r, &s->cc) / MSS;
}

static inline uint32_t flight(const struct sender *s)
{
	return lrp_tcp_recovery_in_flight(&s->r) / MSS;
}

/* Lets the next timer come due. */
static inline enum lrp_tcp_recovery_event expire(struct sender *s)
{
	enum lrp_tcp_recovery_event e;

	assert_true(lrp_tcp_recovery_deadline(&s->r) != LRP_TCP_NEVER);
	if (s->now < lrp_tcp_recovery_deadline(&s->r))
		s->now = lrp_tcp_recovery_deadline(&s->r);
	e = lrp_tcp_recovery_timer(&s->r, &s->cc, s->now);
	sender_check(s);
	return e;
}

/* Segment `lost` of n in flight is; recovery has begun and it was sent again after an RTT. */
static inline void lose_one(struct sender *s, uint32_t lost, uint32_t n)
{
	transmit(s, 0, n);
	s->now += RTT;
	for (uint32_t i = lost + 1; i < lost + 4; i++)
		sack(s, lost, lost + 1, i + 1);
	assert_int_equal(s->r.state, LRP_TCP_RECOVERY);
	assert_int_equal(again(s), lost);
}

#endif

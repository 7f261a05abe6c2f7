/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The scoreboard against a model that has a record of every segment and searches all of them: after
 * any sequence of sendings, SACK blocks, losses, losses taken back and acknowledgements both say
 * the same. And the depth of the tree.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "packets.h"
#include "runtime/tcp/rack.h"
#include "runtime/tcp/run.h"

#define MSS	 100u
#define ISN	 (0u - 777u * MSS)
#define SEGMENTS 600u /* that may be out */
#define MS	 1000000ll

static struct lrp_tcp_scoreboard b;
static struct lrp_tcp_sent_run run[2048];
static struct lrp_tcp_rack rack;
static int64_t now;

/* The model: segment n of the connection is at n % SEGMENTS. */
static struct {
	int64_t sent_ns;
	bool sacked, again, marked;
} model[SEGMENTS];
static uint32_t first, last; /* numbers of the segments that are out */
static bool forgiven;

#define M(n) model[(n) % SEGMENTS]

static void same(void)
{
	const char *broken = lrp_tcp_scoreboard_check(&b);
	uint32_t sacked = 0, lost = 0, again = 0;

	if (broken)
		fail_msg("%s", broken);
	for (uint32_t i = first; i != last; i++) {
		bool is_lost = M(i).marked && !forgiven && !M(i).sacked;

		sacked += M(i).sacked;
		lost += is_lost;
		again += M(i).again && !M(i).sacked && !is_lost;
	}
	assert_int_equal(b.una, ISN + first * MSS);
	assert_int_equal(b.nxt, ISN + last * MSS);
	assert_int_equal(b.sacked_bytes, sacked * MSS);
	assert_int_equal(b.lost_bytes, lost * MSS);
	assert_int_equal(b.again_bytes, again * MSS);
}

static void transmit(uint32_t n)
{
	if (last - first + n > SEGMENTS)
		return;
	lrp_tcp_scoreboard_new(&b, now, n * MSS, 0);
	for (; n; n--, last++)
		M(last) = (typeof(M(0))){.sent_ns = b.stamp_ns};
}

static void transmit_again(void)
{
	uint16_t i = lrp_tcp_scoreboard_lost(&b);
	uint32_t n, k;

	if (i == NONE)
		return;
	k = (b.run[i].seq - ISN) / MSS;
	n = 1 + rnd_below((b.run[i].end - b.run[i].seq) / MSS);
	assert_true(M(k).marked && !M(k).sacked && !forgiven);
	/* What is sent again at one time becomes one run, of which the model knows nothing. */
	now = now > b.stamp_ns ? now : b.stamp_ns + 1;
	lrp_tcp_scoreboard_again(&b, now, ISN + k * MSS, ISN + (k + n) * MSS, 0);
	for (; n; n--, k++) {
		M(k).sent_ns = b.stamp_ns;
		M(k).again = true;
		M(k).marked = false;
	}
}

/* A block with edges anywhere: what it covers in whole counts. */
static void sack(struct lrp_tcp_delivery *d)
{
	uint32_t out = last - first, from, len, begin, end;
	struct lrp_tcp_sack s;

	if (!out)
		return;
	from = rnd_below(out * MSS);
	len = 1 + rnd_below(rnd_below(4) ? 8 * MSS : out * MSS);
	if (from + len > out * MSS)
		len = out * MSS - from;
	if (rnd_below(2)) {
		from -= from % MSS;
		len += (MSS - len % MSS) % MSS;
		len = from + len > out * MSS ? out * MSS - from : len;
	}
	begin = (from + MSS - 1) / MSS;
	end = (from + len) / MSS;
	s = (struct lrp_tcp_sack){b.una + from, b.una + from + len};
	lrp_tcp_scoreboard_sacked(&b, b.una, &s, 1, d);
	for (; begin < end; begin++)
		M(first + begin).sacked = true;
}

static void acknowledge(struct lrp_tcp_delivery *d)
{
	uint32_t n = rnd_below(last - first + 1);

	n = rnd_below(4) ? n % 8 : n;
	/* Nothing has thrown away what it sacked. */
	while (first + n != last && M(first + n).sacked)
		n++;
	lrp_tcp_scoreboard_acked(&b, b.una + n * MSS, d);
	first += n;
}

/* RFC 8985 6.2 step 5, segment by segment. */
static void detect(int64_t window)
{
	int64_t late = now - rack.rtt_ns - window, wait = 0;
	struct lrp_tcp_rack_losses found;
	bool all = true, any = false;

	for (uint32_t i = first; forgiven && i != last; i++)
		if (M(i).marked && !M(i).sacked) {
			any = true;
			all &= M(i).sent_ns <= late;
		}
	if (forgiven && (all || !any))
		forgiven = false;
	for (uint32_t i = first; i != last; i++) {
		bool before =
			M(i).sent_ns < rack.sent_ns ||
			(M(i).sent_ns == rack.sent_ns && lrp_seq_lt(ISN + (i + 1) * MSS, rack.end));

		if (M(i).sacked || !before)
			continue;
		if (!forgiven && M(i).sent_ns <= late)
			M(i).marked = true;
		if (M(i).sent_ns - late > wait)
			wait = M(i).sent_ns - late;
	}
	found = lrp_tcp_rack_detect(&rack, &b, now, window);
	assert_int_equal(found.wait_ns, wait);
}

static void step(void)
{
	struct lrp_tcp_delivery d;

	now += rnd_below(3) ? rnd_below(1000000) : 0;
	lrp_tcp_delivery_init(&d, &b, now, 0, b.nxt);
	switch (rnd_below(12)) {
	case 0 ... 3:
		transmit(1 + rnd_below(20));
		break;
	case 4 ... 5:
		transmit_again();
		break;
	case 6 ... 8:
		sack(&d);
		lrp_tcp_rack_update(&rack, &d, false, b.una, b.nxt);
		break;
	case 9:
		acknowledge(&d);
		lrp_tcp_rack_update(&rack, &d, false, b.una, b.nxt);
		break;
	case 10:
		/* The mark that is left behind must not be mistaken for newer runs' mark. */
		detect(rnd_below(8) * MS / 4);
		break;
	default:
		if (b.lost_bytes && rnd_below(2)) {
			lrp_tcp_scoreboard_find_all(&b);
			forgiven = true;
		}
	}
	same();
}

static void begin(uint16_t runs)
{
	lrp_tcp_scoreboard_init(&b, run, runs, ISN);
	lrp_tcp_rack_init(&rack);
	b.mss = MSS;
	first = last = 0;
	forgiven = false;
	now = 1000 * MS;
}

static void as_the_model(void **state)
{
	(void)state;
	for (int round = 0; round < 60; round++) {
		begin(2048);
		for (int i = 0; i < 2000; i++)
			step();
	}
}

/* 1.45 log2(n): 600 runs of one segment each, then holes. */
static void searches_are_short(void **state)
{
	(void)state;
	begin(2048);
	for (uint32_t i = 0; i < SEGMENTS; i++) {
		now += MS;
		transmit(1);
	}
	for (uint32_t i = 0; i < SEGMENTS; i++) {
		b.steps = 0;
		assert_int_equal(b.run[lrp_tcp_tree_find(&b, ISN + i * MSS + 1)].seq,
				 ISN + i * MSS);
		assert_true(b.steps <= 14);
	}
}

/* An edge inside a segment is moved to where the segment ends. */
static void whole_segments_count(void **state)
{
	struct lrp_tcp_delivery d;
	struct lrp_tcp_sack s;

	(void)state;
	begin(2048);
	transmit(10);
	for (uint32_t i = 0; i < 10 * MSS - 2; i++) {
		s = (struct lrp_tcp_sack){ISN + i, ISN + i + 1};
		lrp_tcp_delivery_init(&d, &b, now, 0, b.nxt);
		lrp_tcp_scoreboard_sacked(&b, ISN, &s, 1, &d);
	}
	assert_int_equal(b.used, 1);
	s = (struct lrp_tcp_sack){ISN + 150, ISN + 450};
	lrp_tcp_scoreboard_sacked(&b, ISN, &s, 1, &d);
	assert_int_equal(b.sacked_bytes, 2 * MSS);
	/* The same block, longer: what was cut off counts now. */
	s = (struct lrp_tcp_sack){ISN + 150, ISN + 500};
	lrp_tcp_scoreboard_sacked(&b, ISN, &s, 1, &d);
	assert_int_equal(b.sacked_bytes, 3 * MSS);
	assert_null(lrp_tcp_scoreboard_check(&b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_the_model),
		cmocka_unit_test(searches_are_short),
		cmocka_unit_test(whole_segments_count),
	};

	return cmocka_run_group_tests_name("tcp_run_tree", tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "tcp_sender.h"

static struct lrp_tcp_scoreboard b;
static struct lrp_tcp_sent_run run[64], more[128];
static struct lrp_tcp_delivery d;

static void check(void)
{
	const char *broken = lrp_tcp_scoreboard_check(&b);

	if (broken)
		fail_msg("%s", broken);
}

/* `n` segments; each a record of its own, or all one. */
static void out(uint32_t n, bool apart)
{
	lrp_tcp_scoreboard_init(&b, run, 64, ISN);
	for (uint32_t i = 0; i < n; i++)
		lrp_tcp_scoreboard_new(&b, apart ? MS * (i + 1) : MS, MSS, i);
	lrp_tcp_delivery_init(&d, &b, 1000 * MS, MS, ISN);
	check();
}

static void sacked(uint32_t n, struct blocks k)
{
	struct lrp_tcp_sack s[4];
	uint32_t i;

	for (i = 0; i < 4 && k.to[i]; i++)
		s[i] = (struct lrp_tcp_sack){seg(k.from[i]), seg(k.to[i])};
	lrp_tcp_delivery_init(&d, &b, 1000 * MS, MS, ISN);
	lrp_tcp_scoreboard_sacked(&b, seg(n), s, i, &d);
	check();
	lrp_tcp_scoreboard_acked(&b, seg(n), &d);
	check();
}

#define BLOCK(f, t) ((struct blocks){{f}, {t}})

static void acknowledged(void **state)
{
	(void)state;
	out(10, true);
	assert_int_equal(b.used, 10);
	sacked(5, (struct blocks){{0}, {0}});
	assert_int_equal(b.used, 5);
	assert_int_equal(d.acked, 5 * MSS);
	assert_int_equal(d.acked_first_ns, MS);
	assert_int_equal(d.acked_last_ns, 5 * MS);
	assert_int_equal(d.newest_end, seg(5));
	sacked(10, (struct blocks){{0}, {0}});
	assert_int_equal(b.used, 0);
}

static void one_record_for_one_run(void **state)
{
	(void)state;
	out(44, false);
	assert_int_equal(b.used, 1);
	sacked(7, (struct blocks){{0}, {0}});
	assert_int_equal(b.used, 1);
	assert_int_equal(b.run[b.first].seq, seg(7));
	sacked(7, BLOCK(10, 12));
	assert_int_equal(b.used, 3);
	assert_int_equal(b.sacked_bytes, 2 * MSS);
}

static void sacked_neighbours_are_one(void **state)
{
	(void)state;
	out(20, true);
	sacked(0, BLOCK(2, 4));
	sacked(0, (struct blocks){{6, 2}, {8, 4}});
	assert_int_equal(b.used, 20 - 2);
	assert_int_equal(d.sacked, 2 * MSS); /* the old block counts once */
	sacked(0, BLOCK(4, 6));
	assert_int_equal(b.used, 20 - 5);
	assert_int_equal(b.sacked_bytes, 6 * MSS);
	sacked(0, BLOCK(2, 12));
	assert_int_equal(d.sacked, 4 * MSS);
	assert_int_equal(b.sacked_bytes, 10 * MSS);
	sacked(12, (struct blocks){{0}, {0}});
	assert_int_equal(d.acked, 2 * MSS); /* delivered once */
	assert_int_equal(b.sacked_bytes, 0);
}

/* RFC 2883 4: a first block below the acknowledgement, or inside the second. */
static void duplicates_reported(void **state)
{
	(void)state;
	out(20, true);
	sacked(5, (struct blocks){{3, 8}, {4, 10}});
	assert_true(d.dsack);
	assert_int_equal(d.duplicate.start, seg(3));
	assert_int_equal(d.sacked, 2 * MSS);
	sacked(5, (struct blocks){{9, 8}, {10, 12}});
	assert_true(d.dsack);
	assert_int_equal(d.duplicate.start, seg(9));
	assert_int_equal(d.sacked, 2 * MSS);
	sacked(5, (struct blocks){{14, 8}, {16, 12}});
	assert_false(d.dsack);
	assert_int_equal(d.sacked, 2 * MSS);
}

static void nonsense_is_ignored(void **state)
{
	(void)state;
	out(10, true);
	sacked(3, (struct blocks){{8, 6, 5}, {20, 6, 4}}); /* beyond nxt, empty, turned around */
	assert_int_equal(d.sacked, 0);
	sacked(3,
	       (struct blocks){{5, 1}, {6, 2}}); /* the second is older than the acknowledgement */
	assert_int_equal(d.sacked, MSS);
	assert_int_equal(b.sacked_bytes, MSS);
}

static void reordering_is_seen(void **state)
{
	(void)state;
	out(10, true);
	sacked(0, (struct blocks){{6, 3}, {7, 4}});
	assert_false(d.reordered); /* both new: no order known */
	sacked(0, (struct blocks){{4, 6}, {5, 7}});
	assert_true(d.reordered);
	assert_int_equal(d.reordered_seq, seg(4));
	out(10, true);
	sacked(0, BLOCK(3, 4));
	lrp_tcp_scoreboard_again(&b, 100 * MS, seg(0), seg(3), 0);
	sacked(3, (struct blocks){{0}, {0}});
	assert_false(d.reordered); /* it was sent again */
}

static void lost_and_sent_again(void **state)
{
	(void)state;
	out(10, true);
	lrp_tcp_scoreboard_lose(&b);
	lrp_tcp_scoreboard_lose(&b);
	check();
	assert_int_equal(b.lost_bytes, 2 * MSS);
	assert_int_equal(b.run[lrp_tcp_scoreboard_lost(&b)].seq, seg(0));
	lrp_tcp_scoreboard_again(&b, 50 * MS, seg(0), seg(0) + 300, 0);
	check();
	assert_int_equal(b.lost_bytes, 2 * MSS - 300);
	assert_int_equal(b.again_bytes, 300);
	assert_int_equal(b.run[b.newest].seq, seg(0)); /* last sent */
	assert_int_equal(b.run[lrp_tcp_scoreboard_lost(&b)].seq, seg(0) + 300);
	sacked(0, BLOCK(1, 2)); /* not lost, late */
	assert_int_equal(b.lost_bytes, MSS - 300);
	lrp_tcp_scoreboard_find_all(&b);
	check();
	assert_int_equal(b.lost_bytes, 0);
	assert_int_equal(b.run[b.oldest].seq, seg(0) + 300); /* back where it was */
}

/* RFC 8985 6.3: after a timeout the first, and what has been out for long. */
static void lost_by_time(void **state)
{
	(void)state;
	out(10, true);
	lrp_tcp_scoreboard_lose_sent(&b, 4 * MS);
	check();
	assert_int_equal(b.lost_bytes, 4 * MSS);
	out(10, true);
	lrp_tcp_scoreboard_lose_sent(&b, 0);
	assert_int_equal(b.lost_bytes, MSS);
}

static void reneged(void **state)
{
	(void)state;
	out(10, true);
	sacked(0, BLOCK(2, 5));
	assert_false(lrp_tcp_scoreboard_reneged(&b));
	sacked(2, (struct blocks){{0}, {0}});
	assert_true(lrp_tcp_scoreboard_reneged(&b));
	lrp_tcp_scoreboard_lose_all(&b);
	check();
	assert_int_equal(b.lost_bytes, 8 * MSS); /* all that is out, as in Linux */
	sacked(2, BLOCK(2, 5)); /* the same block again: it must not be taken for known */
	assert_int_equal(d.sacked, 3 * MSS);
}

/* The owner's clock may stand still while much is sent: what went first is still known, or a
 * retransmission looks overtaken by new data that followed it. */
static void no_two_at_one_time(void **state)
{
	(void)state;
	out(4, false);
	lrp_tcp_scoreboard_again(&b, MS, seg(0), seg(1), 0);
	lrp_tcp_scoreboard_new(&b, MS, MSS, 0);
	check();
	assert_true(b.run[b.last].sent_ns > b.run[b.first].sent_ns);
	assert_true(b.run[b.first].sent_ns > b.run[b.oldest].sent_ns);
}

static void records_never_run_out(void **state)
{
	uint32_t n = 1000;

	(void)state;
	for (int when = 0; when < 2; when++) {
		lrp_tcp_scoreboard_init(&b, run, LRP_TCP_SENT_RUNS_MIN, ISN);
		for (uint32_t i = 0; i < n; i++) {
			lrp_tcp_scoreboard_new(&b, MS * (i + 1), 10, 0);
			if (when && i % 3 == 2) /* each third is sacked as it goes */
				lrp_tcp_scoreboard_sacked(
					&b, ISN,
					&(struct lrp_tcp_sack){ISN + 10 * i, ISN + 10 * i + 10}, 1,
					&d);
			check();
		}
		for (uint32_t i = 1; i < n; i += 2) {
			struct lrp_tcp_sack s = {ISN + 10 * i, ISN + 10 * i + 10};

			lrp_tcp_scoreboard_sacked(&b, ISN, &s, 1, &d);
			check();
		}
		lrp_tcp_scoreboard_lose_sent(&b, INT64_MAX);
		check();
		for (uint32_t i = 0; b.lost_bytes; i++) {
			uint32_t seq = b.run[lrp_tcp_scoreboard_lost(&b)].seq;

			assert_true(i < 10 * n); /* comes to an end */
			lrp_tcp_scoreboard_again(&b, 2000 * MS, seq, seq + 1, 0);
			check();
		}
		lrp_tcp_scoreboard_acked(&b, b.nxt, &d);
		check();
		assert_int_equal(b.used, 0);
	}
}

static void grows(void **state)
{
	(void)state;
	out(60, true);
	assert_true(lrp_tcp_scoreboard_crowded(&b));
	sacked(3, BLOCK(10, 20));
	lrp_tcp_scoreboard_grow(&b, more, 128);
	memset(run, 0xa5, sizeof(run));
	check();
	assert_false(lrp_tcp_scoreboard_crowded(&b));
	sacked(60, (struct blocks){{0}, {0}});
	assert_int_equal(d.acked, 47 * MSS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(acknowledged),
		cmocka_unit_test(one_record_for_one_run),
		cmocka_unit_test(sacked_neighbours_are_one),
		cmocka_unit_test(duplicates_reported),
		cmocka_unit_test(nonsense_is_ignored),
		cmocka_unit_test(reordering_is_seen),
		cmocka_unit_test(lost_and_sent_again),
		cmocka_unit_test(lost_by_time),
		cmocka_unit_test(reneged),
		cmocka_unit_test(no_two_at_one_time),
		cmocka_unit_test(records_never_run_out),
		cmocka_unit_test(grows),
	};

	return cmocka_run_group_tests_name("tcp_scoreboard", tests, NULL, NULL);
}

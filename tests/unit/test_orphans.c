/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Twin of runtime/ip/orphans.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "runtime/ip/orphans.h"

static struct lrp_orphan_index index_, *const ix = &index_;

static int setup(void **state)
{
	(void)state;
	memset(ix, 0xa5, sizeof(*ix)); /* contents do not matter */
	lrp_orphan_index_init(ix);
	return 0;
}

static uint32_t hash_of(uint32_t i)
{
	i *= 0x9e3779b9u;
	return i ^ i >> 15;
}

static void note(uint32_t hash, uint32_t at)
{
	lrp_orphan_index_note(ix, hash, (struct lrp_orphan_place){.channel = at % 3, .at = at});
}

static void test_take(void **state)
{
	struct lrp_orphan_place place;
	uint32_t seen = 0;

	(void)state;
	assert_false(lrp_orphan_index_take(ix, 5, &place));
	note(5, 10);
	note(5 + LRP_ORPHAN_BUCKETS, 20); /* in the same bucket */
	note(5, 11);
	while (lrp_orphan_index_take(ix, 5, &place)) {
		assert_int_equal(place.channel, place.at % 3);
		seen |= 1u << place.at;
	}
	assert_int_equal(seen, 1u << 10 | 1u << 11);
	assert_true(lrp_orphan_index_take(ix, 5 + LRP_ORPHAN_BUCKETS, &place));
	assert_int_equal(place.at, 20);
	assert_false(lrp_orphan_index_take(ix, 5 + LRP_ORPHAN_BUCKETS, &place));
}

/* The oldest go; none that is remembered is lost, also when the count of notes wraps. */
static void test_full(void **state)
{
	const uint32_t start[] = {0, 0u - 3 * LRP_ORPHAN_PLACES / 2};
	struct lrp_orphan_place place;

	for (int s = 0; s < 2; s++) {
		setup(state);
		for (uint32_t i = 0; i < LRP_ORPHAN_PLACES && s; i++)
			note(0, i); /* all are in use */
		ix->noted = s ? start[s] : 0;
		for (uint32_t i = 0; i < 3 * LRP_ORPHAN_PLACES; i++) {
			note(hash_of(i), i);
			if (i % 7 == 0) {
				assert_true(lrp_orphan_index_take(ix, hash_of(i), &place));
				assert_int_equal(place.at, i);
			}
		}
		for (uint32_t i = 0; i < 3 * LRP_ORPHAN_PLACES; i++)
			assert_int_equal(lrp_orphan_index_take(ix, hash_of(i), &place),
					 i >= 2 * LRP_ORPHAN_PLACES && i % 7);
	}
}

/* What a first fragment costs that has no orphans, and one that has, whatever is stored. */
static void test_cost(void **state)
{
	struct lrp_orphan_place place;
	uint64_t steps[2];

	(void)state;
	for (int full = 0; full < 2; full++) {
		for (uint32_t i = 0; full && i < 10 * LRP_ORPHAN_PLACES; i++)
			note(hash_of(i), i);
		steps[full] = ix->steps;
		for (uint32_t i = 0; i < 1000; i++) {
			assert_false(lrp_orphan_index_take(ix, hash_of(~i), &place));
			note(hash_of(~i), i);
			assert_true(lrp_orphan_index_take(ix, hash_of(~i), &place));
		}
		steps[full] = ix->steps - steps[full];
	}
	/* A bucket has two on average when all places are taken: each is looked at when there is
	 * no orphan, the new one comes first when there is, and the oldest leaves its bucket. */
	assert_true(steps[0] >= 1000);
	assert_true(steps[1] <= 7 * 1000);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup(name, setup)
	const struct CMUnitTest tests[] = {T(test_take), T(test_full), T(test_cost)};

	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* test_heap.c - the heap against a search through all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "runtime/base/heap.h"

#define NODES 200

static int64_t least(const struct lrp_heap_node *node)
{
	int64_t at = INT64_MAX;

	for (int i = 0; i < NODES; i++)
		if (node[i].place && node[i].at < at)
			at = node[i].at;
	return at;
}

static void test_any_order(void **state)
{
	static struct lrp_heap_node node[NODES], *slot[NODES + 1];
	struct lrp_heap heap = {.slot = slot, .room = NODES + 1};
	uint32_t in = 0;

	(void)state;
	srand(1);
	for (int i = 0; i < 100000; i++) {
		struct lrp_heap_node *n = &node[rand() % NODES];

		if (rand() % 3) {
			in += !n->place;
			lrp_heap_set(&heap, n, rand() % 50);
		} else {
			in -= n->place != 0;
			lrp_heap_remove(&heap, n);
		}
		assert_int_equal(heap.count, in);
		if (in)
			assert_int_equal(lrp_heap_first(&heap)->at, least(node));
		else
			assert_null(lrp_heap_first(&heap));
		for (uint32_t k = 1; k <= heap.count; k++)
			assert_int_equal(heap.slot[k]->place, k);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_any_order)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

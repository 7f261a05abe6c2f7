/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "packets.h"
#include "tcp.h"
#include "runtime/tcp/flowtable.h"

#define SLOTS 64
#define FLOWS 200
#define LISTS 3

struct record {
	struct lrp_tcp_flow_head head;
	uint32_t id;
};

static const uint64_t key[2] = {11, 12};
static struct record slot[SLOTS];
static struct lrp_tcp_flow_table table;

/* What the table should hold: which list each flow is on, and the lists in order. */
static int list_of[FLOWS];
static uint32_t order[LISTS][FLOWS], length[LISTS];

static void model_remove(uint32_t id)
{
	int l = list_of[id];

	for (uint32_t i = 0, j = 0; i < length[l]; i++)
		if (order[l][i] != id)
			order[l][j++] = order[l][i];
	length[l]--;
	list_of[id] = -1;
}

static void model_append(uint32_t id, int l)
{
	order[l][length[l]++] = id;
	list_of[id] = l;
}

static struct record *find(uint32_t id)
{
	struct lrp_tcp_flow f = flow_of(id % 2 ? AF_INET : AF_INET6, id);

	return lrp_tcp_flow_find(&table, &f);
}

static void check(void)
{
	uint32_t used = 0;

	for (uint32_t id = 0; id < FLOWS; id++) {
		struct record *r = find(id);

		assert_int_equal(r != NULL, list_of[id] >= 0);
		if (r) {
			assert_int_equal(r->id, id);
			assert_int_equal(r->head.list, list_of[id]);
			used++;
		}
	}
	assert_int_equal(table.used, used);
	for (uint32_t l = 0; l < LISTS; l++) {
		struct record *r = lrp_tcp_flow_first(&table, l);
		uint32_t before = LRP_TCP_FLOW_NONE;

		for (uint32_t i = 0; i < length[l]; i++) {
			assert_non_null(r);
			assert_int_equal(r->id, order[l][i]);
			assert_int_equal(r->head.prev, before);
			before = (uint32_t)(r - slot);
			r = r->head.next == LRP_TCP_FLOW_NONE ? NULL : slot + r->head.next;
		}
		assert_null(r);
		assert_int_equal(table.list[l].last, before);
	}
}

/* Random work, compared with the model after each step; the table is at its bound most of the time,
 * so that long runs of slots wrap round its end. */
static void as_the_model(void **state)
{
	(void)state;
	lrp_tcp_flow_table_init(&table, slot, sizeof(slot[0]), SLOTS, key);
	memset(list_of, -1, sizeof(list_of));
	for (int step = 0; step < 20000; step++) {
		uint32_t id = rnd_below(FLOWS), l = rnd_below(LISTS);
		struct record *r = find(id);

		if (!r && table.used < lrp_tcp_flow_table_most(&table)) {
			struct lrp_tcp_flow f = flow_of(id % 2 ? AF_INET : AF_INET6, id);

			r = lrp_tcp_flow_insert(&table, &f, l);
			assert_int_equal(r->id, 0);
			r->id = id;
			model_append(id, (int)l);
		} else if (!r) {
			r = lrp_tcp_flow_first(&table, l);
			if (!r)
				continue;
			model_remove(r->id);
			lrp_tcp_flow_remove(&table, r);
		} else if (rnd_below(2)) {
			model_remove(id);
			model_append(id, (int)l);
			lrp_tcp_flow_requeue(&table, r, l);
		} else {
			model_remove(id);
			lrp_tcp_flow_remove(&table, r);
		}
		check();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_the_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* test_budget.c - the token buckets: nobody gets more than his share over time, and nobody
 * waits for ever. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "loader/daemon/budget.h"

#define MS 1000000ull
#define S  1000000000ull

static struct lrp_budget *budget;

static int setup(void **state)
{
	(void)state;
	budget = lrp_budget_new(4, 100);
	return budget ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	lrp_budget_free(budget);
	return 0;
}

/* Requests of 3 ms as fast as they are let through, for ten seconds. */
static void test_share(void **state)
{
	struct lrp_budget_user *user = lrp_budget_user(budget, 1000, 0);
	uint64_t now = 0, had = 0, at;

	(void)state;
	while (now < 10 * S) {
		at = lrp_budget_over(budget, user, now);
		if (at) {
			assert_true(at > now && at < now + 100 * MS);
			now = at;
			continue;
		}
		now += 3 * MS;
		had += 3 * MS;
		lrp_budget_charge(budget, user, now, 3 * MS);
	}
	/* 100 ms a second, and the bucket that was full. */
	assert_in_range(had, 1000 * MS, 1060 * MS);
}

static void test_debt(void **state)
{
	struct lrp_budget_user *user = lrp_budget_user(budget, 1000, S);
	uint64_t at;

	(void)state;
	/* One request that took two seconds is paid for. */
	lrp_budget_charge(budget, user, S, 2 * S);
	at = lrp_budget_over(budget, user, S);
	assert_in_range(at, 20 * S, 21 * S);
	assert_int_not_equal(lrp_budget_over(budget, user, at - 100 * MS), 0);
	assert_int_equal(lrp_budget_over(budget, user, at), 0);
	/* A clock that seems to go back fills nothing. */
	lrp_budget_charge(budget, user, at, 10 * MS);
	assert_int_not_equal(lrp_budget_over(budget, user, S), 0);
}

/* Short requests, each far below the clock's step of the bucket, are counted, too. */
static void test_crumbs(void **state)
{
	struct lrp_budget_user *user = lrp_budget_user(budget, 1000, 0);
	uint64_t now = 0, had = 0, at;

	(void)state;
	while (now < S) {
		at = lrp_budget_over(budget, user, now);
		if (at)
			now = at;
		now += 700;
		had += 700;
		lrp_budget_charge(budget, user, now, 700);
	}
	assert_in_range(had, 100 * MS, 160 * MS);
}

/* An account is another user's only when nothing is owed and nobody is connected. */
static void test_accounts(void **state)
{
	struct lrp_budget_user *a = lrp_budget_user(budget, 1, 0), *user;

	(void)state;
	assert_ptr_equal(lrp_budget_user(budget, 1, 0), a);
	a->connections = 1;
	for (uid_t uid = 2; uid <= 4; uid++) {
		user = lrp_budget_user(budget, uid, 0);
		assert_non_null(user);
		lrp_budget_charge(budget, user, 0, S);
	}
	assert_null(lrp_budget_user(budget, 5, 1 * S));
	assert_ptr_equal(lrp_budget_user(budget, 1, 1 * S), a);
	user = lrp_budget_user(budget, 5, 100 * S);
	assert_non_null(user);
	assert_ptr_not_equal(user, a);
	assert_int_equal(lrp_budget_over(budget, user, 100 * S), 0);
	assert_true(lrp_budget_first(user, LRP_BUDGET_CPU));
	assert_false(lrp_budget_first(user, LRP_BUDGET_CPU));
	assert_true(lrp_budget_first(user, LRP_BUDGET_QUOTA));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_share, setup, teardown),
		cmocka_unit_test_setup_teardown(test_debt, setup, teardown),
		cmocka_unit_test_setup_teardown(test_crumbs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_accounts, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}

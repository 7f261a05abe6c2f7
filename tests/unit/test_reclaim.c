/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* test_reclaim.c - when endpoints that are closing are free again; there are no pools. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../loader/demux/rebuild.h"
#include "../../loader/demux/release.h"
#include "../../loader/endpoint/reclaim.h"

#define ENDPOINTS 16u
#define OWNER	  3u

static int open_core(void **state)
{
	struct lrp_core *core = calloc(1, sizeof(*core));

	core->state = calloc(1, sizeof(*core->state) + ENDPOINTS * sizeof(*core->state->endpoint));
	core->state->endpoints = ENDPOINTS;
	core->state->owner[OWNER].used = 1;
	for (int m = 0; m < LRP_MAP_SHARED; m++)
		core->map_fd[m] = -1;
	for (uint32_t i = 0; i < LRP_MAX_DEVICES; i++)
		core->device[i].state = &core->state->device[i];
	assert_int_equal(lrp_core_flows_index(core), 0);
	core->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	assert_int_equal(lrp_core_grace_open(core), 0);
	for (uint32_t e = LRP_ENDPOINT_FIRST; e < ENDPOINTS; e++) {
		core->state->endpoint[e].use = LRP_ENDPOINT_USED;
		core->state->endpoint[e].owner = OWNER;
		core->state->owner[OWNER].endpoints++;
	}
	*state = core;
	return 0;
}

static int close_core(void **state)
{
	struct lrp_core *core = *state;

	lrp_core_grace_close(core);
	lrp_core_reclaim_forget(core);
	close(core->epoll_fd);
	free(core->by_port);
	free(core->next_on_port);
	free(core->state);
	free(core);
	return 0;
}

static uint32_t use(const struct lrp_core *core, uint32_t endpoint)
{
	return core->state->endpoint[endpoint].use;
}

/* Runs until those that are closing are in a batch that waits for its grace period. */
static void run_until_gathered(struct lrp_core *core)
{
	struct timespec ms = {.tv_nsec = 1000000};

	while (!core->batch.endpoint) {
		assert_true(core->gather_at_ns != 0);
		lrp_core_reclaim_run(core);
		nanosleep(&ms, NULL);
	}
}

static void run_until_taken_back(struct lrp_core *core)
{
	struct pollfd pfd = {.fd = core->epoll_fd, .events = POLLIN};
	struct epoll_event event;

	while (core->batch.endpoint) {
		assert_int_equal(poll(&pfd, 1, 20000), 1);
		epoll_wait(core->epoll_fd, &event, 1, 0);
		lrp_core_reclaim_run(core);
	}
}

/* The event loop goes on between the two: no call waits for the grace period. */
static void an_endpoint_is_free_after_its_grace_period(void **state)
{
	struct lrp_core *core = *state;

	lrp_core_release(core, 5);
	assert_int_equal(use(core, 5), LRP_ENDPOINT_CLOSING);
	assert_true(lrp_core_reclaim_run(core) > 0);
	assert_int_equal(use(core, 5), LRP_ENDPOINT_CLOSING);
	run_until_gathered(core);
	assert_int_equal(use(core, 5), LRP_ENDPOINT_CLOSING);
	run_until_taken_back(core);
	assert_int_equal(use(core, 5), LRP_ENDPOINT_FREE);
	assert_int_equal(core->state->owner[OWNER].endpoints, ENDPOINTS - 2);
	assert_int_equal(core->closing, 0);
	assert_int_equal(lrp_core_reclaim_run(core), 0);
}

/* XDP may have seen it open after the ticket of the others was asked for. */
static void what_closes_later_is_not_in_the_batch(void **state)
{
	struct lrp_core *core = *state;

	lrp_core_release(core, 5);
	lrp_core_release(core, 7);
	run_until_gathered(core);
	lrp_core_release(core, 6);
	while (!lrp_core_grace_over(core, core->batch.ticket))
		;
	lrp_core_reclaim_run(core);
	assert_int_equal(use(core, 5), LRP_ENDPOINT_FREE);
	assert_int_equal(use(core, 7), LRP_ENDPOINT_FREE);
	assert_int_equal(use(core, 6), LRP_ENDPOINT_CLOSING);
	assert_int_equal(core->closing, 1);
	run_until_gathered(core);
	run_until_taken_back(core);
	assert_int_equal(use(core, 6), LRP_ENDPOINT_FREE);
}

/* A request that needs them waits, but requests together no longer than one does. */
static void requests_wait_seldom(void **state)
{
	struct lrp_core *core = *state;

	assert_false(lrp_core_reclaim_now(core));
	lrp_core_release(core, 5);
	run_until_gathered(core);
	lrp_core_release(core, 6);
	assert_true(lrp_core_reclaim_now(core));
	assert_int_equal(use(core, 5), LRP_ENDPOINT_FREE);
	assert_int_equal(use(core, 6), LRP_ENDPOINT_FREE);
	lrp_core_release(core, 7);
	core->next_block_ns = UINT64_MAX; /* the second request comes before the time is over */
	assert_false(lrp_core_reclaim_now(core));
	assert_int_equal(use(core, 7), LRP_ENDPOINT_CLOSING);
	core->next_block_ns = 0;
	assert_true(lrp_core_reclaim_now(core));
	assert_int_equal(use(core, 7), LRP_ENDPOINT_FREE);
	assert_true(core->next_block_ns > 0);
}

/* A grace period that lasts delays the request, not lrpd; what was closed comes back afterwards. */
static void a_late_grace_period_stops_no_request(void **state)
{
	struct lrp_core *core = *state;

	lrp_core_release(core, 5);
	run_until_gathered(core);
	core->batch.ticket += 1000;
	assert_false(lrp_core_reclaim_now(core));
	assert_int_equal(use(core, 5), LRP_ENDPOINT_CLOSING);
	assert_non_null(core->batch.endpoint);
	assert_true(core->next_block_ns > 0);
	core->batch.ticket -= 1000;
	run_until_taken_back(core);
	assert_int_equal(use(core, 5), LRP_ENDPOINT_FREE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, open_core, close_core)
		T(an_endpoint_is_free_after_its_grace_period),
		T(what_closes_later_is_not_in_the_batch),
		T(a_late_grace_period_stops_no_request),
		T(requests_wait_seldom),
#undef T
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

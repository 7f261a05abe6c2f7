/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* test_grace.c - RCU grace periods that a thread waits for. */
#include <dirent.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../loader/base/internal.h"

static int open_core(void **state)
{
	struct lrp_core *core = calloc(1, sizeof(*core));

	core->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	assert_true(core->epoll_fd >= 0);
	assert_int_equal(lrp_core_grace_open(core), 0);
	*state = core;
	return 0;
}

static int close_core(void **state)
{
	struct lrp_core *core = *state;

	lrp_core_grace_close(core);
	assert_null(core->grace);
	close(core->epoll_fd);
	free(core);
	return 0;
}

/* Waits as the event loop does: on the core's descriptor. */
static void wait_for_event(const struct lrp_core *core)
{
	struct pollfd pfd = {.fd = core->epoll_fd, .events = POLLIN};
	struct epoll_event event;

	assert_int_equal(poll(&pfd, 1, 20000), 1);
	assert_int_equal(epoll_wait(core->epoll_fd, &event, 1, 0), 1);
}

static void a_ticket_is_over_after_an_event(void **state)
{
	struct lrp_core *core = *state;
	uint64_t ticket = lrp_core_grace_ask(core);

	assert_true(ticket > 0);
	assert_true(lrp_core_grace_over(core, 0));
	wait_for_event(core);
	assert_true(lrp_core_grace_over(core, ticket));
	assert_false(lrp_core_grace_over(core, ticket + 1));
}

/* Without a question there is no grace period and no event. */
static void nobody_asks_nothing_happens(void **state)
{
	struct lrp_core *core = *state;
	struct pollfd pfd = {.fd = core->epoll_fd, .events = POLLIN};

	assert_true(lrp_core_grace_wait(core, lrp_core_grace_ask(core)));
	wait_for_event(core);
	assert_int_equal(poll(&pfd, 1, 100), 0);
}

/* A thousand questions at once are two periods: the one that may run already, and the next. */
static void questions_share_a_period(void **state)
{
	struct lrp_core *core = *state;
	uint64_t first = lrp_core_grace_ask(core), last = first;

	for (int i = 0; i < 1000 && !lrp_core_grace_over(core, first); i++)
		last = lrp_core_grace_ask(core);
	assert_true(last <= first + 1);
	assert_true(lrp_core_grace_wait(core, last));
	assert_true(lrp_core_grace_over(core, first));
	assert_true(lrp_core_grace_over(core, last));
	assert_int_equal(lrp_core_grace_ask(core), last + 1);
}

/* The period that runs when somebody asks is not his: it may have begun too early. */
static void a_running_period_serves_nobody_new(void **state)
{
	struct lrp_core *core = *state;
	uint64_t first = lrp_core_grace_ask(core), second;

	while ((second = lrp_core_grace_ask(core)) == first)
		if (lrp_core_grace_over(core, first))
			fail_msg("over, and its number is given out still");
	assert_int_equal(second, first + 1);
	assert_true(lrp_core_grace_wait(core, first));
	assert_true(lrp_core_grace_over(core, first));
	assert_true(lrp_core_grace_wait(core, second));
	assert_true(lrp_core_grace_over(core, second));
}

/* False: another thread, that of a sanitizer. */
static bool blocked_signals(const char *task, uint64_t *blocked)
{
	char path[300], line[256];
	unsigned long long mask = 0;
	bool ours = false;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%s/status", task);
	file = fopen(path, "re");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file)) {
		ours |= !strcmp(line, "Name:\tlrp-grace\n");
		sscanf(line, "SigBlk: %llx", &mask);
	}
	fclose(file);
	*blocked = mask;
	return ours;
}

static void the_thread_takes_no_signals(void **state)
{
	uint64_t needed = 1ull << (SIGTERM - 1) | 1ull << (SIGINT - 1) | 1ull << (SIGUSR1 - 1);
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;
	int threads = 0;

	(void)state;
	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		uint64_t blocked;

		if (entry->d_name[0] == '.' || !blocked_signals(entry->d_name, &blocked))
			continue;
		threads++;
		assert_int_equal(blocked & needed, needed);
	}
	closedir(dir);
	assert_int_equal(threads, 1);
}

/* A period that nobody has asked for does not end: the loop of lrpd goes on all the same. */
static void waiting_ends_without_the_period(void **state)
{
	struct lrp_core *core = *state;
	uint64_t ticket = lrp_core_grace_ask(core);

	assert_false(lrp_core_grace_wait(core, ticket + 1000));
	assert_true(lrp_core_grace_wait(core, ticket));
}

static void closing_does_not_wait_for_questions(void **state)
{
	struct lrp_core *core = *state;

	for (int i = 0; i < 20; i++) {
		lrp_core_grace_ask(core);
		lrp_core_grace_close(core);
		assert_int_equal(lrp_core_grace_open(core), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, open_core, close_core)
		T(a_ticket_is_over_after_an_event), T(nobody_asks_nothing_happens),
		T(questions_share_a_period),	    T(a_running_period_serves_nobody_new),
		T(the_thread_takes_no_signals),	    T(closing_does_not_wait_for_questions),
		T(waiting_ends_without_the_period),
#undef T
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Handlers around fork() run by their phases, whatever the order of registration [base/fork.h]. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/base/fork.h"

static char said[32];
static size_t length;

static void say(char c)
{
	if (length < sizeof(said) - 1)
		said[length++] = c;
}

#define HANDLER(letter, capital)                                                                   \
	static void prepare_##letter(void)                                                         \
	{                                                                                          \
		say(#letter[0]);                                                                   \
	}                                                                                          \
	static void after_##letter(void)                                                           \
	{                                                                                          \
		say(capital);                                                                      \
	}

HANDLER(a, 'A')
HANDLER(b, 'B')
HANDLER(c, 'C')

static struct lrp_fork_handler a = {LRP_FORK_SELF, prepare_a, after_a, after_a, NULL, NULL};
static struct lrp_fork_handler b = {LRP_FORK_TABLE, prepare_b, after_b, after_b, NULL, NULL};
static struct lrp_fork_handler c = {LRP_FORK_BROKER, prepare_c, after_c, after_c, NULL, NULL};
static struct lrp_fork_handler none = {LRP_FORK_TABLE, NULL, NULL, NULL, NULL, NULL};

static void by_phase(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	lrp_fork_register(&b);
	lrp_fork_register(&c);
	lrp_fork_register(&none);
	lrp_fork_register(&a);
	pid = fork();
	if (!pid)
		_exit(strcmp(said, "abcABC") != 0);
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_string_equal(said, "abcCBA");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(by_phase)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

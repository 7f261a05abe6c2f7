/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* test_secret.c - which keys processes have in common. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../runtime/stream/stream.h"

#define SAY "--say"

struct keys {
	uint64_t own[2], host[2];
};

static struct keys keys(void)
{
	struct keys k;

	memcpy(k.own, lrp_secret(), sizeof(k.own));
	memcpy(k.host, lrp_secret_of_host(), sizeof(k.host));
	return k;
}

/* Of another process that was not forked with ours. */
static struct keys stranger(void)
{
	char self[256] = "", command[300];
	struct keys k;
	FILE *f;

	assert_true(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
	snprintf(command, sizeof(command), "'%s' " SAY, self);
	f = popen(command, "r");
	assert_non_null(f);
	assert_int_equal(fread(&k, sizeof(k), 1, f), 1);
	assert_int_equal(pclose(f), 0);
	return k;
}

static void of_host_is_the_same(void **state)
{
	struct keys mine = keys(), other = stranger();

	(void)state;
	assert_memory_equal(mine.host, other.host, sizeof(mine.host));
	assert_true(mine.host[0] != mine.host[1]);
}

static void own_is_not(void **state)
{
	struct keys mine = keys(), other = stranger();

	(void)state;
	assert_memory_not_equal(mine.own, other.own, sizeof(mine.own));
	assert_memory_not_equal(mine.own, mine.host, sizeof(mine.own));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(of_host_is_the_same),
		cmocka_unit_test(own_is_not),
	};
	struct keys k;

	if (argc == 2 && !strcmp(argv[1], SAY)) {
		k = keys();
		return fwrite(&k, sizeof(k), 1, stdout) != 1;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}

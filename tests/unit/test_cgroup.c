/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Where a thread joins its owner's cgroup, by the lines of /proc/<pid>/task/<tid>/cgroup. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "runtime/drive/cgroup.h"

static char path[LRP_CGROUP_PATH];

static void unified(void **state)
{
	(void)state;
	assert_true(lrp_cgroup_parse("0::/system.slice/nginx.service/workers\n", path));
	assert_string_equal(path,
			    "/sys/fs/cgroup/system.slice/nginx.service/workers/cgroup.threads");
	assert_true(lrp_cgroup_parse("0::/", path));
	assert_string_equal(path, "/sys/fs/cgroup//cgroup.threads");
	/* a colon may be in the path */
	assert_true(lrp_cgroup_parse("0::/a:b\n", path));
	assert_string_equal(path, "/sys/fs/cgroup/a:b/cgroup.threads");
}

static void version_one(void **state)
{
	(void)state;
	assert_true(lrp_cgroup_parse(
		"9:name=systemd:/\n3:cpuset:/x\n2:cpuacct:/y\n1:cpu:/a/b\n0::/z\n", path));
	assert_string_equal(path, "/sys/fs/cgroup/cpu/a/b/tasks");
	assert_true(lrp_cgroup_parse("4:cpu,cpuacct:/a\n", path));
	assert_string_equal(path, "/sys/fs/cgroup/cpu,cpuacct/a/tasks");
	assert_true(lrp_cgroup_parse("4:cpuacct,cpu:/a", path));
	assert_string_equal(path, "/sys/fs/cgroup/cpuacct,cpu/a/tasks");
}

static void nothing(void **state)
{
	char text[LRP_CGROUP_PATH + 64];

	(void)state;
	assert_false(lrp_cgroup_parse("", path));
	assert_false(lrp_cgroup_parse("\n\n", path));
	assert_false(lrp_cgroup_parse("rubbish", path));
	assert_false(lrp_cgroup_parse("0:", path));
	assert_false(lrp_cgroup_parse("3:cpuset:/x\n", path));
	assert_false(lrp_cgroup_parse("10::/x\n", path));
	/* too long: not cut */
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	memcpy(text, "0::/", 4);
	assert_false(lrp_cgroup_parse(text, path));
	memcpy(text, "1:cpu:/", 7);
	assert_false(lrp_cgroup_parse(text, path));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unified),
		cmocka_unit_test(version_one),
		cmocka_unit_test(nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* test_conf.c - lrpd's settings: what is taken, and that nothing else is. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "loader/daemon/conf.h"

static struct lrp_conf conf;
static char error[256];

static int parse(const char *text)
{
	lrp_conf_init(&conf);
	error[0] = 0;
	return lrp_conf_parse(&conf, text, strlen(text), error, sizeof(error));
}

static void test_defaults(void **state)
{
	(void)state;
	assert_int_equal(parse(""), 0);
	assert_string_equal(conf.group, "lrp");
	assert_int_equal(conf.uids, 0);
	assert_int_equal(conf.connections, LRP_CONF_CONNECTIONS);
	assert_int_equal(conf.cpu_ms, LRP_CONF_CPU_MS);
}

static void test_all_settings(void **state)
{
	(void)state;
	assert_int_equal(parse("# who\n"
			       "group = net users \n"
			       "\tallow-uid=0\n"
			       "allow-uid = 4294967294 # the last\n"
			       "allow-uid = 0\n"
			       "\n"
			       "endpoints = 2\r\n"
			       "quota=7\nring-memory = 8\nframes = 4294967295\nconnections = 9\n"
			       "cpu = 1000"),
			 0);
	assert_string_equal(conf.group, "net users");
	assert_int_equal(conf.uids, 2);
	assert_int_equal(conf.uid[1], 4294967294u);
	assert_int_equal(conf.endpoints, 2);
	assert_int_equal(conf.quota, 7);
	assert_int_equal(conf.ring_mib, 8);
	assert_int_equal(conf.frames, 4294967295u);
	assert_int_equal(conf.connections, 9);
	assert_int_equal(conf.cpu_ms, 1000);
	assert_int_equal(parse("group ="), 0);
	assert_string_equal(conf.group, "");
}

static void test_refused(void **state)
{
	static const char *const text[] = {
		"quota",
		"quota = ",
		"quota = -1",
		"quota = 0",
		"quota = +1",
		"quota = 1x",
		"quota = 99999999999",
		"quota = 0x10",
		"cpu = 1001",
		"cpu = 0",
		"allow-uid = me",
		"allow-uid = 4294967295",
		"Quota = 1",
		"quota quota = 1",
		"= 1",
		"allow-uid = ",
		"endpoints = 1",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(text) / sizeof(text[0]); i++) {
		assert_int_equal(parse(text[i]), -EINVAL);
		assert_non_null(strstr(error, "line 1: "));
	}
	assert_int_equal(parse("quota = 1\n\nquota = two"), -EINVAL);
	assert_string_equal(error, "line 3: quota two: 1 to 1048576 are possible");
	assert_int_equal(lrp_conf_parse(&conf, "quota = 1\0\n", 11, error, sizeof(error)), -EINVAL);
}

static void test_too_much(void **state)
{
	char line[400], text[80 * 20];
	size_t used = 0;

	(void)state;
	memset(line, 'x', sizeof(line) - 1);
	line[sizeof(line) - 1] = 0;
	assert_int_equal(parse(line), -EINVAL);
	memcpy(line, "group = ", 8);
	line[100] = 0;
	assert_int_equal(parse(line), -EINVAL);
	for (unsigned int i = 0; i <= LRP_CONF_UIDS; i++) {
		if (i == LRP_CONF_UIDS)
			assert_int_equal(parse(text), 0);
		used += (size_t)snprintf(text + used, sizeof(text) - used, "allow-uid = %u\n", i);
	}
	assert_int_equal(parse(text), -EINVAL);
	assert_non_null(strstr(error, "members of the group"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_all_settings),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_too_much),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* check.h - a check that says what failed and goes on, for tests with several processes; and one
 * without which there is no going on. */
#ifndef LRP_TEST_CHECK_H
#define LRP_TEST_CHECK_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

extern int check_failures; /* of this process */

#define CHECK(cond, ...)                                                                           \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			printf("FAIL %s:%d: %s: ", __FILE__, __LINE__, #cond);                     \
			printf(__VA_ARGS__);                                                       \
			printf("\n");                                                              \
			check_failures++;                                                          \
		}                                                                                  \
	} while (0)

/* Of the test's own making; errno says why. */
static inline void must(bool ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(1);
}

#endif

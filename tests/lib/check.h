/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* check.h - a check that says what failed and goes on: for tests with several processes. */
#ifndef LRP_TEST_CHECK_H
#define LRP_TEST_CHECK_H

#include <stdio.h>

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

#endif

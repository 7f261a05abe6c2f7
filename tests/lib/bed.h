/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bed.h - a test program that needs the throw-away test bed enters it by itself. */
#ifndef LRP_TEST_BED_H
#define LRP_TEST_BED_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

/* Called first in main(): starts this program again inside tools/testbed/bed.sh, unless it already
 * runs there. To be called from the checkout's root, as tests/lib/run.sh does. */
static inline void bed_enter(char **argv)
{
	const char *inside = getenv("LRP_BED");

	if (inside && inside[0] == '1')
		return;
	execv("tools/testbed/bed.sh", (char *[]){"bed.sh", argv[0], argv[1], NULL});
	perror("tools/testbed/bed.sh (run from the top of the source tree)");
	exit(77);
}

/* Runs a shell command; ends the test with what failed if it does. */
static inline void bed_sh(const char *command)
{
	if (system(command) != 0) {
		fprintf(stderr, "failed: %s\n", command);
		exit(1);
	}
}

/* lrpd maps rings of bound AF_XDP sockets, which Linux allows from 6.6 on; embedded mode does not. */
static inline bool bed_has_lrpd(void)
{
	struct utsname u;
	int major = 0, minor = 0;

	uname(&u);
	sscanf(u.release, "%d.%d", &major, &minor);
	return major > 6 || (major == 6 && minor >= 6);
}

/* For tests that are about lrpd, or several processes: leaves out the whole test. */
static inline void bed_needs_lrpd(void)
{
	if (bed_has_lrpd())
		return;
	printf("lrpd needs Linux 6.6 or later: see uname -r\n");
	exit(77);
}

#define BED_NET "bash -c '. tools/testbed/bed.sh; set -e; bed_net'"

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Runs the scripts in tests/sim/script, or those that are named. */
#include <glob.h>
#include <stdio.h>

#include "script.h"

int main(int argc, char **argv)
{
	glob_t g = {0};
	int failed = 0;

	for (int i = 1; i < argc; i++)
		failed += script_run(argv[i]);
	if (argc > 1)
		return failed != 0;
	if (glob("tests/sim/script/*.tcp", 0, NULL, &g)) {
		fprintf(stderr, "no scripts: run this from the top of the source tree\n");
		return 1;
	}
	for (size_t i = 0; i < g.gl_pathc; i++)
		failed += script_run(g.gl_pathv[i]);
	printf("%zu scripts, %d cases failed\n", g.gl_pathc, failed);
	globfree(&g);
	return failed != 0;
}

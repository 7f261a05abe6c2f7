// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "memory.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void add_mapping(struct bench_memory *m, const char *name, double bytes)
{
	if (strstr(name, "socket:"))
		m->rings += bytes;
	else if (strstr(name, "bpf-map"))
		m->records += bytes;
	else if (strstr(name, "umem"))
		m->umem += bytes;
	else
		m->user += bytes;
}

int bench_memory(pid_t pid, struct bench_memory *m)
{
	char path[64], line[512], name[256] = "";
	double kib = 0, slab = 0, rest = 0;
	FILE *f;

	memset(m, 0, sizeof(*m));
	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		unsigned long from, to;
		char rest_of[256] = "";

		if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %255[^\n]", &from, &to, rest_of) >= 2)
			snprintf(name, sizeof(name), "%s", rest_of);
		else if (sscanf(line, "Private_Clean: %lf", &kib) == 1 ||
			 sscanf(line, "Private_Dirty: %lf", &kib) == 1 ||
			 (strstr(name, "arena") && (sscanf(line, "Shared_Dirty: %lf", &kib) == 1 ||
						    sscanf(line, "Shared_Clean: %lf", &kib) == 1)))
			add_mapping(m, name, kib * 1024);
	}
	fclose(f);
	f = fopen("/proc/meminfo", "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Slab: %lf", &slab) == 1)
			m->kernel += slab * 1024;
		else if (sscanf(line, "VmallocUsed: %lf", &rest) == 1 ||
			 sscanf(line, "Percpu: %lf", &rest) == 1)
			m->kernel += rest * 1024;
	}
	if (f)
		fclose(f);
	return 0;
}

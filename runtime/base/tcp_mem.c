/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tcp_mem.c - see tcp_mem.h. */
#include <stdio.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "tcp_mem.h"

uint64_t lrp_tcp_mem_bytes(void)
{
	FILE *f = fopen("/proc/sys/net/ipv4/tcp_mem", "re");
	unsigned long long low, pressure, most = 0;
	struct sysinfo info;

	if (f) {
		if (fscanf(f, "%llu %llu %llu", &low, &pressure, &most) != 3)
			most = 0;
		fclose(f);
	}
	if (most)
		return most > UINT64_MAX >> 20 ? UINT64_MAX
					       : most * (uint64_t)sysconf(_SC_PAGESIZE);
	return sysinfo(&info) ? 256u << 20 : (uint64_t)info.totalram * info.mem_unit / 32 * 3;
}

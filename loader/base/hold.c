/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* hold.c - see hold.h. */
#include <string.h>
#include <sys/mman.h>

#include <lrp/abi.h>

#include "hold.h"

unsigned long lrp_hold_size(void)
{
	/* The page's value size is a multiple of 8, and the kernel maps whole pages. */
	return LRP_USER_PAGE_RECORDS * sizeof(struct lrp_user);
}

void *lrp_hold_map(const char *name, int fd)
{
	void *map;

	if (strncmp(name, "page:", 5))
		return NULL;
	map = mmap(NULL, lrp_hold_size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return map == MAP_FAILED ? NULL : map;
}

void lrp_hold_unmap(void *held)
{
	if (held)
		munmap(held, lrp_hold_size());
}

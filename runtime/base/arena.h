/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * arena.h - memory that a process shares with the children it will fork
 * [design 5, Fork]: sockets that are inherited live here.
 *
 * One large shared mapping, reserved when it is first used and inherited at
 * the same address, so pointers into it are good in every member of the family. Memory is
 * used as it is touched. It is anonymous shared memory: there is no descriptor that a
 * daemon's closefrom() could take away or that a size limit for files applies to.
 *
 * Any thread of any member may allocate and free, and may be killed while it
 * does: at most the block of that operation is lost.
 *
 * What is free merges with its neighbours, so memory that was buffers can become anything else.
 * Pages of large blocks go back to the kernel, all but 16 MiB.
 *
 * mlockall(MCL_FUTURE) does not lock the arena. mlockall(MCL_CURRENT) that comes after the
 * first use does, all of the reserved size: call it before.
 *
 * After exec() the arena is gone, as all memory is.
 */
#ifndef LRP_ARENA_H
#define LRP_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Largest block. */
#define LRP_ARENA_MAX (64u << 20)

/* Zeroed, 16-byte aligned (64-byte from 64 bytes on). NULL: none left, or size 0 or > LRP_ARENA_MAX. */
void *lrp_arena_alloc(size_t size);
/* The same with whatever is in it: for buffers. */
void *lrp_arena_alloc_raw(size_t size);
/* `size` as it was asked for. NULL is ignored. */
void lrp_arena_free(void *p, size_t size);

/* Offsets from the start of the arena; never 0 for a block. */
uint64_t lrp_arena_offset(const void *p);
void *lrp_arena_pointer(uint64_t offset);

struct lrp_arena_stats {
	uint64_t reserved; /* bytes of address space */
	uint64_t carved;   /* bytes from the start to the end of the last block ever in use */
	uint64_t in_use;   /* bytes in use, with what rounding up costs */
};
void lrp_arena_stats(struct lrp_arena_stats *stats);

/* in_use alone, without the lock. */
uint64_t lrp_arena_in_use(void);
/* Bytes in use that have pages; takes milliseconds if the arena is large. */
uint64_t lrp_arena_resident(void);

/* For tests: are the free lists and counts what a walk over all blocks finds? */
bool lrp_arena_sound(void);

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * arena_internal.h - how the arena is laid out; for arena*.c only.
 *
 * The arena is a row of runs. A run is a number of units of 4 KiB, and is free, in use as one
 * large block, or a slab of small blocks of one size class. The table `unit` has a record per
 * unit; `head` in the record of a run's first unit says what the run is and how long. These
 * words are the truth. A walk from the first unit over all heads finds every run.
 *
 * Everything else is derived from them: the bins of free runs, the lists of slabs, the counts,
 * the way back from the last unit of a run to its head.
 *
 * Each change of the truth is one store to one head: a run is taken, split, freed, or merged with
 * the run behind it. What that store makes visible is written before it. So a member that is
 * killed at any instruction leaves a row that can be walked. The next owner of the lock is told
 * [lock.h] and derives the rest anew. At most the block of the interrupted operation is lost.
 * The free list of a slab follows the same rule: taking and returning a block is one store.
 *
 * A free run is clean or dirty. The pages of a clean run went back to the kernel; all of it is
 * zero. A dirty run has its pages and contents: a server whose connections come and go would
 * spend more on pages than on TCP. There are DIRTY_MAX bytes of them, and they become clean when
 * nothing else is left. Runs of one kind merge.
 */
#ifndef LRP_ARENA_INTERNAL_H
#define LRP_ARENA_INTERNAL_H

#include <stdatomic.h>
#include <stdbool.h>

#include "arena.h"
#include "lock.h"

#define UNIT	  4096u
#define SLAB_FEW  (32u << 10)  /* a slab of blocks of up to 2 KiB */
#define SLAB_MANY (128u << 10) /* a slab of larger blocks */
#define SMALL_MAX (16u << 10)  /* larger blocks are runs of their own */
#define KEEP_MAX  (256u << 10) /* freed blocks up to here stay dirty, if there are no more than */
#define DIRTY_MAX (16u << 20)  /* bytes of dirty runs already */
#define LINE	  64u

#define CLASS_SHIFT_MIN 5 /* up to 32 bytes: one class */
#define CLASSES		((14 - CLASS_SHIFT_MIN) * 4 + 1)
#define BINS		96u
#define GLANCES		8 /* runs of the best bin that are looked at for a close fit */

enum kind { CLEAN, DIRTY, USED, SLAB };

struct unit {
	uint64_t head;	     /* of a run's first unit: HEAD | kind << 32 | units; else stale */
	uint32_t back;	     /* units to the head: in a run's last unit, in all units of a slab */
	uint32_t next, prev; /* of a head: neighbours in its bin or list of slabs; 0: none */
	uint32_t free;	     /* of a slab: number of its first free block + 1; 0: none */
	uint16_t used;	     /* blocks in use */
	uint16_t carved;     /* blocks that were ever in use: the first so many */
	uint32_t class;
};

struct arena {
	struct lrp_lock lock;
	uint64_t size;
	uint64_t end; /* offset behind the last byte ever in use */
	uint64_t in_use;
	uint64_t dirty;			 /* bytes of dirty runs */
	uint32_t first, units;		 /* units of blocks: [first, units) */
	uint32_t bin[2][BINS];		 /* first free run, CLEAN and DIRTY */
	uint64_t bin_map[2][BINS / 32u]; /* which bins have runs, 32 a word */
	uint32_t slab[CLASSES];		 /* first slab with room */
	uint32_t spare[CLASSES];	 /* one slab without blocks in use is kept, 0: none */
	struct unit unit[];
};

_Static_assert(sizeof(struct unit) == 32, "a record per unit");
_Static_assert(SLAB_MANY / 32 <= UINT16_MAX, "blocks of a slab");

/* ---- heads ------------------------------------------------------------------- */

static inline uint64_t head_of(enum kind kind, uint32_t units)
{
	return (uint64_t)kind << 32 | units;
}

static inline enum kind kind_of(uint64_t head)
{
	return (enum kind)(head >> 32);
}

static inline uint32_t length_of(uint64_t head)
{
	return (uint32_t)head;
}

/* The one store that changes the truth. All that it makes visible has been stored. */
static inline void commit(struct arena *a, uint32_t at, uint64_t head)
{
	atomic_signal_fence(memory_order_seq_cst);
	*(volatile uint64_t *)&a->unit[at].head = head;
	atomic_signal_fence(memory_order_seq_cst);
}

static inline char *address_of(struct arena *a, uint32_t at)
{
	return (char *)a + (uint64_t)at * UNIT;
}

static inline uint32_t units_for(uint64_t bytes)
{
	return (uint32_t)((bytes + UNIT - 1) / UNIT);
}

static inline void count_use(struct arena *a, int64_t bytes)
{
	__atomic_store_n(&a->in_use, a->in_use + (uint64_t)bytes, __ATOMIC_RELAXED);
}

static inline void list_add(struct arena *a, uint32_t *first, uint32_t at)
{
	a->unit[at].prev = 0;
	a->unit[at].next = *first;
	if (*first)
		a->unit[*first].prev = at;
	*first = at;
}

static inline void list_remove(struct arena *a, uint32_t *first, uint32_t at)
{
	struct unit *u = &a->unit[at];

	if (u->prev)
		a->unit[u->prev].next = u->next;
	else
		*first = u->next;
	if (u->next)
		a->unit[u->next].prev = u->prev;
}

/* ---- arena_run.c; lock held, all of them ------------------------------------------ */

/* A free run becomes findable: from its neighbours, and in its bin. */
void lrp_arena_run_list(struct arena *a, uint32_t at);
/* Takes so many units of a free run, as `kind`. 0: there is none. *clean: they are zero. A slab is
 * of `class`. `raw`: the caller takes dirty ones first. */
uint32_t lrp_arena_run_take(struct arena *a, uint32_t units, enum kind kind, uint32_t class,
			    bool raw, bool *clean);
/* The end of a block or slab, which becomes CLEAN or DIRTY. Its pages went back if it is to be
 * clean. Merges it with its neighbours. */
void lrp_arena_run_free(struct arena *a, uint32_t at, enum kind kind);
/* Returns the pages to the kernel; all is zero then. The lock is not needed. */
void lrp_arena_give_back(char *p, uint64_t bytes);

/* ---- arena_slab.c; lock held ------------------------------------------------------- */

/* The class of a size of up to SMALL_MAX and, in *bytes, what its blocks measure. */
uint32_t lrp_arena_class(size_t size, uint64_t *bytes);
uint64_t lrp_arena_class_bytes(uint32_t class);
char *lrp_arena_slab_take(struct arena *a, uint32_t class, uint64_t bytes);
/* False: no block of this slab. */
bool lrp_arena_slab_return(struct arena *a, uint32_t at, const char *p, uint32_t class,
			   uint64_t bytes);
/* After a death: counts what is in use, from the free list. */
void lrp_arena_slab_recount(struct arena *a, uint32_t at);

#endif

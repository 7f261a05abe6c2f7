/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * arena_slab.c - slabs of small blocks, in size classes, four to a doubling [arena_internal.h].
 */
#include "arena_internal.h"

/* ---- slabs; lock held ---------------------------------------------------------- */

/* The class of a size of up to SMALL_MAX and, in *bytes, what its blocks measure. */
uint32_t lrp_arena_class(size_t size, uint64_t *bytes)
{
	uint32_t shift, quarter;
	uint64_t align;

	if (size <= 1u << CLASS_SHIFT_MIN) {
		*bytes = 1u << CLASS_SHIFT_MIN;
		return 0;
	}
	/* 2^shift < size <= 2^(shift + 1), in steps of a quarter of 2^shift */
	shift = 63 - (uint32_t)__builtin_clzll((unsigned long long)size - 1);
	quarter = (uint32_t)((size - 1 - (1ull << shift)) >> (shift - 2));
	*bytes = (1ull << shift) + ((uint64_t)(quarter + 1) << (shift - 2));
	/* Blocks of 64 bytes and more lie on cache lines, smaller ones on 16 bytes. */
	align = *bytes < LINE ? 16 : LINE;
	*bytes = (*bytes + align - 1) & ~(align - 1);
	return (shift - CLASS_SHIFT_MIN) * 4 + quarter + 1;
}

uint64_t lrp_arena_class_bytes(uint32_t class)
{
	uint32_t shift = (class - 1) / 4 + CLASS_SHIFT_MIN, quarter = (class - 1) % 4;
	uint64_t bytes;

	if (class == 0)
		return 1u << CLASS_SHIFT_MIN;
	lrp_arena_class((1u << shift) + ((uint64_t)(quarter + 1) << (shift - 2)), &bytes);
	return bytes;
}

static uint32_t slab_size(uint64_t bytes)
{
	return bytes <= 2048 ? SLAB_FEW : SLAB_MANY;
}

static uint32_t slab_room(uint64_t bytes)
{
	return (uint32_t)(slab_size(bytes) / bytes);
}

/* A free block's first word is the number of the next one + 1. */
static uint32_t *slab_link(struct arena *a, uint32_t at, uint32_t block, uint64_t bytes)
{
	return (uint32_t *)(address_of(a, at) + block * bytes);
}

char *lrp_arena_slab_take(struct arena *a, uint32_t class, uint64_t bytes)
{
	uint32_t at = a->slab[class], block;
	struct unit *slab;
	bool clean;

	if (!at) {
		at = lrp_arena_run_take(a, units_for(slab_size(bytes)), SLAB, class, true, &clean);
		if (!at)
			return NULL;
		list_add(a, &a->slab[class], at);
	}
	slab = &a->unit[at];
	if (a->spare[class] == at)
		a->spare[class] = 0;
	if (slab->free) {
		block = slab->free - 1;
		slab->free = *slab_link(a, at, block, bytes);
	} else {
		block = slab->carved;
		slab->carved++;
	}
	if (++slab->used == slab_room(bytes))
		list_remove(a, &a->slab[class], at);
	count_use(a, (int64_t)bytes);
	return address_of(a, at) + block * bytes;
}

static void slab_end(struct arena *a, uint32_t at, uint32_t class)
{
	bool dirty = a->dirty < DIRTY_MAX;

	list_remove(a, &a->slab[class], at);
	if (!dirty) {
		/* The links go with the pages: nobody must follow them after a kill. */
		a->unit[at].carved = 0;
		a->unit[at].free = 0;
		atomic_signal_fence(memory_order_seq_cst);
		lrp_arena_give_back(address_of(a, at),
				    (uint64_t)length_of(a->unit[at].head) * UNIT);
	}
	lrp_arena_run_free(a, at, dirty ? DIRTY : CLEAN);
}

/* False: no block of this slab. */
bool lrp_arena_slab_return(struct arena *a, uint32_t at, const char *p, uint32_t class,
			   uint64_t bytes)
{
	struct unit *slab = &a->unit[at];
	uint64_t within = (uint64_t)(p - address_of(a, at));
	uint32_t block = (uint32_t)(within / bytes);

	if (slab->class != class || within % bytes || block >= slab->carved || !slab->used)
		return false;
	*slab_link(a, at, block, bytes) = slab->free;
	atomic_signal_fence(memory_order_seq_cst);
	slab->free = block + 1;
	count_use(a, -(int64_t)bytes);
	if (slab->used-- == slab_room(bytes))
		list_add(a, &a->slab[class], at);
	if (slab->used)
		return true;
	if (a->spare[class])
		slab_end(a, at, class);
	else
		a->spare[class] = at;
	return true;
}

void lrp_arena_slab_recount(struct arena *a, uint32_t at)
{
	struct unit *slab = &a->unit[at];
	uint64_t bytes = lrp_arena_class_bytes(slab->class);
	uint32_t free = 0, next = slab->free;

	for (uint32_t i = 0; i < length_of(slab->head); i++)
		a->unit[at + i].back = i;
	while (next && next <= slab->carved && free < slab->carved) {
		free++;
		next = *slab_link(a, at, next - 1, bytes);
	}
	slab->used = (uint16_t)(slab->carved - free);
	count_use(a, (int64_t)(slab->used * bytes));
	if (slab->used < slab_room(bytes))
		list_add(a, &a->slab[slab->class], at);
	if (!slab->used && !a->spare[slab->class])
		a->spare[slab->class] = at;
}

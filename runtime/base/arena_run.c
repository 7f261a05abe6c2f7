/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * arena_run.c - runs of units: bins, splitting, merging [arena_internal.h].
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arena_internal.h"

/* Four bins to a doubling; a bin has the runs from its size to the next one's. */
static uint32_t bin_of(uint32_t units)
{
	uint32_t shift = 31 - (uint32_t)__builtin_clz(units);

	return shift < 2 ? units : shift * 4 + ((units >> (shift - 2)) & 3);
}

/* A free run becomes findable: from its neighbours, and in its bin. */
void lrp_arena_run_list(struct arena *a, uint32_t at)
{
	uint64_t head = a->unit[at].head;
	uint32_t bin = bin_of(length_of(head)), kind = kind_of(head);

	a->unit[at + length_of(head) - 1].back = length_of(head) - 1;
	list_add(a, &a->bin[kind][bin], at);
	a->bin_map[kind][bin / 32] |= 1ull << bin % 32;
}

static void run_unlist(struct arena *a, uint32_t at)
{
	uint64_t head = a->unit[at].head;
	uint32_t bin = bin_of(length_of(head)), kind = kind_of(head);

	list_remove(a, &a->bin[kind][bin], at);
	if (!a->bin[kind][bin])
		a->bin_map[kind][bin / 32] &= ~(1ull << bin % 32);
}

/* A run of so many units at least, 0: none. Small runs first: the large ones stay whole. */
static uint32_t run_find(const struct arena *a, enum kind kind, uint32_t units)
{
	uint32_t own = bin_of(units), at = a->bin[kind][own], glances = 0;

	for (; at && glances < GLANCES; at = a->unit[at].next, glances++)
		if (length_of(a->unit[at].head) >= units)
			return at;
	for (uint32_t bin = own + 1; bin < BINS; bin = (bin / 32 + 1) * 32) {
		uint64_t map = a->bin_map[kind][bin / 32] >> bin % 32;

		if (map)
			return a->bin[kind][bin + (uint32_t)__builtin_ctzll(map)];
	}
	for (; at; at = a->unit[at].next)
		if (length_of(a->unit[at].head) >= units)
			return at;
	return 0;
}

/* ---- runs; lock held ---------------------------------------------------------- */

/* Merges a free run, which is in no bin, with its neighbours of the same kind, and lists it. */
static void run_settle(struct arena *a, uint32_t at)
{
	uint32_t units = length_of(a->unit[at].head), before, behind = at + units;
	enum kind kind = kind_of(a->unit[at].head);
	uint64_t head;

	if (behind < a->units && kind_of(a->unit[behind].head) == kind) {
		run_unlist(a, behind);
		units += length_of(a->unit[behind].head);
		commit(a, at, head_of(kind, units));
	}
	before = at > a->first ? at - 1 - a->unit[at - 1].back : at;
	head = a->unit[before].head;
	if (before < at && kind_of(head) == kind) {
		run_unlist(a, before);
		commit(a, before, head_of(kind, length_of(head) + units));
		at = before;
	}
	lrp_arena_run_list(a, at);
}

static void count_dirty(struct arena *a, int64_t bytes)
{
	__atomic_store_n(&a->dirty, a->dirty + (uint64_t)bytes, __ATOMIC_RELAXED);
}

/* Returns the pages to the kernel; all is zero then. */
void lrp_arena_give_back(char *p, uint64_t bytes)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t skip = (page - (uintptr_t)p % page) % page, whole;

	if (skip > bytes)
		skip = bytes;
	whole = (bytes - skip) & ~(page - 1);
	if (!whole || madvise(p + skip, whole, MADV_REMOVE)) {
		memset(p, 0, bytes);
		return;
	}
	memset(p, 0, skip);
	memset(p + skip + whole, 0, bytes - skip - whole);
}

/* Before the arena is full: all dirty runs become clean. */
static void dirty_flush(struct arena *a)
{
	for (uint32_t bin = 0; bin < BINS; bin++) {
		uint32_t at;

		while ((at = a->bin[DIRTY][bin])) {
			uint32_t units = length_of(a->unit[at].head);

			lrp_arena_give_back(address_of(a, at), (uint64_t)units * UNIT);
			run_unlist(a, at);
			count_dirty(a, -(int64_t)units * UNIT);
			commit(a, at, head_of(CLEAN, units));
			run_settle(a, at);
		}
	}
}

/* Takes so many units of a free run, as `kind`. 0: there is none. *clean: they are zero. The
 * records that a slab needs are in place before the head is. */
uint32_t lrp_arena_run_take(struct arena *a, uint32_t units, enum kind kind, uint32_t class,
			    bool raw, bool *clean)
{
	uint32_t at = raw ? run_find(a, DIRTY, units) : 0, left;
	enum kind was;

	if (!at)
		at = run_find(a, CLEAN, units);
	if (!at && a->dirty) {
		dirty_flush(a);
		at = run_find(a, CLEAN, units);
	}
	if (!at)
		return 0;
	was = kind_of(a->unit[at].head);
	*clean = was == CLEAN;
	run_unlist(a, at);
	left = length_of(a->unit[at].head) - units;
	if (left)
		a->unit[at + units].head = head_of(was, left);
	a->unit[at + units - 1].back = units - 1;
	if (kind == SLAB) {
		for (uint32_t i = 0; i < units; i++)
			a->unit[at + i].back = i;
		a->unit[at].free = 0;
		a->unit[at].used = a->unit[at].carved = 0;
		a->unit[at].class = class;
	}
	commit(a, at, head_of(kind, units));
	if (was == DIRTY)
		count_dirty(a, -(int64_t)units * UNIT);
	if (left)
		lrp_arena_run_list(a, at + units);
	if (a->end < (uint64_t)(at + units) * UNIT)
		__atomic_store_n(&a->end, (uint64_t)(at + units) * UNIT, __ATOMIC_RELAXED);
	return at;
}

/* The end of a block or slab. Its pages went back if it is to be clean. */
void lrp_arena_run_free(struct arena *a, uint32_t at, enum kind kind)
{
	uint32_t units = length_of(a->unit[at].head);

	commit(a, at, head_of(kind, units));
	if (kind == DIRTY)
		count_dirty(a, (int64_t)units * UNIT);
	run_settle(a, at);
}

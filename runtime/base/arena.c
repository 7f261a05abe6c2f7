/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * arena.c - see arena.h: the mapping, the calls, and what is done after a death. How it works is
 * in arena_internal.h.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arena_internal.h"
#include "log.h"

static struct arena *arena; /* inherited by children as it is */

/* ---- after a death ------------------------------------------------------------- */

/* Derives from the heads and the free lists all that is derived. Whoever is killed in here leaves
 * it to the next one. */
static void rebuild(struct arena *a)
{
	memset(a->bin, 0, sizeof(a->bin));
	memset(a->bin_map, 0, sizeof(a->bin_map));
	memset(a->slab, 0, sizeof(a->slab));
	memset(a->spare, 0, sizeof(a->spare));
	count_use(a, -(int64_t)a->in_use);
	a->dirty = 0;
	for (uint32_t at = a->first, units; at < a->units; at += units) {
		enum kind kind = kind_of(a->unit[at].head);
		uint32_t behind;

		units = length_of(a->unit[at].head);
		if (units == 0 || units > a->units - at || kind > SLAB ||
		    (kind == SLAB && a->unit[at].class >= CLASSES)) {
			lrp_log(LRP_LOG_ERROR, "shared socket state was overwritten");
			return; /* what lies behind is used no more */
		}
		a->unit[at + units - 1].back = units - 1;
		if (kind == SLAB) {
			lrp_arena_slab_recount(a, at);
		} else if (kind == USED) {
			count_use(a, (int64_t)units * UNIT);
		} else {
			while ((behind = at + units) < a->units &&
			       kind_of(a->unit[behind].head) == kind) {
				units += length_of(a->unit[behind].head);
				commit(a, at, head_of(kind, units));
			}
			lrp_arena_run_list(a, at);
			a->dirty += kind == DIRTY ? (uint64_t)units * UNIT : 0;
		}
	}
}

static void arena_lock(struct arena *a)
{
	if (lrp_lock(&a->lock))
		rebuild(a);
}

/* ---- the mapping --------------------------------------------------------------- */

/*
 * A process that has called mlockall(MCL_FUTURE) gets each new mapping locked, and all its pages
 * at once. Pages without access are not made, so the lock can be taken off before that happens.
 */
static void *map(size_t size)
{
	void *p = mmap(NULL, size, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	munlock(p, size);
	if (!mprotect(p, size, PROT_READ | PROT_WRITE))
		return p;
	munmap(p, size);
	return NULL;
}

static struct arena *arena_start(void)
{
	/* Where address space, overcommit or locked memory is limited, less will do. */
	static const uint64_t sizes[] = {4ull << 30,  1ull << 30,  256ull << 20,
					 64ull << 20, 16ull << 20, 4ull << 20};
	struct arena *a;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		a = map(sizes[i]);
		if (!a)
			continue;
		a->size = sizes[i];
		a->units = (uint32_t)(sizes[i] / UNIT);
		a->first = units_for(sizeof(*a) + a->units * sizeof(struct unit));
		a->end = (uint64_t)a->first * UNIT;
		a->unit[a->first].head = head_of(CLEAN, a->units - a->first);
		lrp_arena_run_list(a, a->first);
		if (lrp_lock_init(&a->lock)) {
			munmap(a, sizes[i]);
			break;
		}
		return a;
	}
	lrp_log_once(LRP_LOG_ERROR, "no address space for shared socket state: %m");
	return NULL;
}

static struct arena *arena_get(void)
{
	struct arena *a = __atomic_load_n(&arena, __ATOMIC_ACQUIRE);
	struct arena *other = NULL;

	if (a)
		return a;
	/* No lock here: a fork could copy it locked. Who comes second throws his away. */
	a = arena_start();
	if (!a || __atomic_compare_exchange_n(&arena, &other, a, false, __ATOMIC_ACQ_REL,
					      __ATOMIC_ACQUIRE))
		return a;
	munmap(a, a->size);
	return other;
}

/* ---- calls --------------------------------------------------------------------- */

static void *alloc(size_t size, bool zeroed)
{
	struct arena *a = arena_get();
	uint64_t bytes, used;
	bool clean = false;
	uint32_t class, at;
	char *p;

	if (!a || size == 0 || size > LRP_ARENA_MAX)
		return NULL;
	if (size <= SMALL_MAX) {
		class = lrp_arena_class(size, &bytes);
		used = bytes;
		arena_lock(a);
		p = lrp_arena_slab_take(a, class, bytes);
		lrp_unlock(&a->lock);
	} else {
		used = bytes = (uint64_t)units_for(size) * UNIT;
		arena_lock(a);
		at = lrp_arena_run_take(a, units_for(size), USED, 0, !zeroed, &clean);
		count_use(a, (int64_t)(at ? bytes : 0));
		lrp_unlock(&a->lock);
		p = at ? address_of(a, at) : NULL;
	}
	if (p && zeroed && !clean)
		memset(p, 0, used);
	return p;
}

void *lrp_arena_alloc(size_t size)
{
	return alloc(size, true);
}

void *lrp_arena_alloc_raw(size_t size)
{
	return alloc(size, false);
}

/* Of a large block. False: there is no such block. */
static bool free_large(struct arena *a, uint32_t at, uint64_t bytes)
{
	uint64_t head = head_of(USED, (uint32_t)(bytes / UNIT));
	bool dirty = bytes <= KEEP_MAX && __atomic_load_n(&a->dirty, __ATOMIC_RELAXED) < DIRTY_MAX;

	if (__atomic_load_n(&a->unit[at].head, __ATOMIC_RELAXED) != head)
		return false;
	/* Before anyone else can have the block. */
	if (!dirty)
		lrp_arena_give_back(address_of(a, at), bytes);
	arena_lock(a);
	lrp_arena_run_free(a, at, dirty ? DIRTY : CLEAN);
	count_use(a, -(int64_t)bytes);
	lrp_unlock(&a->lock);
	return true;
}

void lrp_arena_free(void *p, size_t size)
{
	struct arena *a = arena_get();
	uint64_t bytes, offset;
	uint32_t at, class;
	bool known;

	if (!p || !a || size == 0 || size > LRP_ARENA_MAX)
		return;
	offset = lrp_arena_offset(p);
	if (!offset)
		return;
	at = (uint32_t)(offset / UNIT);
	if (size > SMALL_MAX) {
		bytes = (uint64_t)units_for(size) * UNIT;
		known = offset % UNIT == 0 && free_large(a, at, bytes);
	} else {
		class = lrp_arena_class(size, &bytes);
		arena_lock(a);
		at -= a->unit[at].back;
		known = at >= a->first && at < a->units && kind_of(a->unit[at].head) == SLAB &&
			lrp_arena_slab_return(a, at, p, class, bytes);
		lrp_unlock(&a->lock);
	}
	if (!known)
		lrp_log_once(LRP_LOG_ERROR,
			     "shared socket state: a block of %zu bytes that is none", size);
}

uint64_t lrp_arena_offset(const void *p)
{
	struct arena *a = arena_get();
	uintptr_t base = (uintptr_t)a;

	if (!a || (uintptr_t)p < base + (uint64_t)a->first * UNIT || (uintptr_t)p >= base + a->size)
		return 0;
	return (uintptr_t)p - base;
}

void *lrp_arena_pointer(uint64_t offset)
{
	struct arena *a = arena_get();

	if (!a || offset < (uint64_t)a->first * UNIT || offset >= a->size)
		return NULL;
	return (char *)a + offset;
}

void lrp_arena_stats(struct lrp_arena_stats *stats)
{
	struct arena *a = arena_get();

	memset(stats, 0, sizeof(*stats));
	if (!a)
		return;
	arena_lock(a);
	stats->reserved = a->size;
	stats->carved = a->end;
	stats->in_use = a->in_use;
	lrp_unlock(&a->lock);
}

uint64_t lrp_arena_in_use(void)
{
	struct arena *a = arena_get();

	return a ? __atomic_load_n(&a->in_use, __ATOMIC_RELAXED) : 0;
}

uint64_t lrp_arena_resident(void)
{
	struct arena *a = arena_get();
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), pages = 0, end, step, kept;
	unsigned char there[4096];

	if (!a)
		return 0;
	end = (__atomic_load_n(&a->end, __ATOMIC_RELAXED) + page - 1) & ~(page - 1);
	for (uint64_t at = 0; at < end; at += step) {
		step = sizeof(there) * page < end - at ? sizeof(there) * page : end - at;
		if (mincore((char *)a + at, step, there))
			return end; /* not knowing, all */
		for (uint64_t i = 0; i < step / page; i++)
			pages += there[i] & 1;
	}
	pages *= page;
	kept = __atomic_load_n(&a->dirty, __ATOMIC_RELAXED);
	return pages > kept ? pages - kept : 0;
}

/* What is derived, derived once more, and compared. */
bool lrp_arena_sound(void)
{
	struct arena *a = arena_get();
	uint64_t in_use = 0, dirty = 0;
	uint32_t listed = 0, free = 0, at, units;
	bool sound = a;

	if (!a)
		return false;
	arena_lock(a);
	for (at = a->first; at < a->units && sound; at += units) {
		const struct unit *u = &a->unit[at];
		enum kind kind = kind_of(u->head);

		units = length_of(u->head);
		sound = units && units <= a->units - at &&
			a->unit[at + units - 1].back == units - 1;
		in_use += kind == USED ? (uint64_t)units * UNIT : 0;
		in_use += kind == SLAB ? u->used * lrp_arena_class_bytes(u->class) : 0;
		dirty += kind == DIRTY ? (uint64_t)units * UNIT : 0;
		free += kind == CLEAN || kind == DIRTY;
		/* Neighbours of one kind would have been merged. */
		sound = sound && (kind == USED || kind == SLAB || at + units == a->units ||
				  kind_of(a->unit[at + units].head) != kind);
	}
	for (uint32_t bin = 0; bin < BINS * 2; bin++)
		for (at = a->bin[bin / BINS][bin % BINS]; at && listed <= free; listed++)
			at = a->unit[at].next;
	sound = sound && in_use == a->in_use && dirty == a->dirty && listed == free;
	lrp_unlock(&a->lock);
	return sound;
}

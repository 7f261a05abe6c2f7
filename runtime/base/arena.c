/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * arena.c - see arena.h.
 *
 * Blocks come in size classes, four to a doubling, each with a free list; what
 * no list has is carved off the end. Nothing is merged or split, so each
 * operation is one store to one word: the list's head, or the end. A member
 * that is killed before that store has changed nothing, one that is killed after it
 * leaks the block it was about to return to its caller or had just
 * unlinked. The next to come finds every list whole, which is why the dead
 * owner's lock can simply be declared consistent.
 *
 * Large blocks give their pages back when they are freed, all but DIRTY_MAX bytes of blocks of the size
 * of buffers: a server whose connections come and go would spend more on pages than on TCP. Those lie
 * in lists of their own, as they are.
 */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arena.h"
#include "lock.h"
#include "log.h"

#define CLASS_SHIFT_MIN 5 /* up to 32 bytes: one class */
#define CLASS_SHIFT_MAX 26
#define CLASSES		((CLASS_SHIFT_MAX - CLASS_SHIFT_MIN) * 4 + 1)
#define PUNCH_MIN	(64u << 10)  /* from here on pages go back on free */
#define KEEP_MAX	(256u << 10) /* up to here they are kept if there are no more than */
#define DIRTY_MAX	(16u << 20)  /* bytes of such blocks already */
#define LINE		64u

struct arena {
	struct lrp_lock lock;
	uint64_t size;
	uint64_t end; /* offset of the first byte never carved */
	uint64_t in_use;
	uint64_t dirty;		      /* bytes of blocks in dirty_list */
	uint64_t free_list[CLASSES];  /* offset of the first free block, 0: none */
	uint64_t dirty_list[CLASSES]; /* of large blocks with their pages and contents */
};

/* A free block's first word is the offset of the next. */
struct free_block {
	uint64_t next;
};

_Static_assert(LRP_ARENA_MAX == 1u << CLASS_SHIFT_MAX, "largest class");

static struct arena *arena; /* inherited by children as it is */

static struct arena *arena_start(void)
{
	/* Where address space or overcommit is limited, less will do. */
	static const uint64_t sizes[] = {4ull << 30, 1ull << 30, 256ull << 20, 64ull << 20};
	struct arena *a;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		a = mmap(NULL, sizes[i], PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (a == MAP_FAILED)
			continue;
		a->size = sizes[i];
		a->end = (sizeof(*a) + LINE - 1) & ~(uint64_t)(LINE - 1);
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

/* The class of a size and, in *bytes, what its blocks measure. */
static unsigned int class_of(size_t size, uint64_t *bytes)
{
	unsigned int shift, quarter;

	if (size <= 1u << CLASS_SHIFT_MIN) {
		*bytes = 1u << CLASS_SHIFT_MIN;
		return 0;
	}
	/* 2^shift < size <= 2^(shift + 1), in steps of a quarter of 2^shift */
	shift = 63 - (unsigned int)__builtin_clzll((unsigned long long)size - 1);
	quarter = (unsigned int)((size - 1 - (1ull << shift)) >> (shift - 2));
	*bytes = (1ull << shift) + ((uint64_t)(quarter + 1) << (shift - 2));
	return (shift - CLASS_SHIFT_MIN) * 4 + quarter + 1;
}

static uint64_t alignment_of(uint64_t bytes)
{
	if (bytes >= PUNCH_MIN)
		return (uint64_t)sysconf(_SC_PAGESIZE);
	return bytes >= LINE ? LINE : 16;
}

/* Lock held. Offset of the block that was unlinked, 0: the list is empty. */
static uint64_t pop(struct arena *a, uint64_t *list)
{
	uint64_t at = *list;

	if (at)
		*list = ((struct free_block *)((char *)a + at))->next;
	return at;
}

static void push(struct arena *a, uint64_t *list, uint64_t at)
{
	((struct free_block *)((char *)a + at))->next = *list;
	/* The compiler must not move the link behind the store that publishes it: a
	 * kill between the two would leave a list that leads anywhere. */
	atomic_signal_fence(memory_order_seq_cst);
	*list = at;
}

/* Lock held. From the end of what was ever handed out; 0: full. */
static uint64_t carve(struct arena *a, uint64_t bytes)
{
	uint64_t align = alignment_of(bytes), at = (a->end + align - 1) & ~(align - 1);

	if (at + bytes > a->size)
		return 0;
	a->end = at + bytes;
	return at;
}

static void *alloc(size_t size, bool zeroed)
{
	struct arena *a = arena_get();
	uint64_t bytes, at = 0, used = 0;
	unsigned int class;

	if (!a || size == 0 || size > LRP_ARENA_MAX)
		return NULL;
	class = class_of(size, &bytes);
	lrp_lock(&a->lock);
	if (!zeroed || !a->free_list[class])
		at = pop(a, &a->dirty_list[class]);
	if (at) {
		a->dirty -= bytes;
		used = bytes;
	} else {
		at = pop(a, &a->free_list[class]);
		/* Of a block whose pages went back only the link is not zero. */
		used = !at ? 0 : bytes >= PUNCH_MIN ? sizeof(struct free_block) : bytes;
	}
	if (!at)
		at = carve(a, bytes);
	if (at)
		a->in_use += bytes;
	lrp_unlock(&a->lock);
	if (!at)
		return NULL;
	if (zeroed)
		memset((char *)a + at, 0, used);
	return (char *)a + at;
}

void *lrp_arena_alloc(size_t size)
{
	return alloc(size, true);
}

void *lrp_arena_alloc_raw(size_t size)
{
	return alloc(size, false);
}

/* Before anyone else can have the block. */
static void give_pages_back(void *p, uint64_t bytes)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), whole = bytes & ~(page - 1);

	if (madvise(p, whole, MADV_REMOVE))
		whole = 0;
	memset((char *)p + whole, 0, bytes - whole);
}

void lrp_arena_free(void *p, size_t size)
{
	struct arena *a = arena_get();
	uint64_t bytes, at;
	unsigned int class;
	bool dirty;

	if (!p || !a || size == 0 || size > LRP_ARENA_MAX)
		return;
	at = lrp_arena_offset(p);
	if (!at)
		return;
	class = class_of(size, &bytes);
	dirty = bytes >= PUNCH_MIN && bytes <= KEEP_MAX &&
		__atomic_load_n(&a->dirty, __ATOMIC_RELAXED) < DIRTY_MAX;
	if (bytes >= PUNCH_MIN && !dirty)
		give_pages_back(p, bytes);
	lrp_lock(&a->lock);
	if (dirty)
		a->dirty += bytes;
	push(a, dirty ? &a->dirty_list[class] : &a->free_list[class], at);
	a->in_use -= bytes;
	lrp_unlock(&a->lock);
}

uint64_t lrp_arena_offset(const void *p)
{
	struct arena *a = arena_get();
	uintptr_t base = (uintptr_t)a;

	if (!a || (uintptr_t)p < base + sizeof(*a) || (uintptr_t)p >= base + a->size)
		return 0;
	return (uintptr_t)p - base;
}

void *lrp_arena_pointer(uint64_t offset)
{
	struct arena *a = arena_get();

	if (!a || offset < sizeof(*a) || offset >= a->size)
		return NULL;
	return (char *)a + offset;
}

void lrp_arena_stats(struct lrp_arena_stats *stats)
{
	struct arena *a = arena_get();

	memset(stats, 0, sizeof(*stats));
	if (!a)
		return;
	lrp_lock(&a->lock);
	stats->reserved = a->size;
	stats->carved = a->end;
	stats->in_use = a->in_use;
	lrp_unlock(&a->lock);
}

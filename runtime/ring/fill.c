/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * fill.c - see fill.h.
 *
 * Why it is right. Call a slot filled when it holds the tag of the lap that the
 * index is in, or that comes next for it. Filled slots follow the index without a gap:
 * a producer fills slot p only after it has seen all from the index up to p filled.
 * A frame is pushed at the instant its slot changes from the previous lap's tag to
 * this one's, by one CAS, so it is pushed once. The index moves by CAS from a
 * value that was read to one up to which all slots were seen filled; it may have
 * moved meanwhile, then the CAS fails; so it never passes an empty slot.
 *
 * A producer that stops before its slot CAS has done nothing; one that stops after
 * it has left work that any other producer does in passing.
 *
 * An empty slot can be overwritten because the kernel has read it: the ring has
 * a slot for each frame and the producer still holds one, so no more than size - 1
 * filled slots are unread.
 *
 * A stale view. A producer that read a slot's value v = (frame, lap L - 1), and is
 * stopped before its CAS, finds another tag when it runs again, and starts over;
 * unless the tag has wrapped: exactly k * 2^bits laps later the slot can hold the
 * same frame with the same tag (with frames that go round in order this is even
 * likely). Its CAS would succeed, and if the kernel has not yet read that slot,
 * v's frame is lost and ours goes round twice. 2^11 laps of 16,384 frames take 17 s
 * at 2 M frames/s: a process under ^Z sleeps longer than that. So the CAS runs as
 * a restartable sequence [rseq(2)] that reads the index again and finds p at most
 * a lap ahead of it: the kernel lets nobody resume inside it after a preemption,
 * a signal or a migration. What remains is an interrupt or a hypervisor's pause
 * of one CPU, of microseconds or milliseconds, against seconds. Without rseq
 * (glibc did not register it, or not x86-64) the index is read again directly
 * before the CAS; then a stop must fall between two adjacent instructions and
 * end within one lap out of 2^bits.
 *
 * The index itself wraps after 2^32 pushes. A producer that is stopped between
 * reading the index and its CAS of it errs only if the index has exactly that value
 * again when it resumes, one out of 2^32. That is left so.
 */
#include <errno.h>
#include <stddef.h>
#include <sys/socket.h>

#include "fill.h"

#if defined(__x86_64__) && defined(__has_include)
#if __has_include(<sys/rseq.h>)
#include <sys/rseq.h>
#define LRP_FILL_RSEQ 1
#endif
#endif

#ifdef LRP_FILL_RSEQ
/*
 * If p is less than `size` ahead of *index: CAS of *slot from v to new, without being preempted
 * between the two. Returns true if the CAS took place and succeeded. Leaves rseq_cs set.
 */
static inline bool cas_at_index(struct rseq *area, _Atomic uint32_t *index, uint32_t p,
				uint32_t size, _Atomic uint64_t *slot, uint64_t v, uint64_t new)
{
	bool done = false;

	__asm__ __volatile__(
		".pushsection __rseq_cs, \"aw\"\n\t"
		".balign 32\n\t"
		"3: .long 0, 0\n\t"
		".quad 1f, (2f - 1f), 4f\n\t"
		".popsection\n\t"
		"leaq 3b(%%rip), %%rcx\n\t"
		"movq %%rcx, %[cs]\n\t"
		"1: movl %[p], %%ecx\n\t"
		"subl %[index], %%ecx\n\t"
		"cmpl %[size], %%ecx\n\t"
		"jae 5f\n\t"
		"lock cmpxchgq %[new], %[slot]\n\t"
		"2: sete %[done]\n\t"
		"5:\n\t"
		".pushsection __rseq_failure, \"ax\"\n\t"
		".byte 0x0f, 0xb9, 0x3d\n\t" /* ud1 with the signature as its displacement */
		".long %c[sig]\n\t"
		"4: jmp 5b\n\t"
		".popsection\n\t"
		: [done] "+&q"(done), [slot] "+m"(*slot), [cs] "=m"(area->rseq_cs), "+a"(v)
		: [index] "m"(*index), [p] "r"(p), [size] "r"(size), [new] "r"(new),
		  [sig] "i"(RSEQ_SIG)
		: "rcx", "cc", "memory");
	return done;
}

static inline struct rseq *rseq_area(void)
{
	if (__rseq_size == 0)
		return NULL;
	return (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
}
#endif

static inline bool fill_slot(struct lrp_pool_view *pool, uint32_t p, _Atomic uint64_t *slot,
			     uint64_t v, uint64_t new)
{
#ifdef LRP_FILL_RSEQ
	struct rseq *area = rseq_area();

	if (__builtin_expect(area != NULL, 1))
		return cas_at_index(area, pool->fill_producer, p, pool->fill_size, slot, v, new);
#endif
	return p - atomic_load_explicit(pool->fill_producer, memory_order_acquire) <
		       pool->fill_size &&
	       atomic_compare_exchange_strong_explicit(slot, &v, new, memory_order_acq_rel,
						       memory_order_relaxed);
}

static inline void cpu_pause(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ __volatile__("yield");
#endif
}

/*
 * Two that fill slots of one cache line in turn pay for its way between the CPUs
 * with each frame. So who loses a slot looks elsewhere, at the index, until the
 * other's batch is out, or for a few microseconds at most: if the other was
 * stopped, nobody waits for him. Three processes on two CPUs that do nothing
 * else: 17 to 22 ns a frame instead of 56 [tools/bench/fill_cost.c].
 */
#define PAUSES 64

static void let_others_finish(struct lrp_pool_view *pool, struct lrp_fill_cursor *cursor)
{
	uint32_t before = atomic_load_explicit(pool->fill_producer, memory_order_relaxed);
	uint32_t p = before;

	for (int i = 0; i < PAUSES && p == before; i++) {
		cpu_pause();
		p = atomic_load_explicit(pool->fill_producer, memory_order_acquire);
	}
	if ((int32_t)(p - cursor->at) > 0)
		cursor->at = p;
}

/*
 * How long one put can take while the ring makes sense. A slot that others have filled is passed
 * once, and each lost slot is another's push: nobody loses so many in a row. A slot at the
 * index, or up to a lap ahead of it, holds the tag of its lap or of the lap before. Since the
 * index is read after the slot, another tag there means that somebody wrote nonsense.
 */
#define LAPS_PASSED 4u
#define SLOTS_LOST  65536u
#define INDEX_LOST  65536u

static bool give_up(struct lrp_pool_view *pool)
{
	if (pool->rest)
		__atomic_store_n(&pool->rest->broken, 1, __ATOMIC_RELEASE);
	return false;
}

bool lrp_fill_put(struct lrp_pool_view *pool, struct lrp_fill_cursor *cursor, uint64_t addr)
{
	uint64_t frame = lrp_fill_frame(pool, addr), passed = 0;
	uint32_t lost = 0;

	for (;;) {
		uint32_t p = cursor->at, now;
		_Atomic uint64_t *slot = &pool->fill_slot[p & cursor->slot_mask];
		uint64_t v = atomic_load_explicit(slot, memory_order_acquire);
		uint32_t lap = (p >> pool->fill_shift) + 1;
		uint32_t ahead = ((uint32_t)v - lap) & cursor->lap_mask;

		if (ahead == cursor->lap_mask) { /* the previous lap's: empty */
			if (fill_slot(pool, p, slot, v, frame | (lap & cursor->lap_mask))) {
				cursor->at = p + 1;
				return true;
			}
			if (++lost == SLOTS_LOST)
				return give_up(pool);
			let_others_finish(pool, cursor);
			continue; /* another was faster, or we were interrupted */
		}
		if (++passed > (uint64_t)pool->fill_size * LAPS_PASSED)
			return give_up(pool);
		if (ahead == 0) {
			cursor->at = p + 1; /* filled */
			continue;
		}
		now = atomic_load_explicit(pool->fill_producer, memory_order_acquire);
		if ((int32_t)(now - p) <= 0)
			return give_up(pool);
		cursor->at = now;
	}
}

void lrp_fill_end(struct lrp_pool_view *pool, const struct lrp_fill_cursor *cursor)
{
	uint32_t p = atomic_load_explicit(pool->fill_producer, memory_order_relaxed), lost = 0;

#ifdef LRP_FILL_RSEQ
	/* This code may be unmapped by dlclose(): nothing may point to it. */
	if (rseq_area())
		rseq_area()->rseq_cs = 0;
#endif
	/* Release: the kernel, which reads the index, finds the slots filled. */
	while ((int32_t)(cursor->at - p) > 0 && lost++ < INDEX_LOST &&
	       !atomic_compare_exchange_weak_explicit(pool->fill_producer, &p, cursor->at,
						      memory_order_release, memory_order_relaxed))
		;
}

bool lrp_fill_push(struct lrp_pool_view *pool, uint64_t addr)
{
	struct lrp_fill_cursor cursor = lrp_fill_begin(pool);
	bool done = lrp_fill_put(pool, &cursor, addr);

	lrp_fill_end(pool, &cursor);
	return done;
}

void lrp_fill_settle(struct lrp_pool_view *pool, int fd)
{
	struct lrp_fill_cursor cursor = lrp_fill_begin(pool);
	uint32_t start = cursor.at;

	/* No more than a lap can lie there; others who go on pushing see to the rest. */
	while (cursor.at - start < pool->fill_size &&
	       ((uint32_t)atomic_load_explicit(&pool->fill_slot[cursor.at & cursor.slot_mask],
					       memory_order_acquire) &
		cursor.lap_mask) == lrp_fill_lap(pool, cursor.at))
		cursor.at++;
	if (cursor.at != start)
		lrp_fill_end(pool, &cursor);
	/* Zero-copy drivers sleep on an empty fill ring. The call receives nothing and its
	 * error, if any, says so; the wake-up is done. */
	if (fd >= 0 &&
	    atomic_load_explicit(pool->fill_flags, memory_order_relaxed) & XDP_RING_NEED_WAKEUP)
		recvfrom(fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
}

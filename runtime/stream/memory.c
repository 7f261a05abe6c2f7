/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * memory.c - see memory.h.
 *
 * What is reserved bounds what is used. While that is below the limit nothing has to be measured.
 * Beyond, the pages are counted that are really there: a connection that has carried little has
 * touched little of its buffers.
 */
#include <stdatomic.h>
#include <stdbool.h>

#include "../base/arena.h"
#include "../base/clock.h"
#include "../base/log.h"
#include "../base/tcp_mem.h"
#include "../broker/broker.h"
#include "memory.h"

#define COUNTED_NS (100 * LRP_NS_PER_MS) /* how long a count of pages is good */
#define YOUNG_NS   LRP_NS_PER_S
#define COST	   20u /* and so many times what counting took */

/* lrpd's word; without one the whole of tcp_mem, which is read once. */
static uint64_t share(void)
{
	static _Atomic uint64_t all;
	uint32_t kib = lrp_broker_status()->family_memory_kib;
	uint64_t bytes;

	if (kib)
		return (uint64_t)kib << 10;
	bytes = atomic_load_explicit(&all, memory_order_relaxed);
	if (!bytes) {
		bytes = lrp_tcp_mem_bytes();
		atomic_store_explicit(&all, bytes, memory_order_relaxed);
	}
	return bytes;
}

/* What was counted at one time. Threads may mix the parts of two counts: the next one is whole. */
struct count {
	_Atomic uint64_t at_ns, resident, in_use;
};

static void count_set(struct count *to, uint64_t at_ns, uint64_t resident, uint64_t in_use)
{
	atomic_store_explicit(&to->resident, resident, memory_order_relaxed);
	atomic_store_explicit(&to->in_use, in_use, memory_order_relaxed);
	atomic_store_explicit(&to->at_ns, at_ns, memory_order_relaxed);
}

static void count_copy(struct count *to, struct count *from)
{
	count_set(to, atomic_load_explicit(&from->at_ns, memory_order_relaxed),
		  atomic_load_explicit(&from->resident, memory_order_relaxed),
		  atomic_load_explicit(&from->in_use, memory_order_relaxed));
}

/* Bytes that had pages then, and all that has been reserved since. */
static uint64_t since(struct count *count, uint64_t in_use)
{
	uint64_t then = atomic_load_explicit(&count->in_use, memory_order_relaxed);

	return atomic_load_explicit(&count->resident, memory_order_relaxed) +
	       (in_use > then ? in_use - then : 0);
}

/*
 * Bytes of the arena that have pages, or soon may have. Connections that have just come have not yet
 * touched their buffers, and are about to. So what was reserved within the last one to two seconds
 * counts in full.
 */
static uint64_t touched(uint64_t in_use)
{
	static struct count last, older[2];
	static _Atomic uint64_t next_ns;
	uint64_t now = lrp_now_ns(), recent, old;

	if (now >= atomic_load_explicit(&next_ns, memory_order_relaxed)) {
		count_set(&last, now, lrp_arena_resident(), in_use);
		if (now - atomic_load_explicit(&older[1].at_ns, memory_order_relaxed) >= YOUNG_NS) {
			/* After a pause both are new: what there is has been touched, or will not be. */
			count_copy(&older[0], now - atomic_load_explicit(&older[1].at_ns,
									 memory_order_relaxed) >=
							      2 * YOUNG_NS
						      ? &last
						      : &older[1]);
			count_copy(&older[1], &last);
		}
		atomic_store_explicit(&next_ns, now + COUNTED_NS + (lrp_now_ns() - now) * COST,
				      memory_order_relaxed);
	}
	recent = since(&last, in_use);
	old = since(&older[0], in_use);
	/* If more has been freed than reserved, the older count says nothing. */
	if (in_use < atomic_load_explicit(&older[0].in_use, memory_order_relaxed))
		old = 0;
	return recent > old ? recent : old;
}

static bool below(uint64_t limit, uint32_t size)
{
	uint64_t in_use = lrp_arena_in_use();

	return in_use + size <= limit || touched(in_use) + size <= limit;
}

void *lrp_memory_first(uint32_t size)
{
	if (below(share(), size))
		return lrp_arena_alloc_raw(size);
	lrp_log_once(LRP_LOG_WARN, "out of memory for TCP: no new connections; see tcp_mem in "
				   "tcp(7)");
	return NULL;
}

void *lrp_memory_grown(uint32_t size)
{
	return below(share() / 3 * 2, size) ? lrp_arena_alloc_raw(size) : NULL;
}

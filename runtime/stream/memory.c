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
#define COST	   20u			 /* and so many times what counting took */

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

/* Bytes of the arena that have pages, and all that has been reserved since they were counted. */
static uint64_t touched(uint64_t in_use)
{
	static _Atomic uint64_t bytes, reserved, next_ns;
	uint64_t now = lrp_now_ns(), then, took;

	if (now >= atomic_load_explicit(&next_ns, memory_order_relaxed)) {
		atomic_store_explicit(&bytes, lrp_arena_resident(), memory_order_relaxed);
		atomic_store_explicit(&reserved, in_use, memory_order_relaxed);
		took = lrp_now_ns() - now;
		atomic_store_explicit(&next_ns, now + COUNTED_NS + took * COST,
				      memory_order_relaxed);
	}
	then = atomic_load_explicit(&reserved, memory_order_relaxed);
	return atomic_load_explicit(&bytes, memory_order_relaxed) +
	       (in_use > then ? in_use - then : 0);
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

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * relay.h - a wire that loses, reorders, duplicates, corrupts and marks (ECN): a process that forwards frames
 * between two devices through packet sockets. Only TCP suffers, so that neighbours are found. Seeded;
 * which frame meets which fate depends on timing all the same.
 */
#ifndef LRP_TEST_RELAY_H
#define LRP_TEST_RELAY_H

#include <stdatomic.h>
#include <stdint.h>

struct relay_net {
	uint32_t loss, reorder, duplicate, corrupt, mark; /* of a thousand frames each */
};

/* Shared with the process. */
struct relay {
	struct relay_net net;
	uint64_t random; /* the seed, and what has become of it; not 0 */
	_Atomic uint64_t passed, lost, reordered, duplicated, corrupted, marked;
};

/* Between two devices of a network namespace; ends with the caller. */
struct relay *relay_start(const char *netns, const char *one, const char *other);

#endif

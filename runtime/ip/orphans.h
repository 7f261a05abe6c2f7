/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * orphans.h - where the orphans lie that a socket has seen on the fragment endpoint.
 *
 * Orphans are fragments that came before the first of their datagram. Each socket that receives
 * fragments notes each orphan once, by the hash of its datagram. A first fragment then finds its
 * orphans, or that there are none, at the same cost whatever is stored.
 *
 * A place is a hint: the ring is shared, so the orphan may be gone, or be another. When the index
 * is full the oldest place is forgotten. It holds more than XDP stores in the time that an orphan
 * lives.
 *
 * Pure; the caller serialises calls for one index. It has no pointers: it may lie at different
 * addresses in different processes.
 */
#ifndef LRP_ORPHANS_H
#define LRP_ORPHANS_H

#include <stdbool.h>
#include <stdint.h>

#include <lrp/abi.h>

#define LRP_ORPHAN_PLACES  (4 * LRP_ORPHANS_PER_SECOND)
#define LRP_ORPHAN_BUCKETS (2 * LRP_ORPHANS_PER_SECOND)

struct lrp_orphan_place {
	uint32_t channel; /* of the fragment endpoint */
	uint32_t at;	  /* index in its ring */
};

struct lrp_orphan_index {
	uint64_t steps; /* places looked at, ever; for tests */
	uint32_t noted; /* ever; the next goes where number (noted - LRP_ORPHAN_PLACES) was */
	uint16_t bucket[LRP_ORPHAN_BUCKETS]; /* newest first */
	struct lrp_orphan_note {
		uint32_t hash;
		uint32_t at;
		uint16_t channel;
		uint16_t next;
		uint16_t linked; /* in its bucket */
		uint16_t pad;
	} note[LRP_ORPHAN_PLACES];
};

void lrp_orphan_index_init(struct lrp_orphan_index *index);

/* `hash`: lrp_reassembly_hash(), which a sender cannot foresee. */
void lrp_orphan_index_note(struct lrp_orphan_index *index, uint32_t hash,
			   struct lrp_orphan_place place);

/* Takes a place out of the index that has this hash. False: there is none. */
bool lrp_orphan_index_take(struct lrp_orphan_index *index, uint32_t hash,
			   struct lrp_orphan_place *place);

#endif

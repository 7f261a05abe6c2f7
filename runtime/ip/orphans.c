/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* orphans.c - see orphans.h. Notes are used in turn, so the next one is always the oldest. */
#include "orphans.h"

#include <string.h>

#define NONE 0xffffu

static uint16_t *bucket_of(struct lrp_orphan_index *index, uint32_t hash)
{
	return &index->bucket[hash % LRP_ORPHAN_BUCKETS];
}

void lrp_orphan_index_init(struct lrp_orphan_index *index)
{
	index->steps = index->noted = 0;
	memset(index->bucket, 0xff, sizeof(index->bucket));
}

static void orphans_forget(struct lrp_orphan_index *index, struct lrp_orphan_note *note)
{
	uint16_t self = (uint16_t)(note - index->note), *at = bucket_of(index, note->hash);

	for (; *at != NONE; at = &index->note[*at].next) {
		index->steps++;
		if (*at == self) {
			*at = note->next;
			break;
		}
	}
	note->linked = 0;
}

void lrp_orphan_index_note(struct lrp_orphan_index *index, uint32_t hash,
			   struct lrp_orphan_place place)
{
	struct lrp_orphan_note *note = &index->note[index->noted % LRP_ORPHAN_PLACES];
	uint16_t *bucket = bucket_of(index, hash);

	if (index->noted >= LRP_ORPHAN_PLACES && note->linked)
		orphans_forget(index, note);
	note->hash = hash;
	note->at = place.at;
	note->channel = (uint16_t)place.channel;
	note->next = *bucket;
	note->linked = 1;
	*bucket = (uint16_t)(note - index->note);
	/* A wrap to below LRP_ORPHAN_PLACES would take notes for never used. */
	if (++index->noted == 0)
		index->noted = LRP_ORPHAN_PLACES;
}

bool lrp_orphan_index_take(struct lrp_orphan_index *index, uint32_t hash,
			   struct lrp_orphan_place *place)
{
	uint16_t *at = bucket_of(index, hash);

	for (; *at != NONE; at = &index->note[*at].next) {
		struct lrp_orphan_note *note = &index->note[*at];

		index->steps++;
		if (note->hash != hash)
			continue;
		*at = note->next;
		note->linked = 0;
		*place = (struct lrp_orphan_place){.channel = note->channel, .at = note->at};
		return true;
	}
	return false;
}

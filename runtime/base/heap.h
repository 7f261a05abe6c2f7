/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * heap.h - what is due first: a binary heap of nodes that lie in what they are about. O(log n)
 * for each change. The array is the owner's: slot[0..room), of which [0] is not used.
 *
 * One thread at a time.
 */
#ifndef LRP_HEAP_H
#define LRP_HEAP_H

#include <stddef.h>
#include <stdint.h>

struct lrp_heap_node {
	int64_t at;
	uint32_t place; /* in the array; 0: not in the heap */
};

struct lrp_heap {
	struct lrp_heap_node **slot;
	uint32_t count, room;
};

/* Puts the node in or moves it. There must be room: count + 1 < room, unless it is in already. */
void lrp_heap_set(struct lrp_heap *heap, struct lrp_heap_node *node, int64_t at);
/* Harmless if it is not in. */
void lrp_heap_remove(struct lrp_heap *heap, struct lrp_heap_node *node);

static inline struct lrp_heap_node *lrp_heap_first(const struct lrp_heap *heap)
{
	return heap->count ? heap->slot[1] : NULL;
}

#endif

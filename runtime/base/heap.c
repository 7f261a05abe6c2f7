/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* heap.c - see heap.h. */
#include "heap.h"

static void put(struct lrp_heap *heap, uint32_t place, struct lrp_heap_node *node)
{
	heap->slot[place] = node;
	node->place = place;
}

/* From its place to where it belongs. */
static void settle(struct lrp_heap *heap, struct lrp_heap_node *node)
{
	uint32_t at = node->place, child;

	for (; at > 1 && heap->slot[at / 2]->at > node->at; at /= 2)
		put(heap, at, heap->slot[at / 2]);
	while ((child = 2 * at) <= heap->count) {
		if (child < heap->count && heap->slot[child + 1]->at < heap->slot[child]->at)
			child++;
		if (heap->slot[child]->at >= node->at)
			break;
		put(heap, at, heap->slot[child]);
		at = child;
	}
	put(heap, at, node);
}

void lrp_heap_set(struct lrp_heap *heap, struct lrp_heap_node *node, int64_t at)
{
	if (!node->place)
		put(heap, ++heap->count, node);
	node->at = at;
	settle(heap, node);
}

void lrp_heap_remove(struct lrp_heap *heap, struct lrp_heap_node *node)
{
	struct lrp_heap_node *last;

	if (!node->place)
		return;
	last = heap->slot[heap->count--];
	if (last != node) {
		put(heap, node->place, last);
		settle(heap, last);
	}
	node->place = 0;
}

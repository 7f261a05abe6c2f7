/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* heap.c - see heap.h. */
#include "heap.h"

static void heap_place_node(struct lrp_heap *heap, uint32_t place, struct lrp_heap_node *node)
{
	heap->slot[place] = node;
	node->place = place;
}

/* From its place to where it belongs. */
static void heap_sift(struct lrp_heap *heap, struct lrp_heap_node *node)
{
	uint32_t at = node->place, child;

	for (; at > 1 && heap->slot[at / 2]->at > node->at; at /= 2)
		heap_place_node(heap, at, heap->slot[at / 2]);
	while ((child = 2 * at) <= heap->count) {
		if (child < heap->count && heap->slot[child + 1]->at < heap->slot[child]->at)
			child++;
		if (heap->slot[child]->at >= node->at)
			break;
		heap_place_node(heap, at, heap->slot[child]);
		at = child;
	}
	heap_place_node(heap, at, node);
}

void lrp_heap_set(struct lrp_heap *heap, struct lrp_heap_node *node, int64_t at)
{
	if (!node->place)
		heap_place_node(heap, ++heap->count, node);
	node->at = at;
	heap_sift(heap, node);
}

void lrp_heap_remove(struct lrp_heap *heap, struct lrp_heap_node *node)
{
	struct lrp_heap_node *last;

	if (!node->place)
		return;
	last = heap->slot[heap->count--];
	if (last != node) {
		heap_place_node(heap, node->place, last);
		heap_sift(heap, last);
	}
	node->place = 0;
}

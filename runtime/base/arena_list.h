/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * arena_list.h - a list of objects of the arena that lies there, too, so that all processes of a
 * family see it. It only grows, by compare-and-swap alone: a process may be killed at any step.
 */
#ifndef LRP_ARENA_LIST_H
#define LRP_ARENA_LIST_H

#include <stdatomic.h>

#include "arena.h"

struct lrp_arena_node {
	struct lrp_arena_node *next;
	void *object;
};

struct lrp_arena_list {
	_Atomic(struct lrp_arena_node *) first;
};

/* Without memory the object is not in the list. */
static inline void lrp_arena_list_add(struct lrp_arena_list *list, void *object)
{
	struct lrp_arena_node *node = lrp_arena_alloc(sizeof(*node));

	if (!node)
		return;
	node->object = object;
	node->next = atomic_load(&list->first);
	while (!atomic_compare_exchange_weak(&list->first, &node->next, node))
		;
}

#endif

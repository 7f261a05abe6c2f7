/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* fork.c - see fork.h. */
#include "fork.h"

#include <pthread.h>
#include <stddef.h>

static struct lrp_fork_handler *first, *last; /* by phase */

static void prepare(void)
{
	for (const struct lrp_fork_handler *h = first; h; h = h->next)
		if (h->prepare)
			h->prepare();
}

static void parent(void)
{
	for (const struct lrp_fork_handler *h = last; h; h = h->prev)
		if (h->parent)
			h->parent();
}

static void child(void)
{
	for (const struct lrp_fork_handler *h = first; h; h = h->next)
		if (h->child)
			h->child();
}

void lrp_fork_register(struct lrp_fork_handler *handler)
{
	struct lrp_fork_handler *before = last;

	if (!first)
		pthread_atfork(prepare, parent, child);
	while (before && before->phase > handler->phase)
		before = before->prev;
	handler->prev = before;
	handler->next = before ? before->next : first;
	*(handler->prev ? &handler->prev->next : &first) = handler;
	*(handler->next ? &handler->next->prev : &last) = handler;
}

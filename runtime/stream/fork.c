/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* fork.c - what fork() means for TCP sockets [base/fork.h]. */
#include <stdlib.h>

#include "../base/fork.h"
#include "family.h"
#include "stream.h"

/* Descriptors of connections that are still on their listener's channels. */
struct unsettled {
	int *fd; /* NULL: they are counted only */
	uint32_t count, room;
};

static void note_unsettled(struct lrp_view *l, void *arg)
{
	struct unsettled *u = arg;

	if (!lrp_stream_unsettled(l))
		return;
	if (u->fd && u->count < u->room)
		u->fd[u->count] = l->fd;
	u->count += !u->fd || u->count < u->room;
}

/* Such connections get their own channels, which the child inherits: it could not get any for them
 * without asking lrpd, and would be woken for all that comes to the listener. */
static void settle_prepare(void)
{
	struct unsettled u = {.fd = NULL};
	uint32_t i;

	if (lrp_inside)
		return;
	lrp_table_each(note_unsettled, &u);
	if (!u.count)
		return;
	u.fd = malloc(u.count * sizeof(*u.fd));
	if (!u.fd)
		return;
	u.room = u.count;
	u.count = 0;
	lrp_table_each(note_unsettled, &u);
	for (i = 0; i < u.count; i++)
		lrp_stream_settle(u.fd[i]);
	free(u.fd);
}

static void touch(struct lrp_view *l, void *unused)
{
	(void)unused;
	l->sock->touched = true;
}

static void sockets_prepare(void)
{
	lrp_table_each_locked(touch, NULL);
}

static void inherit(struct lrp_view *l, void *unused)
{
	(void)unused;
	if (!lrp_is_stream(l))
		return;
	lrp_holder_inherited(l->sock);
	lrp_stream_forked(l);
}

static void sockets_child(void)
{
	lrp_table_each_locked(inherit, NULL);
	lrp_stream_accepting(NULL, -1);
}

void lrp_stream_fork_register(void)
{
	static struct lrp_fork_handler settle = {
		.phase = LRP_FORK_SETTLE,
		.prepare = settle_prepare,
	};
	static struct lrp_fork_handler sockets = {
		.phase = LRP_FORK_SOCKETS,
		.prepare = sockets_prepare,
		.child = sockets_child,
	};

	lrp_fork_register(&settle);
	lrp_fork_register(&sockets);
}

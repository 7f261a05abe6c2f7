/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * orphan.c - what a process that is dead leaves behind is closed as the kernel would have closed it
 * [family.h].
 *
 * A socket that another living process has, too, only loses a holder. The rest depends on where the
 * connection's segments arrive:
 *   on channels that this process has (its listener's)   close(): what was written is delivered
 *   on channels of the dead process, accepted            its listener's from now on, then the same
 *   elsewhere, or its hub was being changed              the peer is reset
 * What lay unread in the channels of the dead process is lost, and the peer sends it again.
 *
 * Order of locks as in stream.h. lrpd is asked by the thread of spare.c.
 */
#include "../base/clock.h"
#include "../base/self.h"
#include "../drive/app.h"
#include "family.h"
#include "stream.h"

struct dead {
	pid_t pid;
	uint64_t start;
	bool listeners; /* their turn; connections first */
};

static bool is_listener(const struct lrp_sock *s)
{
	return atomic_load(&s->stream.mode) == LRP_STREAM_LISTENER;
}

/* All of a hub that is seized, and the hub. */
static void bury_all(struct lrp_hub *hub)
{
	int limit = 1 << 20; /* the list of a broken hub may be a ring */
	struct lrp_conn *c;

	if (hub->broken) {
		for (c = hub->conns; c && limit; c = c->next, limit--)
			lrp_conn_orphaned(hub, c);
	} else {
		while ((c = hub->conns))
			lrp_conn_orphaned(hub, c);
	}
	lrp_hub_bury(hub);
}

static bool any_held(const struct lrp_hub *hub)
{
	const struct lrp_conn *c;

	for (c = hub->broken ? NULL : hub->conns; c; c = c->next)
		if (c->held)
			return true;
	return false;
}

/* Its listener, locked; NULL: it has none. *here: this process receives for it. */
static struct lrp_hub *lock_parent(const struct lrp_hub *hub, bool *here)
{
	struct lrp_hub *parent = hub->own.parent;

	*here = parent && lrp_app_watches(&parent->driven) &&
		lrp_hub_lock_if(parent, atomic_load(&parent->driven.serial));
	if (parent && !*here)
		lrp_hub_seize(parent);
	return parent;
}

static void unlock_parent(struct lrp_hub *parent, bool here)
{
	if (here)
		lrp_hub_unlock(parent);
	else if (parent)
		lrp_hub_release(parent);
}

/* On channels of its own, which the dead process had. */
static void close_foreign(struct lrp_hub *hub, struct lrp_conn *c)
{
	int64_t now = (int64_t)lrp_now_ns();
	struct lrp_hub *parent;
	bool here;

	parent = lock_parent(hub, &here);
	lrp_hub_seize(hub);
	if (here && !hub->broken && hub->conns == c && lrp_hub_return(hub, c, now, false))
		lrp_conn_release(c, now, false);
	else if (hub->conns == c)
		lrp_conn_orphaned(hub, c);
	lrp_hub_bury(hub);
	unlock_parent(parent, here);
}

static void close_connection(struct lrp_hub *hub, struct lrp_conn *c)
{
	bool here = lrp_app_watches(&hub->driven);

	if (here && lrp_hub_lock_if(hub, atomic_load(&hub->driven.serial))) {
		lrp_conn_release(c, (int64_t)lrp_now_ns(), false);
		lrp_hub_unlock(hub);
	} else if (!here && !lrp_hub_is(hub, LRP_HUB_LISTENER)) {
		close_foreign(hub, c);
	} else {
		/* The hub is broken, or goes with its listener. */
		lrp_hub_seize(hub);
		lrp_conn_orphaned(hub, c);
		lrp_hub_release(hub);
	}
}

static void close_listener(struct lrp_hub *hub)
{
	int64_t now = (int64_t)lrp_now_ns();

	if (lrp_app_watches(&hub->driven)) {
		if (lrp_hub_lock_if(hub, atomic_load(&hub->driven.serial))) {
			lrp_listen_stop(hub, now);
			lrp_hub_unlock(hub);
		}
		return;
	}
	lrp_hub_seize(hub);
	if (!hub->broken)
		lrp_listen_orphaned(hub);
	/* Another process has connections of it. */
	if (any_held(hub))
		lrp_hub_release(hub);
	else
		bury_all(hub);
}

static void close_sock(struct lrp_sock *s, void *arg)
{
	const struct dead *dead = arg;
	struct lrp_stream *stream = &s->stream;
	struct lrp_hub *hub = stream->hub;
	struct lrp_conn *c = stream->conn;
	bool listener = is_listener(s);

	if (s->kind != LRP_KIND_STREAM || listener != dead->listeners ||
	    !lrp_holder_drop(s, dead->pid, dead->start) || atomic_fetch_sub(&s->procs, 1) != 1)
		return;
	atomic_store(&stream->mode, LRP_STREAM_KERNEL);
	stream->hub = NULL;
	stream->conn = NULL;
	if (hub && c)
		close_connection(hub, c);
	else if (hub && listener)
		close_listener(hub);
	atomic_fetch_or(&s->state, LRP_SOCK_CLOSED);
	lrp_sock_reap(s);
}

/* What no socket has: spare hubs, and those of connections that were ending. */
static void close_hub(struct lrp_hub *hub, void *arg)
{
	const struct dead *dead = arg;

	struct lrp_hub *parent;
	bool here, others;

	if (hub->pid != dead->pid)
		return;
	if (lrp_app_watches(&hub->driven)) {
		hub->pid = lrp_self();
		return;
	}
	parent = lock_parent(hub, &here);
	lrp_hub_seize(hub);
	others = hub->listen.open || hub->listen.children || any_held(hub) ||
		 (lrp_hub_is(hub, LRP_HUB_LISTENER) && hub->conns);
	if (hub->pid != dead->pid) {
		lrp_hub_release(hub);
	} else if (others) {
		hub->pid = 0;
		lrp_hub_release(hub);
	} else {
		if (lrp_hub_is(hub, LRP_HUB_TIMEWAIT) && !hub->broken)
			lrp_waits_leave(hub);
		bury_all(hub);
	}
	unlock_parent(parent, here);
}

void lrp_orphans_close(pid_t pid, uint64_t start)
{
	struct dead dead = {.pid = pid, .start = start};

	lrp_sock_each(close_sock, &dead);
	dead.listeners = true;
	lrp_sock_each(close_sock, &dead);
	lrp_family_each_hub(close_hub, &dead);
}

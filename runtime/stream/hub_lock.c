/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* hub_lock.c - a hub's lock, whose holder may die or be stopped [stream.h]. */
#include <stdio.h>
#include <sys/eventfd.h>

#include "../base/clock.h"
#include "../base/log.h"
#include "../drive/app.h"
#include "hub_internal.h"

#define STALL_TRIES 50 /* a holder that runs has so many times 20 ms */

/* Whatever the dead holder was changing cannot be trusted: connections fail, and the kernel resets
 * their peers when they ask; its socket goes on listening for a listener's [lrp_listen_abandon()]. */
void lrp_hub_recover(struct lrp_hub *hub)
{
	uint32_t i;

	for (i = 0; i < hub->ep.channels; i++)
		lrp_chan_recover(&hub->ep.chan[i]);
	if (!lrp_hub_is(hub, LRP_HUB_LISTENER) && hub->conns && hub->conns->exact)
		lrp_flow_hide(&hub->conns->flow);
	hub->broken = true;
	eventfd_write(hub->bell, 1);
}

void lrp_hub_take(struct lrp_hub *hub)
{
	lrp_inside++;
	if (lrp_unlikely(lrp_lock(&hub->lock)))
		lrp_hub_recover(hub);
	hub->turn++;
}

/* Its channels are not mapped here: they belong to another process of the family. */
void lrp_hub_seize(struct lrp_hub *hub)
{
	lrp_inside++;
	if (lrp_unlikely(lrp_lock(&hub->lock)))
		hub->broken = true;
	hub->turn++;
}

/* Of a thread: false if it is stopped or traced, or if it is not to be known. The freezer's
 * threads sleep, as those do that wait for another lock: they are taken for stopped if they do
 * so at two looks. */
static bool thread_runs(pid_t tid, bool *slept)
{
	char path[64], line[256], *at = NULL;
	bool on = false;
	FILE *file;

	if (!tid)
		return true; /* it has just let go */
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)tid);
	file = fopen(path, "re");
	if (!file)
		return false;
	if (fgets(line, sizeof(line), file) && (at = strrchr(line, ')')) && at[1])
		on = at[2] == 'R' || at[2] == 'D' || (at[2] == 'S' && !*slept);
	if (at)
		*slept = at[2] == 'S';
	fclose(file);
	return on;
}

static bool is_listener_of(const struct lrp_view *l, const void *hub)
{
	return lrp_is_stream(l) && l->sock->stream.hub == hub &&
	       atomic_load(&l->sock->stream.mode) == LRP_STREAM_LISTENER;
}

/*
 * The listener's lock is with somebody who is stopped. SYNs go to the kernel's socket from now on.
 * Connections get exact entries, as far as they have none, since the port leads to us no more. The
 * holder may be in the midst of a change; the list is whole at each step, for whoever
 * follows `next`.
 */
static void hub_stall(struct lrp_hub *hub)
{
	int limit = 1 << 20;
	struct lrp_conn *c;
	int fd;

	if (atomic_exchange(&hub->stalled, true) || !hub->listen.open)
		return;
	for (c = hub->conns; c && limit; c = c->next, limit--)
		if (!c->exact)
			lrp_conn_expose(c, hub);
	fd = lrp_table_find(is_listener_of, hub);
	if (fd >= 0)
		lrp_flows_claim(&fd, 1, false);
	lrp_endpoint_withdraw(&hub->ep);
	lrp_log_once(LRP_LOG_WARN, "a process was stopped while it received for a listening "
				   "socket: the kernel takes new connections from now on");
}

/* Of a hub that several processes receive for. False: its holder is stopped. */
static bool hub_take_shared(struct lrp_hub *hub)
{
	int error = lrp_lock_try(&hub->lock), tries = 0;
	bool slept = false;

	/* 20 ms for the first one that meets it; then a look at the holder will do. */
	if (lrp_unlikely(error < 0) && !atomic_load(&hub->stalled))
		error = lrp_lock_within(&hub->lock, LRP_STALLED_NS);
	while (error < 0 && tries++ < STALL_TRIES &&
	       thread_runs(lrp_lock_owner(&hub->lock), &slept))
		error = lrp_lock_within(&hub->lock, LRP_STALLED_NS);
	if (error < 0) {
		hub_stall(hub);
		/* Who was woken and could not look is woken again by the holder. */
		atomic_store(&hub->missed, true);
		error = lrp_lock_try(&hub->lock);
	}
	if (error < 0)
		return false;
	lrp_inside++;
	if (lrp_unlikely(error > 0))
		lrp_hub_recover(hub);
	hub->turn++;
	if (lrp_unlikely(atomic_load_explicit(&hub->left, memory_order_relaxed) != NULL))
		lrp_conn_take_left(hub);
	return true;
}

bool lrp_hub_take_any(struct lrp_hub *hub)
{
	if (lrp_hub_is(hub, LRP_HUB_LISTENER))
		return hub_take_shared(hub);
	lrp_hub_take(hub);
	return true;
}

void lrp_hub_release(struct lrp_hub *hub)
{
	lrp_unlock(&hub->lock);
	lrp_inside--;
}

bool lrp_hub_lock_if(struct lrp_hub *hub, uint32_t serial)
{
	if (!lrp_hub_take_any(hub))
		return false;
	if (atomic_load(&hub->driven.serial) == serial && !hub->broken)
		return true;
	lrp_unlock(&hub->lock);
	lrp_inside--;
	return false;
}

bool lrp_hub_lock(struct lrp_view *l, int fd, enum lrp_stream_mode mode)
{
	struct lrp_stream *stream = &l->sock->stream;
	struct lrp_hub *hub;
	bool moved;

	do {
		hub = stream->hub;
		if (!hub || !lrp_hub_take_any(hub))
			return false;
		if (lrp_likely(lrp_view_of(fd) == l && stream->hub == hub &&
			       atomic_load(&stream->mode) == mode && !hub->broken)) {
			if (lrp_unlikely(!atomic_load_explicit(&l->app, memory_order_relaxed)))
				lrp_stream_watch(l);
			if (lrp_unlikely(hub->user != lrp_self()))
				hub->user = lrp_self();
			return true;
		}
		moved = lrp_view_of(fd) == l && stream->hub != hub;
		lrp_hub_release(hub);
	} while (moved);
	return false;
}

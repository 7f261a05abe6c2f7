/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * hub.c - the life of a hub: made, moved between, given back, closed.
 */
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/fd.h"
#include "../base/fork.h"
#include "../base/self.h"
#include "../drive/app.h"
#include "../drive/drive.h"
#include "family.h"
#include "hub_internal.h"

#define SLOTS_FIRST 16u

static bool own_unused(const struct lrp_hub *hub)
{
	return !hub->conns;
}

static const struct lrp_hub_ops nobodys, own = {.unused = own_unused};

const struct lrp_hub_ops *lrp_hub_role_ops[LRP_HUB_ROLES] = {
	[LRP_HUB_SPARE] = &nobodys,
	[LRP_HUB_CONNECTION] = &own,
	[LRP_HUB_LISTENER] = &nobodys,
	[LRP_HUB_TIMEWAIT] = &nobodys,
};

void lrp_hub_register(enum lrp_hub_role role, const struct lrp_hub_ops *ops)
{
	lrp_hub_role_ops[role] = ops;
}

static struct lrp_hub *free_hubs; /* their locks stay valid */
static pthread_mutex_t free_lock = PTHREAD_MUTEX_INITIALIZER;

static void hub_free(struct lrp_hub *hub)
{
	hub->pid = lrp_self(); /* whose list has it */
	pthread_mutex_lock(&free_lock);
	hub->next_free = free_hubs;
	free_hubs = hub;
	pthread_mutex_unlock(&free_lock);
}

/* All but lock, endpoint and bell as if it had never been used. */
static void hub_reset(struct lrp_hub *hub)
{
	hub->role = LRP_HUB_CONNECTION;
	hub->own = (struct lrp_hub_own){0};
	hub->listen = (struct lrp_hub_listen){.queue_end = &hub->listen.queue,
					      .settle_ns = LRP_TCP_NEVER,
					      .gate_ns = LRP_TCP_NEVER};
	hub->waits = NULL;
	hub->table = (struct lrp_tcp_flow_table){0};
	hub->conns = hub->touched = hub->reader = hub->writer = NULL;
	hub->into = NULL;
	hub->broken = false;
	atomic_store(&hub->stalled, false);
	atomic_store(&hub->missed, false);
	atomic_store(&hub->left, NULL);
	hub->hold = -1;
	hub->hold_pid = 0;
	memset(hub->processed, 0, sizeof(hub->processed));
	hub->dropped = hub->discarded_before = 0;
	atomic_store(&hub->driven.deadline_ns, LRP_TCP_NEVER);
	atomic_store(&hub->driven.called, false);
	hub->driven.armed_by = 0;
}

struct lrp_hub *lrp_hub_new(void)
{
	struct lrp_hub *hub;

	pthread_mutex_lock(&free_lock);
	hub = free_hubs;
	if (hub)
		free_hubs = hub->next_free;
	pthread_mutex_unlock(&free_lock);
	if (!hub) {
		hub = lrp_arena_alloc(sizeof(*hub));
		if (!hub || lrp_lock_init(&hub->lock)) {
			lrp_arena_free(hub, sizeof(*hub));
			return NULL;
		}
		lrp_family_add_hub(hub);
	}
	memset(&hub->ep, 0, sizeof(hub->ep));
	hub->ep.id = LRP_ENDPOINT_NONE;
	atomic_store(&hub->sleepers, 0);
	atomic_store(&hub->waiters, 0);
	hub_reset(hub);
	hub->pid = hub->user = lrp_self();
	hub->tainted = hub->foreign = false;
	hub->set = -1;
	hub->bell = lrp_fd_aside(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	if (hub->bell < 0) {
		hub_free(hub);
		return NULL;
	}
	return hub;
}

int lrp_stream_set(const struct lrp_hub *hub, int listener)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLEXCLUSIVE};
	int epfd = lrp_fd_aside(epoll_create1(EPOLL_CLOEXEC)), error = 0;
	uint32_t i;

	if (epfd < 0)
		return -errno;
	/* In eager mode the thread alone has the channels, and rings. */
	for (i = 0; !error && !lrp_eager() && i < hub->ep.channels; i++)
		error = epoll_ctl(epfd, EPOLL_CTL_ADD, hub->ep.chan[i].fd, &ev);
	if (!error && listener >= 0)
		error = epoll_ctl(epfd, EPOLL_CTL_ADD, listener, &ev);
	ev.events = EPOLLIN | EPOLLET;
	if (!error)
		error = epoll_ctl(epfd, EPOLL_CTL_ADD, hub->bell, &ev);
	if (error) {
		error = -errno;
		close(epfd);
		return error;
	}
	return epfd;
}

bool lrp_hub_table(struct lrp_hub *hub)
{
	return lrp_conn_index_make(hub, SLOTS_FIRST);
}

static void hub_fork_child(void)
{
	free_hubs = NULL;
	pthread_mutex_init(&free_lock, NULL);
}

static __attribute__((constructor)) void fork_register(void)
{
	static struct lrp_fork_handler handler = {
		.phase = LRP_FORK_STORES,
		.child = hub_fork_child,
	};

	lrp_fork_register(&handler);
}

/* The connection that this hub was for has ended. No lock held. True: its port is to be held. */
static bool conn_bury(struct lrp_hub *hub)
{
	struct lrp_hub *parent = hub->own.parent;
	int64_t now = (int64_t)lrp_now_ns();
	bool lingers;

	if (parent && !lrp_hub_take_any(parent)) {
		if (hub->own.ended->exact)
			lrp_flow_hide(&hub->own.ended->flow);
		hub->own.ended->exact = false;
		lrp_conn_push_left(parent, hub->own.ended);
		hub->own.ended = NULL;
		hub->own.parent = NULL;
		return false;
	}
	lingers = lrp_conn_end(parent && !parent->broken ? parent : NULL, hub->own.ended, now);
	hub->own.ended = NULL;
	hub->own.parent = NULL;
	if (!parent)
		return lingers;
	parent->listen.lingers |= lingers;
	parent->listen.children--;
	if (parent->broken)
		lrp_hub_release(parent);
	else
		lrp_hub_unlock(parent);
	return false;
}

/* Nothing is left of it. The lock is held on entry. */
static void hub_close(struct lrp_hub *hub)
{
	int hold = hub->hold_pid == lrp_self() ? hub->hold : -1;
	bool recycled = !lrp_hub_is(hub, LRP_HUB_LISTENER) && !hub->broken && !hub->tainted &&
			hub->ep.id != LRP_ENDPOINT_NONE;
	bool lingers = hub->listen.lingers;
	uint32_t serial = atomic_fetch_add(&hub->driven.serial, 1);

	hub->hold = -1;
	lrp_unlock(&hub->lock);
	if (!recycled)
		lrp_app_forget(&hub->driven, serial);
	if (hub->own.ended)
		lingers = conn_bury(hub);
	lrp_arena_free(hub->table.slot, hub->table.slots * sizeof(struct lrp_hub_slot));
	/* Before the port is free: its next owner is to get his segments. The shadow itself may
	 * live on, for another connection. */
	if (lrp_hub_is(hub, LRP_HUB_LISTENER) && hub->ep.id != LRP_ENDPOINT_NONE)
		lrp_endpoint_withdraw(&hub->ep);
	if (hold >= 0 && lingers)
		lrp_waits_hold(hold);
	else if (hold >= 0)
		close(hold);
	hub_reset(hub);
	if (recycled) {
		/* From here on APP may look at it again. */
		hub->role = LRP_HUB_SPARE;
		lrp_app_renew(&hub->driven, serial);
		lrp_spare_put(hub);
	} else {
		lrp_hub_dispose(hub);
	}
}

void lrp_hub_dispose(struct lrp_hub *hub)
{
	lrp_app_forget(&hub->driven, atomic_load(&hub->driven.serial));
	if (hub->foreign) {
		lrp_endpoint_abandon(&hub->ep, &lrp_arena_allocator);
		hub_free(hub);
		return;
	}
	if (hub->ep.id != LRP_ENDPOINT_NONE)
		lrp_endpoint_close(&hub->ep, &lrp_arena_allocator);
	close(hub->bell);
	if (hub->set >= 0)
		close(hub->set);
	hub_free(hub);
}

void lrp_hub_leave(struct lrp_hub *hub, uint32_t serial)
{
	struct lrp_chan chan[LRP_MAX_POOLS];
	struct lrp_endpoint ep;
	int bell, set;

	/* A listener's has connections of other sockets. */
	if (lrp_hub_is(hub, LRP_HUB_LISTENER))
		return;
	lrp_app_forget(&hub->driven, serial);
	if (!lrp_hub_lock_if(hub, serial))
		return;
	ep = hub->ep;
	memcpy(chan, ep.chan, ep.channels * sizeof(*chan));
	bell = hub->bell;
	set = hub->set;
	if (hub->pid == lrp_self())
		hub->pid = 0;
	if (hub->user == lrp_self())
		hub->user = 0;
	lrp_hub_release(hub);
	ep.chan = chan;
	lrp_endpoint_leave(&ep);
	close(bell);
	if (set >= 0)
		close(set);
}

bool lrp_hub_move(struct lrp_hub *from, struct lrp_conn *c, struct lrp_hub *to, int64_t now)
{
	bool moved;

	/* The APP thread may watch its channels still, and takes what it finds there for an earlier
	 * connection's. */
	lrp_hub_take(to);
	moved = !lrp_conn_expose(c, to);
	if (moved) {
		/* What came before comes before. */
		lrp_hub_input(from, now, NULL, LRP_CONTEXT_CALL);
		lrp_conn_unlink(c);
		lrp_conn_link(to, c);
		to->role = LRP_HUB_CONNECTION;
		to->own.parent = from;
		from->listen.children++;
		lrp_tcp_quota(&c->tcp, to->ep.limit * LRP_TCP_FRAME_BYTES);
		atomic_store(&to->driven.deadline_ns, lrp_tcp_deadline(&c->tcp));
	}
	lrp_hub_release(to);
	return moved;
}

bool lrp_hub_return(struct lrp_hub *hub, struct lrp_conn *c, int64_t now, bool mapped)
{
	struct lrp_hub *to = hub->own.parent;

	/* What nobody has an entry for is the listener's; unless another gets it. */
	if (!to->listen.open || to->broken || (to->listen.reuseport && lrp_conn_expose(c, to)))
		return false;
	if (!to->listen.reuseport && c->exact) {
		lrp_flow_hide(&c->flow);
		c->exact = false;
	}
	if (mapped) {
		/* What came before comes before. */
		lrp_hub_input(hub, now, c, LRP_CONTEXT_CALL);
		lrp_hub_flush(hub, now, c);
	}
	lrp_conn_unlink(c);
	lrp_conn_link(to, c);
	hub->own.parent = NULL;
	to->listen.children--;
	/* It may take long to end. */
	c->born_ns = now;
	if (to->listen.settle_ns > now + LRP_SETTLES_NS)
		to->listen.settle_ns = now + LRP_SETTLES_NS;
	lrp_hub_touch(c);
	return true;
}

void lrp_hub_bury(struct lrp_hub *hub)
{
	uint32_t slots = hub->table.slots;

	hub->conns = hub->touched = NULL;
	atomic_fetch_add(&hub->driven.serial, 1);
	if (!hub->broken)
		lrp_arena_free(hub->table.slot, slots * sizeof(struct lrp_hub_slot));
	hub_reset(hub);
	hub->pid = lrp_self();
	hub->foreign = true;
	lrp_hub_release(hub);
	lrp_spare_bury(hub);
}

uint64_t lrp_hub_discarded(const struct lrp_hub *hub)
{
	uint64_t n = 0;
	uint32_t i;

	for (i = 0; i < hub->ep.channels; i++)
		n += lrp_chan_discarded(&hub->ep.chan[i]);
	return n - hub->discarded_before;
}

int lrp_hub_open(struct lrp_hub *hub, uint32_t limit)
{
	uint32_t i;
	int error = lrp_endpoint_open(&hub->ep, 0, limit, &lrp_arena_allocator);

	/* Flags that an earlier owner of the channel has left. */
	for (i = 0; !error && i < hub->ep.channels; i++)
		__atomic_store_n(&hub->ep.chan[i].user->flags, 0, __ATOMIC_RELEASE);
	hub->discarded_before += error ? 0 : lrp_hub_discarded(hub);
	return error;
}

void lrp_hub_discard(struct lrp_hub *hub)
{
	lrp_hub_take(hub);
	hub->own.ended = hub->conns;
	hub->conns = hub->touched = NULL;
	hub_close(hub);
	lrp_inside--;
}

void lrp_hub_unlock(struct lrp_hub *hub)
{
	bool (*unused)(const struct lrp_hub *hub);

	if (lrp_unlikely(atomic_load_explicit(&hub->left, memory_order_relaxed) != NULL))
		lrp_conn_take_left(hub);
	if (lrp_unlikely(atomic_load(&hub->missed)) && atomic_exchange(&hub->missed, false))
		eventfd_write(hub->bell, 1);
	if (hub->touched)
		lrp_hub_flush(hub, (int64_t)lrp_now_ns(), NULL);
	unused = lrp_hub_ops_of(hub)->unused;
	if (lrp_unlikely(unused && unused(hub)))
		hub_close(hub);
	else
		lrp_unlock(&hub->lock);
	lrp_inside--;
}

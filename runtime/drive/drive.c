/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * sched.c - the one thread that a process may have beside the application's own:
 * starting it, and keeping channels mapped while it looks at them.
 *
 * No lock is shared with it. It names the socket that it is about to look at
 * (the hazard) and then asks whether it may; whoever wants to unmap forbids
 * it first and then looks at the hazard. Both orders are sequentially
 * consistent, so one of the two sees the other.
 */
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "../base/fd.h"
#include "../base/fork.h"
#include "../base/log.h"
#include "../base/thread.h"
#include "drive_internal.h"

/* An endpoint that was given up while the thread was looking at it. */
struct grave {
	struct grave *next;
	struct lrp_endpoint ep;
	struct lrp_rxq *q;
};

struct lrp_drive_ops lrp_drive_ops;

void lrp_drive_register(const struct lrp_drive_ops *ops)
{
	lrp_drive_ops = *ops;
}

int lrp_sched_epfd = -1;
_Atomic(struct lrp_view *) lrp_sched_hazard;

static pthread_mutex_t start_lock = PTHREAD_MUTEX_INITIALIZER;
static bool started;
static _Atomic(struct grave *) graves;
static _Atomic int eager_mode = -1, helper_mode = -1;

static bool setting(_Atomic int *cache, const char *name, bool fallback)
{
	int value = atomic_load_explicit(cache, memory_order_relaxed);
	const char *text;

	if (value < 0) {
		text = getenv(name);
		value = text && *text ? strcmp(text, "0") != 0 : fallback;
		atomic_store(cache, value);
	}
	return value != 0;
}

bool lrp_eager(void)
{
	return setting(&eager_mode, "LRP_EAGER", false);
}

static bool wanted(void)
{
	return lrp_eager() || setting(&helper_mode, "LRP_HELPER", true);
}

static bool drive_start(void)
{
	sem_t ready;
	int error;

	pthread_mutex_lock(&start_lock);
	if (!started) {
		if (lrp_sched_epfd < 0)
			lrp_sched_epfd = lrp_fd_aside(epoll_create1(EPOLL_CLOEXEC));
		sem_init(&ready, 0, 0);
		error = lrp_sched_epfd < 0
				? errno
				: lrp_thread_start(lrp_eager() ? lrp_eager_main : lrp_helper_main,
						   &ready, LRP_THREAD_STACK, NULL);
		/* It copies our descriptors for a moment: nothing shall be closed meanwhile. */
		while (!error && !lrp_eager() && sem_wait(&ready))
			;
		sem_destroy(&ready);
		started = error == 0;
		if (error)
			lrp_log_once(LRP_LOG_WARN, "no %s thread: %s",
				     lrp_eager() ? "eager" : "helper", strerror(error));
	}
	pthread_mutex_unlock(&start_lock);
	return started;
}

static void put_back(struct grave *first, struct grave *last)
{
	last->next = atomic_load(&graves);
	while (!atomic_compare_exchange_weak(&graves, &last->next, first))
		;
}

/*
 * Closes what was given up, unless the thread is looking at something. Never done by the thread
 * itself: closing asks lrpd, under locks, and the helper has not got the descriptors. The list is
 * taken first: what is on it was forbidden before, so a thread that is nowhere now does not come
 * back to it.
 */
static void dig(void)
{
	struct grave *first, *g, *next;

	if (!atomic_load_explicit(&graves, memory_order_relaxed))
		return;
	first = atomic_exchange(&graves, NULL);
	if (!first)
		return;
	if (atomic_load(&lrp_sched_hazard)) {
		for (g = first; g->next; g = g->next)
			;
		put_back(first, g);
		return;
	}
	lrp_inside++;
	for (g = first; g; g = next) {
		next = g->next;
		lrp_drive_ops.discard(&g->ep, g->q);
		lrp_arena_free(g, sizeof(*g));
	}
	lrp_inside--;
}

/* The side tables; lazily touched, so a socket that is never helped pays for addresses only. */
static void make_tables(struct lrp_sock *s)
{
	uint32_t i;

	for (i = 0; i < s->dgram.ep.channels; i++) {
		struct lrp_rxq *q = &s->dgram.rxq[i];
		uint32_t slots = s->dgram.ep.chan[i].ring_mask + 1;

		if (atomic_load(&q->verdict))
			continue;
		q->helped = s->dgram.ep.chan[i].next;
		q->verdicts = slots;
		atomic_store_explicit(&q->verdict, lrp_arena_alloc(slots * sizeof(uint64_t)),
				      memory_order_release);
	}
}

static void drive_registrations(struct lrp_view *l, bool on)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data.ptr = l};
	struct lrp_sock *s = l->sock;
	uint32_t i;

	/* The helper does not consume: it wants to hear of what is new, once. */
	if (!lrp_eager())
		ev.events |= EPOLLET;
	for (i = 0; i < s->dgram.ep.channels; i++)
		epoll_ctl(lrp_sched_epfd, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL,
			  s->dgram.ep.chan[i].fd, &ev);
	for (i = 0; i < s->dgram.old.channels; i++)
		epoll_ctl(lrp_sched_epfd, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL,
			  s->dgram.old.chan[i].fd, &ev);
}

void lrp_sched_watch(struct lrp_view *l)
{
	struct lrp_sock *s = l->sock;

	/* One helper per family: that of the process that opened the channels. */
	if (!s->dgram.ep.channels || s->dgram.opener != getpid() || !lrp_view_mapped(l) ||
	    !wanted() || !drive_start())
		return;
	if (!lrp_eager())
		make_tables(s);
	/* Off and on again: behind the application's own registrations. */
	if (atomic_load(&l->helped))
		drive_registrations(l, false);
	atomic_store(&l->helped, true);
	drive_registrations(l, true);
}

bool lrp_sched_forget(struct lrp_view *l)
{
	dig();
	if (!atomic_load(&l->helped))
		return atomic_load(&lrp_sched_hazard) != l;
	atomic_store(&l->helped, false);
	drive_registrations(l, false);
	/* The eager thread runs at our priority and holds the lock briefly: wait. */
	while (lrp_eager() && atomic_load(&lrp_sched_hazard) == l)
		sched_yield();
	return atomic_load(&lrp_sched_hazard) != l;
}

void lrp_sched_bury(struct lrp_endpoint *ep, struct lrp_rxq *q)
{
	struct grave *g = lrp_arena_alloc(sizeof(*g));

	if (!g)
		return; /* stays mapped until the process ends */
	g->ep = *ep;
	g->q = q;
	g->next = NULL;
	put_back(g, g);
	dig();
}

static void drive_fork_prepare(void)
{
	pthread_mutex_lock(&start_lock);
}

static void drive_fork_parent(void)
{
	pthread_mutex_unlock(&start_lock);
}

/* The thread is the parent's, and so is its wait set: closing our copy of the descriptor leaves it. */
static void drive_fork_child(void)
{
	if (lrp_sched_epfd >= 0)
		close(lrp_sched_epfd);
	lrp_sched_epfd = -1;
	started = false;
	atomic_store(&lrp_sched_hazard, NULL);
	atomic_store(&graves, NULL);
	atomic_store(&lrp_helper_parked, false);
	pthread_mutex_init(&start_lock, NULL);
}

static __attribute__((constructor)) void fork_register(void)
{
	static struct lrp_fork_handler handler = {
		.phase = LRP_FORK_THREADS,
		.prepare = drive_fork_prepare,
		.parent = drive_fork_parent,
		.child = drive_fork_child,
	};

	lrp_fork_register(&handler);
}

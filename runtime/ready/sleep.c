/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * sleep.c - sleeping until a socket's readiness changes [ready.h].
 *
 * One epoll instance per socket and process that ever waited. An empty set of waiters costs an
 * arriving packet nothing: a socket on which nobody waits wakes nobody.
 */
#include <sys/eventfd.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/fd.h"
#include "../tx/hold.h"
#include "ready.h"

#define EVENTS 4

__thread uint32_t lrp_sleep_counted;

static int bell = -1; /* always readable; added to a set, it wakes all who sleep on it */

void lrp_wait_bell(void)
{
	int fresh, none = -1;

	if (__atomic_load_n(&bell, __ATOMIC_ACQUIRE) >= 0)
		return;
	fresh = lrp_fd_aside(eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK));
	if (!__atomic_compare_exchange_n(&bell, &none, fresh, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_RELAXED))
		close(fresh);
}

void lrp_wait_ring(struct lrp_view *l)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = UINT64_MAX};
	int epfd = atomic_load(&l->epfd);

	if (epfd >= 0)
		epoll_ctl(epfd, EPOLL_CTL_ADD, bell, &ev);
}

/* A sleeper closes the set himself when he finds the socket closed. */
void lrp_wait_close(struct lrp_view *l)
{
	int epfd;

	if (atomic_load(&l->sleepers))
		return;
	epfd = atomic_exchange(&l->epfd, -1);
	if (epfd >= 0 && !l->borrowed)
		close(epfd);
	l->borrowed = false;
}

bool lrp_sleep_left(uint64_t deadline_ns, struct timespec *left)
{
	uint64_t now = lrp_now_ns();

	if (now >= deadline_ns)
		return false;
	left->tv_sec = (time_t)((deadline_ns - now) / LRP_NS_PER_S);
	left->tv_nsec = (long)((deadline_ns - now) % LRP_NS_PER_S);
	return true;
}

void lrp_sleep_enter(struct lrp_sleep *s, struct lrp_view *l, int fd,
		     const struct lrp_ready_ops *ops)
{
	*s = (struct lrp_sleep){.view = l, .ops = ops, .fd = fd, .epfd = atomic_load(&l->epfd)};
	atomic_fetch_add(&l->sleepers, 1);
}

/* After a sleep, also one in which the thread was cancelled. */
static void awake(void *arg)
{
	struct lrp_sleep *s = arg;
	struct lrp_view *l = s->view;

	s->ops->end(s, false);
	if (atomic_fetch_sub(&l->sleepers, 1) == 1 && lrp_unlikely(lrp_view_of(s->fd) != l) &&
	    atomic_load(&l->refs) == 0)
		lrp_wait_close(l);
}

static int sleep_once(const struct lrp_sleep *s, uint64_t deadline_ns)
{
	struct pollfd set[1 + LRP_SLEEP_BESIDE];
	uint32_t beside = s->ops->beside ? s->ops->beside(s, set + 1) : 0;
	struct timespec ts, *timeout = NULL;
	struct epoll_event ev[EVENTS];
	int n, count;

	if (deadline_ns) {
		if (!lrp_sleep_left(deadline_ns, &ts))
			return -EAGAIN;
		timeout = &ts;
	}
	if (s->most_ns) {
		ts = (struct timespec){.tv_nsec = (long)s->most_ns};
		timeout = &ts;
	}
	lrp_tx_hold_sleep();
	if (!beside) {
		n = count = LRP_SLEEP(epoll_pwait2(s->epfd, ev, EVENTS, timeout, NULL));
	} else {
		set[0] = (struct pollfd){.fd = s->epfd, .events = POLLIN};
		n = LRP_SLEEP(ppoll(set, beside + 1, timeout, NULL));
		/* An edge is to be taken. */
		count = n > 0 && set[0].revents ? epoll_wait(s->epfd, ev, EVENTS, 0) : 0;
	}
	if (n < 0)
		return -errno;
	if (n == 0)
		return s->most_ns ? 0 : -EAGAIN;
	if (s->ops->woken)
		s->ops->woken(s, ev, count);
	return 0;
}

int lrp_sleep_run(struct lrp_sleep *s, uint64_t deadline_ns)
{
	volatile int error = 0; /* setjmp() is in the macro */

	pthread_cleanup_push(awake, s);
	if (s->ops->settle(s))
		error = sleep_once(s, deadline_ns);
	pthread_cleanup_pop(1);
	return error;
}

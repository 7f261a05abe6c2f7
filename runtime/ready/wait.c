/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * wait.c - sleeping until a datagram comes [design 5, Waiting].
 *
 * One epoll instance per socket and process that ever waited, inherited over
 * fork; the channels' descriptors and the shadow are registered EPOLLEXCLUSIVE,
 * so that a packet wakes one sleeper. The kernel asks the registrations in
 * their order: ours are made before the helper's, which therefore sleeps on
 * while an application waits.
 *
 * An empty set of waiters costs an arriving packet nothing: a socket on which
 * nobody waits wakes nobody.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/fd.h"
#include "../drive/drive.h"
#include "../tx/hold.h"
#include "../dgram/dgram.h"

#define FRAGMENT_LOOK_NS (5 * LRP_NS_PER_MS)

enum { EVENT_SHADOW, EVENT_CHANNEL, EVENT_READY, EVENT_BELL };

static int bell = -1; /* always readable; added to a set, it wakes all who sleep on it */

static int watch(int epfd, int fd, uint64_t what)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data.u64 = what};

	return epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &ev) && errno != EEXIST ? -errno : 0;
}

/* Setup lock held: channels do not change. */
static int make_set(struct lrp_view *l, int fd)
{
	struct lrp_sock *s = l->sock;
	int epfd = lrp_fd_aside(epoll_create1(EPOLL_CLOEXEC)), error;
	uint32_t i;

	if (epfd < 0)
		return -errno;
	if (bell < 0) {
		int fresh = lrp_fd_aside(eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK)), none = -1;

		if (!__atomic_compare_exchange_n(&bell, &none, fresh, false, __ATOMIC_ACQ_REL,
						 __ATOMIC_RELAXED))
			close(fresh);
	}
	error = watch(epfd, fd, EVENT_SHADOW);
	if (!error && s->eager)
		error = watch(epfd, s->eventfd, EVENT_READY);
	if (!s->eager && lrp_view_mapped(l)) {
		for (i = 0; !error && i < s->ep.channels; i++)
			error = watch(epfd, s->ep.chan[i].fd, EVENT_CHANNEL);
		for (i = 0; !error && i < s->old.channels; i++)
			error = watch(epfd, s->old.chan[i].fd, EVENT_CHANNEL);
	}
	if (error) {
		close(epfd);
		return error;
	}
	atomic_store(&l->epfd, epfd);
	/* The helper registered first if it watches already: let it queue up behind us. */
	lrp_sched_watch(l);
	return 0;
}

int lrp_wait_set(struct lrp_view *l, int fd)
{
	struct lrp_view *locked;
	int error;

	if (lrp_likely(atomic_load_explicit(&l->epfd, memory_order_acquire) >= 0))
		return 0;
	error = lrp_setup_lock(fd, &locked);
	if (error)
		return error;
	if (atomic_load(&l->epfd) < 0)
		error = make_set(l, fd);
	lrp_setup_unlock(locked);
	return error;
}

void lrp_wait_add(struct lrp_view *l, int chan_fd)
{
	int epfd = atomic_load(&l->epfd);

	if (epfd >= 0 && !l->sock->eager)
		watch(epfd, chan_fd, EVENT_CHANNEL);
}

void lrp_wait_remove(struct lrp_view *l, int chan_fd)
{
	int epfd = atomic_load(&l->epfd);

	if (epfd >= 0)
		epoll_ctl(epfd, EPOLL_CTL_DEL, chan_fd, NULL);
}

void lrp_wait_ring(struct lrp_view *l)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = EVENT_BELL};
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

void lrp_wait_signal(struct lrp_view *l)
{
	if (atomic_load(&l->sock->waiters))
		eventfd_write(l->sock->eventfd, 1);
}

/* A handler that would end a call; `always`: whatever its flags are. */
static bool any_handler(bool always)
{
	struct sigaction act;
	bool once;
	int sig;

	for (sig = 1; sig < NSIG; sig++) {
		/* glibc's own, for cancellation and set*id(), do not concern the application */
		if (sig == 32 || sig == 33 || sigaction(sig, NULL, &act))
			continue;
		/* One that has just run, and was to run once. */
		once = act.sa_handler == SIG_DFL && act.sa_flags & (int)SA_RESETHAND;
		if (act.sa_handler == SIG_IGN || (act.sa_handler == SIG_DFL && !once))
			continue;
		if (always || !(act.sa_flags & SA_RESTART))
			return true;
	}
	return false;
}

bool lrp_signals_restart(void)
{
	return !any_handler(false);
}

bool lrp_signals_none(void)
{
	return !any_handler(true);
}

/* Returns batches, so that XDP knows what is free, and looks once more: true if there is nothing. */
bool lrp_wait_settle(struct lrp_view *l, int fd)
{
	struct lrp_sock *s = l->sock;
	bool empty = true;
	uint32_t i;

	lrp_rx_lock(s);
	if (lrp_view_of(fd) != l) {
		lrp_rx_unlock(s);
		return false;
	}
	for (i = 0; !s->eager && i < s->ep.channels; i++)
		if (lrp_view_mapped(l) || (int32_t)(s->rxq[i].serial - l->serial) <= 0)
			empty &= lrp_chan_settle(&s->ep.chan[i]);
	if (lrp_unlikely(s->fragment_until_ns != 0)) {
		lrp_fragment_collect(s);
		if (lrp_now_ns() >= s->fragment_until_ns || !lrp_ready_empty(s))
			s->fragment_until_ns = 0;
	}
	empty &= !lrp_input_pending(l);
	lrp_rx_unlock(s);
	return empty;
}

static int sleep_on(struct lrp_view *l, int epfd, uint64_t deadline_ns)
{
	struct epoll_event ev[4];
	struct timespec ts, *timeout = NULL;
	uint64_t now, count;
	bool brief;
	int n, i;

	if (deadline_ns) {
		now = lrp_now_ns();
		if (now >= deadline_ns)
			return -EAGAIN;
		ts.tv_sec = (time_t)((deadline_ns - now) / LRP_NS_PER_S);
		ts.tv_nsec = (long)((deadline_ns - now) % LRP_NS_PER_S);
		timeout = &ts;
	}
	/* Missing fragments wake nobody: look for them again soon. */
	brief = l->sock->fragment_until_ns != 0;
	if (brief) {
		ts = (struct timespec){.tv_nsec = FRAGMENT_LOOK_NS};
		timeout = &ts;
	}
	lrp_tx_hold_sleep();
	n = LRP_SLEEP(epoll_pwait2(epfd, ev, 4, timeout, NULL));
	if (n < 0)
		return -errno;
	if (n == 0)
		return brief ? 0 : -EAGAIN;
	for (i = 0; i < n; i++) {
		if (ev[i].data.u64 == EVENT_SHADOW)
			atomic_store(&l->shadow_ready, true);
		if (ev[i].data.u64 == EVENT_READY)
			(void)!read(l->sock->eventfd, &count, sizeof(count));
	}
	return 0;
}

struct sleeper {
	struct lrp_view *l;
	int fd;
};

/* After a sleep, also one in which the thread was cancelled. */
static void awake(void *arg)
{
	const struct sleeper *s = arg;
	struct lrp_view *l = s->l;

	atomic_fetch_sub(&l->sock->waiters, 1);
	if (atomic_fetch_sub(&l->sleepers, 1) == 1 && lrp_unlikely(lrp_view_of(s->fd) != l) &&
	    atomic_load(&l->refs) == 0)
		lrp_wait_close(l);
}

static int sleep_once(struct sleeper *s, uint64_t deadline_ns)
{
	volatile int error = 0; /* setjmp() is in the macro */
	int epfd;

	pthread_cleanup_push(awake, s);
	epfd = atomic_load(&s->l->epfd);
	if (epfd >= 0 && lrp_wait_settle(s->l, s->fd))
		error = sleep_on(s->l, epfd, deadline_ns);
	pthread_cleanup_pop(1);
	return error;
}

int lrp_wait(struct lrp_view *l, int fd, uint64_t deadline_ns)
{
	int error = lrp_wait_set(l, fd);

	if (error)
		return error;
	lrp_sock_tick(l, fd);
	atomic_fetch_add(&l->sleepers, 1);
	/* Eager mode: announced before the last look, so that the signal is not missed. */
	atomic_fetch_add(&l->sock->waiters, 1);
	error = sleep_once(&(struct sleeper){l, fd}, deadline_ns);
	if (lrp_unlikely(lrp_view_of(fd) != l))
		return -EBADF;
	return error;
}

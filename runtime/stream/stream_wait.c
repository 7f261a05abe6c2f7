/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * stream_wait.c - readiness of a TCP socket [ready/ready.h]: sleeping until something of a hub changes.
 * One epoll instance per socket and process, and one more for each further thread that sleeps, with the
 * hub's channels, and its bell, which another thread rings that took our segments from the
 * channels.
 */
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/fd.h"
#include "../base/self.h"
#include "../drive/app.h"
#include "../drive/drive.h"
#include "../tx/hold.h"
#include "stream.h"

#define WAITS 8u

/* Setup lock held. An accepted connection that has to wait gets channels of its own, unless another process
 * has it, too: that one could not receive from them. */
static void own_channels(struct lrp_view *l, int fd)
{
	struct lrp_stream *stream = &l->sock->stream;
	struct lrp_hub *hub = stream->hub, *own;

	if (!lrp_stream_unsettled(l))
		return;
	own = lrp_spare_take();
	if (!own)
		lrp_spare_want(LRP_SPARES_FEW);
	if (own && lrp_hub_lock(l, fd, LRP_STREAM_CONNECTION)) {
		if (lrp_hub_move(hub, stream->conn, own, (int64_t)lrp_now_ns())) {
			stream->hub = own;
			own = NULL;
		}
		lrp_hub_unlock(hub);
	}
	if (own)
		lrp_spare_put(own);
	else
		lrp_stream_watch(l);
}

void lrp_stream_settle(int fd)
{
	struct lrp_view *l;

	if (lrp_setup_lock(fd, &l))
		return;
	own_channels(l, fd);
	lrp_setup_unlock(l);
}

/* Setup lock held. */
static int make_set(struct lrp_view *l, int fd)
{
	struct lrp_stream *stream = &l->sock->stream;
	bool listens = atomic_load(&stream->mode) == LRP_STREAM_LISTENER;
	int epfd;

	own_channels(l, fd);
	epfd = stream->hub->pid == lrp_self() ? stream->hub->set : -1;
	l->borrowed = epfd >= 0;
	if (!l->borrowed) {
		epfd = lrp_stream_set(stream->hub, listens ? fd : -1);
		if (epfd < 0)
			return epfd;
	}
	atomic_store(&l->epfd, epfd);
	if (!l->borrowed)
		lrp_app_behind(&l->sock->stream.hub->driven);
	return 0;
}

static int have_set(struct lrp_view *l, int fd)
{
	struct lrp_view *locked;
	int error;

	if (lrp_likely(atomic_load_explicit(&l->epfd, memory_order_acquire) >= 0))
		return 0;
	error = lrp_setup_lock(fd, &locked);
	if (error)
		return error;
	if (atomic_load(&l->epfd) < 0 && l->sock->stream.hub)
		error = make_set(l, fd);
	lrp_setup_unlock(locked);
	return error;
}

void lrp_stream_forked(struct lrp_view *l)
{
	int epfd = atomic_exchange(&l->epfd, -1);

	/* That of a hub is closed with its other descriptors. */
	if (epfd >= 0 && !l->borrowed)
		close(epfd);
	l->borrowed = false;
	atomic_store(&l->asleep, false);
}

/*
 * A set has one sleeper: the bell is an edge, and of those who sleep on one set only one hears it. Who
 * comes second makes a set of his own for this sleep, with the bell, and with the first one for the rest.
 */
static int second_set(const struct lrp_hub *hub, int first)
{
	struct epoll_event ev = {.events = EPOLLIN};
	int epfd = lrp_fd_aside(epoll_create1(EPOLL_CLOEXEC));

	if (epfd < 0)
		return -1;
	if (!epoll_ctl(epfd, EPOLL_CTL_ADD, first, &ev)) {
		ev.events = EPOLLIN | EPOLLET;
		if (!epoll_ctl(epfd, EPOLL_CTL_ADD, hub->bell, &ev))
			return epfd;
	}
	close(epfd);
	return -1;
}

/* Hub's lock held or not: from here on nothing is missed. */
static void sleep_begin(struct lrp_sleep *s, struct lrp_view *l, struct lrp_hub *hub)
{
	int second;

	s->of = hub;
	s->waiter = atomic_load(&l->sock->stream.mode) == LRP_STREAM_CONNECTION;
	atomic_fetch_add(&hub->sleepers, 1);
	if (s->waiter)
		atomic_fetch_add(&hub->waiters, 1);
	s->taken = !atomic_exchange(&l->asleep, true);
	second = s->taken ? -1 : second_set(hub, s->epfd);
	if (second >= 0) {
		s->made = true;
		s->epfd = second;
	}
}

static void stream_end(struct lrp_sleep *s, bool pending)
{
	struct lrp_hub *hub = s->of;
	struct epoll_event ev[4];

	/* The bell's edge is taken; the rest is level-triggered. */
	if (pending && !s->made)
		epoll_wait(s->epfd, ev, 4, 0);
	if (s->made)
		close(s->epfd);
	if (s->taken && lrp_likely(lrp_view_of(s->fd) == s->view))
		atomic_store(&s->view->asleep, false);
	if (s->waiter)
		atomic_fetch_sub(&hub->waiters, 1);
	atomic_fetch_sub(&hub->sleepers, 1);
}

/*
 * The listener that the thread accepted from last. A thread that accepts, serves and accepts again goes
 * on receiving for it while it waits for what it has accepted. Nobody else does: APP takes it that
 * the thread comes back, and who connects meanwhile would wait as long as that. One thread does so for a
 * listener, and none while others wait for it.
 */
static __thread struct {
	struct lrp_view *l;
	int fd;
	pid_t tid;
	uint32_t waits; /* since then: who waits so often has found his work */
} listener;

void lrp_stream_accepting(struct lrp_view *l, int fd)
{
	listener.l = l;
	listener.fd = fd;
	listener.waits = 0;
	if (!l)
		listener.tid = 0;
	else if (!listener.tid)
		listener.tid = (pid_t)syscall(SYS_gettid);
	if (l)
		l->sock->stream.hub->listen.acceptor = listener.tid;
}

/* Takes what has come for it, and adds its channels to the set. How many. */
static uint32_t add_listener(const struct lrp_view *waits_for, struct pollfd *set)
{
	struct lrp_hub *hub;
	uint32_t i, n = 0;

	if (!listener.l || listener.l == waits_for)
		return 0;
	if (++listener.waits > WAITS || lrp_view_of(listener.fd) != listener.l ||
	    !lrp_hub_lock(listener.l, listener.fd, LRP_STREAM_LISTENER)) {
		listener.l = NULL;
		return 0;
	}
	hub = listener.l->sock->stream.hub;
	if (hub->listen.acceptor != listener.tid || lrp_eager()) {
		listener.l = NULL;
	} else if (!atomic_load(&hub->sleepers)) {
		lrp_hub_input(hub, (int64_t)lrp_now_ns(), NULL, LRP_CONTEXT_CALL);
		lrp_hub_settle(hub);
		for (i = 0; i < hub->ep.channels; i++)
			set[n++] = (struct pollfd){.fd = hub->ep.chan[i].fd, .events = POLLIN};
	}
	lrp_hub_unlock(hub);
	return n;
}

/* An acknowledgement that waited for the application's reply waits no longer. */
static void turn_away(struct lrp_conn *c)
{
	if (!c->tcp.owing)
		return;
	lrp_tcp_unattended(&c->tcp);
	lrp_hub_touch(c);
}

static bool stream_settle(struct lrp_sleep *s)
{
	return s->empty && lrp_view_of(s->fd) == s->view;
}

static uint32_t stream_beside(const struct lrp_sleep *s, struct pollfd *set)
{
	return add_listener(s->view, set);
}

int lrp_stream_wait(struct lrp_view *l, int fd, uint64_t deadline_ns)
{
	struct lrp_stream *stream = &l->sock->stream;
	struct lrp_hub *hub = stream->hub;
	struct lrp_sleep s;
	int error;

	if (atomic_load(&l->epfd) < 0) {
		/* Made without the hub's lock; the caller looks again. */
		lrp_hub_unlock(hub);
		return have_set(l, fd);
	}
	if (stream->conn)
		turn_away(stream->conn);
	lrp_sleep_enter(&s, l, fd, &lrp_stream_ready);
	sleep_begin(&s, l, hub);
	s.empty = lrp_hub_settle(hub);
	lrp_hub_unlock(hub);
	lrp_helper_pass();
	error = lrp_sleep_run(&s, deadline_ns);
	return lrp_view_of(fd) != l ? -EBADF : error;
}

/* ---- poll ---------------------------------------------------------------------- */

/* As tcp_poll() of Linux. */
static short connection_events(const struct lrp_tcp *c)
{
	uint32_t ready = lrp_tcp_ready(c);

	return (short)((ready & LRP_TCP_READABLE ? POLLIN | POLLRDNORM : 0) |
		       (ready & LRP_TCP_WRITABLE ? POLLOUT | POLLWRNORM : 0) |
		       (ready & LRP_TCP_URGENT ? POLLPRI : 0) |
		       (ready & LRP_TCP_READ_CLOSED ? POLLRDHUP : 0) |
		       (ready & LRP_TCP_HUNG_UP ? POLLHUP : 0) |
		       (ready & LRP_TCP_ERROR ? POLLERR : 0));
}

/* Hub locked. Who looks at a hundred connections finds nearly all of them as they were: nobody has had
 * the hub since somebody looked, its channels are empty, and no timer is due. */
static bool as_before(struct lrp_hub *hub, int64_t now)
{
	uint32_t i;

	if (hub->turn != hub->seen_turn || lrp_hub_is(hub, LRP_HUB_LISTENER) || lrp_eager() ||
	    now >= atomic_load_explicit(&hub->driven.deadline_ns, memory_order_relaxed))
		return false;
	for (i = 0; i < hub->ep.channels; i++)
		if (lrp_chan_available(&hub->ep.chan[i], 1))
			return false;
	/* A look is a call, for the APP thread. */
	if (!atomic_load_explicit(&hub->driven.called, memory_order_relaxed))
		atomic_store_explicit(&hub->driven.called, true, memory_order_relaxed);
	return true;
}

static short wait_look(struct lrp_hub *hub, struct lrp_conn *c, int64_t now)
{
	if (!as_before(hub, now)) {
		lrp_hub_input(hub, now, c, LRP_CONTEXT_CALL);
		hub->seen = connection_events(&c->tcp);
		if (!(hub->seen & POLLIN))
			turn_away(c);
		lrp_hub_settle(hub);
	}
	if (!hub->touched)
		hub->seen_turn = hub->turn + 1;
	return hub->seen;
}

static short stream_events(struct lrp_view *l, int fd, short events, int64_t now)
{
	struct lrp_stream *stream = &l->sock->stream;
	short revents = 0;

	if (lrp_hub_lock(l, fd, LRP_STREAM_CONNECTION)) {
		revents = wait_look(stream->hub, stream->conn, now);
		lrp_hub_unlock(stream->hub);
	} else if (lrp_hub_lock(l, fd, LRP_STREAM_LISTENER)) {
		lrp_hub_input(stream->hub, now, NULL, LRP_CONTEXT_CALL);
		if (stream->hub->listen.queue)
			revents = POLLIN | POLLRDNORM;
		lrp_hub_settle(stream->hub);
		lrp_hub_unlock(stream->hub);
	} else if (lrp_view_of(fd) == l && lrp_stream_broken(l)) {
		/* Of a listener the kernel's socket says what it has. */
		if (atomic_load(&stream->mode) == LRP_STREAM_LISTENER)
			lrp_listen_abandon(l, fd);
		else
			revents = POLLIN | POLLOUT | POLLERR | POLLHUP;
	}
	return (short)(revents & (events | POLLERR | POLLHUP));
}

static int stream_begin(struct lrp_sleep *s, struct lrp_view *l, int fd, short events)
{
	struct lrp_hub *hub;
	int error;

	(void)events;
	if (atomic_load(&l->sock->stream.mode) == LRP_STREAM_KERNEL)
		return 0;
	error = have_set(l, fd);
	hub = l->sock->stream.hub;
	s->epfd = atomic_load(&l->epfd);
	if (error || !hub || s->epfd < 0)
		return error;
	s->view = l;
	sleep_begin(s, l, hub);
	return 0;
}

/* Nothing, of a connection of ours. */
static int stream_kernel_fd(const struct lrp_view *l, int fd)
{
	return atomic_load(&l->sock->stream.mode) == LRP_STREAM_CONNECTION ? -1 : fd;
}

const struct lrp_ready_ops lrp_stream_ready = {
	.events = stream_events,
	.kernel_fd = stream_kernel_fd,
	.begin = stream_begin,
	.settle = stream_settle,
	.beside = stream_beside,
	.end = stream_end,
};

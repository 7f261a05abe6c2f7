/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * stream_wait.c - sleeping until something of a hub changes: one epoll instance per
 * socket and process, as in wait.c, with the hub's channels, and its bell, which another
 * thread rings that took our segments from the channels. Readiness for lrp_poll().
 */
#include <sys/epoll.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../sched/app.h"
#include "../sched/sched.h"
#include "stream.h"

/* Setup lock held. */
static int make_set(struct lrp_view *l, int fd)
{
	struct lrp_stream *stream = &l->sock->stream;
	struct lrp_hub *hub = stream->hub;
	struct epoll_event ev = {.events = EPOLLIN | EPOLLEXCLUSIVE};
	int epfd = epoll_create1(EPOLL_CLOEXEC), error = 0;
	uint32_t i;

	if (epfd < 0)
		return -errno;
	/* In eager mode the thread alone has the channels, and rings. */
	for (i = 0; !error && !lrp_eager() && i < hub->ep.channels; i++)
		error = epoll_ctl(epfd, EPOLL_CTL_ADD, hub->ep.chan[i].fd, &ev);
	if (!error && atomic_load(&stream->mode) == LRP_STREAM_LISTENER)
		error = epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &ev);
	ev.events = EPOLLIN | EPOLLET;
	if (!error)
		error = epoll_ctl(epfd, EPOLL_CTL_ADD, hub->bell, &ev);
	if (error) {
		error = -errno;
		close(epfd);
		return error;
	}
	atomic_store(&l->epfd, epfd);
	lrp_app_behind(l);
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

static int sleep_until(int epfd, uint64_t deadline_ns)
{
	struct epoll_event ev[4];
	struct timespec ts, *timeout = NULL;
	uint64_t now;
	int n;

	if (deadline_ns) {
		now = lrp_now_ns();
		if (now >= deadline_ns)
			return -EAGAIN;
		ts.tv_sec = (time_t)((deadline_ns - now) / LRP_NS_PER_S);
		ts.tv_nsec = (long)((deadline_ns - now) % LRP_NS_PER_S);
		timeout = &ts;
	}
	n = epoll_pwait2(epfd, ev, 4, timeout, NULL);
	if (n < 0)
		return -errno;
	return n ? 0 : -EAGAIN;
}

int lrp_stream_wait(struct lrp_view *l, int fd, uint64_t deadline_ns)
{
	struct lrp_hub *hub = l->sock->stream.hub;
	int epfd = atomic_load(&l->epfd), error = 0;
	bool empty;

	if (epfd < 0) {
		/* Made without the hub's lock; the caller looks again. */
		lrp_hub_unlock(hub);
		return have_set(l, fd);
	}
	atomic_fetch_add(&l->sleepers, 1);
	atomic_fetch_add(&hub->sleepers, 1);
	empty = lrp_hub_settle(hub);
	lrp_hub_unlock(hub);
	lrp_helper_pass();
	if (empty && lrp_view_of(fd) == l)
		error = sleep_until(epfd, deadline_ns);
	atomic_fetch_sub(&hub->sleepers, 1);
	if (atomic_fetch_sub(&l->sleepers, 1) == 1 && lrp_unlikely(lrp_view_of(fd) != l) &&
	    atomic_load(&l->refs) == 0)
		lrp_wait_close(l);
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

short lrp_stream_events(struct lrp_view *l, int fd, short events, int64_t now)
{
	struct lrp_stream *stream = &l->sock->stream;
	short revents = 0;

	if (lrp_hub_lock(l, fd, LRP_STREAM_CONNECTION)) {
		lrp_hub_input(stream->hub, now, stream->conn, LRP_CONTEXT_CALL);
		revents = connection_events(&stream->conn->tcp);
		lrp_hub_settle(stream->hub);
		lrp_hub_unlock(stream->hub);
	} else if (lrp_hub_lock(l, fd, LRP_STREAM_LISTENER)) {
		lrp_hub_input(stream->hub, now, NULL, LRP_CONTEXT_CALL);
		if (stream->hub->queue)
			revents = POLLIN | POLLRDNORM;
		lrp_hub_settle(stream->hub);
		lrp_hub_unlock(stream->hub);
	} else if (lrp_view_of(fd) == l && stream->hub && stream->hub->broken) {
		revents = POLLIN | POLLOUT | POLLERR | POLLHUP;
	}
	return (short)(revents & (events | POLLERR | POLLHUP));
}

int lrp_stream_poll_begin(struct lrp_view *l, int fd, int *error)
{
	*error = 0;
	if (atomic_load(&l->sock->stream.mode) == LRP_STREAM_KERNEL)
		return -1;
	*error = have_set(l, fd);
	if (*error || atomic_load(&l->epfd) < 0)
		return -1;
	atomic_fetch_add(&l->sock->stream.hub->sleepers, 1);
	return atomic_load(&l->epfd);
}

void lrp_stream_poll_end(struct lrp_view *l, int epfd, bool woken)
{
	struct lrp_hub *hub = l->sock->stream.hub;
	struct epoll_event ev[4];

	if (hub)
		atomic_fetch_sub(&hub->sleepers, 1);
	/* The bell's edge is taken; the rest is level-triggered. */
	if (woken)
		epoll_wait(epfd, ev, 4, 0);
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * wait.c - readiness of a UDP socket [ready/ready.h].
 *
 * A socket is readable if the next packet of its channels is a datagram for it, so the packet is
 * verified here, in the caller's thread, and the verdict kept for the receive call: poll() does not
 * lie about datagrams with a wrong checksum.
 *
 * In a process's set of the socket the channels' descriptors and the shadow are registered
 * EPOLLEXCLUSIVE, so that a packet wakes one sleeper. The kernel asks the registrations in their
 * order: ours are made before the helper's, which therefore sleeps on while an application waits.
 */
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/fd.h"
#include "../drive/drive.h"
#include "dgram.h"

#define READ_EVENTS	 (POLLIN | POLLRDNORM)
#define FRAGMENT_LOOK_NS (5 * LRP_NS_PER_MS)

enum { EVENT_SHADOW, EVENT_CHANNEL, EVENT_READY };

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
	lrp_wait_bell();
	error = watch(epfd, fd, EVENT_SHADOW);
	if (!error && s->dgram.eager)
		error = watch(epfd, s->dgram.eventfd, EVENT_READY);
	if (!s->dgram.eager && lrp_view_mapped(l)) {
		for (i = 0; !error && i < s->dgram.ep.channels; i++)
			error = watch(epfd, s->dgram.ep.chan[i].fd, EVENT_CHANNEL);
		for (i = 0; !error && i < s->dgram.old.channels; i++)
			error = watch(epfd, s->dgram.old.chan[i].fd, EVENT_CHANNEL);
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

static int have_set(struct lrp_view *l, int fd)
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

	if (epfd >= 0 && !l->sock->dgram.eager)
		watch(epfd, chan_fd, EVENT_CHANNEL);
}

void lrp_wait_remove(struct lrp_view *l, int chan_fd)
{
	int epfd = atomic_load(&l->epfd);

	if (epfd >= 0)
		epoll_ctl(epfd, EPOLL_CTL_DEL, chan_fd, NULL);
}

void lrp_wait_signal(struct lrp_view *l)
{
	if (atomic_load(&l->sock->dgram.waiters))
		eventfd_write(l->sock->dgram.eventfd, 1);
}

/* Returns batches, so that XDP knows what is free, and looks once more: true if there is nothing. */
static bool settle_sock(struct lrp_view *l, int fd)
{
	struct lrp_sock *s = l->sock;
	bool empty = true;
	uint32_t i;

	lrp_rx_lock(s);
	if (lrp_view_of(fd) != l) {
		lrp_rx_unlock(s);
		return false;
	}
	for (i = 0; !s->dgram.eager && i < s->dgram.ep.channels; i++)
		if (lrp_view_mapped(l) || (int32_t)(s->dgram.rxq[i].serial - l->serial) <= 0)
			empty &= lrp_chan_settle(&s->dgram.ep.chan[i]);
	if (lrp_unlikely(s->dgram.fragment_until_ns != 0)) {
		lrp_fragment_collect(s);
		if (lrp_now_ns() >= s->dgram.fragment_until_ns || !lrp_ready_empty(s))
			s->dgram.fragment_until_ns = 0;
	}
	empty &= !lrp_input_pending(l);
	lrp_rx_unlock(s);
	return empty;
}

static bool dgram_settle(struct lrp_sleep *s)
{
	s->epfd = atomic_load(&s->view->epfd);
	if (s->epfd < 0 || !settle_sock(s->view, s->fd))
		return false;
	/* Missing fragments wake nobody: look for them again soon. */
	s->most_ns = s->view->sock->dgram.fragment_until_ns ? FRAGMENT_LOOK_NS : 0;
	return true;
}

static void dgram_woken(const struct lrp_sleep *s, const struct epoll_event *ev, int count)
{
	uint64_t value;
	int i;

	for (i = 0; i < count; i++) {
		if (ev[i].data.u64 == EVENT_SHADOW)
			atomic_store(&s->view->shadow_ready, true);
		if (ev[i].data.u64 == EVENT_READY)
			(void)!read(s->view->sock->dgram.eventfd, &value, sizeof(value));
	}
}

static void dgram_end(struct lrp_sleep *s, bool pending)
{
	struct lrp_sock *sock = s->view->sock;
	struct epoll_event ev[4];
	uint64_t value;

	atomic_fetch_sub(&sock->dgram.waiters, 1);
	/* Eager mode's signal is taken here; all else is level-triggered. */
	if (pending && lrp_view_of(s->fd) == s->view && sock->dgram.eager &&
	    epoll_wait(s->epfd, ev, 4, 0) > 0)
		(void)!read(sock->dgram.eventfd, &value, sizeof(value));
}

static short dgram_events(struct lrp_view *l, int fd, short events, int64_t now)
{
	struct lrp_sock *s = l->sock;
	struct lrp_packet p;
	struct lrp_from from;
	short revents = 0;

	(void)now;
	if (lrp_error_queued(s))
		revents |= POLLERR;
	if (events & READ_EVENTS) {
		lrp_rx_lock(s);
		if (lrp_view_of(fd) == l && lrp_input_next(l, &p, &from, LRP_CONTEXT_CALL)) {
			revents |= events & READ_EVENTS;
			/* What was promised is what is received next. */
			if (s->dgram.peeked == LRP_PEEKED_NONE)
				s->dgram.peeked = LRP_PEEKED_CHANNEL;
		}
		lrp_rx_unlock(s);
	} else {
		lrp_error_scan(l);
	}
	if (atomic_load(&s->error))
		revents |= POLLERR;
	return revents;
}

/* The shadow has what came by other ways, and can be written. */
static int dgram_kernel_fd(const struct lrp_view *l, int fd)
{
	(void)l;
	return fd;
}

static int dgram_begin(struct lrp_sleep *s, struct lrp_view *l, int fd, short events)
{
	int error;

	if (!(events & READ_EVENTS))
		return 0;
	error = have_set(l, fd);
	if (error)
		return error;
	lrp_sock_tick(l, fd);
	s->view = l;
	atomic_fetch_add(&l->sock->dgram.waiters, 1);
	/* Frames that are taken and not returned would make the ring look readable. */
	settle_sock(l, fd);
	s->epfd = atomic_load(&l->epfd);
	return 0;
}

const struct lrp_ready_ops lrp_dgram_ready = {
	.events = dgram_events,
	.kernel_fd = dgram_kernel_fd,
	.begin = dgram_begin,
	.settle = dgram_settle,
	.woken = dgram_woken,
	.end = dgram_end,
	.wait = lrp_wait,
};

int lrp_wait(struct lrp_view *l, int fd, uint64_t deadline_ns)
{
	struct lrp_sleep s;
	int error = have_set(l, fd);

	if (error)
		return error;
	lrp_sock_tick(l, fd);
	lrp_sleep_enter(&s, l, fd, &lrp_dgram_ready);
	/* Eager mode: announced before the last look, so that the signal is not missed. */
	atomic_fetch_add(&l->sock->dgram.waiters, 1);
	error = lrp_sleep_run(&s, deadline_ns);
	if (lrp_unlikely(lrp_view_of(fd) != l))
		return -EBADF;
	return error;
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * poll.c - lrp_poll(): our descriptors and others, mixed.
 *
 * A socket is readable if the next packet of its channels is a datagram for it,
 * so the packet is verified here, in the caller's thread, and the verdict kept for
 * the receive call: poll() does not lie about datagrams with a wrong checksum.
 */
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../drive/drive.h"
#include "../tx/hold.h"
#include "../dgram/dgram.h"
#include "../stream/stream.h"

#define READ_EVENTS (POLLIN | POLLRDNORM)
#define ON_STACK    32

/* One of ours in lrp_poll(), counted among those who wait. */
struct sleep {
	struct lrp_stream_sleep stream; /* hub NULL: UDP, by the descriptor */
	int fd;
};

/* What our side of the socket has, of the events asked for. */
static short ready_events(struct lrp_view *l, int fd, short events, int64_t now)
{
	struct lrp_sock *s = l->sock;
	struct lrp_packet p;
	struct lrp_from from;
	short revents = 0;

	if (lrp_is_stream(l))
		return lrp_stream_events(l, fd, events, now);
	if (lrp_error_queued(s))
		revents |= POLLERR;
	if (events & READ_EVENTS) {
		lrp_rx_lock(s);
		if (lrp_view_of(fd) == l && lrp_input_next(l, &p, &from, LRP_CONTEXT_CALL)) {
			revents |= events & READ_EVENTS;
			/* What was promised is what is received next. */
			if (s->peeked == LRP_PEEKED_NONE)
				s->peeked = LRP_PEEKED_CHANNEL;
		}
		lrp_rx_unlock(s);
	} else {
		lrp_error_scan(l);
	}
	if (atomic_load(&s->error))
		revents |= POLLERR;
	return revents;
}

static int poll_for(struct pollfd *fds, nfds_t count, uint64_t deadline_ns)
{
	uint64_t now;
	struct timespec ts;

	if (deadline_ns != 1)
		lrp_tx_hold_sleep();
	if (!deadline_ns)
		return LRP_SLEEP(ppoll(fds, count, NULL, NULL));
	now = lrp_now_ns();
	if (deadline_ns == 1 || now >= deadline_ns)
		return poll(fds, count, 0);
	ts.tv_sec = (time_t)((deadline_ns - now) / LRP_NS_PER_S);
	ts.tv_nsec = (long)((deadline_ns - now) % LRP_NS_PER_S);
	return LRP_SLEEP(ppoll(fds, count, &ts, NULL));
}

/* One round over all that is ours; returns how many have events. */
static int look(struct pollfd *fds, nfds_t count)
{
	int64_t now = (int64_t)lrp_now_ns();
	int ready = 0;
	nfds_t i;

	lrp_tx_hold_call(now);
	for (i = 0; i < count; i++) {
		struct lrp_view *l = fds[i].fd >= 0 ? lrp_view_of(fds[i].fd) : NULL;

		fds[i].revents = l ? ready_events(l, fds[i].fd, fds[i].events, now) : 0;
		ready += fds[i].revents != 0;
	}
	return ready;
}

/* A single socket that is only read: its own wait set, so that the helper stays asleep. */
static bool only_read(const struct pollfd *fds, nfds_t count)
{
	const struct lrp_view *l = count == 1 && fds[0].fd >= 0 ? lrp_view_of(fds[0].fd) : NULL;

	return l && !lrp_is_stream(l) && fds[0].events && !(fds[0].events & ~READ_EVENTS);
}

static int poll_one(struct pollfd *fd, uint64_t deadline_ns)
{
	struct lrp_view *l;
	struct pollfd shadow;
	int n;

	for (;;) {
		l = lrp_view_of(fd->fd);
		if (!l) {
			fd->revents = POLLNVAL;
			return 1;
		}
		shadow = (struct pollfd){.fd = fd->fd, .events = fd->events};
		if (poll(&shadow, 1, 0) < 0)
			return -errno;
		look(fd, 1);
		fd->revents |= shadow.revents;
		if (fd->revents)
			return 1;
		if (deadline_ns == 1)
			return 0;
		n = lrp_wait(l, fd->fd, deadline_ns);
		if (n == -EINTR && lrp_signals_none())
			continue;
		if (n == -EAGAIN)
			return 0;
		if (n && n != -EBADF)
			return n;
	}
}

/* What the kernel says about the rest, without waiting; added to what look() found. */
static int add_kernel(struct pollfd *fds, nfds_t count, struct pollfd *set)
{
	nfds_t i, asked = 0;
	int ready = 0;

	for (i = 0; i < count; i++) {
		struct lrp_view *l = fds[i].fd >= 0 ? lrp_view_of(fds[i].fd) : NULL;

		set[i] = (struct pollfd){.fd = fds[i].fd, .events = fds[i].events};
		if (l && lrp_is_stream(l))
			set[i].fd = lrp_stream_poll_fd(l, fds[i].fd);
		asked += set[i].fd >= 0;
	}
	if (asked && poll(set, count, 0) < 0)
		return -errno;
	for (i = 0; i < count; i++) {
		if (asked)
			fds[i].revents |= set[i].revents;
		ready += fds[i].revents != 0;
	}
	return ready;
}

/* Adds the wait sets of our sockets behind the kernel's part of `set`. Made before the last look,
 * they miss nothing. *total: entries to undo, also if it fails. */
static int sets_begin(struct pollfd *fds, nfds_t count, struct pollfd *set, struct sleep *sleep,
		      nfds_t *total)
{
	struct sleep *s;
	nfds_t i;
	int error;

	*total = count;
	for (i = 0; i < count; i++) {
		struct lrp_view *l = fds[i].fd >= 0 ? lrp_view_of(fds[i].fd) : NULL;

		set[i] = (struct pollfd){.fd = fds[i].fd, .events = fds[i].events};
		if (l && lrp_is_stream(l)) {
			s = &sleep[*total - count];
			error = lrp_stream_poll_begin(l, fds[i].fd, &s->stream);
			if (error)
				return error;
			set[i].fd = lrp_stream_poll_fd(l, fds[i].fd);
			if (s->stream.epfd < 0)
				continue;
			set[(*total)++] = (struct pollfd){.fd = s->stream.epfd, .events = POLLIN};
			continue;
		}
		if (!l || !(fds[i].events & READ_EVENTS))
			continue;
		error = lrp_wait_set(l, fds[i].fd);
		if (error)
			return error;
		lrp_sock_tick(l, fds[i].fd);
		atomic_fetch_add(&l->sock->waiters, 1);
		/* Frames that are taken and not returned would make the ring look readable. */
		lrp_wait_settle(l, fds[i].fd);
		sleep[*total - count] = (struct sleep){.fd = fds[i].fd};
		set[(*total)++] = (struct pollfd){.fd = atomic_load(&l->epfd), .events = POLLIN};
	}
	return 0;
}

static void sets_end(nfds_t count, const struct pollfd *set, const struct sleep *sleep,
		     nfds_t total)
{
	struct epoll_event ev[4];
	uint64_t value;
	nfds_t i;

	for (i = count; i < total; i++) {
		const struct sleep *s = &sleep[i - count];
		struct lrp_view *l;

		if (s->stream.hub) {
			lrp_stream_poll_end(&s->stream, set[i].revents != 0);
			continue;
		}
		l = lrp_view_of(s->fd);
		if (!l)
			continue;
		atomic_fetch_sub(&l->sock->waiters, 1);
		/* Eager mode's signal is taken here; all else is level-triggered. */
		if (l->sock->eager && set[i].revents && epoll_wait(set[i].fd, ev, 4, 0) > 0)
			(void)!read(l->sock->eventfd, &value, sizeof(value));
	}
}

/* What a thread that is cancelled in its sleep leaves to be undone. */
struct asleep {
	const struct pollfd *set;
	const struct sleep *sleep;
	nfds_t count, total;
	void *heap; /* the arrays, if they are not on the stack */
};

static void cancelled(void *arg)
{
	const struct asleep *a = arg;

	sets_end(a->count, a->set, a->sleep, a->total);
	free(a->heap);
}

static int sleep_cancelable(struct asleep *a, struct pollfd *set, uint64_t deadline_ns)
{
	volatile int n; /* setjmp() is in the macro */

	pthread_cleanup_push(cancelled, a);
	n = poll_for(set, a->total, deadline_ns);
	n = n < 0 ? -errno : n;
	pthread_cleanup_pop(0);
	return n;
}

/* One sleep, or none if something came before it. -errno; 0: the time is over. */
static int sleep_many(struct pollfd *fds, nfds_t count, struct pollfd *set, struct sleep *sleep,
		      uint64_t deadline_ns, void *heap)
{
	nfds_t total;
	int n = sets_begin(fds, count, set, sleep, &total);

	if (!n) {
		lrp_hub_counted = 1;
		n = look(fds, count);
		lrp_hub_counted = 0;
		if (!n)
			n = sleep_cancelable(&(struct asleep){set, sleep, count, total, heap}, set,
					     deadline_ns);
	}
	sets_end(count, set, sleep, total);
	return n;
}

static int poll_many(struct pollfd *fds, nfds_t count, struct pollfd *set, struct sleep *sleep,
		     uint64_t deadline_ns, void *heap)
{
	bool over = deadline_ns == 1, kernel = false;
	nfds_t i;
	int n;

	for (;;) {
		if (look(fds, count) || kernel || over) {
			n = add_kernel(fds, count, set);
			if (n || over)
				return n;
		}
		n = sleep_many(fds, count, set, sleep, deadline_ns, heap);
		if (n < 0)
			return n;
		over = n == 0;
		for (kernel = false, i = 0; i < count; i++)
			kernel |= set[i].revents != 0;
	}
}

LRP_API int lrp_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
	LRP_CALL_POINT;
	struct pollfd stack_set[2 * ON_STACK], *set = stack_set;
	struct sleep stack_sleep[ON_STACK], *sleep = stack_sleep;
	uint64_t deadline_ns = 0;
	void *heap = NULL;
	int n;

	lrp_helper_pass();
	if (timeout_ms == 0)
		deadline_ns = 1;
	else if (timeout_ms > 0)
		deadline_ns = lrp_now_ns() + (uint64_t)timeout_ms * LRP_NS_PER_MS;
	if (only_read(fds, count)) {
		n = poll_one(fds, deadline_ns);
	} else {
		if (count > ON_STACK) {
			if (count > LRP_FDS) {
				errno = EINVAL;
				return -1;
			}
			heap = calloc(count, 2 * sizeof(*set) + sizeof(*sleep));
			if (!heap) {
				errno = ENOMEM;
				return -1;
			}
			sleep = heap;
			set = (struct pollfd *)(sleep + count);
		}
		n = poll_many(fds, count, set, sleep, deadline_ns, heap);
		free(heap);
	}
	if (n >= 0)
		return n;
	errno = -n;
	return -1;
}

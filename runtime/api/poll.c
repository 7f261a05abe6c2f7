/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * poll.c - lrp_poll(): our descriptors and others, mixed.
 *
 * What is ready, and what to sleep on, each socket says itself [ready/ready.h].
 */
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../drive/drive.h"
#include "../ready/ready.h"
#include "../tx/hold.h"

#define READ_EVENTS (POLLIN | POLLRDNORM)
#define ON_STACK    32

static struct lrp_view *view_of(const struct pollfd *fd)
{
	return fd->fd >= 0 ? lrp_view_of(fd->fd) : NULL;
}

static const struct lrp_ready_ops *ready_of(const struct lrp_view *l)
{
	return lrp_kind_of(l->sock)->ready;
}

/* Until when; or not at all. */
struct limit {
	bool wait;
	uint64_t deadline_ns; /* 0: none */
};

static int poll_for(struct pollfd *fds, nfds_t count, struct limit limit)
{
	struct timespec ts;

	if (!limit.wait)
		return poll(fds, count, 0);
	lrp_tx_hold_sleep();
	if (!limit.deadline_ns)
		return LRP_SLEEP(ppoll(fds, count, NULL, NULL));
	if (!lrp_sleep_left(limit.deadline_ns, &ts))
		return poll(fds, count, 0);
	return LRP_SLEEP(ppoll(fds, count, &ts, NULL));
}

/* One round over all that is ours; returns how many have events. */
static int poll_look(struct pollfd *fds, nfds_t count)
{
	int64_t now = (int64_t)lrp_now_ns();
	int ready = 0;
	nfds_t i;

	lrp_tx_hold_call(now);
	for (i = 0; i < count; i++) {
		struct lrp_view *l = view_of(&fds[i]);

		fds[i].revents = l ? ready_of(l)->events(l, fds[i].fd, fds[i].events, now) : 0;
		ready += fds[i].revents != 0;
	}
	return ready;
}

/* A single socket that is only read: its own wait set, so that the helper stays asleep. */
static bool only_read(const struct pollfd *fds, nfds_t count)
{
	const struct lrp_view *l = count == 1 ? view_of(&fds[0]) : NULL;

	return l && ready_of(l)->wait && fds[0].events && !(fds[0].events & ~READ_EVENTS);
}

static int poll_one(struct pollfd *fd, struct limit limit)
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
		poll_look(fd, 1);
		fd->revents |= shadow.revents;
		if (fd->revents)
			return 1;
		if (!limit.wait)
			return 0;
		n = ready_of(l)->wait(l, fd->fd, limit.deadline_ns);
		if (n == -EINTR && lrp_signals_none())
			continue;
		if (n == -EAGAIN)
			return 0;
		if (n && n != -EBADF)
			return n;
	}
}

/* What the kernel says about the rest, without waiting; added to what poll_look() found. */
static int add_kernel(struct pollfd *fds, nfds_t count, struct pollfd *set)
{
	nfds_t i, asked = 0;
	int ready = 0;

	for (i = 0; i < count; i++) {
		struct lrp_view *l = view_of(&fds[i]);

		set[i] = (struct pollfd){.fd = fds[i].fd, .events = fds[i].events};
		if (l)
			set[i].fd = ready_of(l)->kernel_fd(l, fds[i].fd);
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
static int sets_begin(struct pollfd *fds, nfds_t count, struct pollfd *set, struct lrp_sleep *sleep,
		      nfds_t *total)
{
	struct lrp_sleep *s;
	nfds_t i;
	int error;

	*total = count;
	for (i = 0; i < count; i++) {
		struct lrp_view *l = view_of(&fds[i]);

		set[i] = (struct pollfd){.fd = fds[i].fd, .events = fds[i].events};
		if (!l)
			continue;
		s = &sleep[*total - count];
		*s = (struct lrp_sleep){.ops = ready_of(l), .fd = fds[i].fd, .epfd = -1};
		error = s->ops->begin(s, l, fds[i].fd, fds[i].events);
		if (error)
			return error;
		set[i].fd = s->ops->kernel_fd(l, fds[i].fd);
		if (s->view)
			set[(*total)++] = (struct pollfd){.fd = s->epfd, .events = POLLIN};
	}
	return 0;
}

static void sets_end(nfds_t count, const struct pollfd *set, struct lrp_sleep *sleep, nfds_t total)
{
	nfds_t i;

	for (i = count; i < total; i++)
		sleep[i - count].ops->end(&sleep[i - count], set[i].revents != 0);
}

/* What a thread that is cancelled in its sleep leaves to be undone. */
struct asleep {
	const struct pollfd *set;
	struct lrp_sleep *sleep;
	nfds_t count, total;
	void *heap; /* the arrays, if they are not on the stack */
};

static void cancelled(void *arg)
{
	const struct asleep *a = arg;

	sets_end(a->count, a->set, a->sleep, a->total);
	free(a->heap);
}

static int sleep_cancelable(struct asleep *a, struct pollfd *set, struct limit limit)
{
	volatile int n; /* setjmp() is in the macro */

	pthread_cleanup_push(cancelled, a);
	n = poll_for(set, a->total, limit);
	n = n < 0 ? -errno : n;
	pthread_cleanup_pop(0);
	return n;
}

/* One sleep, or none if something came before it. -errno; 0: the time is over. */
static int sleep_many(struct pollfd *fds, nfds_t count, struct pollfd *set, struct lrp_sleep *sleep,
		      struct limit limit, void *heap)
{
	nfds_t total;
	int n = sets_begin(fds, count, set, sleep, &total);

	if (!n) {
		lrp_sleep_counted = 1;
		n = poll_look(fds, count);
		lrp_sleep_counted = 0;
		if (!n)
			n = sleep_cancelable(&(struct asleep){set, sleep, count, total, heap}, set,
					     limit);
	}
	sets_end(count, set, sleep, total);
	return n;
}

static int poll_many(struct pollfd *fds, nfds_t count, struct pollfd *set, struct lrp_sleep *sleep,
		     struct limit limit, void *heap)
{
	bool over = !limit.wait, kernel = false;
	nfds_t i;
	int n;

	for (;;) {
		if (poll_look(fds, count) || kernel || over) {
			n = add_kernel(fds, count, set);
			if (n || over)
				return n;
		}
		n = sleep_many(fds, count, set, sleep, limit, heap);
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
	struct lrp_sleep stack_sleep[ON_STACK], *sleep = stack_sleep;
	struct limit limit = {.wait = timeout_ms != 0};
	void *heap = NULL;
	int n;

	lrp_helper_pass();
	if (timeout_ms > 0)
		limit.deadline_ns = lrp_now_ns() + (uint64_t)timeout_ms * LRP_NS_PER_MS;
	if (only_read(fds, count)) {
		n = poll_one(fds, limit);
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
		n = poll_many(fds, count, set, sleep, limit, heap);
		free(heap);
	}
	if (n >= 0)
		return n;
	errno = -n;
	return -1;
}

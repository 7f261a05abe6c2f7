/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * shadow.c - the kernel's sockets that accepted connections have for descriptors, used again. Such a
 * socket is never connected; it keeps options, flags and a number. To make and destroy one costs a
 * fifth of a short connection, so some that were closed are kept, and the next connection of the same listener
 * gets another descriptor of one.
 *
 * Only if nobody can tell the difference: no option and no flag was set on it, no duplicate and no
 * child has it, and its listener's options are what they were.
 */
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "../base/fd.h"
#include "../base/fork.h"
#include "stream.h"

#define MOST 64u

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct lrp_shadow pool[MOST]; /* the last one was closed last */
static uint32_t count;

static bool current(const struct lrp_shadow *s)
{
	return s->serial == atomic_load(&s->listener->driven.serial) &&
	       s->options == atomic_load(&s->listener->options);
}

/* Lock held. */
static void take_out(uint32_t i)
{
	memmove(&pool[i], &pool[i + 1], (--count - i) * sizeof(pool[0]));
}

/* The listener's last one, if any. */
static struct lrp_shadow shadow_find(const struct lrp_hub *listener)
{
	struct lrp_shadow s = {.fd = -1};
	uint32_t i;

	pthread_mutex_lock(&lock);
	for (i = count; i-- && s.fd < 0;) {
		if (!current(&pool[i])) {
			close(pool[i].fd);
			take_out(i);
		} else if (pool[i].listener == listener) {
			s = pool[i];
			take_out(i);
		}
	}
	pthread_mutex_unlock(&lock);
	return s;
}

int lrp_shadow_get(const struct lrp_hub *listener, int domain, int flags, struct lrp_shadow *s)
{
	bool nonblocking = flags & SOCK_NONBLOCK;
	int fd = -1;

	*s = shadow_find(listener);
	if (s->fd >= 0)
		fd = fcntl(s->fd, flags & SOCK_CLOEXEC ? F_DUPFD_CLOEXEC : F_DUPFD, 0);
	if (fd >= 0 && nonblocking != s->nonblocking)
		fcntl(fd, F_SETFL, O_RDWR | (nonblocking ? O_NONBLOCK : 0));
	s->nonblocking = nonblocking;
	if (fd >= 0)
		return fd;
	if (s->fd >= 0)
		close(s->fd);
	*s = (struct lrp_shadow){.fd = -1,
				 .nonblocking = nonblocking,
				 .listener = listener,
				 .serial = atomic_load(&listener->driven.serial),
				 .options = atomic_load(&listener->options)};
	return socket(domain, SOCK_STREAM | flags, 0);
}

void lrp_shadow_keep(struct lrp_view *l, int fd)
{
	struct lrp_shadow *s = &l->shadow;

	if (!s->listener || l->sock->touched || !current(s))
		return;
	if (s->fd < 0)
		s->fd = lrp_fd_aside_of(fd);
	if (s->fd < 0)
		return;
	pthread_mutex_lock(&lock);
	if (count < MOST) {
		pool[count++] = *s;
		s->fd = -1;
	}
	pthread_mutex_unlock(&lock);
}

/* ---- fork ---------------------------------------------------------------------- */

static void shadow_fork_prepare(void)
{
	pthread_mutex_lock(&lock);
}

static void shadow_fork_parent(void)
{
	pthread_mutex_unlock(&lock);
}

static void shadow_fork_child(void)
{
	while (count)
		close(pool[--count].fd);
	pthread_mutex_init(&lock, NULL);
}

static __attribute__((constructor)) void fork_register(void)
{
	static struct lrp_fork_handler handler = {
		.phase = LRP_FORK_STORES,
		.prepare = shadow_fork_prepare,
		.parent = shadow_fork_parent,
		.child = shadow_fork_child,
	};

	lrp_fork_register(&handler);
}

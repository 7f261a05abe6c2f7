/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * life.c - a socket's beginning and its end: of a descriptor, of a process's part in it, of the
 * socket.
 *
 * First the shadow goes, so that the port is nobody's, then the channels: lrpd must find the
 * shadow gone.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "kind.h"

bool lrp_nonblocking(int fd, int flags)
{
	int fl;

	if (flags & MSG_DONTWAIT)
		return true;
	fl = fcntl(fd, F_GETFL);
	return fl >= 0 && fl & O_NONBLOCK;
}

const struct lrp_allocator lrp_arena_allocator = {
	.alloc = lrp_arena_alloc,
	.free = lrp_arena_free,
};

const struct lrp_kind *lrp_kinds[LRP_KINDS];

void lrp_kind_register(enum lrp_kind_number number, const struct lrp_kind *kind)
{
	lrp_kinds[number] = kind;
}

int lrp_setup_lock(int fd, struct lrp_view **local)
{
	struct lrp_view *l = lrp_view_of(fd);

	if (!l)
		return -EBADF;
	lrp_inside++;
	lrp_lock(&l->sock->setup);
	if (lrp_view_of(fd) != l) {
		lrp_setup_unlock(l);
		return -EBADF;
	}
	*local = l;
	return 0;
}

void lrp_setup_unlock(struct lrp_view *l)
{
	lrp_unlock(&l->sock->setup);
	lrp_inside--;
}

struct lrp_sock *lrp_sock_new(int fd, int domain, enum lrp_kind_number kind)
{
	struct lrp_sock *s = lrp_sock_alloc(kind);
	struct lrp_holder *holders;

	if (!s)
		return NULL;
	/* A thread that found it by a descriptor now closed may hold the lock for a moment. */
	lrp_rx_lock(s);
	holders = atomic_load(&s->holder.next);
	memset((char *)s + offsetof(struct lrp_sock, state), 0,
	       offsetof(struct lrp_sock, setup) - offsetof(struct lrp_sock, state));
	memset((char *)&s->setup + sizeof(s->setup), 0,
	       sizeof(*s) - offsetof(struct lrp_sock, setup) - sizeof(s->setup));
	s->domain = (uint8_t)domain;
	atomic_store(&s->holder.next, holders);
	atomic_store(&s->procs, 1);
	lrp_holder_first(s);
	lrp_kinds[kind]->init(s, fd);
	lrp_rx_unlock(s);
	return s;
}

/* All descriptors of all processes are gone. Called by the closer, and by whoever was inside. */
void lrp_sock_reap(struct lrp_sock *s)
{
	if (lrp_inside || lrp_lock_try(&s->rx) < 0)
		return;
	if ((atomic_load(&s->state) & (LRP_SOCK_CLOSED | LRP_SOCK_REAPED)) != LRP_SOCK_CLOSED) {
		lrp_unlock(&s->rx);
		return;
	}
	atomic_fetch_or(&s->state, LRP_SOCK_REAPED);
	lrp_kind_of(s)->end(s);
	lrp_inside++;
	lrp_sock_free(s);
	lrp_inside--;
}

void lrp_sock_recover(struct lrp_sock *s)
{
	if (lrp_kind_of(s)->recover)
		lrp_kind_of(s)->recover(s);
}

void lrp_sock_leave(struct lrp_view *l)
{
	lrp_kind_of(l->sock)->leave(l);
}

/* Deferred by lrp_sock_close() in a signal handler; a stack without a lock. */
static _Atomic(struct lrp_view *) deferred;

void lrp_close_deferred(void)
{
	struct lrp_view *l = atomic_exchange(&deferred, NULL), *next;

	for (; l; l = next) {
		next = l->deferred;
		lrp_table_forget(l);
		lrp_sock_leave(l);
		lrp_view_free(l);
	}
}

int lrp_sock_close(int fd)
{
	struct lrp_view *l = lrp_view_of(fd);
	const struct lrp_kind *kind;
	bool last, wake;

	if (!l)
		return -EBADF;
	kind = lrp_kind_of(l->sock);
	if (kind->closing && !lrp_inside && atomic_load(&l->refs) == 1)
		kind->closing(l, fd);
	wake = atomic_load(&l->sleepers) > 0 && atomic_load(&l->refs) == 1 &&
	       atomic_load(&l->sock->procs) == 1;
	if (lrp_inside) {
		/* In a signal handler that interrupted one of our calls: only what is
		 * safe there. The next call does the rest. */
		l = atomic_exchange(&lrp_fd_table[fd], NULL);
		if (l && atomic_fetch_sub(&l->refs, 1) == 1) {
			struct lrp_view *head = atomic_load(&deferred);

			do
				l->deferred = head;
			while (!atomic_compare_exchange_weak(&deferred, &head, l));
		}
		if (l && wake)
			kind->wake(l);
		return close(fd) ? -errno : 0;
	}
	lrp_inside++;
	last = lrp_table_remove(fd, &l);
	if (l && wake)
		kind->wake(l);
	/* First the port, then the channels: lrpd must find the shadow gone. */
	close(fd);
	lrp_inside--;
	if (last) {
		lrp_sock_leave(l);
		lrp_view_free(l);
	}
	return 0;
}

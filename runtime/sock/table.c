/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * table.c - which descriptors are ours: a process-private array, copied by fork
 * like everything private, of pointers to struct lrp_view.
 *
 * Looking a descriptor up takes no lock. Objects are never unmapped but
 * reused, so a thread that looks up while another closes finds some socket, and
 * asks again once it has that socket's lock whether it is the one.
 */
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../base/log.h"
#include "../drive/app.h"
#include "../drive/drive.h"
#include "../stream/family.h"
#include "../stream/stream.h"

_Atomic(struct lrp_view *) *lrp_fd_table;
__thread int lrp_inside;
__thread bool lrp_cancelable;

static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t table_once = PTHREAD_ONCE_INIT;
static struct lrp_view *all;	    /* sockets of this process */
static struct lrp_view *free_list;  /* locals */
static struct lrp_sock *free_socks; /* their locks stay valid: somebody may still look at them */

/* Connections that still are on their listener's channels get their own, which the child inherits: it could
 * not get any for them without asking lrpd, and would be woken for all that comes to the listener. */
static void settle_connections(void)
{
	struct lrp_view *l;
	uint32_t n = 0, i;
	int *fds;

	pthread_mutex_lock(&table_lock);
	for (l = all; l; l = l->next)
		n += lrp_stream_unsettled(l);
	fds = n ? malloc(n * sizeof(*fds)) : NULL;
	for (l = all, i = 0; fds && l && i < n; l = l->next)
		if (lrp_stream_unsettled(l))
			fds[i++] = l->fd;
	pthread_mutex_unlock(&table_lock);
	for (i = 0; fds && i < n; i++)
		lrp_stream_settle(fds[i]);
	free(fds);
}

static void fork_prepare(void)
{
	bool streams = false;
	struct lrp_view *l;

	if (!lrp_inside)
		settle_connections();
	pthread_mutex_lock(&table_lock);
	/* Before the child exists: the parent could close the socket the moment after. */
	for (l = all; l; l = l->next) {
		atomic_fetch_add(&l->sock->procs, 1);
		l->sock->stream.touched = true;
		streams |=
			lrp_is_stream(l) && atomic_load(&l->sock->stream.mode) != LRP_STREAM_KERNEL;
	}
	if (!lrp_inside && streams)
		lrp_family_fork_prepare();
	lrp_sched_fork_prepare();
	lrp_spare_fork_prepare();
	lrp_shadow_fork_prepare();
}

static void fork_parent(void)
{
	lrp_shadow_fork_parent();
	lrp_spare_fork_parent();
	lrp_sched_fork_parent();
	lrp_family_fork_parent();
	pthread_mutex_unlock(&table_lock);
}

static void fork_child(void)
{
	struct lrp_view *l;

	lrp_family_fork_child();
	for (l = all; l; l = l->next) {
		if (lrp_is_stream(l))
			lrp_holder_inherited(l->sock);
		atomic_store(&l->sleepers, 0);
		l->helped = false;
		l->app = false;
		if (lrp_is_stream(l))
			lrp_stream_forked(l);
	}
	/* What is free belongs to the parent; it would come out of both lists. */
	free_socks = NULL;
	lrp_hub_forked();
	lrp_stream_accepting(NULL, -1);
	lrp_shadow_fork_child();
	lrp_spare_fork_child();
	lrp_waits_forked();
	lrp_ports_forked();
	lrp_app_fork_child();
	pthread_mutex_init(&table_lock, NULL);
	lrp_sched_fork_child();
}

static void table_start(void)
{
	void *map = mmap(NULL, LRP_FDS * sizeof(*lrp_fd_table), PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (map == MAP_FAILED)
		return;
	pthread_atfork(fork_prepare, fork_parent, fork_child);
	lrp_fd_table = map;
}

int lrp_table_init(void)
{
	pthread_once(&table_once, table_start);
	return lrp_fd_table ? 0 : -ENOMEM;
}

/* Locals are carved from pages of their own, so that no free() is ever needed. */
static struct lrp_view *local_alloc(void)
{
	struct lrp_view *l = free_list;
	const size_t chunk = 16384;
	size_t i;

	if (!l) {
		struct lrp_view *more = mmap(NULL, chunk, PROT_READ | PROT_WRITE,
					     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (more == MAP_FAILED)
			return NULL;
		for (i = 0; i < chunk / sizeof(*more); i++) {
			more[i].next = free_list;
			free_list = &more[i];
		}
		l = free_list;
	}
	free_list = l->next;
	return l;
}

static void list_remove(struct lrp_view *l)
{
	if (l->prev)
		l->prev->next = l->next;
	else
		all = l->next;
	if (l->next)
		l->next->prev = l->prev;
	l->prev = l->next = NULL;
}

/* Somebody called plain close() on the descriptor, and the kernel gave it out again. */
static struct lrp_view *displace(int fd)
{
	struct lrp_view *l = atomic_exchange(&lrp_fd_table[fd], NULL);

	if (l && atomic_fetch_sub(&l->refs, 1) == 1) {
		list_remove(l);
		return l;
	}
	return NULL;
}

int lrp_table_add(int fd, struct lrp_sock *s, struct lrp_view **local)
{
	struct lrp_view *l, *stale;

	if ((unsigned int)fd >= LRP_FDS)
		return -EMFILE;
	pthread_mutex_lock(&table_lock);
	stale = displace(fd);
	l = local_alloc();
	if (l) {
		l->sock = s;
		l->serial = l->wait_serial = atomic_load(&s->serial);
		l->fd = fd;
		l->shadow = (struct lrp_shadow){.fd = -1};
		l->helped = false;
		l->app = false;
		l->borrowed = false;
		l->deferred = NULL;
		atomic_store(&l->epfd, -1);
		atomic_store(&l->sleepers, 0);
		atomic_store(&l->asleep, false);
		atomic_store(&l->refs, 1);
		atomic_store(&l->shadow_ready, true);
		l->prev = NULL;
		l->next = all;
		if (all)
			all->prev = l;
		all = l;
		atomic_store_explicit(&lrp_fd_table[fd], l, memory_order_release);
		*local = l;
	}
	pthread_mutex_unlock(&table_lock);
	if (stale) {
		lrp_sock_leave(stale);
		lrp_view_free(stale);
	}
	return l ? 0 : -ENOMEM;
}

int lrp_table_dup(int newfd, struct lrp_view *l)
{
	struct lrp_view *stale = NULL;
	int error = 0;

	if ((unsigned int)newfd >= LRP_FDS)
		return -EMFILE;
	pthread_mutex_lock(&table_lock);
	stale = displace(newfd);
	if (stale == l || atomic_load(&l->refs) == 0) {
		error = -EBADF;
	} else {
		atomic_fetch_add(&l->refs, 1);
		atomic_store_explicit(&lrp_fd_table[newfd], l, memory_order_release);
	}
	pthread_mutex_unlock(&table_lock);
	if (stale) {
		lrp_sock_leave(stale);
		lrp_view_free(stale);
	}
	return error;
}

bool lrp_table_remove(int fd, struct lrp_view **local)
{
	struct lrp_view *l;
	bool last = false;

	pthread_mutex_lock(&table_lock);
	l = atomic_exchange(&lrp_fd_table[fd], NULL);
	if (l && atomic_fetch_sub(&l->refs, 1) == 1) {
		list_remove(l);
		last = true;
	}
	pthread_mutex_unlock(&table_lock);
	*local = l;
	return last;
}

void lrp_view_free(struct lrp_view *l)
{
	if (l->shadow.fd >= 0)
		close(l->shadow.fd);
	pthread_mutex_lock(&table_lock);
	l->next = free_list;
	free_list = l;
	pthread_mutex_unlock(&table_lock);
}

void lrp_table_forget(struct lrp_view *l)
{
	pthread_mutex_lock(&table_lock);
	list_remove(l);
	pthread_mutex_unlock(&table_lock);
}

int lrp_table_listener(const struct lrp_hub *hub)
{
	struct lrp_view *l;
	int fd = -1;

	/* At the end of the process it is locked by us. */
	if (pthread_mutex_trylock(&table_lock))
		return -1;
	for (l = all; l && fd < 0; l = l->next)
		if (lrp_is_stream(l) && l->sock->stream.hub == hub &&
		    atomic_load(&l->sock->stream.mode) == LRP_STREAM_LISTENER)
			fd = l->fd;
	pthread_mutex_unlock(&table_lock);
	return fd;
}

struct lrp_sock *lrp_sock_alloc(void)
{
	struct lrp_sock *s;

	pthread_mutex_lock(&table_lock);
	s = free_socks;
	if (s)
		free_socks = s->next_free;
	pthread_mutex_unlock(&table_lock);
	if (s)
		return s;
	s = lrp_arena_alloc(sizeof(*s));
	if (s && (lrp_lock_init(&s->rx) || lrp_lock_init(&s->setup))) {
		lrp_arena_free(s, sizeof(*s));
		s = NULL;
	}
	if (s)
		lrp_family_add_sock(s);
	return s;
}

void lrp_sock_free(struct lrp_sock *s)
{
	lrp_holder_free(s);
	pthread_mutex_lock(&table_lock);
	s->next_free = free_socks;
	free_socks = s;
	pthread_mutex_unlock(&table_lock);
}

void lrp_table_each(void (*f)(struct lrp_view *l, void *arg), void *arg)
{
	struct lrp_view *l;

	pthread_mutex_lock(&table_lock);
	for (l = all; l; l = l->next)
		f(l, arg);
	pthread_mutex_unlock(&table_lock);
}

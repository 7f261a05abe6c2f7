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

#include "../base/arena_list.h"
#include "../base/fork.h"
#include "socket.h"

_Atomic(struct lrp_view *) *lrp_fd_table;
__thread int lrp_inside;
__thread bool lrp_cancelable;

static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t table_once = PTHREAD_ONCE_INIT;
static struct lrp_view *all;	   /* sockets of this process */
static struct lrp_view *free_list; /* locals */
static struct lrp_sock
	*free_socks[LRP_KINDS]; /* their locks stay valid: somebody may still look at them */

static void table_fork_prepare(void)
{
	pthread_mutex_lock(&table_lock);
	/* Before the child exists: the parent could close the socket the moment after. */
	for (const struct lrp_view *l = all; l; l = l->next)
		atomic_fetch_add(&l->sock->procs, 1);
}

static void table_fork_parent(void)
{
	pthread_mutex_unlock(&table_lock);
}

static void table_fork_child(void)
{
	struct lrp_view *l;

	for (l = all; l; l = l->next) {
		atomic_store(&l->sleepers, 0);
		l->helped = false;
		l->app = false;
	}
	/* What is free belongs to the parent; it would come out of both lists. */
	memset(free_socks, 0, sizeof(free_socks));
	pthread_mutex_init(&table_lock, NULL);
}

static __attribute__((constructor)) void fork_register(void)
{
	static struct lrp_fork_handler handler = {
		.phase = LRP_FORK_TABLE,
		.prepare = table_fork_prepare,
		.parent = table_fork_parent,
		.child = table_fork_child,
	};

	lrp_fork_register(&handler);
}

static void table_start(void)
{
	void *map = mmap(NULL, LRP_FDS * sizeof(*lrp_fd_table), PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (map == MAP_FAILED)
		return;
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

/* Made at the first socket, when there is no family yet; children inherit it. */
static struct lrp_arena_list *_Atomic every;

static void list_everywhere(struct lrp_sock *s)
{
	struct lrp_arena_list *list = atomic_load(&every), *other = NULL;

	if (!list) {
		list = lrp_arena_alloc(sizeof(*list));
		if (list && !atomic_compare_exchange_strong(&every, &other, list)) {
			lrp_arena_free(list, sizeof(*list));
			list = other;
		}
	}
	if (list)
		lrp_arena_list_add(list, s); /* not in it: nobody closes it for its holder */
}

void lrp_sock_each(void (*f)(struct lrp_sock *s, void *arg), void *arg)
{
	const struct lrp_arena_list *list = atomic_load(&every);
	const struct lrp_arena_node *node = list ? atomic_load(&list->first) : NULL;

	for (; node; node = node->next)
		f(node->object, arg);
}

struct lrp_sock *lrp_sock_alloc(enum lrp_kind_number kind)
{
	struct lrp_sock *s;

	pthread_mutex_lock(&table_lock);
	s = free_socks[kind];
	if (s)
		free_socks[kind] = s->next_free;
	pthread_mutex_unlock(&table_lock);
	if (s)
		return s;
	s = lrp_arena_alloc(sizeof(*s));
	if (s && (lrp_lock_init(&s->rx) || lrp_lock_init(&s->setup))) {
		lrp_arena_free(s, sizeof(*s));
		s = NULL;
	}
	if (s) {
		s->kind = (uint8_t)kind;
		list_everywhere(s);
	}
	return s;
}

void lrp_sock_free(struct lrp_sock *s)
{
	lrp_holder_free(s);
	pthread_mutex_lock(&table_lock);
	s->next_free = free_socks[s->kind % LRP_KINDS];
	free_socks[s->kind % LRP_KINDS] = s;
	pthread_mutex_unlock(&table_lock);
}

void lrp_table_each(void (*f)(struct lrp_view *l, void *arg), void *arg)
{
	pthread_mutex_lock(&table_lock);
	lrp_table_each_locked(f, arg);
	pthread_mutex_unlock(&table_lock);
}

void lrp_table_each_locked(void (*f)(struct lrp_view *l, void *arg), void *arg)
{
	for (struct lrp_view *l = all; l; l = l->next)
		f(l, arg);
}

int lrp_table_find(bool (*is)(const struct lrp_view *l, const void *arg), const void *arg)
{
	struct lrp_view *l;
	int fd = -1;

	/* At the end of the process it is locked by us. */
	if (pthread_mutex_trylock(&table_lock))
		return -1;
	for (l = all; l && fd < 0; l = l->next)
		if (is(l, arg))
			fd = l->fd;
	pthread_mutex_unlock(&table_lock);
	return fd;
}

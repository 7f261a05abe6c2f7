/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * family.c - see family.h.
 *
 * The list of members lies in the arena and is changed by compare-and-swap alone, so a member may
 * be killed at any step. A slot is free again when its process has been seen to.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../base/arena_list.h"
#include "../base/fd.h"
#include "../base/fork.h"
#include "../base/log.h"
#include "../base/self.h"
#include "../drive/app.h"
#include "family.h"
#include "stream.h"

#define MEMBERS	     4096u
#define BEING_MADE   (-1)
#define DATA_BIRTH   1u /* of epoll: a member came, */
#define DATA_MAIL    2u /* somebody has got mail, */
#define DATA_FIRST   3u /* and slot + this, of a member that died; all as 2n + 1 */
#define NOBODY	     0u /* as guardian; else its slot + 1 */
#define data_of(n)   ((uint64_t)(n)*2 + 1)
#define number_of(d) ((uint32_t)((d) / 2))

struct member {
	_Atomic pid_t pid; /* 0: free */
	uint64_t start;	   /* as holder.c has it */
	/* Hubs that another member has changed; a stack, which the member takes as a whole. */
	_Atomic(struct lrp_hub *) mail;
};

struct family {
	struct lrp_arena_list hubs;
	/* from the first fork on */
	_Atomic bool begun;
	int birth, mail; /* eventfds, which all inherit: a member came; somebody has got mail */
	ino_t pids;	 /* the pid namespace; 0: unknown */
	_Atomic uint32_t guardian;
	_Atomic uint32_t used; /* slots from there on have never been used */
	struct member member[MEMBERS];
};

static struct family *_Atomic family; /* children inherit it */
/* This process's: */
static uint32_t mine = NOBODY; /* slot + 1 */
static int set = -1;	       /* of the APP thread */
static int watched[MEMBERS];   /* pidfd + 1, 0: none; the APP thread's, and fork's */
static uint32_t watched_end;
static pthread_mutex_t watch_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- what there is -------------------------------------------------------------- */

static struct family *family_get(void)
{
	struct family *f = atomic_load(&family), *other = NULL;

	if (f)
		return f;
	f = lrp_arena_alloc(sizeof(*f));
	if (!f || atomic_compare_exchange_strong(&family, &other, f))
		return f;
	lrp_arena_free(f, sizeof(*f));
	return other;
}

void lrp_family_add_hub(struct lrp_hub *hub)
{
	struct family *f = family_get();

	if (f)
		lrp_arena_list_add(&f->hubs, hub); /* not in it: nobody closes it for its holder */
}

void lrp_family_each_hub(void (*f)(struct lrp_hub *hub, void *arg), void *arg)
{
	struct family *all = atomic_load(&family);
	const struct lrp_arena_node *node = all ? atomic_load(&all->hubs.first) : NULL;

	for (; node; node = node->next)
		f(node->object, arg);
}

/* ---- members -------------------------------------------------------------------- */

static ino_t pid_namespace(void)
{
	struct stat st;

	return stat("/proc/self/ns/pid", &st) ? 0 : st.st_ino;
}

/* A pid means the same to all members only in one pid namespace. The parent's is a cheap proof. */
static bool same_namespace(const struct family *f, pid_t parent)
{
	return getppid() == parent || (f->pids && pid_namespace() == f->pids);
}

static void enroll(struct family *f)
{
	uint32_t i, used;
	pid_t none;

	for (i = 0; i < MEMBERS && mine == NOBODY; i++) {
		none = 0;
		if (!atomic_compare_exchange_strong(&f->member[i].pid, &none, BEING_MADE))
			continue;
		f->member[i].start = lrp_holder_start();
		mine = i + 1;
		used = atomic_load(&f->used);
		while (used < mine && !atomic_compare_exchange_weak(&f->used, &used, mine))
			;
		atomic_store(&f->member[i].pid, lrp_self());
	}
}

/* table_lock held: once. */
static void family_begin(struct family *f)
{
	if (atomic_load(&f->begun))
		return;
	f->birth = lrp_fd_aside(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	f->mail = lrp_fd_aside(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	if (f->birth < 0 || f->mail < 0)
		return;
	f->pids = pid_namespace();
	enroll(f);
	atomic_store(&f->begun, true);
}

/* Again does no harm. */
static void listen_to(int fd, uint32_t what)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.u64 = data_of(what)};

	epoll_ctl(set, EPOLL_CTL_ADD, fd, &ev);
}

static pid_t parent; /* of a child that is about to be made */
static bool forking; /* watch_lock is fork's */

static void find_served(struct lrp_view *l, void *any)
{
	if (lrp_is_stream(l) && atomic_load(&l->sock->stream.mode) != LRP_STREAM_KERNEL)
		*(bool *)any = true;
}

/* The table is locked: nothing is told to the family while a call is interrupted. */
static void family_fork_prepare(void)
{
	struct family *f = atomic_load(&family);
	uint32_t nobody = NOBODY;
	bool any = false;

	if (!f || lrp_inside)
		return;
	lrp_table_each_locked(find_served, &any);
	if (!any)
		return;
	family_begin(f);
	lrp_app_start();
	parent = lrp_self();
	pthread_mutex_lock(&watch_lock);
	forking = true;
	if (set >= 0)
		listen_to(f->mail, DATA_MAIL);
	/* The first: there is nobody yet to look for. */
	if (mine != NOBODY && atomic_compare_exchange_strong(&f->guardian, &nobody, mine) &&
	    set >= 0)
		listen_to(f->birth, DATA_BIRTH);
}

static void family_fork_parent(void)
{
	if (forking) {
		forking = false;
		pthread_mutex_unlock(&watch_lock);
	}
}

static void family_fork_child(void)
{
	struct family *f = atomic_load(&family);
	uint32_t i;

	for (i = 0; i < watched_end; i++) {
		if (watched[i])
			close(watched[i] - 1);
		watched[i] = 0;
	}
	watched_end = 0;
	set = -1;
	mine = NOBODY;
	forking = false;
	pthread_mutex_init(&watch_lock, NULL);
	if (!f || !atomic_load(&f->begun) || !same_namespace(f, parent))
		return;
	enroll(f);
	if (mine != NOBODY)
		eventfd_write(f->birth, 1);
}

static __attribute__((constructor)) void fork_register(void)
{
	static struct lrp_fork_handler handler = {
		.phase = LRP_FORK_SOCKETS,
		.prepare = family_fork_prepare,
		.parent = family_fork_parent,
		.child = family_fork_child,
	};

	lrp_fork_register(&handler);
}

/* ---- watching ------------------------------------------------------------------- */

/* All below: watch_lock held. */

/* False: it is dead. */
static bool watch(const struct family *f, uint32_t slot)
{
	const struct member *m = &f->member[slot];
	pid_t pid = atomic_load(&m->pid);
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = data_of(DATA_FIRST + slot)};
	uint64_t start;
	int fd;

	if (pid <= 0 || watched[slot])
		return true;
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd < 0)
		return errno != ESRCH;
	fd = lrp_fd_aside(fd);
	/* The pid may have been given to another since. */
	start = lrp_holder_started(pid);
	if (start > 1 && m->start > 1 && start != m->start) {
		close(fd);
		return false;
	}
	if (epoll_ctl(set, EPOLL_CTL_ADD, fd, &ev)) {
		close(fd);
		return true;
	}
	watched[slot] = fd + 1;
	if (slot >= watched_end)
		watched_end = slot + 1;
	return true;
}

static void unwatch(uint32_t slot)
{
	if (!watched[slot])
		return;
	epoll_ctl(set, EPOLL_CTL_DEL, watched[slot] - 1, NULL);
	close(watched[slot] - 1);
	watched[slot] = 0;
}

/* Nobody reads it any more. */
static void throw_away(struct member *m)
{
	struct lrp_hub *hub = atomic_exchange(&m->mail, NULL), *next;

	for (; hub; hub = next) {
		next = hub->mail_next;
		atomic_store(&hub->mailed, false);
	}
}

static void (*close_for_dead)(pid_t pid, uint64_t start);

void lrp_family_on_death(void (*close_for)(pid_t pid, uint64_t start))
{
	close_for_dead = close_for;
}

/* Not meanwhile. */
static void bury(struct family *f, uint32_t slot)
{
	struct member *m = &f->member[slot];
	pid_t pid = atomic_load(&m->pid);

	unwatch(slot);
	if (pid <= 0)
		return;
	pthread_mutex_unlock(&watch_lock);
	if (close_for_dead)
		close_for_dead(pid, m->start);
	pthread_mutex_lock(&watch_lock);
	throw_away(m);
	atomic_store(&m->pid, 0);
}

/* Of the guardian: all members that it does not know yet. */
static void look_around(struct family *f)
{
	uint32_t i, end = atomic_load(&f->used);

	for (i = 0; i < end; i++)
		if (i + 1 != mine && !watch(f, i))
			bury(f, i);
}

static void guard(struct family *f)
{
	listen_to(f->birth, DATA_BIRTH);
	look_around(f);
}

/* Either we are the guardian, or we watch whoever is. */
static void find_place(struct family *f)
{
	uint32_t now = atomic_load(&f->guardian);

	for (;;) {
		if (now == mine) {
			guard(f);
			return;
		}
		if (now != NOBODY && atomic_load(&f->member[now - 1].pid) > 0 && watch(f, now - 1))
			return;
		/* Nobody, or a dead one: who was dead is seen to by the new one. */
		if (atomic_compare_exchange_strong(&f->guardian, &now, mine))
			now = mine;
	}
}

void lrp_family_attach(int epfd)
{
	struct family *f = atomic_load(&family);

	pthread_mutex_lock(&watch_lock);
	set = epfd;
	if (f && atomic_load(&f->begun) && mine != NOBODY) {
		listen_to(f->mail, DATA_MAIL);
		find_place(f);
	}
	pthread_mutex_unlock(&watch_lock);
}

/* ---- mail ----------------------------------------------------------------------- */

void lrp_family_post(struct lrp_hub *hub)
{
	struct family *f = atomic_load(&family);
	pid_t to = hub->user ? hub->user : hub->pid;
	uint32_t i, end = f && atomic_load(&f->begun) ? atomic_load(&f->used) : 0;

	for (i = 0; i < end && atomic_load(&f->member[i].pid) != to; i++)
		;
	if (!to || i == end || atomic_exchange(&hub->mailed, true))
		return;
	hub->mail_next = atomic_load(&f->member[i].mail);
	while (!atomic_compare_exchange_weak(&f->member[i].mail, &hub->mail_next, hub))
		;
	eventfd_write(f->mail, 1);
}

static void read_mail(struct family *f)
{
	struct lrp_hub *hub, *next;

	hub = mine != NOBODY ? atomic_exchange(&f->member[mine - 1].mail, NULL) : NULL;
	for (; hub; hub = next) {
		next = hub->mail_next;
		/* Before the look: who comes later posts again. */
		atomic_store(&hub->mailed, false);
		lrp_hub_mail(hub);
	}
}

/* ---- events --------------------------------------------------------------------- */

void lrp_family_event(uint64_t data)
{
	struct family *f = atomic_load(&family);
	uint32_t number = number_of(data);
	bool guardian;

	if (number == DATA_MAIL) {
		read_mail(f);
		return;
	}
	pthread_mutex_lock(&watch_lock);
	guardian = atomic_load(&f->guardian) == mine;
	if (number == DATA_BIRTH && guardian)
		look_around(f);
	if (number >= DATA_FIRST && guardian)
		bury(f, number - DATA_FIRST);
	if (number >= DATA_FIRST && !guardian) {
		unwatch(number - DATA_FIRST);
		/* The place of the dead one: another may have taken it already. */
		number = number - DATA_FIRST + 1;
		if (atomic_compare_exchange_strong(&f->guardian, &number, mine))
			guard(f);
		else
			find_place(f);
	}
	pthread_mutex_unlock(&watch_lock);
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * app.c - the APP thread.
 *
 * Its table of hubs [struct lrp_driven] is private to the process; a hub that was closed is found out by its
 * serial, under its lock, so that nobody need tell. When a hub's next deadline is earlier
 * than the one that is known here, whoever set it says so; one that moved further away is found
 * out when the thread comes. So traffic costs a comparison, and a hub with nothing due nothing.
 *
 * Segments of a socket that is being received from are its receiver's [paper 3.4], also while he is
 * busy with those of a moment ago. So a hub that was drained in a call since the thread looked last is left
 * alone for GRACE; the thread stands by that long, and no packet wakes it. Only a hub that nobody has come
 * back to is drained here, and from then on at once, until the next call.
 *
 * With LRP_EAGER=1 it processes all that comes at once, and calls take nothing from the channels: as
 * eager systems do, for comparison.
 *
 * Order of locks: hub->lock, list_lock. The latter is held for moments only.
 */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/fd.h"
#include "../base/fork.h"
#include "../base/heap.h"
#include "../base/log.h"
#include "../base/thread.h"
#include "../broker/broker.h"
#include "../tx/hold.h"
#include "app.h"
#include "cgroup.h"
#include "drive.h"
#include "share.h"

#define NEVER	  INT64_MAX /* as a deadline */
#define EVENTS	  64
#define GRACE_NS  (2 * (int64_t)LRP_NS_PER_MS)
#define MIRROR_NS (5 * LRP_NS_PER_MS) /* between two looks at the owner */

/* One hub of this process. */
struct watched {
	struct lrp_heap_node due; /* first: the heap has it */
	struct watched *next;	  /* with the same hash */
	struct lrp_driven *driven;
	const struct lrp_endpoint *ep;
	uint32_t serial;
	uint32_t fds;
	int fd[]; /* channels */
};

static struct lrp_app_ops ops;

void lrp_app_register(const struct lrp_app_ops *theirs)
{
	ops = *theirs;
}

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static struct watched **bucket; /* by address of the hub */
static uint32_t buckets, count;
static struct lrp_heap due;
static int64_t sleeps_until; /* list_lock; 0 while the thread is awake */
static pid_t started;	     /* this process, when the thread runs */
static int epfd = -1, kick = -1;
static pid_t owner; /* the thread whose priority it has */
static atomic_bool park, parked;
static __thread bool is_app;

/* ---- the table ------------------------------------------------------------------ */

static struct watched **bucket_of(const struct lrp_driven *d)
{
	return &bucket[(uint32_t)((uintptr_t)d >> 6) * 2654435761u & (buckets - 1)];
}

static bool is(const struct watched *w, const struct lrp_driven *d, uint32_t serial)
{
	return w->driven == d && w->serial == serial;
}

/* list_lock held. */
static struct watched *app_find(const struct lrp_driven *d, uint32_t serial)
{
	struct watched *w = buckets ? *bucket_of(d) : NULL;

	for (; w && !is(w, d, serial); w = w->next)
		;
	return w;
}

/* list_lock held. Room for one more; false: no memory. */
static bool grow(void)
{
	uint32_t was = buckets, i;
	struct watched **old = bucket, *w, *next;
	struct lrp_heap_node **slot;

	if (count < buckets)
		return true;
	slot = realloc(due.slot, (buckets ? 2 * buckets + 2 : 66) * sizeof(*slot));
	if (!slot)
		return false;
	due.slot = slot;
	bucket = calloc(buckets ? 2 * buckets : 64, sizeof(*bucket));
	if (!bucket) {
		bucket = old;
		return false;
	}
	buckets = buckets ? 2 * buckets : 64;
	due.room = buckets + 2;
	for (i = 0; i < was; i++)
		for (w = old[i]; w; w = next) {
			next = w->next;
			w->next = *bucket_of(w->driven);
			*bucket_of(w->driven) = w;
		}
	free(old);
	return true;
}

static void app_registrations(const struct watched *w, bool on)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data.ptr = w->driven};
	uint32_t i;

	for (i = 0; i < w->fds; i++)
		epoll_ctl(epfd, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, w->fd[i], &ev);
}

/* list_lock held. */
static bool add(struct lrp_driven *d, const struct lrp_endpoint *ep, uint32_t serial)
{
	struct watched *w;
	uint32_t i;

	if (app_find(d, serial))
		return true;
	w = grow() ? malloc(sizeof(*w) + ep->channels * sizeof(w->fd[0])) : NULL;
	if (!w)
		return false;
	w->due.place = 0;
	w->driven = d;
	w->ep = ep;
	w->serial = serial;
	w->fds = ep->channels;
	for (i = 0; i < w->fds; i++)
		w->fd[i] = ep->chan[i].fd;
	w->next = *bucket_of(d);
	*bucket_of(d) = w;
	count++;
	lrp_heap_set(&due, &w->due, atomic_load(&d->deadline_ns));
	app_registrations(w, true);
	return true;
}

/*
 * epoll forgets a file when it is released, and lrpd keeps the channels' to hand them out again:
 * what is not taken out here would wake us for the next owner.
 */
void lrp_app_forget(struct lrp_driven *d, uint32_t serial)
{
	struct watched **at, *w;

	pthread_mutex_lock(&list_lock);
	for (at = buckets ? bucket_of(d) : NULL; at && (w = *at); at = &w->next)
		if (is(w, d, serial)) {
			*at = w->next;
			count--;
			lrp_heap_remove(&due, &w->due);
			app_registrations(w, false);
			free(w);
			break;
		}
	pthread_mutex_unlock(&list_lock);
}

void lrp_app_renew(struct lrp_driven *d, uint32_t serial)
{
	struct watched *w;

	pthread_mutex_lock(&list_lock);
	w = app_find(d, serial);
	if (w) {
		w->serial = atomic_load(&d->serial);
		lrp_heap_set(&due, &w->due, NEVER);
	}
	pthread_mutex_unlock(&list_lock);
}

bool lrp_app_watches(const struct lrp_driven *d)
{
	bool on;

	pthread_mutex_lock(&list_lock);
	on = app_find(d, atomic_load(&d->serial)) != NULL;
	pthread_mutex_unlock(&list_lock);
	return on;
}

uint32_t lrp_app_list(struct lrp_app_driven **list)
{
	struct watched *w;
	uint32_t i, n = 0;

	pthread_mutex_lock(&list_lock);
	*list = malloc((count ? count : 1) * sizeof(**list));
	for (i = 0; *list && i < buckets; i++)
		for (w = bucket[i]; w; w = w->next)
			(*list)[n++] = (struct lrp_app_driven){w->driven, w->ep, w->serial};
	pthread_mutex_unlock(&list_lock);
	return n;
}

/* ---- deadlines -------------------------------------------------------------------- */

void lrp_app_deadline(struct lrp_driven *d)
{
	int64_t at = atomic_load_explicit(&d->deadline_ns, memory_order_relaxed);
	struct watched *w;
	bool wake;

	/* Known, here: another process of the family may not live as long. */
	if (__builtin_expect(at >= d->armed_ns && (d->armed_by == started || at == NEVER), 1))
		return;
	if (!started)
		return;
	pthread_mutex_lock(&list_lock);
	w = app_find(d, atomic_load(&d->serial));
	if (w) {
		lrp_heap_set(&due, &w->due, at);
		d->armed_ns = at;
		d->armed_by = started;
	}
	wake = w && at < sleeps_until;
	pthread_mutex_unlock(&list_lock);
	if (wake && !is_app)
		eventfd_write(kick, 1);
}

/* ---- its owner's priority ----------------------------------------------------- */

/* As in <linux/sched/types.h>, which does not go with <sched.h> everywhere. */
struct attributes {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

static void mirror_policy(void)
{
	struct attributes theirs = {.size = sizeof(theirs)}, ours = {.size = sizeof(ours)};

	if (syscall(SYS_sched_getattr, owner, &theirs, sizeof(theirs), 0) ||
	    syscall(SYS_sched_getattr, 0, &ours, sizeof(ours), 0))
		return;
	if (theirs.policy == ours.policy && theirs.nice == ours.nice &&
	    theirs.priority == ours.priority)
		return;
	theirs.flags = 0;
	syscall(SYS_sched_setattr, 0, &theirs, 0);
}

static void mirror(void)
{
	static uint64_t next_ns;
	uint64_t now = lrp_now_ns();
	cpu_set_t theirs, ours;

	if (now < next_ns)
		return;
	next_ns = now + MIRROR_NS;
	if (syscall(SYS_tgkill, getpid(), owner, 0)) {
		owner = getpid(); /* it has ended: the first thread instead */
		lrp_share_open(owner);
		lrp_cgroup_open(owner);
	}
	lrp_cgroup_follow();
	mirror_policy();
	if (!sched_getaffinity(owner, sizeof(theirs), &theirs) &&
	    !sched_getaffinity(0, sizeof(ours), &ours) && !CPU_EQUAL(&theirs, &ours))
		sched_setaffinity(0, sizeof(theirs), &theirs);
}

/* ---- the thread ------------------------------------------------------------------ */

static void app_run(struct lrp_driven *d, uint32_t serial, bool timers_only)
{
	if (!ops.run(d, serial, timers_only))
		lrp_app_forget(d, serial);
}

/* Runs what is due; returns when to come again. */
static int64_t run_due(void)
{
	int64_t now = (int64_t)lrp_now_ns(), next, held;
	struct lrp_heap_node *node;
	struct watched w;

	for (;;) {
		pthread_mutex_lock(&list_lock);
		sleeps_until = 0;
		node = lrp_heap_first(&due);
		if (!node || node->at > now) {
			next = node ? node->at : NEVER;
			sleeps_until = next;
			pthread_mutex_unlock(&list_lock);
			held = lrp_tx_hold_guard(now);
			return held < next ? held : next;
		}
		w = *(struct watched *)node;
		lrp_heap_remove(&due, node);
		pthread_mutex_unlock(&list_lock);
		app_run(w.driven, w.serial, true);
	}
}

/* True: it was left to those who call. */
static bool drain(struct lrp_driven *d)
{
	struct watched *w;
	uint32_t serial = 0;

	if (atomic_exchange(&d->called, false) && !lrp_eager())
		return true;
	pthread_mutex_lock(&list_lock);
	for (w = buckets ? *bucket_of(d) : NULL; w && w->driven != d; w = w->next)
		;
	if (w)
		serial = w->serial;
	pthread_mutex_unlock(&list_lock);
	/* A closed hub's channels may be open still in a process that inherited them. */
	if (w)
		app_run(d, serial, false);
	return false;
}

/* Sleeps until `until`; standing by, nothing but a deadline wakes it before. */
static int sleep_until(int64_t until, bool standby, struct epoll_event *ev)
{
	struct pollfd kicked = {.fd = kick, .events = POLLIN};
	struct timespec ts, *timeout = NULL;
	int64_t left;

	if (until != NEVER) {
		left = until - (int64_t)lrp_now_ns();
		left = left > 0 ? left : 0;
		ts.tv_sec = left / (int64_t)LRP_NS_PER_S;
		ts.tv_nsec = left % (int64_t)LRP_NS_PER_S;
		timeout = &ts;
	}
	if (!standby)
		return epoll_pwait2(epfd, ev, EVENTS, timeout, NULL);
	ev->data.ptr = NULL; /* as the set has it */
	return ppoll(&kicked, 1, timeout, NULL);
}

void lrp_app_turn(int64_t most_ns)
{
	static int64_t standby_until;
	struct epoll_event ev[EVENTS];
	int64_t next = run_due(), now = (int64_t)lrp_now_ns(), pause;
	bool left = false;
	uint64_t value;
	int n, i;

	if (now < standby_until && next > standby_until)
		next = standby_until;
	if (most_ns && next - most_ns > now)
		next = now + most_ns;
	n = sleep_until(next, now < standby_until, ev);
	mirror();
	if (n <= 0)
		return;
	pause = lrp_eager() ? 0 : lrp_share_wait_ns();
	for (i = 0; i < n; i++) {
		if (ev[i].data.u64 & 1)
			ops.event(ev[i].data.u64);
		else if (!ev[i].data.ptr)
			(void)!read(kick, &value, sizeof(value));
		else if (!pause)
			left |= drain(ev[i].data.ptr);
	}
	if (pause || left)
		standby_until = (int64_t)lrp_now_ns() + (pause ? pause : GRACE_NS);
}

static void *app_main(void *unused)
{
	(void)unused;
	is_app = true;
	lrp_tx_hold_never();
	prctl(PR_SET_NAME, "lrp-app");
	lrp_share_open(owner);
	lrp_cgroup_open(owner);
	ops.attach(epfd);
	for (;;) {
		lrp_app_turn(0);
		while (atomic_load(&park)) {
			atomic_store(&parked, true);
			usleep(1000);
		}
		atomic_store(&parked, false);
	}
	return NULL;
}

void lrp_app_park(bool on)
{
	uint64_t end = lrp_now_ns() + LRP_NS_PER_S;

	atomic_store(&park, on);
	eventfd_write(kick, 1);
	while (on && !atomic_load(&parked) && lrp_now_ns() < end)
		usleep(100);
}

/* ---- starting, watching ---------------------------------------------------------------- */

/* list_lock held. 0 or an errno. */
static int open_set(void)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};

	epfd = lrp_fd_aside(epoll_create1(EPOLL_CLOEXEC));
	kick = lrp_fd_aside(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	owner = (pid_t)syscall(SYS_gettid);
	sleeps_until = 0;
	return epfd < 0 || kick < 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, kick, &ev) ? errno : 0;
}

static void wake(void)
{
	eventfd_write(kick, 1);
}

/* list_lock held. */
static bool app_start(void)
{
	int error;

	if (started)
		return true;
	error = open_set();
	if (!error)
		error = lrp_thread_start(app_main, NULL, LRP_THREAD_STACK, NULL);
	if (error) {
		lrp_log_once(LRP_LOG_WARN, "no APP thread: %s", strerror(error));
		return false;
	}
	ops.starts();
	started = getpid();
	lrp_tx_hold_guarded(wake);
	return true;
}

void lrp_app_start(void)
{
	pthread_mutex_lock(&list_lock);
	app_start();
	pthread_mutex_unlock(&list_lock);
}

bool lrp_app_watch(struct lrp_driven *d, const struct lrp_endpoint *ep)
{
	bool on, wake;

	pthread_mutex_lock(&list_lock);
	on = app_start() && add(d, ep, atomic_load(&d->serial));
	wake = on && atomic_load(&d->deadline_ns) < sleeps_until;
	pthread_mutex_unlock(&list_lock);
	if (wake && !is_app)
		eventfd_write(kick, 1);
	return on;
}

void lrp_app_take_over(const struct lrp_app_driven *list, uint32_t n)
{
	uint32_t i;

	is_app = true;
	lrp_tx_hold_never();
	pthread_mutex_lock(&list_lock);
	if (!open_set())
		started = getpid();
	for (i = 0; started && i < n; i++)
		add(list[i].driven, list[i].ep, list[i].serial);
	pthread_mutex_unlock(&list_lock);
}

void lrp_app_behind(const struct lrp_driven *d)
{
	struct watched *w;

	pthread_mutex_lock(&list_lock);
	w = app_find(d, atomic_load(&d->serial));
	if (w) {
		app_registrations(w, false);
		app_registrations(w, true);
	}
	pthread_mutex_unlock(&list_lock);
}

/* ---- fork ---------------------------------------------------------------------------------- */

/* The thread and its table are the parent's, in whatever state they are: forgotten. */
static void app_fork_child(void)
{
	if (started) {
		close(epfd);
		close(kick);
	}
	epfd = kick = -1;
	started = 0;
	bucket = NULL;
	buckets = count = 0;
	due = (struct lrp_heap){0};
	pthread_mutex_init(&list_lock, NULL);
}

static __attribute__((constructor)) void fork_register(void)
{
	static struct lrp_fork_handler handler = {
		.phase = LRP_FORK_THREADS,
		.child = app_fork_child,
	};

	lrp_fork_register(&handler);
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * app.c - the APP thread.
 *
 * Its list of hubs is private to the process; a hub that was closed is found out by its
 * serial, under its lock, so that nobody need tell. Deadlines are announced, not asked for: who
 * sets one earlier than the thread is going to sleep signals its eventfd.
 *
 * Segments of a socket that is being received from are its receiver's [paper 3.4], also while he is
 * busy with those of a moment ago. So a hub that was drained in a call since the thread looked last is left
 * alone for GRACE; the thread stands by that long, and no packet wakes it. Only a hub that nobody has come
 * back to is drained here, and from then on at once, until the next call.
 */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/log.h"
#include "../socket/stream.h"
#include "app.h"

#define EVENTS	       64
#define GRACE_NS       (2 * (int64_t)LRP_NS_PER_MS)
#define EXIT_LINGER_NS (5 * LRP_NS_PER_S)

/* One hub of this process. */
struct watched {
	struct watched *next;
	struct lrp_hub *hub;
	uint32_t serial;
	uint32_t fds;
	int fd[]; /* channels */
};

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static struct watched *list;
static bool started;
static int epfd = -1, kick = -1;
static pid_t owner; /* the thread whose priority it has */
/* The thread sleeps until then; INT64_MAX while it looks for what is due. */
static _Atomic int64_t sleeps_until;
static __thread bool is_app, listing; /* this thread has list_lock */

static void list_take(void)
{
	pthread_mutex_lock(&list_lock);
	listing = true;
}

static void list_release(void)
{
	listing = false;
	pthread_mutex_unlock(&list_lock);
}

void lrp_app_deadline(int64_t deadline_ns)
{
	if (deadline_ns < atomic_load(&sleeps_until) && !is_app && kick >= 0)
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
	cpu_set_t theirs, ours;

	mirror_policy();
	if (!sched_getaffinity(owner, sizeof(theirs), &theirs) &&
	    !sched_getaffinity(0, sizeof(ours), &ours) && !CPU_EQUAL(&theirs, &ours))
		sched_setaffinity(0, sizeof(theirs), &theirs);
}

/* ---- the thread ------------------------------------------------------------------ */

static void registrations(const struct watched *w, bool on)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data.ptr = (void *)w};
	uint32_t i;

	for (i = 0; i < w->fds; i++)
		epoll_ctl(epfd, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, w->fd[i], &ev);
}

/* False: the hub has been closed. */
static bool run(const struct watched *w, bool timers_only)
{
	int64_t now = (int64_t)lrp_now_ns();

	if (!lrp_hub_lock_if(w->hub, w->serial))
		return false;
	if (!timers_only) {
		lrp_hub_input(w->hub, now, NULL, LRP_CONTEXT_APP);
		lrp_hub_settle(w->hub);
	} else if (now >= atomic_load(&w->hub->deadline_ns)) {
		lrp_hub_timers(w->hub, now);
	}
	lrp_hub_unlock(w->hub);
	return true;
}

/* Runs what is due; returns when to come again. */
static int64_t look(void)
{
	int64_t now = (int64_t)lrp_now_ns(), next = LRP_TCP_NEVER, due;
	struct watched **at, *w;

	list_take();
	for (at = &list; (w = *at);) {
		due = atomic_load(&w->hub->deadline_ns);
		if (atomic_load(&w->hub->serial) != w->serial || (due <= now && !run(w, true))) {
			*at = w->next;
			free(w);
			continue;
		}
		due = atomic_load(&w->hub->deadline_ns);
		if (due < next)
			next = due;
		at = &w->next;
	}
	list_release();
	return next;
}

static bool listed(const struct watched *w)
{
	const struct watched *at;

	for (at = list; at && at != w; at = at->next)
		;
	return at != NULL;
}

/* True: it was left to those who call. */
static bool drain(const struct watched *w)
{
	bool left = false;

	list_take();
	if (listed(w)) {
		left = atomic_exchange(&w->hub->called, false);
		/* A closed hub's channels may be open still in a process that inherited them. */
		if (!left && !run(w, false))
			registrations(w, false);
	}
	list_release();
	return left;
}

/* Sleeps until `until`; standing by, nothing but a deadline wakes it before. */
static int sleep_until(int64_t until, bool standby, struct epoll_event *ev)
{
	struct pollfd kicked = {.fd = kick, .events = POLLIN};
	struct timespec ts, *timeout = NULL;
	int64_t left;

	if (until != LRP_TCP_NEVER) {
		left = until - (int64_t)lrp_now_ns();
		left = left > 0 ? left : 0;
		ts.tv_sec = left / (int64_t)LRP_NS_PER_S;
		ts.tv_nsec = left % (int64_t)LRP_NS_PER_S;
		timeout = &ts;
	}
	if (!standby)
		return epoll_pwait2(epfd, ev, EVENTS, timeout, NULL);
	ppoll(&kicked, 1, timeout, NULL);
	return epoll_wait(epfd, ev, EVENTS, 0);
}

static void *app_main(void *unused)
{
	struct epoll_event ev[EVENTS];
	int64_t next, now, standby_until = 0;
	uint64_t value;
	bool left;
	int n, i;

	(void)unused;
	is_app = true;
	prctl(PR_SET_NAME, "lrp-app");
	for (;;) {
		atomic_store(&sleeps_until, INT64_MAX);
		next = look();
		now = (int64_t)lrp_now_ns();
		if (now < standby_until && next > standby_until)
			next = standby_until;
		atomic_store(&sleeps_until, next);
		n = sleep_until(next, now < standby_until, ev);
		mirror();
		left = false;
		for (i = 0; i < n; i++) {
			if (ev[i].data.ptr)
				left |= drain(ev[i].data.ptr);
			else
				(void)!read(kick, &value, sizeof(value));
		}
		if (left)
			standby_until = (int64_t)lrp_now_ns() + GRACE_NS;
	}
	return NULL;
}

/* ---- the end of the process --------------------------------------------------------- */

static void close_view(struct lrp_view *l, void *arg)
{
	struct lrp_stream *stream = &l->sock->stream;

	(void)arg;
	if (!lrp_is_stream(l) || atomic_load(&stream->mode) != LRP_STREAM_CONNECTION ||
	    !lrp_holder_last(l->sock) || !lrp_hub_lock(l, l->fd, LRP_STREAM_CONNECTION))
		return;
	lrp_conn_release(stream->conn, (int64_t)lrp_now_ns(), false);
	atomic_store(&stream->mode, LRP_STREAM_KERNEL);
	lrp_hub_unlock(stream->hub);
}

/* Bytes or a FIN that the peer has not acknowledged. */
static bool unfinished(void)
{
	const struct lrp_conn *c;
	const struct watched *w;
	bool any = false;

	list_take();
	for (w = list; w && !any; w = w->next) {
		if (!lrp_hub_lock_if(w->hub, w->serial))
			continue;
		for (c = w->hub->conns; c; c = c->next)
			any |= !c->held && c->tcp.state != LRP_TCP_CLOSED &&
			       c->tcp.state != LRP_TCP_FIN_WAIT_2 &&
			       c->tcp.state != LRP_TCP_TIME_WAIT;
		lrp_hub_unlock(w->hub);
	}
	list_release();
	return any;
}

/*
 * What was written is delivered, as if the kernel had it: the process lingers, the APP thread works
 * on. Bounded, for the peer may be gone.
 */
static void at_exit(void)
{
	uint64_t end = lrp_now_ns() + EXIT_LINGER_NS;

	if (!started)
		return;
	lrp_table_each(close_view, NULL);
	while (unfinished() && lrp_now_ns() < end)
		usleep(1000);
}

/* ---- starting, watching ---------------------------------------------------------------- */

/* list_lock held. */
static bool start(void)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
	static bool registered;
	sigset_t all, before;
	pthread_attr_t attr;
	pthread_t thread;
	int error;

	if (started)
		return true;
	epfd = epoll_create1(EPOLL_CLOEXEC);
	kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	error = epfd < 0 || kick < 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, kick, &ev) ? errno : 0;
	owner = (pid_t)syscall(SYS_gettid);
	atomic_store(&sleeps_until, INT64_MAX);
	if (!error) {
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &before);
		pthread_attr_init(&attr);
		pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
		pthread_attr_setstacksize(&attr, 256 * 1024);
		error = pthread_create(&thread, &attr, app_main, NULL);
		pthread_attr_destroy(&attr);
		pthread_sigmask(SIG_SETMASK, &before, NULL);
	}
	if (error)
		lrp_log_once(LRP_LOG_WARN, "no APP thread: %s", strerror(error));
	if (!error && !registered)
		registered = atexit(at_exit) == 0;
	started = error == 0;
	return started;
}

static struct watched *find(const struct lrp_hub *hub)
{
	struct watched *w;

	for (w = list; w; w = w->next)
		if (w->hub == hub && w->serial == atomic_load(&hub->serial))
			break;
	return w;
}

/* list_lock held. */
static void watch(struct lrp_view *l)
{
	struct lrp_hub *hub = l->sock->stream.hub;
	struct watched *w;
	uint32_t i;

	if (start() && !find(hub)) {
		w = malloc(sizeof(*w) + hub->ep.channels * sizeof(w->fd[0]));
		if (w) {
			w->hub = hub;
			w->serial = atomic_load(&hub->serial);
			w->fds = hub->ep.channels;
			for (i = 0; i < w->fds; i++)
				w->fd[i] = hub->ep.chan[i].fd;
			w->next = list;
			list = w;
			registrations(w, true);
			eventfd_write(kick, 1);
		}
	}
	atomic_store(&l->app, started && find(hub));
}

void lrp_app_watch(struct lrp_view *l)
{
	list_take();
	watch(l);
	list_release();
}

void lrp_app_watch_inherited(struct lrp_view *l)
{
	if (listing || pthread_mutex_trylock(&list_lock))
		return;
	listing = true;
	watch(l);
	list_release();
}

/*
 * epoll forgets a file when it is released, and lrpd keeps the channels' to hand them out again:
 * what is not taken out here would wake us for the next owner.
 */
void lrp_app_forget(struct lrp_hub *hub, uint32_t serial)
{
	bool held = listing;
	struct watched *w;

	if (!held)
		list_take();
	for (w = list; w; w = w->next)
		if (w->hub == hub && w->serial == serial) {
			registrations(w, false);
			w->fds = 0;
		}
	if (!held)
		list_release();
}

void lrp_app_behind(struct lrp_view *l)
{
	struct watched *w;

	list_take();
	w = started ? find(l->sock->stream.hub) : NULL;
	if (w) {
		registrations(w, false);
		registrations(w, true);
	}
	list_release();
}

/* ---- fork ---------------------------------------------------------------------------------- */

/* The thread and its list are the parent's, in whatever state they are: forgotten. No lock of ours
 * is taken before fork(), since the thread may hold the list while it waits for the broker's. */
void lrp_app_fork_child(void)
{
	if (started) {
		close(epfd);
		close(kick);
	}
	epfd = kick = -1;
	started = false;
	list = NULL;
	pthread_mutex_init(&list_lock, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ready.h - readiness of a socket, of whatever kind, and sleeping until it changes. The blocking
 * calls and lrp_poll() are written on this alone.
 *
 * A socket answers three questions [struct lrp_ready_ops]: which events are ready now; on which
 * descriptor of the kernel can one sleep for more; what has to be done before sleeping (frames are
 * returned, and one more look is taken). A sleep is
 *
 *     begin()      the sleeper is counted: from here on nothing is missed
 *     settle()     or events(): is there something already?
 *     sleep        on the descriptor
 *     end()        also of a thread that is cancelled
 *
 * Threads: any; one struct lrp_sleep is one thread's.
 */
#ifndef LRP_READY_H
#define LRP_READY_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "../sock/kind.h"

#define LRP_SLEEP_BESIDE LRP_MAX_POOLS /* descriptors beside the socket's own */

struct lrp_sleep {
	struct lrp_view *view; /* NULL: there is nothing to sleep on but what the kernel knows */
	const struct lrp_ready_ops *ops;
	int fd;	  /* a descriptor of the socket */
	int epfd; /* what to sleep on */
	uint64_t
		most_ns; /* no longer than this, whatever the deadline; 0: as long as that. settle() */
	/* the kind's own */
	void *of;
	bool waiter, taken, made, empty;
};

struct lrp_ready_ops {
	/* Of the events asked for, and of errors, those that are ready now. */
	short (*events)(struct lrp_view *l, int fd, short events, int64_t now);
	/* The descriptor that the kernel is to be asked about; -1: it knows nothing. */
	int (*kernel_fd)(const struct lrp_view *l, int fd);
	/* For lrp_poll(). 0 or -errno; s->view stays NULL if the kernel's will do. */
	int (*begin)(struct lrp_sleep *s, struct lrp_view *l, int fd, short events);
	/* True: there is nothing, and the thread may sleep. */
	bool (*settle)(struct lrp_sleep *s);
	/* What else the thread sleeps on, up to LRP_SLEEP_BESIDE. How many. NULL: nothing. */
	uint32_t (*beside)(const struct lrp_sleep *s, struct pollfd *set);
	/* These have come on s->epfd. NULL: they tell nothing. */
	void (*woken)(const struct lrp_sleep *s, const struct epoll_event *ev, int count);
	/* `pending`: s->epfd is readable, and was not read. */
	void (*end)(struct lrp_sleep *s, bool pending);
	/* Sleeps until something may be read, with nothing but the socket's own set. 0, -EAGAIN (the
	 * deadline; 0: there is none), -EINTR, -EBADF. NULL: lrp_poll() sleeps as with many. */
	int (*wait)(struct lrp_view *l, int fd, uint64_t deadline_ns);
};

/* ---- sleep.c ---------------------------------------------------------------- */

/* The calling thread is among the sleepers of what it looks at: it need not wake itself. */
extern __thread uint32_t lrp_sleep_counted;

/* A sleep on s->view begins: called before the kind counts it. */
void lrp_sleep_enter(struct lrp_sleep *s, struct lrp_view *l, int fd,
		     const struct lrp_ready_ops *ops);
/* settle(), the sleep, end(). 0, -EAGAIN (deadline_ns; 0: none), -EINTR. */
int lrp_sleep_run(struct lrp_sleep *s, uint64_t deadline_ns);
/* What is left until the deadline; false: nothing. */
bool lrp_sleep_left(uint64_t deadline_ns, struct timespec *left);

/* Of the socket's own set, l->epfd. */
void lrp_wait_close(struct lrp_view *l);
/* The socket is about to be closed: wakes who sleeps on it. Async-signal-safe. */
void lrp_wait_ring(struct lrp_view *l);
/* Before the first set is made: so that lrp_wait_ring() has something to ring. */
void lrp_wait_bell(void);

/* ---- signals.c -------------------------------------------------------------- */

/*
 * After EINTR: is the call to go on [signal(7)]? epoll_pwait2() also ends when the process was
 * stopped and goes on, which ends no call on a socket without a timeout. restart: no handler is
 * installed that would not restart it (SA_RESTART). none: there is no handler at all; for
 * lrp_poll(), which any handler ends.
 */
bool lrp_signals_restart(void);
bool lrp_signals_none(void);

#endif

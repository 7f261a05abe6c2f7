/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * grace.c - see grace.h.
 *
 * MEMBARRIER_CMD_GLOBAL is synchronize_rcu() with two exceptions. A kernel that runs CPUs without
 * ticks (nohz_full) refuses it. With one CPU online it returns at once, although a program that
 * was preempted inside its read-side section may still be there. In both cases the thread updates
 * a map of maps, which waits for the same in the kernel (maybe_wait_bpf_programs()).
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../../runtime/base/log.h"
#include "internal.h"

#define WAIT_NS 200000000 /* a grace period takes 10 to 30 ms; lrpd answers nobody meanwhile */

struct lrp_core_grace {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t asked_more, over_more;
	/* Grace periods are numbered from 1. begun: the last that began. over: the last that ended;
	 * written under the lock, read without it. asked: the last that somebody waits for. */
	uint64_t begun, over, asked;
	bool stopping;
	int event_fd;
	int outer_fd, inner_fd; /* the map of maps and what it holds; -1: not to be had */
};

/* ---- one grace period ---------------------------------------------------------------- */

static void grace_maps_open(struct lrp_core_grace *grace)
{
	struct bpf_map_create_opts opts = {.sz = sizeof(opts)};

	grace->outer_fd = -1;
	grace->inner_fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "lrp_grace_inner", sizeof(__u32),
					 sizeof(__u32), 1, NULL);
	if (grace->inner_fd < 0)
		return;
	opts.inner_map_fd = (__u32)grace->inner_fd;
	grace->outer_fd = bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "lrp_grace", sizeof(__u32),
					 sizeof(__u32), 1, &opts);
}

static bool grace_membarrier_does(void)
{
	long can = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);

	return can >= 0 && can & MEMBARRIER_CMD_GLOBAL;
}

static bool grace_by_membarrier(void)
{
	return sysconf(_SC_NPROCESSORS_ONLN) > 1 &&
	       !syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
}

static bool grace_by_map(const struct lrp_core_grace *grace)
{
	__u32 key = 0;

	return grace->outer_fd >= 0 &&
	       !bpf_map_update_elem(grace->outer_fd, &key, &grace->inner_fd, BPF_ANY);
}

static void pause_ms(long ms)
{
	struct timespec ts = {.tv_nsec = ms * 1000000};

	nanosleep(&ts, NULL);
}

/* False: neither way works at the moment, so the grace period is not over. */
static bool grace_period(const struct lrp_core_grace *grace)
{
	if (grace_by_membarrier() || grace_by_map(grace))
		return true;
	lrp_log_once(LRP_LOG_ERROR,
		     "lrpd: no RCU grace period (membarrier and map of maps: %s): what is closed "
		     "is not taken back",
		     strerror(errno));
	pause_ms(100);
	return false;
}

static void *grace_run(void *data)
{
	struct lrp_core_grace *grace = data;
	uint64_t one = 1;

	pthread_mutex_lock(&grace->lock);
	while (!grace->stopping) {
		uint64_t period;
		bool done;

		if (grace->asked <= grace->over) {
			pthread_cond_wait(&grace->asked_more, &grace->lock);
			continue;
		}
		period = ++grace->begun;
		pthread_mutex_unlock(&grace->lock);
		done = grace_period(grace);
		pthread_mutex_lock(&grace->lock);
		if (!done)
			continue; /* the next one serves those who asked for this one, too */
		__atomic_store_n(&grace->over, period, __ATOMIC_RELEASE);
		pthread_cond_broadcast(&grace->over_more);
		if (write(grace->event_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
			lrp_log_once(LRP_LOG_ERROR, "lrpd: eventfd: %s", strerror(errno));
	}
	pthread_mutex_unlock(&grace->lock);
	return NULL;
}

/* ---- opening and closing ----------------------------------------------------------------- */

static int grace_thread_start(struct lrp_core_grace *grace)
{
	sigset_t all, before;
	int err;

	/* Signals are for the threads of the application, or for lrpd's signalfd. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&grace->thread, NULL, grace_run, grace);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err)
		return -err;
	pthread_setname_np(grace->thread, "lrp-grace");
	return 0;
}

static void grace_free(struct lrp_core_grace *grace)
{
	if (grace->event_fd >= 0)
		close(grace->event_fd);
	if (grace->outer_fd >= 0)
		close(grace->outer_fd);
	if (grace->inner_fd >= 0)
		close(grace->inner_fd);
	pthread_cond_destroy(&grace->asked_more);
	pthread_cond_destroy(&grace->over_more);
	pthread_mutex_destroy(&grace->lock);
	free(grace);
}

int lrp_core_grace_open(struct lrp_core *core)
{
	/* Edge-triggered: the event only wakes; nobody has to read it. */
	struct epoll_event event = {.events = EPOLLIN | EPOLLET};
	struct lrp_core_grace *grace = calloc(1, sizeof(*grace));
	pthread_condattr_t monotonic;
	int err = 0;

	if (!grace)
		return -ENOMEM;
	pthread_mutex_init(&grace->lock, NULL);
	pthread_cond_init(&grace->asked_more, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&grace->over_more, &monotonic);
	pthread_condattr_destroy(&monotonic);
	grace_maps_open(grace);
	if (grace->outer_fd < 0 && !grace_membarrier_does())
		err = -EOPNOTSUPP;
	grace->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	event.data.fd = grace->event_fd;
	if (!err && (grace->event_fd < 0 ||
		     epoll_ctl(core->epoll_fd, EPOLL_CTL_ADD, grace->event_fd, &event)))
		err = -errno;
	if (!err)
		err = grace_thread_start(grace);
	if (err)
		grace_free(grace);
	else
		core->grace = grace;
	return err;
}

void lrp_core_grace_close(struct lrp_core *core)
{
	struct lrp_core_grace *grace = core->grace;

	if (!grace)
		return;
	pthread_mutex_lock(&grace->lock);
	grace->stopping = true;
	pthread_cond_signal(&grace->asked_more);
	pthread_mutex_unlock(&grace->lock);
	pthread_join(grace->thread, NULL);
	grace_free(grace);
	core->grace = NULL;
}

/* ---- asking --------------------------------------------------------------------------------- */

uint64_t lrp_core_grace_ask(struct lrp_core *core)
{
	struct lrp_core_grace *grace = core->grace;
	uint64_t ticket;

	/* The period that runs may have begun before the caller took his thing away. */
	pthread_mutex_lock(&grace->lock);
	ticket = grace->begun + 1;
	if (grace->asked < ticket) {
		grace->asked = ticket;
		pthread_cond_signal(&grace->asked_more);
	}
	pthread_mutex_unlock(&grace->lock);
	return ticket;
}

bool lrp_core_grace_over(const struct lrp_core *core, uint64_t ticket)
{
	return __atomic_load_n(&core->grace->over, __ATOMIC_ACQUIRE) >= ticket;
}

bool lrp_core_grace_wait(struct lrp_core *core, uint64_t ticket)
{
	struct lrp_core_grace *grace = core->grace;
	struct timespec until;
	bool over;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += WAIT_NS;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	pthread_mutex_lock(&grace->lock);
	while (grace->over < ticket)
		if (pthread_cond_timedwait(&grace->over_more, &grace->lock, &until))
			break;
	over = grace->over >= ticket;
	pthread_mutex_unlock(&grace->lock);
	return over;
}

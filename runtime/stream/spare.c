/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * spare.c - hubs kept ready for connections, each with channels, so that neither accept() nor
 * connect() has to ask lrpd; and the thread that does ask: it fetches when the spare ones are
 * running short and gives back those that are of no more use. It sleeps otherwise.
 *
 * A connection that has ended leaves its hub here as it is: what is still on its way to the
 * channels is recognised by its addresses and dropped by the next one.
 *
 * The list is private to the process, as are the mappings of the channels. Its lock is the last in
 * every order.
 */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/fd.h"
#include "../base/self.h"
#include "../base/fork.h"
#include "../base/log.h"
#include "../base/thread.h"
#include "../drive/app.h"
#include "stream.h"

#define RING	  256u /* slots of a connection's ring */
#define GUARANTEE 2u   /* frames that it can count on */
#define MOST	  512u
#define RETRY_NS  LRP_NS_PER_S /* after lrpd had none */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work = PTHREAD_COND_INITIALIZER;
static struct lrp_hub *spare[MOST];
static uint32_t spares, want;
static struct lrp_hub *used_up; /* to be given back */
static uint64_t refused_ns;	/* not asked again before */
static bool started;

/* ---- the thread ----------------------------------------------------------- */

/* Lock held; not meanwhile. */
static void spare_fetch(uint32_t count)
{
	struct lrp_endpoint ep[LRP_CONTROL_MAX_BATCH];
	struct lrp_hub *hub;
	int n, i;

	if (count > LRP_CONTROL_MAX_BATCH)
		count = LRP_CONTROL_MAX_BATCH;
	pthread_mutex_unlock(&lock);
	n = lrp_flows_open();
	if (!n)
		n = lrp_endpoint_batch(ep, count, RING, 0, GUARANTEE, &lrp_arena_allocator);
	for (i = 0; i < n; i++) {
		hub = lrp_hub_new();
		if (!hub) {
			lrp_endpoint_close(&ep[i], &lrp_arena_allocator);
			continue;
		}
		hub->ep = ep[i];
		hub->set = lrp_stream_set(hub, -1);
		lrp_spare_put(hub);
	}
	pthread_mutex_lock(&lock);
	if (n > 0)
		return;
	refused_ns = lrp_now_ns() + RETRY_NS;
	if (n == -EMFILE)
		lrp_log_once(LRP_LOG_WARN,
			     "no more channels for connections, they share their listener's: a "
			     "quarter of "
			     "the limit of open files is used up; raise the hard one (ulimit -Hn)");
	else if (n != -ENETDOWN && n != -EOPNOTSUPP)
		lrp_log_once(LRP_LOG_WARN,
			     "no channels for connections (%s): they share their listener's",
			     strerror(-n));
}

static void *spare_run(void *unused)
{
	struct lrp_hub *hub;

	(void)unused;
	prctl(PR_SET_NAME, "lrp-spare");
	pthread_mutex_lock(&lock);
	for (;;) {
		if ((hub = used_up)) {
			used_up = hub->next_free;
			pthread_mutex_unlock(&lock);
			lrp_hub_dispose(hub);
			pthread_mutex_lock(&lock);
		} else if (spares < want / 2 && lrp_now_ns() >= refused_ns) {
			spare_fetch(want - spares);
			pthread_mutex_unlock(&lock);
			lrp_waits_start();
			pthread_mutex_lock(&lock);
		} else {
			pthread_cond_wait(&work, &lock);
		}
	}
	return NULL;
}

/* Lock held. */
static void spare_start(void)
{
	lrp_broker_closing = lrp_spare_drop;
	if (!started)
		started = !lrp_thread_start(spare_run, NULL, LRP_THREAD_STACK, NULL);
	pthread_cond_signal(&work);
}

/* ---- taking and putting ------------------------------------------------------ */

/* APP is to follow the thread that opens connections, not ours. */
static void start_app(void)
{
	if (!started)
		lrp_app_start();
}

void lrp_spare_want(uint32_t count)
{
	start_app();
	pthread_mutex_lock(&lock);
	if (want < count)
		want = count < MOST ? count : MOST;
	if (spares < want / 2)
		spare_start();
	pthread_mutex_unlock(&lock);
}

void lrp_spare_fill(uint32_t count)
{
	start_app();
	pthread_mutex_lock(&lock);
	if (want < count)
		want = count < MOST ? count : MOST;
	if (spares < count && lrp_now_ns() >= refused_ns)
		spare_fetch(count - spares);
	pthread_mutex_unlock(&lock);
	lrp_waits_start();
	lrp_spare_want(count);
}

/* Lock held. */
static void give_back(struct lrp_hub *hub)
{
	hub->next_free = used_up;
	used_up = hub;
	spare_start();
}

struct lrp_hub *lrp_spare_take(void)
{
	struct lrp_hub *hub = NULL, *next;

	start_app();
	pthread_mutex_lock(&lock);
	while (spares && !hub) {
		next = spare[--spares];
		if (lrp_endpoint_current(&next->ep))
			hub = next;
		else
			give_back(next);
	}
	/* They go faster than they come. */
	if (!hub && want && want < MOST)
		want *= 2;
	if (spares < want / 2)
		spare_start();
	pthread_mutex_unlock(&lock);
	return hub;
}

void lrp_spare_put(struct lrp_hub *hub)
{
	bool good = lrp_hub_lock_if(hub, atomic_load(&hub->driven.serial));
	uint32_t i;

	if (good) {
		for (i = 0; i < hub->ep.channels; i++) {
			lrp_chan_return(&hub->ep.chan[i]);
			__atomic_store_n(&hub->ep.chan[i].user->flags, 0, __ATOMIC_RELEASE);
		}
		hub->pid = hub->user = lrp_self();
		hub->role = LRP_HUB_SPARE;
		hub->discarded_before += lrp_hub_discarded(hub);
		lrp_hub_unlock(hub);
	}
	pthread_mutex_lock(&lock);
	if (good && spares < MOST && lrp_endpoint_current(&hub->ep))
		spare[spares++] = hub;
	else
		give_back(hub);
	pthread_mutex_unlock(&lock);
}

void lrp_spare_bury(struct lrp_hub *hub)
{
	pthread_mutex_lock(&lock);
	give_back(hub);
	pthread_mutex_unlock(&lock);
}

void lrp_spare_drop(void)
{
	struct lrp_hub *hub;

	pthread_mutex_lock(&lock);
	want = 0;
	while (spares || used_up) {
		if (spares) {
			hub = spare[--spares];
		} else {
			hub = used_up;
			used_up = hub->next_free;
		}
		pthread_mutex_unlock(&lock);
		lrp_hub_dispose(hub);
		pthread_mutex_lock(&lock);
	}
	pthread_mutex_unlock(&lock);
}

/* ---- fork ---------------------------------------------------------------------- */

/* What the child has to let go of, noted while nothing changes: the hubs are the parent's, who goes on
 * using them, and so is the memory that says what their descriptors are. */
static struct mapping {
	void *map;
	size_t size;
	int fd;
} * mappings;
static uint32_t mapped;

static void note(void *map, size_t size, int fd)
{
	mappings[mapped++] = (struct mapping){.map = map, .size = size, .fd = fd};
}

static void spare_fork_prepare(void)
{
	uint32_t i, k, room = 0;

	pthread_mutex_lock(&lock);
	for (i = 0; i < spares; i++)
		room += spare[i]->ep.channels + 2;
	mapped = 0;
	mappings = room ? malloc(room * sizeof(*mappings)) : NULL;
	for (i = 0; mappings && i < spares; i++) {
		note(NULL, 0, spare[i]->bell);
		note(NULL, 0, spare[i]->set);
		for (k = 0; k < spare[i]->ep.channels; k++) {
			const struct lrp_chan *chan = &spare[i]->ep.chan[k];

			note(chan->ring_map, chan->ring_map_size, chan->fd);
		}
	}
}

static void spare_fork_parent(void)
{
	free(mappings);
	mappings = NULL;
	pthread_mutex_unlock(&lock);
}

static void spare_fork_child(void)
{
	uint32_t i;

	for (i = 0; mappings && i < mapped; i++) {
		if (mappings[i].size)
			munmap(mappings[i].map, mappings[i].size);
		if (mappings[i].fd >= 0)
			close(mappings[i].fd);
	}
	free(mappings);
	mappings = NULL;
	spares = want = 0;
	used_up = NULL;
	started = false;
	pthread_mutex_init(&lock, NULL);
	pthread_cond_init(&work, NULL);
}

static __attribute__((constructor)) void fork_register(void)
{
	static struct lrp_fork_handler handler = {
		.phase = LRP_FORK_STORES,
		.prepare = spare_fork_prepare,
		.parent = spare_fork_parent,
		.child = spare_fork_child,
	};

	lrp_fork_register(&handler);
}

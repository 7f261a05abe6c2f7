/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * waits.c - connections in TIME_WAIT [paper 4.2], without channels of their own.
 *
 * Those that a listener accepted lose their exact entry: what still comes is the listener's again, and
 * so is a SYN that begins anew (RFC 6191). One table for all listeners of the family: the
 * next one on the port goes on with it.
 *
 * Those for which nobody listens, opened from here or left behind by their listener, keep the entry:
 * it leads to one hub of the process, which does nothing else. They are a minute older when the
 * entry goes; so long their port is held.
 */
#include <pthread.h>
#include <sys/random.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/fork.h"
#include "../drive/app.h"
#include "stream.h"

#define SLOTS	 32768u
#define HOLDS	 1024u
#define LATER_NS LRP_NS_PER_S /* entries are taken away together */

struct lrp_waits {
	struct lrp_lock lock;
	_Atomic bool stalled; /* its holder was stopped when somebody looked last */
	uint64_t key[2];
	struct lrp_tcp_timewaits table;
	struct lrp_tcp_timewait *slot;
};

static pthread_mutex_t make_lock = PTHREAD_MUTEX_INITIALIZER;
static struct lrp_waits *family;    /* processes that are forked later share it */
static struct lrp_hub *_Atomic own; /* this process's hub, and its table */
static struct hold {
	int64_t until_ns;
	int fd;
} hold[HOLDS]; /* under own's lock; in order of time, from `first` on */
static uint32_t hold_first, holds;

static void waits_reset(struct lrp_waits *w)
{
	memset(w->slot, 0, SLOTS * sizeof(*w->slot));
	lrp_tcp_timewait_init(&w->table, w->slot, SLOTS, w->key);
}

static struct lrp_waits *waits_make(void)
{
	struct lrp_waits *w = lrp_arena_alloc(sizeof(*w));

	if (!w)
		return NULL;
	w->slot = lrp_arena_alloc(SLOTS * sizeof(*w->slot));
	if (!w->slot || getrandom(w->key, sizeof(w->key), 0) != sizeof(w->key) ||
	    lrp_lock_init(&w->lock)) {
		lrp_arena_free(w->slot, SLOTS * sizeof(*w->slot));
		lrp_arena_free(w, sizeof(*w));
		return NULL;
	}
	lrp_tcp_timewait_init(&w->table, w->slot, SLOTS, w->key);
	return w;
}

struct lrp_waits *lrp_waits_get(void)
{
	pthread_mutex_lock(&make_lock);
	if (!family)
		family = waits_make();
	pthread_mutex_unlock(&make_lock);
	return family;
}

static void waits_fork_child(void)
{
	/* What it held is the parent's still. */
	for (; holds; holds--, hold_first++)
		close(hold[hold_first % HOLDS].fd);
	atomic_store(&own, NULL);
	pthread_mutex_init(&make_lock, NULL);
}

static __attribute__((constructor)) void fork_register(void)
{
	static struct lrp_fork_handler handler = {
		.phase = LRP_FORK_STORES,
		.child = waits_fork_child,
	};

	lrp_fork_register(&handler);
}

/* False: its holder is stopped; nobody waits for it twice. */
static bool take(struct lrp_waits *w)
{
	int error = atomic_load(&w->stalled) ? lrp_lock_try(&w->lock)
					     : lrp_lock_within(&w->lock, LRP_STALLED_NS);

	atomic_store(&w->stalled, error < 0);
	/* If its holder died in the midst of it nothing in it can be trusted. */
	if (error > 0)
		waits_reset(w);
	return error >= 0;
}

enum lrp_tcp_timewait_result lrp_waits_input(struct lrp_waits *w, int64_t now,
					     const struct lrp_tcp_flow *flow,
					     const struct lrp_tcp_segment *s,
					     struct lrp_tcp_tx *reply, uint32_t *iss)
{
	enum lrp_tcp_timewait_result result;

	if (!take(w))
		return LRP_TCP_TIMEWAIT_NONE;
	result = lrp_tcp_timewait_input(&w->table, now, flow, s, reply, iss);
	lrp_unlock(&w->lock);
	return result;
}

/* ---- the process's own hub -------------------------------------------------- */

void lrp_waits_start(void)
{
	struct lrp_hub *hub;

	if (atomic_load(&own) || !(hub = lrp_spare_take()))
		return;
	hub->waits = waits_make();
	if (!hub->waits) {
		lrp_spare_put(hub);
		return;
	}
	hub->role = LRP_HUB_TIMEWAIT;
	lrp_app_watch(&hub->driven, &hub->ep);
	atomic_store(&own, hub);
}

static struct lrp_hub *own_lock(void)
{
	struct lrp_hub *hub = atomic_load(&own);

	return hub && lrp_hub_lock_if(hub, atomic_load(&hub->driven.serial)) ? hub : NULL;
}

/* Lock of the hub held. Entries that have expired, and the oldest if the table is full. */
static void expire(struct lrp_hub *hub, int64_t now)
{
	struct lrp_tcp_flow_table *table = &hub->waits->table.table;
	struct lrp_tcp_timewait *w;

	while ((w = lrp_tcp_flow_first(table, 0)) &&
	       (w->expires_ns <= now || table->used >= lrp_tcp_flow_table_most(table))) {
		lrp_flow_hide(&w->head.flow);
		lrp_tcp_flow_remove(table, w);
	}
	while (holds && hold[hold_first % HOLDS].until_ns <= now) {
		close(hold[hold_first % HOLDS].fd);
		hold_first++;
		holds--;
	}
}

void lrp_waits_leave(struct lrp_hub *hub)
{
	struct lrp_waits *waits = hub->waits;
	struct lrp_tcp_timewait *w;

	while ((w = lrp_tcp_flow_first(&waits->table.table, 0))) {
		lrp_flow_hide(&w->head.flow);
		lrp_tcp_flow_remove(&waits->table.table, w);
	}
	hub->waits = NULL;
	lrp_arena_free(waits->slot, SLOTS * sizeof(*waits->slot));
	lrp_arena_free(waits, sizeof(*waits));
}

static int64_t waits_deadline(const struct lrp_hub *hub)
{
	const struct lrp_tcp_timewait *w = lrp_tcp_flow_first(&hub->waits->table.table, 0);
	int64_t next = w ? w->expires_ns : LRP_TCP_NEVER;

	if (holds && hold[hold_first % HOLDS].until_ns < next)
		next = hold[hold_first % HOLDS].until_ns;
	return next == LRP_TCP_NEVER ? next : next + (int64_t)LATER_NS;
}

static int waits_segment(struct lrp_hub *hub, int64_t now, const struct lrp_tcp_flow *flow,
			 const struct lrp_tcp_segment *s, enum lrp_context context)
{
	struct lrp_tcp_tx reply;
	uint32_t iss;

	(void)context;
	switch (lrp_tcp_timewait_input(&hub->waits->table, now, flow, s, &reply, &iss)) {
	case LRP_TCP_TIMEWAIT_REPLY:
		lrp_stream_answer(hub, flow, &reply);
		return 0;
	case LRP_TCP_TIMEWAIT_DROP:
		return 0;
	case LRP_TCP_TIMEWAIT_REUSE:
		/* It comes again, and then to whoever listens there now. */
		lrp_flow_hide(flow);
		return 0;
	case LRP_TCP_TIMEWAIT_NONE:
		break;
	}
	return LRP_DROPPED(LRP_DROP_STALE);
}

static __attribute__((constructor)) void waits_register(void)
{
	static const struct lrp_hub_ops ops = {
		.segment = waits_segment,
		.deadline = waits_deadline,
		.timers = expire,
	};

	lrp_hub_register(LRP_HUB_TIMEWAIT, &ops);
}

/* `was`: its record in another table, or NULL: of c. False: not to be had. */
static bool add_own(const struct lrp_tcp_flow *flow, const struct lrp_tcp *c,
		    const struct lrp_tcp_timewait *was, int64_t now)
{
	struct lrp_hub *hub = own_lock();
	struct lrp_tcp_timewait *w;
	bool done;

	if (!hub)
		return false;
	expire(hub, now);
	done = !lrp_flow_expose(flow, hub);
	if (done && c) {
		lrp_tcp_timewait_add(&hub->waits->table, now, flow, c);
	} else if (done) {
		w = lrp_tcp_flow_find(&hub->waits->table.table, flow);
		if (w)
			lrp_tcp_flow_remove(&hub->waits->table.table, w);
		w = lrp_tcp_flow_insert(&hub->waits->table.table, flow, 0);
		memcpy((char *)w + sizeof(w->head), (const char *)was + sizeof(was->head),
		       sizeof(*w) - sizeof(w->head));
	}
	lrp_hub_flush(hub, now, NULL);
	lrp_hub_unlock(hub);
	return done;
}

bool lrp_waits_add(struct lrp_hub *listener, const struct lrp_conn *c, int64_t now)
{
	if (!listener || !listener->listen.open)
		return add_own(&c->flow, &c->tcp, NULL, now);
	if (!take(listener->waits))
		return false;
	lrp_tcp_timewait_timer(&listener->waits->table, now);
	lrp_tcp_timewait_add(&listener->waits->table, now, &c->flow, &c->tcp);
	lrp_unlock(&listener->waits->lock);
	return false;
}

void lrp_waits_part(struct lrp_hub *listener, int64_t now)
{
	struct lrp_tcp_flow_table *table = &listener->waits->table.table;
	struct lrp_tcp_timewait *w;
	uint32_t i, next;

	if (!take(listener->waits))
		return;
	lrp_tcp_timewait_timer(&listener->waits->table, now);
	for (i = table->list[0].first; i != LRP_TCP_FLOW_NONE; i = next) {
		w = &listener->waits->slot[i];
		next = w->head.next;
		if (w->head.flow.lport == listener->listen.port)
			listener->listen.lingers |= add_own(&w->head.flow, NULL, w, now);
	}
	lrp_unlock(&listener->waits->lock);
}

void lrp_waits_hold(int fd)
{
	struct lrp_hub *hub = own_lock();
	int64_t now = (int64_t)lrp_now_ns();

	if (!hub) {
		close(fd);
		return;
	}
	expire(hub, now);
	if (holds == HOLDS) {
		close(hold[hold_first++ % HOLDS].fd);
		holds--;
	}
	hold[(hold_first + holds++) % HOLDS] =
		(struct hold){.until_ns = now + LRP_TCP_TIMEWAIT_NS, .fd = fd};
	lrp_hub_flush(hub, now, NULL);
	lrp_hub_unlock(hub);
}

bool lrp_waits_reuse(const struct lrp_tcp_flow *flow, int64_t now, uint32_t *iss)
{
	struct lrp_hub *hub = own_lock();
	bool may;

	if (!hub)
		return false;
	may = lrp_tcp_timewait_reuse(&hub->waits->table, now, flow, iss);
	lrp_hub_unlock(hub);
	return may;
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * hub.c - a port's channels and its connections: TCP input in the context of whoever
 * holds the lock [paper 3.4], demultiplexing in software, output, timers.
 *
 * Segments are taken in batches; what they make due is sent once per batch, so that one
 * acknowledgement answers what arrived together.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/fd.h"
#include "../base/fork.h"
#include "../base/log.h"
#include "../base/self.h"
#include "../ip/icmp_input.h"
#include "../ip/ip_input.h"
#include "../drive/app.h"
#include "../drive/drive.h"
#include "../tcp/isn.h"
#include "../tx/hold.h"
#include "family.h"
#include "memory.h"
#include "stream.h"

#define BATCH	    64u
#define STALL_TRIES 50 /* a holder that runs has so many times 20 ms */
#define SLOTS_FIRST 16u
#define BUFFER	    (64u << 10) /* of each direction, to begin with */
#define RUNS_FIRST  16u
#define ROUNDS	    16u /* batches in a call: who is flooded comes to an end */

static void settle_left(struct lrp_hub *hub);

/* ---- the lock -------------------------------------------------------------- */

/* Whatever the dead holder was changing cannot be trusted: connections fail, and the kernel resets
 * their peers when they ask; its socket goes on listening for a listener's [lrp_listen_abandon()]. */
static void recover(struct lrp_hub *hub)
{
	uint32_t i;

	for (i = 0; i < hub->ep.channels; i++)
		lrp_chan_recover(&hub->ep.chan[i]);
	if (!hub->shared && hub->conns && hub->conns->exact)
		lrp_flow_hide(&hub->conns->flow);
	hub->broken = true;
	eventfd_write(hub->bell, 1);
}

static void lock(struct lrp_hub *hub)
{
	lrp_inside++;
	if (lrp_unlikely(lrp_lock(&hub->lock)))
		recover(hub);
	hub->turn++;
}

/* Its channels are not mapped here: they belong to another process of the family. */
static void lock_foreign(struct lrp_hub *hub)
{
	lrp_inside++;
	if (lrp_unlikely(lrp_lock(&hub->lock)))
		hub->broken = true;
	hub->turn++;
}

/* Of a thread: false if it is stopped or traced, or if it is not to be known. The freezer's
 * threads sleep, as those do that wait for another lock: they are taken for stopped if they do
 * so at two looks. */
static bool runs(pid_t tid, bool *slept)
{
	char path[64], line[256], *at = NULL;
	bool on = false;
	FILE *file;

	if (!tid)
		return true; /* it has just let go */
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)tid);
	file = fopen(path, "re");
	if (!file)
		return false;
	if (fgets(line, sizeof(line), file) && (at = strrchr(line, ')')) && at[1])
		on = at[2] == 'R' || at[2] == 'D' || (at[2] == 'S' && !*slept);
	if (at)
		*slept = at[2] == 'S';
	fclose(file);
	return on;
}

static bool is_listener_of(const struct lrp_view *l, const void *hub)
{
	return lrp_is_stream(l) && l->sock->stream.hub == hub &&
	       atomic_load(&l->sock->stream.mode) == LRP_STREAM_LISTENER;
}

/*
 * The listener's lock is with somebody who is stopped. SYNs go to the kernel's socket from now on.
 * Connections get exact entries, as far as they have none, since the port leads to us no more. The
 * holder may be in the midst of a change; the list is whole at each step, for whoever
 * follows `next`.
 */
static void stall(struct lrp_hub *hub)
{
	int limit = 1 << 20;
	struct lrp_conn *c;
	int fd;

	if (atomic_exchange(&hub->stalled, true) || !hub->listening)
		return;
	for (c = hub->conns; c && limit; c = c->next, limit--)
		if (!c->exact)
			lrp_conn_expose(c, hub);
	fd = lrp_table_find(is_listener_of, hub);
	if (fd >= 0)
		lrp_flows_claim(&fd, 1, false);
	lrp_endpoint_withdraw(&hub->ep);
	lrp_log_once(LRP_LOG_WARN, "a process was stopped while it received for a listening "
				   "socket: the kernel takes new connections from now on");
}

/* Of a hub that several processes receive for. False: its holder is stopped. */
static bool lock_shared(struct lrp_hub *hub)
{
	int error = lrp_lock_try(&hub->lock), tries = 0;
	bool slept = false;

	/* 20 ms for the first one that meets it; then a look at the holder will do. */
	if (lrp_unlikely(error < 0) && !atomic_load(&hub->stalled))
		error = lrp_lock_within(&hub->lock, LRP_STALLED_NS);
	while (error < 0 && tries++ < STALL_TRIES && runs(lrp_lock_owner(&hub->lock), &slept))
		error = lrp_lock_within(&hub->lock, LRP_STALLED_NS);
	if (error < 0) {
		stall(hub);
		/* Who was woken and could not look is woken again by the holder. */
		atomic_store(&hub->missed, true);
		error = lrp_lock_try(&hub->lock);
	}
	if (error < 0)
		return false;
	lrp_inside++;
	if (lrp_unlikely(error > 0))
		recover(hub);
	hub->turn++;
	if (lrp_unlikely(atomic_load_explicit(&hub->left, memory_order_relaxed) != NULL))
		settle_left(hub);
	return true;
}

static bool lock_any(struct lrp_hub *hub)
{
	if (hub->shared)
		return lock_shared(hub);
	lock(hub);
	return true;
}

/* Its channels, its bell and its timers are another process's. */
static bool foreign(const struct lrp_hub *hub)
{
	return hub->pid != lrp_self() && hub->user != lrp_self();
}

static void unlock(struct lrp_hub *hub)
{
	lrp_unlock(&hub->lock);
	lrp_inside--;
}

/* ---- connections ------------------------------------------------------------ */

static struct lrp_conn *find(struct lrp_hub *hub, const struct lrp_tcp_flow *flow)
{
	struct lrp_hub_slot *slot;

	if (!hub->table.slots)
		return hub->conns && lrp_tcp_flow_equal(&hub->conns->flow, flow) ? hub->conns
										 : NULL;
	slot = lrp_tcp_flow_find(&hub->table, flow);
	return slot ? slot->conn : NULL;
}

static void list_add(struct lrp_hub *hub, struct lrp_conn *c)
{
	c->hub = hub;
	c->prev = NULL;
	c->next = hub->conns;
	if (c->next)
		c->next->prev = c;
	hub->conns = c;
}

static void list_remove(struct lrp_conn *c)
{
	if (c->prev)
		c->prev->next = c->next;
	else
		c->hub->conns = c->next;
	if (c->next)
		c->next->prev = c->prev;
}

static void table_remove(struct lrp_hub *hub, const struct lrp_conn *c)
{
	struct lrp_hub_slot *slot =
		hub->table.slots ? lrp_tcp_flow_find(&hub->table, &c->flow) : NULL;

	if (slot && slot->conn == c)
		lrp_tcp_flow_remove(&hub->table, slot);
}

static bool table_make(struct lrp_hub *hub, uint32_t slots)
{
	struct lrp_tcp_flow_table old = hub->table;
	void *memory = lrp_arena_alloc(slots * sizeof(struct lrp_hub_slot));
	struct lrp_hub_slot *from;
	uint32_t i;

	if (!memory)
		return false;
	lrp_tcp_flow_table_init(&hub->table, memory, sizeof(*from), slots, lrp_secret());
	for (i = 0; old.slot && i < old.slots; i++) {
		from = (struct lrp_hub_slot *)(old.slot + i * sizeof(*from));
		if (from->head.flow.family)
			((struct lrp_hub_slot *)lrp_tcp_flow_insert(&hub->table, &from->head.flow,
								    0))
				->conn = from->conn;
	}
	lrp_arena_free(old.slot, old.slots * sizeof(*from));
	return true;
}

static void memory_free(struct lrp_conn *c)
{
	lrp_arena_free(c->tcp.snd.base, c->tcp.snd.size);
	lrp_arena_free(c->tcp.rcv.base, c->tcp.rcv.size);
	lrp_arena_free(c->tcp.recovery.board.run,
		       c->tcp.recovery.board.runs * sizeof(struct lrp_tcp_sent_run));
	lrp_arena_free(c, sizeof(*c));
}

struct lrp_conn *lrp_conn_new(struct lrp_hub *hub, const struct lrp_tcp_flow *flow,
			      const struct lrp_tcp_options *o)
{
	struct lrp_tcp_memory m = {
		.snd = {lrp_memory_first(BUFFER), BUFFER},
		.rcv = {lrp_memory_first(BUFFER), BUFFER},
		.run = lrp_arena_alloc(RUNS_FIRST * sizeof(*m.run)),
		.runs = RUNS_FIRST,
	};
	struct lrp_conn *c = lrp_arena_alloc(sizeof(*c));

	if (!c || !m.snd.base || !m.rcv.base || !m.run ||
	    (hub->table.slots && hub->table.used >= lrp_tcp_flow_table_most(&hub->table) &&
	     !table_make(hub, hub->table.slots * 2))) {
		lrp_arena_free(m.snd.base, BUFFER);
		lrp_arena_free(m.rcv.base, BUFFER);
		lrp_arena_free(m.run, RUNS_FIRST * sizeof(*m.run));
		lrp_arena_free(c, sizeof(*c));
		return NULL;
	}
	c->flow = *flow;
	lrp_tcp_init(&c->tcp, o, &m);
	/* What the channel takes, in full segments. */
	lrp_tcp_quota(&c->tcp, hub->ep.limit * LRP_TCP_FRAME_BYTES);
	list_add(hub, c);
	if (hub->table.slots)
		((struct lrp_hub_slot *)lrp_tcp_flow_insert(&hub->table, flow, 0))->conn = c;
	return c;
}

static struct lrp_flow_name name_of(const struct lrp_tcp_flow *flow)
{
	return (struct lrp_flow_name){.family = flow->family,
				      .laddr = &flow->laddr,
				      .raddr = &flow->raddr,
				      .lport = flow->lport,
				      .rport = flow->rport};
}

int lrp_flow_expose(const struct lrp_tcp_flow *flow, const struct lrp_hub *hub)
{
	struct lrp_flow_name name = name_of(flow);

	return lrp_flow_set(&name, &hub->ep);
}

int lrp_flow_claim(const struct lrp_tcp_flow *flow, const struct lrp_hub *hub)
{
	struct lrp_flow_name name = name_of(flow);

	return lrp_flow_reserve(&name, &hub->ep);
}

int lrp_flow_expose_bound(const struct lrp_tcp_flow *flow, const struct lrp_hub *hub, int shadow)
{
	struct lrp_flow_name name = name_of(flow);

	return lrp_flow_set_bound(&name, &hub->ep, shadow);
}

void lrp_flow_hide(const struct lrp_tcp_flow *flow)
{
	struct lrp_flow_name name = name_of(flow);

	lrp_flow_clear(&name);
}

int lrp_conn_expose(struct lrp_conn *c, const struct lrp_hub *hub)
{
	int error = c->over ? 0 : lrp_flow_expose(&c->flow, hub);

	c->exact |= !error && !c->over;
	return error;
}

/* The last of a connection: `hub` is its listener's, with the lock, or NULL. What comes from now on is
 * the listener's. True: it is in TIME_WAIT on the process's own hub. */
static bool conn_end(struct lrp_hub *hub, struct lrp_conn *c, int64_t now)
{
	bool lingers = false;

	if (hub)
		table_remove(hub, c);
	if (c->tcp.state == LRP_TCP_TIME_WAIT && !c->over)
		lingers = lrp_waits_add(hub, c, now);
	if (c->exact && !lingers)
		lrp_flow_hide(&c->flow);
	memory_free(c);
	return lingers;
}

void lrp_conn_release(struct lrp_conn *c, int64_t now, bool abort)
{
	c->held = false;
	/* Nobody will come back to it: the APP thread sees to the rest at once. */
	atomic_store(&c->hub->called, false);
	if (abort)
		lrp_tcp_abort(&c->tcp, now);
	else
		lrp_tcp_close(&c->tcp, now);
	lrp_hub_touch(c);
}

/* ---- output ------------------------------------------------------------------ */

void lrp_hub_touch(struct lrp_conn *c)
{
	if (c->touched)
		return;
	c->touched = true;
	c->next_touched = c->hub->touched;
	c->hub->touched = c;
}

static void earlier(struct lrp_hub *hub, int64_t deadline)
{
	if (deadline < atomic_load_explicit(&hub->deadline_ns, memory_order_relaxed))
		atomic_store(&hub->deadline_ns, deadline);
}

/* Buffers as auto-tuning asks for, records when they run short. What cannot be had is done without.
 */
static void grow(struct lrp_conn *c)
{
	struct lrp_tcp_scoreboard *board = &c->tcp.recovery.board;
	struct lrp_tcp_buffer snd = c->tcp.snd, rcv = c->tcp.rcv, old;

	lrp_tcp_wanted(&c->tcp, &snd.size, &rcv.size);
	if (snd.size > c->tcp.snd.size && (snd.base = lrp_memory_grown(snd.size))) {
		old = c->tcp.snd;
		if (lrp_tcp_resize(&c->tcp, &snd, NULL))
			old = snd;
		lrp_arena_free(old.base, old.size);
	}
	if (rcv.size > c->tcp.rcv.size && (rcv.base = lrp_memory_grown(rcv.size))) {
		old = c->tcp.rcv;
		if (lrp_tcp_resize(&c->tcp, NULL, &rcv))
			old = rcv;
		lrp_arena_free(old.base, old.size);
	}
	if (lrp_tcp_scoreboard_crowded(board) && board->runs <= 16384) {
		struct lrp_tcp_sent_run *run = board->run, *more;
		uint16_t runs = board->runs;

		more = lrp_arena_alloc(runs * 2u * sizeof(*more));
		if (!more)
			return;
		lrp_tcp_scoreboard_grow(board, more, (uint16_t)(runs * 2));
		lrp_arena_free(run, runs * sizeof(*run));
	}
}

static void output(struct lrp_conn *c, int64_t now)
{
	struct lrp_tx_tcp how = lrp_stream_how(&c->flow, &c->tcp.opt);
	/* Whom we heard in the last second is there [RFC 4861 7.3.1]. */
	bool heard = c->tcp.heard_ns && now - c->tcp.heard_ns < (int64_t)LRP_NS_PER_S;
	int flags = MSG_DONTWAIT | (heard && !c->tcp.opening ? MSG_CONFIRM : 0), n;
	struct lrp_tcp_tx tx;

	while (lrp_tcp_output(&c->tcp, now, LRP_TX_RUN_MAX, &tx)) {
		n = lrp_tx_send_tcp(&c->dest, &how, &tx, 1, flags);
		if (n == -EAGAIN || n == -ENOBUFS || n == -ENOMEM) {
			lrp_tcp_local_drop(&c->tcp, now);
			break;
		}
		if (n == -EMSGSIZE)
			lrp_tcp_too_big(&c->tcp, now, tx.seq, c->dest.mtu);
		/* No way there at the moment: as if the network had lost it. */
		lrp_tcp_sent(&c->tcp, now, &tx);
	}
}

/* It leaves the hub; what is left of one with a hub of its own goes when that is closed. */
static void ended(struct lrp_hub *hub, struct lrp_conn *c, int64_t now)
{
	list_remove(c);
	if (hub->shared)
		hub->lingers |= conn_end(hub, c, now);
	else
		hub->ended = c;
}

/*
 * A socket has the connection still, but it has ended: later segments of the same ends, and
 * connections between them, are not its own [RFC 9293 3.10.7.1]. In the table of the listener's hub
 * it stays until a segment meets it there, whose finder has the lock [yield()].
 */
static void give_up(struct lrp_hub *hub, struct lrp_conn *c)
{
	c->over = true;
	if (c->exact)
		lrp_flow_hide(&c->flow);
	c->exact = false;
	if (hub->shared)
		table_remove(hub, c);
}

__thread uint32_t lrp_hub_counted;

/* Is there news for anyone but the caller? */
static bool take_news(struct lrp_conn *c, const struct lrp_conn *mine)
{
	bool news = c->news && c->held;

	c->news = false;
	return news && (c != mine || atomic_load(&c->hub->waiters) > lrp_hub_counted);
}

/* `ours`: sleepers and the APP thread that this hub's owner has are in this process. */
static void flush(struct lrp_hub *hub, int64_t now, const struct lrp_conn *mine, bool ours)
{
	struct lrp_conn *c, *writer = NULL;
	bool news = false;

	while ((c = hub->touched)) {
		hub->touched = c->next_touched;
		if (c == hub->writer) {
			writer = c;
			continue;
		}
		c->touched = false;
		grow(c);
		output(c, now);
		news |= take_news(c, mine);
		if (!c->held &&
		    (c->tcp.state == LRP_TCP_CLOSED || c->tcp.state == LRP_TCP_TIME_WAIT)) {
			ended(hub, c, now);
			continue;
		}
		if (lrp_unlikely(c->tcp.state == LRP_TCP_CLOSED && !c->over))
			give_up(hub, c);
		earlier(hub, lrp_tcp_deadline(&c->tcp));
	}
	hub->touched = writer;
	if (writer)
		writer->next_touched = NULL;
	if (hub->listening)
		earlier(hub, lrp_listen_deadline(hub));
	if (hub->waiting)
		earlier(hub, lrp_waits_deadline(hub));
	if (!ours) {
		if (news || hub->ended || atomic_load(&hub->deadline_ns) < hub->armed_ns)
			lrp_family_post(hub);
		return;
	}
	lrp_app_deadline(hub);
	if (news && atomic_load(&hub->sleepers) > lrp_hub_counted)
		eventfd_write(hub->bell, 1);
}

void lrp_hub_flush(struct lrp_hub *hub, int64_t now, const struct lrp_conn *mine)
{
	flush(hub, now, mine, true);
}

void lrp_hub_mail(struct lrp_hub *hub)
{
	uint32_t serial = atomic_load(&hub->serial);

	if (!lrp_app_watches(hub) || !lrp_hub_lock_if(hub, serial))
		return;
	if (hub->ended)
		atomic_store(&hub->deadline_ns, (int64_t)lrp_now_ns());
	lrp_app_deadline(hub);
	if (atomic_load(&hub->sleepers))
		eventfd_write(hub->bell, 1);
	lrp_hub_unlock(hub);
}

/* ---- input --------------------------------------------------------------------- */

/*
 * The connection has moved to channels of its own since XDP sent us something of it. All that
 * its hub needs for that lies in the arena, so the process that has the segment processes it,
 * whoever has the hub; a post tells the other one. False: that one is stopped, and TCP sees
 * to what is lost.
 */
static bool moved_lock(struct lrp_conn *c)
{
	struct lrp_hub *hub = c->hub;
	int error = 0;

	if (!foreign(hub)) {
		lock(hub);
	} else {
		lrp_inside++;
		error = lrp_lock_within(&hub->lock, LRP_STALLED_NS);
		if (error < 0) {
			lrp_inside--;
			return false;
		}
		hub->broken |= error > 0;
		hub->turn++;
	}
	if (hub->conns == c && !hub->broken)
		return true;
	unlock(hub);
	return false;
}

static void moved_unlock(struct lrp_hub *hub, int64_t now)
{
	bool ours = !foreign(hub);

	flush(hub, now, NULL, ours);
	/* Closing it takes the listener's lock, which we have: left to the APP thread. */
	if (ours && !hub->conns) {
		atomic_store(&hub->deadline_ns, now);
		lrp_app_deadline(hub);
	}
	unlock(hub);
}

static int icmp(struct lrp_hub *hub, int64_t now, struct lrp_packet *p, bool partial_ok,
		enum lrp_context context)
{
	struct lrp_icmp_error e;
	struct lrp_tcp_flow flow;
	struct lrp_conn *c;
	uint32_t seq;
	int dropped = lrp_icmp_input(p, p->frame + p->l4_offset, partial_ok, &e);

	if (dropped)
		return dropped;
	if (e.proto != IPPROTO_TCP)
		return LRP_DROPPED(LRP_DROP_PROTOCOL);
	memset(&flow, 0, sizeof(flow));
	flow.family = e.family;
	flow.laddr = e.src;
	flow.raddr = e.dst;
	flow.lport = e.sport;
	flow.rport = e.dport;
	memcpy(&seq, e.l4 + 4, sizeof(seq));
	seq = ntohl(seq);
	c = find(hub, &flow);
	if (!c) {
		if (hub->listening && e.error != EMSGSIZE)
			lrp_tcp_listen_unreachable(&hub->listener, &flow, seq, e.fatal);
		return 0;
	}
	if (c->hub != hub && !moved_lock(c))
		return LRP_DROPPED(LRP_DROP_STALE);
	if (c->over) {
		if (c->hub != hub)
			moved_unlock(c->hub, now);
		return 0;
	}
	if (e.error == EMSGSIZE)
		lrp_tcp_too_big(&c->tcp, now, seq, e.info);
	else
		lrp_tcp_unreachable(&c->tcp, now, seq, e.error, e.fatal);
	c->news = true;
	c->processed[context]++;
	lrp_hub_touch(c);
	if (c->hub != hub)
		moved_unlock(c->hub, now);
	return 0;
}

static int conn_input(struct lrp_conn *c, int64_t now, const struct lrp_tcp_segment *s,
		      struct lrp_tcp_into *into, enum lrp_context context)
{
	int dropped;

	c->tcp.attended = context == LRP_CONTEXT_CALL;
	dropped = lrp_tcp_input(&c->tcp, now, s, into);
	c->news = true;
	c->processed[context]++;
	c->dropped += dropped != 0;
	lrp_hub_touch(c);
	return dropped;
}

/* The listener's hub is locked, and the connection's. True: it has ended, and its four-tuple is
 * the listener's. */
static bool yield(struct lrp_hub *hub, int64_t now, struct lrp_conn *c,
		  const struct lrp_tcp_segment *s)
{
	bool waits = c->tcp.state == LRP_TCP_TIME_WAIT && s->flags & LRP_TCP_SYN && c->held;

	if (c->tcp.state != LRP_TCP_CLOSED && !waits)
		return false;
	/* What a socket does not hold the listener remembers, too: a SYN may begin
	 * anew [RFC 6191]. */
	if (waits && !c->over)
		lrp_waits_add(hub, c, now);
	if (c->exact)
		lrp_flow_hide(&c->flow);
	c->exact = false;
	c->over = true;
	table_remove(hub, c);
	return true;
}

/*
 * A SYN came on the channels of a connection that has ended: it was on its way when the entry
 * went. The listener's lock comes before ours, so it is not waited for. False: who sent the
 * SYN tries again.
 */
static bool pass_up(struct lrp_hub *hub, int64_t now, struct lrp_conn *c,
		    const struct lrp_tcp_segment *s, enum lrp_context context)
{
	struct lrp_hub *parent = hub->parent;
	bool mine;
	int error;

	error = parent && lrp_app_watches(parent) ? lrp_lock_try(&parent->lock) : -EBUSY;
	if (error < 0)
		return false;
	if (error > 0)
		recover(parent);
	lrp_inside++;
	parent->turn++;
	mine = !parent->broken && yield(parent, now, c, s);
	if (mine) {
		lrp_listen_segment(parent, now, &c->flow, s, context);
		lrp_hub_flush(parent, now, NULL);
	}
	unlock(parent);
	return mine;
}

/* On its own channels. */
static int last_segment(struct lrp_hub *hub, int64_t now, struct lrp_conn *c,
			const struct lrp_tcp_segment *s, enum lrp_context context)
{
	struct lrp_tcp_tx reply;

	if (s->flags & LRP_TCP_SYN && pass_up(hub, now, c, s, context))
		return 0;
	if (c->tcp.state != LRP_TCP_CLOSED)
		return conn_input(c, now, s, NULL, context);
	if (!(s->flags & LRP_TCP_SYN) && lrp_tcp_reset_for(s, &reply))
		lrp_stream_answer(hub, &c->flow, &reply);
	return 0;
}

/* Of a connection that is on channels of its own by now, or has ended. */
static int late_segment(struct lrp_hub *hub, int64_t now, struct lrp_conn *c,
			const struct lrp_tcp_segment *s, enum lrp_context context)
{
	struct lrp_tcp_flow flow = c->flow;
	bool moved = c->hub != hub, free_now;
	int dropped = 0;

	if (!hub->shared)
		return last_segment(hub, now, c, s, context);
	if (moved && !moved_lock(c))
		return LRP_DROPPED(LRP_DROP_STALE);
	free_now = yield(hub, now, c, s);
	if (!free_now)
		dropped = conn_input(c, now, s, NULL, context);
	if (moved)
		moved_unlock(c->hub, now);
	if (free_now)
		lrp_listen_segment(hub, now, &flow, s, context);
	return dropped;
}

static int segment(struct lrp_hub *hub, int64_t now, struct lrp_packet *p, bool partial_ok,
		   enum lrp_context context)
{
	struct lrp_tcp_segment s;
	struct lrp_tcp_flow flow;
	struct lrp_conn *c;
	int dropped = lrp_tcp_segment_parse(p, p->frame + p->l4_offset, partial_ok, &s);

	if (dropped)
		return dropped;
	memset(&flow, 0, sizeof(flow));
	flow.family = p->family;
	if (p->family == AF_INET) {
		flow.laddr.v4 = p->dst.v4;
		flow.raddr.v4 = p->src.v4;
	} else {
		flow.laddr = p->dst;
		flow.raddr = p->src;
	}
	flow.lport = p->dport;
	flow.rport = p->sport;
	c = find(hub, &flow);
	if (c && (c->hub != hub || c->tcp.state == LRP_TCP_CLOSED ||
		  (c->tcp.state == LRP_TCP_TIME_WAIT && s.flags & LRP_TCP_SYN)))
		return late_segment(hub, now, c, &s, context);
	if (!c && !hub->shared)
		return hub->waiting ? lrp_waits_segment(hub, now, &flow, &s)
				    : LRP_DROPPED(LRP_DROP_STALE);
	if (!c) {
		lrp_listen_segment(hub, now, &flow, &s, context);
		return 0;
	}
	return conn_input(c, now, &s, c == hub->reader ? hub->into : NULL, context);
}

/* False: the packet has not come whole yet. */
static bool take(struct lrp_hub *hub, int64_t now, struct lrp_chan *chan, uint32_t avail,
		 enum lrp_context context)
{
	struct lrp_packet p;
	uint32_t descs = 1;
	int dropped = 0;

	memset(&p, 0, sizeof(p));
	p.frame = lrp_chan_data(chan, lrp_chan_desc(chan, 0));
	p.frame_len = lrp_chan_desc(chan, 0)->len;
	if (lrp_chan_desc(chan, 0)->options & XDP_PKT_CONTD)
		dropped = lrp_linear(chan, avail, &p, &descs);
	if (dropped < 0)
		return false;
	if (!dropped)
		dropped = lrp_ip_input(&p);
	if (!dropped && p.fragment)
		dropped = LRP_DROPPED(LRP_DROP_FRAGMENT);
	if (!dropped && (p.proto == IPPROTO_ICMP || p.proto == IPPROTO_ICMPV6))
		dropped = icmp(hub, now, &p, chan->pool->virtual_device, context);
	else if (!dropped && p.proto != IPPROTO_TCP)
		dropped = LRP_DROPPED(LRP_DROP_STALE);
	else if (!dropped)
		dropped = segment(hub, now, &p, chan->pool->virtual_device, context);
	chan->user->processed[context]++;
	hub->processed[context]++;
	if (dropped) {
		__atomic_fetch_add(&chan->user->dropped[LRP_DROPPED_REASON(dropped)], 1,
				   __ATOMIC_RELAXED);
		hub->dropped++;
	}
	lrp_chan_take(chan, descs);
	return true;
}

void lrp_hub_input(struct lrp_hub *hub, int64_t now, const struct lrp_conn *mine,
		   enum lrp_context context)
{
	/* APP looks in between whether it is its turn still. */
	uint32_t i, n, avail, rounds = context == LRP_CONTEXT_APP ? 1 : ROUNDS;
	bool more, any = false;

	lrp_tx_hold_call(now);
	if (lrp_unlikely(lrp_eager())) {
		/* Nothing waits for a call: what comes to the channels is the thread's. */
		rounds = context == LRP_CONTEXT_CALL ? 0 : ROUNDS;
		context = LRP_CONTEXT_EAGER;
	}
	if (context == LRP_CONTEXT_CALL &&
	    !atomic_load_explicit(&hub->called, memory_order_relaxed))
		atomic_store_explicit(&hub->called, true, memory_order_relaxed);
	if (context == LRP_CONTEXT_CALL && hub->listening)
		lrp_listen_attend(hub);
	for (more = true; more && rounds; rounds--) {
		more = false;
		for (i = 0; i < hub->ep.channels; i++) {
			struct lrp_chan *chan = &hub->ep.chan[i];

			for (n = 0; n < BATCH; n++) {
				avail = lrp_chan_available(chan, UINT32_MAX);
				if (!avail || !take(hub, now, chan, avail, context))
					break;
			}
			any |= n > 0;
			more |= n == BATCH;
		}
		if (any || hub->touched)
			lrp_hub_flush(hub, now, mine);
	}
	if (now >= atomic_load_explicit(&hub->deadline_ns, memory_order_relaxed))
		lrp_hub_timers(hub, now);
}

bool lrp_hub_settle(struct lrp_hub *hub)
{
	bool empty = true;
	uint32_t i;

	for (i = 0; i < hub->ep.channels; i++)
		empty &= lrp_chan_settle(&hub->ep.chan[i]);
	return empty || lrp_eager();
}

void lrp_hub_forget(struct lrp_hub *hub, int64_t now)
{
	struct lrp_conn *c, *next;

	for (c = hub->listening ? NULL : hub->conns; c; c = next) {
		next = c->next;
		if (!c->held && !c->touched &&
		    (c->tcp.state == LRP_TCP_FIN_WAIT_2 || c->tcp.state == LRP_TCP_TIME_WAIT))
			ended(hub, c, now);
	}
}

void lrp_hub_timers(struct lrp_hub *hub, int64_t now)
{
	int64_t next = LRP_TCP_NEVER, due;
	struct lrp_conn *c;

	for (c = hub->conns; c; c = c->next) {
		due = lrp_tcp_deadline(&c->tcp);
		if (due <= now) {
			lrp_tcp_timer(&c->tcp, now);
			c->news = true;
			lrp_hub_touch(c);
		} else if (due < next) {
			next = due;
		}
	}
	if (hub->listening)
		lrp_listen_timers(hub, now);
	if (hub->waiting)
		lrp_waits_timers(hub, now);
	atomic_store(&hub->deadline_ns, next);
	lrp_hub_flush(hub, now, NULL);
}

/* ---- life ---------------------------------------------------------------------- */

static struct lrp_hub *free_hubs; /* their locks stay valid */
static pthread_mutex_t free_lock = PTHREAD_MUTEX_INITIALIZER;

static void hub_free(struct lrp_hub *hub)
{
	hub->pid = lrp_self(); /* whose list has it */
	pthread_mutex_lock(&free_lock);
	hub->next_free = free_hubs;
	free_hubs = hub;
	pthread_mutex_unlock(&free_lock);
}

/* All but lock, endpoint and bell as if it had never been used. */
static void reset(struct lrp_hub *hub)
{
	memset(&hub->hold, 0, sizeof(*hub) - offsetof(struct lrp_hub, hold));
	hub->hold = -1;
	hub->queue_end = &hub->queue;
	hub->settle_ns = hub->gate_ns = LRP_TCP_NEVER;
	atomic_store(&hub->deadline_ns, LRP_TCP_NEVER);
	atomic_store(&hub->called, false);
	hub->armed_by = 0;
}

struct lrp_hub *lrp_hub_new(void)
{
	struct lrp_hub *hub;

	pthread_mutex_lock(&free_lock);
	hub = free_hubs;
	if (hub)
		free_hubs = hub->next_free;
	pthread_mutex_unlock(&free_lock);
	if (!hub) {
		hub = lrp_arena_alloc(sizeof(*hub));
		if (!hub || lrp_lock_init(&hub->lock)) {
			lrp_arena_free(hub, sizeof(*hub));
			return NULL;
		}
		lrp_family_add_hub(hub);
	}
	memset(&hub->ep, 0, sizeof(hub->ep));
	hub->ep.id = LRP_ENDPOINT_NONE;
	atomic_store(&hub->sleepers, 0);
	atomic_store(&hub->waiters, 0);
	reset(hub);
	hub->pid = hub->user = lrp_self();
	hub->spare = hub->tainted = hub->foreign = false;
	hub->set = -1;
	hub->bell = lrp_fd_aside(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	if (hub->bell < 0) {
		hub_free(hub);
		return NULL;
	}
	return hub;
}

bool lrp_hub_table(struct lrp_hub *hub)
{
	return table_make(hub, SLOTS_FIRST);
}

static void fork_child(void)
{
	free_hubs = NULL;
	pthread_mutex_init(&free_lock, NULL);
}

static __attribute__((constructor)) void fork_register(void)
{
	static struct lrp_fork_handler handler = {
		.phase = LRP_FORK_STORES,
		.child = fork_child,
	};

	lrp_fork_register(&handler);
}

bool lrp_hub_lock_if(struct lrp_hub *hub, uint32_t serial)
{
	if (!lock_any(hub))
		return false;
	if (atomic_load(&hub->serial) == serial && !hub->broken)
		return true;
	lrp_unlock(&hub->lock);
	lrp_inside--;
	return false;
}

bool lrp_hub_lock(struct lrp_view *l, int fd, enum lrp_stream_mode mode)
{
	struct lrp_stream *stream = &l->sock->stream;
	struct lrp_hub *hub;
	bool moved;

	do {
		hub = stream->hub;
		if (!hub || !lock_any(hub))
			return false;
		if (lrp_likely(lrp_view_of(fd) == l && stream->hub == hub &&
			       atomic_load(&stream->mode) == mode && !hub->broken)) {
			if (lrp_unlikely(!atomic_load_explicit(&l->app, memory_order_relaxed)))
				lrp_app_watch(l);
			if (lrp_unlikely(hub->user != lrp_self()))
				hub->user = lrp_self();
			return true;
		}
		moved = lrp_view_of(fd) == l && stream->hub != hub;
		unlock(hub);
	} while (moved);
	return false;
}

/* The numbers may be half changed: then the peer answers, and is reset by its answer. */
static void reset_peer(const struct lrp_conn *c)
{
	struct lrp_tcp_tx tx = {
		.seq = c->tcp.snd_nxt, .ack = c->tcp.rcv_nxt, .flags = LRP_TCP_RST | LRP_TCP_ACK};
	struct lrp_tx_tcp how = lrp_stream_how(&c->flow, &c->tcp.opt);

	lrp_tx_send_tcp(NULL, &how, &tx, 1, MSG_DONTWAIT);
}

static bool synchronized(const struct lrp_conn *c)
{
	return c->tcp.state != LRP_TCP_CLOSED && c->tcp.state != LRP_TCP_SYN_SENT &&
	       c->tcp.state != LRP_TCP_TIME_WAIT;
}

/* ---- a hub whose holder is stopped ------------------------------------------------ */

static void push_left(struct lrp_hub *hub, struct lrp_conn *c)
{
	c->next_left = atomic_load(&hub->left);
	while (!atomic_compare_exchange_weak(&hub->left, &c->next_left, c))
		;
}

void lrp_conn_leave(struct lrp_hub *hub, struct lrp_conn *c)
{
	if (synchronized(c))
		reset_peer(c);
	push_left(hub, c);
}

/* Lock held: what could not be done without it. */
static void settle_left(struct lrp_hub *hub)
{
	struct lrp_conn *c = atomic_exchange(&hub->left, NULL), *next;
	int64_t now = (int64_t)lrp_now_ns();

	if (hub->broken)
		return;
	for (; c; c = next) {
		next = c->next_left;
		if (c->hub == hub) {
			lrp_conn_release(c, now, true);
		} else {
			conn_end(hub, c, now);
			hub->children--;
		}
	}
}

/* The connection that this hub was for has ended. No lock held. True: its port is to be held. */
static bool bury(struct lrp_hub *hub)
{
	struct lrp_hub *parent = hub->parent;
	int64_t now = (int64_t)lrp_now_ns();
	bool lingers;

	if (parent && !lock_any(parent)) {
		if (hub->ended->exact)
			lrp_flow_hide(&hub->ended->flow);
		hub->ended->exact = false;
		push_left(parent, hub->ended);
		hub->ended = NULL;
		hub->parent = NULL;
		return false;
	}
	lingers = conn_end(parent && !parent->broken ? parent : NULL, hub->ended, now);
	hub->ended = NULL;
	hub->parent = NULL;
	if (!parent)
		return lingers;
	parent->lingers |= lingers;
	parent->children--;
	if (parent->broken)
		unlock(parent);
	else
		lrp_hub_unlock(parent);
	return false;
}

/* Nothing is left of it. The lock is held on entry. */
static void hub_close(struct lrp_hub *hub)
{
	int hold = hub->hold_pid == lrp_self() ? hub->hold : -1;
	bool recycled =
		!hub->shared && !hub->broken && !hub->tainted && hub->ep.id != LRP_ENDPOINT_NONE;
	bool lingers = hub->lingers;
	uint32_t serial = atomic_fetch_add(&hub->serial, 1);

	hub->hold = -1;
	lrp_unlock(&hub->lock);
	if (!recycled)
		lrp_app_forget(hub, serial);
	if (hub->ended)
		lingers = bury(hub);
	lrp_arena_free(hub->table.slot, hub->table.slots * sizeof(struct lrp_hub_slot));
	/* Before the port is free: its next owner is to get his segments. The shadow itself may
	 * live on, for another connection. */
	if (hub->shared && hub->ep.id != LRP_ENDPOINT_NONE)
		lrp_endpoint_withdraw(&hub->ep);
	if (hold >= 0 && lingers)
		lrp_waits_hold(hold);
	else if (hold >= 0)
		close(hold);
	reset(hub);
	if (recycled) {
		/* From here on APP may look at it again. */
		hub->spare = true;
		lrp_app_renew(hub, serial);
		lrp_spare_put(hub);
	} else {
		lrp_hub_dispose(hub);
	}
}

void lrp_hub_dispose(struct lrp_hub *hub)
{
	lrp_app_forget(hub, atomic_load(&hub->serial));
	if (hub->foreign) {
		lrp_endpoint_abandon(&hub->ep, &lrp_arena_allocator);
		hub_free(hub);
		return;
	}
	if (hub->ep.id != LRP_ENDPOINT_NONE)
		lrp_endpoint_close(&hub->ep, &lrp_arena_allocator);
	close(hub->bell);
	if (hub->set >= 0)
		close(hub->set);
	hub_free(hub);
}

void lrp_hub_leave(struct lrp_hub *hub, uint32_t serial)
{
	struct lrp_chan chan[LRP_MAX_POOLS];
	struct lrp_endpoint ep;
	int bell, set;

	/* A listener's has connections of other sockets. */
	if (hub->shared)
		return;
	lrp_app_forget(hub, serial);
	if (!lrp_hub_lock_if(hub, serial))
		return;
	ep = hub->ep;
	memcpy(chan, ep.chan, ep.channels * sizeof(*chan));
	bell = hub->bell;
	set = hub->set;
	if (hub->pid == lrp_self())
		hub->pid = 0;
	if (hub->user == lrp_self())
		hub->user = 0;
	unlock(hub);
	ep.chan = chan;
	lrp_endpoint_leave(&ep);
	close(bell);
	if (set >= 0)
		close(set);
}

bool lrp_hub_move(struct lrp_hub *from, struct lrp_conn *c, struct lrp_hub *to, int64_t now)
{
	bool moved;

	/* The APP thread may watch its channels still, and takes what it finds there for an earlier
	 * connection's. */
	lock(to);
	moved = !lrp_conn_expose(c, to);
	if (moved) {
		/* What came before comes before. */
		lrp_hub_input(from, now, NULL, LRP_CONTEXT_CALL);
		list_remove(c);
		list_add(to, c);
		to->spare = false;
		to->parent = from;
		from->children++;
		lrp_tcp_quota(&c->tcp, to->ep.limit * LRP_TCP_FRAME_BYTES);
		atomic_store(&to->deadline_ns, lrp_tcp_deadline(&c->tcp));
	}
	unlock(to);
	return moved;
}

bool lrp_hub_return(struct lrp_hub *hub, struct lrp_conn *c, int64_t now, bool mapped)
{
	struct lrp_hub *to = hub->parent;

	/* What nobody has an entry for is the listener's; unless another gets it. */
	if (!to->listening || to->broken || (to->reuseport && lrp_conn_expose(c, to)))
		return false;
	if (!to->reuseport && c->exact) {
		lrp_flow_hide(&c->flow);
		c->exact = false;
	}
	if (mapped) {
		/* What came before comes before. */
		lrp_hub_input(hub, now, c, LRP_CONTEXT_CALL);
		lrp_hub_flush(hub, now, c);
	}
	list_remove(c);
	list_add(to, c);
	hub->parent = NULL;
	to->children--;
	/* It may take long to end. */
	c->born_ns = now;
	if (to->settle_ns > now + LRP_SETTLES_NS)
		to->settle_ns = now + LRP_SETTLES_NS;
	lrp_hub_touch(c);
	return true;
}

/* ---- of a process that is dead --------------------------------------------------- */

void lrp_hub_seize(struct lrp_hub *hub)
{
	lock_foreign(hub);
}

void lrp_hub_release(struct lrp_hub *hub)
{
	unlock(hub);
}

void lrp_conn_orphaned(struct lrp_hub *hub, struct lrp_conn *c)
{
	struct lrp_hub *parent = hub->parent;

	if (synchronized(c))
		reset_peer(c);
	if (c->exact || !c->over)
		lrp_flow_hide(&c->flow);
	/* Lists of a hub whose holder died in the midst of a change are not to be trusted. */
	if (hub->broken)
		return;
	list_remove(c);
	hub->touched = NULL;
	table_remove(parent ? parent : hub, c);
	if (parent)
		parent->children--;
	hub->parent = NULL;
	memory_free(c);
}

void lrp_hub_bury(struct lrp_hub *hub)
{
	uint32_t slots = hub->table.slots;

	hub->conns = hub->touched = NULL;
	atomic_fetch_add(&hub->serial, 1);
	if (!hub->broken)
		lrp_arena_free(hub->table.slot, slots * sizeof(struct lrp_hub_slot));
	reset(hub);
	hub->pid = lrp_self();
	hub->foreign = true;
	unlock(hub);
	lrp_spare_bury(hub);
}

uint64_t lrp_hub_discarded(const struct lrp_hub *hub)
{
	uint64_t n = 0;
	uint32_t i;

	for (i = 0; i < hub->ep.channels; i++)
		n += lrp_chan_discarded(&hub->ep.chan[i]);
	return n - hub->discarded_before;
}

int lrp_hub_open(struct lrp_hub *hub, uint32_t limit)
{
	uint32_t i;
	int error = lrp_endpoint_open(&hub->ep, 0, limit, &lrp_arena_allocator);

	/* Flags that an earlier owner of the channel has left. */
	for (i = 0; !error && i < hub->ep.channels; i++)
		__atomic_store_n(&hub->ep.chan[i].user->flags, 0, __ATOMIC_RELEASE);
	hub->discarded_before += error ? 0 : lrp_hub_discarded(hub);
	return error;
}

void lrp_hub_discard(struct lrp_hub *hub)
{
	lock(hub);
	hub->ended = hub->conns;
	hub->conns = hub->touched = NULL;
	hub_close(hub);
	lrp_inside--;
}

void lrp_hub_unlock(struct lrp_hub *hub)
{
	if (lrp_unlikely(atomic_load_explicit(&hub->left, memory_order_relaxed) != NULL))
		settle_left(hub);
	if (lrp_unlikely(atomic_load(&hub->missed)) && atomic_exchange(&hub->missed, false))
		eventfd_write(hub->bell, 1);
	if (hub->touched)
		lrp_hub_flush(hub, (int64_t)lrp_now_ns(), NULL);
	if (lrp_unlikely(!hub->listening && !hub->conns && !hub->children && !hub->waiting &&
			 !hub->spare))
		hub_close(hub);
	else
		lrp_unlock(&hub->lock);
	lrp_inside--;
}

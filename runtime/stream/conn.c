/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* conn.c - the connections of a hub: its list, its table, their memory, their end. */
#include "../base/clock.h"
#include "hub_internal.h"
#include "memory.h"

#define BUFFER	   (64u << 10) /* of each direction, to begin with */
#define RUNS_FIRST 16u

void lrp_conn_link(struct lrp_hub *hub, struct lrp_conn *c)
{
	c->hub = hub;
	c->prev = NULL;
	c->next = hub->conns;
	if (c->next)
		c->next->prev = c;
	hub->conns = c;
}

void lrp_conn_unlink(struct lrp_conn *c)
{
	if (c->prev)
		c->prev->next = c->next;
	else
		c->hub->conns = c->next;
	if (c->next)
		c->next->prev = c->prev;
}

void lrp_conn_unindex(struct lrp_hub *hub, const struct lrp_conn *c)
{
	struct lrp_hub_slot *slot =
		hub->table.slots ? lrp_tcp_flow_find(&hub->table, &c->flow) : NULL;

	if (slot && slot->conn == c)
		lrp_tcp_flow_remove(&hub->table, slot);
}

bool lrp_conn_index_make(struct lrp_hub *hub, uint32_t slots)
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

void lrp_conn_free(struct lrp_conn *c)
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
	     !lrp_conn_index_make(hub, hub->table.slots * 2))) {
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
	lrp_conn_link(hub, c);
	if (hub->table.slots)
		((struct lrp_hub_slot *)lrp_tcp_flow_insert(&hub->table, flow, 0))->conn = c;
	return c;
}

/* The last of a connection: `hub` is its listener's, with the lock, or NULL. What comes from now on is
 * the listener's. True: it is in TIME_WAIT on the process's own hub. */
bool lrp_conn_end(struct lrp_hub *hub, struct lrp_conn *c, int64_t now)
{
	bool lingers = false;

	if (hub)
		lrp_conn_unindex(hub, c);
	if (c->tcp.state == LRP_TCP_TIME_WAIT && !c->over)
		lingers = lrp_waits_add(hub, c, now);
	if (c->exact && !lingers)
		lrp_flow_hide(&c->flow);
	lrp_conn_free(c);
	return lingers;
}

void lrp_conn_release(struct lrp_conn *c, int64_t now, bool abort)
{
	c->held = false;
	/* Nobody will come back to it: the APP thread sees to the rest at once. */
	atomic_store(&c->hub->driven.called, false);
	if (abort)
		lrp_tcp_abort(&c->tcp, now);
	else
		lrp_tcp_close(&c->tcp, now);
	lrp_hub_touch(c);
}

/* The numbers may be half changed: then the peer answers, and is reset by its answer. */
static void conn_reset_peer(const struct lrp_conn *c)
{
	struct lrp_tcp_tx tx = {
		.seq = c->tcp.snd_nxt, .ack = c->tcp.rcv_nxt, .flags = LRP_TCP_RST | LRP_TCP_ACK};
	struct lrp_tx_tcp how = lrp_stream_how(&c->flow, &c->tcp.opt);

	lrp_tx_send_tcp(NULL, &how, &tx, 1, MSG_DONTWAIT);
}

static bool conn_synchronized(const struct lrp_conn *c)
{
	return c->tcp.state != LRP_TCP_CLOSED && c->tcp.state != LRP_TCP_SYN_SENT &&
	       c->tcp.state != LRP_TCP_TIME_WAIT;
}

void lrp_conn_push_left(struct lrp_hub *hub, struct lrp_conn *c)
{
	c->next_left = atomic_load(&hub->left);
	while (!atomic_compare_exchange_weak(&hub->left, &c->next_left, c))
		;
}

void lrp_conn_leave(struct lrp_hub *hub, struct lrp_conn *c)
{
	if (conn_synchronized(c))
		conn_reset_peer(c);
	lrp_conn_push_left(hub, c);
}

/* Lock held: what could not be done without it. */
void lrp_conn_take_left(struct lrp_hub *hub)
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
			lrp_conn_end(hub, c, now);
			hub->listen.children--;
		}
	}
}

void lrp_conn_orphaned(struct lrp_hub *hub, struct lrp_conn *c)
{
	struct lrp_hub *parent = hub->own.parent;

	if (conn_synchronized(c))
		conn_reset_peer(c);
	if (c->exact || !c->over)
		lrp_flow_hide(&c->flow);
	/* Lists of a hub whose holder died in the midst of a change are not to be trusted. */
	if (hub->broken)
		return;
	lrp_conn_unlink(c);
	hub->touched = NULL;
	lrp_conn_unindex(parent ? parent : hub, c);
	if (parent)
		parent->listen.children--;
	hub->own.parent = NULL;
	lrp_conn_free(c);
}

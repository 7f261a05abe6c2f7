/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * hub_internal.h - what the files of a hub share: hub.c, hub_lock.c, hub_input.c, hub_output.c, conn.c.
 * Others use stream.h.
 */
#ifndef LRP_HUB_INTERNAL_H
#define LRP_HUB_INTERNAL_H

#include "../base/self.h"
#include "../tcp/isn.h"
#include "stream.h"

/* ---- hub.c ------------------------------------------------------------------ */

extern const struct lrp_hub_ops *lrp_hub_role_ops[LRP_HUB_ROLES];

/* Whatever others have written into the hub. */
static inline const struct lrp_hub_ops *lrp_hub_ops_of(const struct lrp_hub *hub)
{
	return lrp_hub_role_ops[hub->role % LRP_HUB_ROLES];
}

/* ---- hub_lock.c ------------------------------------------------------------- */

/* Waits for the lock, of a hub whose holder is not stopped by anybody: not a listener's. */
void lrp_hub_take(struct lrp_hub *hub);
/* Of any hub. False: its holder is stopped. */
bool lrp_hub_take_any(struct lrp_hub *hub);
/* The lock's last holder died with it: connections fail [hub_lock.c]. */
void lrp_hub_recover(struct lrp_hub *hub);

/* Its channels, its bell and its timers are another process's. */
static inline bool lrp_hub_foreign(const struct lrp_hub *hub)
{
	pid_t self = lrp_self();

	return hub->pid != self && hub->user != self;
}

/* ---- hub_output.c ----------------------------------------------------------- */

/* As lrp_hub_flush(). `ours`: sleepers and the APP thread that this hub's owner has are in this process. */
void lrp_hub_flush_as(struct lrp_hub *hub, int64_t now, const struct lrp_conn *mine, bool ours);
/* It leaves the hub; what is left of one with a hub of its own goes when that is closed. */
void lrp_hub_conn_ended(struct lrp_hub *hub, struct lrp_conn *c, int64_t now);

/* ---- conn.c: lock held ------------------------------------------------------ */

static inline struct lrp_conn *lrp_conn_find(struct lrp_hub *hub, const struct lrp_tcp_flow *flow)
{
	struct lrp_hub_slot *slot;

	if (!hub->table.slots)
		return hub->conns && lrp_tcp_flow_equal(&hub->conns->flow, flow) ? hub->conns
										 : NULL;
	slot = lrp_tcp_flow_find(&hub->table, flow);
	return slot ? slot->conn : NULL;
}

/* In the hub's list of connections; in its table. */
void lrp_conn_link(struct lrp_hub *hub, struct lrp_conn *c);
void lrp_conn_unlink(struct lrp_conn *c);
void lrp_conn_unindex(struct lrp_hub *hub, const struct lrp_conn *c);
/* A larger table, of `slots`; false: no memory. */
bool lrp_conn_index_make(struct lrp_hub *hub, uint32_t slots);
/* The last of a connection: `hub` is its listener's, with the lock, or NULL. What comes from now on is
 * the listener's. True: it is in TIME_WAIT on the process's own hub. */
bool lrp_conn_end(struct lrp_hub *hub, struct lrp_conn *c, int64_t now);
void lrp_conn_free(struct lrp_conn *c);

/* No lock: the connection ends when somebody has the hub's. */
void lrp_conn_push_left(struct lrp_hub *hub, struct lrp_conn *c);
/* Lock held: ends them. */
void lrp_conn_take_left(struct lrp_hub *hub);

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * flowtable.h - a table of small records found by flow and taken out in order
 * of age: half-open connections (listen.h) and TIME_WAIT (timewait.h).
 *
 * Open addressing by a keyed hash, so that a peer cannot choose collisions, with
 * linear probing; removal closes the gap, so there are no tombstones that a flood could leave.
 * Every record is on one of a few lists; those of a list wait equally long, so its first is due
 * first and nothing ever searches the table for what is due.
 *
 * Pure. The memory belongs to the owner; one thread at a time. Removal moves other records:
 * pointers to records do not outlive it.
 */
#ifndef LRP_TCP_FLOWTABLE_H
#define LRP_TCP_FLOWTABLE_H

#include "segment.h"

#define LRP_TCP_FLOW_LISTS 10
#define LRP_TCP_FLOW_NONE  UINT32_MAX

/* How each record begins. */
struct lrp_tcp_flow_head {
	struct lrp_tcp_flow flow; /* family 0: free */
	uint32_t hash;
	uint32_t next, prev; /* on its list; LRP_TCP_FLOW_NONE */
	uint32_t list;
};

struct lrp_tcp_flow_table {
	uint8_t *slot;
	uint32_t record_bytes;
	uint32_t slots; /* power of two */
	uint32_t used;
	struct {
		uint32_t first, last;
	} list[LRP_TCP_FLOW_LISTS];
	uint64_t key[2];
};

/* `slot`: `slots` zeroed records of `record_bytes`. The caller inserts no more than 3/4 of them. */
void lrp_tcp_flow_table_init(struct lrp_tcp_flow_table *t, void *slot, uint32_t record_bytes,
			     uint32_t slots, const uint64_t key[2]);
static inline uint32_t lrp_tcp_flow_table_most(const struct lrp_tcp_flow_table *t)
{
	return t->slots - t->slots / 4;
}
/* The record of `flow`, or NULL. */
void *lrp_tcp_flow_find(const struct lrp_tcp_flow_table *t, const struct lrp_tcp_flow *flow);
/* A new record at the end of `list`, zero after its head. The flow is not in the table. */
void *lrp_tcp_flow_insert(struct lrp_tcp_flow_table *t, const struct lrp_tcp_flow *flow,
			  uint32_t list);
void lrp_tcp_flow_remove(struct lrp_tcp_flow_table *t, void *record);
/* To the end of `list`. */
void lrp_tcp_flow_requeue(struct lrp_tcp_flow_table *t, void *record, uint32_t list);
/* The one that has been on `list` longest, or NULL. */
void *lrp_tcp_flow_first(const struct lrp_tcp_flow_table *t, uint32_t list);

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "flowtable.h"

#include "isn.h"

static struct lrp_tcp_flow_head *at(const struct lrp_tcp_flow_table *t, uint32_t i)
{
	return (struct lrp_tcp_flow_head *)(void *)(t->slot + (size_t)i * t->record_bytes);
}

static uint32_t index_of(const struct lrp_tcp_flow_table *t, const void *record)
{
	return (uint32_t)((size_t)((const uint8_t *)record - t->slot) / t->record_bytes);
}

void lrp_tcp_flow_table_init(struct lrp_tcp_flow_table *t, void *slot, uint32_t record_bytes,
			     uint32_t slots, const uint64_t key[2])
{
	memset(t, 0, sizeof(*t));
	t->slot = slot;
	t->record_bytes = record_bytes;
	t->slots = slots;
	memcpy(t->key, key, sizeof(t->key));
	for (int i = 0; i < LRP_TCP_FLOW_LISTS; i++)
		t->list[i].first = t->list[i].last = LRP_TCP_FLOW_NONE;
}

static void link_last(struct lrp_tcp_flow_table *t, uint32_t i, uint32_t list)
{
	struct lrp_tcp_flow_head *h = at(t, i);

	h->list = list;
	h->next = LRP_TCP_FLOW_NONE;
	h->prev = t->list[list].last;
	t->list[list].last = i;
	if (h->prev == LRP_TCP_FLOW_NONE)
		t->list[list].first = i;
	else
		at(t, h->prev)->next = i;
}

/* Lets the neighbours of record `h` name these instead of it. */
static void relink(struct lrp_tcp_flow_table *t, const struct lrp_tcp_flow_head *h,
		   uint32_t as_next, uint32_t as_prev)
{
	if (h->prev == LRP_TCP_FLOW_NONE)
		t->list[h->list].first = as_next;
	else
		at(t, h->prev)->next = as_next;
	if (h->next == LRP_TCP_FLOW_NONE)
		t->list[h->list].last = as_prev;
	else
		at(t, h->next)->prev = as_prev;
}

static void unlink_record(struct lrp_tcp_flow_table *t, const struct lrp_tcp_flow_head *h)
{
	relink(t, h, h->next, h->prev);
}

void *lrp_tcp_flow_find(const struct lrp_tcp_flow_table *t, const struct lrp_tcp_flow *flow)
{
	uint32_t hash = (uint32_t)lrp_tcp_flow_hash(t->key, flow);

	for (uint32_t i = hash & (t->slots - 1);; i = (i + 1) & (t->slots - 1)) {
		struct lrp_tcp_flow_head *h = at(t, i);

		if (!h->flow.family)
			return NULL;
		if (h->hash == hash && lrp_tcp_flow_equal(&h->flow, flow))
			return h;
	}
}

void *lrp_tcp_flow_insert(struct lrp_tcp_flow_table *t, const struct lrp_tcp_flow *flow,
			  uint32_t list)
{
	uint32_t hash = (uint32_t)lrp_tcp_flow_hash(t->key, flow);
	uint32_t i = hash & (t->slots - 1);
	struct lrp_tcp_flow_head *h;

	while (at(t, i)->flow.family)
		i = (i + 1) & (t->slots - 1);
	h = at(t, i);
	memset(h, 0, t->record_bytes);
	h->flow = *flow;
	h->hash = hash;
	link_last(t, i, list);
	t->used++;
	return h;
}

void lrp_tcp_flow_remove(struct lrp_tcp_flow_table *t, void *record)
{
	uint32_t mask = t->slots - 1, gap = index_of(t, record);

	unlink_record(t, record);
	t->used--;
	/* Whoever passed the gap on the way from its home to its slot moves in (Knuth, 6.4 R). */
	for (uint32_t i = (gap + 1) & mask; at(t, i)->flow.family; i = (i + 1) & mask) {
		struct lrp_tcp_flow_head *h = at(t, i);

		if (((i - h->hash) & mask) < ((i - gap) & mask))
			continue;
		relink(t, h, gap, gap);
		memcpy(at(t, gap), h, t->record_bytes);
		gap = i;
	}
	at(t, gap)->flow.family = 0;
}

void lrp_tcp_flow_requeue(struct lrp_tcp_flow_table *t, void *record, uint32_t list)
{
	unlink_record(t, record);
	link_last(t, index_of(t, record), list);
}

void *lrp_tcp_flow_first(const struct lrp_tcp_flow_table *t, uint32_t list)
{
	uint32_t i = t->list[list].first;

	return i == LRP_TCP_FLOW_NONE ? NULL : at(t, i);
}

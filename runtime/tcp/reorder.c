/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* reorder.c - ranges of the receive buffer that came before what precedes them, as SACK reports
 * them: the latest first (RFC 2018 4), duplicates before all (RFC 2883). */
#include <string.h>

#include "tcp_internal.h"

void lrp_tcp_dsack(struct lrp_tcp *c, uint32_t start, uint32_t end)
{
	if (c->sack && start != end)
		c->dsack = (struct lrp_tcp_sack){start, end};
}

bool lrp_tcp_reorder_insert(struct lrp_tcp *c, uint32_t start, uint32_t end)
{
	struct lrp_tcp_sack merged = {start, end};
	uint32_t kept = 0;

	for (uint32_t i = 0; i < c->ranges; i++) {
		struct lrp_tcp_sack r = c->range[i];

		if (lrp_seq_lt(r.end, start) || lrp_seq_gt(r.start, end)) {
			c->range[kept++] = r;
			continue;
		}
		lrp_tcp_dsack(c, lrp_seq_max(r.start, start), lrp_seq_min(r.end, end));
		merged.start = lrp_seq_min(merged.start, r.start);
		merged.end = lrp_seq_max(merged.end, r.end);
	}
	c->ranges = (uint8_t)kept;
	if (kept == LRP_TCP_RANGES_MAX)
		return false;
	memmove(&c->range[1], &c->range[0], kept * sizeof(c->range[0]));
	c->range[0] = merged;
	c->ranges++;
	return true;
}

void lrp_tcp_reorder_advance(struct lrp_tcp *c)
{
	uint32_t kept = 0, edge = c->rcv_nxt;

	for (uint32_t i = 0; i < c->ranges; i++) {
		struct lrp_tcp_sack r = c->range[i];

		/* Ranges do not touch each other: where this one ends, none else begins. */
		if (lrp_seq_gt(r.start, edge)) {
			c->range[kept++] = r;
			continue;
		}
		if (lrp_seq_lt(r.start, edge))
			lrp_tcp_dsack(c, r.start, lrp_seq_min(r.end, edge));
		c->rcv_nxt = lrp_seq_max(c->rcv_nxt, r.end);
	}
	c->ranges = (uint8_t)kept;
}

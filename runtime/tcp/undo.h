/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * undo.h - whether a reduction of the window was for nothing: every
 * retransmission was reported as a duplicate (RFC 3708), or what is acknowledged was sent before
 * the first of them (Eifel, RFC 3522).
 *
 * Pure.
 */
#ifndef LRP_TCP_UNDO_H
#define LRP_TCP_UNDO_H

#include <stdbool.h>
#include <stdint.h>

#include "segment.h"

struct lrp_tcp_undo {
	bool possible;	/* a reduction was made and may still turn out to be needless */
	bool resent;	/* something was sent again since */
	bool stamped;	/* `stamp` is valid */
	uint32_t una;	/* at the reduction */
	uint32_t stamp; /* timestamp of the first retransmission */
	uint32_t bytes; /* sent again, and not yet shown to be needless by D-SACK */
};

/* A reduction. `again`: bytes sent again before it that are still out. */
void lrp_tcp_undo_start(struct lrp_tcp_undo *u, uint32_t una, uint32_t again);
void lrp_tcp_undo_resent(struct lrp_tcp_undo *u, uint32_t len, uint32_t now_ts);
void lrp_tcp_undo_duplicate(struct lrp_tcp_undo *u, const struct lrp_tcp_sack *dsack);
/* The segment echoes a timestamp from before the first retransmission. */
bool lrp_tcp_undo_early(const struct lrp_tcp_undo *u, const struct lrp_tcp_segment *s);
/* All that was sent again was needless. */
bool lrp_tcp_undo_all_duplicates(const struct lrp_tcp_undo *u);

#endif

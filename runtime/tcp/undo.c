/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "undo.h"

#include "seq.h"

void lrp_tcp_undo_start(struct lrp_tcp_undo *u, uint32_t una, uint32_t again)
{
	u->possible = true;
	u->una = una;
	u->resent = again != 0;
	u->bytes = again; /* their D-SACKs are still to come */
	u->stamped &= again != 0;
}

void lrp_tcp_undo_resent(struct lrp_tcp_undo *u, uint32_t len, uint32_t now_ts)
{
	if (!u->stamped)
		u->stamp = now_ts;
	u->stamped = u->resent = true;
	u->bytes += len;
}

void lrp_tcp_undo_duplicate(struct lrp_tcp_undo *u, const struct lrp_tcp_sack *dsack)
{
	uint32_t len = dsack->end - dsack->start;

	if (!u->possible || lrp_seq_leq(dsack->end, u->una))
		return;
	u->bytes -= len < u->bytes ? len : u->bytes;
}

bool lrp_tcp_undo_early(const struct lrp_tcp_undo *u, const struct lrp_tcp_segment *s)
{
	return u->stamped && s->options & LRP_TCP_HAS_TIMESTAMP && s->ts_ecr &&
	       lrp_seq_lt(s->ts_ecr, u->stamp);
}

bool lrp_tcp_undo_all_duplicates(const struct lrp_tcp_undo *u)
{
	return u->possible && u->resent && !u->bytes;
}

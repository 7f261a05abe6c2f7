/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * timewait.h - connections in TIME_WAIT, compact, so that their channels can
 * be given back at once (paper, section 4.2; RFC 9293 3.6.1, RFC 6191, RFC 1337).
 *
 * Pure, as tcp.h has it. Memory of the owner; one thread at a time. When the table is full the
 * oldest entry makes room.
 */
#ifndef LRP_TCP_TIMEWAIT_H
#define LRP_TCP_TIMEWAIT_H

#include "flowtable.h"
#include "tcp.h"

#define LRP_TCP_TIMEWAIT_NS	   (2 * LRP_TCP_MSL_NS)
#define LRP_TCP_TIMEWAIT_ANSWER_NS 500000000ll /* one answer per entry in this time, as Linux */

struct lrp_tcp_timewait {
	struct lrp_tcp_flow_head head;
	uint32_t snd_nxt, rcv_nxt, ts_recent, ts_offset;
	int64_t began_ns, expires_ns;
	int64_t answered_ns; /* 0: never */
	uint16_t window;
	bool timestamps;
	uint8_t pad[5];
};
_Static_assert(sizeof(struct lrp_tcp_timewait) == 104, "compact");

struct lrp_tcp_timewaits {
	struct lrp_tcp_flow_table table; /* of struct lrp_tcp_timewait, one list: by age */
	uint64_t evicted, reused;
};

/* `slot`: `slots` zeroed entries, a power of two; three quarters of them are used. */
void lrp_tcp_timewait_init(struct lrp_tcp_timewaits *t, struct lrp_tcp_timewait *slot,
			   uint32_t slots, const uint64_t key[2]);
/* `c` is in TIME_WAIT; afterwards it may be freed. */
void lrp_tcp_timewait_add(struct lrp_tcp_timewaits *t, int64_t now, const struct lrp_tcp_flow *flow,
			  const struct lrp_tcp *c);

enum lrp_tcp_timewait_result {
	LRP_TCP_TIMEWAIT_NONE,	/* no such connection */
	LRP_TCP_TIMEWAIT_DROP,	/* absorbed */
	LRP_TCP_TIMEWAIT_REPLY, /* `reply` is to be sent */
	LRP_TCP_TIMEWAIT_REUSE, /* a new SYN that may have the flow (RFC 6191): the entry is gone,
				   the segment is the listener's, with *iss for
				   lrp_tcp_listen_input() */
};
enum lrp_tcp_timewait_result lrp_tcp_timewait_input(struct lrp_tcp_timewaits *t, int64_t now,
						    const struct lrp_tcp_flow *flow,
						    const struct lrp_tcp_segment *s,
						    struct lrp_tcp_tx *reply, uint32_t *iss);
/* True if the flow is there and a new active open may have it now: it had timestamps and is a second
 * old (RFC 6191). Then the entry is removed, and *iss is the ISN to use, never 0. */
bool lrp_tcp_timewait_reuse(struct lrp_tcp_timewaits *t, int64_t now,
			    const struct lrp_tcp_flow *flow, uint32_t *iss);
/* Frees what has expired; when to come again, or LRP_TCP_NEVER. */
int64_t lrp_tcp_timewait_timer(struct lrp_tcp_timewaits *t, int64_t now);

#endif

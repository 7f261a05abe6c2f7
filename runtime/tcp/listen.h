/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * listen.h - connections that are being opened from outside: half-open ones
 * in a compact table (RFC 9293 3.5), SYN cookies when it is full (RFC 4987).
 *
 * Pure, as tcp.h has it. The memory belongs to the owner and may be shared by
 * processes; one thread at a time. What has completed its handshake is the
 * owner's: it puts a connection on its accept queue, or refuses.
 */
#ifndef LRP_TCP_LISTEN_H
#define LRP_TCP_LISTEN_H

#include "flowtable.h"
#include "tcp.h"

#define LRP_TCP_SYNACK_RETRIES 5
#define LRP_TCP_HALF_ANSWER_NS 500000000ll /* one answer per entry in this time, as Linux */

/* One half-open connection. */
struct lrp_tcp_half {
	struct lrp_tcp_flow_head head; /* list: SYN-ACKs sent again so far, or deferred */
	uint32_t iss, irs, ts_recent;
	uint16_t window; /* of the SYN */
	uint16_t peer_mss;
	int64_t deadline_ns; /* when the SYN-ACK is due again, or the entry is given up */
	int64_t answered_ns; /* rate limit of answers out of turn; 0: none yet */
	uint8_t wscale;	     /* the peer's */
	uint8_t tries;	     /* SYN-ACKs sent again */
	uint8_t options;     /* LRP_TCP_HAS_*: what both sides have */
	bool ecn;
	bool deferred; /* the third ACK came, without data */
	uint8_t pad[3];
};
_Static_assert(sizeof(struct lrp_tcp_half) == 96, "compact");

struct lrp_tcp_listener {
	struct lrp_tcp_options opt;	 /* what its connections start with */
	struct lrp_tcp_flow_table table; /* of struct lrp_tcp_half */
	uint32_t max_used;		 /* beyond it: cookies, if allowed */
	bool cookies;
	bool full;	    /* the accept queue is: SYNs are dropped, third ACKs ignored */
	bool gated;	    /* SYNs are dropped, nothing else */
	uint8_t rcv_wscale; /* that a connection will offer */
	uint8_t synack_retries;
	uint16_t rcv_window; /* bytes offered in the SYN-ACK */
	uint32_t mtu;	     /* of the device, from the IP header on */
	int64_t defer_ns; /* TCP_DEFER_ACCEPT: a third ACK without data opens only so long after it;
			     0: at once */
	int64_t cookie_sent_ns; /* LRP_TCP_NEVER: never */
	uint64_t secret[2];	/* cookies, timestamp offsets, ISNs */
	uint64_t syns, cookies_sent, cookies_ok, overflows, completed, timeouts;
};

/* `half`: `halves` zeroed slots, a power of two, memory of the owner. `max_used` <= 3/4 of them.
 * `secret`: random, the owner's. Then the caller sets what differs: cookies (true), rcv_wscale (0),
 * rcv_window (65,535), mtu (1,500), synack_retries, defer_ns. */
void lrp_tcp_listen_init(struct lrp_tcp_listener *l, const struct lrp_tcp_options *o,
			 struct lrp_tcp_half *half, uint32_t halves, uint32_t max_used,
			 const uint8_t secret[32]);

enum lrp_tcp_listen_result {
	LRP_TCP_LISTEN_DROP,   /* nothing to do; counted */
	LRP_TCP_LISTEN_REPLY,  /* `reply` is to be sent: SYN-ACK, challenge ACK or reset */
	LRP_TCP_LISTEN_OPENED, /* handshake done: `opened` for lrp_tcp_accept(), then
				  lrp_tcp_input() with the same segment; the entry is gone */
};
/*
 * A segment for the listening port that belongs to no connection. `flow` is ours first. `iss`: from
 * lrp_tcp_timewait_input(), or 0. With l->full set, no SYN is answered and a third ACK leaves its
 * entry half-open (the peer or our SYN-ACK comes again), as Linux does without
 * tcp_abort_on_overflow.
 */
enum lrp_tcp_listen_result lrp_tcp_listen_input(struct lrp_tcp_listener *l, int64_t now,
						const struct lrp_tcp_flow *flow,
						const struct lrp_tcp_segment *s, uint32_t iss,
						struct lrp_tcp_tx *reply,
						struct lrp_tcp_opened *opened);
/* The next SYN-ACK to be sent again at `now`, its flow in *flow; false: none is due. Entries whose
 * retries are used up are freed on the way. */
bool lrp_tcp_listen_timer(struct lrp_tcp_listener *l, int64_t now, struct lrp_tcp_flow *flow,
			  struct lrp_tcp_tx *reply);
/* When lrp_tcp_listen_timer() wants to be called; LRP_TCP_NEVER. */
int64_t lrp_tcp_listen_deadline(const struct lrp_tcp_listener *l);
/* An ICMP error for a half-open connection: removes it if it is hard and about our SYN-ACK. */
void lrp_tcp_listen_unreachable(struct lrp_tcp_listener *l, const struct lrp_tcp_flow *flow,
				uint32_t seq, bool hard);
/* The listener is being closed: resets for all that is half-open, one by one. False: none left. */
bool lrp_tcp_listen_close(struct lrp_tcp_listener *l, struct lrp_tcp_flow *flow,
			  struct lrp_tcp_tx *reset);

#endif

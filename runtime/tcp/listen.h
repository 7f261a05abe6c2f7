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

#include "tcp.h"

/* One half-open connection: 96 bytes at most. */
struct lrp_tcp_half {
	struct lrp_tcp_flow flow; /* family 0: free */
	uint32_t iss, irs, ts_recent;
	int64_t deadline_ns;	/* when the SYN-ACK is due again, or the entry is given up */
	int64_t syn_ns;
	uint16_t window, peer_mss;
	uint8_t wscale;		/* the peer's; 255: no option */
	uint8_t tries;
	uint8_t flags;		/* LRP_TCP_HAS_SACK_OK, LRP_TCP_HAS_TIMESTAMP */
	bool ecn;
};

struct lrp_tcp_listener {
	struct lrp_tcp_options opt; /* what its connections start with */
	struct lrp_tcp_half *half;  /* open addressing, by keyed hash of the flow */
	uint32_t halves;	    /* slots, power of two */
	uint32_t used;
	uint32_t max_used;	    /* beyond it: cookies, if allowed */
	bool cookies;
	bool full;		    /* the accept queue is: SYNs are dropped, third ACKs ignored */
	uint16_t mtu;		    /* of the device */
	uint8_t rcv_wscale;	    /* that a connection will offer */
	uint32_t rcv_window;	    /* bytes offered in the SYN-ACK, at most 65,535 */
	uint32_t sweep;		    /* cursor of lrp_tcp_listen_timer() */
	int64_t next_ns;	    /* no deadline is before it */
	uint8_t secret[32];	    /* random, the owner's: hash, cookies, timestamp offsets, ISNs */
	uint64_t syns, cookies_sent, cookies_ok, overflows, completed, timeouts;
};

/* `half`: `halves` zeroed slots, memory of the owner. `max_used` <= 3/4 of them. */
void lrp_tcp_listen_init(struct lrp_tcp_listener *l, const struct lrp_tcp_options *o,
			 struct lrp_tcp_half *half, uint32_t halves, uint32_t max_used,
			 const uint8_t secret[32]);

enum lrp_tcp_listen_result {
	LRP_TCP_LISTEN_DROP,   /* nothing to do; counted */
	LRP_TCP_LISTEN_REPLY,  /* `reply` is to be sent: SYN-ACK, challenge ACK or reset */
	LRP_TCP_LISTEN_OPENED, /* handshake done: `opened` for lrp_tcp_accept(), then lrp_tcp_input()
				  with the same segment */
};
/*
 * A segment for the listening port that belongs to no connection. `flow` is ours first. With
 * l->full set, no SYN is answered and a third ACK leaves its entry half-open (the peer sends
 * again), as Linux does without tcp_abort_on_overflow.
 */
enum lrp_tcp_listen_result lrp_tcp_listen_input(struct lrp_tcp_listener *l, int64_t now,
						const struct lrp_tcp_flow *flow,
						const struct lrp_tcp_segment *s,
						struct lrp_tcp_tx *reply,
						struct lrp_tcp_opened *opened);
/* The next SYN-ACK to be sent again at `now`, its flow in *flow; false: none is due. Entries whose
 * retries (opt.syn_retries as synack retries, 5) are used up are freed on the way. */
bool lrp_tcp_listen_timer(struct lrp_tcp_listener *l, int64_t now, struct lrp_tcp_flow *flow,
			  struct lrp_tcp_tx *reply);
int64_t lrp_tcp_listen_deadline(const struct lrp_tcp_listener *l);
/* An ICMP error for a half-open connection: removes it if it is hard and in window. */
void lrp_tcp_listen_unreachable(struct lrp_tcp_listener *l, const struct lrp_tcp_flow *flow,
				uint32_t seq, bool hard);
/* The listener is being closed: resets for all half-open connections, one by one. False: none left. */
bool lrp_tcp_listen_close(struct lrp_tcp_listener *l, struct lrp_tcp_flow *flow,
			  struct lrp_tcp_tx *reset);

#endif

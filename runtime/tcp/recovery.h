/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * recovery.h - what of the data that is out to send again, and when: the scoreboard,
 * RTT, RACK-TLP and PRR put together (scoreboard.h, rtt.h, rack.h, prr.h); NewReno where the
 * peer has no SACK (RFC 6582); timeouts (RFC 6298, 5682); needless reductions undone (RFC 3522,
 * 3708).
 *
 *   lrp_tcp_recovery_sent(...)                 after each segment that takes sequence space
 *   lrp_tcp_recovery_ack(...)                  each acceptable acknowledgement
 *   lrp_tcp_recovery_timer(...)                at lrp_tcp_recovery_deadline()
 * and then, in this order, what _again() names and new data as far as _room() goes.
 *
 * Pure. Times in nanoseconds of the owner's clock, never 0, LRP_TCP_NEVER for no time.
 */
#ifndef LRP_TCP_RECOVERY_H
#define LRP_TCP_RECOVERY_H

#include <stdbool.h>
#include <stdint.h>

#include "cc.h"
#include "prr.h"
#include "rack.h"
#include "rtt.h"
#include "scoreboard.h"
#include "segment.h"
#include "undo.h"

#define LRP_TCP_NEVER		 INT64_MAX
#define LRP_TCP_MAX_ACK_DELAY_NS 200000000ll /* the receiver's, as Linux has it (RFC 8985 7.2) */

/* Numbered as TCP_INFO's tcpi_ca_state. */
enum lrp_tcp_recovery_state {
	LRP_TCP_OPEN,
	LRP_TCP_DISORDER,  /* duplicate or selective acknowledgements, no loss yet */
	LRP_TCP_CWR_STATE, /* window being reduced for ECN */
	LRP_TCP_RECOVERY,
	LRP_TCP_LOSS, /* after a retransmission timeout */
};

struct lrp_tcp_recovery {
	struct lrp_tcp_scoreboard board;
	struct lrp_tcp_rtt rtt;
	struct lrp_tcp_rack rack;
	struct lrp_tcp_prr prr;
	struct lrp_tcp_undo undo;
	uint8_t state;	   /* enum lrp_tcp_recovery_state */
	uint8_t backoff;   /* RTOs in a row; 0 as soon as una moves: for the owner's retries */
	uint8_t rto_shift; /* doublings of the RTO; until a new RTT sample (Karn) */
	/* the owner's */
	bool sack;	 /* negotiated; without it NewReno's duplicate counting (RFC 6582) */
	bool timestamps; /* negotiated: Eifel detection and RTT of retransmissions */
	bool more;	 /* new data waits, and the peer's window has room (F-RTO tries it first) */
	bool cwr;	 /* the window was reduced: the owner, with ECN, sends CWR and clears it */
	uint16_t segment; /* payload of the segments that are sent next; 0: the MSS */

	uint32_t high_seq;  /* nxt when this state began; it ends when that is acknowledged */
	uint32_t dupacks;   /* in a row */
	uint32_t dup_bytes; /* without SACK: what duplicates say has arrived */
	bool held;     /* without SACK: duplicates below high_seq mean nothing (RFC 6582 4.1) */
	bool frto;     /* whether the timeout was spurious is still open (RFC 5682) */
	bool frto_new; /* new data is to be sent first, to find out */
	uint32_t ts_offset; /* of the owner's timestamp clock, in ms, to the time */
	bool ecn_hold; /* no reduction for ECN until ecn_seq is acknowledged (RFC 3168 6.1.2) */
	uint32_t ecn_seq;
	/* tail loss probe (RFC 8985 7) */
	bool tlp_out, tlp_again; /* one is out; it carried old data */
	uint32_t tlp_end;
	/* use of the window (RFC 2861, RFC 9661) */
	bool limited;	    /* it held the sender back in this round trip */
	uint32_t max_out;   /* most that was out in it */
	uint32_t used_end;  /* nxt when it began */
	int64_t limited_ns; /* when the window was full last, */
	uint32_t used;	    /* and the most that was out since */
	int64_t sent_ns;    /* when data was sent last, new or again */
	/* timers */
	int64_t rto_at_ns, tlp_at_ns, reo_at_ns;
	/* totals, for TCP_INFO */
	uint64_t delivered, bytes_again, segs_again, dsack_bytes;
	uint32_t reordering; /* segments */
	uint32_t dsacks, spurious, timeouts, recoveries, probes;
	uint32_t reordered; /* how often */
	uint64_t delivered_ce;
	uint32_t rate_bytes; /* delivery rate: so much */
	int64_t rate_ns;     /* in so long; 0: none yet; */
	bool rate_limited;   /* the application had no more */
	/* the application had nothing to send; until so much is delivered samples are its rate */
	uint64_t bubble; /* 0: not so */
};

/* What an acceptable acknowledgement did. */
struct lrp_tcp_acked {
	uint32_t bytes;	 /* by which una moved, SYN and FIN included */
	uint32_t sacked; /* newly sacked */
	bool progress;	 /* anything new was acknowledged: keepalive and probes start over */
	int64_t rtt_ns;	 /* sample, or -1 */
};

/* `run`: `runs` records (16 to 65,534), memory of the owner, who may have
 * r->board grow (scoreboard.h). una = nxt = isn. */
void lrp_tcp_recovery_init(struct lrp_tcp_recovery *r, struct lrp_tcp_sent_run *run, uint16_t runs,
			   uint32_t isn);
/* [seq, seq + len) went out; beyond nxt: new, else again. Starts the timers. `now_ts`: the
 * timestamp it carried. */
void lrp_tcp_recovery_sent(struct lrp_tcp_recovery *r, struct lrp_tcp_cc *cc, int64_t now_ns,
			   uint32_t seq, uint32_t len, uint32_t now_ts);
/* The application has new data: if nothing was out for longer than the RTO, the window starts over
 * (RFC 5681 4.1). Before lrp_tcp_recovery_room() is asked. */
void lrp_tcp_recovery_restart(struct lrp_tcp_recovery *r, struct lrp_tcp_cc *cc, int64_t now_ns);

/*
 * An acceptable segment with ACK: ack <= nxt, checked by the caller. Below una only its SACK blocks
 * count: it was overtaken by another one. `window_update`: it
 * changed the send window, so it is no duplicate. `ece`: ECN echo, if ECN is in use. Everything
 * about what it acknowledges happens here: scoreboard, RTT, losses, undo, congestion window,
 * timers.
 */
void lrp_tcp_recovery_ack(struct lrp_tcp_recovery *r, struct lrp_tcp_cc *cc, int64_t now_ns,
			  const struct lrp_tcp_segment *s, bool window_update, bool ece,
			  struct lrp_tcp_acked *acked);

/* The next run to send again, at most `max` bytes of it; false: none, or the window is full (PRR).
 */
bool lrp_tcp_recovery_again(const struct lrp_tcp_recovery *r, const struct lrp_tcp_cc *cc,
			    uint32_t max, uint32_t *seq, uint32_t *len);
/* Bytes of new data that the congestion window allows now. */
uint32_t lrp_tcp_recovery_room(const struct lrp_tcp_recovery *r, const struct lrp_tcp_cc *cc);
/* The application writes, and all that it had written was sent: what is delivered until then says
 * nothing about the path unless the window was full. */
void lrp_tcp_recovery_unlimited(struct lrp_tcp_recovery *r, const struct lrp_tcp_cc *cc);
/* Bytes that are thought to be in the network. */
uint32_t lrp_tcp_recovery_in_flight(const struct lrp_tcp_recovery *r);

/* When lrp_tcp_recovery_timer() wants to be called; LRP_TCP_NEVER if and only if nothing is out. */
int64_t lrp_tcp_recovery_deadline(const struct lrp_tcp_recovery *r);
enum lrp_tcp_recovery_event {
	LRP_TCP_TIMER_NONE,    /* nothing was due, or nothing came of it */
	LRP_TCP_TIMER_LOST,    /* losses were found: send again */
	LRP_TCP_TIMER_PROBE,   /* a tail loss probe is due, whatever the window: new data up to an
				  MSS,   or lrp_tcp_recovery_probe(); then lrp_tcp_recovery_probed()
				*/
	LRP_TCP_TIMER_TIMEOUT, /* all is lost; r->backoff counts */
};
/* One event at a time: to be called until it says NONE. */
enum lrp_tcp_recovery_event lrp_tcp_recovery_timer(struct lrp_tcp_recovery *r,
						   struct lrp_tcp_cc *cc, int64_t now_ns);
/* What the probe is to carry if there is no new data: the last segment again, at most `mss`. */
void lrp_tcp_recovery_probe(const struct lrp_tcp_recovery *r, uint32_t mss, uint32_t *seq,
			    uint32_t *len);
/* A probe went out (after lrp_tcp_recovery_sent()). `again`: it carried old data. */
void lrp_tcp_recovery_probed(struct lrp_tcp_recovery *r, bool again);

/* The path MTU fell: everything that is out is to be sent again, no reduction. */
void lrp_tcp_recovery_resend(struct lrp_tcp_recovery *r);
/* True if [seq, end), which tried a larger path MTU, is all that was lost: it is to be sent again,
 * and the reduction is taken back (RFC 4821 7.7). */
bool lrp_tcp_recovery_forgive(struct lrp_tcp_recovery *r, struct lrp_tcp_cc *cc, uint32_t seq,
			      uint32_t end);
/* RTT of the handshake, when recovery was not asked (cookies). */
void lrp_tcp_recovery_rtt(struct lrp_tcp_recovery *r, int64_t now_ns, int64_t rtt_ns);

/* NULL, or which invariant does not hold. For tests: O(runs). */
const char *lrp_tcp_recovery_check(const struct lrp_tcp_recovery *r);

#endif

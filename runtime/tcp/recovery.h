/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * recovery.h - what was sent and is not yet acknowledged, and what of it to
 * send again: SACK scoreboard (RFC 2018, 2883), RTT and RTO (RFC 6298), RACK-TLP
 * (RFC 8985), PRR (RFC 6937), spurious recoveries undone (RFC 3522, 5682).
 *
 * A record covers a run of sequence space that was sent at one time; runs that
 * are acknowledged in part are split. Records lie in an array of the owner's,
 * linked by index in sequence order. When none is free, nothing new is sent
 * until an acknowledgement frees one.
 *
 * Pure. Times in nanoseconds of the owner's clock, LRP_TCP_NEVER for no time.
 */
#ifndef LRP_TCP_RECOVERY_H
#define LRP_TCP_RECOVERY_H

#include <stdbool.h>
#include <stdint.h>

#include "cc.h"
#include "segment.h"

#define LRP_TCP_NEVER INT64_MAX
#define LRP_TCP_RTO_MIN_NS 200000000ll /* as Linux; RFC 6298 says 1 s, see docs */
#define LRP_TCP_RTO_MAX_NS 120000000000ll
#define LRP_TCP_RTO_INITIAL_NS 1000000000ll

enum lrp_tcp_sent_flags {
	LRP_TCP_SENT_SACKED = 1 << 0,
	LRP_TCP_SENT_LOST = 1 << 1,	/* to be sent again */
	LRP_TCP_SENT_AGAIN = 1 << 2,	/* was sent more than once (Karn) */
	LRP_TCP_SENT_PROBE = 1 << 3,	/* sent as a tail loss probe */
};

struct lrp_tcp_sent_run {
	uint32_t seq, end;	  /* [seq, end), SYN and FIN count */
	int64_t sent_ns;	  /* last time */
	uint64_t delivered;	  /* c->recovery.delivered when it was sent (delivery rate) */
	uint16_t next, prev;	  /* index, LRP_TCP_SENT_NONE */
	uint8_t flags;
	uint8_t times;		  /* sent so often, saturating */
	uint8_t pad[2];
};
#define LRP_TCP_SENT_NONE 0xffff

enum lrp_tcp_recovery_state { /* as TCP_INFO's tcpi_ca_state */
	LRP_TCP_OPEN,
	LRP_TCP_DISORDER,
	LRP_TCP_CWR_STATE, /* window being reduced for ECN or local reasons */
	LRP_TCP_RECOVERY,
	LRP_TCP_LOSS, /* after a retransmission timeout */
};

struct lrp_tcp_recovery {
	struct lrp_tcp_sent_run *run; /* the owner's array */
	uint16_t runs, free, first, last;
	uint16_t used;
	uint8_t state;		      /* enum lrp_tcp_recovery_state */
	uint8_t backoff;	      /* RTOs in a row */
	bool sack;		      /* negotiated; without it NewReno's duplicate counting (RFC 6582) */
	bool timestamps;	      /* negotiated: Eifel detection and RTT of retransmissions */
	bool limited;		      /* cwnd held the sender back since the last ACK */
	uint32_t dupacks;
	/* sequence space */
	uint32_t una, nxt;	      /* copies of the connection's snd_una and snd_nxt */
	uint32_t high_seq;	      /* nxt when recovery began; recovery ends when it is acknowledged */
	uint32_t sacked_bytes, lost_bytes, retrans_bytes; /* retrans: sent again and still out */
	/* RTT */
	int64_t srtt_ns, rttvar_ns, rto_ns; /* srtt 0: no sample yet */
	int64_t min_rtt_ns, min_rtt_at_ns;
	/* RACK */
	int64_t rack_sent_ns, rack_rtt_ns;
	uint32_t rack_end, rack_reo_mult, rack_reo_persist, rack_dsack_round;
	bool rack_reordering, rack_dsack_seen;
	/* TLP */
	bool tlp_out, tlp_retrans;
	uint32_t tlp_end;
	/* PRR */
	uint32_t prr_delivered, prr_out, recover_fs;
	/* undo */
	uint32_t undo_una;	      /* una at the start; valid while undo_possible */
	uint32_t undo_retrans;	      /* retransmissions not yet shown to be needless by D-SACK */
	uint32_t retrans_ts;	      /* timestamp of the first retransmission (Eifel) */
	bool undo_possible, frto;
	uint32_t ece_seq;	      /* no second reduction before it is acknowledged (RFC 3168) */
	/* timers: at most one of them is armed */
	int64_t rto_at_ns, tlp_at_ns, reo_at_ns;
	/* totals, for TCP_INFO */
	uint64_t delivered, bytes_retrans, segs_retrans;
	uint32_t reordering, dsacks, spurious, timeouts;
};

/* What an acceptable acknowledgement did. */
struct lrp_tcp_acked {
	uint32_t bytes;	  /* by which una moved, SYN and FIN included */
	uint32_t sacked;  /* newly sacked */
	bool progress;	  /* anything new was acknowledged: keepalive and probes start over */
	int64_t rtt_ns;	  /* sample, or -1 */
};

/* `run`: `runs` records (16 to 65,534), memory of the owner. una = nxt = isn. */
void lrp_tcp_recovery_init(struct lrp_tcp_recovery *r, struct lrp_tcp_sent_run *run, uint16_t runs,
			   uint32_t isn);
/* A larger array; the records move. */
void lrp_tcp_recovery_grow(struct lrp_tcp_recovery *r, struct lrp_tcp_sent_run *run, uint16_t runs);

/*
 * [seq, seq + len) went out; beyond nxt: new, else again. Arms the timer. `now_ts`:
 * the timestamp it carried. A record must be free (lrp_tcp_recovery_full() was asked).
 */
void lrp_tcp_recovery_sent(struct lrp_tcp_recovery *r, struct lrp_tcp_cc *cc, int64_t now_ns,
			   uint32_t seq, uint32_t len, uint32_t now_ts);
bool lrp_tcp_recovery_full(const struct lrp_tcp_recovery *r);

/*
 * An acceptable segment with ACK: una <= ack <= nxt, checked by the caller. `window_update`: it
 * changed the send window, so it is no duplicate. `ece`: ECN echo, if ECN is in use. Everything about what it
 * acknowledges happens here: scoreboard, RTT, losses, undo, congestion window, timers.
 */
void lrp_tcp_recovery_ack(struct lrp_tcp_recovery *r, struct lrp_tcp_cc *cc, int64_t now_ns,
			  const struct lrp_tcp_segment *s, bool window_update, bool ece,
			  struct lrp_tcp_acked *acked);

/* The next run to send again, at most `max` bytes of it; false: none, or the window is full (PRR). */
bool lrp_tcp_recovery_again(const struct lrp_tcp_recovery *r, const struct lrp_tcp_cc *cc,
			    uint32_t max, uint32_t *seq, uint32_t *len);
/* Bytes of new data that the congestion window allows now. */
uint32_t lrp_tcp_recovery_room(const struct lrp_tcp_recovery *r, const struct lrp_tcp_cc *cc);
/* Bytes that are thought to be in the network. */
uint32_t lrp_tcp_recovery_in_flight(const struct lrp_tcp_recovery *r);

/* When lrp_tcp_recovery_timer() wants to be called; LRP_TCP_NEVER. */
int64_t lrp_tcp_recovery_deadline(const struct lrp_tcp_recovery *r);
enum lrp_tcp_recovery_event {
	LRP_TCP_TIMER_NONE,	/* nothing was due */
	LRP_TCP_TIMER_LOST,	/* losses were found: send again */
	LRP_TCP_TIMER_PROBE,	/* a tail loss probe is due: lrp_tcp_recovery_probe() */
	LRP_TCP_TIMER_TIMEOUT,	/* all is lost; r->backoff counts */
};
enum lrp_tcp_recovery_event lrp_tcp_recovery_timer(struct lrp_tcp_recovery *r,
						   struct lrp_tcp_cc *cc, int64_t now_ns);
/* What the probe is to carry if there is no new data: the last segment again, at most `mss`. */
void lrp_tcp_recovery_probe(const struct lrp_tcp_recovery *r, uint32_t mss, uint32_t *seq,
			    uint32_t *len);
/* A probe went out (after lrp_tcp_recovery_sent()). */
void lrp_tcp_recovery_probed(struct lrp_tcp_recovery *r, bool again);

/* The peer shrank or the path MTU fell: everything that is out is to be sent again, no reduction. */
void lrp_tcp_recovery_resend(struct lrp_tcp_recovery *r);
/* RTT of the handshake, when recovery was not asked (cookies). */
void lrp_tcp_recovery_rtt(struct lrp_tcp_recovery *r, int64_t now_ns, int64_t rtt_ns);

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tcp.h - a TCP connection (RFC 9293) as a value: (connection, now, segment) ->
 * segments and the next deadline. It reads no clock, does no I/O, takes no
 * lock, allocates nothing; where and when it runs is the caller's business.
 *
 *   lrp_tcp_input(c, now, &segment, NULL);         or lrp_tcp_timer(), lrp_tcp_write(), ...
 *   while (lrp_tcp_output(c, now, max, &tx)) {
 *           if (it cannot be sent)                 ENOBUFS, EAGAIN: nothing has changed,
 *                   break;                         the same comes out next time
 *           lrp_tcp_sent(c, now, &tx);
 *   }
 *   sleep until lrp_tcp_deadline(c)
 *
 * The byte with sequence number s lies at buffer[s & (size - 1)]; sizes are powers
 * of two, so that they divide the sequence space. Buffers and records belong to the owner, who may
 * exchange them for others between calls.
 *
 * One thread at a time per connection. Times: nanoseconds of any clock that does not go
 * back, never 0; LRP_TCP_NEVER: no time. Errors: -errno.
 */
#ifndef LRP_TCP_H
#define LRP_TCP_H

#include <linux/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "cc.h"
#include "recovery.h"
#include "segment.h"
#include "seq.h"

/* Numbered as TCP_INFO has them. */
enum lrp_tcp_state {
	LRP_TCP_ESTABLISHED = 1,
	LRP_TCP_SYN_SENT,
	LRP_TCP_SYN_RCVD,
	LRP_TCP_FIN_WAIT_1,
	LRP_TCP_FIN_WAIT_2,
	LRP_TCP_TIME_WAIT,
	LRP_TCP_CLOSED,
	LRP_TCP_CLOSE_WAIT,
	LRP_TCP_LAST_ACK,
	LRP_TCP_LISTEN,
	LRP_TCP_CLOSING,
};

#define LRP_TCP_MSL_NS	      30000000000ll /* TIME_WAIT lasts 60 s, as in Linux */
#define LRP_TCP_DELACK_MIN_NS 40000000ll
#define LRP_TCP_DELACK_MAX_NS 200000000ll
#define LRP_TCP_RANGES_MAX    32 /* received out of order; what needs one more is dropped */
#define LRP_TCP_RECORDS_MAX   16 /* written with LRP_TCP_EOR and not sent; then writes wait */
#define LRP_TCP_QUICK_ACKS    16 /* ACKs sent at once at the start, for the sender's slow start */

/* What an owner may set before it opens, and change later where the call says so. */
struct lrp_tcp_options {
	bool nodelay, cork, keepalive;
	bool ecn;		       /* offer and accept it */
	bool timestamps, sack, wscale; /* offer and accept them; default all true */
	bool oob_inline;
	uint16_t mss; /* TCP_MAXSEG, 0: what the path gives */
	/* connect(): so many timeouts before the first that doubles; they do not count among
	 * syn_retries. 0; as Linux's tcp_syn_linear_timeouts. */
	uint8_t syn_linear;
	uint32_t keep_idle_s, keep_interval_s, keep_count;
	uint32_t user_timeout_ms;      /* 0: none */
	uint32_t syn_retries, retries; /* timeouts until the connection fails: 6, 15 */
	uint32_t linger2_s;	       /* FIN_WAIT_2 of a closed socket: 60 */
	/* bytes: auto-tuning asks for no more, and no less. rcv_max rules the window scale, and no
	 * larger window is offered; no more than snd_max waits in the send buffer. */
	uint32_t snd_max, rcv_max, snd_min, rcv_min;
	uint32_t rcv_low; /* SO_RCVLOWAT: readable with so many bytes, 0: 1 */
	/* TCP_NOTSENT_LOWAT: writable with less than half of it not sent; 0: no limit */
	uint32_t notsent_low;
	/* For whoever sends the segments: of the IP header, [0] IPv4, [1] IPv6; ttl 0: the route's
	 */
	uint8_t tos[2], ttl[2];
	const struct lrp_tcp_cc_ops *cc;
};
void lrp_tcp_options_default(struct lrp_tcp_options *o);

enum lrp_tcp_ready {
	LRP_TCP_READABLE = 1 << 0,    /* data, end of stream, or an error */
	LRP_TCP_WRITABLE = 1 << 1,    /* room for a third of the buffer, or closed */
	LRP_TCP_URGENT = 1 << 2,      /* out-of-band data */
	LRP_TCP_READ_CLOSED = 1 << 3, /* the peer's FIN, or shutdown: EPOLLRDHUP */
	LRP_TCP_HUNG_UP = 1 << 4,     /* both directions: EPOLLHUP */
	LRP_TCP_ERROR = 1 << 5,	      /* c->error is set: EPOLLERR */
	LRP_TCP_CONNECTED = 1 << 6,   /* past SYN_SENT and SYN_RCVD */
};

enum lrp_tcp_tx_kind {
	LRP_TCP_TX_ACK,	       /* nothing but an acknowledgement */
	LRP_TCP_TX_NEW,	       /* new data, SYN or FIN */
	LRP_TCP_TX_AGAIN,      /* a retransmission */
	LRP_TCP_TX_TAIL_PROBE, /* RFC 8985 7.3; may carry new data */
	LRP_TCP_TX_PROBE,      /* of a zero window, or keepalive */
	LRP_TCP_TX_MTU_PROBE,  /* new data in a segment larger than c->mss (RFC 4821) */
	LRP_TCP_TX_RESET,
};

/* What output has to send besides data. */
enum lrp_tcp_due {
	LRP_TCP_DUE_ACK = 1 << 0,
	LRP_TCP_DUE_RESET = 1 << 1, /* with reset_seq */
	LRP_TCP_DUE_TAIL_PROBE = 1 << 2,
	LRP_TCP_DUE_PROBE = 1 << 3, /* of a zero window, or keepalive */
	LRP_TCP_DUE_PUSH = 1 << 4,  /* what is small or corked has waited long enough */
};

enum lrp_tcp_urgent {
	LRP_TCP_URGENT_NONE,
	LRP_TCP_URGENT_ANNOUNCED, /* the byte has not come yet */
	LRP_TCP_URGENT_HERE,	  /* in oob_byte */
	LRP_TCP_URGENT_READ,	  /* the mark still stands in the stream */
};

/* What held the sender back; from the second on it is busy (TCP_INFO). */
enum lrp_tcp_held {
	LRP_TCP_HELD_APP,    /* nothing is out, nothing waits */
	LRP_TCP_HELD_NET,    /* the congestion window, or the way there and back */
	LRP_TCP_HELD_PEER,   /* its window */
	LRP_TCP_HELD_BUFFER, /* all is out, and the application was refused more */
};

struct lrp_tcp_buffer {
	uint8_t *base;
	uint32_t size; /* power of two; 0: none */
};

struct lrp_tcp {
	/* What each segment needs. */
	uint8_t state; /* enum lrp_tcp_state */
	uint8_t due;   /* enum lrp_tcp_due */
	uint8_t rcv_wscale, snd_wscale;
	bool timestamps, sack, ecn; /* negotiated */
	uint8_t ranges;
	uint8_t rcv_urgent;	   /* enum lrp_tcp_urgent */
	bool opening;		   /* our SYN is not acknowledged yet */
	bool pingpong;		   /* data goes both ways in turns: ACKs wait for the reply */
	uint8_t quick;		   /* so many ACKs more go out at once */
	bool attended;		   /* by the host: a call of the application is at it */
	bool owing;		   /* an ACK would have gone out at once but for that */
	bool prompt;		   /* TCP_QUICKACK: nothing of the kind */
	uint16_t mss;		   /* payload of a full segment with the options that go in each */
	uint16_t rcv_mss;	   /* largest segment seen: delayed ACK counts in it */
	uint32_t rcv_nxt, rcv_wup; /* rcv_wup: rcv_nxt when the last ACK was sent */
	uint32_t rcv_adv;	   /* right edge that was advertised: never moves left */
	uint32_t rcv_read;	   /* next byte that the application reads */
	uint32_t ts_recent;
	uint32_t snd_una, snd_nxt, snd_wnd, snd_wl1;
	uint32_t snd_end;	   /* first sequence number that the application has not written */
	int64_t heard_ns, data_ns; /* last acceptable segment, last data received */
	int64_t delack_ns;	   /* when the ACK is due that waits */
	int64_t ack_delay_ns;	   /* ATO as Linux estimates it; 0: no data yet */
	struct lrp_tcp_buffer rcv, snd;

	/* sending (RFC 9293 3.3.1) */
	uint32_t iss, max_wnd; /* max_wnd: largest window the peer has offered */
	uint32_t snd_sml;      /* end of the last segment that was not full (Minshall) */
	uint32_t snd_up;       /* end of urgent data */
	uint32_t reset_seq, reset_ack;
	uint32_t
		record[LRP_TCP_RECORDS_MAX]; /* where records end that are not sent: no segment goes
						 beyond */
	bool snd_urgent;		     /* snd_up has not been acknowledged */
	bool snd_full;		    /* the last write did not fit, and there is not much room yet */
	bool more;		    /* MSG_MORE of the last write */
	bool push;		    /* lrp_tcp_push(): what was written goes, full segment or not */
	uint8_t records;	    /* in `record` */
	bool shut_read, shut_write; /* no more is read; a FIN follows what was written */
	bool orphan;		    /* no descriptor is left: lrp_tcp_close() */
	bool fin_received;	    /* in order: counted in rcv_nxt */
	bool fin_early;		    /* out of order, at rcv_fin */
	bool ece_pending;
	bool reset_bare;	 /* the reset that is due carries no ACK, */
	bool reset_answer;	 /* is the answer to a segment: without options and window */
	bool wscale_ok;		 /* both ends scale their windows */
	uint8_t ip_len;		 /* header: 20 or 40 */
	uint8_t wscale_offer;	 /* of our SYN */
	uint8_t duplicates;	 /* ACKs due for out-of-order segments of a peer without SACK */
	uint16_t peer_mss;	 /* the peer's option, 0: none */
	uint16_t path_mss;	 /* what the path MTU allows, without options */
	uint16_t black_hole_mss; /* saved path_mss while a black hole is suspected; 0 */
	struct {
		uint16_t most;	   /* that our device takes, without options */
		uint16_t failed;   /* the least that did not get through; UINT16_MAX: none */
		uint16_t size;	   /* that is being tried, 0: none; */
		uint8_t tries;	   /* how often it was lost; */
		uint32_t seq, end; /* the segment that does */
		int64_t next_ns;   /* from then on the next size; NEVER: there is none */
	} search;		   /* for a larger path MTU (RFC 4821); pmtu.c */
	uint16_t probes;	   /* of a zero window, in a row */
	uint16_t unanswered;	   /* probes and keepalives, in a row */
	uint16_t local_drops;	   /* in a row */
	int error;		   /* positive errno, until it is taken */
	int soft_error;		   /* from ICMP: what a timeout then reports (RFC 1122 4.2.3.9) */

	/* receiving */
	uint32_t irs;
	uint32_t rcv_up;    /* sequence number of the urgent byte */
	uint32_t rcv_fin;   /* of the FIN, with fin_early */
	uint32_t rcv_quota; /* bytes that the channel can still take: lrp_tcp_quota() */
	uint8_t oob_byte;
	/* received out of order: latest first, disjoint */
	struct lrp_tcp_sack range[LRP_TCP_RANGES_MAX];
	struct lrp_tcp_sack dsack; /* to be reported once; start == end: none */

	uint32_t ts_offset; /* our timestamp clock is now_ns / 1 ms + ts_offset (RFC 7323) */
	int64_t ts_recent_ns;

	/* timers, LRP_TCP_NEVER when off; retransmission is recovery's */
	int64_t probe_ns; /* zero window, or a small segment held back; only with nothing out */
	int64_t keep_ns, wait_ns; /* wait_ns: FIN_WAIT_2 of an orphan, TIME_WAIT */
	int64_t retry_ns;	  /* after a local drop */
	int64_t sent_ns;	  /* last data sent */
	int64_t asked_ns;	  /* last probe or keepalive sent */
	int64_t progress_ns;  /* since then nothing of what is out or waiting was acknowledged */
	int64_t challenge_ns; /* rate limit of RFC 5961 7 */
	/* receive auto-tuning (dynamic right-sizing): bytes read in the last RTT of the receiver */
	int64_t rcv_rtt_ns, rcv_rtt_at_ns, rcv_tune_ns;
	uint32_t rcv_tune_read, rcv_rtt_seq, rcv_wanted;

	struct lrp_tcp_options opt;
	struct lrp_tcp_recovery recovery;
	struct lrp_tcp_cc cc;

	/* totals */
	uint64_t bytes_sent, bytes_acked, bytes_received;
	uint32_t segs_in, segs_out, data_segs_in, data_segs_out, challenges, disordered;
	uint8_t held;	  /* enum lrp_tcp_held, */
	int64_t since_ns; /* since then */
	int64_t held_ns[LRP_TCP_HELD_BUFFER + 1];
};

/* ---- opening; open.c ---------------------------------------------------- */

struct lrp_tcp_memory {
	struct lrp_tcp_buffer snd, rcv;
	struct lrp_tcp_sent_run *run;
	uint16_t runs;
};

/* CLOSED; all later calls are allowed. `o` is copied; NULL: defaults. */
void lrp_tcp_init(struct lrp_tcp *c, const struct lrp_tcp_options *o,
		  const struct lrp_tcp_memory *m);
/* Active open: SYN_SENT; output has the SYN. `mtu`: of the path, from the IP header on.
 * `ts_offset`: random. */
void lrp_tcp_connect(struct lrp_tcp *c, int64_t now, uint8_t family, uint32_t mtu, uint32_t iss,
		     uint32_t ts_offset);

/* What a listener knows of a handshake that has ended (listen.h). */
struct lrp_tcp_opened {
	uint32_t iss, irs;
	uint16_t peer_mss;
	uint8_t snd_wscale, rcv_wscale; /* as negotiated, 0 without the option */
	bool wscale, timestamps, sack, ecn;
	uint32_t ts_offset, ts_recent;
	uint32_t window;     /* of the peer's SYN, unscaled */
	uint32_t rcv_window; /* that our SYN-ACK offered: no more than the receive buffer */
	int64_t rtt_ns;	     /* of the handshake; -1: not known */
};
/* Passive open, past the handshake: ESTABLISHED. Then lrp_tcp_input() gets the segment with the
 * third ACK, which may carry data. */
void lrp_tcp_accept(struct lrp_tcp *c, int64_t now, uint8_t family, uint32_t mtu,
		    const struct lrp_tcp_opened *o);

/* ---- segments ----------------------------------------------------------- */

/* Where in-order payload may go at once, instead of the receive buffer. What is filled is
 * consumed: iov, count and the entry that is filled in part move on. */
struct lrp_tcp_into {
	struct iovec *iov;
	uint32_t count;
	uint32_t done; /* bytes put there, added up; the application has read them */
};

/*
 * input.c: a segment of this connection arrived (RFC 9293 3.10.7). `into`: NULL, or where the
 * calling reader wants the data; it is used only if nothing is waiting in the buffer. 0, or
 * LRP_DROPPED(reason) if it was no use: STALE (unacceptable, old, out of window), MEMORY (no room),
 * CHECKSUM (of lrp_tcp_segment_read(); nothing has changed, but what `into` has not consumed may be
 * overwritten); counted by the caller; an ACK may be due.
 */
int lrp_tcp_input(struct lrp_tcp *c, int64_t now, const struct lrp_tcp_segment *s,
		  struct lrp_tcp_into *into);
/*
 * True if `s` is a SYN that may open a new incarnation of the flow, though this connection still
 * has it: it is CLOSED, or in TIME_WAIT as timewait.h has it. Then the owner gives the flow up, and
 * the segment is the listener's, with *iss for lrp_tcp_listen_input(). lrp_tcp_input() answers no
 * such SYN in CLOSED, and everything else there with a reset (RFC 9293 3.10.7.1).
 */
bool lrp_tcp_reopens(const struct lrp_tcp *c, int64_t now, const struct lrp_tcp_segment *s,
		     uint32_t *iss);

/* output.c: what is to be sent next, at most `max` bytes of payload in one run (segmentation
 * offload; at least one MSS is always allowed). False: nothing is. Changes nothing. */
bool lrp_tcp_output(const struct lrp_tcp *c, int64_t now, uint32_t max, struct lrp_tcp_tx *tx);
/* It was handed to the device. */
void lrp_tcp_sent(struct lrp_tcp *c, int64_t now, const struct lrp_tcp_tx *tx);

/* timer.c */
int64_t lrp_tcp_deadline(const struct lrp_tcp *c);
/* Does what is due at `now`; harmless if nothing is. */
void lrp_tcp_timer(struct lrp_tcp *c, int64_t now);

/* ---- the application; user.c -------------------------------------------- */

enum lrp_tcp_io {
	LRP_TCP_MORE = 1 << 0, /* MSG_MORE: hold back a segment that is not full */
	LRP_TCP_OOB = 1 << 1,
	LRP_TCP_PEEK = 1 << 2,
	LRP_TCP_TRUNC = 1 << 3, /* count, and unless peeked at discard, instead of copying */
	LRP_TCP_EOR = 1 << 4,	/* MSG_EOR: what is written next begins a segment */
};
/* Bytes taken (fewer if the buffer is full), -EAGAIN (full, or being opened), -EPIPE, or c->error
 * negated and taken. */
ssize_t lrp_tcp_write(struct lrp_tcp *c, int64_t now, const struct iovec *iov, uint32_t count,
		      int io);
/* Bytes read, 0 at the end of the stream, -EAGAIN, -ENOTCONN, -EINVAL (LRP_TCP_OOB without any), or
 * the error. A window update may be due afterwards. */
ssize_t lrp_tcp_read(struct lrp_tcp *c, int64_t now, const struct iovec *iov, uint32_t count,
		     int io);
/* -ENOTCONN is the caller's. */
void lrp_tcp_shutdown(struct lrp_tcp *c, int64_t now, bool read, bool write);
/* The last descriptor is gone: FIN after what was written, or a reset if data is left unread (RFC
 * 2525 2.17). Afterwards output, timers and input go on until LRP_TCP_CLOSED or TIME_WAIT. */
void lrp_tcp_close(struct lrp_tcp *c, int64_t now);
/* SO_LINGER with 0 seconds: a reset, CLOSED. */
void lrp_tcp_abort(struct lrp_tcp *c, int64_t now);
uint32_t lrp_tcp_ready(const struct lrp_tcp *c);    /* LRP_TCP_READABLE, ... */
int lrp_tcp_error(struct lrp_tcp *c);		    /* positive, and taken */
uint32_t lrp_tcp_readable(const struct lrp_tcp *c); /* FIONREAD */
/* Bytes that make it readable: opt.rcv_low, or what there is room for. */
uint32_t lrp_tcp_low_water(const struct lrp_tcp *c);
uint32_t lrp_tcp_unsent(const struct lrp_tcp *c); /* SIOCOUTQ: written, not acknowledged */
bool lrp_tcp_at_mark(const struct lrp_tcp *c);	  /* SIOCATMARK */
/* Any time; what rules the handshake (timestamps, sack, wscale, ecn, mss, rcv_max) counts before it
 * opens only. */
void lrp_tcp_options_set(struct lrp_tcp *c, int64_t now, const struct lrp_tcp_options *o);
/* TCP_NODELAY was set, now or once more: what was written goes at once, though
 * TCP_CORK holds it. */
void lrp_tcp_push(struct lrp_tcp *c, int64_t now);
/* TCP_QUICKACK: acknowledge at once until data is sent in reply; off: wait for a reply.
 * !c->pingpong reads it. */
void lrp_tcp_quickack(struct lrp_tcp *c, bool on);
void lrp_tcp_info(const struct lrp_tcp *c, int64_t now, struct tcp_info *info);
/* The application turns away without a reply: it sleeps, or looks elsewhere. */
void lrp_tcp_unattended(struct lrp_tcp *c);

/* ---- the host; user.c --------------------------------------------------- */

/* How many bytes the channel can still take if each frame brings LRP_TCP_FRAME_BYTES: the window never
 * offers more, and less to a peer whose segments have been smaller. */
#define LRP_TCP_FRAME_BYTES 1024u
void lrp_tcp_quota(struct lrp_tcp *c, uint32_t bytes);
/* Exchanges buffers; contents move. A smaller one must hold what is there and what was
 * advertised: else -EBUSY. */
int lrp_tcp_resize(struct lrp_tcp *c, const struct lrp_tcp_buffer *snd,
		   const struct lrp_tcp_buffer *rcv);
/* Sizes that auto-tuning asks for: powers of two, at least what is there. */
void lrp_tcp_wanted(const struct lrp_tcp *c, uint32_t *snd, uint32_t *rcv);
/* An ICMP error whose embedded sequence number is `seq`: ignored outside what is out (RFC 5927).
 * Soft errors are remembered; hard ones fail a connection that is being opened (RFC 1122 4.2.3.9),
 * and in SYN_SENT any error does, as in Linux.
 */
void lrp_tcp_unreachable(struct lrp_tcp *c, int64_t now, uint32_t seq, int error, bool hard);
/* pmtu.c: packet too big, `mtu` of the path. Sends what is out again in smaller segments. */
void lrp_tcp_too_big(struct lrp_tcp *c, int64_t now, uint32_t seq, uint32_t mtu);
/* The device refused the last segment (ENOBUFS, EAGAIN): try again at this time; neither window nor
 * RTO changes. */
int64_t lrp_tcp_local_drop(struct lrp_tcp *c, int64_t now);

/* check.c: which invariant does not hold, NULL if all do. For tests and fuzzers. */
const char *lrp_tcp_check(const struct lrp_tcp *c);

#endif

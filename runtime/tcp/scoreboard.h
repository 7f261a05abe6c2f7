/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * scoreboard.h - what was sent and is not yet acknowledged (RFC 2018, RFC 6675).
 *
 * A record covers a run of sequence space that was sent at one time and has one
 * fate; runs that are acknowledged in part are split, where a segment ends. Records lie in an
 * array of the owner's, linked by index in sequence order. Those that are not sacked are linked in
 * the order of sending too (RFC 8985 5.1). They never run out: when few are left, neighbours are
 * joined, which loses precision and no data.
 *
 * The peer chooses the order in which all this happens, so no step searches a list:
 * - A balanced tree over the sequence finds the run of a SACK block.
 * - What is lost was sent before what is in flight. So the lost runs are the first ones in the
 *   order of sending, up to a mark. The mark moves a run at a time and is taken back in one step.
 * - An edge of a SACK block inside a segment is moved to where the segment ends, so that blocks
 *   cannot make more runs than there are segments.
 * Each run is sent, sacked, lost and acknowledged once per sending; a block costs O(log runs)
 * beyond that.
 *
 * Pure. Times in nanoseconds of the owner's clock, -1 for none.
 */
#ifndef LRP_TCP_SCOREBOARD_H
#define LRP_TCP_SCOREBOARD_H

#include <stdbool.h>
#include <stdint.h>

#include "segment.h"

enum lrp_tcp_sent_flags {
	LRP_TCP_SENT_SACKED = 1 << 0,
	LRP_TCP_SENT_AGAIN = 1 << 1,  /* was sent more than once (Karn) */
	LRP_TCP_SENT_JOINED = 1 << 2, /* of several times of sending: no RTT sample */
};

struct lrp_tcp_sent_run {
	uint32_t seq, end;	  /* [seq, end), SYN and FIN count */
	int64_t sent_ns;	  /* last time; later by nanoseconds if others went out just then */
	uint32_t delivered;	  /* bytes that had been delivered then, modulo 2^32 */
	uint16_t next, prev;	  /* in sequence order; index or LRP_TCP_SENT_NONE */
	uint16_t later, earlier;  /* in the order of sending, unless sacked */
	uint16_t left, right, up; /* tree over the sequence */
	uint16_t mss;	/* it consists of segments of this size; the last may be smaller */
	uint8_t height; /* of the tree below it */
	uint8_t flags;
	uint8_t pad[2];
};
_Static_assert(sizeof(struct lrp_tcp_sent_run) == 40, "compact");
#define LRP_TCP_SENT_NONE     0xffff
#define LRP_TCP_SENT_RUNS_MIN 16

struct lrp_tcp_scoreboard {
	struct lrp_tcp_sent_run *run; /* the owner's array */
	uint16_t runs, used, free;
	uint16_t first, last;	 /* in sequence order */
	uint16_t oldest, newest; /* not sacked, in the order of sending */
	uint16_t root;		 /* of the tree */
	uint16_t beyond;	 /* the first in the order of sending that lies beyond the mark */
	uint16_t overtaken;	 /* the last that RACK knows to be overtaken (rack.c) */
	uint16_t joins;		 /* where the next search for neighbours to join begins */
	uint16_t mss;		 /* payload of the segments sent next; 0: not known */
	uint8_t seen;		 /* blocks in `block` */
	bool forgiven;		 /* what lies up to the mark is in flight after all */
	int64_t mark_ns;	 /* the mark: sent_ns and end of the last run that was lost */
	uint32_t mark_end;
	uint32_t marked_bytes, marked_again; /* up to the mark; of them sent again */
	uint32_t una, nxt;		     /* copies of the connection's snd_una and snd_nxt */
	int64_t stamp_ns;		     /* sent_ns of what was sent last */
	uint32_t fack; /* end of the highest that was sacked or acknowledged */
	uint32_t sacked_bytes, lost_bytes;
	uint32_t again_bytes; /* sent again and in flight */
	uint32_t steps;	      /* records visited, modulo 2^32: tests count the work of a call */
	struct lrp_tcp_sack block[LRP_TCP_SACKS_MAX]; /* of the latest ACK: need no second look */
};

/* What an acknowledgement delivered. */
struct lrp_tcp_delivery {
	/* given */
	int64_t now_ns, min_rtt_ns;
	uint32_t high_seq; /* `original` looks below it */
	bool early;	   /* its timestamp is from before any retransmission (RFC 3522) */
	/* found, to be preset by lrp_tcp_delivery_init() */
	uint32_t acked, sacked;	 /* bytes that were not sacked before; the second by SACK */
	int64_t acked_first_ns;	 /* when the first data acknowledged and sent once was sent, */
	int64_t acked_last_ns;	 /* and the last */
	int64_t sacked_first_ns; /* the same of data newly sacked */
	int64_t newest_ns;	 /* what was sent last of all delivered (RFC 8985 6.2 step 2), */
	uint32_t newest_end;	 /* its end; ambiguous retransmissions left out */
	uint32_t newest_delivered;
	uint32_t prior_fack;
	uint32_t reordered_seq; /* sent once, delivered after something above it */
	bool reordered;
	bool original; /* data below high_seq that was sent once */
	bool filled;   /* acknowledged what was sent again: what follows may be old */
	bool dsack;    /* the first block reports `duplicate` (RFC 2883) */
	struct lrp_tcp_sack duplicate;
};

/* `run`: `runs` records (16 to 65,534), memory of the owner. una = nxt = isn. */
void lrp_tcp_scoreboard_init(struct lrp_tcp_scoreboard *b, struct lrp_tcp_sent_run *run,
			     uint16_t runs, uint32_t isn);
/* A larger array; the records are copied, the old array may go. */
void lrp_tcp_scoreboard_grow(struct lrp_tcp_scoreboard *b, struct lrp_tcp_sent_run *run,
			     uint16_t runs);
/* Less than an eighth of the records is free: time to grow. Without it all goes on, with coarser
 * records; nobody has to wait. */
static inline bool lrp_tcp_scoreboard_crowded(const struct lrp_tcp_scoreboard *b)
{
	return b->runs - b->used <= b->runs >> 3;
}

/* `len` bytes from nxt on went out. */
void lrp_tcp_scoreboard_new(struct lrp_tcp_scoreboard *b, int64_t now_ns, uint32_t len,
			    uint32_t delivered);
/* [seq, end), all below nxt, went out again. What of it was sacked or acknowledged stays so. */
void lrp_tcp_scoreboard_again(struct lrp_tcp_scoreboard *b, int64_t now_ns, uint32_t seq,
			      uint32_t end, uint32_t delivered);

void lrp_tcp_delivery_init(struct lrp_tcp_delivery *d, const struct lrp_tcp_scoreboard *b,
			   int64_t now_ns, int64_t min_rtt_ns, uint32_t high_seq);
/* The blocks of a segment that acknowledges `ack`; before lrp_tcp_scoreboard_acked(). What makes no
 * sense is ignored. */
void lrp_tcp_scoreboard_sacked(struct lrp_tcp_scoreboard *b, uint32_t ack,
			       const struct lrp_tcp_sack *sack, uint32_t sacks,
			       struct lrp_tcp_delivery *d);
/* una <= ack <= nxt. O(records that go). */
void lrp_tcp_scoreboard_acked(struct lrp_tcp_scoreboard *b, uint32_t ack,
			      struct lrp_tcp_delivery *d);

/* The run that is to be sent again next, or LRP_TCP_SENT_NONE: the first one if it is lost, since
 * the window waits for it; else the one that was sent first. */
uint16_t lrp_tcp_scoreboard_lost(const struct lrp_tcp_scoreboard *b);
/* b->beyond, in flight, is lost. */
void lrp_tcp_scoreboard_lose(struct lrp_tcp_scoreboard *b);
/* What lies up to the mark is lost again. */
void lrp_tcp_scoreboard_lose_marked(struct lrp_tcp_scoreboard *b);
/* The first `len` bytes are, unless they are sacked, lost already or were sent again. */
void lrp_tcp_scoreboard_lose_first(struct lrp_tcp_scoreboard *b, uint32_t len);
/* All in flight that was sent at `sent_ns` or before is, and the first run in any case. */
void lrp_tcp_scoreboard_lose_sent(struct lrp_tcp_scoreboard *b, int64_t sent_ns);
/* What was lost is in flight after all. O(1): the mark stays where it is. */
void lrp_tcp_scoreboard_find_all(struct lrp_tcp_scoreboard *b);
/* All that is out is lost, to be sent again in the order of the sequence. What was sacked is, too:
 * the receiver has thrown it away (RFC 2018 8). O(runs). */
void lrp_tcp_scoreboard_lose_all(struct lrp_tcp_scoreboard *b);

/* The receiver acknowledged up to data that it had sacked, but not that data. */
static inline bool lrp_tcp_scoreboard_reneged(const struct lrp_tcp_scoreboard *b)
{
	return b->sacked_bytes && b->run[b->first].flags & LRP_TCP_SENT_SACKED;
}

/* NULL, or which invariant does not hold. For tests: O(runs). */
const char *lrp_tcp_scoreboard_check(const struct lrp_tcp_scoreboard *b);

#endif

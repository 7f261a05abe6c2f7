/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tcp_internal.h - what the files of a connection share. Contracts as in tcp.h. */
#ifndef LRP_TCP_INTERNAL_H
#define LRP_TCP_INTERNAL_H

#include "tcp.h"

#define LRP_TCP_ORPHAN_RETRIES 8   /* of a closed socket, as Linux */
#define LRP_TCP_MSS_MIN	       48u /* less than this is an attack, as Linux has it */
#define LRP_TCP_TS_LEN	       12u /* timestamp option */
#define LRP_TCP_CHALLENGE_NS   500000000ll
#define LRP_TCP_PAWS_AGE_NS    (24 * 86400 * 1000000000ll) /* RFC 7323 5.5 */
#define LRP_TCP_ECT0	       2			   /* RFC 3168 5 */
#define LRP_TCP_CE	       3

static inline uint32_t lrp_tcp_min(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static inline uint32_t lrp_tcp_max(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

static inline int64_t lrp_tcp_earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Our timestamp clock; never 0 apart from wrapping. */
static inline uint32_t lrp_tcp_clock(const struct lrp_tcp *c, int64_t now)
{
	return (uint32_t)(now / 1000000) + c->ts_offset;
}

/* States in which data or a FIN may be on its way. */
static inline bool lrp_tcp_sends(const struct lrp_tcp *c)
{
	const uint32_t states = 1 << LRP_TCP_ESTABLISHED | 1 << LRP_TCP_CLOSE_WAIT |
				1 << LRP_TCP_FIN_WAIT_1 | 1 << LRP_TCP_CLOSING |
				1 << LRP_TCP_LAST_ACK;

	return states >> c->state & 1 && !c->opening;
}

static inline bool lrp_tcp_fin_sent(const struct lrp_tcp *c)
{
	return lrp_seq_gt(c->snd_nxt, c->snd_end);
}

static inline bool lrp_tcp_fin_acked(const struct lrp_tcp *c)
{
	return lrp_seq_gt(c->snd_una, c->snd_end);
}

/* Bytes written and not sent once. */
static inline uint32_t lrp_tcp_waiting(const struct lrp_tcp *c)
{
	return lrp_tcp_fin_sent(c) ? 0 : c->snd_end - c->snd_nxt;
}

/* Something is out, or waits to go out. */
static inline bool lrp_tcp_pending(const struct lrp_tcp *c)
{
	return c->snd_una != c->snd_end + c->shut_write;
}

/* Bytes that the send buffer may hold: SO_SNDBUF may be less than its memory; or the other one. */
static inline uint32_t lrp_tcp_snd_limit(const struct lrp_tcp *c)
{
	return lrp_tcp_min(c->snd.size, c->opt.snd_max);
}

static inline uint32_t lrp_tcp_rcv_limit(const struct lrp_tcp *c)
{
	return lrp_tcp_min(c->rcv.size, c->opt.rcv_max);
}

/* Bytes of the send buffer that are free. */
static inline uint32_t lrp_tcp_space(const struct lrp_tcp *c)
{
	uint32_t used = lrp_tcp_fin_acked(c) || c->opening ? 0 : c->snd_end - c->snd_una;
	uint32_t limit = lrp_tcp_snd_limit(c);

	return used < limit ? limit - used : 0;
}

/* Bytes that the peer's window still takes. */
static inline uint32_t lrp_tcp_peer_room(const struct lrp_tcp *c)
{
	uint32_t edge = c->snd_una + c->snd_wnd;

	return lrp_seq_gt(edge, c->snd_nxt) ? edge - c->snd_nxt : 0;
}

/* Could a router have seen it? Else what ICMP says about it is made up (RFC 5927 4.1). */
static inline bool lrp_tcp_is_out(const struct lrp_tcp *c, uint32_t seq)
{
	return c->state != LRP_TCP_CLOSED && lrp_seq_geq(seq, c->snd_una) &&
	       lrp_seq_lt(seq, c->snd_nxt);
}

/* Bytes that the application may read, the end of the stream not counted. */
static inline uint32_t lrp_tcp_buffered(const struct lrp_tcp *c)
{
	return c->rcv_nxt - c->rcv_read - c->fin_received;
}

/* Bytes of the window that was advertised and is not used yet. */
static inline uint32_t lrp_tcp_window_left(const struct lrp_tcp *c)
{
	return lrp_seq_gt(c->rcv_adv, c->rcv_nxt) ? c->rcv_adv - c->rcv_nxt : 0;
}

/* ---- pmtu.c */
/* The MSS after anything that it depends on has changed. */
void lrp_tcp_mss_update(struct lrp_tcp *c);
/* What the device takes, before anything is known about the path. */
void lrp_tcp_path_mtu(struct lrp_tcp *c, uint32_t mtu);
/* After a timeout: large segments vanish and no ICMP error says why; is it their size? */
void lrp_tcp_black_hole(struct lrp_tcp *c, int64_t now);
/* Payload of a segment that is to try a larger path MTU now; 0: none. */
uint32_t lrp_tcp_search(const struct lrp_tcp *c, int64_t now);
/* It went out, from `seq` to snd_nxt. */
void lrp_tcp_search_sent(struct lrp_tcp *c, uint32_t seq);
/* With one out: after an acknowledgement, or losses were found. */
void lrp_tcp_search_ack(struct lrp_tcp *c, int64_t now);
/* It is sent again with whatever else was lost: that says nothing. */
void lrp_tcp_search_again(struct lrp_tcp *c, int64_t now);

/* ---- info.c */
/* After anything that may have changed what holds the sender back. */
void lrp_tcp_held(struct lrp_tcp *c, int64_t now);

/* ---- open.c */
/* What the peer's SYN says. */
void lrp_tcp_negotiate(struct lrp_tcp *c, int64_t now, const struct lrp_tcp_segment *s);
void lrp_tcp_established(struct lrp_tcp *c, int64_t now);
/* CLOSED: timers off, nothing is sent any more but a reset that is due. `error` 0: none. */
void lrp_tcp_done(struct lrp_tcp *c, int error);
/* The same, and the peer is told. */
void lrp_tcp_reset(struct lrp_tcp *c, int error);
/* RFC 9293 3.10.7.1: a reset that the sender of `s` must believe is due. The state stays. */
void lrp_tcp_refuse(struct lrp_tcp *c, const struct lrp_tcp_segment *s);
void lrp_tcp_time_wait(struct lrp_tcp *c, int64_t now);

/* ---- reorder.c */
/* [start, end) was received out of order and is in the buffer from now on. False: no range is free.
 */
bool lrp_tcp_reorder_insert(struct lrp_tcp *c, uint32_t start, uint32_t end);
/* rcv_nxt moved: over what is there already. */
void lrp_tcp_reorder_advance(struct lrp_tcp *c);
void lrp_tcp_dsack(struct lrp_tcp *c, uint32_t start, uint32_t end);

/* ---- buffer.c */
void lrp_tcp_ring_put(const struct lrp_tcp_buffer *b, uint32_t seq, const uint8_t *from,
		      uint32_t len);
void lrp_tcp_ring_get(const struct lrp_tcp_buffer *b, uint32_t seq, uint8_t *to, uint32_t len);

/* ---- window.c */
/* The window for a segment that goes out now, as it stands in the header. */
uint16_t lrp_tcp_window(const struct lrp_tcp *c);
/* The reader or the channel made room: is the peer to be told? */
void lrp_tcp_window_update(struct lrp_tcp *c);
void lrp_tcp_tune_segment(struct lrp_tcp *c, int64_t now, const struct lrp_tcp_segment *s);
void lrp_tcp_tune_read(struct lrp_tcp *c, int64_t now, uint32_t len);

/* ---- receive.c */
/* Copies the payload of a segment as expected to where it belongs, before its checksum is known:
 * no more has changed than free memory. False: not possible. */
bool lrp_tcp_place(const struct lrp_tcp *c, const struct lrp_tcp_segment *s,
		   const struct lrp_tcp_into *into, uint64_t *sum);
/* Payload, urgent pointer, FIN and ECN marks of an acceptable segment whose ACK was dealt with. As
 * lrp_tcp_input(). `placed`: its payload already lies where it belongs. */
int lrp_tcp_receive(struct lrp_tcp *c, int64_t now, const struct lrp_tcp_segment *s,
		    struct lrp_tcp_into *into, bool placed);

/* ---- output.c */
/* New data, or a FIN, may go out now. */
bool lrp_tcp_sendable(const struct lrp_tcp *c, int64_t now);

/* ---- timer.c */
/* The probe timer after anything that it depends on has changed: it runs while something waits,
 * nothing is out and nothing may be sent. */
void lrp_tcp_persist(struct lrp_tcp *c, int64_t now);

/* Less than a full segment, and a call takes it from the channel: the ACK may go with the reply. */
static inline bool lrp_tcp_reply_likely(const struct lrp_tcp *c)
{
	return c->attended && !c->prompt && !c->fin_received &&
	       c->rcv_nxt - c->rcv_wup < c->rcv_mss;
}

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * segment.h - a TCP segment, received or to be sent (RFC 9293 3.1, RFC 7323, RFC 2018).
 *
 * Pure. Any thread.
 */
#ifndef LRP_TCP_SEGMENT_H
#define LRP_TCP_SEGMENT_H

#include <sys/uio.h>

#include "../ip/packet.h"
#include "../wire/checksum.h"

enum lrp_tcp_flag {
	LRP_TCP_FIN = 0x01,
	LRP_TCP_SYN = 0x02,
	LRP_TCP_RST = 0x04,
	LRP_TCP_PSH = 0x08,
	LRP_TCP_ACK = 0x10,
	LRP_TCP_URG = 0x20,
	LRP_TCP_ECE = 0x40,
	LRP_TCP_CWR = 0x80,
};

enum lrp_tcp_option {
	LRP_TCP_HAS_MSS = 1 << 0,
	LRP_TCP_HAS_WSCALE = 1 << 1,
	LRP_TCP_HAS_SACK_OK = 1 << 2,
	LRP_TCP_HAS_TIMESTAMP = 1 << 3,
};

#define LRP_TCP_SACKS_MAX   4 /* blocks that fit in 40 bytes of options */
#define LRP_TCP_HEADER_MAX  60
#define LRP_TCP_OPTIONS_MAX 40

struct lrp_tcp_sack {
	uint32_t start, end; /* [start, end) */
};

/* Both ends of a connection, ours first. */
struct lrp_tcp_flow {
	union lrp_address laddr, raddr;
	__be16 lport, rport;
	uint8_t family; /* AF_INET, AF_INET6 */
	uint8_t pad[3];
};

/* A received segment; all in host order. */
struct lrp_tcp_segment {
	uint32_t seq, ack;
	uint32_t len; /* bytes of payload; SYN and FIN not counted */
	const uint8_t *payload;
	uint16_t window; /* as in the header, unscaled */
	uint16_t urgent; /* pointer, valid with LRP_TCP_URG */
	uint8_t flags;	 /* LRP_TCP_* */
	uint8_t ecn;	 /* of the IP header: 0..3 (3: congestion experienced) */
	uint8_t options; /* LRP_TCP_HAS_* */
	uint8_t wscale;	 /* as sent; more than 14 means 14 (RFC 7323 2.3) */
	uint16_t mss;
	uint8_t sacks;	/* blocks in `sack`, the first of which may be a D-SACK */
	bool unchecked; /* the payload is still to be added to `sum`: lrp_tcp_segment_read() */
	uint32_t ts_val, ts_ecr;
	uint64_t sum; /* with `unchecked`: of the pseudo-header and the header */
	struct lrp_tcp_sack sack[LRP_TCP_SACKS_MAX];
};

/* Sequence space that it takes. */
static inline uint32_t lrp_tcp_seg_len(const struct lrp_tcp_segment *s)
{
	return s->len + !!(s->flags & LRP_TCP_SYN) + !!(s->flags & LRP_TCP_FIN);
}

/*
 * `p` as lrp_ip_input() or reassembly left it, `l4` its p->l4_len bytes from the
 * TCP header on. Sets p->sport, dport, payload, payload_len and *s. `partial_ok`: as in
 * lrp_udp_input(). Options that are malformed end the walk, as Linux has it; what came before
 * counts. Returns 0 or LRP_DROPPED(PROTOCOL, LENGTH, CHECKSUM).
 */
int lrp_tcp_segment_parse(struct lrp_packet *p, const uint8_t *l4, bool partial_ok,
			  struct lrp_tcp_segment *s);
/*
 * The same, but what is long may come back with s->unchecked: nothing in it is to be believed
 * before its checksum was compared. lrp_tcp_input() does so itself, while it copies the payload;
 * for all else lrp_tcp_segment_check() comes first: 0 or LRP_DROPPED(CHECKSUM).
 */
int lrp_tcp_segment_read(struct lrp_packet *p, const uint8_t *l4, bool partial_ok,
			 struct lrp_tcp_segment *s);
int lrp_tcp_segment_check(struct lrp_tcp_segment *s);
/* Is s->sum right, once `payload` is added to it? */
static inline bool lrp_tcp_segment_intact(const struct lrp_tcp_segment *s, uint64_t payload)
{
	return lrp_checksum_fold(lrp_checksum_add(s->sum, payload)) == 0xffff;
}

/* A segment to be sent. With mss > 0 and payload_len > mss, a run of segments of mss bytes each
 * (the last may be shorter) that differ in sequence number, in PSH and FIN (on the last) and in
 * CWR (on the first) only: segmentation offload, or lrp_tcp_build() one by one. */
struct lrp_tcp_tx {
	uint32_t seq, ack;
	uint32_t payload_len;
	struct iovec payload[2]; /* in the send buffer; valid until the connection's next call */
	uint16_t window;	 /* as it stands in the header */
	uint16_t urgent;
	uint16_t mss;
	uint8_t flags;
	uint8_t ecn;	     /* for the IP header */
	uint8_t options_len; /* a multiple of 4 */
	uint8_t kind;	     /* for lrp_tcp_sent(): enum lrp_tcp_tx_kind of tcp.h */
	uint8_t options[LRP_TCP_OPTIONS_MAX] __attribute__((aligned(4)));
};

enum lrp_tcp_checksum {
	LRP_TCP_CHECKSUM_FULL,
	LRP_TCP_CHECKSUM_PARTIAL, /* pseudo-header only; a device or the kernel does the rest */
};

/*
 * Writes the TCP header of the `len` bytes of payload from `offset` on (both 0 and
 * tx->payload_len: all of it) to `header`, at least LRP_TCP_HEADER_MAX bytes, 4-byte aligned;
 * returns its length. For a run in one piece (segmentation offload) the checksum must be partial.
 */
uint32_t lrp_tcp_build(uint8_t *header, const struct lrp_tcp_flow *flow,
		       const struct lrp_tcp_tx *tx, uint32_t offset, uint32_t len,
		       enum lrp_tcp_checksum checksum);

/* The reset that answers a segment that belongs to no connection (RFC 9293 3.10.7.1). False: none
 * is due (the segment is a reset itself). */
bool lrp_tcp_reset_for(const struct lrp_tcp_segment *s, struct lrp_tcp_tx *tx);

/* The smallest window scale that can offer `bytes` (RFC 7323 2.3). */
static inline uint8_t lrp_tcp_wscale(uint32_t bytes)
{
	uint8_t shift = 0;

	while (shift < 14 && bytes >> shift > 0xffff)
		shift++;
	return shift;
}

/* Writers of options, each a multiple of 4 bytes; return the bytes written. `o` has room. */
uint32_t lrp_tcp_put_mss(uint8_t *o, uint16_t mss);
uint32_t lrp_tcp_put_wscale(uint8_t *o, uint8_t shift);
uint32_t lrp_tcp_put_sack_ok(uint8_t *o);
uint32_t lrp_tcp_put_timestamp(uint8_t *o, uint32_t val, uint32_t ecr);
uint32_t lrp_tcp_put_sacks(uint8_t *o, const struct lrp_tcp_sack *sack, uint32_t count);

#endif

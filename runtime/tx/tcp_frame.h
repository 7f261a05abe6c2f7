/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tcp_frame.h - headers of a TCP segment, or of a run of segments, that is to
 * be sent: what a packet socket or a TAP takes before the payload. A struct
 * virtio_net_hdr, the link header, IP, TCP, without a gap. The payload is never
 * copied here.
 *
 * Pure. Any thread.
 */
#ifndef LRP_TX_TCP_FRAME_H
#define LRP_TX_TCP_FRAME_H

#include <linux/virtio_net.h>

#include "../tcp/segment.h"

/* Where the link and the IP header begin, and room for the longest. */
#define LRP_TCP_FRAME_VNET ((uint32_t)sizeof(struct virtio_net_hdr))
#define LRP_TCP_FRAME_LINK 14u
#define LRP_TCP_FRAME_IP   (LRP_TCP_FRAME_VNET + LRP_TCP_FRAME_LINK)
#define LRP_TCP_FRAME_MAX  (LRP_TCP_FRAME_IP + 40u + LRP_TCP_HEADER_MAX)

/* What the headers say beside the segment itself. */
struct lrp_tcp_frame {
	const struct lrp_tcp_flow *flow; /* with a local address */
	const uint8_t *link;		 /* 14 bytes, written as they are */
	uint32_t flow_label;		 /* IPv6; network order, flow label bits only */
	uint16_t id;			 /* IPv4 identification, host order; DF is set */
	uint8_t ttl;
	uint8_t tos; /* its ECN bits do not count: the segment has its own */
};

/*
 * Writes the headers of the `len` bytes of payload from `offset` on to `out`,
 * LRP_TCP_FRAME_MAX bytes, 4-byte aligned; returns their length. A checksum that
 * is partial, and the cutting up of what is longer than tx->mss (then the
 * checksum must be partial), is asked for in the virtio_net_hdr.
 */
uint32_t lrp_tcp_frame(uint8_t *out, const struct lrp_tcp_frame *f, const struct lrp_tcp_tx *tx,
		       uint32_t offset, uint32_t len, enum lrp_tcp_checksum checksum);

/*
 * Makes the FIN `tx` part of the segment before it, a frame of `len` bytes with a full checksum: if that is of
 * the same connection, ends where the FIN is, and says the same otherwise. False: nothing was changed.
 */
bool lrp_tcp_frame_add_fin(uint8_t *frame, uint32_t len, const struct lrp_tcp_flow *flow,
			   const struct lrp_tcp_tx *tx);

/* Bytes from the IP header on of the longest segment of `tx`: what must fit the path's MTU. */
uint32_t lrp_tcp_frame_need(const struct lrp_tcp_flow *flow, const struct lrp_tcp_tx *tx);

/* The payload from `offset` on as at most two iovecs; returns how many. */
uint32_t lrp_tcp_frame_payload(const struct lrp_tcp_tx *tx, uint32_t offset, uint32_t len,
			       struct iovec out[2]);

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "tcp_frame.h"

#include <netinet/ip.h>
#include <string.h>

#include "../wire/bytes.h"
#include "../wire/checksum.h"
#include "../wire/ip_header.h"

#define TCP_LEN	    20u
#define HEADER4_LEN 20u
#define HEADER6_LEN 40u
#define CHECK_AT    16u /* in the TCP header */
#define ECN_MASK    3u

/* lrp_tcp_build() wants its header 4-byte aligned. */
_Static_assert((LRP_TCP_FRAME_IP + HEADER4_LEN) % 4 == 0 &&
		       (LRP_TCP_FRAME_IP + HEADER6_LEN) % 4 == 0,
	       "alignment of the TCP header");

static void write_vnet(uint8_t *out, const struct lrp_tcp_frame *f, const struct lrp_tcp_tx *tx,
		       uint32_t offset, uint32_t len, uint32_t tcp_at, uint32_t headers)
{
	struct virtio_net_hdr vnet = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.hdr_len = (uint16_t)headers,
		.csum_start = (uint16_t)tcp_at,
		.csum_offset = CHECK_AT,
	};

	if (tx->mss && len > tx->mss) {
		vnet.gso_type = f->flow->family == AF_INET ? VIRTIO_NET_HDR_GSO_TCPV4
							   : VIRTIO_NET_HDR_GSO_TCPV6;
		vnet.gso_size = tx->mss;
		/* A device must know that CWR is the first segment's only [RFC 3168 6.1.2]. */
		if (tx->flags & LRP_TCP_CWR && !offset)
			vnet.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
	}
	memcpy(out, &vnet, sizeof(vnet));
}

uint32_t lrp_tcp_frame(uint8_t *out, const struct lrp_tcp_frame *f, const struct lrp_tcp_tx *tx,
		       uint32_t offset, uint32_t len, enum lrp_tcp_checksum checksum)
{
	bool four = f->flow->family == AF_INET;
	struct lrp_ip_header ip = {.tos = (uint8_t)((f->tos & ~ECN_MASK) | (tx->ecn & ECN_MASK)),
				   .ttl = f->ttl,
				   .proto = IPPROTO_TCP};
	uint32_t tcp_at = LRP_TCP_FRAME_IP + (four ? HEADER4_LEN : HEADER6_LEN), tcp_len;

	tcp_len = lrp_tcp_build(out + tcp_at, f->flow, tx, offset, len, checksum);
	if (checksum == LRP_TCP_CHECKSUM_PARTIAL)
		write_vnet(out, f, tx, offset, len, tcp_at - LRP_TCP_FRAME_VNET,
			   tcp_at - LRP_TCP_FRAME_VNET + tcp_len);
	else
		memset(out, 0, LRP_TCP_FRAME_VNET);
	memcpy(out + LRP_TCP_FRAME_VNET, f->link, LRP_TCP_FRAME_LINK);
	ip.len = tcp_len + len;
	if (four)
		lrp_ip4_header_write(out + LRP_TCP_FRAME_IP, &ip, f->id, IP_DF, &f->flow->laddr.v4,
				     &f->flow->raddr.v4);
	else
		lrp_ip6_header_write(out + LRP_TCP_FRAME_IP, &ip, f->flow_label, &f->flow->laddr.v6,
				     &f->flow->raddr.v6);
	return tcp_at + tcp_len;
}

static bool of_flow(const uint8_t *ip, const uint8_t *tcp, const struct lrp_tcp_flow *flow)
{
	if (memcmp(tcp, &flow->lport, 2) || memcmp(tcp + 2, &flow->rport, 2))
		return false;
	if (flow->family == AF_INET)
		return ip[0] >> 4 == 4 && !memcmp(ip + 12, &flow->laddr.v4, 4) &&
		       !memcmp(ip + 16, &flow->raddr.v4, 4);
	return ip[0] >> 4 == 6 && !memcmp(ip + 8, &flow->laddr.v6, 16) &&
	       !memcmp(ip + 24, &flow->raddr.v6, 16);
}

bool lrp_tcp_frame_add_fin(uint8_t *frame, uint32_t len, const struct lrp_tcp_flow *flow,
			   const struct lrp_tcp_tx *tx)
{
	uint8_t *ip = frame + LRP_TCP_FRAME_IP, *tcp;
	uint32_t sum, payload;
	uint16_t check;

	tcp = ip + (ip[0] >> 4 == 4 ? HEADER4_LEN : HEADER6_LEN);
	payload = len - (uint32_t)(tcp - frame) - (tcp[12] >> 4) * 4u;
	if ((tx->flags & ~LRP_TCP_PSH) != (LRP_TCP_ACK | LRP_TCP_FIN) || tx->payload_len ||
	    (tcp[13] & ~LRP_TCP_PSH) != LRP_TCP_ACK || !of_flow(ip, tcp, flow) ||
	    lrp_get32(tcp + 4) + payload != tx->seq || lrp_get32(tcp + 8) != tx->ack ||
	    (tcp[14] << 8 | tcp[15]) != tx->window)
		return false;
	tcp[13] |= LRP_TCP_FIN;
	/* RFC 1624: HC' = ~(~HC + ~m + m'); the bit was 0. */
	memcpy(&check, tcp + CHECK_AT, 2);
	sum = (uint16_t)~ntohs(check) + (uint32_t)LRP_TCP_FIN;
	check = htons((uint16_t) ~(sum + (sum >> 16)));
	memcpy(tcp + CHECK_AT, &check, 2);
	return true;
}

uint32_t lrp_tcp_frame_need(const struct lrp_tcp_flow *flow, const struct lrp_tcp_tx *tx)
{
	uint32_t headers =
		(flow->family == AF_INET ? HEADER4_LEN : HEADER6_LEN) + TCP_LEN + tx->options_len;

	return headers + (tx->mss && tx->payload_len > tx->mss ? tx->mss : tx->payload_len);
}

uint32_t lrp_tcp_frame_payload(const struct lrp_tcp_tx *tx, uint32_t offset, uint32_t len,
			       struct iovec out[2])
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < 2 && len; i++) {
		uint32_t here = (uint32_t)tx->payload[i].iov_len;

		if (offset >= here) {
			offset -= here;
			continue;
		}
		here = here - offset < len ? here - offset : len;
		out[count].iov_base = (uint8_t *)tx->payload[i].iov_base + offset;
		out[count++].iov_len = here;
		offset = 0;
		len -= here;
	}
	return count;
}

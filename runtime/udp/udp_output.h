/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * udp_output.h - headers of a UDP datagram that is to be sent: link, IP, UDP,
 * in one piece or in fragments. The payload is never copied.
 *
 * Pure. Any thread.
 */
#ifndef LRP_UDP_OUTPUT_H
#define LRP_UDP_OUTPUT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "../ip/packet.h"

#define LRP_UDP_LINK_LEN 14u

/* What is to be sent. */
struct lrp_udp_datagram {
	uint8_t family;	     /* AF_INET, AF_INET6 */
	uint8_t ttl, tos;    /* ttl 0: what the route has, else the kernel's default */
	bool no_checksum;    /* SO_NO_CHECK, IPv4 only */
	bool dont_fragment;  /* IP_PMTUDISC_DO: EMSGSIZE rather than fragments */
	bool no_df;	     /* IP_PMTUDISC_DONT: no DF even on a datagram that fits; IPv4 only */
	uint32_t flow_label; /* network order; 0: one is made as net.ipv6.auto_flowlabels says */
	union lrp_address src, dst; /* src all zeros: the kernel's choice */
	__be16 sport, dport;
	const struct iovec *iov;
	uint32_t iov_count;
	uint32_t length; /* bytes of payload */
	uint32_t oif;	 /* SO_BINDTODEVICE, IP_UNICAST_IF, scope of a link-local address; or 0 */
};

/* Room for the longest: link 14, IPv6 40, fragment header 8, UDP 8. */
struct lrp_udp_header_room {
	uint8_t bytes[72];
} __attribute__((aligned(8)));

enum lrp_udp_checksum {
	LRP_UDP_CHECKSUM_FULL,	  /* computed here, over the whole payload */
	LRP_UDP_CHECKSUM_PARTIAL, /* pseudo-header only; a device or the kernel does the rest */
};

/* What a frame to be sent consists of: room->bytes[0..header_len) and a range of the payload. */
struct lrp_udp_frame {
	uint32_t header_len;
	uint32_t payload_offset;
	uint32_t payload_len;
	/* for struct virtio_net_hdr with VIRTIO_NET_HDR_F_NEEDS_CSUM; both 0: nothing to do */
	uint16_t csum_start; /* from the link header on */
	uint16_t csum_offset;
};

/* True if the datagram needs no fragmentation; length of payload at most that of UDP over its
 * family is not checked here. */
bool lrp_udp_fits(const struct lrp_udp_datagram *d, uint32_t mtu);

/* Longest payload of a UDP datagram: 65,507 or 65,527. */
uint32_t lrp_udp_max_payload(uint8_t family);

/*
 * Headers of a datagram that goes out in one frame. `link`: 14 bytes, written as
 * they are. `id`: IPv4 identification in host order (0 will do with dont_fragment).
 * `d->no_checksum` sends none (IPv4 only; IPv6: -EINVAL). d->flow_label: network
 * order, flow label bits only. 0, -EMSGSIZE (longer than UDP can be), -EAFNOSUPPORT, -EINVAL
 * (iovecs shorter than d->length).
 */
int lrp_udp_build(struct lrp_udp_header_room *room, struct lrp_udp_frame *frame,
		  const uint8_t *link, const struct lrp_udp_datagram *d, uint16_t id,
		  enum lrp_udp_checksum checksum);

/*
 * A datagram larger than the MTU, as a sequence of fragments, first to last:
 *   lrp_udp_fragments_init(&f, link, d, mtu, id);
 *   while (lrp_udp_fragments_next(&f, &room, &frame)) send room and the range
 * The checksum is computed in full by init. Keeps the pointers `link` and `d`. Errors of init:
 * those of lrp_udp_build(), -EINVAL also if lrp_udp_fits(); -EMSGSIZE also if d->dont_fragment or
 * if the MTU is below the family's least (68 or 1280). `id`: host order; 32 bits in IPv6.
 */
struct lrp_udp_fragments {
	const uint8_t *link;
	const struct lrp_udp_datagram *d;
	uint32_t id;
	uint32_t room;	 /* bytes of datagram that a fragment has room for */
	uint32_t offset; /* next byte of the datagram (UDP header included) */
	uint32_t total;
	uint16_t check;
};

int lrp_udp_fragments_init(struct lrp_udp_fragments *f, const uint8_t *link,
			   const struct lrp_udp_datagram *d, uint32_t mtu, uint32_t id);
bool lrp_udp_fragments_next(struct lrp_udp_fragments *f, struct lrp_udp_header_room *room,
			    struct lrp_udp_frame *frame);

/*
 * The range [offset, offset + len) of a datagram's payload as iovecs. Returns how many were
 * written to `out`, -ENOBUFS if more than `max` are needed, -EINVAL if the range lies outside.
 */
int lrp_udp_slice(const struct lrp_udp_datagram *d, uint32_t offset, uint32_t len,
		  struct iovec *out, uint32_t max);

#endif

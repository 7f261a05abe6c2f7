/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * packet.h - a packet as the protocol code sees it: where it lies, and what
 * IP and UDP input have found out about it.
 *
 * The protocol code is pure: (state, now, packet) -> result. It owns nothing it
 * is given; all pointers point into the caller's bytes and are valid as long
 * as these are.
 */
#ifndef LRP_PACKET_H
#define LRP_PACKET_H

#include <linux/types.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include <lrp/abi.h>

/*
 * What the input functions return about a packet: 0, or the reason for which it
 * must be dropped (and counted) as a positive number.
 */
#define LRP_DROPPED(reason)	   (1 + (int)(reason)) /* LRP_DROPPED(LRP_DROP_CHECKSUM) */
#define LRP_DROPPED_REASON(result) ((enum lrp_drop_reason)((result)-1))

union lrp_address {
	struct in_addr v4;
	struct in6_addr v6;
};

struct lrp_packet {
	/* the frame: linear, from the link header on; set by the caller */
	const uint8_t *frame;
	uint32_t frame_len;
	/* set by lrp_ip_input() */
	uint8_t family; /* AF_INET or AF_INET6 */
	uint8_t proto;	/* of the transport header: IPPROTO_UDP, ... */
	uint8_t ttl;	/* or hop limit */
	uint8_t tos;	/* or traffic class */
	uint16_t l3_offset;
	uint16_t l4_offset;
	uint32_t l4_len;      /* bytes of transport header and payload; link padding excluded */
	uint32_t flow_label;  /* IPv6 flow information, network order */
	uint16_t options_len; /* bytes of IPv4 options, from l3_offset + 20 */
	bool fragment;	      /* l4 bytes are only a part of the datagram */
	bool more_fragments;
	uint32_t fragment_id;	  /* network order */
	uint32_t fragment_offset; /* bytes */
	union lrp_address src, dst;
	/* set by lrp_udp_input() */
	__be16 sport, dport;
	const uint8_t *payload;
	uint32_t payload_len;
};

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * icmp_input.h - ICMP and ICMPv6 errors that came to a channel (RFC 792,
 * RFC 1122 3.2.2, RFC 4443).
 *
 * Pure: reads the packet, writes *error. Any thread.
 */
#ifndef LRP_ICMP_INPUT_H
#define LRP_ICMP_INPUT_H

#include "packet.h"

/*
 * An error about a datagram that this host sent. `error`, `fatal`, `type`,
 * `code` and `info` are what Linux gives to a socket: with
 * IP_RECVERR every error sets the socket's error and goes to its error queue
 * (ee_errno, ee_type, ee_code, ee_info, SO_EE_OFFENDER); without it only one
 * that is `fatal` is reported, and only if the socket is connected. On a socket with
 * IP_PMTUDISC_DONT Linux ignores EMSGSIZE.
 */
struct lrp_icmp_error {
	int error;	/* errno, positive */
	bool fatal;	/* Linux: "harderr" */
	uint8_t family; /* AF_INET: SO_EE_ORIGIN_ICMP; AF_INET6: SO_EE_ORIGIN_ICMP6 */
	uint8_t type, code;
	uint8_t proto; /* of the datagram */
	uint32_t info; /* ee_info: MTU if EMSGSIZE, pointer of a parameter problem; IPv4 else 0,
			  IPv6 else what the message has there */
	union lrp_address offender; /* who sent the error */
	/* the datagram that it is about */
	union lrp_address src, dst; /* src was ours, dst the peer's */
	__be16 sport, dport;
	const uint8_t *l4;	/* its transport header, the first 8 bytes at least */
	const uint8_t *payload; /* what follows these 8 bytes, as much as came back: UDP payload */
	uint32_t payload_len;
};

/*
 * `p` as lrp_ip_input() left it, p->proto IPPROTO_ICMP or IPPROTO_ICMPV6, not a
 * fragment; `l4` are its p->l4_len bytes. 0: *error is valid. LRP_DROPPED(reason):
 * malformed, wrong checksum, or (PROTOCOL) an ICMP message that is no error for a
 * socket, or about a packet that is neither UDP nor TCP or no first fragment.
 *
 * The caller finds the socket by (src, sport, dst, dport); nothing here proves
 * that the datagram was ever sent. `partial_ok` as in lrp_udp_input(), for ICMPv6.
 */
int lrp_icmp_input(const struct lrp_packet *p, const uint8_t *l4, bool partial_ok,
		   struct lrp_icmp_error *error);

#endif

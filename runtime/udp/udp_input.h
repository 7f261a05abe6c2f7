/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * udp_input.h - UDP input (RFC 768, RFC 8200 8.1).
 *
 * Pure: reads the bytes at l4, writes *p. Any thread.
 */
#ifndef LRP_UDP_INPUT_H
#define LRP_UDP_INPUT_H

#include "../ip/packet.h"

/*
 * `p` as lrp_ip_input() or lrp_reassembly_input() left it, not a fragment;
 * `l4` are its p->l4_len bytes from the UDP header on. Sets sport, dport,
 * payload, payload_len.
 *
 * `partial_ok`: the packet may come from a sender on this machine that left
 * the checksum to a device (CHECKSUM_PARTIAL): a checksum field that holds
 * exactly the sum of the pseudo-header is accepted. For virtual devices only.
 *
 * Returns 0 or LRP_DROPPED(PROTOCOL, LENGTH or CHECKSUM).
 */
int lrp_udp_input(struct lrp_packet *p, const uint8_t *l4, bool partial_ok);

#endif

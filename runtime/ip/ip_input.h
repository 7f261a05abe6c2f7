/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ip_input.h - from a frame to a transport header (RFC 791, RFC 1122, RFC 8200).
 *
 * Pure: reads p->frame, writes *p, nothing else. Any thread.
 */
#ifndef LRP_IP_INPUT_H
#define LRP_IP_INPUT_H

#include "packet.h"

/*
 * In: p->frame, p->frame_len, linear, from the Ethernet header on; up to two
 * VLAN tags. Out: the other fields up to `dst`; l4 bytes are
 * p->frame + p->l4_offset, p->l4_len of them, without the link's padding.
 *
 * IPv4: header, its checksum and its options are checked; source-routed packets
 * are dropped. IPv6: extension headers are walked up to the first that a
 * transport can own; jumbograms, routing headers with segments left and options
 * that forbid going on are dropped. A fragment stops the walk: p->fragment is
 * set and the l4 bytes are its part of the datagram, to be given to
 * lrp_reassembly_input(). An IPv6 packet that is its own only fragment is no
 * fragment (RFC 6946).
 *
 * Returns 0 or LRP_DROPPED(reason). Addresses are set if the fixed header was whole.
 */
int lrp_ip_input(struct lrp_packet *p);

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ip_header.h - writes IP headers without options or extensions, complete with the checksum of IPv4.
 *
 * Pure. Any thread. Lengths in bytes; `flow_label` in network byte order, as of an IPv6 header.
 */
#ifndef LRP_IP_HEADER_H
#define LRP_IP_HEADER_H

#include <netinet/in.h>
#include <stdint.h>

#define LRP_IP4_HEADER_LEN 20u
#define LRP_IP6_HEADER_LEN 40u

/* What the two have in common. */
struct lrp_ip_header {
	uint8_t tos; /* or traffic class */
	uint8_t ttl;
	uint8_t proto; /* or next header */
	uint32_t len;  /* of what follows the header */
};

/* `flags_offset`: the fragment word, in host byte order. */
void lrp_ip4_header_write(uint8_t *to, const struct lrp_ip_header *h, uint16_t id,
			  uint32_t flags_offset, const struct in_addr *src,
			  const struct in_addr *dst);
void lrp_ip6_header_write(uint8_t *to, const struct lrp_ip_header *h, uint32_t flow_label,
			  const struct in6_addr *src, const struct in6_addr *dst);

#endif

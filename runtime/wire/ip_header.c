/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* ip_header.c - see ip_header.h. */
#include "ip_header.h"

#include <string.h>

#include "bytes.h"
#include "checksum.h"

#define CHECK_AT 10u /* of IPv4's checksum */

void lrp_ip4_header_write(uint8_t *to, const struct lrp_ip_header *h, uint16_t id,
			  uint32_t flags_offset, const struct in_addr *src,
			  const struct in_addr *dst)
{
	uint16_t sum;

	to[0] = 0x45;
	to[1] = h->tos;
	lrp_put16(to + 2, LRP_IP4_HEADER_LEN + h->len);
	lrp_put16(to + 4, id);
	lrp_put16(to + 6, flags_offset);
	to[8] = h->ttl;
	to[9] = h->proto;
	lrp_put16(to + CHECK_AT, 0);
	memcpy(to + 12, src, 4);
	memcpy(to + 16, dst, 4);
	sum = (uint16_t)~lrp_checksum_fold(lrp_checksum_header4(to, LRP_IP4_HEADER_LEN / 4));
	memcpy(to + CHECK_AT, &sum, 2);
}

void lrp_ip6_header_write(uint8_t *to, const struct lrp_ip_header *h, uint32_t flow_label,
			  const struct in6_addr *src, const struct in6_addr *dst)
{
	uint32_t first = htonl(6u << 28 | (uint32_t)h->tos << 20) | (flow_label & htonl(0xfffff));

	memcpy(to, &first, 4);
	lrp_put16(to + 4, h->len);
	to[6] = h->proto;
	to[7] = h->ttl;
	memcpy(to + 8, src, 16);
	memcpy(to + 24, dst, 16);
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "udp_input.h"

#include <string.h>

#include "../wire/checksum.h"

#define UDP_LEN 8u

static inline uint16_t load16(const uint8_t *p)
{
	uint16_t word;

	memcpy(&word, p, 2);
	return word;
}

int lrp_udp_input(struct lrp_packet *p, const uint8_t *l4, bool partial_ok)
{
	uint32_t len;
	uint16_t check;
	uint64_t sum;

	if (__builtin_expect(p->proto != IPPROTO_UDP, 0))
		return LRP_DROPPED(LRP_DROP_PROTOCOL);
	if (__builtin_expect(p->l4_len < UDP_LEN, 0))
		return LRP_DROPPED(LRP_DROP_LENGTH);
	p->sport = load16(l4);
	p->dport = load16(l4 + 2);
	len = ntohs(load16(l4 + 4));
	/* Less than IP has is right; the rest is cut off. 0 is for jumbograms [RFC 2675 4]. */
	if (__builtin_expect(len < UDP_LEN || len > p->l4_len, 0))
		return LRP_DROPPED(LRP_DROP_LENGTH);
	p->payload = l4 + UDP_LEN;
	p->payload_len = len - UDP_LEN;

	check = load16(l4 + 6);
	if (p->family == AF_INET) {
		if (!check)
			return 0;
		sum = lrp_checksum_pseudo4(p->src.v4, p->dst.v4, IPPROTO_UDP, len);
	} else {
		if (!check)
			return LRP_DROPPED(LRP_DROP_CHECKSUM);
		sum = lrp_checksum_pseudo6(&p->src.v6, &p->dst.v6, IPPROTO_UDP, len);
	}
	/* Before the whole sum: between local senders and virtual devices it is the usual case, and
	 * spares the payload. */
	if (partial_ok && check == lrp_checksum_fold(sum))
		return 0;
	sum = lrp_checksum_add(sum, lrp_checksum_sum(l4, len));
	return lrp_checksum_fold(sum) == 0xffff ? 0 : LRP_DROPPED(LRP_DROP_CHECKSUM);
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * verdict.h - what is remembered about a packet that was verified ahead of its
 * taking, in one word, so that it is read and written whole without a lock.
 *
 * The word carries the ring index of the packet. A receiver trusts it if the
 * index is that of the packet it is about to take: the frame lay between
 * consumer and producer all the time since, and nobody writes such a frame.
 * A word about a packet that has been taken meanwhile matches nothing.
 *
 *   63..32  ring index
 *   31      valid
 *   27..24  0: good, else LRP_DROPPED(reason)
 *   23..16  l3_offset
 *   15..0   l4_offset
 */
#ifndef LRP_VERDICT_H
#define LRP_VERDICT_H

#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <string.h>

#include "../ip/packet.h"

#define LRP_VERDICT_VALID (1u << 31)

static inline uint64_t lrp_verdict_make(uint32_t index, int dropped, const struct lrp_packet *p)
{
	return (uint64_t)index << 32 | LRP_VERDICT_VALID | (uint32_t)(dropped & 15) << 24 |
	       (uint32_t)(p->l3_offset & 0xff) << 16 | p->l4_offset;
}

static inline bool lrp_verdict_is(uint64_t verdict, uint32_t index)
{
	return (uint32_t)(verdict >> 32) == index && (verdict & LRP_VERDICT_VALID);
}

static inline int lrp_verdict_dropped(uint64_t verdict)
{
	return (int)(verdict >> 24 & 15);
}

/* Sets what lrp_ip_input() and lrp_udp_input() would, without verifying again. */
static inline void lrp_verdict_apply(uint64_t verdict, struct lrp_packet *p)
{
	const uint8_t *l3 = p->frame + (uint8_t)(verdict >> 16);
	const uint8_t *l4 = p->frame + (uint16_t)verdict;
	struct udphdr udp;

	memcpy(&udp, l4, sizeof(udp));
	p->l3_offset = (uint8_t)(verdict >> 16);
	p->l4_offset = (uint16_t)verdict;
	p->proto = IPPROTO_UDP;
	p->fragment = p->more_fragments = false;
	if (l3[0] >> 4 == 4) {
		const struct iphdr *ip = (const void *)l3;

		p->family = AF_INET;
		p->ttl = ip->ttl;
		p->tos = ip->tos;
		p->options_len = (uint16_t)((l3[0] & 15) * 4 - 20);
		p->flow_label = 0;
		memcpy(&p->src.v4, &ip->saddr, 4);
		memcpy(&p->dst.v4, &ip->daddr, 4);
	} else {
		const struct ip6_hdr *ip = (const void *)l3;

		p->family = AF_INET6;
		p->ttl = ip->ip6_hlim;
		p->tos = (uint8_t)((l3[0] & 15) << 4 | l3[1] >> 4);
		p->options_len = 0;
		memcpy(&p->flow_label, l3, 4);
		p->flow_label &= htonl(0x0fffffff);
		memcpy(&p->src.v6, &ip->ip6_src, 16);
		memcpy(&p->dst.v6, &ip->ip6_dst, 16);
	}
	p->sport = udp.uh_sport;
	p->dport = udp.uh_dport;
	p->l4_len = ntohs(udp.uh_ulen);
	p->payload = l4 + sizeof(udp);
	p->payload_len = p->l4_len - (uint32_t)sizeof(udp);
}

#endif

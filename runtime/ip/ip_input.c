/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "ip_input.h"

#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <string.h>

#include "../wire/bytes.h"
#include "../wire/checksum.h"

#define HEADER4_LEN    20u
#define HEADER6_LEN    40u
#define EXTENSIONS_MAX 8u /* extension headers per packet; more is an attack */
#define OPTIONS_MAX    8u /* IPv6 options per header, padding not counted; as Linux has it */
#define PADDING_MAX    7u /* more than alignment can ask for */

#define OPT6_PAD1	  0
#define OPT6_PADN	  1
#define OPT6_ROUTER_ALERT 5

static inline uint32_t load32(const uint8_t *p)
{
	uint32_t word;

	memcpy(&word, p, 4);
	return word;
}

/* Record route: pointer and length must agree [RFC 791 3.1]. A pointer beyond the length says that
 * the area is full. */
static bool record_fits(const uint8_t *opt, unsigned int len)
{
	return len >= 3 && opt[2] >= 4 && (opt[2] > len || opt[2] + 3u <= len);
}

static bool timestamp_fits(const uint8_t *opt, unsigned int len)
{
	unsigned int flag;

	if (len < 4 || opt[2] < 5)
		return false;
	flag = opt[3] & 15;
	if (opt[2] > len)
		/* Full: then the overflow count must have room [RFC 791 3.1]. */
		return flag == IPOPT_TS_PRESPEC || opt[3] >> 4 != 15;
	if (flag != IPOPT_TS_TSONLY && flag != IPOPT_TS_TSANDADDR && flag != IPOPT_TS_PRESPEC)
		return true;
	return opt[2] - 1 + (flag == IPOPT_TS_TSONLY ? 4u : 8u) <= len;
}

/*
 * Options are checked but not acted upon: the host is the destination, so there
 * is nothing to record for anyone who would see it. Source routes are refused as
 * Linux does unless told otherwise [RFC 1122 3.2.1.8 lets it]: a packet that chose its
 * way is not to be answered.
 */
static __attribute__((noinline)) bool options4_ok(const uint8_t *opt, unsigned int len)
{
	bool record = false, timestamp = false;
	unsigned int n;

	for (; len; opt += n, len -= n) {
		n = 1;
		if (opt[0] == IPOPT_EOL)
			return true;
		if (opt[0] == IPOPT_NOP)
			continue;
		if (len < 2)
			return false;
		n = opt[1];
		if (n < 2 || n > len)
			return false;
		switch (opt[0]) {
		case IPOPT_LSRR:
		case IPOPT_SSRR:
			return false;
		case IPOPT_RR:
			if (record || !record_fits(opt, n))
				return false;
			record = true;
			break;
		case IPOPT_TIMESTAMP:
			if (timestamp || !timestamp_fits(opt, n))
				return false;
			timestamp = true;
			break;
		case IPOPT_RA:
			if (n < 4)
				return false;
			break;
		}
	}
	return true;
}

static int input4(struct lrp_packet *p, const uint8_t *ip, uint32_t len)
{
	unsigned int header_len;
	uint16_t frag, id;
	uint32_t total;

	if (len < HEADER4_LEN || ip[0] >> 4 != 4)
		return LRP_DROPPED(LRP_DROP_IP_HEADER);
	p->family = AF_INET;
	p->tos = ip[1];
	p->ttl = ip[8];
	p->proto = ip[9];
	p->flow_label = 0;
	memcpy(&p->src.v4, ip + 12, 4);
	memcpy(&p->dst.v4, ip + 16, 4);

	header_len = (ip[0] & 15) * 4u;
	total = lrp_get16(ip + 2);
	if (header_len < HEADER4_LEN || header_len > len || total < header_len)
		return LRP_DROPPED(LRP_DROP_IP_HEADER);
	if (total > len)
		return LRP_DROPPED(LRP_DROP_LENGTH);
	if (lrp_checksum_fold(lrp_checksum_header4(ip, header_len / 4)) != 0xffff)
		return LRP_DROPPED(LRP_DROP_CHECKSUM);
	p->options_len = (uint16_t)(header_len - HEADER4_LEN);
	if (p->options_len && !options4_ok(ip + HEADER4_LEN, p->options_len))
		return LRP_DROPPED(LRP_DROP_IP_HEADER);

	frag = lrp_get16(ip + 6);
	p->more_fragments = frag & IP_MF;
	p->fragment_offset = (frag & IP_OFFMASK) * 8u;
	p->fragment = frag & (IP_MF | IP_OFFMASK);
	memcpy(&id, ip + 4, 2);
	p->fragment_id = id;
	p->l4_offset = (uint16_t)(p->l3_offset + header_len);
	p->l4_len = total - header_len;
	return 0;
}

/*
 * Hop-by-hop and destination options [RFC 8200 4.2]. None changes what happens to
 * the packet here; the two highest bits of an unknown one say whether it may be
 * skipped. Padding is held to what alignment needs, as Linux does: it is a good place to hide data.
 */
static bool options6_ok(const uint8_t *opt, uint32_t len, bool hop_by_hop)
{
	uint32_t n, padding = 0, count = 0;

	for (; len; opt += n, len -= n) {
		if (opt[0] == OPT6_PAD1) {
			n = 1;
			if (++padding > PADDING_MAX)
				return false;
			continue;
		}
		if (len < 2)
			return false;
		n = opt[1] + 2u;
		if (n > len)
			return false;
		if (opt[0] == OPT6_PADN) {
			padding += n;
			if (padding > PADDING_MAX)
				return false;
			for (uint32_t i = 2; i < n; i++)
				if (opt[i])
					return false;
			continue;
		}
		padding = 0;
		if (++count > OPTIONS_MAX)
			return false;
		if (hop_by_hop && opt[0] == OPT6_ROUTER_ALERT) {
			if (n != 4)
				return false;
			continue;
		}
		/* Jumbo payload and home address, too, have the bits set and are not supported. */
		if (opt[0] & 0xc0)
			return false;
	}
	return true;
}

/*
 * Walks extension headers from `at` on; `end` is that of the packet. Stops at a
 * fragment, and at the first header that is no extension header (AH and ESP
 * among them: the kernel would need a security association).
 */
static __attribute__((noinline)) int walk6(struct lrp_packet *p, const uint8_t *ip, uint32_t at,
					   uint32_t end)
{
	bool first = true;
	uint32_t n;

	for (unsigned int count = 0;; count++, first = false) {
		const uint8_t *h = ip + at;

		switch (p->proto) {
		default:
			p->l4_offset = (uint16_t)(p->l3_offset + at);
			p->l4_len = end - at;
			return 0;
		case IPPROTO_HOPOPTS:
		case IPPROTO_DSTOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_FRAGMENT:
			break;
		}
		if (count == EXTENSIONS_MAX || end - at < 8)
			return LRP_DROPPED(LRP_DROP_IP_HEADER);
		n = p->proto == IPPROTO_FRAGMENT ? 8 : (h[1] + 1u) * 8;
		if (n > end - at)
			return LRP_DROPPED(LRP_DROP_IP_HEADER);

		switch (p->proto) {
		case IPPROTO_HOPOPTS:
			/* Nowhere but directly after the fixed header [RFC 8200 4.1]. */
			if (!first || !options6_ok(h + 2, n - 2, true))
				return LRP_DROPPED(LRP_DROP_IP_HEADER);
			break;
		case IPPROTO_DSTOPTS:
			if (!options6_ok(h + 2, n - 2, false))
				return LRP_DROPPED(LRP_DROP_IP_HEADER);
			break;
		case IPPROTO_ROUTING:
			if (h[3] != 0)
				return LRP_DROPPED(LRP_DROP_IP_HEADER);
			break;
		case IPPROTO_FRAGMENT:
			p->fragment_id = load32(h + 4);
			p->fragment_offset = lrp_get16(h + 2) & 0xfff8;
			p->more_fragments = h[3] & 1;
			/* Otherwise the only one of its datagram, processed alone [RFC 6946]. */
			if (p->fragment_offset || p->more_fragments) {
				p->fragment = true;
				p->proto = h[0];
				p->l4_offset = (uint16_t)(p->l3_offset + at + n);
				p->l4_len = end - at - n;
				return 0;
			}
			break;
		}
		p->proto = h[0];
		at += n;
	}
}

static int input6(struct lrp_packet *p, const uint8_t *ip, uint32_t len)
{
	uint32_t payload;

	if (len < HEADER6_LEN || ip[0] >> 4 != 6)
		return LRP_DROPPED(LRP_DROP_IP_HEADER);
	p->family = AF_INET6;
	p->tos = (uint8_t)(ip[0] << 4 | ip[1] >> 4);
	p->flow_label = load32(ip) & htonl(0x0fffffff);
	p->proto = ip[6];
	p->ttl = ip[7];
	memcpy(&p->src.v6, ip + 8, 16);
	memcpy(&p->dst.v6, ip + 24, 16);
	p->options_len = 0;
	p->fragment = false;
	p->more_fragments = false;
	p->fragment_id = 0;
	p->fragment_offset = 0;

	payload = lrp_get16(ip + 4);
	if (payload > len - HEADER6_LEN)
		return LRP_DROPPED(LRP_DROP_LENGTH);
	/* No packet comes from a group [RFC 4291 2.7]. */
	if (p->src.v6.s6_addr[0] == 0xff)
		return LRP_DROPPED(LRP_DROP_IP_HEADER);
	if (p->proto == IPPROTO_UDP || p->proto == IPPROTO_TCP) {
		p->l4_offset = (uint16_t)(p->l3_offset + HEADER6_LEN);
		p->l4_len = payload;
		return 0;
	}
	return walk6(p, ip, HEADER6_LEN, HEADER6_LEN + payload);
}

int lrp_ip_input(struct lrp_packet *p)
{
	const uint8_t *frame = p->frame;
	uint32_t len = p->frame_len, l3 = ETH_HLEN;
	uint16_t type;

	if (len < ETH_HLEN)
		return LRP_DROPPED(LRP_DROP_IP_HEADER);
	type = lrp_get16(frame + 12);
	for (int tags = 0; tags < 2 && (type == ETHERTYPE_VLAN || type == 0x88a8); tags++) {
		if (len < l3 + 4)
			return LRP_DROPPED(LRP_DROP_IP_HEADER);
		type = lrp_get16(frame + l3 + 2);
		l3 += 4;
	}
	p->l3_offset = (uint16_t)l3;
	if (type == ETHERTYPE_IP)
		return input4(p, frame + l3, len - l3);
	if (type == ETHERTYPE_IPV6)
		return input6(p, frame + l3, len - l3);
	return LRP_DROPPED(LRP_DROP_PROTOCOL);
}

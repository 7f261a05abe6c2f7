/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* stray_key.c - whose fragment a packet is. The packet is a copy that nobody else writes. */
#include <linux/if_ether.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <string.h>

#include "stray.h"

#define EXTENSIONS_MAX 8

static bool key4(const uint8_t *ip, size_t length, struct lrp_fragment_key *key)
{
	struct iphdr header;

	if (length < sizeof(header))
		return false;
	memcpy(&header, ip, sizeof(header));
	if (!(header.frag_off & htons(IP_MF | IP_OFFMASK)))
		return false;
	key->saddr.byte[10] = key->saddr.byte[11] = 0xff;
	key->daddr.byte[10] = key->daddr.byte[11] = 0xff;
	memcpy(&key->saddr.byte[12], &header.saddr, 4);
	memcpy(&key->daddr.byte[12], &header.daddr, 4);
	key->id = header.id;
	key->proto = header.protocol;
	key->family = 4;
	return true;
}

static bool key6(const uint8_t *ip, size_t length, struct lrp_fragment_key *key)
{
	size_t at = sizeof(struct ip6_hdr);
	uint8_t next;

	if (length < at)
		return false;
	next = ip[6];
	for (int i = 0; i < EXTENSIONS_MAX && at + 8 <= length; i++) {
		uint8_t proto = next;

		if (proto == IPPROTO_FRAGMENT) {
			memcpy(&key->saddr, ip + 8, 16);
			memcpy(&key->daddr, ip + 24, 16);
			memcpy(&key->id, ip + at + 4, 4);
			key->proto = ip[at];
			key->family = 6;
			return true;
		}
		next = ip[at];
		if (proto == IPPROTO_AH)
			at += ((size_t)ip[at + 1] + 2) * 4;
		else if (proto == IPPROTO_HOPOPTS || proto == IPPROTO_ROUTING ||
			 proto == IPPROTO_DSTOPTS)
			at += ((size_t)ip[at + 1] + 1) * 8;
		else
			return false;
	}
	return false;
}

bool lrp_stray_key(const uint8_t *packet, size_t length, struct lrp_fragment_key *key)
{
	size_t at = 12;
	uint16_t type;

	memset(key, 0, sizeof(*key));
	for (int tags = 0; at + 2 <= length; tags++, at += 4) {
		memcpy(&type, packet + at, 2);
		type = ntohs(type);
		if (type == ETH_P_IP)
			return key4(packet + at + 2, length - at - 2, key);
		if (type == ETH_P_IPV6)
			return key6(packet + at + 2, length - at - 2, key);
		if ((type != ETH_P_8021Q && type != ETH_P_8021AD) || tags == 2)
			return false;
	}
	return false;
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <string.h>

#include "packets.h"

const uint8_t mac_ours[6] = {0x02, 0, 0, 0, 0, 1};
const uint8_t mac_peer[6] = {0x02, 0, 0, 0, 0, 2};
const uint8_t mac_other[6] = {0x02, 0, 0, 0, 0, 3};
const uint8_t mac_broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

void packet_put16(struct packet *packet, uint32_t at, uint16_t value)
{
	packet->data[at] = value >> 8;
	packet->data[at + 1] = value & 0xff;
}

static void put32(uint8_t *at, uint32_t value)
{
	at[0] = value >> 24;
	at[1] = value >> 16 & 0xff;
	at[2] = value >> 8 & 0xff;
	at[3] = value & 0xff;
}

/* Transport header and payload of the whole datagram; returns their length. */
static uint32_t build_transport(uint8_t *out, const struct spec *spec);

static uint8_t family_of(const struct spec *spec)
{
	return spec->family ? spec->family : 4;
}

static uint8_t proto_of(const struct spec *spec)
{
	return spec->proto ? spec->proto : IPPROTO_UDP;
}

static void address(uint8_t *out, int family, const char *text, const char *four, const char *six)
{
	int rc = inet_pton(family == 6 ? AF_INET6 : AF_INET,
			   text		 ? text
			   : family == 6 ? six
					 : four,
			   out);

	assert(rc == 1);
	(void)rc;
}

/* The network header, and behind it the part of the datagram that the spec wants. */
static uint32_t build_network(uint8_t *out, const struct spec *spec, uint32_t *l4)
{
	uint8_t whole[PACKET_MAX], *at = out;
	uint32_t transport = build_transport(whole, spec), header;
	uint32_t from = spec->fragment ? spec->offset : 0;
	uint32_t length = spec->fragment ? spec->length : transport;

	assert(from + length <= transport);
	if (family_of(spec) == 4) {
		header = 20 + 4 * spec->options;
		memset(at, 0, header);
		at[0] = 0x40 | header / 4;
		at[2] = (header + length) >> 8;
		at[3] = (header + length) & 0xff;
		at[4] = spec->id >> 8 & 0xff;
		at[5] = spec->id & 0xff;
		if (spec->fragment) {
			at[6] = (spec->more ? 0x20 : 0) | spec->offset >> 11;
			at[7] = spec->offset >> 3 & 0xff;
		}
		at[8] = 64;
		at[9] = proto_of(spec);
		address(at + 12, 4, spec->src, PEER4, PEER6);
		address(at + 16, 4, spec->dst, OURS4, OURS6);
		memset(at + 20, 1, header - 20); /* no-operation */
		at += header;
	} else {
		uint8_t *next = at + 6;

		memset(at, 0, 40);
		at[0] = 0x60;
		at[7] = 64;
		address(at + 8, 6, spec->src, PEER4, PEER6);
		address(at + 24, 6, spec->dst, OURS4, OURS6);
		at += 40;
		for (int i = 0; i < spec->extensions; i++) {
			const struct extension *extension = &spec->extension[i];

			*next = extension->type;
			next = at;
			header = extension->type == IPPROTO_AH ? (extension->units + 2u) * 4
				 : extension->type == IPPROTO_FRAGMENT
					 ? 8
					 : (extension->units + 1u) * 8;
			memset(at, 0, header);
			if (extension->type != IPPROTO_FRAGMENT)
				at[1] = extension->units;
			if (extension->type == IPPROTO_ROUTING)
				at[3] = extension->segments_left;
			if (extension->type == IPPROTO_FRAGMENT) {
				if (spec->fragment) {
					at[2] = spec->offset >> 8;
					at[3] = (spec->offset & 0xf8) | spec->more;
				}
				put32(at + 4, spec->id);
			}
			at += header;
		}
		*next = proto_of(spec);
		out[4] = (at - out - 40 + length) >> 8;
		out[5] = (at - out - 40 + length) & 0xff;
	}
	*l4 = at - out;
	memcpy(at, whole + from, length);
	return at + length - out;
}

static uint32_t build_transport(uint8_t *out, const struct spec *spec)
{
	uint16_t sport = spec->sport ? spec->sport : 9000;
	uint32_t header, l4;

	switch (proto_of(spec)) {
	case IPPROTO_UDP:
		header = 8;
		break;
	case IPPROTO_TCP:
		header = 20;
		break;
	default:
		header = 8;
	}
	memset(out, 0, header);
	if (proto_of(spec) == IPPROTO_UDP || proto_of(spec) == IPPROTO_TCP) {
		out[0] = sport >> 8;
		out[1] = sport & 0xff;
		out[2] = spec->dport >> 8;
		out[3] = spec->dport & 0xff;
	}
	if (proto_of(spec) == IPPROTO_UDP) {
		out[4] = (header + spec->payload) >> 8;
		out[5] = (header + spec->payload) & 0xff;
	} else if (proto_of(spec) == IPPROTO_TCP) {
		out[12] = 0x50;
		out[13] = spec->tcp_flags;
	} else {
		out[0] = spec->icmp_type;
		out[1] = spec->icmp_code;
	}
	if (spec->quoted) {
		uint8_t inner[PACKET_MAX];
		uint32_t len = build_network(inner, spec->quoted, &l4);
		uint32_t want = l4 + (spec->quoted_bytes ? spec->quoted_bytes : 8);

		if (want < len)
			len = want;
		memcpy(out + header, inner, len);
		return header + len;
	}
	for (uint32_t i = 0; i < spec->payload; i++)
		out[header + i] = i * 7 + 3;
	return header + spec->payload;
}

void packet_build(struct packet *packet, const struct spec *spec)
{
	uint8_t *mac = packet->data, *net;
	uint16_t type = spec->ether_type;
	uint32_t at = 14, l4;

	if (!type)
		type = family_of(spec) == 6 ? 0x86dd : 0x0800;
	memcpy(packet->data + 6, mac_peer, 6);
	packet_put16(packet, 12, spec->vlans ? (spec->vlan_type ? spec->vlan_type : 0x8100) : type);
	for (int i = 0; i < spec->vlans; i++, at += 4) {
		packet_put16(packet, at, spec->vlan[i]);
		packet_put16(packet, at + 2, i + 1 < spec->vlans ? 0x8100 : type);
	}
	net = packet->data + at;
	packet->l3 = at;
	packet->len = at + build_network(net, spec, &l4);
	packet->l4 = at + l4;

	switch (spec->mac) {
	case MAC_OURS:
		memcpy(mac, mac_ours, 6);
		return;
	case MAC_OTHER:
		memcpy(mac, mac_other, 6);
		return;
	case MAC_BROADCAST:
		memcpy(mac, mac_broadcast, 6);
		return;
	case MAC_WRONG_GROUP:
		memcpy(mac, (uint8_t[]){0x01, 0, 0x5e, 0x7f, 0x7f, 0x7f}, 6);
		return;
	}
	if (family_of(spec) == 6 && net[24] == 0xff) {
		mac[0] = mac[1] = 0x33;
		memcpy(mac + 2, net + 36, 4);
	} else if (family_of(spec) == 4 && net[16] >= 224 && net[16] < 240) {
		memcpy(mac, (uint8_t[]){0x01, 0, 0x5e, net[17] & 0x7f, net[18], net[19]}, 6);
	} else if (family_of(spec) == 4 && net[19] == 255) {
		memcpy(mac, mac_broadcast, 6);
	} else {
		memcpy(mac, mac_ours, 6);
	}
}

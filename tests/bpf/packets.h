/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * packets.h - packets for the tests of the XDP program, built from a
 * description. Fields that are zero mean the usual: an unfragmented UDP packet
 * over IPv4 from PEER4 to OURS4, in a frame to the device's MAC.
 */
#ifndef LRP_TEST_PACKETS_H
#define LRP_TEST_PACKETS_H

#include <stdbool.h>
#include <stdint.h>

#define PACKET_MAX 12000

#define OURS4		"198.18.1.1"
#define OURS4_SECOND	"198.18.2.1" /* in the device's quick list, too */
#define OURS4_HASHED	"198.18.3.1" /* in lrp_local4 only */
#define OURS4_BROADCAST "198.18.1.255"
#define PEER4		"198.18.1.2"
#define FOREIGN4	"198.18.77.7" /* what the host forwards */
#define OURS6		"2001:db8:1::1"
#define OURS6_LINK	"fe80::1"
#define PEER6		"2001:db8:1::2"
#define FOREIGN6	"2001:db8:77::7"

extern const uint8_t mac_ours[6], mac_peer[6], mac_other[6], mac_broadcast[6];

enum { MAC_AUTO, MAC_OURS, MAC_OTHER, MAC_BROADCAST, MAC_WRONG_GROUP };

struct extension {
	uint8_t type;  /* IPPROTO_HOPOPTS, ROUTING, DSTOPTS, AH, FRAGMENT */
	uint8_t units; /* its length field */
	uint8_t segments_left;
};

struct spec {
	uint8_t family; /* 4 or 6; 0: 4 */
	uint8_t proto;	/* 0: UDP */
	const char *src, *dst;
	uint16_t sport, dport; /* 0: sport 9000 */
	uint16_t payload;      /* bytes behind the transport header */
	uint8_t tcp_flags;
	uint8_t mac;	     /* MAC_*; AUTO: fits the address */
	uint8_t vlans;	     /* number of tags */
	uint16_t vlan[10];   /* ids, outermost first */
	uint16_t vlan_type;  /* of the outermost; 0: 0x8100 */
	uint16_t ether_type; /* instead of the family's */
	uint8_t options;     /* 32-bit words of IPv4 options */
	uint8_t extensions;
	struct extension extension[10];
	/* fragments: of the datagram that all this describes, this part */
	bool fragment;
	uint16_t offset; /* bytes, a multiple of 8 */
	uint16_t length; /* bytes */
	bool more;
	uint32_t id;
	/* ICMP: the quoted packet */
	uint8_t icmp_type, icmp_code;
	const struct spec *quoted;
	uint16_t quoted_bytes; /* of the quoted packet's IP payload; 0: 8 */
};

struct packet {
	uint32_t len;
	uint32_t l3, l4; /* offsets; l4: behind all extension headers */
	uint8_t data[PACKET_MAX];
};

void packet_build(struct packet *packet, const struct spec *spec);

/* One's complement sum fields are set as a sender would (the program does not look). */
void packet_put16(struct packet *packet, uint32_t at, uint16_t value_host);

#endif

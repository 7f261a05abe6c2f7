/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* fragment_wire.h - UDP datagrams in two fragments, sent from the namespaces of the test bed. */
#ifndef LRP_TEST_FRAGMENT_WIRE_H
#define LRP_TEST_FRAGMENT_WIRE_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAYLOAD	 1200u /* of UDP; split behind the first 600 bytes of the datagram */
#define SPLIT	 600u
#define DATAGRAM (sizeof(struct udphdr) + PAYLOAD)

/* The ways in. */
static struct way {
	const char *ns, *there, *here;
	uint8_t smac[6], dmac[6];
	int fd;
} ways[2] = {{"client", "c0", "s0", {0}, {0}, -1}, {"blaster", "b0", "s1", {0}, {0}, -1}};

static inline uint16_t sum(const void *data, size_t length, uint32_t start)
{
	const uint8_t *byte = data;

	for (size_t i = 0; i + 1 < length; i += 2)
		start += (uint32_t)byte[i] << 8 | byte[i + 1];
	while (start >> 16)
		start = (start & 0xffff) + (start >> 16);
	return (uint16_t)~start;
}

static inline void make_datagram(uint8_t *udp, bool v6, uint16_t port)
{
	struct udphdr *header = (struct udphdr *)udp;

	memset(udp, 'x', sizeof(*header) + PAYLOAD);
	header->source = htons(6000);
	header->dest = htons(port);
	header->len = htons(sizeof(*header) + PAYLOAD);
	header->check = 0; /* IPv4: none */
	if (v6) {
		uint8_t pseudo[40] = {0};

		inet_pton(AF_INET6, "2001:db8:1::2", pseudo);
		inet_pton(AF_INET6, "2001:db8:1::1", pseudo + 16);
		pseudo[34] = (uint8_t)((sizeof(*header) + PAYLOAD) >> 8);
		pseudo[35] = (uint8_t)(sizeof(*header) + PAYLOAD);
		pseudo[39] = IPPROTO_UDP;
		header->check = htons(sum(udp, sizeof(*header) + PAYLOAD,
					  (uint16_t)~sum(pseudo, sizeof(pseudo), 0)));
	}
}

static inline void send_way(const struct way *way, const uint8_t *udp, bool v6, uint32_t saddr,
			    uint16_t id, bool second)
{
	uint32_t offset = second ? SPLIT : 0;
	uint32_t length = second ? (uint32_t)sizeof(struct udphdr) + PAYLOAD - SPLIT : SPLIT;
	uint8_t frame[2048] = {0};
	size_t at = 14;

	memcpy(frame, way->dmac, 6);
	memcpy(frame + 6, way->smac, 6);
	frame[12] = v6 ? 0x86 : 0x08;
	frame[13] = v6 ? 0xdd : 0x00;
	if (v6) {
		struct ip6_hdr *ip = (struct ip6_hdr *)(frame + at);
		struct ip6_frag *fragment = (struct ip6_frag *)(ip + 1);

		ip->ip6_flow = htonl(6u << 28);
		ip->ip6_plen = htons((uint16_t)(sizeof(*fragment) + length));
		ip->ip6_nxt = IPPROTO_FRAGMENT;
		ip->ip6_hlim = 64;
		inet_pton(AF_INET6, "2001:db8:1::2", &ip->ip6_src);
		inet_pton(AF_INET6, "2001:db8:1::1", &ip->ip6_dst);
		fragment->ip6f_nxt = IPPROTO_UDP;
		fragment->ip6f_offlg = htons((uint16_t)(offset | !second));
		fragment->ip6f_ident = htonl(id);
		at += sizeof(*ip) + sizeof(*fragment);
	} else {
		struct iphdr *ip = (struct iphdr *)(frame + at);

		ip->version = 4;
		ip->ihl = 5;
		ip->ttl = 64;
		ip->protocol = IPPROTO_UDP;
		ip->id = htons(id);
		ip->tot_len = htons((uint16_t)(sizeof(*ip) + length));
		ip->frag_off = htons((uint16_t)(offset / 8 | (second ? 0 : IP_MF)));
		ip->saddr = htonl(saddr);
		inet_pton(AF_INET, "198.18.1.1", &ip->daddr);
		ip->check = htons(sum(ip, sizeof(*ip), 0));
		at += sizeof(*ip);
	}
	memcpy(frame + at, udp + offset, length);
	if (send(way->fd, frame, at + length, 0) < 0) {
		perror("send");
		exit(1);
	}
}

static inline void send_part(const uint8_t *udp, bool v6, uint16_t id, bool second)
{
	send_way(&ways[0], udp, v6, 0xc6120102, id, second);
}

static inline void mac_of(const char *name, uint8_t *mac)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct ifreq ifr = {0};

	strcpy(ifr.ifr_name, name);
	if (ioctl(fd, SIOCGIFHWADDR, &ifr)) {
		perror(name);
		exit(1);
	}
	memcpy(mac, ifr.ifr_hwaddr.sa_data, 6);
	close(fd);
}

static inline void open_sender(struct way *way)
{
	struct sockaddr_ll addr = {.sll_family = AF_PACKET};
	char path[64];
	int here = open("/proc/self/ns/net", O_RDONLY), there;

	snprintf(path, sizeof(path), "/run/netns/%s", way->ns);
	there = open(path, O_RDONLY);
	mac_of(way->here, way->dmac);
	if (setns(there, CLONE_NEWNET)) {
		perror("setns");
		exit(1);
	}
	mac_of(way->there, way->smac);
	way->fd = socket(AF_PACKET, SOCK_RAW, 0);
	addr.sll_ifindex = (int)if_nametoindex(way->there);
	if (way->fd < 0 || bind(way->fd, (struct sockaddr *)&addr, sizeof(addr)) ||
	    setns(here, CLONE_NEWNET)) {
		perror("packet socket");
		exit(1);
	}
	close(here);
	close(there);
}

#endif

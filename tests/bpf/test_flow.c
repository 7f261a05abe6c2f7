/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Twin of bpf/flow.h: is it ours, and whose is it. */
#include "harness.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "../lib/bed.h"

#define SYN 0x02
#define ACK 0x10

static void roomy(struct harness *h)
{
	for (uint32_t i = 0; i < H_ENDPOINTS; i++)
		if (h->channel[i].flags)
			h->channel[i].limit = h->channel[i].guarantee = 1u << 20;
}

static struct harness *begin(void **state)
{
	return *state;
}

/* A wildcard socket on a host that forwards: only what is addressed to this host. */
static void test_ours(void **state)
{
	static const struct table_case table[] = {
		{"own address", {.dport = 1000}, LRP_XDP_ENQUEUED, 1, NULL},
		{"second own address",
		 {.dport = 1000, .dst = OURS4_SECOND},
		 LRP_XDP_ENQUEUED,
		 1,
		 NULL},
		{"own address that is in the hash only",
		 {.dport = 1000, .dst = OURS4_HASHED},
		 LRP_XDP_ENQUEUED,
		 1,
		 NULL},
		{"to be forwarded",
		 {.dport = 1000, .dst = FOREIGN4},
		 LRP_XDP_PASS_ADDRESS,
		 0,
		 NULL},
		{"to the peer itself",
		 {.dport = 1000, .dst = PEER4, .src = FOREIGN4},
		 LRP_XDP_PASS_ADDRESS,
		 0,
		 NULL},
		{"to 0.0.0.0", {.dport = 1000, .dst = "0.0.0.0"}, LRP_XDP_PASS_ADDRESS, 0, NULL},
		{"to class E", {.dport = 1000, .dst = "240.0.0.1"}, LRP_XDP_PASS_ADDRESS, 0, NULL},
		{"own, class E", {.dport = 1000, .dst = "240.0.1.1"}, LRP_XDP_ENQUEUED, 1, NULL},
		{"own, 0.0.0.0/8", {.dport = 1000, .dst = "0.5.1.1"}, LRP_XDP_ENQUEUED, 1, NULL},
		{"to 127.0.0.1 from the wire",
		 {.dport = 1000, .dst = "127.0.0.1"},
		 LRP_XDP_PASS_ADDRESS,
		 0,
		 NULL},
		{"TCP, to be forwarded",
		 {.proto = IPPROTO_TCP, .dport = 1000, .dst = FOREIGN4},
		 LRP_XDP_PASS_ADDRESS,
		 0,
		 NULL},
		{"in a frame to another MAC",
		 {.dport = 1000, .mac = MAC_OTHER},
		 LRP_XDP_PASS_MAC,
		 0,
		 NULL},
		{"in a broadcast frame",
		 {.dport = 1000, .mac = MAC_BROADCAST},
		 LRP_XDP_PASS_MAC,
		 0,
		 NULL},
		{"in a multicast frame",
		 {.dport = 1000, .mac = MAC_WRONG_GROUP},
		 LRP_XDP_PASS_MAC,
		 0,
		 NULL},
		{"hashed address, other MAC",
		 {.dport = 1000, .dst = OURS4_HASHED, .mac = MAC_OTHER},
		 LRP_XDP_PASS_MAC,
		 0,
		 NULL},
		{"IPv6, own address", {.family = 6, .dport = 1000}, LRP_XDP_ENQUEUED, 1, NULL},
		{"IPv6, link-local on its device",
		 {.family = 6, .dport = 1000, .dst = OURS6_LINK},
		 LRP_XDP_ENQUEUED,
		 1,
		 NULL},
		{"IPv6, link-local of another device",
		 {.family = 6, .dport = 1000, .dst = "fe80::2"},
		 LRP_XDP_PASS_ADDRESS,
		 0,
		 NULL},
		{"IPv6, to be forwarded",
		 {.family = 6, .dport = 1000, .dst = FOREIGN6},
		 LRP_XDP_PASS_ADDRESS,
		 0,
		 NULL},
		{"IPv6, ::1 from the wire",
		 {.family = 6, .dport = 1000, .dst = "::1"},
		 LRP_XDP_PASS_ADDRESS,
		 0,
		 NULL},
		{"IPv6, ::",
		 {.family = 6, .dport = 1000, .dst = "::"},
		 LRP_XDP_PASS_ADDRESS,
		 0,
		 NULL},
		{"IPv6, other MAC",
		 {.family = 6, .dport = 1000, .mac = MAC_OTHER},
		 LRP_XDP_PASS_MAC,
		 0,
		 NULL},
		{"IPv6, broadcast frame",
		 {.family = 6, .dport = 1000, .mac = MAC_BROADCAST},
		 LRP_XDP_PASS_MAC,
		 0,
		 NULL},
	};
	struct harness *h = begin(state);

	harness_local(h, "240.0.1.1", LRP_LOCAL_UNICAST, 0);
	harness_local(h, "0.5.1.1", LRP_LOCAL_UNICAST, 0);
	harness_any(h, 4, IPPROTO_UDP, 1000, 1);
	harness_any(h, 6, IPPROTO_UDP, 1000, 1);
	harness_any(h, 4, IPPROTO_TCP, 1000, 1);
	harness_local(h, "fe80::2", LRP_LOCAL_UNICAST, H_IFINDEX + 1);
	harness_table(h, table, sizeof(table) / sizeof(table[0]));
}

/* No address in the device's quick list: all go through the hash. */
static void test_no_quick_list(void **state)
{
	struct harness *h = begin(state);
	struct spec ours = {.dport = 1000}, zero = {.dport = 1000, .dst = "0.0.0.0"};

	harness_any(h, 4, IPPROTO_UDP, 1000, 1);
	h->device->addr4_count = 0;
	harness_expect_spec(h, "empty quick list", &ours, LRP_XDP_ENQUEUED, 1);
	memset(h->device->addr4, 0, sizeof(h->device->addr4));
	harness_expect_spec(h, "zeros in it do not match 0.0.0.0", &zero, LRP_XDP_PASS_ADDRESS, 0);
	h->device->addr4_count = 4;
	memset(h->device->addr4, 0xee, sizeof(h->device->addr4));
	inet_pton(AF_INET, "198.18.99.1", &h->device->addr4[3]);
	ours.dst = "198.18.99.1";
	harness_expect_spec(h, "fourth entry", &ours, LRP_XDP_ENQUEUED, 1);
	h->device->addr4_count = 3;
	harness_expect_spec(h, "fourth entry, not valid", &ours, LRP_XDP_PASS_ADDRESS, 1);
}

static void test_loopback(void **state)
{
	static const struct table_case table[] = {
		{"127.0.0.1",
		 {.dport = 1000, .dst = "127.0.0.1", .src = "127.0.0.1", .mac = MAC_OTHER},
		 LRP_XDP_ENQUEUED,
		 1,
		 NULL},
		{"127.1.2.3",
		 {.dport = 1000, .dst = "127.1.2.3", .src = "127.0.0.1"},
		 LRP_XDP_ENQUEUED,
		 1,
		 NULL},
		{"own address to itself", {.dport = 1000, .src = OURS4}, LRP_XDP_ENQUEUED, 1, NULL},
		{"::1",
		 {.family = 6, .dport = 1000, .dst = "::1", .src = "::1"},
		 LRP_XDP_ENQUEUED,
		 1,
		 NULL},
		{"own IPv6 address to itself",
		 {.family = 6, .dport = 1000, .src = OURS6, .mac = MAC_OTHER},
		 LRP_XDP_ENQUEUED,
		 1,
		 NULL},
		{"not local even here",
		 {.dport = 1000, .dst = FOREIGN4},
		 LRP_XDP_PASS_ADDRESS,
		 1,
		 NULL},
	};
	struct harness *h = begin(state);

	h->device->flags = LRP_DEVICE_LOOPBACK;
	harness_any(h, 4, IPPROTO_UDP, 1000, 1);
	harness_any(h, 6, IPPROTO_UDP, 1000, 1);
	harness_table(h, table, sizeof(table) / sizeof(table[0]));
}

static void test_martian(void **state)
{
	static const struct table_case table[] = {
		{"0.0.0.0", {.dport = 1000, .src = "0.0.0.0"}, LRP_XDP_DROP_MARTIAN, 1, NULL},
		{"0.0.0.1", {.dport = 1000, .src = "0.0.0.1"}, LRP_XDP_ENQUEUED, 1, NULL},
		{"0.1.2.3", {.dport = 1000, .src = "0.1.2.3"}, LRP_XDP_ENQUEUED, 1, NULL},
		{"1.0.0.0", {.dport = 1000, .src = "1.0.0.0"}, LRP_XDP_ENQUEUED, 1, NULL},
		{"126.255.255.255",
		 {.dport = 1000, .src = "126.255.255.255"},
		 LRP_XDP_ENQUEUED,
		 1,
		 NULL},
		{"127.0.0.1", {.dport = 1000, .src = "127.0.0.1"}, LRP_XDP_DROP_MARTIAN, 1, NULL},
		{"127.255.255.255",
		 {.dport = 1000, .src = "127.255.255.255"},
		 LRP_XDP_DROP_MARTIAN,
		 1,
		 NULL},
		{"128.0.0.0", {.dport = 1000, .src = "128.0.0.0"}, LRP_XDP_ENQUEUED, 1, NULL},
		{"223.255.255.255",
		 {.dport = 1000, .src = "223.255.255.255"},
		 LRP_XDP_ENQUEUED,
		 1,
		 NULL},
		{"224.0.0.1", {.dport = 1000, .src = "224.0.0.1"}, LRP_XDP_DROP_MARTIAN, 1, NULL},
		{"239.255.255.255",
		 {.dport = 1000, .src = "239.255.255.255"},
		 LRP_XDP_DROP_MARTIAN,
		 1,
		 NULL},
		{"240.0.0.1", {.dport = 1000, .src = "240.0.0.1"}, LRP_XDP_ENQUEUED, 1, NULL},
		{"255.255.255.254",
		 {.dport = 1000, .src = "255.255.255.254"},
		 LRP_XDP_ENQUEUED,
		 1,
		 NULL},
		{"255.255.255.255",
		 {.dport = 1000, .src = "255.255.255.255"},
		 LRP_XDP_DROP_MARTIAN,
		 1,
		 NULL},
		{"own address", {.dport = 1000, .src = OURS4}, LRP_XDP_DROP_MARTIAN, 1, NULL},
		{"second own address",
		 {.dport = 1000, .src = OURS4_SECOND},
		 LRP_XDP_DROP_MARTIAN,
		 1,
		 NULL},
		{"DHCP: no address yet, by broadcast",
		 {.dport = 1000, .src = "0.0.0.0", .dst = "255.255.255.255", .mac = MAC_BROADCAST},
		 LRP_XDP_ENQUEUED,
		 1,
		 NULL},
		{"0.0.0.0 to a broadcast address of the subnet",
		 {.dport = 1000, .src = "0.0.0.0", .dst = OURS4_BROADCAST, .mac = MAC_BROADCAST},
		 LRP_XDP_DROP_MARTIAN,
		 1,
		 NULL},
		{"a martian for a port that is not LRP's",
		 {.dport = 1001, .src = "127.0.0.1"},
		 LRP_XDP_PASS_PORT,
		 1,
		 NULL},
		{"a martian to be forwarded",
		 {.dport = 1000, .src = "127.0.0.1", .dst = FOREIGN4},
		 LRP_XDP_PASS_ADDRESS,
		 1,
		 NULL},
		{"::", {.family = 6, .dport = 1000, .src = "::"}, LRP_XDP_DROP_MARTIAN, 1, NULL},
		{"::1", {.family = 6, .dport = 1000, .src = "::1"}, LRP_XDP_DROP_MARTIAN, 1, NULL},
		{"::2", {.family = 6, .dport = 1000, .src = "::2"}, LRP_XDP_ENQUEUED, 1, NULL},
		{"ff02::1",
		 {.family = 6, .dport = 1000, .src = "ff02::1"},
		 LRP_XDP_DROP_MARTIAN,
		 1,
		 NULL},
		{"::ffff:198.18.1.2",
		 {.family = 6, .dport = 1000, .src = "::ffff:198.18.1.2"},
		 LRP_XDP_DROP_MARTIAN,
		 1,
		 NULL},
		{"fe80::5",
		 {.family = 6, .dport = 1000, .src = "fe80::5"},
		 LRP_XDP_ENQUEUED,
		 1,
		 NULL},
	};
	struct harness *h = begin(state);

	harness_any(h, 4, IPPROTO_UDP, 1000, 1);
	harness_any(h, 6, IPPROTO_UDP, 1000, 1);
	harness_table(h, table, sizeof(table) / sizeof(table[0]));
}

/* Exact flow before address before wildcard, and each protocol and family for itself. */
static void test_precedence(void **state)
{
	static const struct table_case table[] = {
		{"exact flow", {.dport = 53, .sport = 5000}, LRP_XDP_ENQUEUED, 3, NULL},
		{"same peer, other port", {.dport = 53, .sport = 5001}, LRP_XDP_ENQUEUED, 2, NULL},
		{"other peer, same port",
		 {.dport = 53, .sport = 5000, .src = "198.18.1.3"},
		 LRP_XDP_ENQUEUED,
		 2,
		 NULL},
		{"bound address", {.dport = 53}, LRP_XDP_ENQUEUED, 2, NULL},
		{"other own address",
		 {.dport = 53, .dst = OURS4_SECOND},
		 LRP_XDP_ENQUEUED,
		 1,
		 NULL},
		{"the flow's peer to another own address",
		 {.dport = 53, .sport = 5000, .dst = OURS4_SECOND},
		 LRP_XDP_ENQUEUED,
		 1,
		 NULL},
		{"TCP, exact flow",
		 {.proto = IPPROTO_TCP, .dport = 53, .sport = 5000, .tcp_flags = ACK},
		 LRP_XDP_ENQUEUED,
		 6,
		 NULL},
		{"TCP, bound address",
		 {.proto = IPPROTO_TCP, .dport = 53, .sport = 5001},
		 LRP_XDP_ENQUEUED,
		 5,
		 NULL},
		{"TCP, wildcard",
		 {.proto = IPPROTO_TCP, .dport = 53, .dst = OURS4_SECOND},
		 LRP_XDP_ENQUEUED,
		 4,
		 NULL},
		{"IPv6, exact flow",
		 {.family = 6, .dport = 53, .sport = 5000},
		 LRP_XDP_ENQUEUED,
		 9,
		 NULL},
		{"IPv6, bound address",
		 {.family = 6, .dport = 53, .sport = 5001},
		 LRP_XDP_ENQUEUED,
		 8,
		 NULL},
		{"IPv6, wildcard",
		 {.family = 6, .dport = 53, .dst = OURS6_LINK},
		 LRP_XDP_ENQUEUED,
		 7,
		 NULL},
		{"IPv6 TCP, exact flow",
		 {.family = 6, .proto = IPPROTO_TCP, .dport = 53, .sport = 5000},
		 LRP_XDP_ENQUEUED,
		 10,
		 NULL},
		{"IPv6 TCP, nothing else there",
		 {.family = 6, .proto = IPPROTO_TCP, .dport = 53, .sport = 5001},
		 LRP_XDP_PASS_PORT,
		 0,
		 NULL},
		{"bound only: its address", {.dport = 54}, LRP_XDP_ENQUEUED, 11, NULL},
		{"bound only: another own address",
		 {.dport = 54, .dst = OURS4_SECOND},
		 LRP_XDP_PASS_PORT,
		 0,
		 NULL},
		{"ssh",
		 {.proto = IPPROTO_TCP, .dport = 22, .tcp_flags = SYN},
		 LRP_XDP_PASS_PORT,
		 0,
		 NULL},
		{"UDP to a TCP port", {.dport = 55}, LRP_XDP_PASS_PORT, 0, NULL},
		{"IPv6 to an IPv4 port", {.family = 6, .dport = 54}, LRP_XDP_PASS_PORT, 0, NULL},
		{"port 0", {.dport = 0}, LRP_XDP_PASS_PORT, 0, NULL},
		{"port 65535", {.dport = 65535}, LRP_XDP_ENQUEUED, 13, NULL},
		{"IPv6, TCP, port 65535",
		 {.family = 6, .proto = IPPROTO_TCP, .dport = 65535},
		 LRP_XDP_ENQUEUED,
		 14,
		 NULL},
	};
	struct harness *h = begin(state);

	harness_any(h, 4, IPPROTO_UDP, 53, 1);
	harness_bind(h, 0, OURS4, 53, 2);
	harness_flow(h, 0, OURS4, 53, PEER4, 5000, 3);
	harness_any(h, 4, IPPROTO_TCP, 53, 4);
	harness_bind(h, IPPROTO_TCP, OURS4, 53, 5);
	harness_flow(h, IPPROTO_TCP, OURS4, 53, PEER4, 5000, 6);
	harness_any(h, 6, IPPROTO_UDP, 53, 7);
	harness_bind(h, 0, OURS6, 53, 8);
	harness_flow(h, 0, OURS6, 53, PEER6, 5000, 9);
	harness_flow(h, IPPROTO_TCP, OURS6, 53, PEER6, 5000, 10);
	harness_bind(h, 0, OURS4, 54, 11);
	harness_any(h, 4, IPPROTO_TCP, 55, 12);
	harness_any(h, 4, IPPROTO_UDP, 65535, 13);
	harness_any(h, 6, IPPROTO_TCP, 65535, 14);
	harness_table(h, table, sizeof(table) / sizeof(table[0]));
}

/* What the port's flags do not promise is not looked up. */
static void test_port_flags(void **state)
{
	struct harness *h = begin(state);
	struct spec spec = {.dport = 53, .sport = 5000};

	harness_any(h, 4, IPPROTO_UDP, 53, 1);
	harness_bind(h, 0, OURS4, 53, 2);
	harness_flow(h, 0, OURS4, 53, PEER4, 5000, 3);
	h->port[LRP_PORT_INDEX(0, 0, 53)].flags = LRP_PORT_ANY | LRP_PORT_BINDS;
	harness_expect_spec(h, "no FLOWS", &spec, LRP_XDP_ENQUEUED, 2);
	h->port[LRP_PORT_INDEX(0, 0, 53)].flags = LRP_PORT_ANY;
	harness_expect_spec(h, "ANY only", &spec, LRP_XDP_ENQUEUED, 1);
	h->port[LRP_PORT_INDEX(0, 0, 53)].flags = LRP_PORT_FLOWS;
	harness_expect_spec(h, "FLOWS only", &spec, LRP_XDP_ENQUEUED, 3);
	h->port[LRP_PORT_INDEX(0, 0, 53)].flags = 0;
	harness_expect_spec(h, "none", &spec, LRP_XDP_PASS_PORT, 0);
}

static void test_broadcast(void **state)
{
	static const uint32_t members[] = {4, 5};
	static const struct table_case table[] = {
		{"limited broadcast",
		 {.dport = 1000, .dst = "255.255.255.255", .mac = MAC_BROADCAST},
		 LRP_XDP_ENQUEUED,
		 1,
		 NULL},
		{"subnet broadcast",
		 {.dport = 1000, .dst = OURS4_BROADCAST},
		 LRP_XDP_ENQUEUED,
		 1,
		 NULL},
		{"broadcast address in a frame to us",
		 {.dport = 1000, .dst = OURS4_BROADCAST, .mac = MAC_OURS},
		 LRP_XDP_ENQUEUED,
		 1,
		 NULL},
		{"broadcast address in a frame to another",
		 {.dport = 1000, .dst = OURS4_BROADCAST, .mac = MAC_OTHER},
		 LRP_XDP_PASS_MAC,
		 0,
		 NULL},
		{"broadcast of a subnet that is not ours",
		 {.dport = 1000, .dst = "198.18.9.255"},
		 LRP_XDP_PASS_ADDRESS,
		 0,
		 NULL},
		{"bound to the broadcast address",
		 {.dport = 1001, .dst = OURS4_BROADCAST},
		 LRP_XDP_ENQUEUED,
		 2,
		 NULL},
		{"bound to it, and one to none: both get a copy",
		 {.dport = 1002, .dst = OURS4_BROADCAST},
		 LRP_XDP_PASS_MULTICAST,
		 0,
		 NULL},
		{"bound to one address only",
		 {.dport = 1003, .dst = OURS4_BROADCAST},
		 LRP_XDP_PASS_PORT,
		 0,
		 NULL},
		{"a group: each gets a copy",
		 {.dport = 1004, .dst = "255.255.255.255", .mac = MAC_BROADCAST},
		 LRP_XDP_PASS_MULTICAST,
		 0,
		 NULL},
		{"TCP",
		 {.proto = IPPROTO_TCP, .dport = 1000, .dst = OURS4_BROADCAST},
		 LRP_XDP_PASS_PROTOCOL,
		 0,
		 NULL},
	};
	struct harness *h = begin(state);

	harness_any(h, 4, IPPROTO_UDP, 1000, 1);
	harness_any(h, 4, IPPROTO_TCP, 1000, 1);
	harness_bind(h, 0, OURS4_BROADCAST, 1001, 2);
	harness_any(h, 4, IPPROTO_UDP, 1002, 1);
	harness_bind(h, 0, OURS4_BROADCAST, 1002, 2);
	harness_bind(h, 0, OURS4, 1003, 3);
	harness_any(h, 4, IPPROTO_UDP, 1004, harness_group(h, 0, 2, members));
	harness_table(h, table, sizeof(table) / sizeof(table[0]));
}

static void test_multicast(void **state)
{
	static const struct table_case table[] = {
		{"joined", {.dport = 1000, .dst = "239.1.1.1"}, LRP_XDP_ENQUEUED, 1, NULL},
		{"joined, TTL and MAC as unicast",
		 {.dport = 1000, .dst = "239.1.1.1", .mac = MAC_OURS},
		 LRP_XDP_ENQUEUED,
		 1,
		 NULL},
		{"joined, broadcast frame",
		 {.dport = 1000, .dst = "239.1.1.1", .mac = MAC_BROADCAST},
		 LRP_XDP_ENQUEUED,
		 1,
		 NULL},
		{"joined, MAC of another group",
		 {.dport = 1000, .dst = "239.1.1.1", .mac = MAC_WRONG_GROUP},
		 LRP_XDP_PASS_MAC,
		 0,
		 NULL},
		{"joined, other port",
		 {.dport = 1001, .dst = "239.1.1.1"},
		 LRP_XDP_PASS_MULTICAST,
		 0,
		 NULL},
		{"other group",
		 {.dport = 1000, .dst = "239.1.1.2"},
		 LRP_XDP_PASS_MULTICAST,
		 0,
		 NULL},
		{"same low 23 bits",
		 {.dport = 1000, .dst = "239.129.1.1"},
		 LRP_XDP_PASS_MULTICAST,
		 0,
		 NULL},
		{"joined on another device",
		 {.dport = 1000, .dst = "239.1.1.3"},
		 LRP_XDP_PASS_MULTICAST,
		 0,
		 NULL},
		{"a wildcard socket that joined nothing",
		 {.dport = 1002, .dst = "239.1.1.1"},
		 LRP_XDP_PASS_MULTICAST,
		 0,
		 NULL},
		{"no socket at all",
		 {.dport = 1003, .dst = "239.1.1.1"},
		 LRP_XDP_PASS_PORT,
		 0,
		 NULL},
		{"TCP to a group",
		 {.proto = IPPROTO_TCP, .dport = 1000, .dst = "239.1.1.1"},
		 LRP_XDP_PASS_PROTOCOL,
		 0,
		 NULL},
		{"from 0.0.0.0",
		 {.dport = 1000, .dst = "239.1.1.1", .src = "0.0.0.0"},
		 LRP_XDP_DROP_MARTIAN,
		 1,
		 NULL},
		{"from 0.0.0.0 to a group of the link",
		 {.dport = 1005, .dst = "224.0.0.251", .src = "0.0.0.0"},
		 LRP_XDP_ENQUEUED,
		 1,
		 NULL},
		{"martian source",
		 {.dport = 1000, .dst = "239.1.1.1", .src = "127.0.0.1"},
		 LRP_XDP_DROP_MARTIAN,
		 1,
		 NULL},
		{"IPv6, joined",
		 {.family = 6, .dport = 1000, .dst = "ff05::1"},
		 LRP_XDP_ENQUEUED,
		 2,
		 NULL},
		{"IPv6, other group with the same MAC",
		 {.family = 6, .dport = 1000, .dst = "ff02::1"},
		 LRP_XDP_PASS_MULTICAST,
		 0,
		 NULL},
		{"IPv6, joined, wrong MAC",
		 {.family = 6, .dport = 1000, .dst = "ff05::1", .mac = MAC_WRONG_GROUP},
		 LRP_XDP_PASS_MAC,
		 0,
		 NULL},
		{"IPv6, solicited node (the kernel's)",
		 {.family = 6, .proto = IPPROTO_ICMPV6, .dst = "ff02::1:ff00:1", .icmp_type = 135},
		 LRP_XDP_PASS_PROTOCOL,
		 0,
		 NULL},
	};
	struct harness *h = begin(state);
	struct spec wrong = {.dport = 1000, .dst = "239.1.1.1", .mac = MAC_WRONG_GROUP};

	harness_member(h, "239.1.1.1", 1000, H_IFINDEX, 1);
	harness_member(h, "224.0.0.251", 1005, H_IFINDEX, 1);
	harness_member(h, "239.1.1.3", 1000, H_IFINDEX + 1, 1);
	harness_member(h, "239.7.7.7", 1001, H_IFINDEX, 1);
	harness_member(h, "ff05::1", 1000, H_IFINDEX, 2);
	harness_any(h, 4, IPPROTO_UDP, 1002, 3);
	harness_any(h, 4, IPPROTO_TCP, 1000, 3);
	harness_table(h, table, sizeof(table) / sizeof(table[0]));
	h->port[LRP_PORT_INDEX(0, 0, 1000)].flags = LRP_PORT_ANY;
	wrong.mac = MAC_AUTO;
	harness_expect_spec(h, "no MULTICAST flag on the port", &wrong, LRP_XDP_PASS_MULTICAST, 0);
	h->port[LRP_PORT_INDEX(0, 0, 1000)].flags = LRP_PORT_MULTICAST;
	wrong.mac = MAC_WRONG_GROUP;
	h->device->flags = LRP_DEVICE_ALLMULTI;
	harness_expect_spec(h, "any multicast MAC with ALLMULTI", &wrong, LRP_XDP_ENQUEUED, 1);
	wrong.mac = MAC_OTHER;
	harness_expect_spec(h, "but no other unicast MAC", &wrong, LRP_XDP_PASS_MAC, 1);
}

#define MEMBERS	    4
#define CONNECTIONS 2000

/* SO_REUSEPORT: spread evenly, and one connection always to the same member. */
static void spread(struct harness *h, int family, uint16_t port, const uint32_t *members)
{
	struct spec spec = {.family = family, .dport = port};
	uint32_t got[H_ENDPOINTS] = {0};
	struct packet packet;

	for (int i = 0; i < CONNECTIONS; i++) {
		uint64_t before[H_ENDPOINTS];
		int chosen = -1;

		spec.sport = 1024 + i;
		packet_build(&packet, &spec);
		for (int again = 0; again < 3; again++) {
			for (int m = 0; m < MEMBERS; m++)
				before[m] = h->channel[members[m]].packets;
			harness_expect(h, "group", &packet, LRP_XDP_ENQUEUED, ANY_ENDPOINT);
			for (int m = 0; m < MEMBERS; m++) {
				if (h->channel[members[m]].packets == before[m])
					continue;
				if (again)
					assert_int_equal(m, chosen);
				chosen = m;
			}
			assert_true(chosen >= 0);
		}
		got[chosen]++;
	}
	/* binomial: mean 500, standard deviation 19; six of them */
	for (int m = 0; m < MEMBERS; m++)
		assert_in_range(got[m], CONNECTIONS / MEMBERS - 117, CONNECTIONS / MEMBERS + 117);
}

static void test_group(void **state)
{
	static const uint32_t members[MEMBERS] = {10, 11, 12, 13};
	struct harness *h = begin(state);
	uint32_t word = harness_group(h, 3, MEMBERS, members);
	struct spec spec = {.dport = 2000};

	harness_any(h, 4, IPPROTO_UDP, 2000, word);
	harness_any(h, 6, IPPROTO_UDP, 2000, word);
	harness_bind(h, 0, OURS4, 2001, word);
	harness_bind(h, 0, OURS6, 2001, word);
	roomy(h);
	spread(h, 4, 2000, members);
	spread(h, 6, 2000, members);
	spread(h, 4, 2001, members);
	spread(h, 6, 2001, members);

	harness_group(h, 3, 0, members);
	harness_expect_spec(h, "empty group", &spec, LRP_XDP_PASS_PORT, ANY_ENDPOINT);
	harness_group(h, 3, 1, members);
	roomy(h);
	harness_expect_spec(h, "group of one", &spec, LRP_XDP_ENQUEUED, 10);
	((struct lrp_group *)((char *)h->group + 3 * 264ul))->count = LRP_GROUP_MAX + 1;
	harness_expect_spec(h, "impossible group", &spec, LRP_XDP_PASS_PORT, ANY_ENDPOINT);
	h->port[LRP_PORT_INDEX(0, 0, 2000)].target = LRP_TARGET_GROUP | LRP_GROUPS;
	harness_expect_spec(h, "no such group", &spec, LRP_XDP_PASS_PORT, ANY_ENDPOINT);
}

static void test_group_large(void **state)
{
	uint32_t members[LRP_GROUP_MAX - 1];
	struct harness *h = begin(state);
	struct spec spec = {.dport = 2000};

	for (uint32_t i = 0; i < LRP_GROUP_MAX - 1; i++)
		members[i] = i + 1;
	harness_any(h, 4, IPPROTO_UDP, 2000,
		    harness_group(h, LRP_GROUPS - 1, LRP_GROUP_MAX - 1, members));
	roomy(h);
	for (int i = 0; i < 3000; i++) {
		spec.sport = 1000 + i;
		harness_expect_spec(h, "group of 63", &spec, LRP_XDP_ENQUEUED, ANY_ENDPOINT);
	}
	for (uint32_t i = 1; i < LRP_GROUP_MAX; i++)
		assert_true(h->channel[i].packets > 0);
}

/* Channel state on the way to delivery. */
static void test_deliver(void **state)
{
	struct harness *h = begin(state);
	struct spec any = {.dport = 53}, exact = {.dport = 53, .sport = 5000};

	harness_any(h, 4, IPPROTO_UDP, 53, 1);
	harness_flow(h, 0, OURS4, 53, PEER4, 5000, 3);

	h->channel[1].flags = 0;
	harness_expect_spec(h, "channel not active", &any, LRP_XDP_PASS_INACTIVE, 1);
	harness_channel(h, 0, 1);
	harness_no_socket(h, 0, 1);
	harness_expect_spec(h, "no AF_XDP socket", &any, LRP_XDP_DROP_REDIRECT, 1);
	harness_channel(h, 0, 1)->user_page = 1;
	harness_expect_spec(h, "no user page", &any, LRP_XDP_PASS_INACTIVE, 1);
	harness_channel(h, 0, 1)->user_slot = LRP_USER_PAGE_RECORDS;
	harness_expect_spec(h, "no user record", &any, LRP_XDP_PASS_INACTIVE, 1);
	harness_channel(h, 0, 1);
	harness_expect_spec(h, "all right", &any, LRP_XDP_ENQUEUED, 1);

	h->channel[1].owner = H_OWNER + 1;
	harness_expect_spec(h, "a wildcard names no owner", &any, LRP_XDP_ENQUEUED, 1);
	harness_expect_spec(h, "flow's owner", &exact, LRP_XDP_ENQUEUED, 3);
	h->channel[3].owner = H_OWNER + 1;
	harness_expect_spec(h, "flow of another owner", &exact, LRP_XDP_DROP_OWNER, 3);
	h->channel[3].owner = 0;
	harness_expect_spec(h, "channel of nobody", &exact, LRP_XDP_DROP_OWNER, 3);

	harness_channel(h, 1, 0); /* its id is H_ENDPOINTS */
	h->port[LRP_PORT_INDEX(0, 0, 53)].target = H_ENDPOINTS;
	harness_expect_spec(h, "endpoint beyond the stride", &any, LRP_XDP_PASS_INACTIVE, 1);
	h->port[LRP_PORT_INDEX(0, 0, 53)].target = 0x7fffffff;
	harness_expect_spec(h, "endpoint far beyond", &any, LRP_XDP_PASS_INACTIVE, 1);
}

static void test_flags(void **state)
{
	static const struct table_case backlog[] = {
		{"SYN",
		 {.proto = IPPROTO_TCP, .dport = 80, .tcp_flags = SYN},
		 LRP_XDP_DROP_BACKLOG,
		 4,
		 NULL},
		{"SYN with ECN bits",
		 {.proto = IPPROTO_TCP, .dport = 80, .tcp_flags = SYN | 0xc0},
		 LRP_XDP_DROP_BACKLOG,
		 4,
		 NULL},
		{"SYN with PSH",
		 {.proto = IPPROTO_TCP, .dport = 80, .tcp_flags = SYN | 0x08},
		 LRP_XDP_DROP_BACKLOG,
		 4,
		 NULL},
		{"SYN-ACK",
		 {.proto = IPPROTO_TCP, .dport = 80, .tcp_flags = SYN | ACK},
		 LRP_XDP_ENQUEUED,
		 4,
		 NULL},
		{"ACK",
		 {.proto = IPPROTO_TCP, .dport = 80, .tcp_flags = ACK},
		 LRP_XDP_ENQUEUED,
		 4,
		 NULL},
		{"RST",
		 {.proto = IPPROTO_TCP, .dport = 80, .tcp_flags = 0x04},
		 LRP_XDP_ENQUEUED,
		 4,
		 NULL},
		{"SYN with RST",
		 {.proto = IPPROTO_TCP, .dport = 80, .tcp_flags = SYN | 0x04},
		 LRP_XDP_ENQUEUED,
		 4,
		 NULL},
		{"no flag", {.proto = IPPROTO_TCP, .dport = 80}, LRP_XDP_ENQUEUED, 4, NULL},
		{"IPv6, SYN",
		 {.family = 6, .proto = IPPROTO_TCP, .dport = 80, .tcp_flags = SYN},
		 LRP_XDP_DROP_BACKLOG,
		 4,
		 NULL},
		{"UDP", {.dport = 80}, LRP_XDP_ENQUEUED, 4, NULL},
	};
	struct harness *h = begin(state);
	struct spec exact = {.dport = 53, .sport = 5000}, any = {.dport = 53};

	harness_bind(h, 0, OURS4, 53, 3);
	harness_flow(h, 0, OURS4, 53, PEER4, 5000, 3);
	harness_user(h, 0, 3)->flags = LRP_USER_CONNECTED;
	harness_expect_spec(h, "connected: its peer", &exact, LRP_XDP_ENQUEUED, 3);
	harness_expect_spec(h, "connected: another peer", &any, LRP_XDP_PASS_PEER, 3);
	harness_user(h, 0, 3)->flags = LRP_USER_CLOSED;
	harness_expect_spec(h, "closed, exact", &exact, LRP_XDP_DROP_CLOSED, 3);
	harness_expect_spec(h, "closed, any", &any, LRP_XDP_DROP_CLOSED, 3);
	harness_user(h, 0, 3)->flags = LRP_USER_CLOSED | LRP_USER_CONNECTED;
	harness_expect_spec(h, "closed and connected", &any, LRP_XDP_DROP_CLOSED, 3);
	harness_user(h, 0, 3)->flags = 0;
	harness_expect_spec(h, "open again", &any, LRP_XDP_ENQUEUED, 3);

	harness_any(h, 4, IPPROTO_TCP, 80, 4);
	harness_any(h, 6, IPPROTO_TCP, 80, 4);
	harness_any(h, 4, IPPROTO_UDP, 80, 4);
	harness_user(h, 0, 4)->flags = LRP_USER_BACKLOG;
	harness_table(h, backlog, sizeof(backlog) / sizeof(backlog[0]));
}

#define SENT4                                                                                      \
	{                                                                                          \
		.src = OURS4, .dst = PEER4, .sport = 53, .dport = 5000                             \
	}
#define SENT6                                                                                      \
	{                                                                                          \
		.family = 6, .src = OURS6, .dst = PEER6, .sport = 53, .dport = 5000                \
	}

static void quoted_ihl_15(struct packet *p)
{
	p->data[p->l4 + 8] = 0x4f;
}
static void quoted_ihl_4(struct packet *p)
{
	p->data[p->l4 + 8] = 0x44;
}
static void quoted_later(struct packet *p)
{
	p->data[p->l4 + 8 + 7] = 1;
}
static void quoted_more(struct packet *p)
{
	p->data[p->l4 + 8 + 6] = 0x20;
}
static void quoted_version(struct packet *p)
{
	p->data[p->l4 + 8] = 0;
}

static void test_icmp(void **state)
{
	static const struct spec sent4 = SENT4, sent6 = SENT6;
	static const struct spec tcp4 = {
		.proto = IPPROTO_TCP, .src = OURS4, .dst = PEER4, .sport = 80, .dport = 5000};
	static const struct spec options4 = {
		.src = OURS4, .dst = PEER4, .sport = 53, .dport = 5000, .options = 10};
	static const struct spec other_port = {
		.src = OURS4, .dst = PEER4, .sport = 53, .dport = 5001};
	static const struct spec other_address = {
		.src = OURS4_SECOND, .dst = PEER4, .sport = 53, .dport = 5000};
	static const struct spec icmp_in_icmp = {
		.proto = IPPROTO_ICMP, .src = OURS4, .dst = PEER4, .icmp_type = 8};
	static const struct spec not_lrp = {
		.src = OURS4, .dst = PEER4, .sport = 123, .dport = 5000};
	static const struct spec unconnected = {
		.src = OURS4, .dst = PEER4, .sport = 54, .dport = 5000};
	static const struct spec first6 = {.family = 6,
					   .src = OURS6,
					   .dst = PEER6,
					   .sport = 53,
					   .dport = 5000,
					   .extensions = 1,
					   .extension = {{IPPROTO_FRAGMENT, 0, 0}},
					   .fragment = true,
					   .length = 48,
					   .payload = 100,
					   .more = true};
	static const struct spec later6 = {.family = 6,
					   .src = OURS6,
					   .dst = PEER6,
					   .sport = 53,
					   .dport = 5000,
					   .extensions = 1,
					   .extension = {{IPPROTO_FRAGMENT, 0, 0}},
					   .fragment = true,
					   .offset = 48,
					   .length = 60,
					   .payload = 100};
	static const struct spec dst6 = {.family = 6,
					 .src = OURS6,
					 .dst = PEER6,
					 .sport = 53,
					 .dport = 5000,
					 .extensions = 1,
					 .extension = {{IPPROTO_DSTOPTS, 0, 0}}};
	static const struct spec other_address6 = {
		.family = 6, .src = "2001:db8:1::11", .dst = PEER6, .sport = 53, .dport = 5000};
#define ICMP4(t, q)                                                                                \
	{                                                                                          \
		.proto = IPPROTO_ICMP, .icmp_type = (t), .quoted = &(q)                            \
	}
#define ICMP6(t, q)                                                                                \
	{                                                                                          \
		.family = 6, .proto = IPPROTO_ICMPV6, .icmp_type = (t), .quoted = &(q)             \
	}
	static const struct table_case table[] = {
		{"unreachable", ICMP4(3, sent4), LRP_XDP_ENQUEUED, 3, NULL},
		{"time exceeded", ICMP4(11, sent4), LRP_XDP_ENQUEUED, 3, NULL},
		{"parameter problem", ICMP4(12, sent4), LRP_XDP_ENQUEUED, 3, NULL},
		{"from a router",
		 {.proto = IPPROTO_ICMP, .icmp_type = 3, .quoted = &sent4, .src = "198.18.1.254"},
		 LRP_XDP_ENQUEUED,
		 3,
		 NULL},
		{"from a martian",
		 {.proto = IPPROTO_ICMP, .icmp_type = 3, .quoted = &sent4, .src = "127.0.0.1"},
		 LRP_XDP_DROP_MARTIAN,
		 3,
		 NULL},
		{"about TCP", ICMP4(3, tcp4), LRP_XDP_ENQUEUED, 5, NULL},
		{"quoted with options", ICMP4(3, options4), LRP_XDP_ENQUEUED, 3, NULL},
		{"source quench", ICMP4(4, sent4), LRP_XDP_PASS_PROTOCOL, 0, NULL},
		{"redirect", ICMP4(5, sent4), LRP_XDP_PASS_PROTOCOL, 0, NULL},
		{"echo request", ICMP4(8, sent4), LRP_XDP_PASS_PROTOCOL, 0, NULL},
		{"echo reply", ICMP4(0, sent4), LRP_XDP_PASS_PROTOCOL, 0, NULL},
		{"other remote port", ICMP4(3, other_port), LRP_XDP_PASS_PORT, 0, NULL},
		{"other local address than the outer one", ICMP4(3, other_address),
		 LRP_XDP_PASS_PROTOCOL, 0, NULL},
		{"about ICMP", ICMP4(3, icmp_in_icmp), LRP_XDP_PASS_PROTOCOL, 0, NULL},
		{"a port that is not LRP's", ICMP4(3, not_lrp), LRP_XDP_PASS_PORT, 0, NULL},
		{"an unconnected socket: its shadow hears of it", ICMP4(3, unconnected),
		 LRP_XDP_PASS_PORT, 0, NULL},
		{"quoted ihl 15", ICMP4(3, sent4), LRP_XDP_PASS_MALFORMED, 0, quoted_ihl_15},
		{"quoted ihl 4", ICMP4(3, sent4), LRP_XDP_PASS_MALFORMED, 0, quoted_ihl_4},
		{"quoted version 0", ICMP4(3, sent4), LRP_XDP_PASS_MALFORMED, 0, quoted_version},
		{"quoted first fragment", ICMP4(3, sent4), LRP_XDP_ENQUEUED, 3, quoted_more},
		{"quoted later fragment", ICMP4(3, sent4), LRP_XDP_PASS_PROTOCOL, 0, quoted_later},
		{"to be forwarded",
		 {.proto = IPPROTO_ICMP, .icmp_type = 3, .quoted = &sent4, .dst = FOREIGN4},
		 LRP_XDP_PASS_ADDRESS,
		 0,
		 NULL},
		{"by broadcast",
		 {.proto = IPPROTO_ICMP, .icmp_type = 3, .quoted = &sent4, .dst = OURS4_BROADCAST},
		 LRP_XDP_PASS_PROTOCOL,
		 0,
		 NULL},
		{"itself a fragment",
		 {.proto = IPPROTO_ICMP,
		  .icmp_type = 3,
		  .payload = 100,
		  .fragment = true,
		  .length = 64,
		  .more = true},
		 LRP_XDP_PASS_PROTOCOL,
		 0,
		 NULL},
		{"IPv6, unreachable", ICMP6(1, sent6), LRP_XDP_ENQUEUED, 9, NULL},
		{"IPv6, too big", ICMP6(2, sent6), LRP_XDP_ENQUEUED, 9, NULL},
		{"IPv6, time exceeded", ICMP6(3, sent6), LRP_XDP_ENQUEUED, 9, NULL},
		{"IPv6, parameter problem", ICMP6(4, sent6), LRP_XDP_ENQUEUED, 9, NULL},
		{"IPv6, type 0", ICMP6(0, sent6), LRP_XDP_PASS_PROTOCOL, 0, NULL},
		{"IPv6, type 5", ICMP6(5, sent6), LRP_XDP_PASS_PROTOCOL, 0, NULL},
		{"IPv6, echo request", ICMP6(128, sent6), LRP_XDP_PASS_PROTOCOL, 0, NULL},
		{"IPv6, neighbour solicitation", ICMP6(135, sent6), LRP_XDP_PASS_PROTOCOL, 0, NULL},
		{"IPv6, quoted IPv4", ICMP6(1, sent4), LRP_XDP_PASS_MALFORMED, 0, NULL},
		{"IPv6, quoted first fragment",
		 {.family = 6,
		  .proto = IPPROTO_ICMPV6,
		  .icmp_type = 1,
		  .quoted = &first6,
		  .quoted_bytes = 48},
		 LRP_XDP_ENQUEUED,
		 9,
		 NULL},
		{"IPv6, quoted later fragment",
		 {.family = 6,
		  .proto = IPPROTO_ICMPV6,
		  .icmp_type = 1,
		  .quoted = &later6,
		  .quoted_bytes = 48},
		 LRP_XDP_PASS_PROTOCOL,
		 0,
		 NULL},
		{"IPv6, quoted with options",
		 {.family = 6,
		  .proto = IPPROTO_ICMPV6,
		  .icmp_type = 1,
		  .quoted = &dst6,
		  .quoted_bytes = 48},
		 LRP_XDP_PASS_PROTOCOL,
		 0,
		 NULL},
		{"IPv6, other local address than the outer one", ICMP6(1, other_address6),
		 LRP_XDP_PASS_PROTOCOL, 0, NULL},
		{"IPv6, behind options",
		 {.family = 6,
		  .proto = IPPROTO_ICMPV6,
		  .icmp_type = 1,
		  .quoted = &sent6,
		  .extensions = 1,
		  .extension = {{IPPROTO_DSTOPTS, 0, 0}}},
		 LRP_XDP_ENQUEUED,
		 9,
		 NULL},
	};
	struct harness *h = begin(state);
	struct packet packet;

	harness_flow(h, 0, OURS4, 53, PEER4, 5000, 3);
	harness_flow(h, IPPROTO_TCP, OURS4, 80, PEER4, 5000, 5);
	harness_flow(h, 0, OURS6, 53, PEER6, 5000, 9);
	harness_flow(h, 0, "2001:db8:1::11", 53, PEER6, 5000, 9);
	harness_any(h, 4, IPPROTO_UDP, 54, 6);
	roomy(h);
	harness_table(h, table, sizeof(table) / sizeof(table[0]));

	/* cut at every length, the IP header telling the truth; the error needs 8 + 20 + 4 bytes */
	packet_build(&packet, &table[0].spec);
	for (uint32_t whole = packet.len, len = packet.l4; len <= whole; len++) {
		packet.len = len;
		packet_put16(&packet, packet.l3 + 2, len - packet.l3);
		harness_expect(h, "ICMP error cut", &packet,
			       len >= packet.l4 + 32 ? LRP_XDP_ENQUEUED : LRP_XDP_PASS_MALFORMED,
			       3);
		/* what lies behind the packet's end is link padding, whatever it looks like */
		packet.len = whole;
		harness_expect(h, "ICMP error cut, padded", &packet,
			       len >= packet.l4 + 32 ? LRP_XDP_ENQUEUED : LRP_XDP_PASS_MALFORMED,
			       3);
	}
	packet_build(&packet, &table[24].spec);
	for (uint32_t whole = packet.len, len = packet.l4; len <= whole; len++) {
		packet.len = len;
		packet_put16(&packet, packet.l3 + 4, len - packet.l3 - 40);
		harness_expect(h, "ICMPv6 error cut", &packet,
			       len >= packet.l4 + 52 ? LRP_XDP_ENQUEUED : LRP_XDP_PASS_MALFORMED,
			       9);
		packet.len = whole;
		harness_expect(h, "ICMPv6 error cut, padded", &packet,
			       len >= packet.l4 + 52 ? LRP_XDP_ENQUEUED : LRP_XDP_PASS_MALFORMED,
			       9);
	}
}

/* An exact entry of TCP is good for as long as its end has the generation that it
 * was made under. */
static void test_end_generation(void **state)
{
	struct harness *h = begin(state);
	struct spec spec4 = {.proto = IPPROTO_TCP, .dport = 53, .sport = 5000, .tcp_flags = ACK};
	struct spec spec6 = {
		.family = 6, .proto = IPPROTO_TCP, .dport = 53, .sport = 5000, .tcp_flags = ACK};

	harness_any(h, 4, IPPROTO_TCP, 53, 1);
	harness_any(h, 6, IPPROTO_TCP, 53, 1);
	harness_end(h, 3, 7);
	harness_flow(h, IPPROTO_TCP, OURS4, 53, PEER4, 5000, 2);
	harness_flow(h, IPPROTO_TCP, OURS6, 53, PEER6, 5000, 2);
	harness_expect_spec(h, "IPv4, end of that generation", &spec4, LRP_XDP_ENQUEUED, 2);
	harness_expect_spec(h, "IPv6, end of that generation", &spec6, LRP_XDP_ENQUEUED, 2);
	harness_end(h, 3, 8);
	harness_expect_spec(h, "IPv4, end of another generation", &spec4, LRP_XDP_ENQUEUED, 1);
	harness_expect_spec(h, "IPv6, end of another generation", &spec6, LRP_XDP_ENQUEUED, 1);
	harness_end(h, 4, 0);
	harness_flow(h, IPPROTO_TCP, OURS4, 53, PEER4, 5001, 2);
	harness_end(h, 4, 1);
	spec4.sport = 5001;
	harness_expect_spec(h, "reserved, and its end lives", &spec4, LRP_XDP_ENQUEUED, 1);
}

/* What the kernel has comes before any entry that a process has made, and before a listener. */
static void test_kernel_connections(void **state)
{
	struct harness *h = begin(state);
	struct spec spec4 = {.proto = IPPROTO_TCP, .dport = 53, .sport = 5000, .tcp_flags = ACK};
	struct spec spec6 = {
		.family = 6, .proto = IPPROTO_TCP, .dport = 53, .sport = 5000, .tcp_flags = ACK};

	harness_any(h, 4, IPPROTO_TCP, 53, 1);
	harness_any(h, 6, IPPROTO_TCP, 53, 1);
	harness_end(h, 3, 7);
	harness_flow(h, IPPROTO_TCP, OURS4, 53, PEER4, 5000, 2);
	harness_flow(h, IPPROTO_TCP, OURS6, 53, PEER6, 5000, 2);
	harness_kernel(h, OURS4, 53, PEER4, 5000);
	harness_kernel(h, OURS6, 53, PEER6, 5000);
	harness_expect_spec(h, "IPv4, before an entry", &spec4, LRP_XDP_PASS_KERNEL, 2);
	harness_expect_spec(h, "IPv6, before an entry", &spec6, LRP_XDP_PASS_KERNEL, 2);
	spec4.tcp_flags = spec6.tcp_flags = SYN;
	harness_expect_spec(h, "IPv4, a SYN", &spec4, LRP_XDP_PASS_KERNEL, 2);
	spec4.sport = spec6.sport = 5001;
	harness_expect_spec(h, "IPv4, another peer: the listener", &spec4, LRP_XDP_ENQUEUED, 1);
	harness_expect_spec(h, "IPv6, another peer: the listener", &spec6, LRP_XDP_ENQUEUED, 1);
}

/* A second queue has channels of its own: the same endpoint, one stride further. */
static void test_queue(void **state)
{
	struct harness *h = begin(state);
	struct spec spec = {.dport = 1000};

	bed_sh("ip link add t0 numrxqueues 2 numtxqueues 2 type veth peer name t1 numrxqueues 2 "
	       "numtxqueues 2 && "
	       "ip link set t0 up && ip link set t1 up && ip link set t0 xdp obj "
	       "build/bpf/pass.bpf.o sec xdp.frags");
	h->ifindex = if_nametoindex("t0");
	harness_any(h, 4, IPPROTO_UDP, 1000, 1);
	harness_expect_spec(h, "queue 0", &spec, LRP_XDP_ENQUEUED, 1);
	h->queue = 1;
	harness_expect_spec(h, "queue 1, no channel yet", &spec, LRP_XDP_PASS_INACTIVE, 1);
	harness_channel(h, 1, 1);
	harness_expect_spec(h, "queue 1", &spec, LRP_XDP_ENQUEUED, 1);
	harness_no_socket(h, 0, 1);
	harness_expect_spec(h, "queue 1 with queue 0 gone", &spec, LRP_XDP_ENQUEUED, 1);
	bed_sh("ip link del t0");
}

int main(int argc, char **argv)
{
#define T(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)
	const struct CMUnitTest tests[] = {
		T(test_ours),		T(test_no_quick_list),
		T(test_loopback),	T(test_martian),
		T(test_precedence),	T(test_port_flags),
		T(test_broadcast),	T(test_multicast),
		T(test_group),		T(test_group_large),
		T(test_deliver),	T(test_flags),
		T(test_icmp),		T(test_queue),
		T(test_end_generation), T(test_kernel_connections),
	};

	(void)argc;
	bed_enter(argv);
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}

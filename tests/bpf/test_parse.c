/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Twin of bpf/parse.h: headers, honest and hostile. */
#include "harness.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "../lib/bed.h"

#define PORT	     1000
#define UDP_ENDPOINT 1
#define TCP_ENDPOINT 2

static int setup(void **state)
{
	harness_setup(state);
	harness_any(*state, 4, IPPROTO_UDP, PORT, UDP_ENDPOINT);
	harness_any(*state, 6, IPPROTO_UDP, PORT, UDP_ENDPOINT);
	harness_any(*state, 4, IPPROTO_TCP, PORT, TCP_ENDPOINT);
	harness_any(*state, 6, IPPROTO_TCP, PORT, TCP_ENDPOINT);
	/* room for all of a test */
	for (uint32_t i = 0; i < 3; i++) {
		struct lrp_channel *channel = harness_channel(*state, 0, i);

		channel->limit = channel->guarantee = 1u << 20;
	}
	return 0;
}

static void ihl_4(struct packet *p)
{
	p->data[p->l3] = 0x44;
}
static void ihl_0(struct packet *p)
{
	p->data[p->l3] = 0x40;
}
static void ihl_15(struct packet *p)
{
	p->data[p->l3] = 0x4f;
}
static void version_6_in_4(struct packet *p)
{
	p->data[p->l3] = 0x65;
}
static void version_4_in_6(struct packet *p)
{
	p->data[p->l3] = 0x40;
}
static void total_19(struct packet *p)
{
	packet_put16(p, p->l3 + 2, 19);
}
static void total_20(struct packet *p)
{
	packet_put16(p, p->l3 + 2, 20);
}
static void total_27(struct packet *p)
{
	packet_put16(p, p->l3 + 2, 27);
}
static void total_28(struct packet *p)
{
	packet_put16(p, p->l3 + 2, 28);
}
static void total_0(struct packet *p)
{
	packet_put16(p, p->l3 + 2, 0);
}
static void total_beyond(struct packet *p)
{
	packet_put16(p, p->l3 + 2, p->len - p->l3 + 1);
}
static void total_65535(struct packet *p)
{
	packet_put16(p, p->l3 + 2, 65535);
}
static void payload_7(struct packet *p)
{
	packet_put16(p, p->l3 + 4, 7);
}
static void payload_8(struct packet *p)
{
	packet_put16(p, p->l3 + 4, 8);
}
static void payload_0(struct packet *p)
{
	packet_put16(p, p->l3 + 4, 0);
}
static void payload_beyond(struct packet *p)
{
	packet_put16(p, p->l3 + 4, p->len - p->l3 - 39);
}
static void payload_65535(struct packet *p)
{
	packet_put16(p, p->l3 + 4, 65535);
}
static void udp_len_0(struct packet *p)
{
	packet_put16(p, p->l4 + 4, 0);
}
static void udp_len_65535(struct packet *p)
{
	packet_put16(p, p->l4 + 4, 65535);
}
static void padded(struct packet *p)
{
	p->len += 18;
}
static void tcp_offset_0(struct packet *p)
{
	p->data[p->l4 + 12] = 0;
}
static void tcp_offset_15(struct packet *p)
{
	p->data[p->l4 + 12] = 0xf0;
}

static void test_plain(void **state)
{
	static const struct table_case table[] = {
		{"UDP over IPv4", {.dport = PORT}, LRP_XDP_ENQUEUED, UDP_ENDPOINT, NULL},
		{"UDP over IPv6",
		 {.family = 6, .dport = PORT},
		 LRP_XDP_ENQUEUED,
		 UDP_ENDPOINT,
		 NULL},
		{"TCP over IPv4",
		 {.proto = IPPROTO_TCP, .dport = PORT},
		 LRP_XDP_ENQUEUED,
		 TCP_ENDPOINT,
		 NULL},
		{"TCP over IPv6",
		 {.family = 6, .proto = IPPROTO_TCP, .dport = PORT},
		 LRP_XDP_ENQUEUED,
		 TCP_ENDPOINT,
		 NULL},
		{"1,472 bytes of payload",
		 {.dport = PORT, .payload = 1472},
		 LRP_XDP_ENQUEUED,
		 UDP_ENDPOINT,
		 NULL},
		{"IPv4 with one word of options",
		 {.dport = PORT, .options = 1},
		 LRP_XDP_ENQUEUED,
		 UDP_ENDPOINT,
		 NULL},
		{"IPv4 with ten words of options",
		 {.dport = PORT, .options = 10},
		 LRP_XDP_ENQUEUED,
		 UDP_ENDPOINT,
		 NULL},
		{"link padding", {.dport = PORT}, LRP_XDP_ENQUEUED, UDP_ENDPOINT, padded},
		{"SCTP", {.proto = IPPROTO_SCTP, .dport = PORT}, LRP_XDP_PASS_PROTOCOL, 0, NULL},
		{"ESP over IPv6",
		 {.family = 6, .proto = IPPROTO_ESP},
		 LRP_XDP_PASS_PROTOCOL,
		 0,
		 NULL},
		{"no next header",
		 {.family = 6, .proto = IPPROTO_NONE},
		 LRP_XDP_PASS_PROTOCOL,
		 0,
		 NULL},
		{"IGMP", {.proto = IPPROTO_IGMP}, LRP_XDP_PASS_PROTOCOL, 0, NULL},
		{"ARP", {.ether_type = 0x0806, .dport = PORT}, LRP_XDP_PASS_PROTOCOL, 0, NULL},
		{"LLDP", {.ether_type = 0x88cc, .dport = PORT}, LRP_XDP_PASS_PROTOCOL, 0, NULL},
		{"802.3 length",
		 {.ether_type = 0x0030, .dport = PORT},
		 LRP_XDP_PASS_PROTOCOL,
		 0,
		 NULL},
	};

	harness_table(*state, table, sizeof(table) / sizeof(table[0]));
}

static void test_vlan(void **state)
{
	static const struct table_case table[] = {
		{"VLAN 5, used here",
		 {.dport = PORT, .vlans = 1, .vlan = {5}},
		 LRP_XDP_ENQUEUED,
		 UDP_ENDPOINT,
		 NULL},
		{"VLAN 4094, used here",
		 {.dport = PORT, .vlans = 1, .vlan = {4094}},
		 LRP_XDP_ENQUEUED,
		 UDP_ENDPOINT,
		 NULL},
		{"VLAN 5 with a priority",
		 {.dport = PORT, .vlans = 1, .vlan = {0xe005}},
		 LRP_XDP_ENQUEUED,
		 UDP_ENDPOINT,
		 NULL},
		{"VLAN 6, not used here",
		 {.dport = PORT, .vlans = 1, .vlan = {6}},
		 LRP_XDP_PASS_VLAN,
		 0,
		 NULL},
		{"VLAN 4095, reserved",
		 {.dport = PORT, .vlans = 1, .vlan = {4095}},
		 LRP_XDP_PASS_VLAN,
		 0,
		 NULL},
		{"priority tag",
		 {.dport = PORT, .vlans = 1, .vlan = {0}},
		 LRP_XDP_ENQUEUED,
		 UDP_ENDPOINT,
		 NULL},
		{"VLAN, IPv6",
		 {.family = 6, .dport = PORT, .vlans = 1, .vlan = {5}},
		 LRP_XDP_ENQUEUED,
		 UDP_ENDPOINT,
		 NULL},
		{"QinQ",
		 {.dport = PORT, .vlans = 2, .vlan = {5, 77}, .vlan_type = 0x88a8},
		 LRP_XDP_ENQUEUED,
		 UDP_ENDPOINT,
		 NULL},
		{"QinQ, IPv6",
		 {.family = 6, .dport = PORT, .vlans = 2, .vlan = {5, 77}},
		 LRP_XDP_ENQUEUED,
		 UDP_ENDPOINT,
		 NULL},
		{"QinQ, outer not used here",
		 {.dport = PORT, .vlans = 2, .vlan = {77, 5}},
		 LRP_XDP_PASS_VLAN,
		 0,
		 NULL},
		{"three tags",
		 {.dport = PORT, .vlans = 3, .vlan = {5, 5, 5}},
		 LRP_XDP_PASS_TUNNEL,
		 0,
		 NULL},
		{"nine tags",
		 {.dport = PORT, .vlans = 9, .vlan = {5, 5, 5, 5, 5, 5, 5, 5, 5}},
		 LRP_XDP_PASS_TUNNEL,
		 0,
		 NULL},
		{"VLAN, ARP",
		 {.dport = PORT, .vlans = 1, .vlan = {5}, .ether_type = 0x0806},
		 LRP_XDP_PASS_PROTOCOL,
		 0,
		 NULL},
		{"VLAN, foreign destination",
		 {.dport = PORT, .vlans = 1, .vlan = {5}, .dst = FOREIGN4},
		 LRP_XDP_PASS_ADDRESS,
		 0,
		 NULL},
	};

	harness_table(*state, table, sizeof(table) / sizeof(table[0]));
}

static void test_lies(void **state)
{
	static const struct table_case table[] = {
		{"ihl 4", {.dport = PORT}, LRP_XDP_PASS_MALFORMED, 0, ihl_4},
		{"ihl 0", {.dport = PORT}, LRP_XDP_PASS_MALFORMED, 0, ihl_0},
		{"ihl 15 in a packet that is shorter",
		 {.dport = PORT},
		 LRP_XDP_PASS_MALFORMED,
		 0,
		 ihl_15},
		{"ihl 15 leaves 8 bytes that are no UDP header of ours",
		 {.dport = PORT, .payload = 40},
		 LRP_XDP_PASS_PORT,
		 0,
		 ihl_15},
		{"version 6 as IPv4", {.dport = PORT}, LRP_XDP_PASS_MALFORMED, 0, version_6_in_4},
		{"version 4 as IPv6",
		 {.family = 6, .dport = PORT},
		 LRP_XDP_PASS_MALFORMED,
		 0,
		 version_4_in_6},
		{"total length 0", {.dport = PORT}, LRP_XDP_PASS_MALFORMED, 0, total_0},
		{"total length 19", {.dport = PORT}, LRP_XDP_PASS_MALFORMED, 0, total_19},
		{"total length ends before UDP",
		 {.dport = PORT, .payload = 50},
		 LRP_XDP_PASS_MALFORMED,
		 0,
		 total_20},
		{"total length ends in UDP's header",
		 {.dport = PORT, .payload = 50},
		 LRP_XDP_PASS_MALFORMED,
		 0,
		 total_27},
		{"total length ends behind UDP's header",
		 {.dport = PORT, .payload = 50},
		 LRP_XDP_ENQUEUED,
		 UDP_ENDPOINT,
		 total_28},
		{"total length a byte too long",
		 {.dport = PORT, .payload = 50},
		 LRP_XDP_PASS_MALFORMED,
		 0,
		 total_beyond},
		{"total length 65535", {.dport = PORT}, LRP_XDP_PASS_MALFORMED, 0, total_65535},
		{"payload length 7",
		 {.family = 6, .dport = PORT, .payload = 50},
		 LRP_XDP_PASS_MALFORMED,
		 0,
		 payload_7},
		{"payload length 8",
		 {.family = 6, .dport = PORT, .payload = 50},
		 LRP_XDP_ENQUEUED,
		 UDP_ENDPOINT,
		 payload_8},
		{"payload length 0",
		 {.family = 6, .dport = PORT},
		 LRP_XDP_PASS_MALFORMED,
		 0,
		 payload_0},
		{"payload length a byte too long",
		 {.family = 6, .dport = PORT},
		 LRP_XDP_PASS_MALFORMED,
		 0,
		 payload_beyond},
		{"payload length 65535",
		 {.family = 6, .dport = PORT},
		 LRP_XDP_PASS_MALFORMED,
		 0,
		 payload_65535},
		/* the receiver pays for finding these out, nobody else */
		{"UDP length 0 is the receiver's to judge",
		 {.dport = PORT},
		 LRP_XDP_ENQUEUED,
		 UDP_ENDPOINT,
		 udp_len_0},
		{"UDP length 65535, likewise",
		 {.dport = PORT},
		 LRP_XDP_ENQUEUED,
		 UDP_ENDPOINT,
		 udp_len_65535},
		{"UDP length 65535, IPv6",
		 {.family = 6, .dport = PORT},
		 LRP_XDP_ENQUEUED,
		 UDP_ENDPOINT,
		 udp_len_65535},
		{"TCP data offset 0, likewise",
		 {.proto = IPPROTO_TCP, .dport = PORT},
		 LRP_XDP_ENQUEUED,
		 TCP_ENDPOINT,
		 tcp_offset_0},
		{"TCP data offset 15, likewise",
		 {.proto = IPPROTO_TCP, .dport = PORT},
		 LRP_XDP_ENQUEUED,
		 TCP_ENDPOINT,
		 tcp_offset_15},
		{"IPv6 type, IPv4 packet",
		 {.dport = PORT, .ether_type = 0x86dd, .payload = 40},
		 LRP_XDP_PASS_MALFORMED,
		 0,
		 NULL},
		{"IPv4 type, IPv6 packet",
		 {.family = 6, .dport = PORT, .ether_type = 0x0800},
		 LRP_XDP_PASS_MALFORMED,
		 0,
		 NULL},
	};

	harness_table(*state, table, sizeof(table) / sizeof(table[0]));
}

#define HOP                                                                                        \
	{                                                                                          \
		IPPROTO_HOPOPTS, 0, 0                                                              \
	}
#define DST                                                                                        \
	{                                                                                          \
		IPPROTO_DSTOPTS, 0, 0                                                              \
	}
#define RT0                                                                                        \
	{                                                                                          \
		IPPROTO_ROUTING, 2, 0                                                              \
	}
#define RT1                                                                                        \
	{                                                                                          \
		IPPROTO_ROUTING, 2, 1                                                              \
	}
#define AUTH                                                                                       \
	{                                                                                          \
		IPPROTO_AH, 4, 0                                                                   \
	}
#define FRAG                                                                                       \
	{                                                                                          \
		IPPROTO_FRAGMENT, 0, 0                                                             \
	}
#define V6(...)                                                                                    \
	{                                                                                          \
		.family = 6, .dport = PORT,                                                        \
		.extensions =                                                                      \
			sizeof((struct extension[]){__VA_ARGS__}) / sizeof(struct extension),      \
		.extension = {                                                                     \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}

static void dst_too_long(struct packet *p)
{
	p->data[p->l3 + 41] = 2;
}
static void dst_255(struct packet *p)
{
	p->data[p->l3 + 41] = 255;
}
static void auth_255(struct packet *p)
{
	p->data[p->l3 + 41] = 255;
}
/* the next header of the first extension header is the same kind again, for ever */
static void dst_of_dst(struct packet *p)
{
	p->data[p->l3 + 40] = IPPROTO_DSTOPTS;
}

static void test_extensions(void **state)
{
	static const struct table_case table[] = {
		{"hop-by-hop", V6(HOP), LRP_XDP_ENQUEUED, UDP_ENDPOINT, NULL},
		{"destination options", V6(DST), LRP_XDP_ENQUEUED, UDP_ENDPOINT, NULL},
		{"destination options of 2,048 bytes", V6({IPPROTO_DSTOPTS, 255, 0}),
		 LRP_XDP_ENQUEUED, UDP_ENDPOINT, NULL},
		{"routing, arrived", V6(RT0), LRP_XDP_ENQUEUED, UDP_ENDPOINT, NULL},
		{"routing, segments left", V6(RT1), LRP_XDP_PASS_PROTOCOL, 0, NULL},
		{"authentication", V6(AUTH), LRP_XDP_ENQUEUED, UDP_ENDPOINT, NULL},
		{"authentication of 12 bytes", V6({IPPROTO_AH, 1, 0}), LRP_XDP_ENQUEUED,
		 UDP_ENDPOINT, NULL},
		{"atomic fragment", V6(FRAG), LRP_XDP_ENQUEUED, UDP_ENDPOINT, NULL},
		{"two atomic fragments", V6(FRAG, FRAG), LRP_XDP_ENQUEUED, UDP_ENDPOINT, NULL},
		{"all kinds", V6(HOP, DST, RT0, FRAG, AUTH, DST), LRP_XDP_ENQUEUED, UDP_ENDPOINT,
		 NULL},
		{"seven headers", V6(HOP, DST, DST, DST, DST, DST, DST), LRP_XDP_PASS_TUNNEL, 0,
		 NULL},
		{"nine headers", V6(DST, DST, DST, DST, DST, DST, DST, DST, DST),
		 LRP_XDP_PASS_TUNNEL, 0, NULL},
		{"hop-by-hop not first", V6(DST, HOP), LRP_XDP_PASS_MALFORMED, 0, NULL},
		{"options that reach beyond the packet", V6(DST), LRP_XDP_PASS_MALFORMED, 0,
		 dst_too_long},
		{"options of 2,048 bytes that are not there", V6(DST), LRP_XDP_PASS_MALFORMED, 0,
		 dst_255},
		{"authentication that is not there", V6(AUTH), LRP_XDP_PASS_MALFORMED, 0, auth_255},
		{"options in options, into UDP", V6(DST), LRP_XDP_PASS_MALFORMED, 0, dst_of_dst},
		{"TCP behind options",
		 {.family = 6,
		  .dport = PORT,
		  .proto = IPPROTO_TCP,
		  .extensions = 1,
		  .extension = {DST}},
		 LRP_XDP_ENQUEUED,
		 TCP_ENDPOINT,
		 NULL},
		{"ESP behind options",
		 {.family = 6,
		  .dport = PORT,
		  .proto = IPPROTO_ESP,
		  .extensions = 1,
		  .extension = {DST}},
		 LRP_XDP_PASS_PROTOCOL,
		 0,
		 NULL},
		{"options in a VLAN",
		 {.family = 6,
		  .dport = PORT,
		  .vlans = 1,
		  .vlan = {5},
		  .extensions = 1,
		  .extension = {HOP}},
		 LRP_XDP_ENQUEUED,
		 UDP_ENDPOINT,
		 NULL},
	};

	harness_table(*state, table, sizeof(table) / sizeof(table[0]));
}

/* Six headers of 2,048 bytes do not fit a test packet's first page: PASS, never a read beyond it. */
static void test_extensions_beyond_linear(void **state)
{
	struct spec spec = V6({IPPROTO_DSTOPTS, 255, 0}, {IPPROTO_DSTOPTS, 255, 0});
	struct packet packet;

	spec.payload = 3000;
	packet_build(&packet, &spec);
	harness_expect(*state, "headers beyond the linear part", &packet, LRP_XDP_PASS_MALFORMED,
		       0);
}

/* Truncated at every length: the frame is cut, its IP header still claims the whole. */
static void test_truncated(void **state)
{
	static const struct spec specs[] = {
		{.dport = PORT, .payload = 20},
		{.dport = PORT, .payload = 20, .options = 10},
		{.dport = PORT, .payload = 20, .proto = IPPROTO_TCP},
		{.dport = PORT, .payload = 20, .vlans = 2, .vlan = {5, 6}},
		{.dport = PORT, .payload = 20, .family = 6},
		{.dport = PORT, .payload = 20, .family = 6, .proto = IPPROTO_TCP},
		V6(HOP, DST, RT0, FRAG, AUTH, DST),
	};
	struct packet packet;
	char what[64];

	for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
		packet_build(&packet, &specs[i]);
		for (uint32_t whole = packet.len, len = 14; len <= whole; len++) {
			packet.len = len;
			snprintf(what, sizeof(what), "packet %zu cut to %u of %u bytes", i, len,
				 whole);
			harness_expect(*state, what, &packet,
				       len == whole ? LRP_XDP_ENQUEUED : LRP_XDP_PASS_MALFORMED,
				       specs[i].proto == IPPROTO_TCP ? TCP_ENDPOINT : UDP_ENDPOINT);
		}
	}
}

/* The same, but the IP header says truly how little there is. */
static void test_short(void **state)
{
	static const struct spec specs[] = {
		{.dport = PORT, .payload = 20},
		{.dport = PORT, .payload = 20, .proto = IPPROTO_TCP},
		{.dport = PORT, .payload = 20, .family = 6},
		{.dport = PORT, .payload = 20, .family = 6, .proto = IPPROTO_TCP},
		{.dport = PORT,
		 .payload = 20,
		 .family = 6,
		 .extensions = 3,
		 .extension = {HOP, RT0, AUTH}},
	};
	struct packet packet;
	char what[64];

	for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
		uint32_t header = specs[i].proto == IPPROTO_TCP ? 20 : 8;

		packet_build(&packet, &specs[i]);
		for (uint32_t whole = packet.len,
			      len = packet.l3 + (specs[i].family == 6 ? 40 : 20);
		     len <= whole; len++) {
			packet.len = len;
			if (specs[i].family == 6)
				packet_put16(&packet, packet.l3 + 4, len - packet.l3 - 40);
			else
				packet_put16(&packet, packet.l3 + 2, len - packet.l3);
			snprintf(what, sizeof(what), "packet %zu of %u bytes, length true", i, len);
			harness_expect(*state, what, &packet,
				       len >= packet.l4 + header ? LRP_XDP_ENQUEUED
								 : LRP_XDP_PASS_MALFORMED,
				       specs[i].proto == IPPROTO_TCP ? TCP_ENDPOINT : UDP_ENDPOINT);
			/* the rest is link padding now, though it looks like the header's end */
			packet.len = whole;
			harness_expect(*state, what, &packet,
				       len >= packet.l4 + header ? LRP_XDP_ENQUEUED
								 : LRP_XDP_PASS_MALFORMED,
				       specs[i].proto == IPPROTO_TCP ? TCP_ENDPOINT : UDP_ENDPOINT);
		}
	}
}

/* Up to MTU 9000 a packet spans several frames; the harness checks how many are counted. */
static void test_jumbo(void **state)
{
	static const uint16_t payload[] = {1, 2957, 2958, 2959, 5000, 5958, 5959, 8972};

	for (size_t i = 0; i < sizeof(payload) / sizeof(payload[0]); i++) {
		struct spec four = {.dport = PORT, .payload = payload[i]};
		struct spec six = {.dport = PORT, .payload = payload[i], .family = 6};

		harness_expect_spec(*state, "jumbo, IPv4", &four, LRP_XDP_ENQUEUED, UDP_ENDPOINT);
		harness_expect_spec(*state, "jumbo, IPv6", &six, LRP_XDP_ENQUEUED, UDP_ENDPOINT);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_plain, setup, harness_teardown),
		cmocka_unit_test_setup_teardown(test_vlan, setup, harness_teardown),
		cmocka_unit_test_setup_teardown(test_lies, setup, harness_teardown),
		cmocka_unit_test_setup_teardown(test_extensions, setup, harness_teardown),
		cmocka_unit_test_setup_teardown(test_extensions_beyond_linear, setup,
						harness_teardown),
		cmocka_unit_test_setup_teardown(test_truncated, setup, harness_teardown),
		cmocka_unit_test_setup_teardown(test_short, setup, harness_teardown),
		cmocka_unit_test_setup_teardown(test_jumbo, setup, harness_teardown),
	};

	(void)argc;
	bed_enter(argv);
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Twin of bpf/fragment.h: where the fragments of a datagram go, in whatever order they come. */
#include "harness.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../lib/bed.h"

#define PORT 1000
#define FRAG                                                                                       \
	{                                                                                          \
		IPPROTO_FRAGMENT, 0, 0                                                             \
	}
#define PART 16u /* bytes of each fragment */

static int setup(void **state)
{
	struct harness *h;

	harness_setup(state);
	h = *state;
	harness_any(h, 4, IPPROTO_UDP, PORT, 1);
	harness_any(h, 6, IPPROTO_UDP, PORT, 1);
	harness_any(h, 4, IPPROTO_TCP, PORT, 2);
	harness_any(h, 6, IPPROTO_TCP, PORT, 2);
	for (uint32_t i = 0; i < 3; i++)
		h->channel[i].limit = h->channel[i].guarantee = 1u << 20;
	return 0;
}

/* Part `index` of `count` of a datagram; TCP's header fills the first two parts. */
static void part(struct packet *packet, int family, uint8_t proto, uint16_t port, uint32_t id,
		 uint32_t index, uint32_t count)
{
	struct spec spec = {
		.family = family,
		.proto = proto,
		.dport = port,
		.id = id,
		.fragment = true,
		.payload = (count + 2) * PART, /* more than is sent */
		.offset = index ? (index + 1) * PART : 0,
		.length = index ? PART : 2 * PART,
		.more = index + 1 < count,
	};

	if (family == 6) {
		spec.extensions = 1;
		spec.extension[0] = (struct extension)FRAG;
	}
	packet_build(packet, &spec);
}

static int next_permutation(uint32_t *order, uint32_t n)
{
	int i = n - 2, j = n - 1;
	uint32_t swap;

	while (i >= 0 && order[i] > order[i + 1])
		i--;
	if (i < 0)
		return 0;
	while (order[j] < order[i])
		j--;
	swap = order[i], order[i] = order[j], order[j] = swap;
	for (uint32_t a = i + 1, b = n - 1; a < b; a++, b--)
		swap = order[a], order[a] = order[b], order[b] = swap;
	return 1;
}

/*
 * All orders of 3 and of 4 fragments: those before the first one go to the fragment channel, but
 * TCP's to the kernel; the first and those after it to where the datagram belongs.
 */
static void permute(struct harness *h, int family, uint8_t proto, uint16_t port,
		    enum lrp_xdp_reason first, enum lrp_xdp_reason later, uint32_t endpoint)
{
	const bool tcp = proto == IPPROTO_TCP;
	static uint32_t id = 0x4000;
	uint32_t order[4];
	struct packet packet;
	char what[80];

	for (uint32_t n = 3; n <= 4; n++) {
		for (uint32_t i = 0; i < n; i++)
			order[i] = i;
		do {
			bool seen = false, orphan = false;

			id++;
			for (uint32_t i = 0; i < n; i++) {
				snprintf(what, sizeof(what),
					 "IPv%d proto %d, part %u of %u, %uth to come", family,
					 proto, order[i], n, i);
				part(&packet, family, proto, port, id, order[i], n);
				if (!order[i])
					seen = true;
				if (order[i] && !seen)
					harness_expect(h, what, &packet,
						       !tcp	? LRP_XDP_ENQUEUED
						       : orphan ? LRP_XDP_PASS_FRAGMENT
								: LRP_XDP_PASS_ORPHAN,
						       LRP_ENDPOINT_FRAGMENT);
				else
					harness_expect(h, what, &packet, order[i] ? later : first,
						       endpoint);
				orphan |= order[i] && !seen;
				assert_int_equal(h->meta_len, 0);
			}
		} while (next_permutation(order, n));
	}
}

static void test_orders(void **state)
{
	static const uint8_t protos[] = {IPPROTO_UDP, IPPROTO_TCP};

	for (int i = 0; i < 2; i++) {
		for (int family = 4; family <= 6; family += 2) {
			permute(*state, family, protos[i], PORT, LRP_XDP_ENQUEUED, LRP_XDP_ENQUEUED,
				protos[i] == IPPROTO_UDP ? 1 : 2);
			/* the kernel's: later ones follow the first one there */
			permute(*state, family, protos[i], PORT + 1, LRP_XDP_PASS_PORT,
				LRP_XDP_PASS_FRAGMENT, 0);
		}
	}
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

/* What is written down, and when. */
static void test_table(void **state)
{
	static const struct spec plain = {.dport = PORT, .id = 1};
	static const struct spec atomic = {
		.family = 6, .dport = PORT, .id = 2, .extensions = 1, .extension = {FRAG}};
	struct harness *h = *state;
	struct packet packet;

	packet_build(&packet, &plain);
	harness_expect(h, "not a fragment", &packet, LRP_XDP_ENQUEUED, 1);
	assert_int_equal(harness_fragment(h, &packet, 4, IPPROTO_UDP, 1), -1);
	packet_build(&packet, &atomic);
	harness_expect(h, "atomic fragment", &packet, LRP_XDP_ENQUEUED, 1);
	assert_int_equal(harness_fragment(h, &packet, 6, IPPROTO_UDP, 2), -1);
	part(&packet, 4, IPPROTO_UDP, PORT, 3, 0, 3);
	harness_expect(h, "first", &packet, LRP_XDP_ENQUEUED, 1);
	assert_int_equal(harness_fragment(h, &packet, 4, IPPROTO_UDP, 3), 1);
	part(&packet, 6, IPPROTO_TCP, PORT, 0x12345678, 0, 3);
	harness_expect(h, "first, IPv6", &packet, LRP_XDP_ENQUEUED, 2);
	assert_int_equal(harness_fragment(h, &packet, 6, IPPROTO_TCP, 0x12345678), 2);
	part(&packet, 4, IPPROTO_UDP, PORT + 1, 4, 0, 3);
	harness_expect(h, "first, the kernel's", &packet, LRP_XDP_PASS_PORT, 1);
	assert_int_equal(harness_fragment(h, &packet, 4, IPPROTO_UDP, 4), LRP_FRAGMENT_KERNEL);
	part(&packet, 4, IPPROTO_UDP, PORT, 5, 2, 3);
	harness_expect(h, "later", &packet, LRP_XDP_ENQUEUED, LRP_ENDPOINT_FRAGMENT);
	assert_int_equal(harness_fragment(h, &packet, 4, IPPROTO_UDP, 5), LRP_FRAGMENT_STORED);
}

/* The datagram is the key, all of it. */
static void test_key(void **state)
{
	struct harness *h = *state;
	struct packet packet;

	part(&packet, 4, IPPROTO_UDP, PORT, 9, 0, 3);
	harness_expect(h, "first", &packet, LRP_XDP_ENQUEUED, 1);
	part(&packet, 4, IPPROTO_UDP, PORT, 10, 1, 3);
	harness_expect(h, "other id", &packet, LRP_XDP_ENQUEUED, LRP_ENDPOINT_FRAGMENT);
	part(&packet, 4, IPPROTO_TCP, PORT, 9, 1, 3);
	harness_expect(h, "other protocol", &packet, LRP_XDP_PASS_ORPHAN, LRP_ENDPOINT_FRAGMENT);
	part(&packet, 4, IPPROTO_UDP, PORT, 9, 1, 3);
	packet.data[packet.l3 + 15]++;
	harness_expect(h, "other source", &packet, LRP_XDP_ENQUEUED, LRP_ENDPOINT_FRAGMENT);
	part(&packet, 4, IPPROTO_UDP, PORT, 9, 1, 3);
	packet.data[packet.l3 + 18]++; /* OURS4_SECOND */
	harness_expect(h, "other destination", &packet, LRP_XDP_ENQUEUED, LRP_ENDPOINT_FRAGMENT);
	part(&packet, 6, IPPROTO_UDP, PORT, 9, 1, 3);
	harness_expect(h, "other family", &packet, LRP_XDP_ENQUEUED, LRP_ENDPOINT_FRAGMENT);
	part(&packet, 4, IPPROTO_UDP, PORT, 9, 1, 3);
	harness_expect(h, "the very one", &packet, LRP_XDP_ENQUEUED, 1);
}

static void test_not_ours(void **state)
{
	struct harness *h = *state;
	struct packet packet;

	part(&packet, 4, IPPROTO_UDP, PORT, 11, 0, 3);
	packet.data[packet.l3 + 18] = 77; /* to be forwarded */
	harness_expect(h, "first, foreign", &packet, LRP_XDP_PASS_ADDRESS, 0);
	assert_int_equal(harness_fragment(h, &packet, 4, IPPROTO_UDP, 11), -1);
	part(&packet, 4, IPPROTO_UDP, PORT, 11, 1, 3);
	packet.data[packet.l3 + 18] = 77;
	harness_expect(h, "later, foreign", &packet, LRP_XDP_PASS_ADDRESS, 0);
	part(&packet, 4, IPPROTO_UDP, PORT, 11, 1, 3);
	packet.data[5] = 9;
	harness_expect(h, "later, other MAC", &packet, LRP_XDP_PASS_MAC, 0);
	part(&packet, 4, IPPROTO_UDP, PORT, 11, 1, 3);
	packet.data[packet.l3 + 12] = 127;
	harness_expect(h, "later, martian", &packet, LRP_XDP_DROP_MARTIAN, 0);
	part(&packet, 4, IPPROTO_SCTP, PORT, 11, 1, 3);
	harness_expect(h, "later, SCTP", &packet, LRP_XDP_PASS_PROTOCOL, 0);
	part(&packet, 6, IPPROTO_ICMPV6, PORT, 11, 1, 3);
	harness_expect(h, "later, ICMPv6", &packet, LRP_XDP_PASS_PROTOCOL, 0);
	part(&packet, 6, IPPROTO_ICMPV6, PORT, 11, 0, 3);
	harness_expect(h, "first, ICMPv6", &packet, LRP_XDP_PASS_PROTOCOL, 0);
	assert_int_equal(harness_fragment(h, &packet, 6, IPPROTO_ICMPV6, 11), -1);
}

/* To a group: as any other datagram; TCP has no business there. */
static void test_multicast(void **state)
{
	static const struct spec first = {.dst = "239.1.1.1",
					  .dport = PORT,
					  .id = 61,
					  .payload = 100,
					  .fragment = true,
					  .length = 64,
					  .more = true};
	static const struct spec later = {.dst = "239.1.1.1",
					  .dport = PORT,
					  .id = 61,
					  .payload = 100,
					  .fragment = true,
					  .offset = 64,
					  .length = 44};
	static const struct spec orphan = {.dst = "239.1.1.1",
					   .dport = PORT,
					   .id = 62,
					   .payload = 100,
					   .fragment = true,
					   .offset = 64,
					   .length = 44};
	static const struct spec other = {.dst = "239.1.1.2",
					  .dport = PORT,
					  .id = 63,
					  .payload = 100,
					  .fragment = true,
					  .length = 64,
					  .more = true};
	static const struct spec other_later = {.dst = "239.1.1.2",
						.dport = PORT,
						.id = 63,
						.payload = 100,
						.fragment = true,
						.offset = 64,
						.length = 44};
	static const struct spec tcp4 = {.proto = IPPROTO_TCP,
					 .dst = "239.1.1.1",
					 .dport = PORT,
					 .id = 64,
					 .payload = 100,
					 .fragment = true,
					 .offset = 64,
					 .length = 44};
	static const struct spec tcp6 = {.family = 6,
					 .proto = IPPROTO_TCP,
					 .dst = "ff05::1",
					 .dport = PORT,
					 .id = 65,
					 .payload = 100,
					 .extensions = 1,
					 .extension = {FRAG},
					 .fragment = true,
					 .offset = 64,
					 .length = 44};
	struct harness *h = *state;

	harness_member(h, "239.1.1.1", PORT, H_IFINDEX, 5);
	harness_expect_spec(h, "first", &first, LRP_XDP_ENQUEUED, 5);
	harness_expect_spec(h, "later", &later, LRP_XDP_ENQUEUED, 5);
	harness_expect_spec(h, "orphan", &orphan, LRP_XDP_ENQUEUED, LRP_ENDPOINT_FRAGMENT);
	harness_expect_spec(h, "first, not joined", &other, LRP_XDP_PASS_MULTICAST, 0);
	harness_expect_spec(h, "later, not joined", &other_later, LRP_XDP_PASS_FRAGMENT, 0);
	harness_expect_spec(h, "TCP", &tcp4, LRP_XDP_PASS_PROTOCOL, 0);
	harness_expect_spec(h, "TCP over IPv6", &tcp6, LRP_XDP_PASS_PROTOCOL, 0);
}

/* Whatever becomes of the first one, the others share its fate. */
static void test_fate(void **state)
{
	struct harness *h = *state;
	struct packet first, later;

#define CASE(n, what, reason, after)                                                               \
	do {                                                                                       \
		part(&first, 4, IPPROTO_UDP, PORT, n, 0, 3);                                       \
		part(&later, 4, IPPROTO_UDP, PORT, n, 1, 3);                                       \
		harness_expect(h, what, &first, reason, 1);                                        \
		harness_expect(h, what ", later", &later, after, 1);                               \
	} while (0)

	h->channel[1].flags = 0;
	CASE(21, "inactive", LRP_XDP_PASS_INACTIVE, LRP_XDP_PASS_FRAGMENT);
	h->channel[1].flags = LRP_CHANNEL_ACTIVE;
	harness_user(h, 0, 1)->flags = LRP_USER_CONNECTED;
	CASE(22, "connected to another", LRP_XDP_PASS_PEER, LRP_XDP_PASS_FRAGMENT);
	harness_flow(h, 0, OURS4, PORT, PEER4, 9000, 1);
	CASE(23, "connected to this peer", LRP_XDP_ENQUEUED, LRP_XDP_ENQUEUED);
	harness_user(h, 0, 1)->flags = LRP_USER_CLOSED;
	CASE(24, "closed", LRP_XDP_DROP_CLOSED, LRP_XDP_DROP_CLOSED);
	harness_user(h, 0, 1)->flags = 0;
	h->channel[1].limit = 0;
	CASE(25, "full", LRP_XDP_DROP_FULL, LRP_XDP_DROP_FULL);
	h->channel[1].limit = 1u << 20;
	CASE(26, "room", LRP_XDP_ENQUEUED, LRP_XDP_ENQUEUED);
	/* closed between first and later: the later ones are nobody else's */
	h->channel[1].flags = 0;
	harness_expect(h, "gone since", &later, LRP_XDP_PASS_INACTIVE, 1);
}

/* ---- orphans ------------------------------------------------------------- */

/* At the beginning of a second of the budgets. */
static void new_second(void)
{
	uint64_t second = now_ns() >> 30;

	while (now_ns() >> 30 == second)
		usleep(1000);
}

/* An orphan that is not stored passes, and so does all that is left of its datagram, to an LRP
 * port, too. */
static void expect_passes(struct harness *h, const char *why, uint32_t id)
{
	struct packet packet;

	part(&packet, 4, IPPROTO_UDP, PORT, id, 2, 4);
	harness_expect(h, why, &packet, LRP_XDP_PASS_ORPHAN, 0);
	assert_int_equal(harness_fragment(h, &packet, 4, IPPROTO_UDP, id), LRP_FRAGMENT_PASSED);
	part(&packet, 4, IPPROTO_UDP, PORT, id, 3, 4);
	harness_expect(h, "another orphan follows it", &packet, LRP_XDP_PASS_FRAGMENT, 0);
	part(&packet, 4, IPPROTO_UDP, PORT, id, 0, 4);
	harness_expect(h, "the first follows it", &packet, LRP_XDP_PASS_FRAGMENT, 1);
	part(&packet, 4, IPPROTO_UDP, PORT, id, 1, 4);
	harness_expect(h, "the last to come follows it", &packet, LRP_XDP_PASS_FRAGMENT, 1);
}

static void expect_stored(struct harness *h, const char *what, uint32_t id)
{
	struct packet packet;

	part(&packet, 4, IPPROTO_UDP, PORT, id, 1, 3);
	harness_expect(h, what, &packet, LRP_XDP_ENQUEUED, LRP_ENDPOINT_FRAGMENT);
}

/* The fragment channel itself: its limit, its absence. No process has a say in it. */
static void test_fragment_channel(void **state)
{
	struct harness *h = *state;

	h->channel[0].limit = h->channel[0].guarantee = 2;
	expect_stored(h, "1 of 2", 31);
	expect_stored(h, "2 of 2", 32);
	expect_passes(h, "3 of 2", 33);
	assert_int_equal(h->channel[0].drop_full, 0);
	h->channel[0].limit = 100;
	expect_passes(h, "no surplus", 34);
	h->channel[0].flags = 0;
	expect_passes(h, "no fragment channel", 35);
	h->channel[0].flags = LRP_CHANNEL_ACTIVE;
	h->channel[0].user_page = 3;
	expect_passes(h, "no user record", 36);
	h->channel[0].user_page = 0;
	h->channel[0].guarantee = 100;
	harness_user(h, 0, 0)->flags = LRP_USER_CLOSED | LRP_USER_CONNECTED | LRP_USER_BACKLOG;
	expect_stored(h, "flags that some process has written", 37);
	harness_no_socket(h, 0, 0);
	expect_passes(h, "no socket", 38);
}

/* Nobody could want it: no UDP socket of LRP of its family. */
static void test_unwanted(void **state)
{
	struct harness *h = *state;
	struct packet packet;

	h->orphans->wanted[0] = 0;
	expect_passes(h, "no socket for IPv4", 71);
	part(&packet, 6, IPPROTO_UDP, PORT, 72, 1, 3);
	harness_expect(h, "one for IPv6", &packet, LRP_XDP_ENQUEUED, LRP_ENDPOINT_FRAGMENT);
	h->orphans->wanted[0] = 1;
	h->orphans->wanted[1] = 0;
	expect_stored(h, "one for IPv4", 73);
	part(&packet, 6, IPPROTO_UDP, PORT, 74, 1, 3);
	harness_expect(h, "no socket for IPv6", &packet, LRP_XDP_PASS_ORPHAN, 0);
}

/* What BPF_PROG_RUN would not take back, or takes several frames, is not stored. */
static void test_long_orphan(void **state)
{
	struct spec spec = {.dport = PORT,
			    .id = 75,
			    .fragment = true,
			    .offset = 64,
			    .payload = 3600,
			    .length = H_PAYLOAD - 16};
	struct harness *h = *state;
	struct packet packet;

	harness_expect_spec(h, "more than a frame", &spec, LRP_XDP_PASS_ORPHAN, 0);
	spec.id++;
	spec.length = H_PAYLOAD - 48;
	harness_expect_spec(h, "a frame", &spec, LRP_XDP_ENQUEUED, LRP_ENDPOINT_FRAGMENT);
	h->device->frame_payload = 2 * H_PAYLOAD;
	spec.id++;
	spec.length = 3416;
	packet_build(&packet, &spec);
	harness_expect(h, "too long to be injected", &packet, LRP_XDP_PASS_ORPHAN, 0);
	spec.id++;
	spec.length = 3360;
	packet_build(&packet, &spec);
	harness_expect(h, "not too long", &packet, LRP_XDP_ENQUEUED, ANY_ENDPOINT);
}

static void test_source_share(void **state)
{
	struct harness *h = *state;
	struct packet packet;
	uint32_t id = 1000;

	new_second();
	for (uint32_t i = 0; i < LRP_ORPHANS_PER_SOURCE; i++)
		expect_stored(h, "within the share", id++);
	expect_passes(h, "beyond the share", id++);
	part(&packet, 4, IPPROTO_UDP, PORT, id, 1, 3);
	packet.data[packet.l3 + 15]++;
	harness_expect(h, "another source", &packet, LRP_XDP_ENQUEUED, LRP_ENDPOINT_FRAGMENT);
	part(&packet, 6, IPPROTO_UDP, PORT, id, 1, 3);
	harness_expect(h, "IPv6", &packet, LRP_XDP_ENQUEUED, LRP_ENDPOINT_FRAGMENT);
	new_second();
	expect_stored(h, "in the next second", ++id);
}

/* Sources that nobody has cost the host no more than its budget. */
static void test_host_budget(void **state)
{
	struct harness *h = *state;
	uint32_t stored = 0, random = 1;
	struct packet packet;

	h->channel[0].limit = h->channel[0].guarantee = 1u << 20;
	new_second();
	for (uint32_t i = 0; i < 4 * LRP_ORPHANS_PER_SECOND; i++) {
		random = random * 1664525u + 1013904223u;
		part(&packet, 4, IPPROTO_UDP, PORT, i, 1, 3);
		memcpy(packet.data + packet.l3 + 12, (uint8_t[]){10, random >> 24, random >> 16, 1},
		       4);
		harness_run(h, "spoofed", &packet);
		stored += h->reason == LRP_XDP_ENQUEUED;
		if (h->reason != LRP_XDP_ENQUEUED)
			assert_int_equal(h->reason, LRP_XDP_PASS_ORPHAN);
	}
	/* two seconds at most have begun meanwhile */
	assert_in_range(stored, LRP_ORPHANS_PER_SECOND, 2 * LRP_ORPHANS_PER_SECOND);
	h->orphans->budget = (now_ns() >> 30) << 32 | LRP_ORPHANS_PER_SECOND;
	part(&packet, 4, IPPROTO_UDP, PORT, 5000, 1, 3);
	new_second();
	harness_expect(h, "in the next second", &packet, LRP_XDP_ENQUEUED, LRP_ENDPOINT_FRAGMENT);
}

static int note_key(void *arg, void *data, size_t size)
{
	struct lrp_fragment_key *key = arg;

	assert_int_equal(size, sizeof(*key));
	key[key->pad + 1] = *(struct lrp_fragment_key *)data;
	key->pad++;
	return 0;
}

/* lrpd hears of a datagram that is the kernel's while orphans of it are stored, and only then. */
static void test_stray_event(void **state)
{
	struct lrp_fragment_key keys[16] = {0};
	struct harness *h = *state;
	struct ring_buffer *strays =
		ring_buffer__new(harness_map(h, "lrp_strays"), note_key, keys, NULL);
	struct packet packet;

	assert_non_null(strays);
#define HEARD(n)                                                                                   \
	do {                                                                                       \
		ring_buffer__consume(strays);                                                      \
		assert_int_equal(keys[0].pad, n);                                                  \
	} while (0)
	part(&packet, 4, IPPROTO_UDP, PORT + 1, 81, 0, 3);
	harness_expect(h, "the kernel's first", &packet, LRP_XDP_PASS_PORT, 0);
	part(&packet, 4, IPPROTO_UDP, PORT + 1, 81, 1, 3);
	harness_expect(h, "its later one", &packet, LRP_XDP_PASS_FRAGMENT, 0);
	HEARD(0);
	expect_stored(h, "orphan of LRP's", 82);
	part(&packet, 4, IPPROTO_UDP, PORT, 82, 0, 3);
	harness_expect(h, "LRP's first", &packet, LRP_XDP_ENQUEUED, 1);
	HEARD(0);
	expect_stored(h, "orphan of the kernel's", 83);
	expect_stored(h, "and again", 83);
	HEARD(0);
	part(&packet, 4, IPPROTO_UDP, PORT + 1, 83, 0, 3);
	harness_expect(h, "the kernel's first", &packet, LRP_XDP_PASS_PORT, 0);
	HEARD(1);
	assert_int_equal(keys[1].id, htons(83));
	assert_int_equal(keys[1].family, 4);
	/* one is stored, the next finds no room: both are the kernel's, whatever the first says */
	expect_stored(h, "orphan", 84);
	h->channel[0].limit = 0;
	part(&packet, 4, IPPROTO_UDP, PORT, 84, 2, 3);
	harness_expect(h, "no room", &packet, LRP_XDP_PASS_ORPHAN, 0);
	HEARD(2);
	part(&packet, 4, IPPROTO_UDP, PORT, 84, 0, 3);
	harness_expect(h, "first", &packet, LRP_XDP_PASS_FRAGMENT, 1);
	HEARD(2);
	/* an LRP socket that lets the kernel have it */
	h->channel[0].limit = 1u << 20;
	expect_stored(h, "orphan", 85);
	h->channel[1].flags = 0;
	part(&packet, 4, IPPROTO_UDP, PORT, 85, 0, 3);
	harness_expect(h, "first, inactive", &packet, LRP_XDP_PASS_INACTIVE, 1);
	assert_int_equal(harness_fragment(h, &packet, 4, IPPROTO_UDP, 85), LRP_FRAGMENT_KERNEL);
	ring_buffer__free(strays);
}

/* The kernel would answer a segment of our connection with a reset. */
static void test_tcp_never_passes(void **state)
{
	struct harness *h = *state;
	struct packet packet;

	part(&packet, 4, IPPROTO_TCP, PORT, 91, 2, 3);
	harness_expect(h, "orphan", &packet, LRP_XDP_PASS_ORPHAN, 0);
	part(&packet, 4, IPPROTO_TCP, PORT, 91, 0, 3);
	harness_expect(h, "first", &packet, LRP_XDP_ENQUEUED, 2);
	part(&packet, 4, IPPROTO_TCP, PORT, 91, 1, 3);
	harness_expect(h, "later", &packet, LRP_XDP_ENQUEUED, 2);
}

/* A mark says nothing about a datagram that has the same identification half a minute later. */
static void test_old_mark(void **state)
{
	const uint32_t tick = now_ns() >> LRP_FRAGMENT_TICK_SHIFT;
	struct lrp_fragment_key key = {.proto = IPPROTO_UDP, .family = 4};
	struct lrp_fragment mark = {.endpoint = LRP_FRAGMENT_PASSED};
	struct harness *h = *state;
	int map = harness_map(h, "lrp_fragments");
	struct packet packet;

	part(&packet, 4, IPPROTO_UDP, PORT, 0, 0, 3);
	key.saddr.byte[10] = key.saddr.byte[11] = key.daddr.byte[10] = key.daddr.byte[11] = 0xff;
	memcpy(key.saddr.byte + 12, packet.data + packet.l3 + 12, 4);
	memcpy(key.daddr.byte + 12, packet.data + packet.l3 + 16, 4);
	for (uint32_t old = 0; old < 2; old++) {
		mark.since = old ? tick - LRP_FRAGMENT_TICKS - 1 : tick - LRP_FRAGMENT_TICKS / 2;
		key.id = htons(101 + old);
		assert_int_equal(bpf_map_update_elem(map, &key, &mark, BPF_ANY), 0);
		part(&packet, 4, IPPROTO_UDP, PORT, 101 + old, 0, 3);
		harness_expect(h, old ? "first, mark too old" : "first, mark", &packet,
			       old ? LRP_XDP_ENQUEUED : LRP_XDP_PASS_FRAGMENT, 1);
		key.id = htons(103 + old);
		assert_int_equal(bpf_map_update_elem(map, &key, &mark, BPF_ANY), 0);
		part(&packet, 4, IPPROTO_UDP, PORT, 103 + old, 1, 3);
		harness_expect(h, old ? "later, mark too old" : "later, mark", &packet,
			       old ? LRP_XDP_ENQUEUED : LRP_XDP_PASS_FRAGMENT,
			       LRP_ENDPOINT_FRAGMENT);
	}
}

static void expect_passes_after(struct harness *h, uint32_t id)
{
	struct packet packet;

	h->channel[1].flags = 0;
	part(&packet, 4, IPPROTO_UDP, PORT, id, 1, 3);
	harness_expect(h, "later, socket gone", &packet, LRP_XDP_PASS_INACTIVE, 1);
	h->channel[1].flags = LRP_CHANNEL_ACTIVE;
	part(&packet, 4, IPPROTO_UDP, PORT, id, 0, 3);
	harness_expect(h, "its first, another socket", &packet, LRP_XDP_PASS_FRAGMENT, 1);
	part(&packet, 4, IPPROTO_UDP, PORT, id, 2, 3);
	harness_expect(h, "the last", &packet, LRP_XDP_PASS_FRAGMENT, 1);
}

/* A datagram with the identification of one that was the kernel's goes where it belongs; one
 * whose orphan passes, since the socket of the earlier one has gone, goes after it. */
static void test_used_again(void **state)
{
	struct harness *h = *state;
	struct packet packet;

	part(&packet, 4, IPPROTO_UDP, PORT + 1, 121, 0, 3);
	harness_expect(h, "the kernel's first", &packet, LRP_XDP_PASS_PORT, 1);
	part(&packet, 4, IPPROTO_UDP, PORT, 121, 0, 3);
	harness_expect(h, "another first", &packet, LRP_XDP_ENQUEUED, 1);
	part(&packet, 4, IPPROTO_UDP, PORT, 121, 1, 3);
	harness_expect(h, "its second", &packet, LRP_XDP_ENQUEUED, 1);
	expect_passes_after(h, 121);
}

/* A flow that names a channel of others opens it for no fragment. */
static void test_owner(void **state)
{
	struct harness *h = *state;
	struct packet packet;

	harness_flow(h, 0, OURS4, PORT, PEER4, 9000, 1);
	h->channel[1].owner = H_OWNER + 1;
	part(&packet, 4, IPPROTO_UDP, PORT, 111, 0, 3);
	harness_expect(h, "first, not its owner's", &packet, LRP_XDP_DROP_OWNER, 1);
	part(&packet, 4, IPPROTO_UDP, PORT, 111, 1, 3);
	harness_expect(h, "later", &packet, LRP_XDP_PASS_FRAGMENT, 1);
}

static void more_only_0(struct packet *p)
{
	packet_put16(p, p->l3 + 6, 0x2000);
}
static void offset_max(struct packet *p)
{
	packet_put16(p, p->l3 + 6, 0x1fff);
}
static void offset_8191_more(struct packet *p)
{
	packet_put16(p, p->l3 + 6, 0x3fff);
}
static void dont_fragment(struct packet *p)
{
	packet_put16(p, p->l3 + 6, 0x4000);
}
static void evil_bit(struct packet *p)
{
	packet_put16(p, p->l3 + 6, 0x8000);
}
static void offset6_max(struct packet *p)
{
	packet_put16(p, p->l3 + 42, 0xfff8);
}
static void reserved6(struct packet *p)
{
	packet_put16(p, p->l3 + 42, 6);
}
static void nested6(struct packet *p)
{
	packet_put16(p, p->l3 + 50, 1);
}

static void test_hostile(void **state)
{
	static const struct table_case table[] = {
		{"offset 65528: longer than a datagram can be",
		 {.dport = PORT, .payload = 20},
		 LRP_XDP_PASS_MALFORMED,
		 0,
		 offset_max},
		{"the same, with more to follow",
		 {.dport = PORT, .payload = 20},
		 LRP_XDP_PASS_MALFORMED,
		 0,
		 offset_8191_more},
		{"more fragments, all there already",
		 {.dport = PORT, .payload = 20, .id = 41},
		 LRP_XDP_ENQUEUED,
		 1,
		 more_only_0},
		{"don't fragment", {.dport = PORT}, LRP_XDP_ENQUEUED, 1, dont_fragment},
		{"reserved bit", {.dport = PORT}, LRP_XDP_ENQUEUED, 1, evil_bit},
		{"first fragment without a whole UDP header",
		 {.dport = PORT,
		  .payload = 20,
		  .id = 42,
		  .fragment = true,
		  .length = 0,
		  .more = true},
		 LRP_XDP_PASS_MALFORMED,
		 0,
		 NULL},
		{"first fragment with 8 bytes of TCP",
		 {.proto = IPPROTO_TCP,
		  .dport = PORT,
		  .payload = 20,
		  .id = 43,
		  .fragment = true,
		  .length = 8,
		  .more = true},
		 LRP_XDP_PASS_MALFORMED,
		 0,
		 NULL},
		{"its second follows to the kernel",
		 {.proto = IPPROTO_TCP,
		  .dport = PORT,
		  .payload = 20,
		  .id = 43,
		  .fragment = true,
		  .offset = 8,
		  .length = 8,
		  .more = true},
		 LRP_XDP_PASS_FRAGMENT,
		 0,
		 NULL},
		{"an empty later fragment of UDP",
		 {.dport = PORT,
		  .payload = 20,
		  .id = 44,
		  .fragment = true,
		  .offset = 8,
		  .length = 0,
		  .more = true},
		 LRP_XDP_ENQUEUED,
		 0,
		 NULL},
		{"a later fragment that looks like UDP to an LRP port",
		 {.dport = PORT,
		  .payload = 20,
		  .id = 45,
		  .fragment = true,
		  .offset = 8,
		  .length = 8},
		 LRP_XDP_ENQUEUED,
		 0,
		 NULL},
		{"IPv6, offset 65528",
		 {.family = 6, .dport = PORT, .payload = 20, .extensions = 1, .extension = {FRAG}},
		 LRP_XDP_PASS_MALFORMED,
		 0,
		 offset6_max},
		{"IPv6, reserved bits of an atomic fragment",
		 {.family = 6, .dport = PORT, .payload = 20, .extensions = 1, .extension = {FRAG}},
		 LRP_XDP_ENQUEUED,
		 1,
		 reserved6},
		{"IPv6, a fragment of a fragment",
		 {.family = 6,
		  .dport = PORT,
		  .payload = 200,
		  .extensions = 2,
		  .extension = {FRAG, FRAG},
		  .fragment = true,
		  .length = 64,
		  .more = true},
		 LRP_XDP_PASS_MALFORMED,
		 0,
		 NULL},
		{"IPv6, a fragment in an atomic fragment",
		 {.family = 6,
		  .dport = PORT,
		  .payload = 20,
		  .id = 46,
		  .extensions = 2,
		  .extension = {FRAG, FRAG}},
		 LRP_XDP_ENQUEUED,
		 1,
		 nested6},
		{"IPv6, options before the fragment header",
		 {.family = 6,
		  .dport = PORT,
		  .payload = 200,
		  .id = 47,
		  .extensions = 2,
		  .extension = {{IPPROTO_HOPOPTS, 0, 0}, FRAG},
		  .fragment = true,
		  .length = 64,
		  .more = true},
		 LRP_XDP_ENQUEUED,
		 1,
		 NULL},
		{"and its second",
		 {.family = 6,
		  .dport = PORT,
		  .payload = 200,
		  .id = 47,
		  .extensions = 2,
		  .extension = {{IPPROTO_HOPOPTS, 0, 0}, FRAG},
		  .fragment = true,
		  .offset = 64,
		  .length = 64},
		 LRP_XDP_ENQUEUED,
		 1,
		 NULL},
		{"IPv6, options behind it",
		 {.family = 6,
		  .dport = PORT,
		  .payload = 200,
		  .id = 48,
		  .extensions = 2,
		  .extension = {FRAG, {IPPROTO_DSTOPTS, 0, 0}},
		  .fragment = true,
		  .length = 64,
		  .more = true},
		 LRP_XDP_ENQUEUED,
		 1,
		 NULL},
	};
	struct harness *h = *state;
	struct packet packet;

	harness_table(h, table, sizeof(table) / sizeof(table[0]));
	packet_build(&packet, &table[11].spec);
	assert_int_equal(harness_fragment(h, &packet, 6, IPPROTO_UDP, 0),
			 -1); /* atomic: leads nobody */
	/* the second of the last one: its fragment header says options, too */
	part(&packet, 6, IPPROTO_DSTOPTS, PORT, 48, 1, 3);
	harness_expect(h, "IPv6, options behind it, second", &packet, LRP_XDP_ENQUEUED, 1);
}

/* Each fragment truncated at every length. */
static void test_truncated(void **state)
{
	struct harness *h = *state;
	struct packet packet;

	for (int family = 4; family <= 6; family += 2) {
		for (uint32_t index = 0; index < 3; index++) {
			part(&packet, family, IPPROTO_UDP, PORT, 51, index, 3);
			for (uint32_t whole = packet.len, len = 14; len < whole; len++) {
				packet.len = len;
				harness_expect(h, "fragment cut", &packet, LRP_XDP_PASS_MALFORMED,
					       0);
			}
		}
	}
}

/* More datagrams than the table holds: the oldest are forgotten, none is mixed up. */
static void test_many(void **state)
{
	struct harness *h = *state;
	struct packet packet;
	uint32_t known = 0;

	for (uint32_t id = 0; id < 3 * LRP_FRAGMENTS; id++) {
		part(&packet, 6, IPPROTO_UDP, PORT, id, 0, 3);
		harness_run(h, "first", &packet);
		assert_int_equal(h->reason, LRP_XDP_ENQUEUED);
	}
	/* LRU lists are per CPU and approximate; most of the latest must be there */
	for (uint32_t id = 2 * LRP_FRAGMENTS; id < 3 * LRP_FRAGMENTS; id++)
		known += harness_fragment(h, &packet, 6, IPPROTO_UDP, id) == 1;
	assert_true(known > LRP_FRAGMENTS / 4);
	for (uint32_t id = 2 * LRP_FRAGMENTS; id < 3 * LRP_FRAGMENTS; id++) {
		int64_t way = harness_fragment(h, &packet, 6, IPPROTO_UDP, id);
		uint64_t packets = h->channel[1].packets;

		part(&packet, 6, IPPROTO_UDP, PORT, id, 1, 3);
		harness_run(h, "later", &packet);
		if (h->reason != LRP_XDP_ENQUEUED) /* forgotten, and beyond the budget */
			assert_int_equal(h->reason, LRP_XDP_PASS_ORPHAN);
		assert_int_equal(h->channel[1].packets - packets, way == 1);
	}
}

int main(int argc, char **argv)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, harness_teardown)
	const struct CMUnitTest tests[] = {
		T(test_orders),
		T(test_table),
		T(test_key),
		T(test_not_ours),
		T(test_multicast),
		T(test_fate),
		T(test_fragment_channel),
		T(test_unwanted),
		T(test_long_orphan),
		T(test_source_share),
		T(test_host_budget),
		T(test_stray_event),
		T(test_tcp_never_passes),
		T(test_old_mark),
		T(test_owner),
		T(test_used_again),
		T(test_hostile),
		T(test_truncated),
		T(test_many),
	};

	(void)argc;
	bed_enter(argv);
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}

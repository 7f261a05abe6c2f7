/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * input_cost - what IP and UDP input cost a packet, in nanoseconds.
 *
 * The packets lie in a ring of frames as large as a channel's, so that header and
 * payload come from where they would come: the second-level cache or beyond. The last column is
 * the same with all packets in the first-level cache. Medians of 9.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/ip/ip_input.h"
#include "runtime/udp/udp_input.h"
#include "runtime/udp/udp_output.h"

#define FRAME_SIZE 2048u
#define FRAMES	   512u
#define ROUNDS	   200u
#define REPEATS	   9

static uint8_t frames[FRAMES][FRAME_SIZE] __attribute__((aligned(4096)));

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

enum kind { VERIFIED, PARTIAL, NONE };

static uint32_t fill(uint8_t family, uint32_t length, enum kind kind)
{
	static uint8_t payload[FRAME_SIZE];
	struct iovec iov = {payload, length};
	struct lrp_udp_datagram d = {.family = family,
				     .ttl = 64,
				     .sport = htons(1000),
				     .dport = htons(2000),
				     .iov = &iov,
				     .iov_count = 1,
				     .length = length,
				     .no_checksum = kind == NONE};
	uint8_t link[LRP_UDP_LINK_LEN] = {0};
	struct lrp_udp_header_room room;
	struct lrp_udp_frame f;

	link[12] = family == AF_INET ? 0x08 : 0x86;
	link[13] = family == AF_INET ? 0x00 : 0xdd;
	memset(&d.src, 0x20, sizeof(d.src));
	memset(&d.dst, 0x21, sizeof(d.dst));
	for (uint32_t i = 0; i < FRAMES; i++) {
		for (uint32_t n = 0; n < length; n++)
			payload[n] = (uint8_t)(n * 7 + i);
		if (lrp_udp_build(&room, &f, link, &d, (uint16_t)i,
				  kind == PARTIAL ? LRP_UDP_CHECKSUM_PARTIAL
						  : LRP_UDP_CHECKSUM_FULL))
			abort();
		memcpy(frames[i], room.bytes, f.header_len);
		memcpy(frames[i] + f.header_len, payload, length);
	}
	return f.header_len + length;
}

static double cost(uint32_t frame_len, uint32_t count, uint32_t payload_len)
{
	double ns[REPEATS];

	for (int r = 0; r < REPEATS; r++) {
		uint32_t packets = ROUNDS * FRAMES;
		uint64_t start = now_ns();

		for (uint32_t n = 0; n < packets; n++) {
			struct lrp_packet p;

			p.frame = frames[n % count];
			p.frame_len = frame_len;
			if (lrp_ip_input(&p) || lrp_udp_input(&p, p.frame + p.l4_offset, true) ||
			    p.payload_len != payload_len)
				abort();
		}
		ns[r] = (double)(now_ns() - start) / packets;
	}
	qsort(ns, REPEATS, sizeof(ns[0]), compare);
	return ns[REPEATS / 2];
}

int main(void)
{
	static const char *const names[] = {"verified", "partial", "none"};
	static const uint32_t lengths[] = {14, 1400};

	printf("%-6s %8s  %-9s %12s %12s\n", "family", "payload", "checksum", "ns a packet",
	       "in L1");
	for (uint8_t family = AF_INET; family <= AF_INET6; family += AF_INET6 - AF_INET) {
		for (int i = 0; i < 2; i++) {
			for (int kind = VERIFIED; kind <= NONE; kind++) {
				uint32_t len;

				if (kind == NONE && family == AF_INET6)
					continue;
				len = fill(family, lengths[i], (enum kind)kind);
				printf("%-6s %8u  %-9s %12.1f %12.1f\n",
				       family == AF_INET ? "IPv4" : "IPv6", lengths[i], names[kind],
				       cost(len, FRAMES, lengths[i]), cost(len, 4, lengths[i]));
			}
		}
	}
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The input is a list of fragments, 8 bytes each: what, id, offset (2 bytes, units of 8), length (2
 * bytes), bytes behind the first 8 of the length, seconds since the one before. Contents follow
 * from id and offset, unless `what` says "other bytes". The oracle: what comes out whole is what
 * was sent, and every fragment is accounted for exactly once.
 */
#include <netinet/ip.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/ip/ip_input.h"
#include "runtime/ip/reassembly.h"
#include "runtime/wire/checksum.h"

#define ENSURE(condition)                                                                          \
	do {                                                                                       \
		if (!(condition))                                                                  \
			abort();                                                                   \
	} while (0)

#define IPV6	  1 /* bits of `what` */
#define MORE	  2
#define OTHER	  4 /* other bytes than belong there */
#define PROTO	  8
#define ECN_SHIFT 4
#define EXTENSION 64  /* the datagram begins with what looks like destination options */
#define MANY	  128 /* the id counts on by itself: a flood */

static uint8_t content(uint8_t id, uint32_t offset, bool other)
{
	return (uint8_t)((offset * 2654435761u + id * 40503u) >> 11) ^ (other ? 0x80 : 0);
}

static uint8_t *put16(uint8_t *p, uint32_t value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
	return p + 2;
}

/* A frame with the fragment; 0 if there is no such. */
static uint32_t make_frame(uint8_t *frame, const uint8_t *op, uint32_t id, uint32_t offset,
			   uint32_t len)
{
	uint8_t *p = frame, proto = op[0] & PROTO ? IPPROTO_TCP : IPPROTO_UDP;
	uint32_t tos = op[0] >> ECN_SHIFT & 3;
	uint16_t check;

	if (op[0] & EXTENSION && op[0] & IPV6)
		proto = IPPROTO_DSTOPTS;
	memset(p, 2, 12);
	p += 12;
	if (op[0] & IPV6) {
		p = put16(p, 0x86dd);
		p = put16(p, 0x6000 | tos << 4);
		p = put16(p, 0);
		p = put16(p, 8 + len);
		*p++ = IPPROTO_FRAGMENT;
		*p++ = 64;
		memset(p, 0x20, 32);
		p += 32;
		*p++ = proto;
		*p++ = 0;
		p = put16(p, offset | !!(op[0] & MORE));
		p = put16(p, 0);
		p = put16(p, id);
	} else {
		uint8_t *ip = p + 2;

		p = put16(p, 0x0800);
		p = put16(p, 0x4500 | tos);
		p = put16(p, 20 + len);
		p = put16(p, id);
		p = put16(p, (op[0] & MORE ? IP_MF : 0) | offset / 8);
		*p++ = 64;
		*p++ = proto;
		p = put16(p, 0);
		memset(p, 0x20, 8);
		p += 8;
		check = (uint16_t)~lrp_checksum_fold(lrp_checksum_sum(ip, 20));
		memcpy(ip + 10, &check, 2);
	}
	for (uint32_t i = 0; i < len; i++)
		*p++ = content(op[1], offset + i, op[0] & OTHER);
	return (uint32_t)(p - frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t frame[70000], *memory;
	uint32_t dropped[LRP_DROP_REASON_COUNT] = {0}, sent = 0, refused = 0, waiting = 0,
		 flood = 0;
	uint32_t cursor = 0, wholes = 0;
	bool changed = false; /* then contents and counts say nothing */
	struct lrp_reassembly *r;
	struct lrp_fragment_key key;
	uint64_t now = 0, due;

	if (!memory)
		memory = malloc(LRP_REASSEMBLY_SIZE_MIN);
	ENSURE(memory);
	r = lrp_reassembly_init(memory, LRP_REASSEMBLY_SIZE_MIN, 0x1234567890abcdef);
	ENSURE(r);
	for (; size >= 8; data += 8, size -= 8) {
		uint32_t offset = (uint32_t)(data[2] << 8 | data[3]) << 3 & 0xfff8;
		uint32_t len = (uint32_t)(data[4] << 8 | data[5]) % 9000 / 8 * 8 + (data[6] & 7);
		uint32_t id = data[1] + (data[0] & MANY ? ++flood << 8 : 0);
		struct lrp_packet p = {.frame = frame}, whole;
		int result;

		now += (uint64_t)(data[7] >> 3) * 1000000000;
		p.frame_len = make_frame(frame, data, id & 0xffff, offset, len);
		if (lrp_ip_input(&p) || !p.fragment)
			continue;
		if (data[0] & MANY && data[1] == 0xee) {
			/* Somebody who shares the frame changed it while it was parsed. */
			p.l4_len = (uint32_t)(data[4] << 8 | data[5]);
			p.l4_offset = (uint16_t)(data[2] << 8 | data[3]);
			p.l3_offset = data[6];
			p.options_len = data[7];
			result = lrp_reassembly_input(r, now, &p, &whole);
			ENSURE(result <= 0 ||
			       whole.frame + whole.frame_len <= memory + LRP_REASSEMBLY_SIZE_MIN);
			changed = true;
			continue;
		}
		sent++;
		result = lrp_reassembly_input(r, now, &p, &whole);
		ENSURE(result <= 1 && result >= -LRP_DROPPED(LRP_DROP_REASON_COUNT - 1));
		if (result < 0)
			refused++;
		if (result != 1)
			continue;
		wholes++;
		ENSURE(whole.frame >= memory);
		ENSURE(whole.frame + whole.frame_len <= memory + LRP_REASSEMBLY_SIZE_MIN);
		if (changed)
			continue;
		ENSURE(whole.l4_offset + whole.l4_len == whole.frame_len && !whole.fragment);
		ENSURE(whole.family == p.family && whole.l3_offset == 14);
		for (uint32_t i = 0,
			      skipped = whole.l4_offset - 14u - (p.family == AF_INET ? 20 : 40);
		     i < whole.l4_len; i++) {
			/* bit 7 is what OTHER changes */
			uint8_t want = content(data[1], skipped + i, false) & 0x7f;

			ENSURE((whole.frame[whole.l4_offset + i] & 0x7f) == want);
		}
	}
	due = lrp_reassembly_expire(r, now);
	while (lrp_reassembly_missing(r, &cursor, &key))
		ENSURE(++waiting <= 1000);
	ENSURE((due == UINT64_MAX) == (waiting == 0));
	ENSURE(lrp_reassembly_expire(r, now + LRP_REASSEMBLY_TIMEOUT_NS) == UINT64_MAX);
	if (changed)
		return 0;
	lrp_reassembly_take_dropped(r, dropped);
	/* A whole datagram took one fragment at least that was not a repetition. */
	ENSURE(sent >= refused + dropped[LRP_DROP_FRAGMENT] + dropped[LRP_DROP_MEMORY] + wholes);
	if (!wholes)
		ENSURE(sent == refused + dropped[LRP_DROP_FRAGMENT] + dropped[LRP_DROP_MEMORY]);
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* partial.c - see partial.h. */
#include "partial.h"

#include <netinet/in.h>
#include <string.h>

#include "../runtime/wire/bytes.h"
#include "../runtime/wire/checksum.h"

#define ETHER_HEADER 14u
#define TYPE_IP4     0x0800u
#define TYPE_IP6     0x86ddu
#define TYPE_VLAN    0x8100u
#define TYPE_QINQ    0x88a8u
#define VLANS	     2u
#define EXTENSIONS   6u

/* What the transport header is covered by. */
struct span {
	uint32_t start, end;
	uint64_t pseudo; /* running sum */
	uint8_t proto;
};

static bool span4(const uint8_t *frame, uint32_t length, uint32_t l3, struct span *span)
{
	const uint8_t *ip = frame + l3;
	uint32_t header, total;
	struct in_addr src, dst;

	if (length < l3 + 20)
		return false;
	header = (ip[0] & 15u) * 4;
	total = lrp_get16(ip + 2);
	if (ip[0] >> 4 != 4 || header < 20 || total < header || l3 + total > length ||
	    lrp_get16(ip + 6) & 0x3fff)
		return false;
	memcpy(&src, ip + 12, 4);
	memcpy(&dst, ip + 16, 4);
	span->start = l3 + header;
	span->end = l3 + total;
	span->proto = ip[9];
	span->pseudo = lrp_checksum_pseudo4(src, dst, span->proto, total - header);
	return true;
}

static bool span6(const uint8_t *frame, uint32_t length, uint32_t l3, struct span *span)
{
	const uint8_t *ip = frame + l3;
	uint32_t at = l3 + 40, end;
	struct in6_addr src, dst;
	uint8_t next;

	if (length < at || ip[0] >> 4 != 6)
		return false;
	end = at + lrp_get16(ip + 4);
	next = ip[6];
	for (uint32_t i = 0; i < EXTENSIONS && (next == IPPROTO_HOPOPTS || next == IPPROTO_DSTOPTS);
	     i++) {
		if (at + 8 > end || at + 8 > length)
			return false;
		next = frame[at];
		at += (frame[at + 1] + 1u) * 8;
	}
	if (end > length || at > end)
		return false;
	memcpy(&src, ip + 8, 16);
	memcpy(&dst, ip + 24, 16);
	span->start = at;
	span->end = end;
	span->proto = next;
	span->pseudo = lrp_checksum_pseudo6(&src, &dst, next, end - at);
	return true;
}

static bool span_find(const uint8_t *frame, uint32_t length, struct span *span)
{
	uint32_t l3 = ETHER_HEADER;
	uint16_t type;

	if (length < l3)
		return false;
	type = lrp_get16(frame + 12);
	for (uint32_t i = 0; i < VLANS && (type == TYPE_VLAN || type == TYPE_QINQ); i++) {
		if (length < l3 + 4)
			return false;
		type = lrp_get16(frame + l3 + 2);
		l3 += 4;
	}
	return type == TYPE_IP4	  ? span4(frame, length, l3, span)
	       : type == TYPE_IP6 ? span6(frame, length, l3, span)
				  : false;
}

bool lrp_partial_find(const uint8_t *frame, uint32_t length, struct lrp_partial *partial)
{
	struct span span;
	uint16_t field, sum;

	if (!span_find(frame, length, &span))
		return false;
	if (span.proto == IPPROTO_TCP && span.end - span.start >= 20)
		partial->offset = 16;
	else if (span.proto == IPPROTO_UDP && span.end - span.start >= 8)
		partial->offset = 6;
	else
		return false;
	partial->start = (uint16_t)span.start;
	memcpy(&field, frame + span.start + partial->offset, 2);
	sum = lrp_checksum_fold(span.pseudo);
	/* A UDP field of zero says that there is no checksum; TCP has none such. */
	return field == sum && field;
}

void lrp_partial_complete(uint8_t *frame, uint32_t length, const struct lrp_partial *partial)
{
	struct span span;
	uint16_t check;

	if (!span_find(frame, length, &span) || span.start != partial->start)
		return;
	/* The field has the pseudo-header's sum: the sum over all is the whole. */
	check = (uint16_t)~lrp_checksum_fold(
		lrp_checksum_sum(frame + span.start, span.end - span.start));
	if (!check && span.proto == IPPROTO_UDP)
		check = 0xffff;
	memcpy(frame + span.start + partial->offset, &check, 2);
}

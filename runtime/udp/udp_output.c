/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "udp_output.h"

#include <errno.h>
#include <netinet/ip.h>
#include <string.h>

#include "../wire/bytes.h"
#include "../wire/checksum.h"
#include "../wire/ip_header.h"

#define UDP_LEN	      8u
#define HEADER4_LEN   20u
#define HEADER6_LEN   40u
#define FRAGMENT6_LEN 8u
#define MTU4_MIN      68u
#define MTU6_MIN      1280u
#define UNIT_MASK     7u

_Static_assert(sizeof(struct lrp_udp_header_room) >=
		       LRP_UDP_LINK_LEN + HEADER6_LEN + FRAGMENT6_LEN + UDP_LEN,
	       "room for the longest headers");

static inline uint8_t *put16(uint8_t *p, uint32_t value)
{
	lrp_put16(p, value);
	return p + 2;
}

static inline uint8_t *udp_output_put(uint8_t *p, const void *from, size_t len)
{
	memcpy(p, from, len);
	return p + len;
}

static inline uint32_t ip_header_len(uint8_t family)
{
	return family == AF_INET ? HEADER4_LEN : HEADER6_LEN;
}

uint32_t lrp_udp_max_payload(uint8_t family)
{
	return family == AF_INET ? 65535 - HEADER4_LEN - UDP_LEN : 65535 - UDP_LEN;
}

bool lrp_udp_fits(const struct lrp_udp_datagram *d, uint32_t mtu)
{
	return (uint64_t)ip_header_len(d->family) + UDP_LEN + d->length <= mtu;
}

static int check(const struct lrp_udp_datagram *d)
{
	uint64_t there = 0;

	if (d->family != AF_INET && d->family != AF_INET6)
		return -EAFNOSUPPORT;
	if (d->no_checksum && d->family == AF_INET6)
		return -EINVAL;
	if (d->length > lrp_udp_max_payload(d->family))
		return -EMSGSIZE;
	for (uint32_t i = 0; i < d->iov_count && there < d->length; i++)
		there += d->iov[i].iov_len;
	return there < d->length ? -EINVAL : 0;
}

/* `flags_offset`: the fragment word of IPv4. */
static uint8_t *write_header4(uint8_t *p, const struct lrp_udp_datagram *d, uint32_t len,
			      uint16_t id, uint32_t flags_offset)
{
	struct lrp_ip_header h = {.tos = d->tos, .ttl = d->ttl, .proto = IPPROTO_UDP, .len = len};

	lrp_ip4_header_write(p, &h, id, flags_offset, &d->src.v4, &d->dst.v4);
	return p + HEADER4_LEN;
}

static uint8_t *write_header6(uint8_t *p, const struct lrp_udp_datagram *d, uint32_t len,
			      uint8_t next_header)
{
	struct lrp_ip_header h = {.tos = d->tos, .ttl = d->ttl, .proto = next_header, .len = len};

	lrp_ip6_header_write(p, &h, d->flow_label, &d->src.v6, &d->dst.v6);
	return p + HEADER6_LEN;
}

static uint64_t pseudo_sum(const struct lrp_udp_datagram *d)
{
	uint32_t len = UDP_LEN + d->length;

	return d->family == AF_INET
		       ? lrp_checksum_pseudo4(d->src.v4, d->dst.v4, IPPROTO_UDP, len)
		       : lrp_checksum_pseudo6(&d->src.v6, &d->dst.v6, IPPROTO_UDP, len);
}

static uint16_t full_checksum(const struct lrp_udp_datagram *d)
{
	uint64_t sum = pseudo_sum(d);
	uint16_t folded;

	sum = lrp_checksum_add(sum, (uint64_t)d->sport + d->dport +
					    htons((uint16_t)(UDP_LEN + d->length)));
	sum = lrp_checksum_add(sum, lrp_checksum_iov(d->iov, d->iov_count, d->length));
	folded = (uint16_t)~lrp_checksum_fold(sum);
	/* 0 would say that there is none [RFC 768]. */
	return folded ? folded : 0xffff;
}

static uint8_t *write_udp(uint8_t *p, const struct lrp_udp_datagram *d, uint16_t sum)
{
	p = udp_output_put(p, &d->sport, 2);
	p = udp_output_put(p, &d->dport, 2);
	p = put16(p, UDP_LEN + d->length);
	return udp_output_put(p, &sum, 2);
}

int lrp_udp_build(struct lrp_udp_header_room *room, struct lrp_udp_frame *frame,
		  const uint8_t *link, const struct lrp_udp_datagram *d, uint16_t id,
		  enum lrp_udp_checksum checksum)
{
	uint8_t *p;
	uint16_t sum = 0;
	int error = check(d);

	if (error)
		return error;
	p = udp_output_put(room->bytes, link, LRP_UDP_LINK_LEN);
	if (d->family == AF_INET)
		p = write_header4(p, d, UDP_LEN + d->length, id, d->dont_fragment ? IP_DF : 0);
	else
		p = write_header6(p, d, UDP_LEN + d->length, IPPROTO_UDP);

	frame->csum_start = frame->csum_offset = 0;
	if (!d->no_checksum && checksum == LRP_UDP_CHECKSUM_PARTIAL) {
		sum = lrp_checksum_fold(pseudo_sum(d));
		frame->csum_start = (uint16_t)(p - room->bytes);
		frame->csum_offset = 6;
	} else if (!d->no_checksum) {
		sum = full_checksum(d);
	}
	p = write_udp(p, d, sum);
	frame->header_len = (uint32_t)(p - room->bytes);
	frame->payload_offset = 0;
	frame->payload_len = d->length;
	return 0;
}

int lrp_udp_fragments_init(struct lrp_udp_fragments *f, const uint8_t *link,
			   const struct lrp_udp_datagram *d, uint32_t mtu, uint32_t id)
{
	int error = check(d);

	if (error)
		return error;
	if (lrp_udp_fits(d, mtu))
		return -EINVAL;
	if (d->dont_fragment || mtu < (d->family == AF_INET ? MTU4_MIN : MTU6_MIN))
		return -EMSGSIZE;
	f->link = link;
	f->d = d;
	f->id = id;
	f->room = mtu - ip_header_len(d->family) - (d->family == AF_INET ? 0 : FRAGMENT6_LEN);
	f->offset = 0;
	f->total = UDP_LEN + d->length;
	f->check = d->no_checksum ? 0 : full_checksum(d);
	return 0;
}

bool lrp_udp_fragments_next(struct lrp_udp_fragments *f, struct lrp_udp_header_room *room,
			    struct lrp_udp_frame *frame)
{
	const struct lrp_udp_datagram *d = f->d;
	uint32_t len = f->total - f->offset, udp_len = f->offset ? 0 : UDP_LEN, id;
	bool more = len > f->room;
	uint8_t *p;

	if (!len)
		return false;
	/* Only the last may have a length that is no multiple of 8. */
	if (more)
		len = f->room & ~UNIT_MASK;

	p = udp_output_put(room->bytes, f->link, LRP_UDP_LINK_LEN);
	if (d->family == AF_INET) {
		p = write_header4(p, d, len, (uint16_t)f->id, (more ? IP_MF : 0) | f->offset / 8);
	} else {
		id = htonl(f->id);
		p = write_header6(p, d, FRAGMENT6_LEN + len, IPPROTO_FRAGMENT);
		*p++ = IPPROTO_UDP;
		*p++ = 0;
		p = put16(p, f->offset | more);
		p = udp_output_put(p, &id, 4);
	}
	if (udp_len)
		p = write_udp(p, d, f->check);
	frame->header_len = (uint32_t)(p - room->bytes);
	frame->payload_offset = f->offset ? f->offset - UDP_LEN : 0;
	frame->payload_len = len - udp_len;
	frame->csum_start = frame->csum_offset = 0;
	f->offset += len;
	return true;
}

int lrp_udp_slice(const struct lrp_udp_datagram *d, uint32_t offset, uint32_t len,
		  struct iovec *out, uint32_t max)
{
	uint32_t count = 0;

	if (offset > d->length || len > d->length - offset)
		return -EINVAL;
	for (uint32_t i = 0; i < d->iov_count && len; i++) {
		size_t n = d->iov[i].iov_len;

		if (offset >= n) {
			offset -= (uint32_t)n;
			continue;
		}
		n -= offset;
		if (n > len)
			n = len;
		if (count == max)
			return -ENOBUFS;
		out[count].iov_base = (uint8_t *)d->iov[i].iov_base + offset;
		out[count++].iov_len = n;
		offset = 0;
		len -= (uint32_t)n;
	}
	return len ? -EINVAL : (int)count;
}

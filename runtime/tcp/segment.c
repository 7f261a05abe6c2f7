/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "segment.h"

#include "../wire/bytes.h"

#include <string.h>

#define TCP_LEN	    20u
#define WSCALE_MAX  14
#define OPT_END	    0
#define OPT_NOP	    1
#define OPT_MSS	    2
#define OPT_WSCALE  3
#define OPT_SACK_OK 4
#define OPT_SACK    5
#define OPT_TIME    8
#define LATER_MIN   256u /* payload that is worth a checksum of its own later */

/* ---- input -------------------------------------------------------------- */

static void parse_sacks(struct lrp_tcp_segment *s, const uint8_t *o, uint32_t len)
{
	if ((len - 2) % 8)
		return;
	for (s->sacks = 0, o += 2; len >= 10 && s->sacks < LRP_TCP_SACKS_MAX; o += 8, len -= 8)
		s->sack[s->sacks++] = (struct lrp_tcp_sack){lrp_get32(o), lrp_get32(o + 4)};
}

static void parse_option(struct lrp_tcp_segment *s, const uint8_t *o, uint32_t len)
{
	bool syn = s->flags & LRP_TCP_SYN;

	switch (o[0]) {
	case OPT_MSS:
		if (len == 4 && syn && lrp_get16(o + 2)) {
			s->mss = lrp_get16(o + 2);
			s->options |= LRP_TCP_HAS_MSS;
		}
		break;
	case OPT_WSCALE:
		if (len == 3 && syn) {
			s->wscale = o[2] > WSCALE_MAX ? WSCALE_MAX : o[2];
			s->options |= LRP_TCP_HAS_WSCALE;
		}
		break;
	case OPT_SACK_OK:
		if (len == 2 && syn)
			s->options |= LRP_TCP_HAS_SACK_OK;
		break;
	case OPT_SACK:
		if (!syn)
			parse_sacks(s, o, len);
		break;
	case OPT_TIME:
		if (len == 10) {
			s->ts_val = lrp_get32(o + 2);
			s->ts_ecr = lrp_get32(o + 6);
			s->options |= LRP_TCP_HAS_TIMESTAMP;
		}
		break;
	}
}

static void parse_options(struct lrp_tcp_segment *s, const uint8_t *o, uint32_t len)
{
	/* What nearly every segment has: NOP, NOP, timestamps (RFC 7323, appendix A). */
	if (__builtin_expect(len == 12 && lrp_get32(o) == (OPT_NOP << 24 | OPT_NOP << 16 |
							   OPT_TIME << 8 | 10),
			     1)) {
		s->ts_val = lrp_get32(o + 4);
		s->ts_ecr = lrp_get32(o + 8);
		s->options = LRP_TCP_HAS_TIMESTAMP;
		return;
	}
	while (len && o[0] != OPT_END) {
		if (o[0] == OPT_NOP) {
			o++;
			len--;
			continue;
		}
		if (len < 2 || o[1] < 2 || o[1] > len)
			return;
		parse_option(s, o, o[1]);
		len -= o[1];
		o += o[1];
	}
}

int lrp_tcp_segment_read(struct lrp_packet *p, const uint8_t *l4, bool partial_ok,
			 struct lrp_tcp_segment *s)
{
	uint32_t header, len = p->l4_len;
	uint64_t sum;
	bool later;

	if (__builtin_expect(p->proto != IPPROTO_TCP, 0))
		return LRP_DROPPED(LRP_DROP_PROTOCOL);
	if (__builtin_expect(len < TCP_LEN, 0))
		return LRP_DROPPED(LRP_DROP_LENGTH);
	header = (l4[12] >> 4) * 4u;
	if (__builtin_expect(header < TCP_LEN || header > len, 0))
		return LRP_DROPPED(LRP_DROP_LENGTH);

	if (p->family == AF_INET)
		sum = lrp_checksum_pseudo4(p->src.v4, p->dst.v4, IPPROTO_TCP, len);
	else
		sum = lrp_checksum_pseudo6(&p->src.v6, &p->dst.v6, IPPROTO_TCP, len);
	later = !partial_ok || htons(lrp_get16(l4 + 16)) != lrp_checksum_fold(sum);
	if (later) {
		later = len - header >= LATER_MIN;
		s->sum = lrp_checksum_add(sum, lrp_checksum_sum(l4, later ? header : len));
		if (!later && !lrp_tcp_segment_intact(s, 0))
			return LRP_DROPPED(LRP_DROP_CHECKSUM);
	}
	s->unchecked = later;

	memcpy(&p->sport, l4, 2);
	memcpy(&p->dport, l4 + 2, 2);
	p->payload = s->payload = l4 + header;
	p->payload_len = s->len = len - header;
	s->seq = lrp_get32(l4 + 4);
	s->ack = lrp_get32(l4 + 8);
	s->flags = l4[13];
	s->window = lrp_get16(l4 + 14);
	s->urgent = lrp_get16(l4 + 18);
	s->ecn = p->tos & 3;
	s->options = s->sacks = 0;
	if (header > TCP_LEN)
		parse_options(s, l4 + TCP_LEN, header - TCP_LEN);
	return 0;
}

int lrp_tcp_segment_check(struct lrp_tcp_segment *s)
{
	if (s->unchecked && !lrp_tcp_segment_intact(s, lrp_checksum_sum(s->payload, s->len)))
		return LRP_DROPPED(LRP_DROP_CHECKSUM);
	s->unchecked = false;
	return 0;
}

int lrp_tcp_segment_parse(struct lrp_packet *p, const uint8_t *l4, bool partial_ok,
			  struct lrp_tcp_segment *s)
{
	int dropped = lrp_tcp_segment_read(p, l4, partial_ok, s);

	return dropped ? dropped : lrp_tcp_segment_check(s);
}

/* ---- output ------------------------------------------------------------- */

/* Sum of `len` bytes from `offset` on of what two pieces hold. */
static uint64_t sum_payload(const struct lrp_tcp_tx *tx, uint32_t offset, uint32_t len)
{
	struct iovec piece[2];
	uint32_t count = 0;

	for (uint32_t i = 0; i < 2 && len; i++) {
		size_t here = tx->payload[i].iov_len;

		if (offset >= here) {
			offset -= (uint32_t)here;
			continue;
		}
		here -= offset;
		if (here > len)
			here = len;
		piece[count++] = (struct iovec){(uint8_t *)tx->payload[i].iov_base + offset, here};
		offset = 0;
		len -= (uint32_t)here;
	}
	return count == 1 ? lrp_checksum_sum(piece[0].iov_base, piece[0].iov_len)
			  : lrp_checksum_iov(piece, count, SIZE_MAX);
}

uint32_t lrp_tcp_build(uint8_t *header, const struct lrp_tcp_flow *flow,
		       const struct lrp_tcp_tx *tx, uint32_t offset, uint32_t len,
		       enum lrp_tcp_checksum checksum)
{
	uint32_t header_len = TCP_LEN + tx->options_len, all = header_len + len;
	uint8_t flags = tx->flags;
	uint64_t sum;
	uint16_t check;

	if (offset)
		flags &= (uint8_t)~LRP_TCP_CWR;
	if (offset + len < tx->payload_len)
		flags &= (uint8_t) ~(LRP_TCP_PSH | LRP_TCP_FIN);
	memcpy(header, &flow->lport, 2);
	memcpy(header + 2, &flow->rport, 2);
	lrp_put32(header + 4, tx->seq + offset);
	lrp_put32(header + 8, tx->ack);
	header[12] = (uint8_t)(header_len / 4 << 4);
	header[13] = flags;
	lrp_put16(header + 14, tx->window);
	memset(header + 16, 0, 2);
	lrp_put16(header + 18, tx->urgent);
	memcpy(header + TCP_LEN, tx->options, tx->options_len);

	if (flow->family == AF_INET)
		sum = lrp_checksum_pseudo4(flow->laddr.v4, flow->raddr.v4, IPPROTO_TCP, all);
	else
		sum = lrp_checksum_pseudo6(&flow->laddr.v6, &flow->raddr.v6, IPPROTO_TCP, all);
	if (checksum == LRP_TCP_CHECKSUM_PARTIAL) {
		check = lrp_checksum_fold(sum);
	} else {
		sum = lrp_checksum_add(sum, lrp_checksum_short(header, header_len));
		if (len)
			sum = lrp_checksum_add(sum, sum_payload(tx, offset, len));
		check = (uint16_t)~lrp_checksum_fold(sum);
	}
	memcpy(header + 16, &check, 2);
	return header_len;
}

bool lrp_tcp_reset_for(const struct lrp_tcp_segment *s, struct lrp_tcp_tx *tx)
{
	if (s->flags & LRP_TCP_RST)
		return false;
	memset(tx, 0, sizeof(*tx));
	if (s->flags & LRP_TCP_ACK) {
		tx->seq = s->ack;
		tx->flags = LRP_TCP_RST;
	} else {
		tx->ack = s->seq + lrp_tcp_seg_len(s);
		tx->flags = LRP_TCP_RST | LRP_TCP_ACK;
	}
	return true;
}

uint32_t lrp_tcp_put_mss(uint8_t *o, uint16_t mss)
{
	o[0] = OPT_MSS;
	o[1] = 4;
	lrp_put16(o + 2, mss);
	return 4;
}

uint32_t lrp_tcp_put_wscale(uint8_t *o, uint8_t shift)
{
	o[0] = OPT_NOP;
	o[1] = OPT_WSCALE;
	o[2] = 3;
	o[3] = shift;
	return 4;
}

uint32_t lrp_tcp_put_sack_ok(uint8_t *o)
{
	o[0] = o[1] = OPT_NOP;
	o[2] = OPT_SACK_OK;
	o[3] = 2;
	return 4;
}

uint32_t lrp_tcp_put_timestamp(uint8_t *o, uint32_t val, uint32_t ecr)
{
	o[0] = o[1] = OPT_NOP;
	o[2] = OPT_TIME;
	o[3] = 10;
	lrp_put32(o + 4, val);
	lrp_put32(o + 8, ecr);
	return 12;
}

uint32_t lrp_tcp_put_sacks(uint8_t *o, const struct lrp_tcp_sack *sack, uint32_t count)
{
	if (!count)
		return 0;
	o[0] = o[1] = OPT_NOP;
	o[2] = OPT_SACK;
	o[3] = (uint8_t)(2 + 8 * count);
	for (uint32_t i = 0; i < count; i++) {
		lrp_put32(o + 4 + 8 * i, sack[i].start);
		lrp_put32(o + 8 + 8 * i, sack[i].end);
	}
	return 4 + 8 * count;
}

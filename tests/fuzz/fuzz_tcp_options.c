/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* First byte: bit 0: IPv6; bit 1: partial checksums are accepted; bit 2: the checksum is made
 * right, so that the fuzzer gets behind it. The rest: TCP header, options, payload. */
#include <stdlib.h>
#include <string.h>

#include "runtime/tcp/segment.h"
#include "runtime/wire/checksum.h"

#define ENSURE(condition)                                                                          \
	do {                                                                                       \
		if (!(condition))                                                                  \
			abort();                                                                   \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lrp_packet p = {.family = AF_INET, .proto = IPPROTO_TCP};
	struct lrp_tcp_segment s;
	uint8_t *l4;
	int result;

	if (!size || size > 65536)
		return 0;
	p.l4_len = (uint32_t)size - 1;
	if (data[0] & 1)
		p.family = AF_INET6;
	l4 = malloc(size - 1 ? size - 1 : 1);
	ENSURE(l4);
	memcpy(l4, data + 1, size - 1);
	if (data[0] & 4 && size >= 19) {
		uint64_t sum =
			data[0] & 1
				? lrp_checksum_pseudo6(&p.src.v6, &p.dst.v6, IPPROTO_TCP, p.l4_len)
				: lrp_checksum_pseudo4(p.src.v4, p.dst.v4, IPPROTO_TCP, p.l4_len);
		uint16_t check;

		memset(l4 + 16, 0, 2);
		check = (uint16_t)~lrp_checksum_fold(
			lrp_checksum_add(sum, lrp_checksum_sum(l4, p.l4_len)));
		memcpy(l4 + 16, &check, 2);
	}
	memset(&s, 0xee, sizeof(s));
	result = lrp_tcp_segment_parse(&p, l4, data[0] & 2, &s);
	ENSURE(result >= 0 && result <= LRP_DROPPED(LRP_DROP_REASON_COUNT - 1));
	if (!result) {
		ENSURE(s.payload >= l4 + 20 && s.payload <= l4 + 60);
		ENSURE(s.payload + s.len == l4 + p.l4_len);
		ENSURE(p.payload == s.payload && p.payload_len == s.len);
		ENSURE(s.sacks <= LRP_TCP_SACKS_MAX);
		ENSURE(!(s.options & ~15));
		ENSURE(!(s.options & LRP_TCP_HAS_WSCALE) || s.wscale <= 14);
		ENSURE(!(s.options & LRP_TCP_HAS_MSS) || s.mss);
		ENSURE(s.flags & LRP_TCP_SYN || !(s.options & ~LRP_TCP_HAS_TIMESTAMP));
	}
	free(l4);
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* First byte: bit 0: IPv6; bit 1: the checksum is made right; bit 2: partial ones are accepted. The
 * rest is the ICMP message. */
#include <stdlib.h>
#include <string.h>

#include "runtime/ip/icmp_input.h"
#include "runtime/wire/checksum.h"

#define ENSURE(condition)                                                                          \
	do {                                                                                       \
		if (!(condition))                                                                  \
			abort();                                                                   \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lrp_icmp_error e;
	struct lrp_packet p;
	uint8_t *l4;
	int result;

	if (!size || size > 70000)
		return 0;
	memset(&p, 0, sizeof(p));
	p.family = data[0] & 1 ? AF_INET6 : AF_INET;
	p.proto = data[0] & 1 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
	p.l4_len = (uint32_t)(size - 1);
	memset(&p.src, 0x20, sizeof(p.src));
	memset(&p.dst, 0x21, sizeof(p.dst));
	l4 = malloc(p.l4_len ? p.l4_len : 1);
	ENSURE(l4);
	memcpy(l4, data + 1, p.l4_len);
	if (data[0] & 2 && p.l4_len >= 4) {
		uint64_t sum = data[0] & 1 ? lrp_checksum_pseudo6(&p.src.v6, &p.dst.v6,
								  IPPROTO_ICMPV6, p.l4_len)
					   : 0;
		uint16_t check;

		memset(l4 + 2, 0, 2);
		sum = lrp_checksum_add(sum, lrp_checksum_sum(l4, p.l4_len));
		check = (uint16_t)~lrp_checksum_fold(sum);
		memcpy(l4 + 2, &check, 2);
	}
	result = lrp_icmp_input(&p, l4, data[0] & 4, &e);
	ENSURE(result >= 0 && result <= LRP_DROPPED(LRP_DROP_REASON_COUNT - 1));
	if (!result) {
		ENSURE(e.error > 0 && e.error < 200);
		ENSURE(e.proto == IPPROTO_UDP || e.proto == IPPROTO_TCP);
		ENSURE(e.l4 >= l4 + 8 + (p.family == AF_INET ? 20 : 40));
		ENSURE(e.payload == e.l4 + 8);
		ENSURE(e.payload_len <= (size_t)(l4 + p.l4_len - e.payload));
		ENSURE(e.family == p.family && e.type == l4[0] && e.code == l4[1]);
	}
	free(l4);
	return 0;
}

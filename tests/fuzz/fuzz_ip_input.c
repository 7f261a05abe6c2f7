/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* First byte: how the rest, a frame, is treated. Bit 0: the IPv4 header checksum is made right, so
 * that the fuzzer gets behind it; bit 1: partial checksums are accepted. */
#include <stdlib.h>
#include <string.h>

#include "runtime/ip/ip_input.h"
#include "runtime/udp/udp_input.h"
#include "runtime/wire/checksum.h"

#define ENSURE(condition)                                                                          \
	do {                                                                                       \
		if (!(condition))                                                                  \
			abort();                                                                   \
	} while (0)

static void mend_header(uint8_t *frame, size_t len)
{
	size_t l3 = 14;
	uint16_t check;

	while (l3 < 22 && l3 <= len && (frame[l3 - 2] == 0x81 || frame[l3 - 2] == 0x88))
		l3 += 4;
	if (len < l3 + 20 || frame[l3] >> 4 != 4 || len < l3 + (frame[l3] & 15) * 4u)
		return;
	memset(frame + l3 + 10, 0, 2);
	check = (uint16_t)~lrp_checksum_fold(lrp_checksum_sum(frame + l3, (frame[l3] & 15) * 4u));
	memcpy(frame + l3 + 10, &check, 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lrp_packet p;
	uint8_t *frame;
	int result;

	if (!size)
		return 0;
	frame = malloc(size);
	ENSURE(frame);
	memcpy(frame, data + 1, size - 1);
	if (data[0] & 1)
		mend_header(frame, size - 1);
	/* Moved to the end of an allocation of just its length. */
	{
		uint8_t *exact = malloc(size - 1 ? size - 1 : 1);

		ENSURE(exact);
		memcpy(exact, frame, size - 1);
		free(frame);
		frame = exact;
	}
	memset(&p, 0xee, sizeof(p));
	p.frame = frame;
	p.frame_len = (uint32_t)(size - 1);
	result = lrp_ip_input(&p);
	ENSURE(result >= 0 && result <= LRP_DROPPED(LRP_DROP_REASON_COUNT - 1));
	if (!result) {
		ENSURE(p.family == AF_INET || p.family == AF_INET6);
		ENSURE(p.l3_offset >= 14 && p.l3_offset <= 22);
		ENSURE(p.l4_offset >= p.l3_offset + 20 + p.options_len);
		ENSURE((size_t)p.l4_offset + p.l4_len <= size - 1);
		ENSURE(p.fragment == (p.more_fragments || p.fragment_offset));
		if (!p.fragment && !lrp_udp_input(&p, frame + p.l4_offset, data[0] & 2)) {
			ENSURE(p.payload == frame + p.l4_offset + 8);
			ENSURE(p.payload_len + 8 <= p.l4_len);
		}
	}
	free(frame);
	return 0;
}

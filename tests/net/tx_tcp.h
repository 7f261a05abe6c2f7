/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tx_tcp.h - what the tests of sending TCP share: a stream, its segments, and the receiving side's own
 * parsers, which check every length and checksum of what is captured.
 */
#ifndef LRP_TX_TCP_H
#define LRP_TX_TCP_H

#include "../../runtime/ip/ip_input.h"
#include "../../runtime/tx/tcp_send.h"
#include "tx_bed.h"

#define SEQ 0xffffe000u /* runs go over 2^32 */

static uint8_t stream[LRP_TX_RUN_MAX + 1];
static int capture;

static inline struct lrp_tcp_flow flow_to(int family, const char *dst)
{
	struct lrp_tcp_flow flow = {
		.family = (uint8_t)family, .lport = htons(SPORT), .rport = htons(DPORT)};

	flow.laddr = address(family, family == AF_INET ? "198.18.1.1" : "2001:db8:1::1");
	flow.raddr = address(family, dst);
	return flow;
}

static inline struct lrp_tcp_flow flow_of(int family)
{
	return flow_to(family, family == AF_INET ? "198.18.1.2" : "2001:db8:1::2");
}

/* `len` bytes of the stream that wrap around the end of the send buffer after a third. */
static inline struct lrp_tcp_tx segment(uint8_t flags, uint32_t len, uint16_t mss)
{
	struct lrp_tcp_tx tx = {.seq = SEQ,
				.ack = 99,
				.window = 501,
				.flags = flags,
				.mss = mss,
				.payload_len = len};

	tx.payload[0] = (struct iovec){stream, len / 3};
	tx.payload[1] = (struct iovec){stream + len / 3, len - len / 3};
	tx.options_len = (uint8_t)lrp_tcp_put_timestamp(tx.options, 0x11223344, 0x55667788);
	return tx;
}

/* Until frames go over the packet socket. */
static inline void warm(struct lrp_tx_dest *dest, const struct lrp_tx_tcp *how)
{
	struct lrp_tcp_tx tx = segment(LRP_TCP_ACK, 0, 0);

	for (int i = 0; i < 300; i++) {
		assert_int_equal(lrp_tx_send_tcp(dest, how, &tx, 1, 0), 1);
		if (dest->ifindex)
			return;
		usleep(5000);
	}
	fail_msg("the destination never became ours");
}

/* Parses a captured frame; all of it must be right. */
static inline struct lrp_tcp_segment parse(const struct frames *frames, uint32_t i,
					   struct lrp_packet *p)
{
	struct lrp_tcp_segment s;

	assert_true(i < frames->count);
	*p = (struct lrp_packet){.frame = frames->bytes[i], .frame_len = frames->length[i]};
	assert_int_equal(lrp_ip_input(p), 0);
	assert_int_equal(lrp_tcp_segment_parse(p, p->frame + p->l4_offset, false, &s), 0);
	return s;
}

static inline uint32_t arrived(int wait_ms)
{
	struct frames frames;
	uint32_t n = 0;

	for (;;) {
		capture_take(capture, &frames, wait_ms);
		if (!frames.count)
			return n;
		n += frames.count;
		frames_free(&frames);
	}
}

static inline int setup(void **state)
{
	(void)state;
	bed_sh(BED_NET);
	/* Full checksums and single segments, as on a wire. */
	bed_sh("ethtool -K s0 tx off tso off gso off >/dev/null");
	for (size_t i = 0; i < sizeof(stream); i++)
		stream[i] = (uint8_t)(i * 31 + (i >> 8) * 17 + 5);
	wanted_proto = IPPROTO_TCP;
	/* Nobody there answers with resets. */
	bed_sh("ip netns exec client ip rule add iif c0 prohibit 2>/dev/null; true");
	capture = capture_open("client", "c0");
	bed_sh("ip netns exec client ethtool -K c0 gro off >/dev/null");
	lrp_tx_epoch_from(&epoch);
	if (!lrp_tx_ready()) {
		fprintf(stderr, "no packet socket: CAP_NET_RAW is missing\n");
		exit(77);
	}
	return 0;
}

#endif

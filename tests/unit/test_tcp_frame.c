/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "runtime/ip/ip_input.h"
#include "runtime/tx/tcp_frame.h"
#include "tcp.h"

#define TCP_AT(family) (LRP_TCP_FRAME_IP + ((family) == AF_INET ? 20u : 40u))

static uint8_t stream[5000], link_header[14];
static uint8_t packet[LRP_TCP_FRAME_MAX + sizeof(stream)] __attribute__((aligned(8)));

/* `len` bytes that wrap around the end of a buffer after `first`. */
static struct lrp_tcp_tx data(uint32_t first, uint32_t len, uint16_t mss)
{
	struct lrp_tcp_tx tx = {
		.seq = 0xfffffff0u,
		.ack = 77,
		.window = 1234,
		.flags = LRP_TCP_ACK | LRP_TCP_PSH,
		.payload_len = len,
		.mss = mss,
		.payload = {{stream + 1000, first}, {stream, len - first}},
	};

	tx.options_len = (uint8_t)lrp_tcp_put_timestamp(tx.options, 5, 6);
	return tx;
}

static struct lrp_tcp_frame frame_for(const struct lrp_tcp_flow *flow)
{
	link_header[12] = flow->family == AF_INET ? 0x08 : 0x86;
	link_header[13] = flow->family == AF_INET ? 0x00 : 0xdd;
	return (struct lrp_tcp_frame){.flow = flow,
				      .link = link_header,
				      .flow_label = htonl(0x12345),
				      .id = 0xabcd,
				      .ttl = 61,
				      .tos = 0x1b};
}

static uint32_t build(const struct lrp_tcp_frame *f, const struct lrp_tcp_tx *tx, uint32_t offset,
		      uint32_t len, enum lrp_tcp_checksum checksum)
{
	uint32_t at = lrp_tcp_frame(packet, f, tx, offset, len, checksum);
	struct iovec iov[2];
	uint32_t n = lrp_tcp_frame_payload(tx, offset, len, iov);

	for (uint32_t i = 0; i < n; i++) {
		memcpy(packet + at, iov[i].iov_base, iov[i].iov_len);
		at += (uint32_t)iov[i].iov_len;
	}
	return at;
}

/* What is built is what the receiving side reads. */
static void test_round_trip(void **state)
{
	(void)state;
	for (int family = AF_INET; family; family = family == AF_INET ? AF_INET6 : 0)
		for (uint32_t len = 0; len <= 1448; len += 181)
			for (uint32_t first = 0; first <= len; first += 67) {
				struct lrp_tcp_flow flow = flow_of(family, 3);
				struct lrp_tcp_frame f = frame_for(&flow);
				struct lrp_tcp_tx tx = data(first, len, 1448);
				struct lrp_packet p = {.frame = packet + LRP_TCP_FRAME_VNET};
				struct lrp_tcp_segment s;

				tx.ecn = 2;
				p.frame_len = build(&f, &tx, 0, len, LRP_TCP_CHECKSUM_FULL) -
					      LRP_TCP_FRAME_VNET;
				assert_int_equal(lrp_ip_input(&p), 0);
				assert_int_equal(
					lrp_tcp_segment_parse(&p, p.frame + p.l4_offset, false, &s),
					0);
				assert_int_equal(p.ttl, 61);
				assert_int_equal(p.tos, 0x1a); /* ECN is the segment's */
				assert_int_equal(s.seq, tx.seq);
				assert_int_equal(s.ack, 77);
				assert_int_equal(s.window, 1234);
				assert_int_equal(s.ts_val, 5);
				assert_int_equal(s.len, len);
				assert_memory_equal(s.payload, stream + 1000, first);
				assert_memory_equal(s.payload + first, stream, len - first);
				assert_int_equal(p.sport, flow.lport);
				assert_memory_equal(&p.src, &flow.laddr,
						    family == AF_INET ? 4 : 16);
				if (family == AF_INET)
					assert_int_equal(packet[LRP_TCP_FRAME_IP + 6],
							 0x40); /* DF */
				else
					assert_int_equal(p.flow_label & htonl(0xfffff),
							 htonl(0x12345));
			}
}

static struct virtio_net_hdr vnet(void)
{
	struct virtio_net_hdr v;

	memcpy(&v, packet, sizeof(v));
	return v;
}

static void test_offload_request(void **state)
{
	(void)state;
	for (int family = AF_INET; family; family = family == AF_INET ? AF_INET6 : 0) {
		struct lrp_tcp_flow flow = flow_of(family, 3);
		struct lrp_tcp_frame f = frame_for(&flow);
		struct lrp_tcp_tx tx = data(100, 3000, 1000);
		uint8_t gso =
			family == AF_INET ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
		uint32_t headers = TCP_AT(family) - LRP_TCP_FRAME_VNET + 32;

		build(&f, &tx, 0, 3000, LRP_TCP_CHECKSUM_PARTIAL);
		assert_int_equal(vnet().flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
		assert_int_equal(vnet().gso_type, gso);
		assert_int_equal(vnet().gso_size, 1000);
		assert_int_equal(vnet().hdr_len, headers);
		assert_int_equal(vnet().csum_start, headers - 32);
		assert_int_equal(vnet().csum_offset, 16);
		tx.flags |= LRP_TCP_CWR;
		build(&f, &tx, 0, 3000, LRP_TCP_CHECKSUM_PARTIAL);
		assert_int_equal(vnet().gso_type, gso | VIRTIO_NET_HDR_GSO_ECN);
		/* Exactly one segment is none. */
		tx.payload_len = tx.mss = 1000;
		build(&f, &tx, 0, 1000, LRP_TCP_CHECKSUM_PARTIAL);
		assert_int_equal(vnet().gso_type, VIRTIO_NET_HDR_GSO_NONE);
		assert_int_equal(vnet().gso_size, 0);
		/* Nothing is asked for with a checksum that is complete. */
		build(&f, &tx, 0, 1000, LRP_TCP_CHECKSUM_FULL);
		assert_int_equal(vnet().flags, 0);
		assert_int_equal(vnet().csum_start, 0);
	}
}

static void test_need(void **state)
{
	struct lrp_tcp_flow four = flow_of(AF_INET, 1), six = flow_of(AF_INET6, 1);
	struct lrp_tcp_tx tx = data(0, 3000, 1448);

	(void)state;
	assert_int_equal(lrp_tcp_frame_need(&four, &tx), 1500);
	assert_int_equal(lrp_tcp_frame_need(&six, &tx), 1520);
	tx.payload_len = 10;
	assert_int_equal(lrp_tcp_frame_need(&four, &tx), 62);
	tx.mss = 0;
	tx.payload_len = 5000;
	assert_int_equal(lrp_tcp_frame_need(&four, &tx), 5052);
}

static void test_payload_pieces(void **state)
{
	struct lrp_tcp_tx tx = data(100, 300, 0);
	struct iovec iov[2];

	(void)state;
	assert_int_equal(lrp_tcp_frame_payload(&tx, 0, 0, iov), 0);
	assert_int_equal(lrp_tcp_frame_payload(&tx, 0, 100, iov), 1);
	assert_int_equal(lrp_tcp_frame_payload(&tx, 99, 2, iov), 2);
	assert_int_equal(iov[0].iov_len, 1);
	assert_ptr_equal(iov[1].iov_base, stream);
	assert_int_equal(lrp_tcp_frame_payload(&tx, 100, 200, iov), 1);
	assert_ptr_equal(iov[0].iov_base, stream);
	assert_int_equal(iov[0].iov_len, 200);
	assert_int_equal(lrp_tcp_frame_payload(&tx, 250, 50, iov), 1);
	assert_ptr_equal(iov[0].iov_base, stream + 150);
}

/* The frame with the FIN added is the one that would have been built with it. */
static void add_fin(int family)
{
	static uint8_t with[sizeof(packet)] __attribute__((aligned(8))), before[sizeof(packet)];
	struct lrp_tcp_flow flow = flow_of(family, 3), other = flow;
	struct lrp_tcp_frame f = frame_for(&flow);

	for (uint32_t len = 0; len < 200; len += 7) {
		struct lrp_tcp_tx tx = data(len / 2, len, 0), fin = tx, wrong;
		uint32_t n;

		fin.payload_len = 0;
		fin.seq += len;
		fin.flags = LRP_TCP_ACK | LRP_TCP_FIN;
		tx.flags |= LRP_TCP_FIN;
		n = build(&f, &tx, 0, len, LRP_TCP_CHECKSUM_FULL);
		memcpy(with, packet, n);
		tx.flags &= (uint8_t)~LRP_TCP_FIN;
		assert_int_equal(build(&f, &tx, 0, len, LRP_TCP_CHECKSUM_FULL), n);
		memcpy(before, packet, n);
		wrong = fin;
		wrong.seq++;
		assert_false(lrp_tcp_frame_add_fin(packet, n, &flow, &wrong));
		wrong = fin;
		wrong.ack++;
		assert_false(lrp_tcp_frame_add_fin(packet, n, &flow, &wrong));
		wrong = fin;
		wrong.window++;
		assert_false(lrp_tcp_frame_add_fin(packet, n, &flow, &wrong));
		wrong = fin;
		wrong.flags |= LRP_TCP_RST;
		assert_false(lrp_tcp_frame_add_fin(packet, n, &flow, &wrong));
		wrong = fin;
		wrong.flags = LRP_TCP_ACK;
		assert_false(lrp_tcp_frame_add_fin(packet, n, &flow, &wrong));
		wrong = fin;
		wrong.payload_len = 1;
		assert_false(lrp_tcp_frame_add_fin(packet, n, &flow, &wrong));
		other.rport ^= 1;
		assert_false(lrp_tcp_frame_add_fin(packet, n, &other, &fin));
		other = flow;
		((uint8_t *)&other.raddr)[3] ^= 1;
		assert_false(lrp_tcp_frame_add_fin(packet, n, &other, &fin));
		other = flow;
		assert_memory_equal(packet, before, n);
		assert_true(lrp_tcp_frame_add_fin(packet, n, &flow, &fin));
		assert_memory_equal(packet, with, n);
		assert_false(lrp_tcp_frame_add_fin(packet, n, &flow, &fin));
	}
}

static void test_add_fin(void **state)
{
	(void)state;
	add_fin(AF_INET);
	add_fin(AF_INET6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip), cmocka_unit_test(test_offload_request),
		cmocka_unit_test(test_need),	   cmocka_unit_test(test_payload_pieces),
		cmocka_unit_test(test_add_fin),
	};

	for (size_t i = 0; i < sizeof(stream); i++)
		stream[i] = (uint8_t)(i * 31 + (i >> 8) * 17 + 5);
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}

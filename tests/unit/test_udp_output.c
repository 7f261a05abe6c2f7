/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include "packets.h"
#include "runtime/ip/ip_input.h"
#include "runtime/ip/reassembly.h"
#include "runtime/udp/udp_input.h"
#include "runtime/udp/udp_output.h"

#define for_each_family(f) for (int f = AF_INET; f <= AF_INET6; f += AF_INET6 - AF_INET)

static const uint8_t link4[14] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00};
static const uint8_t link6[14] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x86, 0xdd};
static uint8_t payload[66000];
static struct iovec whole_iov = {payload, sizeof(payload)};

static struct lrp_udp_datagram datagram_of(int family, uint32_t len)
{
	struct lrp_udp_datagram d = {
		.family = (uint8_t)family,
		.ttl = 63,
		.tos = 0x2e << 2,
		.flow_label = htonl(0xfffabcde),
		.sport = htons(1000),
		.dport = htons(2000),
		.iov = &whole_iov,
		.iov_count = 1,
		.length = len,
	};

	memcpy(&d.src, family == AF_INET ? addr4[0] : addr6[0], family == AF_INET ? 4 : 16);
	memcpy(&d.dst, family == AF_INET ? addr4[1] : addr6[1], family == AF_INET ? 4 : 16);
	return d;
}

static const uint8_t *link_of(int family)
{
	return family == AF_INET ? link4 : link6;
}

/* The frame as a device would send it. */
static uint32_t gather(uint8_t *out, const struct lrp_udp_header_room *room,
		       const struct lrp_udp_frame *f, const struct lrp_udp_datagram *d)
{
	struct iovec iov[64];
	int n = lrp_udp_slice(d, f->payload_offset, f->payload_len, iov, 64);
	uint32_t at = f->header_len;

	assert_true(n >= 0);
	assert_true(f->header_len <= sizeof(room->bytes));
	memcpy(out, room->bytes, f->header_len);
	for (int i = 0; i < n; at += (uint32_t)iov[i++].iov_len)
		memcpy(out + at, iov[i].iov_base, iov[i].iov_len);
	assert_int_equal(at, f->header_len + f->payload_len);
	return at;
}

static void header_bytes(void **state)
{
	static const uint8_t want4[] = {
		2,    0,    0,	 0,  0,	   2,	 2,    0,    0,	   0,	 0, 1,	0x08, 0x00,
		0x45, 0xb8, 0,	 30, 0xbe, 0xef, 0x40, 0,    63,   17,	 0, 0,	198,  18,
		0,    1,    198, 18, 0,	   2,	 0x03, 0xe8, 0x07, 0xd0, 0, 10, 0,    0,
	};
	static const uint8_t want6[] = {
		2,    0,    0, 0,  0,  2,  2,	 0,    0,    0,	   0, 1,  0x86, 0xdd, 0x6b, 0x8a,
		0xbc, 0xde, 0, 10, 17, 63, 0x20, 0x01, 0x0d, 0xb8, 0, 0,  0,	0,    0,    0,
		0,    0,    0, 0,  0,  1,  0x20, 0x01, 0x0d, 0xb8, 0, 0,  0,	0,    0,    0,
		0,    0,    0, 0,  0,  2,  0x03, 0xe8, 0x07, 0xd0, 0, 10, 0,	0,
	};

	(void)state;
	payload[0] = 'h';
	payload[1] = 'i';
	for_each_family (family) {
		struct lrp_udp_datagram d = datagram_of(family, 2);
		struct lrp_udp_header_room room;
		struct lrp_udp_frame f;
		uint8_t want[sizeof(want6)];
		uint32_t len = family == AF_INET ? sizeof(want4) : sizeof(want6);

		d.dont_fragment = true;
		memcpy(want, family == AF_INET ? want4 : want6, len);
		if (family == AF_INET)
			w16(want + 24, ~naive_sum(0, want + 14, 20));
		w16(want + len - 2, naive_pseudo(family, 17, 10));
		assert_int_equal(lrp_udp_build(&room, &f, link_of(family), &d, 0xbeef,
					       LRP_UDP_CHECKSUM_PARTIAL),
				 0);
		assert_int_equal(f.header_len, len);
		assert_memory_equal(room.bytes, want, len);
		assert_int_equal(f.csum_start, len - 8);
		assert_int_equal(f.csum_offset, 6);
		assert_int_equal(f.payload_offset, 0);
		assert_int_equal(f.payload_len, 2);

		w16(want + len - 2, 0);
		w16(want + len - 2,
		    ~naive_sum(naive_sum(naive_pseudo(family, 17, 10), want + len - 8, 8), payload,
			       2));
		assert_int_equal(lrp_udp_build(&room, &f, link_of(family), &d, 0xbeef,
					       LRP_UDP_CHECKSUM_FULL),
				 0);
		assert_memory_equal(room.bytes, want, len);
		assert_int_equal(f.csum_start, 0);
		assert_int_equal(f.csum_offset, 0);
	}
}

/* What is built our own input accepts, and gives back as it was. */
static void round_trip(void **state)
{
	static uint8_t frame[PACKET_MAX];

	(void)state;
	for_each_family (family) {
		for (uint32_t n = 0; n < 9000; n += n < 200 ? 1 : 101) {
			for (int checksum = 0; checksum < 3; checksum++) {
				struct lrp_udp_datagram d = datagram_of(family, n);
				struct lrp_udp_header_room room;
				struct lrp_udp_frame f;
				struct lrp_packet p = {.frame = frame};

				d.no_checksum = checksum == 2 && family == AF_INET;
				rnd_fill(payload, n < 200 ? n : 200);
				assert_int_equal(
					lrp_udp_build(&room, &f, link_of(family), &d, 1,
						      (enum lrp_udp_checksum)(checksum & 1)),
					0);
				p.frame_len = gather(frame, &room, &f, &d);
				if (f.csum_start) {
					/* the device's part: sum from csum_start on, complement */
					uint32_t sum = naive_sum(0, frame + f.csum_start,
								 p.frame_len - f.csum_start);

					w16(frame + f.csum_start + f.csum_offset,
					    (uint16_t)~sum ? ~sum : 0xffff);
				}
				assert_int_equal(lrp_ip_input(&p), 0);
				assert_int_equal(lrp_udp_input(&p, frame + p.l4_offset, false), 0);
				assert_int_equal(p.payload_len, n);
				assert_memory_equal(p.payload, payload, n);
				assert_int_equal(p.tos, 0xb8);
				assert_int_equal(p.ttl, 63);
				assert_int_equal(p.sport, d.sport);
				assert_int_equal(p.dport, d.dport);
				if (d.no_checksum)
					assert_int_equal(
						frame[p.l4_offset + 6] | frame[p.l4_offset + 7], 0);
			}
		}
	}
}

/* 0 means "no checksum": a sum of 0 goes out as 0xffff [RFC 768]. */
static void never_zero(void **state)
{
	(void)state;
	for_each_family (family) {
		struct lrp_udp_datagram d = datagram_of(family, 2);
		struct lrp_udp_header_room room;
		struct lrp_udp_frame f;

		payload[0] = payload[1] = 0;
		assert_int_equal(
			lrp_udp_build(&room, &f, link_of(family), &d, 1, LRP_UDP_CHECKSUM_FULL), 0);
		memcpy(payload, room.bytes + f.header_len - 2, 2);
		assert_int_equal(
			lrp_udp_build(&room, &f, link_of(family), &d, 1, LRP_UDP_CHECKSUM_FULL), 0);
		assert_memory_equal(room.bytes + f.header_len - 2, "\xff\xff", 2);
	}
}

static void limits(void **state)
{
	struct lrp_udp_header_room room;
	struct lrp_udp_fragments fragments;
	struct lrp_udp_frame f;

	(void)state;
	assert_int_equal(lrp_udp_max_payload(AF_INET), 65507);
	assert_int_equal(lrp_udp_max_payload(AF_INET6), 65527);
	for_each_family (family) {
		uint32_t max = lrp_udp_max_payload((uint8_t)family);
		uint32_t headers = family == AF_INET ? 28 : 48;
		struct lrp_udp_datagram d = datagram_of(family, max);

		assert_int_equal(
			lrp_udp_build(&room, &f, link_of(family), &d, 1, LRP_UDP_CHECKSUM_FULL), 0);
		d.length = max + 1;
		assert_int_equal(
			lrp_udp_build(&room, &f, link_of(family), &d, 1, LRP_UDP_CHECKSUM_FULL),
			-EMSGSIZE);
		assert_int_equal(lrp_udp_fragments_init(&fragments, link_of(family), &d, 1500, 1),
				 -EMSGSIZE);
		d.length = UINT32_MAX;
		assert_false(lrp_udp_fits(&d, 1500));
		assert_int_equal(
			lrp_udp_build(&room, &f, link_of(family), &d, 1, LRP_UDP_CHECKSUM_FULL),
			-EMSGSIZE);

		d.length = 1500 - headers;
		assert_true(lrp_udp_fits(&d, 1500));
		assert_false(lrp_udp_fits(&d, 1499));
		assert_int_equal(lrp_udp_fragments_init(&fragments, link_of(family), &d, 1500, 1),
				 -EINVAL);
		d.length++;
		assert_false(lrp_udp_fits(&d, 1500));
		assert_int_equal(lrp_udp_fragments_init(&fragments, link_of(family), &d, 1500, 1),
				 0);
		d.dont_fragment = true;
		assert_int_equal(lrp_udp_fragments_init(&fragments, link_of(family), &d, 1500, 1),
				 -EMSGSIZE);
		d.dont_fragment = false;
		assert_int_equal(lrp_udp_fragments_init(&fragments, link_of(family), &d,
							family == AF_INET ? 67 : 1279, 1),
				 -EMSGSIZE);
		assert_int_equal(lrp_udp_fragments_init(&fragments, link_of(family), &d,
							family == AF_INET ? 68 : 1280, 1),
				 0);

		/* iovecs that hold less than they should */
		{
			struct iovec iov[2] = {{payload, 10}, {payload, 10}};

			d.iov = iov;
			d.iov_count = 2;
			d.length = 20;
			assert_int_equal(lrp_udp_build(&room, &f, link_of(family), &d, 1,
						       LRP_UDP_CHECKSUM_PARTIAL),
					 0);
			d.length = 21;
			assert_int_equal(lrp_udp_build(&room, &f, link_of(family), &d, 1,
						       LRP_UDP_CHECKSUM_PARTIAL),
					 -EINVAL);
			d.iov_count = 0;
			d.length = 0;
			assert_int_equal(lrp_udp_build(&room, &f, link_of(family), &d, 1,
						       LRP_UDP_CHECKSUM_FULL),
					 0);
		}
		d.no_checksum = true;
		assert_int_equal(
			lrp_udp_build(&room, &f, link_of(family), &d, 1, LRP_UDP_CHECKSUM_FULL),
			family == AF_INET ? 0 : -EINVAL);
		d.family = AF_UNIX;
		assert_int_equal(
			lrp_udp_build(&room, &f, link_of(family), &d, 1, LRP_UDP_CHECKSUM_FULL),
			-EAFNOSUPPORT);
	}
}

static void slices(void **state)
{
	struct iovec iov[4] = {
		{payload, 3}, {payload + 100, 0}, {payload + 200, 5}, {payload + 300, 4}};
	struct lrp_udp_datagram d = {.iov = iov, .iov_count = 4, .length = 11};
	struct iovec out[4];

	(void)state;
	assert_int_equal(lrp_udp_slice(&d, 0, 11, out, 4), 3);
	assert_int_equal(out[2].iov_len, 3);
	assert_int_equal(lrp_udp_slice(&d, 2, 2, out, 2), 2);
	assert_ptr_equal(out[0].iov_base, payload + 2);
	assert_int_equal(out[0].iov_len, 1);
	assert_ptr_equal(out[1].iov_base, payload + 200);
	assert_int_equal(out[1].iov_len, 1);
	assert_int_equal(lrp_udp_slice(&d, 8, 3, out, 1), 1);
	assert_ptr_equal(out[0].iov_base, payload + 300);
	assert_int_equal(lrp_udp_slice(&d, 0, 11, out, 2), -ENOBUFS);
	assert_int_equal(lrp_udp_slice(&d, 11, 0, out, 0), 0);
	assert_int_equal(lrp_udp_slice(&d, 11, 1, out, 4), -EINVAL);
	assert_int_equal(lrp_udp_slice(&d, 12, 0, out, 4), -EINVAL);
	assert_int_equal(lrp_udp_slice(&d, 1, UINT32_MAX, out, 4), -EINVAL);
}

/* Fragments are within the MTU, and our own reassembly makes the datagram of them. */
static void fragments_round_trip(void **state)
{
	static uint8_t memory[LRP_REASSEMBLY_SIZE] __attribute__((aligned(8)));
	static uint8_t frame[PACKET_MAX];
	struct lrp_reassembly *r = lrp_reassembly_init(memory, sizeof(memory), 0x1234567890abcdef);

	(void)state;
	assert_non_null(r);
	rnd_fill(payload, sizeof(payload));
	for (uint32_t n = 0; n < 3000; n++) {
		int family = n & 1 ? AF_INET : AF_INET6;
		uint32_t mtu = family == AF_INET ? 68 + rnd_below(rnd_below(2) ? 100 : 9000)
						 : 1280 + rnd_below(8000);
		struct lrp_udp_datagram d = datagram_of(family, rnd_below(65508));
		struct iovec iov[5];
		struct lrp_udp_fragments f;
		struct lrp_udp_header_room room;
		struct lrp_udp_frame out;
		struct lrp_packet whole;
		uint32_t at = 0, expect = 0;
		int got = 0;

		/* in pieces of any length, as the application has it */
		for (int i = 0; i < 5; i++) {
			uint32_t len = i == 4 ? sizeof(payload) - at : rnd_below(d.length / 4 + 1);

			iov[i] = (struct iovec){payload + at, len};
			at += len;
		}
		d.iov = iov;
		d.iov_count = 5;
		if (n == 10)
			d.length = 65527;
		/* the last fragment just fills the MTU */
		if (n % 8 < 2) {
			uint32_t headers = family == AF_INET ? 20 : 48;

			mtu = headers + (mtu - headers) / 8 * 8 + (family == AF_INET ? 0 : 8);
			d.length = (mtu - headers) * 3 - 8;
		}
		if (lrp_udp_fits(&d, mtu))
			continue;
		d.no_checksum = family == AF_INET && !rnd_below(10);
		assert_int_equal(lrp_udp_fragments_init(&f, link_of(family), &d, mtu, 0x10000 + n),
				 0);
		while (lrp_udp_fragments_next(&f, &room, &out)) {
			struct lrp_packet p = {.frame = frame};

			assert_int_equal(got, 0);
			assert_int_equal(out.payload_offset, expect);
			expect += out.payload_len;
			assert_int_equal(out.csum_start, 0);
			p.frame_len = gather(frame, &room, &out, &d);
			assert_true(p.frame_len <= 14 + mtu);
			assert_int_equal(lrp_ip_input(&p), 0);
			assert_true(p.fragment);
			assert_int_equal(p.more_fragments, expect != d.length);
			assert_int_equal(p.fragment_id, family == AF_INET ? htons((uint16_t)n)
									  : htonl(0x10000 + n));
			/* no smaller than they need to be */
			if (p.more_fragments)
				assert_true(p.frame_len + 8 > 14 + mtu);
			got = lrp_reassembly_input(r, 0, &p, &whole);
			assert_true(got >= 0);
		}
		assert_int_equal(got, 1);
		assert_int_equal(expect, d.length);
		assert_int_equal(lrp_udp_input(&whole, whole.frame + whole.l4_offset, false), 0);
		assert_int_equal(whole.payload_len, d.length);
		assert_memory_equal(whole.payload, payload, d.length);
		assert_int_equal(whole.tos, 0xb8);
		assert_false(lrp_udp_fragments_next(&f, &room, &out));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(header_bytes), cmocka_unit_test(round_trip),
		cmocka_unit_test(never_zero),	cmocka_unit_test(limits),
		cmocka_unit_test(slices),	cmocka_unit_test(fragments_round_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

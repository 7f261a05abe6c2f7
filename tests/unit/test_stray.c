/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Twin of loader/demux/stray.c. This program plays the kernel, XDP, reassembly, and a process that has
 * a channel of the pool and writes whatever it can reach: ring, frames, frame table.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "loader/demux/stray.h"

#define RING	    LRP_FRAGMENT_RING
#define FRAMES	    2048u
#define FRAME_SHIFT 11
#define HEADROOM    256u
#define MS	    1000000ull
#define SECOND	    (1000 * MS)
#define START	    0xfffffff0u /* positions wrap early */

static struct bed {
	struct lrp_stray_ring ring;
	struct lrp_pool_view pool;
	struct lrp_channel channel;
	struct lrp_user user;
	struct lrp_frame frame[FRAMES];
	struct lrp_core_stray_counts counts;
	_Atomic uint32_t producer, consumer, fill_producer, fill_flags;
	_Atomic uint64_t fill_slot[FRAMES];
	struct xdp_desc desc[RING];
	uint32_t kernels_producer; /* what the kernel thinks */
	uint32_t next_frame;
	uint32_t way;	   /* of all datagrams */
	uint32_t marked;   /* datagrams marked by the core */
	uint32_t injected; /* packets that the kernel's stack got */
	uint16_t last_id;
	int inject_error;
	uint8_t umem[FRAMES << FRAME_SHIFT];
} * b;

static uint32_t way(void *arg, const struct lrp_fragment_key *key)
{
	(void)arg;
	(void)key;
	return b->way;
}

static void mark(void *arg, const struct lrp_fragment_key *key)
{
	(void)arg;
	(void)key;
	b->marked++;
}

static int inject(void *arg, const void *packet, uint32_t length)
{
	uint16_t id;

	(void)arg;
	/* A copy: what a process writes into the frame now changes nothing. */
	assert_true((const uint8_t *)packet < b->umem ||
		    (const uint8_t *)packet >= b->umem + sizeof(b->umem));
	assert_true(length <= LRP_ORPHAN_MAX);
	b->injected++;
	memcpy(&id, (const uint8_t *)packet + 14 + offsetof(struct iphdr, id), sizeof(id));
	b->last_id = ntohs(id);
	return b->inject_error;
}

static const struct lrp_stray_ops ops = {.way = way, .mark = mark, .inject = inject};

static int setup(void **state)
{
	(void)state;
	b = mmap(NULL, sizeof(*b), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(b != MAP_FAILED);
	b->pool = (struct lrp_pool_view){
		.umem = b->umem,
		.frame = b->frame,
		.frames = FRAMES,
		.frame_size = 1u << FRAME_SHIFT,
		.frame_shift = FRAME_SHIFT,
		.fill_producer = &b->fill_producer,
		.fill_slot = b->fill_slot,
		.fill_flags = &b->fill_flags,
		.fill_size = FRAMES,
		.fill_shift = 11,
	};
	b->ring.chan = (struct lrp_chan){
		.pool = &b->pool,
		.producer = &b->producer,
		.consumer = &b->consumer,
		.desc = b->desc,
		.ring_mask = RING - 1,
	};
	b->ring.channel = &b->channel;
	b->ring.user = &b->user;
	b->ring.ops = &ops;
	b->ring.counts = &b->counts;
	b->way = LRP_FRAGMENT_STORED;
	b->producer = b->consumer = b->kernels_producer = START;
	lrp_stray_start(&b->ring, 0, 0, 0x123456789abcdef);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	munmap(b, sizeof(*b));
	return 0;
}

static void make_packet(uint8_t *frame, uint16_t id)
{
	struct iphdr ip = {.version = 4,
			   .ihl = 5,
			   .tot_len = htons(60),
			   .id = htons(id),
			   .frag_off = htons(8),
			   .protocol = IPPROTO_UDP,
			   .saddr = htonl(0xc6120102),
			   .daddr = htonl(0xc6120101)};

	memset(frame, 0, 14);
	frame[12] = 8;
	memcpy(frame + 14, &ip, sizeof(ip));
}

static void key_of(uint16_t id, struct lrp_fragment_key *key)
{
	uint8_t packet[60] = {0};

	make_packet(packet, id);
	assert_true(lrp_stray_key(packet, sizeof(packet), key));
}

/* XDP counts an orphan, the kernel puts it on the ring. Returns its frame. */
static uint32_t arrives(uint16_t id)
{
	uint32_t frame = b->next_frame++ % FRAMES;
	uint64_t addr = ((uint64_t)frame << FRAME_SHIFT) + HEADROOM;

	make_packet(b->umem + addr, id);
	b->desc[b->kernels_producer % RING] = (struct xdp_desc){.addr = addr, .len = 74};
	b->channel.enqueued++;
	b->producer = ++b->kernels_producer;
	return frame;
}

static uint32_t returned(void)
{
	return b->fill_producer;
}

/* Frames in the ring, as XDP sees it. */
static uint64_t occupancy(void)
{
	return b->channel.enqueued - b->channel.corrected - b->user.returned - b->user.lost;
}

static void test_kernels(void **state)
{
	struct lrp_fragment_key key;

	(void)state;
	for (uint16_t id = 1; id <= 8; id++)
		arrives(id);
	arrives(3);
	assert_true(lrp_stray_run(&b->ring, SECOND) >= 0);
	assert_int_equal(b->injected, 0);
	assert_int_equal(occupancy(), 9);
	key_of(3, &key);
	assert_true(lrp_stray_kernels(&b->ring, &key));
	assert_int_equal(b->injected, 2);
	assert_int_equal(b->last_id, 3);
	key_of(99, &key);
	assert_false(lrp_stray_kernels(&b->ring, &key));
	/* the event came first */
	b->way = LRP_FRAGMENT_KERNEL;
	arrives(99);
	lrp_stray_run(&b->ring, SECOND);
	assert_int_equal(b->injected, 3);
	assert_int_equal(b->counts.injected, 3);
	/* and all is over after their time */
	assert_int_equal(lrp_stray_run(&b->ring, 2 * SECOND), -1);
	assert_int_equal(returned(), 10);
	assert_int_equal(b->consumer, b->kernels_producer);
	assert_int_equal(occupancy(), 0);
}

static void test_lifetime(void **state)
{
	(void)state;
	arrives(1);
	lrp_stray_run(&b->ring, SECOND);
	lrp_stray_run(&b->ring, SECOND + LRP_STRAY_LIFE_NS - 1);
	assert_int_equal(b->injected + b->marked + returned(), 0);
	lrp_stray_run(&b->ring, SECOND + LRP_STRAY_LIFE_NS);
	assert_int_equal(b->marked, 1); /* before it is injected, its first must follow */
	assert_int_equal(b->injected, 1);
	assert_int_equal(returned(), 1);
	/* its first went to an LRP socket, which was busy elsewhere */
	b->way = 7;
	arrives(2);
	lrp_stray_run(&b->ring, 5 * SECOND);
	assert_int_equal(lrp_stray_run(&b->ring, 6 * SECOND), -1);
	assert_int_equal(b->injected, 1);
	assert_int_equal(b->marked, 1);
	assert_int_equal(b->counts.expired, 1);
	assert_int_equal(returned(), 2);
}

/* What reassembly has claimed is its own until it is done, or dead. */
static void test_claims(void **state)
{
	uint32_t done, held;

	(void)state;
	done = arrives(1);
	held = arrives(2);
	arrives(3);
	lrp_stray_run(&b->ring, SECOND);
	b->frame[done].holder = LRP_FRAME_DONE;
	b->frame[held].holder = LRP_FRAME_CLAIM(77);
	lrp_stray_run(&b->ring, SECOND + 10 * MS);
	assert_int_equal(returned(), 1);
	assert_int_equal(b->frame[done].holder, LRP_FRAME_FREE);
	lrp_stray_run(&b->ring, SECOND + LRP_STRAY_LIFE_NS + LRP_STRAY_CLAIM_NS - 1);
	assert_int_equal(returned(), 1);
	assert_int_equal(b->frame[held].holder, LRP_FRAME_CLAIM(77));
	assert_int_equal(lrp_stray_run(&b->ring, SECOND + LRP_STRAY_LIFE_NS + LRP_STRAY_CLAIM_NS),
			 -1);
	assert_int_equal(returned(), 3);
	assert_int_equal(b->injected, 1); /* the third */
}

/* Steps do not grow with what is stored. */
static void test_cost(void **state)
{
	struct lrp_fragment_key key;
	uint64_t work[2];

	(void)state;
	for (int full = 0; full < 2; full++) {
		for (uint32_t id = 1; full && id < RING - 64; id++)
			arrives((uint16_t)id);
		lrp_stray_run(&b->ring, SECOND);
		work[full] = b->ring.work;
		for (uint32_t id = 50000; id < 50032; id++) {
			arrives((uint16_t)id);
			lrp_stray_run(&b->ring, SECOND);
			key_of((uint16_t)id, &key);
			assert_true(lrp_stray_kernels(&b->ring, &key));
		}
		work[full] = b->ring.work - work[full];
	}
	assert_int_equal(b->injected, 64);
	/* a bucket has one on average when the ring is full */
	assert_true(work[1] <= 2 * work[0]);
}

/* ---- hostile memory --------------------------------------------------------------- */

static void test_bad_descriptors(void **state)
{
	static const struct xdp_desc bad[] = {
		{.addr = 0, .len = 100},
		{.addr = 0, .len = 0xffffffff},
		{.addr = (uint64_t)FRAMES << FRAME_SHIFT, .len = 60},
		{.addr = UINT64_MAX, .len = 60},
		{.addr = UINT64_MAX - 2047, .len = 4000},
		{.addr = (3u << FRAME_SHIFT) + 2047, .len = 2},
		{.addr = (3u << FRAME_SHIFT) + 256, .len = 1793},
		{.addr = (3u << FRAME_SHIFT) + 256, .len = LRP_ORPHAN_MAX + 1},
		{.addr = (3u << FRAME_SHIFT) + 256, .len = 60, .options = XDP_PKT_CONTD},
		{.addr = (3u << FRAME_SHIFT) + 256, .len = 0},
	};
	const uint32_t n = sizeof(bad) / sizeof(bad[0]);

	(void)state;
	for (uint32_t i = 0; i < n; i++) {
		arrives(1);
		b->desc[(b->kernels_producer - 1) % RING] = bad[i];
		lrp_stray_run(&b->ring, SECOND);
		assert_int_equal(b->counts.nonsense, i + 1);
	}
	assert_int_equal(b->injected, 0);
	assert_int_equal(b->consumer, b->kernels_producer);
	assert_int_equal(returned(), n - 3); /* three name no frame */
	assert_int_equal(occupancy(), 0);
	arrives(5);
	lrp_stray_run(&b->ring, SECOND);
	lrp_stray_run(&b->ring, 2 * SECOND);
	assert_int_equal(b->injected, 1);
}

/* One store moves the producer: t6's four billion steps. */
static void test_producer_far(void **state)
{
	uint64_t work;

	(void)state;
	arrives(1);
	lrp_stray_run(&b->ring, SECOND);
	for (uint32_t by = 0x10000; by; by <<= 1) {
		b->producer = b->kernels_producer + by;
		work = b->ring.work;
		assert_true(lrp_stray_run(&b->ring, SECOND) >= 0);
		assert_true(b->ring.work - work <= 2 * RING);
	}
	/* the kernel writes its own value with the next packet */
	arrives(2);
	lrp_stray_run(&b->ring, SECOND + MS);
	lrp_stray_run(&b->ring, 3 * SECOND);
	assert_int_equal(b->injected, 2);
	assert_int_equal(occupancy(), 0);
	assert_true(b->counts.nonsense >= 1);
}

/* A descriptor that XDP has not sent is not believed, though it looks right. */
static void test_forged_entry(void **state)
{
	(void)state;
	arrives(1);
	lrp_stray_run(&b->ring, SECOND);
	make_packet(b->umem + (900u << FRAME_SHIFT) + HEADROOM, 2);
	b->desc[b->kernels_producer % RING] =
		(struct xdp_desc){.addr = (900u << FRAME_SHIFT) + HEADROOM, .len = 74};
	b->producer = b->kernels_producer + 1;
	lrp_stray_run(&b->ring, SECOND + MS);
	arrives(3);
	lrp_stray_run(&b->ring, SECOND + 2 * MS);
	lrp_stray_run(&b->ring, 3 * SECOND);
	assert_int_equal(b->injected, 2);
	assert_int_equal(b->last_id, 3);
	assert_int_equal(returned(), 2);
	assert_int_equal(b->frame[900].holder, LRP_FRAME_FREE);
}

/* The kernel has lapped us, because somebody wrote the consumer. */
static void test_lapped(void **state)
{
	(void)state;
	for (int i = 0; i < 5; i++)
		arrives(1);
	lrp_stray_run(&b->ring, SECOND);
	for (uint32_t i = 0; i < RING + 100; i++)
		arrives(2);
	lrp_stray_run(&b->ring, SECOND);
	assert_int_equal(returned(), 5); /* those that it knew */
	assert_int_equal(occupancy(), RING);
	lrp_stray_run(&b->ring, 3 * SECOND);
	assert_int_equal(b->injected, RING);
	assert_int_equal(b->consumer, b->kernels_producer);
	assert_int_equal(occupancy(), 0);
}

/* An lrpd that starts after somebody wrote the producer finds the kernel's with the second orphan
 * that comes. */
static void test_wrong_start(void **state)
{
	(void)state;
	for (int i = 0; i < 7; i++)
		arrives(1);
	b->producer += 0x50000000;
	lrp_stray_start(&b->ring, b->channel.enqueued, 64, 1);
	lrp_stray_run(&b->ring, SECOND);
	arrives(2);
	assert_true(lrp_stray_run(&b->ring, SECOND) >= 0);
	assert_true(b->counts.nonsense >= 1);
	arrives(3);
	lrp_stray_run(&b->ring, SECOND);
	assert_int_equal(occupancy(), 1);
	lrp_stray_run(&b->ring, 2 * SECOND);
	assert_int_equal(b->injected, 1);
	assert_int_equal(b->last_id, 3);
	assert_int_equal(b->consumer, b->kernels_producer);
	assert_int_equal(occupancy(), 0);
}

static void test_consumer_and_record(void **state)
{
	(void)state;
	arrives(1);
	lrp_stray_run(&b->ring, SECOND);
	b->consumer += 0x12345678;
	b->user.returned = UINT64_MAX / 3;
	arrives(2);
	lrp_stray_run(&b->ring, SECOND);
	assert_int_equal(b->consumer, START);
	assert_int_equal(occupancy(), 2);
	/* an lrpd that starts now does not believe it either */
	b->consumer = START + 0x12345678;
	lrp_stray_start(&b->ring, b->channel.enqueued, 64, 1);
	lrp_stray_run(&b->ring, SECOND);
	assert_int_equal(b->consumer, b->kernels_producer);
	assert_int_equal(occupancy(), 0);
}

/* A mark that no frame of this ring can have. */
static void test_marked_frame(void **state)
{
	(void)state;
	b->frame[0].holder = LRP_FRAME_RESTING;
	b->frame[1].holder = LRP_FRAME_MARK(17);
	arrives(1);
	arrives(2);
	lrp_stray_run(&b->ring, SECOND);
	lrp_stray_run(&b->ring, 2 * SECOND);
	assert_int_equal(b->injected, 2);
}

/* Between the look and the use. */
static void test_changed_packet(void **state)
{
	struct lrp_fragment_key key;
	uint32_t frame;

	(void)state;
	frame = arrives(1);
	lrp_stray_run(&b->ring, SECOND);
	make_packet(b->umem + ((uint64_t)frame << FRAME_SHIFT) + HEADROOM, 2);
	b->desc[START % RING].addr = 0;
	key_of(1, &key);
	lrp_stray_kernels(&b->ring, &key);
	assert_int_equal(b->injected, 0);
	assert_int_equal(b->counts.failed, 1);
	lrp_stray_run(&b->ring, SECOND);
	assert_int_equal(returned(), 1);
	assert_int_equal(b->consumer, b->kernels_producer);
}

static uint32_t seed = 1;

static uint32_t below(uint32_t n)
{
	seed = seed * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)seed * n >> 32);
}

/* Garbage everywhere that a client can write. What is read is bounded (make san), and so is what
 * a look costs. */
static void test_garbage(void **state)
{
	uint64_t now = SECOND;

	(void)state;
	for (uint32_t i = 0; i < 100000; i++) {
		struct lrp_fragment_key key;
		uint64_t work = b->ring.work;

		switch (below(10)) {
		case 0:
			b->producer = below(4) ? b->kernels_producer + below(2048) : below(~0u);
			break;
		case 1:
			b->consumer = below(~0u);
			break;
		case 2:
			b->desc[below(RING)] =
				(struct xdp_desc){.addr = below(2) ? below(~0u) : below(1u << 23),
						  .len = below(2) ? below(~0u) : below(2048),
						  .options = below(2)};
			break;
		case 3:
			b->frame[below(FRAMES)].holder = below(2)   ? below(~0u)
							 : below(2) ? LRP_FRAME_DONE
								    : 0;
			break;
		case 4:
			b->umem[below(sizeof(b->umem))] = (uint8_t)below(256);
			break;
		case 5:
			b->user.returned = below(~0u);
			break;
		case 6:
			key_of((uint16_t)below(64), &key);
			lrp_stray_kernels(&b->ring, &key);
			break;
		case 7:
			b->way = below(2)   ? LRP_FRAGMENT_STORED
				 : below(2) ? 5
					    : LRP_FRAGMENT_KERNEL;
			break;
		default:
			if (occupancy() < RING)
				arrives((uint16_t)below(64));
		}
		now += below(20) * MS;
		lrp_stray_run(&b->ring, now);
		/* each orphan is read, unlinked from a bucket of 64 keys, returned */
		assert_true(b->ring.work - work <= 3ull * RING * RING / 16);
	}
	/* and when it is over it works */
	b->way = LRP_FRAGMENT_STORED;
	memset(b->frame, 0, sizeof(b->frame));
	for (int i = 0; i < 4; i++, now += SECOND)
		lrp_stray_run(&b->ring, now);
	b->injected = 0;
	arrives(1000);
	lrp_stray_run(&b->ring, now);
	lrp_stray_run(&b->ring, now + SECOND);
	assert_int_equal(b->injected, 1);
	assert_int_equal(b->last_id, 1000);
	assert_int_equal(occupancy(), 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_kernels),	 T(test_lifetime),
		T(test_claims),		 T(test_cost),
		T(test_bad_descriptors), T(test_producer_far),
		T(test_forged_entry),	 T(test_lapped),
		T(test_wrong_start),	 T(test_consumer_and_record),
		T(test_changed_packet),	 T(test_marked_frame),
		T(test_garbage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}

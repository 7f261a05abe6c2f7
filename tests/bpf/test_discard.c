/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Twin of bpf/discard.h: occupancy, limit, guarantee, surplus and loans. */
#include "harness.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/bed.h"

#define PORT 1000

static const struct spec udp = {.dport = PORT};

static int setup(void **state)
{
	harness_setup(state);
	harness_any(*state, 4, IPPROTO_UDP, PORT, 1);
	return 0;
}

/* The same with plain counters, as in native mode. */
static int setup_plain(void **state)
{
	struct harness *h = malloc(sizeof(*h));

	harness_open(h, false);
	*state = h;
	harness_any(h, 4, IPPROTO_UDP, PORT, 1);
	return 0;
}

static void expect(struct harness *h, const char *what, enum lrp_xdp_reason reason)
{
	harness_expect_spec(h, what, &udp, reason, 1);
}

static void test_limit(void **state)
{
	struct harness *h = *state;
	struct lrp_user *user = harness_user(h, 0, 1);

	for (uint32_t i = 0; i < H_LIMIT; i++)
		expect(h, "up to the limit", LRP_XDP_ENQUEUED);
	expect(h, "limit + 1", LRP_XDP_DROP_FULL);
	expect(h, "limit + 2", LRP_XDP_DROP_FULL);
	user->returned = 1;
	expect(h, "one came back", LRP_XDP_ENQUEUED);
	expect(h, "and is used", LRP_XDP_DROP_FULL);
	user->lost = 2;
	expect(h, "the kernel lost two", LRP_XDP_ENQUEUED);
	expect(h, "the kernel lost two", LRP_XDP_ENQUEUED);
	expect(h, "both used", LRP_XDP_DROP_FULL);
	h->channel[1].limit = H_LIMIT + 1;
	h->channel[1].guarantee = H_LIMIT + 1;
	expect(h, "limit raised", LRP_XDP_ENQUEUED);
	h->channel[1].limit = 10;
	expect(h, "limit lowered below what is held", LRP_XDP_DROP_FULL);
	user->returned += 90;
	expect(h, "held 11, limit 10", LRP_XDP_DROP_FULL);
	user->returned += 2;
	expect(h, "held 9, limit 10", LRP_XDP_ENQUEUED);
	expect(h, "held 10, limit 10", LRP_XDP_DROP_FULL);
	h->channel[1].limit = 0;
	user->returned += 1000;
	expect(h, "limit 0", LRP_XDP_DROP_FULL);
}

/* What an application writes cannot make the occupancy negative or a channel larger. */
static void test_clamped(void **state)
{
	struct harness *h = *state;
	struct lrp_user *user = harness_user(h, 0, 1);

	user->returned = 1000; /* more than was ever enqueued */
	for (uint32_t i = 0; i < 2 * H_LIMIT; i++)
		expect(h, "negative occupancy is none", LRP_XDP_ENQUEUED);
	user->returned = 0;
	expect(h, "the truth again", LRP_XDP_DROP_FULL);
	user->returned = h->channel[1].enqueued;
	user->lost = UINT64_MAX; /* -1: lost less than nothing */
	for (uint32_t i = 0; i < H_LIMIT - 1; i++)
		expect(h, "occupancy counts from one", LRP_XDP_ENQUEUED);
	expect(h, "and is full one earlier", LRP_XDP_DROP_FULL);
}

/* All counters run on for ever; the difference is what counts. */
static void test_wrap(void **state)
{
	struct harness *h = *state;
	struct lrp_user *user = harness_user(h, 0, 1);

	h->channel[1].enqueued = UINT64_MAX - 10;
	user->returned = UINT64_MAX - 15;
	user->lost = 0;
	for (uint32_t i = 0; i < H_LIMIT - 5; i++)
		expect(h, "across 2^64", LRP_XDP_ENQUEUED);
	expect(h, "full", LRP_XDP_DROP_FULL);
	assert_true(h->channel[1].enqueued < 1000);
	user->returned += H_LIMIT; /* across, too */
	for (uint32_t i = 0; i < H_LIMIT; i++)
		expect(h, "empty again", LRP_XDP_ENQUEUED);
	expect(h, "full again", LRP_XDP_DROP_FULL);
	user->lost = 3;
	user->returned -= 3;
	expect(h, "lost and returned weigh the same", LRP_XDP_DROP_FULL);
}

/* After a change of hands the counters run on, and `corrected` says from where. */
static void test_corrected(void **state)
{
	struct harness *h = *state;

	h->channel[1].enqueued = 5000;
	expect(h, "5,000 frames of the owner before", LRP_XDP_DROP_FULL);
	h->channel[1].corrected = 5000;
	for (uint32_t i = 0; i < H_LIMIT; i++)
		expect(h, "corrected", LRP_XDP_ENQUEUED);
	expect(h, "full", LRP_XDP_DROP_FULL);
	harness_user(h, 0, 1)->returned = H_LIMIT;
	expect(h, "returned to a corrected channel", LRP_XDP_ENQUEUED);
}

/* A packet of n frames needs room for all of them. */
static void test_frames(void **state)
{
	static const struct spec three = {.dport = PORT, .payload = 8000}; /* 8,042 bytes */
	struct harness *h = *state;

	h->channel[1].limit = h->channel[1].guarantee = 7;
	harness_expect_spec(h, "3 of 7", &three, LRP_XDP_ENQUEUED, 1);
	harness_expect_spec(h, "6 of 7", &three, LRP_XDP_ENQUEUED, 1);
	harness_expect_spec(h, "9 of 7", &three, LRP_XDP_DROP_FULL, 1);
	h->channel[1].limit = h->channel[1].guarantee = 8;
	harness_expect_spec(h, "9 of 8", &three, LRP_XDP_DROP_FULL, 1);
	h->channel[1].limit = h->channel[1].guarantee = 7;
	expect(h, "7 of 7", LRP_XDP_ENQUEUED);
	expect(h, "8 of 7", LRP_XDP_DROP_FULL);
	assert_int_equal(h->channel[1].enqueued, 7);
	assert_int_equal(h->channel[1].packets, 3);
}

static uint64_t loans(struct harness *h, uint32_t queue)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < H_ENDPOINTS; i++)
		sum += h->channel[queue * H_ENDPOINTS + i].loan;
	return sum;
}

/* What always holds: the pool's counter is the sum of the loans, and never above the surplus. */
static void check_pool(struct harness *h)
{
	assert_int_equal(h->pool[0].lent, loans(h, 0));
	assert_true(h->pool[0].lent <= h->pool[0].surplus);
}

static void test_loan(void **state)
{
	struct harness *h = *state;

	h->channel[1].guarantee = 20;
	h->pool[0].surplus = 2 * LRP_LOAN_UNIT;
	for (int i = 0; i < 20; i++)
		expect(h, "within the guarantee", LRP_XDP_ENQUEUED);
	assert_int_equal(h->channel[1].loan, 0);
	expect(h, "one above", LRP_XDP_ENQUEUED);
	assert_int_equal(h->channel[1].loan, LRP_LOAN_FIRST);
	check_pool(h);
	for (uint32_t i = 1; i < LRP_LOAN_FIRST; i++)
		expect(h, "in the first loan", LRP_XDP_ENQUEUED);
	assert_int_equal(h->channel[1].loan, LRP_LOAN_FIRST);
	for (uint32_t i = LRP_LOAN_FIRST; i < LRP_LOAN_UNIT; i++)
		expect(h, "a whole unit", LRP_XDP_ENQUEUED);
	assert_int_equal(h->channel[1].loan, LRP_LOAN_UNIT);
	for (uint32_t i = 0; i < LRP_LOAN_UNIT; i++)
		expect(h, "in the second", LRP_XDP_ENQUEUED);
	assert_int_equal(h->channel[1].loan, 2 * LRP_LOAN_UNIT);
	check_pool(h);
	expect(h, "surplus exhausted", LRP_XDP_DROP_SURPLUS);
	expect(h, "surplus exhausted", LRP_XDP_DROP_SURPLUS);
	check_pool(h);
	/* below the limit still, so a larger surplus helps at once */
	h->pool[0].surplus += LRP_LOAN_UNIT;
	expect(h, "surplus grown", LRP_XDP_ENQUEUED);
	check_pool(h);
	h->channel[1].limit = 20 + 2 * LRP_LOAN_UNIT + 1;
	expect(h, "the limit holds in spite of the surplus", LRP_XDP_DROP_FULL);
}

static void test_no_guarantee(void **state)
{
	struct harness *h = *state;

	h->channel[1].guarantee = 0;
	expect(h, "no guarantee and no surplus", LRP_XDP_DROP_SURPLUS);
	h->pool[0].surplus = LRP_LOAN_FIRST - 1;
	expect(h, "less surplus than a first loan", LRP_XDP_DROP_SURPLUS);
	h->pool[0].surplus = LRP_LOAN_FIRST;
	expect(h, "one", LRP_XDP_ENQUEUED);
	check_pool(h);
}

static int count_event(void *arg, void *data, size_t size)
{
	const struct lrp_event *event = data;

	assert_int_equal(size, sizeof(*event));
	assert_int_equal(event->index, H_IFINDEX);
	assert_int_equal(event->queue, 0);
	++*(int *)arg;
	return 0;
}

/* lrpd is told when half is lent, and again after it has seen to it. */
static void test_short(void **state)
{
	struct harness *h = *state;
	struct ring_buffer *events;
	uint32_t i, units = 8, warns = 4; /* then half is lent */
	int told = 0;

	events = ring_buffer__new(harness_map(h, "lrp_events"), count_event, &told, NULL);
	assert_non_null(events);
	h->channel[1].guarantee = 0;
	h->channel[1].limit = 10000;
	h->pool[0].surplus = units * LRP_LOAN_UNIT;
	for (i = 0; i < warns * LRP_LOAN_UNIT; i++)
		expect(h, "lent, not short", LRP_XDP_ENQUEUED);
	ring_buffer__consume(events);
	assert_int_equal(told, 0);
	expect(h, "half is lent", LRP_XDP_ENQUEUED);
	ring_buffer__consume(events);
	assert_int_equal(told, 1);
	assert_int_equal(h->pool[0].short_of, 1);
	for (i = 1; i < (units - warns) * LRP_LOAN_UNIT; i++)
		expect(h, "told once", LRP_XDP_ENQUEUED);
	expect(h, "lent", LRP_XDP_DROP_SURPLUS);
	ring_buffer__consume(events);
	assert_int_equal(told, 1);
	h->pool[0].surplus *= 2;
	h->pool[0].short_of = 0;
	expect(h, "more than half of it again", LRP_XDP_ENQUEUED);
	ring_buffer__consume(events);
	assert_int_equal(told, 2);
	check_pool(h);
	ring_buffer__free(events);
}

/* One channel's loan, left behind, is found by the cursor when another one needs it. */
static void test_recovery(void **state)
{
	static const struct spec other = {.dport = PORT + 1};
	struct harness *h = *state;
	struct packet packet;
	uint32_t drops = 0;

	harness_any(h, 4, IPPROTO_UDP, PORT + 1, 40);
	h->channel[1].guarantee = h->channel[40].guarantee = 10;
	h->pool[0].surplus = LRP_LOAN_UNIT;
	for (uint32_t i = 0; i < 10 + LRP_LOAN_UNIT; i++)
		expect(h, "borrows all", LRP_XDP_ENQUEUED);
	expect(h, "no more", LRP_XDP_DROP_SURPLUS);
	for (int i = 0; i < 10; i++)
		harness_expect_spec(h, "the other's guarantee is its own", &other, LRP_XDP_ENQUEUED,
				    40);
	for (uint32_t i = 0; i < H_ENDPOINTS; i++)
		harness_expect_spec(h, "lent, and needed there", &other, LRP_XDP_DROP_SURPLUS, 40);
	assert_int_equal(h->channel[1].loan, LRP_LOAN_UNIT);

	harness_user(h, 0, 1)->returned = 10 + LRP_LOAN_UNIT; /* the first one reads all */
	packet_build(&packet, &other);
	while (harness_run(h, "recovery", &packet) != LRP_XDP_ENQUEUED) {
		assert_int_equal(h->reason, LRP_XDP_DROP_SURPLUS);
		drops++;
		assert_true(drops <= H_ENDPOINTS);
	}
	check_pool(h);
	assert_int_equal(h->channel[1].loan, 0);
	assert_int_equal(h->channel[40].loan, LRP_LOAN_FIRST);
}

/* A loan is cut to what is still needed, not taken away. */
static void test_recovery_partial(void **state)
{
	static const struct spec other = {.dport = PORT + 1};
	struct harness *h = *state;
	struct packet packet;

	packet_build(&packet, &other);
	harness_any(h, 4, IPPROTO_UDP, PORT + 1, 2);
	h->channel[1].guarantee = 10;
	h->channel[2].guarantee = 0;
	h->pool[0].surplus = 2 * LRP_LOAN_UNIT;
	for (uint32_t i = 0; i < 10 + 2 * LRP_LOAN_UNIT; i++)
		expect(h, "borrows all", LRP_XDP_ENQUEUED);
	harness_user(h, 0, 1)->returned = LRP_LOAN_UNIT; /* holds 10 + one unit */
	for (uint32_t i = 0; i < H_ENDPOINTS && !h->channel[2].packets; i++)
		harness_run(h, "recovery", &packet);
	assert_int_equal(h->channel[2].packets, 1);
	assert_int_equal(h->channel[1].loan, LRP_LOAN_UNIT);
	check_pool(h);
}

/* Queues have pools of their own. */
static void test_pools(void **state)
{
	struct harness *h = *state;

	h->channel[1].guarantee = 0;
	h->pool[1].surplus = 1000;
	expect(h, "another queue's surplus is no help", LRP_XDP_DROP_SURPLUS);
	assert_int_equal(h->pool[1].lent, 0);
}

/* A channel with a record that lies may scare the cursor, but breaks no sum. */
static void test_hostile_records(void **state)
{
	static const struct spec other = {.dport = PORT + 1};
	struct harness *h = *state;
	struct packet packet;
	uint32_t seed = 1;

	harness_any(h, 4, IPPROTO_UDP, PORT + 1, 2);
	h->channel[1].guarantee = 5;
	h->channel[2].guarantee = 7;
	h->pool[0].surplus = 5 * LRP_LOAN_UNIT + 3;
	for (int i = 0; i < 5000; i++) {
		seed = seed * 1664525 + 1013904223;
		switch (seed >> 28) {
		case 0:
			harness_user(h, 0, 1)->returned = seed;
			break;
		case 1:
			harness_user(h, 0, 2)->returned = (uint64_t)seed << 32;
			break;
		case 2:
			harness_user(h, 0, 1)->returned = h->channel[1].enqueued;
			harness_user(h, 0, 1)->lost = 0;
			break;
		case 3:
			harness_user(h, 0, 2)->returned = h->channel[2].enqueued;
			harness_user(h, 0, 2)->lost = 0;
			break;
		case 4:
			harness_user(h, 0, 1)->lost = -(uint64_t)(seed & 0xff);
			break;
		}
		packet_build(&packet, seed & 0x1000 ? &udp : &other);
		harness_run(h, "hostile", &packet);
		check_pool(h);
	}
}

int main(int argc, char **argv)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, harness_teardown)
#define P(name) cmocka_unit_test_setup_teardown(name, setup_plain, harness_teardown)
	const struct CMUnitTest tests[] = {
		T(test_limit),
		P(test_limit),
		T(test_clamped),
		T(test_wrap),
		P(test_wrap),
		T(test_corrected),
		T(test_frames),
		P(test_frames),
		T(test_loan),
		P(test_loan),
		T(test_short),
		P(test_short),
		T(test_no_guarantee),
		T(test_recovery),
		T(test_recovery_partial),
		T(test_pools),
		T(test_hostile_records),
	};

	(void)argc;
	bed_enter(argv);
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}

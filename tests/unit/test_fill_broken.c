/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_fill_broken.c - a fill ring in which somebody writes nonsense: every call ends, tells lrpd,
 * and the frame is not lost. LRP_FUZZ_SECONDS for the last test.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/base/clock.h"
#include "runtime/ring/fill.h"

#define FRAME_SHIFT 11
#define SHIFT	    6
#define FRAMES	    (1u << SHIFT)
#define RING	    16u
#define CHANNEL_ID  5u

struct bed {
	struct lrp_pool_view pool;
	struct lrp_chan chan;
	struct lrp_user user;
	struct lrp_frame frame[FRAMES];
	struct lrp_rest rest;
	_Atomic uint32_t fill_producer, fill_flags;
	_Atomic uint64_t fill_slot[FRAMES];
	_Atomic uint32_t producer, consumer;
	struct xdp_desc desc[RING];
};

static int make(void **state)
{
	struct bed *b = calloc(1, sizeof(*b));

	b->pool = (struct lrp_pool_view){
		.frame = b->frame,
		.rest = &b->rest,
		.frames = FRAMES,
		.frame_size = 1u << FRAME_SHIFT,
		.frame_shift = FRAME_SHIFT,
		.fill_producer = &b->fill_producer,
		.fill_slot = b->fill_slot,
		.fill_flags = &b->fill_flags,
		.fill_size = FRAMES,
		.fill_shift = SHIFT,
	};
	b->chan = (struct lrp_chan){
		.pool = &b->pool,
		.user = &b->user,
		.producer = &b->producer,
		.consumer = &b->consumer,
		.desc = b->desc,
		.ring_mask = RING - 1,
		.id = CHANNEL_ID,
		.fd = -1,
	};
	lrp_chan_set_limit(&b->chan, RING);
	*state = b;
	return 0;
}

static int unmake(void **state)
{
	free(*state);
	return 0;
}

static uint64_t addr_of(uint32_t frame)
{
	return (uint64_t)frame << FRAME_SHIFT;
}

/* A slot at the index with the tag of no lap: everybody would wait there for ever. */
static void a_tag_of_no_lap(void **state)
{
	struct bed *b = *state;
	uint32_t p;

	for (uint32_t f = 0; f < 10; f++)
		assert_true(lrp_fill_push(&b->pool, addr_of(f)));
	p = b->fill_producer;
	b->fill_slot[p % FRAMES] = lrp_fill_lap(&b->pool, p) + 7;
	assert_false(lrp_fill_push(&b->pool, addr_of(10)));
	assert_int_equal(b->rest.broken, 1);
	assert_int_equal(b->fill_producer, p);
	/* Mended, it works. */
	b->fill_slot[p % FRAMES] = 0;
	assert_true(lrp_fill_push(&b->pool, addr_of(10)));
	assert_int_equal(b->fill_slot[p % FRAMES] >> FRAME_SHIFT, 10);
}

/* All slots say that they are filled, lap after lap. */
static void an_endless_run_of_filled_slots(void **state)
{
	struct bed *b = *state;

	for (uint32_t lap_bits = 0; lap_bits <= lrp_fill_lap_mask(&b->pool); lap_bits += 257) {
		struct lrp_fill_cursor cursor;

		b->rest.broken = 0;
		b->fill_producer = lap_bits << SHIFT;
		for (uint32_t i = 0; i < FRAMES; i++)
			b->fill_slot[i] = lrp_fill_lap(&b->pool, b->fill_producer);
		cursor = lrp_fill_begin(&b->pool);
		lrp_fill_settle(&b->pool, -1);
		assert_true(b->fill_producer - (lap_bits << SHIFT) <= FRAMES);
		/* From the old index, as a producer that read it before. */
		for (uint32_t i = 0; i < FRAMES; i++)
			b->fill_slot[i] = lrp_fill_lap(&b->pool, cursor.at) + 1;
		b->fill_producer = cursor.at;
		assert_false(lrp_fill_put(&b->pool, &cursor, addr_of(1)));
		assert_int_equal(b->rest.broken, 1);
	}
}

/* A cursor that ran a lap and more ahead of the index may not fill what it finds there. */
static void a_cursor_far_ahead(void **state)
{
	struct bed *b = *state;
	struct lrp_fill_cursor cursor = lrp_fill_begin(&b->pool);

	cursor.at += 3 * FRAMES;
	for (uint32_t i = 0; i < FRAMES; i++)
		b->fill_slot[i] = lrp_fill_lap(&b->pool, cursor.at) - 1;
	assert_false(lrp_fill_put(&b->pool, &cursor, addr_of(1)));
	assert_int_equal(b->fill_producer, 0);
}

/* Who cannot return his frames lets them rest: out of his ring, and lrpd finds them. */
static void frames_rest_when_the_ring_is_broken(void **state)
{
	struct bed *b = *state;

	for (uint32_t i = 0; i < 8; i++)
		b->desc[i].addr = addr_of(i + 1) + 256;
	b->desc[5].addr = addr_of(FRAMES + 9); /* none at all */
	b->producer = 8;
	lrp_chan_take(&b->chan, 3); /* below the batch */
	b->fill_slot[0] = 9;
	b->chan.next = 8;
	lrp_chan_return(&b->chan);
	assert_int_equal(b->consumer, 8);
	assert_int_equal(b->rest.broken, 1);
	assert_int_equal(b->chan.held, 0);
	assert_int_equal(b->user.returned, 8);
	for (uint32_t i = 0; i < 8; i++)
		assert_int_equal(b->frame[i + 1].holder,
				 i == 5 ? LRP_FRAME_FREE : LRP_FRAME_RESTING);
	assert_int_equal(b->fill_producer, 0);
}

static void a_detached_frame_rests_too(void **state)
{
	struct bed *b = *state;

	b->desc[0].addr = addr_of(4) + 256;
	b->producer = 1;
	lrp_chan_detach(&b->chan);
	b->fill_slot[0] = 9;
	assert_int_equal(lrp_chan_give_back(&b->chan, addr_of(4) + 300), 0);
	assert_int_equal(b->frame[4].holder, LRP_FRAME_RESTING);
	assert_int_equal(b->chan.held, 0);
	assert_int_equal(lrp_chan_give_back(&b->chan, addr_of(4) + 300), -EINVAL);
}

#ifndef __SANITIZE_THREAD__ /* nonsense is a data race */
/* ---- nonsense that changes while we look ------------------------------------------------- */

static atomic_bool stop;

static uint64_t random64(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return *seed >> 31 ^ *seed << 20;
}

static void *write_nonsense(void *data)
{
	struct bed *b = data;
	uint64_t seed = 1;

	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		uint64_t r = random64(&seed);
		uint32_t p = atomic_load_explicit(&b->fill_producer, memory_order_relaxed);

		switch (r & 7) {
		case 0:
			atomic_store_explicit(&b->fill_producer, (uint32_t)(r >> 8),
					      memory_order_relaxed);
			break;
		case 1:
			atomic_store_explicit(&b->fill_producer, p + (uint32_t)(r >> 8) % FRAMES,
					      memory_order_relaxed);
			break;
		case 2:
			b->rest.frames = (uint32_t)(r >> 8);
			break;
		case 3: /* all slots of one lap */
			for (uint32_t i = 0; i < FRAMES; i++)
				atomic_store_explicit(&b->fill_slot[i],
						      lrp_fill_lap(&b->pool, p) +
							      (uint32_t)(r >> 8) % 3 - 1,
						      memory_order_relaxed);
			break;
		default:
			atomic_store_explicit(&b->fill_slot[r >> 8 & (FRAMES - 1)], r >> 4,
					      memory_order_relaxed);
		}
	}
	return NULL;
}

static void every_call_ends(void **state)
{
	const char *wanted = getenv("LRP_FUZZ_SECONDS");
	uint64_t seconds = wanted ? strtoull(wanted, NULL, 10) : 5;
	uint64_t until = lrp_now_ns() + seconds * LRP_NS_PER_S, calls = 0, failed = 0;
	struct bed *b = *state;
	pthread_t thread;

	stop = false;
	assert_int_equal(pthread_create(&thread, NULL, write_nonsense, b), 0);
	alarm((unsigned int)seconds + 60); /* a call that does not end */
	while (lrp_now_ns() < until) {
		failed += !lrp_fill_push(&b->pool, addr_of((uint32_t)calls % FRAMES));
		lrp_fill_settle(&b->pool, -1);
		b->desc[b->chan.next % RING].addr = addr_of((uint32_t)calls % FRAMES);
		b->producer = b->chan.next + 1;
		lrp_chan_take(&b->chan, 1);
		calls++;
	}
	alarm(0);
	stop = true;
	pthread_join(thread, NULL);
	print_message("%llu calls, %llu of them told that the ring is broken\n",
		      (unsigned long long)calls, (unsigned long long)failed);
	assert_true(failed > 0 && calls > failed);
	assert_int_equal(b->rest.broken, 1);
}

#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, make, unmake)
		T(a_tag_of_no_lap),
		T(an_endless_run_of_filled_slots),
		T(a_cursor_far_ahead),
		T(frames_rest_when_the_ring_is_broken),
		T(a_detached_frame_rests_too),
#ifndef __SANITIZE_THREAD__
		T(every_call_ends),
#endif
#undef T
	};

	setvbuf(stdout, NULL, _IONBF, 0);
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}

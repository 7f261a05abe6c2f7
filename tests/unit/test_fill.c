/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_fill.c - the fill ring in plain shared memory; this program plays the
 * kernel. Frames are conserved whatever happens to the producers: stopped,
 * killed, at every single instruction, over wraps of the tag and of the index.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/base/clock.h"
#include "runtime/ring/fill.h"

#define FRAME_SHIFT 11
#define PRODUCERS   3

struct ring { /* shared */
	_Atomic uint32_t producer;
	uint8_t line[60];
	_Atomic uint32_t flags;
	uint8_t line2[60];
	_Atomic uint64_t slot[];
};

static void *shared(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(p != MAP_FAILED);
	return p;
}

/* A ring as it is after `start` pushes that have all been read. */
static struct lrp_pool_view ring_make(uint32_t shift, uint32_t frames, uint32_t start)
{
	uint32_t size = 1u << shift;
	struct ring *ring = shared(sizeof(*ring) + size * sizeof(uint64_t));
	struct lrp_pool_view pool = {
		.fill_producer = &ring->producer,
		.fill_slot = ring->slot,
		.fill_flags = &ring->flags,
		.fill_map = ring,
		.fill_map_size = sizeof(*ring) + size * sizeof(uint64_t),
		.fill_size = size,
		.fill_shift = shift,
		.frame_size = 1u << FRAME_SHIFT,
		.frame_shift = FRAME_SHIFT,
		.frames = frames,
	};

	ring->producer = start;
	if (start)
		for (uint32_t j = start - size; j != start; j++)
			ring->slot[j & (size - 1)] = lrp_fill_lap(&pool, j);
	return pool;
}

static void ring_free(struct lrp_pool_view *pool)
{
	munmap(pool->fill_map, pool->fill_map_size);
}

/* The kernel: reads the next slot, masking what lies below a frame. UINT32_MAX: none. */
static uint32_t kernel_read_any(struct lrp_pool_view *pool, uint32_t *consumer)
{
	uint32_t size = pool->fill_size;
	uint64_t v;

	if (*consumer == atomic_load_explicit(pool->fill_producer, memory_order_acquire))
		return UINT32_MAX;
	v = pool->fill_slot[*consumer & (size - 1)] >> pool->frame_shift;
	assert_in_range(v, 0, pool->frames - 1);
	(*consumer)++;
	return (uint32_t)v;
}

/* The same, and the tag must be right. */
static uint32_t kernel_read(struct lrp_pool_view *pool, uint32_t *consumer)
{
	uint32_t at = *consumer, frame = kernel_read_any(pool, consumer);

	if (frame != UINT32_MAX)
		assert_int_equal(pool->fill_slot[at & (pool->fill_size - 1)] &
					 lrp_fill_lap_mask(pool),
				 lrp_fill_lap(pool, at));
	return frame;
}

static void push(struct lrp_pool_view *pool, uint32_t frame)
{
	/* With an offset, as the descriptors of received packets have it. */
	lrp_fill_push(pool, ((uint64_t)frame << FRAME_SHIFT) + 256);
}

static void test_zeros_are_empty(void **state)
{
	struct lrp_pool_view pool = ring_make(3, 8, 0);
	uint32_t consumer = 0;

	(void)state;
	assert_int_equal(kernel_read(&pool, &consumer), UINT32_MAX);
	for (uint32_t f = 0; f < 8; f++)
		push(&pool, f);
	assert_int_equal(*pool.fill_producer, 8);
	for (uint32_t f = 0; f < 8; f++)
		assert_int_equal(kernel_read(&pool, &consumer), f);
	assert_int_equal(kernel_read(&pool, &consumer), UINT32_MAX);
	ring_free(&pool);
}

static void rotate(struct lrp_pool_view *pool, uint32_t *consumer, uint32_t times)
{
	while (times--) {
		uint32_t f = kernel_read(pool, consumer);

		assert_int_not_equal(f, UINT32_MAX);
		push(pool, f);
	}
}

static void test_laps_wrap(void **state)
{
	struct lrp_pool_view pool = ring_make(2, 4, 0);
	uint32_t consumer = 0;

	(void)state;
	for (uint32_t f = 0; f < 3; f++)
		push(&pool, f);
	assert_int_equal(lrp_fill_lap_mask(&pool), 2047);
	rotate(&pool, &consumer, 3 * 4 * 2048 + 5);
	assert_int_equal(*pool.fill_producer, consumer + 3);
	ring_free(&pool);
}

static void test_index_wraps(void **state)
{
	/* 22: fewer bits above the slot number than an address leaves for the tag */
	static const uint32_t shifts[] = {1, 4, 14, 22};

	(void)state;
	for (size_t i = 0; i < sizeof(shifts) / sizeof(shifts[0]); i++) {
		uint32_t start = (uint32_t)-700;
		struct lrp_pool_view pool = ring_make(shifts[i], 1u << shifts[i], start);
		uint32_t consumer = start;

		push(&pool, 0);
		push(&pool, 1);
		rotate(&pool, &consumer, 2000);
		assert_int_equal(consumer, 1300);
		assert_int_equal(*pool.fill_producer, 1302);
		ring_free(&pool);
	}
}

static void test_settle_finishes_for_the_dead(void **state)
{
	struct lrp_pool_view pool = ring_make(3, 8, 16);
	uint32_t consumer = 16;

	(void)state;
	/* Two slots filled, the index not moved: as a producer leaves it that is killed. */
	pool.fill_slot[0] = (5ull << FRAME_SHIFT) | lrp_fill_lap(&pool, 16);
	pool.fill_slot[1] = (6ull << FRAME_SHIFT) | lrp_fill_lap(&pool, 17);
	assert_int_equal(kernel_read(&pool, &consumer), UINT32_MAX);
	lrp_fill_settle(&pool, -1);
	assert_int_equal(*pool.fill_producer, 18);
	assert_int_equal(kernel_read(&pool, &consumer), 5);
	assert_int_equal(kernel_read(&pool, &consumer), 6);
	ring_free(&pool);
}

/* ---- a producer stopped at every instruction ------------------------------ */

enum victim_end { VICTIM_KILLED, VICTIM_GOES_ON, VICTIM_SLEEPS_A_WRAP };
enum victim_result { VICTIM_WAS_DONE, VICTIM_CONSERVED, VICTIM_BROKEN };

/* Tells the kernel to forget the restartable sequence: it is then plain code, which can be
 * stepped through (a step inside a registered one starts it over, for ever). */
static void rseq_unregister(void)
{
	if (__rseq_size)
		syscall(SYS_rseq, (char *)__builtin_thread_pointer() + __rseq_offset, 32,
			RSEQ_FLAG_UNREGISTER, RSEQ_SIG);
}

/*
 * A child pushes frame 3 while frames 0..2 go round; it is stopped after `steps`
 * instructions, the others work on, then it ends as told. VICTIM_BROKEN: a frame
 * was lost or doubled.
 */
static enum victim_result victim_round(int steps, enum victim_end end, bool restartable)
{
	struct lrp_pool_view pool = ring_make(2, 4, 0);
	uint32_t consumer = 0, seen[4] = {0}, frame;
	_Atomic uint32_t *done = &((struct ring *)pool.fill_map)->flags;
	bool finished = false, broken = false;
	int status;
	pid_t pid;

	for (uint32_t f = 0; f < 3; f++)
		push(&pool, f);
	rotate(&pool, &consumer, 12);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (!restartable)
			rseq_unregister();
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
			_exit(77);
		raise(SIGSTOP);
		push(&pool, 3);
		*done = 1;
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		print_message("ptrace is not allowed here\n");
		exit(77);
	}
	for (int i = 0; i < steps && !finished; i++) {
		ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		finished = *done;
	}
	*done = 0; /* it is the flags' word */
	/* 24,576 pushes of three frames: slots hold the same frame with the same tag
	 * again. Less two: the slot that the child was about to fill is unread. */
	rotate(&pool, &consumer, end == VICTIM_SLEEPS_A_WRAP ? 3 * 4 * 2048 - 2 : 5);
	if (end == VICTIM_KILLED)
		kill(pid, SIGKILL);
	else
		ptrace(PTRACE_CONT, pid, NULL, NULL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(end == VICTIM_KILLED ? WIFSIGNALED(status) : WIFEXITED(status));
	*done = 0;
	lrp_fill_settle(&pool, -1);
	while ((frame = kernel_read_any(&pool, &consumer)) != UINT32_MAX)
		seen[frame]++;
	for (int f = 0; f < 4; f++) {
		/* Of the killed one's own frame nobody can tell. */
		bool unsure = f == 3 && end == VICTIM_KILLED && !finished;

		broken |= seen[f] != 1 && !(unsure && seen[f] == 0);
	}
	/* And the ring goes on. */
	for (uint32_t f = 0; f < 3 && !broken; f++)
		push(&pool, f);
	if (!broken)
		rotate(&pool, &consumer, 9);
	ring_free(&pool);
	return finished && !broken ? VICTIM_WAS_DONE : broken ? VICTIM_BROKEN : VICTIM_CONSERVED;
}

/* At each instruction; returns at how many of them frames were not conserved. */
static int victim(enum victim_end end)
{
	int steps = 0, broken = 0;
	enum victim_result result;

	while ((result = victim_round(steps, end, false)) != VICTIM_WAS_DONE) {
		broken += result == VICTIM_BROKEN;
		assert_true(++steps < 2000);
	}
	print_message("stopped at each of %d instructions\n", steps);
	assert_true(steps > 30); /* or it was not single-stepped at all */
	return broken;
}

__attribute__((unused)) static void test_killed_anywhere(void **state)
{
	(void)state;
	assert_int_equal(victim(VICTIM_KILLED), 0);
}

__attribute__((unused)) static void test_stopped_anywhere(void **state)
{
	(void)state;
	assert_int_equal(victim(VICTIM_GOES_ON), 0);
}

/*
 * Stopped until the tag has wrapped. As plain code there is a window, and it is as narrow
 * as fill.c says: this also shows that the test can see it. Registered, the
 * kernel closes it.
 */
__attribute__((unused)) static void test_stopped_for_a_wrap_of_the_tag(void **state)
{
	int steps;

	(void)state;
	assert_in_range(victim(VICTIM_SLEEPS_A_WRAP), 1, 3);
	if (__rseq_size == 0) {
		print_message("no rseq here: the window stays open\n");
		skip();
	}
	/* Far enough to go round in the restartable sequence several times. */
	for (steps = 0; steps < 300; steps++)
		if (victim_round(steps, VICTIM_SLEEPS_A_WRAP, true) != VICTIM_CONSERVED)
			fail_msg("stopped after %d instructions: frames not conserved", steps);
}

/* ---- a storm --------------------------------------------------------------- */

#define STORM_FRAMES 64u
#define STORM_SHIFT  6u
#define QUEUE	     128u
#define LONGER	     (20 * LRP_NS_PER_S)

/* Frames on their way from the kernel to a producer: an RX ring. */
struct queue {
	_Atomic uint32_t produced;
	uint8_t line[60];
	_Atomic uint32_t consumed;
	uint8_t line2[60];
	uint32_t frame[QUEUE];
};

struct storm {
	_Atomic uint32_t go;
	_Atomic uint32_t pushed[PRODUCERS];
	struct queue queue[PRODUCERS];
};

static void producer_run(struct lrp_pool_view *pool, struct storm *storm, int self)
{
	struct queue *q = &storm->queue[self];

	while (atomic_load_explicit(&storm->go, memory_order_acquire)) {
		uint32_t c = atomic_load_explicit(&q->consumed, memory_order_relaxed);

		if (c == atomic_load_explicit(&q->produced, memory_order_acquire))
			continue;
		/* The frame is in the ring from somewhere within push() on, and ours
		 * until then: whoever looks after our death cannot know. */
		push(pool, q->frame[c % QUEUE]);
		atomic_store_explicit(&q->consumed, c + 1, memory_order_release);
		storm->pushed[self]++;
	}
	_exit(0);
}

static pid_t producer_start(struct lrp_pool_view *pool, struct storm *storm, int self)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* if a check fails */
		producer_run(pool, storm, self);
	}
	return pid;
}

/* Where this program put a frame last. */
struct given {
	int to;
	uint32_t at;
};

static void queue_put(struct storm *storm, int to, uint32_t frame, struct given *given)
{
	struct queue *q = &storm->queue[to];
	uint32_t p = atomic_load_explicit(&q->produced, memory_order_relaxed);

	*given = (struct given){to, p};
	q->frame[p % QUEUE] = frame;
	atomic_store_explicit(&q->produced, p + 1, memory_order_release);
}

/*
 * A frame that a dead producer was pushing when it was at `at` in its queue. This program alone reads
 * the ring: if it has put the frame elsewhere since, it found it there; and else nobody but the dead can
 * have pushed it.
 */
static bool was_pushed(struct lrp_pool_view *pool, uint32_t consumer, uint32_t frame,
		       struct given given, int dead, uint32_t at)
{
	if (given.to != dead || given.at != at)
		return true;
	lrp_fill_settle(pool, -1);
	for (; consumer != *pool->fill_producer; consumer++)
		if (pool->fill_slot[consumer % pool->fill_size] >> pool->frame_shift == frame)
			return true;
	return false;
}

static void test_storm(void **state)
{
	struct lrp_pool_view pool = ring_make(STORM_SHIFT, STORM_FRAMES, (uint32_t)-100000);
	struct storm *storm = shared(sizeof(*storm));
	uint32_t consumer = (uint32_t)-100000, frame, stops = 0, kills = 0, unpushed = 0;
	uint32_t seen[STORM_FRAMES] = {0}, moved = 0;
	struct given given[STORM_FRAMES];
	uint64_t start = lrp_now_ns(), next = start, until = start + 3 * LRP_NS_PER_S;
	bool stopped[PRODUCERS] = {false};
	unsigned int seed = 1;
	pid_t pid[PRODUCERS];

	(void)state;
	storm->go = 1;
	for (uint32_t f = 0; f < STORM_FRAMES; f++)
		push(&pool, f);
	for (int i = 0; i < PRODUCERS; i++)
		pid[i] = producer_start(&pool, storm, i);

	/* Three seconds; under a sanitizer, which starts processes slowly, until there was a storm. */
	for (uint64_t now = start; now < until || (moved <= 2000 && now < until + LONGER);
	     now = lrp_now_ns()) {
		for (int n = 0; n < 64; n++) {
			frame = kernel_read(&pool, &consumer);
			if (frame == UINT32_MAX)
				break;
			moved++;
			queue_put(storm, rand_r(&seed) % PRODUCERS, frame, &given[frame]);
		}
		if (now < next)
			continue;
		next = now + (uint64_t)(rand_r(&seed) % 200) * LRP_NS_PER_US;
		int i = rand_r(&seed) % PRODUCERS;

		if (rand_r(&seed) % 32 == 0) {
			struct queue *q = &storm->queue[i];

			kill(pid[i], SIGKILL);
			assert_int_equal(waitpid(pid[i], NULL, 0), pid[i]);
			kills++;
			/* The frame at the consumer is in doubt, the rest is found. */
			if (q->consumed != q->produced) {
				frame = q->frame[q->consumed % QUEUE];
				if (!was_pushed(&pool, consumer, frame, given[frame], i,
						q->consumed)) {
					push(&pool, frame);
					unpushed++;
				}
				q->consumed++;
			}
			pid[i] = producer_start(&pool, storm, i);
			stopped[i] = false;
		} else if (stopped[i]) {
			kill(pid[i], SIGCONT);
			stopped[i] = false;
		} else {
			kill(pid[i], SIGSTOP);
			stopped[i] = true;
			stops++;
		}
	}
	/* Quiet: all run until their queues are empty, then nothing moves. */
	for (int i = 0; i < PRODUCERS; i++)
		kill(pid[i], SIGCONT);
	until = lrp_now_ns() + 2 * LRP_NS_PER_S;
	for (int i = 0; i < PRODUCERS; i++)
		while (storm->queue[i].consumed != storm->queue[i].produced)
			assert_true(lrp_now_ns() < until);
	storm->go = 0;
	for (int i = 0; i < PRODUCERS; i++)
		assert_int_equal(waitpid(pid[i], NULL, 0), pid[i]);
	lrp_fill_settle(&pool, -1);
	while ((frame = kernel_read(&pool, &consumer)) != UINT32_MAX)
		seen[frame]++;
	for (uint32_t f = 0; f < STORM_FRAMES; f++)
		if (seen[f] != 1)
			fail_msg("frame %u is there %u times", f, seen[f]);
	print_message("%u frames returned, %u stops, %u kills, %u of them before the push\n", moved,
		      stops, kills, unpushed);
	assert_true(stops > 20 && kills > 3 && moved > 2000);
	munmap(storm, sizeof(*storm));
	ring_free(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_zeros_are_empty),
		cmocka_unit_test(test_laps_wrap),
		cmocka_unit_test(test_index_wraps),
		cmocka_unit_test(test_settle_finishes_for_the_dead),
#ifndef __SANITIZE_THREAD__ /* its bookkeeping takes hundreds of thousands of steps */
		cmocka_unit_test(test_killed_anywhere),
		cmocka_unit_test(test_stopped_anywhere),
		cmocka_unit_test(test_stopped_for_a_wrap_of_the_tag),
#endif
		cmocka_unit_test(test_storm),
	};

	setvbuf(stdout, NULL, _IONBF, 0);
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}

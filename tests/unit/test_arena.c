/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_arena.c - the fork arena: several processes allocate and free at once,
 * some are killed in the midst of it; no block is ever handed out twice, and the
 * arena loses no more than a block for each killed process.
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
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/base/arena.h"
#include "runtime/base/clock.h"
#include "runtime/base/lock.h"

static bool all_bytes(const uint8_t *p, size_t n, uint8_t value)
{
	while (n--)
		if (*p++ != value)
			return false;
	return true;
}

static void test_sizes(void **state)
{
	static const size_t sizes[] = {1,     16,    31,    32,	    33,	    40,	     64,
				       65,    100,   128,   129,    1000,   4096,    5000,
				       65535, 65536, 65537, 262144, 300001, 1u << 20};
	uint8_t *p[sizeof(sizes) / sizeof(sizes[0])];

	(void)state;
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			p[i] = lrp_arena_alloc(sizes[i]);
			assert_non_null(p[i]);
			assert_int_equal((uintptr_t)p[i] % (sizes[i] >= 64 ? 64 : 16), 0);
			/* In the second round these are blocks that were in use. */
			assert_true(all_bytes(p[i], sizes[i], 0));
			memset(p[i], 0xa5, sizes[i]);
			assert_ptr_equal(lrp_arena_pointer(lrp_arena_offset(p[i])), p[i]);
		}
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
			assert_true(all_bytes(p[i], sizes[i], 0xa5));
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
			lrp_arena_free(p[i], sizes[i]);
	}
	assert_null(lrp_arena_alloc(0));
	assert_null(lrp_arena_alloc((size_t)LRP_ARENA_MAX + 1));
	assert_null(lrp_arena_alloc(SIZE_MAX));
	lrp_arena_free(NULL, 10);
	assert_int_equal(lrp_arena_offset(&sizes), 0);
	assert_null(lrp_arena_pointer(0));
}

static void test_reuse_and_waste(void **state)
{
	struct lrp_arena_stats before, after;
	void *p[100];

	(void)state;
	for (int i = 0; i < 100; i++)
		p[i] = lrp_arena_alloc(1000);
	for (int i = 0; i < 100; i++)
		lrp_arena_free(p[i], 1000);
	lrp_arena_stats(&before);
	for (int round = 0; round < 50; round++) {
		for (int i = 0; i < 100; i++)
			p[i] = lrp_arena_alloc(1000);
		for (int i = 0; i < 100; i++)
			lrp_arena_free(p[i], 1000);
	}
	lrp_arena_stats(&after);
	assert_int_equal(before.carved, after.carved);
	assert_int_equal(before.in_use, after.in_use);
	/* No class wastes more than a quarter. */
	for (size_t size = 33; size < 10000; size += 7) {
		void *q = lrp_arena_alloc(size);

		lrp_arena_stats(&after);
		assert_true(after.in_use - before.in_use >= size);
		assert_true(after.in_use - before.in_use <= size + size / 4 + 1);
		lrp_arena_free(q, size);
	}
}

static void test_large_blocks_give_pages_back(void **state)
{
	size_t size = 4u << 20, page = (size_t)sysconf(_SC_PAGESIZE), resident = 0;
	unsigned char vec[1024 + 1];
	uint8_t *p = lrp_arena_alloc(size);

	(void)state;
	memset(p, 1, size);
	lrp_arena_free(p, size);
	assert_int_equal(mincore(p, size, vec), 0);
	for (size_t i = 0; i < size / page; i++)
		resident += vec[i] & 1;
	assert_true(resident <= 1); /* the link of the free list */
	assert_ptr_equal(lrp_arena_alloc(size), p);
	assert_true(all_bytes(p, size, 0));
	lrp_arena_free(p, size);
}

/* Of blocks of a buffer's size some keep their pages, but not more than 16 MiB; who wants zeros
 * gets zeros. */
static void test_kept(void **state)
{
	enum { COUNT = 300, SIZE = 100000 };
	static uint8_t *p[COUNT];
	struct lrp_arena_stats before, after;
	size_t page = (size_t)sysconf(_SC_PAGESIZE), resident = 0;
	unsigned char vec;

	(void)state;
	for (int i = 0; i < COUNT; i++) {
		p[i] = lrp_arena_alloc_raw(SIZE);
		assert_non_null(p[i]);
		memset(p[i], 0xa5, SIZE);
	}
	for (int i = 0; i < COUNT; i++)
		lrp_arena_free(p[i], SIZE);
	for (int i = 0; i < COUNT; i++) {
		assert_int_equal(mincore(p[i] + page, page, &vec), 0);
		resident += vec & 1;
	}
	assert_in_range(resident * SIZE, 8 << 20, 17 << 20);
	lrp_arena_stats(&before);
	for (int i = 0; i < COUNT; i++) {
		p[i] = i % 2 ? lrp_arena_alloc(SIZE) : lrp_arena_alloc_raw(SIZE);
		assert_non_null(p[i]);
		assert_true(i % 2 == 0 || all_bytes(p[i], SIZE, 0));
		memset(p[i], 0x5a, SIZE);
	}
	for (int i = 0; i < COUNT; i++)
		assert_true(all_bytes(p[i], SIZE, 0x5a));
	lrp_arena_stats(&after);
	assert_int_equal(before.carved, after.carved);
	for (int i = 0; i < COUNT; i++)
		lrp_arena_free(p[i], SIZE);
}

static void test_children_share(void **state)
{
	volatile uint64_t *p = lrp_arena_alloc(64);
	int status;
	pid_t pid;

	(void)state;
	pid = fork();
	if (pid == 0) {
		uint64_t *q = lrp_arena_alloc(64);

		/* At the same address there and here. */
		*q = 4711;
		*p = lrp_arena_offset(q);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(*(uint64_t *)lrp_arena_pointer(*p), 4711);
	lrp_arena_free(lrp_arena_pointer(*p), 64);
	lrp_arena_free((void *)p, 64);
}

static void test_lock_outlives_its_holder(void **state)
{
	struct lrp_lock *lock = lrp_arena_alloc(sizeof(*lock));
	pid_t pid;

	(void)state;
	assert_int_equal(lrp_lock_init(lock), 0);
	assert_false(lrp_lock(lock));
	assert_int_equal(lrp_lock_try(lock), -EBUSY);
	lrp_unlock(lock);
	for (int with_try = 0; with_try < 2; with_try++) {
		pid = fork();
		if (pid == 0) {
			lrp_lock(lock);
			raise(SIGKILL);
		}
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		if (with_try)
			assert_int_equal(lrp_lock_try(lock), 1);
		else
			assert_true(lrp_lock(lock));
		lrp_unlock(lock);
		assert_int_equal(lrp_lock_try(lock), 0);
		lrp_unlock(lock);
	}
	lrp_arena_free(lock, sizeof(*lock));
}

/* ---- killed at every instruction --------------------------------------------- */

#define SET	 4
#define SET_SIZE 480 /* a size class of its own */

/* A child allocates, or frees, and is killed after so many instructions. Returns false when it had
 * finished; *lost: how many of the class's blocks are gone. */
static bool victim_round(int steps, bool frees, int *lost)
{
	volatile int *done =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	void *set[SET], *again[SET], *in_hand = NULL;
	bool finished = false;
	int status, found = 0;
	pid_t pid;

	for (int i = 0; i < SET; i++)
		set[i] = lrp_arena_alloc(SET_SIZE);
	for (int i = 0; i < SET; i++)
		lrp_arena_free(set[i], SET_SIZE);
	if (frees)
		in_hand = lrp_arena_alloc(SET_SIZE);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
			_exit(77);
		raise(SIGSTOP);
		if (frees)
			lrp_arena_free(in_hand, SET_SIZE);
		else
			lrp_arena_alloc(SET_SIZE);
		*done = 1;
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status)) {
		print_message("ptrace is not allowed here\n");
		exit(77);
	}
	for (int i = 0; i < steps && !*done; i++) {
		ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
	}
	finished = *done;
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	for (int i = 0; i < SET; i++) {
		again[i] = lrp_arena_alloc(SET_SIZE);
		assert_non_null(again[i]);
		assert_true(all_bytes(again[i], SET_SIZE, 0));
		for (int k = 0; k < i; k++)
			assert_ptr_not_equal(again[i], again[k]);
		for (int k = 0; k < SET; k++)
			found += again[i] == set[k];
	}
	for (int i = 0; i < SET; i++)
		lrp_arena_free(again[i], SET_SIZE);
	*lost = SET - found;
	munmap((void *)done, 4096);
	return !finished;
}

__attribute__((unused)) static void test_killed_anywhere(void **state)
{
	(void)state;
	for (int frees = 0; frees < 2; frees++) {
		int steps = 0, lost, most = 0;

		while (victim_round(steps, frees, &lost)) {
			if (lost > 1)
				fail_msg("killed after %d instructions: %d blocks lost", steps,
					 lost);
			if (lost > most)
				most = lost;
			assert_true(++steps < 5000);
		}
		print_message("%s: killed at each of %d instructions\n", frees ? "free" : "alloc",
			      steps);
		assert_true(steps > 30);
		assert_int_equal(most, 1); /* else it was never inside */
	}
}

/* ---- a storm ----------------------------------------------------------------- */

#define WORKERS 3
#define BLOCKS	32

struct worker { /* shared: what survives its death */
	_Atomic uint64_t steps;
	_Atomic uint32_t broken;
};

static const size_t storm_sizes[] = {24, 40, 100, 500, 3000, 70000};

/* Fills each block with its own mark and finds it so when it frees it. */
static void worker_run(struct worker *w, unsigned int seed)
{
	uint8_t mark = (uint8_t)(getpid() | 1), *block[BLOCKS] = {NULL};
	size_t size[BLOCKS];

	for (;;) {
		unsigned int i = (unsigned int)rand_r(&seed) % BLOCKS;

		if (block[i]) {
			if (!all_bytes(block[i], size[i] < 4096 ? size[i] : 4096, mark))
				w->broken++;
			lrp_arena_free(block[i], size[i]);
			block[i] = NULL;
		} else {
			size[i] = storm_sizes[rand_r(&seed) % 6];
			block[i] = lrp_arena_alloc(size[i]);
			if (!block[i] || !all_bytes(block[i], size[i] < 4096 ? size[i] : 4096, 0))
				w->broken++;
			if (block[i])
				memset(block[i], mark, size[i] < 4096 ? size[i] : 4096);
		}
		w->steps++;
	}
}

static void test_storm(void **state)
{
	struct worker *w =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct lrp_arena_stats before, after;
	uint64_t until = lrp_now_ns() + LRP_NS_PER_S, steps = 0, most;
	unsigned int seed = 7, kills = 0;
	pid_t pid[WORKERS] = {0};

	(void)state;
	lrp_arena_stats(&before);
	while (lrp_now_ns() < until) {
		int i = rand_r(&seed) % WORKERS;

		if (pid[i]) {
			kill(pid[i], SIGKILL);
			assert_int_equal(waitpid(pid[i], NULL, 0), pid[i]);
			kills++;
		}
		pid[i] = fork();
		assert_true(pid[i] >= 0);
		if (pid[i] == 0)
			worker_run(&w[i], (unsigned int)rand_r(&seed));
		usleep((useconds_t)(rand_r(&seed) % 20000));
	}
	for (int i = 0; i < WORKERS; i++) {
		if (pid[i]) {
			kill(pid[i], SIGKILL);
			assert_int_equal(waitpid(pid[i], NULL, 0), pid[i]);
			kills++;
		}
		assert_int_equal(w[i].broken, 0);
		steps += w[i].steps;
	}
	lrp_arena_stats(&after);
	/* A dead worker's own blocks stay: nobody frees them in this test. No more than
	 * these and the one in hand may be missing. */
	most = before.carved +
	       (uint64_t)(kills + WORKERS) * (BLOCKS + 1) * (70000 + 70000 / 4 + 4096);
	print_message("%llu operations, %u kills\n", (unsigned long long)steps, kills);
	assert_true(after.carved <= most);
	assert_true(kills > 10 && steps > 5000);
	/* And it still works. */
	for (int i = 0; i < 6; i++) {
		void *p = lrp_arena_alloc(storm_sizes[i]);

		assert_non_null(p);
		lrp_arena_free(p, storm_sizes[i]);
	}
	munmap(w, 4096);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_reuse_and_waste),
		cmocka_unit_test(test_large_blocks_give_pages_back),
		cmocka_unit_test(test_kept),
		cmocka_unit_test(test_children_share),
		cmocka_unit_test(test_lock_outlives_its_holder),
#ifndef __SANITIZE_THREAD__ /* its bookkeeping takes hundreds of thousands of steps */
		cmocka_unit_test(test_killed_anywhere),
#endif
		cmocka_unit_test(test_storm),
	};

	setvbuf(stdout, NULL, _IONBF, 0);
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}

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
	/* No class wastes more than a quarter, but for what lies on cache lines of its own. */
	for (size_t size = 33; size < 100000; size += 7) {
		void *q = lrp_arena_alloc(size);

		lrp_arena_stats(&after);
		assert_true(after.in_use - before.in_use >= size);
		assert_true(after.in_use - before.in_use <=
			    size + (size < 256 ? 63 : size / 4 + 1));
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
	assert_int_equal(resident, 0);
	p = lrp_arena_alloc(size);
	assert_non_null(p);
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
	/* Who wanted zeros left alone what was kept. */
	assert_true(after.carved <= before.carved + (17 << 20));
	for (int i = 0; i < COUNT; i++)
		lrp_arena_free(p[i], SIZE);
}

/* A server whose buffers had grown: when they are freed their memory can become anything. */
static void test_large_become_small(void **state)
{
	enum { BIG = 4 << 20, SMALL = 64 << 10, MOST = 2000 };
	static void *p[MOST];
	struct lrp_arena_stats before, after;
	int big, small;

	(void)state;
	lrp_arena_stats(&before);
	for (big = 0; big < MOST && (p[big] = lrp_arena_alloc_raw(BIG)); big++)
		;
	assert_true(big > 10);
	/* Also when every other one went first. */
	for (int i = 0; i < big; i += 2)
		lrp_arena_free(p[i], BIG);
	assert_true(lrp_arena_sound());
	for (int i = 1; i < big; i += 2)
		lrp_arena_free(p[i], BIG);
	assert_true(lrp_arena_sound());
	for (small = 0; small < MOST && (p[small] = lrp_arena_alloc_raw(SMALL)); small++)
		;
	assert_int_equal(small, MOST);
	for (int i = 0; i < small; i++)
		lrp_arena_free(p[i], SMALL);
	/* And back: small blocks merge to large ones. */
	for (int i = 0; i < big; i++)
		assert_non_null(p[i] = lrp_arena_alloc_raw(BIG));
	for (int i = 0; i < big; i++)
		lrp_arena_free(p[i], BIG);
	lrp_arena_stats(&after);
	assert_int_equal(after.in_use, before.in_use);
	assert_true(lrp_arena_sound());
}

/* Connections are small blocks: what they took becomes buffers again. */
static void test_slabs_end(void **state)
{
	enum { BIG = 64 << 20, SIZE = 1500 };
	static void *big[1024], *p[400000];
	int bigs, n, again;

	(void)state;
	for (bigs = 0; bigs < 1024 && (big[bigs] = lrp_arena_alloc_raw(BIG)); bigs++)
		;
	assert_true(bigs > 1);
	lrp_arena_free(big[--bigs], BIG);
	lrp_arena_free(big[--bigs], BIG);
	for (n = 0; n < 400000 && (p[n] = lrp_arena_alloc_raw(SIZE)); n++)
		;
	assert_true(n > BIG / 2048);
	for (int i = 0; i < n; i++)
		lrp_arena_free(p[i], SIZE);
	for (again = 0; again < 2; again++) /* each as large as one of those */
		assert_non_null(p[again] = lrp_arena_alloc_raw(BIG / 2));
	assert_true(lrp_arena_sound());
	while (again--)
		lrp_arena_free(p[again], BIG / 2);
	while (bigs--)
		lrp_arena_free(big[bigs], BIG);
	assert_true(lrp_arena_sound());
}

/* Random operations against a model: no two blocks overlap, contents stay, zeroed is zero. */
static void test_model(void **state)
{
	enum { SLOTS = 400, STEPS = 20000 };
	static struct {
		uint8_t *p;
		size_t size;
		uint8_t mark;
	} block[SLOTS];
	struct lrp_arena_stats before, after;
	uint32_t seed = 4711, overlaps = 0;

	(void)state;
	lrp_arena_stats(&before);
	for (int step = 0; step < STEPS; step++) {
		uint32_t i = (seed = seed * 1664525u + 1013904223u) >> 8, most;

		most = 1u << (4 + (i >> 9) % 18); /* sizes of all magnitudes up to 2 MiB */
		i %= SLOTS;
		if (block[i].p) {
			size_t ends = block[i].size < 300 ? block[i].size : 300;

			assert_true(all_bytes(block[i].p, ends, block[i].mark));
			assert_true(
				all_bytes(block[i].p + block[i].size - ends, ends, block[i].mark));
			lrp_arena_free(block[i].p, block[i].size);
			block[i].p = NULL;
		} else {
			bool zeroed = seed & 256;

			block[i].size = 1 + (seed >> 4) % most;
			block[i].p = zeroed ? lrp_arena_alloc(block[i].size)
					    : lrp_arena_alloc_raw(block[i].size);
			assert_non_null(block[i].p);
			assert_true(!zeroed || all_bytes(block[i].p, block[i].size, 0));
			block[i].mark = (uint8_t)(step | 1);
			memset(block[i].p, block[i].mark, block[i].size);
			for (uint32_t k = 0; k < SLOTS; k++)
				overlaps += k != i && block[k].p &&
					    block[k].p < block[i].p + block[i].size &&
					    block[i].p < block[k].p + block[k].size;
			assert_int_equal(overlaps, 0);
		}
		if (step % 500 == 0)
			assert_true(lrp_arena_sound());
	}
	for (int i = 0; i < SLOTS; i++)
		lrp_arena_free(block[i].p, block[i].size);
	lrp_arena_stats(&after);
	assert_int_equal(after.in_use, before.in_use);
	assert_true(lrp_arena_sound());
}

/* A block that is none, and one twice: refused, nothing is broken. */
static void test_wrong_free(void **state)
{
	uint8_t *big = lrp_arena_alloc(1 << 20), *small = lrp_arena_alloc(100);
	struct lrp_arena_stats before, after;

	(void)state;
	lrp_arena_stats(&before);
	lrp_arena_free(big + 4096, 1 << 20);
	lrp_arena_free(big, 2 << 20);
	lrp_arena_free(big, 100);
	lrp_arena_free(small + 16, 100);
	lrp_arena_free(small, 1000);
	lrp_arena_stats(&after);
	assert_int_equal(after.in_use, before.in_use);
	lrp_arena_free(big, 1 << 20);
	lrp_arena_free(big, 1 << 20);
	lrp_arena_free(small, 100);
	assert_true(lrp_arena_sound());
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
#define SET_SIZE 448 /* a size class of its own */

/* A child allocates, or frees, and is killed after so many instructions. Returns false when it had
 * finished; *lost: how many of the class's blocks are gone. */
static bool victim_round(int steps, bool frees, int *lost)
{
	volatile int *done =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct lrp_arena_stats before, after;
	void *set[SET], *again[SET], *in_hand = NULL;
	bool finished = false;
	int status;
	pid_t pid;

	for (int i = 0; i < SET; i++)
		set[i] = lrp_arena_alloc(SET_SIZE);
	for (int i = 0; i < SET; i++)
		lrp_arena_free(set[i], SET_SIZE);
	lrp_arena_stats(&before);
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
	assert_true(lrp_arena_sound());
	for (int i = 0; i < SET; i++) {
		again[i] = lrp_arena_alloc(SET_SIZE);
		assert_non_null(again[i]);
		assert_true(all_bytes(again[i], SET_SIZE, 0));
		for (int k = 0; k < i; k++)
			assert_ptr_not_equal(again[i], again[k]);
	}
	for (int i = 0; i < SET; i++)
		lrp_arena_free(again[i], SET_SIZE);
	lrp_arena_stats(&after);
	*lost = (int)((after.in_use - before.in_use) / SET_SIZE);
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

#define LARGE 70000 /* a run that is split off, and merges when it is freed */

/* The same for large blocks: the run before, the one behind, or both are free when the victim
 * frees its block, or it splits a run. Afterwards the arena is sound and lacks one
 * block at most. */
static bool large_round(int steps, int what, uint64_t *lost)
{
	volatile int *done =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct lrp_arena_stats before, after;
	size_t size = what & 4 ? LARGE * 8 : LARGE; /* with pages that go back */
	void *row[4];
	bool finished;
	int status;
	pid_t pid;

	lrp_arena_stats(&before);
	for (int i = 0; i < 4; i++)
		row[i] = lrp_arena_alloc_raw(size);
	if (what & 1)
		lrp_arena_free(row[0], size);
	if (what & 2)
		lrp_arena_free(row[2], size);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
			_exit(77);
		raise(SIGSTOP);
		if (what & 8)
			lrp_arena_alloc(size);
		else
			lrp_arena_free(row[1], size);
		*done = 1;
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	for (int i = 0; i < steps && !*done; i++) {
		ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
	}
	finished = *done;
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(lrp_arena_sound());
	if (what & 8)
		lrp_arena_free(row[1], size);
	if (!(what & 1))
		lrp_arena_free(row[0], size);
	if (!(what & 2))
		lrp_arena_free(row[2], size);
	lrp_arena_free(row[3], size);
	assert_true(lrp_arena_sound());
	lrp_arena_stats(&after);
	*lost = after.in_use - before.in_use;
	/* What was lost is this process's, and it knows which: it ends here. */
	if (*lost && !(what & 8))
		lrp_arena_free(row[1], size);
	munmap((void *)done, 4096);
	return !finished;
}

__attribute__((unused)) static void test_large_killed_anywhere(void **state)
{
	(void)state;
	static const int whats[] = {0, 3, 8, 15};

	for (size_t i = 0; i < sizeof(whats) / sizeof(whats[0]); i++) {
		uint64_t lost, most = 0;
		int what = whats[i], steps = 0;

		while (large_round(steps, what, &lost)) {
			/* Rounded up to units. */
			assert_true(lost <= (what & 4 ? LARGE * 8 : LARGE) + 4095);
			if (lost > most)
				most = lost;
			/* Each instruction where most happens. */
			steps += what == 3 || what == 8 ? 1 : 3;
			assert_true(steps < 20000);
		}
		assert_true(steps > 30);
		assert_true(most > 0); /* else it was never inside */
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
	/* A second, longer where forking is slow. */
	while (lrp_now_ns() < until || (kills <= 10 && lrp_now_ns() < until + 20 * LRP_NS_PER_S)) {
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
	assert_true(lrp_arena_sound());
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
		cmocka_unit_test(test_large_become_small),
		cmocka_unit_test(test_slabs_end),
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_wrong_free),
		cmocka_unit_test(test_children_share),
		cmocka_unit_test(test_lock_outlives_its_holder),
#ifndef __SANITIZE_THREAD__ /* its bookkeeping takes hundreds of thousands of steps */
		cmocka_unit_test(test_killed_anywhere),
		cmocka_unit_test(test_large_killed_anywhere),
#endif
		cmocka_unit_test(test_storm),
	};

	setvbuf(stdout, NULL, _IONBF, 0);
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}

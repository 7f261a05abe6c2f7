/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_channel.c - a channel over rings in plain shared memory; this program
 * plays the kernel. Positions near 2^32, partial returns, frames taken out of
 * the ring, and a consumer that is killed at any instruction.
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
#include <sys/rseq.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/ring/channel.h"
#include "runtime/ring/fill.h"
#include "runtime/ring/ring_map.h"

#define FRAMES	    16u
#define FRAME_SHIFT 11
#define RING	    8u
#define HEADROOM    256u
#define CHANNEL_ID  77u

struct bed { /* shared between processes */
	struct lrp_pool_view pool;
	struct lrp_chan chan;
	struct lrp_user user;
	struct lrp_frame frame[FRAMES];
	struct lrp_rest rest;
	_Atomic uint32_t fill_producer, fill_flags;
	_Atomic uint64_t fill_slot[FRAMES];
	_Atomic uint32_t producer, consumer;
	struct xdp_desc desc[RING];
	uint32_t fill_read; /* the kernel's consumer of the fill ring */
	volatile int done;
};

/* A channel whose positions start at `start`, all frames on the fill ring. */
static struct bed *bed_make(uint32_t start)
{
	struct bed *b =
		mmap(NULL, sizeof(*b), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(b != MAP_FAILED);
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
		.fill_shift = 4,
	};
	b->producer = b->consumer = start;
	b->chan = (struct lrp_chan){
		.pool = &b->pool,
		.user = &b->user,
		.producer = &b->producer,
		.consumer = &b->consumer,
		.desc = b->desc,
		.ring_mask = RING - 1,
		.next = start,
		.returned_at = start,
		.counted_at = start,
		.id = CHANNEL_ID,
		.fd = -1,
	};
	lrp_chan_set_limit(&b->chan, RING);
	for (uint32_t f = 0; f < FRAMES; f++)
		lrp_fill_push(&b->pool, (uint64_t)f << FRAME_SHIFT);
	return b;
}

static void bed_free(struct bed *b)
{
	munmap(b, sizeof(*b));
}

static uint32_t fill_take(struct bed *b)
{
	assert_int_not_equal(b->fill_read, b->fill_producer);
	return (uint32_t)(b->fill_slot[b->fill_read++ % FRAMES] >> FRAME_SHIFT);
}

static uint32_t fill_free(const struct bed *b)
{
	return b->fill_producer - b->fill_read;
}

/* The kernel receives a packet of n frames. Returns the first frame. */
static uint32_t receive(struct bed *b, uint32_t n)
{
	uint32_t first = UINT32_MAX, p = b->producer;

	assert_true(p + n - b->consumer <= RING);
	for (uint32_t i = 0; i < n; i++, p++) {
		uint32_t frame = fill_take(b);

		b->desc[p % RING] = (struct xdp_desc){
			.addr = ((uint64_t)frame << FRAME_SHIFT) + HEADROOM,
			.len = 60,
			.options = i + 1 < n ? XDP_PKT_CONTD : 0,
		};
		if (i == 0)
			first = frame;
	}
	b->producer = p;
	return first;
}

static uint32_t frame_of(const struct lrp_chan *chan, uint32_t ahead)
{
	return (uint32_t)(lrp_chan_desc(chan, ahead)->addr >> FRAME_SHIFT);
}

static void test_positions_wrap(void **state)
{
	struct bed *b = bed_make((uint32_t)-5);
	struct lrp_chan *c = &b->chan;
	uint32_t frame[RING];

	(void)state;
	for (int round = 0; round < 10; round++) {
		uint32_t before = b->consumer;

		for (uint32_t i = 0; i < 5; i++)
			frame[i] = receive(b, 1);
		assert_int_equal(lrp_chan_available(c, 100), 5);
		assert_int_equal(lrp_chan_available(c, 3), 3);
		for (uint32_t i = 0; i < 5; i++)
			assert_int_equal(frame_of(c, i), frame[i]);
		/* A batch is a quarter of the limit: 2. */
		lrp_chan_take(c, 1);
		assert_int_equal(b->consumer, before);
		lrp_chan_take(c, 1);
		assert_int_equal(b->consumer, before + 2);
		lrp_chan_take(c, 1);
		assert_int_equal(lrp_chan_available(c, 100), 2);
		lrp_chan_return(c);
		assert_int_equal(b->consumer, before + 3);
		lrp_chan_take(c, 2);
		assert_int_equal(b->consumer, before + 5);
		assert_int_equal(lrp_chan_available(c, 100), 0);
		assert_int_equal(b->user.returned, (round + 1) * 5);
		assert_int_equal(fill_free(b), FRAMES);
	}
	assert_int_equal(b->consumer, 45);
	bed_free(b);
}

static void test_partial_return(void **state)
{
	struct bed *b = bed_make((uint32_t)-2);
	struct lrp_chan *c = &b->chan;
	uint32_t first;

	(void)state;
	lrp_chan_set_limit(c, 4 * RING); /* no more than the ring */
	assert_int_equal(c->batch, 2);
	c->batch = 100;
	first = receive(b, 1);
	for (int i = 0; i < 5; i++)
		receive(b, 1);
	lrp_chan_take(c, 5);
	assert_int_equal(b->user.returned, 0);
	lrp_chan_return_some(c, 3);
	assert_int_equal(b->consumer, 1);
	assert_int_equal(b->user.returned, 3);
	/* Never more than was taken. */
	lrp_chan_return_some(c, 50);
	assert_int_equal(b->consumer, 3);
	assert_int_equal(b->user.returned, 5);
	lrp_chan_return_some(c, 1);
	assert_int_equal(b->consumer, 3);
	assert_int_equal(lrp_chan_available(c, 9), 1);
	/* In order. */
	while (fill_free(b) > 5)
		fill_take(b);
	assert_int_equal(fill_take(b), first);
	bed_free(b);
}

static void test_packets_of_several_frames(void **state)
{
	struct bed *b = bed_make((uint32_t)-3);
	struct lrp_chan *c = &b->chan;

	(void)state;
	receive(b, 3);
	receive(b, 1);
	assert_int_equal(lrp_chan_available(c, 9), 4);
	assert_int_equal(lrp_chan_desc(c, 0)->options & XDP_PKT_CONTD, XDP_PKT_CONTD);
	assert_int_equal(lrp_chan_desc(c, 1)->options & XDP_PKT_CONTD, XDP_PKT_CONTD);
	assert_int_equal(lrp_chan_desc(c, 2)->options & XDP_PKT_CONTD, 0);
	assert_int_equal(lrp_chan_desc(c, 3)->options & XDP_PKT_CONTD, 0);
	lrp_chan_take(c, 3);
	assert_int_equal(b->user.returned, 3);
	lrp_chan_take(c, 1);
	lrp_chan_return(c);
	assert_int_equal(b->user.returned, 4);
	assert_int_equal(fill_free(b), FRAMES);
	bed_free(b);
}

static void test_detach(void **state)
{
	struct bed *b = bed_make((uint32_t)-1);
	struct lrp_chan *c = &b->chan;
	uint32_t frame[4];
	uint64_t addr[4];

	(void)state;
	c->batch = 100;
	for (int i = 0; i < 4; i++) {
		frame[i] = receive(b, 1);
		addr[i] = ((uint64_t)frame[i] << FRAME_SHIFT) + HEADROOM;
	}
	lrp_chan_take(c, 1);
	/* What was taken before goes back first, since the consumer passes it. */
	lrp_chan_detach(c);
	assert_int_equal(b->user.returned, 1);
	assert_int_equal(b->consumer, 1);
	lrp_chan_detach(c);
	assert_int_equal(b->consumer, 2);
	assert_int_equal(c->held, 2);
	assert_int_equal(b->frame[frame[1]].holder, LRP_FRAME_MARK(CHANNEL_ID));
	assert_int_equal(b->frame[frame[2]].holder, LRP_FRAME_MARK(CHANNEL_ID));
	/* Held frames go on using up the limit. */
	assert_int_equal(b->user.returned, 1);
	assert_int_equal(fill_free(b), FRAMES - 3);
	lrp_chan_take(c, 1);
	lrp_chan_return(c);
	assert_int_equal(b->user.returned, 2);

	/* In any order, by any address within the frame, once. */
	assert_int_equal(lrp_chan_give_back(c, addr[2] + 100), 0);
	assert_int_equal(lrp_chan_give_back(c, addr[2]), -EINVAL);
	assert_int_equal(b->user.returned, 3);
	assert_int_equal(lrp_chan_give_back(c, addr[1]), 0);
	assert_int_equal(c->held, 0);
	assert_int_equal(b->user.returned, 4);
	assert_int_equal(b->frame[frame[1]].holder, LRP_FRAME_FREE);
	assert_int_equal(fill_free(b), FRAMES);
	/* Not ours: in the ring, another channel's, beyond the UMEM. */
	assert_int_equal(lrp_chan_give_back(c, addr[0]), -EINVAL);
	b->frame[frame[0]].holder = LRP_FRAME_MARK(CHANNEL_ID + 1);
	assert_int_equal(lrp_chan_give_back(c, addr[0]), -EINVAL);
	assert_int_equal(lrp_chan_give_back(c, (uint64_t)FRAMES << FRAME_SHIFT), -EINVAL);
	assert_int_equal(lrp_chan_give_back(c, UINT64_MAX), -EINVAL);
	assert_int_equal(fill_free(b), FRAMES);
	bed_free(b);
}

static void test_settle(void **state)
{
	struct bed *b = bed_make(0);
	struct lrp_chan *c = &b->chan;

	(void)state;
	c->batch = 100;
	receive(b, 1);
	receive(b, 1);
	lrp_chan_take(c, 1);
	assert_false(lrp_chan_settle(c));
	assert_int_equal(b->user.returned, 1);
	lrp_chan_take(c, 1);
	assert_true(lrp_chan_settle(c));
	assert_int_equal(b->user.returned, 2);
	bed_free(b);
}

/* As many as lrpd wants to rest are not returned, but counted. */
static void test_rest(void **state)
{
	struct bed *b = bed_make((uint32_t)-3);
	uint32_t frame[6], before = fill_free(b);

	(void)state;
	b->chan.batch = 100;
	for (int i = 0; i < 6; i++)
		frame[i] = receive(b, 1);
	b->rest.frames = 2;
	lrp_chan_take(&b->chan, 3);
	lrp_chan_return(&b->chan);
	assert_int_equal(b->rest.frames, 0);
	assert_int_equal(b->user.returned, 3);
	assert_int_equal(b->consumer, b->producer - 3);
	assert_int_equal(b->chan.held, 0);
	assert_int_equal(fill_free(b), before - 6 + 1);
	for (int i = 0; i < 6; i++)
		assert_int_equal(b->frame[frame[i]].holder,
				 i < 2 ? LRP_FRAME_RESTING : LRP_FRAME_FREE);
	lrp_chan_take(&b->chan, 3);
	lrp_chan_return(&b->chan);
	assert_int_equal(b->user.returned, 6);
	assert_int_equal(fill_free(b), before - 2);
	bed_free(b);
}

/* ---- killed at every instruction ------------------------------------------------ */

enum work { WORK_RETURN, WORK_REST, WORK_DETACH, WORK_GIVE_BACK };

static void work_run(struct bed *b, enum work work)
{
	switch (work) {
	case WORK_RETURN:
	case WORK_REST:
		lrp_chan_take(&b->chan, 3);
		lrp_chan_return(&b->chan);
		break;
	case WORK_DETACH:
		lrp_chan_take(&b->chan, 1);
		lrp_chan_detach(&b->chan);
		break;
	case WORK_GIVE_BACK:
		lrp_chan_give_back(&b->chan, lrp_chan_desc(&b->chan, (uint32_t)-1)->addr);
		break;
	}
}

/* Where each frame is, after the survivor has mended the channel and returned all. */
static void check_conserved(struct bed *b, int steps, enum work work, uint32_t *doubts,
			    uint32_t *uncounted)
{
	uint32_t in_fill[FRAMES] = {0}, counted, resting = 0;

	lrp_chan_recover(&b->chan);
	b->chan.next = b->producer;
	lrp_chan_return(&b->chan);
	assert_int_equal(b->consumer, b->producer);
	counted = (uint32_t)b->user.returned;
	lrp_fill_settle(&b->pool, -1);
	while (fill_free(b))
		in_fill[fill_take(b)]++;
	for (uint32_t f = 0; f < FRAMES; f++) {
		uint32_t holder = b->frame[f].holder;

		if (holder == (LRP_FRAME_MARK(CHANNEL_ID) | LRP_FRAME_RETURNING)) {
			(*doubts)++;
			if (in_fill[f] > 1)
				fail_msg("work %d, step %d: frame %u doubled", work, steps, f);
		} else if (holder == LRP_FRAME_MARK(CHANNEL_ID)) {
			/* Held by the dead: lrpd returns it. */
			if (in_fill[f] != 0 || work == WORK_RETURN)
				fail_msg("work %d, step %d: frame %u held", work, steps, f);
		} else if (holder == LRP_FRAME_RESTING) {
			resting++;
			if (in_fill[f] != 0)
				fail_msg("work %d, step %d: frame %u rests and does not", work,
					 steps, f);
		} else if (in_fill[f] != 1) {
			fail_msg("work %d, step %d: frame %u is there %u times", work, steps, f,
				 in_fill[f]);
		}
	}
	assert_true(*doubts <= 1);
	assert_in_range(resting, 0, work == WORK_REST ? 2 : 0);
	/* All four were received; what is held, or in doubt while it was given back, is not counted. */
	assert_in_range(counted, 0, 4);
	*uncounted += counted < (work == WORK_RETURN || work == WORK_REST ? 4 : 3);
}

/* Returns false when the work was done before so many instructions. */
static bool killed_round(int steps, enum work work, uint32_t *doubts, uint32_t *uncounted)
{
	struct bed *b = bed_make((uint32_t)-2);
	bool finished;
	int status;
	pid_t pid;

	b->chan.batch = 100;
	b->rest.frames = work == WORK_REST ? 2 : 0;
	for (int i = 0; i < 4; i++)
		receive(b, 1);
	if (work == WORK_GIVE_BACK)
		lrp_chan_detach(&b->chan);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		/* Stepping would start a restartable sequence over for ever. */
		if (__rseq_size)
			syscall(SYS_rseq, (char *)__builtin_thread_pointer() + __rseq_offset, 32,
				RSEQ_FLAG_UNREGISTER, RSEQ_SIG);
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
			_exit(77);
		raise(SIGSTOP);
		work_run(b, work);
		b->done = 1;
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status)) {
		print_message("ptrace is not allowed here\n");
		exit(77);
	}
	for (int i = 0; i < steps && !b->done; i++) {
		ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
	}
	finished = b->done;
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	check_conserved(b, steps, work, doubts, uncounted);
	bed_free(b);
	return !finished;
}

__attribute__((unused)) static void test_killed_anywhere(void **state)
{
	static const char *const names[] = {"return", "rest", "detach", "give back"};

	(void)state;
	for (enum work work = WORK_RETURN; work <= WORK_GIVE_BACK; work++) {
		uint32_t doubts, seen = 0, uncounted = 0;
		int steps = 0;

		while (doubts = 0, killed_round(steps, work, &doubts, &uncounted)) {
			seen += doubts;
			assert_true(++steps < 5000);
		}
		print_message("%s: killed at each of %d instructions, a frame in doubt at %u\n",
			      names[work], steps, seen);
		assert_true(steps > 50);
		assert_true(seen > 0 && seen < (uint32_t)steps);
#ifndef __SANITIZE_ADDRESS__
		/* Between two stores that lie side by side in channel.c, for each return. */
		assert_in_range(uncounted, 0, 12);
#endif
	}
}

/* ---- a real socket ------------------------------------------------------------------ */

static void test_open(void **state)
{
	struct lrp_pool_view pool = {0};
	struct lrp_user user = {.returned = 5, .lost = 9};
	struct lrp_chan chan;
	int fd = socket(AF_XDP, SOCK_RAW, 0), size = 64;

	(void)state;
	if (fd < 0) {
		print_message("AF_XDP socket: %s (needs CAP_NET_RAW)\n", strerror(errno));
		skip();
	}
	assert_int_equal(setsockopt(fd, SOL_XDP, XDP_RX_RING, &size, sizeof(size)), 0);
	assert_int_equal(lrp_chan_open(&chan, &pool, fd, 63, &user, NULL), -EINVAL);
	/* A larger ring than the socket's: the kernel refuses, or it is within a page. */
	assert_true(lrp_chan_open(&chan, &pool, fd, 65536, &user, NULL) < 0);
	assert_int_equal(lrp_chan_open(&chan, &pool, fd, 64, &user, NULL), 0);
	assert_int_equal(chan.ring_mask, 63);
	assert_int_equal(chan.batch, 16);
	assert_int_equal(lrp_chan_available(&chan, 64), 0);
	assert_int_equal(chan.lost_base, 9);
	assert_int_equal(*chan.producer, 0);
	lrp_chan_close(&chan);
	assert_int_equal(chan.fd, -1);
	assert_int_equal(close(fd), -1); /* it was the channel's */
	/* Not an AF_XDP socket. */
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	assert_true(lrp_chan_open(&chan, &pool, fd, 64, &user, NULL) < 0);
	assert_int_equal(close(fd), 0); /* it stayed ours */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_positions_wrap),
		cmocka_unit_test(test_partial_return),
		cmocka_unit_test(test_packets_of_several_frames),
		cmocka_unit_test(test_detach),
		cmocka_unit_test(test_settle),
		cmocka_unit_test(test_rest),
#ifndef __SANITIZE_THREAD__ /* its bookkeeping takes hundreds of thousands of steps */
		cmocka_unit_test(test_killed_anywhere),
#endif
		cmocka_unit_test(test_open),
	};

	setvbuf(stdout, NULL, _IONBF, 0);
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}

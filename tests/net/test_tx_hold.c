/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* test_tx_hold.c - small frames that wait for company (runtime/tx/hold.c), as they arrive on the wire. */
#include <pthread.h>
#include <sys/wait.h>

#include "../../runtime/base/clock.h"
#include "../../runtime/tx/hold.h"
#include "tx_tcp.h"

static uint32_t woken;

static void wake(void)
{
	woken++;
}

#define HOLDS_FROM 1u /* frames since it slept, before a thread holds */

struct holder {
	struct lrp_tcp_flow flow;
	struct lrp_tx_tcp how;
	struct lrp_tx_dest dest;
	uint32_t sent; /* in order: the sequence number says which */
};

static void hold_begin(struct holder *h)
{
	memset(h, 0, sizeof(*h));
	h->flow = flow_of(AF_INET);
	h->how.flow = &h->flow;
	warm(&h->dest, &h->how);
	capture_drop(capture);
	lrp_tx_hold_guarded(wake);
	lrp_tx_hold_sleep();
	woken = 0;
}

static void hold_end(void)
{
	lrp_tx_hold_sleep();
	lrp_tx_hold_guarded(NULL);
	lrp_tx_hold_guard(0);
	lrp_tx_hold_guard(0);
}

static void send_next(struct holder *h, uint32_t len)
{
	struct lrp_tcp_tx tx = segment(LRP_TCP_ACK, len, 0);

	tx.seq = h->sent++;
	assert_int_equal(lrp_tx_send_tcp(&h->dest, &h->how, &tx, 1, MSG_DONTWAIT | MSG_CONFIRM), 1);
}

/* What has come is `from` to `to`, each once and in order. */
static void expect_sent(uint32_t from, uint32_t to)
{
	struct lrp_packet p;
	struct frames frames;

	capture_take(capture, &frames, 200);
	for (uint32_t i = 0; i < frames.count; i++)
		assert_int_equal(parse(&frames, i, &p).seq, from + i);
	assert_int_equal(frames.count, to - from);
	frames_free(&frames);
}

/* `more` frames are held, all of them: not if we were interrupted for so long that they had to leave. */
static void hold(struct holder *h, uint32_t more)
{
	for (int tries = 0; tries < 200; tries++) {
		uint32_t first;

		/* One frame between two sleeps: the first after that is not held. */
		lrp_tx_hold_sleep();
		send_next(h, 10);
		lrp_tx_hold_sleep();
		capture_drop(capture);
		for (uint32_t i = 0; i < HOLDS_FROM; i++)
			send_next(h, 10);
		first = h->sent;
		for (uint32_t i = 0; i < more; i++)
			send_next(h, 10);
		usleep(3000);
		if (arrived(0) == HOLDS_FROM && h->sent == first + more)
			return;
	}
	fail_msg("nothing is held");
}

static void test_held(void **state)
{
	struct holder h;
	uint32_t first;

	(void)state;
	hold_begin(&h);
	hold(&h, 5);
	first = h.sent - 5;
	assert_int_equal(woken, 1);
	/* A call just after is no reason; one later is. */
	lrp_tx_hold_call(0);
	assert_int_equal(arrived(2), 0);
	lrp_tx_hold_call((int64_t)lrp_now_ns());
	expect_sent(first, h.sent);
	hold(&h, 3);
	first = h.sent - 3;
	lrp_tx_hold_sleep();
	expect_sent(first, h.sent);
	/* After a sleep the first one goes at once, if it was alone the last time. */
	send_next(&h, 10);
	lrp_tx_hold_sleep();
	expect_sent(first + 3, h.sent);
	first = h.sent;
	send_next(&h, 10);
	expect_sent(first, h.sent);
	hold_end();
}

/* Who has sent several since he slept holds the first as well. */
static void test_held_first(void **state)
{
	struct holder h;
	uint32_t first;

	(void)state;
	hold_begin(&h);
	for (int tries = 0; tries < 200; tries++) {
		hold(&h, 2);
		lrp_tx_hold_sleep();
		capture_drop(capture);
		first = h.sent;
		send_next(&h, 10);
		usleep(3000);
		if (!arrived(0))
			break;
	}
	lrp_tx_hold_sleep();
	expect_sent(first, h.sent);
	hold_end();
}

/* A FIN is no frame of its own if the data before it has not left. */
static void test_held_fin(void **state)
{
	struct lrp_tcp_tx fin = segment(LRP_TCP_ACK | LRP_TCP_FIN, 0, 0);
	struct lrp_tcp_segment s;
	struct lrp_packet p;
	struct frames frames;
	struct holder h;

	(void)state;
	hold_begin(&h);
	hold(&h, 3);
	fin.seq = h.sent - 1 + 10;
	assert_int_equal(lrp_tx_send_tcp(&h.dest, &h.how, &fin, 1, MSG_DONTWAIT | MSG_CONFIRM), 1);
	lrp_tx_hold_sleep();
	capture_take(capture, &frames, 200);
	assert_int_equal(frames.count, 3);
	for (uint32_t i = 0; i < 3; i++) {
		s = parse(&frames, i, &p);
		assert_int_equal(s.flags & LRP_TCP_FIN, i == 2 ? LRP_TCP_FIN : 0);
	}
	frames_free(&frames);
	/* And it is one if the data is another connection's, or not the last before it. */
	hold(&h, 3);
	fin.seq = h.sent + 10;
	assert_int_equal(lrp_tx_send_tcp(&h.dest, &h.how, &fin, 1, MSG_DONTWAIT | MSG_CONFIRM), 1);
	lrp_tx_hold_sleep();
	assert_int_equal(arrived(20), 4);
	hold_end();
}

/* What does not fit, and what is not held, follows what is. */
static void test_held_order(void **state)
{
	struct holder h;
	uint32_t first;

	(void)state;
	hold_begin(&h);
	hold(&h, 4);
	first = h.sent - 4;
	send_next(&h, 1000);
	expect_sent(first, h.sent);
	hold(&h, 4);
	first = h.sent - 4;
	for (uint32_t i = 4; i < LRP_TX_HOLD_FRAMES; i++)
		send_next(&h, 10);
	/* The last that fits, or the time. */
	expect_sent(first, h.sent);
	hold_end();
}

static void test_held_guard(void **state)
{
	struct holder h;
	uint32_t first;
	int64_t now;

	(void)state;
	hold_begin(&h);
	hold(&h, 2);
	first = h.sent - 2;
	now = (int64_t)lrp_now_ns();
	assert_int_equal(woken, 1);
	/* Too early: it comes again. */
	assert_int_equal(lrp_tx_hold_guard(now - 1000000000),
			 now - 1000000000 + LRP_TX_HOLD_MOST_NS);
	assert_int_equal(arrived(2), 0);
	lrp_tx_hold_guard(now + LRP_TX_HOLD_MOST_NS);
	expect_sent(first, h.sent);
	/* Nothing happens any more: it need not come. */
	lrp_tx_hold_guard(now);
	assert_int_equal(lrp_tx_hold_guard(now), INT64_MAX);
	/* Who left them lying holds none for a while. */
	lrp_tx_hold_call((int64_t)lrp_now_ns());
	first = h.sent;
	for (uint32_t i = 0; i < 2 * HOLDS_FROM + 20; i++)
		send_next(&h, 10);
	expect_sent(first, h.sent);
	assert_int_equal(woken, 1);
	for (uint32_t i = 0; i < 4096; i++) {
		send_next(&h, 10);
		if (i % 128 == 127) {
			lrp_tx_hold_sleep();
			capture_drop(capture);
		}
	}
	hold(&h, 2);
	assert_int_equal(woken, 2);
	hold_end();
}

static void *hold_and_end(void *arg)
{
	struct holder *h = arg;

	hold(h, 3);
	return NULL;
}

static void test_held_thread_ends(void **state)
{
	struct holder h;
	pthread_t thread;
	uint32_t first;

	(void)state;
	hold_begin(&h);
	assert_int_equal(pthread_create(&thread, NULL, hold_and_end, &h), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	first = h.sent - 3;
	expect_sent(first, h.sent);
	hold_end();
}

static void test_held_fork(void **state)
{
	struct holder h;
	uint32_t first;
	int status;
	pid_t pid;

	(void)state;
	hold_begin(&h);
	hold(&h, 3);
	first = h.sent - 3;
	pid = fork();
	if (!pid) {
		lrp_tx_hold_sleep();
		lrp_tx_hold_release_all();
		/* It holds none itself: it may be gone the next moment. */
		lrp_tx_hold_guarded(wake);
		for (uint32_t i = 0; i < HOLDS_FROM + 5; i++)
			send_next(&h, 10);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(arrived(20), HOLDS_FROM + 5);
	lrp_tx_hold_release_all();
	expect_sent(first, h.sent);
	hold_end();
}

/* What the device refuses stays, until it takes it. */
static void test_held_congested(void **state)
{
	struct holder h;
	uint32_t first, got = 0;

	(void)state;
	hold_begin(&h);
	bed_sh("tc qdisc add dev s0 root tbf rate 80kbit burst 1600 limit 1600");
	for (int i = 0; i < 2; i++)
		send_next(&h, 10);
	first = h.sent;
	/* More than burst and queue take, fewer than can be held. */
	while (h.sent < first + 60)
		send_next(&h, 10);
	for (int i = 0; i < 200 && got < h.sent; i++) {
		lrp_tx_hold_sleep();
		got += arrived(20);
	}
	assert_int_equal(got, h.sent);
	assert_int_equal(arrived(50), 0);
	bed_sh("tc qdisc del dev s0 root");
	hold_end();
}

static void test_held_never(void **state)
{
	struct holder h;
	uint32_t first;

	(void)state;
	hold_begin(&h);
	hold(&h, 2);
	first = h.sent - 2;
	lrp_tx_hold_never();
	expect_sent(first, h.sent);
	first = h.sent;
	for (uint32_t i = 0; i < HOLDS_FROM + 5; i++)
		send_next(&h, 10);
	expect_sent(first, h.sent);
	hold_end();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_held),	   cmocka_unit_test(test_held_first),
		cmocka_unit_test(test_held_fin),   cmocka_unit_test(test_held_order),
		cmocka_unit_test(test_held_guard), cmocka_unit_test(test_held_thread_ends),
		cmocka_unit_test(test_held_fork),  cmocka_unit_test(test_held_congested),
		cmocka_unit_test(test_held_never), /* from here on this thread holds none */
	};

	(void)argc;
	bed_enter(argv);
	return cmocka_run_group_tests(tests, setup, NULL) ? 1 : 0;
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_fault_hoard.c - channels whose application never reads, or takes zero-copy
 * frames and keeps them. They use up what is theirs; others are not affected. Frames that are
 * given back work again.
 */
#include "fault_bed.h"

#define RATE	 100000u
#define SLEEPERS 3
#define HOARDERS 3
#define PORTS	 (SLEEPERS + HOARDERS + 1)
#define KEEP	 1000

static int sleeper(struct fault_app *app, int fd)
{
	(void)fd;
	while (!app->stop)
		fault_sleep_ms(10);
	return 0;
}

enum { TAKE, GIVE, RECEIVE };

/* Takes all that it can get and keeps it; gives it back, checked, when it is told to; then
 * receives as others do. app->arg: the command, shared. */
static int hoarder(struct fault_app *app, int fd)
{
	static struct lrp_zc zc[KEEP];
	static uint64_t first[KEEP];
	_Atomic int *command = app->arg;
	unsigned int held = 0;

	while (!app->stop) {
		switch (*command) {
		case TAKE: {
			int n = held < KEEP ? lrp_zc_recv(fd, zc + held, KEEP - held, 0) : 0;

			for (int i = 0; i < n; i++) {
				fault_note(app, zc[held + (unsigned int)i].data,
					   zc[held + (unsigned int)i].len);
				memcpy(&first[held + (unsigned int)i],
				       zc[held + (unsigned int)i].data, 8);
			}
			held += n > 0 ? (unsigned int)n : 0;
			app->step = held;
			if (n <= 0)
				fault_sleep_ms(1);
			fault_stats(app, fd);
			break;
		}
		case GIVE:
			for (unsigned int i = 0; i < held; i++)
				/* Nobody has written into what we held. */
				if (memcmp(&first[i], zc[i].data, 8)) {
					app->last_errno = EILSEQ;
					return -1;
				}
			if (held && lrp_zc_return(fd, zc, held)) {
				app->last_errno = errno;
				return -1;
			}
			/* A second time is refused. */
			if (held && (lrp_zc_return(fd, zc, 1) == 0 || errno != EINVAL))
				return -2;
			held = 0;
			app->step = 0;
			fault_sleep_ms(1);
			break;
		case RECEIVE:
			return fault_receive(app, fd);
		}
	}
	return 0;
}

static void test(unsigned int seconds)
{
	struct fault_app *quiet[SLEEPERS], *greedy[HOARDERS], *other;
	_Atomic int *command = (_Atomic int *)&(fault_app_new(1, 1)->step);
	struct fault_load load;
	struct fault_pool sum;
	uint64_t was;

	for (int i = 0; i < SLEEPERS; i++) {
		quiet[i] = fault_app_new((uint16_t)(FAULT_PORT + i), PORTS);
		quiet[i]->body = sleeper;
		fault_spawn(quiet[i]);
	}
	for (int i = 0; i < HOARDERS; i++) {
		greedy[i] = fault_app_new((uint16_t)(FAULT_PORT + SLEEPERS + i), PORTS);
		greedy[i]->body = hoarder;
		greedy[i]->arg = (void *)command;
		fault_spawn(greedy[i]);
	}
	other = fault_app_new(FAULT_PORT + PORTS - 1, PORTS);
	other->frames = 16384;
	other->nice = -10;
	fault_spawn(other);
	fault_load_start(&load, PORTS, RATE, 60);
	CHECK(fault_receives(other, 3000), "nothing arrives");

	/* Full: each at its limit, and discarded before anything is spent on it. */
	for (int i = 0; i < SLEEPERS; i++) {
		long limit = fault_channel(quiet[i]->port, "limit");

		CHECK(FAULT_WAIT(fault_channel(quiet[i]->port, "drop_full") > 0, 3000),
		      "no early discard");
		CHECK(fault_channel(quiet[i]->port, "occupancy") == limit, "%ld of %ld frames",
		      fault_channel(quiet[i]->port, "occupancy"), limit);
		CHECK(fault_channel(quiet[i]->port, "socket_ring_full") == 0,
		      "dropped by the kernel, too late");
	}
	for (int i = 0; i < HOARDERS; i++) {
		long limit = fault_channel(greedy[i]->port, "limit");

		CHECK(FAULT_WAIT((long)greedy[i]->step == limit, 3000), "keeps %u of %ld frames",
		      greedy[i]->step, limit);
		CHECK(FAULT_WAIT(fault_channel(greedy[i]->port, "drop_full") > 0, 3000),
		      "no early discard");
	}
	CHECK(fault_audit(&sum) && sum.ok && sum.held >= HOARDERS * 200 && !sum.lost &&
		      !sum.doubled,
	      "held %ld lost %ld doubled %ld", sum.held, sum.lost, sum.doubled);
	was = other->received;
	fault_sleep_ms(seconds * 1000);
	CHECK(other->received - was > seconds * RATE / PORTS / 10, "the other received only %llu",
	      (unsigned long long)(other->received - was));

	/* Given back: they work again, and can be taken again. */
	for (int round = 0; round < 3; round++) {
		*command = GIVE;
		for (int i = 0; i < HOARDERS; i++)
			CHECK(FAULT_WAIT(greedy[i]->step == 0, 3000), "does not give back");
		*command = TAKE;
		for (int i = 0; i < HOARDERS; i++)
			CHECK(FAULT_WAIT(greedy[i]->step > 200, 3000),
			      "got %u frames after it gave back all", greedy[i]->step);
	}
	*command = GIVE;
	fault_sleep_ms(100);
	*command = RECEIVE;
	for (int i = 0; i < HOARDERS; i++)
		CHECK(FAULT_WAIT(greedy[i]->received > 5000, 5000), "receives no more: %llu",
		      (unsigned long long)greedy[i]->received);
	fault_load_stop(&load);
	fault_check_all(other, &load, 0, "beside hoarders");
	CHECK(other->kernel == 0, "%llu came through the kernel",
	      (unsigned long long)other->kernel);
	CHECK(fault_channel(other->port, "drop_full") == 0 &&
		      fault_channel(other->port, "drop_surplus") == 0 &&
		      fault_channel(other->port, "lost") == 0,
	      "dropped at the other's channel");
	for (int i = 0; i < HOARDERS; i++) {
		CHECK(!greedy[i]->doubled && !greedy[i]->strange && !greedy[i]->errors,
		      "doubled or strange");
		fault_stop(greedy[i]);
		fault_app_free(greedy[i]);
	}
	fault_audit_clean("hoarders gone", 5000);
	CHECK(fault_audit(&sum) && !sum.held && sum.queued > 0, "held %ld queued %ld", sum.held,
	      sum.queued);
	for (int i = 0; i < SLEEPERS; i++) {
		CHECK(!quiet[i]->kernel, "leaked to the kernel");
		fault_stop(quiet[i]);
		fault_app_free(quiet[i]);
	}
	fault_stop(other);
	fault_app_free(other);
	fault_audit_idle("after hoarding", 8000);
}

int main(int argc, char **argv)
{
	(void)argc;
	fault_begin(argv, NULL);
	test(fault_soak_s(5));
	return fault_end();
}

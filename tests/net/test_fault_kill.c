/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_fault_kill.c - kill -9 of applications and of forked families, under load.
 *
 * Its port can be bound and its frames are back within a second, whatever it was doing:
 * receiving, holding zero-copy frames, or nothing. Survivors of a family go on. Another
 * process's socket loses nothing: every number, once.
 */
#include "fault_bed.h"

#define RATE   100000u /* a receiver that gets no CPU for 300 ms still loses nothing */
#define SECOND 1000

/* Takes frames and never gives them back. */
static int hoard(struct fault_app *app, int fd)
{
	static struct lrp_zc zc[200];
	int held = 0;

	while (!app->stop) {
		int n = lrp_zc_recv(fd, zc + held, 200 - (unsigned int)held, 0);

		for (int i = 0; i < n; i++)
			fault_note(app, zc[held + i].data, zc[held + i].len);
		held += n > 0 ? n : 0;
		app->step = (uint32_t)held;
		if (held == 200)
			fault_sleep_ms(20);
	}
	return 0;
}

/* Takes and gives back as fast as it can: dies somewhere in between. */
static int juggle(struct fault_app *app, int fd)
{
	static struct lrp_zc zc[16];

	while (!app->stop) {
		int n = lrp_zc_recv(fd, zc, 16, 0);

		for (int i = 0; i < n; i++)
			fault_note(app, zc[i].data, zc[i].len);
		if (n > 0)
			lrp_zc_return(fd, zc, (unsigned int)n);
	}
	return 0;
}

static int ignore(struct fault_app *app, int fd)
{
	(void)fd;
	while (!app->stop)
		fault_sleep_ms(10);
	return 0;
}

#define TOOK 256
static int took_ms[TOOK];
static unsigned int took;

static int by_size(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* Of ten reclaims nine take less than a second. */
static void check_times(void)
{
	unsigned int n = took < TOOK ? took : TOOK;

	qsort(took_ms, n, sizeof(took_ms[0]), by_size);
	printf("%u reclaims: median %d ms, longest %d ms\n", n, took_ms[n / 2], took_ms[n - 1]);
	CHECK(n > 10 && took_ms[n * 9 / 10] < SECOND, "%d ms of %u", took_ms[n * 9 / 10], n);
}

/* Everything of the victim, which was killed just now, is gone within a second. `others`: endpoints
 * of other processes. */
static void check_gone(const char *what, long others)
{
	uint64_t killed_ns = fault_now_ns();
	struct fault_pool sum;
	int free_ms = fault_port_free(FAULT_PORT, SECOND);
	long used = -1;
	double ms;

	CHECK(free_ms >= 0, "%s: the port is not free after a second", what);
	FAULT_WAIT((used = fault_endpoints_used()) == others, 2 * SECOND);
	ms = (double)(fault_now_ns() - killed_ns) / 1e6;
	CHECK(used == others, "%s: %ld endpoints are used, not %ld", what, used, others);
	/* Now and then a machine that does other things as well takes longer: see check_times(). */
	CHECK(ms < 3 * SECOND, "%s: took %.0f ms to get its channels back", what, ms);
	took_ms[took++ % TOOK] = (int)ms;
	CHECK(fault_audit(&sum) && sum.ok && !sum.lost && !sum.doubled && !sum.held,
	      "%s: lost %ld doubled %ld held %ld", what, sum.lost, sum.doubled, sum.held);
	printf("%s: port free after %d ms, all back after %.0f ms; quarantined %ld\n", what,
	       free_ms, ms, sum.quarantined);
}

static void test_applications(unsigned int rounds)
{
	static int (*const body[])(struct fault_app *, int) = {NULL, hoard, juggle, ignore};
	static const char *const name[] = {"a receiver", "a hoarder", "a juggler",
					   "one that sleeps"};
	struct fault_app *other = fault_app_new(FAULT_PORT + 1, 2), *victim;
	struct fault_load load;
	long others;

	other->frames = 16384;
	other->nice = -10;
	fault_spawn(other);
	/* What it fetched ahead, too: endpoints in its stock. */
	others = fault_endpoints_used();
	fault_load_start(&load, 2, RATE, 60);
	CHECK(fault_receives(other, 3000), "nothing arrives");
	for (unsigned int i = 0; i < rounds; i++) {
		unsigned int kind = i % 4;

		victim = fault_app_new(FAULT_PORT, 2);
		victim->body = body[kind];
		victim->batch = 1 + fault_random(32);
		fault_spawn(victim);
		CHECK(victim->channels > 0, "%s: no channel for the next on that port", name[kind]);
		if (kind != 3)
			CHECK(FAULT_WAIT(victim->received > 0, SECOND), "%s receives nothing",
			      name[kind]);
		fault_sleep_ms(20 + fault_random(50));
		CHECK(!victim->strange, "%s got what is another's", name[kind]);
		fault_kill(victim);
		check_gone(name[kind], others);
		CHECK(fault_receives(other, 500), "the other receives nothing");
		fault_app_free(victim);
	}
	fault_load_stop(&load);
	fault_check_all(other, &load, 0, "bystander");
	CHECK(other->kernel < other->received / 100, "the bystander's came through the kernel");
	CHECK(fault_channel(FAULT_PORT + 1, "drop_full") == 0 &&
		      fault_channel(FAULT_PORT + 1, "lost") == 0,
	      "dropped at the bystander's channel");
	fault_audit_idle("after kill -9 of applications", 5000);
	fault_stop(other);
	fault_nobody_left();
	fault_app_free(other);
}

enum order { PARENT_FIRST, CHILDREN_FIRST, ANY_ORDER };

static void test_family(enum order order, const char *what)
{
	struct fault_app *other = fault_app_new(FAULT_PORT + 1, 2),
			 *family = fault_app_new(FAULT_PORT, 2);
	int kill_at[4] = {0, 1, 2, 3};
	struct fault_load load;
	long others;

	other->frames = 16384;
	other->nice = -10;
	fault_spawn(other);
	others = fault_endpoints_used();
	family->frames = 16384;
	family->children = 3;
	family->batch = 8;
	family->nice = -10;
	fault_spawn(family);
	for (int i = 0; i < 4; i++) {
		if (order == CHILDREN_FIRST)
			kill_at[i] = 3 - i;
		if (order == ANY_ORDER) {
			int with = i + (int)fault_random(4 - (uint32_t)i), was = kill_at[i];

			kill_at[i] = kill_at[with];
			kill_at[with] = was;
		}
	}
	fault_load_start(&load, 2, RATE, 60);
	CHECK(fault_receives(family, 3000), "%s: nothing arrives", what);
	for (int i = 0; i < 4; i++) {
		uint64_t before = 0, least = RATE / 2 / 50;

		fault_sleep_ms(100 + fault_random(100));
		kill(family->pid[kill_at[i]], SIGKILL);
		if (i == 3)
			break;
		fault_sleep_ms(50); /* until it is dead */
		for (int k = i + 1; k < 4; k++)
			before += family->of[kill_at[k]];
		CHECK(fault_receives(family, SECOND), "%s: the %d that are left receive nothing",
		      what, 3 - i);
		fault_sleep_ms(200);
		for (int k = i + 1; k < 4; k++)
			before -= family->of[kill_at[k]];
		CHECK(-before > least, "%s: the %d that are left received %lld", what, 3 - i,
		      (long long)-before);
		CHECK(fault_port_free(FAULT_PORT, 0) < 0, "%s: the port is free, %d have it", what,
		      3 - i);
		if (i == 2) {
			/* Until the last is dead nothing may be missing but what the dead had in their
			 * hands: a batch, and a frame in doubt each. */
			struct fault_pool sum;

			CHECK(fault_audit(&sum) && sum.ok && !sum.lost && !sum.doubled,
			      "%s: lost %ld doubled %ld", what, sum.lost, sum.doubled);
			fault_load_stop(&load);
			fault_check_all(family, &load, 3 * (family->batch + 1), what);
			fault_check_all(other, &load, 0, what);
		}
	}
	check_gone(what, others);
	fault_audit_idle(what, 5000);
	fault_stop(other);
	fault_nobody_left();
	fault_app_free(other);
	fault_app_free(family);
}

/* While packets stream in, the last one of a family dies too. */
static void test_family_whole(void)
{
	struct fault_app *other = fault_app_new(FAULT_PORT + 1, 2);
	struct fault_load load;
	long others;

	other->frames = 16384;
	other->nice = -10;
	fault_spawn(other);
	others = fault_endpoints_used();
	fault_load_start(&load, 2, RATE, 60);
	for (int i = 0; i < 4; i++) {
		struct fault_app *family = fault_app_new(FAULT_PORT, 2);

		family->children = 3;
		family->batch = 1 + fault_random(32);
		fault_spawn(family);
		CHECK(fault_receives(family, SECOND), "the family receives nothing");
		fault_sleep_ms(50 + fault_random(50));
		fault_kill(family);
		check_gone("a whole family", others);
		fault_app_free(family);
	}
	fault_load_stop(&load);
	fault_check_all(other, &load, 0, "bystander of families");
	fault_audit_idle("after kill -9 of families", 5000);
	fault_stop(other);
	fault_nobody_left();
	fault_app_free(other);
}

int main(int argc, char **argv)
{
	(void)argc;
	fault_begin(argv, NULL);
	test_applications(fault_soak_s(12));
	test_family(PARENT_FIRST, "family, parent first");
	test_family(CHILDREN_FIRST, "family, children first");
	test_family(ANY_ORDER, "family, any order");
	test_family_whole();
	check_times();
	return fault_end();
}

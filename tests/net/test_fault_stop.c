/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_fault_stop.c - processes that are stopped at any moment, hundreds of times,
 * also in the midst of returning frames to the fill ring that all share.
 *
 * Stopped by SIGSTOP at random, and by ptrace single-stepped to where it hurts. All others go on
 * and lose nothing; who was stopped goes on where it was.
 */
#include <sys/ptrace.h>
#include <sys/user.h>

#include "../../runtime/ring/channel.h"
#include "../../runtime/ring/fill.h"
#include "fault_bed.h"

#define RATE	100000u
#define VICTIMS 3
#define PORTS	(VICTIMS + 1)

static struct fault_app *other, *victim[VICTIMS];

/* A quarter of the load each; a small ring, so that they return frames all the time. */
static void start(struct fault_load *load)
{
	other = fault_app_new(FAULT_PORT + VICTIMS, PORTS);
	other->frames = 16384;
	other->nice = -10;
	fault_spawn(other);
	for (int i = 0; i < VICTIMS; i++) {
		victim[i] = fault_app_new((uint16_t)(FAULT_PORT + i), PORTS);
		victim[i]->batch = 4;
		victim[i]->frames = 64;
		fault_spawn(victim[i]);
	}
	fault_load_start(load, PORTS, RATE, 100);
	CHECK(fault_receives(other, 3000), "nothing arrives");
}

static void finish(struct fault_load *load, const char *what)
{
	fault_load_stop(load);
	fault_check_all(other, load, 0, what);
	CHECK(other->kernel < other->received / 100, "%s: came through the kernel", what);
	CHECK(fault_channel(other->port, "drop_full") == 0 &&
		      fault_channel(other->port, "lost") == 0,
	      "%s: dropped at the channel of one that was never stopped", what);
	for (int i = 0; i < VICTIMS; i++) {
		CHECK(!victim[i]->doubled && !victim[i]->strange && !victim[i]->errors,
		      "%s: doubled %llu, strange %llu, errors %llu (%s)", what,
		      (unsigned long long)victim[i]->doubled,
		      (unsigned long long)victim[i]->strange, (unsigned long long)victim[i]->errors,
		      strerror(victim[i]->last_errno));
		fault_stop(victim[i]);
		fault_app_free(victim[i]);
	}
	/* No frame was lost or doubled on the fill ring. */
	fault_audit_idle(what, 8000);
	fault_stop(other);
	fault_app_free(other);
}

static void test_random(unsigned int seconds)
{
	uint64_t until = fault_now_ns() + seconds * 1000000000ull;
	unsigned int stops = 0, long_stops = 0;
	struct fault_load load;

	start(&load);
	while (fault_now_ns() < until) {
		int who = (int)fault_random(VICTIMS), also = (int)fault_random(VICTIMS);

		usleep(fault_random(3000));
		kill(victim[who]->pid[0], SIGSTOP);
		if (stops % 4 == 0)
			kill(victim[also]->pid[0], SIGSTOP);
		if (stops % 50 == 49) {
			/* For so long that its channel is full: others do not notice. */
			uint64_t was = other->received;

			fault_sleep_ms(100);
			CHECK(other->received > was, "all wait for one that is stopped");
			long_stops++;
		} else {
			usleep(fault_random(3000));
		}
		kill(victim[who]->pid[0], SIGCONT);
		kill(victim[also]->pid[0], SIGCONT);
		stops++;
	}
	printf("%u stops, %u of them long\n", stops, long_stops);
	CHECK(stops > 25 * seconds, "only %u stops", stops);
	for (int i = 0; i < VICTIMS; i++)
		CHECK(fault_receives(victim[i], 2000), "%d receives nothing after all that", i);
	finish(&load, "stopped at random");
}

/* ---- where it hurts ------------------------------------------------------------------- */

/* Where it is stopped: at the entry of a function or at its return, and some instructions on. */
static struct place {
	const char *name;
	uintptr_t entry; /* the same in the victims, for they were forked from this process */
	bool after;
	unsigned int hits;
} place[] = {
	{"lrp_chan_return_some()", (uintptr_t)lrp_chan_return_some, false, 0},
	{"lrp_fill_put()", (uintptr_t)lrp_fill_put, false, 0},
	{"after lrp_fill_put()", (uintptr_t)lrp_fill_put, true, 0},
	{"lrp_fill_end()", (uintptr_t)lrp_fill_end, false, 0},
	{"after lrp_fill_end()", (uintptr_t)lrp_fill_end, true, 0},
};
#define PLACES (sizeof(place) / sizeof(place[0]))
#define TRAP   0xccul

static bool stopped(pid_t pid)
{
	int status;

	return waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status);
}

/* Lets it run up to an address. */
static bool run_to(pid_t pid, uintptr_t address)
{
	long word = ptrace(PTRACE_PEEKTEXT, pid, address, 0);
	struct user_regs_struct regs;
	int status;

	if (ptrace(PTRACE_POKETEXT, pid, address, (word & ~0xfful) | TRAP) ||
	    ptrace(PTRACE_CONT, pid, 0, 0))
		return false;
	/* The idle helper is another thread and not traced: it does not come by here. */
	do {
		pid_t got;

		if (!FAULT_WAIT((got = waitpid(pid, &status, __WALL | WNOHANG)), 2000)) {
			ptrace(PTRACE_INTERRUPT, pid, 0, 0);
			if (!stopped(pid))
				return false;
			ptrace(PTRACE_POKETEXT, pid, address, word);
			return false;
		}
		if (got != pid || !WIFSTOPPED(status))
			return false;
		if (WSTOPSIG(status) != SIGTRAP)
			ptrace(PTRACE_CONT, pid, 0, 0);
	} while (WSTOPSIG(status) != SIGTRAP);
	if (ptrace(PTRACE_POKETEXT, pid, address, word) || ptrace(PTRACE_GETREGS, pid, 0, &regs) ||
	    regs.rip != address + 1)
		return false;
	regs.rip = address;
	return ptrace(PTRACE_SETREGS, pid, 0, &regs) == 0;
}

/* Stops it at the place, some instructions on, and leaves it so. */
static bool stop_at(pid_t pid, const struct place *p, unsigned int on)
{
	struct user_regs_struct regs;

	if (ptrace(PTRACE_SEIZE, pid, 0, 0) || ptrace(PTRACE_INTERRUPT, pid, 0, 0) ||
	    !stopped(pid) || !run_to(pid, p->entry))
		return false;
	if (p->after) {
		if (ptrace(PTRACE_GETREGS, pid, 0, &regs) ||
		    !run_to(pid, (uintptr_t)ptrace(PTRACE_PEEKDATA, pid, regs.rsp, 0)))
			return false;
	}
	/* Inside a restartable sequence each step starts it over; that is well so. */
	while (on--)
		if (ptrace(PTRACE_SINGLESTEP, pid, 0, 0) || !stopped(pid))
			return false;
	return true;
}

static void test_inside(unsigned int seconds)
{
	uint64_t until = fault_now_ns() + seconds * 1000000000ull;
	unsigned int hits = 0, tries = 0;
	struct fault_load load;

	start(&load);
	while (fault_now_ns() < until) {
		struct fault_app *app = victim[fault_random(VICTIMS)];
		struct place *p = &place[tries++ % PLACES];

		if (stop_at(app->pid[0], p, fault_random(16))) {
			uint64_t was = other->received, siblings = 0;
			bool lap = hits % 7 == 0;

			p->hits++;
			hits++;
			for (int i = 0; i < VICTIMS; i++)
				siblings -= victim[i] == app ? 0 : victim[i]->received;
			/* Sometimes for several laps of what the others return. */
			fault_sleep_ms(lap ? 200 : 5);
			for (int i = 0; i < VICTIMS; i++)
				siblings += victim[i] == app ? 0 : victim[i]->received;
			CHECK(FAULT_WAIT(other->received > was, 1000),
			      "all wait for one stopped in %s", p->name);
			if (lap) {
				struct fault_pool sum;

				CHECK(fault_audit(&sum) && sum.ok && !sum.lost && !sum.doubled,
				      "stopped %s: lost %ld doubled %ld", p->name, sum.lost,
				      sum.doubled);
			}
			if (lap)
				CHECK(siblings > 100,
				      "others return frames only %llu times while one is stopped "
				      "in %s",
				      (unsigned long long)siblings, p->name);
		}
		ptrace(PTRACE_DETACH, app->pid[0], 0, 0);
	}
	for (size_t i = 0; i < PLACES; i++) {
		printf("stopped %s %u times\n", place[i].name, place[i].hits);
		CHECK(place[i].hits >= seconds, "stopped %s only %u times", place[i].name,
		      place[i].hits);
	}
	CHECK(hits >= tries * 9 / 10, "only %u of %u stops were inside", hits, tries);
	for (int i = 0; i < VICTIMS; i++)
		CHECK(fault_receives(victim[i], 2000), "%d receives nothing after all that", i);
	finish(&load, "stopped inside");
}

/* Stopped inside, then killed there: its frames come back, the one in doubt through quarantine. */
static void test_killed_inside(unsigned int seconds)
{
	uint64_t until = fault_now_ns() + seconds * 1000000000ull;
	unsigned int hits = 0, rounds = 0;
	struct fault_load load;

	start(&load);
	while (rounds < PLACES || fault_now_ns() < until) {
		unsigned int i = rounds++;
		struct fault_app *app = victim[i % VICTIMS];
		struct fault_pool sum;

		hits += stop_at(app->pid[0], &place[i % PLACES], fault_random(16));
		fault_kill(app);
		CHECK(fault_port_free(app->port, 1000) >= 0, "port is not free");
		CHECK(FAULT_WAIT(fault_channel(app->port, "pid") == -1, 2000), "not reclaimed");
		CHECK(fault_audit(&sum) && sum.ok && !sum.lost && !sum.doubled,
		      "lost %ld doubled %ld", sum.lost, sum.doubled);
		fault_spawn(app);
		CHECK(fault_receives(app, 2000), "its successor receives nothing");
	}
	printf("killed inside %u times of %u\n", hits, rounds);
	CHECK(hits >= rounds * 9 / 10, "killed inside only %u times", hits);
	finish(&load, "killed inside");
}

int main(int argc, char **argv)
{
	(void)argc;
	fault_begin(argv, NULL);
	test_random(fault_soak_s(8));
	test_inside(fault_soak_s(8));
	test_killed_inside(fault_soak_s(8));
	return fault_end();
}

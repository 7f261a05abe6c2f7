/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_fault_detach.c - the ground goes away under sockets that receive: `lrp detach`
 * under load and attaching again, and an interface that is removed.
 *
 * The same sockets go on through the kernel, and back through new channels. What is under way in
 * the moment of change may be lost with the link's rings; nothing comes twice.
 */
#include "fault_bed.h"

#define RATE 100000u
#define APPS 3

static struct fault_app *app[APPS];

static void start(void)
{
	for (int i = 0; i < APPS; i++) {
		app[i] = fault_app_new((uint16_t)(FAULT_PORT + i), APPS);
		app[i]->frames = 4096;
		app[i]->nice = -10;
		app[i]->children = i == 1 ? 2 : 0; /* one that is shared over fork */
		fault_spawn(app[i]);
		CHECK(app[i]->channels > 0, "no channel");
	}
}

static uint64_t through_channel(int i)
{
	return app[i]->call;
}

static uint64_t through_kernel(int i)
{
	return app[i]->kernel;
}

/* All of them receive this way. */
static void flows(uint64_t (*count)(int), const char *what)
{
	for (int i = 0; i < APPS; i++) {
		uint64_t was = count(i);

		/* Statistics are taken every 20 ms. */
		CHECK(FAULT_WAIT(count(i) > was + 500, 3000),
		      "%s: port %u: %llu, was %llu (channels %llu, errno %s)", what, app[i]->port,
		      (unsigned long long)count(i), (unsigned long long)was,
		      (unsigned long long)app[i]->channels, strerror(app[i]->last_errno));
	}
}

static void check_once(const char *what)
{
	for (int i = 0; i < APPS; i++) {
		CHECK(!app[i]->doubled && !app[i]->strange,
		      "%s: port %u: doubled %llu, strange %llu", what, app[i]->port,
		      (unsigned long long)app[i]->doubled, (unsigned long long)app[i]->strange);
		CHECK(!app[i]->errors, "%s: %llu receive calls failed: %s", what,
		      (unsigned long long)app[i]->errors, strerror(app[i]->last_errno));
	}
}

static void test_detach(unsigned int rounds)
{
	struct fault_load load;

	start();
	fault_load_start(&load, APPS, RATE, 80);
	flows(through_channel, "at first");
	for (unsigned int i = 0; i < rounds; i++) {
		CHECK(fault_sh("build/bin/lrp detach s0 >/dev/null") == 0, "detach");
		CHECK(fault_sh("ip -d link show s0 | grep -q prog/xdp") != 0,
		      "the program is there after detach");
		flows(through_kernel, "after detach");
		for (int k = 0; k < APPS; k++)
			CHECK(FAULT_WAIT(app[k]->channels == 0, 1000),
			      "has %llu channels after detach",
			      (unsigned long long)app[k]->channels);
		CHECK(fault_sh("build/bin/lrp attach s0 >/dev/null") == 0, "attach");
		flows(through_channel, "after attaching again");
		fault_audit_clean("attached again", 5000);
	}
	/* At random moments, without waiting for anything. */
	for (unsigned int i = 0; i < rounds; i++) {
		usleep(fault_random(50000));
		CHECK(fault_sh("build/bin/lrp detach s0 >/dev/null") == 0, "detach");
		usleep(fault_random(50000));
		CHECK(fault_sh("build/bin/lrp attach s0 >/dev/null") == 0, "attach");
	}
	flows(through_channel, "after attaching many times");
	fault_load_stop(&load);
	fault_sleep_ms(300);
	check_once("detach");
	for (int i = 0; i < APPS; i++) {
		uint64_t share = load.sent / APPS;

		printf("port %u: %llu of %llu received, %llu of them through the kernel\n",
		       app[i]->port, (unsigned long long)app[i]->received,
		       (unsigned long long)share, (unsigned long long)app[i]->kernel);
		/* A change of program empties the link's rings, and takes a while. */
		CHECK(app[i]->received > share / 2, "more was lost than a change can explain");
	}
	fault_audit_idle("after detach", 5000);
	for (int i = 0; i < APPS; i++) {
		fault_stop(app[i]);
		fault_app_free(app[i]);
	}
	fault_nobody_left();
}

/* The veth vanishes, then another of the same name comes. */
static void test_removed(unsigned int rounds)
{
	struct fault_load load;

	start();
	for (unsigned int i = 0; i < rounds; i++) {
		int pid;

		fault_load_start(&load, APPS, RATE, 20);
		flows(through_channel, i ? "on the new interface" : "on the interface");
		CHECK(fault_sh("ip link del s0") == 0, "ip link del");
		fault_sleep_ms(100 + fault_random(200));
		kill(load.pid, SIGINT);
		fclose(load.out);
		waitpid(load.pid, NULL, 0);
		pid = fault_lrpd_pid();
		CHECK(pid > 0, "lrpd does not answer");
		for (int k = 0; k < APPS; k++) {
			CHECK(kill(app[k]->pid[0], 0) == 0, "the receiver is dead");
			CHECK(FAULT_WAIT(app[k]->channels == 0, 2000),
			      "has %llu channels on an interface that is gone",
			      (unsigned long long)app[k]->channels);
		}
		/* Loopback goes on reaching them. */
		CHECK(fault_sh("bash -c 'printf 12345678 > /dev/udp/127.0.0.1/%u'", FAULT_PORT) ==
			      0,
		      "send");
		CHECK(FAULT_WAIT(app[0]->strange == 1, 1000), "nothing comes over loopback");
		app[0]->strange = 0;
		CHECK(fault_sh("bash -c '. tools/testbed/bed.sh; set -e; bed_pair client s0 c0 1' "
			       "&& "
			       "ip netns exec client ethtool -K c0 gro on >/dev/null && "
			       "ethtool -K s0 gro on >/dev/null && "
			       "build/bin/lrp attach s0 >/dev/null") == 0,
		      "attach to the new interface");
		/* Its sockets take channels when they are next used: something must come. */
		for (int k = 0; k < APPS; k++) {
			memset((void *)app[k]->seen, 0, sizeof(app[k]->seen));
			CHECK(FAULT_WAIT(app[k]->channels > 0, 3000),
			      "no channel on the new interface");
		}
		fault_audit_idle("on a new interface", 5000);
	}
	for (int i = 0; i < APPS; i++)
		app[i]->received = app[i]->kernel = app[i]->gap_ns = 0; /* of earlier loads */
	fault_load_start(&load, APPS, RATE, 20);
	flows(through_channel, "on the last interface");
	fault_load_stop(&load);
	for (int i = 0; i < APPS; i++) {
		fault_check_all(app[i], &load, 0, "on the last interface");
		fault_stop(app[i]);
		fault_app_free(app[i]);
	}
	fault_audit_idle("after removing interfaces", 5000);
}

int main(int argc, char **argv)
{
	(void)argc;
	fault_begin(argv, NULL);
	test_detach(fault_soak_s(4));
	test_removed(fault_soak_s(4));
	return fault_end();
}

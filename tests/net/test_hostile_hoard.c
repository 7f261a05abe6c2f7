/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_hostile_hoard.c - a client keeps each frame that it receives and writes into its user record
 * that it has returned all of them, so that XDP gives it more until nothing is left for the others
 * of its pool. lrpd finds the pool empty, and that the record cannot be true; it takes the frames
 * back while the client lives and holds on to them.
 */
#include <grp.h>
#include <net/if.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "../lib/bed.h"
#include "fault_bed.h"
#include "hostile.h"

#define LOG    "build/tests/log/hostile_hoard_lrpd.log"
#define NOBODY 65534
#define RATE   20000u
#define FRAMES 2048

static _Atomic uint32_t *hoarded; /* shared */

static pid_t hoarder(void)
{
	uint32_t ifindex = if_nametoindex("s0"), start;
	struct hostile h;
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "hoarder");
	must(!setgroups(0, NULL) && !setresgid(NOBODY, NOBODY, NOBODY) &&
		     !setresuid(NOBODY, NOBODY, NOBODY),
	     "setuid");
	must(hostile_open(&h, ifindex, 32768) && h.user && hostile_publish(&h, FAULT_PORT + 1),
	     "a channel");
	start = *h.rx.producer;
	for (;;) {
		uint32_t has = *h.rx.producer - start;

		h.user[h.user_slot].returned = has;
		if (has > *hoarded)
			*hoarded = has;
		usleep(100);
	}
}

int main(int argc, char **argv)
{
	struct fault_load load;
	struct fault_app *app;
	pid_t pid;

	(void)argc;
	fault_begin(argv, NULL);
	bed_sh("build/bin/lrp stop >/dev/null && rm -f " LOG);
	bed_sh("build/bin/lrpd --log " LOG);
	bed_sh("build/bin/lrp attach s0 --frames 2048 >/dev/null");
	hoarded = mmap(NULL, sizeof(*hoarded), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	app = fault_app_new(FAULT_PORT, 2);
	app->nice = -10;
	fault_spawn(app);
	pid = hoarder();
	fault_load_start(&load, 2, RATE, 60);
	/* As much as there is, but for what the fragment channel and the kernel may have. */
	CHECK(FAULT_WAIT(*hoarded > 500, 10000), "it hoards only %u frames: nothing is tested",
	      *hoarded);
	/* Its endpoint is closed, and the others have the frames again. */
	CHECK(FAULT_WAIT(fault_sh("grep -q 's0 queue 0: the user record of hoarder (pid .*, uid "
				  "65534) cannot be true' " LOG) == 0,
			 10000),
	      "no line names the hoarder (" LOG ")");
	CHECK(fault_receives(app, 1000), "the other receives nothing");
	fault_sleep_ms(2000);
	atomic_store(&app->gap_ns, 0);
	atomic_store(&app->gap_from_ns, fault_now_ns());
	CHECK(fault_receives(app, 1000), "the other receives nothing");
	fault_sleep_ms(2000);
	CHECK(app->gap_ns < 500000000u, "the other waited %.0f ms", (double)app->gap_ns / 1e6);
	CHECK(fault_channel(FAULT_PORT + 1, "limit") < 0, "the hoarder has its channel still");
	fault_load_stop(&load);
	printf("%u of %u frames hoarded; the other received %llu\n", *hoarded, FRAMES,
	       (unsigned long long)app->received);
	CHECK(!app->doubled && !app->strange, "doubled or strange");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	fault_stop(app);
	fault_audit_idle("after the hoarder", 8000);
	CHECK(fault_sh("build/bin/lrp stop >/dev/null") == 0, "lrp stop");
	printf(check_failures ? "%d failures\n" : "all well\n", check_failures);
	return check_failures ? 1 : 0;
}

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * generator.c - the blaster: one process on CPU N that has a generator open
 * on each pair and obeys bed_load(), so that a change of rate or target costs
 * nothing. And the spinner.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/load/inject.h"

#include "internal.h"

/* Opened before the fork, in the client's namespace: the counters are then shared. */
int bed_generator_open(struct bed *bed)
{
	char error[256];
	int i, err = bed_netns_enter(bed, BED_CLIENT);

	if (err)
		return err;
	/* Says to the injector that this is a test bed's namespace; it looks for itself at the
	 * device. */
	setenv("LRP_BED", "1", 1);
	for (i = 0; i < BED_PROGRAMS && !err; i++) {
		const struct bed_pair *pair = &bed->pair[i];
		struct lrp_inject_spec spec = {.family = AF_INET,
					       .kind = LRP_INJECT_UDP,
					       .payload = 14,
					       .sport = 20000,
					       .dport = 9};

		snprintf(spec.device, sizeof(spec.device), "%s", pair->client);
		memcpy(spec.dmac, pair->server_mac, 6);
		spec.src.v4 = pair->flood_addr;
		spec.dst.v4 = pair->server_addr;
		err = lrp_inject_open(&bed->inject[i], &spec, error, sizeof(error));
		if (err)
			bed_fail(bed, err, "generator: %s", error);
	}
	bed_netns_leave(bed);
	return err;
}

int bed_generator_main(void *arg)
{
	struct bed *bed = arg;
	struct bed_load *load = &bed->shared->load;
	uint32_t at = 0;
	uint64_t rate = 0;
	struct lrp_inject *inject = NULL;
	int err;

	for (;;) {
		uint32_t command = __atomic_load_n(&load->command, __ATOMIC_ACQUIRE);

		if (command != at) {
			inject = bed->inject[load->pair];
			rate = load->rate;
			lrp_inject_aim(inject, (uint16_t)load->dport, load->dports, load->sources);
			lrp_inject_rate(inject, rate);
			at = command;
			__atomic_store_n(&load->done, at, __ATOMIC_RELEASE);
		}
		if (!rate) {
			usleep(200);
			continue;
		}
		err = lrp_inject_run(inject);
		if (err && err != -EINTR) {
			snprintf(load->error, sizeof(load->error), "%s", strerror(-err));
			return 1;
		}
	}
}

uint64_t bed_sent(const struct bed *bed, enum bed_program program)
{
	return lrp_inject_sent(bed->inject[program]);
}

/*
 * SCHED_IDLE counts only inside the spinner's autogroup; the group itself weighs as much
 * as any process unless it is told otherwise. (With the spinner in the group of other
 * processes, Linux 6.18 let the group run on and ksoftirqd wait for half a minute: the
 * group's weight jumps whenever the others sleep. Each process of the bed has a group of its own.)
 */
int bed_spinner_main(void *arg)
{
	struct sched_param param = {0};
	volatile uint64_t *counter = arg;
	int fd;

	if (sched_setscheduler(0, SCHED_IDLE, &param))
		return 1;
	fd = open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, "19", 2) != 2)
		return 1;
	for (;;)
		(*counter)++;
}

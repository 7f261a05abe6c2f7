/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_keeper_hold.c - a client that tries to freeze its user page all the time, without having it
 * mapped itself, while lrpd is killed and replaced: the keeper has the page mapped meanwhile, so
 * that the page cannot be frozen, and the next lrpd can map it.
 */
#include <errno.h>
#include <net/if.h>
#include <linux/bpf.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "../lib/bed.h"
#include "fault_bed.h"
#include "hostile.h"

struct shared {
	_Atomic bool stop;
	_Atomic uint64_t busy, frozen, other;
};

static int freeze(int fd)
{
	union bpf_attr attr = {.map_fd = (__u32)fd};

	return syscall(SYS_bpf, BPF_MAP_FREEZE, &attr, sizeof(attr)) ? -errno : 0;
}

static pid_t freezer(struct shared *shared, int page)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	while (!shared->stop) {
		int err = freeze(page);

		if (err == -EBUSY)
			shared->busy++;
		else if (!err)
			shared->frozen++;
		else
			shared->other++;
		fault_sleep_ms(1);
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	struct shared *shared;
	struct hostile client;
	pid_t pid;

	(void)argc;
	fault_begin(argv, "--frames 4096");
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	must(shared != MAP_FAILED, "mmap");
	must(hostile_open(&client, if_nametoindex("s0"), 256), "a channel");
	must(client.page_fd >= 0 && client.user, "its user page");
	munmap((void *)client.user, LRP_USER_PAGE_RECORDS * sizeof(struct lrp_user));
	pid = freezer(shared, client.page_fd);
	for (int i = 0; i < 5; i++) {
		int old = fault_lrpd_pid();

		kill(old, SIGKILL);
		CHECK(FAULT_WAIT(fault_lrpd_pid() > 0 && fault_lrpd_pid() != old, 5000),
		      "no successor");
		fault_sleep_ms(100);
	}
	shared->stop = true;
	waitpid(pid, NULL, 0);
	printf("%llu times busy\n", (unsigned long long)shared->busy);
	CHECK(shared->busy > 100 && !shared->other, "%llu times busy, %llu times refused",
	      (unsigned long long)shared->busy, (unsigned long long)shared->other);
	CHECK(shared->frozen == 0, "the page was frozen");
	CHECK(fault_endpoints_used() == 1, "the client has lost its endpoint");
	close(client.control);
	return fault_end();
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * share.c - see share.h.
 *
 * Is the CPU wanted by others? Of two threads that take turns on one CPU each waits while the other
 * runs. What they waited beyond that was somebody else's turn (schedstat: time on the CPU, time
 * that it could have run but did not).
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/fd.h"
#include "share.h"

#define WINDOW_NS (10 * LRP_NS_PER_MS) /* between two looks at the times */
#define CONTENDED 16		       /* so much of it spent waiting for others: 1/16 */
#define MEMORY_NS (20 * WINDOW_NS)     /* the CPU is taken for busy so long after that */
#define PART	  24		       /* APP's part of what its owner gets, while that can run */
#define CREDIT_NS 500000ll	       /* saved up at most */
#define PAUSE_MIN ((int64_t)WINDOW_NS)
#define PAUSE_MAX (5 * (int64_t)WINDOW_NS)

struct times {
	uint64_t ran, waited; /* ns, ever */
};

static int own_stat = -1, owner_stat = -1, owner_state = -1;
static struct times own_before, owner_before;
static uint64_t looked_ns;
static uint64_t contended_ns; /* until then */
static int64_t credit_ns, pause_ns;
static uint64_t charged_ns; /* our CPU time up to now has been paid for, or was free */

void lrp_share_file(int *fd, pid_t tid, const char *name)
{
	char path[64];

	if (*fd >= 0)
		close(*fd);
	snprintf(path, sizeof(path), "/proc/self/task/%d/%s", (int)tid, name);
	*fd = lrp_fd_aside(open(path, O_RDONLY | O_CLOEXEC));
}

static bool read_times(int fd, struct times *t)
{
	char text[96], *end;
	ssize_t n = fd < 0 ? -1 : pread(fd, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return false;
	text[n] = 0;
	t->ran = strtoull(text, &end, 10);
	t->waited = strtoull(end, NULL, 10);
	return true;
}

void lrp_share_open(pid_t owner)
{
	lrp_share_file(&own_stat, (pid_t)syscall(SYS_gettid), "schedstat");
	lrp_share_file(&owner_stat, owner, "schedstat");
	lrp_share_file(&owner_state, owner, "stat");
	read_times(own_stat, &own_before);
	read_times(owner_stat, &owner_before);
	looked_ns = lrp_now_ns();
	pause_ns = PAUSE_MIN;
	contended_ns = 0;
}

static uint64_t beyond(uint64_t waited, uint64_t other_ran)
{
	return waited > other_ran ? waited - other_ran : 0;
}

static void share_look(uint64_t now)
{
	struct times own, owner;
	uint64_t a, b, elapsed = now - looked_ns;

	if (elapsed < WINDOW_NS)
		return;
	looked_ns = now;
	if (!read_times(own_stat, &own) || !read_times(owner_stat, &owner))
		return;
	credit_ns += (int64_t)((owner.ran - owner_before.ran) / PART);
	if (credit_ns > CREDIT_NS)
		credit_ns = CREDIT_NS;
	a = beyond(own.waited - own_before.waited, owner.ran - owner_before.ran);
	b = beyond(owner.waited - owner_before.waited, own.ran - own_before.ran);
	if ((a > b ? a : b) * CONTENDED > elapsed)
		contended_ns = now + MEMORY_NS;
	own_before = own;
	owner_before = owner;
}

static bool owner_can_run(void)
{
	char text[64], *at;
	ssize_t n = owner_state < 0 ? -1 : pread(owner_state, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return false;
	text[n] = 0;
	at = strrchr(text, ')');
	return at && at[1] == ' ' && at[2] == 'R';
}

static uint64_t own_ran_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * LRP_NS_PER_S + (uint64_t)ts.tv_nsec;
}

int64_t lrp_share_wait_ns(void)
{
	uint64_t now = lrp_now_ns(), ran;
	int64_t pause;

	share_look(now);
	if (now >= contended_ns) {
		charged_ns = 0;
		return 0;
	}
	ran = own_ran_ns();
	if (charged_ns && owner_can_run())
		credit_ns -= (int64_t)(ran - charged_ns);
	else
		credit_ns = credit_ns > 0 ? credit_ns : 0; /* it blocks: this is its time */
	charged_ns = ran;
	if (credit_ns >= 0) {
		pause_ns = PAUSE_MIN;
		return 0;
	}
	pause = pause_ns;
	pause_ns = pause_ns * 2 < PAUSE_MAX ? pause_ns * 2 : PAUSE_MAX;
	return pause;
}

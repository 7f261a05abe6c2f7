// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* flood.c - see flood.h. */
#include "flood.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static int flood_main(void *arg)
{
	struct flood *f = arg;
	struct lrp_inject *inject;
	int err = lrp_inject_open(&inject, &f->spec, f->text, sizeof(f->text));

	if (err)
		return 1;
	lrp_inject_rate(inject, f->rate);
	do {
		err = lrp_inject_run(inject);
		f->sent = lrp_inject_sent(inject);
	} while (!err || err == -EINTR);
	return 1;
}

int flood_start(struct bench *b, struct flood *f, enum bed_program program)
{
	const struct bed_pair *pair = &b->bed.pair[program];
	uint64_t until = bed_now() + 3000000000u;
	int status;

	snprintf(f->spec.device, sizeof(f->spec.device), "%s", pair->client);
	memcpy(f->spec.dmac, pair->server_mac, 6);
	f->spec.family = AF_INET;
	if (!f->elsewhere)
		f->spec.dst.v4 = pair->server_addr;
	f->sent = 0;
	f->pid = bed_fork(&b->bed, BED_CLIENT, b->bed.cpu_load, 0, flood_main, f);
	while (f->pid > 0 && !__atomic_load_n(&f->sent, __ATOMIC_RELAXED)) {
		if (bed_now() > until || waitpid(f->pid, &status, WNOHANG) != 0) {
			snprintf(b->bed.error, sizeof(b->bed.error), "flood: %s", f->text);
			return bench_error(b, "flood");
		}
		usleep(1000);
	}
	return f->pid > 0 ? 0 : -EAGAIN;
}

void flood_stop(struct flood *f)
{
	int status;

	if (f->pid > 0) {
		kill(f->pid, SIGKILL);
		waitpid(f->pid, &status, 0);
	}
	f->pid = 0;
}

struct flood *flood_new(void)
{
	void *p = mmap(NULL, sizeof(struct flood), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

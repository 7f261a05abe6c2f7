/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* run.c - see run.h. */
#include "run.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "handover.skel.h"
#include "tap.h"

struct lrp_proxy_run {
	struct handover_bpf *skel;
	struct lrp_handover_frame *frame; /* mapped */
	uint32_t *next;			  /* mapped */
	int anchor_fd, link_fd;
	uint32_t count, least; /* frames in the batch, bytes of the shortest one */
};

static size_t frames_size(void)
{
	return LRP_HANDOVER_BATCH * ((sizeof(struct lrp_handover_frame) + 7) & ~(size_t)7);
}

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
	(void)level;
	(void)format;
	(void)args;
	return 0;
}

static int map_arrays(struct lrp_proxy_run *run)
{
	void *map = mmap(NULL, frames_size(), PROT_READ | PROT_WRITE, MAP_SHARED,
			 bpf_map__fd(run->skel->maps.lrp_handover_frames), 0);

	if (map == MAP_FAILED)
		return -errno;
	run->frame = map;
	map = mmap(NULL, sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED,
		   bpf_map__fd(run->skel->maps.lrp_handover_next), 0);
	if (map == MAP_FAILED)
		return -errno;
	run->next = map;
	return 0;
}

/*
 * A program that is attached nowhere enters the XDP dispatcher anew with each BPF_PROG_RUN, and
 * the call waits for a grace period of some 25 ms. So it is attached to a TAP device that never
 * comes up and goes with its descriptor.
 */
static int make_anchor(struct lrp_proxy_run *run)
{
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
	unsigned int ifindex;

	run->anchor_fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (run->anchor_fd < 0)
		return -errno;
	snprintf(request.ifr_name, sizeof(request.ifr_name), LRP_PROXY_TAP_PREFIX "%%d");
	if (ioctl(run->anchor_fd, TUNSETIFF, &request))
		return -errno;
	ifindex = if_nametoindex(request.ifr_name);
	run->link_fd = bpf_link_create(bpf_program__fd(run->skel->progs.lrp_handover), (int)ifindex,
				       BPF_XDP, NULL);
	return run->link_fd < 0 ? run->link_fd : 0;
}

int lrp_proxy_run_open(struct lrp_proxy_run **out, char *error, size_t size)
{
	libbpf_print_fn_t print = libbpf_set_print(quiet);
	struct lrp_proxy_run *run = calloc(1, sizeof(*run));
	const char *what = "memory";
	int err = run ? 0 : -ENOMEM;

	if (!err) {
		run->anchor_fd = run->link_fd = -1;
		what = "loading the program";
		run->skel = handover_bpf__open_and_load();
		err = run->skel ? 0 : -errno;
	}
	if (!err) {
		what = "mapping its arrays";
		err = map_arrays(run);
	}
	if (!err) {
		what = "attaching it to a TAP device";
		err = make_anchor(run);
	}
	libbpf_set_print(print);
	if (err) {
		snprintf(error, size, "BPF_PROG_RUN: %s: %s", what, strerror(-err));
		lrp_proxy_run_close(run);
		return err;
	}
	*out = run;
	return 0;
}

void lrp_proxy_run_close(struct lrp_proxy_run *run)
{
	if (!run)
		return;
	if (run->link_fd >= 0)
		close(run->link_fd);
	if (run->anchor_fd >= 0)
		close(run->anchor_fd);
	if (run->frame)
		munmap(run->frame, frames_size());
	if (run->next)
		munmap(run->next, sizeof(uint64_t));
	handover_bpf__destroy(run->skel);
	free(run);
}

uint8_t *lrp_proxy_run_next(struct lrp_proxy_run *run)
{
	return run->count < LRP_HANDOVER_BATCH ? run->frame[run->count].data : NULL;
}

void lrp_proxy_run_add(struct lrp_proxy_run *run, uint32_t length)
{
	if (!run->count || length < run->least)
		run->least = length;
	run->frame[run->count++].length = length;
}

uint32_t lrp_proxy_run_count(const struct lrp_proxy_run *run)
{
	return run->count;
}

int lrp_proxy_run_flush(struct lrp_proxy_run *run, uint32_t ifindex, uint32_t queue)
{
	struct xdp_md ctx = {
		.data_end = run->least, .ingress_ifindex = ifindex, .rx_queue_index = queue};
	/* Each page gets these bytes, then its frame: the shortest saves the most. */
	struct bpf_test_run_opts opts = {.sz = sizeof(opts),
					 .data_in = run->frame[0].data,
					 .data_size_in = run->least,
					 .ctx_in = &ctx,
					 .ctx_size_in = sizeof(ctx),
					 .repeat = (int)run->count,
					 .batch_size = run->count,
					 .flags = BPF_F_TEST_XDP_LIVE_FRAMES};
	int err;

	if (!run->count)
		return 0;
	__atomic_store_n(run->next, 0, __ATOMIC_RELEASE);
	err = bpf_prog_test_run_opts(bpf_program__fd(run->skel->progs.lrp_handover), &opts);
	run->count = 0;
	return err ? -errno : 0;
}

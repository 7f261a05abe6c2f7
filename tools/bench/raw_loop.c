// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "raw_loop.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xdp/xsk.h>

#include "bed/internal.h"
#include "raw_xsk.skel.h"

#define FRAMES	   8192u
#define FRAME_SIZE 2048u
#define RING	   2048u
#define BATCH	   64u
#define PAYLOAD_AT 42u /* Ethernet, IPv4 without options, UDP */

struct job {
	struct bed *bed;
	struct bench_counters *counters;
};

static int open_socket(const struct bed_pair *pair, uint8_t **frames, struct xsk_ring_cons *rx,
		       struct xsk_ring_prod *fill)
{
	static struct xsk_ring_cons completion;
	const struct xsk_umem_config umem_config = {
		.fill_size = FRAMES, .comp_size = 64, .frame_size = FRAME_SIZE};
	const struct xsk_socket_config config = {.rx_size = RING,
						 .bind_flags = XDP_COPY,
						 .libxdp_flags =
							 XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD};
	struct xsk_umem *umem;
	struct xsk_socket *socket;
	uint32_t i, at, zero = 0;
	int err, fd;

	*frames = mmap(NULL, (size_t)FRAMES * FRAME_SIZE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (*frames == MAP_FAILED)
		return -errno;
	err = xsk_umem__create(&umem, *frames, (uint64_t)FRAMES * FRAME_SIZE, fill, &completion,
			       &umem_config);
	if (err)
		return err;
	err = xsk_socket__create(&socket, pair->server, 0, umem, rx, NULL, &config);
	if (err)
		return err;
	/* All but one ring's worth: as many can be queued as the ring holds, none is lost for want
	 * of frames. */
	if (xsk_ring_prod__reserve(fill, FRAMES, &at) != FRAMES)
		return -ENOSPC;
	for (i = 0; i < FRAMES; i++)
		*xsk_ring_prod__fill_addr(fill, at + i) = (uint64_t)i * FRAME_SIZE;
	xsk_ring_prod__submit(fill, FRAMES);
	fd = xsk_socket__fd(socket);
	if (bpf_map_update_elem(bpf_map__fd(pair->raw->maps.raw_xsks), &zero, &fd, 0))
		return -errno;
	return fd;
}

static int loop_main(void *arg)
{
	struct job *job = arg;
	struct bench_counters *c = job->counters;
	struct xsk_ring_cons rx;
	struct xsk_ring_prod fill;
	uint8_t *frames;
	struct pollfd wait = {.events = POLLIN};

	wait.fd = open_socket(&job->bed->pair[BED_RAW], &frames, &rx, &fill);
	if (wait.fd < 0) {
		fprintf(stderr, "bare AF_XDP: %s\n", strerror(-wait.fd));
		return 1;
	}
	__atomic_store_n(&c->ready, 1, __ATOMIC_RELEASE);
	for (;;) {
		uint32_t at, to, i, n = xsk_ring_cons__peek(&rx, BATCH, &at);

		if (!n) {
			poll(&wait, 1, -1);
			continue;
		}
		/* Never short: the ring has a slot for every frame. */
		if (xsk_ring_prod__reserve(&fill, n, &to) != n)
			return 1;
		for (i = 0; i < n; i++) {
			const struct xdp_desc *d = xsk_ring_cons__rx_desc(&rx, at + i);
			uint64_t seq;

			/* As sink does: the payload is looked at, and discarded. */
			memcpy(&seq, frames + d->addr + PAYLOAD_AT, sizeof(seq));
			if (seq >= c->highest)
				c->highest = seq + 1;
			else
				c->late++;
			c->bytes += d->len - PAYLOAD_AT;
			*xsk_ring_prod__fill_addr(&fill, to + i) =
				d->addr & ~(uint64_t)(FRAME_SIZE - 1);
		}
		xsk_ring_cons__release(&rx, n);
		xsk_ring_prod__submit(&fill, n);
		c->received += n;
		c->calls++;
	}
}

int raw_loop_start(struct bed *bed, struct bed_proc *proc)
{
	static struct job job;
	int status, tries;

	memset(proc, 0, sizeof(*proc));
	proc->program = BED_RAW;
	proc->counters =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (proc->counters == MAP_FAILED)
		return bed_fail(bed, -errno, "mmap: %s", strerror(errno));
	job = (struct job){bed, proc->counters};
	proc->pid = bed_fork(bed, BED_SERVER, bed->cpu_server, 0, loop_main, &job);
	for (tries = 0; proc->pid > 0 && tries < 5000; tries++) {
		if (__atomic_load_n(&proc->counters->ready, __ATOMIC_ACQUIRE))
			return 0;
		if (waitpid(proc->pid, &status, WNOHANG) == proc->pid)
			proc->pid = 0;
		usleep(1000);
	}
	bed_stop(proc);
	return bed_fail(bed, -EIO, "it did not get ready");
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_fragment_hostile.c - a process that has a channel writes garbage into all that it shares on
 * the fragment endpoint: positions and descriptors of the ring, holders, packets, the record. lrpd
 * answers all the time, neither it nor a receiver dies, and afterwards fragments are served as
 * before.
 *
 *    client ns ── c0 ════ s0 ── here: a kernel socket on 5000; in children: an LRP socket that
 *                                receives, on 5001, and the attacker
 */
#include "fragment_wire.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include <lrp/lrp.h>

#include "../../runtime/broker/broker.h"
#include "../lib/bed.h"

#define KERNEL	 5000
#define LRP	 5001
#define ATTACKER 5002
#define SECONDS	 4

static struct shared {
	_Atomic uint32_t received; /* whole datagrams, by the LRP socket */
	_Atomic bool ready[2];
	_Atomic bool stop; /* the attack */
} * shared;

static int fail(const char *what)
{
	printf("FAIL %s\n", what);
	return 1;
}

static int lrp_socket_on(uint16_t port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = lrp_socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0 || lrp_bind(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		perror("LRP socket");
		_exit(2);
	}
	return fd;
}

static void receiver(void)
{
	int fd = lrp_socket_on(LRP);
	uint8_t buffer[4096];

	shared->ready[0] = true;
	for (;;)
		if (lrp_recv(fd, buffer, sizeof(buffer), 0) == PAYLOAD)
			shared->received++;
}

static uint32_t seed = 1;
static uint64_t *marked[LRP_MAX_DEVICES]; /* frames whose holder the attacker has written */

static uint32_t below(uint32_t n)
{
	seed = seed * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)seed * n >> 32);
}

/* Not the address of another frame: within a trust domain that hands out a frame twice, and then
 * what the frame holds is nobody's. */
static void scribble(struct lrp_chan *chan, uint64_t *mine)
{
	struct xdp_desc *desc = (struct xdp_desc *)&chan->desc[below(chan->ring_mask + 1)];
	uint64_t frame = desc->addr >> chan->pool->frame_shift;
	uint64_t frames = (uint64_t)chan->pool->frames << chan->pool->frame_shift;

	switch (below(8)) {
	case 0:
		*chan->producer = below(2) ? *chan->producer + below(2048) : below(~0u);
		break;
	case 1:
		*chan->consumer = below(~0u);
		break;
	case 2:
		desc->addr = below(4) ? frames + below(100) : ~0ull - below(4096);
		break;
	case 3:
		desc->len = below(2) ? below(~0u) : below(2048);
		break;
	case 4:
		desc->options = below(2);
		break;
	case 5:
		if (frame >= chan->pool->frames)
			break;
		chan->pool->frame[frame].holder = below(2) ? below(~0u) : LRP_FRAME_DONE;
		mine[frame / 64] |= 1ull << frame % 64;
		break;
	case 6:
		if (frame < chan->pool->frames)
			chan->pool->umem[(frame << chan->pool->frame_shift) + below(512)] =
				(uint8_t)below(256);
		break;
	case 7:
		if (chan->user) {
			chan->user->returned = below(~0u);
			chan->user->flags = below(8);
		}
		break;
	}
}

static void attacker(void)
{
	struct lrp_endpoint *fragments;

	lrp_socket_on(ATTACKER);
	fragments = lrp_broker_fragments();
	if (!fragments || !fragments->channels) {
		printf("no fragment channel\n");
		_exit(2);
	}
	for (uint32_t i = 0; i < fragments->channels && i < LRP_MAX_DEVICES; i++)
		marked[i] = calloc(fragments->chan[i].pool->frames / 64 + 1, 8);
	shared->ready[1] = true;
	for (uint64_t n = 0; !shared->stop; n++) {
		uint32_t i = below(fragments->channels);

		scribble(&fragments->chan[i], marked[i]);
		if (n % 64 == 63)
			usleep(50);
	}
	/* A frame that is marked as held is no frame of fragments any more, and only its next use
	 * shows that nobody holds it. */
	for (uint32_t i = 0; i < fragments->channels; i++)
		for (uint32_t f = 0; f < fragments->chan[i].pool->frames; f++)
			if (marked[i][f / 64] & 1ull << f % 64)
				fragments->chan[i].pool->frame[f].holder = LRP_FRAME_FREE;
	shared->ready[1] = false;
	pause();
}

static pid_t start(void (*run)(void), int i)
{
	pid_t pid = fork();

	if (pid == 0) {
		run();
		_exit(0);
	}
	for (int ms = 0; ms < 10000 && !shared->ready[i]; ms++)
		usleep(1000);
	return pid;
}

/* Ends it; false: it had died. */
static bool end(pid_t pid)
{
	bool lived = waitpid(pid, NULL, WNOHANG) == 0;

	if (lived) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	return lived;
}

static bool answers(void)
{
	return system("timeout 2 $LRP_BUILD/bin/lrp status >/dev/null") == 0;
}

static uint16_t id = 1;

/* Datagrams to the port, the second fragment first. */
static void send_datagrams(uint16_t port, int count)
{
	uint8_t udp[DATAGRAM];

	make_datagram(udp, false, port);
	for (int i = 0; i < count; i++, id++) {
		send_part(udp, false, id, true);
		usleep(2000);
		send_part(udp, false, id, false);
		usleep(2000);
	}
}

static int under_attack(void)
{
	time_t until = time(NULL) + SECONDS;
	int failures = 0;

	while (time(NULL) < until && !failures) {
		send_datagrams(LRP, 40);
		send_datagrams(KERNEL, 40);
		failures += !answers() && fail("lrpd does not answer");
	}
	return failures;
}

static int afterwards(int fd)
{
	struct timeval timeout = {.tv_sec = 5};
	uint32_t before;
	uint8_t rest[4096];
	int failures = 0;

	/* two seconds: the life of an orphan, and of a ring that makes no sense */
	usleep(2500000);
	while (recv(fd, rest, sizeof(rest), MSG_DONTWAIT) >= 0)
		;
	before = shared->received;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	for (int i = 0; i < 10 && !failures; i++) {
		send_datagrams(KERNEL, 1);
		failures += recv(fd, rest, sizeof(rest), 0) != PAYLOAD &&
			    fail("a datagram for the kernel's socket does not arrive");
	}
	send_datagrams(LRP, 10);
	for (int ms = 0; ms < 5000 && shared->received - before < 10; ms++)
		usleep(1000);
	failures += shared->received - before < 10 &&
		    fail("datagrams for the LRP socket do not arrive");
	failures += !answers() && fail("lrpd does not answer");
	return failures;
}

int main(int argc, char **argv)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(KERNEL)};
	pid_t receives, attacks;
	int fd, failures;

	(void)argc;
	bed_enter(argv);
	bed_needs_lrpd();
	setenv("LRP_BUILD", "build", 0);
	bed_sh(BED_NET);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		perror("bind");
		return 1;
	}
	open_sender(&ways[0]);
	bed_sh("$LRP_BUILD/bin/lrp attach s0 >/dev/null");
	receives = start(receiver, 0);
	attacks = start(attacker, 1);
	failures = under_attack();
	shared->stop = true;
	for (int ms = 0; ms < 5000 && shared->ready[1]; ms++)
		usleep(1000);
	failures += !end(attacks) && fail("the attacker ended");
	failures = failures || afterwards(fd);
	failures += !end(receives) && fail("the receiver died");
	bed_sh("timeout 5 $LRP_BUILD/bin/lrp stop");
	return failures != 0;
}

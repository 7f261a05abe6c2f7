/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "relay.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FRAME_MAX 9100
#define HELD_MAX  64
#define HOLD_US	  4000 /* at most */

struct held {
	int fd; /* 0: free */
	int64_t until_us;
	size_t len;
	uint8_t frame[FRAME_MAX];
};
static struct held held[HELD_MAX];

static int64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static uint64_t chance(struct relay *r, uint64_t of)
{
	r->random ^= r->random << 13;
	r->random ^= r->random >> 7;
	r->random ^= r->random << 17;
	return r->random % of;
}

static int open_device(const char *name)
{
	struct sockaddr_ll a = {.sll_family = AF_PACKET,
				.sll_protocol = htons(ETH_P_ALL),
				.sll_ifindex = (int)if_nametoindex(name)};
	int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)), on = 1, bytes = 16 << 20;

	if (fd < 0 || bind(fd, (void *)&a, sizeof(a)) ||
	    setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes))) {
		perror(name);
		exit(1);
	}
	return fd;
}

static bool is_tcp(const uint8_t *frame, size_t len)
{
	const struct ether_header *eth = (const void *)frame;

	if (len >= 54 && eth->ether_type == htons(ETHERTYPE_IP))
		return frame[14 + 9] == IPPROTO_TCP;
	return len >= 74 && eth->ether_type == htons(ETHERTYPE_IPV6) &&
	       frame[14 + 6] == IPPROTO_TCP;
}

/* Congestion was experienced [RFC 3168 5]. False: it cannot be told. */
static bool mark(uint8_t *frame)
{
	uint8_t *ip = frame + 14;
	uint32_t sum = 0;
	size_t i;

	if (((const struct ether_header *)frame)->ether_type == htons(ETHERTYPE_IPV6)) {
		if (!(ip[1] & 0x30))
			return false;
		ip[1] |= 0x30;
		return true;
	}
	if (!(ip[1] & 3))
		return false;
	ip[1] |= 3;
	ip[10] = ip[11] = 0;
	for (i = 0; i < (size_t)(ip[0] & 15) * 4; i += 2)
		sum += (uint32_t)(ip[i] << 8 | ip[i + 1]);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~(sum + (sum >> 16)) & 0xffff;
	ip[10] = (uint8_t)(sum >> 8);
	ip[11] = (uint8_t)sum;
	return true;
}

/* False: no room to hold it. */
static bool hold(struct relay *r, int fd, const uint8_t *frame, size_t len)
{
	int i;

	for (i = 0; i < HELD_MAX && held[i].fd; i++)
		;
	if (i == HELD_MAX)
		return false;
	held[i].fd = fd;
	held[i].len = len;
	held[i].until_us = now_us() + (int64_t)chance(r, HOLD_US);
	memcpy(held[i].frame, frame, len);
	return true;
}

static void pass(struct relay *r, int fd, const uint8_t *frame, size_t len)
{
	/* A full device is loss, too. */
	if (send(fd, frame, len, 0) < 0)
		r->lost++;
	else
		r->passed++;
}

static void forward(struct relay *r, int fd, uint8_t *frame, size_t len)
{
	struct relay_net net = r->net;
	int copies = 1;

	if (!is_tcp(frame, len)) {
		send(fd, frame, len, 0);
		return;
	}
	if (chance(r, 1000) < net.loss) {
		r->lost++;
		return;
	}
	if (chance(r, 1000) < net.mark)
		r->marked += mark(frame);
	if (chance(r, 1000) < net.corrupt) {
		frame[14 + chance(r, len - 14)] ^= (uint8_t)(1 << chance(r, 8));
		r->corrupted++;
	}
	if (chance(r, 1000) < net.duplicate) {
		copies = 2;
		r->duplicated++;
	}
	for (; copies; copies--) {
		if (chance(r, 1000) < net.reorder && hold(r, fd, frame, len))
			r->reordered++;
		else
			pass(r, fd, frame, len);
	}
}

/* What has been held long enough goes on; ms until the next one, or -1. */
static int release(struct relay *r)
{
	int64_t now = now_us(), next = INT64_MAX;
	int i;

	for (i = 0; i < HELD_MAX; i++) {
		if (held[i].fd && held[i].until_us <= now) {
			pass(r, held[i].fd, held[i].frame, held[i].len);
			held[i].fd = 0;
		}
		if (held[i].fd && held[i].until_us < next)
			next = held[i].until_us;
	}
	return next == INT64_MAX ? -1 : (int)((next - now + 999) / 1000);
}

static void run(struct relay *r, const int fd[2])
{
	struct pollfd p[] = {{.fd = fd[0], .events = POLLIN}, {.fd = fd[1], .events = POLLIN}};
	static uint8_t frame[FRAME_MAX];
	ssize_t n;
	int i, batch;

	for (;;) {
		poll(p, 2, release(r));
		for (i = 0; i < 2; i++)
			for (batch = 0; batch < 16; batch++) {
				n = recv(fd[i], frame, sizeof(frame), MSG_DONTWAIT);
				if (n < 14)
					break;
				forward(r, fd[!i], frame, (size_t)n);
			}
	}
}

struct relay *relay_start(const char *netns, const char *one, const char *other)
{
	struct relay *r =
		mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char path[64];
	pid_t pid;
	int ns, fd[2];

	if (r == MAP_FAILED)
		exit(1);
	r->random = 1;
	snprintf(path, sizeof(path), "/run/netns/%s", netns);
	fflush(stdout);
	pid = fork();
	if (pid)
		return r;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	ns = open(path, O_RDONLY | O_CLOEXEC);
	if (ns < 0 || setns(ns, CLONE_NEWNET)) {
		perror(path);
		exit(1);
	}
	fd[0] = open_device(one);
	fd[1] = open_device(other);
	run(r, fd);
	exit(0);
}

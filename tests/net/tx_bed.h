/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tx_bed.h - what the tests of sending share: a capture on the peer's interface,
 * a datagram sent by the kernel or by us, and routes_epoch in the test's hand.
 *
 *    this namespace                 client
 *    [test] s0 198.18.1.1 ======== c0 198.18.1.2 [packet socket: all that arrives]
 */
#ifndef LRP_TX_BED_H
#define LRP_TX_BED_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../runtime/tx/device.h"
#include "../../runtime/tx/tx.h"
#include "../lib/bed.h"

#define SPORT	   4000
#define DPORT	   5000
#define FRAMES_MAX 256

static volatile uint32_t epoch = 1;

/* A socket of another namespace. */
static inline int socket_in(const char *ns, int family, int type, int protocol)
{
	char path[64];
	int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), there, fd;

	snprintf(path, sizeof(path), "/run/netns/%s", ns);
	there = open(path, O_RDONLY | O_CLOEXEC);
	if (here < 0 || there < 0 || setns(there, CLONE_NEWNET)) {
		fprintf(stderr, "namespace %s: %s\n", ns, strerror(errno));
		exit(1);
	}
	fd = socket(family, type | SOCK_CLOEXEC, protocol);
	if (setns(here, CLONE_NEWNET))
		exit(1);
	close(there);
	close(here);
	assert_true(fd >= 0);
	return fd;
}

static inline unsigned int ifindex_in(const char *ns, const char *name)
{
	struct ifreq request = {0};
	int fd = socket_in(ns, AF_INET, SOCK_DGRAM, 0);

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	assert_int_equal(ioctl(fd, SIOCGIFINDEX, &request), 0);
	close(fd);
	return (unsigned int)request.ifr_ifindex;
}

struct frames {
	uint32_t count;
	uint32_t length[FRAMES_MAX];
	uint8_t *bytes[FRAMES_MAX];
};

/* With a ring of its own instead of the CPU's backlog, which a flood in another namespace fills. */
static inline void own_ring(const char *ns, const char *dev)
{
	char command[128];

	snprintf(command, sizeof(command), "ip netns exec %s ethtool -K %s gro on >/dev/null", ns,
		 dev);
	bed_sh(command);
}

static inline int capture_open(const char *ns, const char *dev)
{
	int fd = socket_in(ns, AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)), size = 64 << 20;
	struct sockaddr_ll local = {.sll_family = AF_PACKET,
				    .sll_protocol = htons(ETH_P_ALL),
				    .sll_ifindex = (int)ifindex_in(ns, dev)};

	own_ring(ns, dev);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&local, sizeof(local)), 0);
	return fd;
}

static uint8_t wanted_proto = IPPROTO_UDP;

/* UDP, or what wanted_proto says, to DPORT, or a fragment, that came from the other side. */
static inline bool wanted(const uint8_t *f, uint32_t len, const struct sockaddr_ll *from)
{
	uint32_t udp;

	if (from->sll_pkttype == PACKET_OUTGOING || len < 34)
		return false;
	if (f[12] == 0x08 && f[13] == 0x00) {
		if (f[23] != wanted_proto)
			return false;
		if ((f[20] & 0x1f) || f[21])
			return true;
		udp = 34;
	} else if (f[12] == 0x86 && f[13] == 0xdd) {
		if (f[20] == IPPROTO_FRAGMENT)
			return true;
		if (f[20] != wanted_proto)
			return false;
		udp = 54;
	} else {
		return false;
	}
	return len >= udp + 8 && (f[udp + 2] << 8 | f[udp + 3]) == DPORT;
}

static inline void frames_free(struct frames *frames)
{
	for (uint32_t i = 0; i < frames->count; i++)
		free(frames->bytes[i]);
	frames->count = 0;
}

/* All that is there; waits up to `wait_ms` for the first. */
static inline void capture_take(int fd, struct frames *frames, int wait_ms)
{
	static uint8_t buf[70000];
	struct pollfd p = {.fd = fd, .events = POLLIN};

	frames->count = 0;
	while (poll(&p, 1, frames->count ? 0 : wait_ms) == 1) {
		struct sockaddr_ll from;
		socklen_t len = sizeof(from);
		ssize_t n = recvfrom(fd, buf, sizeof(buf), MSG_DONTWAIT, (struct sockaddr *)&from,
				     &len);

		if (n < 0)
			continue; /* ENETDOWN, when a test takes the interface down */
		if (!wanted(buf, (uint32_t)n, &from))
			continue;
		assert_true(frames->count < FRAMES_MAX);
		frames->bytes[frames->count] = malloc((size_t)n + 1);
		memcpy(frames->bytes[frames->count], buf, (size_t)n);
		frames->length[frames->count++] = (uint32_t)n;
	}
}

static inline void capture_drop(int fd)
{
	static uint8_t buf[64];

	usleep(2000);
	while (recv(fd, buf, sizeof(buf), MSG_DONTWAIT) >= 0 || errno == ENETDOWN)
		;
}

static inline union lrp_address address(int family, const char *text)
{
	union lrp_address a = {0};

	assert_int_equal(inet_pton(family, text, &a), 1);
	return a;
}

static inline socklen_t sockaddr_of(struct sockaddr_storage *s, int family,
				    const union lrp_address *a, uint16_t port)
{
	memset(s, 0, sizeof(*s));
	s->ss_family = (sa_family_t)family;
	if (family == AF_INET) {
		((struct sockaddr_in *)s)->sin_addr = a->v4;
		((struct sockaddr_in *)s)->sin_port = htons(port);
		return sizeof(struct sockaddr_in);
	}
	((struct sockaddr_in6 *)s)->sin6_addr = a->v6;
	((struct sockaddr_in6 *)s)->sin6_port = htons(port);
	return sizeof(struct sockaddr_in6);
}

/* The shadow: an ordinary socket on SPORT. */
static inline int shadow_open(int family)
{
	struct sockaddr_storage local;
	union lrp_address any = {0};
	socklen_t len = sockaddr_of(&local, family, &any, SPORT);
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0), one = 1, size = 1 << 20;

	assert_true(fd >= 0);
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	assert_int_equal(bind(fd, (struct sockaddr *)&local, len), 0);
	return fd;
}

static inline int shadow_send(int fd, const struct lrp_udp_datagram *d)
{
	struct sockaddr_storage to;
	struct msghdr m = {
		.msg_name = &to, .msg_iov = (struct iovec *)d->iov, .msg_iovlen = d->iov_count};

	m.msg_namelen = sockaddr_of(&to, d->family, &d->dst, ntohs(d->dport));
	return sendmsg(fd, &m, 0) < 0 ? -errno : 0;
}

static inline int tx_one(struct lrp_tx_dest *dest, const struct lrp_udp_datagram *d, int flags)
{
	return lrp_tx_send(&dest, d, 1, flags);
}

/* Sends, through the shadow where lrp_tx_send() says so. True: it was ours. */
static inline bool tx_or_shadow(struct lrp_tx_dest *dest, const struct lrp_udp_datagram *d, int fd)
{
	int n = tx_one(dest, d, 0);

	assert_true(n >= 0);
	if (!n)
		shadow_send(fd, d);
	return n;
}

/* Until the destination is ours: the kernel has to resolve the neighbour first. */
static inline void tx_warm(struct lrp_tx_dest *dest, const struct lrp_udp_datagram *d, int fd)
{
	for (int i = 0; i < 300; i++) {
		if (tx_or_shadow(dest, d, fd))
			return;
		usleep(5000);
	}
	fail_msg("the destination never became ours");
}

static inline struct lrp_udp_datagram datagram(int family, const char *dst, const struct iovec *iov)
{
	return (struct lrp_udp_datagram){.family = (uint8_t)family,
					 .ttl = 64,
					 .dst = address(family, dst),
					 .sport = htons(SPORT),
					 .dport = htons(DPORT),
					 .iov = iov,
					 .iov_count = 1,
					 .length = (uint32_t)iov->iov_len};
}

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_stream_icmp.c - what routers say about connections, on a kernel socket and on ours: the path's
 * MTU, and that nobody may pass.
 *
 *    this namespace          client, a router          far
 *    198.18.1.1 s0 ─────── c0 198.18.1.2
 *                             f0 198.18.9.1 ──(800)── g0 198.18.9.9
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../lib/bed.h"
#include "../lib/check.h"
#include "stream_peer.h"

#define BYTES 60000

static void build(void)
{
	if (!access("/run/netns/far", F_OK))
		return;
	bed_sh("set -e; ip netns add far; "
	       "ip link add f0 netns client type veth peer name g0 netns far; "
	       "ip -n client addr add 198.18.9.1/24 dev f0; "
	       "ip -n far addr add 198.18.9.9/24 dev g0; "
	       "ip -n client addr add 2001:db8:9::1/64 dev f0 nodad; "
	       "ip -n far addr add 2001:db8:9::9/64 dev g0 nodad; "
	       "ip -n client link set f0 mtu 1300 up; ip -n far link set g0 up; "
	       "ip -n far route add default via 198.18.9.1; "
	       "ip -n far -6 route add default via 2001:db8:9::1; "
	       "ip -n client route change 198.18.9.0/24 dev f0 mtu lock 800; "
	       "ip -n client route add prohibit 198.18.8.0/24; "
	       "ip -n client -6 route add prohibit 2001:db8:8::/64; "
	       "ip netns exec client sysctl -qw net.ipv4.ip_forward=1 "
	       "net.ipv6.conf.all.forwarding=1; "
	       "ip route add 198.18.9.0/24 via 198.18.1.2; "
	       "ip -6 route add 2001:db8:9::/64 via 2001:db8:1::2; "
	       "ip route add 198.18.8.0/24 via 198.18.1.2; "
	       "ip -6 route add 2001:db8:8::/64 via 2001:db8:1::2; "
	       /* A new interface forwards only when the kernel has seen its carrier. */
	       "ping -q -c 1 -w 5 198.18.9.9 >/dev/null; ping -q -c 1 -w 5 2001:db8:9::9 "
	       ">/dev/null");
}

static int far_socket(int family)
{
	int there = open("/run/netns/far", O_RDONLY | O_CLOEXEC), fd, on = 1;
	int here = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	must(there >= 0 && here >= 0 && !setns(there, CLONE_NEWNET), "namespace far");
	fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	must(!setns(here, CLONE_NEWNET), "setns");
	close(there);
	close(here);
	return fd;
}

/* In network 198.18.`net`.0/24 or 2001:db8:`net`::/64. */
static socklen_t addr_far(const struct run *r, struct sockaddr_storage *a, int net)
{
	socklen_t len = addr_client(r, a, SERVICE_PORT);

	if (r->family == AF_INET) {
		((struct sockaddr_in *)a)->sin_addr.s_addr =
			htonl(198u << 24 | 18 << 16 | (uint32_t)net << 8 | 9);
	} else {
		struct in6_addr *addr = &((struct sockaddr_in6 *)a)->sin6_addr;

		addr->s6_addr[5] = (uint8_t)net;
		addr->s6_addr[15] = 9;
	}
	return len;
}

/* What is too long is told, and sent again shorter, at once. */
static void narrow(struct run *r)
{
	static char out[BYTES], in[BYTES];
	struct sockaddr_storage a;
	struct timespec t0, t1;
	struct tcp_info info;
	socklen_t len;
	long got = 0, n = 1;
	int lfd, fd, peer;

	build();
	lfd = far_socket(r->family);
	len = addr_far(r, &a, 9);
	must(!bind(lfd, (void *)&a, len) && !listen(lfd, 5), "listener");
	fd = stream_socket(r, 0);
	must(!r->ops->connect(fd, (void *)&a, len), "connect");
	len = sizeof(a);
	if (r->lrp && !getpeername(fd, (void *)&a, &len))
		note(r, "the kernel's connection");
	peer = accept(lfd, NULL, NULL);
	memset(out, 'x', sizeof(out));
	clock_gettime(CLOCK_MONOTONIC, &t0);
	note_result(r, "send", r->ops->send(fd, out, sizeof(out), 0));
	while (n > 0 && got < BYTES) {
		/* The application is elsewhere: APP hears of it. */
		n = recv(peer, in + got, (size_t)(BYTES - got), 0);
		got += n > 0 ? n : 0;
	}
	clock_gettime(CLOCK_MONOTONIC, &t1);
	note(r, "%ld bytes, equal %d", got, !memcmp(in, out, sizeof(in)));
	note(r, "late %d",
	     (t1.tv_sec - t0.tv_sec) * 1000 + (t1.tv_nsec - t0.tv_nsec) / 1000000 > 150);
	len = sizeof(info);
	note_result(r, "info", r->ops->getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len));
	note(r, "mtu %u", info.tcpi_pmtu);
	r->ops->close(fd);
	close(peer);
	close(lfd);
	/* The kernel remembers it for all that follow; each run is to find it. */
	bed_sh("ip route flush cache; ip -6 route flush cache");
}

static void prohibited(struct run *r)
{
	int fd = stream_socket(r, 0);
	struct sockaddr_storage a;
	socklen_t len;

	build();
	len = addr_far(r, &a, 8);
	note_result(r, "connect", r->ops->connect(fd, (void *)&a, len));
	len = sizeof(a);
	/* A shadow is bound. */
	if (r->lrp && !getsockname(fd, (void *)&a, &len) && !((struct sockaddr_in *)&a)->sin_port)
		note(r, "the kernel's connection");
	r->ops->close(fd);
}

static const struct test_case cases[] = {
	CASE(narrow, 4),
	CASE(prohibited, 0),
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}

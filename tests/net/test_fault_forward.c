/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_fault_forward.c - a host that forwards: a socket on the wildcard address
 * swallows nothing that goes through the host to somebody else, on any port of its own, while it
 * receives what is addressed to the host.
 *
 *    client ns                 this namespace                   blaster ns
 *   198.18.1.2 c0 ────── s0 198.18.1.1  198.18.2.1 s1 ────── b0 198.18.2.2 [kernel socket]
 *   2001:db8:1::2                [LRP socket]                 2001:db8:2::2
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <time.h>

#include "fault_bed.h"

#define DATAGRAMS 20000u

static int enter(const char *ns)
{
	char path[64];
	int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), there;

	snprintf(path, sizeof(path), "/run/netns/%s", ns);
	there = open(path, O_RDONLY | O_CLOEXEC);
	if (here < 0 || there < 0 || setns(there, CLONE_NEWNET)) {
		perror(ns);
		exit(1);
	}
	close(there);
	return here;
}

static int socket_in(const char *ns, int family)
{
	int here = enter(ns), fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0), size = 32 << 20;

	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	if (fd < 0 || setns(here, CLONE_NEWNET))
		exit(1);
	close(here);
	return fd;
}

static socklen_t address(struct sockaddr_storage *a, int family, const char *text, uint16_t port)
{
	struct sockaddr_in *in = (void *)a;
	struct sockaddr_in6 *in6 = (void *)a;

	memset(a, 0, sizeof(*a));
	a->ss_family = (sa_family_t)family;
	if (family == AF_INET) {
		in->sin_port = htons(port);
		inet_pton(family, text, &in->sin_addr);
		return sizeof(*in);
	}
	in6->sin6_port = htons(port);
	inet_pton(family, text, &in6->sin6_addr);
	return sizeof(*in6);
}

/* On the wildcard of both families: nothing but what is the host's may come. */
static int receive_all(struct fault_app *app, int unused)
{
	struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(FAULT_PORT + 1)};
	struct timeval timeout = {.tv_usec = 10000};
	int fd = lrp_socket(AF_INET6, SOCK_DGRAM, 0), off = 0, size = 16384 * 832 / 2;
	char buf[2048];

	(void)unused;
	if (fd < 0 || lrp_setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) ||
	    lrp_setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) ||
	    lrp_setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) ||
	    lrp_bind(fd, (struct sockaddr *)&any, sizeof(any)))
		return -1;
	app->step = 1;
	while (!app->stop) {
		ssize_t n = lrp_recv(fd, buf, sizeof(buf), 0);

		if (n > 0 && buf[0] == 'h')
			atomic_fetch_add(&app->received, 1);
		else if (n > 0)
			atomic_fetch_add(&app->strange, 1);
		fault_stats(app, fd);
	}
	return lrp_close(fd);
}

static unsigned int drain(int fd, const char *what, char kind)
{
	unsigned int n = 0;
	char buf[2048];
	ssize_t len;

	while ((len = recv(fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
		if (buf[0] == kind)
			n++;
		else
			CHECK(false, "%s: got a datagram that was for another", what);
	return n;
}

static void test(int family, const char *host, const char *behind, struct fault_app *app)
{
	int from = socket_in("client", family), to = socket_in("blaster", family);
	uint64_t received = app->received, strange = app->strange, call = app->call;
	struct sockaddr_storage a, b, any;
	unsigned int sent = 0, host_sent = 0, got = 0;
	socklen_t len = address(&a, family, behind, FAULT_PORT + 1);
	struct timespec pause = {.tv_nsec = 100000};
	char buf[64] = "through the host";

	address(&b, family, host, FAULT_PORT + 1);
	if (bind(to, (void *)&any,
		 address(&any, family, family == AF_INET ? "0.0.0.0" : "::", FAULT_PORT + 1))) {
		perror("bind");
		exit(1);
	}
	/* Until the neighbours know each other. */
	FAULT_WAIT(sendto(from, buf, sizeof(buf), 0, (void *)&a, len) > 0 &&
			   drain(to, behind, 't') > 0,
		   3000);
	fault_sleep_ms(20);
	drain(to, behind, 't');
	for (unsigned int i = 0; i < DATAGRAMS; i++) {
		buf[0] = 't';
		sent += sendto(from, buf, sizeof(buf), 0, (void *)&a, len) > 0;
		buf[0] = 'h';
		host_sent += sendto(from, buf, sizeof(buf), 0, (void *)&b, len) > 0;
		if (i % 16 == 0) {
			nanosleep(&pause, NULL);
			got += drain(to, behind, 't');
		}
	}
	fault_sleep_ms(300);
	got += drain(to, behind, 't');
	printf("%s: %u sent through the host, %u arrived behind it; %u to the host, %llu "
	       "received\n",
	       behind, sent, got, host_sent, (unsigned long long)(app->received - received));
	CHECK(got == sent, "%s: %u of %u that were to be forwarded did not arrive", behind,
	      sent - got, sent);
	CHECK(app->strange == strange, "%llu swallowed",
	      (unsigned long long)(app->strange - strange));
	CHECK(app->received - received == host_sent, "%s: the host received %llu of %u", host,
	      (unsigned long long)(app->received - received), host_sent);
	CHECK(app->call - call >= host_sent / 2, "not through a channel");
	close(from);
	close(to);
}

int main(int argc, char **argv)
{
	struct fault_app *app;
	long before;

	(void)argc;
	fault_begin(argv, NULL);
	if (fault_sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 && "
		     "ip -n client -6 route add default via 2001:db8:1::1 && "
		     "ip -n blaster -6 route add default via 2001:db8:2::1 && "
		     "ip netns exec blaster ethtool -K b0 gro on >/dev/null && "
		     "ethtool -K s1 gro on >/dev/null"))
		return 1;
	app = fault_app_new(FAULT_PORT, 1);
	app->body = receive_all;
	app->nice = -10;
	fault_spawn(app);
	CHECK(FAULT_WAIT(app->step == 1, 2000), "the receiver: %s", strerror(app->last_errno));
	before = fault_reason("s0", "pass_address");
	test(AF_INET, "198.18.1.1", "198.18.2.2", app);
	test(AF_INET6, "2001:db8:1::1", "2001:db8:2::2", app);
	/* The host's address on its other side is the host's as well. */
	test(AF_INET, "198.18.2.1", "198.18.2.2", app);
	CHECK(fault_reason("s0", "pass_address") - before >= 3 * (long)DATAGRAMS,
	      "pass_address counted %ld", fault_reason("s0", "pass_address") - before);
	/* On both interfaces. */
	CHECK(fault_sh("build/bin/lrp attach s1 >/dev/null") == 0, "attach s1");
	fault_sleep_ms(200);
	test(AF_INET, "198.18.1.1", "198.18.2.2", app);
	test(AF_INET6, "2001:db8:1::1", "2001:db8:2::2", app);
	fault_audit_idle("after forwarding", 5000);
	fault_stop(app);
	fault_nobody_left();
	return fault_end();
}

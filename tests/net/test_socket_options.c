/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* test_socket_options.c - options and control messages, on a kernel socket and on ours. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/in6.h>
#include <linux/net_tstamp.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "socket_harness.h"

#ifndef SO_TIMESTAMP_NEW
#define SO_TIMESTAMP_NEW   63
#define SO_TIMESTAMPNS_NEW 64
#endif
#ifndef IPV6_RECVORIGDSTADDR
#define IPV6_RECVORIGDSTADDR 74
#endif

struct int_option {
	int level, name;
	const char *text;
};
#define O(level, name)                                                                             \
	{                                                                                          \
		level, name, #name                                                                 \
	}
static const struct int_option ints[] = {
	O(SOL_SOCKET, SO_REUSEADDR),
	O(SOL_SOCKET, SO_REUSEPORT),
	O(SOL_SOCKET, SO_TYPE),
	O(SOL_SOCKET, SO_DOMAIN),
	O(SOL_SOCKET, SO_PROTOCOL),
	O(SOL_SOCKET, SO_ACCEPTCONN),
	O(SOL_SOCKET, SO_SNDBUF),
	O(SOL_SOCKET, SO_RCVBUF),
	O(SOL_SOCKET, SO_SNDLOWAT),
	O(SOL_SOCKET, SO_RCVLOWAT),
	O(SOL_SOCKET, SO_NO_CHECK),
	O(SOL_SOCKET, SO_BROADCAST),
	O(SOL_SOCKET, SO_KEEPALIVE),
	O(SOL_SOCKET, SO_DONTROUTE),
	O(SOL_SOCKET, SO_PRIORITY),
	O(SOL_SOCKET, SO_MARK),
	O(SOL_SOCKET, SO_TIMESTAMP),
	O(SOL_SOCKET, SO_TIMESTAMPNS),
	O(SOL_SOCKET, SO_RXQ_OVFL),
	O(SOL_SOCKET, SO_ERROR),
	O(SOL_SOCKET, SO_SNDBUFFORCE),
	O(SOL_SOCKET, SO_RCVBUFFORCE),
	O(SOL_IP, IP_TOS),
	O(SOL_IP, IP_TTL),
	O(SOL_IP, IP_MTU_DISCOVER),
	O(SOL_IP, IP_PKTINFO),
	O(SOL_IP, IP_RECVTTL),
	O(SOL_IP, IP_RECVTOS),
	O(SOL_IP, IP_RECVERR),
	O(SOL_IP, IP_RECVORIGDSTADDR),
	O(SOL_IP, IP_FREEBIND),
	O(SOL_IP, IP_BIND_ADDRESS_NO_PORT),
	O(SOL_IP, IP_MULTICAST_TTL),
	O(SOL_IP, IP_MULTICAST_LOOP),
	O(SOL_IP, IP_MULTICAST_ALL),
	O(SOL_IP, IP_MTU),
	O(SOL_IPV6, IPV6_V6ONLY),
	O(SOL_IPV6, IPV6_UNICAST_HOPS),
	O(SOL_IPV6, IPV6_TCLASS),
	O(SOL_IPV6, IPV6_MTU_DISCOVER),
	O(SOL_IPV6, IPV6_RECVPKTINFO),
	O(SOL_IPV6, IPV6_RECVHOPLIMIT),
	O(SOL_IPV6, IPV6_RECVTCLASS),
	O(SOL_IPV6, IPV6_RECVORIGDSTADDR),
	O(SOL_IPV6, IPV6_RECVERR),
	O(SOL_IPV6, IPV6_MULTICAST_HOPS),
	O(SOL_IPV6, IPV6_MULTICAST_LOOP),
	O(SOL_IPV6, IPV6_DONTFRAG),
	O(SOL_IPV6, IPV6_AUTOFLOWLABEL),
	O(SOL_IPV6, IPV6_MTU),
};

/* Known to the kernel; ours must refuse them in so many words. */
static const struct int_option refused[] = {
	O(SOL_SOCKET, SO_PEEK_OFF),
	O(SOL_SOCKET, SO_ZEROCOPY),
	O(SOL_SOCKET, SO_ATTACH_FILTER),
	O(SOL_SOCKET, SO_ATTACH_BPF),
	O(SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF),
	O(SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF),
	O(SOL_SOCKET, SO_LOCK_FILTER),
	O(SOL_SOCKET, SO_TXTIME),
	O(SOL_SOCKET, SO_BUSY_POLL),
	O(SOL_SOCKET, SO_INCOMING_CPU),
	O(SOL_IP, IP_RECVOPTS),
	O(SOL_IP, IP_RETOPTS),
	O(SOL_IP, IP_TRANSPARENT),
	O(SOL_IP, 23 /* IP_CHECKSUM */),
	O(SOL_IP, 25 /* IP_RECVFRAGSIZE */),
	O(SOL_IPV6, IPV6_RECVRTHDR),
	O(SOL_IPV6, IPV6_RECVHOPOPTS),
	O(SOL_IPV6, IPV6_TRANSPARENT),
	O(SOL_UDP, UDP_SEGMENT),
	O(SOL_UDP, UDP_GRO),
	O(SOL_UDP, UDP_ENCAP),
	O(SOL_UDP, UDP_CORK),
	O(SOL_SOCKET, 9999),
	O(SOL_IP, 9999),
	O(4711, 1),
};
#undef O

static void get(struct run *r, int fd, const struct int_option *o)
{
	int value = -1;
	socklen_t len = sizeof(value);
	int n = r->ops->getsockopt(fd, o->level, o->name, &value, &len);

	note_result(r, o->text, n);
	note(r, "  get %d len %u", n ? 0 : value, n ? 0 : len);
}

static void int_options(struct run *r)
{
	static const int values[] = {1, 0, 20, -1, 4096, 3, 1000000};
	int fd = bound_socket(r), fd2, byte;
	size_t i, k;

	for (i = 0; i < sizeof(ints) / sizeof(ints[0]); i++) {
		get(r, fd, &ints[i]);
		for (k = 0; k < sizeof(values) / sizeof(values[0]); k++) {
			note(r, "set %d", values[k]);
			note_result(r, ints[i].text,
				    r->ops->setsockopt(fd, ints[i].level, ints[i].name, &values[k],
						       sizeof(int)));
			get(r, fd, &ints[i]);
		}
		note_result(r, "short",
			    r->ops->setsockopt(fd, ints[i].level, ints[i].name, &values[0], 1));
		byte = 0;
		note_result(r, "byte",
			    r->ops->setsockopt(fd, ints[i].level, ints[i].name, &byte, 1));
		get(r, fd, &ints[i]);
		/* Each on a fresh socket: they influence each other. */
		r->ops->close(fd);
		fd = bound_socket(r);
	}
	fd2 = r->ops->socket(r->family, SOCK_DGRAM, 0);
	note_result(r, "null", r->ops->setsockopt(fd2, SOL_SOCKET, SO_REUSEADDR, NULL, 4));
	r->ops->close(fd2);
	r->ops->close(fd);
}

static void refusals(struct run *r)
{
	int fd = bound_socket(r), value = 1, n;
	socklen_t len;
	size_t i;

	for (i = 0; i < sizeof(refused) / sizeof(refused[0]) && r->lrp; i++) {
		n = r->ops->setsockopt(fd, refused[i].level, refused[i].name, &value,
				       sizeof(value));
		if (n == 0 || (errno != ENOPROTOOPT && errno != EOPNOTSUPP))
			note(r, "set %s: %d %s", refused[i].text, n, strerrorname_np(errno));
		len = sizeof(value);
		n = r->ops->getsockopt(fd, refused[i].level, refused[i].name, &value, &len);
		if (n == 0 || (errno != ENOPROTOOPT && errno != EOPNOTSUPP))
			note(r, "get %s: %d %s", refused[i].text, n, strerrorname_np(errno));
	}
	value = SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE;
	if (r->lrp &&
	    (r->ops->setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &value, sizeof(value)) == 0 ||
	     errno != EOPNOTSUPP))
		note(r, "transmit time stamps were accepted");
	if (r->lrp && (r->ops->fcntl(fd, F_SETFL, O_ASYNC) == 0 || errno != EOPNOTSUPP))
		note(r, "O_ASYNC was accepted");
	r->ops->close(fd);
}

static void enable(struct run *r, int fd, int level, int name)
{
	int one = 1;

	note(r, "option %d/%d", level, name);
	note_result(r, "setsockopt", r->ops->setsockopt(fd, level, name, &one, sizeof(one)));
}

static void with_option(struct run *r, int level, int name)
{
	int fd = new_socket(r), zero = 0;
	struct sockaddr_storage a;

	enable(r, fd, level, name);
	note_result(r, "bind", r->ops->bind(fd, (void *)&a, addr_any(r, &a, PORT)));
	peer_text(r, "with control messages");
	do_recvmsg(r, fd, 100, 512, 0);
	peer_text(r, "with room for a part");
	do_recvmsg(r, fd, 100, CMSG_LEN(1), 0);
	peer_text(r, "without room");
	do_recvmsg(r, fd, 100, 0, 0);
	peer_text(r, "peeked");
	do_recvmsg(r, fd, 100, 512, MSG_PEEK);
	do_recvmsg(r, fd, 100, 512, 0);
	note_result(r, "off", r->ops->setsockopt(fd, level, name, &zero, sizeof(zero)));
	peer_text(r, "off again");
	do_recvmsg(r, fd, 100, 512, 0);
	r->ops->close(fd);
}

static void messages(struct run *r)
{
	int ttl = 33, tos = 0x28;

	if (r->family == AF_INET) {
		setsockopt(r->peer, SOL_IP, IP_TTL, &ttl, sizeof(ttl));
		setsockopt(r->peer, SOL_IP, IP_TOS, &tos, sizeof(tos));
		with_option(r, SOL_IP, IP_PKTINFO);
		with_option(r, SOL_IP, IP_RECVTTL);
		with_option(r, SOL_IP, IP_RECVTOS);
		with_option(r, SOL_IP, IP_RECVORIGDSTADDR);
	} else {
		setsockopt(r->peer, SOL_IPV6, IPV6_UNICAST_HOPS, &ttl, sizeof(ttl));
		setsockopt(r->peer, SOL_IPV6, IPV6_TCLASS, &tos, sizeof(tos));
		with_option(r, SOL_IPV6, IPV6_RECVPKTINFO);
		with_option(r, SOL_IPV6, IPV6_RECVHOPLIMIT);
		with_option(r, SOL_IPV6, IPV6_RECVTCLASS);
		with_option(r, SOL_IPV6, IPV6_RECVORIGDSTADDR);
	}
	with_option(r, SOL_SOCKET, SO_RXQ_OVFL);
}

static void timestamps(struct run *r)
{
	int both = SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE, fd;

	with_option(r, SOL_SOCKET, SO_TIMESTAMP);
	with_option(r, SOL_SOCKET, SO_TIMESTAMPNS);
	with_option(r, SOL_SOCKET, SO_TIMESTAMP_NEW);
	with_option(r, SOL_SOCKET, SO_TIMESTAMPNS_NEW);
	fd = bound_socket(r);
	enable(r, fd, SOL_SOCKET, SO_TIMESTAMP);
	enable(r, fd, SOL_SOCKET, SO_TIMESTAMPNS);
	peer_text(r, "nanoseconds win");
	do_recvmsg(r, fd, 100, 512, 0);
	note_result(r, "SO_TIMESTAMPING",
		    r->ops->setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &both, sizeof(both)));
	peer_text(r, "both");
	do_recvmsg(r, fd, 100, 512, 0);
	r->ops->close(fd);
}

static void all_messages(struct run *r)
{
	int fd = bound_socket(r);
	struct sockaddr_storage a;

	enable(r, fd, SOL_SOCKET, SO_TIMESTAMPNS);
	enable(r, fd, SOL_IP, IP_PKTINFO);
	enable(r, fd, SOL_IP, IP_RECVTTL);
	enable(r, fd, SOL_IP, IP_RECVTOS);
	if (r->family == AF_INET6) {
		enable(r, fd, SOL_IPV6, IPV6_RECVPKTINFO);
		enable(r, fd, SOL_IPV6, IPV6_RECVHOPLIMIT);
		enable(r, fd, SOL_IPV6, IPV6_RECVTCLASS);
	}
	peer_text(r, "everything");
	do_recvmsg(r, fd, 100, 512, 0);
	note_result(r, "connect", r->ops->connect(fd, (void *)&a, addr_client(r, &a, PEER_PORT)));
	peer_text(r, "everything");
	do_recvmsg(r, fd, 100, 512, 0);
	r->ops->close(fd);
}

/* IPv4 on an IPv6 socket: addresses as ::ffff:a.b.c.d, messages of both families. */
static void mapped(struct run *r)
{
	struct run r4 = *r;
	struct sockaddr_storage a;
	struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_port = htons(7777)};
	int fd = bound_socket(r), peer4, one = 1;
	char buf[64];
	socklen_t len;

	r4.family = AF_INET;
	peer4 = client_socket(AF_INET, SOCK_DGRAM, 0);
	bind(peer4, (void *)&a, addr_client(&r4, &a, 7777));
	connect(peer4, (void *)&a, addr_server(&r4, &a, PORT));
	note_result(r, "send", send(peer4, "IPv4", 4, 0));
	do_recvmsg(r, fd, 100, 512, 0);
	enable(r, fd, SOL_IPV6, IPV6_RECVPKTINFO);
	enable(r, fd, SOL_IPV6, IPV6_RECVHOPLIMIT);
	enable(r, fd, SOL_IP, IP_RECVTTL);
	enable(r, fd, SOL_IP, IP_PKTINFO);
	note_result(r, "send", send(peer4, "IPv4", 4, 0));
	do_recvmsg(r, fd, 100, 512, 0);
	inet_pton(AF_INET6, "::ffff:198.18.1.2", &to.sin6_addr);
	for (one = 0; one < 3; one++) {
		note_result(r, "sendto", r->ops->sendto(fd, "back", 4, 0, (void *)&to, sizeof(to)));
		note_result(r, "peer", recv(peer4, buf, sizeof(buf), 0));
	}
	note_result(r, "connect", r->ops->connect(fd, (void *)&to, sizeof(to)));
	len = sizeof(a);
	note_result(r, "getsockname", r->ops->getsockname(fd, (void *)&a, &len));
	note_addr(r, &a, len);
	peer_text(r, "IPv6 is not from the peer");
	note_result(r, "send", send(peer4, "IPv4 again", 10, 0));
	arrive();
	do_recvmsg(r, fd, 100, 512, 0);
	do_recvmsg(r, fd, 100, 512, MSG_DONTWAIT);
	r->ops->close(fd);
	/* only IPv6 */
	fd = new_socket(r);
	one = 1;
	note_result(r, "IPV6_V6ONLY",
		    r->ops->setsockopt(fd, SOL_IPV6, IPV6_V6ONLY, &one, sizeof(one)));
	note_result(r, "bind", r->ops->bind(fd, (void *)&a, addr_any(r, &a, PORT)));
	if (send(peer4, "refused", 7, 0) < 0)
		note(r, "refused at once");
	peer_text(r, "IPv6");
	arrive();
	do_recvfrom(r, fd, 100, 0);
	do_recvfrom(r, fd, 100, MSG_DONTWAIT);
	r->ops->close(fd);
	close(peer4);
}

/* What is sent carries what the options say. */
static void sent_with(struct run *r, int level, int name, int value, int recv_level, int recv_name)
{
	int fd = bound_socket(r), one = 1, i;
	struct sockaddr_storage a;
	socklen_t alen;
	char c[256] __attribute__((aligned(8))), buf[64];
	struct iovec iov = {buf, sizeof(buf)};

	setsockopt(r->peer, recv_level, recv_name, &one, sizeof(one));
	note_result(r, "setsockopt", r->ops->setsockopt(fd, level, name, &value, sizeof(value)));
	alen = addr_client(r, &a, PEER_PORT);
	for (i = 0; i < 3; i++) {
		struct msghdr msg = {.msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = c,
				     .msg_controllen = sizeof(c)};
		long n;

		note_result(r, "sendto", r->ops->sendto(fd, "marked", 6, 0, (void *)&a, alen));
		n = recvmsg(r->peer, &msg, 0);
		note_result(r, "peer", n);
		note_msg(r, &msg, n);
	}
	r->ops->close(fd);
}

static void sending_options(struct run *r)
{
	if (r->family == AF_INET) {
		sent_with(r, SOL_IP, IP_TTL, 9, SOL_IP, IP_RECVTTL);
		sent_with(r, SOL_IP, IP_TTL, -1, SOL_IP, IP_RECVTTL);
		sent_with(r, SOL_IP, IP_TOS, 0xb8, SOL_IP, IP_RECVTOS);
		sent_with(r, SOL_SOCKET, SO_NO_CHECK, 1, SOL_IP, IP_RECVTTL);
		sent_with(r, SOL_SOCKET, SO_PRIORITY, 6, SOL_IP, IP_RECVTTL);
	} else {
		sent_with(r, SOL_IPV6, IPV6_UNICAST_HOPS, 9, SOL_IPV6, IPV6_RECVHOPLIMIT);
		sent_with(r, SOL_IPV6, IPV6_UNICAST_HOPS, -1, SOL_IPV6, IPV6_RECVHOPLIMIT);
		sent_with(r, SOL_IPV6, IPV6_TCLASS, 0xb8, SOL_IPV6, IPV6_RECVTCLASS);
	}
}

/* A larger buffer takes a larger ring; what was in the old one comes first. */
static void receive_buffer(struct run *r)
{
	int fd = bound_socket(r), size = 4096, i, got = 0, value = 0, last = -1, disorder = 0;
	socklen_t len = sizeof(value);
	unsigned int number;

	for (i = 0; i < 100; i++)
		peer_send(r, &i, sizeof(i));
	arrive();
	size = 4000000;
	note_result(r, "SO_RCVBUF",
		    r->ops->setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)));
	note_result(r, "get", r->ops->getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &value, &len));
	note(r, "%d", value);
	for (; i < 1500; i++)
		peer_send(r, &i, sizeof(i));
	arrive();
	while (r->ops->recv(fd, &number, sizeof(number), MSG_DONTWAIT) > 0) {
		got++;
		if (getenv("V") && (int)number != last + 1)
			printf("%d after %d\n", (int)number, last);
		disorder += (int)number != last + 1;
		last = (int)number;
	}
	note(r, "got %d, out of order %d", got, disorder);
	/* and a small one holds little */
	size = 4096;
	note_result(r, "SO_RCVBUF",
		    r->ops->setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)));
	len = sizeof(value);
	note_result(r, "get", r->ops->getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &value, &len));
	note(r, "%d", value);
	for (i = 0; i < 500; i++)
		peer_send(r, &i, sizeof(i));
	arrive();
	for (got = 0; r->ops->recv(fd, &number, sizeof(number), MSG_DONTWAIT) > 0; got++)
		;
	note(r, "few: %s", got > 0 && got < 50 ? "yes" : "no");
	r->ops->close(fd);
}

static void device(struct run *r)
{
	struct sockaddr_storage a;
	char name[16] = "";
	socklen_t len = sizeof(name);
	int fd = new_socket(r), fd2;

	note_result(r, "SO_BINDTODEVICE",
		    r->ops->setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "s0", 3));
	note_result(r, "bind", r->ops->bind(fd, (void *)&a, addr_any(r, &a, PORT)));
	peer_text(r, "through the device");
	do_recvfrom(r, fd, 100, 0);
	note_result(r, "get", r->ops->getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &len));
	note(r, "%s %u", name, len);
	note_result(r, "no such", r->ops->setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "nix0", 5));
	r->ops->close(fd);
	fd2 = new_socket(r);
	note_result(r, "SO_BINDTODEVICE",
		    r->ops->setsockopt(fd2, SOL_SOCKET, SO_BINDTODEVICE, "s1", 3));
	note_result(r, "bind", r->ops->bind(fd2, (void *)&a, addr_any(r, &a, PORT)));
	peer_text(r, "to the wrong device");
	arrive();
	do_recvfrom(r, fd2, 100, MSG_DONTWAIT);
	r->ops->close(fd2);
}

static const struct test_case cases[] = {
	CASE(int_options, 0),	  CASE(refusals, 0),	      CASE(messages, 25),
	CASE(timestamps, 20),	  CASE(all_messages, 2),      CASE6(mapped, 4),
	CASE(sending_options, 0), CASE(receive_buffer, 1000), CASE(device, 0),
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}

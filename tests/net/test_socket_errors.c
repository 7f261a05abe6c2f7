/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_socket_errors.c - ICMP errors, the error queue, groups, broadcasts,
 * fragments and packets that must not arrive: on a kernel socket and on ours.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/ip.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../runtime/wire/checksum.h"
#include "socket_harness.h"

static void connect_to(struct run *r, int fd, int port)
{
	struct sockaddr_storage a;

	note_result(r, "connect", r->ops->connect(fd, (void *)&a, addr_client(r, &a, port)));
}

static void so_error(struct run *r, int fd)
{
	int value = -1;
	socklen_t len = sizeof(value);

	note_result(r, "SO_ERROR", r->ops->getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &len));
	note(r, "  %s", value ? strerrorname_np(value) : "none");
}

static void refused(struct run *r)
{
	struct sockaddr_storage a;
	int fd = bound_socket(r);
	struct pollfd p = {.fd = fd, .events = POLLIN};

	connect_to(r, fd, CLOSED_PORT);
	note_result(r, "send", r->ops->send(fd, "anyone?", 7, 0));
	do_recvfrom(r, fd, 100, 0);
	do_recvfrom(r, fd, 100, MSG_DONTWAIT);
	note_result(r, "send", r->ops->send(fd, "anyone?", 7, 0));
	arrive();
	note_result(r, "send again", r->ops->send(fd, "anyone?", 7, 0));
	note_result(r, "and again", r->ops->send(fd, "anyone?", 7, 0));
	arrive();
	so_error(r, fd);
	so_error(r, fd);
	note_result(r, "send", r->ops->send(fd, "anyone?", 7, 0));
	note_result(r, "poll", r->ops->poll(&p, 1, 1000));
	note(r, "  %x", (unsigned int)p.revents);
	so_error(r, fd);
	note_result(r, "poll", r->ops->poll(&p, 1, 0));
	r->ops->close(fd);
	/* who is not connected hears nothing */
	fd = bound_socket(r);
	note_result(
		r, "sendto",
		r->ops->sendto(fd, "anyone?", 7, 0, (void *)&a, addr_client(r, &a, CLOSED_PORT)));
	arrive();
	do_recvfrom(r, fd, 100, MSG_DONTWAIT);
	so_error(r, fd);
	r->ops->close(fd);
}

static void error_queue(struct run *r)
{
	int level = r->family == AF_INET ? SOL_IP : SOL_IPV6;
	int name = r->family == AF_INET ? IP_RECVERR : IPV6_RECVERR, one = 1, i, k;
	struct pollfd p = {.events = POLLIN};
	struct sockaddr_storage a;
	int fd;

	for (i = 0; i < 2; i++) {
		fd = bound_socket(r);
		p.fd = fd;
		note_result(r, "IP_RECVERR",
			    r->ops->setsockopt(fd, level, name, &one, sizeof(one)));
		do_recvmsg(r, fd, 100, 512, MSG_ERRQUEUE);
		/* connected: through the channel; then not: through the shadow */
		if (!i)
			connect_to(r, fd, CLOSED_PORT);
		for (k = 0; k < 2; k++) {
			note_result(r, "send",
				    r->ops->sendto(fd, "what comes back", 15, 0,
						   i ? (void *)&a : NULL,
						   i ? addr_client(r, &a, CLOSED_PORT) : 0));
			arrive();
			note_result(r, "poll", r->ops->poll(&p, 1, 100));
			note(r, "  %x", (unsigned int)p.revents);
			if (k) {
				do_recvfrom(r, fd, 100, 0);
				do_recvmsg(r, fd, 4, 512, MSG_ERRQUEUE);
			} else {
				do_recvmsg(r, fd, 100, 512, MSG_ERRQUEUE);
			}
			so_error(r, fd);
		}
		do_recvmsg(r, fd, 100, 512, MSG_ERRQUEUE);
		/* the queue does not stop what is received */
		r->ops->sendto(fd, "x", 1, 0, i ? (void *)&a : NULL,
			       i ? addr_client(r, &a, CLOSED_PORT) : 0);
		arrive();
		do_recvfrom(r, fd, 100, 0);
		do_recvfrom(r, fd, 100, 0);
		do_recvmsg(r, fd, 100, 512, MSG_ERRQUEUE);
		r->ops->close(fd);
	}
}

/* ---- groups -------------------------------------------------------------------- */

static socklen_t group(const struct run *r, struct sockaddr_storage *a, int last)
{
	struct sockaddr_in *in = (void *)a;
	struct sockaddr_in6 *in6 = (void *)a;

	memset(a, 0, sizeof(*a));
	if (r->family == AF_INET) {
		in->sin_family = AF_INET;
		in->sin_port = htons(PORT);
		in->sin_addr.s_addr = htonl(0xefc60000u | (unsigned int)last);
		return sizeof(*in);
	}
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(PORT);
	inet_pton(AF_INET6, "ff0e::198", &in6->sin6_addr);
	in6->sin6_addr.s6_addr[15] = (uint8_t)last;
	return sizeof(*in6);
}

static int sender(struct run *r)
{
	int fd = client_socket(r->family, SOCK_DGRAM, 0);
	struct sockaddr_storage a;

	bind(fd, (void *)&a, addr_client(r, &a, 7000));
	if (r->family == AF_INET6) {
		/* the client's interface: the first after lo */
		int ifindex = 2, i;

		for (i = 2; i < 10; i++)
			if (!setsockopt(fd, SOL_IPV6, IPV6_MULTICAST_IF, &i, sizeof(i)))
				ifindex = i;
		(void)ifindex;
	}
	return fd;
}

static void send_group(struct run *r, int fd, int last, const char *text)
{
	struct sockaddr_storage a;
	socklen_t len = group(r, &a, last);

	if (sendto(fd, text, strlen(text), 0, (void *)&a, len) < 0)
		perror("sendto group");
	arrive();
}

static int membership(struct run *r, int fd, int last, bool join)
{
	struct sockaddr_storage a;

	group(r, &a, last);
	if (r->family == AF_INET) {
		struct ip_mreq req = {.imr_multiaddr = ((struct sockaddr_in *)&a)->sin_addr};

		inet_pton(AF_INET, "198.18.1.1", &req.imr_interface);
		return r->ops->setsockopt(fd, SOL_IP, join ? IP_ADD_MEMBERSHIP : IP_DROP_MEMBERSHIP,
					  &req, sizeof(req));
	} else {
		struct ipv6_mreq req = {.ipv6mr_multiaddr = ((struct sockaddr_in6 *)&a)->sin6_addr};

		req.ipv6mr_interface = 2;
		return r->ops->setsockopt(fd, SOL_IPV6, join ? IPV6_JOIN_GROUP : IPV6_LEAVE_GROUP,
					  &req, sizeof(req));
	}
}

static void groups(struct run *r)
{
	int fd = bound_socket(r), from = sender(r), one = 1;

	send_group(r, from, 1, "nobody joined");
	do_recvfrom(r, fd, 100, MSG_DONTWAIT);
	note_result(r, "join", membership(r, fd, 1, true));
	note_result(r, "join twice", membership(r, fd, 1, true));
	send_group(r, from, 1, "joined");
	do_recvfrom(r, fd, 100, 0);
	send_group(r, from, 2, "another group");
	do_recvfrom(r, fd, 100, MSG_DONTWAIT);
	note_result(r, "join", membership(r, fd, 2, true));
	send_group(r, from, 2, "both");
	do_recvfrom(r, fd, 100, 0);
	note_result(
		r, "pktinfo",
		r->family == AF_INET
			? r->ops->setsockopt(fd, SOL_IP, IP_PKTINFO, &one, sizeof(one))
			: r->ops->setsockopt(fd, SOL_IPV6, IPV6_RECVPKTINFO, &one, sizeof(one)));
	send_group(r, from, 1, "with the group's address");
	do_recvmsg(r, fd, 100, 512, 0);
	peer_text(r, "unicast as well");
	do_recvmsg(r, fd, 100, 512, 0);
	note_result(r, "leave", membership(r, fd, 1, false));
	note_result(r, "leave twice", membership(r, fd, 1, false));
	send_group(r, from, 1, "left");
	do_recvfrom(r, fd, 100, MSG_DONTWAIT);
	send_group(r, from, 2, "still");
	do_recvfrom(r, fd, 100, 0);
	note_result(r, "not a group",
		    r->family == AF_INET
			    ? r->ops->setsockopt(fd, SOL_IP, IP_ADD_MEMBERSHIP,
						 &(struct ip_mreq){.imr_multiaddr.s_addr = 1}, 8)
			    : r->ops->setsockopt(fd, SOL_IPV6, IPV6_JOIN_GROUP,
						 &(struct ipv6_mreq){0}, sizeof(struct ipv6_mreq)));
	r->ops->close(fd);
	close(from);
}

/* MCAST_JOIN_GROUP, before the bind, and with a source filter, which only the kernel can apply. */
static void group_requests(struct run *r)
{
	int level = r->family == AF_INET ? SOL_IP : SOL_IPV6, fd = new_socket(r), from = sender(r);
	struct group_source_req source = {.gsr_interface = 2};
	struct group_req req = {.gr_interface = 2};
	struct sockaddr_storage a;

	group(r, &req.gr_group, 3);
	note_result(r, "join", r->ops->setsockopt(fd, level, MCAST_JOIN_GROUP, &req, sizeof(req)));
	note_result(r, "bind", r->ops->bind(fd, (void *)&a, addr_any(r, &a, PORT)));
	send_group(r, from, 3, "joined before it was bound");
	do_recvfrom(r, fd, 100, 0);
	note_result(r, "leave",
		    r->ops->setsockopt(fd, level, MCAST_LEAVE_GROUP, &req, sizeof(req)));
	send_group(r, from, 3, "left");
	do_recvfrom(r, fd, 100, MSG_DONTWAIT);
	group(r, &source.gsr_group, 4);
	addr_client(r, &source.gsr_source, 0);
	note_result(
		r, "join source",
		r->ops->setsockopt(fd, level, MCAST_JOIN_SOURCE_GROUP, &source, sizeof(source)));
	send_group(r, from, 4, "from the source");
	do_recvfrom(r, fd, 100, 0);
	addr_client(r, &source.gsr_source, 0);
	note_result(
		r, "leave source",
		r->ops->setsockopt(fd, level, MCAST_LEAVE_SOURCE_GROUP, &source, sizeof(source)));
	send_group(r, from, 4, "no longer");
	do_recvfrom(r, fd, 100, MSG_DONTWAIT);
	r->ops->close(fd);
	close(from);
}

static void broadcasts(struct run *r)
{
	int fd = bound_socket(r), from = sender(r), one = 1;
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	struct sockaddr_storage a;

	inet_pton(AF_INET, "198.18.1.255", &to.sin_addr);
	setsockopt(from, SOL_SOCKET, SO_BROADCAST, &one, sizeof(one));
	note_result(r, "send", sendto(from, "to all", 6, 0, (void *)&to, sizeof(to)));
	do_recvmsg(r, fd, 100, 512, 0);
	note_result(r, "IP_PKTINFO", r->ops->setsockopt(fd, SOL_IP, IP_PKTINFO, &one, sizeof(one)));
	note_result(r, "send", sendto(from, "to all", 6, 0, (void *)&to, sizeof(to)));
	do_recvmsg(r, fd, 100, 512, 0);
	to.sin_port = htons(9);
	note_result(r, "sendto", r->ops->sendto(fd, "x", 1, 0, (void *)&to, sizeof(to)));
	note_result(r, "SO_BROADCAST",
		    r->ops->setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &one, sizeof(one)));
	note_result(r, "sendto", r->ops->sendto(fd, "x", 1, 0, (void *)&to, sizeof(to)));
	r->ops->close(fd);
	/* a socket on one address does not get them */
	fd = new_socket(r);
	note_result(r, "bind", r->ops->bind(fd, (void *)&a, addr_server(r, &a, PORT)));
	to.sin_port = htons(PORT);
	note_result(r, "send", sendto(from, "to all", 6, 0, (void *)&to, sizeof(to)));
	arrive();
	do_recvfrom(r, fd, 100, MSG_DONTWAIT);
	r->ops->close(fd);
	close(from);
}

/* ---- packets made by hand --------------------------------------------------------- */

struct raw {
	uint8_t bytes[2048];
	uint32_t len;
};

/* IPv4 only: the fields that a test wants wrong are changed afterwards. */
static void make_datagram(struct raw *w, const char *text)
{
	uint32_t n = (uint32_t)strlen(text);
	uint8_t *ip = w->bytes, *udp = ip + 20;

	memset(w, 0, sizeof(*w));
	w->len = 28 + n;
	ip[0] = 0x45;
	ip[2] = (uint8_t)(w->len >> 8);
	ip[3] = (uint8_t)w->len;
	ip[8] = 64;
	ip[9] = IPPROTO_UDP;
	inet_pton(AF_INET, "198.18.1.2", ip + 12);
	inet_pton(AF_INET, "198.18.1.1", ip + 16);
	udp[0] = PEER_PORT >> 8;
	udp[1] = PEER_PORT & 255;
	udp[2] = PORT >> 8;
	udp[3] = PORT & 255;
	udp[4] = (uint8_t)((n + 8) >> 8);
	udp[5] = (uint8_t)(n + 8);
	memcpy(udp + 8, text, n);
}

/* IPPROTO_RAW: the kernel fills in the header checksum and, if 0, the identification. */
static void send_raw(const struct raw *w)
{
	static int fd = -1;
	struct sockaddr_in to = {.sin_family = AF_INET};

	if (fd < 0)
		fd = client_socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
	inet_pton(AF_INET, "198.18.1.1", &to.sin_addr);
	if (sendto(fd, w->bytes, w->len, 0, (void *)&to, sizeof(to)) < 0)
		perror("raw");
}

static void bad_packets(struct run *r)
{
	struct pollfd p = {.events = POLLIN};
	struct raw w;
	int fd = bound_socket(r);

	p.fd = fd;
	make_datagram(&w, "no checksum");
	send_raw(&w);
	do_recvfrom(r, fd, 100, 0);
	make_datagram(&w, "wrong checksum");
	w.bytes[26] = 0x12;
	w.bytes[27] = 0x34;
	send_raw(&w);
	arrive();
	note_result(r, "poll", r->ops->poll(&p, 1, 100));
	do_recvfrom(r, fd, 100, MSG_DONTWAIT);
	make_datagram(&w, "length too long");
	w.bytes[25] = 200;
	send_raw(&w);
	make_datagram(&w, "length too short");
	w.bytes[25] = 7;
	send_raw(&w);
	arrive();
	do_recvfrom(r, fd, 100, MSG_DONTWAIT);
	make_datagram(&w, "length shorter than the packet");
	w.bytes[25] = 8 + 6;
	send_raw(&w);
	do_recvfrom(r, fd, 100, 0);
	send_raw(&w);
	peer_text(r, "a good one behind");
	do_recvfrom(r, fd, 100, 0);
	do_recvfrom(r, fd, 100, 0);
	r->ops->close(fd);
}

/* Part of a datagram: `offset` bytes in, of `text` that is 4 * 8 bytes of payload with its header. */
static void send_fragment(const struct raw *whole, uint16_t id, uint32_t offset, uint32_t len,
			  bool more)
{
	struct raw w;

	memcpy(&w, whole, sizeof(w));
	w.bytes[4] = (uint8_t)(id >> 8);
	w.bytes[5] = (uint8_t)id;
	w.bytes[6] = (uint8_t)((more ? 0x20 : 0) | offset >> 11);
	w.bytes[7] = (uint8_t)(offset >> 3);
	memmove(w.bytes + 20, whole->bytes + 20 + offset, len);
	w.len = 20 + len;
	send_raw(&w);
}

static void fragments(struct run *r)
{
	static const uint8_t orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
					     {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
	struct raw w;
	int fd = bound_socket(r);
	uint16_t id = (uint16_t)(r->lrp ? 2000 : 1000);
	size_t i, k;

	make_datagram(&w, "this datagram comes in three pieces, in any order");
	for (i = 0; i < 6; i++) {
		for (k = 0; k < 3; k++) {
			uint32_t n = orders[i][k];

			send_fragment(&w, (uint16_t)(id + i), n * 24, n == 2 ? w.len - 20 - 48 : 24,
				      n != 2);
			if (k == 1)
				arrive();
		}
		do_recvfrom(r, fd, 100, 0);
	}
	/* an overlap drops the datagram; one that is never whole does not disturb */
	send_fragment(&w, 77, 0, 24, true);
	send_fragment(&w, 77, 16, 24, true);
	send_fragment(&w, 77, 40, w.len - 20 - 40, false);
	send_fragment(&w, 78, 0, 24, true);
	peer_text(r, "whole");
	do_recvfrom(r, fd, 100, 0);
	do_recvfrom(r, fd, 100, MSG_DONTWAIT);
	r->ops->close(fd);
}

static const struct test_case cases[] = {
	CASE(refused, 3),     CASE(error_queue, 3),  CASE(groups, 4),	   CASE(group_requests, 1),
	CASE4(broadcasts, 2), CASE4(bad_packets, 5), CASE4(fragments, 15),
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}

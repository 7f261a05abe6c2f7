/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* test_stream_connect.c - active opens, on a kernel socket and on ours. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stream_peer.h"

static void exchange(struct run *r)
{
	char buf[64] = "";
	int peer, fd = opened_socket(r, &peer);

	note_result(r, "send", r->ops->send(fd, "hello", 5, 0));
	note_result(r, "peer recv", recv(peer, buf, sizeof(buf), 0));
	note_data(r, buf, 5);
	note_result(r, "peer send", send(peer, "goodbye", 7, 0));
	do_recvfrom(r, fd, sizeof(buf), 0);
	note_result(r, "close", r->ops->close(fd));
	note_result(r, "peer: end", recv(peer, buf, sizeof(buf), 0));
	close(peer);
}

static void names(struct run *r)
{
	struct sockaddr_storage a, b;
	socklen_t len = sizeof(a);
	int peer, fd = opened_socket(r, &peer);

	note_result(r, "getpeername", r->ops->getpeername(fd, (void *)&a, &len));
	note_addr(r, &a, len);
	len = sizeof(a);
	note_result(r, "getsockname", r->ops->getsockname(fd, (void *)&a, &len));
	len = sizeof(b);
	getpeername(peer, (void *)&b, &len);
	note_result(r, "the peer sees it, too", memcmp(&a, &b, len));
	r->ops->close(fd);
	close(peer);
}

static void refused(struct run *r)
{
	struct sockaddr_storage a;
	socklen_t len = addr_client(r, &a, CLOSED_PORT);
	int fd = stream_socket(r, 0), peer, lfd;

	note_result(r, "connect", r->ops->connect(fd, (void *)&a, len));
	note_result(r, "recv", r->ops->recv(fd, &a, 1, MSG_DONTWAIT));
	note_result(r, "send", r->ops->send(fd, "x", 1, MSG_NOSIGNAL));
	/* and again, to somebody who listens */
	lfd = peer_listen(r);
	len = addr_client(r, &a, SERVICE_PORT);
	note_result(r, "connect", r->ops->connect(fd, (void *)&a, len));
	peer = accept(lfd, NULL, NULL);
	note_result(r, "connect when connected", r->ops->connect(fd, (void *)&a, len));
	note_result(r, "send", r->ops->send(fd, "x", 1, MSG_NOSIGNAL));
	close(peer);
	close(lfd);
	r->ops->close(fd);
}

static void nonblocking(struct run *r)
{
	int lfd = peer_listen(r), fd = stream_socket(r, SOCK_NONBLOCK), error = -1;
	struct sockaddr_storage a;
	socklen_t len = addr_client(r, &a, SERVICE_PORT), size = sizeof(error);
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	note_result(r, "connect", r->ops->connect(fd, (void *)&a, len));
	note_result(r, "poll", r->ops->poll(&p, 1, 2000));
	note_result(r, "events", p.revents);
	note_result(r, "SO_ERROR", r->ops->getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size));
	note_result(r, "is", error);
	note_result(r, "connect", r->ops->connect(fd, (void *)&a, len));
	note_result(r, "connect", r->ops->connect(fd, (void *)&a, len));
	note_result(r, "recv", r->ops->recv(fd, &a, 1, 0));
	note_result(r, "send", r->ops->send(fd, "x", 1, 0));
	r->ops->close(fd);
	close(lfd);
}

static void nonblocking_refused(struct run *r)
{
	int fd = stream_socket(r, SOCK_NONBLOCK), error = -1;
	struct sockaddr_storage a;
	socklen_t len = addr_client(r, &a, CLOSED_PORT), size = sizeof(error);
	struct pollfd p = {.fd = fd, .events = POLLOUT | POLLIN};

	note_result(r, "connect", r->ops->connect(fd, (void *)&a, len));
	note_result(r, "poll", r->ops->poll(&p, 1, 2000));
	note_result(r, "events", p.revents);
	note_result(r, "SO_ERROR", r->ops->getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size));
	note_result(r, "is", error);
	r->ops->close(fd);
}

/* Addresses that the kernel serves. */
static void loopback(struct run *r)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr *to = r->family == AF_INET ? (void *)&a4 : (void *)&a;
	socklen_t len = r->family == AF_INET ? sizeof(a4) : sizeof(a);
	int lfd = socket(r->family, SOCK_STREAM, 0), fd = stream_socket(r, 0), peer;

	if (bind(lfd, to, len) || listen(lfd, 5) || getsockname(lfd, to, &len))
		exit(1);
	note_result(r, "connect", r->ops->connect(fd, to, len));
	peer = accept(lfd, NULL, NULL);
	note_result(r, "send", r->ops->send(fd, "hello", 5, 0));
	note_result(r, "peer send", send(peer, "hello", 5, 0));
	do_recvfrom(r, fd, 10, 0);
	close(peer);
	do_recvfrom(r, fd, 10, 0);
	r->ops->close(fd);
	close(lfd);
}

static const struct test_case cases[] = {
	CASE(exchange, 3),
	CASE(names, 1),
	CASE(refused, 1),
	CASE(nonblocking, 1),
	CASE(nonblocking_refused, 1),
	CASE(loopback, 0),
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}

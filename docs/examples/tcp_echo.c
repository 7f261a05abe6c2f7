/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tcp_echo.c - a TCP echo server (RFC 862) on LRP, one thread, many connections: the code of any
 * such server, with another prefix. Segments are processed inside lrp_poll(), lrp_accept(),
 * lrp_read() and lrp_write(), in this thread, at its priority.
 *
 *   sudo lrp attach eth0 && ./tcp_echo 7
 */
#include <errno.h>
#include <lrp/lrp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX 1024 /* sockets, the listener among them */

static struct pollfd set[MAX];
static struct pending {
	size_t start, end; /* bytes of `data` that are not echoed yet */
	char data[16384];
} pending[MAX];
static nfds_t count;

static void take(int listener)
{
	int fd = lrp_accept4(listener, NULL, NULL, SOCK_NONBLOCK);

	if (fd < 0)
		return; /* taken back by the peer; or out of something: then it waits in the queue */
	set[count] = (struct pollfd){.fd = fd, .events = POLLIN};
	pending[count].start = pending[count].end = 0;
	count++;
}

/* False: the connection is over. */
static int echo(struct pollfd *p, struct pending *e)
{
	ssize_t n;

	if (e->start == e->end) {
		n = lrp_read(p->fd, e->data, sizeof(e->data));
		if (n <= 0)
			return n < 0 && (errno == EAGAIN || errno == EINTR);
		e->start = 0;
		e->end = (size_t)n;
	}
	n = lrp_send(p->fd, e->data + e->start, e->end - e->start, MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return 0;
	e->start += n > 0 ? (size_t)n : 0;
	/* A peer that does not read is not read from either. */
	p->events = e->start == e->end ? POLLIN : POLLOUT;
	return 1;
}

int main(int argc, char **argv)
{
	struct sockaddr_in6 any = {.sin6_family = AF_INET6};
	int fd, on = 1, off = 0;

	any.sin6_port = htons((unsigned short)(argc > 1 ? atoi(argv[1]) : 7));
	fd = lrp_socket(AF_INET6, SOCK_STREAM, 0);
	if (fd < 0 || lrp_setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    lrp_setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) < 0 ||
	    lrp_bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0 || lrp_listen(fd, 128) < 0) {
		perror("tcp_echo");
		return 1;
	}
	set[count++] = (struct pollfd){.fd = fd};
	for (;;) {
		/* At the limit further clients wait in the queue; when that is full, LRP drops
		 * their SYNs at the interface, before they have cost anything. */
		set[0].events = count < MAX ? POLLIN : 0;
		if (lrp_poll(set, count, -1) < 0 && errno != EINTR) {
			perror("lrp_poll");
			return 1;
		}
		if (set[0].revents & POLLIN)
			take(fd);
		for (nfds_t i = 1; i < count;) {
			if (!set[i].revents || echo(&set[i], &pending[i])) {
				set[i++].revents = 0;
				continue;
			}
			lrp_close(set[i].fd);
			set[i] = set[--count];
			pending[i] = pending[count];
		}
	}
}

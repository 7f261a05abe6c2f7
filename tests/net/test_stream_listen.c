/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* test_stream_listen.c - passive opens, on a kernel socket and on ours. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stream_peer.h"

static void exchange(struct run *r)
{
	char buf[64] = "";
	int lfd = listener(r, 5), peer = peer_connect(r), fd;
	struct sockaddr_storage a;
	socklen_t len = sizeof(a);

	fd = r->ops->accept(lfd, (void *)&a, &len);
	note_result(r, "accept", fd < 0 ? fd : 0);
	note_result(r, "its port is given", ((struct sockaddr_in *)&a)->sin_port != 0);
	note_result(r, "length", len);
	note_result(r, "peer send", send(peer, "hello", 5, 0));
	do_recvfrom(r, fd, 20, 0);
	note_result(r, "send", r->ops->send(fd, "goodbye", 7, 0));
	note_result(r, "peer recv", recv(peer, buf, sizeof(buf), 0));
	len = sizeof(a);
	note_result(r, "getsockname", r->ops->getsockname(fd, (void *)&a, &len));
	note_addr(r, &a, len);
	close(peer);
	do_recvfrom(r, fd, 20, 0);
	r->ops->close(fd);
	r->ops->close(lfd);
}

static void nonblocking(struct run *r)
{
	int lfd = listener(r, 5), fd, peer;
	struct pollfd p = {.fd = lfd, .events = POLLIN};

	r->ops->fcntl(lfd, F_SETFL, O_NONBLOCK);
	note_result(r, "accept", r->ops->accept(lfd, NULL, NULL));
	note_result(r, "poll", r->ops->poll(&p, 1, 50));
	peer = peer_connect(r);
	note_result(r, "poll", r->ops->poll(&p, 1, 2000));
	note_result(r, "events", p.revents);
	fd = r->ops->accept4(lfd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	note_result(r, "accept4", fd < 0 ? fd : 0);
	note_result(r, "flags", r->ops->fcntl(fd, F_GETFL) & O_NONBLOCK);
	note_result(r, "cloexec", r->ops->fcntl(fd, F_GETFD));
	note_result(r, "recv", r->ops->recv(fd, &p, 1, 0));
	note_result(r, "poll", r->ops->poll(&p, 1, 0));
	r->ops->close(fd);
	r->ops->close(lfd);
	close(peer);
}

static void errors(struct run *r)
{
	int fd = stream_socket(r, 0), lfd = listener(r, 5), other = stream_socket(r, 0);
	struct sockaddr_storage a;
	socklen_t len = addr_any(r, &a, PORT);

	note_result(r, "accept without listen", r->ops->accept(fd, NULL, NULL));
	note_result(r, "bind to a port in use", r->ops->bind(other, (void *)&a, len));
	note_result(r, "recv of a listener", r->ops->recv(lfd, &a, 1, 0));
	note_result(r, "send", r->ops->send(lfd, &a, 1, MSG_NOSIGNAL));
	note_result(r, "accept4 with a bad flag", r->ops->accept4(lfd, NULL, NULL, 1));
	note_result(r, "listen again", r->ops->listen(lfd, 10));
	r->ops->close(other);
	r->ops->close(fd);
	r->ops->close(lfd);
}

/* A listener hears loopback, too. */
static void loopback(struct run *r)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6,
				 .sin6_addr = IN6ADDR_LOOPBACK_INIT,
				 .sin6_port = htons(PORT)};
	struct sockaddr_in a4 = {.sin_family = AF_INET,
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				 .sin_port = htons(PORT)};
	struct sockaddr *to = r->family == AF_INET ? (void *)&a4 : (void *)&a;
	socklen_t len = r->family == AF_INET ? sizeof(a4) : sizeof(a);
	int lfd = listener(r, 5), peer = socket(r->family, SOCK_STREAM, 0), fd;

	note_result(r, "connect", connect(peer, to, len));
	fd = r->ops->accept(lfd, NULL, NULL);
	note_result(r, "accept", fd < 0 ? fd : 0);
	note_result(r, "send", r->ops->send(fd, "hello", 5, 0));
	note_result(r, "peer send", send(peer, "hello", 5, 0));
	do_recvfrom(r, fd, 10, 0);
	close(peer);
	do_recvfrom(r, fd, 10, 0);
	r->ops->close(fd);
	r->ops->close(lfd);
}

/* A hundred at once, each answered; in the order of the alphabet of their sockets. */
static void hundred(struct run *r)
{
	enum { COUNT = 100 };
	int lfd = listener(r, COUNT), peer[COUNT], fd[COUNT], i;
	struct pollfd p[COUNT];
	char buf[16];

	for (i = 0; i < COUNT; i++)
		peer[i] = peer_connect(r);
	for (i = 0; i < COUNT; i++) {
		fd[i] = r->ops->accept(lfd, NULL, NULL);
		p[i] = (struct pollfd){.fd = fd[i], .events = POLLIN};
	}
	note_result(r, "nothing yet", r->ops->poll(p, COUNT, 0));
	for (i = 0; i < COUNT; i++)
		send(peer[i], &i, sizeof(i), 0);
	arrive();
	note_result(r, "all", r->ops->poll(p, COUNT, 1000));
	for (i = 0; i < COUNT; i++) {
		int got = -1;

		r->ops->recv(fd[i], &got, sizeof(got), 0);
		note_result(r, "got", got);
		r->ops->send(fd[i], &got, sizeof(got), 0);
		recv(peer[i], buf, sizeof(buf), 0);
		note_result(r, "back", *(int *)buf);
		r->ops->close(fd[i]);
		close(peer[i]);
	}
	r->ops->close(lfd);
}

/* A server that forks for each connection, in the old way. */
static void forked(struct run *r)
{
	int lfd = listener(r, 5), peer = peer_connect(r), fd, status;
	char buf[16] = "";
	pid_t pid;

	fd = r->ops->accept(lfd, NULL, NULL);
	fflush(r->out);
	pid = fork();
	if (pid == 0) {
		r->ops->close(lfd);
		if (r->ops->recv(fd, buf, 16, 0) == 5)
			r->ops->send(fd, "child", 5, 0);
		r->ops->close(fd);
		exit(0);
	}
	r->ops->close(fd);
	send(peer, "hello", 5, 0);
	note_result(r, "from the child", recv(peer, buf, sizeof(buf), 0));
	note_data(r, buf, 5);
	note_result(r, "end", recv(peer, buf, sizeof(buf), 0));
	close(peer);
	waitpid(pid, &status, 0);
	r->ops->close(lfd);
}

static const struct test_case cases[] = {
	CASE(exchange, 4), CASE(nonblocking, 2), CASE(errors, 0),
	CASE(loopback, 0), CASE(hundred, 300),	 CASE(forked, 0),
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}

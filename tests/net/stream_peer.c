/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "stream_peer.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

#include "../lib/check.h"

static void timeouts(const struct ops *ops, int fd)
{
	struct timeval tv = {.tv_sec = 2};

	ops->setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	ops->setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

int peer_listen(struct run *r)
{
	int fd = client_socket(r->family, SOCK_STREAM, 0), on = 1;
	struct sockaddr_storage a;
	socklen_t len = addr_client(r, &a, SERVICE_PORT);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	timeouts(&kernel_ops, fd);
	must(!bind(fd, (void *)&a, len) && !listen(fd, 128), "peer's listener");
	return fd;
}

int stream_socket(struct run *r, int flags)
{
	int fd = r->ops->socket(r->family, SOCK_STREAM | flags, 0);

	must(fd >= 0, "socket");
	timeouts(r->ops, fd);
	return fd;
}

int listener(struct run *r, int backlog)
{
	int fd = stream_socket(r, 0), on = 1, tries;
	struct sockaddr_storage a;
	socklen_t len = addr_any(r, &a, PORT);

	r->ops->setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	/* What the case before closed may be ending still. */
	for (tries = 0; r->ops->bind(fd, (void *)&a, len) && errno == EADDRINUSE && tries < 200;
	     tries++)
		usleep(10000);
	must(tries < 200, "bind");
	must(!r->ops->listen(fd, backlog), "listen");
	return fd;
}

int peer_connect(struct run *r)
{
	int fd = client_socket(r->family, SOCK_STREAM, 0);
	struct sockaddr_storage a;
	socklen_t len = addr_server(r, &a, PORT);

	timeouts(&kernel_ops, fd);
	must(!connect(fd, (void *)&a, len), "peer's connect");
	return fd;
}

/* Else kernel is compared with kernel. */
static void must_be_ours(const struct run *r, int fd)
{
	struct sockaddr_storage a;
	socklen_t len = sizeof(a);

	if (!r->lrp || getpeername(fd, (void *)&a, &len))
		return;
	fprintf(stderr, "the connection is the kernel's\n");
	exit(1);
}

int opened_socket(struct run *r, int *peer)
{
	int lfd = peer_listen(r), fd = stream_socket(r, 0);
	struct sockaddr_storage a;
	socklen_t len = addr_client(r, &a, SERVICE_PORT);

	must(!r->ops->connect(fd, (void *)&a, len), "connect");
	must_be_ours(r, fd);
	*peer = accept(lfd, NULL, NULL);
	must(*peer >= 0, "peer's accept");
	timeouts(&kernel_ops, *peer);
	close(lfd);
	return fd;
}

int accepted_socket(struct run *r, int *peer)
{
	int lfd = listener(r, 5), fd;

	*peer = peer_connect(r);
	fd = r->ops->accept(lfd, NULL, NULL);
	must(fd >= 0, "accept");
	must_be_ours(r, fd);
	timeouts(r->ops, fd);
	r->ops->close(lfd);
	return fd;
}

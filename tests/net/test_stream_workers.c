/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_stream_workers.c - processes that serve one listener and have channels of their own for what
 * they accepted: what comes to the listener's channels all the same is delivered, whoever finds it
 * there. On a kernel socket and on ours.
 */
#include <errno.h>
#include <lrp/lrp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../runtime/stream/stream.h"
#include "../lib/check.h"
#include "stream_peer.h"

#define ROUNDS 50

/* XDP's exact entry of the connection goes: its segments come to the listener's channels, as those
 * do that are on their way when the connection gets its own. */
static void lead_astray(struct run *r, int fd)
{
	struct sockaddr_storage here = {0}, there = {0};
	socklen_t len = sizeof(here), there_len = sizeof(there);
	const struct sockaddr_in *h4 = (void *)&here, *t4 = (void *)&there;
	const struct sockaddr_in6 *h6 = (void *)&here, *t6 = (void *)&there;
	struct lrp_flow_name name = {.family = r->family};

	must(!lrp_getsockname(fd, (void *)&here, &len) &&
		     !lrp_getpeername(fd, (void *)&there, &there_len),
	     "names");
	name.lport = h4->sin_port;
	name.rport = t4->sin_port;
	name.laddr = r->family == AF_INET ? (void *)&h4->sin_addr : (void *)&h6->sin6_addr;
	name.raddr = r->family == AF_INET ? (void *)&t4->sin_addr : (void *)&t6->sin6_addr;
	lrp_flow_clear(&name);
}

/* Echoes bytes, in a call that waits. */
static _Noreturn void echo(struct run *r, int lfd)
{
	struct lrp_stats of_listener = {.sz = sizeof(of_listener)}, stats = of_listener;
	struct pollfd p = {.fd = r->ops->accept(lfd, NULL, NULL), .events = POLLIN};
	char byte;
	int fd;

	/* Who waits for the first time asks for channels; the next one has its own
	 * when it waits. */
	r->ops->poll(&p, 1, 10);
	usleep(200000);
	p.fd = fd = r->ops->accept(lfd, NULL, NULL);
	r->ops->poll(&p, 1, 10);
	if (r->lrp)
		must(!lrp_stats(lfd, &of_listener) && !lrp_stats(fd, &stats), "lrp_stats");
	/* With lrpd. In embedded mode a child gets no channels: it stays on the listener's. */
	if (r->lrp && stats.channel_fd != of_listener.channel_fd)
		lead_astray(r, fd);
	while (r->ops->recv(fd, &byte, 1, 0) == 1)
		if (r->ops->send(fd, &byte, 1, 0) != 1)
			_exit(1);
	_exit(0);
}

/* The parent receives for the listener: it is in accept(), and its APP thread was there first. */
static void found_by_another(struct run *r)
{
	struct lrp_stats stats = {.sz = sizeof(stats)};
	int lfd = listener(r, 5), first, peer, i, answers = 0, status = -1;
	struct timeval tv = {.tv_usec = 150000};
	pid_t pid = fork(), other;
	char byte;

	if (!pid)
		echo(r, lfd);
	usleep(50000);
	first = peer_connect(r);
	usleep(100000);
	peer = peer_connect(r);
	usleep(300000);
	setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	/* Another worker in accept(): it has the listener's channels while it sleeps. */
	other = fork();
	if (!other) {
		r->ops->accept(lfd, NULL, NULL);
		_exit(0);
	}
	usleep(50000);
	for (i = 0; i < ROUNDS; i++) {
		must(send(peer, "x", 1, MSG_NOSIGNAL) == 1, "send");
		answers += recv(peer, &byte, 1, 0) == 1;
	}
	note(r, "%d answers", answers);
	if (r->lrp)
		must(!lrp_stats(lfd, &stats), "lrp_stats");
	note(r, "%lu dropped", (unsigned long)stats.dropped);
	close(peer);
	close(first);
	waitpid(pid, &status, 0);
	note(r, "the worker ended with %d", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
	r->ops->close(lfd);
}

static const struct test_case cases[] = {
	CASE(found_by_another, 10),
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}

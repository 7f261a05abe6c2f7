/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_stream_orphan.c - a process ends by a signal or by _exit() while its parent or its siblings
 * live: the peers of the connections that it alone had hear of it, and those of others notice
 * nothing. On kernel sockets and on ours.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/check.h"
#include "stream_peer.h"

enum end { KILLED, EXITS };

/* Serves one byte, then ends, or waits until it is killed. */
static _Noreturn void serve_one(struct run *r, int fd, enum end end)
{
	char byte;

	if (r->ops->recv(fd, &byte, 1, 0) != 1 || r->ops->send(fd, "answer", 6, 0) != 6)
		_exit(9);
	if (end == EXITS)
		_exit(0);
	for (;;)
		pause();
}

/* What the peer hears in a second, data first. */
static void note_end(struct run *r, int peer, const char *what)
{
	struct timeval tv = {.tv_sec = 1};
	char some[64];
	ssize_t n, all = 0;

	setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	while ((n = recv(peer, some, sizeof(some), 0)) > 0)
		all += n;
	note(r, "%s: %zd bytes, then %s", what, all,
	     !n			   ? "the end"
	     : errno == EAGAIN	   ? "nothing"
	     : errno == ECONNRESET ? "a reset"
				   : strerror(errno));
}

/* It has answered by then. */
static void end_it(struct run *r, pid_t pid, int peer, enum end end)
{
	char byte;

	(void)r;
	must(recv(peer, &byte, 1, MSG_PEEK) == 1, "the answer");
	usleep(50000);
	if (end == KILLED)
		kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* The parent accepts, forks and closes: the child's connection. */
static void inherited(struct run *r, enum end end, bool unread)
{
	int lfd = listener(r, 5), peer = peer_connect(r), fd;
	pid_t pid;

	fd = r->ops->accept(lfd, NULL, NULL);
	must(fd >= 0, "accept");
	must(send(peer, unread ? "qu" : "q", unread ? 2 : 1, 0) > 0, "send");
	pid = fork();
	if (!pid)
		serve_one(r, fd, end);
	r->ops->close(fd);
	end_it(r, pid, peer, end);
	note_end(r, peer, "peer");
	close(peer);
	r->ops->close(lfd);
}

static void inherited_killed(struct run *r)
{
	inherited(r, KILLED, false);
}

static void inherited_exits(struct run *r)
{
	inherited(r, EXITS, false);
}

static void inherited_unread(struct run *r)
{
	inherited(r, KILLED, true);
}

/* A worker accepts. It is the peer that speaks late: so the connection has channels of its own. */
static pid_t worker(struct run *r, int lfd, enum end end, int *peer)
{
	pid_t pid = fork();

	if (!pid) {
		int fd = r->ops->accept(lfd, NULL, NULL);

		serve_one(r, fd, end);
	}
	usleep(50000);
	*peer = peer_connect(r);
	usleep(50000);
	must(send(*peer, "q", 1, 0) == 1, "send");
	return pid;
}

static void accepted(struct run *r, enum end end)
{
	int lfd = listener(r, 5), peer;
	pid_t pid = worker(r, lfd, end, &peer);

	end_it(r, pid, peer, end);
	note_end(r, peer, "peer");
	close(peer);
	r->ops->close(lfd);
}

static void accepted_killed(struct run *r)
{
	accepted(r, KILLED);
}

static void accepted_exits(struct run *r)
{
	accepted(r, EXITS);
}

/* Two children have the connection: one is killed, the other goes on, and is killed. */
static void others_hold(struct run *r)
{
	int lfd = listener(r, 5), peer = peer_connect(r), fd, i;
	pid_t pid[2];
	char byte;

	fd = r->ops->accept(lfd, NULL, NULL);
	must(fd >= 0, "accept");
	for (i = 0; i < 2; i++) {
		pid[i] = fork();
		if (!pid[i] && !i)
			for (;;)
				pause();
		if (!pid[i])
			serve_one(r, fd, KILLED);
	}
	r->ops->close(fd);
	usleep(50000);
	kill(pid[0], SIGKILL);
	waitpid(pid[0], NULL, 0);
	usleep(300000);
	note_result(r, "send", send(peer, "q", 1, MSG_NOSIGNAL));
	note_result(r, "recv", recv(peer, &byte, 1, 0));
	end_it(r, pid[1], peer, KILLED);
	note_end(r, peer, "peer");
	close(peer);
	r->ops->close(lfd);
}

/* By FIN or, if nobody receives for its listener any more, by a reset. */
static bool ended(int peer)
{
	return recv(peer, &(char){0}, 1, MSG_DONTWAIT) == 0 || errno == ECONNRESET;
}

/* The parent of all is killed first: its children see to each other. First of all cases, since the
 * process that runs them begins a family in the others. */
static void parent_killed(struct run *r)
{
	pid_t *pid = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int peer[2], i;
	pid_t parent = fork();

	if (!parent) {
		int lfd = listener(r, 5);

		for (i = 0; i < 2; i++) {
			pid_t child = fork();

			if (!child) {
				int fd = r->ops->accept(lfd, NULL, NULL);

				serve_one(r, fd, KILLED);
			}
			pid[i] = child;
		}
		for (;;)
			pause();
	}
	usleep(200000);
	for (i = 0; i < 2; i++)
		peer[i] = peer_connect(r);
	usleep(100000);
	kill(parent, SIGKILL);
	waitpid(parent, NULL, 0);
	for (i = 0; i < 2; i++)
		must(send(peer[i], "q", 1, 0) == 1, "send");
	usleep(100000);
	kill(pid[0], SIGKILL);
	/* One of them was its peer. */
	usleep(300000);
	for (i = 0; i < 2; i++) {
		char some[16];
		ssize_t n = recv(peer[i], some, sizeof(some), MSG_DONTWAIT);

		note(r, "an answer of %zd", n);
	}
	note(r, "ended: %d", ended(peer[0]) + ended(peer[1]));
	kill(pid[1], SIGKILL);
	for (i = 0; i < 2; i++)
		close(peer[i]);
	munmap(pid, 4096);
	usleep(200000);
}

static const struct test_case cases[] = {
	CASE(parent_killed, 0),	   CASE(inherited_killed, 1), CASE(inherited_exits, 1),
	CASE(inherited_unread, 1), CASE(accepted_killed, 1),  CASE(accepted_exits, 1),
	CASE(others_hold, 1),
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}

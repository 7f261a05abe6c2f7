/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_stream_exit.c - a process ends in order, in whatever way: what it has written arrives,
 * then the end of the stream; with a kernel socket and with ours.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stream_peer.h"

static pid_t child(struct run *r)
{
	fflush(r->out);
	return fork();
}

/* In a child: connects to the peer's listener. */
static int connect_to(struct run *r, int lfd)
{
	struct sockaddr_storage a;
	socklen_t len = addr_client(r, &a, SERVICE_PORT);
	int fd = stream_socket(r, 0);

	close(lfd);
	alarm(20); /* whatever happens */
	if (r->ops->connect(fd, (void *)&a, len))
		_exit(1);
	return fd;
}

/* Reads to the end; what came and how it ended. */
static void read_all(struct run *r, int peer)
{
	static char buf[65536];
	struct timeval tv = {.tv_sec = 10};
	long got = 0;
	ssize_t n;

	setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	while ((n = recv(peer, buf, sizeof(buf), 0)) > 0)
		got += n;
	note_result(r, "bytes", got);
	note_result(r, "end", n);
	close(peer);
}

static void ended(struct run *r, pid_t pid)
{
	int status = -1;

	waitpid(pid, &status, 0);
	note(r, "status %x", (unsigned int)status);
}

/* A parent forks so many children one after the other that have the connection, and do nothing with
 * it; the last lets go of it. */
static void many_holders(struct run *r)
{
	int lfd = peer_listen(r), peer, fd, hold[2];
	pid_t pid = child(r), kid;
	char c;

	if (pid == 0) {
		fd = connect_to(r, lfd);
		if (pipe(hold))
			_exit(1);
		for (int i = 0; i < 20; i++) {
			kid = fork();
			if (kid == 0) {
				close(hold[1]);
				_exit(read(hold[0], &c, 1) != 0);
			}
		}
		r->ops->send(fd, "all", 3, 0);
		close(hold[1]);
		for (int i = 0; i < 20; i++)
			wait(NULL);
		r->ops->close(fd);
		/* Whoever has the last descriptor says goodbye, before the process ends. */
		pause();
	}
	peer = accept(lfd, NULL, NULL);
	read_all(r, peer);
	close(lfd);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* A daemon: the parent exits, its child goes on with the connection. */
static void daemonises(struct run *r)
{
	int lfd = peer_listen(r), peer, fd;
	pid_t pid = child(r);

	if (pid == 0) {
		fd = connect_to(r, lfd);
		r->ops->send(fd, "parent ", 7, 0);
		if (fork())
			exit(0);
		usleep(100000); /* the parent has exited */
		r->ops->send(fd, "child", 5, 0);
		r->ops->close(fd);
		usleep(300000);
		_exit(0);
	}
	peer = accept(lfd, NULL, NULL);
	ended(r, pid);
	read_all(r, peer);
	close(lfd);
}

/* The child of a server that forks for each connection is all that has it; it is a zombie when the
 * other one closes. */
static void zombie(struct run *r)
{
	int lfd = peer_listen(r), peer, fd;
	pid_t pid = child(r);

	if (pid == 0) {
		fd = connect_to(r, lfd);
		if (fork() == 0)
			_exit(0);
		usleep(100000);
		r->ops->close(fd);
		pause();
	}
	peer = accept(lfd, NULL, NULL);
	read_all(r, peer);
	close(lfd);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

#define MANY 1000000

/* Ends while nearly all of what it wrote waits for a peer that does not read; the peer finds all of it
 * long after the process has gone. */
static void slow_peer(struct run *r)
{
	int lfd = peer_listen(r), peer, small = 4096, large = 1 << 18, fd;
	static char buf[50000];
	struct timespec from, to;
	pid_t pid;
	long ms;

	setsockopt(lfd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	pid = child(r);
	if (pid == 0) {
		fd = connect_to(r, lfd);
		r->ops->setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &large, sizeof(large));
		exit(r->ops->send(fd, buf, sizeof(buf), 0) != sizeof(buf));
	}
	peer = accept(lfd, NULL, NULL);
	clock_gettime(CLOCK_MONOTONIC, &from);
	ended(r, pid);
	clock_gettime(CLOCK_MONOTONIC, &to);
	ms = (to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000;
	note(r, "at once %d", ms < 600);
	usleep(800000);
	read_all(r, peer);
	close(lfd);
}

static void *receiver(void *arg)
{
	struct run *r = ((void **)arg)[0];
	int *fd = ((void **)arg)[1];
	char c;

	r->ops->recv(*fd, &c, 1, 0);
	return NULL;
}

/* main() returns while a thread waits on the connection. */
static void threads(struct run *r)
{
	int lfd = peer_listen(r), peer, fd;
	void *arg[2] = {r, &fd};
	pthread_t thread;
	pid_t pid = child(r);

	if (pid == 0) {
		fd = connect_to(r, lfd);
		pthread_create(&thread, NULL, receiver, arg);
		usleep(20000);
		r->ops->send(fd, "last words", 10, 0);
		exit(7);
	}
	peer = accept(lfd, NULL, NULL);
	ended(r, pid);
	read_all(r, peer);
	close(lfd);
}

/* close() and exit() at once. */
static void closes(struct run *r)
{
	int lfd = peer_listen(r), peer, fd;
	static char buf[50000];
	pid_t pid = child(r);

	if (pid == 0) {
		fd = connect_to(r, lfd);
		r->ops->send(fd, buf, sizeof(buf), 0);
		r->ops->close(fd);
		exit(0);
	}
	peer = accept(lfd, NULL, NULL);
	usleep(300000);
	read_all(r, peer);
	ended(r, pid);
	close(lfd);
}

/* SO_LINGER of no time: a reset, at exit as well. */
static void aborts(struct run *r)
{
	struct linger now = {.l_onoff = 1};
	int lfd = peer_listen(r), peer, fd;
	pid_t pid = child(r);

	if (pid == 0) {
		fd = connect_to(r, lfd);
		r->ops->setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		exit(0);
	}
	peer = accept(lfd, NULL, NULL);
	ended(r, pid);
	read_all(r, peer);
	close(lfd);
}

/* Who waits in a listener's queue is reset; who was accepted gets his bytes. */
static void server(struct run *r)
{
	struct sockaddr_storage a;
	socklen_t len;
	int ready[2], peer[2], fd;
	pid_t pid;
	char c;

	if (pipe(ready))
		exit(1);
	pid = child(r);
	if (pid == 0) {
		int lfd = listener(r, 5);

		if (write(ready[1], "", 1) != 1)
			_exit(1);
		fd = r->ops->accept(lfd, NULL, NULL);
		usleep(100000);
		r->ops->send(fd, "welcome", 7, 0);
		exit(0);
	}
	close(ready[1]);
	if (read(ready[0], &c, 1) != 1)
		exit(1);
	close(ready[0]);
	len = addr_server(r, &a, PORT);
	for (int i = 0; i < 2; i++) {
		peer[i] = client_socket(r->family, SOCK_STREAM, 0);
		note_result(r, "connect", connect(peer[i], (void *)&a, len));
	}
	read_all(r, peer[0]);
	read_all(r, peer[1]);
	ended(r, pid);
}

static const struct test_case cases[] = {
	CASE(daemonises, 0), CASE(many_holders, 0), CASE(zombie, 0), CASE(slow_peer, 0),
	CASE(threads, 0),    CASE(closes, 0),	    CASE(aborts, 0), CASE(server, 0),
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}

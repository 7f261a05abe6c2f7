/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_stream_threads.c - several threads, and processes, in calls on one connection, on a kernel
 * socket and on ours: whoever takes a segment from the channel, all hear what it brought.
 *
 * They run on one CPU: the one that is woken has the channel empty before another runs.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/check.h"
#include "stream_peer.h"

#define ROUNDS	8
#define THREADS 5

/* This thread, and all that it makes. */
static void one_cpu(bool on)
{
	static cpu_set_t before;
	cpu_set_t one;

	if (on) {
		must(!sched_getaffinity(0, sizeof(before), &before), "sched_getaffinity");
		CPU_ZERO(&one);
		CPU_SET(0, &one);
	}
	must(!sched_setaffinity(0, sizeof(one), on ? &one : &before), "sched_setaffinity");
}

enum what { READ, WRITE, WAIT_IN, WAIT_OUT };

/* One call that waits; what it returned. */
struct call {
	struct run *r;
	int fd;
	enum what what;
	long result;
	int error;
	short revents;
};

static void *make_call(void *arg)
{
	static char some[65536];
	struct call *c = arg;
	struct pollfd p = {.fd = c->fd, .events = c->what == WAIT_IN ? POLLIN : POLLOUT};
	char byte;

	if (c->what == READ)
		c->result = c->r->ops->recv(c->fd, &byte, 1, 0);
	else if (c->what == WRITE)
		c->result = c->r->ops->send(c->fd, some, sizeof(some), MSG_NOSIGNAL);
	else
		c->result = c->r->ops->poll(&p, 1, 2000);
	c->error = c->result < 0 ? errno : 0;
	c->revents = p.revents;
	return NULL;
}

static void note_call(struct run *r, const struct call *c)
{
	static const char *const name[] = {"recv", "send", "poll in", "poll out"};

	errno = c->error;
	note_result(r, name[c->what], c->result);
	if (c->what >= WAIT_IN)
		note(r, "  events %x", c->revents & ~POLLERR & 0xffffu); /* who was told of it? */
}

/* Ours, with nothing more to be sent. */
static int full_socket(struct run *r, int *peer)
{
	static char some[65536];
	int fd = opened_socket(r, peer), quiet;

	for (quiet = 0; quiet < 5; quiet++) {
		while (r->ops->send(fd, some, sizeof(some), MSG_DONTWAIT) > 0)
			quiet = 0;
		arrive();
	}
	return fd;
}

/* All that is there; until nothing has come for a while. */
static void drain(int peer)
{
	static char some[65536];
	struct pollfd p = {.fd = peer, .events = POLLIN};

	while (poll(&p, 1, 50) == 1 && recv(peer, some, sizeof(some), 0) > 0)
		;
}

static void reset(int peer)
{
	struct linger now = {.l_onoff = 1};

	setsockopt(peer, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(peer);
}

static void start(pthread_t *thread, struct call *call, struct run *r, int fd, enum what what)
{
	*call = (struct call){.r = r, .fd = fd, .what = what};
	must(!pthread_create(thread, NULL, make_call, call), "thread");
}

static void start_all(pthread_t thread[THREADS], struct call call[THREADS], struct run *r, int fd,
		      const enum what what[THREADS])
{
	for (int i = 0; i < THREADS; i++) {
		start(&thread[i], &call[i], r, fd, what[i]);
		arrive();
	}
}

/* The peer reads, and says nothing: who writes goes on, though others read. */
static void window_opens(struct run *r)
{
	static const enum what what[THREADS] = {READ, READ, WAIT_IN, WAIT_OUT, WRITE};
	struct call call[THREADS];
	pthread_t thread[THREADS];
	int peer, fd = full_socket(r, &peer), i;

	one_cpu(true);
	start_all(thread, call, r, fd, what);
	drain(peer);
	for (i = 3; i < THREADS; i++) {
		pthread_join(thread[i], NULL);
		note_call(r, &call[i]);
	}
	must(send(peer, "abc", 3, 0) == 3, "send");
	for (i = 0; i < 3; i++) {
		pthread_join(thread[i], NULL);
		note_call(r, &call[i]);
	}
	one_cpu(false);
	r->ops->close(fd);
	close(peer);
}

/* Everybody hears of the connection's end. */
static void peer_resets(struct run *r)
{
	static const enum what what[THREADS] = {WRITE, READ, WAIT_IN, WAIT_IN, READ};
	struct call call[THREADS];
	pthread_t thread[THREADS];
	int peer, fd = full_socket(r, &peer), i, errors = 0, ends = 0;

	one_cpu(true);
	start_all(thread, call, r, fd, what);
	reset(peer);
	for (i = 0; i < THREADS; i++) {
		pthread_join(thread[i], NULL);
		/* The error is told once, to whoever comes first. */
		if (what[i] >= WAIT_IN)
			note_call(r, &call[i]);
		else if (call[i].result < 0 && call[i].error == ECONNRESET)
			errors++;
		else
			ends += call[i].result == 0 || call[i].error == EPIPE;
	}
	note(r, "%d errors, %d ends", errors, ends);
	one_cpu(false);
	r->ops->close(fd);
}

/* A reader and a writer, over and over, the reader always first. */
static void back_and_forth(struct run *r)
{
	int peer, fd = full_socket(r, &peer), k;
	struct call reader, writer;
	pthread_t reads, writes;

	one_cpu(true);
	for (k = 0; k < ROUNDS; k++) {
		start(&reads, &reader, r, fd, READ);
		usleep(2000);
		start(&writes, &writer, r, fd, WRITE);
		usleep(2000);
		drain(peer);
		pthread_join(writes, NULL);
		must(send(peer, "x", 1, 0) == 1, "send");
		pthread_join(reads, NULL);
		if (reader.result != 1 || writer.result != 65536)
			note(r, "round %d: %ld and %ld", k, reader.result, writer.result);
		while (r->ops->send(fd, (char[65536]){0}, 65536, MSG_DONTWAIT) > 0)
			;
	}
	one_cpu(false);
	note(r, "%d rounds", k);
	r->ops->close(fd);
	close(peer);
}

/* The child reads, the parent writes. */
static void two_processes(struct run *r)
{
	int peer, fd = full_socket(r, &peer), status;
	struct call call;
	char byte;
	pid_t pid;

	one_cpu(true);
	pid = fork();
	if (!pid)
		_exit(r->ops->recv(fd, &byte, 1, 0) == 1 ? byte : 1);
	arrive();
	call = (struct call){.r = r, .fd = fd, .what = WRITE};
	if (!fork()) {
		usleep(100000);
		drain(peer);
		_exit(0);
	}
	make_call(&call);
	note_call(r, &call);
	must(send(peer, "z", 1, 0) == 1, "send");
	waitpid(pid, &status, 0);
	note(r, "child: %d", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
	must(wait(&status) > 0, "wait");
	one_cpu(false);
	r->ops->close(fd);
	close(peer);
}

/* ---- pthread_cancel() ------------------------------------------------------------ */

static void *swallow(void *peer)
{
	static char some[65536];

	while (recv(*(int *)peer, some, sizeof(some), 0) > 0)
		;
	return NULL;
}

static void *send_for_ever(void *arg)
{
	const struct call *c = arg;

	while (c->r->ops->send(c->fd, "x", 1, MSG_NOSIGNAL) == 1)
		;
	return NULL;
}

static void *receive_for_ever(void *arg)
{
	const struct call *c = arg;
	char byte;

	while (c->r->ops->recv(c->fd, &byte, 1, 0) == 1)
		;
	return NULL;
}

static void cancel(struct run *r, int fd, void *(*body)(void *), const char *what)
{
	struct call call = {.r = r, .fd = fd};
	pthread_t thread;
	void *value;

	must(!pthread_create(&thread, NULL, body, &call), "thread");
	usleep(20000 + (unsigned int)rand() % 2000);
	pthread_cancel(thread);
	must(!pthread_join(thread, &value), "join");
	note(r, "%s: %s", what, value == PTHREAD_CANCELED ? "cancelled" : "ended");
}

/*
 * A thread is cancelled in a call on one connection of a listener. Its connection, another one and
 * the listener are what they were. All are on the listener's hub: nobody has waited for them.
 */
static void cancelled_in_a_call(struct run *r)
{
	int lfd = listener(r, 5), one = 1, peer[3], fd[3], i;
	pthread_t reader;
	char byte = 0;

	for (i = 0; i < 2; i++) {
		peer[i] = peer_connect(r);
		fd[i] = r->ops->accept(lfd, NULL, NULL);
		must(fd[i] >= 0, "accept");
	}
	r->ops->setsockopt(fd[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	must(!pthread_create(&reader, NULL, swallow, &peer[0]), "thread");
	for (i = 0; i < ROUNDS; i++)
		cancel(r, fd[0], send_for_ever, "sending");
	cancel(r, fd[0], receive_for_ever, "receiving");
	for (i = 0; i < 2; i++) {
		note_result(r, "send", r->ops->send(fd[i], "y", 1, MSG_NOSIGNAL));
		must(send(peer[i], "z", 1, 0) == 1, "send");
		note_result(r, "recv", r->ops->recv(fd[i], &byte, 1, 0));
	}
	peer[2] = peer_connect(r);
	fd[2] = r->ops->accept(lfd, NULL, NULL);
	note(r, "a third: %s", fd[2] >= 0 ? "accepted" : "refused");
	for (i = 0; i < 3; i++) {
		r->ops->close(fd[i]);
		if (!i)
			pthread_join(reader, NULL);
		close(peer[i]);
	}
	r->ops->close(lfd);
}

/* ---- a process that is stopped and goes on ---------------------------------------- */

static void *make_accept(void *arg)
{
	struct call *c = arg;

	c->result = c->r->ops->accept(c->fd, NULL, NULL);
	c->error = c->result < 0 ? errno : 0;
	return NULL;
}

/* Calls of a program without handlers do not notice. Then each gets what it waits for. */
static void stopped(struct run *r)
{
	static const char *const name[] = {"tcp recv", "udp recv", "udp poll", "accept"};
	int lfd = listener(r, 5), peer[2], fd[2], i, status;
	bool done[4] = {false};
	struct call call[4];
	pthread_t thread[4];
	pid_t self = getpid(), pid;

	peer[0] = peer_connect(r);
	fd[0] = r->ops->accept(lfd, NULL, NULL);
	fd[1] = bound_socket(r);
	/* With a timeout a call ends, in Linux, too. */
	for (i = 0; i < 3; i++)
		r->ops->setsockopt(i < 2 ? fd[i] : lfd, SOL_SOCKET, SO_RCVTIMEO,
				   &(struct timeval){0}, sizeof(struct timeval));
	must(fd[0] >= 0 && fd[1] >= 0, "sockets");
	start(&thread[0], &call[0], r, fd[0], READ);
	start(&thread[1], &call[1], r, fd[1], READ);
	start(&thread[2], &call[2], r, fd[1], WAIT_IN);
	call[3] = (struct call){.r = r, .fd = lfd};
	must(!pthread_create(&thread[3], NULL, make_accept, &call[3]), "thread");
	usleep(100000);
	pid = fork();
	if (!pid) {
		kill(self, SIGSTOP);
		usleep(100000);
		kill(self, SIGCONT);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	usleep(100000);
	for (i = 0; i < 4; i++) {
		done[i] = !pthread_tryjoin_np(thread[i], NULL);
		errno = call[i].error;
		note(r, "%s: %s", name[i], done[i] ? strerror(errno) : "waits");
	}
	must(send(peer[0], "x", 1, 0) == 1, "send");
	peer_text(r, "y");
	peer_text(r, "z");
	peer[1] = peer_connect(r);
	for (i = 0; i < 4; i++)
		if (!done[i])
			pthread_join(thread[i], NULL);
	for (i = 0; i < 4; i++)
		note(r, "%s: %s", name[i], call[i].result >= 0 ? "done" : strerror(call[i].error));
	r->ops->close((int)call[3].result);
	for (i = 0; i < 2; i++) {
		r->ops->close(fd[i]);
		close(peer[i]);
	}
	r->ops->close(lfd);
}

static const struct test_case cases[] = {
	CASE(window_opens, 2),	CASE(peer_resets, 1),	       CASE(back_and_forth, ROUNDS),
	CASE(two_processes, 1), CASE(cancelled_in_a_call, 10), CASE(stopped, 2),
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_stream_linger.c - SO_LINGER: how long close() takes, what it says, and what becomes of the
 * bytes that wait; with a kernel socket and with ours.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "stream_peer.h"

#define BYTES 50000

static long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void set_linger(struct run *r, int fd, int seconds)
{
	struct linger on = {.l_onoff = 1, .l_linger = seconds};

	note_result(r, "linger", r->ops->setsockopt(fd, SOL_SOCKET, SO_LINGER, &on, sizeof(on)));
}

/* A connection with more out than its peer takes. */
static int stuffed(struct run *r, int *peer, int flags)
{
	int lfd = peer_listen(r), small = 4096, large = 1 << 18, fd = stream_socket(r, 0);
	struct sockaddr_storage a;
	static char buf[BYTES];

	setsockopt(lfd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	note_result(r, "connect",
		    r->ops->connect(fd, (void *)&a, addr_client(r, &a, SERVICE_PORT)));
	*peer = accept(lfd, NULL, NULL);
	close(lfd);
	r->ops->setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &large, sizeof(large));
	note_result(r, "send", r->ops->send(fd, buf, sizeof(buf), 0));
	if (flags)
		r->ops->fcntl(fd, F_SETFL, flags);
	return fd;
}

/* close(), and how many tenths of a second it took, rounded. */
static void timed_close(struct run *r, int fd)
{
	long from = now_ms(), result = r->ops->close(fd), took = now_ms() - from;

	note_result(r, "close", result);
	/* Tick by tick: no more, and hardly less, than it may take. */
	note(r, "took %s",
	     took < 300	  ? "no time"
	     : took < 900 ? "half a second"
			  : "a second or more");
}

static void rest(struct run *r, int peer)
{
	static char buf[65536];
	long got = 0;
	ssize_t n;

	while ((n = recv(peer, buf, sizeof(buf), 0)) > 0)
		got += n;
	if (n == 0)
		note(r, "bytes %ld", got);
	note_result(r, "end", n);
	close(peer);
}

/* Nothing is out: no wait. */
static void nothing_out(struct run *r)
{
	int peer, fd = opened_socket(r, &peer);

	set_linger(r, fd, 2);
	timed_close(r, fd);
	rest(r, peer);
}

/* The peer does not read: close() gives up after its time, TCP does not. */
static void time_is_up(struct run *r)
{
	int peer, fd = stuffed(r, &peer, 0);

	set_linger(r, fd, 1);
	timed_close(r, fd);
	rest(r, peer);
}

/* O_NONBLOCK makes no difference. */
static void nonblocking(struct run *r)
{
	int peer, fd = stuffed(r, &peer, O_NONBLOCK);

	set_linger(r, fd, 1);
	timed_close(r, fd);
	rest(r, peer);
}

/* The peer begins to read after half a second: then close() returns. */
static void reads_late(struct run *r)
{
	int peer, fd = stuffed(r, &peer, 0);
	pid_t pid;

	set_linger(r, fd, 3);
	fflush(r->out);
	pid = fork();
	if (!pid) {
		static char buf[65536];

		/* Not a holder of it. */
		r->ops->close(fd);
		usleep(500000);
		while (recv(peer, buf, sizeof(buf), 0) > 0)
			;
		_exit(0);
	}
	usleep(100000);
	timed_close(r, fd);
	close(peer);
}

static void no_time(struct run *r)
{
	int peer, fd = stuffed(r, &peer, 0);

	set_linger(r, fd, 0);
	timed_close(r, fd);
	rest(r, peer);
}

static const struct test_case cases[] = {
	CASE(nothing_out, 1), CASE4(time_is_up, 1), CASE4(nonblocking, 1),
	CASE4(reads_late, 1), CASE(no_time, 1),
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}

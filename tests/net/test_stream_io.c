/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* test_stream_io.c - reading and writing connections, on a kernel socket and on ours. */
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stream_peer.h"

static void flags(struct run *r)
{
	int peer, fd = accepted_socket(r, &peer), n = -1;

	do_recvfrom(r, fd, 10, MSG_DONTWAIT);
	send(peer, "abcdef", 6, 0);
	arrive();
	do_recvfrom(r, fd, 3, MSG_PEEK);
	note_result(r, "FIONREAD", r->ops->ioctl(fd, FIONREAD, &n));
	note_result(r, "is", n);
	do_recvfrom(r, fd, 4, 0);
	send(peer, "gh", 2, 0);
	do_recvfrom(r, fd, 4, MSG_WAITALL);
	send(peer, "0123456789", 10, 0);
	arrive();
	note_result(r, "discard", r->ops->recv(fd, NULL, 4, MSG_TRUNC));
	do_recvmsg(r, fd, 20, 100, 0);
	note_result(r, "recv 0", r->ops->recv(fd, &n, 0, 0));
	note_result(r, "send 0", r->ops->send(fd, &n, 0, 0));
	r->ops->close(fd);
	close(peer);
}

static void vectors(struct run *r)
{
	char a[3] = "", b[20] = "", got[32] = "";
	struct iovec in[] = {{a, 3}, {NULL, 0}, {b, 20}},
		     out[] = {{"one", 3}, {"", 0}, {" two", 4}};
	int peer, fd = opened_socket(r, &peer);

	note_result(r, "writev", r->ops->writev(fd, out, 3));
	note_result(r, "peer", recv(peer, got, sizeof(got), 0));
	note_data(r, got, 7);
	send(peer, "scattered", 9, 0);
	note_result(r, "readv", r->ops->readv(fd, in, 3));
	note_data(r, a, 3);
	note_data(r, b, 6);
	note_result(r, "write", r->ops->write(fd, "three", 5));
	note_result(r, "send more", r->ops->send(fd, " four", 5, MSG_MORE));
	note_result(r, "send", r->ops->send(fd, " five", 5, 0));
	arrive();
	note_result(r, "peer", recv(peer, got, sizeof(got), 0));
	note_data(r, got, 15);
	r->ops->close(fd);
	close(peer);
}

static void timeout(struct run *r)
{
	struct timeval tv = {.tv_usec = 50000};
	int peer, fd = accepted_socket(r, &peer);
	char c;

	r->ops->setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	note_result(r, "recv", r->ops->recv(fd, &c, 1, 0));
	r->ops->close(fd);
	close(peer);
}

static void half_close(struct run *r)
{
	int peer, fd = opened_socket(r, &peer);
	struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP};
	char buf[16] = "";

	note_result(r, "shutdown", r->ops->shutdown(fd, SHUT_WR));
	note_result(r, "peer: end", recv(peer, buf, 1, 0));
	note_result(r, "send", r->ops->send(fd, "x", 1, MSG_NOSIGNAL));
	send(peer, "still here", 10, 0);
	do_recvfrom(r, fd, 16, 0);
	shutdown(peer, SHUT_WR);
	do_recvfrom(r, fd, 16, 0);
	r->ops->poll(&p, 1, 0);
	note_result(r, "events", p.revents);
	r->ops->close(fd);
	close(peer);
}

static void events(struct run *r)
{
	int peer, fd = accepted_socket(r, &peer);
	struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP};

	note_result(r, "poll", r->ops->poll(&p, 1, 0));
	note_result(r, "events", p.revents);
	send(peer, "x", 1, 0);
	p.events = POLLIN;
	note_result(r, "poll", r->ops->poll(&p, 1, 1000));
	note_result(r, "events", p.revents);
	do_recvfrom(r, fd, 2, 0);
	note_result(r, "poll", r->ops->poll(&p, 1, 30));
	p.events = POLLIN | POLLOUT | POLLRDHUP;
	shutdown(peer, SHUT_WR);
	arrive();
	note_result(r, "poll", r->ops->poll(&p, 1, 1000));
	note_result(r, "events", p.revents);
	r->ops->close(fd);
	close(peer);
}

static void reset(struct run *r)
{
	struct linger hard = {.l_onoff = 1};
	int peer, fd = accepted_socket(r, &peer);
	struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};
	char c;

	setsockopt(peer, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(peer);
	arrive();
	note_result(r, "poll", r->ops->poll(&p, 1, 1000));
	note_result(r, "events", p.revents);
	note_result(r, "recv", r->ops->recv(fd, &c, 1, 0));
	note_result(r, "recv", r->ops->recv(fd, &c, 1, 0));
	note_result(r, "send", r->ops->send(fd, &c, 1, MSG_NOSIGNAL));
	r->ops->close(fd);
}

/* close() with data unread resets; with SO_LINGER 0, too; else the peer reads all, then the end. */
static void closing(struct run *r)
{
	struct linger hard = {.l_onoff = 1};
	int peer, fd = accepted_socket(r, &peer);
	char buf[16];

	send(peer, "unread", 6, 0);
	arrive();
	r->ops->close(fd);
	arrive();
	note_result(r, "unread: recv", recv(peer, buf, 16, 0));
	note_result(r, "errno", errno);
	close(peer);
	fd = accepted_socket(r, &peer);
	r->ops->setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	r->ops->close(fd);
	arrive();
	note_result(r, "linger 0: recv", recv(peer, buf, 16, 0));
	note_result(r, "errno", errno);
	close(peer);
	fd = accepted_socket(r, &peer);
	r->ops->send(fd, "the last", 8, 0);
	r->ops->close(fd);
	note_result(r, "recv", recv(peer, buf, 16, 0));
	note_result(r, "end", recv(peer, buf, 16, 0));
	close(peer);
}

static void urgent(struct run *r)
{
	int peer, fd = accepted_socket(r, &peer), at = -1;
	struct pollfd p = {.fd = fd, .events = POLLPRI};
	char buf[16] = "";

	send(peer, "abc", 3, 0);
	send(peer, "!", 1, MSG_OOB);
	send(peer, "def", 3, 0);
	arrive();
	note_result(r, "poll", r->ops->poll(&p, 1, 1000));
	note_result(r, "events", p.revents);
	note_result(r, "oob", r->ops->recv(fd, buf, 1, MSG_OOB));
	note_data(r, buf, 1);
	do_recvfrom(r, fd, 16, 0);
	note_result(r, "SIOCATMARK", r->ops->ioctl(fd, SIOCATMARK, &at));
	note_result(r, "is", at);
	do_recvfrom(r, fd, 16, 0);
	note_result(r, "oob", r->ops->recv(fd, buf, 1, MSG_OOB));
	r->ops->close(fd);
	close(peer);
}

static volatile int pipes;

static void on_pipe(int sig)
{
	(void)sig;
	pipes++;
}

static void sigpipe(struct run *r)
{
	int peer, fd = accepted_socket(r, &peer);

	signal(SIGPIPE, on_pipe);
	pipes = 0;
	r->ops->shutdown(fd, SHUT_WR);
	note_result(r, "send", r->ops->send(fd, "x", 1, MSG_NOSIGNAL));
	note_result(r, "signals", pipes);
	note_result(r, "write", r->ops->write(fd, "x", 1));
	note_result(r, "signals", pipes);
	signal(SIGPIPE, SIG_IGN);
	r->ops->close(fd);
	close(peer);
}

/* ---- bulk -------------------------------------------------------------------- */

#define BULK (64u << 20)

static uint64_t hash(uint64_t h, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * 0x100000001b3ull;
	return h;
}

static void fill(uint8_t *p, size_t n, uint32_t *seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)((*seed = *seed * 1664525u + 1013904223u) >> 24);
}

static uint64_t drain(ssize_t (*receive)(int, void *, size_t, int), int fd)
{
	static uint8_t buf[100000];
	uint64_t h = 0xcbf29ce484222325ull;
	ssize_t n;

	while ((n = receive(fd, buf, sizeof(buf), 0)) > 0)
		h = hash(h, buf, (size_t)n);
	return n < 0 ? 0 : h;
}

static void pour(ssize_t (*give)(int, const void *, size_t, int), int fd)
{
	static uint8_t buf[77777];
	uint32_t left = BULK, seed = 1;

	while (left) {
		uint32_t n = left < sizeof(buf) ? left : sizeof(buf), done = 0;
		ssize_t sent;

		fill(buf, n, &seed);
		for (; done < n; done += (uint32_t)sent)
			if ((sent = give(fd, buf + done, n - done, 0)) <= 0)
				return;
		left -= n;
	}
}

/* The peer's half, in a process of its own. */
static void bulk_in(struct run *r)
{
	int peer, fd = accepted_socket(r, &peer), status;
	uint64_t h;
	pid_t pid;

	fflush(r->out);
	pid = fork();
	if (pid == 0) {
		pour(send, peer);
		_exit(0);
	}
	close(peer);
	h = drain(r->ops->recv, fd);
	note(r, "hash %016lx\n", (unsigned long)h);
	waitpid(pid, &status, 0);
	r->ops->close(fd);
}

static void bulk_out(struct run *r)
{
	int peer, fd = opened_socket(r, &peer), pipe_fd[2], status;
	uint64_t h = 0;
	pid_t pid;

	if (pipe(pipe_fd))
		exit(1);
	fflush(r->out);
	pid = fork();
	if (pid == 0) {
		h = drain(recv, peer);
		_exit(write(pipe_fd[1], &h, sizeof(h)) != sizeof(h));
	}
	close(peer);
	pour(r->ops->send, fd);
	r->ops->shutdown(fd, SHUT_WR);
	(void)!read(pipe_fd[0], &h, sizeof(h));
	note(r, "hash %016lx\n", (unsigned long)h);
	waitpid(pid, &status, 0);
	close(pipe_fd[0]);
	close(pipe_fd[1]);
	r->ops->close(fd);
}

static const struct test_case cases[] = {
	CASE(flags, 4),	  CASE(vectors, 3), CASE(timeout, 1),  CASE(half_close, 2),
	CASE(events, 2),  CASE(reset, 2),   CASE(closing, 3),  CASE(urgent, 3),
	CASE(sigpipe, 1), CASE(bulk_in, 0), CASE(bulk_out, 0),
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}

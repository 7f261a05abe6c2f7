// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "tcp_client.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PRIORITY 10 /* above the blaster */
#define PATIENCE 3  /* seconds without an answer: it has failed */
#define EVENTS	 64

struct tcp_client *tcp_client_new(void)
{
	void *p = mmap(NULL, sizeof(struct tcp_client), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

void tcp_client_free(struct tcp_client *c)
{
	if (c)
		munmap(c, sizeof(*c));
}

/* ---- in the client's process ------------------------------------------------------- */

static __attribute__((noreturn)) void give_up(struct tcp_client *c, const char *what, int error)
{
	snprintf(c->text, sizeof(c->text), "%s", what);
	c->error = error;
	_exit(1);
}

static bool stopped(const struct tcp_client *c)
{
	return __atomic_load_n(&c->stop, __ATOMIC_RELAXED);
}

static int open_socket(struct tcp_client *c, int type)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | type, 0);

	if (fd < 0)
		give_up(c, "socket", errno);
	if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5) ||
	    (c->window &&
	     setsockopt(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, &c->window, sizeof(c->window))))
		give_up(c, "setsockopt", errno);
	return fd;
}

/* 0 or EINPROGRESS. */
static int connect_to(struct tcp_client *c, int fd)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET, .sin_port = htons(c->port), .sin_addr = c->addr};

	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
		return 0;
	if (errno != EINPROGRESS)
		give_up(c, "connect", errno);
	return EINPROGRESS;
}

/* A connection whose calls block, for PATIENCE at most. */
static int connect_patiently(struct tcp_client *c)
{
	struct timeval patience = {.tv_sec = PATIENCE};
	struct sockaddr_in own = {0};
	socklen_t length = sizeof(own);
	int fd = open_socket(c, 0);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	connect_to(c, fd);
	if (!c->connected && getsockname(fd, (struct sockaddr *)&own, &length) == 0)
		c->first_port = ntohs(own.sin_port);
	c->connected++;
	return fd;
}

static void *buffer(struct tcp_client *c, size_t length)
{
	void *p = calloc(1, length);

	if (!p)
		give_up(c, "memory", ENOMEM);
	return p;
}

/* One connection, or one after the other: without the cost of epoll. */
static void request(struct tcp_client *c)
{
	uint8_t *buf = buffer(c, c->length);
	int *fd = buffer(c, c->connections * sizeof(*fd));
	uint32_t i;

	for (i = 0; i < c->connections; i++)
		fd[i] = connect_patiently(c);
	for (i = 0; !stopped(c); i = i + 1 < c->connections ? i + 1 : 0) {
		if (send(fd[i], buf, c->length, MSG_NOSIGNAL) != (ssize_t)c->length)
			give_up(c, "send", errno);
		if (recv(fd[i], buf, c->length, MSG_WAITALL) != (ssize_t)c->length)
			give_up(c, "no answer", errno);
		c->done++;
	}
}

static void send_much(struct tcp_client *c)
{
	uint64_t start = bed_now(), left = c->total ? c->total : UINT64_MAX;
	uint8_t *buf = buffer(c, c->length);
	int fd = connect_patiently(c);

	while (left && !stopped(c)) {
		ssize_t n =
			send(fd, buf, left < c->length ? (size_t)left : c->length, MSG_NOSIGNAL);

		if (n < 0)
			give_up(c, "send", errno);
		c->bytes += (uint64_t)n;
		left -= (uint64_t)n;
	}
	if (!c->total)
		return;
	/* The server closes when it has read all. */
	shutdown(fd, SHUT_WR);
	if (recv(fd, buf, 1, 0) != 0)
		give_up(c, "no end of file", errno);
	c->elapsed_ns = bed_now() - start;
}

static void receive_much(struct tcp_client *c)
{
	uint64_t start = bed_now();
	uint8_t *buf = buffer(c, c->length);
	int fd = connect_patiently(c), i;

	for (i = 0; !stopped(c); i++) {
		ssize_t n = recv(fd, buf, c->length, 0);

		if (n < 0)
			give_up(c, "recv", errno);
		/* Again: see stream.c. */
		if (c->window && (i < 64 || i % 256 == 0))
			setsockopt(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, &c->window,
				   sizeof(c->window));
		if (n == 0) {
			c->elapsed_ns = bed_now() - start;
			return;
		}
		c->bytes += (uint64_t)n;
	}
}

struct slot {
	int fd;
	uint32_t have; /* bytes of the answer */
	bool asked;
};

static void watch(struct tcp_client *c, int epoll, struct slot *slot, int op, uint32_t events)
{
	struct epoll_event e = {.events = events, .data.ptr = slot};

	if (epoll_ctl(epoll, op, slot->fd, &e))
		give_up(c, "epoll_ctl", errno);
}

static void ask(struct tcp_client *c, struct slot *slot, const uint8_t *message)
{
	slot->asked = true;
	slot->have = 0;
	if (send(slot->fd, message, c->length, MSG_NOSIGNAL) != (ssize_t)c->length)
		give_up(c, "send", errno);
}

static void reconnect(struct tcp_client *c, int epoll, struct slot *slot)
{
	if (slot->fd >= 0)
		close(slot->fd);
	*slot = (struct slot){.fd = open_socket(c, SOCK_NONBLOCK)};
	connect_to(c, slot->fd);
	watch(c, epoll, slot, EPOLL_CTL_ADD, EPOLLOUT);
}

/* TCP_CONNECTS: the connection is there, or the answer, or its end. */
static void connection_ready(struct tcp_client *c, int epoll, struct slot *slot, uint8_t *buf)
{
	ssize_t n;

	if (!slot->asked) {
		ask(c, slot, buf);
		watch(c, epoll, slot, EPOLL_CTL_MOD, EPOLLIN);
		return;
	}
	n = recv(slot->fd, buf, c->length, 0);
	if (n < 0 && errno != EAGAIN)
		give_up(c, "recv", errno);
	if (n > 0)
		slot->have += (uint32_t)n;
	if (n != 0)
		return;
	if (slot->have != c->length)
		give_up(c, "connection ended before its answer", 0);
	c->done++;
	reconnect(c, epoll, slot);
}

/* TCP_REQUESTS, TCP_RECEIVE: something has come. */
static void data_ready(struct tcp_client *c, struct slot *slot, uint8_t *buf)
{
	ssize_t n = recv(slot->fd, buf, c->length, MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0)
		give_up(c, n ? "recv" : "connection ended", n ? errno : 0);
	c->bytes += (uint64_t)n;
	if (c->kind == TCP_RECEIVE)
		return;
	slot->have += (uint32_t)n;
	if (slot->have < c->length)
		return;
	c->done++;
	ask(c, slot, buf);
}

/* Many connections at once. */
static void many(struct tcp_client *c)
{
	struct slot *slots = buffer(c, c->connections * sizeof(*slots));
	struct epoll_event events[EVENTS];
	uint8_t *buf = buffer(c, c->length);
	int epoll = epoll_create1(EPOLL_CLOEXEC), n, i;
	uint32_t k;

	for (k = 0; k < c->connections; k++) {
		slots[k].fd = -1;
		if (c->kind == TCP_CONNECTS) {
			reconnect(c, epoll, &slots[k]);
			c->connected++;
			continue;
		}
		slots[k].fd = connect_patiently(c);
		watch(c, epoll, &slots[k], EPOLL_CTL_ADD, EPOLLIN);
	}
	for (k = 0; c->kind == TCP_REQUESTS && k < c->connections; k++)
		ask(c, &slots[k], buf);
	while (!stopped(c)) {
		n = epoll_wait(epoll, events, EVENTS, PATIENCE * 1000);
		if (n == 0 && c->kind != TCP_HOLD)
			give_up(c, "no answer", ETIMEDOUT);
		for (i = 0; i < n; i++) {
			if (c->kind == TCP_CONNECTS)
				connection_ready(c, epoll, events[i].data.ptr, buf);
			else
				data_ready(c, events[i].data.ptr, buf);
		}
	}
}

static int client_main(void *arg)
{
	struct tcp_client *c = arg;
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	if (c->kind == TCP_SEND)
		send_much(c);
	else if (c->kind == TCP_RECEIVE && c->connections == 1)
		receive_much(c);
	else if (c->kind == TCP_TURNS || (c->kind == TCP_REQUESTS && c->connections == 1))
		request(c);
	else
		many(c);
	return 0;
}

/* ---- in the bed's -------------------------------------------------------------------- */

bool tcp_client_ended(const struct tcp_client *c)
{
	siginfo_t info = {0};

	return c->pid <= 0 || waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOHANG | WNOWAIT) ||
	       info.si_pid;
}

int tcp_client_finish(struct bed *bed, struct tcp_client *c, double seconds)
{
	int status = c->pid > 0 ? bed_wait(c->pid, (int)(seconds * 1000)) : -1;

	c->pid = 0;
	if (status == 0)
		return 0;
	snprintf(bed->error, sizeof(bed->error), "TCP client: %s%s%s",
		 c->text[0] ? c->text : "it did not end", c->error ? ": " : "",
		 c->error ? strerror(c->error) : "");
	return -EIO;
}

int tcp_client_stop(struct bed *bed, struct tcp_client *c)
{
	__atomic_store_n(&c->stop, 1, __ATOMIC_RELAXED);
	return tcp_client_finish(bed, c, 2 * PATIENCE);
}

int tcp_client_start(struct bed *bed, struct tcp_client *c)
{
	uint64_t until = bed_now() + 10000000000u;

	if (!c->connections)
		c->connections = 1;
	c->connected = c->stop = 0;
	c->done = c->bytes = c->elapsed_ns = 0;
	c->error = 0;
	c->text[0] = 0;
	c->pid = bed_fork(bed, BED_CLIENT, bed->cpu_load, PRIORITY, client_main, c);
	if (c->pid < 0)
		return -errno;
	while (__atomic_load_n(&c->connected, __ATOMIC_RELAXED) < c->connections) {
		if (tcp_client_ended(c) || bed_now() > until)
			return tcp_client_finish(bed, c, 0.01) ?: -EIO;
		usleep(500);
	}
	return 0;
}

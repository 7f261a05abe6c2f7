/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_stream_accept.c - what accept() gives has channels of its own, and what that must not change:
 * segments that came before or meanwhile, ports that listeners share or leave, few descriptors,
 * peers that come back. On a kernel socket and on ours.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <lrp/lrp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../runtime/stream/stream.h"
#include "../lib/check.h"
#include "stream_peer.h"

/* Of ours, the descriptor of its first channel. */
static long channel_of(int fd)
{
	struct lrp_stats stats = {.sz = sizeof(stats)};

	return lrp_stats(fd, &stats) ? -1 : (long)stats.channel_fd;
}

static int accept_one(struct run *r, int lfd)
{
	int fd = r->ops->accept(lfd, NULL, NULL);
	struct timeval tv = {.tv_sec = 2};

	must(fd >= 0, "accept");
	r->ops->setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	return fd;
}

/* It has to wait: then it gets channels of its own. */
static int wait_a_little(struct run *r, int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return r->ops->poll(&p, 1, 1);
}

/* There and back. */
static void ping(struct run *r, const char *what, int fd, int peer)
{
	char c = 0, d = 0;
	long there = send(peer, "p", 1, 0), back;

	there = r->ops->recv(fd, &c, 1, 0);
	back = r->ops->send(fd, "q", 1, 0);
	back = recv(peer, &d, 1, 0);
	note(r, "%s: there %ld %c, back %ld %c", what, there, c ? c : '-', back, d ? d : '-');
}

static void own_channels(struct run *r)
{
	int lfd = listener(r, 5), peer[2], fd[2];
	long a, b;

	for (int i = 0; i < 2; i++) {
		peer[i] = peer_connect(r);
		fd[i] = accept_one(r, lfd);
	}
	if (r->lrp && channel_of(fd[0]) != channel_of(lfd))
		note(r, "it has channels of its own before it needs them");
	for (int i = 0; i < 2; i++)
		wait_a_little(r, fd[i]);
	if (r->lrp) {
		a = channel_of(fd[0]);
		b = channel_of(fd[1]);
		if (a < 0 || b < 0 || a == b || a == channel_of(lfd) || b == channel_of(lfd))
			note(r, "channels %ld and %ld, the listener's %ld", a, b, channel_of(lfd));
	}
	ping(r, "first", fd[0], peer[0]);
	ping(r, "second", fd[1], peer[1]);
	/* Channels come back when a connection is closed, and are given out again. */
	for (int i = 0; i < 200; i++) {
		r->ops->close(fd[0]);
		close(peer[0]);
		peer[0] = peer_connect(r);
		fd[0] = accept_one(r, lfd);
		wait_a_little(r, fd[0]);
		if (r->lrp && channel_of(fd[0]) == channel_of(lfd))
			note(r, "number %d shares the listener's channel", i);
		if (i % 20 == 0)
			ping(r, "again", fd[0], peer[0]);
	}
	ping(r, "second", fd[1], peer[1]);
	for (int i = 0; i < 2; i++) {
		r->ops->close(fd[i]);
		close(peer[i]);
	}
	r->ops->close(lfd);
}

enum { MANY = 150 };

/* In a process that may open little more than the connections: how many it could not serve. */
static int few(struct run *r)
{
	int lfd = listener(r, MANY), peer[MANY], fd[MANY], own = 0, failed = 0;
	struct rlimit limit;
	char c;

	/* A quarter is the runtime's. */
	limit.rlim_cur = limit.rlim_max = ((rlim_t)lfd + 2 * MANY + 40) / 3 * 4;
	must(!setrlimit(RLIMIT_NOFILE, &limit), "setrlimit");
	for (int i = 0; i < MANY; i++) {
		peer[i] = peer_connect(r);
		fd[i] = accept_one(r, lfd);
		wait_a_little(r, fd[i]);
		own += r->lrp && channel_of(fd[i]) != channel_of(lfd);
	}
	must(own < MANY, "all have channels of their own: nothing was tested");
	for (int i = 0; i < MANY; i++)
		failed += send(peer[i], "p", 1, 0) != 1 || r->ops->recv(fd[i], &c, 1, 0) != 1 ||
			  r->ops->send(fd[i], "q", 1, 0) != 1 || recv(peer[i], &c, 1, 0) != 1;
	for (int i = 0; i < MANY; i++) {
		r->ops->close(fd[i]);
		close(peer[i]);
	}
	r->ops->close(lfd);
	return failed;
}

/* The limit of open files leaves room for the connections and little else: who finds no channels shares
 * the listener's, nobody is refused. */
static void few_descriptors(struct run *r)
{
	int status;
	pid_t pid;

	fflush(r->out);
	pid = fork();
	if (pid == 0)
		exit(few(r));
	waitpid(pid, &status, 0);
	note_result(r, "status", status);
}

#define BYTES 400000

/* A client that says all it has to say as soon as it is connected. */
static pid_t talker(struct run *r)
{
	pid_t pid;

	fflush(r->out);
	pid = fork();
	if (pid == 0) {
		static unsigned char buf[BYTES];
		int fd = peer_connect(r), i, n;

		for (i = 0; i < BYTES; i++)
			buf[i] = (unsigned char)(i * 7 + i / 251);
		for (i = 0; i < BYTES; i += n) {
			n = (int)send(fd, buf + i, BYTES - (size_t)i, 0);
			if (n <= 0)
				_exit(1);
		}
		shutdown(fd, SHUT_WR);
		_exit(recv(fd, buf, 1, 0) != 0);
	}
	return pid;
}

/* Bytes that come while the connection moves to its own channels are all there, in order. */
static void moved(struct run *r)
{
	static unsigned char buf[BYTES];
	int lfd = listener(r, 5), fd, i, n, bad, total, status;
	pid_t pid;

	for (int round = 0; round < 20; round++) {
		pid = talker(r);
		usleep((useconds_t)(round * 200));
		fd = accept_one(r, lfd);
		for (total = 0; (n = (int)r->ops->recv(
					 fd, buf + total,
					 sizeof(buf) - (size_t)total + (total == BYTES), 0)) > 0;)
			total += n;
		for (i = bad = 0; i < total; i++)
			bad += buf[i] != (unsigned char)(i * 7 + i / 251);
		r->ops->close(fd);
		waitpid(pid, &status, 0);
		note(r, "bytes %d, wrong %d, end %d, client %x", total, bad, n, status);
	}
	r->ops->close(lfd);
}

/* Connections live on when their listener is closed, and another one on the port gets its own. */
static void listener_closed(struct run *r)
{
	int lfd = listener(r, 5), peer = peer_connect(r), fd = accept_one(r, lfd), peer2, fd2;

	r->ops->close(lfd);
	ping(r, "without a listener", fd, peer);
	lfd = listener(r, 5);
	peer2 = peer_connect(r);
	fd2 = accept_one(r, lfd);
	ping(r, "the second listener's", fd2, peer2);
	ping(r, "the first one's", fd, peer);
	r->ops->close(lfd);
	r->ops->close(fd2);
	ping(r, "the first one's", fd, peer);
	r->ops->close(fd);
	note_result(r, "end", recv(peer, &fd, 1, 0));
	note_result(r, "end", recv(peer2, &fd, 1, 0));
	close(peer);
	close(peer2);
}

/* What nobody accepted is reset when the listener goes. */
static void listener_closed_unaccepted(struct run *r)
{
	int lfd = listener(r, 5), peer = peer_connect(r), fd;

	arrive();
	r->ops->close(lfd);
	note_result(r, "recv", recv(peer, &fd, 1, 0));
	close(peer);
}

static int shared_listener(struct run *r)
{
	int fd = stream_socket(r, SOCK_NONBLOCK), on = 1;
	struct sockaddr_storage a;
	socklen_t len = addr_any(r, &a, PORT);

	r->ops->setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	r->ops->setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	must(!r->ops->bind(fd, (void *)&a, len) && !r->ops->listen(fd, 64), "shared listener");
	return fd;
}

/* With SO_REUSEPORT connections are spread over the listeners; one that goes takes none along that was
 * accepted from it, and nor does one that comes. */
static void reuseport(struct run *r)
{
	enum { COUNT = 16 };
	int lfd[3], peer[COUNT], fd[COUNT], n = 0, tries;
	struct pollfd p[2];

	lfd[0] = shared_listener(r);
	lfd[1] = shared_listener(r);
	for (int i = 0; i < COUNT; i++)
		peer[i] = peer_connect(r);
	for (tries = 0; n < COUNT && tries < 50; tries++) {
		p[0] = (struct pollfd){.fd = lfd[0], .events = POLLIN};
		p[1] = (struct pollfd){.fd = lfd[1], .events = POLLIN};
		r->ops->poll(p, 2, 100);
		for (int i = 0; i < 2; i++)
			while (n < COUNT && (fd[n] = r->ops->accept(lfd[i], NULL, NULL)) >= 0)
				n++;
	}
	note_result(r, "accepted", n);
	r->ops->close(lfd[0]);
	lfd[2] = shared_listener(r);
	/* Which is whose is not known here: each says its number and hears it again. */
	for (int i = 0; i < COUNT; i++)
		send(peer[i], &i, sizeof(i), 0);
	for (int i = 0; i < n; i++) {
		struct pollfd one = {.fd = fd[i], .events = POLLIN};
		int number = -1;

		note_result(r, "readable", r->ops->poll(&one, 1, 2000));
		r->ops->recv(fd[i], &number, sizeof(number), 0);
		r->ops->send(fd[i], &number, sizeof(number), 0);
	}
	for (int i = 0; i < COUNT; i++) {
		int number = -1;

		recv(peer[i], &number, sizeof(number), 0);
		note_result(r, "number", number);
		close(peer[i]);
	}
	for (int i = 0; i < n; i++)
		r->ops->close(fd[i]);
	r->ops->close(lfd[1]);
	r->ops->close(lfd[2]);
}

/* We close first and are in TIME_WAIT; the same peer comes back from the same port. */
static void comes_back(struct run *r)
{
	int lfd = listener(r, 5), peer, fd, on = 1;
	struct linger abort = {.l_onoff = 1};
	struct sockaddr_storage from, to;
	socklen_t from_len = addr_client(r, &from, 6100), to_len = addr_server(r, &to, PORT);

	for (int i = 0; i < 5; i++) {
		peer = client_socket(r->family, SOCK_STREAM, 0);
		setsockopt(peer, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		must(!bind(peer, (void *)&from, from_len), "peer's bind");
		note_result(r, "connect", connect(peer, (void *)&to, to_len));
		fd = accept_one(r, lfd);
		ping(r, "ping", fd, peer);
		r->ops->close(fd);
		note_result(r, "end", recv(peer, &on, 1, 0));
		/* Only we remember it: the peer forgets it at once. */
		shutdown(peer, SHUT_WR);
		arrive();
		setsockopt(peer, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort));
		close(peer);
	}
	r->ops->close(lfd);
}

/* ---- what has ended gives up its ends while the application holds it ---------------- */

static int peer_from(struct run *r, int port)
{
	struct timeval tv = {.tv_usec = 600000}; /* less than a SYN waits for the next */
	struct sockaddr_storage from, to;
	socklen_t from_len = addr_client(r, &from, port), to_len = addr_server(r, &to, PORT);
	int peer = client_socket(r->family, SOCK_STREAM, 0), on = 1;

	setsockopt(peer, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(peer, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	must(!bind(peer, (void *)&from, from_len), "peer's bind");
	note_result(r, "connect", connect(peer, (void *)&to, to_len));
	return peer;
}

/* The peer resets and comes again from its port. `unread`: of what it sent; `own`: channels. */
static void reset_held(struct run *r, bool unread, bool own)
{
	struct linger abort = {.l_onoff = 1};
	int lfd = listener(r, 5), peer, fd[4], i;

	for (i = 0; i < 4; i++) {
		peer = peer_from(r, 6110);
		fd[i] = accept_one(r, lfd);
		if (own)
			wait_a_little(r, fd[i]);
		ping(r, "ping", fd[i], peer);
		if (unread)
			must(send(peer, "x", 1, 0) == 1, "send");
		arrive();
		setsockopt(peer, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort));
		close(peer);
		arrive();
	}
	for (i = 0; i < 4; i++) {
		note_result(r, "recv", r->ops->recv(fd[i], &(char){0}, 1, MSG_DONTWAIT));
		r->ops->close(fd[i]);
	}
	r->ops->close(lfd);
}

static void reset_held_read(struct run *r)
{
	reset_held(r, false, false);
}

static void reset_held_unread(struct run *r)
{
	reset_held(r, true, false);
}

static void reset_held_own(struct run *r)
{
	reset_held(r, false, true);
}

/* Nobody has accepted it when it is reset. */
static void reset_unaccepted(struct run *r)
{
	struct linger abort = {.l_onoff = 1};
	int lfd = listener(r, 5), peer, fd[3], i;

	for (i = 0; i < 3; i++) {
		peer = peer_from(r, 6120);
		arrive();
		if (i == 2)
			break;
		setsockopt(peer, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort));
		close(peer);
		arrive();
	}
	for (i = 0; i < 3; i++)
		fd[i] = accept_one(r, lfd);
	ping(r, "the last", fd[2], peer);
	for (i = 0; i < 3; i++)
		r->ops->close(fd[i]);
	close(peer);
	r->ops->close(lfd);
}

/* The peer ends first, then we, and hold the descriptor. */
static void ended_held(struct run *r)
{
	struct linger abort = {.l_onoff = 1};
	int lfd = listener(r, 5), peer, fd[4], i;

	for (i = 0; i < 4; i++) {
		peer = peer_from(r, 6130);
		fd[i] = accept_one(r, lfd);
		if (i & 1)
			wait_a_little(r, fd[i]);
		ping(r, "ping", fd[i], peer);
		shutdown(peer, SHUT_WR);
		arrive();
		note_result(r, "shutdown", r->ops->shutdown(fd[i], SHUT_WR));
		arrive();
		setsockopt(peer, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort));
		close(peer);
	}
	for (i = 0; i < 4; i++)
		r->ops->close(fd[i]);
	r->ops->close(lfd);
}

/* From here, from one port: the peer resets, or ends first; the next socket gets the port. */
static void connect_again(struct run *r)
{
	struct linger abort = {.l_onoff = 1};
	struct sockaddr_storage from, to;
	socklen_t from_len = addr_server(r, &from, 6140),
		  to_len = addr_client(r, &to, SERVICE_PORT);
	int lfd = peer_listen(r), peer, fd[4], on = 1, i;

	for (i = 0; i < 4; i++) {
		fd[i] = stream_socket(r, 0);
		r->ops->setsockopt(fd[i], SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		note_result(r, "bind", r->ops->bind(fd[i], (void *)&from, from_len));
		note_result(r, "connect", r->ops->connect(fd[i], (void *)&to, to_len));
		peer = accept(lfd, NULL, NULL);
		if (i & 1) {
			shutdown(peer, SHUT_WR);
			arrive();
			note_result(r, "shutdown", r->ops->shutdown(fd[i], SHUT_WR));
			arrive();
		} else {
			setsockopt(peer, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort));
		}
		close(peer);
		arrive();
	}
	for (i = 0; i < 4; i++)
		r->ops->close(fd[i]);
	close(lfd);
}

/* A worker of many: the parent listens, children accept. */
static void workers(struct run *r)
{
	enum { WORKERS = 3, COUNT = 30 };
	int lfd = listener(r, COUNT), fd, peer, status;
	pid_t pid[WORKERS];
	char buf[8];

	fflush(r->out);
	for (int i = 0; i < WORKERS; i++) {
		pid[i] = fork();
		if (pid[i])
			continue;
		for (;;) {
			fd = r->ops->accept(lfd, NULL, NULL);
			if (fd < 0)
				exit(0);
			if (r->ops->recv(fd, buf, 1, 0) != 1 || *buf == 'x')
				exit(0);
			r->ops->send(fd, buf, 1, 0);
			r->ops->close(fd);
		}
	}
	for (int i = 0; i < COUNT; i++) {
		peer = peer_connect(r);
		send(peer, "w", 1, 0);
		note_result(r, "answer", recv(peer, buf, sizeof(buf), 0));
		note_result(r, "end", recv(peer, buf, sizeof(buf), 0));
		close(peer);
	}
	for (int i = 0; i < WORKERS; i++) {
		peer = peer_connect(r);
		send(peer, "x", 1, 0);
		recv(peer, buf, 1, 0);
		close(peer);
	}
	for (int i = 0; i < WORKERS; i++) {
		waitpid(pid[i], &status, 0);
		note_result(r, "worker", status);
	}
	r->ops->close(lfd);
}

/* A connection that was reset while it waited: accept() gives it, and says whose it was. */
static void reset_in_the_queue(struct run *r)
{
	struct linger now = {.l_onoff = 1};
	int lfd = listener(r, 5), peer = peer_connect(r), fd, port;
	struct sockaddr_storage a = {0};
	socklen_t len = sizeof(a);
	char byte;

	getsockname(peer, (void *)&a, &len);
	port = ntohs(((struct sockaddr_in *)&a)->sin_port);
	arrive();
	setsockopt(peer, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(peer);
	arrive();
	len = sizeof(a);
	memset(&a, 0, sizeof(a));
	fd = r->ops->accept(lfd, (void *)&a, &len);
	note(r, "accepted %d, len %u, its port %d", fd >= 0, len,
	     ntohs(((struct sockaddr_in *)&a)->sin_port) == port);
	note_result(r, "recv", r->ops->recv(fd, &byte, 1, 0));
	len = 4;
	peer = peer_connect(r);
	note(r, "in little room %d, len %u", r->ops->accept(lfd, (void *)&a, &len) >= 0, len);
	close(peer);
	r->ops->close(fd);
	r->ops->close(lfd);
}

/* Whether or not it has the listener's lock. */
static void kill_worker(int lfd, bool locked)
{
	pid_t worker = fork();

	if (!worker) {
		if (locked)
			lrp_hub_lock(lrp_view_of(lfd), lfd, LRP_STREAM_LISTENER);
		raise(SIGKILL);
	}
	must(waitpid(worker, NULL, 0) == worker, "worker");
}

/* A worker is killed in the midst of receiving for the listener: another goes on accepting. */
static void worker_killed(struct run *r)
{
	struct pollfd p = {.events = POLLIN};
	int lfd = listener(r, 5), fd, status, k;
	struct sockaddr_storage a;
	pid_t client;
	socklen_t len;
	char byte;

	for (k = 0; k < 2; k++) {
		kill_worker(lfd, r->lrp && k == 0);
		client = fork();
		if (!client) {
			fd = peer_connect(r);
			_exit(send(fd, "x", 1, 0) == 1 && recv(fd, &byte, 1, 0) == 1 ? 0 : 1);
		}
		usleep(100000);
		p.fd = lfd;
		if (k == 1)
			note_result(r, "poll", r->ops->poll(&p, 1, 2000));
		fd = r->ops->accept(lfd, NULL, NULL);
		note(r, "accepted: %d", fd >= 0);
		note_result(r, "recv", r->ops->recv(fd, &byte, 1, 0));
		note_result(r, "send", r->ops->send(fd, "y", 1, 0));
		waitpid(client, &status, 0);
		note(r, "client: %d", status);
		r->ops->close(fd);
		len = sizeof(a);
		note_result(r, "name", r->ops->getsockname(lfd, (void *)&a, &len));
	}
	r->ops->close(lfd);
}

/* The same, and the one who goes on polls. */
static void worker_killed_poll(struct run *r)
{
	int lfd = listener(r, 5), fd, status;
	struct pollfd p = {.fd = lfd, .events = POLLIN};
	pid_t client;

	kill_worker(lfd, r->lrp);
	client = fork();
	if (!client) {
		fd = peer_connect(r);
		_exit(0);
	}
	note_result(r, "poll", r->ops->poll(&p, 1, 2000));
	note(r, "events %x", (unsigned int)p.revents);
	fd = r->ops->accept(lfd, NULL, NULL);
	note(r, "accepted: %d", fd >= 0);
	waitpid(client, &status, 0);
	note(r, "client: %d", status);
	r->ops->close(fd);
	r->ops->close(lfd);
}

static const struct test_case cases[] = {
	CASE(own_channels, 600),
	CASE(few_descriptors, 0),
	CASE(moved, 100),
	CASE(listener_closed, 8),
	CASE(listener_closed_unaccepted, 0),
	CASE(reuseport, 40),
	CASE(comes_back, 20),
	CASE(reset_held_read, 8),
	CASE(reset_held_unread, 8),
	CASE(reset_held_own, 8),
	CASE(reset_unaccepted, 1),
	CASE(ended_held, 8),
	CASE(connect_again, 1),
	CASE(workers, 0),
	CASE(reset_in_the_queue, 1),
	CASE(worker_killed, 0),
	CASE(worker_killed_poll, 0),
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}

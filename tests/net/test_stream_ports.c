/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_stream_ports.c - local ports of active opens, on a kernel socket and on ours: shared by
 * connections to different peers, used up, given, waiting, taken by others.
 *
 * Each run has a range of ephemeral ports of its own, a small one: what an earlier one left in
 * TIME_WAIT is not in its way.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../runtime/broker/broker.h"
#include "../../runtime/stream/stream.h"
#include "../lib/check.h"
#include "stream_peer.h"

#define PEERS 4
#define RANGE "/proc/sys/net/ipv4/ip_local_port_range"

static int first_port;

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	must(f && fputs(text, f) >= 0 && !fclose(f), path);
}

static void set_range(int first, int ports)
{
	char text[64];

	first_port = first;
	snprintf(text, sizeof(text), "%d %d", first, first + ports - 1);
	write_file(RANGE, text);
	lrp_ports_forget(); /* as a child, which knows no ports yet */
}

static int range_begins(void)
{
	FILE *f = fopen(RANGE, "r");
	int first;

	must(f && fscanf(f, "%d", &first) == 1 && !fclose(f), RANGE);
	return first;
}

/* From now on there are so many ephemeral ports, none of them used before; the namespace remembers
 * which were. */
static void range(int ports)
{
	int last = range_begins();

	set_range(last == 32768 ? 10000 : last + 100, ports);
}

static bool in_range(const struct sockaddr_storage *a, int ports)
{
	int port = ntohs(((const struct sockaddr_in *)a)->sin_port);

	return port >= first_port && port < first_port + ports;
}

/* A listener of the client's, number `i`. */
static int peer_number(struct run *r, int i)
{
	int fd = client_socket(r->family, SOCK_STREAM, 0), on = 1;
	struct sockaddr_storage a;
	socklen_t len = addr_client(r, &a, SERVICE_PORT + i);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	must(!bind(fd, (void *)&a, len) && !listen(fd, 128), "peer's listener");
	return fd;
}

/* Both ends of a connection to peer `i`; false with errno. It is ours, if that is what is tested. */
static bool open_pair(struct run *r, int lfd, int i, int pair[2])
{
	struct sockaddr_storage a, b;
	socklen_t len = addr_client(r, &a, SERVICE_PORT + i), size = sizeof(a);
	char byte = 0;

	pair[0] = stream_socket(r, 0);
	if (r->ops->connect(pair[0], (void *)&a, len)) {
		int error = errno;

		r->ops->close(pair[0]);
		errno = error;
		return false;
	}
	pair[1] = accept(lfd, NULL, NULL);
	r->ops->getsockname(pair[0], (void *)&a, &size);
	getpeername(pair[1], (void *)&b, &size);
	if (memcmp(&a, &b, size))
		note(r, "the peer sees another address");
	if (r->lrp && !getpeername(pair[0], (void *)&b, &size))
		note(r, "the kernel's connection");
	if (send(pair[1], "x", 1, 0) != 1 || r->ops->recv(pair[0], &byte, 1, 0) != 1 || byte != 'x')
		note(r, "nothing arrives: %s", strerror(errno));
	return true;
}

/* The peer closes first, and has the wait. */
static void close_pair(struct run *r, int pair[2])
{
	char byte;

	close(pair[1]);
	note_result(r, "end", r->ops->recv(pair[0], &byte, 1, 0));
	r->ops->close(pair[0]);
}

/* `n` connections, and one that fails. */
static void fill(struct run *r, int lfd, int i, int n, int (*pair)[2])
{
	int k, more[2];

	for (k = 0; k < n; k++)
		must(open_pair(r, lfd, i, pair[k]), "connect");
	errno = 0;
	note(r, "one more: %d %s", open_pair(r, lfd, i, more), strerror(errno));
}

/* More connections than ports, and all ports to each peer. */
static void shared(struct run *r)
{
	enum { PORTS = 12 };
	int lfd[PEERS], pair[PEERS][PORTS][2], i, k, value;
	struct sockaddr_storage a;
	socklen_t len, size;
	bool seen[PORTS];

	range(PORTS);
	for (i = 0; i < PEERS; i++) {
		lfd[i] = peer_number(r, i);
		memset(seen, 0, sizeof(seen));
		fill(r, lfd[i], i, PORTS, pair[i]);
		for (k = 0; k < PORTS; k++) {
			len = sizeof(a);
			r->ops->getsockname(pair[i][k][0], (void *)&a, &len);
			if (!in_range(&a, PORTS)) {
				note(r, "a port out of range");
				continue;
			}
			value = ntohs(((struct sockaddr_in *)&a)->sin_port) - first_port;
			if (seen[value])
				note(r, "one port twice to a peer");
			seen[value] = true;
		}
	}
	size = sizeof(value);
	note_result(r, "getsockopt",
		    r->ops->getsockopt(pair[0][0][0], SOL_SOCKET, SO_REUSEPORT, &value, &size));
	note(r, "SO_REUSEPORT %d", value);
	/* One ends, and its port serves again, in spite of the others on it. */
	close_pair(r, pair[1][5]);
	arrive();
	note(r, "again: %d", open_pair(r, lfd[1], 1, pair[1][5]));
	for (i = 0; i < PEERS; i++) {
		for (k = 0; k < PORTS; k++)
			close_pair(r, pair[i][k]);
		close(lfd[i]);
	}
}

/* Both families take from the same ports, and share each of their own. */
static void families(struct run *r)
{
	enum { PORTS = 6 };
	int lfd[2][2], pair[2][2][PORTS][2], f, i, k;
	struct run of[2] = {*r, *r};

	range(PORTS);
	for (f = 0; f < 2; f++) {
		of[f].family = f ? AF_INET6 : AF_INET;
		for (i = 0; i < 2; i++)
			lfd[f][i] = peer_number(&of[f], f * 2 + i);
	}
	for (i = 0; i < 2; i++)
		for (k = 0; k < PORTS; k++)
			for (f = 0; f < 2; f++)
				must(open_pair(&of[f], lfd[f][i], f * 2 + i, pair[f][i][k]),
				     "connect");
	for (f = 0; f < 2; f++)
		for (i = 0; i < 2; i++) {
			for (k = 0; k < PORTS; k++)
				close_pair(&of[f], pair[f][i][k]);
			close(lfd[f][i]);
		}
	note(r, "done");
}

/* The application's own port: to other peers, not to the same. */
static void given(struct run *r)
{
	int lfd[2], fd[3], i, on = 1;
	struct sockaddr_storage a, from;
	socklen_t len, from_len;

	range(4);
	from_len = addr_server(r, &from, first_port + 50);
	for (i = 0; i < 2; i++)
		lfd[i] = peer_number(r, i);
	for (i = 0; i < 3; i++) {
		fd[i] = stream_socket(r, 0);
		r->ops->setsockopt(fd[i], SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		note_result(r, "bind", r->ops->bind(fd[i], (void *)&from, from_len));
	}
	len = addr_client(r, &a, SERVICE_PORT);
	note_result(r, "connect", r->ops->connect(fd[0], (void *)&a, len));
	note_result(r, "the same peer", r->ops->connect(fd[1], (void *)&a, len));
	len = addr_client(r, &a, SERVICE_PORT + 1);
	note_result(r, "another peer", r->ops->connect(fd[2], (void *)&a, len));
	note_result(r, "and the second there", r->ops->connect(fd[1], (void *)&a, len));
	note_result(r, "send", r->ops->send(fd[0], "x", 1, 0));
	note_result(r, "send", r->ops->send(fd[2], "x", 1, 0));
	for (i = 0; i < 3; i++)
		r->ops->close(fd[i]);
	close(lfd[0]);
	close(lfd[1]);
}

/* The application's own port, over and over, to a peer that closes first. */
static void given_again(struct run *r)
{
	int lfd, fd, peer, on = 1, k;
	struct sockaddr_storage a, from;
	socklen_t len, from_len;
	char byte;

	range(4);
	from_len = addr_server(r, &from, first_port + 50);
	len = addr_client(r, &a, SERVICE_PORT);
	lfd = peer_number(r, 0);
	for (k = 0; k < 100; k++) {
		fd = stream_socket(r, 0);
		r->ops->setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		if (r->ops->bind(fd, (void *)&from, from_len) ||
		    r->ops->connect(fd, (void *)&a, len))
			break;
		peer = accept(lfd, NULL, NULL);
		close(peer);
		r->ops->recv(fd, &byte, 1, 0);
		r->ops->close(fd);
		usleep(10000); /* until the peer has acknowledged the end */
	}
	note(r, "%d connections: %s", k, k < 100 ? strerror(errno) : "all");
	close(lfd);
}

/* What waits after its close is used again after a second [RFC 6191], not before. */
static void waiting(struct run *r)
{
	enum { PORTS = 4 };
	int lfd, pair[PORTS][2], k, again[2];

	range(PORTS);
	write_file("/proc/sys/net/ipv4/tcp_tw_reuse", "1");
	lfd = peer_number(r, 0);
	fill(r, lfd, 0, PORTS, pair);
	for (k = 0; k < PORTS; k++) {
		r->ops->close(pair[k][0]);
		arrive();
		close(pair[k][1]);
	}
	arrive();
	note(r, "at once: %d %s", open_pair(r, lfd, 0, again), strerrorname_np(errno));
	usleep(1200000);
	fill(r, lfd, 0, PORTS, pair);
	for (k = 0; k < PORTS; k++)
		close_pair(r, pair[k]);
	close(lfd);
	write_file("/proc/sys/net/ipv4/tcp_tw_reuse", "2");
}

/* Ports that the process knows are anybody's until it uses them. */
static void taken(struct run *r)
{
	enum { PORTS = 8 };
	int lfd, pair[2][2], other[PORTS], k;
	struct sockaddr_storage a;
	socklen_t len;

	range(PORTS);
	lfd = peer_number(r, 0);
	note(r, "first: %d", open_pair(r, lfd, 0, pair[0]));
	for (k = 0; k < PORTS - 2; k++) {
		other[k] = socket(r->family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		len = addr_any(r, &a, 0);
		note_result(r, "another's bind", bind(other[k], (void *)&a, len));
	}
	fill(r, lfd, 0, 1, pair + 1);
	for (k = 0; k < PORTS - 2; k++)
		close(other[k]);
	close_pair(r, pair[0]);
	close_pair(r, pair[1]);
	close(lfd);
}

/* lrpd does not answer: who knows ports and has channels ready connects, and who listens accepts. */
static void nobody_asked(struct run *r)
{
	uint32_t lrpd = r->lrp ? lrp_broker_status()->lrpd_pid : 0;
	int lfd, pair[4][2], own = listener(r, 5), fd, peer, k;
	char byte = 0;

	range(64);
	lfd = peer_number(r, 0);
	for (k = 0; k < 2; k++)
		note(r, "%d", open_pair(r, lfd, 0, pair[k]));
	if (r->lrp)
		lrp_spare_fill(64); /* channels */
	if (lrpd && (pid_t)lrpd != getpid())
		kill((pid_t)lrpd, SIGSTOP);
	for (k = 2; k < 4; k++)
		note(r, "%d", open_pair(r, lfd, 0, pair[k]));
	peer = peer_connect(r);
	fd = r->ops->accept(own, NULL, NULL);
	note(r, "accepted: %d", fd >= 0);
	/* Nothing is there yet: it waits on channels of its own. */
	note_result(r, "poll", r->ops->poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 50));
	must(send(peer, "y", 1, 0) == 1, "send");
	note_result(r, "recv", r->ops->recv(fd, &byte, 1, 0));
	if (r->lrp && lrp_view_of(fd)->sock->stream.hub->role == LRP_HUB_LISTENER)
		note(r, "no channels of its own");
	if (lrpd && (pid_t)lrpd != getpid())
		kill((pid_t)lrpd, SIGCONT);
	r->ops->close(fd);
	close(peer);
	r->ops->close(own);
	for (k = 0; k < 4; k++)
		close_pair(r, pair[k]);
	close(lfd);
}

/* One after the other, faster than APP sees to what was closed. */
static void hurried(struct run *r)
{
	int lfd, pair[2], k;
	char byte;

	range(8);
	lfd = peer_number(r, 0);
	for (k = 0; k < 300 && open_pair(r, lfd, 0, pair); k++) {
		close(pair[1]);
		r->ops->recv(pair[0], &byte, 1, 0);
		r->ops->close(pair[0]);
	}
	note(r, "%d connections", k);
	close(lfd);
}

/* The same ports as an earlier process, of another secret: that with the embedded interface, if this
 * is the one with lrpd. Its connections wait at the peer, which lets newer ones in. */
static void successor(struct run *r)
{
	enum { PORTS = 8 };
	int lfd = peer_number(r, 0), pair[PORTS][2], k, was = range_begins();
	struct timespec before, after;
	static bool lost;

	set_range(r->lrp ? 60000 : 60100, PORTS);
	clock_gettime(CLOCK_MONOTONIC, &before);
	fill(r, lfd, 0, PORTS, pair);
	clock_gettime(CLOCK_MONOTONIC, &after);
	/* If it is tried again the ports wait for this process. */
	lost |= after.tv_sec - before.tv_sec > 1;
	note(r, "SYNs were lost: %d", lost);
	for (k = 0; k < PORTS; k++)
		close_pair(r, pair[k]);
	close(lfd);
	set_range(was, PORTS);
}

/* Parent and child each take from the same ports, and leave each other's alone. */
static void forked(struct run *r)
{
	enum { PORTS = 12 };
	int lfd, pair[PORTS][2], k, status, go[2];
	char byte;
	pid_t pid;

	range(PORTS);
	lfd = peer_number(r, 0);
	for (k = 0; k < 4; k++)
		note(r, "%d", open_pair(r, lfd, 0, pair[k]));
	must(!pipe(go), "pipe");
	pid = fork();
	if (!pid) {
		for (k = 4; k < 8; k++)
			if (!open_pair(r, lfd, 0, pair[k]))
				_exit(1);
		close(go[1]);
		if (read(go[0], &byte, 1))
			_exit(2);
		for (k = 4; k < 8; k++)
			if (send(pair[k][1], "y", 1, 0) != 1 ||
			    r->ops->recv(pair[k][0], &byte, 1, 0) != 1 || byte != 'y')
				_exit(3);
		/* The parent's. */
		for (k = 0; k < 4; k++)
			r->ops->close(pair[k][0]);
		for (k = 4; k < 8; k++) {
			close(pair[k][1]);
			if (r->ops->recv(pair[k][0], &byte, 1, 0))
				_exit(4);
			r->ops->close(pair[k][0]);
		}
		exit(0);
	}
	close(go[0]);
	/* Until the child has its own. */
	usleep(300000);
	fill(r, lfd, 0, 4, pair + 8);
	close(go[1]);
	waitpid(pid, &status, 0);
	note(r, "child: %d", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
	for (k = 0; k < PORTS; k++)
		if (k < 4 || k >= 8)
			close_pair(r, pair[k]);
	close(lfd);
}

/* A socket of another network namespace is its kernel's, whatever ports are known here. */
static void elsewhere(struct run *r)
{
	int lfd, pair[2], fd, ns, back;
	struct sockaddr_storage a;
	socklen_t len;

	range(64);
	lfd = peer_number(r, 0);
	note(r, "here: %d", open_pair(r, lfd, 0, pair));
	close_pair(r, pair);
	len = addr_client(r, &a, SERVICE_PORT);
	ns = open("/run/netns/client", O_RDONLY | O_CLOEXEC);
	back = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	/* Else bind() would tell. */
	must(!client_run("sysctl -qw net.ipv4.ip_nonlocal_bind=1 net.ipv6.ip_nonlocal_bind=1"),
	     "sysctl");
	must(ns >= 0 && back >= 0 && !setns(ns, CLONE_NEWNET), "namespace client");
	fd = stream_socket(r, 0);
	must(!setns(back, CLONE_NEWNET), "setns");
	close(ns);
	close(back);
	note_result(r, "there", r->ops->connect(fd, (void *)&a, len));
	note_result(r, "the kernel's", getpeername(fd, (void *)&a, &len));
	r->ops->close(fd);
	close(lfd);
}

static const struct test_case cases[] = {
	CASE(shared, 48),   CASE4(families, 24), CASE(given, 2),	CASE(given_again, 100),
	CASE(waiting, 8),   CASE(taken, 2),	 CASE(nobody_asked, 4), CASE(hurried, 300),
	CASE(successor, 8), CASE(forked, 8),	 CASE(elsewhere, 1),
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}

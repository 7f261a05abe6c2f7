/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_stream_kill.c - kill -9 of a process with TCP connections: its peers, kernel sockets that
 * wait in poll() and send nothing, are reset within a second, whichever side opened the
 * connection, and also if lrpd is killed together with it. A connection of somebody else goes on.
 */
#include <netinet/in.h>
#include <poll.h>
#include <sys/mman.h>

#include "fault_bed.h"
#include "socket_harness.h"

#define PEERS	  4 /* connections of each kind */
#define SERVICE	  7000
#define BYSTANDER 7001
#define SECOND_MS 1000u

struct victim {
	struct run run;
	pid_t pid;
	int peer[2 * PEERS], peers; /* kernel sockets */
};

static int peer_listener(const struct run *r, int port)
{
	int fd = client_socket(r->family, SOCK_STREAM, 0), on = 1;
	struct timeval tv = {.tv_sec = 5};
	struct sockaddr_storage a;
	socklen_t len = addr_client(r, &a, port);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	must(!bind(fd, (void *)&a, len) && !listen(fd, 128), "peer's listener");
	return fd;
}

/* In the victim: opens connections, and says so by a byte on each. */
static void open_some(const struct run *r, int port, int count)
{
	struct sockaddr_storage a;
	socklen_t len = addr_client(r, &a, port);

	for (int i = 0; i < count; i++) {
		int fd = lrp_socket(r->family, SOCK_STREAM, 0);

		if (fd < 0 || lrp_connect(fd, (void *)&a, len) || lrp_send(fd, "x", 1, 0) != 1)
			_exit(1);
	}
}

static _Noreturn void sleep_for_ever(void)
{
	for (;;)
		pause();
}

/* Connections that the victim opens. */
static void spawn_client(struct victim *v, int family)
{
	int lfd;
	char c;

	*v = (struct victim){.run.family = family};
	lfd = peer_listener(&v->run, SERVICE);
	fflush(stdout);
	v->pid = fork();
	if (!v->pid) {
		open_some(&v->run, SERVICE, PEERS);
		sleep_for_ever();
	}
	for (; v->peers < PEERS; v->peers++) {
		v->peer[v->peers] = accept(lfd, NULL, NULL);
		must(v->peer[v->peers] >= 0 && recv(v->peer[v->peers], &c, 1, 0) == 1,
		     "peer's accept");
	}
	close(lfd);
}

/* Connections that it accepts, PEERS of them; as many more it leaves in its queue. */
static void spawn_server(struct victim *v, int family)
{
	struct sockaddr_storage a;
	socklen_t len;
	int ready[2];
	char c;

	*v = (struct victim){.run.family = family};
	must(!pipe(ready), "pipe");
	fflush(stdout);
	v->pid = fork();
	if (!v->pid) {
		int lfd = lrp_socket(family, SOCK_STREAM, 0), on = 1;

		len = addr_any(&v->run, &a, PORT);
		lrp_setsockopt(lfd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		if (lfd < 0 || lrp_bind(lfd, (void *)&a, len) || lrp_listen(lfd, 128) ||
		    write(ready[1], "", 1) != 1)
			_exit(1);
		for (int i = 0; i < PEERS; i++)
			if (lrp_accept(lfd, NULL, NULL) < 0)
				_exit(1);
		if (write(ready[1], "", 1) != 1)
			_exit(1);
		sleep_for_ever();
	}
	close(ready[1]);
	must(read(ready[0], &c, 1) == 1, "server");
	len = addr_server(&v->run, &a, PORT);
	for (; v->peers < 2 * PEERS; v->peers++) {
		v->peer[v->peers] = client_socket(family, SOCK_STREAM, 0);
		must(!connect(v->peer[v->peers], (void *)&a, len), "peer's connect");
	}
	must(read(ready[0], &c, 1) == 1, "server accepts");
	usleep(100000); /* the last one's ACK has been looked at: before, it is half-open */
	close(ready[0]);
}

/* All peers hear of it within a second of now. */
static void check_reset(struct victim *v, const char *what)
{
	uint64_t from = fault_now_ns();
	char c;

	for (int i = 0; i < v->peers; i++) {
		struct pollfd p = {.fd = v->peer[i], .events = POLLIN};
		unsigned int spent = (unsigned int)((fault_now_ns() - from) / 1000000u);
		int n = poll(&p, 1, spent < SECOND_MS ? (int)(SECOND_MS - spent) : 0);

		CHECK(n == 1, "%s: peer %d has not heard of it after a second", what, i);
		if (n == 1)
			CHECK(recv(p.fd, &c, 1, 0) < 0 && errno == ECONNRESET, "%s: peer %d: %s",
			      what, i, strerror(errno));
		close(p.fd);
	}
	printf("%s: all reset after %.0f ms\n", what, (double)(fault_now_ns() - from) / 1e6);
	waitpid(v->pid, NULL, 0);
}

static void kill_with_lrpd(struct victim *v)
{
	int lrpd = fault_lrpd_pid();

	CHECK(lrpd > 0, "no lrpd");
	kill(lrpd, SIGKILL);
	kill(v->pid, SIGKILL);
}

/* Somebody else's connection: still there, nothing lost. */
struct bystander {
	pid_t pid;
	int peer;
};

static void bystander_begin(struct bystander *b)
{
	struct run r = {.family = AF_INET};
	int lfd = peer_listener(&r, BYSTANDER);
	char c;

	fflush(stdout);
	b->pid = fork();
	if (!b->pid) {
		struct sockaddr_storage a;
		socklen_t len = addr_client(&r, &a, BYSTANDER);
		int fd = lrp_socket(AF_INET, SOCK_STREAM, 0);

		if (fd < 0 || lrp_connect(fd, (void *)&a, len) || lrp_send(fd, "x", 1, 0) != 1)
			_exit(1);
		while (lrp_recv(fd, &c, 1, 0) == 1)
			if (lrp_send(fd, &c, 1, 0) != 1)
				_exit(1);
		_exit(0);
	}
	b->peer = accept(lfd, NULL, NULL);
	must(b->peer >= 0 && recv(b->peer, &c, 1, 0) == 1, "bystander");
	close(lfd);
}

static void bystander_end(struct bystander *b)
{
	int status = -1;
	char c = 0;

	CHECK(send(b->peer, "y", 1, 0) == 1 && recv(b->peer, &c, 1, 0) == 1 && c == 'y',
	      "the bystander's connection: %s", strerror(errno));
	close(b->peer);
	waitpid(b->pid, &status, 0);
	CHECK(status == 0, "the bystander ended with %x", status);
}

/* ---- a family ------------------------------------------------------------------- */

#define WORKERS 3

static _Noreturn void work(struct victim *v, int lfd, int ready)
{
	int fd[PEERS], i;
	char c;

	for (i = 0; i < PEERS; i++)
		fd[i] = lrp_accept(lfd, NULL, NULL);
	/* Each waits for a moment, and has channels of its own from then on. */
	for (i = 0; i < PEERS; i++)
		if (lrp_recv(fd[i], &c, 1, 0) != 1)
			_exit(1);
	open_some(&v->run, SERVICE, PEERS);
	if (write(ready, "", 1) != 1)
		_exit(1);
	sleep_for_ever();
}

static void connect_peers(struct victim *v)
{
	struct sockaddr_storage a;
	socklen_t len = addr_server(&v->run, &a, PORT);

	for (v->peers = 0; v->peers < PEERS; v->peers++) {
		v->peer[v->peers] = client_socket(v->run.family, SOCK_STREAM, 0);
		must(!connect(v->peer[v->peers], (void *)&a, len), "peer's connect");
	}
	usleep(50000);
	for (int i = 0; i < PEERS; i++)
		must(send(v->peer[i], "x", 1, 0) == 1, "send");
}

/* The master listens, its workers accept, one after the other, and open connections. */
static pid_t spawn_family(struct victim v[WORKERS], int family, int ready, const int go[2],
			  long *before)
{
	pid_t *pid = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t master;
	char c;

	must(pid != MAP_FAILED, "mmap");
	fflush(stdout);
	master = fork();
	if (!master) {
		struct sockaddr_storage a;
		int lfd = lrp_socket(family, SOCK_STREAM, 0), on = 1;
		socklen_t len = addr_any(&v->run, &a, PORT);

		lrp_setsockopt(lfd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		if (lfd < 0 || lrp_bind(lfd, (void *)&a, len) || lrp_listen(lfd, 128))
			_exit(1);
		for (int i = 0; i < WORKERS; i++) {
			pid_t worker = fork();

			if (!worker)
				work(&v[i], lfd, ready);
			pid[i] = worker;
			if (read(go[0], &c, 1) != 1)
				_exit(1);
		}
		signal(SIGCHLD, SIG_IGN);
		sleep_for_ever();
	}
	for (int i = 0; i < WORKERS; i++) {
		int opened = peer_listener(&v[i].run, SERVICE);

		usleep(200000);
		if (!i)
			*before = fault_endpoints_used();
		connect_peers(&v[i]);
		for (int k = 0; k < PEERS; k++) {
			int fd = accept(opened, NULL, NULL);

			must(fd >= 0 && recv(fd, &c, 1, 0) == 1, "peer's accept");
			v[i].peer[v[i].peers++] = fd;
		}
		close(opened);
		must(write(go[1], "", 1) == 1, "go");
		v[i].pid = pid[i];
	}
	munmap(pid, 4096);
	return master;
}

/* Closed or reset, all within a second. */
static void check_heard(struct victim *v, const char *what)
{
	uint64_t from = fault_now_ns();
	char c;

	for (int i = 0; i < v->peers; i++) {
		struct pollfd p = {.fd = v->peer[i], .events = POLLIN};
		unsigned int spent = (unsigned int)((fault_now_ns() - from) / 1000000u);
		int n = poll(&p, 1, spent < SECOND_MS ? (int)(SECOND_MS - spent) : 0);

		CHECK(n == 1 && recv(p.fd, &c, 1, 0) <= 0,
		      "%s: peer %d has not heard of it after a second", what, i);
		close(p.fd);
	}
	printf("%s: all heard after %.0f ms\n", what, (double)(fault_now_ns() - from) / 1e6);
}

static void check_quiet(const struct victim *v, const char *what)
{
	char c;

	for (int i = 0; i < v->peers; i++)
		CHECK(recv(v->peer[i], &c, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN,
		      "%s: peer %d of another worker heard something", what, i);
}

/* Workers of a living master are killed one after the other; what they had comes back. */
static void family_dies(int family)
{
	struct victim v[WORKERS] = {0};
	int ready[2], go[2], i;
	long used = 0, all, before = 0;
	pid_t master;

	must(!pipe(ready) && !pipe(go), "pipe");
	for (i = 0; i < WORKERS; i++)
		v[i].run.family = family;
	master = spawn_family(v, family, ready[1], go, &before);
	all = fault_endpoints_used();
	for (i = 0; i < WORKERS; i++) {
		kill(v[i].pid, SIGKILL);
		check_heard(&v[i], "a worker");
		for (int k = i + 1; k < WORKERS; k++)
			check_quiet(&v[k], "a worker");
	}
	/* What is left is the master's: its listener and the hubs that it keeps ready. */
	CHECK(FAULT_WAIT((used = fault_endpoints_used()) == before, 3000),
	      "%ld endpoints are used when all workers are dead, %ld before", used, before);
	printf("endpoints: %ld with workers, %ld without\n", all, used);
	kill(master, SIGKILL);
	waitpid(master, NULL, 0);
	for (i = 0; i < 2; i++) {
		close(ready[i]);
		close(go[i]);
	}
}

int main(int argc, char **argv)
{
	static const int family[] = {AF_INET, AF_INET6};
	struct bystander other;
	struct victim v;

	(void)argc;
	fault_begin(argv, NULL);
	bystander_begin(&other);
	for (int i = 0; i < 2; i++) {
		spawn_client(&v, family[i]);
		kill(v.pid, SIGKILL);
		check_reset(&v, i ? "client, IPv6" : "client, IPv4");
		spawn_server(&v, family[i]);
		kill(v.pid, SIGKILL);
		check_reset(&v, i ? "server, IPv6" : "server, IPv4");
	}
	family_dies(AF_INET);
	family_dies(AF_INET6);
	spawn_client(&v, AF_INET);
	kill_with_lrpd(&v);
	check_reset(&v, "client and lrpd");
	CHECK(FAULT_WAIT(fault_lrpd_pid() > 0, 3000), "no lrpd came after the one killed");
	spawn_server(&v, AF_INET6);
	kill_with_lrpd(&v);
	check_reset(&v, "server and lrpd");
	bystander_end(&other);
	fault_audit_idle("in the end", 5000);
	fault_nobody_left();
	return fault_end();
}

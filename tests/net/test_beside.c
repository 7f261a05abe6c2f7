/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_beside.c - a socket is moved out of the way of another user's bind(), and back: by
 * connect(), which gives a wildcard an address, by connect(AF_UNSPEC), which takes it away again,
 * or by SO_BINDTODEVICE. What the other user's socket receives in Linux does not come to LRP.
 *
 *    client ns                      this namespace
 *   [peer] c0 198.18.1.2 ═════════ s0 198.18.1.1   [victim] [attacker] lrpd
 */
#include <pthread.h>

#include "attacker.h"

static void step(void)
{
	must(!raise(SIGSTOP), "raise");
}

static void disconnect(int fd)
{
	struct sockaddr a = {.sa_family = AF_UNSPEC};

	must(!connect(fd, &a, sizeof(a)), "connect(AF_UNSPEC)");
}

static void no_reuse(int fd)
{
	int off = 0;

	must(!setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &off, sizeof(off)), "SO_REUSEADDR");
}

/* Without SO_REUSEADDR. */
static int victim_on(int type, uint16_t port)
{
	struct sockaddr_in a = address(HOST, port);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	must(!bind(fd, (struct sockaddr *)&a, sizeof(a)), "victim's bind");
	patience(fd, 2);
	return fd;
}

static void receives(int victim, int peer, uint16_t port)
{
	struct sockaddr_in to = address(HOST, port);
	char c;

	for (int i = 0; i < 3; i++) {
		must(sendto(peer, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)) == 1, "sendto");
		CHECK(recv(victim, &c, 1, 0) == 1, "datagram %d: %s", i, strerror(errno));
	}
}

/* ---- UDP ----------------------------------------------------------------------------------- */

static int back(void)
{
	struct sockaddr_in lo = address("127.0.0.1", 9);
	int fd, err;

	if (!break_in())
		return 1;
	fd = bound(SOCK_DGRAM, "0.0.0.0", 33110);
	no_reuse(fd);
	must(!connect(fd, (struct sockaddr *)&lo, sizeof(lo)), "connect");
	step(); /* the victim binds */
	disconnect(fd);
	err = publish(fd);
	CHECK(err == -EADDRINUSE, "%s", strerror(-err));
	step();
	CHECK(!got_something(), "the attacker got the victim's datagrams");
	return 0;
}

static void udp_back(void)
{
	pid_t pid = spawn(back);
	int victim = victim_on(SOCK_DGRAM, 33110), peer = peer_bound(SOCK_DGRAM, PEER_PORT);

	go_on(pid, false);
	receives(victim, peer, 33110);
	go_on(pid, true);
	close(victim);
	close(peer);
}

static int onto_device(uint16_t port)
{
	int fd, err;

	if (!break_in())
		return 1;
	fd = bound(SOCK_DGRAM, HOST, port);
	no_reuse(fd);
	err = publish(fd);
	CHECK(!err, "%s", strerror(-err));
	must(!setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3), "SO_BINDTODEVICE");
	step();
	CHECK(!got_something(), "the attacker got the victim's datagrams");
	return 0;
}

static int onto_device_first(void)
{
	return onto_device(33200);
}

static int onto_device_second(void)
{
	return onto_device(33201);
}

/* From the first datagram on. `where`: the address that the victim binds. */
static void udp_device(const char *where, uint16_t port, int (*attacker)(void))
{
	struct sockaddr_in a = address(where, port);
	int victim = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int peer = peer_bound(SOCK_DGRAM, PEER_PORT);
	pid_t pid = spawn(attacker);

	must(!setsockopt(victim, SOL_SOCKET, SO_BINDTODEVICE, "s0", 3) &&
		     !bind(victim, (struct sockaddr *)&a, sizeof(a)),
	     "victim's bind");
	patience(victim, 2);
	receives(victim, peer, port);
	go_on(pid, true);
	close(victim);
	close(peer);
}

static void udp_device_address(void)
{
	udp_device(HOST, 33200, onto_device_first);
}

static void udp_device_wildcard(void)
{
	udp_device("0.0.0.0", 33201, onto_device_second);
}

/* The same user's sockets: SO_REUSEPORT groups are one user's. */
static int two_of_mine(void)
{
	int fd[2], err;

	if (!break_in())
		return 1;
	fd[0] = bound(SOCK_DGRAM, HOST, 33210);
	fd[1] = bound(SOCK_DGRAM, "0.0.0.0", 33210);
	err = publish(fd[1]);
	CHECK(!err, "%s", strerror(-err));
	close(fd[0]);
	return 0;
}

static void udp_same_user(void)
{
	CHECK(!attack(two_of_mine), "see above");
}

/* ---- TCP ------------------------------------------------------------------------------------- */

static int wander(void)
{
	struct sockaddr_in lo = address("127.0.0.1", 33401);
	int listener, fd, err;

	if (!break_in())
		return 1;
	listener = bound(SOCK_STREAM, "127.0.0.1", 33401);
	must(!listen(listener, 4), "listen");
	fd = bound(SOCK_STREAM, "0.0.0.0", 33400);
	must(!connect(fd, (struct sockaddr *)&lo, sizeof(lo)), "connect");
	step(); /* the victim binds and listens */
	disconnect(fd);
	err = claim(fd, 0);
	CHECK(err == -EADDRINUSE, "%s", strerror(-err));
	err = flow(LRP_FLOW_ADD, HOST, 33400, PEER, 43000, fd);
	CHECK(err == -EADDRNOTAVAIL, "%s", strerror(-err));
	step();
	CHECK(!got_something(), "the attacker got segments of the victim's clients");
	return 0;
}

static void tcp_wander(void)
{
	struct sockaddr_in to = address(HOST, 33400);
	struct timeval tv = {.tv_sec = 3};
	pid_t pid = spawn(wander);
	int victim = victim_on(SOCK_STREAM, 33400), client = peer_bound(SOCK_STREAM, 43000);

	must(!listen(victim, 8), "victim's listen");
	go_on(pid, false);
	setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	CHECK(!connect(client, (struct sockaddr *)&to, sizeof(to)), "%s", strerror(errno));
	go_on(pid, true);
	close(client);
	close(victim);
}

#define RACE_PORT 33500

static _Atomic int won, halt;

static void *add(void *arg)
{
	while (!halt && !won)
		won = !flow(LRP_FLOW_ADD, HOST, RACE_PORT, PEER, PEER_PORT, -1);
	return arg;
}

/* An entry for a connection that lrpd has not found yet, while it looks. */
static int race(void)
{
	if (!break_in())
		return 1;
	for (int round = 0; round < 50 && !won; round++) {
		int fd = bound(SOCK_STREAM, HOST, RACE_PORT), err;
		pthread_t thread;

		halt = 0;
		must(!pthread_create(&thread, NULL, add, NULL), "pthread_create");
		usleep(2000);
		err = claim(fd, 0);
		CHECK(!err, "%s", strerror(-err));
		halt = 1;
		pthread_join(thread, NULL);
		close(fd);
	}
	CHECK(!won, "the attacker has an entry for the victim's connection");
	step();
	CHECK(!got_something(), "the attacker got the victim's segment");
	return 0;
}

static void claim_race(void)
{
	struct sockaddr_in to = address(PEER, PEER_PORT);
	int listener = peer_bound(SOCK_STREAM, PEER_PORT), victim, peer;
	pid_t pid;
	char c;

	must(!listen(listener, 8), "listen");
	victim = bound(SOCK_STREAM, HOST, RACE_PORT);
	must(!connect(victim, (struct sockaddr *)&to, sizeof(to)), "victim's connect");
	peer = accept(listener, NULL, NULL);
	pid = spawn(race);
	patience(victim, 2);
	CHECK(send(peer, "s", 1, MSG_NOSIGNAL) == 1 && recv(victim, &c, 1, 0) == 1, "%s",
	      strerror(errno));
	go_on(pid, true);
	close(victim);
	close(peer);
	close(listener);
}

int main(int argc, char **argv)
{
	static const struct attacker_test test[] = {
		{"udp_back", udp_back},
		{"udp_device", udp_device_address},
		{"udp_wildcard", udp_device_wildcard},
		{"udp_same_user", udp_same_user},
		{"tcp_wander", tcp_wander},
		{"claim_race", claim_race},
	};

	fault_begin(argv, "");
	return attacker_run(test, sizeof(test) / sizeof(test[0]), argc, argv);
}

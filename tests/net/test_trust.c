/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_trust.c - what a local user without any privilege must not get: others' connections, their
 * ports, their source addresses, their maps. The attacker speaks the control protocol by himself,
 * in a process of uid 65534. The victim is root, on sockets of the kernel.
 *
 *    client ns                      this namespace
 *   [peer] c0 198.18.1.2 ═════════ s0 198.18.1.1   [victim] [attacker] lrpd
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_xdp.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>

#include "../../runtime/wire/checksum.h"
#include "../lib/bed.h"
#include "fault_bed.h"
#include "attacker.h"

#define ROUNDS 100

/* ---- others' connections --------------------------------------------------------- */

static uint16_t victim_port;

static int take_connection(void)
{
	struct sockaddr_in to = address(PEER, PEER_PORT);
	static const enum lrp_flow_op op[] = {LRP_FLOW_RESERVE, LRP_FLOW_ADD, LRP_FLOW_SET};
	int fd[4], err;

	if (!break_in())
		return 1;
	/* The port, on an address that nobody else uses. */
	fd[0] = bound(SOCK_STREAM, "127.0.0.2", victim_port);
	err = claim(fd[0], 0);
	CHECK(!err, "%s", strerror(-err));
	for (int i = 0; i < 3; i++)
		for (int f = -1; f <= fd[0]; f += fd[0] + 1) {
			err = flow(op[i], HOST, victim_port, PEER, PEER_PORT, f);
			CHECK(err == -EADDRNOTAVAIL, "op %d: %s", op[i], strerror(-err));
		}
	/* The very address, beside the connection: SO_REUSEADDR on both sides. */
	fd[1] = bound(SOCK_STREAM, HOST, victim_port);
	err = claim(fd[1], 0);
	CHECK(!err, "%s", strerror(-err));
	for (int i = 0; i < 3; i++) {
		err = flow(op[i], HOST, victim_port, PEER, PEER_PORT, fd[1]);
		CHECK(err == -EEXIST, "op %d: %s", op[i], strerror(-err));
	}
	/* A connect() that fails, since the victim has the four-tuple, changes nothing. */
	CHECK(connect(fd[1], (struct sockaddr *)&to, sizeof(to)) && errno == EADDRNOTAVAIL, "%s",
	      strerror(errno));
	for (int i = 0; i < 3; i++) {
		err = flow(op[i], HOST, victim_port, PEER, PEER_PORT, fd[1]);
		CHECK(err == -EEXIST, "op %d after connect(): %s", op[i], strerror(-err));
	}
	fd[2] = bound_mapped(HOST, victim_port);
	err = claim(fd[2], LRP_CLAIM_KEEP);
	CHECK(!err, "%s", strerror(-err));
	err = flow(LRP_FLOW_SET, HOST, victim_port, PEER, PEER_PORT, fd[2]);
	CHECK(err == -EEXIST, "%s", strerror(-err));
	/* A connection of its own on that port is not forbidden. */
	err = flow(LRP_FLOW_ADD, HOST, victim_port, PEER, PEER_PORT + 1, fd[1]);
	CHECK(!err, "%s", strerror(-err));
	/* An address that is not the host's. */
	fd[3] = bound(SOCK_STREAM, FOREIGN, victim_port);
	err = claim(fd[3], 0);
	CHECK(!err, "%s", strerror(-err));
	err = flow(LRP_FLOW_ADD, FOREIGN, victim_port, PEER, PEER_PORT, fd[3]);
	CHECK(err == -EADDRNOTAVAIL, "%s", strerror(-err));
	/* The victim's peer speaks now. */
	fault_sleep_ms(500);
	CHECK(!got_something(), "the attacker got a segment");
	return 0;
}

static void *speak_later(void *arg)
{
	int fd = *(int *)arg;

	fault_sleep_ms(300);
	if (send(fd, "secret", 6, MSG_NOSIGNAL) != 6)
		perror("peer's send");
	return NULL;
}

static void connections(void)
{
	struct sockaddr_in to = address(PEER, PEER_PORT);
	int listener = peer_bound(SOCK_STREAM, PEER_PORT), victim, peer;
	pthread_t speaker;
	char buf[16] = "";

	must(!listen(listener, 8), "listen");
	victim = bound(SOCK_STREAM, HOST, 30000);
	victim_port = port_of(victim);
	must(!connect(victim, (struct sockaddr *)&to, sizeof(to)), "victim's connect");
	peer = accept(listener, NULL, NULL);
	must(peer >= 0 && !pthread_create(&speaker, NULL, speak_later, &peer), "peer");
	CHECK(!attack(take_connection), "see above");
	pthread_join(speaker, NULL);
	patience(victim, 3);
	CHECK(recv(victim, buf, sizeof(buf), 0) == 6 && !strcmp(buf, "secret"),
	      "the victim received '%s'", buf);
	close(victim);
	close(peer);
	close(listener);
}

/* Entries that were made before the victim listens there catch none of its clients. */
static int wait_for_clients(void)
{
	int fd, err;

	if (!break_in())
		return 1;
	fd = bound(SOCK_STREAM, HOST, 30001);
	err = claim(fd, 0);
	CHECK(!err, "%s", strerror(-err));
	for (uint16_t rport = 40000; rport < 40010; rport++) {
		err = flow(LRP_FLOW_ADD, HOST, 30001, PEER, rport, fd);
		CHECK(!err, "%s", strerror(-err));
	}
	must(!raise(SIGSTOP), "raise"); /* the victim begins to listen */
	err = flow(LRP_FLOW_ADD, HOST, 30001, PEER, 40010, fd);
	CHECK(err == -EADDRNOTAVAIL || err == -EACCES, "%s", strerror(-err));
	must(!raise(SIGSTOP), "raise"); /* its clients come */
	CHECK(!got_something(), "the attacker got a segment");
	return 0;
}

static void clients_of_listener(void)
{
	struct sockaddr_in to = address(HOST, 30001);
	pid_t pid = spawn(wait_for_clients);
	int listener = bound(SOCK_STREAM, HOST, 30001);

	must(!listen(listener, 16), "victim's listen");
	go_on(pid, false);
	for (uint16_t rport = 40000; rport < 40005; rport++) {
		int client = peer_bound(SOCK_STREAM, rport), fd;
		struct timeval tv = {.tv_sec = 3};
		char c = 0;

		setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
		CHECK(!connect(client, (struct sockaddr *)&to, sizeof(to)), "port %d: %s", rport,
		      strerror(errno));
		patience(listener, 3);
		fd = accept(listener, NULL, NULL);
		CHECK(fd >= 0 && send(client, "x", 1, MSG_NOSIGNAL) == 1 &&
			      recv(fd, &c, 1, 0) == 1 && c == 'x',
		      "port %d", rport);
		if (fd >= 0)
			close(fd);
		close(client);
	}
	go_on(pid, true);
	close(listener);
}

/* ---- others' source addresses ---------------------------------------------------- */

#define VNET 10

static uint16_t checksum(const void *data, size_t len, uint64_t sum)
{
	return (uint16_t)~lrp_checksum_fold(lrp_checksum_add(sum, lrp_checksum_sum(data, len)));
}

static bool send_syn(int tap, const char *src, uint16_t sport)
{
	uint8_t frame[VNET + 14 + 40] = {[VNET + 12] = 8};
	struct iphdr *ip = (struct iphdr *)(frame + VNET + 14);
	struct tcphdr *tcp = (struct tcphdr *)(ip + 1);
	struct in_addr s, d;

	inet_pton(AF_INET, src, &s);
	inet_pton(AF_INET, PEER, &d);
	*ip = (struct iphdr){.version = 4,
			     .ihl = 5,
			     .ttl = 64,
			     .protocol = IPPROTO_TCP,
			     .tot_len = htons(40),
			     .saddr = s.s_addr,
			     .daddr = d.s_addr};
	ip->check = checksum(ip, sizeof(*ip), 0);
	*tcp = (struct tcphdr){.source = htons(sport),
			       .dest = htons(PEER_PORT),
			       .seq = htonl(1),
			       .doff = 5,
			       .syn = 1,
			       .window = htons(1000)};
	tcp->check =
		checksum(tcp, sizeof(*tcp), lrp_checksum_pseudo4(s, d, IPPROTO_TCP, sizeof(*tcp)));
	return write(tap, frame, sizeof(frame)) == sizeof(frame);
}

static int spoof(void)
{
	struct lrp_request request = {.type = LRP_REQ_TX, .tx.ifindex = if_nametoindex("s0")};
	int fds[LRP_CONTROL_MAX_FDS], count, fd, foreign, err;
	struct lrp_reply reply;

	if (!break_in() || hostile_ask(me.control, &request, &reply, fds, &count) || !count)
		return 1;
	foreign = bound(SOCK_STREAM, FOREIGN, 31000);
	CHECK(!claim(foreign, 0), "claim");
	flow(LRP_FLOW_ADD, FOREIGN, 31000, PEER, PEER_PORT, foreign);
	CHECK(send_syn(fds[0], FOREIGN, 31000), "write");
	/* Of the victim's connection, beside which it is bound. */
	fd = bound(SOCK_STREAM, HOST, victim_port);
	CHECK(!claim(fd, 0), "claim");
	flow(LRP_FLOW_ADD, HOST, victim_port, PEER, PEER_PORT, fd);
	CHECK(send_syn(fds[0], HOST, victim_port), "write");
	/* Reserved is not had. */
	CHECK(send_syn(fds[0], HOST, 31001), "write");
	/* What is its own leaves. */
	fd = bound(SOCK_STREAM, HOST, 31002);
	CHECK(!claim(fd, 0), "claim");
	err = flow(LRP_FLOW_ADD, HOST, 31002, PEER, PEER_PORT, fd);
	CHECK(!err, "%s", strerror(-err));
	CHECK(send_syn(fds[0], HOST, 31002), "write");
	fault_sleep_ms(200);
	return 0;
}

static void sources(void)
{
	struct sockaddr_in to = address(PEER, PEER_PORT);
	int listener = peer_bound(SOCK_STREAM, PEER_PORT), victim;
	int raw = peer_socket(AF_INET, SOCK_RAW, IPPROTO_TCP), spoofed = 0, own = 0;
	uint8_t packet[256];

	must(!listen(listener, 8), "listen");
	victim = bound(SOCK_STREAM, HOST, 30002);
	victim_port = 30002;
	must(!connect(victim, (struct sockaddr *)&to, sizeof(to)), "victim's connect");
	while (recv(raw, packet, sizeof(packet), MSG_DONTWAIT) > 0)
		;
	CHECK(!attack(spoof), "see above");
	while (recv(raw, packet, sizeof(packet), MSG_DONTWAIT) > 0) {
		const struct iphdr *ip = (const struct iphdr *)packet;
		const struct tcphdr *tcp = (const struct tcphdr *)(packet + ip->ihl * 4);

		if (tcp->syn && !tcp->ack && ntohs(tcp->source) == 31002)
			own++;
		else if (tcp->syn && !tcp->ack)
			spoofed++;
	}
	CHECK(own == 1, "%d of its own", own);
	CHECK(!spoofed, "%d SYNs with others' sources", spoofed);
	close(raw);
	close(victim);
	close(listener);
}

/* ---- maps ------------------------------------------------------------------------ */

static int freeze(void)
{
	union bpf_attr attr;

	if (!break_in())
		return 1;
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)program;
	CHECK(syscall(SYS_bpf, BPF_MAP_FREEZE, &attr, sizeof(attr)), "froze the program");
	/* Its user page is all that it can bind to the program: it goes with the family. */
	memset(&attr, 0, sizeof(attr));
	attr.prog_bind_map.prog_fd = (uint32_t)program;
	attr.prog_bind_map.map_fd = (uint32_t)me.page_fd;
	CHECK(!syscall(SYS_bpf, BPF_PROG_BIND_MAP, &attr, sizeof(attr)), "%s", strerror(errno));
	return 0;
}

static int count_ids(int (*next)(uint32_t, uint32_t *))
{
	uint32_t id = 0;
	int n = 0;

	while (!next(id, &id))
		n++;
	return n;
}

static void maps(void)
{
	int before = count_ids(bpf_map_get_next_id), programs = count_ids(bpf_prog_get_next_id);

	CHECK(!attack(freeze), "see above");
	CHECK(FAULT_WAIT(count_ids(bpf_map_get_next_id) <= before &&
				 count_ids(bpf_prog_get_next_id) <= programs,
			 3000),
	      "%d maps and %d programs, %d and %d before", count_ids(bpf_map_get_next_id),
	      count_ids(bpf_prog_get_next_id), before, programs);
}

/* Entries of one user end at his quota; root goes on. */
static int fill_up(void)
{
	uint32_t n = 0;
	int fd, err = 0;

	if (!break_in())
		return 1;
	fd = bound(SOCK_STREAM, HOST, 32000);
	CHECK(!claim(fd, 0), "claim");
	for (uint32_t rport = 1; rport < 65536 && !err; rport++, n += !err)
		err = flow(LRP_FLOW_ADD, HOST, 32000, PEER, (uint16_t)rport, fd);
	CHECK(err == -EDQUOT && n == LRP_FLOWS / 4, "%u entries, then %s", n, strerror(-err));
	return 0;
}

static int as_root(void)
{
	int fd, err;

	if (!break_in())
		return 1;
	fd = bound(SOCK_STREAM, HOST, 32001);
	CHECK(!claim(fd, 0), "claim");
	err = flow(LRP_FLOW_ADD, HOST, 32001, PEER, 1, fd);
	CHECK(!err, "%s", strerror(-err));
	return 0;
}

static void quotas(void)
{
	CHECK(!attack(fill_up), "see above");
	check_failures += as_root() != 0;
	close(me.control);
	/* They are given back with the family. */
	CHECK(FAULT_WAIT(!attack(fill_up), 1), "see above");
}

/* ---- ports that have been left --------------------------------------------------- */

/* A socket that can leave its port while it is open is not published. */
static int move(void)
{
	struct sockaddr_in any = address(HOST, 0);
	int udp, tcp, err;

	if (!break_in())
		return 1;
	udp = socket(AF_INET, SOCK_DGRAM, 0);
	must(!bind(udp, (struct sockaddr *)&any, sizeof(any)), "bind");
	err = publish(udp);
	CHECK(err == -ENOLCK, "UDP: %s", strerror(-err));
	tcp = socket(AF_INET, SOCK_STREAM, 0);
	must(!bind(tcp, (struct sockaddr *)&any, sizeof(any)) && !listen(tcp, 1), "bind");
	err = publish(tcp);
	CHECK(err == -ENOLCK, "TCP: %s", strerror(-err));
	return 0;
}

/* Publishes and leaves, again and again: the victim says when. */
static int leave_udp(void)
{
	int fd, err;

	if (!break_in())
		return 1;
	for (int i = 0; i < ROUNDS; i++) {
		fd = bound(SOCK_DGRAM, HOST, 33000);
		err = publish(fd);
		CHECK(!err, "%s", strerror(-err));
		close(fd);
		must(!raise(SIGSTOP), "raise");
		CHECK(!got_something(), "round %d: the attacker got a datagram", i);
	}
	return 0;
}

static void left_udp(void)
{
	struct sockaddr_in to = address(HOST, 33000);
	int peer = peer_bound(SOCK_DGRAM, PEER_PORT), victim;
	pid_t pid = spawn(leave_udp);
	char buf[16];

	for (int i = 0; i < ROUNDS; i++) {
		victim = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		must(!bind(victim, (struct sockaddr *)&to, sizeof(to)), "victim's bind");
		patience(victim, 2);
		sendto(peer, "first", 5, 0, (struct sockaddr *)&to, sizeof(to));
		CHECK(recv(victim, buf, sizeof(buf), 0) == 5, "round %d: %s", i, strerror(errno));
		close(victim);
		go_on(pid, i == ROUNDS - 1);
	}
	close(peer);
}

/* An exact entry under an end that is left: the next owner gets even the first segment. */
static int leave_tcp(void)
{
	int fd, err;

	if (!break_in())
		return 1;
	for (int i = 0; i < ROUNDS; i++) {
		fd = bound(SOCK_STREAM, HOST, 33001);
		err = claim(fd, i & 1 ? LRP_CLAIM_KEEP : 0);
		CHECK(!err, "%s", strerror(-err));
		err = flow(LRP_FLOW_SET, HOST, 33001, PEER, (uint16_t)(41000 + i), fd);
		CHECK(!err, "round %d: %s", i, strerror(-err));
		close(fd);
		must(!raise(SIGSTOP), "raise");
		CHECK(!got_something(), "round %d: the attacker got a segment", i);
	}
	return 0;
}

static void left_tcp(void)
{
	struct sockaddr_in to = address(HOST, 33001);
	struct linger abort = {.l_onoff = 1};
	struct timeval tv = {.tv_sec = 2};
	pid_t pid = spawn(leave_tcp);
	char c;

	for (int i = 0; i < ROUNDS; i++) {
		int victim = bound(SOCK_STREAM, HOST, 33001), client, fd;

		must(!listen(victim, 1), "victim's listen");
		client = peer_bound(SOCK_STREAM, (uint16_t)(41000 + i));
		setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
		CHECK(!connect(client, (struct sockaddr *)&to, sizeof(to)), "round %d: %s", i,
		      strerror(errno));
		patience(victim, 2);
		fd = accept(victim, NULL, NULL);
		CHECK(fd >= 0, "round %d", i);
		setsockopt(client, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort));
		close(client);
		/* Until the kernel's connection has ended. */
		patience(fd, 2);
		CHECK(recv(fd, &c, 1, 0) == -1 && errno == ECONNRESET, "round %d: %s", i,
		      strerror(errno));
		close(fd);
		close(victim);
		go_on(pid, i == ROUNDS - 1);
	}
}

/* ---- connections that the kernel has beside a listener of LRP -------------------- */

static int ready[2];

static int listen_beside(void)
{
	struct sockaddr_in a = address(HOST, 34000);
	int fd = lrp_socket(AF_INET, SOCK_STREAM, 0), peer;
	struct timeval tv = {.tv_sec = 3};
	struct lrp_stats stats = {.sz = sizeof(stats)};
	char c;

	on(fd, SOL_SOCKET, SO_REUSEADDR);
	must(!lrp_bind(fd, (struct sockaddr *)&a, sizeof(a)) && !lrp_listen(fd, 8), "lrp_listen");
	must(write(ready[1], "", 1) == 1, "write");
	lrp_setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	peer = lrp_accept(fd, NULL, NULL);
	CHECK(peer >= 0 && lrp_recv(peer, &c, 1, 0) == 1, "the LRP listener serves");
	CHECK(!lrp_stats(peer, &stats) && stats.call + stats.app, "through a channel");
	lrp_close(peer);
	lrp_close(fd);
	return 0;
}

static void beside_listener(void)
{
	struct sockaddr_in to = address(HOST, 34000);
	int old = bound(SOCK_STREAM, HOST, 34000), client = peer_bound(SOCK_STREAM, 42000), kept,
	    next, status;
	char c = 0;
	pid_t pid;

	must(!listen(old, 8) && !connect(client, (struct sockaddr *)&to, sizeof(to)), "old server");
	kept = accept(old, NULL, NULL);
	close(old);
	must(!pipe(ready), "pipe");
	pid = fork();
	if (!pid) {
		check_failures = 0;
		_exit(setgid(NOBODY) || setuid(NOBODY) || listen_beside() || check_failures);
	}
	must(read(ready[0], &c, 1) == 1, "the LRP listener");
	CHECK(send(client, "o", 1, MSG_NOSIGNAL) == 1, "%s", strerror(errno));
	patience(kept, 3);
	CHECK(recv(kept, &c, 1, 0) == 1 && c == 'o', "the old connection goes on: %s",
	      strerror(errno));
	next = peer_bound(SOCK_STREAM, 42001);
	CHECK(!connect(next, (struct sockaddr *)&to, sizeof(to)) &&
		      send(next, "n", 1, MSG_NOSIGNAL) == 1,
	      "%s", strerror(errno));
	must(waitpid(pid, &status, 0) == pid, "waitpid");
	CHECK(WIFEXITED(status) && !WEXITSTATUS(status), "see above");
	/* And after the LRP listener has gone. */
	CHECK(send(client, "p", 1, MSG_NOSIGNAL) == 1 && recv(kept, &c, 1, 0) == 1 && c == 'p',
	      "the old connection goes on: %s", strerror(errno));
	close(next);
	close(client);
	close(kept);
}

int main(int argc, char **argv)
{
	static const struct attacker_test test[] = {
		{"connections", connections}, {"clients_of_listener", clients_of_listener},
		{"sources", sources},	      {"maps", maps},
		{"quotas", quotas},	      {"left_udp", left_udp},
		{"left_tcp", left_tcp},	      {"beside_listener", beside_listener},
	};

	fault_begin(argv, "");
	CHECK(!attack(move), "see above");
	return attacker_run(test, sizeof(test) / sizeof(test[0]), argc, argv);
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_guard.c - early discard for kernel sockets: what it drops, what it must pass, and what it
 * leaves behind. Sockets under test live here, their peers in the client namespace.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/sock_diag.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../lib/bed.h"
#include "../lib/check.h"
#include "socket_harness.h"

#define FLOOD 3000

static struct sockaddr_in place(const char *addr, int port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

	inet_pton(AF_INET, addr, &at.sin_addr);
	return at;
}

static int receiver(int port, bool group)
{
	struct sockaddr_in at = place("0.0.0.0", port);
	int fd = socket(AF_INET, SOCK_DGRAM, 0), on = 1;

	must(fd >= 0, "socket");
	if (group)
		must(!setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)), "SO_REUSEPORT");
	must(!bind(fd, (struct sockaddr *)&at, sizeof(at)), "bind");
	return fd;
}

static int sender(int port)
{
	struct sockaddr_in at = place("198.18.1.1", port);
	int fd = client_socket(AF_INET, SOCK_DGRAM, 0);

	must(fd >= 0 && !connect(fd, (struct sockaddr *)&at, sizeof(at)), "connect");
	return fd;
}

static void flood(int fd, int count)
{
	char data[14] = "";

	for (int i = 0; i < count; i++)
		(void)!send(fd, data, sizeof(data), MSG_DONTWAIT);
	usleep(50000);
}

static int drain(int fd)
{
	char data[64];
	int n = 0;

	while (recv(fd, data, sizeof(data), MSG_DONTWAIT) >= 0)
		n++;
	return n;
}

/* What the shell command prints, as a number; -1: nothing. */
static long ask(const char *command)
{
	FILE *pipe = popen(command, "r");
	char line[128] = "";

	must(pipe != NULL, "popen");
	if (!fgets(line, sizeof(line), pipe))
		line[0] = 0;
	pclose(pipe);
	return line[0] ? strtol(line, NULL, 10) : -1;
}

/* A counter of the socket on this port. */
static long of_socket(int port, const char *field)
{
	char command[256];

	snprintf(
		command, sizeof(command),
		"lrp guard status --json | jq '[.guards[].sockets[] | select(.port == %d) | .%s] | "
		"add // 0'",
		port, field);
	return ask(command);
}

static long of_reason(const char *reason)
{
	char command[256];

	snprintf(command, sizeof(command), "lrp guard status --json | jq '.guards[0].reasons.%s'",
		 reason);
	return ask(command);
}

static void expect(int code, const char *words, const char *command)
{
	char line[512], all[4096] = "";
	FILE *pipe;
	int status;

	snprintf(line, sizeof(line), "%s 2>&1", command);
	pipe = popen(line, "r");
	must(pipe != NULL, "popen");
	while (fgets(line, sizeof(line), pipe))
		strncat(all, line, sizeof(all) - strlen(all) - 1);
	status = pclose(pipe);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == code && strstr(all, words),
	      "%s: status %d, expected %d and '%s': %s", command, status, code, words, all);
}

static long programs(void)
{
	return ask("bpftool prog list | grep -c 'name guard_'");
}

static void test_words(void)
{
	expect(1, "no lrpd runs", "lrp guard status");
	expect(1, "no lrpd runs", "lrp guard s0 --off");
	expect(1, "nosuch0: no such interface", "lrp guard nosuch0");
	expect(1, "no lrpd runs", "lrp guard status"); /* it has ended what it had started */
	expect(2, "not ports", "lrp guard s0 --port 0");
	expect(2, "not ports", "lrp guard s0 --port 9-8");
	expect(2, "not ports", "lrp guard s0 --port 5,");
	expect(2, "not ports", "lrp guard s0 --port 65536");
	expect(2, "--trust needs --port", "lrp guard s0 --trust");
	expect(2, "--off takes no other option", "lrp guard s0 --off --shadow");
	expect(2, "which interface", "lrp guard");
	expect(2, "not a name", "lrp guard an-interface-with-a-long-name");
	expect(0, "s0: guarded in native mode", "lrp guard s0");
	expect(0, "s0: guard changed", "lrp guard s0 --port 4000-4999,5353");
	expect(0, "s0: guard changed", "lrp guard s0");
	expect(1, "is not guarded", "lrp guard s1 --off");
	expect(1, "needs CAP_NET_ADMIN",
	       "setpriv --reuid 65534 --clear-groups build/bin/lrp guard s0 --off");
}

/* What the kernel has dropped for the socket, by its own count. */
static uint32_t kernel_dropped(int fd)
{
	uint32_t memory[SK_MEMINFO_VARS] = {0};
	socklen_t size = sizeof(memory);

	must(!getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &size), "SO_MEMINFO");
	return memory[SK_MEMINFO_DROPS];
}

/* It drops while the queue is full, loses nothing that the queue has room for, and lets go. */
static void test_live(void)
{
	int to = receiver(4001, false), from = sender(4001), kernel, guarded;
	uint32_t shadow, live;

	expect(0, "shadow", "lrp guard s0 --shadow");
	flood(from, FLOOD);
	shadow = kernel_dropped(to);
	kernel = drain(to);
	CHECK(shadow > FLOOD / 2, "the kernel dropped only %u in shadow mode", shadow);
	CHECK(of_socket(4001, "dropped") == 0, "dropped in shadow mode");
	CHECK(of_socket(4001, "condemned") > FLOOD / 2, "%ld", of_socket(4001, "condemned"));
	CHECK(of_socket(4001, "confirmed") == of_socket(4001, "condemned"), "confirmed %ld of %ld",
	      of_socket(4001, "confirmed"), of_socket(4001, "condemned"));
	expect(0, "guard changed", "lrp guard s0");
	flood(from, FLOOD);
	live = kernel_dropped(to) - shadow;
	guarded = drain(to);
	/* One in 256, and those of one poll that came before the queue was full. */
	CHECK(live < FLOOD / 20, "the kernel dropped %u behind the guard", live);
	CHECK(guarded == kernel, "the queue held %d with the guard, %d without", guarded, kernel);
	CHECK(of_socket(4001, "dropped") > FLOOD / 2, "%ld", of_socket(4001, "dropped"));
	CHECK(of_socket(4001, "wrong") == 0, "wrong %ld", of_socket(4001, "wrong"));
	for (int i = 0; i < 50; i++) {
		flood(from, 1);
		CHECK(drain(to) == 1, "lost with an empty queue");
	}
	CHECK(of_socket(4001, "compared") > 0, "none of them was compared");
	CHECK(of_socket(4001, "pid") == getpid(), "owner %ld", of_socket(4001, "pid"));
	CHECK(of_socket(4001, "engaged") != 1, "still watched");
	close(to);
	close(from);
}

/* A group whose socket a BPF program chooses passes: the look-up would choose by the hash. */
static void test_selector(void)
{
	struct sock_filter first = {BPF_RET | BPF_K, 0, 0, 0};
	struct sock_fprog program = {1, &first};
	int a = receiver(4002, true), b = receiver(4002, true), from[8], total;

	must(!setsockopt(a, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof(program)),
	     "SO_ATTACH_REUSEPORT_CBPF");
	for (int i = 0; i < 8; i++)
		flood(from[i] = sender(4002), FLOOD / 4);
	CHECK(of_socket(4002, "kernel_drops") > 0, "the kernel dropped nothing");
	CHECK(of_socket(4002, "dropped") == 0, "dropped %ld", of_socket(4002, "dropped"));
	CHECK(of_reason("group") > 0, "none was seen as a group's");
	CHECK(drain(b) == 0, "the program chooses the first");
	total = drain(a);
	CHECK(total > 0, "nothing");
	for (int i = 0; i < 8; i++)
		close(from[i]);
	close(a);
	close(b);
}

/* A socket that is connected to another peer gets this peer's datagrams, whatever came before. */
static void test_reconnect(void)
{
	int to = receiver(4003, false), first = sender(4003), second = sender(4003);
	struct sockaddr_in peer;
	socklen_t length = sizeof(peer);

	flood(first, FLOOD);
	must(!getsockname(second, (struct sockaddr *)&peer, &length), "getsockname");
	must(!connect(to, (struct sockaddr *)&peer, sizeof(peer)), "connect");
	flood(first, FLOOD); /* nobody's now */
	drain(to);
	for (int i = 0; i < 20; i++) {
		flood(first, 100);
		flood(second, 1);
		CHECK(drain(to) == 1, "a datagram of the new peer was lost");
	}
	close(to);
	close(first);
	close(second);
}

/* Closed under a flood: the kernel answers, and the next socket on the port is another one. */
static void test_closed(void)
{
	int to = receiver(4004, false), from = sender(4004), error;

	flood(from, FLOOD);
	CHECK(of_socket(4004, "dropped") > 0, "not engaged");
	close(to);
	flood(from, 1);
	error = send(from, "x", 1, MSG_DONTWAIT) < 0 ? errno : 0;
	CHECK(error == ECONNREFUSED, "no ICMP for a closed port: %d", error);
	to = receiver(4004, false);
	flood(from, 1);
	drain(to);
	flood(from, 1);
	CHECK(drain(to) == 1, "lost by the next socket");
	close(to);
	close(from);
}

static void test_listener(void)
{
	struct sockaddr_in at = place("0.0.0.0", 4005), peer = place("198.18.1.1", 4005);
	int to = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), fd[64], fresh, error = 0;
	socklen_t length = sizeof(error);
	struct pollfd pfd = {.events = POLLOUT};

	must(to >= 0 && !bind(to, (struct sockaddr *)&at, sizeof(at)) && !listen(to, 2), "listen");
	usleep(1200000); /* lrpd has seen it */
	for (int i = 0; i < 64; i++) {
		fd[i] = client_socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect(fd[i], (struct sockaddr *)&peer, sizeof(peer));
	}
	usleep(1200000); /* they send their SYNs again */
	CHECK(of_socket(4005, "dropped") > 0, "no SYN was dropped");
	CHECK(of_socket(4005, "kernel_drops") > 0, "engaged without a drop of the kernel's");
	for (int i = 0; i < 8; i++) {
		int accepted = accept4(to, NULL, NULL, SOCK_NONBLOCK);

		if (accepted < 0)
			break;
		close(accepted);
	}
	fresh = client_socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	connect(fresh, (struct sockaddr *)&peer, sizeof(peer));
	pfd.fd = fresh;
	CHECK(poll(&pfd, 1, 500) == 1 &&
		      !getsockopt(fresh, SOL_SOCKET, SO_ERROR, &error, &length) && !error,
	      "no connection though the queue has room");
	for (int i = 0; i < 64; i++)
		close(fd[i]);
	close(fresh);
	close(to);
}

/* NAT may send the packet elsewhere: everything passes. */
static void test_nat(void)
{
	bed_sh("nft add table ip g && nft add chain ip g pre '{ type nat hook prerouting priority "
	       "-100; }'");
	expect(0, "everything passes: nftables", "lrp guard s0");
	expect(0, "guard changed in native mode\n", "lrp guard s0 --port 4000-4999 --trust");
	bed_sh("nft delete table ip g");
	expect(0, "guard changed in native mode\n", "lrp guard s0");
}

static void test_beside(void)
{
	int to = receiver(4006, false), from = sender(4006);
	long before;

	expect(0, "s0: attached in native mode", "lrp attach s0");
	flood(from, FLOOD);
	before = of_socket(4006, "dropped");
	CHECK(before > 0, "not called by LRP's program");
	CHECK(ask("lrp guard status --json | jq '.guards[0].beside_lrp' | grep -c true") == 1, "-");
	expect(0, "s0: program replaced", "lrp attach s0");
	flood(from, FLOOD);
	CHECK(of_socket(4006, "dropped") > before, "not called by the new program");
	before = of_socket(4006, "dropped");
	expect(0, "s0: detached", "lrp detach s0");
	flood(from, FLOOD);
	CHECK(of_socket(4006, "dropped") > before, "gone with LRP's program");
	close(to);
	close(from);
}

static pid_t pid_of(const char *name)
{
	char command[64];
	long pid;

	snprintf(command, sizeof(command), "pgrep -x %s", name);
	pid = ask(command);
	must(pid > 1, name);
	return (pid_t)pid;
}

/* The kernel frees programs some grace periods after the last descriptor: 3 s at most. */
static void expect_no_programs(const char *when)
{
	for (int i = 0; i < 30 && programs(); i++)
		usleep(100000);
	CHECK(programs() == 0, "%ld programs are left %s", programs(), when);
}

static void test_kill(void)
{
	int to = receiver(4007, false), from = sender(4007);
	pid_t keeper, lrpd;
	long before;

	flood(from, FLOOD);
	before = of_socket(4007, "dropped");
	CHECK(before > 0, "not engaged");
	kill(pid_of("lrpd"), SIGKILL);
	for (int i = 0; i < 50 && ask("lrp guard status --json 2>/dev/null | jq '.guards | "
				      "length'") != 1;
	     i++)
		usleep(100000);
	CHECK(of_socket(4007, "dropped") >= before, "the counters are gone");
	flood(from, FLOOD);
	CHECK(of_socket(4007, "dropped") > before, "the next lrpd's guard does not drop");
	/* Both: nobody puts it back. */
	keeper = pid_of("lrp-keeper");
	lrpd = pid_of("lrpd");
	kill(lrpd, SIGKILL);
	kill(keeper, SIGKILL);
	expect_no_programs("after the death of lrpd and keeper");
	drain(to);
	flood(from, 1);
	CHECK(drain(to) == 1, "no traffic afterwards");
	close(to);
	close(from);
}

/* In another network namespace: a container's end of its veth. */
static void test_container(void)
{
	expect(0, "c0: guarded", "ip netns exec client lrp guard c0");
	expect(0, "c0: guarded", "ip netns exec client lrp guard status");
	expect(0, "c0: no longer", "ip netns exec client lrp guard c0 --off");
	expect(0, "", "ip netns exec client lrp stop");
}

int main(int argc, char **argv)
{
	char path[4096];

	(void)argc;
	bed_enter(argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	bed_needs_lrpd();
	snprintf(path, sizeof(path), "build/bin:%s", getenv("PATH"));
	setenv("PATH", path, 1);
	bed_sh(BED_NET " 2>/dev/null");
	/* Each datagram for a closed port is answered: the floods before use up the allowance. */
	bed_sh("sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv4.icmp_msgs_per_sec=100000");
	test_words();
	test_live();
	test_selector();
	test_reconnect();
	test_closed();
	test_listener();
	test_nat();
	test_beside();
	test_kill();
	expect(0, "s0: guarded", "lrp guard s0 --mode skb");
	expect(0, "s0: no longer guarded", "lrp guard s0 --off");
	expect_no_programs("after --off");
	bed_sh("lrp stop");
	test_container();
	return check_failures != 0;
}

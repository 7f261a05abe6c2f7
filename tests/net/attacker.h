/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * attacker.h - a local user without any privilege, who speaks the control protocol by himself and
 * runs his family's program, and sockets of the kernel that he is after.
 *
 * Each body runs in a process of its own, of uid 65534. It returns 0, and CHECKs. Between its
 * steps it stops itself: spawn() returns then, and go_on() has it take the next one.
 */
#ifndef LRP_TEST_ATTACKER_H
#define LRP_TEST_ATTACKER_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "../lib/bed.h"
#include "fault_bed.h"
#include "hostile.h"

#define NOBODY	  65534
#define HOST	  "198.18.1.1"
#define PEER	  "198.18.1.2"
#define FOREIGN	  "203.0.113.8"
#define PEER_PORT 5000

/* ---- sockets --------------------------------------------------------------------------------- */

static inline struct sockaddr_in address(const char *addr, uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};

	inet_pton(AF_INET, addr, &a.sin_addr);
	return a;
}

static inline void on(int fd, int level, int name)
{
	int one = 1;

	must(!setsockopt(fd, level, name, &one, sizeof(one)), "setsockopt");
}

/* Bound, with SO_REUSEADDR and IP_FREEBIND. */
static inline int bound(int type, const char *addr, uint16_t port)
{
	struct sockaddr_in a = address(addr, port);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(uint64_t);
	uint64_t cookie;

	on(fd, SOL_SOCKET, SO_REUSEADDR);
	on(fd, SOL_IP, IP_FREEBIND);
	must(!bind(fd, (struct sockaddr *)&a, sizeof(a)), "bind");
	getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len);
	return fd;
}

static inline int bound_mapped(const char *addr, uint16_t port)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	inet_pton(AF_INET, addr, &a.sin6_addr.s6_addr[12]);
	a.sin6_addr.s6_addr[10] = a.sin6_addr.s6_addr[11] = 0xff;
	on(fd, SOL_SOCKET, SO_REUSEADDR);
	must(!bind(fd, (struct sockaddr *)&a, sizeof(a)), "bind");
	return fd;
}

static inline uint16_t port_of(int fd)
{
	struct sockaddr_in a;
	socklen_t len = sizeof(a);

	must(!getsockname(fd, (struct sockaddr *)&a, &len), "getsockname");
	return ntohs(a.sin_port);
}

static inline void patience(int fd, int seconds)
{
	struct timeval tv = {.tv_sec = seconds};

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
}

static int home = -1, there = -1; /* network namespaces */

/* A socket of the peer's namespace. */
static inline int peer_socket(int domain, int type, int protocol)
{
	int fd;

	if (home < 0) {
		home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
		there = open("/run/netns/client", O_RDONLY | O_CLOEXEC);
	}
	must(!setns(there, CLONE_NEWNET), "setns");
	fd = socket(domain, type | SOCK_CLOEXEC, protocol);
	must(!setns(home, CLONE_NEWNET), "setns");
	must(fd >= 0, "peer's socket");
	return fd;
}

static inline int peer_bound(int type, uint16_t port)
{
	struct sockaddr_in a = address(PEER, port);
	int fd = peer_socket(AF_INET, type, 0);

	on(fd, SOL_SOCKET, SO_REUSEADDR);
	must(!bind(fd, (struct sockaddr *)&a, sizeof(a)), "peer's bind");
	if (type == SOCK_STREAM)
		patience(fd, 3);
	return fd;
}

/* ---- the attacker ---------------------------------------------------------------- */

/* In a process of uid 65534: what it says is its exit code. */
static inline int attack(int (*body)(void))
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (setgid(NOBODY) || setuid(NOBODY))
			_exit(99);
		check_failures = 0;
		_exit(body() || check_failures ? 1 : 0);
	}
	must(waitpid(pid, &status, 0) == pid, "waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

static struct hostile me;
static int program = -1;

static inline bool break_in(void)
{
	struct lrp_request request = {.type = LRP_REQ_FLOWS};
	int fds[LRP_CONTROL_MAX_FDS], count;
	struct lrp_reply reply;

	if (!hostile_open(&me, if_nametoindex("s0"), 256) ||
	    hostile_ask(me.control, &request, &reply, fds, &count))
		return false;
	CHECK(count == 1, "%d descriptors", count);
	program = fds[0];
	return true;
}

static inline int claim(int fd, unsigned int flags)
{
	struct lrp_request request = {.type = LRP_REQ_CLAIM, .claim.flags = flags};
	int fds[LRP_CONTROL_MAX_FDS], count;
	struct lrp_reply reply;

	return hostile_ask_with(me.control, &request, &fd, 1, &reply, fds, &count);
}

static inline int publish(int fd)
{
	struct lrp_request request = {.type = LRP_REQ_PUBLISH, .publish.endpoint = me.endpoint};
	int fds[LRP_CONTROL_MAX_FDS], count;
	struct lrp_reply reply;

	return hostile_ask_with(me.control, &request, &fd, 1, &reply, fds, &count);
}

static inline void map4(__be32 to[4], const char *addr)
{
	to[2] = htonl(0xffff);
	inet_pton(AF_INET, addr, &to[3]);
}

static inline int flow(enum lrp_flow_op op, const char *laddr, uint16_t lport, const char *raddr,
		       uint16_t rport, int fd)
{
	struct lrp_flow_call call = {.op = op,
				     .endpoint = me.endpoint,
				     .lport = htons(lport),
				     .rport = htons(rport),
				     .fd = fd};
	union bpf_attr attr;

	map4(call.laddr, laddr);
	map4(call.raddr, raddr);
	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (uint32_t)program;
	attr.test.ctx_in = (uintptr_t)&call;
	attr.test.ctx_size_in = sizeof(call);
	return syscall(SYS_bpf, BPF_PROG_TEST_RUN, &attr, sizeof(attr)) ? -errno
									: (int)attr.test.retval;
}

static inline bool got_something(void)
{
	return *me.rx.consumer != *me.rx.producer;
}

static inline pid_t spawn(int (*body)(void))
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (setgid(NOBODY) || setuid(NOBODY))
			_exit(99);
		check_failures = 0;
		_exit(body() || check_failures ? 1 : 0);
	}
	must(waitpid(pid, &status, WUNTRACED) == pid, "waitpid");
	CHECK(WIFSTOPPED(status), "the attacker has ended: %x", status);
	return pid;
}

static inline void go_on(pid_t pid, bool to_its_end)
{
	int status;

	must(!kill(pid, SIGCONT) && waitpid(pid, &status, WUNTRACED) == pid, "kill");
	if (to_its_end)
		CHECK(WIFEXITED(status) && !WEXITSTATUS(status), "see above");
	else
		CHECK(WIFSTOPPED(status), "the attacker has ended: %x", status);
}

struct attacker_test {
	const char *name;
	void (*run)(void);
};

/* All of them, or the one that the command line names; then the bed's end. The exit code. */
static inline int attacker_run(const struct attacker_test *test, size_t count, int argc,
			       char **argv)
{
	for (size_t i = 0; i < count; i++) {
		int before = check_failures;

		if (argc > 1 && strcmp(argv[1], test[i].name))
			continue;
		test[i].run();
		printf("%s: %s\n", test[i].name, check_failures > before ? "FAILED" : "ok");
	}
	return fault_end();
}

#endif

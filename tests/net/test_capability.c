/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_capability.c - who changes what LRP does had CAP_NET_ADMIN when he asked: processes that
 * get it afterwards by executing a setuid program, and proofs that are old, another connection's,
 * of another network namespace, or made without the capability.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "../../runtime/base/rundir.h"
#include "../lib/bed.h"
#include "../lib/check.h"
#include "control_client.h"

static const char setuid_program[] = "/mnt/sleep";

/* Effective capabilities of a process. */
static unsigned long long capabilities_of(pid_t pid)
{
	char path[64], line[256];
	unsigned long long effective = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "CapEff: %llx", &effective) == 1)
			break;
	if (file)
		fclose(file);
	return effective;
}

/*
 * A process without privileges sends STOP, and executes a program that has them before lrpd reads
 * that. early: it is root still when it connects, and not when it sends.
 */
static void privileged_later(bool early)
{
	struct lrp_request request = {
		.magic = LRP_ABI_MAGIC, .version = LRP_ABI_VERSION, .type = LRP_REQ_STOP, .id = 1};
	struct lrp_reply reply = {0};
	int pair[2], fd = -1, got, err;
	pid_t lrpd, child;

	bed_sh("build/bin/lrp status >/dev/null 2>&1 || build/bin/lrp attach s0");
	lrpd = control_lrpd_pid();

	must(lrpd > 0 && !socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), "pair");
	must(!kill(lrpd, SIGSTOP), "stop lrpd");
	child = fork();
	if (!child) {
		fd = early ? control_dial() : -1;
		must(!setgroups(0, NULL) && !setgid(65534) && !setuid(65534), "setuid");
		fd = early ? fd : control_dial();
		must(!capabilities_of(getpid()), "it has capabilities: nothing is tested");
		must(control_send(fd, &request, sizeof(request), NULL, 0) > 0, "send");
		must(control_send(pair[1], "x", 1, &fd, 1) > 0, "pass");
		execl(setuid_program, "sleep", "60", (char *)NULL);
		_exit(1);
	}
	close(pair[1]);
	control_reply(pair[0], &reply, &fd, &got);
	must(got == 1, "the child's connection");
	for (int i = 0; i < 250 && !(capabilities_of(child) >> CAP_NET_ADMIN & 1); i++)
		usleep(20000);
	CHECK(capabilities_of(child) >> CAP_NET_ADMIN & 1, "no capability: nothing is tested");
	must(!kill(lrpd, SIGCONT), "continue lrpd");
	err = control_reply(fd, &reply, NULL, &got);
	CHECK(err == -EPERM && strstr(reply.error_text, "needs CAP_NET_ADMIN"),
	      "stop, sent without a capability%s: %d", early ? " on root's connection" : "", err);
	must(!kill(child, SIGKILL) && waitpid(child, NULL, 0) == child, "kill the child");
	close(fd);
	close(pair[0]);
	CHECK(control_lrpd_pid() == lrpd, "lrpd has stopped");
}

static int tcp_socket(int family)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	must(fd >= 0, "socket");
	return fd;
}

/* What takes the capability. */
static bool set_repair(int fd, int value)
{
	return !setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &value, sizeof(value));
}

static int show(int fd, int proof)
{
	struct lrp_request request = {.type = LRP_REQ_PROVE};
	struct lrp_reply reply;

	return control_ask(fd, &request, &proof, 1, &reply);
}

/* Asks for the audit with that descriptor; -1: without. */
static int audit_with(int fd, int proof)
{
	struct lrp_request request = {.type = LRP_REQ_AUDIT};
	struct lrp_reply reply;
	int err = control_ask(fd, &request, &proof, proof >= 0, &reply);

	CHECK(!err || strstr(reply.error_text, "needs CAP_NET_ADMIN") ||
		      strstr(reply.error_text, "user namespace"),
	      "%d: %s", err, reply.error_text);
	return err;
}

/* A socket that was shown on that connection and is a proof now. */
static int proof_for(int fd, int family)
{
	int proof = tcp_socket(family);

	CHECK(show(fd, proof) == 0, "a socket is not taken");
	must(set_repair(proof, 1), "TCP_REPAIR");
	return proof;
}

/* Becomes uid 65534 with CAP_NET_ADMIN and nothing else. */
static void only_net_admin(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {
		{.effective = 1u << CAP_NET_ADMIN, .permitted = 1u << CAP_NET_ADMIN}};

	must(!prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) && !setgroups(0, NULL) && !setgid(65534) &&
		     !setuid(65534) && !syscall(SYS_capset, &head, data),
	     "setuid with CAP_NET_ADMIN");
}

/* What /proc says would do for all of these: it is the proof that is missing. */
static _Noreturn void proofs(void)
{
	int fd, other, a, b;

	check_failures = 0;
	only_net_admin();
	fd = control_dial();
	other = control_dial();
	a = proof_for(fd, AF_INET);
	CHECK(audit_with(fd, a) == 0, "a proof");
	CHECK(audit_with(fd, a) == -EPERM, "the same again");
	CHECK(show(fd, a) == -EINVAL, "one that was a proof before");
	CHECK(audit_with(fd, a) == -EPERM, "one that was a proof before");
	CHECK(audit_with(fd, proof_for(fd, AF_INET6)) == 0, "a proof of IPv6");
	a = proof_for(fd, AF_INET);
	b = proof_for(fd, AF_INET);
	CHECK(audit_with(fd, a) == -EPERM, "not the last one");
	CHECK(audit_with(fd, b) == -EPERM, "one that a failure has used up");
	a = proof_for(fd, AF_INET);
	CHECK(audit_with(fd, -1) == -EPERM, "none");
	CHECK(audit_with(fd, a) == -EPERM, "one that a request without has used up");
	a = proof_for(fd, AF_INET);
	CHECK(audit_with(other, a) == -EPERM, "another connection's");
	proof_for(other, AF_INET);
	CHECK(audit_with(other, a) == -EPERM, "another connection's in place of its own");
	CHECK(audit_with(fd, a) == 0, "its own");
	a = tcp_socket(AF_INET);
	CHECK(show(fd, a) == 0 && audit_with(fd, a) == -EPERM, "without TCP_REPAIR");
	a = proof_for(fd, AF_INET);
	must(set_repair(a, 0), "TCP_REPAIR");
	CHECK(audit_with(fd, a) == -EPERM, "TCP_REPAIR cleared");
	CHECK(show(fd, socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) == -EINVAL, "of UDP");
	CHECK(show(fd, socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) == -EINVAL, "of AF_UNIX");
	CHECK(show(fd, open("/dev/null", O_RDONLY | O_CLOEXEC)) == -EINVAL, "no socket");
	CHECK(audit_with(fd, open("/dev/null", O_RDONLY | O_CLOEXEC)) == -EPERM, "no socket");
	fflush(stdout);
	_exit(check_failures != 0);
}

/* All capabilities over a network namespace of its own. */
static _Noreturn void foreign_proof(void)
{
	int fd, here, there;

	check_failures = 0;
	must(!setgroups(0, NULL) && !setgid(65534) && !setuid(65534), "setuid");
	fd = control_dial();
	here = tcp_socket(AF_INET);
	CHECK(show(fd, here) == 0 && !set_repair(here, 1), "TCP_REPAIR without a capability");
	must(!unshare(CLONE_NEWUSER | CLONE_NEWNET), "unshare");
	CHECK(!set_repair(here, 1), "TCP_REPAIR with a capability over another namespace");
	there = tcp_socket(AF_INET);
	CHECK(show(fd, there) == -EINVAL, "of another network namespace");
	CHECK(show(fd, here) == 0, "show");
	must(set_repair(there, 1), "TCP_REPAIR there");
	CHECK(audit_with(fd, there) == -EPERM, "of another network namespace");
	fflush(stdout);
	_exit(check_failures != 0);
}

static void in_child(void (*what)(void))
{
	pid_t child;
	int status;

	fflush(stdout);
	child = fork();
	if (!child)
		what();
	waitpid(child, &status, 0);
	CHECK(status == 0, "see above");
}

/* The keeper answers to `lrp stop`, too. */
static _Noreturn void keeper_is_roots(void)
{
	must(!setgroups(0, NULL) && !setgid(65534) && !setuid(65534), "setuid");
	_exit(lrp_rundir_connect(LRP_KEEPER_FILE, 0) != -EACCES ||
	      lrp_rundir_connect(LRP_ADMIN_FILE, 0) != -EACCES);
}

int main(int argc, char **argv)
{
	(void)argc;
	bed_enter(argv);
	bed_needs_lrpd();
	signal(SIGPIPE, SIG_IGN);
	bed_sh(BED_NET);
	must(!mount("tmpfs", "/mnt", "tmpfs", 0, NULL), "tmpfs");
	bed_sh("cp /bin/sleep /mnt/sleep && chmod 4755 /mnt/sleep");
	privileged_later(false);
	privileged_later(true);
	in_child(proofs);
	in_child(foreign_proof);
	in_child(keeper_is_roots);
	bed_sh("build/bin/lrp stop");
	return check_failures != 0;
}

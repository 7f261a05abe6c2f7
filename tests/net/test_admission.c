/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_admission.c - who may use LRP and who may change it: abstract addresses that somebody
 * holds, groups, users who are refused, user namespaces; AF_XDP sockets that stay
 * with their user; processes that left for a chroot, another uid and other namespaces while
 * lrpd was replaced.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include <lrp/lrp.h>

#include "../../runtime/base/rundir.h"
#include "../lib/bed.h"
#include "../lib/check.h"
#include "control_client.h"

#define GROUP	  "games" /* every Debian has it */
#define GID	  60
#define LRP	  "build/bin/lrp "
#define NOBODY	  "setpriv --reuid 65534 --regid 65534 --clear-groups "
#define MEMBER	  "setpriv --reuid 12345 --regid 12345 --groups 60 "
#define STRANGER  "setpriv --reuid 12346 --regid 12346 --clear-groups "
#define MEMBER_ID 12345

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Runs a command for ten seconds at most; its output, both kinds, in out. The exit status. */
static int run(const char *command, char *out, size_t size)
{
	char line[1024];
	size_t n;
	FILE *pipe;
	int status;

	snprintf(line, sizeof(line), "timeout 10 %s 2>&1", command);
	pipe = popen(line, "r");
	must(pipe != NULL, "popen");
	n = fread(out, 1, size - 1, pipe);
	out[n] = 0;
	status = pclose(pipe);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The command fails and says that. */
static void refused(const char *command, const char *says)
{
	char out[2048];
	int status = run(command, out, sizeof(out));

	CHECK(status == 1, "%s: %d: %s", command, status, out);
	CHECK(strstr(out, says), "%s: says \"%s\", not \"%s\"", command, out, says);
}

/* After `lrp stop`: lrpd and keeper have ended and left nothing behind. */
static void nothing_left(void)
{
	for (int i = 0; i < 250; i++) {
		if (!system("test -z \"$(ls /run/lrp)\" && ! pgrep -x 'lrpd|lrp-keeper' "
			    ">/dev/null"))
			return;
		usleep(20000);
	}
	CHECK(false, "lrpd, keeper or their directory are there after lrp stop");
}

static void granted(const char *command)
{
	char out[65536];
	int status = run(command, out, sizeof(out));

	CHECK(status == 0, "%s: %d: %s", command, status, out);
}

/* ---- addresses that anybody can hold ---------------------------------------------- */

static int squat(const char *name)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	memcpy(addr.sun_path + 1, name, strlen(name));
	must(!bind(fd, (struct sockaddr *)&addr,
		   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name))) &&
		     !listen(fd, 8),
	     "abstract address");
	return fd;
}

/* A user who holds the names and never answers keeps nobody from attaching. */
static void squatted(void)
{
	pid_t child = fork();
	int ready[2];

	must(!pipe(ready) && child >= 0, "fork");
	if (!child) {
		must(!setgroups(0, NULL) && !setgid(65534) && !setuid(65534), "setuid");
		squat("lrpd");
		squat("lrp-keeper");
		pause();
	}
	usleep(200000);
	granted(LRP "attach s0");
	granted(LRP "status");
	granted(LRP "stop");
	nothing_left();
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	close(ready[0]);
	close(ready[1]);
}

/* A directory that somebody else has, or can write, is not used: neither by lrpd
 * nor by a client. */
static void not_roots(void)
{
	char dir[LRP_RUNDIR_PATH];

	must(!lrp_rundir_path(dir, NULL), "path");
	must(!mkdir(dir, 0755) && !chown(dir, 65534, 65534), "mkdir");
	CHECK(lrp_rundir_connect(LRP_CONTROL_FILE, 0) == -EPERM, "a user's directory");
	refused(LRP "attach s0", "belong to root");
	refused("build/bin/lrpd", "must be root's");
	must(!chown(dir, 0, 0) && !chmod(dir, 0777), "chmod");
	CHECK(lrp_rundir_connect(LRP_CONTROL_FILE, 0) == -EPERM, "a directory for all");
	must(!rmdir(dir) && !symlink("/tmp", dir), "symlink");
	CHECK(lrp_rundir_connect(LRP_CONTROL_FILE, 0) == -EPERM, "a symbolic link");
	must(!unlink(dir), "unlink");
}

/* ---- policy ------------------------------------------------------------------------- */

/* What the library says on stderr in a process of that uid; does its socket work? */
static void library(uid_t uid, const char *says)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(4711)};
	char text[2048], *at;
	int out[2];
	pid_t child;
	ssize_t n, size = 0;

	must(!pipe(out), "pipe");
	child = fork();
	if (!child) {
		int fd, again;
		char byte;

		dup2(out[1], 2);
		must(!setgroups(0, NULL) && !setgid(uid) && !setuid(uid), "setuid");
		inet_pton(AF_INET, "127.0.0.1", &addr.sin_addr);
		fd = lrp_socket(AF_INET, SOCK_DGRAM, 0);
		again = lrp_socket(AF_INET, SOCK_DGRAM, 0);
		_exit(lrp_bind(fd, (struct sockaddr *)&addr, sizeof(addr)) ||
		      lrp_connect(again, (struct sockaddr *)&addr, sizeof(addr)) ||
		      lrp_send(again, "x", 1, 0) != 1 || lrp_recv(fd, &byte, 1, 0) != 1 ||
		      byte != 'x');
	}
	close(out[1]);
	while ((n = read(out[0], text + size, sizeof(text) - 1 - (size_t)size)) > 0)
		size += n;
	text[size] = 0;
	close(out[0]);
	waitpid(child, (int *)&n, 0);
	CHECK((int)n == 0, "sockets of uid %u do not work: %s", uid, text);
	at = strstr(text, says);
	CHECK(at, "the library of uid %u says \"%s\", not \"%s\"", uid, text, says);
	CHECK(!at || !strstr(at + 1, says), "more than once: %s", text);
}

static void policies(void)
{
	char out[4096];

	granted("build/bin/lrpd --config /none --group " GROUP);
	/* The kernel itself keeps strangers out. */
	granted(MEMBER LRP "status");
	refused(STRANGER LRP "status", "members of the group " GROUP);
	library(12346, "members of the group " GROUP);
	refused(MEMBER LRP "stop", "needs CAP_NET_ADMIN");
	granted(LRP "stop");

	granted("build/bin/lrpd --config /none --group lrp-no-such-group");
	refused(MEMBER LRP "status", "there is no group lrp-no-such-group");
	granted(LRP "status");
	granted(LRP "stop");

	/* With single users it is lrpd that looks, and says so. */
	granted("build/bin/lrpd --config /none --group " GROUP " --allow-uid 65534");
	granted(NOBODY LRP "status");
	granted(MEMBER LRP "channels");
	refused(STRANGER LRP "status",
		"uid 12346: admitted are root, 1 user by allow-uid and members");
	library(12346, "uid 12346: admitted are root");
	granted(LRP "stop");

	CHECK(run("build/bin/lrpd --allow-uid root", out, sizeof(out)) == 2, "%s", out);
	CHECK(strstr(out, "not a number"), "%s", out);
	bed_sh("echo 'quote = 3' >/etc/lrp/wrong.conf");
	CHECK(run("build/bin/lrpd --config /etc/lrp/wrong.conf", out, sizeof(out)) == 2, "%s", out);
	CHECK(strstr(out, "line 1: quote: no such setting"), "%s", out);
	bed_sh("echo 'quota = 3' >/etc/lrp/wrong.conf; chmod 666 /etc/lrp/wrong.conf");
	CHECK(run("build/bin/lrpd --config /etc/lrp/wrong.conf", out, sizeof(out)) == 2, "%s", out);
	CHECK(strstr(out, "only root can write"), "%s", out);
}

/* ---- capabilities ----------------------------------------------------------------------- */

/* A message of a process that has only inherited the connection of a privileged one. */
static void inherited_connection(void)
{
	int fd = lrp_rundir_connect(LRP_ADMIN_FILE, 0), status;
	struct lrp_request request = {.type = LRP_REQ_AUDIT};
	struct lrp_reply reply;
	pid_t child;

	must(fd >= 0, "connect");
	CHECK(control_ask(fd, &request, NULL, 0, &reply) == 0, "root's own: %s", reply.error_text);
	child = fork();
	if (!child) {
		must(!setgid(65534) && !setuid(65534), "setuid");
		request.type = LRP_REQ_STOP;
		_exit(control_ask(fd, &request, NULL, 0, &reply) != -EPERM);
	}
	waitpid(child, &status, 0);
	CHECK(status == 0, "a child without privileges speaks with its parent's");
	close(fd);
}

/* A family hands in a socket whose other end is root's: that makes nobody root. */
static void forged_member(void)
{
	struct lrp_request request = {.type = LRP_REQ_STOP, .id = 1};
	struct lrp_reply reply;
	int pair[2], fd, status, got;
	pid_t child;

	must(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), "socketpair");
	child = fork();
	if (!child) {
		struct lrp_request member = {
			.magic = LRP_ABI_MAGIC, .version = LRP_ABI_VERSION, .type = LRP_REQ_MEMBER};

		check_failures = 0;
		must(!setgroups(0, NULL) && !setgid(65534) && !setuid(65534), "setuid");
		fd = control_dial();
		/* Before it belongs to a family nobody listens to it. */
		must(control_send(fd, &member, sizeof(member), &pair[1], 1) > 0, "send");
		CHECK(control_hello(fd, &reply) == 0, "hello");
		must(control_send(fd, &member, sizeof(member), &pair[1], 1) > 0, "send");
		close(pair[1]);
		/* Made by root, SO_PEERCRED of it says uid 0. */
		CHECK(control_ask(pair[0], &request, NULL, 0, &reply) == -EPERM,
		      "stop on a forged connection: %d", reply.error);
		CHECK(strstr(reply.error_text, "made itself"), "%s", reply.error_text);
		/* And no quota of root's. */
		request = (struct lrp_request){.type = LRP_REQ_ENDPOINTS,
					       .count = 1,
					       .endpoints.guarantee = 100,
					       .endpoints.ring_size = 256};
		CHECK(control_ask_fds(pair[0], &request, &reply, NULL, &got) == -EPERM,
		      "a guarantee that only root may have: %d", reply.error);
		fflush(stdout);
		_exit(check_failures != 0);
	}
	close(pair[0]);
	close(pair[1]);
	waitpid(child, &status, 0);
	CHECK(status == 0, "see above");
}

static void capabilities(void)
{
	granted(LRP "attach s0");
	refused("unshare -U -r " LRP "attach s0", "user namespace (a rootless container");
	refused("unshare -U -r " LRP "detach s0", "user namespace (a rootless container");
	refused("unshare -U -r " LRP "stop", "user namespace (a rootless container");
	refused(NOBODY "unshare -U -r " LRP "stop", "user namespace (a rootless container");
	refused(NOBODY LRP "stop", "needs CAP_NET_ADMIN");
	refused("setpriv --bounding-set -net_admin " LRP "stop", "needs CAP_NET_ADMIN");
	refused("setpriv --bounding-set -net_admin " LRP "status --audit", "needs CAP_NET_ADMIN");
	/* The capability, not the uid. */
	granted("setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps +net_admin "
		"--ambient-caps +net_admin " LRP "status --audit");
	/* In a pid namespace of its own, from where its pid means nothing to it. */
	granted("unshare -p -f " LRP "detach s0");
	granted(LRP "attach s0");
	inherited_connection();
	forged_member();
	granted(LRP "status");
}

/* ---- sockets stay with their user ------------------------------------------------------ */

/* Endpoints for `uid`, and the inodes of their sockets; the sockets stay open here when the
 * process is gone, as if it had left them mapped somewhere. */
static int sockets_of(uid_t uid, uint32_t count, int *fds)
{
	struct lrp_request request = {.type = LRP_REQ_ENDPOINTS, .count = count};
	struct lrp_reply reply;
	int pair[2], total = 0;
	pid_t child;

	must(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), "socketpair");
	child = fork();
	if (!child) {
		int own[LRP_CONTROL_MAX_FDS], got, fd;

		must(!setgroups(0, NULL) && !setgid(uid) && !setuid(uid), "setuid");
		fd = control_dial();
		if (control_hello(fd, &reply))
			_exit(1);
		for (uint32_t n = 0; n < count; n += reply.count) {
			request.count = count - n;
			if (control_ask_fds(fd, &request, &reply, own, &got) || !reply.count)
				_exit(1);
			for (int i = 0; i < got; i++)
				control_send(pair[1], "x", 1, &own[i], 1);
		}
		_exit(0);
	}
	close(pair[1]);
	for (;;) {
		union {
			struct cmsghdr header;
			char room[CMSG_SPACE(sizeof(int))];
		} control;
		char byte;
		struct iovec iov = {&byte, 1};
		struct msghdr msg = {.msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = &control,
				     .msg_controllen = sizeof(control)};

		if (recvmsg(pair[0], &msg, MSG_CMSG_CLOEXEC) <= 0)
			break;
		memcpy(&fds[total++], CMSG_DATA(&control.header), sizeof(int));
	}
	close(pair[0]);
	waitpid(child, NULL, 0);
	return total;
}

static ino_t inode(int fd)
{
	struct stat st;

	must(!fstat(fd, &st), "fstat");
	return st.st_ino;
}

/* Until lrpd has taken back what ended: at most two seconds. */
static void none_used(void)
{
	for (int i = 0; i < 100; i++) {
		if (!system("test \"$(build/bin/lrp status --json | jq .endpoints_used)\" = 0"))
			return;
		usleep(20000);
	}
	CHECK(false, "endpoints of dead processes are in use");
}

static void sockets_stay(void)
{
	enum { N = 128 };
	static int first[N], second[N];
	int a, b, same = 0;

	a = sockets_of(65534, N, first);
	CHECK(a == N, "%d sockets", a);
	none_used();
	b = sockets_of(MEMBER_ID, N, second);
	CHECK(b == N, "%d sockets", b);
	for (int i = 0; i < a; i++)
		for (int j = 0; j < b; j++)
			same += inode(first[i]) == inode(second[j]);
	CHECK(same == 0, "uid %d has got %d sockets that uid 65534 has had", MEMBER_ID, same);
	none_used();
	for (int i = 0; i < a; i++)
		close(first[i]);
	for (int i = 0; i < b; i++)
		close(second[i]);
	/* Nobody of theirs is left, so lrpd has closed them, too. */
	for (int i = 0; i < 100; i++) {
		if (!system("test $(ls -l /proc/$(build/bin/lrp status --json | jq .pid)/fd | grep "
			    "-c "
			    "'socket:') -lt 100"))
			return;
		usleep(50000);
	}
	CHECK(false, "lrpd keeps the sockets of users who are gone");
}

/* ---- over a restart of lrpd -------------------------------------------------------------- */

/* Does lrpd know a socket on that port, with a channel? */
static bool has_channel(uint16_t port)
{
	char command[256];

	snprintf(command, sizeof(command),
		 "test \"$(build/bin/lrp channels --json | jq '[.channels[] | select(.local // "
		 "\"\" | endswith(\":%u\"))] | length')\" -gt 0",
		 port);
	for (int i = 0; i < 50; i++) {
		if (!system(command))
			return true;
		usleep(20000);
	}
	return false;
}

static int lrp_bound(uint16_t port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = lrp_socket(AF_INET, SOCK_DGRAM, 0);

	return fd < 0 || lrp_bind(fd, (struct sockaddr *)&addr, sizeof(addr)) ? -1 : fd;
}

static void say(int fd, char what)
{
	must(write(fd, &what, 1) == 1, "write");
}

static void hear(int fd, char what)
{
	char byte = 0;

	if (read(fd, &byte, 1) != 1 || byte != what)
		_exit(1);
}

static const char jail[] = "/run/lrp/jail";

/* Leaves for where no path leads to lrpd, and as somebody whom lrpd does not admit. */
static void leave(void)
{
	must(!unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC), "unshare");
	must(!chroot(jail) && !chdir("/"), "chroot");
	must(!setgroups(0, NULL) && !setgid(4242) && !setuid(4242), "setuid");
	CHECK(lrp_rundir_connect(LRP_CONTROL_FILE, 0) < 0, "lrpd can be met: nothing is tested");
}

/* One that asks after each 'go', and its forked child that does. */
static _Noreturn void wanderer(int in, int out)
{
	pid_t child;
	int status;

	check_failures = 0;
	CHECK(lrp_bound(6000) >= 0, "the first socket");
	leave();
	say(out, 'a');
	hear(in, '1');
	CHECK(lrp_bound(6001) >= 0, "after lrpd was replaced");
	say(out, 'b');
	hear(in, '2');
	child = fork();
	if (!child) {
		CHECK(lrp_bound(6002) >= 0, "in a child");
		say(out, 'c');
		hear(in, '3');
		CHECK(lrp_bound(6003) >= 0, "in a child, after lrpd was replaced");
		say(out, 'd');
		hear(in, '4');
		fflush(stdout);
		_exit(check_failures != 0);
	}
	waitpid(child, &status, 0);
	fflush(stdout);
	_exit(check_failures != 0 || status);
}

/* kill -9, and another lrpd answers. */
static void replace_lrpd(void)
{
	pid_t old = control_lrpd_pid(), now = -1;

	must(old > 0 && !kill(old, SIGKILL), "kill lrpd");
	for (int i = 0; i < 200 && (now <= 0 || now == old); i++) {
		usleep(20000);
		now = control_lrpd_pid();
	}
	CHECK(now > 0 && now != old, "no new lrpd");
}

static void wanders(void)
{
	int in[2], out[2], status;
	pid_t child;

	must(!mkdir(jail, 0755) && !pipe(in) && !pipe(out), "pipe");
	fflush(stdout);
	child = fork();
	if (!child)
		wanderer(in[0], out[1]);
	hear(out[0], 'a');
	CHECK(has_channel(6000), "no channel at first");
	replace_lrpd();
	CHECK(has_channel(6000), "the new lrpd has forgotten it");
	say(in[1], '1');
	hear(out[0], 'b');
	CHECK(has_channel(6001), "no channel after chroot, setuid, unshare and a new lrpd");
	say(in[1], '2');
	hear(out[0], 'c');
	CHECK(has_channel(6002), "no channel for a child");
	replace_lrpd();
	say(in[1], '3');
	hear(out[0], 'd');
	CHECK(has_channel(6003), "no channel for a child after a new lrpd");
	say(in[1], '4');
	waitpid(child, &status, 0);
	CHECK(status == 0, "see above");
	rmdir(jail);
}

/* ---- what kill -9 of lrpd and keeper leaves ------------------------------------------------ */

static void stale(void)
{
	double start;

	bed_sh("kill -STOP $(pgrep -x lrpd) $(pgrep -x lrp-keeper) && "
	       "kill -9 $(pgrep -x lrpd) $(pgrep -x lrp-keeper)");
	bed_sh("test -S /run/lrp/*/control && test -S /run/lrp/*/keeper");
	for (int i = 0; i < 200 && !system("pgrep -x 'lrpd|lrp-keeper' >/dev/null"); i++)
		usleep(20000);
	refused(LRP "status", "no lrpd runs");
	start = now_s();
	granted(LRP "attach s0");
	CHECK(now_s() - start < 5, "attach took %.1f s", now_s() - start);
	/* Two at a time: one serves. */
	bed_sh(LRP "stop");
	bed_sh("for i in 1 2 3 4; do build/bin/lrpd 2>/dev/null & done; wait; "
	       "test $(pgrep -xc lrpd) = 1");
	bed_sh(LRP "stop");
	nothing_left();
}

int main(int argc, char **argv)
{
	(void)argc;
	bed_enter(argv);
	bed_needs_lrpd();
	signal(SIGPIPE, SIG_IGN);
	bed_sh(BED_NET);
	squatted();
	not_roots();
	policies();
	bed_sh("echo 'allow-uid = 12345' >>/etc/lrp/lrpd.conf");
	capabilities();
	sockets_stay();
	wanders();
	stale();
	return check_failures != 0;
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_limits.c - users who take all they can get: descriptors, connections, sockets, ring
 * memory, CPU time. Each limit says its name, and root's commands are answered within a second.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "../../runtime/base/rundir.h"
#include "../lib/bed.h"
#include "../lib/check.h"
#include "control_client.h"

#define LRP	  "build/bin/lrp "
#define FIRST_UID 20001u
#define UIDS	  8u
#define EACH	  512u /* connections */

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
}

static void become(uid_t uid)
{
	must(!setgroups(0, NULL) && !setgid(uid) && !setuid(uid), "setuid");
}

/* Root's command: it works, and within a second. */
static void answered(const char *command)
{
	uint64_t start = now_ms(), took;
	char line[256];
	int status;

	snprintf(line, sizeof(line), "timeout 20 " LRP "%s >/dev/null", command);
	status = system(line);
	took = now_ms() - start;
	printf("%s: %llu ms\n", command, (unsigned long long)took);
	CHECK(status == 0, "%s: %d", command, status);
	CHECK(took < 1000, "%s took %llu ms", command, (unsigned long long)took);
}

/* CPU time that lrpd has had, ms. */
static long cpu_ms(pid_t pid)
{
	unsigned long user, system;
	char path[64], line[512];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "r");
	must(file && fgets(line, sizeof(line), file), path);
	fclose(file);
	must(sscanf(strrchr(line, ')') + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
		    &user, &system) == 2,
	     path);
	return (long)((user + system) * 1000 / (unsigned long)sysconf(_SC_CLK_TCK));
}

static rlim_t set_descriptors(pid_t pid, rlim_t limit)
{
	struct rlimit before, now;

	must(!prlimit(pid, RLIMIT_NOFILE, NULL, &before), "prlimit");
	now = (struct rlimit){limit, before.rlim_max};
	must(!prlimit(pid, RLIMIT_NOFILE, &now, NULL), "prlimit");
	return before.rlim_cur;
}

/* Open descriptors of the process. */
static rlim_t open_descriptors(pid_t pid)
{
	char path[64];
	rlim_t count = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	must(dir != NULL, path);
	for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir))
		count += entry->d_name[0] != '.';
	closedir(dir);
	return count;
}

/* What lrpd says to one more connection. 0: nothing, it is taken. */
static int last_word(struct lrp_reply *reply)
{
	int fd = control_dial(), err = control_hello(fd, reply);

	close(fd);
	return err;
}

/* lrpd meets its limit of open files. */
static void descriptors(void)
{
	pid_t lrpd = control_lrpd_pid(), child;
	rlim_t before;
	struct lrp_reply reply;
	int status, fd[200], n = 0;
	long cpu;

	/* Less is left than root's share. */
	before = set_descriptors(lrpd, open_descriptors(lrpd) + 100);
	child = fork();
	if (!child) {
		check_failures = 0;
		become(FIRST_UID);
		CHECK(last_word(&reply) == -EMFILE, "%d %s", reply.error, reply.error_text);
		CHECK(strstr(reply.error_text, "LimitNOFILE"), "%s", reply.error_text);
		fflush(stdout);
		_exit(check_failures != 0);
	}
	waitpid(child, &status, 0);
	CHECK(status == 0, "see above");
	answered("status");
	answered("status --audit");

	/* None at all is left: everybody is told, and nobody waits; nor does lrpd spin. */
	while (n < 200 && (fd[n] = control_dial(), !control_hello(fd[n], &reply)))
		n++;
	CHECK(n > 20 && n < 200 && reply.error == -EMFILE, "%d connections of root's, then %d", n,
	      reply.error);
	for (int i = 0; i < 20; i++) {
		CHECK(last_word(&reply) == -EMFILE, "%d: %s", reply.error, reply.error_text);
		CHECK(strstr(reply.error_text, "LimitNOFILE"), "%s", reply.error_text);
	}
	cpu = cpu_ms(lrpd);
	usleep(1000000);
	cpu = cpu_ms(lrpd) - cpu;
	CHECK(cpu < 100, "lrpd took %ld ms of CPU time in a second", cpu);
	while (n >= 0)
		close(fd[n--]);
	set_descriptors(lrpd, before);
	CHECK(last_word(&reply) == 0, "with descriptors again: %d", reply.error);
}

/* ---- memory of rings --------------------------------------------------------------- */

static void rings(void)
{
	struct lrp_request request = {.type = LRP_REQ_ENDPOINTS, .count = 1};
	struct lrp_reply reply;
	pid_t child = fork();
	int status;

	if (!child) {
		int fd, n = 0, err;

		check_failures = 0;
		become(FIRST_UID);
		fd = control_dial();
		CHECK(control_hello(fd, &reply) == 0, "hello");
		request.endpoints.ring_size = 32768;
		while (!(err = control_ask(fd, &request, NULL, 0, &reply)) && n < 1000)
			n++;
		/* 262,144 slots. */
		CHECK(err == -EDQUOT && n == 8, "%d rings of 32,768 slots, then %d", n, err);
		CHECK(strstr(reply.error_text, "(frames)") &&
			      strstr(reply.error_text, "--frames N"),
		      "%s", reply.error_text);
		fflush(stdout);
		_exit(check_failures != 0);
	}
	waitpid(child, &status, 0);
	CHECK(status == 0, "see above");
}

/* ---- CPU time ------------------------------------------------------------------------- */

/* A user who asks without end waits, and lrpd is not his. */
static void cpu_time(void)
{
	pid_t lrpd = control_lrpd_pid(), child[4];
	uint64_t start;
	long cpu;

	for (unsigned int i = 0; i < 4; i++) {
		child[i] = fork();
		if (child[i])
			continue;
		become(FIRST_UID);
		for (int fd = control_dial();;) {
			struct lrp_request request = {.type = LRP_REQ_CHANNELS};
			struct lrp_reply reply;

			/* Of another version, so that each is an answer of its own. */
			request.count = 1;
			if (control_ask(fd, &request, NULL, 0, &reply))
				_exit(1);
		}
	}
	usleep(1000000); /* the bucket is empty */
	start = now_ms();
	cpu = cpu_ms(lrpd);
	usleep(2000000);
	cpu = cpu_ms(lrpd) - cpu;
	start = now_ms() - start;
	printf("lrpd had %ld ms of CPU time in %llu ms\n", cpu, (unsigned long long)start);
	/* A hundred a second are his; what is not his own request is counted, too. */
	CHECK(cpu < (long)start / 4, "one user takes %ld ms of %llu", cpu,
	      (unsigned long long)start);
	answered("status");
	for (unsigned int i = 0; i < 4; i++) {
		kill(child[i], SIGKILL);
		waitpid(child[i], NULL, 0);
	}
}

/* ---- all at once ------------------------------------------------------------------------- */

struct shared {
	_Atomic uint32_t connections, endpoints, said_connections, said_quota, ready;
	_Atomic bool hammer;
};

/* One user: all connections, all sockets that he can get, and requests without end. */
static _Noreturn void hog(uid_t uid, struct shared *shared)
{
	struct lrp_request request = {.type = LRP_REQ_ENDPOINTS, .count = 64};
	struct rlimit limit = {8192, 8192};
	static int fd[EACH + 8];
	struct lrp_reply reply;
	uint32_t n = 0;
	int err = 0;

	setrlimit(RLIMIT_NOFILE, &limit);
	/* The commands are to compete with them in lrpd, not for the CPU. */
	must(nice(15) != -1, "nice");
	become(uid);
	while (n < EACH + 4) {
		fd[n] = lrp_rundir_connect(LRP_CONTROL_FILE, 0);
		if (fd[n] == -EAGAIN)
			continue;
		must(fd[n] >= 0, "connect");
		/* A family is 256 of a user at most; the others only have their connection. */
		err = n ? control_ask(fd[n], &(struct lrp_request){.type = LRP_REQ_STATUS}, NULL, 0,
				      &reply)
			: control_hello(fd[n], &reply);
		if (err) {
			shared->said_connections += err == -EDQUOT || err == -EUSERS;
			close(fd[n]);
			break;
		}
		n++;
		shared->connections++;
	}
	while (!(err = control_ask(fd[0], &request, NULL, 0, &reply)))
		shared->endpoints += reply.count;
	/* The last of them finds that all frames are guaranteed. */
	shared->said_quota += (err == -EDQUOT && strstr(reply.error_text, "quota")) ||
			      (err == -ENOBUFS && strstr(reply.error_text, "--frames"));
	shared->ready++;
	/* Half ask, half connect and go. */
	while (uid % 2) {
		for (uint32_t i = 0; i < n; i++) {
			struct lrp_request any = {.magic = LRP_ABI_MAGIC,
						  .version = LRP_ABI_VERSION,
						  .type = i % 2 ? LRP_REQ_CHANNELS
								: LRP_REQ_ENDPOINTS,
						  .count = 1};
			int got;

			control_send(fd[i], &any, sizeof(any), NULL, 0);
			if (poll(&(struct pollfd){.fd = fd[i], .events = POLLIN}, 1, 0) > 0)
				control_reply(fd[i], &reply, NULL, &got);
		}
	}
	for (;;) {
		int more = lrp_rundir_connect(LRP_CONTROL_FILE, SOCK_NONBLOCK);

		if (more >= 0)
			close(more);
	}
}

static void everything(void)
{
	struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t until = now_ms() + 60000;
	pid_t child[UIDS];

	must(shared != MAP_FAILED, "mmap");
	for (unsigned int i = 0; i < UIDS; i++) {
		child[i] = fork();
		if (!child[i])
			hog(FIRST_UID + i, shared);
	}
	while (shared->ready < UIDS && now_ms() < until)
		usleep(20000);
	printf("%u connections, %u sockets of %u users\n", shared->connections, shared->endpoints,
	       UIDS);
	CHECK(shared->ready == UIDS, "%u users are there", shared->ready);
	/* Root's share is 64. */
	CHECK(shared->connections >= 4096 - 64 - 8 && shared->connections <= 4096 - 64,
	      "%u connections", shared->connections);
	CHECK(shared->said_connections == UIDS, "%u were told", shared->said_connections);
	CHECK(shared->said_quota == UIDS, "%u were told", shared->said_quota);
	CHECK(shared->endpoints >= 8000, "%u endpoints", shared->endpoints);
	for (int i = 0; i < 5; i++)
		answered("status");
	answered("status --audit");
	answered("detach s0");
	answered("status");
	answered("stop");
	for (unsigned int i = 0; i < UIDS; i++) {
		kill(child[i], SIGKILL);
		waitpid(child[i], NULL, 0);
	}
	until = now_ms();
	while (!system("pgrep -x lrpd >/dev/null") && now_ms() - until < 30000)
		usleep(20000);
	printf("lrpd ended %llu ms later\n", (unsigned long long)(now_ms() - until));
	CHECK(now_ms() - until < 30000, "lrpd does not end");
}

int main(int argc, char **argv)
{
	(void)argc;
	bed_enter(argv);
	bed_needs_lrpd();
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	bed_sh(BED_NET);
	for (unsigned int i = 0; i < UIDS; i++) {
		char command[96];

		snprintf(command, sizeof(command), "echo allow-uid = %u >>/etc/lrp/lrpd.conf",
			 FIRST_UID + i);
		bed_sh(command);
	}
	bed_sh(LRP "attach s0 >/dev/null");
	descriptors();
	rings();
	cpu_time();
	everything();
	return check_failures != 0;
}

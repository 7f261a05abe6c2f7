/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_stream_memory.c - the limit that tcp_mem sets: lrpd divides it among the families, buffers
 * stop growing below it, and there are no new connections beyond it, until others end.
 */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <lrp/lrp.h>

#include "runtime/base/arena.h"
#include "tests/lib/bed.h"
#include "tests/lib/check.h"

#define PORT  7101
#define PAGES 1024 /* of tcp_mem: 4 MiB */
#define LIMIT (PAGES * 4096u)
#define MOST  128

static int listener;

static pid_t client(const char *command)
{
	pid_t pid = fork();

	if (pid == 0) {
		execlp("ip", "ip", "netns", "exec", "client", "bash", "-c", command, NULL);
		_exit(1);
	}
	return pid;
}

static long status(const char *field)
{
	char command[256], text[64] = "";
	FILE *f;

	snprintf(command, sizeof(command), "build/bin/lrp status --json | jq '%s'", field);
	f = popen(command, "r");
	if (!f || !fgets(text, sizeof(text), f))
		strcpy(text, "-1");
	if (f)
		pclose(f);
	return atol(text);
}

/* A fast sender far away: without the limit the receive buffer grows to several megabytes. */
static void growth_stops(void)
{
	static char data[1 << 20];
	struct lrp_arena_stats stats;
	uint64_t most = 0, got = 0, first;
	pid_t pid = client("head -c 64M /dev/zero >/dev/tcp/198.18.1.1/7101");
	int fd = lrp_accept(listener, NULL, NULL);
	ssize_t n;

	CHECK(fd >= 0, "%m");
	lrp_arena_stats(&stats);
	first = stats.in_use;
	while ((n = lrp_read(fd, data, sizeof(data))) > 0) {
		got += (uint64_t)n;
		lrp_arena_stats(&stats);
		if (stats.in_use > most)
			most = stats.in_use;
	}
	CHECK(got == 64u << 20, "%llu", (unsigned long long)got);
	printf("a buffer grows: from %llu to %llu bytes\n", (unsigned long long)first,
	       (unsigned long long)most);
	/* Tables of listeners are as large as they are. */
	CHECK(most <= first + LIMIT / 2, "%llu bytes in use", (unsigned long long)most);
	lrp_close(fd);
	waitpid(pid, NULL, 0);
}

/* Clients that send and are not read from, one after the other. */
static void connections_end(void)
{
	static char data[60000];
	int fd[MOST], count = 0, one = 1;
	struct timeval second = {.tv_sec = 1};
	pid_t pid = client("for i in $(seq 128); do exec {fd}<>/dev/tcp/198.18.1.1/7101; "
			   "head -c 60000 /dev/zero >&$fd & done; sleep 60");

	CHECK(lrp_setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second)) == 0,
	      "%m");
	while (count < MOST && (fd[count] = lrp_accept(listener, NULL, NULL)) >= 0) {
		lrp_ioctl(fd[count], FIONBIO, &one);
		for (int i = 0; i < 10; i++)
			lrp_write(fd[count], data, sizeof(data)); /* what is in it has pages */
		count++;
	}
	/* Two buffers of 64 KiB each. What other things take is not counted exactly. */
	printf("%d connections, %llu bytes resident\n", count,
	       (unsigned long long)lrp_arena_resident());
	CHECK(count >= (int)(LIMIT / 131072 / 2), "%d connections", count);
	CHECK(count <= (int)(LIMIT / 65536), "%d connections", count);
	CHECK(lrp_arena_resident() <= LIMIT + LIMIT / 4, "%llu bytes",
	      (unsigned long long)lrp_arena_resident());
	kill(-pid, SIGKILL);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	for (int i = 0; i < count; i++)
		lrp_close(fd[i]);
	sleep(1);
	/* There is room again. */
	pid = client("exec 3<>/dev/tcp/198.18.1.1/7101; head -c 1 <&3 >/dev/null");
	fd[0] = lrp_accept(listener, NULL, NULL);
	CHECK(fd[0] >= 0, "no service after others ended: %m");
	lrp_close(fd[0]);
	waitpid(pid, NULL, 0);
}

int main(int argc, char **argv)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	char command[512];
	long alone, two;
	pid_t pid;

	(void)argc;
	bed_enter(argv);
	setvbuf(stdout, NULL, _IONBF, 0);
	bed_needs_lrpd();
	bed_sh(BED_NET " >/dev/null 2>&1");
	/* The kernel does not show it here: a copy of the directory, with the file. */
	snprintf(command, sizeof(command),
		 "mkdir -p /run/ipv4 && cp -r /proc/sys/net/ipv4/. /run/ipv4 2>/dev/null; "
		 "echo '%u %u %u' >/run/ipv4/tcp_mem && "
		 "mount --bind /run/ipv4 /proc/sys/net/ipv4",
		 PAGES / 2, PAGES / 3 * 2, PAGES);
	bed_sh(command);
	bed_sh("build/bin/lrp attach s0 >/dev/null");
	listener = lrp_socket(AF_INET, SOCK_STREAM, 0);
	CHECK(lrp_bind(listener, (struct sockaddr *)&addr, sizeof(addr)) == 0, "%m");
	CHECK(lrp_listen(listener, 256) == 0, "%m");

	alone = status(".family_memory_kib");
	CHECK(alone == LIMIT >> 10, "%ld KiB", alone);
	growth_stops();
	connections_end();

	/* A second family has the other half. */
	pid = fork();
	if (pid == 0) {
		execl("build/bin/example-echo", "example-echo", "7007", NULL);
		_exit(1);
	}
	for (int i = 0; i < 100 && (two = status(".family_memory_kib")) == alone; i++)
		usleep(50000);
	CHECK(two == (long)LIMIT >> 11, "%ld KiB", two);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	for (int i = 0; i < 100 && (two = status(".family_memory_kib")) != alone; i++)
		usleep(50000);
	CHECK(two == alone, "%ld KiB", two);
	bed_sh("build/bin/lrp stop >/dev/null");
	return check_failures ? 1 : 0;
}

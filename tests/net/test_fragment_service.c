/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_fragment_service.c - datagrams whose second fragment comes first, for a kernel socket and
 * for an LRP socket. While there is no LRP socket such a fragment passes at once. Else it waits on
 * the fragment channel; if the first one shows that it is the kernel's, lrpd gives it to the
 * kernel, which puts the datagram together. A flood of such fragments takes neither from
 * anybody. The fragments of one datagram may come in on two devices.
 *
 *    client ns  ── c0 ════ s0 ── here: a kernel socket on 5000, an LRP socket on 5001
 *    blaster ns ── b0 ════ s1 ──
 */
#include "fragment_wire.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include <lrp/lrp.h>

#include <lrp/control.h>

#include "../../runtime/base/rundir.h"
#include "../lib/bed.h"

#define WAIT_MS 10000 /* for what comes in some ms, on a machine that does other things */
#define MANY	50u   /* below net.ipv4.ipfrag_max_dist: on a slow machine all may expire at once */
#define FLOOD	(2 * LRP_ORPHANS_PER_SECOND)
#define KERNEL	5000
#define LRP	5001

static int kernel_fd, lrp_fd = -1;

static uint16_t id = 100;

static bool arrives(uint16_t port)
{
	struct timeval timeout = {.tv_sec = WAIT_MS / 1000};
	uint8_t buffer[4096];

	if (port == LRP) {
		lrp_setsockopt(lrp_fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
		return lrp_recv(lrp_fd, buffer, sizeof(buffer), 0) == PAYLOAD;
	}
	setsockopt(kernel_fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	return recv(kernel_fd, buffer, sizeof(buffer), 0) == PAYLOAD;
}

static int one(uint16_t port, bool v6, const char *mode)
{
	uint8_t udp[DATAGRAM];
	char rest[8];

	make_datagram(udp, v6, port);
	id++;
	send_part(udp, v6, id, true);
	usleep(50000);
	if (recv(kernel_fd, rest, sizeof(rest), MSG_DONTWAIT) >= 0 ||
	    (lrp_fd >= 0 && lrp_recv(lrp_fd, rest, sizeof(rest), MSG_DONTWAIT) >= 0)) {
		printf("FAIL %s: half a datagram arrived\n", mode);
		return 1;
	}
	send_part(udp, v6, id, false);
	if (!arrives(port)) {
		printf("FAIL %s: IPv%d datagram to port %u did not arrive\n", mode, v6 ? 6 : 4,
		       port);
		return 1;
	}
	return 0;
}

static int some(uint16_t port, const char *mode)
{
	int failures = 0;

	for (int i = 0; i < 5 && !failures; i++)
		failures += one(port, false, mode) || one(port, true, mode);
	return failures;
}

/* Orphans of nobody, from addresses of nobody, more than the host stores. */
static int flood(const char *mode)
{
	uint8_t udp[DATAGRAM];

	make_datagram(udp, false, LRP);
	for (uint32_t i = 0; i < FLOOD; i++) {
		send_way(&ways[0], udp, false, 0x0a000001 + (i << 8), (uint16_t)i, true);
		if (i % 64 == 63)
			usleep(2000);
	}
	return some(KERNEL, mode) || some(LRP, mode);
}

/* First fragments of nobody: reassembly is full, and goes on at the expense of the oldest. */
static int full(const char *mode)
{
	uint8_t udp[DATAGRAM];

	make_datagram(udp, false, LRP);
	for (uint32_t i = 0; i < 300; i++) {
		send_way(&ways[0], udp, false, 0x0a000001 + (i << 8), (uint16_t)i, false);
		if (i % 64 == 63)
			usleep(2000);
	}
	return some(LRP, mode);
}

/* The first on one device, the rest on the other. */
static int two_devices(const char *mode)
{
	uint8_t udp[DATAGRAM];

	make_datagram(udp, false, LRP);
	for (int i = 0; i < 10; i++) {
		id++;
		send_way(&ways[i % 2], udp, false, 0xc6120102, id, false);
		usleep(2000);
		send_way(&ways[!(i % 2)], udp, false, 0xc6120102, id, true);
		if (!arrives(LRP)) {
			printf("FAIL %s: fragments on two devices: not put together\n", mode);
			return 1;
		}
	}
	return 0;
}

/* A client that keeps lrpd awake: it looks at the ring in every turn of its loop. */
static pid_t keep_awake(void)
{
	pid_t pid = fork();

	while (pid == 0) {
		int fd = lrp_rundir_connect(LRP_CONTROL_FILE, 0);

		if (fd < 0)
			_exit(1);
		close(fd);
	}
	return pid;
}

/* Some come while lrpd is looking: after it read the clock, before it read the ring. */
static int while_awake(const char *mode)
{
	uint8_t udp[DATAGRAM];
	pid_t client = keep_awake();
	unsigned int i, came = 0;

	make_datagram(udp, false, KERNEL);
	for (i = 1; i <= MANY; i++) {
		send_part(udp, false, (uint16_t)(id + i), true);
		usleep(300);
	}
	kill(client, SIGKILL);
	waitpid(client, NULL, 0);
	for (i = 1; i <= MANY; i++) {
		send_part(udp, false, (uint16_t)(id + i), false);
		if (!arrives(KERNEL))
			break;
		came++;
	}
	id += MANY;
	if (came == MANY)
		return 0;
	printf("FAIL %s: datagram %u of %u did not arrive\n", mode, came + 1, MANY);
	return 1;
}

/* A field of .fragments in lrp status. */
static long count_of(const char *field)
{
	char command[128];
	long value = -1;
	FILE *p;

	snprintf(command, sizeof(command), "$LRP_BUILD/bin/lrp status --json | jq .fragments.%s",
		 field);
	p = popen(command, "r");
	if (!p || fscanf(p, "%ld", &value) != 1)
		value = -1;
	if (p)
		pclose(p);
	return value;
}

static int counted(const char *field, long want, const char *mode)
{
	long value = count_of(field);

	if (value == want)
		return 0;
	printf("FAIL %s: fragments.%s is %ld, not %ld\n", mode, field, value, want);
	return 1;
}

/* Sockets of the two kinds, and the counters of lrpd for what they get. */
static int with_sockets(const char *mode)
{
	long injected = count_of("injected");
	struct sockaddr_in6 addr = {.sin6_family = AF_INET6, .sin6_port = htons(LRP)};
	int failures;

	/* Nobody could want an orphan: the kernel gets it without lrpd. */
	failures = some(KERNEL, mode);
	failures += counted("injected", injected, mode);
	if (failures)
		return failures;
	lrp_fd = lrp_socket(AF_INET6, SOCK_DGRAM, 0);
	if (lrp_fd < 0 || lrp_bind(lrp_fd, (struct sockaddr *)&addr, sizeof(addr))) {
		perror("lrp_bind");
		return 1;
	}
	failures = some(KERNEL, mode) || while_awake(mode);
	injected += 10 + MANY;
	failures += counted("injected", injected, mode);
	failures = failures || some(LRP, mode);
	failures += counted("injected", injected, mode);
	failures = failures || two_devices(mode) || full(mode) || flood(mode);
	lrp_close(lrp_fd);
	return failures;
}

/* In a process of its own: who has received fragments keeps a socket of the queue. */
static int in_child(const char *mode)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		exit(with_sockets(mode));
	return waitpid(pid, &status, 0) != pid || status;
}

int main(int argc, char **argv)
{
	static const char *const modes[] = {"native", "skb"};
	struct sockaddr_in6 addr = {.sin6_family = AF_INET6, .sin6_port = htons(KERNEL)};
	int failures = 0;

	(void)argc;
	bed_enter(argv);
	bed_needs_lrpd();
	setenv("LRP_BUILD", "build", 0);
	bed_sh(BED_NET);
	kernel_fd = socket(AF_INET6, SOCK_DGRAM, 0);
	if (bind(kernel_fd, (struct sockaddr *)&addr, sizeof(addr))) {
		perror("bind");
		return 1;
	}
	open_sender(&ways[0]);
	open_sender(&ways[1]);
	for (int m = 0; m < 2 && !failures; m++) {
		char command[128];

		id += 10000; /* a mark counts for half a minute */
		snprintf(command, sizeof(command),
			 "for d in s0 s1; do $LRP_BUILD/bin/lrp attach $d --mode %s >/dev/null; "
			 "done",
			 modes[m]);
		bed_sh(command);
		failures += in_child(modes[m]);
		failures += counted("expired", 0, modes[m]);
		failures += counted("failed", 0, modes[m]);
		failures += counted("nonsense", 0, modes[m]);
		bed_sh("$LRP_BUILD/bin/lrp status --audit >/dev/null");
		bed_sh("for d in s0 s1; do $LRP_BUILD/bin/lrp detach $d >/dev/null; done");
	}
	bed_sh("$LRP_BUILD/bin/lrp stop");
	return failures != 0;
}

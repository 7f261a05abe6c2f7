/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_socket_attach.c - a socket that is bound before its interface is attached,
 * before lrpd runs even, is served by the kernel, then by a channel, then by the
 * kernel again: all the time by the same descriptor, and nothing is lost while traffic
 * stands still. And what 1,000 open sockets cost in memory.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lrp/lrp.h>

#include "../../runtime/base/arena.h"
#include "../lib/bed.h"
#include "../lib/check.h"
#include "socket_harness.h"

#define SOCKETS 1000

static struct run r = {.ops = &lrp_ops, .family = AF_INET, .lrp = true};

static void command(const char *verb)
{
	const char *bin = getenv("LRP_BIN") ? getenv("LRP_BIN") : "build/bin";
	char text[256];

	snprintf(text, sizeof(text), "%s/lrp %s s0", bin, verb);
	bed_sh(text);
}

/* Datagrams come, by way of the kernel or of a channel. */
static void exchange(int fd, const char *phase, bool channel)
{
	struct lrp_stats before = {.sz = sizeof(before)}, after = {.sz = sizeof(after)};
	int i, n = 0, got;

	/* the receiver notices when it looks, and lrpd may take a moment */
	for (i = 0; i < 20; i++) {
		lrp_recv(fd, &n, sizeof(n), MSG_DONTWAIT);
		usleep(100000);
		lrp_stats(fd, &before);
		if ((before.channels != 0) == channel)
			break;
	}
	CHECK((before.channels != 0) == channel, "%s: %lu channels", phase,
	      (unsigned long)before.channels);
	while (lrp_recv(fd, &n, sizeof(n), MSG_DONTWAIT) >= 0)
		;
	lrp_stats(fd, &before);
	for (i = 0; i < 50; i++)
		peer_send(&r, &i, sizeof(i));
	for (got = 0; got < 50 && lrp_recv(fd, &n, sizeof(n), 0) == sizeof(n); got++)
		CHECK(n == got, "%s: %d in place of %d", phase, n, got);
	lrp_stats(fd, &after);
	CHECK(got == 50, "%s: %d of 50", phase, got);
	if (channel)
		CHECK(after.kernel == before.kernel &&
			      after.call + after.helper - before.call - before.helper == 50,
		      "%s: %lu through the kernel", phase,
		      (unsigned long)(after.kernel - before.kernel));
	else
		CHECK(after.kernel - before.kernel == 50, "%s: %lu through the kernel", phase,
		      (unsigned long)(after.kernel - before.kernel));
}

static void memory(void)
{
	static int fds[SOCKETS];
	struct lrp_arena_stats before, after;
	struct sockaddr_storage a;
	uint64_t each;
	int i, channels = 0;

	lrp_arena_stats(&before);
	for (i = 0; i < SOCKETS; i++) {
		struct lrp_stats st = {.sz = sizeof(st)};

		fds[i] = lrp_socket(AF_INET, SOCK_DGRAM, 0);
		if (fds[i] < 0 || lrp_bind(fds[i], (void *)&a, addr_any(&r, &a, 10000 + i))) {
			CHECK(false, "socket %d: %s", i, strerror(errno));
			return;
		}
		lrp_stats(fds[i], &st);
		channels += (int)st.channels;
	}
	lrp_arena_stats(&after);
	each = (after.in_use - before.in_use) / SOCKETS;
	printf("%d sockets, %d channels: %lu bytes of user memory each\n", SOCKETS, channels,
	       (unsigned long)each);
	CHECK(channels == SOCKETS, "%d channels", channels);
	CHECK(each <= 8192, "%lu bytes each", (unsigned long)each);
	for (i = 0; i < SOCKETS; i++)
		lrp_close(fds[i]);
}

int main(int argc, char **argv)
{
	const char *bin = getenv("LRP_BIN") ? getenv("LRP_BIN") : "build/bin";
	struct sockaddr_storage a;
	char path[256];
	int fd;

	(void)argc;
	setvbuf(stdout, NULL, _IOLBF, 0);
	bed_enter(argv);
	bed_needs_lrpd();
	snprintf(path, sizeof(path), "%s/lrp", bin);
	if (access(path, X_OK)) {
		printf("%s is not built\n", path);
		return 77;
	}
	bed_sh(BED_NET);
	r.out = fopen("/dev/null", "w");
	r.peer = client_socket(AF_INET, SOCK_DGRAM, 0);
	bind(r.peer, (void *)&a, addr_client(&r, &a, PEER_PORT));
	connect(r.peer, (void *)&a, addr_server(&r, &a, PORT));
	fd = bound_socket(&r);
	exchange(fd, "no lrpd", false);
	command("attach");
	exchange(fd, "attached", true);
	command("detach");
	exchange(fd, "detached", false);
	command("attach");
	exchange(fd, "attached again", true);
	lrp_close(fd);
	memory();
	printf("%d failures\n", check_failures);
	return check_failures != 0;
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_mlock.c - a program with real-time manners: it calls mlockall(MCL_CURRENT | MCL_FUTURE)
 * before it opens sockets. What the runtime reserves is not locked and not made.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <lrp/lrp.h>

#include "tests/lib/bed.h"
#include "tests/lib/check.h"

#define PORT 7100

static long status_kib(const char *name)
{
	FILE *f = fopen("/proc/self/status", "r");
	char line[256];
	long kib = -1;

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, name, strlen(name)) && line[strlen(name)] == ':')
			kib = atol(line + strlen(name) + 1);
	if (f)
		fclose(f);
	return kib;
}

/* A listener that serves one client on the wire. */
static void serve(void)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	int listener = lrp_socket(AF_INET, SOCK_STREAM, 0), fd;
	char text[8] = "";
	pid_t client;

	CHECK(listener >= 0, "%m");
	CHECK(lrp_bind(listener, (struct sockaddr *)&addr, sizeof(addr)) == 0, "%m");
	CHECK(lrp_listen(listener, 8) == 0, "%m");
	client = fork();
	if (client == 0) {
		execlp("ip", "ip", "netns", "exec", "client", "bash", "-c",
		       "exec 3<>/dev/tcp/198.18.1.1/7100; echo hello >&3; read -r back <&3; "
		       "[ \"$back\" = hello ]",
		       NULL);
		_exit(1);
	}
	fd = lrp_accept(listener, NULL, NULL);
	CHECK(fd >= 0, "%m");
	CHECK(lrp_read(fd, text, sizeof(text)) == 6, "%m");
	CHECK(lrp_write(fd, text, 6) == 6, "%m");
	lrp_close(fd);
	lrp_close(listener);
}

int main(int argc, char **argv)
{
	long before, locked;

	(void)argc;
	bed_enter(argv);
	bed_needs_lrpd();
	bed_sh(BED_NET " >/dev/null 2>&1");
	bed_sh("build/bin/lrp attach s0 --frames 1024 >/dev/null");
	if (mlockall(MCL_CURRENT | MCL_FUTURE)) {
		printf("mlockall is not allowed here\n");
		return 77;
	}
	before = status_kib("VmLck");
	serve();
	locked = status_kib("VmLck") - before;
	printf("%ld KiB locked for sockets, %ld KiB resident\n", locked, status_kib("VmRSS"));
	/* Frames of the interface, rings, stacks of threads; not the 4 GiB of the arena. */
	CHECK(locked < 256 << 10, "%ld KiB", locked);
	CHECK(status_kib("VmRSS") < 512 << 10, "%ld KiB", status_kib("VmRSS"));
	bed_sh("build/bin/lrp stop >/dev/null");
	return check_failures ? 1 : 0;
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_fault_nobody.c - applications without any privilege: they receive and answer under
 * load, nothing in them needs a capability, and what they may not do is refused. Killed, they leave
 * nothing behind.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>

#include "fault_bed.h"

#define NOBODY 65534
#define RATE   50000u

static bool has_capability(pid_t pid)
{
	char path[64], line[256];
	unsigned long long set, any = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Cap%*[A-Za-z]: %llx", &set) == 1 && strncmp(line, "CapBnd", 6))
			any |= set;
	if (f)
		fclose(f);
	return !f || any;
}

/* Counts what comes back to the client: its kernel socket asks, the echoes are counted there. */
static unsigned int ask(uint16_t port, unsigned int count)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct timeval second = {.tv_sec = 1};
	int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	int there = open("/run/netns/client", O_RDONLY | O_CLOEXEC), fd;
	unsigned int echoes = 0;
	uint64_t back;

	if (setns(there, CLONE_NEWNET))
		exit(1);
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (setns(here, CLONE_NEWNET))
		exit(1);
	close(here);
	close(there);
	inet_pton(AF_INET, "198.18.1.1", &to.sin_addr);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second));
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)))
		exit(1);
	for (uint64_t i = 0; i < count; i++) {
		uint64_t seq = i;

		if (send(fd, &seq, sizeof(seq), 0) == sizeof(seq) &&
		    recv(fd, &back, sizeof(back), 0) == sizeof(back) && back == i)
			echoes++;
	}
	close(fd);
	return echoes;
}

static struct fault_app *start(uint16_t port, uint16_t ports)
{
	struct fault_app *app = fault_app_new(port, ports);

	app->uid = NOBODY;
	app->frames = 4096;
	app->nice = -10;
	fault_spawn(app);
	CHECK(!has_capability(app->pid[0]), "it has a capability: nothing is tested");
	CHECK(app->channels > 0, "no channel for an unprivileged process");
	return app;
}

int main(int argc, char **argv)
{
	struct fault_app *app, *other, *echo;
	struct fault_load load;
	unsigned int echoes;

	(void)argc;
	fault_begin(argv, NULL);
	echo = fault_app_new(FAULT_PORT, 1);
	echo->uid = NOBODY;
	echo->echo = true;
	fault_spawn(echo);
	CHECK(!has_capability(echo->pid[0]), "it has a capability: nothing is tested");
	echoes = ask(FAULT_PORT, 2000);
	CHECK(echoes == 2000, "%u of 2000 came back", echoes);
	CHECK(FAULT_WAIT(echo->call > 1900, 500), "not through a channel");
	printf("%u asked and answered, %llu received through a channel\n", echoes,
	       (unsigned long long)echo->call);
	fault_stop(echo);
	fault_nobody_left();

	app = start(FAULT_PORT, 2);
	other = start(FAULT_PORT + 1, 2);
	fault_load_start(&load, 2, RATE, 60);
	for (unsigned int i = 0; i < fault_soak_s(6); i++) {
		CHECK(fault_receives(app, 2000), "receives nothing");
		fault_sleep_ms(200);
		CHECK(fault_sh("setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs "
			       "build/bin/lrp detach s0 >/dev/null 2>&1") != 0,
		      "nobody may detach");
		CHECK(fault_sh("setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs "
			       "build/bin/lrp stop >/dev/null 2>&1") != 0,
		      "nobody may stop lrpd");
		fault_kill(app);
		CHECK(fault_port_free(FAULT_PORT, 1000) >= 0, "port is not free");
		fault_app_free(app);
		app = start(FAULT_PORT, 2);
	}
	fault_load_stop(&load);
	fault_check_all(other, &load, 0, "an unprivileged bystander");
	CHECK(other->kernel < other->received / 100, "came through the kernel");
	fault_stop(app);
	fault_stop(other);
	fault_nobody_left();
	fault_audit_idle("after unprivileged processes", 8000);
	return fault_end();
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* test_stream_close.c - what the peer sees when a process ends, with a kernel socket and with ours.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stream_peer.h"

#define BYTES (1u << 20)

static pid_t child(struct run *r)
{
	fflush(r->out);
	return fork();
}

/* In a child: connects to the peer's listener. */
static int connect_to(struct run *r)
{
	struct sockaddr_storage a;
	socklen_t len = addr_client(r, &a, SERVICE_PORT);
	int fd = stream_socket(r, 0);

	if (r->ops->connect(fd, (void *)&a, len))
		_exit(1);
	return fd;
}

/* All that was written arrives, though the process does not close and is gone. */
static void exits(struct run *r)
{
	static char buf[65536];
	int lfd = peer_listen(r), peer;
	uint32_t got = 0;
	ssize_t n;
	pid_t pid = child(r);

	if (pid == 0) {
		int fd = connect_to(r);

		for (got = 0; got < BYTES; got += (uint32_t)n)
			if ((n = r->ops->send(fd, buf, sizeof(buf), 0)) <= 0)
				_exit(1);
		exit(0);
	}
	peer = accept(lfd, NULL, NULL);
	while ((n = recv(peer, buf, sizeof(buf), 0)) > 0)
		got += (uint32_t)n;
	note_result(r, "end", n);
	note_result(r, "bytes", got);
	close(peer);
	close(lfd);
	waitpid(pid, NULL, 0);
}

/* The peer of a killed process is not left hanging: within two seconds what it sends fails. */
static void killed(struct run *r)
{
	int lfd = peer_listen(r), peer, tries;
	pid_t pid = child(r);

	if (pid == 0) {
		connect_to(r);
		pause();
		_exit(0);
	}
	peer = accept(lfd, NULL, NULL);
	arrive();
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	for (tries = 0; tries < 200 && send(peer, "x", 1, MSG_NOSIGNAL) == 1; tries++)
		usleep(10000);
	note_result(r, "it is told", tries < 200);
	close(peer);
	close(lfd);
}

static const struct test_case cases[] = {CASE(exits, 0), CASE(killed, 0)};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_socket_pool.c - few frames circulate until more are needed: sockets that nobody reads
 * from fill up to their limits all the same, and nothing is dropped meanwhile. When the sockets are
 * gone the frames rest, and circulate again for the next ones.
 *
 *    client ns  c0 ════ s0  one pool of 32,768 frames
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lrp/lrp.h>

#include "../lib/bed.h"
#include "../lib/check.h"
#include "socket_harness.h"

#define FRAMES	  32768
#define SOCKETS	  110  /* all that they may hold is more than half of the frames */
#define EACH	  180  /* datagrams: less than the limit of a default SO_RCVBUF */
#define FIRST_MAX 9000 /* of 28,000 that their limits allow */

/* A line of status that is a number. */
static uint32_t status(const char *name)
{
	char command[256];
	uint32_t value = 0;
	FILE *f;

	snprintf(command, sizeof(command),
		 "${LRP_BIN:-build/bin}/lrp status --json | jq '[.. | .%s? // empty] | add'", name);
	f = popen(command, "r");
	if (!f || fscanf(f, "%u", &value) != 1)
		CHECK(false, "no %s in status", name);
	if (f)
		pclose(f);
	return value;
}

static void receive(int fd, int s)
{
	uint32_t number;

	for (uint32_t i = 0; i < EACH; i++) {
		ssize_t n = lrp_recv(fd, &number, sizeof(number), MSG_DONTWAIT);

		if (n != sizeof(number) || number != i) {
			CHECK(false, "socket %d, datagram %u: %s", s, i,
			      n < 0 ? strerror(errno) : "another");
			return;
		}
	}
}

/* A socket and who sends to it. */
static void open_pair(struct run *r, int s, int *fd, int *peer)
{
	struct sockaddr_storage a;
	socklen_t len = addr_any(r, &a, PORT + s);

	*fd = new_socket(r);
	CHECK(!lrp_bind(*fd, (void *)&a, len), "bind: %s", strerror(errno));
	*peer = client_socket(AF_INET, SOCK_DGRAM, 0);
	len = addr_server(r, &a, PORT + s);
	CHECK(!connect(*peer, (void *)&a, len), "connect: %s", strerror(errno));
}

static void fill_up(const int *peer)
{
	for (uint32_t i = 0; i < EACH; i++) {
		for (int s = 0; s < SOCKETS; s++)
			CHECK(send(peer[s], &i, sizeof(i), 0) == sizeof(i), "send: %s",
			      strerror(errno));
		/* So that lrpd gets its turn: a hundred frames a millisecond. */
		usleep(400);
	}
}

/* Frames that do not circulate, of those that have. */
static uint32_t resting(void)
{
	char command[256];
	uint32_t spare = 0;
	FILE *f;

	snprintf(command, sizeof(command),
		 "${LRP_BIN:-build/bin}/lrp status --audit --json | jq '[.. | .spare? // empty] | "
		 "add'");
	f = popen(command, "r");
	if (!f || fscanf(f, "%u", &spare) != 1)
		CHECK(false, "no audit");
	if (f)
		pclose(f);
	return spare;
}

int main(int argc, char **argv)
{
	struct run r = {.ops = &lrp_ops, .family = AF_INET, .lrp = true, .out = stdout};
	int fd[SOCKETS], peer[SOCKETS], s;
	uint32_t grown;

	(void)argc;
	setvbuf(stdout, NULL, _IOLBF, 0);
	bed_enter(argv);
	bed_needs_lrpd();
	bed_sh("bash -c '. tools/testbed/bed.sh; set -e; bed_net 1'");
	bed_sh("${LRP_BIN:-build/bin}/lrp attach s0");
	for (s = 0; s < SOCKETS; s++)
		open_pair(&r, s, &fd[s], &peer[s]);
	CHECK(status("surplus") < FIRST_MAX, "%u frames for loans", status("surplus"));
	fill_up(peer);
	arrive();
	printf("%u frames for loans, %u lent\n", status("surplus"), status("lent"));
	CHECK(status("drop_surplus") == 0, "%u dropped for want of frames", status("drop_surplus"));
	CHECK(status("drop_full") == 0, "%u dropped", status("drop_full"));
	for (s = 0; s < SOCKETS; s++)
		receive(fd[s], s);
	CHECK(status("surplus") > SOCKETS * EACH / 2, "%u frames for loans", status("surplus"));
	grown = FRAMES - FIRST_MAX;
	/* With the sockets gone, and some packets to take them out of the round, the frames rest. */
	for (s = 1; s < SOCKETS; s++) {
		close(peer[s]);
		lrp_close(fd[s]);
	}
	for (uint32_t i = 0; i < 2000 && (i % 20 || resting() < grown); i++) {
		uint32_t number;

		for (int k = 0; k < 150; k++)
			send(peer[0], &i, sizeof(i), 0);
		usleep(10000);
		while (lrp_recv(fd[0], &number, sizeof(number), MSG_DONTWAIT) > 0)
			;
	}
	printf("%u rest or were never needed, %u circulate\n", resting(), status("circulating"));
	CHECK(status("circulating") < FIRST_MAX, "%u circulate", status("circulating"));
	CHECK(resting() >= grown, "%u rest", resting());
	bed_sh("${LRP_BIN:-build/bin}/lrp status --audit >/dev/null");
	/* And circulate again when they are needed. */
	for (s = 1; s < SOCKETS; s++)
		open_pair(&r, s, &fd[s], &peer[s]);
	fill_up(peer);
	arrive();
	CHECK(status("drop_surplus") == 0, "%u dropped for want of frames", status("drop_surplus"));
	for (s = 0; s < SOCKETS; s++) {
		receive(fd[s], s);
		close(peer[s]);
		lrp_close(fd[s]);
	}
	/* Another lrpd finds all of them. */
	bed_sh("l=${LRP_BIN:-build/bin}/lrp; old=$($l status --json | jq .pid); kill -9 $old; "
	       "for i in $(seq 100); do new=$($l status --json 2>/dev/null | jq .pid); "
	       "test -n \"$new\" && test \"$new\" != $old && exit 0; sleep 0.05; done; exit 1");
	bed_sh("${LRP_BIN:-build/bin}/lrp status --audit >/dev/null");
	bed_sh("${LRP_BIN:-build/bin}/lrp stop");
	printf("%d failures\n", check_failures);
	return check_failures != 0;
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_socket_frames.c - datagrams that take several frames of the UMEM, and
 * interfaces with several queues: whatever its size and whichever queue it came in
 * on, a datagram arrives whole, once, and in the order of its sender.
 *
 *    client ns  c0 ════ s0  MTU 9000, 4 queues: an endpoint has four channels
 */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lrp/lrp.h>

#include "../lib/bed.h"
#include "../lib/check.h"
#include "socket_harness.h"

#define QUEUES	4
#define SENDERS 24
#define EACH	40 /* datagrams of each sender and size */
#define LARGEST 8900

struct datagram {
	uint32_t sender, number;
	uint8_t fill[];
};

static uint8_t pattern(uint32_t sender, uint32_t number, uint32_t at)
{
	return (uint8_t)(sender * 7 + number * 13 + at * 3 + at / 256);
}

static bool intact(const struct datagram *d, uint32_t size)
{
	uint32_t i;

	for (i = 0; i < size - sizeof(*d); i++)
		if (d->fill[i] != pattern(d->sender, d->number, i))
			return false;
	return true;
}

static void send_all(const int *senders, uint32_t number, uint32_t size)
{
	static union {
		struct datagram d;
		uint8_t bytes[LARGEST];
	} u;
	uint32_t s, i;

	for (s = 0; s < SENDERS; s++) {
		u.d.sender = s;
		u.d.number = number;
		for (i = 0; i < size - sizeof(u.d); i++)
			u.d.fill[i] = pattern(s, number, i);
		CHECK(send(senders[s], u.bytes, size, 0) == (ssize_t)size, "%u bytes: %s", size,
		      strerror(errno));
	}
}

/* Takes what one round of all senders sent; every second round without copying. */
static void take_all(int fd, uint32_t *expected, uint32_t size, bool zero_copy)
{
	static uint8_t buffer[65536];
	uint32_t got;

	for (got = 0; got < SENDERS; got++) {
		const struct datagram *d = (void *)buffer;
		struct lrp_zc zc;
		ssize_t n;

		if (zero_copy) {
			n = lrp_zc_recv(fd, &zc, 1, 0) == 1 ? (ssize_t)zc.len : -1;
			d = zc.data;
		} else {
			n = lrp_recv(fd, buffer, sizeof(buffer), 0);
		}
		if (n < 0) {
			CHECK(false, "%u of %u bytes: %s", got, size, strerror(errno));
			return;
		}
		CHECK((uint32_t)n == size && d->sender < SENDERS && intact(d, size),
		      "%zd bytes from %u in place of %u", n, d->sender, size);
		if ((uint32_t)n == size && d->sender < SENDERS) {
			CHECK(d->number == expected[d->sender], "sender %u: %u in place of %u",
			      d->sender, d->number, expected[d->sender]);
			expected[d->sender]++;
		}
		if (zero_copy)
			lrp_zc_return(fd, &zc, 1);
	}
}

static void exchange(int family)
{
	static const uint32_t sizes[] = {8, 100, 1400, 1900, 2100, 3900, 4100, 6000, LARGEST};
	struct run r = {.ops = &lrp_ops, .family = family, .lrp = true, .out = stdout};
	struct lrp_stats before = {.sz = sizeof(before)}, after = {.sz = sizeof(after)};
	uint32_t expected[SENDERS] = {0}, s, k, number = 0;
	int senders[SENDERS], fd = bound_socket(&r), large = 4 << 20;
	struct sockaddr_storage a;
	size_t i;

	lrp_setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &large, sizeof(large));
	for (s = 0; s < SENDERS; s++) {
		senders[s] = client_socket(family, SOCK_DGRAM, 0);
		if (connect(senders[s], (void *)&a, addr_server(&r, &a, PORT)))
			CHECK(false, "connect: %s", strerror(errno));
	}
	lrp_stats(fd, &before);
	CHECK(before.channels == QUEUES, "%lu channels", (unsigned long)before.channels);
	for (i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		for (k = 0; k < EACH; k++, number++) {
			send_all(senders, number, sizes[i]);
			take_all(fd, expected, sizes[i], number % 2);
		}
	lrp_stats(fd, &after);
	CHECK(after.kernel == before.kernel && after.dropped == before.dropped &&
		      after.discarded == before.discarded,
	      "%lu through the kernel, %lu dropped, %lu discarded",
	      (unsigned long)(after.kernel - before.kernel),
	      (unsigned long)(after.dropped - before.dropped),
	      (unsigned long)(after.discarded - before.discarded));
	/* The senders' flows were spread over the queues. */
	bed_sh("n=$(${LRP_BIN:-build/bin}/lrp channels --json | jq '[.channels[] | "
	       "select(.local // \"\" | endswith(\":5000\")) | select(.packets > 0)] | length'); "
	       "echo \"IPv$FAMILY: packets on $n queues\"; test \"$n\" -ge 2");
	for (s = 0; s < SENDERS; s++)
		close(senders[s]);
	lrp_close(fd);
}

int main(int argc, char **argv)
{
	(void)argc;
	setvbuf(stdout, NULL, _IOLBF, 0);
	bed_enter(argv);
	bed_needs_lrpd();
	bed_sh("bash -c '. tools/testbed/bed.sh; set -e; bed_net 4; ip link set s0 mtu 9000; "
	       "ip -n client link set c0 mtu 9000'");
	bed_sh("${LRP_BIN:-build/bin}/lrp attach s0");
	setenv("FAMILY", "4", 1);
	exchange(AF_INET);
	setenv("FAMILY", "6", 1);
	exchange(AF_INET6);
	bed_sh("${LRP_BIN:-build/bin}/lrp status --audit >/dev/null");
	bed_sh("${LRP_BIN:-build/bin}/lrp stop");
	printf("%d failures\n", check_failures);
	return check_failures != 0;
}

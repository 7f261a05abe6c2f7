// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * echo - sends each datagram back, on stock sockets or on LRP. With --slice US it asks the
 * scheduler for short turns (sched_setattr(2), Linux 6.12), as an interactive service does: when it
 * wakes it need not wait until a process that computes has used up its own.
 */
#include <arpa/inet.h>
#include <getopt.h>
#include <linux/sched/types.h>
#include <netinet/in.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "receiver.h"

/* Best effort: an older kernel has one slice for all. */
static void ask_for_slice(uint64_t us)
{
	struct sched_attr attr = {.size = sizeof(attr), .sched_runtime = us * 1000};

	syscall(SYS_sched_setattr, 0, &attr, 0);
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {{"system", 1, 0, 's'},
					      {"addr", 1, 0, 'a'},
					      {"port", 1, 0, 'p'},
					      {"slice", 1, 0, 'l'},
					      {0}};
	const struct receiver_calls *calls = &receiver_stock;
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(7)}, peer;
	struct bench_counters *counters;
	uint8_t buf[2048];
	socklen_t length;
	ssize_t n;
	int c, fd;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 's':
			calls = receiver_find("echo", optarg);
			break;
		case 'a':
			if (inet_pton(AF_INET, optarg, &addr.sin_addr) != 1) {
				fprintf(stderr, "echo: --addr %s: an IPv4 address\n", optarg);
				return 2;
			}
			break;
		case 'p':
			addr.sin_port = htons((uint16_t)atoi(optarg));
			break;
		case 'l':
			ask_for_slice(strtoull(optarg, NULL, 0));
			break;
		default:
			fprintf(stderr, "Usage: echo [--system stock|lrp] [--addr A] [--port P] "
					"[--slice US]\n");
			return 2;
		}
	}
	counters = receiver_counters();
	fd = calls->socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || calls->bind(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		fprintf(stderr, "echo: %s port %u: %s\n", calls->name, ntohs(addr.sin_port),
			strerror(errno));
		return 1;
	}
	__atomic_store_n(&counters->ready, 1, __ATOMIC_RELEASE);
	for (;;) {
		length = sizeof(peer);
		n = calls->recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&peer, &length);
		if (n < 0) {
			if (errno == EINTR || errno == ECONNREFUSED)
				continue;
			fprintf(stderr, "echo: %s receive: %s\n", calls->name, strerror(errno));
			return 1;
		}
		counters->received++;
		if (calls->sendto(fd, buf, (size_t)n, 0, (struct sockaddr *)&peer, length) < 0)
			counters->failed++;
		else
			counters->sent++;
		if (counters->received % 1024 == 1)
			receiver_stats(calls, fd, counters);
	}
}

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * sink - receives datagrams and discards them, on stock sockets or on LRP, and
 * counts what came, what is missing and what came late.
 *
 * With --idle N it opens N more sockets that nobody sends to; with --active N it
 * receives on N sockets of consecutive ports in turn; with --work NS it computes so long
 * for each datagram.
 */
#include <arpa/inet.h>
#include <getopt.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <time.h>

#include "receiver.h"

#define VLEN 64

struct options {
	const struct receiver_calls *calls;
	struct sockaddr_in addr;
	bool recv_one;
	uint32_t rcvbuf, idle, active, ack, length, work_ns;
	bool measure_truesize;
};

static struct bench_counters *counters;

static uint32_t number(const char *s)
{
	char *end;
	unsigned long n = strtoul(s, &end, 0);

	if (end == s || *end || n > UINT32_MAX) {
		fprintf(stderr, "sink: %s: a number\n", s);
		exit(2);
	}
	return (uint32_t)n;
}

static void parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{"system", 1, 0, 's'}, {"addr", 1, 0, 'a'},	{"port", 1, 0, 'p'},
		{"rcvbuf", 1, 0, 'b'}, {"recv", 0, 0, '1'},	{"idle", 1, 0, 'i'},
		{"active", 1, 0, 'n'}, {"ack", 1, 0, 'k'},	{"length", 1, 0, 'l'},
		{"work", 1, 0, 'w'},   {"truesize", 0, 0, 't'}, {0}};
	int c;

	*o = (struct options){.calls = &receiver_stock,
			      .active = 1,
			      .length = 2048,
			      .addr = {.sin_family = AF_INET, .sin_port = htons(9000)}};
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 's':
			o->calls = receiver_find("sink", optarg);
			break;
		case 'a':
			if (inet_pton(AF_INET, optarg, &o->addr.sin_addr) != 1) {
				fprintf(stderr, "sink: --addr %s: an IPv4 address\n", optarg);
				exit(2);
			}
			break;
		case 'p':
			o->addr.sin_port = htons((uint16_t)number(optarg));
			break;
		case 'b':
			o->rcvbuf = number(optarg);
			break;
		case '1':
			o->recv_one = true;
			break;
		case 'i':
			o->idle = number(optarg);
			break;
		case 'n':
			o->active = number(optarg);
			break;
		case 'k':
			o->ack = number(optarg);
			break;
		case 'l':
			o->length = number(optarg);
			break;
		case 'w':
			o->work_ns = number(optarg);
			break;
		case 't':
			o->measure_truesize = true;
			break;
		default:
			fprintf(stderr,
				"Usage: sink [--system stock|lrp] [--addr A] [--port P] [--rcvbuf "
				"BYTES] [--recv]\n"
				"            [--idle N] [--active N] [--ack N] [--length BYTES] "
				"[--work NS]\n");
			exit(2);
		}
	}
	if (!o->active || o->length < 8) {
		fprintf(stderr, "sink: --active at least 1, --length at least 8\n");
		exit(2);
	}
}

static int open_socket(const struct options *o, struct sockaddr_in addr)
{
	int fd = o->calls->socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0) {
		fprintf(stderr, "sink: %s socket: %s\n", o->calls->name, strerror(errno));
		exit(1);
	}
	/* Kernel sockets: past rmem_max. What the runtime makes of SO_RCVBUF is its own. */
	if (o->rcvbuf &&
	    o->calls->setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &o->rcvbuf, sizeof(o->rcvbuf)) &&
	    o->calls->setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &o->rcvbuf, sizeof(o->rcvbuf))) {
		fprintf(stderr, "sink: %s SO_RCVBUF %u: %s\n", o->calls->name, o->rcvbuf,
			strerror(errno));
		exit(1);
	}
	if (o->calls->bind(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		fprintf(stderr, "sink: %s bind port %u: %s\n", o->calls->name, ntohs(addr.sin_port),
			strerror(errno));
		exit(1);
	}
	return fd;
}

/* One sender: numbers rise. Lost is what is missing below the highest, in the end. */
static inline void note(const uint8_t *data, uint32_t length)
{
	uint64_t seq;

	counters->bytes += length;
	if (length < sizeof(seq))
		return;
	memcpy(&seq, data, sizeof(seq));
	if (seq >= counters->highest)
		counters->highest = seq + 1;
	else
		counters->late++;
}

static struct mmsghdr msgs[VLEN];
static struct iovec iovs[VLEN];
static struct sockaddr_in peers[VLEN];

static void acknowledge(const struct options *o, int fd, const struct sockaddr_in *peer)
{
	static uint64_t acked;

	if (counters->received - acked < o->ack)
		return;
	acked = counters->received;
	if (o->calls->sendto(fd, &acked, sizeof(acked), 0, (const struct sockaddr *)peer,
			     sizeof(*peer)) < 0)
		counters->failed++;
	else
		counters->sent++;
}

/* What an application would do with `n` datagrams. */
static void work(const struct options *o, int n)
{
	struct timespec start, now;

	clock_gettime(CLOCK_MONOTONIC, &start);
	do
		clock_gettime(CLOCK_MONOTONIC, &now);
	while ((now.tv_sec - start.tv_sec) * 1000000000l + now.tv_nsec - start.tv_nsec <
	       (long)o->work_ns * n);
}

/* Receives what is there, at most a batch. Returns the number, 0 or -1 for none. */
static int receive(const struct options *o, int fd, int flags)
{
	int i, n;

	if (o->recv_one) {
		socklen_t length = sizeof(peers[0]);
		ssize_t got = o->calls->recvfrom(
			fd, iovs[0].iov_base, iovs[0].iov_len, flags & ~MSG_WAITFORONE,
			o->ack ? (struct sockaddr *)&peers[0] : NULL, o->ack ? &length : NULL);

		if (got < 0)
			return -1;
		note(iovs[0].iov_base, (uint32_t)got);
		n = 1;
	} else {
		n = o->calls->recvmmsg(fd, msgs, o->ack && o->ack < VLEN ? o->ack : VLEN, flags,
				       NULL);
		if (n <= 0)
			return n;
		for (i = 0; i < n; i++)
			note(iovs[i].iov_base, msgs[i].msg_len);
	}
	if (o->work_ns)
		work(o, n);
	counters->received += (uint64_t)n;
	counters->calls++;
	if (o->ack)
		acknowledge(o, fd, &peers[n - 1]);
	return n;
}

/* For the coordinator of a comparison: how many bytes of SO_RCVBUF one datagram takes. */
static void measure_truesize(int fd)
{
	uint32_t info[SK_MEMINFO_VARS] = {0};
	socklen_t length = sizeof(info);
	uint32_t before = 0;
	int i;

	for (i = 0; i < 200; i++) {
		usleep(20000);
		if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &length) != 0)
			return;
		if (info[SK_MEMINFO_RMEM_ALLOC] && info[SK_MEMINFO_RMEM_ALLOC] == before)
			break;
		before = info[SK_MEMINFO_RMEM_ALLOC];
	}
	for (i = 0; receiver_stock_recvfrom(fd, iovs[0].iov_base, iovs[0].iov_len, MSG_DONTWAIT,
					    NULL, NULL) >= 0;
	     i++)
		;
	if (i)
		counters->truesize = info[SK_MEMINFO_RMEM_ALLOC] / (uint32_t)i;
}

int main(int argc, char **argv)
{
	struct rlimit files = {20000, 20000};
	struct options o;
	struct pollfd *fds;
	uint32_t i;

	parse(argc, argv, &o);
	counters = receiver_counters();
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	for (i = 0; i < VLEN; i++) {
		iovs[i] = (struct iovec){calloc(1, o.length), o.length};
		msgs[i].msg_hdr = (struct msghdr){.msg_iov = &iovs[i], .msg_iovlen = 1};
		if (o.ack) {
			msgs[i].msg_hdr.msg_name = &peers[i];
			msgs[i].msg_hdr.msg_namelen = sizeof(peers[i]);
		}
	}
	fds = calloc(o.active, sizeof(*fds));
	for (i = 0; i < o.active + o.idle; i++) {
		struct sockaddr_in addr = o.addr;
		int fd;

		addr.sin_port = htons((uint16_t)(ntohs(addr.sin_port) + i));
		fd = open_socket(&o, addr);
		if (i < o.active)
			fds[i] = (struct pollfd){.fd = fd, .events = POLLIN};
		counters->sockets = i + 1;
	}
	__atomic_store_n(&counters->ready, 1, __ATOMIC_RELEASE);
	if (o.measure_truesize) {
		measure_truesize(fds[0].fd);
		return 0;
	}
	if (o.active == 1) {
		for (i = 0;; i++) {
			if (receive(&o, fds[0].fd, MSG_WAITFORONE) < 0 && errno != EINTR) {
				fprintf(stderr, "sink: %s receive: %s\n", o.calls->name,
					strerror(errno));
				return 1;
			}
			if (i % 1024 == 0)
				receiver_stats(o.calls, fds[0].fd, counters);
		}
	}
	for (;;) {
		bool any = false;

		for (i = 0; i < o.active; i++)
			any |= receive(&o, fds[i].fd, MSG_DONTWAIT) > 0;
		if (!any)
			o.calls->poll(fds, o.active, 100);
	}
}

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * stream - a TCP server on stock sockets or on LRP. It accepts connections and does
 * with each of them what --serve says:
 *
 *   echo      sends each message of --length bytes back
 *   once      does so once, then closes: connect, one request, close
 *   discard   reads and counts what comes, until the peer has finished
 *   source    writes, until --total bytes are written or the peer has gone
 *   hold      nothing; the peer closes
 *   none      does not even accept
 *
 * One connection after the other; with --poll all at once in one thread (echo), those beyond the first
 * --active of them accepted and left alone; with --threads each in a thread of its own; with --turn N
 * (echo) N of them, one message on each in turn.
 *
 * With --beside N it starts N processes that compute, in its session: where the kernel groups
 * processes by session, all are one group, as on a machine that does not group them. --nice is its own.
 */
#include <arpa/inet.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "receiver.h"

enum serve { ECHO, ONCE, DISCARD, SOURCE, HOLD, NONE, SERVES };
static const char *const serve_name[SERVES] = {"echo", "once", "discard", "source", "hold", "none"};

static struct options {
	const struct receiver_calls *calls;
	struct sockaddr_in addr;
	enum serve serve;
	uint64_t total;
	uint32_t length, window, backlog, active, turn, beside;
	int nice;
	bool poll, threads;
} o = {.calls = &receiver_stock,
       .length = 64,
       .backlog = 1024,
       .active = UINT32_MAX,
       .addr = {.sin_family = AF_INET}};

static struct bench_counters *counters;

/* Threads count, too. */
static inline void count(uint64_t *counter, uint64_t n)
{
	__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

static void usage(void)
{
	fprintf(stderr,
		"Usage: stream [--system stock|lrp] [--addr A] [--port P] [--length BYTES]\n"
		"              [--serve echo|once|discard|source|hold|none] [--total BYTES]\n"
		"              [--poll [--active N]|--threads|--turn N] [--window BYTES]\n"
		"              [--backlog N] [--beside N] [--nice N]\n");
	exit(2);
}

static enum serve serve_of(const char *name)
{
	int i;

	for (i = 0; i < SERVES; i++)
		if (strcmp(name, serve_name[i]) == 0)
			return (enum serve)i;
	usage();
	return ECHO;
}

static void parse(int argc, char **argv)
{
	static const struct option longs[] = {
		{"system", 1, 0, 's'}, {"addr", 1, 0, 'a'},    {"port", 1, 0, 'p'},
		{"serve", 1, 0, 'd'},  {"length", 1, 0, 'l'},  {"total", 1, 0, 't'},
		{"poll", 0, 0, 'P'},   {"threads", 0, 0, 'T'}, {"window", 1, 0, 'w'},
		{"active", 1, 0, 'A'}, {"turn", 1, 0, 'R'},    {"backlog", 1, 0, 'b'},
		{"beside", 1, 0, 'B'}, {"nice", 1, 0, 'n'},    {0}};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 's':
			o.calls = receiver_find("stream", optarg);
			break;
		case 'a':
			if (inet_pton(AF_INET, optarg, &o.addr.sin_addr) != 1)
				usage();
			break;
		case 'p':
			o.addr.sin_port = htons((uint16_t)atoi(optarg));
			break;
		case 'd':
			o.serve = serve_of(optarg);
			break;
		case 'l':
			o.length = (uint32_t)atoi(optarg);
			break;
		case 't':
			o.total = strtoull(optarg, NULL, 0);
			break;
		case 'P':
			o.poll = true;
			break;
		case 'T':
			o.threads = true;
			break;
		case 'w':
			o.window = (uint32_t)atoi(optarg);
			break;
		case 'A':
			o.active = (uint32_t)atoi(optarg);
			break;
		case 'R':
			o.turn = (uint32_t)atoi(optarg);
			break;
		case 'B':
			o.beside = (uint32_t)atoi(optarg);
			break;
		case 'n':
			o.nice = atoi(optarg);
			break;
		case 'b':
			o.backlog = (uint32_t)atoi(optarg);
			break;
		default:
			usage();
		}
	}
	if (!o.length || o.poll + o.threads + !!o.turn > 1 ||
	    ((o.poll || o.turn) && o.serve != ECHO))
		usage();
}

static __attribute__((noreturn)) void fail(const char *what)
{
	fprintf(stderr, "stream: %s %s: %s\n", o.calls->name, what, strerror(errno));
	exit(1);
}

/*
 * So many bytes of payload are buffered at most. The kernel counts truesize against SO_RCVBUF, which
 * says little about payload, and can clamp the window; of the runtime, which counts payload, the
 * (doubled) SO_RCVBUF is the limit. The kernel's clamp does not last (seen on Linux 6.18): it is said
 * again, see discard().
 */
static int limit_window(int fd)
{
	uint32_t half = o.window / 2;

	if (o.calls == &receiver_stock)
		return o.calls->setsockopt(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, &o.window,
					   sizeof(o.window));
	return o.calls->setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &half, sizeof(half));
}

static int open_listener(void)
{
	int fd = o.calls->socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	if (fd < 0)
		fail("socket");
	o.calls->setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	/* Connections inherit them. Everybody is a CUBIC, whatever the machine's default is. */
	if (o.calls->setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5))
		fail("TCP_CONGESTION");
	if (o.window && limit_window(fd))
		fail("limiting the window");
	if (o.calls->bind(fd, (struct sockaddr *)&o.addr, sizeof(o.addr)))
		fail("bind");
	if (o.calls->listen(fd, (int)o.backlog))
		fail("listen");
	return fd;
}

static ssize_t receive(int fd, void *buf, size_t length, int flags)
{
	ssize_t n;

	do
		n = o.calls->recvfrom(fd, buf, length, flags, NULL, NULL);
	while (n < 0 && errno == EINTR);
	return n;
}

/* All of it. */
static bool transmit(int fd, const uint8_t *buf, size_t length)
{
	while (length) {
		ssize_t n = o.calls->sendto(fd, buf, length, MSG_NOSIGNAL, NULL, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			count(&counters->failed, 1);
			return false;
		}
		buf += n;
		length -= (size_t)n;
	}
	return true;
}

static bool echo(int fd, uint8_t *buf)
{
	size_t have = 0;

	while (have < o.length) {
		ssize_t n = receive(fd, buf + have, o.length - have, 0);

		if (n <= 0)
			return false;
		have += (size_t)n;
	}
	if (!transmit(fd, buf, o.length))
		return false;
	count(&counters->received, 1);
	return true;
}

static void discard(int fd, uint8_t *buf)
{
	ssize_t n;
	int i;

	for (i = 0; (n = receive(fd, buf, o.length, 0)) > 0; i++) {
		count(&counters->bytes, (uint64_t)n);
		if (o.window && o.calls == &receiver_stock && (i < 64 || i % 256 == 0))
			limit_window(fd);
		if (i % 1024 == 0)
			receiver_stats(o.calls, fd, counters);
	}
}

static void source(int fd, uint8_t *buf)
{
	uint64_t left = o.total ? o.total : UINT64_MAX;

	while (left) {
		size_t n = left < o.length ? (size_t)left : o.length;

		if (!transmit(fd, buf, n))
			return;
		count(&counters->bytes, n);
		left -= n;
	}
}

/* What there is to do on one connection; it is closed then. */
static void serve(int fd)
{
	uint8_t *buf = calloc(1, o.length);

	if (!buf)
		fail("memory");
	switch (o.serve) {
	case ECHO:
		while (echo(fd, buf))
			if (counters->received % 1024 == 1)
				receiver_stats(o.calls, fd, counters);
		break;
	case ONCE:
		echo(fd, buf);
		break;
	case DISCARD:
		discard(fd, buf);
		break;
	case SOURCE:
		source(fd, buf);
		break;
	default:
		receive(fd, buf, 1, 0);
	}
	o.calls->close(fd);
	free(buf);
}

static void *serve_thread(void *arg)
{
	serve((int)(intptr_t)arg);
	return NULL;
}

static int accept_one(int lfd, int flags)
{
	int fd = o.calls->accept4(lfd, NULL, NULL, SOCK_CLOEXEC | flags);

	if (fd < 0 && errno != EINTR && errno != EAGAIN && errno != ECONNABORTED)
		fail("accept");
	if (fd >= 0)
		count(&counters->sockets, 1);
	return fd;
}

/* ---- all at once ------------------------------------------------------------------- */

struct message {
	uint32_t have;
	uint8_t data[];
};

static struct pollfd *fds;
static struct message **messages;
static nfds_t open_fds, room;

static void add(int fd)
{
	if (open_fds == room) {
		room = room ? 2 * room : 64;
		fds = realloc(fds, room * sizeof(*fds));
		messages = realloc(messages, room * sizeof(*messages));
	}
	if (!fds || !messages ||
	    !(messages[open_fds] = calloc(1, sizeof(struct message) + o.length)))
		fail("memory");
	fds[open_fds++] = (struct pollfd){.fd = fd, .events = POLLIN};
}

static void drop(nfds_t i)
{
	o.calls->close(fds[i].fd);
	free(messages[i]);
	open_fds--;
	fds[i] = fds[open_fds];
	messages[i] = messages[open_fds];
}

/* False: the connection has ended. */
static bool echo_what_came(nfds_t i)
{
	struct message *m = messages[i];
	ssize_t n = receive(fds[i].fd, m->data + m->have, o.length - m->have, MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return true;
	if (n <= 0)
		return false;
	m->have += (uint32_t)n;
	if (m->have < o.length)
		return true;
	m->have = 0;
	if (!transmit(fds[i].fd, m->data, o.length))
		return false;
	count(&counters->received, 1);
	return true;
}

static void serve_all(int lfd)
{
	uint64_t turns;
	nfds_t i;
	int fd;

	add(lfd);
	for (turns = 0;; turns++) {
		if (o.calls->poll(fds, open_fds, -1) < 0 && errno != EINTR)
			fail("poll");
		/* Backwards: what drop() moves into the gap has had its turn. */
		for (i = open_fds; --i > 0;)
			if (fds[i].revents && !echo_what_came(i))
				drop(i);
		if (fds[0].revents) {
			fd = accept_one(lfd, 0);
			if (fd >= 0 && open_fds <= o.active)
				add(fd);
		}
		if (turns % 1024 == 0)
			receiver_stats(o.calls, lfd, counters);
	}
}

/* ---- in turn ----------------------------------------------------------------------- */

static void serve_in_turn(int lfd)
{
	uint8_t *buf = calloc(1, o.length);
	int *fd = calloc(o.turn, sizeof(*fd));
	uint32_t i;

	if (!fd || !buf)
		fail("memory");
	for (i = 0; i < o.turn; i++)
		while ((fd[i] = accept_one(lfd, 0)) < 0)
			;
	for (;;) {
		for (i = 0; i < o.turn; i++)
			if (!echo(fd[i], buf))
				return;
		receiver_stats(o.calls, fd[0], counters);
	}
}

/* ---- processes beside -------------------------------------------------------------- */

static void compute_beside(void)
{
	volatile uint64_t turns = 0;
	uint32_t i;

	for (i = 0; i < o.beside; i++) {
		if (fork())
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prctl(PR_SET_NAME, "compute");
		for (;;)
			turns++;
	}
}

int main(int argc, char **argv)
{
	struct rlimit files;
	pthread_attr_t attr;
	char name[16];
	pthread_t thread;
	int lfd, fd;

	o.addr.sin_port = htons(5000);
	parse(argc, argv);
	/* Profiles tell the systems apart. */
	snprintf(name, sizeof(name), "stream-%s", o.calls->name);
	prctl(PR_SET_NAME, name);
	signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	compute_beside();
	if (setpriority(PRIO_PROCESS, 0, o.nice))
		fail("setpriority");
	counters = receiver_counters();
	lfd = open_listener();
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	__atomic_store_n(&counters->ready, 1, __ATOMIC_RELEASE);
	if (o.serve == NONE)
		for (;;)
			pause();
	if (o.poll)
		serve_all(lfd);
	if (o.turn) {
		serve_in_turn(lfd);
		return 0;
	}
	for (;;) {
		fd = accept_one(lfd, 0);
		if (fd < 0)
			continue;
		if (!o.threads)
			serve(fd);
		else if ((errno = pthread_create(&thread, &attr, serve_thread,
						 (void *)(intptr_t)fd)))
			fail("pthread_create");
	}
}

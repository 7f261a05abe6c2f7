/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_stream_backlog.c - more connections than a listener takes: SYNs die in XDP while its accept
 * queue is full, and are answered as soon as it is not; its half-open table full of SYNs that lead to nothing,
 * real clients connect by cookies; while nobody accepts, a flood costs next to no CPU time. The clients
 * are kernel sockets; what they have sent before they are accepted is not lost.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/time.h>
#include <time.h>

#include "fault_bed.h"
#include "socket_harness.h"

#define BACKLOG 2

/* A server that does what it is told: 'a': accept one and echo on it in a process of its own, 'f': accept for
 * ever, 'd': say whether XDP has discarded anything; any other time it makes no call. */
struct server {
	struct run run;
	pid_t pid;
	int order[2], answer[2];
};

static _Noreturn void echo(int fd)
{
	char buf[4096];
	ssize_t n;

	while ((n = lrp_recv(fd, buf, sizeof(buf), 0)) > 0)
		lrp_send(fd, buf, (size_t)n, 0);
	lrp_close(fd);
	exit(0);
}

static void accept_one(int lfd)
{
	int fd = lrp_accept(lfd, NULL, NULL);

	if (fd < 0)
		_exit(1);
	if (fork() == 0) {
		lrp_close(lfd);
		echo(fd);
	}
	lrp_close(fd);
}

static _Noreturn void serve(struct server *s, int backlog)
{
	struct sockaddr_storage a;
	socklen_t len = addr_any(&s->run, &a, PORT);
	int lfd = lrp_socket(s->run.family, SOCK_STREAM, 0), on = 1;
	struct lrp_stats st = {.sz = sizeof(st)};
	char c = 0, reply;

	signal(SIGCHLD, SIG_IGN);
	close(s->order[1]); /* it ends with us */
	lrp_setsockopt(lfd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (lfd < 0 || lrp_bind(lfd, (void *)&a, len) || lrp_listen(lfd, backlog))
		_exit(1);
	do {
		if (c == 'a')
			accept_one(lfd);
		while (c == 'f')
			accept_one(lfd);
		lrp_stats(lfd, &st);
		reply = c == 'd' && st.discarded;
		if (write(s->answer[1], &reply, 1) != 1)
			break;
	} while (read(s->order[0], &c, 1) == 1);
	_exit(0);
}

static void tell(struct server *s, char c)
{
	must(write(s->order[1], &c, 1) == 1, "order");
	if (c == 'a')
		must(read(s->answer[0], &c, 1) == 1, "answer");
}

static bool discards(struct server *s)
{
	char c;

	must(write(s->order[1], "d", 1) == 1 && read(s->answer[0], &c, 1) == 1, "order");
	return c;
}

static void spawn(struct server *s, int family, int backlog)
{
	char c;

	*s = (struct server){.run.family = family};
	must(!pipe(s->order) && !pipe(s->answer), "pipe");
	fflush(stdout);
	s->pid = fork();
	if (!s->pid)
		serve(s, backlog);
	close(s->answer[1]);
	must(read(s->answer[0], &c, 1) == 1, "server");
}

static void end(struct server *s)
{
	kill(s->pid, SIGKILL);
	waitpid(s->pid, NULL, 0);
	close(s->order[0]);
	close(s->order[1]);
	close(s->answer[0]);
}

/* A kernel socket that begins to connect. */
static int begin_connect(struct server *s)
{
	int fd = client_socket(s->run.family, SOCK_STREAM, 0);
	struct timeval tv = {.tv_sec = 5};
	struct sockaddr_storage a;
	socklen_t len = addr_server(&s->run, &a, PORT);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	fcntl(fd, F_SETFL, O_NONBLOCK);
	if (connect(fd, (void *)&a, len))
		must(errno == EINPROGRESS, "connect");
	return fd;
}

/* Milliseconds until it is connected; -1: not within `ms`. */
static int connected(int fd, int ms)
{
	uint64_t from = fault_now_ns();
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	int error = 0;
	socklen_t len = sizeof(error);

	if (poll(&p, 1, ms) != 1)
		return -1;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) || error)
		return -1;
	fcntl(fd, F_SETFL, 0);
	return (int)((fault_now_ns() - from) / 1000000u);
}

static void ping(int fd, const char *what)
{
	char c = 0;

	CHECK(send(fd, "p", 1, 0) == 1 && recv(fd, &c, 1, 0) == 1 && c == 'p', "%s: %s", what,
	      strerror(errno));
}

static void queue_full(int family)
{
	int fd[BACKLOG + 1], established, late, ms;
	long dropped = fault_reason("s0", "drop_backlog");
	struct server s;
	char buf[8];

	spawn(&s, family, BACKLOG);
	established = begin_connect(&s);
	CHECK(connected(established, 1000) >= 0, "first");
	tell(&s, 'a');
	ping(established, "established");
	/* As in Linux one more than the backlog fits. Each says something, one says goodbye, too. */
	for (int i = 0; i <= BACKLOG; i++) {
		fd[i] = begin_connect(&s);
		CHECK(connected(fd[i], 1000) >= 0, "number %d of the queue", i);
		CHECK(send(fd[i], "hello", 5, 0) == 5, "send");
	}
	shutdown(fd[1], SHUT_WR);
	fault_sleep_ms(50); /* the last ones are in the queue */
	CHECK(!discards(&s), "discarded before there were too many");
	late = begin_connect(&s);
	CHECK(connected(late, 300) < 0, "a connection more than the queue takes");
	CHECK(fault_reason("s0", "drop_backlog") > dropped, "its SYN did not die in XDP");
	CHECK(discards(&s), "and the listener's socket does not say so");
	ping(established, "established, while the queue is full");
	dropped = fault_reason("s0", "drop_backlog");
	/* Room for one: its next SYN comes a second after the first. */
	tell(&s, 'a');
	ms = connected(late, 3000);
	CHECK(ms >= 0 && ms < 2500, "after accept() it took %d ms", ms);
	CHECK(recv(fd[0], buf, 5, MSG_WAITALL) == 5, "what was said before accept()");
	tell(&s, 'a');
	CHECK(recv(fd[1], buf, 5, MSG_WAITALL) == 5, "what was said before accept()");
	CHECK(recv(fd[1], buf, 5, 0) == 0, "the end after it");
	tell(&s, 'a');
	tell(&s, 'a');
	ping(late, "the late one");
	ping(established, "established");
	for (int i = 0; i <= BACKLOG; i++)
		close(fd[i]);
	close(late);
	close(established);
	end(&s);
}

/* SYNs from addresses where nobody is, so that nothing becomes of them. */
static pid_t flood(int rate, int seconds)
{
	char command[400];
	pid_t pid;

	snprintf(command, sizeof(command),
		 "exec build/bin/lrp-load --device c0 --to 198.18.1.1 --port %d --kind syn "
		 "--from 198.18.1.100 --sources 100 --sports 50000 --rate %d --seconds %d "
		 ">/dev/null",
		 PORT, rate, seconds);
	fflush(stdout);
	pid = fork();
	if (!pid)
		_exit(client_run(command));
	fault_sleep_ms(1000);
	return pid;
}

static uint64_t cpu_ns(pid_t pid)
{
	struct timespec ts = {0};
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &ts))
		return 0;
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void cookies(void)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);
	struct server s;
	pid_t load;
	int fd, ms;

	spawn(&s, AF_INET, 64);
	tell(&s, 'f');
	load = flood(20000, 3);
	for (int i = 0; i < 3; i++) {
		fd = begin_connect(&s);
		ms = connected(fd, 2000);
		CHECK(ms >= 0, "no connection while the table of half-open ones is full");
		CHECK(!getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len), "TCP_INFO");
		CHECK((info.tcpi_options &
		       (TCPI_OPT_SACK | TCPI_OPT_TIMESTAMPS | TCPI_OPT_WSCALE)) ==
			      (TCPI_OPT_SACK | TCPI_OPT_TIMESTAMPS | TCPI_OPT_WSCALE),
		      "options %x", info.tcpi_options);
		CHECK(info.tcpi_snd_mss == 1448, "MSS %u", info.tcpi_snd_mss);
		ping(fd, "by a cookie");
		close(fd);
		printf("under 20,000 SYNs/s: connected after %d ms\n", ms);
	}
	waitpid(load, NULL, 0);
	end(&s);
}

static void nobody_accepts(void)
{
	long dropped, taken;
	uint64_t cpu, from;
	double percent;
	struct server s;
	pid_t load;
	int established, fd, ms;

	spawn(&s, AF_INET, 64);
	established = begin_connect(&s);
	CHECK(connected(established, 1000) >= 0, "first");
	tell(&s, 'a');
	load = flood(50000, 4);
	dropped = fault_reason("s0", "drop_backlog");
	taken = fault_reason("s0", "enqueued");
	cpu = cpu_ns(s.pid);
	from = fault_now_ns();
	fault_sleep_ms(1000);
	percent = (double)(cpu_ns(s.pid) - cpu) * 100 / (double)(fault_now_ns() - from);
	dropped = fault_reason("s0", "drop_backlog") - dropped;
	taken = fault_reason("s0", "enqueued") - taken;
	printf("50,000 SYNs/s at who does not accept: %.1f %% of a CPU; "
	       "%ld died in XDP, %ld did not\n",
	       percent, dropped, taken);
	CHECK(percent < 25, "too much");
	CHECK(dropped > taken, "no discard to speak of");
	ping(established, "established, under the flood");
	/* Who calls gets his clients, at once or with their next SYN. */
	tell(&s, 'f');
	fd = begin_connect(&s);
	ms = connected(fd, 2500);
	CHECK(ms >= 0, "no connection, though accept() waits for one");
	ping(fd, "under the flood");
	waitpid(load, NULL, 0);
	close(fd);
	close(established);
	end(&s);
}

int main(int argc, char **argv)
{
	(void)argc;
	fault_begin(argv, NULL);
	queue_full(AF_INET);
	queue_full(AF_INET6);
	cookies();
	nobody_accepts();
	fault_audit_idle("in the end", 5000);
	return fault_end();
}

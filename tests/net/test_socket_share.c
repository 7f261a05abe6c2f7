/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_socket_share.c - one socket, many receivers: threads, forked processes,
 * processes that are killed at any moment. Every datagram is received exactly
 * once (by the killed ones: at most once). And what a single process cannot
 * show otherwise: closing under a sleeper, zero-copy receive.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lrp/lrp.h>

#include "../../runtime/dgram/dgram.h"
#include "../lib/bed.h"
#include "../lib/check.h"
#include "socket_harness.h"

#define DATAGRAMS 30000
#define RECEIVERS 4

static _Atomic unsigned char *seen; /* shared by all processes: how often each was received */
static _Atomic int *stop;
static struct run run4 = {.ops = &lrp_ops, .family = AF_INET, .lrp = true};

static int open_socket(void)
{
	struct timeval tick = {.tv_usec = 100000};
	int fd = bound_socket(&run4), size = 40000000;

	lrp_setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	lrp_setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tick, sizeof(tick));
	return fd;
}

static void receive_until_stopped(int fd)
{
	unsigned int number[8];
	struct mmsghdr msgs[8];
	struct iovec iov[8];
	int i, n;

	for (i = 0; i < 8; i++) {
		iov[i] = (struct iovec){&number[i], sizeof(number[i])};
		msgs[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &iov[i], .msg_iovlen = 1}};
	}
	for (;;) {
		n = lrp_recvmmsg(fd, msgs, 1 + (unsigned int)(random() & 7), MSG_WAITFORONE, NULL);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return;
		for (i = 0; i < n; i++)
			if (number[i] < DATAGRAMS)
				atomic_fetch_add(&seen[number[i]], 1);
		if (n < 0 && atomic_load(stop))
			return;
	}
}

static void send_numbers(unsigned int from, unsigned int to)
{
	unsigned int i;

	for (i = from; i < to; i++) {
		peer_send(&run4, &i, sizeof(i));
		if (i % 64 == 63)
			usleep(300);
	}
}

static void reset(void)
{
	memset((void *)seen, 0, DATAGRAMS);
	atomic_store(stop, 0);
}

static void count(int *missing, int *twice)
{
	int i;

	*missing = *twice = 0;
	for (i = 0; i < DATAGRAMS; i++) {
		*missing += seen[i] == 0;
		*twice += seen[i] > 1;
	}
}

static void *thread_main(void *arg)
{
	receive_until_stopped(*(int *)arg);
	return NULL;
}

static void threads(void)
{
	pthread_t thread[RECEIVERS];
	int fd = open_socket(), i, missing, twice;
	struct lrp_stats st = {.sz = sizeof(st)};

	reset();
	for (i = 0; i < RECEIVERS; i++)
		pthread_create(&thread[i], NULL, thread_main, &fd);
	send_numbers(0, DATAGRAMS);
	atomic_store(stop, 1);
	for (i = 0; i < RECEIVERS; i++)
		pthread_join(thread[i], NULL);
	count(&missing, &twice);
	lrp_stats(fd, &st);
	CHECK(!missing && !twice, "%d missing, %d twice, dropped %lu", missing, twice,
	      (unsigned long)st.dropped);
	CHECK(st.call + st.helper + st.eager >= DATAGRAMS / 2, "only %lu through the channel",
	      (unsigned long)(st.call + st.helper + st.eager));
	lrp_close(fd);
}

static pid_t start_receiver(int fd)
{
	pid_t pid = fork();

	if (pid == 0) {
		srandom((unsigned int)getpid());
		receive_until_stopped(fd);
		_exit(0);
	}
	return pid;
}

static void processes(void)
{
	int fd = open_socket(), i, missing, twice, status;
	pid_t pid[RECEIVERS];

	reset();
	for (i = 0; i < RECEIVERS; i++)
		pid[i] = start_receiver(fd);
	send_numbers(0, DATAGRAMS);
	atomic_store(stop, 1);
	for (i = 0; i < RECEIVERS; i++) {
		waitpid(pid[i], &status, 0);
		CHECK(status == 0, "child ended with %x", (unsigned int)status);
	}
	count(&missing, &twice);
	CHECK(!missing && !twice, "%d missing, %d twice", missing, twice);
	/* the parent has it still */
	reset();
	peer_send(&run4, &(int){7}, sizeof(int));
	usleep(20000);
	atomic_store(stop, 1);
	receive_until_stopped(fd);
	CHECK(seen[7] == 1, "the parent received %d", seen[7]);
	lrp_close(fd);
}

/* Receivers are killed and replaced all the time, many of them with the socket's lock held. */
static void killed(void)
{
	int fd = open_socket(), i, missing, twice, kills = 0, status;
	pid_t pid[RECEIVERS];
	unsigned int sent = 0;

	reset();
	for (i = 0; i < RECEIVERS; i++)
		pid[i] = start_receiver(fd);
	while (sent + 200 <= DATAGRAMS - 1000) {
		send_numbers(sent, sent + 200);
		sent += 200;
		i = (int)(random() % RECEIVERS);
		kill(pid[i], SIGKILL);
		waitpid(pid[i], &status, 0);
		kills++;
		pid[i] = start_receiver(fd);
	}
	/* the last thousand with nobody killed: all must come */
	usleep(200000);
	send_numbers(DATAGRAMS - 1000, DATAGRAMS);
	atomic_store(stop, 1);
	for (i = 0; i < RECEIVERS; i++)
		waitpid(pid[i], &status, 0);
	count(&missing, &twice);
	for (i = DATAGRAMS - 1000, status = 0; i < DATAGRAMS; i++)
		status += seen[i] == 0;
	missing -= DATAGRAMS - 1000 - (int)sent;
	CHECK(status == 0, "%d of the last thousand are missing", status);
	CHECK(twice == 0, "%d came twice", twice);
	/* a killed process may have had up to eight in its hands, and frames in its batch */
	CHECK(missing <= kills * 9, "%d missing after %d kills", missing, kills);
	lrp_close(fd);
}

/* Dies with the lock held, in the middle of a batch. */
static void killed_holding_the_lock(void)
{
	int fd = open_socket(), i, n, got, status;
	struct lrp_packet p;
	struct lrp_from from;
	pid_t pid;

	for (i = 0; i < 20; i++) {
		send_numbers(0, 50);
		pid = fork();
		if (pid == 0) {
			struct lrp_view *l = lrp_view_of(fd);

			lrp_rx_lock(l->sock);
			for (n = 0; n < i && lrp_input_next(l, &p, &from, LRP_CONTEXT_CALL); n++)
				lrp_input_take(l->sock, &from);
			raise(SIGKILL);
		}
		waitpid(pid, &status, 0);
		CHECK(WIFSIGNALED(status), "status %x", (unsigned int)status);
		alarm(5); /* a lock that is not recovered is waited for in vain */
		for (got = 0; lrp_recv(fd, &n, sizeof(n), MSG_DONTWAIT) > 0; got++)
			;
		alarm(0);
		CHECK(got == 50 - i, "round %d: %d left", i, got);
	}
	lrp_close(fd);
}

static void *sleeper(void *arg)
{
	int fd = *(int *)arg;
	char buf[16];
	ssize_t n = lrp_recv(fd, buf, sizeof(buf), 0);

	return (void *)(intptr_t)(n < 0 ? -errno : n);
}

static void close_under_sleeper(void)
{
	struct timeval never = {0};
	struct timespec soon;
	pthread_t thread;
	int fd = bound_socket(&run4);
	void *result = NULL;

	lrp_setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &never, sizeof(never));
	pthread_create(&thread, NULL, sleeper, &fd);
	usleep(100000);
	lrp_close(fd);
	clock_gettime(CLOCK_REALTIME, &soon);
	soon.tv_sec += 2;
	CHECK(pthread_timedjoin_np(thread, &result, &soon) == 0, "still asleep after two seconds");
	CHECK((intptr_t)result == -EBADF, "recv said %ld", (long)(intptr_t)result);
}

static int spare;

static void close_it(int sig)
{
	(void)sig;
	lrp_close(spare);
}

/* lrp_close() in a signal handler, while the thread is inside other calls. */
static void close_in_handler(void)
{
	struct sigaction act = {.sa_handler = close_it, .sa_flags = SA_RESTART};
	int fd = open_socket(), i, value = 1;
	char buf[16];

	sigaction(SIGUSR1, &act, NULL);
	for (i = 0; i < 200; i++) {
		struct sockaddr_storage a;
		timer_t timer;
		struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
		struct itimerspec when = {.it_value.tv_nsec = 1000 + random() % 200000};

		spare = lrp_socket(AF_INET, SOCK_DGRAM, 0);
		lrp_bind(spare, (void *)&a, addr_any(&run4, &a, 0));
		timer_create(CLOCK_MONOTONIC, &ev, &timer);
		timer_settime(timer, 0, &when, NULL);
		while (lrp_getsockopt(spare, SOL_SOCKET, SO_TYPE, &value, &(socklen_t){4}) == 0) {
			int other = lrp_socket(AF_INET, SOCK_DGRAM, 0);

			lrp_bind(other, (void *)&a, addr_any(&run4, &a, 0));
			lrp_recv(other, buf, sizeof(buf), MSG_DONTWAIT);
			lrp_close(other);
			lrp_recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
		}
		timer_delete(timer);
	}
	signal(SIGUSR1, SIG_DFL);
	peer_text(&run4, "alive");
	CHECK(lrp_recv(fd, buf, sizeof(buf), 0) == 5, "the other socket: %s", strerror(errno));
	lrp_close(fd);
}

static void zero_copy(void)
{
	static struct lrp_zc zc[256];
	struct timeval tick = {.tv_usec = 100000};
	int fd = bound_socket(&run4), size = 60000, i, n, got, round;
	struct lrp_stats st = {.sz = sizeof(st)};

	lrp_setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	lrp_setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tick, sizeof(tick));
	for (round = 0; round < 20; round++) {
		/* keep all: the quota fills, and no more than the quota comes */
		for (i = 0; i < 300; i++)
			peer_send(&run4, &i, sizeof(i));
		for (got = 0; got < 256; got += n) {
			n = lrp_zc_recv(fd, zc + got, 256 - (unsigned int)got, 0);
			if (n < 0)
				break;
		}
		CHECK(errno == EAGAIN && got > 32 && got < 200, "round %d: got %d, %s", round, got,
		      strerror(errno));
		for (i = 0; i < got; i++) {
			CHECK(zc[i].len == sizeof(int) && *(int *)zc[i].data == i, "datagram %d",
			      i);
			CHECK(((struct sockaddr_in *)&zc[i].peer)->sin_port == htons(PEER_PORT),
			      "peer");
		}
		peer_send(&run4, &(int){-1}, sizeof(int));
		n = lrp_zc_recv(fd, zc + got, 1, MSG_DONTWAIT);
		CHECK(n < 0 && errno == EAGAIN, "one above the quota was taken");
		CHECK(lrp_zc_return(fd, zc, (unsigned int)got) == 0, "%s", strerror(errno));
		CHECK(lrp_zc_return(fd, zc, 1) < 0 && errno == EINVAL, "returned twice");
	}
	/* through loopback: a copy */
	n = socket(AF_INET, SOCK_DGRAM, 0);
	{
		struct sockaddr_storage a;
		socklen_t len = addr_server(&run4, &a, PORT);

		sendto(n, "copied", 6, 0, (void *)&a, len);
	}
	close(n);
	n = lrp_zc_recv(fd, zc, 4, 0);
	CHECK(n == 1 && zc[0].len == 6 && !memcmp(zc[0].data, "copied", 6), "loopback: %d", n);
	CHECK(lrp_zc_return(fd, zc, 1) == 0, "copy not returned");
	lrp_stats(fd, &st);
	CHECK(st.kernel == 1, "%lu through the kernel", (unsigned long)st.kernel);
	lrp_close(fd);
}

static void all(void)
{
	char *dump = NULL;
	size_t size = 0;

	seen = mmap(NULL, DATAGRAMS + sizeof(int), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	stop = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	run4.out = open_memstream(&dump, &size);
	run4.peer = client_socket(AF_INET, SOCK_DGRAM, 0);
	{
		struct sockaddr_storage a;

		bind(run4.peer, (void *)&a, addr_client(&run4, &a, PEER_PORT));
		connect(run4.peer, (void *)&a, addr_server(&run4, &a, PORT));
	}
	threads();
	processes();
	killed();
	killed_holding_the_lock();
	close_under_sleeper();
	close_in_handler();
	zero_copy();
}

int main(int argc, char **argv)
{
	const char *bin = getenv("LRP_BIN") ? getenv("LRP_BIN") : "build/bin";
	struct lrp_embed_opts opts = {.sz = sizeof(opts)};
	char command[256];
	int status;
	pid_t pid;

	(void)argc;
	setvbuf(stdout, NULL, _IOLBF, 0);
	bed_enter(argv);
	bed_needs_lrpd();
	bed_sh(BED_NET);
	pid = fork();
	if (pid == 0) {
		if (lrp_embed("s0", &opts)) {
			printf("lrp_embed: %s\n", lrp_embed_error());
			_exit(1);
		}
		all();
		printf("embedded: %d failures\n", check_failures);
		_exit(check_failures != 0);
	}
	waitpid(pid, &status, 0);
	snprintf(command, sizeof(command), "%s/lrp attach s0", bin);
	bed_sh(command);
	all();
	printf("lrpd: %d failures\n", check_failures);
	snprintf(command, sizeof(command), "%s/lrp status --audit", bin);
	if (system(command))
		check_failures++;
	return check_failures || status;
}

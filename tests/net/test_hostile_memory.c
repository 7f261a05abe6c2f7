/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_hostile_memory.c - a client without any privilege writes nonsense into all that it can map
 * of one pool: fill ring, RX rings, frame table, user page, frames; with threads, so that values
 * change between lrpd's look and its use; killed and begun anew all the time. Meanwhile
 *
 *   - lrpd answers root within a second;
 *   - another user's traffic on another device, with another UMEM, loses nothing and stays on its
 *     channel;
 *   - a TCP connection through the broken pool is not reset, and goes on afterwards;
 *   - the queue of the broken pool is served, by its channels or by the kernel, a second after the
 *     client has gone, and by its channels a little later.
 *
 * In the end detaching and stopping work while the client is there. LRP_SOAK_SECONDS for the
 * middle part; LRP_SEED.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/if_xdp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "../lib/bed.h"
#include "fault_bed.h"
#include "hostile.h"

#define LOG	  "build/tests/log/hostile_memory_lrpd.log"
#define NOBODY	  65534
#define RATE	  2000u /* packets a second to each receiver */
#define PORTS	  3
#define THREADS	  2
#define ANSWER_MS 1000u
#ifndef TCP_RTO_MAX_MS
#define TCP_RTO_MAX_MS 44 /* Linux 6.15 */
#endif

/* Shared by all processes of the test. */
struct shared {
	_Atomic bool stop, pause, paused;
	_Atomic uint64_t sent[2];
	_Atomic uint64_t asked, worst_ns[5]; /* by kind of request */
	_Atomic uint64_t opened, refused;
	_Atomic bool listens;
	_Atomic uint64_t exchanged;
	_Atomic int reset;
};

static struct shared *shared;

/* ---- traffic --------------------------------------------------------------------------- */

/* Numbered packets from the namespace, through the kernel's stack of the other side. */
static pid_t sender(const char *netns, const char *to, uint16_t port, int index)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct timespec pause = {.tv_nsec = 1000000000l / RATE};
	char path[64];
	pid_t pid = fork();
	int fd, ns;

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(path, sizeof(path), "/run/netns/%s", netns);
	ns = open(path, O_RDONLY | O_CLOEXEC);
	must(ns >= 0 && !setns(ns, CLONE_NEWNET), path);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	inet_pton(AF_INET, to, &addr.sin_addr);
	for (uint64_t n = 0; !shared->stop && n < FAULT_SEQS; n++) {
		uint64_t seq = n * PORTS + (uint64_t)(port - FAULT_PORT);

		if (sendto(fd, &seq, sizeof(seq), 0, (struct sockaddr *)&addr, sizeof(addr)) !=
		    sizeof(seq))
			n--;
		else
			shared->sent[index] = n + 1;
		nanosleep(&pause, NULL);
	}
	_exit(0);
}

static struct fault_app *receiver(uint16_t port, uid_t uid)
{
	struct fault_app *app = fault_app_new(port, PORTS);

	app->uid = uid;
	app->frames = 4096;
	app->nice = -10;
	return app;
}

/* A connection through the broken pool: a kernel client asks, an LRP server answers. */
static void tcp_server(void)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(FAULT_PORT)};
	char buf[512];
	ssize_t n;
	int fd, conn;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setpriority(PRIO_PROCESS, 0, -10);
	must(!setgroups(0, NULL) && !setresgid(65532, 65532, 65532) &&
		     !setresuid(65532, 65532, 65532),
	     "setuid");
	fd = lrp_socket(AF_INET, SOCK_STREAM, 0);
	must(fd >= 0 && !lrp_bind(fd, (struct sockaddr *)&any, sizeof(any)) && !lrp_listen(fd, 4),
	     "listen");
	shared->listens = true;
	conn = lrp_accept(fd, NULL, NULL);
	must(conn >= 0, "accept");
	while ((n = lrp_recv(conn, buf, sizeof(buf), 0)) > 0)
		if (lrp_send(conn, buf, (size_t)n, 0) != n)
			break;
	_exit(0);
}

static void tcp_client(void)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(FAULT_PORT)};
	int fd, ns = open("/run/netns/client", O_RDONLY | O_CLOEXEC);
	int rto_max_ms = 5000;
	char byte = 'x';

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	must(ns >= 0 && !setns(ns, CLONE_NEWNET), "setns");
	inet_pton(AF_INET, "198.18.1.1", &addr.sin_addr);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* So that the test waits for the next retransmission less long. Older kernels refuse. */
	setsockopt(fd, IPPROTO_TCP, TCP_RTO_MAX_MS, &rto_max_ms, sizeof(rto_max_ms));
	must(!connect(fd, (struct sockaddr *)&addr, sizeof(addr)), "connect");
	while (!shared->stop) {
		if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1 || recv(fd, &byte, 1, 0) != 1) {
			shared->reset = errno ? errno : ECONNRESET;
			break;
		}
		shared->exchanged++;
		fault_sleep_ms(5);
	}
	_exit(0);
}

/* ---- root asks ------------------------------------------------------------------------------ */

static int ask_once(unsigned int type)
{
	struct lrp_request request = {.type = (__u16)type};
	int fds[LRP_CONTROL_MAX_FDS], count, err = 1, fd = hostile_dial();
	struct lrp_reply reply;

	if (fd >= 0) {
		err = hostile_ask(fd, &request, &reply, fds, &count);
		for (int i = 0; i < count; i++)
			close(fds[i]);
		close(fd);
	}
	return err;
}

static pid_t root_asks(void)
{
	static const unsigned int type[] = {LRP_REQ_HELLO, LRP_REQ_STATUS, LRP_REQ_CHANNELS,
					    LRP_REQ_AUDIT};
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (unsigned int i = 0; !shared->stop; i++) {
		unsigned int kind = i % 16 == 15 ? 3 : i % 3;
		uint64_t before = fault_now_ns(), took;

		shared->paused = shared->pause;
		if (shared->pause) {
			fault_sleep_ms(5);
			continue;
		}
		if (ask_once(type[kind]))
			shared->worst_ns[4]++;
		took = fault_now_ns() - before;
		if (took > shared->worst_ns[kind])
			shared->worst_ns[kind] = took;
		shared->asked++;
		fault_sleep_ms(10);
	}
	_exit(0);
}

/* ---- the client ---------------------------------------------------------------------------- */

static struct hostile mine;

static void *write_all(void *data)
{
	uint64_t seed = (uintptr_t)data;

	for (;;) {
		hostile_write(&mine, &seed, 1000);
		/* Others must get a CPU, too, on a machine that has two. */
		fault_sleep_ms((unsigned int)(seed >> 40) % 3);
	}
	return NULL;
}

/* Writes for as long as it lives. */
static pid_t client(uint32_t ifindex, uint64_t seed)
{
	static const uint32_t sizes[] = {16, 256, 4096, 32768};
	pthread_t thread;
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "hostile\x1b[2J");
	must(!setgroups(0, NULL) && !setresgid(NOBODY, NOBODY, NOBODY) &&
		     !setresuid(NOBODY, NOBODY, NOBODY),
	     "setuid");
	setpriority(PRIO_PROCESS, 0, 10);
	if (!hostile_open(&mine, ifindex, sizes[seed % 4])) {
		shared->refused++;
		_exit(0);
	}
	shared->opened++;
	for (int i = 1; i < THREADS; i++)
		pthread_create(&thread, NULL, write_all, (void *)(uintptr_t)(seed * 2 + i));
	write_all((void *)(uintptr_t)(seed * 2 + 1001));
	_exit(0);
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* ---- the test -------------------------------------------------------------------------------- */

static void garbage(uint32_t ifindex, unsigned int seconds)
{
	uint64_t until = fault_now_ns() + seconds * 1000000000ull;

	while (fault_now_ns() < until) {
		uint64_t life = 200 + fault_random(3000);
		pid_t pid = client(ifindex, 1 + fault_random(1u << 30));

		while (life > 0 && fault_now_ns() < until && !waitpid(pid, NULL, WNOHANG)) {
			fault_sleep_ms(20);
			life = life > 20 ? life - 20 : 0;
		}
		end(pid);
	}
}

/* lrpd dies while a client writes; its successor finds the memory as it is. */
static void garbage_for_a_successor(uint32_t ifindex)
{
	pid_t pid = client(ifindex, 1 + fault_random(1u << 30));
	int old = fault_lrpd_pid();

	shared->pause = true;
	CHECK(FAULT_WAIT(shared->paused, 5000), "root's request does not end");
	fault_sleep_ms(100 + fault_random(400));
	kill(old, SIGKILL);
	CHECK(FAULT_WAIT(fault_lrpd_pid() > 0 && fault_lrpd_pid() != old, 5000), "no successor");
	shared->pause = false;
	fault_sleep_ms(1000);
	end(pid);
}

int main(int argc, char **argv)
{
	struct fault_app *there, *here, *fresh;
	unsigned int seconds;
	uint64_t was, through;
	uint32_t ifindex;
	pid_t send[2], tcp[2], asks, pid;

	(void)argc;
	fault_begin(argv, "--frames 4096");
	bed_sh("ping -c1 -W2 198.18.2.2 >/dev/null");
	/* Once more, with a log. */
	bed_sh("build/bin/lrp stop >/dev/null && rm -f " LOG);
	bed_sh("build/bin/lrpd --allow-uid 65533 --allow-uid 65532 --log " LOG);
	bed_sh("build/bin/lrp attach s0 --frames 4096 >/dev/null");
	bed_sh("build/bin/lrp attach s1 --frames 4096 >/dev/null");
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	ifindex = if_nametoindex("s0");
	seconds = fault_soak_s(30);
	there = receiver(FAULT_PORT, 65533);
	fault_spawn(there);
	here = receiver(FAULT_PORT + 1, 65532);
	fault_spawn(here);
	send[0] = sender("blaster", "198.18.2.1", FAULT_PORT, 0);
	send[1] = sender("client", "198.18.1.1", FAULT_PORT + 1, 1);
	CHECK(fault_receives(there, 3000) && fault_receives(here, 3000), "nothing arrives");
	tcp[0] = fork();
	if (!tcp[0])
		tcp_server();
	CHECK(FAULT_WAIT(shared->listens, 5000), "no TCP server");
	tcp[1] = fork();
	if (!tcp[1])
		tcp_client();
	CHECK(FAULT_WAIT(shared->exchanged > 20, 5000), "no TCP connection");
	asks = root_asks();

	for (unsigned int i = 0; i < 3; i++) {
		garbage(ifindex, (seconds + 2) / 3);
		garbage_for_a_successor(ifindex);
	}

	/* The client has gone. */
	CHECK(fault_receives(here, 1000), "the queue is not served a second after");
	fresh = receiver(FAULT_PORT + 2, 65532);
	fault_spawn(fresh);
	pid = sender("client", "198.18.1.1", FAULT_PORT + 2, 1);
	CHECK(fault_receives(fresh, 1000), "a fresh socket receives nothing");
	was = fresh->call;
	CHECK(FAULT_WAIT(fresh->call > was + RATE / 4, 20000),
	      "the queue is not served by its channels again: call %llu kernel %llu",
	      (unsigned long long)fresh->call, (unsigned long long)fresh->kernel);
	was = shared->exchanged;
	/* The next retransmission may be due as late as twice the time of the garbage. */
	CHECK(FAULT_WAIT(shared->exchanged > was + 100 || shared->reset, 70000) && !shared->reset,
	      "the TCP connection is over: %llu exchanges, %s",
	      (unsigned long long)shared->exchanged, strerror(shared->reset));
	printf("%llu exchanges by TCP\n", (unsigned long long)shared->exchanged);
	end(tcp[1]);
	end(tcp[0]);
	printf("%llu clients, %llu refused; %llu requests of root, %llu without an answer; worst "
	       "ms: hello %.0f status %.0f channels %.0f audit %.0f\n",
	       (unsigned long long)shared->opened, (unsigned long long)shared->refused,
	       (unsigned long long)shared->asked, (unsigned long long)shared->worst_ns[4],
	       (double)shared->worst_ns[0] / 1e6, (double)shared->worst_ns[1] / 1e6,
	       (double)shared->worst_ns[2] / 1e6, (double)shared->worst_ns[3] / 1e6);
	CHECK(shared->opened > seconds / 4, "only %llu clients got a channel",
	      (unsigned long long)shared->opened);
	CHECK(shared->asked > seconds * 5, "lrpd was asked only %llu times",
	      (unsigned long long)shared->asked);
	CHECK(shared->worst_ns[4] == 0, "%llu requests without an answer",
	      (unsigned long long)shared->worst_ns[4]);
	for (int kind = 0; kind < 4; kind++)
		CHECK(shared->worst_ns[kind] < ANSWER_MS * 1000000ull,
		      "request %d was answered after %.0f ms", kind,
		      (double)shared->worst_ns[kind] / 1e6);

	CHECK(fault_sh("grep -q 's0 queue 0: .*repaired.*hostile.*uid 65534' " LOG) == 0,
	      "no line names who had channels on the broken queue (" LOG ")");
	CHECK(fault_sh("grep -q 's1 queue 0:' " LOG) != 0, "the other pool was repaired, too");

	/* With a client that goes on, what root asks for is done. */
	pid_t last = client(ifindex, 4711);
	fault_sleep_ms(500);
	CHECK(fault_sh("timeout 5 build/bin/lrp status >/dev/null") == 0, "lrp status");
	fault_sh("timeout 5 build/bin/lrp status --audit >/dev/null");
	CHECK(fault_sh("timeout 5 build/bin/lrp detach s0 >/dev/null") == 0, "lrp detach");
	fault_sleep_ms(300);
	shared->stop = true;
	end(pid);
	waitpid(send[0], NULL, 0);
	waitpid(send[1], NULL, 0);
	waitpid(asks, NULL, 0);
	CHECK(FAULT_WAIT(there->received >= shared->sent[0], 2000),
	      "outside the pool %llu of %llu were received", (unsigned long long)there->received,
	      (unsigned long long)shared->sent[0]);
	through = there->kernel;
	CHECK(!there->doubled && !there->strange && !there->errors, "doubled or strange outside");
	CHECK(through == 0, "%llu came through the kernel outside", (unsigned long long)through);
	printf("outside: %llu of %llu received; inside: %llu (%llu through the kernel)\n",
	       (unsigned long long)there->received, (unsigned long long)shared->sent[0],
	       (unsigned long long)here->received, (unsigned long long)here->kernel);
	fault_stop(fresh);
	fault_stop(here);
	fault_stop(there);
	CHECK(fault_sh("timeout 5 build/bin/lrp stop >/dev/null") == 0, "lrp stop");
	end(last);
	printf(check_failures ? "%d failures\n" : "all well\n", check_failures);
	return check_failures ? 1 : 0;
}

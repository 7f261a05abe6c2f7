/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_stream_app.c - what the APP thread costs: with its process it gets the CPU share of one; a
 * process with many idle connections and one busy one spends nothing on the idle ones.
 */
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

#include "../../runtime/wire/checksum.h"
#include "fault_bed.h"
#include "socket_harness.h"

#define SERVICE	    7000
#define OTHERS_NICE (-10) /* as this test: other work on the machine disturbs less */
#define IDLE	    200	  /* connections */

static void on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* CPU time of a process, all threads: ns. */
static uint64_t cpu_ns(pid_t pid)
{
	struct timespec ts = {0};
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &ts))
		return 0;
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* ---- share of a busy CPU ----------------------------------------------------------- */

#define CHUNK 65536

enum work { READS, COMPUTES };

struct receiver {
	pid_t pid;
	int peer; /* a kernel socket that sends without end */
};

static pid_t spinner(int nice)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		on_cpu(0);
		setpriority(PRIO_PROCESS, 0, nice);
		for (;;)
			;
	}
	return pid;
}

/* Reads all the time; or computes, and looks now and then. */
static _Noreturn void receive(int fd, enum work work)
{
	static char buf[CHUNK];
	uint64_t until;

	for (;;) {
		if (lrp_recv(fd, buf, sizeof(buf), work == READS ? 0 : MSG_DONTWAIT) == 0)
			_exit(1);
		until = fault_now_ns() + 20000000u;
		while (work == COMPUTES && fault_now_ns() < until)
			;
	}
}

static void spawn(struct receiver *v, enum work work, int nice)
{
	struct run r = {.family = AF_INET};
	struct sockaddr_storage a;
	socklen_t len = addr_client(&r, &a, SERVICE);
	int lfd = client_socket(AF_INET, SOCK_STREAM, 0), on = 1, fd;

	setsockopt(lfd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	must(!bind(lfd, (void *)&a, len) && !listen(lfd, 5), "listen");
	fflush(stdout);
	v->pid = fork();
	if (!v->pid) {
		on_cpu(0);
		setpriority(PRIO_PROCESS, 0, nice);
		fd = lrp_socket(AF_INET, SOCK_STREAM, 0);
		if (fd < 0 || lrp_connect(fd, (void *)&a, len))
			_exit(1);
		receive(fd, work);
	}
	v->peer = accept(lfd, NULL, NULL);
	must(v->peer >= 0, "accept");
	close(lfd);
}

static atomic_bool stop;

/* The peer of this socket seems to send old acknowledgements, as fast as a CPU can. */
static void *flood(void *arg)
{
	static struct {
		struct iphdr ip;
		struct tcphdr tcp;
	} packet;
	static struct iovec iov = {&packet, sizeof(packet)};
	static struct mmsghdr message[64];
	struct sockaddr_in from, to;
	socklen_t len = sizeof(from);
	int raw = client_socket(AF_INET, SOCK_RAW, IPPROTO_RAW);

	on_cpu(1);
	getsockname(*(int *)arg, (void *)&from, &len);
	getpeername(*(int *)arg, (void *)&to, &len);
	packet.ip = (struct iphdr){.version = 4,
				   .ihl = 5,
				   .ttl = 64,
				   .protocol = IPPROTO_TCP,
				   .saddr = from.sin_addr.s_addr,
				   .daddr = to.sin_addr.s_addr};
	packet.ip.tot_len = htons(sizeof(packet));
	packet.tcp =
		(struct tcphdr){.source = from.sin_port, .dest = to.sin_port, .doff = 5, .ack = 1};
	packet.tcp.check = (uint16_t)~lrp_checksum_fold(lrp_checksum_add(
		lrp_checksum_pseudo4(from.sin_addr, to.sin_addr, IPPROTO_TCP, sizeof(packet.tcp)),
		lrp_checksum_sum(&packet.tcp, sizeof(packet.tcp))));
	for (int i = 0; i < 64; i++)
		message[i].msg_hdr = (struct msghdr){
			.msg_name = &to, .msg_namelen = len, .msg_iov = &iov, .msg_iovlen = 1};
	while (!atomic_load(&stop))
		(void)!sendmmsg(raw, message, 64, 0);
	close(raw);
	return NULL;
}

/* Percent of the CPU that the receiver gets, of three that want it. */
static double share(enum work work, int nice, int others_nice, unsigned int ms)
{
	struct receiver v;
	pthread_t sender;
	uint64_t from, before;
	pid_t other[2];
	double percent;

	spawn(&v, work, nice);
	atomic_store(&stop, false);
	must(!pthread_create(&sender, NULL, flood, &v.peer), "thread");
	other[0] = spinner(others_nice);
	other[1] = spinner(others_nice);
	fault_sleep_ms(300);
	from = fault_now_ns();
	before = cpu_ns(v.pid);
	fault_sleep_ms(ms);
	percent = (double)(cpu_ns(v.pid) - before) * 100 / (double)(fault_now_ns() - from);
	atomic_store(&stop, true);
	kill(other[0], SIGKILL);
	kill(other[1], SIGKILL);
	kill(v.pid, SIGKILL);
	pthread_join(sender, NULL);
	close(v.peer);
	for (int i = 0; i < 2; i++)
		waitpid(other[i], NULL, 0);
	waitpid(v.pid, NULL, 0);
	return percent;
}

/* On a machine with other work a look can go wrong: it is repeated. */
static void check_share(const char *what, enum work work, int nice, double most)
{
	double percent = 100;

	for (int i = 0; i < 3 && percent > most; i++)
		percent = share(work, nice, OTHERS_NICE, 1000);
	CHECK(percent <= most, "%s: %.1f %% of the CPU, not at most %.1f", what, percent, most);
	printf("%s: %.1f %% of the CPU\n", what, percent);
}

/* ---- idle connections ---------------------------------------------------------------- */

struct app_thread {
	pid_t pid, tid;
};

static void find_app(struct app_thread *app)
{
	char path[64], name[32];
	FILE *f;

	for (app->tid = app->pid; app->tid < app->pid + 100; app->tid++) {
		snprintf(path, sizeof(path), "/proc/%d/task/%d/comm", app->pid, app->tid);
		f = fopen(path, "r");
		if (!f)
			continue;
		name[0] = 0;
		if (fscanf(f, "%31s", name) != 1)
			name[0] = 0;
		fclose(f);
		if (!strcmp(name, "lrp-app"))
			return;
	}
	CHECK(false, "no APP thread");
}

/* How often it has gone to sleep; *ns: its CPU time. */
static long sleeps(const struct app_thread *app, uint64_t *ns)
{
	unsigned long long ran = 0;
	char path[64], line[128];
	long n = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/status", app->pid, app->tid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "voluntary_ctxt_switches: %ld", &n) == 1)
			break;
	if (f)
		fclose(f);
	snprintf(path, sizeof(path), "/proc/%d/task/%d/schedstat", app->pid, app->tid);
	f = fopen(path, "r");
	if (f && fscanf(f, "%llu", &ran) != 1)
		ran = 0;
	if (f)
		fclose(f);
	*ns = ran;
	return n;
}

/* Connections that nothing is due on cost nothing, one that is busy a few looks a second. */
static void check_idle(void)
{
	struct run r = {.family = AF_INET};
	int lfd = client_socket(AF_INET, SOCK_STREAM, 0), on = 1, busy = -1, fd;
	struct sockaddr_storage a;
	socklen_t len = addr_client(&r, &a, SERVICE);
	struct app_thread app;
	uint64_t before, after, until;
	long slept;
	char c = 0;

	setsockopt(lfd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	must(!bind(lfd, (void *)&a, len) && !listen(lfd, 128), "listen");
	fflush(stdout);
	app.pid = fork();
	if (!app.pid) {
		for (int i = 0; i < IDLE; i++) {
			fd = lrp_socket(AF_INET, SOCK_STREAM, 0);
			if (fd < 0 || lrp_connect(fd, (void *)&a, len))
				_exit(1);
		}
		while (lrp_recv(fd, &c, 1, 0) == 1)
			if (lrp_send(fd, &c, 1, 0) != 1)
				_exit(1);
		_exit(0);
	}
	for (int i = 0; i < IDLE; i++) {
		busy = accept(lfd, NULL, NULL);
		must(busy >= 0, "accept");
	}
	fault_sleep_ms(1600); /* deadlines of the handshakes have been found gone */
	find_app(&app);
	slept = sleeps(&app, &before);
	fault_sleep_ms(1000);
	slept = sleeps(&app, &after) - slept;
	CHECK(slept <= 2 && after - before < 1000000, "idle: APP woke %ld times, ran %.1f ms",
	      slept, (double)(after - before) / 1e6);
	printf("%d idle connections: APP woke %ld times in a second, ran %.2f ms\n", IDLE, slept,
	       (double)(after - before) / 1e6);
	slept = sleeps(&app, &before);
	until = fault_now_ns() + 1000000000u;
	while (fault_now_ns() < until) {
		CHECK(send(busy, &c, 1, 0) == 1 && recv(busy, &c, 1, 0) == 1, "the busy one");
		fault_sleep_ms(1);
	}
	slept = sleeps(&app, &after) - slept;
	CHECK(slept <= 80, "one busy: APP woke %ld times", slept);
	printf("and one busy: APP woke %ld times, ran %.2f ms\n", slept,
	       (double)(after - before) / 1e6);
	kill(app.pid, SIGKILL);
	waitpid(app.pid, NULL, 0);
	close(lfd);
}

/* ---- the eager thread --------------------------------------------------------------- */

/* LRP_EAGER=1: an echo of many segments, none of which is processed in a call. */
static void check_eager(void)
{
	struct run r = {.family = AF_INET};
	struct sockaddr_storage a;
	socklen_t len = addr_any(&r, &a, PORT);
	struct timeval tv = {.tv_sec = 5};
	int ready[2], fd, status = -1;
	static char out[100000], in[sizeof(out)];
	pid_t pid;

	must(!pipe(ready), "pipe");
	fflush(stdout);
	pid = fork();
	if (!pid) {
		struct lrp_stats st = {.sz = sizeof(st)};
		int lfd;
		ssize_t n;

		setenv("LRP_EAGER", "1", 1);
		lfd = lrp_socket(AF_INET, SOCK_STREAM, 0);
		if (lrp_bind(lfd, (void *)&a, len) || lrp_listen(lfd, 5) ||
		    write(ready[1], "", 1) != 1)
			_exit(1);
		fd = lrp_accept(lfd, NULL, NULL);
		while ((n = lrp_recv(fd, in, sizeof(in), 0)) > 0)
			if (lrp_send(fd, in, (size_t)n, 0) != n)
				_exit(2);
		if (n || lrp_stats(fd, &st))
			_exit(3);
		_exit(st.call || st.app || !st.eager ? 4 : 0);
	}
	must(read(ready[0], in, 1) == 1, "server");
	fd = client_socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	must(!connect(fd, (void *)&a, addr_server(&r, &a, PORT)), "connect");
	memset(out, 'e', sizeof(out));
	CHECK(send(fd, out, sizeof(out), 0) == (ssize_t)sizeof(out) &&
		      recv(fd, in, sizeof(in), MSG_WAITALL) == (ssize_t)sizeof(in) &&
		      !memcmp(in, out, sizeof(in)),
	      "eager: %s", strerror(errno));
	shutdown(fd, SHUT_WR);
	waitpid(pid, &status, 0);
	CHECK(status == 0, "eager: status %x", status);
	close(fd);
}

int main(int argc, char **argv)
{
	(void)argc;
	fault_begin(argv, NULL);
	check_eager();
	check_idle();
	check_share("reads, equal nice", READS, OTHERS_NICE, 100 / 3.0 + 2);
	check_share("computes, equal nice", COMPUTES, OTHERS_NICE, 100 / 3.0 + 2);
	/* Weights as in the kernel's sched_prio_to_weight[]. */
	check_share("reads, nice 10 more", READS, OTHERS_NICE + 10,
		    100 * 1024.0 / (2 * 9548 + 1024) + 2);
	check_share("computes, nice 10 more", COMPUTES, OTHERS_NICE + 10,
		    100 * 1024.0 / (2 * 9548 + 1024) + 2);
	return fault_end();
}

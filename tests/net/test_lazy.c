/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_lazy.c - the proof of laziness [design 1].
 *
 * A receiver that is not receiving, on a busy CPU, causes no protocol work by
 * anyone, and no thread of its process runs, whatever arrives; then all the work
 * happens in its receive calls, in the thread that makes them. On an idle CPU the
 * helper does it ahead of time, and the call trusts what it left. In eager mode all is
 * done at arrival, and what does not fit is dropped after the work.
 *
 *   CPU 0: receiver, and a spinner when it is to be busy     CPU 1: sender, NAPI
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <lrp/lrp.h>

#include "../lib/bed.h"
#include "socket_harness.h"

#define PACKETS 150

static int failures;
static struct run sender = {.family = AF_INET};

#define CHECK(cond, ...)                                                                           \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			printf("FAIL %s:%d: %s: ", __func__, __LINE__, #cond);                     \
			printf(__VA_ARGS__);                                                       \
			printf("\n");                                                              \
			failures++;                                                                \
		}                                                                                  \
	} while (0)

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static pid_t spin_on(int cpu)
{
	pid_t pid = fork();

	if (pid == 0) {
		pin(cpu);
		for (;;)
			;
	}
	return pid;
}

/* What the receiver is told, and answers. */
struct order {
	char what; /* 's': stats, 'r': receive `count`, 'w': wait in recv for one, 'q': quit */
	int count;
};
struct answer {
	struct lrp_stats stats;
	int received, wrong;
	double cpu_s; /* of the thread, in the calls */
	double others_s; /* of the process's other threads meanwhile */
};

static double cpu_time(int who)
{
	struct rusage ru;

	getrusage(who, &ru);
	return (double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) +
	       (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) * 1e-6;
}

static void receiver(int in, int out, bool embedded)
{
	struct run r = {.ops = &lrp_ops, .family = AF_INET, .lrp = true};
	struct lrp_embed_opts opts = {.sz = sizeof(opts)};
	struct timeval second = {.tv_sec = 2};
	struct order o;
	struct answer a;
	char *text;
	size_t size;
	int fd, number, i;

	pin(0);
	if (embedded && lrp_embed("s0", &opts)) {
		printf("lrp_embed: %s\n", lrp_embed_error());
		_exit(1);
	}
	r.out = open_memstream(&text, &size);
	fd = bound_socket(&r);
	lrp_setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second));
	while (read(in, &o, sizeof(o)) == sizeof(o) && o.what != 'q') {
		double all, mine;

		memset(&a, 0, sizeof(a));
		all = cpu_time(RUSAGE_SELF);
		mine = cpu_time(RUSAGE_THREAD);
		if (o.what == 'r' || o.what == 'w')
			for (i = 0; i < o.count; i++) {
				if (lrp_recv(fd, &number, sizeof(number),
					     o.what == 'r' ? MSG_DONTWAIT : 0) != sizeof(number))
					break;
				a.received++;
				a.wrong += o.what == 'r' && number != i;
			}
		a.cpu_s = cpu_time(RUSAGE_THREAD) - mine;
		a.others_s = cpu_time(RUSAGE_SELF) - all - a.cpu_s;
		a.stats.sz = sizeof(a.stats);
		lrp_stats(fd, &a.stats);
		if (write(out, &a, sizeof(a)) != sizeof(a))
			break;
	}
	lrp_close(fd);
	_exit(0);
}

struct child {
	pid_t pid;
	int in, out;
};

static struct child start(bool embedded, const char *variable, const char *value)
{
	struct child c;
	int in[2], out[2];

	if (pipe(in) || pipe(out))
		exit(1);
	fflush(stdout);
	c.pid = fork();
	if (c.pid == 0) {
		close(in[1]);
		close(out[0]);
		if (variable)
			setenv(variable, value, 1);
		receiver(in[0], out[1], embedded);
	}
	close(in[0]);
	close(out[1]);
	c.in = in[1];
	c.out = out[0];
	return c;
}

static struct answer ask(struct child *c, char what, int count)
{
	struct order o = {.what = what, .count = count};
	struct answer a = {0};

	if (write(c->in, &o, sizeof(o)) != sizeof(o) || read(c->out, &a, sizeof(a)) != sizeof(a)) {
		printf("FAIL: the receiver is gone\n");
		exit(1);
	}
	return a;
}

static void finish(struct child *c)
{
	int status;

	close(c->in);
	waitpid(c->pid, &status, 0);
	close(c->out);
	CHECK(status == 0, "the receiver ended with %x", (unsigned int)status);
}

/* Runs of all threads of a process: times on a CPU, and nanoseconds. */
static void runs(pid_t pid, unsigned long *times, unsigned long *ns, int *threads)
{
	char path[64];
	struct dirent *e;
	DIR *dir;

	*times = *ns = 0;
	*threads = 0;
	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && (e = readdir(dir))) {
		unsigned long run, delay, n;
		char file[128];
		FILE *f;

		if (e->d_name[0] == '.')
			continue;
		snprintf(file, sizeof(file), "/proc/%d/task/%.20s/schedstat", pid, e->d_name);
		f = fopen(file, "r");
		if (f && fscanf(f, "%lu %lu %lu", &run, &delay, &n) == 3) {
			*times += n;
			*ns += run;
			++*threads;
		}
		if (f)
			fclose(f);
	}
	if (dir)
		closedir(dir);
}

static void send_numbers(int count, int pause_us)
{
	int i;

	for (i = 0; i < count; i++) {
		peer_send(&sender, &i, sizeof(i));
		if (pause_us)
			usleep((useconds_t)pause_us);
	}
	usleep(20000);
}

static void lazy_on_a_busy_cpu(bool embedded)
{
	pid_t spinner = spin_on(0);
	struct child c = start(embedded, NULL, NULL);
	struct answer before, after, got;
	unsigned long times[2], ns[2];
	int threads[2];

	/* The helper has started, has been waited past, and has found out that the CPU is busy. */
	usleep(1000000);
	send_numbers(3, 0);
	ask(&c, 'w', 3);
	usleep(4000000);
	before = ask(&c, 's', 0);
	usleep(200000);
	runs(c.pid, &times[0], &ns[0], &threads[0]);
	send_numbers(PACKETS, 5000);
	runs(c.pid, &times[1], &ns[1], &threads[1]);
	after = ask(&c, 's', 0);
	CHECK(threads[0] >= 2, "%d threads: the helper was not there", threads[0]);
	CHECK(times[0] == times[1] && ns[0] == ns[1] && threads[0] == threads[1],
	      "threads ran %lu times, %lu ns, while %d packets came", times[1] - times[0],
	      ns[1] - ns[0], PACKETS);
	CHECK(after.stats.call == before.stats.call && after.stats.helper == before.stats.helper &&
		      after.stats.kernel == before.stats.kernel,
	      "processed meanwhile: %lu in calls, %lu by the helper, %lu by the kernel",
	      (unsigned long)(after.stats.call - before.stats.call),
	      (unsigned long)(after.stats.helper - before.stats.helper),
	      (unsigned long)(after.stats.kernel - before.stats.kernel));
	got = ask(&c, 'r', PACKETS + 10);
	CHECK(got.received == PACKETS && !got.wrong, "received %d, %d out of place", got.received,
	      got.wrong);
	CHECK(got.stats.call - after.stats.call == PACKETS && got.stats.helper == after.stats.helper,
	      "%lu processed in the calls, %lu by the helper",
	      (unsigned long)(got.stats.call - after.stats.call),
	      (unsigned long)(got.stats.helper - after.stats.helper));
	CHECK(got.cpu_s > 0 && got.others_s <= got.cpu_s * 0.1 + 0.0001,
	      "charged to the caller %.6f s, to other threads %.6f s", got.cpu_s, got.others_s);
	finish(&c);
	kill(spinner, SIGKILL);
	waitpid(spinner, NULL, 0);
}

/* Ticks that CPU 0 was not idle, ever. */
static unsigned long busy_ticks(void)
{
	unsigned long user, nice_ticks, sys, idle, wait, irq, soft, steal = 0;
	FILE *f = fopen("/proc/stat", "r");
	char line[512];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "cpu0 %lu %lu %lu %lu %lu %lu %lu %lu", &user, &nice_ticks, &sys, &idle,
			   &wait, &irq, &soft, &steal) >= 7) {
			fclose(f);
			return user + nice_ticks + sys + irq + soft + steal;
		}
	if (f)
		fclose(f);
	return 0;
}

/* False if the CPU was not idle: others use the machine, and the helper kept back as it should. */
static bool helped_on_an_idle_cpu(bool embedded)
{
	struct child c = start(embedded, NULL, NULL);
	struct answer before, after, got;
	unsigned long busy;

	busy = busy_ticks();
	usleep(300000);
	before = ask(&c, 's', 0);
	send_numbers(PACKETS, 1000);
	usleep(300000);
	after = ask(&c, 's', 0);
	if (busy_ticks() - busy > (unsigned long)sysconf(_SC_CLK_TCK) / 20) {
		finish(&c);
		return false;
	}
	CHECK(after.stats.call == before.stats.call, "%lu in calls",
	      (unsigned long)(after.stats.call - before.stats.call));
	CHECK(after.stats.helper - before.stats.helper >= PACKETS * 9 / 10, "%lu by the helper",
	      (unsigned long)(after.stats.helper - before.stats.helper));
	got = ask(&c, 'r', PACKETS + 10);
	CHECK(got.received == PACKETS && !got.wrong, "received %d, %d out of place", got.received,
	      got.wrong);
	CHECK(got.stats.call - after.stats.call <= PACKETS / 10,
	      "%lu processed once more in the calls",
	      (unsigned long)(got.stats.call - after.stats.call));
	finish(&c);
	return true;
}

static void helper_turned_off(bool embedded)
{
	struct child c = start(embedded, "LRP_HELPER", "0");
	struct answer before, after, got;

	usleep(300000);
	before = ask(&c, 's', 0);
	send_numbers(PACKETS, 1000);
	after = ask(&c, 's', 0);
	CHECK(after.stats.helper == before.stats.helper, "the helper was turned off");
	got = ask(&c, 'r', PACKETS + 10);
	CHECK(got.received == PACKETS, "received %d", got.received);
	CHECK(got.stats.call - after.stats.call == PACKETS, "%lu in calls",
	      (unsigned long)(got.stats.call - after.stats.call));
	finish(&c);
}

static void eager(bool embedded)
{
	struct child c = start(embedded, "LRP_EAGER", "1");
	struct answer before, after, got;
	unsigned long processed;

	usleep(300000);
	send_numbers(1, 0);
	got = ask(&c, 'w', 1);
	CHECK(got.received == 1, "the waiting call got %d", got.received);
	before = ask(&c, 's', 0);
	send_numbers(PACKETS, 1000);
	after = ask(&c, 's', 0);
	CHECK(after.stats.eager - before.stats.eager == PACKETS, "%lu processed at arrival",
	      (unsigned long)(after.stats.eager - before.stats.eager));
	got = ask(&c, 'r', PACKETS + 10);
	CHECK(got.received == PACKETS && !got.wrong, "received %d, %d out of place", got.received,
	      got.wrong);
	CHECK(got.stats.call == 0, "%lu in calls", (unsigned long)got.stats.call);
	/* more than the receive buffer holds: processed, and dropped then */
	before = ask(&c, 's', 0);
	send_numbers(1000, 100);
	got = ask(&c, 'r', 1010);
	/* (what came while the thread had no CPU, the channel may have discarded) */
	processed = got.stats.eager - before.stats.eager;
	CHECK(processed > 400 && processed <= 1000, "%lu processed", processed);
	CHECK(got.received < 400 &&
		      got.stats.dropped - before.stats.dropped == processed - (unsigned long)got.received,
	      "received %d, dropped %lu, of %lu", got.received,
	      (unsigned long)(got.stats.dropped - before.stats.dropped), processed);
	finish(&c);
}

int main(int argc, char **argv)
{
	const char *bin = getenv("LRP_BIN") ? getenv("LRP_BIN") : "build/bin";
	bool embedded;
	struct sockaddr_storage a;
	char command[256];
	int i;

	(void)argc;
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2) {
		printf("needs two CPUs\n");
		return 77;
	}
	bed_enter(argv);
	bed_sh(BED_NET);
	pin(1);
	snprintf(command, sizeof(command), "%s/lrp", bin);
	embedded = access(command, X_OK) != 0;
	snprintf(command, sizeof(command), "%s/lrp attach s0", bin);
	if (!embedded)
		bed_sh(command);
	sender.peer = client_socket(AF_INET, SOCK_DGRAM, 0);
	bind(sender.peer, (void *)&a, addr_client(&sender, &a, PEER_PORT));
	connect(sender.peer, (void *)&a, addr_server(&sender, &a, PORT));
	lazy_on_a_busy_cpu(embedded);
	for (i = 0; i < 10 && !helped_on_an_idle_cpu(embedded); i++)
		sleep(1);
	if (i == 10)
		printf("CPU 0 was never idle: not shown that the helper works ahead\n");
	helper_turned_off(embedded);
	eager(embedded);
	printf("%s: %d failures\n", embedded ? "embedded" : "lrpd", failures);
	return failures != 0;
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_stream_lazy.c - where TCP's work is done [paper 3.4]: in the calls of the thread that receives, for
 * its own connection; by the APP thread if nobody calls, at its owner's policy, priority, mask and cgroup; by
 * nobody else, and not while neither may run; and nothing at all while nothing happens.
 */
#include <dirent.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "fault_bed.h"
#include "socket_harness.h"

#define SERVICE	 7000
#define REQUESTS 2000
#define IDLE	 50

/* A process with connections to us, which does what it is told. */
struct client {
	pid_t pid;
	int peer[IDLE], peers; /* our ends, kernel sockets */
	int order[2], answer[2];
};

struct order {
	char what; /* 'e': echo `count` requests on connection `on`; 's': its statistics; 'r': receive once */
	int on, count;
};

static void obey(const int *fd, const struct order *o, struct lrp_stats *stats)
{
	char c;

	for (int i = 0; o->what == 'e' && i < o->count; i++)
		if (lrp_recv(fd[o->on], &c, 1, 0) != 1 || lrp_send(fd[o->on], &c, 1, 0) != 1)
			_exit(1);
	if (o->what == 'r' && lrp_recv(fd[o->on], &c, 1, 0) != 1)
		_exit(1);
	*stats = (struct lrp_stats){.sz = sizeof(*stats)};
	if (lrp_stats(fd[o->on], stats))
		_exit(1);
}

static _Noreturn void run(struct client *k, int count)
{
	struct run r = {.family = AF_INET};
	struct sockaddr_storage a;
	socklen_t len = addr_client(&r, &a, SERVICE);
	struct lrp_stats stats;
	struct order o;
	int fd[IDLE];

	close(k->order[1]);
	for (int i = 0; i < count; i++) {
		fd[i] = lrp_socket(AF_INET, SOCK_STREAM, 0);
		if (fd[i] < 0 || lrp_connect(fd[i], (void *)&a, len))
			_exit(1);
	}
	while (read(k->order[0], &o, sizeof(o)) == sizeof(o)) {
		obey(fd, &o, &stats);
		if (write(k->answer[1], &stats, sizeof(stats)) != sizeof(stats))
			break;
	}
	_exit(0);
}

static void spawn(struct client *k, int count)
{
	struct run r = {.family = AF_INET};
	struct sockaddr_storage a;
	socklen_t len = addr_client(&r, &a, SERVICE);
	int lfd = client_socket(AF_INET, SOCK_STREAM, 0), on = 1;

	*k = (struct client){0};
	setsockopt(lfd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	must(!bind(lfd, (void *)&a, len) && !listen(lfd, 128), "listen");
	must(!pipe(k->order) && !pipe(k->answer), "pipe");
	fflush(stdout);
	k->pid = fork();
	if (!k->pid)
		run(k, count);
	close(k->answer[1]);
	for (; k->peers < count; k->peers++) {
		k->peer[k->peers] = accept(lfd, NULL, NULL);
		must(k->peer[k->peers] >= 0, "accept");
		setsockopt(k->peer[k->peers], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	}
	close(lfd);
}

static void end(struct client *k)
{
	kill(k->pid, SIGKILL);
	waitpid(k->pid, NULL, 0);
	for (int i = 0; i < k->peers; i++)
		close(k->peer[i]);
	close(k->order[0]);
	close(k->order[1]);
	close(k->answer[0]);
}

static void tell(struct client *k, char what, int on, int count)
{
	struct order o = {what, on, count};

	must(write(k->order[1], &o, sizeof(o)) == sizeof(o), "order");
}

static struct lrp_stats answer(struct client *k)
{
	struct lrp_stats stats;

	must(read(k->answer[0], &stats, sizeof(stats)) == sizeof(stats), "answer");
	return stats;
}

static struct lrp_stats stats_of(struct client *k, int on)
{
	tell(k, 's', on, 0);
	return answer(k);
}

/* Segments are processed in the calls of who receives, and counted on their connection. */
static void in_calls(void)
{
	struct client k;
	struct lrp_stats before[2], after[2];
	uint64_t call, app;
	char c;

	spawn(&k, 2);
	CHECK(!fault_sh("build/bin/lrp channels | grep -q ' 198.18.1.2:%d '", SERVICE),
	      "lrp channels does not name the peer");
	for (int i = 0; i < 2; i++)
		before[i] = stats_of(&k, i);
	tell(&k, 'e', 0, REQUESTS);
	for (int i = 0; i < REQUESTS; i++)
		must(send(k.peer[0], "x", 1, 0) == 1 && recv(k.peer[0], &c, 1, 0) == 1, "echo");
	answer(&k);
	for (int i = 0; i < 2; i++)
		after[i] = stats_of(&k, i);
	call = after[0].call - before[0].call;
	app = after[0].app - before[0].app;
	printf("%d requests: %lu segments in calls, %lu by APP\n", REQUESTS, (unsigned long)call,
	       (unsigned long)app);
	CHECK(call >= REQUESTS * 9 / 10, "calls did not do it");
	CHECK(app <= REQUESTS / 10, "APP did it");
	CHECK(after[1].call == before[1].call && after[1].app == before[1].app &&
		      after[1].eager == 0,
	      "the other connection: %lu and %lu", (unsigned long)(after[1].call - before[1].call),
	      (unsigned long)(after[1].app - before[1].app));
	end(&k);
}

static uint32_t unacked(int fd)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	must(!getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len), "TCP_INFO");
	return info.tcpi_unacked;
}

/* A process that may not run: nobody does its work. When it may, APP acknowledges without a call. */
static void by_nobody_else(void)
{
	struct client k;
	struct lrp_stats before, after;
	int state;

	spawn(&k, 1);
	before = stats_of(&k, 0);
	kill(k.pid, SIGSTOP);
	must(waitpid(k.pid, &state, WUNTRACED) == k.pid, "stop");
	must(send(k.peer[0], "x", 1, 0) == 1, "send");
	fault_sleep_ms(150);
	CHECK(unacked(k.peer[0]) > 0, "somebody has acknowledged for who is stopped");
	kill(k.pid, SIGCONT);
	CHECK(FAULT_WAIT(unacked(k.peer[0]) == 0, 3000), "no ACK without a call");
	after = stats_of(&k, 0);
	CHECK(after.app > before.app, "but not by APP");
	CHECK(after.eager == before.eager && after.kernel == before.kernel, "by whom?");
	tell(&k, 'r', 0, 1);
	answer(&k);
	end(&k);
}

static pid_t app_of(pid_t pid)
{
	char path[400], name[32] = "";
	struct dirent *d;
	pid_t tid = -1;
	DIR *dir;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir && (d = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%d/task/%s/comm", (int)pid, d->d_name);
		f = fopen(path, "r");
		if (f && fgets(name, sizeof(name), f) && !strcmp(name, "lrp-app\n"))
			tid = (pid_t)atoi(d->d_name);
		if (f)
			fclose(f);
	}
	if (dir)
		closedir(dir);
	return tid;
}

static bool same_mask(pid_t a, pid_t b)
{
	cpu_set_t one, other;

	return !sched_getaffinity(a, sizeof(one), &one) &&
	       !sched_getaffinity(b, sizeof(other), &other) && CPU_EQUAL(&one, &other);
}

static bool same_policy(pid_t a, pid_t b)
{
	struct sched_param one, other;

	return sched_getscheduler(a) == sched_getscheduler(b) && !sched_getparam(a, &one) &&
	       !sched_getparam(b, &other) && one.sched_priority == other.sched_priority &&
	       getpriority(PRIO_PROCESS, (id_t)a) == getpriority(PRIO_PROCESS, (id_t)b);
}

/* Until APP, which looks when it wakes, has seen it. */
static bool follows(struct client *k, pid_t app, bool (*same)(pid_t, pid_t))
{
	bool yes = false;

	for (int i = 0; i < 100 && !yes; i++) {
		must(send(k->peer[0], "x", 1, 0) == 1, "send");
		fault_sleep_ms(20);
		yes = same(app, k->pid);
	}
	return yes;
}

static bool same_cgroup(pid_t a, pid_t b)
{
	char path[64], text[2][4096] = {"", ""};
	pid_t tid[2] = {a, b};
	FILE *f;

	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)tid[i]);
		f = fopen(path, "r");
		must(f && fread(text[i], 1, sizeof(text[i]) - 1, f) > 0, path);
		fclose(f);
	}
	return !strcmp(text[0], text[1]);
}

/* A cgroup for threads, where the runtime looks for it: the bed has its own /sys. False: none can be made. */
static bool make_cgroup(char dir[64], const char **file)
{
	char path[96];
	FILE *f;

	snprintf(dir, 64, "/sys/fs/cgroup/cpu/lrp-test-%d", (int)getpid());
	*file = "tasks";
	if (!fault_sh("mount -t tmpfs none /sys/fs/cgroup && mkdir /sys/fs/cgroup/cpu && "
		      "mount -t cgroup -o cpu none /sys/fs/cgroup/cpu 2>/dev/null") &&
	    !mkdir(dir, 0755))
		return true;
	snprintf(dir, 64, "/sys/fs/cgroup/lrp-test-%d", (int)getpid());
	*file = "cgroup.threads";
	if (fault_sh("mount -t cgroup2 none /sys/fs/cgroup") || mkdir(dir, 0755))
		return false;
	snprintf(path, sizeof(path), "%s/cgroup.type", dir);
	f = fopen(path, "w");
	if (f && fputs("threaded", f) >= 0 && !fclose(f))
		return true;
	rmdir(dir);
	return false;
}

static bool move_to(const char *dir, const char *file, pid_t tid)
{
	char path[96];
	FILE *f;
	bool ok;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	f = fopen(path, "w");
	ok = f && fprintf(f, "%d\n", (int)tid) > 0;
	return f && !fclose(f) && ok;
}

static void follows_cgroup(struct client *k, pid_t app)
{
	const char *file;
	char dir[64];

	if (!make_cgroup(dir, &file)) {
		printf("no cgroup can be made here (%s): its part is left out\n", strerror(errno));
		end(k);
		return;
	}
	CHECK(move_to(dir, file, k->pid), "the owner cannot be moved to %s", dir);
	CHECK(!same_cgroup(app, k->pid), "nothing to follow");
	CHECK(follows(k, app, same_cgroup), "the owner's cgroup");
	end(k);
	for (int i = 0; i < 100 && rmdir(dir); i++)
		fault_sleep_ms(10);
}

static void mirrors(void)
{
	struct sched_param three = {.sched_priority = 3}, none = {0};
	struct client k;
	cpu_set_t set;
	pid_t app;

	spawn(&k, 1);
	app = app_of(k.pid);
	CHECK(app > 0, "no APP thread");
	for (int cpu = 1; cpu >= 0; cpu--) {
		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		must(!sched_setaffinity(k.pid, sizeof(set), &set), "sched_setaffinity");
		CHECK(follows(&k, app, same_mask), "the owner's mask, CPU %d", cpu);
	}
	must(!setpriority(PRIO_PROCESS, (id_t)k.pid, 7), "setpriority");
	CHECK(follows(&k, app, same_policy), "nice 7");
	must(!sched_setscheduler(k.pid, SCHED_BATCH, &none), "SCHED_BATCH");
	CHECK(follows(&k, app, same_policy), "SCHED_BATCH");
	must(!sched_setscheduler(k.pid, SCHED_RR, &three), "SCHED_RR");
	CHECK(follows(&k, app, same_policy), "SCHED_RR 3");
	must(!sched_setscheduler(k.pid, SCHED_OTHER, &none), "SCHED_OTHER");
	CHECK(follows(&k, app, same_policy), "SCHED_OTHER");
	follows_cgroup(&k, app);
}

/* How often all threads of the process gave up the CPU or lost it. */
static unsigned long switches(pid_t pid)
{
	unsigned long sum = 0, n;
	char path[400], line[128];
	struct dirent *d;
	DIR *dir;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	must(dir, path);
	while ((d = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%d/task/%s/status", (int)pid, d->d_name);
		f = fopen(path, "r");
		while (f && fgets(line, sizeof(line), f))
			if (sscanf(line, "voluntary_ctxt_switches: %lu", &n) == 1 ||
			    sscanf(line, "nonvoluntary_ctxt_switches: %lu", &n) == 1)
				sum += n;
		if (f)
			fclose(f);
	}
	closedir(dir);
	return sum;
}

static void no_tick(void)
{
	struct client k;
	unsigned long before, after;

	spawn(&k, IDLE);
	fault_sleep_ms(2000); /* APP looks once when the timer of each SYN would have run out */
	before = switches(k.pid);
	fault_sleep_ms(2000);
	after = switches(k.pid);
	printf("%d idle connections: %lu switches in two seconds\n", IDLE, after - before);
	CHECK(after - before <= 2, "somebody ticks");
	end(&k);
}

int main(int argc, char **argv)
{
	(void)argc;
	fault_begin(argv, NULL);
	in_calls();
	by_nobody_else();
	mirrors();
	no_tick();
	fault_audit_idle("in the end", 5000);
	return fault_end();
}

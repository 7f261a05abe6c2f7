/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * test_stream_stopped.c - a worker is stopped while it has the lock of the listener's hub: the
 * others go on serving, and when it is continued so does what it had.
 *
 * It is stopped at a given step: a tracer puts a breakpoint on a function that is called inside the
 * lock, and leaves the worker there. So the steps need no hook in the library.
 */
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>

#include "../../runtime/drive/app.h"
#include "../../runtime/stream/stream.h"
#include "fault_bed.h"
#include "socket_harness.h"

#define WORKERS	 4
#define REQUESTS 40 /* of others while one is stopped */
#define CLIENTS	 4  /* at a time, so that the one that is traced has its turn */

static const struct step {
	const char *name;
	void *at;
} steps[] = {
	{"a SYN, or the ACK that opens", (void *)lrp_tcp_listen_input},
	{"TIME_WAIT is asked, with its lock", (void *)lrp_tcp_timewait_input},
	{"a connection is made", (void *)lrp_conn_new},
	{"a connection is taken over", (void *)lrp_tcp_accept},
	{"a segment of a connection", (void *)lrp_tcp_input},
	{"a segment is sent", (void *)lrp_tx_send_tcp},
	{"a connection moves", (void *)lrp_flow_set},
	{"the deadline changes", (void *)lrp_app_deadline},
};

/* ---- workers ----------------------------------------------------------------------- */

/* Answers bytes on all connections that it has, until the peers close them. */
static _Noreturn void work(int lfd)
{
	struct pollfd p[16] = {{.fd = lfd, .events = POLLIN}};
	int n = 1, i;
	char c;

	for (;;) {
		lrp_poll(p, (nfds_t)n, -1);
		for (i = n - 1; i > 0; i--) {
			if (!p[i].revents)
				continue;
			errno = 0;
			if (lrp_recv(p[i].fd, &c, 1, MSG_DONTWAIT) == 1) {
				lrp_send(p[i].fd, &c, 1, MSG_NOSIGNAL);
			} else if (errno != EAGAIN) {
				lrp_close(p[i].fd);
				p[i] = p[--n];
			}
		}
		if (p[0].revents && n < 16) {
			int fd = lrp_accept4(lfd, NULL, NULL, SOCK_NONBLOCK);

			if (fd >= 0)
				p[n++] = (struct pollfd){.fd = fd, .events = POLLIN};
		}
	}
}

static pid_t spawn(const struct run *r, pid_t *worker)
{
	pid_t master;
	int ready[2];
	char c;

	must(!pipe(ready), "pipe");
	fflush(stdout);
	master = fork();
	if (!master) {
		struct sockaddr_storage a;
		socklen_t len = addr_any(r, &a, PORT);
		int lfd = lrp_socket(r->family, SOCK_STREAM, 0), on = 1, i;

		lrp_setsockopt(lfd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		if (lfd < 0 || lrp_bind(lfd, (void *)&a, len) || lrp_listen(lfd, 128) ||
		    lrp_fcntl(lfd, F_SETFL, O_NONBLOCK))
			_exit(1);
		for (i = 0; i < WORKERS; i++) {
			pid_t pid = fork();

			if (!pid)
				work(lfd);
			worker[i] = pid;
		}
		if (write(ready[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	must(read(ready[0], &c, 1) == 1, "workers");
	close(ready[0]);
	close(ready[1]);
	return master;
}

/* ---- peers ------------------------------------------------------------------------- */

static int peer_open(const struct run *r)
{
	struct timeval tv = {.tv_sec = 2};
	struct sockaddr_storage a;
	socklen_t len = addr_server(r, &a, PORT);
	int fd = client_socket(r->family, SOCK_STREAM, 0);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	if (!connect(fd, (void *)&a, len))
		return fd;
	close(fd);
	return -1;
}

static bool ask(int fd)
{
	char c = 0;

	return fd >= 0 && send(fd, "x", 1, MSG_NOSIGNAL) == 1 && recv(fd, &c, 1, 0) == 1 &&
	       c == 'x';
}

/* Opens, asks, closes, again and again. */
static pid_t client(const struct run *r, _Atomic int *answered, _Atomic int *failed)
{
	pid_t pid = fork();

	while (!pid) {
		int fd = peer_open(r);

		atomic_fetch_add(ask(fd) ? answered : failed, 1);
		close(fd);
	}
	return pid;
}

/* ---- the tracer ---------------------------------------------------------------------- */

struct tracer {
	pid_t worker;
	_Atomic int state; /* 1: it waits for the worker, 2: it has it, 3: go on, 4: done */
};

/* All threads of the worker: each may come to the breakpoint. */
#define THREADS 32

static struct {
	pid_t tid;
	bool stopped, trapped;
} thread[THREADS];
static int threads;

static int thread_of(pid_t tid)
{
	int i;

	for (i = 0; i < threads && thread[i].tid != tid; i++)
		;
	if (i == threads && threads++ < THREADS)
		thread[i].tid = tid;
	return i < THREADS ? i : THREADS - 1;
}

static void attach(pid_t worker)
{
	char path[64];
	struct dirent *entry;
	int status, i;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)worker);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (atoi(entry->d_name) <= 0)
			continue;
		i = thread_of(atoi(entry->d_name));
		if (ptrace(PTRACE_ATTACH, thread[i].tid, NULL, NULL) ||
		    waitpid(thread[i].tid, &status, __WALL) < 0 ||
		    ptrace(PTRACE_SETOPTIONS, thread[i].tid, NULL, PTRACE_O_TRACECLONE))
			_exit(1);
	}
	closedir(dir);
}

/* The next stop of any of them; true: at the breakpoint. */
static bool next_stop(void)
{
	int status, i;
	pid_t tid = waitpid(-1, &status, __WALL);

	if (tid < 0 || !WIFSTOPPED(status))
		_exit(3);
	i = thread_of(tid);
	thread[i].stopped = true;
	return thread[i].trapped = WSTOPSIG(status) == SIGTRAP && !(status >> 16);
}

static void go_on(const struct step *step, long word)
{
	struct user_regs_struct regs;
	int i;

	ptrace(PTRACE_POKETEXT, thread[0].tid, step->at, (void *)word);
	for (i = 0; i < threads; i++) {
		if (thread[i].trapped) {
			ptrace(PTRACE_GETREGS, thread[i].tid, NULL, &regs);
			regs.rip = (unsigned long)step->at;
			ptrace(PTRACE_SETREGS, thread[i].tid, NULL, &regs);
		}
		ptrace(PTRACE_DETACH, thread[i].tid, NULL, NULL);
	}
}

/* Leaves the worker at the breakpoint, all of it, until it is told to go on. */
static _Noreturn void trace(struct tracer *t, const struct step *step)
{
	long word, trap;
	int i;

	attach(t->worker);
	errno = 0;
	word = ptrace(PTRACE_PEEKTEXT, t->worker, step->at, NULL);
	trap = (word & ~0xffl) | 0xcc;
	if (errno || ptrace(PTRACE_POKETEXT, t->worker, step->at, (void *)trap))
		_exit(2);
	for (i = 0; i < threads; i++)
		ptrace(PTRACE_CONT, thread[i].tid, NULL, NULL);
	atomic_store(&t->state, 1);
	while (!next_stop())
		for (i = 0; i < threads; i++) {
			if (thread[i].stopped)
				ptrace(PTRACE_CONT, thread[i].tid, NULL, NULL);
			thread[i].stopped = false;
		}
	for (i = 0; i < threads; i++)
		if (!thread[i].stopped)
			syscall(SYS_tgkill, t->worker, thread[i].tid, SIGSTOP);
	for (i = 0; i < threads;)
		if (thread[i].stopped)
			i++;
		else
			next_stop();
	atomic_store(&t->state, 2);
	while (atomic_load(&t->state) != 3)
		usleep(1000);
	go_on(step, word);
	kill(t->worker, SIGCONT);
	atomic_store(&t->state, 4);
	_exit(0);
}

struct shared {
	_Atomic int answered, failed;
	struct tracer tracer;
	pid_t worker[WORKERS];
};

static void others_go_on(struct shared *s, const struct step *step)
{
	int before = s->answered;
	uint64_t from = fault_now_ns();

	CHECK(FAULT_WAIT(s->answered >= before + REQUESTS, 10000),
	      "%s: %d answers of the others in ten seconds", step->name, s->answered - before);
	printf("%s: %d answers in %.0f ms, %d failed\n", step->name, s->answered - before,
	       (double)(fault_now_ns() - from) / 1e6, s->failed);
	atomic_store(&s->tracer.state, 3);
	CHECK(FAULT_WAIT(s->tracer.state == 4, 2000), "%s: it is not let go", step->name);
}

/* False: the worker did not come to the step, and nothing was tested. To attach a tracer stops the
 * worker for a moment, too: on a busy machine that may be too long a moment already. */
static bool at_step(const struct run *r, const struct step *step)
{
	struct shared *s =
		mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t master, tracer, clients[CLIENTS];
	int held[2 * WORKERS], i, ok = 0;
	bool there;

	must(s != MAP_FAILED, "mmap");
	master = spawn(r, s->worker);
	/* Connections of all workers, old enough to be known to XDP by their own names. */
	for (i = 0; i < 2 * WORKERS; i++)
		held[i] = peer_open(r);
	usleep(200000);
	for (i = 0; i < 2 * WORKERS; i++)
		CHECK(ask(held[i]), "%s: connection %d is not served", step->name, i);
	s->tracer.worker = s->worker[0];
	fflush(stdout);
	tracer = fork();
	if (!tracer)
		trace(&s->tracer, step);
	CHECK(FAULT_WAIT(s->tracer.state >= 1, 2000), "%s: no tracer", step->name);
	for (i = 0; i < CLIENTS; i++)
		clients[i] = client(r, &s->answered, &s->failed);
	there = FAULT_WAIT(s->tracer.state == 2, 3000);
	if (there)
		others_go_on(s, step);
	for (i = 0; i < CLIENTS; i++) {
		kill(clients[i], SIGKILL);
		waitpid(clients[i], NULL, 0);
	}
	kill(tracer, SIGKILL);
	waitpid(tracer, NULL, 0);
	for (i = 0; i < 2 * WORKERS; i++) {
		ok += there && ask(held[i]);
		close(held[i]);
	}
	CHECK(!there || ok == 2 * WORKERS, "%s: %d of %d connections go on", step->name, ok,
	      2 * WORKERS);
	for (i = 0; i < WORKERS; i++)
		kill(s->worker[i], SIGKILL);
	kill(master, SIGKILL);
	waitpid(master, NULL, 0);
	munmap(s, sizeof(*s));
	usleep(300000);
	return there;
}

int main(int argc, char **argv)
{
	struct run r = {.family = AF_INET};

	(void)argc;
#ifndef __x86_64__
	printf("a breakpoint of x86-64\n");
	return 77;
#endif
	fault_begin(argv, NULL);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		int tries = 5;

		r.family = i & 1 ? AF_INET6 : AF_INET;
		while (tries && !at_step(&r, &steps[i]))
			tries--;
		CHECK(tries, "%s: the worker does not come there", steps[i].name);
	}
	return fault_end();
}

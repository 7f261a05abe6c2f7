/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * keeper.c - lrp-keeper: holds descriptors by name so that lrpd can die and be
 * replaced while packets go on [design 2, 8]. It understands nothing of them;
 * what it does not do cannot kill it. Started by lrpd with its listening socket
 * as descriptor 3; argument: ms to wait before it starts a new lrpd.
 *
 * A lrpd that does not understand the state of the one before, or fails again and again, is not
 * started for ever: the keeper holds all descriptors, packets go on, and `lrp status` and `lrp
 * stop` are answered from here until somebody starts a lrpd that does.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "admission.h"
#include "../base/closer.h"
#include "../base/hold.h"
#include "place.h"
#include "store.h"

#define BUCKETS	  4096u
#define AT_ONCE	  3  /* so many failures are followed by the next start without waiting longer */
#define STARTS	  12 /* lrpds in a row that failed, then we only hold what we have */
#define SHORT	  50 /* that served, but not for SHORT_MS: from then on these have failed, too */
#define SHORT_MS  1000
#define START_MS  10000u /* what one may take until it connects */
#define BACK_OFF  2	 /* each failure makes the time until the next start so much longer */
#define MOST_MS	  10000u
#define SEND_MS	  5000
#define ARGUMENTS 512u

struct kept {
	struct kept *next;
	int fd;
	void *held; /* a user page: nobody can freeze what somebody has mapped */
	char name[sizeof(((struct lrp_keeper_message *)0)->name)];
};

static struct kept *bucket[BUCKETS];
static struct lrp_closer *closer;
static char arguments[sizeof(((struct lrp_keeper_message *)0)->text)];
static unsigned int arguments_size;

static struct {
	int fd; /* -1: none */
	pid_t pid;
	bool ready;   /* serves */
	bool visitor; /* not lrpd, but `lrp` */
	long long ready_at;
} current = {.fd = -1};
static pid_t child;  /* the last lrpd that we have started */
static bool awaited; /* it has not connected yet */
static unsigned int failures, shorts;
static bool given_up;
static char why[512]; /* what the last lrpd that failed said */
static unsigned int grace_ms = 100;
static long long start_at; /* when to start an lrpd, if none is there */

static struct kept **find(const char *name)
{
	unsigned int hash = 2166136261u;
	struct kept **at;

	for (const char *c = name; *c; c++)
		hash = (hash ^ (unsigned char)*c) * 16777619u;
	for (at = &bucket[hash % BUCKETS]; *at && strcmp((*at)->name, name); at = &(*at)->next)
		;
	return at;
}

static void let_go(const struct kept *kept)
{
	lrp_hold_unmap(kept->held);
	lrp_close_later(&closer, kept->fd);
}

static void put(const char *name, int fd)
{
	struct kept **at = find(name), *kept = *at;

	if (!kept) {
		kept = calloc(1, sizeof(*kept));
		if (!kept) {
			close(fd);
			return;
		}
		memcpy(kept->name, name, sizeof(kept->name));
		*at = kept;
	} else {
		let_go(kept);
	}
	kept->fd = fd;
	kept->held = lrp_hold_map(name, fd);
}

static void drop(struct kept **at)
{
	struct kept *kept = *at;

	if (!kept)
		return;
	*at = kept->next;
	let_go(kept);
	free(kept);
}

static void clear(void)
{
	for (unsigned int b = 0; b < BUCKETS; b++)
		while (bucket[b])
			drop(&bucket[b]);
}

static long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ll + ts.tv_nsec / 1000000;
}

/* ---- messages ----------------------------------------------------------------------- */

static int transmit(int to, unsigned int op, const char *name, unsigned int value, int fd)
{
	struct lrp_keeper_message message = {.magic = LRP_KEEPER_MAGIC, .op = op, .value = value};
	struct iovec iov = {&message, LRP_KEEPER_SHORT};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	struct pollfd pfd = {.fd = to, .events = POLLOUT};
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control;

	if (name)
		memcpy(message.name, name, sizeof(message.name));
	if (fd >= 0) {
		memset(&control, 0, sizeof(control));
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(int));
	}
	while (sendmsg(to, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		if (errno != EAGAIN || poll(&pfd, 1, SEND_MS) <= 0)
			return -1;
	return 0;
}

static int list(int to)
{
	for (unsigned int b = 0; b < BUCKETS; b++)
		for (struct kept *kept = bucket[b]; kept; kept = kept->next)
			if (transmit(to, LRP_KEEPER_PUT, kept->name, 0, kept->fd))
				return -1;
	return transmit(to, LRP_KEEPER_END, NULL, 0, -1);
}

/* ---- for `lrp` ---------------------------------------------------------------------- */

static unsigned int held(void)
{
	unsigned int n = 0;

	for (unsigned int b = 0; b < BUCKETS; b++)
		for (const struct kept *kept = bucket[b]; kept; kept = kept->next)
			n++;
	return n;
}

static void tell(int to, unsigned int value, const char *text)
{
	struct lrp_keeper_message message = {
		.magic = LRP_KEEPER_MAGIC, .op = LRP_KEEPER_TEXT, .value = value};

	snprintf(message.text, sizeof(message.text), "%s", text);
	send(to, &message, sizeof(message), MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void tell_state(int to)
{
	char text[1024];

	snprintf(text, sizeof(text),
		 "no lrpd serves this network namespace; the keeper (pid %d) holds %u descriptors "
		 "of "
		 "the last one, and packets go on. %u start%s of lrpd failed%s%s; %s. `lrp stop` "
		 "ends "
		 "it all.",
		 (int)getpid(), held(), failures, failures == 1 ? "" : "s", why[0] ? ": " : "", why,
		 given_up ? "it starts none any more: start one that fits" : "it goes on trying");
	tell(to, 0, text);
}

/* Root of a user namespace can open our socket, too. */
static void stop_for(int from)
{
	struct ucred cred;
	socklen_t length = sizeof(cred);
	const char *refusal = "who asks?";

	if (!getsockopt(from, SOL_SOCKET, SO_PEERCRED, &cred, &length)) {
		int pidfd = lrp_admission_pidfd(from, &cred);

		refusal = lrp_admission_refuses(pidfd);
		if (pidfd >= 0)
			close(pidfd);
	}
	if (refusal) {
		tell(from, 1, refusal);
		return;
	}
	/* One that is on its way finds nothing. */
	if (awaited)
		kill(child, SIGTERM);
	lrp_place_remove(true);
	clear();
	lrp_closer_end(&closer);
	tell(from, 0,
	     "stopped; no lrpd served, the keeper has let go of all that the last one had");
	exit(0);
}

/* Returns false when lrpd's connection is over. */
static bool serve(int from)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct lrp_keeper_message message = {0};
	struct iovec iov = {&message, sizeof(message)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	struct cmsghdr *cmsg;
	int fd = -1;
	ssize_t n = recvmsg(from, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	if (n == 0)
		return false;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (cmsg && cmsg->cmsg_type == SCM_RIGHTS && cmsg->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&fd, CMSG_DATA(cmsg), sizeof(int));
	message.name[sizeof(message.name) - 1] = 0;
	if ((size_t)n < LRP_KEEPER_SHORT || message.magic != LRP_KEEPER_MAGIC) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	if (message.op == LRP_KEEPER_PUT && fd >= 0) {
		put(message.name, fd);
		return true;
	}
	if (fd >= 0)
		close(fd);
	switch (message.op) {
	case LRP_KEEPER_DROP:
		drop(find(message.name));
		return true;
	case LRP_KEEPER_CLEAR:
		clear();
		return true;
	case LRP_KEEPER_LIST:
		return !list(from);
	case LRP_KEEPER_EXEC:
		if (message.value > sizeof(arguments) ||
		    message.value > (size_t)n - LRP_KEEPER_SHORT || !message.value ||
		    message.text[message.value - 1])
			return true;
		memcpy(arguments, message.text, message.value);
		arguments_size = message.value;
		return true;
	case LRP_KEEPER_BYE:
		exit(0);
	case LRP_KEEPER_READY:
		current.ready = true;
		current.ready_at = now_ms();
		given_up = false;
		why[0] = 0;
		return true;
	case LRP_KEEPER_FAILED:
		message.text[sizeof(message.text) - 1] = 0;
		snprintf(why, sizeof(why), "%.500s", message.text);
		given_up = true; /* it would say the same again */
		return true;
	case LRP_KEEPER_ASK:
		current.visitor = true;
		tell_state(from);
		return true;
	case LRP_KEEPER_STOP:
		current.visitor = true;
		stop_for(from);
		return true;
	}
	return true;
}

static int peer(int fd, pid_t *pid)
{
	struct ucred cred;
	socklen_t length = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &length) || cred.uid)
		return -1;
	*pid = cred.pid;
	return 0;
}

/* ---- starting lrpd --------------------------------------------------------------------- */

static void start_lrpd(void)
{
	char *argv[ARGUMENTS];
	sigset_t none;
	size_t n = 0;

	for (char *at = arguments; at < arguments + arguments_size && n < ARGUMENTS - 1;
	     at += strlen(at) + 1)
		argv[n++] = at;
	argv[n] = NULL;
	if (!n)
		return;
	child = fork();
	if (child)
		return;
	close_range(3, ~0u, 0);
	signal(SIGCHLD, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execv(argv[0], argv);
	_exit(127);
}

/* The next one comes later with each that fails; after STARTS none does. */
static void failed(void)
{
	unsigned int wait_ms = grace_ms;

	failures++;
	given_up |= failures >= STARTS;
	for (unsigned int i = AT_ONCE; i < failures && wait_ms < MOST_MS; i++)
		wait_ms *= BACK_OFF;
	start_at = now_ms() + (wait_ms < MOST_MS ? wait_ms : MOST_MS);
}

/* A lrpd that ends without having connected has failed. Of others their connection tells. */
static void reap(void)
{
	pid_t pid;

	while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) {
		if (pid != child || !awaited || (current.fd >= 0 && current.pid == pid))
			continue;
		awaited = false;
		failed();
	}
}

static void disconnected(void)
{
	close(current.fd);
	current.fd = -1;
	if (current.visitor)
		return;
	awaited = false;
	if (current.ready) {
		shorts = now_ms() - current.ready_at < SHORT_MS ? shorts + 1 : 0;
		if (shorts <= SHORT)
			failures = 0;
	}
	if (!current.ready || shorts > SHORT)
		failed();
	else
		start_at = now_ms() + grace_ms;
}

static void accept_one(void)
{
	int fd = accept4(LRP_KEEPER_FD, NULL, NULL, SOCK_CLOEXEC);
	pid_t pid;

	if (fd < 0)
		return;
	if (peer(fd, &pid)) {
		close(fd);
	} else if (current.fd >= 0) {
		transmit(fd, LRP_KEEPER_BUSY, NULL, (unsigned int)current.pid, -1);
		close(fd);
	} else {
		current.fd = fd;
		current.pid = pid;
		current.ready = current.visitor = false;
		transmit(fd, LRP_KEEPER_END, NULL, 0, -1);
	}
}

static int timeout(void)
{
	long long wait = start_at - now_ms();

	if (current.fd >= 0 || given_up)
		return -1;
	return wait < 0 ? 0 : (int)wait;
}

static void child_ended(int signal)
{
	(void)signal; /* poll() returns */
}

int main(int argc, char **argv)
{
	struct sigaction ended = {.sa_handler = child_ended};
	struct rlimit limit;
	sigset_t blocked, open;

	if (argc > 1)
		grace_ms = (unsigned int)atoi(argv[1]);
	start_at = now_ms() + START_MS;
	if (fcntl(LRP_KEEPER_FD, F_GETFD) < 0) {
		fprintf(stderr, "lrp-keeper: is started by lrpd\n");
		return 2;
	}
	fcntl(LRP_KEEPER_FD, F_SETFD, FD_CLOEXEC);
	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	/* Taken only while we wait, so that none is missed. */
	sigemptyset(&open);
	blocked = open;
	sigaddset(&blocked, SIGCHLD);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	sigaction(SIGCHLD, &ended, NULL);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	for (;;) {
		struct pollfd pfd[2] = {
			{.fd = LRP_KEEPER_FD, .events = POLLIN},
			{.fd = current.fd, .events = POLLIN},
		};
		int wait_ms = timeout();
		struct timespec wait = {wait_ms / 1000, wait_ms % 1000 * 1000000};

		if (ppoll(pfd, current.fd < 0 ? 1 : 2, wait_ms < 0 ? NULL : &wait, &open) < 0)
			pfd[0].revents = pfd[1].revents = 0;
		reap();
		if (current.fd >= 0 && pfd[1].revents && !serve(current.fd))
			disconnected();
		if (pfd[0].revents)
			accept_one();
		if (current.fd < 0 && !given_up && now_ms() >= start_at) {
			if (awaited) { /* it hangs */
				awaited = false;
				failed();
				continue;
			}
			start_lrpd();
			awaited = true;
			start_at = now_ms() + START_MS;
		}
	}
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * keeper.c - lrp-keeper: holds descriptors by name so that lrpd can die and be
 * replaced while packets go on [design 2, 8]. It understands nothing of them;
 * what it does not do cannot kill it. Started by lrpd with its listening socket
 * as descriptor 3; argument: ms to wait before it starts a new lrpd.
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
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "closer.h"
#include "store.h"

#define BUCKETS	 4096u
#define STARTS	 5	/* lrpds in a row that did not connect, then we give up */
#define START_MS 10000u /* what one may take */
#define SEND_MS	 5000

struct kept {
	struct kept *next;
	int fd;
	char name[sizeof(((struct lrp_keeper_message *)0)->name)];
};

static struct kept *bucket[BUCKETS];
static struct lrp_closer *closer;
static char arguments[sizeof(((struct lrp_keeper_message *)0)->text)];
static unsigned int arguments_size;

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
		lrp_close_later(&closer, kept->fd);
	}
	kept->fd = fd;
}

static void drop(struct kept **at)
{
	struct kept *kept = *at;

	if (!kept)
		return;
	*at = kept->next;
	lrp_close_later(&closer, kept->fd);
	free(kept);
}

static void clear(void)
{
	for (unsigned int b = 0; b < BUCKETS; b++)
		while (bucket[b])
			drop(&bucket[b]);
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
	char *argv[32];
	size_t n = 0;

	for (char *at = arguments; at < arguments + arguments_size && n < 31; at += strlen(at) + 1)
		argv[n++] = at;
	argv[n] = NULL;
	if (!n || fork())
		return;
	close_range(3, ~0u, 0);
	signal(SIGCHLD, SIG_DFL);
	execv(argv[0], argv);
	_exit(127);
}

static long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ll + ts.tv_nsec / 1000000;
}

int main(int argc, char **argv)
{
	unsigned int grace_ms = argc > 1 ? (unsigned int)atoi(argv[1]) : 100;
	struct rlimit limit;
	long long start_at = now_ms() + START_MS; /* when to start an lrpd, if none is there */
	pid_t current_pid = 0;
	int current = -1, starts = 0;

	if (fcntl(LRP_KEEPER_FD, F_GETFD) < 0) {
		fprintf(stderr, "lrp-keeper: is started by lrpd\n");
		return 2;
	}
	fcntl(LRP_KEEPER_FD, F_SETFD, FD_CLOEXEC);
	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	signal(SIGCHLD, SIG_IGN); /* no zombies */
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	for (;;) {
		struct pollfd pfd[2] = {
			{.fd = LRP_KEEPER_FD, .events = POLLIN},
			{.fd = current, .events = POLLIN},
		};
		long long wait = start_at - now_ms();

		if (poll(pfd, current < 0 ? 1 : 2,
			 current >= 0 ? -1
			 : wait > 0   ? (int)wait
				      : 0) < 0)
			continue;
		if (current >= 0 && pfd[1].revents && !serve(current)) {
			close(current);
			current = -1;
			starts = 0;
			start_at = now_ms() + grace_ms;
		}
		if (pfd[0].revents) {
			int fd = accept4(LRP_KEEPER_FD, NULL, NULL, SOCK_CLOEXEC);
			pid_t pid;

			if (fd < 0 || peer(fd, &pid)) {
				if (fd >= 0)
					close(fd);
			} else if (current >= 0) {
				transmit(fd, LRP_KEEPER_BUSY, NULL, (unsigned int)current_pid, -1);
				close(fd);
			} else {
				current = fd;
				current_pid = pid;
				transmit(fd, LRP_KEEPER_END, NULL, 0, -1);
			}
		}
		if (current < 0 && now_ms() >= start_at) {
			/* Without lrpd we only keep others from serving: let go. */
			if (starts++ == STARTS)
				return 1;
			start_lrpd();
			start_at = now_ms() + START_MS;
		}
	}
}

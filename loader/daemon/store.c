/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* store.c - see store.h. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../runtime/base/rundir.h"
#include "place.h"
#include "store.h"

#define ANSWER_MS 5000

static int receive(int fd, struct lrp_keeper_message *message, int *passed)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {message, sizeof(*message)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	struct cmsghdr *cmsg;
	ssize_t n;

	*passed = -1;
	if (poll(&pfd, 1, ANSWER_MS) <= 0)
		return -ETIMEDOUT;
	n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (n < 0)
		return -errno;
	if (n == 0)
		return -ECONNRESET;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (cmsg && cmsg->cmsg_type == SCM_RIGHTS && cmsg->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(passed, CMSG_DATA(cmsg), sizeof(int));
	if ((size_t)n < LRP_KEEPER_SHORT || message->magic != LRP_KEEPER_MAGIC) {
		if (*passed >= 0)
			close(*passed);
		return -EBADMSG;
	}
	message->name[sizeof(message->name) - 1] = 0;
	return 0;
}

static int transmit(int fd, const struct lrp_keeper_message *message, size_t length, int pass)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {(void *)message, length};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (pass >= 0) {
		memset(&control, 0, sizeof(control));
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &pass, sizeof(int));
	}
	return sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int lrp_store_send(int fd, enum lrp_keeper_op op, const char *name, int pass)
{
	struct lrp_keeper_message message = {.magic = LRP_KEEPER_MAGIC, .op = op};

	snprintf(message.name, sizeof(message.name), "%s", name ? name : "");
	return transmit(fd, &message, LRP_KEEPER_SHORT, pass);
}

int lrp_store_exec(int fd, char *const argv[])
{
	struct lrp_keeper_message message = {.magic = LRP_KEEPER_MAGIC, .op = LRP_KEEPER_EXEC};
	size_t used = 0;

	for (; *argv; argv++) {
		size_t length = strlen(*argv) + 1;

		if (used + length > sizeof(message.text))
			return -E2BIG;
		memcpy(message.text + used, *argv, length);
		used += length;
	}
	message.value = (__u32)used;
	return transmit(fd, &message, LRP_KEEPER_SHORT + used, -1);
}

int lrp_store_failed(int fd, const char *why)
{
	struct lrp_keeper_message message = {.magic = LRP_KEEPER_MAGIC, .op = LRP_KEEPER_FAILED};
	size_t length = strlen(why) + 1;

	if (length > sizeof(message.text))
		return -E2BIG;
	memcpy(message.text, why, length);
	message.value = (__u32)length;
	return transmit(fd, &message, LRP_KEEPER_SHORT + length, -1);
}

int lrp_store_ask(enum lrp_keeper_op op, char *text, size_t size, pid_t *pid)
{
	struct lrp_keeper_message message = {0};
	int fd = lrp_store_connect(pid), err, passed;

	if (fd < 0)
		return fd;
	err = lrp_store_send(fd, op, NULL, -1);
	if (!err)
		err = receive(fd, &message, &passed);
	if (!err && message.op != LRP_KEEPER_TEXT)
		err = -EPROTO;
	if (!err) {
		message.text[sizeof(message.text) - 1] = 0;
		snprintf(text, size, "%s", message.text);
		if (message.value)
			err = -EPERM;
	}
	close(fd);
	return err;
}

int lrp_store_connect(pid_t *pid)
{
	int fd = lrp_rundir_connect(LRP_KEEPER_FILE, 0), err, passed;
	struct lrp_keeper_message message = {0};

	*pid = 0;
	if (fd < 0)
		return fd;
	/* The keeper answers a new connection: BUSY or END. */
	err = receive(fd, &message, &passed);
	if (!err && message.op == LRP_KEEPER_BUSY) {
		*pid = (pid_t)message.value;
		err = -EBUSY;
	}
	if (!err)
		return fd;
	close(fd);
	return err;
}

int lrp_store_list(int fd, struct lrp_core_kept **kept, size_t *count)
{
	struct lrp_keeper_message message = {0};
	size_t room = 0;
	int err, passed;

	*kept = NULL;
	*count = 0;
	err = lrp_store_send(fd, LRP_KEEPER_LIST, NULL, -1);
	while (!err) {
		err = receive(fd, &message, &passed);
		if (err || message.op == LRP_KEEPER_END)
			break;
		if (message.op != LRP_KEEPER_PUT || passed < 0)
			continue;
		if (*count == room) {
			struct lrp_core_kept *grown;

			room = room ? 2 * room : 256;
			grown = realloc(*kept, room * sizeof(*grown));
			if (!grown) {
				close(passed);
				return -ENOMEM;
			}
			*kept = grown;
		}
		memcpy((*kept)[*count].name, message.name, sizeof(message.name));
		(*kept)[(*count)++].fd = passed;
	}
	return err;
}

static void keeper_process(int listen_fd, const char *path, unsigned int grace_ms)
{
	char grace[16];
	sigset_t none;
	int null;

	/* Twice: nobody's child, so that nobody has to wait for it. */
	if (fork())
		_exit(0);
	setsid();
	null = open("/dev/null", O_RDWR);
	if (null >= 0) {
		/* Its stderr, too: whoever started lrpd may wait for the end of it. */
		dup2(null, 0);
		dup2(null, 1);
		dup2(null, 2);
	}
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (listen_fd == LRP_KEEPER_FD)
		fcntl(listen_fd, F_SETFD, 0);
	else
		dup2(listen_fd, LRP_KEEPER_FD);
	close_range(LRP_KEEPER_FD + 1, ~0u, 0);
	signal(SIGCHLD, SIG_DFL);
	snprintf(grace, sizeof(grace), "%u", grace_ms);
	execl(path, "lrp-keeper", grace, (char *)NULL);
	_exit(127);
}

int lrp_store_start(const char *path, unsigned int grace_ms)
{
	pid_t child, other;
	int fd, err = 0;

	if (access(path, X_OK))
		return -errno;
	fd = lrp_place_listen(LRP_KEEPER_FILE, 0600, 0, 8, &other);
	if (fd < 0)
		return fd;
	child = fork();
	if (child < 0)
		err = -errno;
	else if (!child)
		keeper_process(fd, path, grace_ms);
	else
		waitpid(child, NULL, 0);
	close(fd);
	return err ? err : lrp_store_connect(&other);
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* control_client.c - see control_client.h. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../runtime/base/rundir.h"
#include "../lib/check.h"
#include "control_client.h"

int control_dial(void)
{
	int fd = lrp_rundir_connect(LRP_CONTROL_FILE, 0);

	if (fd < 0) {
		printf("connect to lrpd: %s\n", strerror(-fd));
		exit(1);
	}
	return fd;
}

ssize_t control_send(int fd, const void *data, size_t size, const int *fds, int count)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(64 * sizeof(int))];
	} control;
	struct iovec iov = {(void *)data, size};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (count) {
		memset(&control, 0, sizeof(control));
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
		memcpy(CMSG_DATA(&control.header), fds, (size_t)count * sizeof(int));
	}
	return sendmsg(fd, &msg, MSG_NOSIGNAL);
}

int control_reply(int fd, struct lrp_reply *reply, int *fds, int *got)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(LRP_CONTROL_MAX_FDS * sizeof(int))];
	} control;
	struct iovec iov = {reply, sizeof(*reply)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	int own[LRP_CONTROL_MAX_FDS];
	struct cmsghdr *cmsg;
	ssize_t n;

	*got = 0;
	if (poll(&pfd, 1, 5000) <= 0) {
		printf("no reply\n");
		exit(1);
	}
	n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	/* Hung up with something of ours unread: its last word is behind that. */
	if (n < 0 && errno == ECONNRESET) {
		msg.msg_controllen = sizeof(control);
		n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	}
	if (n <= 0)
		return 1;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (cmsg && cmsg->cmsg_type == SCM_RIGHTS) {
		*got = (int)((cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds ? fds : own, CMSG_DATA(cmsg), (size_t)*got * sizeof(int));
		for (int i = 0; !fds && i < *got; i++)
			close(own[i]);
	}
	return reply->error;
}

static int ask(int fd, struct lrp_request *request, const int *in, int count,
	       struct lrp_reply *reply, int *fds, int *got)
{
	int err;

	request->magic = LRP_ABI_MAGIC;
	request->version = LRP_ABI_VERSION;
	request->id++;
	*got = 0;
	if (control_send(fd, request, sizeof(*request), in, count) < 0 && errno != EPIPE)
		return 1;
	err = control_reply(fd, reply, fds, got);
	if (err <= 0 && reply->id) {
		CHECK(reply->id == request->id, "reply to another request");
		CHECK((int)reply->fds == *got, "%u descriptors announced, %d came", reply->fds,
		      *got);
	}
	return err;
}

int control_ask(int fd, struct lrp_request *request, const int *fds, int count,
		struct lrp_reply *reply)
{
	int got;

	return ask(fd, request, fds, count, reply, NULL, &got);
}

int control_ask_fds(int fd, struct lrp_request *request, struct lrp_reply *reply, int *fds,
		    int *got)
{
	return ask(fd, request, NULL, 0, reply, fds, got);
}

int control_hello(int fd, struct lrp_reply *reply)
{
	struct lrp_request request = {.type = LRP_REQ_HELLO};

	return control_ask(fd, &request, NULL, 0, reply);
}

pid_t control_lrpd_pid(void)
{
	FILE *pipe = popen("build/bin/lrp status --json 2>/dev/null | jq .pid", "r");
	int pid = -1;

	if (!pipe || fscanf(pipe, "%d", &pid) != 1)
		pid = -1;
	if (pipe)
		pclose(pipe);
	return pid;
}

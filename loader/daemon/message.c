/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* message.c - see message.h. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "message.h"

void lrp_message_ask_sender(int fd)
{
	int on = 1;

	setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
}

ssize_t lrp_message_receive(int fd, struct lrp_request *request, int *fds, int *fd_count,
			    struct ucred *sender)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(LRP_MESSAGE_FDS * sizeof(int)) +
			  CMSG_SPACE(sizeof(struct ucred))];
	} control;
	char extra;
	struct iovec iov[2] = {{request, sizeof(*request)}, {&extra, 1}};
	struct msghdr msg = {.msg_iov = iov,
			     .msg_iovlen = 2,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	*fd_count = 0;
	memset(sender, 0, sizeof(*sender));
	if (n < 0)
		return -errno;
	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg); cmsg; cmsg = CMSG_NXTHDR(&msg, cmsg)) {
		size_t count;

		if (cmsg->cmsg_level != SOL_SOCKET)
			continue;
		if (cmsg->cmsg_type == SCM_CREDENTIALS &&
		    cmsg->cmsg_len == CMSG_LEN(sizeof(*sender)))
			memcpy(sender, CMSG_DATA(cmsg), sizeof(*sender));
		if (cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		if (count > (size_t)(LRP_MESSAGE_FDS - *fd_count))
			count = (size_t)(LRP_MESSAGE_FDS - *fd_count);
		memcpy(fds + *fd_count, CMSG_DATA(cmsg), count * sizeof(int));
		*fd_count += (int)count;
	}
	if (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
		return -EMSGSIZE;
	return n;
}

int lrp_message_reply(int fd, const struct lrp_reply *reply, const int *fds, int fd_count)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(LRP_CONTROL_MAX_FDS * sizeof(int))];
	} control;
	struct iovec iov = {(void *)reply, sizeof(*reply)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd_count) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE((size_t)fd_count * sizeof(int));
		memset(&control, 0, msg.msg_controllen);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN((size_t)fd_count * sizeof(int));
		memcpy(CMSG_DATA(&control.header), fds, (size_t)fd_count * sizeof(int));
	}
	return sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

void lrp_message_refuse(int fd, int error, const char *format, ...)
{
	struct lrp_reply reply = {.magic = LRP_ABI_MAGIC, .error = error};
	va_list args;

	va_start(args, format);
	vsnprintf(reply.error_text, sizeof(reply.error_text), format, args);
	va_end(args);
	reply.length = (__u32)strlen(reply.error_text);
	lrp_message_reply(fd, &reply, NULL, 0);
}

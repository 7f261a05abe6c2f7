/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* message.h - one request in, one reply out, on a connection of the control socket.
 * Never blocks. */
#ifndef LRP_CORE_MESSAGE_H
#define LRP_CORE_MESSAGE_H

#include <sys/socket.h>

#include "../core/core.h"

#define LRP_MESSAGE_FDS 253 /* the kernel's SCM_MAX_FD */

/*
 * fds: room for LRP_MESSAGE_FDS, the caller's to close, also after an error. sender: who sent
 * it, by the kernel; pid 0: it did not say. Bytes, 0 at the end, or -errno.
 */
ssize_t lrp_message_receive(int fd, struct lrp_request *request, int *fds, int *fd_count,
			    struct ucred *sender);

/* 0 or -errno. */
int lrp_message_reply(int fd, const struct lrp_reply *reply, const int *fds, int fd_count);

/* The last word to a connection that is not taken: error and a line of text, id 0. */
__attribute__((format(printf, 3, 4))) void lrp_message_refuse(int fd, int error, const char *format,
							      ...);

/* The sender of each message is asked for. */
void lrp_message_ask_sender(int fd);

#endif

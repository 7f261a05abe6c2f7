/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* control_client.h - a client of lrpd that says what a test wants it to say. */
#ifndef LRP_TEST_CONTROL_CLIENT_H
#define LRP_TEST_CONTROL_CLIENT_H

#include <sys/types.h>

#include <lrp/control.h>

int control_dial(void); /* ends the test if nobody listens */

/* Any bytes, any descriptors (64 at most). As sendmsg(). */
ssize_t control_send(int fd, const void *data, size_t size, const int *fds, int count);

/* The reply's error; 1: the connection was closed. Descriptors go to fds (room for
 * LRP_CONTROL_MAX_FDS), or are closed if that is NULL. */
int control_reply(int fd, struct lrp_reply *reply, int *fds, int *got);

/* One exchange under the next id. -errno of the answer, 0, or 1: closed. */
int control_ask(int fd, struct lrp_request *request, const int *fds, int count,
		struct lrp_reply *reply);
int control_ask_fds(int fd, struct lrp_request *request, struct lrp_reply *reply, int *fds,
		    int *got);
int control_hello(int fd, struct lrp_reply *reply);

/* What `lrp status` as root says is lrpd's pid; -1: none. */
pid_t control_lrpd_pid(void);

#endif

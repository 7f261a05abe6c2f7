/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * server.h - the control socket: connections, credentials, lifelines. It never
 * waits for a client; one that does not read its reply is dropped, and what it had is
 * reclaimed as if it had died.
 */
#ifndef LRP_CORE_SERVER_H
#define LRP_CORE_SERVER_H

#include "core.h"

struct lrp_server;

/* Listens on LRP_CONTROL_NAME. -EADDRINUSE: *pid has it. 0 or -errno. */
int lrp_server_listen(pid_t *pid);

/* epoll_fd: the caller's, events carry pointers that lrp_server_event() takes. */
struct lrp_server *lrp_server_new(struct lrp_core *core, int epoll_fd, int listen_fd,
				  const struct lrp_core_store *store);
void lrp_server_free(struct lrp_server *server);

/* A connection that the keeper had, under its name. False: not a connection, fd untouched. */
bool lrp_server_adopt(struct lrp_server *server, const struct lrp_core_kept *kept);
/* Which owners have a connection. */
void lrp_server_claimed(struct lrp_server *server, bool claimed[LRP_OWNERS]);

void lrp_server_event(struct lrp_server *server, void *data);
void lrp_server_store_all(struct lrp_server *server);
bool lrp_server_stopped(const struct lrp_server *server); /* LRP_REQ_STOP was granted */

#endif

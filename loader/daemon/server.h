/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * server.h - the control sockets: connections, credentials, lifelines, limits of users. It never
 * waits for a client; one that does not read its reply is dropped, and what it had is
 * reclaimed as if it had died.
 *
 * Root has a socket, an epoll set, connections and descriptors of his own, and is served
 * before anybody else: after one request of another user at most.
 */
#ifndef LRP_CORE_SERVER_H
#define LRP_CORE_SERVER_H

#include "admission.h"
#include "../core/core.h"

struct lrp_server;

struct lrp_server_opts {
	const struct lrp_admission *admission;
	uint32_t connections; /* of each user other than root */
	uint32_t cpu_ms;      /* in a second, the same */
	int epoll_fd; /* the caller's; events carry pointers that lrp_server_event() takes */
	int listen_fd, admin_fd;
	struct lrp_core_store store;
};

struct lrp_server *lrp_server_new(struct lrp_core *core, const struct lrp_server_opts *opts);
void lrp_server_free(struct lrp_server *server);

/* A connection that the keeper had, under its name. False: not a connection, fd untouched. */
bool lrp_server_adopt(struct lrp_server *server, const struct lrp_core_kept *kept);
/* Which owners have a connection. */
void lrp_server_claimed(struct lrp_server *server, bool claimed[LRP_OWNERS]);

void lrp_server_event(struct lrp_server *server, void *data);
/* Reads on where it had stopped for a moment. CLOCK_MONOTONIC ms of the next time; 0: none. */
uint64_t lrp_server_run(struct lrp_server *server);
void lrp_server_store_all(struct lrp_server *server);
bool lrp_server_stopped(const struct lrp_server *server); /* LRP_REQ_STOP was granted */

#endif

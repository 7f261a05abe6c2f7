/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* server_internal.h - between server.c (connections, requests) and accept.c (who gets one). */
#ifndef LRP_CORE_SERVER_INTERNAL_H
#define LRP_CORE_SERVER_INTERNAL_H

#include <time.h>

#include "budget.h"
#include "message.h"
#include "server.h"

#define CONNECTIONS	 4096u
#define CONNECTIONS_ROOT 64u  /* of these, for root alone */
#define DESCRIPTORS_ROOT 128u /* of the process's, for root alone */

struct source { /* what an epoll event points to */
	enum { FREE, LISTEN, ADMIN, ROOT, CLIENT, PROCESS } kind;
	uint32_t slot;
};

struct connection {
	struct source client, process;
	int fd;	     /* -1: unused */
	int pidfd;   /* -1: its process is gone, others have the connection still */
	bool member; /* handed in by its family: nothing is believed about it but the family */
	bool paused; /* not read before its user's budget has filled */
	uint32_t answered; /* id of the last request that was */
	uint64_t proof;	   /* cookie of the socket that the next proof is about; 0: none */
	struct lrp_core_client who;
	struct lrp_budget_user *user; /* NULL: root's */
};

struct listing { /* STATUS or CHANNELS for users other than root */
	int fd;
	uint32_t length;
	uint64_t at_ns;
};

struct lrp_server {
	struct lrp_core *core;
	struct lrp_server_opts opts;
	struct lrp_budget *budget;
	struct source listening, admin, root;
	int root_epoll_fd; /* what is served first */
	int reserve_fd;	   /* given up for a moment to refuse a connection when there is no other */
	uint32_t used;	   /* connections */
	uint64_t accept_at_ns, resume_at_ns; /* 0: not paused */
	uint64_t cpu_ns; /* of this thread, when the last request that is charged ended */
	struct listing listing[2];
	bool stopped;
	struct connection connection[CONNECTIONS];
};

uint64_t lrp_server_clock(clockid_t clock); /* ns */
int lrp_server_watch(int epoll_fd, int op, int fd, uint32_t events, struct source *source);

/* server.c. Takes fd into a slot that is free. On failure fd is the caller's still. */
int lrp_server_begin(struct lrp_server *server, struct connection *c, int fd,
		     const struct ucred *cred, bool member);
/* To the keeper, under a name that says whose it is. */
void lrp_server_keep(struct lrp_server *server, const struct connection *c, uint32_t owner);

/* accept.c */
void lrp_server_accept(struct lrp_server *server, int listen_fd);
void lrp_server_accept_later(struct lrp_server *server, bool later); /* false: now again */
void lrp_server_take_member(struct lrp_server *server, const struct connection *by, int fd);
/* Would so many descriptors more leave root less than his share? */
bool lrp_server_descriptors_short(unsigned int more);
/* In the log, once for each user and limit. */
void lrp_server_refused(struct lrp_budget_user *user, enum lrp_budget_limit limit, const char *what,
			const char *why);

#endif

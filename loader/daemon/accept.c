/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* accept.c - who gets a connection: admission, limits, and what is said to those who get none. */
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../runtime/base/log.h"
#include "../../runtime/base/rundir.h"
#include "server_internal.h"

#define ACCEPTS	 32u	      /* in a row */
#define PAUSE_NS 100000000ull /* of accepting, when the system has no memory for it */

/* ---- limits -------------------------------------------------------------------------- */

static rlim_t descriptor_limit(void)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) ? 0 : limit.rlim_cur;
}

bool lrp_server_descriptors_short(unsigned int more)
{
	struct stat open;

	/* st_size: how many are open (Linux 6.2). */
	return stat("/proc/self/fd", &open) ||
	       (rlim_t)open.st_size + more + DESCRIPTORS_ROOT >= descriptor_limit();
}

void lrp_server_refused(struct lrp_budget_user *user, enum lrp_budget_limit limit, const char *what,
			const char *why)
{
	if (user && lrp_budget_first(user, limit))
		lrp_log(LRP_LOG_WARN, "lrpd: uid %u: %s: %s (said once)", (unsigned int)user->uid,
			what, why);
}

/* Says on the connection, and once in the log, why it is not taken. False then. */
static bool within_limits(struct lrp_server *server, int fd, const struct ucred *cred)
{
	struct lrp_budget_user *user;

	if (cred->uid == 0)
		return true;
	user = lrp_budget_user(server->budget, cred->uid, lrp_server_clock(CLOCK_MONOTONIC));
	if (server->used + CONNECTIONS_ROOT >= CONNECTIONS || !user) {
		lrp_message_refuse(fd, -EUSERS,
				   "all %u connections to lrpd that are not root's are in use: end "
				   "some programs",
				   CONNECTIONS - CONNECTIONS_ROOT);
		lrp_server_refused(user, LRP_BUDGET_CONNECTIONS, "connection refused",
				   "all connections are in use");
		return false;
	}
	if (user->connections >= server->opts.connections) {
		lrp_message_refuse(fd, -EDQUOT,
				   "uid %u has %u connections to lrpd, as many as a user may: "
				   "lrpd --connections N or `connections = N` in " LRP_CONF_FILE
				   " changes that",
				   (unsigned int)cred->uid, user->connections);
		lrp_server_refused(user, LRP_BUDGET_CONNECTIONS, "connection refused",
				   "the user's limit of connections (--connections)");
		return false;
	}
	if (lrp_server_descriptors_short(2)) {
		lrp_message_refuse(
			fd, -EMFILE,
			"lrpd has no descriptors left but for root's (limit %llu): raise "
			"LimitNOFILE of lrpd",
			(unsigned long long)descriptor_limit());
		lrp_server_refused(user, LRP_BUDGET_DESCRIPTORS, "connection refused",
				   "no descriptors left (LimitNOFILE)");
		return false;
	}
	return true;
}

static struct connection *free_slot(struct lrp_server *server)
{
	for (uint32_t i = 0; i < CONNECTIONS; i++)
		if (server->connection[i].fd < 0)
			return &server->connection[i];
	return NULL;
}

/* ---- accepting ----------------------------------------------------------------------- */

static bool admitted(struct lrp_server *server, int fd, const struct ucred *cred)
{
	const struct lrp_admission *admission = server->opts.admission;
	struct lrp_budget_user *user;
	uint64_t cookie;

	/* The socket is its maker's; only for a path does that make a difference. */
	if (lrp_rundir_cookie(fd, &cookie) || cookie != admission->netns_cookie) {
		lrp_message_refuse(fd, -EXDEV,
				   "this socket is of another network namespace than lrpd, which "
				   "has a directory of its own under " LRP_RUN_DIR);
		return false;
	}
	if (lrp_admission_may_use(admission, fd, cred))
		return true;
	lrp_message_refuse(fd, -EACCES, "uid %u: %s", (unsigned int)cred->uid, admission->text);
	user = lrp_budget_user(server->budget, cred->uid, lrp_server_clock(CLOCK_MONOTONIC));
	lrp_server_refused(user, LRP_BUDGET_ADMISSION, "not admitted", admission->text);
	return false;
}

static void take(struct lrp_server *server, int fd)
{
	struct connection *c = NULL;
	struct ucred cred;
	socklen_t length = sizeof(cred);

	if (!getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &length) &&
	    admitted(server, fd, &cred) && within_limits(server, fd, &cred))
		c = free_slot(server);
	if (!c || lrp_server_begin(server, c, fd, &cred, false))
		close(fd);
	else
		lrp_server_keep(server, c, 0);
}

/* Not even that works: both sockets rest for a moment. Else they would wake us without end. */
void lrp_server_accept_later(struct lrp_server *server, bool later)
{
	uint32_t events = later ? 0 : EPOLLIN;

	if (server->reserve_fd < 0)
		server->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	lrp_server_watch(server->opts.epoll_fd, EPOLL_CTL_MOD, server->opts.listen_fd, events,
			 &server->listening);
	lrp_server_watch(server->root_epoll_fd, EPOLL_CTL_MOD, server->opts.admin_fd, events,
			 &server->admin);
	server->accept_at_ns = later ? lrp_server_clock(CLOCK_MONOTONIC) + PAUSE_NS : 0;
}

/* Out of descriptors: the one in reserve takes the caller off the queue, so that it does not wake
 * us for ever, and tells him. */
static bool turn_away(struct lrp_server *server, int listen_fd)
{
	int fd;

	if (server->reserve_fd < 0)
		return false;
	close(server->reserve_fd);
	fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0) {
		lrp_message_refuse(
			fd, -EMFILE,
			"lrpd has no descriptor left (limit %llu): raise its LimitNOFILE",
			(unsigned long long)descriptor_limit());
		close(fd);
	}
	server->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return fd >= 0;
}

void lrp_server_accept(struct lrp_server *server, int listen_fd)
{
	for (uint32_t i = 0; i < ACCEPTS; i++) {
		int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd >= 0) {
			take(server, fd);
			continue;
		}
		if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
			return;
		if ((errno == EMFILE || errno == ENFILE) && turn_away(server, listen_fd))
			continue;
		lrp_server_accept_later(server, true);
		return;
	}
}

/*
 * LRP_REQ_MEMBER: a process that the family has forked. Its credentials are not taken from the
 * socket: a family could hand in one whose other end is a daemon of root's. It has what the
 * connection over which it came has, and less if the process has dropped root's uid.
 */
void lrp_server_take_member(struct lrp_server *server, const struct connection *by, int fd)
{
	int domain = 0, type = 0, listens = 1;
	struct connection *c = NULL;
	uid_t uid = 0;
	struct ucred cred;
	socklen_t length = sizeof(int);

	getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length);
	getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length);
	getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length);
	length = sizeof(cred);
	if (domain == AF_UNIX && type == SOCK_SEQPACKET && !listens &&
	    !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &length)) {
		uid = cred.uid;
		if (by->who.uid)
			cred.uid = by->who.uid;
		if (within_limits(server, fd, &cred))
			c = free_slot(server);
	}
	if (!c || lrp_server_begin(server, c, fd, &cred, true)) {
		close(fd);
		return;
	}
	c->who.owner = by->who.owner;
	lrp_core_member_joined(server->core, c->who.owner, uid);
	lrp_server_keep(server, c, c->who.owner);
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* server.c - see server.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "../runtime/base/log.h"
#include "server.h"
#include "store.h"

#define CONNECTIONS	    4096u
#define CONNECTIONS_PER_UID 512u /* of users other than root */
#define SCM_MAX		    253	 /* the kernel's SCM_MAX_FD */

struct source { /* what an epoll event points to */
	enum { FREE, LISTEN, CLIENT, PROCESS } kind;
	uint32_t slot;
};

struct connection {
	struct source client, process;
	int fd;	   /* -1: unused */
	int pidfd; /* -1: its process is gone, others have the connection still */
	struct lrp_core_client who;
};

struct lrp_server {
	struct lrp_core *core;
	struct lrp_core_store store;
	struct source listening;
	int epoll_fd, listen_fd;
	bool stopped;
	struct connection connection[CONNECTIONS];
};

int lrp_server_listen(pid_t *pid)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un addr;
	struct ucred cred = {0};
	socklen_t length = sizeof(cred);
	int err;

	*pid = 0;
	if (fd < 0)
		return -errno;
	if (!bind(fd, (struct sockaddr *)&addr, lrp_store_address(&addr, LRP_CONTROL_NAME)) &&
	    !listen(fd, 256))
		return fd;
	err = -errno;
	if (err == -EADDRINUSE &&
	    !connect(fd, (struct sockaddr *)&addr, lrp_store_address(&addr, LRP_CONTROL_NAME)) &&
	    !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &length))
		*pid = cred.pid;
	close(fd);
	return err;
}

static int watch(const struct lrp_server *server, int fd, struct source *source)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};

	return epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

struct lrp_server *lrp_server_new(struct lrp_core *core, int epoll_fd, int listen_fd,
				  const struct lrp_core_store *store)
{
	struct lrp_server *server = calloc(1, sizeof(*server));

	if (!server)
		return NULL;
	server->core = core;
	server->store = *store;
	server->epoll_fd = epoll_fd;
	server->listen_fd = listen_fd;
	server->listening.kind = LISTEN;
	for (uint32_t i = 0; i < CONNECTIONS; i++) {
		server->connection[i].fd = server->connection[i].pidfd = -1;
		server->connection[i].client.slot = server->connection[i].process.slot = i;
	}
	if (watch(server, listen_fd, &server->listening)) {
		free(server);
		return NULL;
	}
	server->store.put(server->store.arg, "listen", listen_fd);
	return server;
}

/* ---- connections ------------------------------------------------------------------- */

/* The name says what a new lrpd cannot find out by itself. */
static void keep(struct lrp_server *server, const struct connection *c, uint32_t owner)
{
	char name[sizeof(((struct lrp_core_kept *)0)->name)];

	snprintf(name, sizeof(name), "conn:%u:%u", c->client.slot, owner);
	server->store.put(server->store.arg, name, c->fd);
}

static void forget(struct lrp_server *server, const struct connection *c, uint32_t owner)
{
	char name[sizeof(((struct lrp_core_kept *)0)->name)];

	snprintf(name, sizeof(name), "conn:%u:%u", c->client.slot, owner);
	server->store.drop(server->store.arg, name);
}

static bool owner_connected(const struct lrp_server *server, uint32_t owner)
{
	for (uint32_t i = 0; i < CONNECTIONS; i++)
		if (server->connection[i].fd >= 0 && server->connection[i].who.owner == owner)
			return true;
	return false;
}

static void end_process(struct connection *c)
{
	if (c->pidfd >= 0)
		close(c->pidfd);
	c->pidfd = -1;
	c->process.kind = FREE;
}

/* It may have connected more than once. */
static bool pid_connected(const struct lrp_server *server, uint32_t owner, pid_t pid)
{
	for (uint32_t i = 0; i < CONNECTIONS; i++)
		if (server->connection[i].fd >= 0 && server->connection[i].who.owner == owner &&
		    server->connection[i].who.pid == pid)
			return true;
	return false;
}

static void end(struct lrp_server *server, struct connection *c)
{
	uint32_t owner = c->who.owner;
	pid_t pid = c->who.pid;

	forget(server, c, owner);
	end_process(c);
	close(c->fd);
	c->fd = -1;
	c->client.kind = FREE;
	if (owner)
		lrp_core_client_gone(server->core, owner, !owner_connected(server, owner));
	if (owner && !pid_connected(server, owner, pid))
		lrp_core_member_gone(server->core, owner, pid);
}

static int begin(struct lrp_server *server, struct connection *c, int fd)
{
	struct ucred cred;
	socklen_t length = sizeof(cred);
	int err;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &length))
		return -errno;
	c->who = (struct lrp_core_client){.pid = cred.pid, .uid = cred.uid};
	c->fd = fd;
	c->client.kind = CLIENT;
	err = watch(server, fd, &c->client);
	if (err) {
		c->fd = -1;
		c->client.kind = FREE;
		return err;
	}
	/* Gone already, or in a pid namespace that we do not see: then the connection alone tells.
	 */
	c->pidfd = cred.pid > 0 ? (int)syscall(SYS_pidfd_open, cred.pid, 0) : -1;
	if (c->pidfd >= 0) {
		c->process.kind = PROCESS;
		if (watch(server, c->pidfd, &c->process))
			end_process(c);
	}
	return 0;
}

static bool may_connect(const struct lrp_server *server, int fd)
{
	struct ucred cred;
	socklen_t length = sizeof(cred);
	uint32_t count = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &length))
		return false;
	for (uint32_t i = 0; cred.uid && i < CONNECTIONS; i++)
		count += server->connection[i].fd >= 0 && server->connection[i].who.uid == cred.uid;
	return count < CONNECTIONS_PER_UID;
}

static void accept_one(struct lrp_server *server)
{
	int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	if (!may_connect(server, fd)) {
		close(fd);
		return;
	}
	for (uint32_t i = 0; i < CONNECTIONS; i++) {
		struct connection *c = &server->connection[i];

		if (c->fd >= 0)
			continue;
		if (begin(server, c, fd))
			break;
		keep(server, c, 0);
		return;
	}
	close(fd);
}

/* ---- requests --------------------------------------------------------------------------- */

/* One message and its descriptors, none of which may leak. Returns bytes, 0 at the end, or -errno.
 */
static ssize_t receive(int fd, struct lrp_request *request, int *fds, int *fd_count)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(SCM_MAX * sizeof(int))];
	} control;
	char extra;
	struct iovec iov[2] = {{request, sizeof(*request)}, {&extra, 1}};
	struct msghdr msg = {.msg_iov = iov,
			     .msg_iovlen = 2,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	*fd_count = 0;
	if (n < 0)
		return -errno;
	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg); cmsg; cmsg = CMSG_NXTHDR(&msg, cmsg)) {
		size_t count;

		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds + *fd_count, CMSG_DATA(cmsg), count * sizeof(int));
		*fd_count += (int)count;
	}
	if (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
		return -EMSGSIZE;
	return n;
}

static int reply_to(const struct connection *c, const struct lrp_reply *reply, const int *fds,
		    int fd_count)
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
	return sendmsg(c->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static void close_all(const int *fds, int count)
{
	for (int i = 0; i < count; i++)
		close(fds[i]);
}

static void answer(struct lrp_server *server, struct connection *c,
		   const struct lrp_request *request, const int *in_fds, int in_count)
{
	int out_fds[LRP_CONTROL_MAX_FDS], out_count = 0, err;
	bool out_owned[LRP_CONTROL_MAX_FDS];
	uint32_t owner = c->who.owner;
	struct lrp_reply reply;

	lrp_core_request(server->core, &c->who, request, in_fds, in_count, &reply, out_fds,
			 out_owned, &out_count);
	if (c->who.owner != owner) {
		keep(server, c, c->who.owner);
		forget(server, c, owner);
	}
	/* Who has his answer has his sockets for himself: their ports are free when he closes them. */
	close_all(in_fds, in_count);
	err = reply_to(c, &reply, out_fds, out_count);
	for (int i = 0; i < out_count; i++)
		if (out_owned[i])
			close(out_fds[i]);
	if (request->type == LRP_REQ_STOP && !reply.error)
		server->stopped = true;
	if (err) {
		lrp_log(LRP_LOG_INFO, "lrpd: pid %d does not take its reply: dropped", c->who.pid);
		end(server, c);
	}
}

static void client_event(struct lrp_server *server, struct connection *c)
{
	struct lrp_request request;
	int fds[SCM_MAX], count;
	ssize_t n = receive(c->fd, &request, fds, &count);

	if (n == -EAGAIN || n == -EINTR)
		return;
	if (n > 0 && !lrp_core_check_request(&request, (size_t)n, count)) {
		answer(server, c, &request, fds, count);
	} else if (n == (ssize_t)sizeof(request) && request.magic == LRP_ABI_MAGIC) {
		/* Well-formed but refused: the core says why. */
		answer(server, c, &request, fds, count);
	} else {
		close_all(fds, count);
		end(server, c); /* nobody of ours speaks like this */
	}
}

void lrp_server_event(struct lrp_server *server, void *data)
{
	struct source *source = data;
	struct connection *c = &server->connection[source->slot];

	switch (source->kind) {
	case LISTEN:
		accept_one(server);
		break;
	case CLIENT:
		client_event(server, c);
		break;
	case PROCESS:
		/* Dead; if it forked, the others have its connection still. */
		end_process(c);
		if (c->who.owner)
			lrp_core_client_gone(server->core, c->who.owner, false);
		break;
	case FREE: /* an event of this round that an earlier one has overtaken */
		break;
	}
}

/* ---- over our own death -------------------------------------------------------------------- */

bool lrp_server_adopt(struct lrp_server *server, const struct lrp_core_kept *kept)
{
	struct connection *c = NULL;
	unsigned int slot, owner;

	if (sscanf(kept->name, "conn:%u:%u", &slot, &owner) != 2)
		return false;
	if (slot < CONNECTIONS && server->connection[slot].fd < 0)
		c = &server->connection[slot];
	/* Twice under two owners, if the old lrpd died between putting and dropping. */
	if (!c || begin(server, c, kept->fd)) {
		if (c == NULL && slot < CONNECTIONS && !server->connection[slot].who.owner &&
		    owner) {
			server->connection[slot].who.owner = owner;
		}
		close(kept->fd);
		server->store.drop(server->store.arg, kept->name);
		return true;
	}
	if (lrp_core_owner_valid(server->core, owner, c->who.uid))
		c->who.owner = owner;
	if (c->pidfd < 0 && c->who.owner)
		lrp_core_client_gone(server->core, c->who.owner, false);
	return true;
}

void lrp_server_claimed(struct lrp_server *server, bool claimed[LRP_OWNERS])
{
	memset(claimed, 0, LRP_OWNERS * sizeof(*claimed));
	for (uint32_t i = 0; i < CONNECTIONS; i++)
		if (server->connection[i].fd >= 0)
			claimed[server->connection[i].who.owner] = true;
}

void lrp_server_store_all(struct lrp_server *server)
{
	server->store.put(server->store.arg, "listen", server->listen_fd);
	for (uint32_t i = 0; i < CONNECTIONS; i++)
		if (server->connection[i].fd >= 0)
			keep(server, &server->connection[i], server->connection[i].who.owner);
}

bool lrp_server_stopped(const struct lrp_server *server)
{
	return server->stopped;
}

void lrp_server_free(struct lrp_server *server)
{
	for (uint32_t i = 0; i < CONNECTIONS; i++) {
		if (server->connection[i].fd >= 0)
			close(server->connection[i].fd);
		end_process(&server->connection[i]);
	}
	close(server->listen_fd);
	free(server);
}

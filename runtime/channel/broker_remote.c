/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * broker_remote.c - talking to lrpd [include/lrp/control.h].
 *
 * A reply that does not come in time is not waited for any longer: a new
 * connection is made with the family's identity, and the request sent again. The
 * old connection is closed only then, so that lrpd never sees the family without one.
 *
 * The application may close descriptors that it does not know (daemons do) and
 * the number may be another file's by now: ours are recognised by their inode
 * before each use.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/fd.h"
#include "../base/log.h"
#include "broker_internal.h"

#define RESEND_MS 500 /* without an answer for so long, connect anew */
#define RETRY_MS  20  /* between attempts to connect while lrpd is being replaced */

struct connection {
	int fd; /* -1: none */
	dev_t dev;
	ino_t ino;
};

static struct connection current = {.fd = -1};
static uint32_t last_id;

static bool connection_ours(const struct connection *c)
{
	struct stat st;

	return c->fd >= 0 && fstat(c->fd, &st) == 0 && st.st_ino == c->ino && st.st_dev == c->dev;
}

static void connection_close(struct connection *c)
{
	if (connection_ours(c))
		close(c->fd);
	c->fd = -1;
}

static int connection_open(struct connection *c)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	socklen_t len =
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + sizeof(LRP_CONTROL_NAME));
	struct ucred peer;
	socklen_t peer_len = sizeof(peer);
	struct stat st;
	int fd, error;

	c->fd = -1;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	memcpy(addr.sun_path + 1, LRP_CONTROL_NAME, sizeof(LRP_CONTROL_NAME) - 1);
	if (connect(fd, (struct sockaddr *)&addr, len) ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_len)) {
		error = -errno;
		close(fd);
		return error;
	}
	/* Anybody may take an abstract address; what it hands out is to be trusted. */
	if (peer.uid != 0) {
		lrp_log_once(
			LRP_LOG_WARN,
			"the control address @%s belongs to uid %u, not to root's lrpd: not used",
			LRP_CONTROL_NAME, (unsigned int)peer.uid);
		close(fd);
		return -EPERM;
	}
	fd = lrp_fd_aside(fd);
	if (fstat(fd, &st)) {
		error = -errno;
		close(fd);
		return error;
	}
	*c = (struct connection){.fd = fd, .dev = st.st_dev, .ino = st.st_ino};
	return 0;
}

static int send_request(const struct connection *c, const struct lrp_request *request,
			const int *fds, int count)
{
	char control[CMSG_SPACE(sizeof(int) * LRP_CONTROL_MAX_BATCH)]
		__attribute__((aligned(8))) = {0};
	struct iovec iov = {.iov_base = (void *)request, .iov_len = sizeof(*request)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (count < 0 || count > LRP_CONTROL_MAX_BATCH)
		return -EINVAL;
	if (count) {
		struct cmsghdr *cmsg;

		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)count);
		memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * (size_t)count);
	}
	/* Never full: there is one request at a time. */
	return sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

/* -EAGAIN: nothing there; -EMFILE: the message's descriptors did not all fit. */
static int receive_reply(const struct connection *c, struct lrp_reply *reply, int *fds, int *count)
{
	char control[CMSG_SPACE(sizeof(int) * LRP_CONTROL_MAX_FDS)] __attribute__((aligned(8)));
	struct iovec iov = {.iov_base = reply, .iov_len = sizeof(*reply)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control,
			     .msg_controllen = sizeof(control)};
	ssize_t n;

	*count = 0;
	memset(reply, 0, sizeof(*reply));
	n = recvmsg(c->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	if (n == 0)
		return -ECONNRESET;
	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg); cmsg; cmsg = CMSG_NXTHDR(&msg, cmsg)) {
		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		*count = (int)((cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(cmsg), sizeof(int) * (size_t)*count);
	}
	if ((size_t)n < offsetof(struct lrp_reply, hello) || reply->magic != LRP_ABI_MAGIC ||
	    msg.msg_flags & MSG_TRUNC) {
		lrp_broker_close_fds(fds, *count);
		*count = 0;
		return -EPROTO;
	}
	if (msg.msg_flags & MSG_CTRUNC || (uint32_t)*count != reply->fds) {
		lrp_broker_close_fds(fds, *count);
		*count = 0;
		return -EMFILE;
	}
	for (int i = 0; i < *count; i++)
		fds[i] = lrp_fd_aside(fds[i]);
	return 0;
}

/* One exchange on one connection. -ETIMEDOUT: no answer until then. */
static int exchange(const struct connection *c, struct lrp_request *request, const int *in_fds,
		    int in_count, struct lrp_reply *reply, int *fds, int *count, uint64_t until_ns)
{
	struct pollfd pfd = {.fd = c->fd, .events = POLLIN};
	int error;

	request->magic = LRP_ABI_MAGIC;
	request->version = LRP_ABI_VERSION;
	request->id = ++last_id;
	error = send_request(c, request, in_fds, in_count);
	if (error)
		return error;
	for (;;) {
		uint64_t now = lrp_now_ns();

		error = receive_reply(c, reply, fds, count);
		if ((error == 0 || error == -EMFILE) && reply->id == request->id)
			return error;
		if (error == 0 || error == -EMFILE) {
			/* An answer that we no longer waited for. */
			lrp_broker_close_fds(fds, *count);
			continue;
		}
		if (error != -EAGAIN)
			return error;
		if (now >= until_ns)
			return -ETIMEDOUT;
		if (poll(&pfd, 1, (int)((until_ns - now) / LRP_NS_PER_MS) + 1) < 0 &&
		    errno != EINTR)
			return -errno;
	}
}

/* Connects and says who we are. Replaces the present connection only if that works. */
static int hello(uint64_t until_ns)
{
	int fds[LRP_CONTROL_MAX_FDS], count, error;
	struct lrp_request request;
	struct connection fresh;
	struct lrp_reply reply;
	bool known = lrp_broker_owner != 0;

	error = connection_open(&fresh);
	if (error)
		return error;
	for (;;) {
		memset(&request, 0, sizeof(request));
		request.type = LRP_REQ_HELLO;
		request.hello.owner = known ? lrp_broker_owner : 0;
		request.hello.token = known ? lrp_broker_token : 0;
		error = exchange(&fresh, &request, NULL, 0, &reply, fds, &count, until_ns);
		if (error)
			break;
		error = reply.error;
		if (!error && count != 1) {
			error = -EPROTO;
			lrp_broker_close_fds(fds, count);
		}
		/* Not the lrpd that knew us, nor its heir: start from nothing. */
		if (error && known) {
			known = false;
			continue;
		}
		if (!error)
			error = lrp_broker_hello(&reply, fds[0], !known);
		break;
	}
	if (error) {
		if (error == -EPROTO)
			lrp_log_once(LRP_LOG_WARN,
				     "lrpd speaks another version of the protocol: not used; "
				     "restart programs or lrpd so that both are of one version");
		connection_close(&fresh);
		return error;
	}
	connection_close(&current);
	current = fresh;
	return 0;
}

int lrp_broker_remote_connect(void)
{
	return hello(lrp_now_ns() + LRP_CONTROL_TIMEOUT_MS * LRP_NS_PER_MS);
}

void lrp_broker_remote_forked(void)
{
	/* Stays open: it is the family's lifeline. */
	current.fd = -1;
}

static int call(struct lrp_request *request, const int *in_fds, int in_count,
		struct lrp_reply *reply, int *fds, int *count)
{
	uint64_t until = lrp_now_ns() + LRP_CONTROL_TIMEOUT_MS * LRP_NS_PER_MS;
	uint32_t incarnation = lrp_broker_incarnation;
	int error;

	*count = 0;
	for (;;) {
		uint64_t patience = lrp_now_ns() + RESEND_MS * LRP_NS_PER_MS;

		error = -ENOTCONN;
		if (connection_ours(&current))
			error = exchange(&current, request, in_fds, in_count, reply, fds, count,
					 patience < until ? patience : until);
		/* A new one would not help where descriptors are short. */
		if (error == 0 || error == -EMFILE)
			return error;
		if (lrp_now_ns() >= until)
			return -ETIMEDOUT;
		while (hello(until)) {
			if (lrp_now_ns() >= until)
				return -ETIMEDOUT;
			poll(NULL, 0, RETRY_MS);
		}
		/* An endpoint of that number would be another's. */
		if (lrp_broker_incarnation != incarnation)
			return -ESTALE;
	}
}

const struct lrp_broker_source lrp_broker_remote = {.call = call};

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * broker_remote.c - talking to lrpd [include/lrp/control.h].
 *
 * A connection outlives lrpd: the keeper holds its other end, and the next lrpd reads on. So a
 * request without an answer is sent once more on the same connection. Only when that is broken, or
 * a second has gone by, a new one is made with the family's identity. The
 * old connection is closed only then, so that lrpd never sees the family without one.
 *
 * A forked child makes a socket pair and sends one end over the connection that it inherited. It
 * needs no path for that, so it may have called chroot(), setuid() or unshare() before, and no
 * lock: one message, no reply.
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
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/fd.h"
#include "../base/log.h"
#include "../base/rundir.h"
#include "broker_internal.h"

#define RESEND_MS                                                                                  \
	500 /* without an answer for so long, send it again; the second time, connect anew */
#define RETRY_MS 20 /* between attempts to connect while lrpd is being replaced */

struct connection {
	int fd; /* -1: none */
	dev_t dev;
	ino_t ino;
};

static struct connection current = {.fd = -1};
static struct connection lifeline = {.fd = -1}; /* inherited: the parent's */
static uint32_t last_id;

/*
 * What proves that we are of the family, and the messages that hold it, lie in pages of their own,
 * which no core dump contains. fork() leaves them to the children, exec() does not.
 */
struct secret {
	__u64 token[2];
	struct lrp_request request;
	struct lrp_reply reply;
};

static struct secret *secret; /* NULL: not made yet */

static int secret_make(void)
{
	void *page;

	if (secret)
		return 0;
	page = mmap(NULL, sizeof(*secret), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0);
	if (page == MAP_FAILED)
		return -errno;
	if (madvise(page, sizeof(*secret), MADV_DONTDUMP)) {
		int error = -errno;

		munmap(page, sizeof(*secret));
		return error;
	}
	secret = page;
	return 0;
}

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

static int connection_of(struct connection *c, int fd)
{
	struct stat st;

	fd = lrp_fd_aside(fd);
	if (fstat(fd, &st)) {
		int error = -errno;

		close(fd);
		return error;
	}
	*c = (struct connection){.fd = fd, .dev = st.st_dev, .ino = st.st_ino};
	return 0;
}

/* Each of these ends with the application's sockets being the kernel's: it is to know why. */
static void say_why(int error)
{
	char policy[512];

	if (error == -EACCES) {
		lrp_rundir_policy(policy, sizeof(policy));
		lrp_log_once(
			LRP_LOG_WARN,
			"lrpd does not admit this user (uid %u), the kernel serves its sockets: %s",
			(unsigned int)geteuid(), policy);
	} else if (error == -EPERM) {
		lrp_log_once(LRP_LOG_WARN,
			     LRP_RUN_DIR " or what is in it does not belong to root%s: not used, "
					 "the kernel serves all sockets",
			     lrp_rundir_in_userns() ? " as seen from this user namespace" : "");
	}
}

static int connection_open(struct connection *c)
{
	int fd = -EACCES;

	c->fd = -1;
	if (geteuid() == 0)
		fd = lrp_rundir_connect(LRP_ADMIN_FILE, SOCK_NONBLOCK);
	/* Root of a user namespace is not root to the kernel. */
	if (fd == -EACCES)
		fd = lrp_rundir_connect(LRP_CONTROL_FILE, SOCK_NONBLOCK);
	if (fd < 0) {
		say_why(fd);
		return fd;
	}
	return connection_of(c, fd);
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

/* A connection of our own by way of the one that we inherited. */
static int member_open(struct connection *c)
{
	struct lrp_request request = {
		.magic = LRP_ABI_MAGIC, .version = LRP_ABI_VERSION, .type = LRP_REQ_MEMBER};
	int pair[2], error;

	if (!connection_ours(&lifeline))
		return -ENOTCONN;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
		return -errno;
	error = send_request(&lifeline, &request, &pair[1], 1);
	close(pair[1]);
	if (!error)
		return connection_of(c, pair[0]);
	close(pair[0]);
	return error;
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

/* lrpd's last word to a connection that it does not take. */
static bool is_refusal(const struct lrp_reply *reply)
{
	return reply->id == 0 && reply->error < 0;
}

static int refused(struct lrp_reply *reply)
{
	reply->error_text[sizeof(reply->error_text) - 1] = 0;
	lrp_log_once(LRP_LOG_WARN,
		     "lrpd does not take this process, the kernel serves its sockets: %s",
		     reply->length ? reply->error_text : strerror(-reply->error));
	return reply->error;
}

/* Waits for the reply to request->id. -ETIMEDOUT: no answer until then. */
static int await(const struct connection *c, uint32_t id, struct lrp_reply *reply, int *fds,
		 int *count, uint64_t until_ns)
{
	struct pollfd pfd = {.fd = c->fd, .events = POLLIN};
	bool reset = false;

	for (;;) {
		uint64_t now = lrp_now_ns();
		int error = receive_reply(c, reply, fds, count);

		/* Hung up before it had read what we sent: its last word is behind that error. */
		if (error == -ECONNRESET && !reset) {
			reset = true;
			continue;
		}
		if (error == 0 && is_refusal(reply)) {
			lrp_broker_close_fds(fds, *count);
			*count = 0;
			return refused(reply);
		}
		if ((error == 0 || error == -EMFILE) && reply->id == id)
			return error;
		if (error == 0 || error == -EMFILE) {
			/* An answer that we no longer waited for. */
			lrp_broker_close_fds(fds, *count);
			*count = 0;
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

/* One exchange on one connection. again: the id under which it was sent there before, or 0. */
static int exchange(const struct connection *c, struct lrp_request *request, uint32_t again,
		    const int *in_fds, int in_count, struct lrp_reply *reply, int *fds, int *count,
		    uint64_t until_ns)
{
	int error, said;

	*count = 0;
	request->magic = LRP_ABI_MAGIC;
	request->version = LRP_ABI_VERSION;
	if (!again && !++last_id)
		last_id++;
	request->id = again ? again : last_id;
	request->type = (__u16)((request->type & ~LRP_REQ_AGAIN) | (again ? LRP_REQ_AGAIN : 0));
	error = send_request(c, request, in_fds, in_count);
	if (error != -EPIPE && error != -ECONNRESET)
		return error ? error : await(c, request->id, reply, fds, count, until_ns);
	/* It may have said why before it hung up. The first look may only fetch the reset. */
	said = receive_reply(c, reply, fds, count);
	if (said == -ECONNRESET)
		said = receive_reply(c, reply, fds, count);
	lrp_broker_close_fds(fds, *count);
	*count = 0;
	return said == 0 && is_refusal(reply) ? refused(reply) : error;
}

/* Says who we are on a fresh connection, which replaces the present one only if that works. */
static int introduce(struct connection *fresh, uint64_t until_ns)
{
	int fds[LRP_CONTROL_MAX_FDS], count, error;
	bool known = lrp_broker_owner != 0;
	struct lrp_request *request;
	struct lrp_reply *reply;

	error = secret_make();
	if (error) {
		connection_close(fresh);
		return error;
	}
	request = &secret->request;
	reply = &secret->reply;
	memset(reply, 0, sizeof(*reply));
	for (;;) {
		memset(request, 0, sizeof(*request));
		request->type = LRP_REQ_HELLO;
		if (known) {
			request->hello.owner = lrp_broker_owner;
			memcpy(request->hello.token, secret->token, sizeof(secret->token));
		}
		error = exchange(fresh, request, 0, NULL, 0, reply, fds, &count, until_ns);
		if (error)
			break;
		error = reply->error;
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
			error = lrp_broker_hello(reply, fds[0], !known);
		if (!error)
			memcpy(secret->token, reply->hello.token, sizeof(secret->token));
		break;
	}
	if (error) {
		reply->error_text[sizeof(reply->error_text) - 1] = 0;
		if (error == -EPROTO)
			lrp_log_once(
				LRP_LOG_WARN, "%s; the kernel serves all sockets",
				reply->error == -EPROTO && reply->length
					? reply->error_text
					: "lrpd speaks another version of the protocol: restart "
					  "programs or lrpd so that both are of one version");
		connection_close(fresh);
		return error;
	}
	connection_close(&current);
	current = *fresh;
	return 0;
}

static int hello(uint64_t until_ns)
{
	struct connection fresh;
	int error = member_open(&fresh);

	if (!error) {
		error = introduce(&fresh, until_ns);
		if (!error || error == -ETIMEDOUT)
			return error;
	}
	error = connection_open(&fresh);
	return error ? error : introduce(&fresh, until_ns);
}

int lrp_broker_remote_connect(void)
{
	return hello(lrp_now_ns() + LRP_CONTROL_TIMEOUT_MS * LRP_NS_PER_MS);
}

int lrp_broker_remote_fd(void)
{
	return current.fd;
}

void lrp_broker_remote_forked(void)
{
	/* Stays open, and the one that the parent may have inherited, too: the
	 * family's lifelines. */
	if (connection_ours(&current))
		lifeline = current;
	current.fd = -1;
}

bool lrp_broker_has_fd(int fd)
{
	return (fd == current.fd && connection_ours(&current)) ||
	       (fd == lifeline.fd && connection_ours(&lifeline));
}

static int call(struct lrp_request *request, const int *in_fds, int in_count,
		struct lrp_reply *reply, int *fds, int *count)
{
	uint64_t until = lrp_now_ns() + LRP_CONTROL_TIMEOUT_MS * LRP_NS_PER_MS;
	uint32_t incarnation = lrp_broker_incarnation;
	uint32_t again = 0;
	int error, fresh;

	*count = 0;
	for (;;) {
		uint64_t patience = lrp_now_ns() + RESEND_MS * LRP_NS_PER_MS;

		error = -ENOTCONN;
		if (connection_ours(&current))
			error = exchange(&current, request, again, in_fds, in_count, reply, fds,
					 count, patience < until ? patience : until);
		/* A new one would not help where descriptors are short. */
		if (error == 0 || error == -EMFILE)
			return error;
		if (lrp_now_ns() >= until)
			return -ETIMEDOUT;
		if (error == -ETIMEDOUT && !again) {
			again = request->id;
			continue;
		}
		while ((fresh = hello(until))) {
			if (lrp_now_ns() >= until)
				return -ETIMEDOUT;
			if (error == -ETIMEDOUT) /* the old one may still be heard */
				break;
			poll(NULL, 0, RETRY_MS);
		}
		if (!fresh)
			again = 0;
		/* An endpoint of that number would be another's. */
		if (lrp_broker_incarnation != incarnation)
			return -ESTALE;
	}
}

const struct lrp_broker_source lrp_broker_remote = {.call = call};

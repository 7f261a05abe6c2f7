/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* lrp_client.c - see lrp_client.h. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../runtime/base/rundir.h"
#include "../loader/daemon/store.h"
#include "lrp_client.h"

#define LOOK_MS 1000
#define SLOW_MS 60000 /* attaching, detaching and an audit can take seconds */
#define CALL_MS 5000

static int try_connect(void)
{
	/* Root's own, which nobody else can fill. */
	int fd = lrp_rundir_connect(LRP_ADMIN_FILE, 0);

	return fd == -EACCES ? lrp_rundir_connect(LRP_CONTROL_FILE, 0) : fd;
}

static bool nobody_serves(int fd)
{
	return fd == -ECONNREFUSED || fd == -ENOENT;
}

/* Beside this command, else where it was installed. */
static int start_lrpd(void)
{
	char path[512];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 8);
	char *slash;
	int status;
	pid_t child;

	if (n < 0)
		return -errno;
	path[n] = 0;
	slash = strrchr(path, '/');
	strcpy(slash ? slash + 1 : path, "lrpd");
	child = fork();
	if (child < 0)
		return -errno;
	if (!child) {
		execl(path, path, (char *)NULL);
		execlp("lrpd", "lrpd", (char *)NULL);
		fprintf(stderr, "lrp: cannot start %s: %s\n", path, strerror(errno));
		_exit(127);
	}
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -ECHILD;
}

int lrp_client_connect(bool start, bool *started)
{
	int fd = try_connect();

	if (nobody_serves(fd) && start) {
		if (geteuid()) {
			fprintf(stderr,
				"lrp: no lrpd runs, and only root can start one: use sudo\n");
			return -1;
		}
		if (start_lrpd())
			return -1; /* it has said why */
		*started = true;
		fd = try_connect();
	}
	if (nobody_serves(fd)) {
		fprintf(stderr,
			"lrp: no lrpd runs in this network namespace: lrp attach IFACE starts "
			"one\n");
	} else if (fd == -EACCES) {
		char policy[512];

		lrp_rundir_policy(policy, sizeof(policy));
		fprintf(stderr, "lrp: lrpd does not admit this user (uid %u): %s\n",
			(unsigned int)geteuid(), policy);
	} else if (fd == -EPERM) {
		fprintf(stderr,
			"lrp: " LRP_RUN_DIR
			" or what is in it does not belong to root%s: not used\n",
			lrp_rundir_in_userns() ? " as seen from this user namespace" : "");
	} else if (fd == -EAGAIN) {
		fprintf(stderr,
			"lrp: lrpd does not take the connection: too many wait; try as root\n");
	} else if (fd < 0) {
		fprintf(stderr, "lrp: control socket: %s\n", strerror(-fd));
	}
	return fd < 0 ? -1 : fd;
}

int lrp_client_keeper(bool stop)
{
	char text[1024] = "";
	pid_t pid;
	int err = lrp_store_ask(stop ? LRP_KEEPER_STOP : LRP_KEEPER_ASK, text, sizeof(text), &pid);

	/* -EPERM without a text: what is there is not root's, which connecting to lrpd says. */
	if (err && (err != -EPERM || !text[0]))
		return 2;
	fprintf(err || !stop ? stderr : stdout, "lrp: %s%s\n", err ? "stop: " : "", text);
	return err ? 1 : 0;
}

/* Waits for the reply; now and then looks whether a lrpd is there at all. Its socket is held by the
 * keeper, too, so that connecting works without one. */
static bool wait_reply(int fd, unsigned int type)
{
	bool slow = type == LRP_REQ_ATTACH || type == LRP_REQ_DETACH || type == LRP_REQ_AUDIT ||
		    type == LRP_REQ_GUARD || type == LRP_REQ_GUARD_STATUS;
	struct pollfd pfd = {.fd = fd, .events = POLLIN};

	for (int waited = 0; waited < (slow ? SLOW_MS : CALL_MS); waited += LOOK_MS) {
		char text[1024];
		pid_t pid;

		if (poll(&pfd, 1, LOOK_MS) > 0)
			return true;
		if (type == LRP_REQ_STOP || lrp_store_ask(LRP_KEEPER_ASK, text, sizeof(text), &pid))
			continue;
		fprintf(stderr, "lrp: %s\n", text);
		return false;
	}
	fprintf(stderr, "lrp: lrpd does not answer\n");
	return false;
}

static ssize_t send_request(int fd, const struct lrp_request *request, int proof)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {(void *)request, sizeof(*request)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (proof >= 0) {
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &proof, sizeof(int));
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
	}
	return sendmsg(fd, &msg, MSG_NOSIGNAL);
}

/* proof: a descriptor to pass, or -1. for_type: what it is all about, which says how
 * long it may take. */
static int exchange(int fd, struct lrp_request *request, int proof, unsigned int for_type,
		    struct lrp_reply *reply, int *passed)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {reply, sizeof(*reply)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	struct cmsghdr *cmsg;
	ssize_t n, sent;

	*passed = -1;
	memset(reply, 0, sizeof(*reply));
	request->magic = LRP_ABI_MAGIC;
	request->version = LRP_ABI_VERSION;
	request->id = 1;
	/* A connection that is not taken has a last word. The first look may only
	 * fetch the reset. */
	sent = send_request(fd, request, proof);
	if (sent < 0 && errno != EPIPE && errno != ECONNRESET) {
		fprintf(stderr, "lrp: lrpd: %s\n", strerror(errno));
		return -errno;
	}
	if (!wait_reply(fd, for_type))
		return -ETIMEDOUT;
	n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	if (n < 0 && errno == ECONNRESET) {
		msg.msg_controllen = sizeof(control);
		n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	}
	cmsg = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
	if (cmsg && cmsg->cmsg_type == SCM_RIGHTS && cmsg->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(passed, CMSG_DATA(cmsg), sizeof(int));
	if (n <= 0) {
		fprintf(stderr, "lrp: lrpd closed the connection: see its messages\n");
		return -ECONNRESET;
	}
	if (n != (ssize_t)sizeof(*reply) || reply->magic != LRP_ABI_MAGIC) {
		fprintf(stderr, "lrp: lrpd is of another version than this command\n");
		return -EPROTO;
	}
	if (reply->error == -EPROTO)
		fprintf(stderr, "lrp: lrpd is of another version than this command\n");
	return reply->error;
}

static bool changes_host(unsigned int type)
{
	return type == LRP_REQ_ATTACH || type == LRP_REQ_DETACH || type == LRP_REQ_AUDIT ||
	       type == LRP_REQ_STOP || type == LRP_REQ_PROXY_SET || type == LRP_REQ_GUARD ||
	       type == LRP_REQ_GUARD_STATUS;
}

int lrp_client_call(int fd, struct lrp_request *request, struct lrp_reply *reply, int *passed)
{
	struct lrp_request prove = {.type = LRP_REQ_PROVE};
	int proof = -1, on = 1, err;

	if (changes_host(request->type))
		proof = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (proof >= 0) {
		err = exchange(fd, &prove, proof, request->type, reply, passed);
		if (*passed >= 0)
			close(*passed);
		/* Refused as a connection, or nobody is there. */
		if (err && (err == -EPROTO || !reply->id)) {
			*passed = -1;
			close(proof);
			return err;
		}
		/* Without the capability lrpd says what is missing. */
		if (err || setsockopt(proof, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on))) {
			close(proof);
			proof = -1;
		}
	}
	err = exchange(fd, request, proof, request->type, reply, passed);
	if (proof >= 0)
		close(proof);
	return err;
}

struct json_object *lrp_client_json(int fd, unsigned int type)
{
	struct lrp_request request = {.type = (__u16)type};
	struct json_object *json = NULL;
	struct lrp_reply reply;
	int passed, err = lrp_client_call(fd, &request, &reply, &passed);
	char *text;

	if (err) {
		if (reply.error)
			fprintf(stderr, "lrp: %s\n",
				reply.length ? reply.error_text : strerror(-err));
	} else if (passed >= 0) {
		text = mmap(NULL, reply.length + 1, PROT_READ, MAP_PRIVATE, passed, 0);
		if (text != MAP_FAILED) {
			struct json_tokener *tokener = json_tokener_new();

			json = json_tokener_parse_ex(tokener, text, (int)reply.length);
			json_tokener_free(tokener);
			munmap(text, reply.length + 1);
		}
		if (!json)
			fprintf(stderr, "lrp: lrpd's answer is not JSON\n");
	}
	if (passed >= 0)
		close(passed);
	return json;
}

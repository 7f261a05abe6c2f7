/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* server.c - see server.h. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "../../runtime/base/log.h"
#include "server_internal.h"

#define LOOP_NS	   50000u	/* of our loop a request is charged with so much at most */
#define LISTING_NS 500000000ull /* users other than root see listings as old as this */

uint64_t lrp_server_clock(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int lrp_server_watch(int epoll_fd, int op, int fd, uint32_t events, struct source *source)
{
	struct epoll_event event = {.events = events, .data.ptr = source};

	return epoll_ctl(epoll_fd, op, fd, &event) ? -errno : 0;
}

static int epoll_of(const struct lrp_server *server, const struct connection *c)
{
	return c->user ? server->opts.epoll_fd : server->root_epoll_fd;
}

struct lrp_server *lrp_server_new(struct lrp_core *core, const struct lrp_server_opts *opts)
{
	struct lrp_server *server = calloc(1, sizeof(*server));

	if (!server)
		return NULL;
	server->core = core;
	server->opts = *opts;
	server->listing[0].fd = server->listing[1].fd = -1;
	server->budget = lrp_budget_new(CONNECTIONS, opts->cpu_ms);
	server->root_epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	server->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	server->listening.kind = LISTEN;
	server->admin.kind = ADMIN;
	server->root.kind = ROOT;
	for (uint32_t i = 0; i < CONNECTIONS; i++) {
		server->connection[i].fd = server->connection[i].pidfd = -1;
		server->connection[i].client.slot = server->connection[i].process.slot = i;
	}
	lrp_message_ask_sender(opts->listen_fd);
	lrp_message_ask_sender(opts->admin_fd);
	if (!server->budget || server->root_epoll_fd < 0 ||
	    lrp_server_watch(opts->epoll_fd, EPOLL_CTL_ADD, opts->listen_fd, EPOLLIN,
			     &server->listening) ||
	    lrp_server_watch(opts->epoll_fd, EPOLL_CTL_ADD, server->root_epoll_fd, EPOLLIN,
			     &server->root) ||
	    lrp_server_watch(server->root_epoll_fd, EPOLL_CTL_ADD, opts->admin_fd, EPOLLIN,
			     &server->admin)) {
		lrp_server_free(server);
		return NULL;
	}
	opts->store.put(opts->store.arg, "listen", opts->listen_fd);
	opts->store.put(opts->store.arg, "listen-admin", opts->admin_fd);
	return server;
}

/* ---- connections ------------------------------------------------------------------- */

/* The name says what a new lrpd cannot find out by itself. */
static void name_of(const struct connection *c, uint32_t owner,
		    char name[sizeof(((struct lrp_core_kept *)0)->name)])
{
	const size_t size = sizeof(((struct lrp_core_kept *)0)->name);

	if (c->member)
		snprintf(name, size, "conn:%u:%u:%u", c->client.slot, owner,
			 (unsigned int)c->who.uid);
	else
		snprintf(name, size, "conn:%u:%u", c->client.slot, owner);
}

void lrp_server_keep(struct lrp_server *server, const struct connection *c, uint32_t owner)
{
	char name[sizeof(((struct lrp_core_kept *)0)->name)];

	name_of(c, owner, name);
	server->opts.store.put(server->opts.store.arg, name, c->fd);
}

static void forget(struct lrp_server *server, const struct connection *c, uint32_t owner)
{
	char name[sizeof(((struct lrp_core_kept *)0)->name)];

	name_of(c, owner, name);
	server->opts.store.drop(server->opts.store.arg, name);
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

/* Frees the slot; the descriptor stays open. */
static void release(struct lrp_server *server, struct connection *c)
{
	end_process(c);
	if (c->user)
		c->user->connections--;
	c->user = NULL;
	c->fd = -1;
	c->client.kind = FREE;
	server->used--;
}

static void end(struct lrp_server *server, struct connection *c)
{
	uint32_t owner = c->who.owner;
	pid_t pid = c->who.pid;
	int fd = c->fd;

	forget(server, c, owner);
	/* The keeper has it open until it has read that: said here so that no event
	 * comes from it. */
	epoll_ctl(epoll_of(server, c), EPOLL_CTL_DEL, fd, NULL);
	release(server, c);
	close(fd);
	if (owner)
		lrp_core_client_gone(server->core, owner, !owner_connected(server, owner));
	if (owner && !pid_connected(server, owner, pid))
		lrp_core_member_gone(server->core, owner, pid);
}

/* Takes fd into the slot. On failure fd is the caller's still. */
int lrp_server_begin(struct lrp_server *server, struct connection *c, int fd,
		     const struct ucred *cred, bool member)
{
	struct lrp_budget_user *user = NULL;
	int err;

	if (cred->uid) {
		user = lrp_budget_user(server->budget, cred->uid,
				       lrp_server_clock(CLOCK_MONOTONIC));
		if (!user)
			return -EUSERS;
	}
	c->who = (struct lrp_core_client){.pid = cred->pid, .uid = cred->uid};
	c->member = member;
	c->paused = false;
	c->answered = 0;
	c->proof = 0;
	c->user = user;
	c->client.kind = CLIENT;
	err = lrp_server_watch(epoll_of(server, c), EPOLL_CTL_ADD, fd, EPOLLIN, &c->client);
	if (err) {
		c->user = NULL;
		c->client.kind = FREE;
		return err;
	}
	c->fd = fd;
	server->used++;
	if (user)
		user->connections++;
	lrp_message_ask_sender(fd);
	/* Gone already: then the connection alone tells. */
	c->pidfd = lrp_admission_pidfd(fd, cred);
	if (c->pidfd >= 0) {
		c->process.kind = PROCESS;
		if (lrp_server_watch(server->opts.epoll_fd, EPOLL_CTL_ADD, c->pidfd, EPOLLIN,
				     &c->process))
			end_process(c);
	}
	return 0;
}

/* ---- requests --------------------------------------------------------------------------- */

static void close_all(const int *fds, int count)
{
	for (int i = 0; i < count; i++)
		close(fds[i]);
}

static int error_reply(struct lrp_reply *reply, const struct lrp_request *request, int error,
		       const char *text)
{
	memset(reply, 0, sizeof(*reply));
	reply->magic = LRP_ABI_MAGIC;
	reply->id = request->id;
	reply->error = error;
	snprintf(reply->error_text, sizeof(reply->error_text), "%s", text);
	reply->length = (__u32)strlen(reply->error_text);
	return error;
}

/* Listings for users other than root are made twice a second, whoever asks how often. */
static bool from_listing(struct lrp_server *server, const struct connection *c,
			 const struct lrp_request *request, int in_count, struct lrp_reply *reply,
			 int *out_fds, int *out_count)
{
	const struct listing *listing = &server->listing[request->type == LRP_REQ_CHANNELS];

	if (!c->user || in_count || request->version != LRP_ABI_VERSION ||
	    (request->type != LRP_REQ_STATUS && request->type != LRP_REQ_CHANNELS) ||
	    listing->fd < 0 || lrp_server_clock(CLOCK_MONOTONIC) - listing->at_ns > LISTING_NS)
		return false;
	memset(reply, 0, sizeof(*reply));
	reply->magic = LRP_ABI_MAGIC;
	reply->id = request->id;
	reply->length = listing->length;
	reply->fds = 1;
	out_fds[0] = listing->fd;
	*out_count = 1;
	return true;
}

/* Takes over the descriptor of a listing that was made just now. */
static void to_listing(struct lrp_server *server, const struct connection *c,
		       const struct lrp_request *request, const struct lrp_reply *reply,
		       const int *out_fds, bool *out_owned)
{
	struct listing *listing = &server->listing[request->type == LRP_REQ_CHANNELS];

	if (!c->user || reply->error || !out_owned[0] ||
	    (request->type != LRP_REQ_STATUS && request->type != LRP_REQ_CHANNELS))
		return;
	if (listing->fd >= 0)
		close(listing->fd);
	listing->fd = out_fds[0];
	listing->length = reply->length;
	listing->at_ns = lrp_server_clock(CLOCK_MONOTONIC);
	out_owned[0] = false;
}

/*
 * /proc says what the process may do now. Since it sent the request, it may have executed a program
 * that may do more. So /proc grants to root only; for others it finds the reason of the refusal.
 */
static void ask_admin(struct connection *c, const struct lrp_request *request, const int *in_fds,
		      int in_count, const struct ucred *sender)
{
	bool root = !c->user && !sender->uid;
	uint64_t proof = c->proof;

	c->who.admin = false;
	c->who.refusal = NULL;
	if (request->type != LRP_REQ_ATTACH && request->type != LRP_REQ_DETACH &&
	    request->type != LRP_REQ_STOP && request->type != LRP_REQ_AUDIT &&
	    request->type != LRP_REQ_PROXY_SET && request->type != LRP_REQ_GUARD &&
	    request->type != LRP_REQ_GUARD_STATUS)
		return;
	c->proof = 0;
	if (c->member || !c->who.pid || sender->pid != c->who.pid) {
		c->who.refusal = "only on a connection that the process made itself";
	} else if (in_count != 1 || !lrp_admission_proves(in_fds[0], proof)) {
		c->who.refusal = lrp_admission_refuses(c->pidfd);
		if (!c->who.refusal && !root)
			c->who.refusal = LRP_ADMISSION_NEEDS;
	}
	c->who.admin = !c->who.refusal;
}

static void answer_prove(struct connection *c, const struct lrp_request *request, const int *in_fds,
			 int in_count, struct lrp_reply *reply)
{
	int err = lrp_core_check_request(request, sizeof(*request), in_count);

	c->proof = err ? 0 : lrp_admission_unproven(in_fds[0]);
	error_reply(reply, request, err || c->proof ? err : -EINVAL, "");
}

static void answer(struct lrp_server *server, struct connection *c,
		   const struct lrp_request *request, const int *in_fds, int in_count,
		   const struct ucred *sender)
{
	int out_fds[LRP_CONTROL_MAX_FDS], out_count = 0, err;
	bool out_owned[LRP_CONTROL_MAX_FDS] = {false};
	uint32_t owner = c->who.owner;
	struct lrp_reply reply;

	if (c->user && lrp_server_descriptors_short(LRP_CONTROL_MAX_FDS)) {
		error_reply(
			&reply, request, -EMFILE,
			"lrpd has no descriptors left but for root's: raise LimitNOFILE of lrpd");
		lrp_server_refused(c->user, LRP_BUDGET_DESCRIPTORS, "request refused",
				   reply.error_text);
	} else if (request->type == LRP_REQ_PROVE) {
		answer_prove(c, request, in_fds, in_count, &reply);
	} else if (!from_listing(server, c, request, in_count, &reply, out_fds, &out_count)) {
		ask_admin(c, request, in_fds, in_count, sender);
		lrp_core_request(server->core, &c->who, request, in_fds, in_count, &reply, out_fds,
				 out_owned, &out_count);
		to_listing(server, c, request, &reply, out_fds, out_owned);
		if (reply.error == -EDQUOT && reply.length)
			lrp_server_refused(c->user, LRP_BUDGET_QUOTA, "request refused",
					   reply.error_text);
	}
	if (c->who.owner != owner) {
		lrp_server_keep(server, c, c->who.owner);
		forget(server, c, owner);
	}
	/* Who has his answer has his sockets for himself: their ports are free when he closes them. */
	close_all(in_fds, in_count);
	c->answered = request->id;
	err = lrp_message_reply(c->fd, &reply, out_fds, out_count);
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

/* A client library of another version is told so: by what all versions have in common, the head. */
static bool other_version(struct lrp_server *server, struct connection *c,
			  const struct lrp_request *request, ssize_t n)
{
	struct lrp_reply reply;
	char text[256];

	if ((n != -EMSGSIZE && n < (ssize_t)offsetof(struct lrp_request, count)) ||
	    request->magic != LRP_ABI_MAGIC || request->version == LRP_ABI_VERSION)
		return false;
	snprintf(text, sizeof(text),
		 "this program's liblrp speaks version %u of the protocol, lrpd (%s) version %u: "
		 "restart it, or install both of one version",
		 (unsigned int)request->version, LRP_VERSION, (unsigned int)LRP_ABI_VERSION);
	error_reply(&reply, request, -EPROTO, text);
	/* Of another size it would not understand the next one either. */
	if (lrp_message_reply(c->fd, &reply, NULL, 0) || n != (ssize_t)sizeof(*request))
		end(server, c);
	return true;
}

static void request_from(struct lrp_server *server, struct connection *c)
{
	struct lrp_request request = {0};
	struct ucred sender;
	int fds[LRP_MESSAGE_FDS], count;
	ssize_t n = lrp_message_receive(c->fd, &request, fds, &count, &sender);
	bool again;

	if (n == -EAGAIN || n == -EINTR)
		return;
	if (other_version(server, c, &request, n)) {
		close_all(fds, count);
		return;
	}
	if (n != (ssize_t)sizeof(request) || request.magic != LRP_ABI_MAGIC) {
		close_all(fds, count);
		end(server, c); /* nobody of ours speaks like this */
		return;
	}
	again = request.type & LRP_REQ_AGAIN;
	request.type &= (__u16)~LRP_REQ_AGAIN;
	if (request.version == LRP_ABI_VERSION && request.type == LRP_REQ_MEMBER) {
		if (count == 1 && c->who.owner)
			lrp_server_take_member(server, c, fds[0]);
		else
			close_all(fds, count);
	} else if (again && request.id == c->answered) {
		close_all(fds, count); /* the answer is under way */
	} else {
		answer(server, c, &request, fds, count, &sender);
	}
}

/* The peer has closed it; nothing that he may have asked before matters any more. */
static bool hung_up(int fd)
{
	struct pollfd pfd = {.fd = fd};

	return poll(&pfd, 1, 0) > 0 && pfd.revents & (POLLHUP | POLLERR | POLLNVAL);
}

static void client_event(struct lrp_server *server, struct connection *c)
{
	struct lrp_budget_user *user = c->user;
	uint64_t at_ns, cpu_ns, loop_ns;

	if (!user) {
		request_from(server, c);
		return;
	}
	cpu_ns = lrp_server_clock(CLOCK_THREAD_CPUTIME_ID);
	loop_ns = cpu_ns - server->cpu_ns;
	at_ns = lrp_budget_over(server->budget, user, lrp_server_clock(CLOCK_MONOTONIC));
	if (at_ns && hung_up(c->fd)) {
		end(server, c);
	} else if (at_ns) {
		if (!c->paused)
			lrp_server_watch(epoll_of(server, c), EPOLL_CTL_MOD, c->fd, 0, &c->client);
		c->paused = true;
		if (!server->resume_at_ns || at_ns < server->resume_at_ns)
			server->resume_at_ns = at_ns;
		lrp_server_refused(user, LRP_BUDGET_CPU, "requests wait",
				   "the user's share of lrpd's CPU time is used up (--cpu)");
	} else {
		request_from(server, c);
	}
	server->cpu_ns = lrp_server_clock(CLOCK_THREAD_CPUTIME_ID);
	cpu_ns = server->cpu_ns - cpu_ns;
	/* And with its part of our loop, which short requests are mostly about. */
	lrp_budget_charge(server->budget, user, lrp_server_clock(CLOCK_MONOTONIC),
			  cpu_ns + (loop_ns < LOOP_NS ? loop_ns : LOOP_NS));
}

static bool ended(int pidfd)
{
	struct pollfd pfd = {.fd = pidfd, .events = POLLIN};

	return poll(&pfd, 1, 0) > 0;
}

static void handle(struct lrp_server *server, struct source *source)
{
	struct connection *c = &server->connection[source->slot];

	switch (source->kind) {
	case LISTEN:
		lrp_server_accept(server, server->opts.listen_fd);
		break;
	case ADMIN:
		lrp_server_accept(server, server->opts.admin_fd);
		break;
	case CLIENT:
		client_event(server, c);
		break;
	case PROCESS:
		/* An event of this round may be about the slot's connection before this one. */
		if (!ended(c->pidfd))
			break;
		/* Dead; if it forked, the others have its connection still. */
		end_process(c);
		if (c->who.owner)
			lrp_core_client_gone(server->core, c->who.owner, false);
		break;
	case ROOT: /* lrp_server_event() has looked */
	case FREE: /* an event of this round that an earlier one has overtaken */
		break;
	}
}

void lrp_server_event(struct lrp_server *server, void *data)
{
	struct epoll_event event[16];
	int n = epoll_wait(server->root_epoll_fd, event, 16, 0);

	for (int i = 0; i < n && !server->stopped; i++)
		handle(server, event[i].data.ptr);
	if (!server->stopped)
		handle(server, data);
}

uint64_t lrp_server_run(struct lrp_server *server)
{
	uint64_t now = lrp_server_clock(CLOCK_MONOTONIC), next;

	if (server->accept_at_ns && now >= server->accept_at_ns)
		lrp_server_accept_later(server, false);
	if (server->resume_at_ns && now >= server->resume_at_ns) {
		server->resume_at_ns = 0;
		for (uint32_t i = 0; i < CONNECTIONS; i++) {
			struct connection *c = &server->connection[i];
			uint64_t at_ns;

			if (c->fd < 0 || !c->paused)
				continue;
			at_ns = lrp_budget_over(server->budget, c->user, now);
			if (at_ns) {
				if (!server->resume_at_ns || at_ns < server->resume_at_ns)
					server->resume_at_ns = at_ns;
				continue;
			}
			c->paused = false;
			lrp_server_watch(epoll_of(server, c), EPOLL_CTL_MOD, c->fd, EPOLLIN,
					 &c->client);
		}
	}
	next = server->accept_at_ns;
	if (server->resume_at_ns && (!next || server->resume_at_ns < next))
		next = server->resume_at_ns;
	return next ? next / 1000000u + 1 : 0;
}

/* ---- over our own death -------------------------------------------------------------------- */

/* What was admitted once stays: settings and credentials may be others by now. */
bool lrp_server_adopt(struct lrp_server *server, const struct lrp_core_kept *kept)
{
	struct connection *c = NULL;
	unsigned int slot, owner, uid;
	int fields = sscanf(kept->name, "conn:%u:%u:%u", &slot, &owner, &uid);
	struct ucred cred;
	socklen_t length = sizeof(cred);

	if (fields < 2)
		return false;
	if (slot < CONNECTIONS && server->connection[slot].fd < 0)
		c = &server->connection[slot];
	if (getsockopt(kept->fd, SOL_SOCKET, SO_PEERCRED, &cred, &length))
		c = NULL;
	else if (fields == 3)
		cred.uid = uid;
	/* Twice under two owners, if the old lrpd died between putting and dropping. */
	if (!c || lrp_server_begin(server, c, kept->fd, &cred, fields == 3)) {
		if (c == NULL && slot < CONNECTIONS && server->connection[slot].fd >= 0 &&
		    !server->connection[slot].who.owner &&
		    lrp_core_owner_valid(server->core, owner, server->connection[slot].who.uid))
			server->connection[slot].who.owner = owner;
		close(kept->fd);
		server->opts.store.drop(server->opts.store.arg, kept->name);
		return true;
	}
	if (fields == 3 || lrp_core_owner_valid(server->core, owner, c->who.uid))
		c->who.owner = owner < LRP_OWNERS ? owner : 0;
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
	server->opts.store.put(server->opts.store.arg, "listen", server->opts.listen_fd);
	server->opts.store.put(server->opts.store.arg, "listen-admin", server->opts.admin_fd);
	for (uint32_t i = 0; i < CONNECTIONS; i++)
		if (server->connection[i].fd >= 0)
			lrp_server_keep(server, &server->connection[i],
					server->connection[i].who.owner);
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
	for (int i = 0; i < 2; i++)
		if (server->listing[i].fd >= 0)
			close(server->listing[i].fd);
	if (server->reserve_fd >= 0)
		close(server->reserve_fd);
	if (server->root_epoll_fd >= 0)
		close(server->root_epoll_fd);
	close(server->opts.listen_fd);
	close(server->opts.admin_fd);
	lrp_budget_free(server->budget);
	free(server);
}

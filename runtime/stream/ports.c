/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ports.c - local ports of connections that are opened from here.
 *
 * The kernel gives free ports by the block, and lrpd is told of a block at once. It knows the ends
 * as the family's while connections use them, and a minute more. connect() takes one of those that
 * the process knows and asks nobody. A port serves connections to different peers, as with the
 * kernel's own connect(): their shadows are bound to it side by side (SO_REUSEPORT, which the
 * kernel grants to sockets of one user).
 *
 * Two decide, and both know of other processes. The exact entry, reserved only where there is none,
 * says whether the four-tuple is free. bind() says whether the port is still to be had; the bound
 * socket then gives the entry its effect. So nothing is kept here but numbers, and a port that no
 * connection uses is anybody's.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/fork.h"
#include "../drive/app.h"
#include "../tcp/isn.h"
#include "stream.h"

#define BLOCK 32u
#define TRIES 4u /* of known ports, before more are asked for */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __be16 known[65536];
static bool is_known[65536]; /* by port as in memory */
static uint32_t count;
static uint32_t turn;	     /* RFC 6056 3.3.3 */
static uint32_t incarnation; /* of the family with lrpd, when it heard of them */
static uint64_t netns;	     /* where they are */

/* ---- what is known ------------------------------------------------------------ */

static void forget_all(void)
{
	memset(is_known, 0, sizeof(is_known));
	count = 0;
}

static uint64_t netns_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len);
	return cookie;
}

/* What another lrpd has heard, or is of another network namespace, is of no use. */
static void know_for(const struct lrp_hub *hub, int fd)
{
	uint64_t cookie = netns_of(fd);

	pthread_mutex_lock(&lock);
	if (incarnation != hub->ep.incarnation || netns != cookie)
		forget_all();
	incarnation = hub->ep.incarnation;
	netns = cookie;
	pthread_mutex_unlock(&lock);
}

static void learn(const __be16 *port, uint32_t n)
{
	uint32_t i;

	pthread_mutex_lock(&lock);
	for (i = 0; i < n; i++) {
		if (is_known[port[i]])
			continue;
		is_known[port[i]] = true;
		known[count++] = port[i];
	}
	pthread_mutex_unlock(&lock);
}

static void unlearn(__be16 port)
{
	uint32_t i;

	pthread_mutex_lock(&lock);
	for (i = 0; is_known[port] && known[i] != port; i++)
		;
	if (is_known[port]) {
		is_known[port] = false;
		known[i] = known[--count];
	}
	pthread_mutex_unlock(&lock);
}

static int how_many(void)
{
	int n;

	pthread_mutex_lock(&lock);
	n = (int)count;
	pthread_mutex_unlock(&lock);
	return n;
}

/* 0: none. */
static __be16 pick(uint64_t offset)
{
	__be16 port = 0;

	pthread_mutex_lock(&lock);
	if (count)
		port = known[(offset + turn++) % count];
	pthread_mutex_unlock(&lock);
	return port;
}

/* ---- more of them -------------------------------------------------------------- */

/* A socket on a port of the address that nobody has: the descriptor, or -errno. */
static int free_port(int domain, const struct lrp_tcp_flow *flow, __be16 *port)
{
	struct sockaddr_storage local;
	socklen_t len = lrp_stream_address(&local, domain, flow->family, &flow->laddr, 0);
	int fd = socket(domain, SOCK_STREAM | SOCK_CLOEXEC, 0), error;

	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&local, len) ||
	    getsockname(fd, (struct sockaddr *)&local, &len)) {
		error = -errno;
		close(fd);
		return error;
	}
	/* In the same place in both. */
	*port = ((struct sockaddr_in *)&local)->sin_port;
	return fd;
}

/* How many, or -errno. EXDEV: the shadow is of another network namespace than the thread or lrpd. */
static int block(int shadow, int domain, const struct lrp_tcp_flow *flow, __be16 port[BLOCK])
{
	int fd[BLOCK], n = 0, error = 0;

	while (n < (int)BLOCK && (fd[n] = free_port(domain, flow, &port[n])) >= 0)
		n++;
	if (!n)
		return fd[0];
	error = netns_of(shadow) == netns_of(fd[0]) ? lrp_flows_claim(fd, (uint32_t)n, true)
						    : -EXDEV;
	if (!error)
		learn(port, (uint32_t)n);
	error = error ? error : n;
	while (n--)
		close(fd[n]);
	return error;
}

/* ---- one of them ---------------------------------------------------------------- */

/* The four-tuple is ours alone from now on, if nobody has it, or ours in TIME_WAIT. */
static int take_flow(const struct lrp_hub *hub, const struct lrp_tcp_flow *flow, uint32_t *iss)
{
	int error = lrp_flow_claim(flow, hub);

	*iss = 0;
	if (error == -EEXIST && lrp_waits_reuse(flow, (int64_t)lrp_now_ns(), iss))
		error = 0;
	return error;
}

static int bind_shared(int fd, int domain, const struct lrp_tcp_flow *flow)
{
	struct sockaddr_storage local;
	socklen_t len = lrp_stream_address(&local, domain, flow->family, &flow->laddr, flow->lport);
	int on = 1;

	/* It stays set: a bind of another address on the port makes the kernel look at each. */
	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	return bind(fd, (struct sockaddr *)&local, len) ? -errno : 0;
}

/* -EEXIST: a connection to this peer has it; -EADDRINUSE: it is another's by now. */
static int try(const struct lrp_hub *hub, int fd, int domain, __be16 port,
	       struct lrp_tcp_flow *flow, uint32_t *iss)
{
	int error;

	flow->lport = port;
	error = take_flow(hub, flow, iss);
	if (error == -EADDRNOTAVAIL)
		unlearn(port);
	if (error)
		return error;
	error = bind_shared(fd, domain, flow);
	if (!error)
		error = lrp_flow_expose_bound(flow, hub, fd);
	if (!error)
		return 0;
	lrp_flow_hide(flow);
	if (error == -EADDRINUSE)
		unlearn(port);
	return error;
}

/* EADDRNOTAVAIL: the end is no longer known as ours, since no connection used it. */
static bool is_taken(int error)
{
	return error == -EEXIST || error == -EADDRINUSE || error == -EADDRNOTAVAIL;
}

/* Connections that were closed may have ended, but that nobody has looked at what came. */
static void ports_look(void)
{
	int64_t now = (int64_t)lrp_now_ns();
	struct lrp_app_driven *list;
	uint32_t i, n = lrp_app_list(&list);

	for (i = 0; i < n; i++)
		if (lrp_hub_lock_if(lrp_hub_driven(list[i].driven), list[i].serial)) {
			lrp_hub_input(lrp_hub_driven(list[i].driven), now, NULL, LRP_CONTEXT_APP);
			lrp_hub_settle(lrp_hub_driven(list[i].driven));
			lrp_hub_unlock(lrp_hub_driven(list[i].driven));
		}
	free(list);
}

static int choose(const struct lrp_hub *hub, int fd, int domain, struct lrp_tcp_flow *flow,
		  uint32_t *iss)
{
	uint64_t offset = lrp_tcp_flow_hash(lrp_secret(), flow);
	int error = -EADDRINUSE, n, i;
	__be16 port, more[BLOCK];

	know_for(hub, fd);
	for (i = 0; i < (int)TRIES && is_taken(error) && (port = pick(offset)); i++)
		error = try(hub, fd, domain, port, flow, iss);
	if (!is_taken(error))
		return error;
	n = block(fd, domain, flow, more);
	if (n == -EXDEV || n == -EPERM)
		return n;
	for (i = 0; i < n && is_taken(error); i++)
		error = try(hub, fd, domain, more[i], flow, iss);
	if (!is_taken(error))
		return error;
	/* No more can be had: each of those that are known. */
	ports_look();
	for (n = how_many(); n && is_taken(error) && (port = pick(offset)); n--)
		error = try(hub, fd, domain, port, flow, iss);
	return error;
}

int lrp_port_take(const struct lrp_hub *hub, int fd, int domain, struct lrp_tcp_flow *flow,
		  uint32_t *iss)
{
	int error;

	if (!flow->lport)
		return choose(hub, fd, domain, flow, iss);
	error = lrp_flows_claim(&fd, 1, false);
	if (!error)
		error = take_flow(hub, flow, iss);
	/* The one before may have ended. */
	if (error == -EEXIST) {
		ports_look();
		error = take_flow(hub, flow, iss);
	}
	if (error)
		return error;
	error = lrp_flow_expose_bound(flow, hub, fd);
	if (error)
		lrp_flow_hide(flow);
	return error;
}

void lrp_ports_forget(void)
{
	forget_all();
	pthread_mutex_init(&lock, NULL);
}

static __attribute__((constructor)) void fork_register(void)
{
	static struct lrp_fork_handler handler = {
		.phase = LRP_FORK_STORES,
		.child = lrp_ports_forget,
	};

	lrp_fork_register(&handler);
}

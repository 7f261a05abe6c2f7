/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * receiver.h - the same program on stock sockets and on LRP. sink, echo and stream
 * are written against this table, so that what is compared differs in the socket
 * calls and in nothing else.
 */
#ifndef LRP_BENCH_RECEIVER_H
#define LRP_BENCH_RECEIVER_H

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <lrp/lrp.h>

#include "bed/counters.h"

struct receiver_calls {
	const char *name;
	int (*socket)(int domain, int type, int protocol);
	int (*bind)(int fd, const struct sockaddr *addr, socklen_t length);
	int (*setsockopt)(int fd, int level, int name, const void *value, socklen_t length);
	ssize_t (*recvfrom)(int fd, void *buf, size_t length, int flags, struct sockaddr *addr,
			    socklen_t *addr_length);
	int (*recvmmsg)(int fd, struct mmsghdr *msgs, unsigned int count, int flags,
			struct timespec *timeout);
	ssize_t (*sendto)(int fd, const void *buf, size_t length, int flags,
			  const struct sockaddr *addr, socklen_t addr_length);
	int (*poll)(struct pollfd *fds, nfds_t count, int timeout_ms);
	int (*listen)(int fd, int backlog);
	int (*accept4)(int fd, struct sockaddr *addr, socklen_t *length, int flags);
	int (*close)(int fd);
};

static int receiver_stock_bind(int fd, const struct sockaddr *addr, socklen_t length)
{
	return bind(fd, addr, length);
}

static ssize_t receiver_stock_recvfrom(int fd, void *buf, size_t length, int flags,
				       struct sockaddr *addr, socklen_t *addr_length)
{
	return recvfrom(fd, buf, length, flags, addr, addr_length);
}

static ssize_t receiver_stock_sendto(int fd, const void *buf, size_t length, int flags,
				     const struct sockaddr *addr, socklen_t addr_length)
{
	return sendto(fd, buf, length, flags, addr, addr_length);
}

static int receiver_stock_accept4(int fd, struct sockaddr *addr, socklen_t *length, int flags)
{
	return accept4(fd, addr, length, flags);
}

static const struct receiver_calls receiver_stock = {
	.name = "stock",
	.socket = socket,
	.bind = receiver_stock_bind,
	.setsockopt = setsockopt,
	.recvfrom = receiver_stock_recvfrom,
	.recvmmsg = recvmmsg,
	.sendto = receiver_stock_sendto,
	.poll = poll,
	.listen = listen,
	.accept4 = receiver_stock_accept4,
	.close = close,
};

static const struct receiver_calls receiver_lrp = {
	.name = "lrp",
	.socket = lrp_socket,
	.bind = lrp_bind,
	.setsockopt = lrp_setsockopt,
	.recvfrom = lrp_recvfrom,
	.recvmmsg = lrp_recvmmsg,
	.sendto = lrp_sendto,
	.poll = lrp_poll,
	.listen = lrp_listen,
	.accept4 = lrp_accept4,
	.close = lrp_close,
};

/* Where there is no lrpd [bed.h: bed_embedded()], the receiver attaches the device itself. */
static inline void receiver_embed(const char *program)
{
	const char *device = getenv("LRP_BENCH_EMBED");
	struct lrp_embed_opts opts = {.sz = sizeof(opts), .mode = getenv("LRP_BENCH_EMBED_MODE")};

	if (!device || lrp_embed(device, &opts) == 0)
		return;
	fprintf(stderr, "%s: %s\n", program, lrp_embed_error());
	exit(1);
}

static inline const struct receiver_calls *receiver_find(const char *program, const char *name)
{
	if (strcmp(name, "stock") == 0)
		return &receiver_stock;
	if (strcmp(name, "lrp") == 0) {
		receiver_embed(program);
		return &receiver_lrp;
	}
	fprintf(stderr, "%s: --system %s: stock or lrp\n", program, name);
	exit(2);
}

/* The counters' page; private memory when nobody passed one. */
static inline struct bench_counters *receiver_counters(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, BENCH_COUNTERS_FD, 0);

	if (p == MAP_FAILED)
		p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return p;
}

/*
 * Where LRP's packets were processed; called seldom, for it sums over channels. `stock`
 * has nothing to say.
 */
static inline void receiver_stats(const struct receiver_calls *calls, int fd,
				  struct bench_counters *c)
{
	struct lrp_stats stats = {.sz = sizeof(stats)};

	if (calls != &receiver_lrp || lrp_stats(fd, &stats) != 0)
		return;
	c->call = stats.call;
	c->helper = stats.helper;
	c->eager = stats.eager;
	c->kernel = stats.kernel;
	c->app = stats.app;
}

#endif

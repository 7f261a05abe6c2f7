/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * kind.h - what a kind of sockets does, UDP (dgram/) or TCP (stream/): the calls of the API, and what
 * the folders below them need. Nobody else asks of which kind a socket is.
 *
 * A socket has the number of its kind, not a pointer: it lies in memory that other processes write.
 * Each function returns as its call does, but -errno. NULL: EOPNOTSUPP, or nothing to do.
 */
#ifndef LRP_KIND_H
#define LRP_KIND_H

#include <lrp/lrp.h>

#include "socket.h"

struct lrp_ready_ops;

struct lrp_kind {
	const struct lrp_ready_ops *ready; /* ready/ready.h */

	/* ---- life ---------------------------------------------------------- */
	void (*init)(struct lrp_sock *s, int fd); /* a new one; rx held */
	/* Before the process's last descriptor of it is closed; may sleep. */
	void (*closing)(struct lrp_view *l, int fd);
	void (*wake)(struct lrp_view *l);  /* who sleeps on it finds it closed. Async-signal-safe */
	void (*leave)(struct lrp_view *l); /* this process has no descriptor of it any more */
	void (*end)(struct lrp_sock *s);   /* nobody has. rx held, and released */

	void (*recover)(struct lrp_sock *s); /* the holder of rx was killed while he held it */

	/* ---- calls; `setup`: with the setup lock held ------------------------ */
	void (*bound)(struct lrp_view *l, int fd); /* setup; after bind() */
	int (*connect)(struct lrp_view *l, int fd, const struct sockaddr *addr, socklen_t len);
	int (*listen)(struct lrp_view *l, int fd, int backlog); /* setup */
	int (*accept)(struct lrp_view *l, int fd, int flags, struct sockaddr_storage *from,
		      socklen_t *len);
	int (*shutdown)(struct lrp_view *l, int fd, int how); /* setup */
	int (*name)(struct lrp_view *l, int fd, struct sockaddr *addr, socklen_t *len, bool peer);
	int (*ioctl)(struct lrp_view *l, int fd, unsigned long request, void *arg);
	int (*setsockopt)(struct lrp_view *l, int fd, int level, int name, const void *value,
			  socklen_t len); /* setup */
	int (*getsockopt)(struct lrp_view *l, int fd, int level, int name, void *value,
			  socklen_t *len);
	ssize_t (*receive)(struct lrp_view *l, int fd, struct msghdr *msg, int flags);
	/* As many as are there, at least one. `more`: the caller has some already. */
	int (*receive_many)(struct lrp_view *l, int fd, struct mmsghdr *msgs, unsigned int count,
			    int flags, bool more);
	ssize_t (*send)(struct lrp_view *l, int fd, const struct msghdr *msg, int flags);
	int (*send_many)(struct lrp_view *l, int fd, struct mmsghdr *msgs, unsigned int count,
			 int flags);
	int (*zc_receive)(struct lrp_view *l, int fd, struct lrp_zc *dgrams, unsigned int count,
			  int flags);
	int (*zc_return)(struct lrp_view *l, struct lrp_zc *dgrams, unsigned int count); /* setup */
	void (*stats)(struct lrp_view *l, int fd, struct lrp_stats *now);		 /* setup */
};

extern const struct lrp_kind *lrp_kinds[LRP_KINDS];

/* In a constructor. */
void lrp_kind_register(enum lrp_kind_number number, const struct lrp_kind *kind);

/* Whatever others have written into the socket. */
static inline const struct lrp_kind *lrp_kind_of(const struct lrp_sock *s)
{
	return lrp_kinds[s->kind % LRP_KINDS];
}

#endif

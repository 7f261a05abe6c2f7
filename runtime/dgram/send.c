/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * send.c - the send calls [design 6]: all work in the caller's context.
 *
 * Plain unicast datagrams go through runtime/tx where the process may; all
 * else, and all that comes with options that only the kernel's send path
 * knows, goes through the shadow, which has the same addresses. What is known
 * about destinations is kept per thread, so that senders share nothing.
 */
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>

#include "../tx/tx.h"
#include "dgram.h"

#define DESTS 64u /* destinations that a thread remembers, a power of two */
#define BATCH 32u

static __thread struct lrp_tx_dest *dests;
static pthread_key_t dests_key;
static pthread_once_t dests_once = PTHREAD_ONCE_INIT;

static void dests_start(void)
{
	pthread_key_create(&dests_key, free);
}

static struct lrp_tx_dest *dest_of(const struct lrp_udp_datagram *d)
{
	uint32_t hash = (uint32_t)d->dport << 16 | d->sport;

	if (lrp_unlikely(!dests)) {
		pthread_once(&dests_once, dests_start);
		dests = calloc(DESTS, sizeof(*dests));
		if (!dests)
			return NULL;
		pthread_setspecific(dests_key, dests);
	}
	hash ^= d->family == AF_INET ? d->dst.v4.s_addr
				     : d->dst.v6.s6_addr32[3] ^ d->dst.v6.s6_addr32[1];
	hash *= 0x9e3779b1u;
	return &dests[hash >> 26 & (DESTS - 1)];
}

static bool set_dst4(struct lrp_udp_datagram *d, const struct lrp_sock *s, struct in_addr dst)
{
	d->family = AF_INET;
	d->dst.v4 = dst;
	d->src.v4 = s->dgram.laddr4;
	d->ttl = s->dgram.ttl;
	d->tos = s->dgram.tos;
	d->dont_fragment = s->dgram.pmtu4 == IP_PMTUDISC_DO;
	d->no_df = s->dgram.pmtu4 == IP_PMTUDISC_DONT;
	d->no_checksum = s->dgram.no_check;
	return dst.s_addr != INADDR_ANY;
}

static bool set_dst6(struct lrp_udp_datagram *d, const struct lrp_sock *s,
		     const struct in6_addr *dst)
{
	if (IN6_IS_ADDR_V4MAPPED(dst)) {
		struct in_addr dst4;

		memcpy(&dst4, &dst->s6_addr[12], 4);
		/* Of a socket bound to an IPv6 address the kernel says no. */
		return !s->v6only && !(s->dgram.match & LRP_MATCH_NO4) && set_dst4(d, s, dst4);
	}
	if (s->dgram.match & LRP_MATCH_NO6)
		return false;
	d->family = AF_INET6;
	d->dst.v6 = *dst;
	d->src.v6 = s->dgram.laddr6;
	d->ttl = s->dgram.hops;
	d->tos = s->dgram.tclass;
	d->dont_fragment = s->dgram.pmtu6 == IPV6_PMTUDISC_DO;
	return !IN6_IS_ADDR_UNSPECIFIED(dst);
}

/* Describes a message for runtime/tx. False: the shadow's, and its errors too. */
static bool describe(const struct lrp_sock *s, const struct msghdr *msg, struct lrp_udp_datagram *d)
{
	uint64_t length = 0;
	size_t i;

	memset(d, 0, sizeof(*d));
	if (msg->msg_controllen)
		return false;
	d->sport = s->dgram.lport;
	d->oif = s->dgram.bound_ifindex;
	if (!msg->msg_name) {
		if (!s->dgram.connected)
			return false;
		d->dport = s->dgram.rport;
		if (s->domain == AF_INET ? !set_dst4(d, s, s->dgram.raddr4)
					 : !set_dst6(d, s, &s->dgram.raddr6))
			return false;
		if (s->dgram.scope && !d->oif)
			d->oif = s->dgram.scope;
	} else if (s->domain == AF_INET) {
		const struct sockaddr_in *in = msg->msg_name;

		if (msg->msg_namelen < sizeof(*in) || in->sin_family != AF_INET || !in->sin_port)
			return false;
		d->dport = in->sin_port;
		if (!set_dst4(d, s, in->sin_addr))
			return false;
	} else {
		const struct sockaddr_in6 *in6 = msg->msg_name;

		if (msg->msg_namelen < sizeof(*in6) || in6->sin6_family != AF_INET6 ||
		    !in6->sin6_port || in6->sin6_flowinfo)
			return false;
		d->dport = in6->sin6_port;
		if (!set_dst6(d, s, &in6->sin6_addr))
			return false;
		if (IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr)) {
			if (d->oif && in6->sin6_scope_id && d->oif != in6->sin6_scope_id)
				return false;
			if (!d->oif)
				d->oif = in6->sin6_scope_id ? in6->sin6_scope_id : s->dgram.scope;
			if (!d->oif)
				return false;
		}
	}
	for (i = 0; i < msg->msg_iovlen; i++)
		length += msg->msg_iov[i].iov_len;
	if (length > 65507)
		return false;
	d->iov = msg->msg_iov;
	d->iov_count = (uint32_t)msg->msg_iovlen;
	d->length = (uint32_t)length;
	return true;
}

static inline bool direct(const struct lrp_sock *s, int flags)
{
	return !s->dgram.slow_send && !s->dgram.corked &&
	       !(flags & ~(MSG_DONTWAIT | MSG_NOSIGNAL)) && s->dgram.published && lrp_tx_ready();
}

/* Setup lock held or not: the first call that needs a port gives the socket one. */
static int autobind(int fd)
{
	struct lrp_view *locked;
	int error;

	error = lrp_setup_lock(fd, &locked);
	if (error)
		return error;
	if (!locked->sock->dgram.bound) {
		error = lrp_bind_any(fd, locked->sock->domain);
		if (error == -EINVAL)
			error = 0;
		if (!error)
			lrp_sock_publish(locked, fd);
	}
	lrp_setup_unlock(locked);
	return error;
}

/* What must be said before anything is sent. */
static int prepare(struct lrp_view *l, int fd)
{
	struct lrp_sock *s = l->sock;
	int error;

	if (lrp_unlikely(!s->dgram.bound)) {
		error = autobind(fd);
		if (error)
			return error;
	}
	/* ICMP errors wait in the rings like all else: a connected sender hears of them here. */
	if (s->dgram.connected)
		lrp_error_scan(l);
	return -lrp_error_take(s);
}

static int tx_flags(int fd, int flags)
{
	return lrp_nonblocking(fd, flags) ? MSG_DONTWAIT : 0;
}

/* 1: sent; 0: the shadow's turn; -errno. */
static int send_direct(struct lrp_view *l, int fd, const struct msghdr *msg, int flags)
{
	struct lrp_udp_datagram d;
	struct lrp_tx_dest *dest;
	int n;

	if (!describe(l->sock, msg, &d) || !(dest = dest_of(&d)))
		return 0;
	if (l->sock->dgram.path_mtu && d.dont_fragment &&
	    d.length + (d.family == AF_INET ? 28u : 48u) > l->sock->dgram.path_mtu)
		return -EMSGSIZE;
	/* Without blocking first: asking for O_NONBLOCK costs a system call. */
	n = lrp_tx_send(&dest, &d, 1, MSG_DONTWAIT);
	if (n == -EAGAIN && !tx_flags(fd, flags))
		n = lrp_tx_send(&dest, &d, 1, 0);
	if (n == -ENOBUFS &&
	    !(atomic_load(&l->sock->state) & (LRP_SOCK_RECVERR4 | LRP_SOCK_RECVERR6)))
		n = 1; /* a queueing discipline's drop: the kernel keeps quiet about it, too */
	return n;
}

ssize_t lrp_dgram_send(struct lrp_view *l, int fd, const struct msghdr *msg, int flags)
{
	ssize_t n;
	size_t i;

	n = prepare(l, fd);
	if (lrp_unlikely(n))
		return n;
	if (direct(l->sock, flags)) {
		n = send_direct(l, fd, msg, flags);
		if (n < 0)
			return n;
		if (n > 0) {
			for (n = 0, i = 0; i < msg->msg_iovlen; i++)
				n += (ssize_t)msg->msg_iov[i].iov_len;
			return n;
		}
	}
	n = LRP_SLEEP(sendmsg(fd, msg, flags));
	/* The parts of one datagram stay together, in the shadow. */
	l->sock->dgram.corked = n >= 0 && flags & MSG_MORE;
	return n < 0 ? -errno : n;
}

/* As many of msgs[0..count) as go directly, in one go. 0: the first is the shadow's; -errno. */
static int send_batch(struct lrp_view *l, int fd, struct mmsghdr *msgs, unsigned int count,
		      int flags)
{
	struct lrp_tx_dest *dest[BATCH];
	struct lrp_udp_datagram d[BATCH];
	unsigned int n, i;
	int sent;

	if (!direct(l->sock, flags) || l->sock->dgram.path_mtu)
		return 0;
	for (n = 0; n < count && n < BATCH; n++)
		if (!describe(l->sock, &msgs[n].msg_hdr, &d[n]) || !(dest[n] = dest_of(&d[n])))
			break;
	if (!n)
		return 0;
	sent = lrp_tx_send(dest, d, n, MSG_DONTWAIT);
	if (sent == -EAGAIN && !tx_flags(fd, flags))
		sent = lrp_tx_send(dest, d, n, 0);
	for (i = 0; sent > 0 && i < (unsigned int)sent; i++)
		msgs[i].msg_len = d[i].length;
	return sent;
}

int lrp_dgram_send_many(struct lrp_view *l, int fd, struct mmsghdr *msgs, unsigned int count,
			int flags)
{
	unsigned int done = 0;
	ssize_t n = prepare(l, fd);
	int sent;

	if (n)
		return (int)n;
	while (done < count) {
		sent = send_batch(l, fd, msgs + done, count - done, flags);
		if (sent > 0) {
			done += (unsigned int)sent;
			continue;
		}
		n = lrp_dgram_send(l, fd, &msgs[done].msg_hdr, flags);
		if (n < 0)
			break;
		msgs[done++].msg_len = (unsigned int)n;
	}
	return done ? (int)done : (int)n;
}

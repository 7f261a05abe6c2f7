/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * options.c - socket options, in one table: which the shadow keeps, which
 * concern us too, which are refused. An option that is not in the table is
 * refused: never silently accepted.
 *
 * All that the kernel can check and keep is set on the shadow first, so errors
 * and what getsockopt() says afterwards are the kernel's. What concerns the
 * receiving side is then also done here (`after`); what makes datagrams leave in a way
 * that runtime/tx does not know sends this socket's datagrams through the shadow.
 */
#include <time.h>
#include <linux/errqueue.h>
#include <linux/in6.h>
#include <linux/net_tstamp.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

#include "dgram.h"

#ifndef SO_TIMESTAMP_NEW
#define SO_TIMESTAMP_NEW   63
#define SO_TIMESTAMPNS_NEW 64
#define SO_RCVTIMEO_NEW	   66
#define SO_SNDTIMEO_NEW	   67
#endif
#ifndef SO_BINDTOIFINDEX
#define SO_BINDTOIFINDEX 62
#endif
#ifndef IP_LOCAL_PORT_RANGE
#define IP_LOCAL_PORT_RANGE 51
#endif
#ifndef IPV6_MULTICAST_ALL
#define IPV6_MULTICAST_ALL 29
#endif
#ifndef IPV6_FREEBIND
#define IPV6_FREEBIND 78
#endif
#ifndef IPV6_UNICAST_IF
#define IPV6_UNICAST_IF 76
#endif
#ifndef IPV6_ORIGDSTADDR
#define IPV6_ORIGDSTADDR 74
#endif
#ifndef IPV6_RECVORIGDSTADDR
#define IPV6_RECVORIGDSTADDR IPV6_ORIGDSTADDR
#endif

#define FRAME_COST 832u /* what a small datagram takes of SO_RCVBUF in the kernel: its truesize */
#define LIMIT_MIN  4u
#define LIMIT_MAX  30000u

enum way {
	SHADOW,	    /* the kernel keeps it; nothing to do here */
	OURS,	    /* the kernel keeps it, and `after` does what it means for us */
	SLOW,	    /* the kernel keeps it; datagrams go through the shadow from now on */
	MEMBERSHIP, /* multicast.c */
	READ,	    /* only to be read, from the shadow */
	REFUSE,	    /* EOPNOTSUPP, so that a program sees that it is known and not to be had */
};

struct option {
	int level, name;
	enum way way;
	void (*after)(struct lrp_view *l, int fd, const struct option *o, const void *value,
		      socklen_t len);
	uint32_t bit; /* of rx_options or state */
};

/* ---- what options mean ---------------------------------------------------- */

static int get_int(int fd, int level, int name, int fallback)
{
	socklen_t len = sizeof(fallback);

	getsockopt(fd, level, name, &fallback, &len);
	return fallback;
}

static bool is_on(int fd, const struct option *o, const void *value, socklen_t len)
{
	int v = 0;

	(void)fd;
	(void)o;
	if (len >= sizeof(int))
		memcpy(&v, value, sizeof(v));
	else if (len)
		v = *(const unsigned char *)value; /* IP options take a byte as well */
	return v != 0;
}

static void set_bit(struct lrp_view *l, int fd, const struct option *o, const void *value,
		    socklen_t len)
{
	if (is_on(fd, o, value, len))
		atomic_fetch_or(&l->sock->dgram.rx_options, o->bit);
	else
		atomic_fetch_and(&l->sock->dgram.rx_options, ~o->bit);
}

static void set_state(struct lrp_view *l, int fd, const struct option *o, const void *value,
		      socklen_t len)
{
	if (is_on(fd, o, value, len))
		atomic_fetch_or(&l->sock->state, o->bit);
	else
		atomic_fetch_and(&l->sock->state, ~o->bit);
}

/* SO_TIMESTAMP and SO_TIMESTAMPNS exclude each other. */
static void set_timestamp(struct lrp_view *l, int fd, const struct option *o, const void *value,
			  socklen_t len)
{
	uint32_t all = LRP_RX_TIMESTAMP | LRP_RX_TIMESTAMPNS | LRP_RX_NEW_TIMESTAMP;
	uint32_t was = atomic_load(&l->sock->dgram.rx_options);

	atomic_store(&l->sock->dgram.rx_options,
		     (was & ~all) | (is_on(fd, o, value, len) ? o->bit : 0));
}

static void set_timestamping(struct lrp_view *l, int fd, const struct option *o, const void *value,
			     socklen_t len)
{
	int v = 0;

	memcpy(&v, value, len < sizeof(v) ? len : sizeof(v));
	l->sock->dgram.timestamping = (uint32_t)v;
	v &= SOF_TIMESTAMPING_RX_SOFTWARE;
	set_bit(l, fd, o, &v, sizeof(v));
}

static void set_rcvtimeo(struct lrp_view *l, int fd, const struct option *o, const void *value,
			 socklen_t len)
{
	struct timeval tv = {0};
	int64_t ns;

	(void)fd;
	(void)o;
	memcpy(&tv, value, len < sizeof(tv) ? len : sizeof(tv));
	/* A negative time is taken as "do not wait" by Linux; zero is for ever. */
	if (tv.tv_sec < 0)
		ns = 1;
	else if (tv.tv_sec > (int64_t)1 << 30)
		ns = 0;
	else
		ns = (int64_t)tv.tv_sec * 1000000000 + (int64_t)tv.tv_usec * 1000;
	atomic_store(&l->sock->rcvtimeo_ns, ns);
}

uint32_t lrp_limit_of_rcvbuf(int rcvbuf)
{
	uint32_t limit = (uint32_t)(rcvbuf > 0 ? rcvbuf : 0) / FRAME_COST, size;
	uint32_t cpus = lrp_cpus();

	if (limit > LIMIT_MAX)
		limit = LIMIT_MAX;
	/* A ring has a slot per frame and one per CPU: do not double it for the last few. */
	for (size = 64; size < limit; size <<= 1)
		;
	if (limit + cpus > size && size / 8 > cpus)
		limit = size - cpus;
	return limit < LIMIT_MIN ? LIMIT_MIN : limit;
}

static void set_rcvbuf(struct lrp_view *l, int fd, const struct option *o, const void *value,
		       socklen_t len)
{
	(void)o;
	(void)value;
	(void)len;
	/* As the kernel bounded and doubled it. */
	l->sock->dgram.limit = lrp_limit_of_rcvbuf(get_int(fd, SOL_SOCKET, SO_RCVBUF, 0));
	lrp_sock_resize(l, fd);
}

/* What is sent directly carries what the shadow would give it. */
static void set_sending(struct lrp_view *l, int fd, const struct option *o, const void *value,
			socklen_t len)
{
	struct lrp_sock *s = l->sock;
	int v, one;

	(void)value;
	(void)len;
	v = get_int(fd, o->level, o->name, 0);
	if (o->level == SOL_SOCKET && o->name == SO_NO_CHECK) {
		s->dgram.no_check = v != 0;
	} else if (o->level == SOL_IP && o->name == IP_TTL) {
		/* -1 gives the default back, and getsockopt() says the default. */
		memcpy(&one, len >= sizeof(one) ? value : &v, sizeof(one));
		s->dgram.ttl = one == -1 ? 0 : (uint8_t)v;
	} else if (o->level == SOL_IP && o->name == IP_TOS) {
		s->dgram.tos = (uint8_t)v;
	} else if (o->level == SOL_IP) {
		s->dgram.pmtu4 = (uint8_t)v;
		if (v > IP_PMTUDISC_DO)
			s->dgram.slow_send = true;
	} else if (o->name == IPV6_UNICAST_HOPS) {
		memcpy(&one, len >= sizeof(one) ? value : &v, sizeof(one));
		s->dgram.hops = one == -1 ? 0 : (uint8_t)v;
		if (one == 0)
			s->dgram.slow_send = true;
	} else if (o->name == IPV6_TCLASS) {
		s->dgram.tclass = (uint8_t)v;
	} else {
		s->dgram.pmtu6 = (uint8_t)v;
		if (v > IPV6_PMTUDISC_DO)
			s->dgram.slow_send = true;
	}
}

static void set_device(struct lrp_view *l, int fd, const struct option *o, const void *value,
		       socklen_t len)
{
	(void)o;
	(void)value;
	(void)len;
	l->sock->dgram.bound_ifindex = (uint32_t)get_int(fd, SOL_SOCKET, SO_BINDTOIFINDEX, 0);
	if (l->sock->dgram.bound)
		lrp_sock_publish(l, fd);
}

static void set_v6only(struct lrp_view *l, int fd, const struct option *o, const void *value,
		       socklen_t len)
{
	(void)value;
	(void)len;
	l->sock->v6only = get_int(fd, o->level, o->name, 0) != 0;
}

/* ---- the table -------------------------------------------------------------- */

#define S  SOL_SOCKET
#define I4 SOL_IP
#define I6 SOL_IPV6
static const struct option options[] = {
	{S, SO_REUSEADDR, SHADOW, NULL, 0},
	{S, SO_REUSEPORT, SHADOW, NULL, 0},
	{S, SO_ERROR, READ, NULL, 0},
	{S, SO_TYPE, READ, NULL, 0},
	{S, SO_DOMAIN, READ, NULL, 0},
	{S, SO_PROTOCOL, READ, NULL, 0},
	{S, SO_ACCEPTCONN, READ, NULL, 0},
	{S, SO_COOKIE, READ, NULL, 0},
	{S, SO_NETNS_COOKIE, READ, NULL, 0},
	{S, SO_INCOMING_CPU, REFUSE, NULL, 0},
	{S, SO_SNDBUF, SHADOW, NULL, 0},
	{S, SO_SNDBUFFORCE, SHADOW, NULL, 0},
	{S, SO_RCVBUF, OURS, set_rcvbuf, 0},
	{S, SO_RCVBUFFORCE, OURS, set_rcvbuf, 0},
	{S, SO_SNDLOWAT, READ, NULL, 0},
	{S, SO_RCVLOWAT, SHADOW, NULL, 0}, /* UDP does not look at it */
	{S, SO_RCVTIMEO, OURS, set_rcvtimeo, 0},
	{S, SO_RCVTIMEO_NEW, OURS, set_rcvtimeo, 0},
	{S, SO_SNDTIMEO, SHADOW, NULL, 0},
	{S, SO_SNDTIMEO_NEW, SHADOW, NULL, 0},
	{S, SO_NO_CHECK, OURS, set_sending, 0},
	{S, SO_BROADCAST, SHADOW, NULL, 0},
	{S, SO_KEEPALIVE, SHADOW, NULL, 0},
	{S, SO_OOBINLINE, SHADOW, NULL, 0},
	{S, SO_LINGER, SHADOW, NULL, 0},
	{S, SO_DONTROUTE, SLOW, NULL, 0},
	{S, SO_PRIORITY, SLOW, NULL, 0},
	{S, SO_MARK, SLOW, NULL, 0},
	{S, SO_BINDTODEVICE, OURS, set_device, 0},
	{S, SO_BINDTOIFINDEX, OURS, set_device, 0},
	{S, SO_TIMESTAMP, OURS, set_timestamp, LRP_RX_TIMESTAMP},
	{S, SO_TIMESTAMPNS, OURS, set_timestamp, LRP_RX_TIMESTAMPNS},
	{S, SO_TIMESTAMP_NEW, OURS, set_timestamp, LRP_RX_TIMESTAMP | LRP_RX_NEW_TIMESTAMP},
	{S, SO_TIMESTAMPNS_NEW, OURS, set_timestamp, LRP_RX_TIMESTAMPNS | LRP_RX_NEW_TIMESTAMP},
	{S, SO_TIMESTAMPING, OURS, set_timestamping, LRP_RX_TIMESTAMPING},
	{S, SO_RXQ_OVFL, OURS, set_bit, LRP_RX_OVERFLOW},
	{S, SO_PEEK_OFF, REFUSE, NULL, 0},
	{S, SO_ZEROCOPY, REFUSE, NULL, 0},
	{S, SO_TXTIME, REFUSE, NULL, 0},
	{S, SO_BUSY_POLL, REFUSE, NULL, 0},

	{I4, IP_TOS, OURS, set_sending, 0},
	{I4, IP_TTL, OURS, set_sending, 0},
	{I4, IP_MTU_DISCOVER, OURS, set_sending, 0},
	{I4, IP_MTU, READ, NULL, 0},
	{I4, IP_OPTIONS, SLOW, NULL, 0},
	{I4, IP_UNICAST_IF, SLOW, NULL, 0},
	{I4, IP_PKTINFO, OURS, set_bit, LRP_RX_PKTINFO4},
	{I4, IP_RECVTTL, OURS, set_bit, LRP_RX_TTL},
	{I4, IP_RECVTOS, OURS, set_bit, LRP_RX_TOS},
	{I4, IP_RECVORIGDSTADDR, OURS, set_bit, LRP_RX_ORIGDST4},
	{I4, IP_RECVERR, OURS, set_state, LRP_SOCK_RECVERR4},
	{I4, IP_FREEBIND, SHADOW, NULL, 0},
	{I4, IP_BIND_ADDRESS_NO_PORT, SHADOW, NULL, 0},
	{I4, IP_LOCAL_PORT_RANGE, SHADOW, NULL, 0},
	{I4, IP_MULTICAST_TTL, SHADOW, NULL, 0},
	{I4, IP_MULTICAST_LOOP, SHADOW, NULL, 0},
	{I4, IP_MULTICAST_IF, SHADOW, NULL, 0},
	{I4, IP_MULTICAST_ALL, SHADOW, NULL, 0},
	{I4, IP_ADD_MEMBERSHIP, MEMBERSHIP, NULL, 0},
	{I4, IP_DROP_MEMBERSHIP, MEMBERSHIP, NULL, 0},
	{I4, IP_ADD_SOURCE_MEMBERSHIP, MEMBERSHIP, NULL, 0},
	{I4, IP_DROP_SOURCE_MEMBERSHIP, MEMBERSHIP, NULL, 0},
	{I4, IP_BLOCK_SOURCE, MEMBERSHIP, NULL, 0},
	{I4, IP_UNBLOCK_SOURCE, MEMBERSHIP, NULL, 0},
	{I4, MCAST_JOIN_GROUP, MEMBERSHIP, NULL, 0},
	{I4, MCAST_LEAVE_GROUP, MEMBERSHIP, NULL, 0},
	{I4, MCAST_JOIN_SOURCE_GROUP, MEMBERSHIP, NULL, 0},
	{I4, MCAST_LEAVE_SOURCE_GROUP, MEMBERSHIP, NULL, 0},
	{I4, MCAST_BLOCK_SOURCE, MEMBERSHIP, NULL, 0},
	{I4, MCAST_UNBLOCK_SOURCE, MEMBERSHIP, NULL, 0},
	{I4, IP_TRANSPARENT, REFUSE, NULL, 0},
	{I4, IP_RECVOPTS, REFUSE, NULL, 0},
	{I4, IP_RETOPTS, REFUSE, NULL, 0},

	{I6, IPV6_V6ONLY, OURS, set_v6only, 0},
	{I6, IPV6_UNICAST_HOPS, OURS, set_sending, 0},
	{I6, IPV6_TCLASS, OURS, set_sending, 0},
	{I6, IPV6_MTU_DISCOVER, OURS, set_sending, 0},
	{I6, IPV6_MTU, SLOW, NULL, 0},
	{I6, IPV6_DONTFRAG, SLOW, NULL, 0},
	{I6, IPV6_AUTOFLOWLABEL, SLOW, NULL, 0},
	{I6, IPV6_FLOWINFO_SEND, SLOW, NULL, 0},
	{I6, IPV6_UNICAST_IF, SLOW, NULL, 0},
	{I6, IPV6_PKTINFO, SLOW, NULL, 0}, /* sticky source address */
	{I6, IPV6_ADDR_PREFERENCES, SLOW, NULL, 0},
	{I6, IPV6_RECVPKTINFO, OURS, set_bit, LRP_RX_PKTINFO6},
	{I6, IPV6_RECVHOPLIMIT, OURS, set_bit, LRP_RX_HOPLIMIT},
	{I6, IPV6_RECVTCLASS, OURS, set_bit, LRP_RX_TCLASS},
	{I6, IPV6_RECVORIGDSTADDR, OURS, set_bit, LRP_RX_ORIGDST6},
	{I6, IPV6_RECVERR, OURS, set_state, LRP_SOCK_RECVERR6},
	{I6, IPV6_FREEBIND, SHADOW, NULL, 0},
	{I6, IPV6_MULTICAST_HOPS, SHADOW, NULL, 0},
	{I6, IPV6_MULTICAST_LOOP, SHADOW, NULL, 0},
	{I6, IPV6_MULTICAST_IF, SHADOW, NULL, 0},
	{I6, IPV6_MULTICAST_ALL, SHADOW, NULL, 0},
	{I6, IPV6_JOIN_GROUP, MEMBERSHIP, NULL, 0},
	{I6, IPV6_LEAVE_GROUP, MEMBERSHIP, NULL, 0},
	{I6, MCAST_JOIN_GROUP, MEMBERSHIP, NULL, 0},
	{I6, MCAST_LEAVE_GROUP, MEMBERSHIP, NULL, 0},
	{I6, MCAST_JOIN_SOURCE_GROUP, MEMBERSHIP, NULL, 0},
	{I6, MCAST_LEAVE_SOURCE_GROUP, MEMBERSHIP, NULL, 0},
	{I6, MCAST_BLOCK_SOURCE, MEMBERSHIP, NULL, 0},
	{I6, MCAST_UNBLOCK_SOURCE, MEMBERSHIP, NULL, 0},
	{I6, IPV6_TRANSPARENT, REFUSE, NULL, 0},
};
#undef S
#undef I4
#undef I6

static const struct option *option_find(int level, int name)
{
	size_t i;

	for (i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		if (options[i].level == level && options[i].name == name)
			return &options[i];
	return NULL;
}

/* Transmit stamps and hardware stamps would be silently missing. */
static bool timestamping_known(const void *value, socklen_t len)
{
	int v = 0;

	memcpy(&v, value, len < sizeof(v) ? len : sizeof(v));
	return !(v & ~(SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE));
}

int lrp_dgram_setsockopt(struct lrp_view *l, int fd, int level, int name, const void *value,
			 socklen_t len)
{
	const struct option *o = option_find(level, name);

	if (!o)
		return -ENOPROTOOPT;
	if (o->way == REFUSE)
		return -EOPNOTSUPP;
	if (name == SO_TIMESTAMPING && level == SOL_SOCKET && value &&
	    !timestamping_known(value, len))
		return -EOPNOTSUPP;
	if (o->way == MEMBERSHIP)
		return lrp_multicast_set(l, fd, level, name, value, len);
	if (setsockopt(fd, level, name, value, len))
		return -errno;
	if (o->way == SLOW)
		l->sock->dgram.slow_send = true;
	if (o->after)
		o->after(l, fd, o, value, len);
	return 0;
}

void lrp_options_init(struct lrp_sock *s, int fd)
{
	if (s->domain == AF_INET6)
		s->v6only = get_int(fd, SOL_IPV6, IPV6_V6ONLY, 0) != 0;
	s->dgram.limit = lrp_limit_of_rcvbuf(get_int(fd, SOL_SOCKET, SO_RCVBUF, 212992));
	s->dgram.pmtu4 = (uint8_t)get_int(fd, SOL_IP, IP_MTU_DISCOVER, IP_PMTUDISC_WANT);
	if (s->domain == AF_INET6)
		s->dgram.pmtu6 =
			(uint8_t)get_int(fd, SOL_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_WANT);
}

/* The pending error: ours if there is one, else the shadow's. */
static int get_error(struct lrp_view *l, int fd, void *value, socklen_t *len)
{
	int error;

	lrp_error_scan(l);
	error = lrp_error_take(l->sock);
	if (!error)
		return getsockopt(fd, SOL_SOCKET, SO_ERROR, value, len) ? -errno : 0;
	if ((int)*len < 0)
		return -EINVAL;
	if (*len > sizeof(error))
		*len = sizeof(error);
	memcpy(value, &error, *len);
	return 0;
}

int lrp_dgram_getsockopt(struct lrp_view *l, int fd, int level, int name, void *value,
			 socklen_t *len)
{
	const struct option *o = option_find(level, name);

	if (level == SOL_SOCKET && name == SO_ERROR)
		return get_error(l, fd, value, len);
	if (!o)
		return -ENOPROTOOPT;
	if (o->way == REFUSE)
		return -EOPNOTSUPP;
	if (getsockopt(fd, level, name, value, len))
		return -errno;
	if (((level == SOL_IP && name == IP_MTU) || (level == SOL_IPV6 && name == IPV6_MTU)) &&
	    l->sock->dgram.path_mtu && *len == sizeof(int) &&
	    *(uint32_t *)value > l->sock->dgram.path_mtu)
		memcpy(value, &l->sock->dgram.path_mtu, sizeof(int));
	return 0;
}

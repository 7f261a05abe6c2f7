/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * cmsg.c - handing a datagram over: payload, sender's name, control messages,
 * in the order and with the truncation rules of Linux [put_cmsg(), ip_cmsg_recv(),
 * ip6_datagram_recv_ctl()].
 */
#include <arpa/inet.h>
#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <time.h>

#include "dgram.h"

#ifndef SO_TIMESTAMP_NEW
#define SO_TIMESTAMP_NEW    63
#define SO_TIMESTAMPNS_NEW  64
#define SO_TIMESTAMPING_NEW 65
#endif

/* A message that does not fit is cut, and MSG_CTRUNC says so. */
void lrp_cmsg_put(struct msghdr *msg, size_t *used, int level, int type, const void *data,
		  size_t len)
{
	size_t room = msg->msg_control ? msg->msg_controllen - *used : 0, whole = CMSG_LEN(len);
	struct cmsghdr header = {.cmsg_level = level, .cmsg_type = type};

	if (room < sizeof(header)) {
		msg->msg_flags |= MSG_CTRUNC;
		return;
	}
	if (room < whole) {
		msg->msg_flags |= MSG_CTRUNC;
		whole = room;
	}
	header.cmsg_len = whole;
	memcpy((char *)msg->msg_control + *used, &header, sizeof(header));
	memcpy((char *)msg->msg_control + *used + CMSG_LEN(0), data, whole - CMSG_LEN(0));
	*used += CMSG_SPACE(len) < room ? CMSG_SPACE(len) : room;
}

static bool is_link_local(const struct in6_addr *a)
{
	return IN6_IS_ADDR_LINKLOCAL(a) || IN6_IS_ADDR_MC_LINKLOCAL(a) ||
	       IN6_IS_ADDR_MC_NODELOCAL(a);
}

static struct in6_addr mapped(struct in_addr a)
{
	struct in6_addr a6 = {.s6_addr = {[10] = 0xff, [11] = 0xff}};

	memcpy(&a6.s6_addr[12], &a, 4);
	return a6;
}

socklen_t lrp_peer_name(const struct lrp_sock *s, const struct lrp_packet *p, uint32_t ifindex,
			struct sockaddr_storage *name)
{
	if (lrp_likely(s->domain == AF_INET)) {
		struct sockaddr_in *in = (void *)name;

		in->sin_family = AF_INET;
		in->sin_port = p->sport;
		in->sin_addr = p->src.v4;
		memset(in->sin_zero, 0, sizeof(in->sin_zero));
		return sizeof(*in);
	} else {
		struct sockaddr_in6 *in6 = (void *)name;

		in6->sin6_family = AF_INET6;
		in6->sin6_port = p->sport;
		in6->sin6_flowinfo = 0;
		in6->sin6_scope_id = 0;
		if (p->family == AF_INET) {
			in6->sin6_addr = mapped(p->src.v4);
		} else {
			memcpy(&in6->sin6_addr, &p->src.v6, sizeof(in6->sin6_addr));
			if (is_link_local(&p->src.v6))
				in6->sin6_scope_id = ifindex;
		}
		return sizeof(*in6);
	}
}

static uint64_t wall_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

static void put_time(struct lrp_sock *s, const struct lrp_from *from, uint32_t opts,
		     struct msghdr *msg, size_t *used)
{
	uint64_t ns = from->time_ns ? from->time_ns : wall_ns();
	bool renamed = opts & LRP_RX_NEW_TIMESTAMP;
	struct timespec ts = {.tv_sec = (time_t)(ns / 1000000000ull),
			      .tv_nsec = (long)(ns % 1000000000ull)};
	struct timeval tv = {.tv_sec = ts.tv_sec, .tv_usec = ts.tv_nsec / 1000};

	/* SO_TIMESTAMPNS takes precedence, as in the kernel. */
	if (opts & LRP_RX_TIMESTAMPNS)
		lrp_cmsg_put(msg, used, SOL_SOCKET, renamed ? SO_TIMESTAMPNS_NEW : SCM_TIMESTAMPNS,
			     &ts, sizeof(ts));
	else if (opts & LRP_RX_TIMESTAMP)
		lrp_cmsg_put(msg, used, SOL_SOCKET, renamed ? SO_TIMESTAMP_NEW : SCM_TIMESTAMP, &tv,
			     sizeof(tv));
	if (opts & LRP_RX_TIMESTAMPING && s->dgram.timestamping & SOF_TIMESTAMPING_SOFTWARE) {
		struct scm_timestamping stamps = {.ts = {{ts.tv_sec, ts.tv_nsec}}};

		lrp_cmsg_put(msg, used, SOL_SOCKET,
			     renamed ? SO_TIMESTAMPING_NEW : SCM_TIMESTAMPING, &stamps,
			     sizeof(stamps));
	}
}

/* SO_RXQ_OVFL: what the socket has lost since it was opened. */
static uint32_t overflow(const struct lrp_view *l)
{
	const struct lrp_sock *s = l->sock;
	uint64_t sum = s->dgram.dropped_before + s->dgram.discarded_before;
	uint32_t i;

	for (i = 0; lrp_view_mapped(l) && i < s->dgram.ep.channels; i++)
		sum += lrp_chan_dropped(&s->dgram.ep.chan[i]) - s->dgram.rxq[i].dropped_base +
		       lrp_chan_discarded(&s->dgram.ep.chan[i]) - s->dgram.rxq[i].discarded_base;
	return (uint32_t)sum;
}

/* ipi_spec_dst of a multicast or broadcast datagram: an address of the interface. */
static struct in_addr interface_address(int fd, uint32_t ifindex)
{
	struct ifreq ifr = {0};
	struct in_addr none = {0};

	ifr.ifr_ifindex = (int)ifindex;
	if (ioctl(fd, SIOCGIFNAME, &ifr) || ioctl(fd, SIOCGIFADDR, &ifr))
		return none;
	return ((struct sockaddr_in *)&ifr.ifr_addr)->sin_addr;
}

static void put_ip4(struct lrp_view *l, const struct lrp_packet *p, const struct lrp_from *from,
		    uint32_t opts, struct msghdr *msg, size_t *used)
{
	if (opts & LRP_RX_PKTINFO4) {
		struct in_pktinfo info = {.ipi_ifindex = (int)from->ifindex,
					  .ipi_spec_dst = p->dst.v4,
					  .ipi_addr = p->dst.v4};
		uint32_t dst = ntohl(p->dst.v4.s_addr);

		if (IN_MULTICAST(dst) || (l->sock->dgram.match & LRP_MATCH_LOCAL) == 0) {
			struct in_addr a = {0};

			/* A wildcard socket may have got a subnet's broadcast: ask. */
			if (IN_MULTICAST(dst) || dst == INADDR_BROADCAST || (dst & 0xff) == 0xff)
				a = interface_address(l->fd, from->ifindex);
			if (a.s_addr)
				info.ipi_spec_dst = a;
		}
		lrp_cmsg_put(msg, used, SOL_IP, IP_PKTINFO, &info, sizeof(info));
	}
	if (opts & LRP_RX_TTL) {
		int ttl = p->ttl;

		lrp_cmsg_put(msg, used, SOL_IP, IP_TTL, &ttl, sizeof(ttl));
	}
	if (opts & LRP_RX_TOS)
		lrp_cmsg_put(msg, used, SOL_IP, IP_TOS, &p->tos, 1);
	if (opts & LRP_RX_ORIGDST4) {
		struct sockaddr_in dst = {
			.sin_family = AF_INET, .sin_port = p->dport, .sin_addr = p->dst.v4};

		lrp_cmsg_put(msg, used, SOL_IP, IP_ORIGDSTADDR, &dst, sizeof(dst));
	}
}

static void put_ip6(const struct lrp_packet *p, const struct lrp_from *from, uint32_t opts,
		    struct msghdr *msg, size_t *used)
{
	int value;

	if (opts & LRP_RX_PKTINFO6) {
		struct in6_pktinfo info = {.ipi6_ifindex = from->ifindex};

		if (p->family == AF_INET)
			info.ipi6_addr = mapped(p->dst.v4);
		else
			memcpy(&info.ipi6_addr, &p->dst.v6, sizeof(info.ipi6_addr));
		lrp_cmsg_put(msg, used, SOL_IPV6, IPV6_PKTINFO, &info, sizeof(info));
	}
	if (p->family == AF_INET)
		return;
	if (opts & LRP_RX_HOPLIMIT) {
		value = p->ttl;
		lrp_cmsg_put(msg, used, SOL_IPV6, IPV6_HOPLIMIT, &value, sizeof(value));
	}
	if (opts & LRP_RX_TCLASS) {
		value = p->tos;
		lrp_cmsg_put(msg, used, SOL_IPV6, IPV6_TCLASS, &value, sizeof(value));
	}
	if (opts & LRP_RX_ORIGDST6) {
		struct sockaddr_in6 dst = {.sin6_family = AF_INET6, .sin6_port = p->dport};

		memcpy(&dst.sin6_addr, &p->dst.v6, sizeof(dst.sin6_addr));
		if (is_link_local(&p->dst.v6))
			dst.sin6_scope_id = from->ifindex;
		lrp_cmsg_put(msg, used, SOL_IPV6, IPV6_ORIGDSTADDR, &dst, sizeof(dst));
	}
}

static void put_options(struct lrp_view *l, const struct lrp_packet *p, const struct lrp_from *from,
			uint32_t opts, struct msghdr *msg)
{
	struct lrp_sock *s = l->sock;
	size_t used = 0;

	if (opts & (LRP_RX_TIMESTAMP | LRP_RX_TIMESTAMPNS | LRP_RX_TIMESTAMPING))
		put_time(s, from, opts, msg, &used);
	if (opts & LRP_RX_OVERFLOW) {
		uint32_t lost = overflow(l);

		/* The kernel does not send a zero. */
		if (lost)
			lrp_cmsg_put(msg, &used, SOL_SOCKET, SO_RXQ_OVFL, &lost, sizeof(lost));
	}
	if (s->domain == AF_INET6)
		put_ip6(p, from, opts, msg, &used);
	if (p->family == AF_INET)
		put_ip4(l, p, from, opts, msg, &used);
	msg->msg_controllen = used;
}

static inline uint32_t copy_out(const struct lrp_packet *p, const struct msghdr *msg)
{
	uint32_t done = 0, n;
	size_t i;

	for (i = 0; i < msg->msg_iovlen && done < p->payload_len; i++) {
		n = p->payload_len - done;
		if (n > msg->msg_iov[i].iov_len)
			n = (uint32_t)msg->msg_iov[i].iov_len;
		memcpy(msg->msg_iov[i].iov_base, p->payload + done, n);
		done += n;
	}
	return done;
}

ssize_t lrp_deliver(struct lrp_view *l, const struct lrp_packet *p, const struct lrp_from *from,
		    struct msghdr *msg, int flags)
{
	uint32_t opts = atomic_load_explicit(&l->sock->dgram.rx_options, memory_order_relaxed);
	uint32_t done = copy_out(p, msg);
	struct sockaddr_storage name;
	socklen_t len;

	msg->msg_flags = flags & MSG_CMSG_CLOEXEC;
	if (lrp_unlikely(done < p->payload_len))
		msg->msg_flags |= MSG_TRUNC;
	if (msg->msg_name) {
		len = lrp_peer_name(l->sock, p, from->ifindex, &name);
		memcpy(msg->msg_name, &name, len < msg->msg_namelen ? len : msg->msg_namelen);
		msg->msg_namelen = len;
	}
	if (lrp_unlikely(opts))
		put_options(l, p, from, opts, msg);
	else
		msg->msg_controllen = 0;
	return flags & MSG_TRUNC ? (ssize_t)p->payload_len : (ssize_t)done;
}

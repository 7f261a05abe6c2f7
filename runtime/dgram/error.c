/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * error.c - ICMP errors: the pending error, and the error queue of
 * IP_RECVERR [as udp_err(), ip_icmp_error(), ip_recv_error() have it].
 *
 * Errors about connected sockets come to the channel like data and are
 * processed like data: when somebody receives, sends, polls or asks for SO_ERROR. All
 * others come through the shadow.
 */
#include <time.h>
#include <linux/errqueue.h>
#include <stddef.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>

#include "../ip/icmp_input.h"
#include "../ip/ip_input.h"
#include "dgram.h"

#define QUEUE_MAX   32u	 /* errors that wait to be read */
#define PAYLOAD_MAX 576u /* of the datagram that an error is about */

struct entry {
	struct sock_extended_err ee;
	struct sockaddr_storage offender; /* follows ee in the cmsg */
	struct sockaddr_storage dst;
	socklen_t offender_len, dst_len;
	int level, type;
	uint32_t len;
	uint8_t payload[PAYLOAD_MAX];
};

struct lrp_errqueue {
	uint32_t head, tail; /* free-running */
	struct entry entry[QUEUE_MAX];
};

static struct entry *queue_tail(struct lrp_sock *s)
{
	struct lrp_errqueue *q = s->dgram.errors;

	if (!q) {
		lrp_inside++;
		q = s->dgram.errors = lrp_arena_alloc(sizeof(*q));
		lrp_inside--;
	}
	if (!q || q->tail - q->head == QUEUE_MAX)
		return NULL;
	return &q->entry[q->tail % QUEUE_MAX];
}

bool lrp_error_queued(const struct lrp_sock *s)
{
	return s->dgram.errors && s->dgram.errors->head != s->dgram.errors->tail;
}

static socklen_t name6(struct sockaddr_storage *to, const struct in6_addr *a, __be16 port,
		       uint32_t ifindex)
{
	struct sockaddr_in6 *in6 = (void *)to;

	memset(in6, 0, sizeof(*in6));
	in6->sin6_family = AF_INET6;
	in6->sin6_addr = *a;
	in6->sin6_port = port;
	if (IN6_IS_ADDR_LINKLOCAL(a))
		in6->sin6_scope_id = ifindex;
	return sizeof(*in6);
}

static socklen_t name4(struct sockaddr_storage *to, struct in_addr a, __be16 port, bool mapped)
{
	struct sockaddr_in *in = (void *)to;

	if (mapped) {
		struct in6_addr a6 = {.s6_addr = {[10] = 0xff, [11] = 0xff}};

		memcpy(&a6.s6_addr[12], &a, 4);
		return name6(to, &a6, port, 0);
	}
	memset(in, 0, sizeof(*in));
	in->sin_family = AF_INET;
	in->sin_addr = a;
	in->sin_port = port;
	return sizeof(*in);
}

static void enqueue(struct lrp_sock *s, const struct lrp_icmp_error *e, uint32_t ifindex)
{
	struct entry *to = queue_tail(s);
	bool mapped = s->domain == AF_INET6;

	if (!to)
		return; /* as in the kernel: only the pending error remains */
	memset(to, 0, offsetof(struct entry, payload));
	to->ee.ee_errno = (uint32_t)e->error;
	to->ee.ee_origin = e->family == AF_INET ? SO_EE_ORIGIN_ICMP : SO_EE_ORIGIN_ICMP6;
	to->ee.ee_type = e->type;
	to->ee.ee_code = e->code;
	to->ee.ee_info = e->info;
	to->level = s->domain == AF_INET ? SOL_IP : SOL_IPV6;
	to->type = s->domain == AF_INET ? IP_RECVERR : IPV6_RECVERR;
	if (e->family == AF_INET) {
		to->offender_len = name4(&to->offender, e->offender.v4, 0, mapped);
		to->dst_len = name4(&to->dst, e->dst.v4, e->dport, mapped);
	} else {
		to->offender_len = name6(&to->offender, &e->offender.v6, 0, ifindex);
		to->dst_len = name6(&to->dst, &e->dst.v6, e->dport, ifindex);
	}
	to->len = e->payload_len < PAYLOAD_MAX ? e->payload_len : PAYLOAD_MAX;
	memcpy(to->payload, e->payload, to->len);
	s->dgram.errors->tail++;
}

/* The kernel's path MTU cache does not hear of errors that come to a channel. */
static void learn_mtu(struct lrp_sock *s, const struct lrp_icmp_error *e)
{
	uint32_t floor = e->family == AF_INET ? 552 : 1280, mtu = e->info < floor ? floor : e->info;

	if (!s->dgram.path_mtu || mtu < s->dgram.path_mtu)
		s->dgram.path_mtu = mtu;
}

/* rx held. 0, or a drop reason. */
int lrp_icmp_received(struct lrp_sock *s, const struct lrp_packet *p, const struct lrp_chan *chan)
{
	struct lrp_icmp_error e;
	int dropped = lrp_icmp_input(p, p->frame + p->l4_offset, chan->pool->virtual_device, &e);
	bool recverr;

	if (dropped)
		return dropped;
	if (e.proto != IPPROTO_UDP || e.sport != s->dgram.lport)
		return LRP_DROPPED(LRP_DROP_STALE);
	if (!(s->dgram.match & LRP_MATCH_PEER) || e.dport != s->dgram.rport ||
	    (e.family == AF_INET
		     ? e.dst.v4.s_addr != s->dgram.raddr4.s_addr
		     : memcmp(&e.dst.v6, &s->dgram.raddr6, sizeof(s->dgram.raddr6)) != 0))
		return LRP_DROPPED(LRP_DROP_PEER);
	if (e.error == EMSGSIZE) {
		learn_mtu(s, &e);
		/* Datagrams that may be fragmented go on, in pieces: nothing to report. */
		if (e.family == AF_INET ? s->dgram.pmtu4 == IP_PMTUDISC_DONT
					: s->dgram.pmtu6 == IPV6_PMTUDISC_DONT)
			return 0;
	}
	recverr = atomic_load(&s->state) &
		  (e.family == AF_INET ? LRP_SOCK_RECVERR4 : LRP_SOCK_RECVERR6);
	if (recverr)
		enqueue(s, &e, chan->pool->ifindex);
	else if (!e.fatal)
		return 0;
	atomic_store(&s->error, e.error);
	return 0;
}

static void scan_channel(struct lrp_sock *s, struct lrp_chan *chan, struct lrp_rxq *q)
{
	uint32_t avail = lrp_chan_available(chan, UINT32_MAX), end = chan->next + avail, i;
	struct lrp_packet p;

	i = (int32_t)(q->scanned - chan->next) > 0 ? q->scanned - chan->next : 0;
	for (; i < avail; i++) {
		const struct xdp_desc *desc = lrp_chan_desc(chan, i);
		const uint8_t *frame = lrp_chan_data(chan, desc);

		/* Cheap first: an error is short and in one frame, and says in the IP header what it is. */
		if (desc->len < 42 || desc->options & XDP_PKT_CONTD)
			continue;
		if (frame[12] == 0x08 && frame[13] == 0 && frame[23] == IPPROTO_UDP)
			continue;
		if (frame[12] == 0x86 && frame[13] == 0xdd && frame[20] == IPPROTO_UDP)
			continue;
		p.frame = frame;
		p.frame_len = desc->len;
		if (lrp_ip_input(&p) || p.fragment ||
		    (p.proto != IPPROTO_ICMP && p.proto != IPPROTO_ICMPV6))
			continue;
		lrp_icmp_received(s, &p, chan);
	}
	q->scanned = end;
}

void lrp_error_scan(struct lrp_view *l)
{
	struct lrp_sock *s = l->sock;
	uint32_t i;

	/* A look without the lock: a connected socket's rings are mostly empty when it sends. */
	if (!lrp_view_mapped(l) || s->dgram.eager)
		return;
	for (i = 0; i < s->dgram.ep.channels; i++)
		if (atomic_load_explicit(s->dgram.ep.chan[i].producer, memory_order_acquire) !=
		    s->dgram.ep.chan[i].next)
			break;
	if (i == s->dgram.ep.channels)
		return;
	lrp_rx_lock(s);
	if (lrp_view_mapped(l))
		for (i = 0; i < s->dgram.ep.channels; i++)
			scan_channel(s, &s->dgram.ep.chan[i], &s->dgram.rxq[i]);
	lrp_rx_unlock(s);
}

/* The shadow's error queue wakes every wait until it is read: take it over. Without
 * IP_RECVERR it is empty. */
void lrp_error_adopt(struct lrp_view *l, int fd)
{
	struct lrp_sock *s = l->sock;
	union {
		struct cmsghdr align;
		char bytes[512];
	} control;

	if (!(atomic_load(&s->state) & (LRP_SOCK_RECVERR4 | LRP_SOCK_RECVERR6)))
		return;
	lrp_rx_lock(s);
	for (;;) {
		struct entry *to = queue_tail(s);
		struct iovec iov = {.iov_base = to ? to->payload : NULL,
				    .iov_len = to ? PAYLOAD_MAX : 0};
		struct msghdr msg = {.msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = control.bytes,
				     .msg_controllen = sizeof(control),
				     .msg_name = to ? &to->dst : NULL,
				     .msg_namelen = sizeof(to->dst)};
		ssize_t n = recvmsg(fd, &msg, MSG_ERRQUEUE | MSG_DONTWAIT);
		struct cmsghdr *c;

		if (n < 0)
			break;
		if (!to)
			continue;
		to->len = (uint32_t)n;
		to->dst_len = msg.msg_namelen;
		for (c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
			size_t len = c->cmsg_len - CMSG_LEN(0);

			if (!((c->cmsg_level == SOL_IP && c->cmsg_type == IP_RECVERR) ||
			      (c->cmsg_level == SOL_IPV6 && c->cmsg_type == IPV6_RECVERR)) ||
			    len < sizeof(to->ee) || len - sizeof(to->ee) > sizeof(to->offender))
				continue;
			to->level = c->cmsg_level;
			to->type = c->cmsg_type;
			memcpy(&to->ee, CMSG_DATA(c), sizeof(to->ee));
			to->offender_len = (socklen_t)(len - sizeof(to->ee));
			memcpy(&to->offender, CMSG_DATA(c) + sizeof(to->ee), to->offender_len);
			s->dgram.errors->tail++;
			break;
		}
	}
	lrp_rx_unlock(s);
}

/* recvmsg(MSG_ERRQUEUE): ours first, then the shadow's. Never blocks. */
ssize_t lrp_error_receive(struct lrp_view *l, int fd, struct msghdr *msg, int flags)
{
	struct lrp_sock *s = l->sock;
	struct {
		struct sock_extended_err ee;
		struct sockaddr_storage offender;
	} data;
	struct entry *e;
	size_t used = 0, i, n;
	uint32_t done = 0;
	ssize_t r;

	lrp_error_scan(l);
	lrp_rx_lock(s);
	if (!lrp_error_queued(s)) {
		lrp_rx_unlock(s);
		r = recvmsg(fd, msg, flags | MSG_DONTWAIT);
		return r < 0 ? -errno : r;
	}
	e = &s->dgram.errors->entry[s->dgram.errors->head % QUEUE_MAX];
	for (i = 0; i < msg->msg_iovlen && done < e->len; i++, done += (uint32_t)n) {
		n = e->len - done < msg->msg_iov[i].iov_len ? e->len - done
							    : msg->msg_iov[i].iov_len;
		memcpy(msg->msg_iov[i].iov_base, e->payload + done, n);
	}
	msg->msg_flags = MSG_ERRQUEUE | (done < e->len ? MSG_TRUNC : 0);
	if (msg->msg_name) {
		memcpy(msg->msg_name, &e->dst,
		       e->dst_len < msg->msg_namelen ? e->dst_len : msg->msg_namelen);
		msg->msg_namelen = e->dst_len;
	}
	data.ee = e->ee;
	memcpy(&data.offender, &e->offender, sizeof(data.offender));
	lrp_cmsg_put(msg, &used, e->level, e->type, &data, sizeof(data.ee) + e->offender_len);
	msg->msg_controllen = used;
	s->dgram.errors->head++;
	/* The pending error follows the queue. */
	e = &s->dgram.errors->entry[s->dgram.errors->head % QUEUE_MAX];
	atomic_store(&s->error, lrp_error_queued(s) ? (int)e->ee.ee_errno : 0);
	lrp_rx_unlock(s);
	return (ssize_t)done;
}

void lrp_error_free(struct lrp_sock *s)
{
	if (s->dgram.errors)
		lrp_arena_free(s->dgram.errors, sizeof(*s->dgram.errors));
	s->dgram.errors = NULL;
}

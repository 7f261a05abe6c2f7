/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tcp_send.h - sending TCP segments in the caller's context [design 6]: over
 * the same devices, and with the same knowledge of routes and neighbours, as
 * datagrams [tx.h].
 *
 * There is no shadow that could carry what this path cannot: a segment for
 * which the way is not known yet, or whose neighbour is not resolved, goes
 * through a raw socket, so that the kernel routes it, resolves, and keeps it
 * until there is an answer. So does the first segment to a destination, and
 * what answers a stranger. A process without CAP_NET_RAW writes it to its TAP
 * all the same, behind which the kernel does that.
 *
 * A neighbour that is used is confirmed once a second: with MSG_CONFIRM by
 * telling the kernel that it answers, else by a segment through the raw socket,
 * whereupon the kernel probes it itself if it has to, and the route is asked
 * for again.
 *
 * Measured over veth, IPv4, beyond a plain segment: 1.5 us to go through the
 * raw socket, 7 us to ask for route and neighbour, 2 us to confirm.
 *
 * Threads: as tx.h: a struct lrp_tx_dest belongs to the caller, one thread at a
 * time. No descriptor of the socket is needed: the APP thread may call it.
 */
#ifndef LRP_TX_TCP_SEND_H
#define LRP_TX_TCP_SEND_H

#include "../tcp/segment.h"
#include "tx.h"

/* Longest payload of a run: with its headers it must be one IP packet, and shorter than what devices take
 * by default (GSO_LEGACY_MAX_SIZE). */
#define LRP_TX_RUN_MAX 65400u

struct lrp_tx_tcp {
	const struct lrp_tcp_flow *flow; /* laddr: not all zeros, but for lrp_tx_tcp_path() */
	uint32_t oif;			 /* SO_BINDTODEVICE, scope of a link-local address; or 0 */
	uint32_t flow_label; /* network order; 0: one is made as net.ipv6.auto_flowlabels says */
	uint8_t ttl;	     /* 0: what the route has, else the kernel's default */
	uint8_t tos;	     /* ECN bits do not count: each segment has its own */
};

/* lrp_tx_path() for a connection. */
int lrp_tx_tcp_path(const struct lrp_tx_tcp *how, struct lrp_tx_path *path);

/*
 * Sends segments, or runs of segments, in order; bytes of the payload are read
 * during the call only. `dest`: what is known about the destination, kept beside
 * the connection; NULL for one that deserves no memory: the answer to a
 * stranger, a SYN-ACK.
 *
 * Flags: MSG_DONTWAIT; MSG_CONFIRM: the peer has lately acknowledged something
 * new, or sent what it could only send after it had heard us [RFC 4861 7.3.1].
 *
 * > 0: so many of the first were handed over. < 0: -errno of the first, which
 * counts as not sent. If it is a run, the beginning may have left all the same
 * when it had to go through the raw socket: to send it again is harmless.
 *   EAGAIN       MSG_DONTWAIT: the send buffer is full (else it is waited for)
 *   ENOBUFS      the queueing discipline dropped it. This and EAGAIN are local
 *                congestion. Behind a TAP there is only EAGAIN: what exceeds
 *                the queue of the device is lost on the way
 *   EMSGSIZE     longer than the path's MTU, which is in dest->mtu
 *   EINVAL       a run of more than LRP_TX_RUN_MAX bytes; the source address is
 *                not this host's any more (which not every way notices)
 *   ENETUNREACH, EHOSTUNREACH, ENETDOWN, EPERM (netfilter), ...: as the kernel's
 *                TCP would be told; to be tried again when a retransmission is due
 *   EOPNOTSUPP   no privilege, and no TAP for the device: nothing can be sent
 */
int lrp_tx_send_tcp(struct lrp_tx_dest *dest, const struct lrp_tx_tcp *how,
		    const struct lrp_tcp_tx *tx, uint32_t count, int flags);

#endif

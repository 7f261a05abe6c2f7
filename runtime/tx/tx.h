/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tx.h - sending in the caller's context [design 6]: what is known about a destination, and UDP datagrams;
 * TCP segments: tcp_send.h.
 *
 * A privileged process builds the frame itself and hands it to a packet socket
 * of its own (PACKET_VNET_HDR: checksum and segmentation offload), one per
 * process and device, closed for receiving. Routes and neighbours are the
 * kernel's: asked over netlink once, cached per destination, and asked again when
 * lrp_status_page.routes_epoch has changed, and once a second in any case.
 * Whatever this path cannot do (no privilege, destination not resolved, local,
 * multicast, broadcast, options that it does not carry) it refuses, and the
 * caller sends through the shadow. What it does not carry, the caller keeps away from
 * it: SO_MARK, SO_PRIORITY, IP options, extension headers, hop-by-hop, UDP_SEGMENT, transmit
 * timestamps, IP_XFRM_POLICY, IP_PMTUDISC_PROBE and _INTERFACE.
 *
 * The first datagram to a destination always goes through the shadow: a
 * destination that is used once is not worth two netlink requests, and the kernel
 * starts to resolve the neighbour. So does one datagram a second afterwards, unless the neighbour is
 * permanent: the kernel itself keeps it confirmed that way, and hears ICMP
 * errors and path MTU for it.
 *
 * Threads: a struct lrp_tx_dest belongs to the caller, one thread at a time; the rest is locked
 * inside. After fork a child opens sockets of its own. The process must stay in the network
 * namespace in which it first sent.
 */
#ifndef LRP_TX_H
#define LRP_TX_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "../ip/packet.h"
#include "../udp/udp_output.h"

/* What a route lookup depends on. */
struct lrp_tx_key {
	union lrp_address src, dst;
	uint32_t oif;
	__be16 sport, dport;
	uint8_t family, tos;
	uint8_t proto; /* IPPROTO_UDP, IPPROTO_TCP: policy rules may look at it */
	uint8_t pad;
};

/*
 * What is known about one destination. All zeros: nothing. The caller keeps it
 * beside a connected socket, or in a table by destination; it may pass any of
 * them for any datagram: a key that does not match starts over.
 */
struct lrp_tx_dest {
	uint32_t epoch;	   /* routes_epoch at which it was resolved */
	uint32_t ifindex;  /* 0: send through the shadow */
	uint64_t probe_ns; /* CLOCK_MONOTONIC: valid until then, after which the next datagram goes
				through the shadow, so that the kernel confirms the neighbour */
	uint8_t l2[14];	   /* link header */
	uint16_t mtu;
	uint8_t state;	       /* route.c */
	bool gso;	       /* runs of datagrams may be handed over in one piece */
	uint8_t hop_limit;     /* of the route, for datagrams with ttl 0 */
	uint8_t slot;	       /* of the device, device.h */
	bool confirm;	       /* the neighbour needs it */
	uint16_t id;	       /* next IPv4 identification */
	uint32_t flow_label;   /* of this flow [RFC 6437], network order */
	union lrp_address src; /* chosen by the kernel if the key has none */
	struct lrp_tx_key key;
	/* The head of the last small datagram, from the virtio_net_hdr on; packet.c. */
	struct {
		uint8_t length; /* 0: none */
		uint8_t ttl;
		uint16_t pad;
		uint32_t flow_label;
		uint32_t ip_sum, udp_sum; /* without lengths and identification */
		uint32_t ports_sum;
		uint8_t bytes[72];
	} head;
};

/* True if this process can send on its own: CAP_NET_RAW, or a TAP queue [tap.c]. Asked once. */
bool lrp_tx_ready(void);

/*
 * Sends datagrams, dest[i] being what is known about the destination of dgram[i]
 * (several may point to the same).
 * > 0: so many of the first were sent; 0: the first must go through the shadow;
 * < 0: -errno of the first: EAGAIN (MSG_DONTWAIT: the socket's buffer is full), ENOBUFS (the
 * queueing discipline dropped it; a kernel UDP socket reports that only with IP_RECVERR),
 * EMSGSIZE, EINTR. Without MSG_DONTWAIT a full buffer is waited for.
 * Flags: MSG_DONTWAIT.
 */
int lrp_tx_send(struct lrp_tx_dest *const *dest, const struct lrp_udp_datagram *dgram,
		uint32_t count, int flags);

/* Which way a key's packets go. */
struct lrp_tx_path {
	uint32_t ifindex;
	uint16_t mtu; /* of the path as far as the kernel knows it, from the IP header on */
	bool attached; /* lrpd has attached that device: what comes back by it reaches our channels */
	union lrp_address src; /* key->src, or the kernel's choice if that is all zeros */
};

/*
 * Asks the kernel now. 0; -EOPNOTSUPP: only the kernel can send that way (to this host itself, multicast,
 * broadcast, tunnels, IPsec): a connection is its own TCP's; -ENETUNREACH, -EHOSTUNREACH, -EACCES,
 * -EINVAL (key->src is not this host's), -ENETDOWN as the kernel says.
 */
int lrp_tx_path(const struct lrp_tx_key *key, struct lrp_tx_path *path);

/* Where changes of routes are reported, instead of lrpd's status page; for tests. */
void lrp_tx_epoch_from(const volatile uint32_t *epoch);

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * netlink.h - what a sender asks the kernel: which way, to which MAC, over what
 * kind of link. No privilege needed, nothing kept but the sockets.
 *
 * Threads: any; one mutex inside, held for one exchange (some microseconds; a
 * link's may wait for the kernel's configuration lock). After fork the child asks over sockets
 * of its own.
 *
 * All return 0 or -errno. -EOPNOTSUPP: the kernel knows a way that frames built
 * by us must not take.
 */
#ifndef LRP_TX_NETLINK_H
#define LRP_TX_NETLINK_H

#include <linux/if.h>

#include "tx.h"

struct lrp_tx_route {
	uint32_t ifindex;
	uint8_t via_family; /* of `via`: a route of IPv4 may have a gateway of IPv6 */
	union lrp_address via, src;
	uint32_t mtu;	   /* 0: the device's */
	uint8_t hop_limit; /* 0: the default */
};

/* -EOPNOTSUPP: local, broadcast, multicast, tunnels, a locked MTU; else the kernel's own error. */
int lrp_tx_ask_route(const struct lrp_tx_key *key, struct lrp_tx_route *route);

/* The neighbour's MAC. -EAGAIN: not resolved (yet). `permanent`: needs no confirmation. */
int lrp_tx_ask_neighbour(const struct lrp_tx_route *route, uint8_t mac[6], bool *permanent);

struct lrp_tx_link {
	uint8_t mac[6];
	uint16_t mtu, mtu6;
	uint8_t hop_limit6;
	bool gso; /* runs of datagrams leave this link as single frames */
	char name[IFNAMSIZ];
};

/* -EOPNOTSUPP: not Ethernet, loopback, a VRF; -ENETDOWN: not up. */
int lrp_tx_ask_link(uint32_t ifindex, struct lrp_tx_link *link);

struct lrp_tx_host {
	uint8_t ttl;	      /* net.ipv4.ip_default_ttl */
	uint8_t hop_limit6;   /* net.ipv6.conf.all.hop_limit */
	bool auto_flow_label; /* net.ipv6.auto_flowlabels */
	bool ipsec;	      /* outgoing IPsec policies: only the kernel may send */
	bool ports_matter;    /* to a route: policy rules or the multipath hash look at them */
};

int lrp_tx_ask_host(struct lrp_tx_host *host);

#endif

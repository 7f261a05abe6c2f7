/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* link.h - network interfaces as rtnetlink and ethtool describe them. */
#ifndef LRP_CORE_LINK_H
#define LRP_CORE_LINK_H

#include "../base/internal.h"

#include <linux/if.h>

struct lrp_link_info {
	uint32_t ifindex;
	char ifname[IFNAMSIZ];
	char kind[32]; /* "veth", "bridge", ...; "" for hardware */
	uint8_t mac[6];
	uint32_t mtu;
	uint32_t flags; /* IFF_* */
	bool loopback;
	bool virtual_device;			/* packets may carry partial checksums */
	uint32_t queues;			/* RX queues in use */
	uint32_t rx_ring;			/* descriptors of one RX queue, 0: unknown */
	char lower[256];			/* names of lower devices */
	char master[IFNAMSIZ], master_kind[32]; /* of the bridge, bond, VRF it is a port of */
	char stacked[IFNAMSIZ];			/* a macvlan, macvtap or ipvlan on top of it */
	char vlan[IFNAMSIZ];			/* a VLAN device on top of it */
	uint32_t prog_id;			/* XDP program attached now, 0: none */
	char prog_name[32];
};

/* 0 or -errno: ENODEV if there is none of that name. */
int lrp_core_link_info(const char *ifname, struct lrp_link_info *info);

/* 0 if LRP can attach to it; else -errno, and a line that says why and what to do. */
int lrp_core_link_refusal(const struct lrp_link_info *info, bool libxdp, char *text);

/* Does receive packet steering (RPS) move its packets to other CPUs? */
bool lrp_core_link_steered(const char *ifname);

/* One rtnetlink dump (RTM_GETLINK or RTM_GETADDR) on a socket of its own. 0 or -errno. */
struct nlmsghdr;
typedef int (*lrp_core_netlink_fn)(const struct nlmsghdr *nlh, void *data);
int lrp_core_netlink_dump(uint16_t type, uint8_t family, lrp_core_netlink_fn fn, void *data);

#endif

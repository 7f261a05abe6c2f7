/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * flow.h - is the packet ours, and which endpoint is it for [design 4].
 *
 * "Ours" comes first: a wildcard bind must not swallow what the host forwards.
 * Then the port array, which settles every packet that is not LRP's with one
 * access; then, if the port says that there are any, connected sockets,
 * sockets bound to one address, and the wildcard socket.
 *
 * Functions return LRP_XDP_ENQUEUED (0) for "found", else the reason why not.
 */
#ifndef LRP_BPF_FLOW_H
#define LRP_BPF_FLOW_H

#include "maps.h"
#include "parse.h"

#define LRP_ADDR4(a, b, c, d)                                                                      \
	bpf_htonl((__u32)(a) << 24 | (__u32)(b) << 16 | (__u32)(c) << 8 | (__u32)(d))

/* What a destination address is. */
enum lrp_cast {
	LRP_CAST_UNICAST,
	LRP_CAST_MULTICAST,
	LRP_CAST_BROADCAST,
};

struct lrp_target {
	__u32 endpoint;
	__u32 owner; /* of the flow */
	__u32 found; /* LRP_FOUND_* */
};

enum {
	LRP_FOUND_EXACT = 1 << 0,  /* by the whole tuple */
	LRP_FOUND_OWNED = 1 << 1,  /* `owner` must be the owner of the channel */
	LRP_FOUND_SYN = 1 << 2,	   /* the packet is a pure SYN */
	LRP_FOUND_ORPHAN = 1 << 3, /* a later fragment whose first was not seen */
	LRP_FOUND_PROXY = 1 << 4,  /* the endpoint is a proxy's */
};

/* What the flow's lookup needs; the same for both families. */
struct lrp_tuple {
	__be16 sport;
	__be16 dport;
	__u8 proto;
	__u8 cast; /* enum lrp_cast */
};

/* ---- is it ours --------------------------------------------------------- */

static __always_inline bool lrp_mac_equal(const __u8 *mac, const __u8 *other)
{
	return *(__u32 *)mac == *(__u32 *)other && *(__u16 *)(mac + 4) == *(__u16 *)(other + 4);
}

/*
 * The link-layer destination must fit the address. A unicast packet in a
 * broadcast frame is left to the kernel (RFC 1122 3.3.6), and so is one that
 * a promiscuous interface saw. `group_mac` is the MAC of a multicast address.
 */
static __always_inline bool lrp_mac_ours(const struct lrp_device *device, const __u8 *mac,
					 __u32 cast, const __u8 *group_mac)
{
	if (device->flags & LRP_DEVICE_LOOPBACK)
		return true;
	if (lrp_mac_equal(mac, device->mac))
		return true;
	if (cast == LRP_CAST_UNICAST || !(mac[0] & 1))
		return false;
	if (*(__u32 *)mac == 0xffffffff && *(__u16 *)(mac + 4) == 0xffff)
		return true;
	if (cast != LRP_CAST_MULTICAST)
		return false;
	return device->flags & LRP_DEVICE_ALLMULTI || lrp_mac_equal(mac, group_mac);
}

static __always_inline enum lrp_xdp_reason
lrp_ours4(const struct lrp_device *device, const __u8 *mac, const struct iphdr *ip, __u8 *cast)
{
	__be32 daddr = ip->daddr;
	struct lrp_local *local;
	__u8 first, group_mac[6];

	*cast = LRP_CAST_UNICAST;
#pragma unroll
	for (__u32 i = 0; i < LRP_DEVICE_ADDR4; i++) {
		if (i < device->addr4_count && daddr == device->addr4[i])
			goto mac;
	}
	first = daddr & bpf_htonl(0xff000000) ? bpf_ntohl(daddr) >> 24 : 0;
	if (daddr == 0xffffffff) {
		*cast = LRP_CAST_BROADCAST;
		goto mac;
	}
	/* Class E, from 240 on, holds addresses like any others: the table of local ones decides. */
	if (first >= 224 && first < 240) {
		*cast = LRP_CAST_MULTICAST;
		goto mac;
	}
	if (first == 127) {
		/* the kernel calls it a martian on any other device */
		if (device->flags & LRP_DEVICE_LOOPBACK)
			return LRP_XDP_ENQUEUED;
		return LRP_XDP_PASS_ADDRESS;
	}
	local = bpf_map_lookup_elem(&lrp_local4, &daddr);
	if (!local || (local->ifindex && local->ifindex != device->ifindex))
		return LRP_XDP_PASS_ADDRESS;
	if (local->kind == LRP_LOCAL_BROADCAST)
		*cast = LRP_CAST_BROADCAST;
mac:
	group_mac[0] = 0x01;
	group_mac[1] = 0x00;
	group_mac[2] = 0x5e;
	group_mac[3] = bpf_ntohl(daddr) >> 16 & 0x7f;
	group_mac[4] = bpf_ntohl(daddr) >> 8;
	group_mac[5] = bpf_ntohl(daddr);
	return lrp_mac_ours(device, mac, *cast, group_mac) ? LRP_XDP_ENQUEUED : LRP_XDP_PASS_MAC;
}

static __always_inline bool lrp_addr6_loopback(const struct in6_addr *addr)
{
	return !addr->s6_addr32[0] && !addr->s6_addr32[1] && !addr->s6_addr32[2] &&
	       addr->s6_addr32[3] == bpf_htonl(1);
}

static __always_inline enum lrp_xdp_reason
lrp_ours6(const struct lrp_device *device, const __u8 *mac, const struct ipv6hdr *ip, __u8 *cast)
{
	struct lrp_local *local;
	struct in6_addr daddr;
	__u8 group_mac[6];

	*cast = LRP_CAST_UNICAST;
	group_mac[0] = 0x33;
	group_mac[1] = 0x33;
	__builtin_memcpy(group_mac + 2, &ip->daddr.s6_addr[12], 4);
	if (ip->daddr.s6_addr[0] == 0xff) {
		*cast = LRP_CAST_MULTICAST;
	} else if (lrp_addr6_loopback(&ip->daddr)) {
		return device->flags & LRP_DEVICE_LOOPBACK ? LRP_XDP_ENQUEUED
							   : LRP_XDP_PASS_ADDRESS;
	} else {
		/* a key on the stack: hash lookups from packet memory are refused in XDP before 6.x */
		daddr = ip->daddr;
		local = bpf_map_lookup_elem(&lrp_local6, &daddr);
		if (!local || (local->ifindex && local->ifindex != device->ifindex))
			return LRP_XDP_PASS_ADDRESS;
	}
	return lrp_mac_ours(device, mac, *cast, group_mac) ? LRP_XDP_ENQUEUED : LRP_XDP_PASS_MAC;
}

/* Sources that the kernel calls martian, as ip_route_input_slow() and ip_mc_validate_source() have
 * it: 127.0.0.0/8, multicast, 255.255.255.255, 0.0.0.0 and the device's own. Linux has accepted
 * the rest of 0.0.0.0/8 since 5.3, and 240.0.0.0/4 for longer. Asked only once a packet is LRP's.
 */
static __always_inline bool lrp_martian4(const struct lrp_device *device, const struct iphdr *ip)
{
	__be32 saddr = ip->saddr;
	__u8 first = bpf_ntohl(saddr) >> 24;

	if (device->flags & LRP_DEVICE_LOOPBACK)
		return false;
	/* A host without an address asks by broadcast (DHCP) or in a group of the link. */
	if (!saddr)
		return ip->daddr != 0xffffffff &&
		       (ip->daddr & bpf_htonl(0xffffff00)) != bpf_htonl(0xe0000000);
	if (first == 127 || (first >= 224 && first < 240) || saddr == 0xffffffff)
		return true;
#pragma unroll
	for (__u32 i = 0; i < LRP_DEVICE_ADDR4; i++) {
		if (i < device->addr4_count && saddr == device->addr4[i])
			return true;
	}
	return false;
}

/* Multicast, ::, ::1 and ::ffff:a.b.c.d (as ip6_rcv_core() has it). */
static __always_inline bool lrp_martian6(const struct lrp_device *device, const struct ipv6hdr *ip)
{
	const struct in6_addr *saddr = &ip->saddr;

	if (device->flags & LRP_DEVICE_LOOPBACK)
		return false;
	if (saddr->s6_addr[0] == 0xff)
		return true;
	if (saddr->s6_addr32[0] || saddr->s6_addr32[1])
		return false;
	if (saddr->s6_addr32[2] == bpf_htonl(0xffff))
		return true;
	return !saddr->s6_addr32[2] &&
	       (!saddr->s6_addr32[3] || saddr->s6_addr32[3] == bpf_htonl(1));
}

/* ---- which endpoint ------------------------------------------------------ */

/* Both words in one load, so that flags and target always belong together:
 * lrpd stores an entry as one word, too. */
static __always_inline struct lrp_port lrp_port_get(bool ipv6, __u8 proto, __be16 port)
{
	__u32 index = LRP_PORT_INDEX(ipv6, proto == IPPROTO_TCP, bpf_ntohs(port));
	union {
		__u64 word;
		struct lrp_port port;
	} entry = {.word = 0};
	__u64 *found = bpf_map_lookup_elem(&lrp_ports, &index);

	if (found)
		entry.word = *(volatile __u64 *)found;
	return entry.port;
}

/* murmur3's finalizer: all bits of the tuple reach the bits that choose. */
static __always_inline __u32 lrp_flow_mix(__u32 hash)
{
	hash ^= hash >> 16;
	hash *= 0x85ebca6b;
	hash ^= hash >> 13;
	hash *= 0xc2b2ae35;
	hash ^= hash >> 16;
	return hash;
}

/* The member of a SO_REUSEPORT group, always the same for one connection. */
static __always_inline enum lrp_xdp_reason
lrp_group_pick(__u32 target, __u32 addresses, const struct lrp_tuple *tuple, __u32 *endpoint)
{
	__u32 index = target & ~LRP_TARGET_GROUP, member;
	struct lrp_group *group = bpf_map_lookup_elem(&lrp_groups, &index);
	__u32 count, hash;

	if (!group)
		return LRP_XDP_PASS_PORT;
	count = group->count;
	if (!count || count > LRP_GROUP_MAX)
		return LRP_XDP_PASS_PORT;
	hash = lrp_flow_mix(lrp_flow_mix(addresses) ^ ((__u32)tuple->sport << 16 | tuple->dport));
	member = (__u64)hash * count >> 32;
	if (member >= LRP_GROUP_MAX)
		return LRP_XDP_PASS_PORT;
	*endpoint = group->endpoint[member];
	return LRP_XDP_ENQUEUED;
}

static __always_inline enum lrp_xdp_reason lrp_target_resolve(__u32 word, __u32 addresses,
							      const struct lrp_tuple *tuple,
							      struct lrp_target *target)
{
	target->endpoint = word;
	if (!(word & LRP_TARGET_GROUP))
		return LRP_XDP_ENQUEUED;
	/* a broadcast is for every member: the kernel makes the copies */
	if (tuple->cast != LRP_CAST_UNICAST)
		return LRP_XDP_PASS_MULTICAST;
	return lrp_group_pick(word, addresses, tuple, &target->endpoint);
}

static __always_inline enum lrp_xdp_reason lrp_membership_find(const struct lrp_device *device,
							       const struct lrp_membership *key,
							       struct lrp_target *target)
{
	__u32 *endpoint = bpf_map_lookup_elem(&lrp_memberships, key);

	if (!endpoint)
		return LRP_XDP_PASS_MULTICAST;
	target->endpoint = *endpoint;
	return LRP_XDP_ENQUEUED;
}

/* Does the entry still count: somebody of its family has the local end. */
static __always_inline bool lrp_flow_counts(const struct lrp_flow *flow)
{
	__u32 index = flow->end;
	struct lrp_end *end;

	if (!index)
		return true;
	end = bpf_map_lookup_elem(&lrp_ends, &index);
	return end && *(volatile __u32 *)&end->generation == flow->generation;
}

/* The connected socket with this tuple, as its owner sees it. */
static __always_inline bool lrp_flow4_find(__be32 laddr, __be32 raddr, __be16 lport, __be16 rport,
					   __u8 proto, struct lrp_target *target)
{
	struct lrp_flow4 key = {
		.laddr = laddr,
		.raddr = raddr,
		.lport = lport,
		.rport = rport,
		.proto = proto,
	};
	struct lrp_flow *flow = bpf_map_lookup_elem(&lrp_flows4, &key);

	if (!flow || !lrp_flow_counts(flow))
		return false;
	target->endpoint = flow->endpoint;
	target->owner = flow->owner;
	target->found |= LRP_FOUND_EXACT | LRP_FOUND_OWNED;
	return true;
}

static __always_inline bool lrp_flow6_find(const struct in6_addr *laddr,
					   const struct in6_addr *raddr, __be16 lport, __be16 rport,
					   __u8 proto, struct lrp_target *target)
{
	struct lrp_flow6 key;
	struct lrp_flow *flow;

	__builtin_memset(&key, 0, sizeof(key));
	__builtin_memcpy(&key.laddr, laddr, sizeof(key.laddr));
	__builtin_memcpy(&key.raddr, raddr, sizeof(key.raddr));
	key.lport = lport;
	key.rport = rport;
	key.proto = proto;
	flow = bpf_map_lookup_elem(&lrp_flows6, &key);
	if (!flow || !lrp_flow_counts(flow))
		return false;
	target->endpoint = flow->endpoint;
	target->owner = flow->owner;
	target->found |= LRP_FOUND_EXACT | LRP_FOUND_OWNED;
	return true;
}

/* A connection of the kernel's. Asked only on ports that have LRP_PORT_KERNEL, and before any entry
 * that a process has made. */
static __noinline bool lrp_kernel4_has(__be32 laddr, __be32 raddr, __be16 lport, __be16 rport)
{
	struct lrp_flow4 key = {
		.laddr = laddr,
		.raddr = raddr,
		.lport = lport,
		.rport = rport,
		.proto = IPPROTO_TCP,
	};

	return bpf_map_lookup_elem(&lrp_kernel4, &key);
}

static __always_inline bool lrp_kernel6_has(const struct in6_addr *laddr,
					    const struct in6_addr *raddr, __be16 lport,
					    __be16 rport)
{
	struct lrp_flow6 key;

	__builtin_memset(&key, 0, sizeof(key));
	__builtin_memcpy(&key.laddr, laddr, sizeof(key.laddr));
	__builtin_memcpy(&key.raddr, raddr, sizeof(key.raddr));
	key.lport = lport;
	key.rport = rport;
	key.proto = IPPROTO_TCP;
	return bpf_map_lookup_elem(&lrp_kernel6, &key);
}

/*
 * UDP and TCP alike; TCP to one address only. A broadcast is for the sockets bound to the broadcast
 * address or to none; if there are both, each must get a copy, which only the
 * kernel can make.
 */
static __always_inline enum lrp_xdp_reason lrp_flow_find4(const struct lrp_device *device,
							  const struct iphdr *ip,
							  const struct lrp_tuple *tuple,
							  struct lrp_target *target)
{
	struct lrp_port port = lrp_port_get(false, tuple->proto, tuple->dport);
	__u32 addresses = ip->saddr ^ lrp_flow_mix(ip->daddr);

	if (!port.flags)
		return LRP_XDP_PASS_PORT;
	if (tuple->cast == LRP_CAST_MULTICAST) {
		struct lrp_membership key = {
			.port = tuple->dport,
			.proto = tuple->proto,
			.ifindex = device->ifindex,
		};

		if (!(port.flags & LRP_PORT_MULTICAST))
			return LRP_XDP_PASS_MULTICAST;
		key.group.byte[10] = 0xff;
		key.group.byte[11] = 0xff;
		__builtin_memcpy(&key.group.byte[12], &ip->daddr, 4);
		return lrp_membership_find(device, &key, target);
	}
	if (port.flags & LRP_PORT_KERNEL &&
	    lrp_kernel4_has(ip->daddr, ip->saddr, tuple->dport, tuple->sport))
		return LRP_XDP_PASS_KERNEL;
	if (port.flags & LRP_PORT_FLOWS && tuple->cast == LRP_CAST_UNICAST &&
	    lrp_flow4_find(ip->daddr, ip->saddr, tuple->dport, tuple->sport, tuple->proto, target))
		return LRP_XDP_ENQUEUED;
	if (port.flags & LRP_PORT_BINDS) {
		struct lrp_bind4 key = {
			.addr = ip->daddr,
			.port = tuple->dport,
			.proto = tuple->proto,
		};
		__u32 *bind = bpf_map_lookup_elem(&lrp_binds4, &key);

		if (bind && tuple->cast == LRP_CAST_BROADCAST && port.flags & LRP_PORT_ANY)
			return LRP_XDP_PASS_MULTICAST;
		if (bind)
			return lrp_target_resolve(*bind, addresses, tuple, target);
	}
	if (!(port.flags & LRP_PORT_ANY))
		return LRP_XDP_PASS_PORT;
	return lrp_target_resolve(port.target, addresses, tuple, target);
}

static __always_inline enum lrp_xdp_reason lrp_flow_find6(const struct lrp_device *device,
							  const struct ipv6hdr *ip,
							  const struct lrp_tuple *tuple,
							  struct lrp_target *target)
{
	struct lrp_port port = lrp_port_get(true, tuple->proto, tuple->dport);
	__u32 addresses = 0;

	if (!port.flags)
		return LRP_XDP_PASS_PORT;
	if (tuple->cast == LRP_CAST_MULTICAST) {
		struct lrp_membership key = {
			.port = tuple->dport,
			.proto = tuple->proto,
			.ifindex = device->ifindex,
		};

		if (!(port.flags & LRP_PORT_MULTICAST))
			return LRP_XDP_PASS_MULTICAST;
		__builtin_memcpy(&key.group, &ip->daddr, sizeof(key.group));
		return lrp_membership_find(device, &key, target);
	}
	if (port.flags & LRP_PORT_KERNEL &&
	    lrp_kernel6_has(&ip->daddr, &ip->saddr, tuple->dport, tuple->sport))
		return LRP_XDP_PASS_KERNEL;
	if (port.flags & LRP_PORT_FLOWS && lrp_flow6_find(&ip->daddr, &ip->saddr, tuple->dport,
							  tuple->sport, tuple->proto, target))
		return LRP_XDP_ENQUEUED;
#pragma unroll
	for (int i = 0; i < 4; i++)
		addresses =
			lrp_flow_mix(addresses ^ ip->saddr.s6_addr32[i]) ^ ip->daddr.s6_addr32[i];
	if (port.flags & LRP_PORT_BINDS) {
		struct lrp_bind6 key;
		__u32 *bind;

		__builtin_memset(&key, 0, sizeof(key));
		__builtin_memcpy(&key.addr, &ip->daddr, sizeof(key.addr));
		key.port = tuple->dport;
		key.proto = tuple->proto;
		bind = bpf_map_lookup_elem(&lrp_binds6, &key);
		if (bind)
			return lrp_target_resolve(*bind, addresses, tuple, target);
	}
	if (!(port.flags & LRP_PORT_ANY))
		return LRP_XDP_PASS_PORT;
	return lrp_target_resolve(port.target, addresses, tuple, target);
}

/* ---- ICMP errors ---------------------------------------------------------- */

/*
 * An error quotes a packet that we sent: its source is our end. Errors about
 * connected sockets go to them; all else is the kernel's, whose shadow sockets
 * hear of the rest.
 */
__noinline int lrp_icmp4(struct xdp_md *ctx, __u32 l3, __u32 offset, __u32 room,
			 struct lrp_target *target)
{
	void *data = lrp_data(ctx), *data_end = lrp_data_end(ctx);
	struct iphdr *outer, *ip;
	struct lrp_ports_header *ports;
	__u32 header_len, flags;
	__u8 *icmp;

	if (!target || l3 > LRP_OFFSET_MAX || offset > LRP_OFFSET_MAX)
		return LRP_XDP_PASS_TUNNEL;
	outer = lrp_header_at(data, l3);
	icmp = lrp_header_at(data, offset);
	ip = (void *)icmp + LRP_ICMP_HEADER;
	if ((void *)(outer + 1) > data_end || room < LRP_ICMP_HEADER ||
	    (void *)(icmp + LRP_ICMP_HEADER) > data_end)
		return LRP_XDP_PASS_MALFORMED;
	if (icmp[0] != 3 && icmp[0] != 11 && icmp[0] != 12)
		return LRP_XDP_PASS_PROTOCOL;
	if ((void *)(ip + 1) > data_end)
		return LRP_XDP_PASS_MALFORMED;
	header_len = ip->ihl * 4;
	if (ip->version != 4 || header_len < sizeof(*ip) ||
	    room < LRP_ICMP_HEADER + header_len + sizeof(*ports))
		return LRP_XDP_PASS_MALFORMED;
	if (ip->protocol != IPPROTO_UDP && ip->protocol != IPPROTO_TCP)
		return LRP_XDP_PASS_PROTOCOL;
	/* without ports; or not sent from the address that hears of it */
	if (ip->frag_off & bpf_htons(0x1fff) || ip->saddr != outer->daddr)
		return LRP_XDP_PASS_PROTOCOL;
	ports = (void *)ip + header_len;
	if ((void *)(ports + 1) > data_end)
		return LRP_XDP_PASS_MALFORMED;
	flags = lrp_port_get(false, ip->protocol, ports->source).flags;
	if (flags & LRP_PORT_KERNEL &&
	    lrp_kernel4_has(ip->saddr, ip->daddr, ports->source, ports->dest))
		return LRP_XDP_PASS_KERNEL;
	if (!(flags & LRP_PORT_FLOWS) ||
	    !lrp_flow4_find(ip->saddr, ip->daddr, ports->source, ports->dest, ip->protocol, target))
		return LRP_XDP_PASS_PORT;
	return LRP_XDP_ENQUEUED;
}

__noinline int lrp_icmp6(struct xdp_md *ctx, __u32 l3, __u32 offset, __u32 room,
			 struct lrp_target *target)
{
	void *data = lrp_data(ctx), *data_end = lrp_data_end(ctx);
	struct ipv6hdr *outer, *ip;
	struct lrp_ports_header *ports;
	__u32 need = LRP_ICMP_HEADER + sizeof(*ip) + sizeof(*ports);
	void *header;
	__u8 *icmp, proto;
	__u32 flags;

	if (!target || l3 > LRP_OFFSET_MAX || offset > LRP_OFFSET_MAX)
		return LRP_XDP_PASS_TUNNEL;
	outer = lrp_header_at(data, l3);
	icmp = lrp_header_at(data, offset);
	ip = (void *)icmp + LRP_ICMP_HEADER;
	if ((void *)(outer + 1) > data_end || room < LRP_ICMP_HEADER ||
	    (void *)(icmp + LRP_ICMP_HEADER) > data_end)
		return LRP_XDP_PASS_MALFORMED;
	if (icmp[0] < 1 || icmp[0] > 4)
		return LRP_XDP_PASS_PROTOCOL;
	if ((void *)(ip + 1) > data_end || ip->version != 6 || room < need)
		return LRP_XDP_PASS_MALFORMED;
	proto = ip->nexthdr;
	header = ip + 1;
	if (proto == IPPROTO_FRAGMENT) { /* of our own extension headers only this occurs */
		struct lrp_fragment_header *fragment = header;

		need += sizeof(*fragment);
		if ((void *)(fragment + 1) > data_end || room < need)
			return LRP_XDP_PASS_MALFORMED;
		if (fragment->offset & bpf_htons(0xfff8))
			return LRP_XDP_PASS_PROTOCOL;
		proto = fragment->nexthdr;
		header = fragment + 1;
	}
	if (proto != IPPROTO_UDP && proto != IPPROTO_TCP)
		return LRP_XDP_PASS_PROTOCOL;
	if (ip->saddr.s6_addr32[0] != outer->daddr.s6_addr32[0] ||
	    ip->saddr.s6_addr32[1] != outer->daddr.s6_addr32[1] ||
	    ip->saddr.s6_addr32[2] != outer->daddr.s6_addr32[2] ||
	    ip->saddr.s6_addr32[3] != outer->daddr.s6_addr32[3])
		return LRP_XDP_PASS_PROTOCOL;
	ports = header;
	if ((void *)(ports + 1) > data_end)
		return LRP_XDP_PASS_MALFORMED;
	flags = lrp_port_get(true, proto, ports->source).flags;
	if (flags & LRP_PORT_KERNEL &&
	    lrp_kernel6_has(&ip->saddr, &ip->daddr, ports->source, ports->dest))
		return LRP_XDP_PASS_KERNEL;
	if (!(flags & LRP_PORT_FLOWS) ||
	    !lrp_flow6_find(&ip->saddr, &ip->daddr, ports->source, ports->dest, proto, target))
		return LRP_XDP_PASS_PORT;
	return LRP_XDP_ENQUEUED;
}

#endif

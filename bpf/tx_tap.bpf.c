/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tx_tap.bpf.c - what a process without privilege may send [design 6].
 *
 * Runs at the tc ingress of the TAP device of one process family, on each frame
 * that the process wrote. Lets through a whole UDP or TCP packet whose source
 * address and port belong to a socket of that family, as lrpd has seen it:
 * by the same maps that demultiplex what arrives. All else is dropped and
 * counted. The frame's link header is not looked at: the kernel itself finds the
 * next hop on the real device and fills it in, so that a route, a neighbour or
 * a MAC cannot be made up either.
 *
 * The second program, at the TAP's egress, drops everything: there is nothing
 * to be read from the descriptor.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "maps.h"
#include "tx_tap.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LRP_TX_TAPS);
	__type(key, __u32);
	__type(value, struct lrp_tx_tap);
} lrp_tx_taps SEC(".maps");

#define IP_FRAGMENT 0x3fff /* more fragments, or an offset */

struct ports {
	__be16 source, dest;
};

/* Channels of the first queue come first: an endpoint's number is that of its channel there. */
static __always_inline bool endpoint_of(__u32 endpoint, __u32 owner)
{
	struct lrp_channel *channel = bpf_map_lookup_elem(&lrp_channels, &endpoint);

	return channel && channel->flags & LRP_CHANNEL_ACTIVE && channel->owner == owner;
}

static __always_inline bool target_of(__u32 target, __u32 owner)
{
	struct lrp_group *group;

	if (!(target & LRP_TARGET_GROUP))
		return endpoint_of(target, owner);
	target &= ~LRP_TARGET_GROUP;
	group = bpf_map_lookup_elem(&lrp_groups, &target);
	if (!group)
		return false;
	for (__u32 i = 0; i < LRP_GROUP_MAX; i++) {
		if (i >= group->count)
			return false;
		if (endpoint_of(group->endpoint[i], owner))
			return true;
	}
	return false;
}

static __always_inline struct lrp_port *port_of(bool ipv6, __u8 proto, __be16 port)
{
	__u32 index = LRP_PORT_INDEX(ipv6, proto == IPPROTO_TCP, bpf_ntohs(port));

	return bpf_map_lookup_elem(&lrp_ports, &index);
}

static __always_inline bool local_on(const struct lrp_local *local, __u32 ifindex)
{
	return local && local->kind == LRP_LOCAL_UNICAST &&
	       (!local->ifindex || local->ifindex == ifindex);
}

enum verdict { UNKNOWN, MINE, OTHERS };

/* What the exact entry of a four-tuple says. */
static __always_inline enum verdict flow_verdict(const struct lrp_flow *flow, __u32 owner)
{
	struct lrp_end *end;
	__u32 index;

	if (!flow)
		return UNKNOWN;
	index = flow->end;
	end = bpf_map_lookup_elem(&lrp_ends, &index);
	if (index && (!end || end->generation != flow->generation))
		return UNKNOWN;
	return flow->owner == owner && endpoint_of(flow->endpoint, owner) ? MINE : OTHERS;
}

/*
 * In the order in which XDP looks: connections of the kernel and of other families are out of
 * bounds, whatever wildcard socket the sender has. No source but an address of this host passes.
 */
static __always_inline bool source4(const struct lrp_tx_tap *tap, const struct iphdr *ip,
				    const struct ports *ports)
{
	struct lrp_port *port = port_of(false, ip->protocol, ports->source);
	struct lrp_flow4 key = {.laddr = ip->saddr,
				.raddr = ip->daddr,
				.lport = ports->source,
				.rport = ports->dest,
				.proto = ip->protocol};
	enum verdict verdict = UNKNOWN;
	__be32 saddr = ip->saddr;

	if (!port || !port->flags ||
	    !local_on(bpf_map_lookup_elem(&lrp_local4, &saddr), tap->ifindex))
		return false;
	if (port->flags & LRP_PORT_KERNEL && bpf_map_lookup_elem(&lrp_kernel4, &key))
		return false;
	if (port->flags & LRP_PORT_FLOWS)
		verdict = flow_verdict(bpf_map_lookup_elem(&lrp_flows4, &key), tap->owner);
	if (verdict)
		return verdict == MINE;
	if (port->flags & LRP_PORT_BINDS) {
		struct lrp_bind4 bind = {
			.addr = saddr, .port = ports->source, .proto = ip->protocol};
		__u32 *target = bpf_map_lookup_elem(&lrp_binds4, &bind);

		if (target && target_of(*target, tap->owner))
			return true;
	}
	return port->flags & LRP_PORT_ANY && target_of(port->target, tap->owner);
}

static __always_inline bool source6(const struct lrp_tx_tap *tap, const struct ipv6hdr *ip,
				    const struct ports *ports)
{
	struct lrp_port *port = port_of(true, ip->nexthdr, ports->source);
	struct lrp_flow6 key = {.lport = ports->source, .rport = ports->dest, .proto = ip->nexthdr};
	enum verdict verdict = UNKNOWN;

	__builtin_memcpy(&key.laddr, &ip->saddr, sizeof(key.laddr));
	__builtin_memcpy(&key.raddr, &ip->daddr, sizeof(key.raddr));
	if (!port || !port->flags ||
	    !local_on(bpf_map_lookup_elem(&lrp_local6, &key.laddr), tap->ifindex))
		return false;
	if (port->flags & LRP_PORT_KERNEL && bpf_map_lookup_elem(&lrp_kernel6, &key))
		return false;
	if (port->flags & LRP_PORT_FLOWS)
		verdict = flow_verdict(bpf_map_lookup_elem(&lrp_flows6, &key), tap->owner);
	if (verdict)
		return verdict == MINE;
	if (port->flags & LRP_PORT_BINDS) {
		struct lrp_bind6 bind = {
			.addr = key.laddr, .port = ports->source, .proto = ip->nexthdr};
		__u32 *target = bpf_map_lookup_elem(&lrp_binds6, &bind);

		if (target && target_of(*target, tap->owner))
			return true;
	}
	return port->flags & LRP_PORT_ANY && target_of(port->target, tap->owner);
}

static __always_inline bool transport(__u8 proto)
{
	return proto == IPPROTO_UDP || proto == IPPROTO_TCP;
}

/*
 * Lengths must agree: a receiver must not find more in a packet than was
 * checked. Headers are copied, since they need not be in the linear part. The
 * counter of what is wrong, or NULL.
 */
static __always_inline __u64 *wrong4(struct __sk_buff *skb, struct lrp_tx_tap *tap)
{
	struct ports ports;
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)) || *(__u8 *)&ip != 0x45 ||
	    !transport(ip.protocol) || !ip.ttl || ip.frag_off & bpf_htons(IP_FRAGMENT) ||
	    bpf_ntohs(ip.tot_len) + (__u32)ETH_HLEN != skb->len ||
	    bpf_skb_load_bytes(skb, ETH_HLEN + sizeof(ip), &ports, sizeof(ports)))
		return &tap->dropped_malformed;
	return source4(tap, &ip, &ports) ? NULL : &tap->dropped_source;
}

static __always_inline __u64 *wrong6(struct __sk_buff *skb, struct lrp_tx_tap *tap)
{
	struct ports ports;
	struct ipv6hdr ip;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)) || ip.version != 6 ||
	    !transport(ip.nexthdr) || !ip.hop_limit ||
	    bpf_ntohs(ip.payload_len) + (__u32)sizeof(ip) + ETH_HLEN != skb->len ||
	    bpf_skb_load_bytes(skb, ETH_HLEN + sizeof(ip), &ports, sizeof(ports)))
		return &tap->dropped_malformed;
	return source6(tap, &ip, &ports) ? NULL : &tap->dropped_source;
}

SEC("tc")
int lrp_tx_check(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex, mtu = 0;
	struct lrp_tx_tap *tap = bpf_map_lookup_elem(&lrp_tx_taps, &ifindex);
	__u64 *wrong;

	if (!tap)
		return TC_ACT_SHOT;
	if (skb->protocol == bpf_htons(ETH_P_IP))
		wrong = wrong4(skb, tap);
	else if (skb->protocol == bpf_htons(ETH_P_IPV6))
		wrong = wrong6(skb, tap);
	else
		wrong = &tap->dropped_malformed;
	/* A redirect does not ask whether the frame fits the device. */
	if (!wrong && bpf_check_mtu(skb, tap->ifindex, &mtu, 0, BPF_MTU_CHK_SEGS))
		wrong = &tap->dropped_size;
	if (wrong) {
		__sync_fetch_and_add(wrong, 1);
		return TC_ACT_SHOT;
	}
	__sync_fetch_and_add(&tap->passed, 1);
	return (int)bpf_redirect_neigh(tap->ifindex, NULL, 0, 0);
}

SEC("tc")
int lrp_tx_mute(struct __sk_buff *skb)
{
	return TC_ACT_SHOT;
}

char _license[] SEC("license") = "Dual BSD/GPL";

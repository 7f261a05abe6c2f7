/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * proxy.h - which proxy a packet belongs to that would else pass to the kernel [3.5].
 *
 * The proxy hands the packet to the kernel's stack, which decides as it always does. So a packet
 * that is put on the wrong proxy's channel is charged to the wrong process, and nothing else.
 * Whether an address is the host's says the table that lrpd keeps (lrp_local4, lrp_local6), which
 * the demultiplexer has looked up already: bpf_fib_lookup() would cost some 100 ns more, and
 * answers for the tables of a gateway, not for local addresses.
 *
 * What passes all the same: what several frames would be needed for, or more than the MTU, since
 * a packet that the sender leaves to be segmented loses on its way how it is to be cut; and
 * on a virtual device packets whose checksum may be partial in a place that nobody can find
 * afterwards (other protocols than UDP, TCP, ICMP, IGMP; VXLAN and GENEVE).
 */
#ifndef LRP_BPF_PROXY_H
#define LRP_BPF_PROXY_H

#include "flow.h"
#include "maps.h"
#include "parse.h"

#define LRP_PORT_VXLAN	     4789
#define LRP_PORT_VXLAN_LINUX 8472 /* of Linux before the number was assigned */
#define LRP_PORT_GENEVE	     6081

#define LRP_PROXY_LINK_HEADERS 22u /* Ethernet and two VLAN tags */

#define LRP_PROXY_CODE(kind, class) ((int)((kind)*LRP_PROXY_CLASSES + (class)))
#define LRP_PROXY_NONE		    (-1)

/* The one look while no proxy is on. */
static __always_inline bool lrp_proxies_on(void)
{
	__u32 zero = 0;
	struct lrp_proxies *proxies = bpf_map_lookup_elem(&lrp_proxies, &zero);

	return proxies && *(volatile __u32 *)&proxies->on;
}

/* It has not said for a while that it lives. */
static __always_inline bool lrp_proxy_silent(const struct lrp_user *user)
{
	__s64 age = bpf_ktime_get_coarse_ns() - *(volatile __u64 *)&user->beat_ns;

	return age > (__s64)LRP_PROXY_PATIENCE_NS;
}

static __always_inline bool lrp_proxy_fits(struct xdp_md *ctx)
{
	__u32 zero = 0, length = bpf_xdp_get_buff_len(ctx);
	struct lrp_device *device = bpf_map_lookup_elem(&lrp_device, &zero);

	return device && length <= device->frame_payload &&
	       length <= device->mtu + LRP_PROXY_LINK_HEADERS;
}

/* ---- what it is ------------------------------------------------------------------- */

struct lrp_proxy_packet {
	struct lrp_transport transport;
	__u32 l3;
	bool ipv6;
	bool virtual;
	bool foreign; /* not for this host */
};

static __always_inline int lrp_proxy_arp(const struct lrp_device *device, const __u8 *mac)
{
	return LRP_PROXY_CODE(LRP_PROXY_ARP,
			      lrp_mac_equal(mac, device->mac) ? LRP_PROXY_FIRST : LRP_PROXY_REST);
}

/* An echo request is what floods are made of. Neighbour discovery, errors and what
 * answers this host's own questions must not drown in it. */
static __always_inline int lrp_proxy_icmp(struct xdp_md *ctx, const struct lrp_proxy_packet *packet)
{
	const struct lrp_transport *transport = &packet->transport;
	__u8 *icmp = lrp_header_at(lrp_data(ctx), transport->offset);
	int class = LRP_PROXY_REST;

	if (transport->whole == LRP_WHOLE && transport->offset <= LRP_OFFSET_MAX &&
	    (void *)(icmp + 1) <= lrp_data_end(ctx) &&
	    (transport->proto == IPPROTO_IGMP || icmp[0] != (packet->ipv6 ? 128 : 8)))
		class = LRP_PROXY_FIRST;
	return LRP_PROXY_CODE(LRP_PROXY_ICMP, class);
}

/* A frame within a UDP packet: its inner checksum may be partial. */
static __always_inline bool lrp_proxy_tunnel(struct xdp_md *ctx,
					     const struct lrp_transport *transport)
{
	struct lrp_ports_header *ports;
	bool syn;
	__u16 port;

	if (transport->proto != IPPROTO_UDP || transport->whole == LRP_FRAGMENT_LATER)
		return false;
	ports = lrp_parse_ports(transport, lrp_data(ctx), lrp_data_end(ctx), &syn);
	port = ports ? bpf_ntohs(ports->dest) : 0;
	return port == LRP_PORT_VXLAN || port == LRP_PORT_VXLAN_LINUX || port == LRP_PORT_GENEVE;
}

static __always_inline int lrp_proxy_host(struct xdp_md *ctx, const struct lrp_proxy_packet *packet)
{
	struct lrp_proxies *proxies;
	struct lrp_ports_header *ports;
	__u32 zero = 0, port;
	bool syn;

	if ((packet->transport.proto == IPPROTO_UDP || packet->transport.proto == IPPROTO_TCP) &&
	    packet->transport.whole != LRP_FRAGMENT_LATER) {
		proxies = bpf_map_lookup_elem(&lrp_proxies, &zero);
		ports = lrp_parse_ports(&packet->transport, lrp_data(ctx), lrp_data_end(ctx), &syn);
		port = ports ? bpf_ntohs(ports->dest) : 0;
		if (proxies && proxies->port[(port >> 6) & 1023] & 1ull << (port & 63))
			return LRP_PROXY_CODE(LRP_PROXY_HOST, LRP_PROXY_FIRST);
	}
	return LRP_PROXY_CODE(LRP_PROXY_HOST, LRP_PROXY_REST);
}

/* After the IP header has been parsed. A global function: see parse.h. */
__noinline int lrp_proxy_ip(struct xdp_md *ctx, const struct lrp_proxy_packet *packet)
{
	__u8 proto;

	if (!packet)
		return LRP_PROXY_NONE;
	proto = packet->transport.proto;
	if (packet->virtual && proto != IPPROTO_UDP && proto != IPPROTO_TCP &&
	    proto != IPPROTO_ICMP && proto != IPPROTO_ICMPV6 && proto != IPPROTO_IGMP)
		return LRP_PROXY_NONE;
	if (packet->virtual && lrp_proxy_tunnel(ctx, &packet->transport))
		return LRP_PROXY_NONE;
	if (packet->foreign)
		return LRP_PROXY_CODE(LRP_PROXY_FORWARD, LRP_PROXY_REST);
	if (proto == (packet->ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP) ||
	    (proto == IPPROTO_IGMP && !packet->ipv6))
		return lrp_proxy_icmp(ctx, packet);
	return lrp_proxy_host(ctx, packet);
}

/* LRP_PROXY_CODE() of the proxy, LRP_PROXY_NONE: none. `reason`: why the packet passes. */
__noinline int lrp_proxy_find(struct xdp_md *ctx, __u32 reason)
{
	void *data = lrp_data(ctx), *data_end = lrp_data_end(ctx);
	struct lrp_proxy_packet packet = {};
	struct lrp_device *device;
	__u32 zero = 0, l3;
	__be16 type;
	int bad;

	device = bpf_map_lookup_elem(&lrp_device, &zero);
	if (!device || !(device->flags & LRP_DEVICE_PROXIED))
		return LRP_PROXY_NONE;
	if (lrp_parse_ethernet(device, data, data_end, &l3, &type))
		return LRP_PROXY_CODE(LRP_PROXY_HOST, LRP_PROXY_REST);
	if (type == bpf_htons(ETH_P_ARP) || type == bpf_htons(ETH_P_RARP))
		return lrp_proxy_arp(device, data);
	/* A unicast frame to another station, seen by a promiscuous interface, is not forwarded. */
	packet.foreign = reason == LRP_XDP_PASS_ADDRESS && lrp_mac_equal(data, device->mac);
	packet.virtual = device->flags & LRP_DEVICE_VIRTUAL;
	if (type == bpf_htons(ETH_P_IP)) {
		bad = lrp_parse_ipv4(ctx, data, data_end, l3, &packet.transport);
	} else if (type == bpf_htons(ETH_P_IPV6)) {
		packet.ipv6 = true;
		bad = lrp_parse_ipv6(ctx, data, data_end, l3, &packet.transport);
	} else {
		return LRP_PROXY_CODE(LRP_PROXY_HOST, LRP_PROXY_REST);
	}
	if (bad)
		return LRP_PROXY_CODE(LRP_PROXY_HOST, LRP_PROXY_REST);
	return lrp_proxy_ip(ctx, &packet);
}

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * lrp_xdp.bpf.c - the NI's side of LRP: demultiplexing and early discard
 * [design 3, 4; section 3.2 of the paper].
 *
 * For each packet: is it ours, whose is it, may it join the channel; then it is
 * redirected to the channel's AF_XDP socket, dropped, or left to the kernel's
 * stack. All this happens before the packet is copied. Every packet is counted
 * once in lrp_reasons; the sum over all reasons is the number of packets seen.
 *
 * It allocates nothing (but an LRU element for a datagram in fragments), never sleeps
 * and keeps no timers. Each attached device has its own instance.
 *
 * Parameters (rodata, to be set before loading):
 *   lrp_concurrent  several CPUs can be in the program for one queue (discard.h)
 *
 * Needs Linux 6.1: no kfuncs, no bpf_loop, no dynptrs; -mcpu=v3 for atomics. Who loads it needs
 * CAP_PERFMON beside CAP_BPF and CAP_NET_ADMIN: without it the verifier refuses packet pointers
 * at offsets that it does not know as constants (tried on 6.18).
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "discard.h"
#include "flow.h"
#include "fragment.h"
#include "maps.h"
#include "parse.h"
#include "proxy.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* To the endpoint's channel on this queue, if it takes the packet. */
__noinline int lrp_deliver(struct xdp_md *ctx, __u32 endpoint, __u32 owner, __u32 found)
{
	__u32 zero = 0, queue = ctx->rx_queue_index, id, frames, length, flags;
	struct lrp_device *device = bpf_map_lookup_elem(&lrp_device, &zero);
	enum lrp_xdp_reason reason;
	struct lrp_channel *channel;
	struct lrp_user *user;

	/* an endpoint beyond the stride would be a channel of the next queue */
	if (!device || endpoint >= device->endpoints)
		return LRP_XDP_PASS_INACTIVE;
	id = queue * device->endpoints + endpoint;
	channel = bpf_map_lookup_elem(&lrp_channels, &id);
	if (!channel || !(*(volatile __u32 *)&channel->flags & LRP_CHANNEL_ACTIVE))
		return LRP_XDP_PASS_INACTIVE;
	if (found & LRP_FOUND_OWNED && owner != channel->owner)
		return LRP_XDP_DROP_OWNER;
	user = lrp_user_of(channel);
	if (!user || (found & LRP_FOUND_PROXY && lrp_proxy_silent(user)))
		return LRP_XDP_PASS_INACTIVE;

	/* no process has a say in what becomes of orphans */
	flags = found & LRP_FOUND_ORPHAN ? 0 : *(volatile __u32 *)&user->flags;
	if (flags & LRP_USER_CLOSED) {
		LRP_COUNT(channel->drop_closed, 1);
		return LRP_XDP_DROP_CLOSED;
	}
	if (flags & LRP_USER_CONNECTED && !(found & LRP_FOUND_EXACT))
		return LRP_XDP_PASS_PEER;
	if (flags & LRP_USER_BACKLOG && found & LRP_FOUND_SYN) {
		LRP_COUNT(channel->drop_backlog, 1);
		return LRP_XDP_DROP_BACKLOG;
	}
	reason = lrp_discard(ctx, device, channel, user, queue, &frames, &length);
	if (reason) {
		if (found & LRP_FOUND_ORPHAN)
			return reason; /* not dropped: it passes */
		if (reason == LRP_XDP_DROP_FULL)
			LRP_COUNT(channel->drop_full, 1);
		else
			LRP_COUNT(channel->drop_surplus, 1);
		return reason;
	}
	/*
	 * The flags are the action for a missing entry: one lookup finds the socket,
	 * and keeps it until the packet is on its ring. A lookup of our own before
	 * would cost as much again, and the entry could vanish in between.
	 */
	if (bpf_redirect_map(&lrp_xsks, id, XDP_DROP) != XDP_REDIRECT)
		return LRP_XDP_DROP_REDIRECT;
	LRP_COUNT(channel->enqueued, frames);
	LRP_COUNT(channel->packets, 1);
	LRP_COUNT(channel->bytes, length);
	return LRP_XDP_ENQUEUED;
}

/* What the two families have in common between "it is ours" and "whose is it". */
struct lrp_receive {
	struct lrp_transport transport;
	struct lrp_target target;
	bool ipv6;
	bool leads; /* first fragment of a datagram that is addressed to us */
};

static __always_inline bool lrp_tuple_get(struct lrp_receive *receive, void *data, void *data_end,
					  __u8 cast, struct lrp_tuple *tuple)
{
	struct lrp_ports_header *ports;
	bool syn;

	ports = lrp_parse_ports(&receive->transport, data, data_end, &syn);
	if (!ports)
		return false;
	tuple->sport = ports->source;
	tuple->dport = ports->dest;
	tuple->proto = receive->transport.proto;
	tuple->cast = cast;
	if (syn)
		receive->target.found |= LRP_FOUND_SYN;
	return true;
}

static __always_inline enum lrp_xdp_reason lrp_demux4(struct xdp_md *ctx,
						      const struct lrp_device *device, void *data,
						      void *data_end, __u32 l3,
						      struct lrp_receive *receive)
{
	struct lrp_transport *transport = &receive->transport;
	struct iphdr *ip = data + l3;
	enum lrp_xdp_reason reason;
	struct lrp_tuple tuple;
	__u8 cast;

	reason = lrp_parse_ipv4(ctx, data, data_end, l3, transport);
	if (reason)
		return reason;
	reason = lrp_ours4(device, data, ip, &cast);
	if (reason)
		return reason;
	if (transport->proto == IPPROTO_UDP ||
	    (transport->proto == IPPROTO_TCP && cast == LRP_CAST_UNICAST)) {
		receive->leads = transport->whole == LRP_FRAGMENT_FIRST;
		if (transport->whole == LRP_FRAGMENT_LATER)
			reason = lrp_fragment_follow(ctx, l3, false, transport, &receive->target);
		else if (!lrp_tuple_get(receive, data, data_end, cast, &tuple))
			reason = LRP_XDP_PASS_MALFORMED;
		else
			reason = lrp_flow_find4(device, ip, &tuple, &receive->target);
	} else if (transport->proto == IPPROTO_ICMP && transport->whole == LRP_WHOLE &&
		   cast == LRP_CAST_UNICAST) {
		reason = lrp_icmp4(ctx, l3, transport->offset, transport->room, &receive->target);
	} else {
		return LRP_XDP_PASS_PROTOCOL;
	}
	if (!reason && lrp_martian4(device, ip))
		return LRP_XDP_DROP_MARTIAN;
	return reason;
}

static __always_inline enum lrp_xdp_reason lrp_demux6(struct xdp_md *ctx,
						      const struct lrp_device *device, void *data,
						      void *data_end, __u32 l3,
						      struct lrp_receive *receive)
{
	struct lrp_transport *transport = &receive->transport;
	struct ipv6hdr *ip = data + l3;
	enum lrp_xdp_reason reason;
	struct lrp_tuple tuple;
	__u8 cast;

	reason = lrp_parse_ipv6(ctx, data, data_end, l3, transport);
	if (reason)
		return reason;
	reason = lrp_ours6(device, data, ip, &cast);
	if (reason)
		return reason;
	receive->leads =
		transport->whole == LRP_FRAGMENT_FIRST && lrp_fragment_followed(transport, true);
	if (transport->whole == LRP_FRAGMENT_LATER) {
		if (!lrp_fragment_followed(transport, true) ||
		    (transport->proto == IPPROTO_TCP && cast != LRP_CAST_UNICAST))
			return LRP_XDP_PASS_PROTOCOL;
		reason = lrp_fragment_follow(ctx, l3, true, transport, &receive->target);
	} else if (transport->proto == IPPROTO_UDP ||
		   (transport->proto == IPPROTO_TCP && cast == LRP_CAST_UNICAST)) {
		if (!lrp_tuple_get(receive, data, data_end, cast, &tuple))
			reason = LRP_XDP_PASS_MALFORMED;
		else
			reason = lrp_flow_find6(device, ip, &tuple, &receive->target);
	} else if (transport->proto == IPPROTO_ICMPV6 && transport->whole == LRP_WHOLE &&
		   cast == LRP_CAST_UNICAST) {
		reason = lrp_icmp6(ctx, l3, transport->offset, transport->room, &receive->target);
	} else {
		return LRP_XDP_PASS_PROTOCOL;
	}
	if (!reason && lrp_martian6(device, ip))
		return LRP_XDP_DROP_MARTIAN;
	return reason;
}

static __always_inline bool lrp_reason_passes(__u32 reason)
{
	return reason >= LRP_XDP_PASS_PROTOCOL && reason < LRP_XDP_DROP_FULL;
}

/* A first fragment; `reason` is what the demultiplexer has said. */
__noinline int lrp_receive_first(struct xdp_md *ctx, __u32 l3, struct lrp_receive *receive,
				 __u32 reason)
{
	__u32 way;

	if (!receive || reason >= LRP_XDP_DROP_FULL)
		return reason;
	way = reason ? LRP_FRAGMENT_KERNEL : receive->target.endpoint;
	way = lrp_fragment_lead(ctx, l3, receive->ipv6, way, &receive->transport);
	if (reason)
		return reason;
	if (way == LRP_FRAGMENT_KERNEL)
		return LRP_XDP_PASS_FRAGMENT;
	reason = lrp_deliver(ctx, way, receive->target.owner, receive->target.found);
	/* the later ones are not tested for the owner */
	if (lrp_reason_passes(reason) || reason == LRP_XDP_DROP_OWNER)
		lrp_fragment_lead(ctx, l3, receive->ipv6, LRP_FRAGMENT_KERNEL, &receive->transport);
	return reason;
}

__noinline int lrp_receive_orphan(struct xdp_md *ctx, __u32 l3, struct lrp_receive *receive)
{
	__u32 way;

	if (!receive)
		return LRP_XDP_PASS_ORPHAN;
	way = lrp_fragment_orphan(ctx, l3, receive->ipv6, &receive->transport, false);
	if (way == LRP_FRAGMENT_STORED) {
		if (!lrp_deliver(ctx, LRP_ENDPOINT_FRAGMENT, 0, LRP_FOUND_ORPHAN))
			return LRP_XDP_ENQUEUED;
		way = lrp_fragment_orphan(ctx, l3, receive->ipv6, &receive->transport, true);
	}
	/* its first has come meanwhile */
	if (way < LRP_FRAGMENT_NONE)
		return lrp_deliver(ctx, way, 0, LRP_FOUND_EXACT);
	return LRP_XDP_PASS_ORPHAN;
}

static __always_inline enum lrp_xdp_reason lrp_receive(struct xdp_md *ctx)
{
	void *data = lrp_data(ctx), *data_end = lrp_data_end(ctx);
	struct lrp_receive receive = {};
	enum lrp_xdp_reason reason;
	struct lrp_device *device;
	__u32 zero = 0,
	      l3; /* not in `receive`: Linux 6.1's verifier would lose what it knows about it */
	__be16 type;

	device = bpf_map_lookup_elem(&lrp_device, &zero);
	if (!device)
		return LRP_XDP_PASS_INACTIVE;
	reason = lrp_parse_ethernet(device, data, data_end, &l3, &type);
	if (reason)
		return reason;
	if (type == bpf_htons(ETH_P_IP)) {
		reason = lrp_demux4(ctx, device, data, data_end, l3, &receive);
	} else if (type == bpf_htons(ETH_P_IPV6)) {
		receive.ipv6 = true;
		reason = lrp_demux6(ctx, device, data, data_end, l3, &receive);
	} else {
		return LRP_XDP_PASS_PROTOCOL;
	}
	if (receive.leads)
		return lrp_receive_first(ctx, l3, &receive, reason);
	if (receive.target.found & LRP_FOUND_ORPHAN && !reason)
		return lrp_receive_orphan(ctx, l3, &receive);
	if (!reason) {
		reason = lrp_deliver(ctx, receive.target.endpoint, receive.target.owner,
				     receive.target.found);
		if (receive.transport.whole == LRP_FRAGMENT_LATER && lrp_reason_passes(reason))
			lrp_fragment_pass(ctx, l3, receive.ipv6, &receive.transport);
	}
	return reason;
}

/* To the channel of the proxy whose packet it is, which would else pass for this reason. */
__noinline int lrp_proxy(struct xdp_md *ctx, __u32 reason)
{
	struct lrp_proxies *proxies;
	__u32 zero = 0, kind, endpoint;
	int found, delivered;

	proxies = bpf_map_lookup_elem(&lrp_proxies, &zero);
	found = lrp_proxy_find(ctx, reason);
	if (!proxies || found < 0)
		return reason;
	kind = (__u32)found / LRP_PROXY_CLASSES;
	if (kind >= LRP_PROXY_COUNT || !(*(volatile __u32 *)&proxies->on & 1u << kind))
		return reason;
	endpoint = *(volatile __u32 *)&proxies->endpoint[kind][found & 1];
	delivered = LRP_XDP_PASS_INACTIVE;
	if (endpoint && lrp_proxy_fits(ctx))
		delivered = lrp_deliver(ctx, endpoint, 0, LRP_FOUND_PROXY);
	if (!lrp_reason_passes(delivered))
		return delivered;
	__sync_fetch_and_add(&proxies->direct[kind], 1);
	return reason;
}

/* The guard of this interface, if there is one [guard.h]. lrpd fills the slot. When lrpd dies the
 * kernel empties it. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} lrp_guard_next SEC(".maps");

SEC("xdp.frags")
int lrp_xdp(struct xdp_md *ctx)
{
	__u32 reason = lrp_receive(ctx);
	__u64 *count;

	if (lrp_reason_passes(reason) && lrp_proxies_on())
		reason = lrp_proxy(ctx, reason);
	count = bpf_map_lookup_elem(&lrp_reasons, &reason);
	if (count)
		(*count)++; /* per CPU, and XDP does not interrupt itself */
	if (reason == LRP_XDP_ENQUEUED)
		return XDP_REDIRECT;
	if (reason >= LRP_XDP_DROP_FULL)
		return XDP_DROP;
	bpf_tail_call(ctx, &lrp_guard_next, 0);
	return XDP_PASS;
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * fragment.h - where the fragments of a datagram go [design 3.2 of the paper, 4].
 *
 * The first fragment has the transport header: it is demultiplexed like any
 * packet and leaves its endpoint in lrp_fragments; later ones follow it. One that
 * comes before its first goes to the fragment endpoint with the time of its
 * arrival, where reassembly looks for what it misses. A first fragment that is the kernel's
 * is remembered as well, so that the others follow it there.
 */
#ifndef LRP_BPF_FRAGMENT_H
#define LRP_BPF_FRAGMENT_H

#include "flow.h"
#include "maps.h"
#include "parse.h"

/* The datagram that a fragment belongs to. `transport` has id and next header of the fragment
 * header, IPv6. */
static __always_inline bool lrp_fragment_key(void *l3, void *data_end, bool ipv6, __u32 id,
					     __u8 proto, struct lrp_fragment_key *key)
{
	__builtin_memset(key, 0, sizeof(*key));
	if (ipv6) {
		struct ipv6hdr *ip = l3;

		if ((void *)(ip + 1) > data_end)
			return false;
		__builtin_memcpy(&key->saddr, &ip->saddr, sizeof(key->saddr));
		__builtin_memcpy(&key->daddr, &ip->daddr, sizeof(key->daddr));
		key->family = 6;
	} else {
		struct iphdr *ip = l3;

		if ((void *)(ip + 1) > data_end)
			return false;
		key->saddr.byte[10] = 0xff;
		key->saddr.byte[11] = 0xff;
		__builtin_memcpy(&key->saddr.byte[12], &ip->saddr, 4);
		key->daddr.byte[10] = 0xff;
		key->daddr.byte[11] = 0xff;
		__builtin_memcpy(&key->daddr.byte[12], &ip->daddr, 4);
		key->family = 4;
	}
	key->id = id;
	key->proto = proto;
	return true;
}

/* Only datagrams that can turn out to be UDP or TCP are followed: in IPv6 an extension header
 * can come first in the part that was cut. */
static __always_inline bool lrp_fragment_followed(const struct lrp_transport *transport, bool ipv6)
{
	__u8 proto = transport->fragment_proto;

	if (proto == IPPROTO_UDP || proto == IPPROTO_TCP)
		return true;
	return ipv6 &&
	       (proto == IPPROTO_DSTOPTS || proto == IPPROTO_ROUTING || proto == IPPROTO_AH);
}

/* A first fragment went to `endpoint` (or LRP_FRAGMENT_KERNEL). */
__noinline int lrp_fragment_lead(struct xdp_md *ctx, __u32 l3, bool ipv6, __u32 endpoint,
				 const struct lrp_transport *transport)
{
	struct lrp_fragment where = {.endpoint = endpoint};
	struct lrp_fragment_key key;

	if (!transport || l3 > LRP_OFFSET_MAX ||
	    !lrp_fragment_key(lrp_header_at(lrp_data(ctx), l3), lrp_data_end(ctx), ipv6,
			      transport->id, transport->fragment_proto, &key))
		return -1;
	/* LRU: refused only when other CPUs have all elements in hand at this moment; the later
	 * fragments then go to the fragment endpoint and are found there */
	return bpf_map_update_elem(&lrp_fragments, &key, &where, BPF_ANY);
}

/* Later fragments go where the first one went. */
__noinline int lrp_fragment_follow(struct xdp_md *ctx, __u32 l3, bool ipv6,
				   const struct lrp_transport *transport, struct lrp_target *target)
{
	struct lrp_fragment_key key;
	struct lrp_fragment *where;

	if (!transport || !target || l3 > LRP_OFFSET_MAX ||
	    !lrp_fragment_key(lrp_header_at(lrp_data(ctx), l3), lrp_data_end(ctx), ipv6,
			      transport->id, transport->fragment_proto, &key))
		return LRP_XDP_PASS_MALFORMED;
	where = bpf_map_lookup_elem(&lrp_fragments, &key);
	if (!where) {
		target->endpoint = LRP_ENDPOINT_FRAGMENT;
		target->found = LRP_FOUND_ORPHAN;
		return LRP_XDP_ENQUEUED;
	}
	target->endpoint = where->endpoint;
	/* the first one has passed the test for the peer, so these do as well */
	target->found = LRP_FOUND_EXACT;
	return where->endpoint == LRP_FRAGMENT_KERNEL ? LRP_XDP_PASS_FRAGMENT : LRP_XDP_ENQUEUED;
}

/* Puts the time of arrival before the packet. Packet pointers are invalid after this. */
static __always_inline bool lrp_fragment_stamp(struct xdp_md *ctx)
{
	struct lrp_fragment_meta *meta;

	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(*meta)))
		return false;
	meta = (void *)(long)ctx->data_meta;
	if ((void *)(meta + 1) > (void *)(long)ctx->data)
		return false;
	meta->arrival_ns = bpf_ktime_get_ns();
	return true;
}

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * parse.h - from the link header to the transport header, in bounds.
 *
 * Functions return LRP_XDP_ENQUEUED (0) for "go on", else the reason why the
 * packet is not for LRP. Nothing is trusted: every pointer is compared with
 * data_end before it is read, and every header must also lie inside the length
 * that the IP header claims, which must itself lie inside the packet. Headers
 * must be in the linear part of a packet of several frames.
 *
 * What is rare and branches much is a global function (neither static nor
 * inline): the verifier looks at it once by itself, and not once for every way
 * that leads to it.
 */
#ifndef LRP_BPF_PARSE_H
#define LRP_BPF_PARSE_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include <lrp/abi.h>

#define LRP_VLAN_DEPTH	    2 /* tags that are walked: VLAN and QinQ */
#define LRP_EXTENSION_DEPTH 6 /* IPv6 extension headers that are walked */

#define LRP_UDP_HEADER	8u
#define LRP_TCP_HEADER	20u
#define LRP_ICMP_HEADER 8u

enum lrp_whole {
	LRP_WHOLE,	    /* not a fragment, or an atomic one */
	LRP_FRAGMENT_FIRST, /* with the transport header; more follow */
	LRP_FRAGMENT_LATER, /* without */
};

struct lrp_vlan_header {
	__be16 tci;
	__be16 type;
};

struct lrp_fragment_header {
	__u8 nexthdr;
	__u8 reserved;
	__be16 offset; /* 13 bits, 2 reserved, more */
	__be32 id;
};

struct lrp_extension_header {
	__u8 nexthdr;
	__u8 length;
	__u8 type;	    /* of a routing header */
	__u8 segments_left; /* of a routing header */
};

struct lrp_ports_header {
	__be16 source;
	__be16 dest;
};

/* What the IP layer found. */
struct lrp_transport {
	__u32 offset; /* from the packet's start to UDP, TCP, ICMP or a later fragment's payload */
	__u32 room;   /* bytes of IP payload from `offset` on, as the IP header claims */
	__u32 id;     /* of a fragment, network order */
	__u8 proto;   /* of the transport header; of a later fragment: as its header says */
	__u8 fragment_proto; /* of a fragment: next header of the fragment header */
	__u8 whole;	     /* enum lrp_whole */
	__u8 pad;
};

#define LRP_OFFSET_MAX 0x3fffu /* headers lie before this; lets the verifier bound them */

static __always_inline void *lrp_data(struct xdp_md *ctx)
{
	return (void *)(long)ctx->data;
}

static __always_inline void *lrp_data_end(struct xdp_md *ctx)
{
	return (void *)(long)ctx->data_end;
}

/* A header at an offset that was handed over as a number. The mask changes nothing but what
 * the verifier knows; the empty asm keeps the compiler from seeing that. */
static __always_inline void *lrp_header_at(void *data, __u32 offset)
{
	asm volatile("" : "+r"(offset));
	return data + (offset & LRP_OFFSET_MAX);
}

/* Whether the host uses this outer VLAN id. Linux 6.1's verifier forgets that a byte-swapped number has
 * 16 bits: the mask tells it, and the empty asm keeps the compiler from knowing better. */
static __always_inline bool lrp_vlan_ours(const struct lrp_device *device, __u16 vid)
{
	__u32 word = vid >> 6;

	asm volatile("" : "+r"(word));
	return device->vlans[word & (LRP_VLAN_WORDS - 1)] & 1ull << (vid & 63);
}

/* Steps over VLAN tags. *offset and *type are those of the network header. */
static __always_inline enum lrp_xdp_reason lrp_parse_ethernet(const struct lrp_device *device,
							      void *data, void *data_end,
							      __u32 *offset, __be16 *type)
{
	struct ethhdr *eth = data;

	if ((void *)(eth + 1) > data_end)
		return LRP_XDP_PASS_MALFORMED;
	*offset = sizeof(*eth);
	*type = *(__be16 *)(data +
			    offsetof(struct ethhdr, h_proto)); /* ethhdr is packed: bytes else */
	if (*type == bpf_htons(ETH_P_IP) || *type == bpf_htons(ETH_P_IPV6))
		return LRP_XDP_ENQUEUED;

#pragma unroll
	for (int depth = 0; depth <= LRP_VLAN_DEPTH; depth++) {
		struct lrp_vlan_header *tag = data + *offset;
		__u16 vid;

		if (*type != bpf_htons(ETH_P_8021Q) && *type != bpf_htons(ETH_P_8021AD))
			return LRP_XDP_ENQUEUED;
		if (depth == LRP_VLAN_DEPTH)
			return LRP_XDP_PASS_TUNNEL;
		if ((void *)(tag + 1) > data_end)
			return LRP_XDP_PASS_MALFORMED;
		vid = bpf_ntohs(tag->tci) & 0xfff;
		/* id 0 is a priority tag: the frame is in no VLAN */
		if (depth == 0 && vid && !lrp_vlan_ours(device, vid))
			return LRP_XDP_PASS_VLAN;
		*offset += sizeof(*tag);
		*type = tag->type;
	}
	return LRP_XDP_ENQUEUED;
}

/* True if the packet has `length` bytes. Only a packet of several frames, and one that lies,
 * needs the helper. */
static __always_inline bool lrp_parse_fits(struct xdp_md *ctx, void *data, void *data_end,
					   __u32 length)
{
	return data + length <= data_end || length <= bpf_xdp_get_buff_len(ctx);
}

static __always_inline enum lrp_xdp_reason lrp_parse_ipv4(struct xdp_md *ctx, void *data,
							  void *data_end, __u32 l3,
							  struct lrp_transport *transport)
{
	struct iphdr *ip = data + l3;
	__u32 header_len, total_len, offset;
	__u16 frag;

	if ((void *)(ip + 1) > data_end)
		return LRP_XDP_PASS_MALFORMED;
	header_len = ip->ihl * 4;
	total_len = bpf_ntohs(ip->tot_len);
	if (ip->version != 4 || header_len < sizeof(*ip) || total_len < header_len)
		return LRP_XDP_PASS_MALFORMED;
	if (!lrp_parse_fits(ctx, data, data_end, l3 + total_len))
		return LRP_XDP_PASS_MALFORMED;
	transport->offset = l3 + header_len;
	transport->room = total_len - header_len;
	transport->proto = ip->protocol;
	transport->fragment_proto = ip->protocol;
	transport->whole = LRP_WHOLE;
	frag = bpf_ntohs(ip->frag_off);
	if (frag & 0x3fff) {
		transport->id = ip->id;
		offset = (frag & 0x1fff) * 8;
		/* the datagram would be longer than a datagram can be */
		if (offset + total_len > 0xffff)
			return LRP_XDP_PASS_MALFORMED;
		transport->whole = offset ? LRP_FRAGMENT_LATER : LRP_FRAGMENT_FIRST;
	}
	return LRP_XDP_ENQUEUED;
}

/*
 * The extension headers, RFC 8200 section 4. On entry `transport` says where the first
 * one is; at the end, where what follows the last one is.
 */
__noinline int lrp_parse_extensions(struct xdp_md *ctx, struct lrp_transport *transport)
{
	void *data = lrp_data(ctx), *data_end = lrp_data_end(ctx);
	__u32 offset, room, length;
	__u8 proto;

	if (!transport)
		return LRP_XDP_PASS_MALFORMED;
	offset = transport->offset;
	room = transport->room;
	proto = transport->proto;

	for (int depth = 0; depth <= LRP_EXTENSION_DEPTH; depth++) {
		struct lrp_extension_header *extension;
		struct lrp_fragment_header *fragment;
		__u16 frag;

		if (proto != IPPROTO_HOPOPTS && proto != IPPROTO_ROUTING &&
		    proto != IPPROTO_DSTOPTS && proto != IPPROTO_AH && proto != IPPROTO_FRAGMENT)
			break;
		if (depth == LRP_EXTENSION_DEPTH || offset > LRP_OFFSET_MAX)
			return LRP_XDP_PASS_TUNNEL;
		extension = lrp_header_at(data, offset);
		fragment = (void *)extension;
		/* every extension header has 8 bytes at least */
		if ((void *)(fragment + 1) > data_end || room < sizeof(*fragment))
			return LRP_XDP_PASS_MALFORMED;
		if (proto == IPPROTO_HOPOPTS && depth)
			return LRP_XDP_PASS_MALFORMED; /* must be the first */
		/* not at its last destination: the kernel decides whether it goes on */
		if (proto == IPPROTO_ROUTING && extension->segments_left)
			return LRP_XDP_PASS_PROTOCOL;
		if (proto == IPPROTO_FRAGMENT) {
			length = sizeof(*fragment);
			frag = bpf_ntohs(fragment->offset);
			if (frag & 0xfff9) {
				if (transport->whole != LRP_WHOLE)
					return LRP_XDP_PASS_MALFORMED; /* a fragment of a fragment */
				/* the datagram would be longer than a datagram can be */
				if ((frag & 0xfff8) + room - length > 0xffff)
					return LRP_XDP_PASS_MALFORMED;
				transport->id = fragment->id;
				transport->fragment_proto = fragment->nexthdr;
				transport->whole =
					frag & 0xfff8 ? LRP_FRAGMENT_LATER : LRP_FRAGMENT_FIRST;
			}
		} else if (proto == IPPROTO_AH) {
			length = (extension->length + 2) * 4;
		} else {
			length = (extension->length + 1) * 8;
		}
		if (room < length)
			return LRP_XDP_PASS_MALFORMED;
		proto = extension->nexthdr;
		offset += length;
		room -= length;
		if (transport->whole == LRP_FRAGMENT_LATER)
			break; /* what follows is payload, whatever it looks like */
	}
	transport->offset = offset;
	transport->room = room;
	transport->proto = proto;
	return LRP_XDP_ENQUEUED;
}

static __always_inline enum lrp_xdp_reason lrp_parse_ipv6(struct xdp_md *ctx, void *data,
							  void *data_end, __u32 l3,
							  struct lrp_transport *transport)
{
	struct ipv6hdr *ip = data + l3;

	if ((void *)(ip + 1) > data_end || ip->version != 6)
		return LRP_XDP_PASS_MALFORMED;
	transport->offset = l3 + sizeof(*ip);
	/* a jumbogram's length of 0 leaves no room for a transport header */
	transport->room = bpf_ntohs(ip->payload_len);
	transport->proto = ip->nexthdr;
	transport->whole = LRP_WHOLE;
	if (!lrp_parse_fits(ctx, data, data_end, transport->offset + transport->room))
		return LRP_XDP_PASS_MALFORMED;
	if (transport->proto == IPPROTO_UDP || transport->proto == IPPROTO_TCP)
		return LRP_XDP_ENQUEUED;
	return lrp_parse_extensions(ctx, transport);
}

/* The ports of a UDP or TCP header that is complete and in bounds, else NULL.
 * *syn: it is a pure SYN, which asks for a connection. */
static __always_inline struct lrp_ports_header *
lrp_parse_ports(const struct lrp_transport *transport, void *data, void *data_end, bool *syn)
{
	void *header = lrp_header_at(data, transport->offset);

	*syn = false;
	if (transport->offset > LRP_OFFSET_MAX || transport->room < LRP_UDP_HEADER ||
	    header + LRP_UDP_HEADER > data_end)
		return NULL;
	if (transport->proto == IPPROTO_TCP) {
		if (transport->room < LRP_TCP_HEADER || header + LRP_TCP_HEADER > data_end)
			return NULL;
		*syn = (((__u8 *)header)[13] & 0x17) == 0x02; /* without ACK, RST, FIN */
	}
	return header;
}

#endif

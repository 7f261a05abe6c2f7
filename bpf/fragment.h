/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * fragment.h - where the fragments of a datagram go [design 3.2 of the paper, 4].
 *
 * All fragments of a datagram go one way. The first fragment has the transport header: it is
 * demultiplexed like any packet and leaves its endpoint as a mark in lrp_fragments, which the
 * later ones follow. A later fragment that comes before its first is an orphan. It is stored on
 * the fragment endpoint, where reassembly looks for what it misses, or it passes to the kernel.
 * Once one fragment has passed to the kernel the mark says so, and the others follow it there,
 * the first included. The datagram then reaches an LRP socket through its shadow.
 *
 * An orphan is stored only while some LRP socket could want it, while the budgets of its source
 * and of the host last, and while the fragment channel has room. A fragment for which no mark can
 * be made passes.
 *
 * TCP is different in two respects. LRP takes no TCP segment in fragments, so its orphans are
 * never stored. And the shadow cannot deliver a segment, but the kernel would answer it with a
 * reset: so a first fragment of TCP goes where its ports say, whatever the mark.
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

/* ---- marks ---------------------------------------------------------------- */

/* Which marks of others stay as they are. */
enum {
	LRP_KEEP_ENDPOINT = 1 << 0,
	LRP_KEEP_STORED = 1 << 1,
	LRP_KEEP_PASSED = 1 << 2,
	LRP_KEEP_KERNEL = 1 << 3,
};

#define LRP_FRAGMENT_NONE 0xfffffffcu /* no mark */
#define LRP_MARK_TRIES	  3	      /* another CPU changed it so often: pass */

static __always_inline __u64 lrp_mark_make(__u32 way, __u64 now_ns)
{
	return (now_ns >> LRP_FRAGMENT_TICK_SHIFT) << 32 | way;
}

/* The way that a mark says, LRP_FRAGMENT_NONE if it has become too old. */
static __always_inline __u32 lrp_mark_way(__u64 mark, __u64 now_ns)
{
	__u32 age = (__u32)(now_ns >> LRP_FRAGMENT_TICK_SHIFT) - (__u32)(mark >> 32);

	return age <= LRP_FRAGMENT_TICKS ? (__u32)mark : LRP_FRAGMENT_NONE;
}

static __always_inline bool lrp_mark_kept(__u32 way, __u32 keep)
{
	if (way == LRP_FRAGMENT_NONE)
		return false;
	if (way == LRP_FRAGMENT_KERNEL)
		return keep & LRP_KEEP_KERNEL;
	if (way == LRP_FRAGMENT_PASSED)
		return keep & LRP_KEEP_PASSED;
	if (way == LRP_FRAGMENT_STORED)
		return keep & LRP_KEEP_STORED;
	return keep & LRP_KEEP_ENDPOINT;
}

/*
 * Marks the datagram, unless a mark is there that is to be kept. Returns the way that is marked
 * then: LRP_FRAGMENT_PASSED also if no mark can be made. One compare-and-swap decides between
 * CPUs that have fragments of the same datagram.
 *
 * An LRU element may be given to another datagram between look-up and swap, which then goes the
 * wrong way and is lost. It takes 8,192 newer datagrams in these nanoseconds.
 */
static __always_inline __u32 lrp_mark(const struct lrp_fragment_key *key, __u32 want, __u32 keep)
{
	__u64 now_ns = bpf_ktime_get_ns(), word = lrp_mark_make(want, now_ns), old, *mark;
	__u32 way;

#pragma unroll
	for (int i = 0; i < LRP_MARK_TRIES; i++) {
		mark = bpf_map_lookup_elem(&lrp_fragments, key);
		if (!mark) {
			if (!bpf_map_update_elem(&lrp_fragments, key, &word, BPF_NOEXIST))
				return want;
			continue;
		}
		old = *(volatile __u64 *)mark;
		way = lrp_mark_way(old, now_ns);
		if (lrp_mark_kept(way, keep))
			return way;
		if (__sync_val_compare_and_swap(mark, old, word) != old)
			continue;
		/* lrpd has what is stored: it gives it to the kernel, too */
		if (way == LRP_FRAGMENT_STORED && want >= LRP_FRAGMENT_PASSED)
			bpf_ringbuf_output(&lrp_strays, (void *)key, sizeof(*key), 0);
		return want;
	}
	return LRP_FRAGMENT_PASSED;
}

/* ---- budgets --------------------------------------------------------------- */

/* One more in this second? */
static __always_inline bool lrp_budget_take(__u64 *budget, __u32 second, __u32 limit)
{
	__u64 old = *(volatile __u64 *)budget;

	if (old >> 32 != second)
		__sync_val_compare_and_swap(budget, old, (__u64)second << 32);
	else if ((__u32)old >= limit)
		return false;
	__sync_fetch_and_add(budget, 1);
	return true;
}

/* May this orphan be stored? */
static __always_inline bool lrp_orphan_admit(struct xdp_md *ctx, const struct lrp_fragment_key *key)
{
	__u32 zero = 0, second, source, wanted, length;
	struct lrp_orphans *orphans;
	struct lrp_device *device;
	__u64 hash;

	if (key->proto == IPPROTO_TCP)
		return false;
	orphans = bpf_map_lookup_elem(&lrp_orphans, &zero);
	if (!orphans)
		return false;
	wanted = key->family == 6 ? *(volatile __u32 *)&orphans->wanted[1]
				  : *(volatile __u32 *)&orphans->wanted[0];
	if (!wanted)
		return false;
	/* what lrpd could not give to the kernel later: it must be small, and lie in one frame */
	device = bpf_map_lookup_elem(&lrp_device, &zero);
	length = bpf_xdp_get_buff_len(ctx);
	if (!device || length > LRP_ORPHAN_MAX || length > device->frame_payload)
		return false;
	/* a network of IPv6 is one source */
	hash = key->family == 6 ? *(__u64 *)key->saddr.byte : *(__u64 *)(key->saddr.byte + 8);
	hash = (hash ^ hash >> 32) * 0x9e3779b97f4a7c15ull;
	source = hash >> 56;
	second = bpf_ktime_get_ns() >> 30;
	_Static_assert(LRP_ORPHAN_SOURCES == 1u << (64 - 56), "a hash's highest bits");
	return lrp_budget_take(&orphans->source[source], second, LRP_ORPHANS_PER_SOURCE) &&
	       lrp_budget_take(&orphans->budget, second, LRP_ORPHANS_PER_SECOND);
}

/* ---- first, later, orphan ---------------------------------------------------- */

/* Marks the datagram of a fragment; see lrp_mark(). */
static __always_inline __u32 lrp_fragment_mark(struct xdp_md *ctx, __u32 l3, bool ipv6,
					       const struct lrp_transport *transport, __u32 want,
					       __u32 keep)
{
	struct lrp_fragment_key key;

	if (!transport || l3 > LRP_OFFSET_MAX ||
	    !lrp_fragment_key(lrp_header_at(lrp_data(ctx), l3), lrp_data_end(ctx), ipv6,
			      transport->id, transport->fragment_proto, &key))
		return LRP_FRAGMENT_PASSED;
	return lrp_mark(&key, want, keep);
}

/*
 * A first fragment is about to go to `way`, an endpoint or LRP_FRAGMENT_KERNEL. The mark is made
 * before it goes, so that a later fragment on another CPU follows it in any case. Returns the way
 * that it must go. If orphans have passed it follows them; a datagram whose first has come, to
 * whomever, is another one with the same identification.
 */
__noinline __u32 lrp_fragment_lead(struct xdp_md *ctx, __u32 l3, bool ipv6, __u32 way,
				   const struct lrp_transport *transport)
{
	bool follows;

	if (!transport)
		return LRP_FRAGMENT_KERNEL;
	follows = way != LRP_FRAGMENT_KERNEL && transport->proto != IPPROTO_TCP;
	way = lrp_fragment_mark(ctx, l3, ipv6, transport, way, follows ? LRP_KEEP_PASSED : 0);
	if (way != LRP_FRAGMENT_PASSED)
		return way;
	lrp_fragment_mark(ctx, l3, ipv6, transport, LRP_FRAGMENT_KERNEL, 0);
	return LRP_FRAGMENT_KERNEL;
}

/* A later fragment passes, though an endpoint is marked: so do the others. */
__noinline int lrp_fragment_pass(struct xdp_md *ctx, __u32 l3, bool ipv6,
				 const struct lrp_transport *transport)
{
	return lrp_fragment_mark(ctx, l3, ipv6, transport, LRP_FRAGMENT_PASSED, LRP_KEEP_KERNEL);
}

/* Later fragments go where the first one went. */
__noinline int lrp_fragment_follow(struct xdp_md *ctx, __u32 l3, bool ipv6,
				   const struct lrp_transport *transport, struct lrp_target *target)
{
	struct lrp_fragment_key key;
	__u32 way = LRP_FRAGMENT_NONE;
	__u64 *mark;

	if (!transport || !target || l3 > LRP_OFFSET_MAX ||
	    !lrp_fragment_key(lrp_header_at(lrp_data(ctx), l3), lrp_data_end(ctx), ipv6,
			      transport->id, transport->fragment_proto, &key))
		return LRP_XDP_PASS_MALFORMED;
	mark = bpf_map_lookup_elem(&lrp_fragments, &key);
	if (mark)
		way = lrp_mark_way(*(volatile __u64 *)mark, bpf_ktime_get_ns());
	if (way >= LRP_FRAGMENT_PASSED)
		return LRP_XDP_PASS_FRAGMENT;
	if (way == LRP_FRAGMENT_NONE || way == LRP_FRAGMENT_STORED) {
		target->endpoint = LRP_ENDPOINT_FRAGMENT;
		target->found = LRP_FOUND_ORPHAN;
		return LRP_XDP_ENQUEUED;
	}
	target->endpoint = way;
	/* the first one has passed the test for the peer, so these do as well */
	target->found = LRP_FOUND_EXACT;
	return LRP_XDP_ENQUEUED;
}

/*
 * An orphan is about to be stored, or, if `refused`, has found no room. Returns the way that it
 * must go: LRP_FRAGMENT_STORED, _PASSED, or where its first went if that has come meanwhile.
 */
__noinline __u32 lrp_fragment_orphan(struct xdp_md *ctx, __u32 l3, bool ipv6,
				     const struct lrp_transport *transport, bool refused)
{
	struct lrp_fragment_key key;

	if (!transport || l3 > LRP_OFFSET_MAX ||
	    !lrp_fragment_key(lrp_header_at(lrp_data(ctx), l3), lrp_data_end(ctx), ipv6,
			      transport->id, transport->fragment_proto, &key))
		return LRP_FRAGMENT_KERNEL;
	if (!refused && lrp_orphan_admit(ctx, &key))
		return lrp_mark(&key, LRP_FRAGMENT_STORED,
				LRP_KEEP_ENDPOINT | LRP_KEEP_STORED | LRP_KEEP_PASSED |
					LRP_KEEP_KERNEL);
	return lrp_mark(&key, LRP_FRAGMENT_PASSED,
			LRP_KEEP_ENDPOINT | LRP_KEEP_PASSED | LRP_KEEP_KERNEL);
}

#endif

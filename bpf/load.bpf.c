// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The load generator's inner loop. BPF_PROG_RUN with live frames hands this
 * program copies of a template frame; it fills in what varies from packet to
 * packet and redirects the frame out of one veth. It never sees real traffic.
 *
 * Pacing happens here too: a frame whose time has not come is waited for a little while and then
 * dropped, which gives it back to the generator's own pool, and the loop goes on. So one call of
 * BPF_PROG_RUN lasts milliseconds at any rate, and CPU and softirqs are free between batches. The
 * wait is there because each drop takes the lock under which the receiving CPU gives its
 * frames back: a generator that only drops slows down the system that is measured.
 *
 * Checksums are sums prepared by user space over everything that does not
 * vary, so a packet costs a handful of additions here.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "load.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct lrp_load_config config = {};
struct lrp_load_state state = {};
volatile struct lrp_load_limit limit = {};

#define WAIT_NS 500 /* at most, a frame: 16 us in a batch, in which softirqs have to wait too */

static __always_inline int may_send(void)
{
	__u64 now, until;
	int i;

	if (config.limited && state.fragment == 0 && state.seq >= limit.datagrams)
		return 0;
	if (!config.interval_256)
		return 1;
	now = bpf_ktime_get_ns();
	until = now + WAIT_NS;
	for (i = 0; i < 64 && now << 8 < state.due_256 && now < until; i++)
		now = bpf_ktime_get_ns();
	if (now << 8 < state.due_256)
		return 0;
	/* The CPU was somebody else's for longer than a burst: that is not caught up. */
	if ((now - config.lag_ns) << 8 > state.due_256)
		state.due_256 = (now - config.lag_ns) << 8;
	state.due_256 += config.interval_256;
	return 1;
}

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum & 0xffff;
}

/* The next of `count` values starting at `base`, round and round. */
static __always_inline __u32 next(__u32 *at, __u32 base, __u32 count)
{
	__u32 i = *at;

	*at = i + 1 >= count ? 0 : i + 1;
	return base + i;
}

static __always_inline int fragment(struct xdp_md *ctx, struct iphdr *ip, __u8 *l4, void *end)
{
	__u32 i = state.fragment;
	__u16 off = i * config.fragment_bytes / 8;
	__u16 len = sizeof(*ip) + config.fragment_bytes;

	if (i + 1 < config.fragments)
		off |= 0x2000; /* more fragments */
	else
		len = sizeof(*ip) + config.last_fragment_bytes;
	if (i == 0) {
		struct udphdr *udp = (void *)l4;
		__u64 *seq = (void *)(udp + 1);

		if ((void *)(seq + 1) > end)
			return XDP_ABORTED;
		udp->source = bpf_htons(config.sport);
		udp->dest = bpf_htons(config.dport);
		udp->len = bpf_htons(config.udp_length);
		udp->check = 0;
		*seq = state.seq;
	}
	ip->saddr = bpf_htonl(config.saddr);
	ip->id = bpf_htons((__u16)state.seq);
	ip->frag_off = bpf_htons(off);
	ip->tot_len = bpf_htons(len);
	ip->check = fold((__u64)config.ip_sum + ip->saddr + ip->id + ip->frag_off + ip->tot_len);
	if (i + 1 < config.fragments) {
		state.fragment = i + 1;
	} else {
		int shorter = (int)config.last_fragment_bytes - (int)config.fragment_bytes;

		state.fragment = 0;
		state.seq++;
		if (bpf_xdp_adjust_tail(ctx, shorter))
			return XDP_ABORTED;
	}
	state.sent++;
	return bpf_redirect(config.ifindex, 0);
}

SEC("xdp")
int load_frame(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	__be32 *saddr;
	__u64 sum;
	__u8 *l4;
	__be16 sport, dport;
	__u64 seq;

	if (!may_send())
		return XDP_DROP;
	if (config.family == 0) {
		state.seq++;
		state.sent++;
		return bpf_redirect(config.ifindex, 0);
	}
	if (config.family == 4) {
		struct iphdr *ip = (void *)(eth + 1);

		l4 = (void *)(ip + 1);
		if ((void *)(l4 + 28) > end)
			return XDP_ABORTED;
		if (config.fragments > 1)
			return fragment(ctx, ip, l4, end);
		saddr = &ip->saddr;
		*saddr = bpf_htonl(next(&state.source, config.saddr, config.sources));
		ip->check = fold((__u64)config.ip_sum + *saddr);
	} else {
		struct ipv6hdr *ip6 = (void *)(eth + 1);

		l4 = (void *)(ip6 + 1);
		if ((void *)(l4 + 28) > end)
			return XDP_ABORTED;
		saddr = &ip6->saddr.s6_addr32[3];
		*saddr = bpf_htonl(next(&state.source, config.saddr, config.sources));
	}
	if (config.plain) {
		state.seq++;
		state.sent++;
		return bpf_redirect(config.ifindex, 0);
	}
	sport = bpf_htons((__u16)next(&state.sport, config.sport, config.sports));
	dport = bpf_htons((__u16)next(&state.dport, config.dport, config.dports));
	seq = state.seq++;
	sum = (__u64)config.l4_sum + *saddr + sport + dport;

	if (config.tcp) {
		struct tcphdr *tcp = (void *)l4;

		tcp->source = sport;
		tcp->dest = dport;
		/* spread over the sequence space: junk must not look like one stream */
		tcp->seq = (__u32)seq * 2654435761u;
		tcp->check = fold(sum + tcp->seq) ^ config.spoil;
	} else {
		struct udphdr *udp = (void *)l4;
		__u32 *payload = (void *)(udp + 1);

		udp->source = sport;
		udp->dest = dport;
		payload[0] = (__u32)seq;
		payload[1] = (__u32)(seq >> 32);
		if (config.no_checksum) {
			udp->check = 0;
		} else {
			__u16 check = fold(sum + payload[0] + payload[1]);

			udp->check = (check ? check : 0xffff) ^ config.spoil;
		}
	}
	state.sent++;
	return bpf_redirect(config.ifindex, 0);
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * vary.bpf.c - gives each packet another UDP destination port, then goes on in the program in
 * vary_next[0]. BPF_PROG_TEST_RUN repeats one packet; with this before the program that is
 * measured, each repetition meets another socket (IPv4 without options).
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} vary_next SEC(".maps");

__u32 vary_ports = 1; /* how many, from vary_base on */
__u32 vary_base = 10000;
__u32 vary_state = 2463534242; /* of the generator */

SEC("xdp.frags")
int lrp_vary(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	struct udphdr *udp = data + sizeof(struct ethhdr) + sizeof(struct iphdr);

	if ((void *)(udp + 1) > data_end)
		return XDP_ABORTED;
	vary_state = vary_state * 1664525 + 1013904223;
	udp->dest = bpf_htons(vary_base + (__u32)((__u64)vary_state * vary_ports >> 32));
	bpf_tail_call(ctx, &vary_next, 0);
	return XDP_ABORTED;
}

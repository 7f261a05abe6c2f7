// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What the measuring bed attaches where LRP is not: a program that passes
 * everything (the stock system) and one that drops everything (the control
 * run). Both count packets per CPU: that is the offered rate, and the proof of where
 * receive processing ran.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

static __always_inline void count(void)
{
	__u32 zero = 0;
	__u64 *n = bpf_map_lookup_elem(&seen, &zero);

	if (n)
		(*n)++;
}

SEC("xdp.frags")
int bench_pass(struct xdp_md *ctx)
{
	count();
	return XDP_PASS;
}

SEC("xdp.frags")
int bench_drop(struct xdp_md *ctx)
{
	count();
	return XDP_DROP;
}

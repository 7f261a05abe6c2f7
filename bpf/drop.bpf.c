/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* drop.bpf.c - counts and drops every packet: the control run, and the floor of a discard's cost. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} drop_count SEC(".maps");

SEC("xdp.frags")
int lrp_drop(struct xdp_md *ctx)
{
	__u32 zero = 0;
	__u64 *count = bpf_map_lookup_elem(&drop_count, &zero);

	if (count)
		(*count)++;
	return XDP_DROP;
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * handover.bpf.c - puts a batch of different frames into the kernel's stack.
 *
 * BPF_PROG_RUN with BPF_F_TEST_XDP_LIVE_FRAMES and repeat n runs the program n times. Run number i
 * copies frame i from the array that the proxy has filled into the kernel's page and passes it.
 * Each frame then enters the stack of ctx.ingress_ifindex as if it had come from the wire and no
 * XDP program were attached. One thread runs it at a time.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "handover.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, LRP_HANDOVER_BATCH);
	__type(key, __u32);
	__type(value, struct lrp_handover_frame);
} lrp_handover_frames SEC(".maps");

/* The next frame's index. Set to 0 before each call. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} lrp_handover_next SEC(".maps");

SEC("xdp")
int lrp_handover(struct xdp_md *ctx)
{
	struct lrp_handover_frame *frame;
	__u32 zero = 0, index, length, *next;

	next = bpf_map_lookup_elem(&lrp_handover_next, &zero);
	if (!next)
		return XDP_DROP;
	index = (*next)++;
	frame = bpf_map_lookup_elem(&lrp_handover_frames, &index);
	if (!frame)
		return XDP_DROP;
	length = *(volatile __u32 *)&frame->length;
	if (length < 14 || length > LRP_HANDOVER_FRAME)
		return XDP_DROP;
	if (bpf_xdp_adjust_tail(ctx, (int)length - (int)bpf_xdp_get_buff_len(ctx)))
		return XDP_DROP;
	if (bpf_xdp_store_bytes(ctx, 0, frame->data, length))
		return XDP_DROP;
	return XDP_PASS;
}

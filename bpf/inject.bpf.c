/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * inject.bpf.c - puts packets into the kernel's stack: run through BPF_PROG_RUN with
 * BPF_F_TEST_XDP_LIVE_FRAMES and ctx.ingress_ifindex, each packet of the call enters the
 * stack of that device as if it had come from the wire and no XDP program were attached.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("xdp")
int lrp_inject(struct xdp_md *ctx)
{
	return XDP_PASS;
}

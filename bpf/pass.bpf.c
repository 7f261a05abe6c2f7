/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* pass.bpf.c - leaves every packet to the kernel: what a stock host with a program attached does. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("xdp.frags")
int lrp_pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

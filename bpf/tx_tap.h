/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tx_tap.h - what tx_tap.bpf.c and loader/tap.c share. */
#ifndef LRP_BPF_TX_TAP_H
#define LRP_BPF_TX_TAP_H

#include <linux/types.h>

#define LRP_TX_TAPS 1024u

/* lrp_tx_taps: HASH, ifindex of a TAP -> whose it is, and where its frames go. */
struct lrp_tx_tap {
	__u32 owner;		 /* process family; written by lrpd */
	__u32 ifindex;		 /* the real device; written by lrpd */
	__u64 passed;		 /* written by the program, as are the rest */
	__u64 dropped_source;	 /* source address or port is not the owner's */
	__u64 dropped_malformed; /* not a whole UDP or TCP packet over IPv4 or IPv6 */
	__u64 dropped_size;	 /* larger than the device's MTU */
};

#endif

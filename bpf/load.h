/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * load.h - what the load generator's program and its user space share. Host
 * byte order unless the type says otherwise.
 */
#ifndef LRP_BPF_LOAD_H
#define LRP_BPF_LOAD_H

#include <linux/types.h>

struct lrp_load_config {
	__u32 ifindex; /* veth to send from */
	__u32 family;  /* 4 or 6 */
	__u32 tcp;     /* 0: UDP */
	__u32 plain;   /* nothing but the source varies: ICMP; family 0: not even that, ARP */
	__u32 saddr;   /* first source, IPv6: the low 32 bits */
	__u32 sources;
	__u32 sport, sports;
	__u32 dport, dports;
	__u32 no_checksum; /* UDP over IPv4 only */
	__u32 spoil;	   /* xor-ed into the transport checksum */
	__u32 ip_sum;	   /* IPv4 header without what varies */
	__u32 l4_sum;	   /* pseudo header, transport header and payload without what varies */
	/* one datagram in several IPv4 fragments (UDP without checksum) */
	__u32 fragments;
	__u32 fragment_bytes; /* of each but the last, after the IP header */
	__u32 last_fragment_bytes;
	__u32 udp_length;
	/* pacing: 1/256 ns between frames, 0: none; how far it may fall behind before the rest is
	 * given up, ns */
	__u64 interval_256;
	__u64 lag_ns;
	__u32 limited; /* datagrams go out only while their number is below the limit */
};

/* Written by whoever receives acknowledgements. */
struct lrp_load_limit {
	__u64 datagrams;
};

struct lrp_load_state {
	__u64 seq;     /* of the next datagram; the first 8 bytes of a UDP payload */
	__u64 sent;    /* frames given to the device */
	__u64 due_256; /* when the next frame may go, 1/256 ns of CLOCK_MONOTONIC */
	__u32 source, sport, dport, fragment;
};

#endif

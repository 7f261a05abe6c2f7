/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * guard_kernel.h - the kernel's structs as far as the guard reads them. libbpf relocates the members
 * when a program is loaded; members that a version lacks are asked for with bpf_core_field_exists().
 */
#ifndef LRP_BPF_GUARD_KERNEL_H
#define LRP_BPF_GUARD_KERNEL_H

#include <linux/bpf.h>
#include <linux/in6.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct sk_buff;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	int counter;
} atomic_t;

struct netns_ipv4 {
	__u8 sysctl_tcp_syncookies;
};

struct net {
	__u64 net_cookie;
	struct netns_ipv4 ipv4;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct sock_common {
	unsigned short skc_family;
	volatile unsigned char skc_state;
	unsigned char skc_reuse : 4;
	possible_net_t skc_net;
	struct {
		__s64 counter;
	} skc_cookie;
};

struct sock_reuseport {
	__u16 incoming_cpu; /* since Linux 6.1 */
	struct bpf_prog *prog;
};

struct numa_drop_counters { /* since Linux 6.18 */
	atomic_t drops0;
	atomic_t drops1;
};

typedef struct {
	__u32 val;
} kuid_t;

struct sk_buff_head {
	struct sk_buff *prev;
};

struct sock {
	struct sock_common __sk_common;
	struct sk_buff_head sk_receive_queue;
	__u16 sk_protocol;
	atomic_t sk_drops;
	struct {
		atomic_t rmem_alloc;
	} sk_backlog;
	int sk_rcvbuf;
	__u32 sk_ack_backlog;
	__u32 sk_max_ack_backlog;
	kuid_t sk_uid;
	struct sock_reuseport *sk_reuseport_cb;
	struct numa_drop_counters *sk_drop_counters;
};

struct udp_prod_queue { /* since Linux 6.18 */
	atomic_t rmem_alloc;
};

struct udp_sock {
	unsigned long udp_flags; /* since Linux 6.6 */
	struct udp_prod_queue *udp_prod_queue;
	int (*encap_rcv)(struct sock *, struct sk_buff *);
};

struct udp_sock___before_6_6 {
	unsigned char gro_enabled : 1;
};

struct request_sock_queue {
	atomic_t qlen;
};

struct inet_connection_sock {
	struct request_sock_queue icsk_accept_queue;
};

struct xdp_buff {
	__u32 frame_sz;
};

struct sk_buff {
	unsigned int len;
	__u8 pkt_type : 3;
	int skb_iif;
	__be16 protocol;
	__u16 transport_header;
	__u16 network_header;
	__u16 mac_header;
	unsigned int end;
	unsigned char *head;
	unsigned char *data;
	unsigned int truesize;
};

struct skb_shared_info {
	__u8 meta_len;
};

#pragma clang attribute pop

extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym;
extern void *bpf_cast_to_kern_ctx(void *obj) __ksym;

#endif

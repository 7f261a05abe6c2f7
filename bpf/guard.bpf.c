/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * guard.bpf.c - the guard of one interface [guard.h].
 *
 * guard_xdp decides. guard_fail runs where the kernel has dropped a datagram because the socket's
 * queue was full: it engages the guard for the socket, learns what the kernel charges, and compares.
 * guard_ready runs where the kernel has queued a datagram, and finds those that were condemned.
 */
#include "guard.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define ENOMEM	    12
#define PACKET_HOST 0

SEC("xdp.frags")
int guard_xdp(struct xdp_md *ctx)
{
	return lrp_guard(ctx);
}

static __always_inline bool guard_is_ours(const struct sock *sk)
{
	return sk->__sk_common.skc_net.net->net_cookie == lrp_guard_netns;
}

/* The address and port that the datagram came for. False: not sent to this host alone. The route is
 * gone by now; that the kernel has given the datagram to a socket says that the address is local. */
static __always_inline bool guard_target_of(const struct sk_buff *skb,
					    struct lrp_guard_target *target)
{
	const unsigned char *network = skb->head + skb->network_header;
	const unsigned char *transport = skb->head + skb->transport_header;

	__builtin_memset(target, 0, sizeof(*target));
	if (BPF_CORE_READ_BITFIELD(skb, pkt_type) != PACKET_HOST)
		return false;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		target->addr.byte[10] = target->addr.byte[11] = 0xff;
		bpf_probe_read_kernel(&target->addr.byte[12], 4,
				      network + offsetof(struct iphdr, daddr));
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		bpf_probe_read_kernel(&target->addr, 16, network + offsetof(struct ipv6hdr, daddr));
		if (target->addr.byte[0] == 0xff)
			return false;
	} else {
		return false;
	}
	bpf_probe_read_kernel(&target->port, 2, transport + 2);
	return true;
}

static __always_inline bool guard_mark_of(const struct sk_buff *skb, struct lrp_guard_mark *mark)
{
	/* the skb may be gone already: everything is copied */
	const unsigned char *head = BPF_CORE_READ(skb, head);
	struct skb_shared_info *shared = (void *)(head + BPF_CORE_READ(skb, end));
	__u8 length = BPF_CORE_READ(shared, meta_len);

	if (length < sizeof(*mark))
		return false;
	bpf_probe_read_kernel(mark, sizeof(*mark), head + BPF_CORE_READ(skb, mac_header) - length);
	return mark->magic == lrp_guard_magic;
}

/* Bytes of the frame as XDP saw it. */
static __always_inline __u32 guard_frame_length(const struct sk_buff *skb)
{
	return skb->len + (__u32)(skb->data - skb->head) - skb->mac_header;
}

static __always_inline void guard_learn(const struct sk_buff *skb)
{
	__u32 class = guard_size_class(guard_frame_length(skb)), charged = skb->truesize;
	struct lrp_guard_size *size = bpf_map_lookup_elem(&lrp_guard_sizes, &class);

	if (size && (!size->least || charged < size->least))
		size->least = charged;
}

static __always_inline void guard_compare(const struct sk_buff *skb, __u64 cookie,
					  struct lrp_guard_socket *record)
{
	__u32 class = guard_size_class(guard_frame_length(skb));
	struct lrp_guard_size *size;
	struct lrp_guard_mark mark;

	if (!guard_mark_of(skb, &mark))
		return;
	if (mark.cookie != cookie || mark.predicted > skb->truesize) {
		__sync_fetch_and_add(&record->wrong, 1);
		size = bpf_map_lookup_elem(&lrp_guard_sizes, &class);
		if (size && mark.predicted > skb->truesize)
			__sync_fetch_and_add(&size->over, 1);
		return;
	}
	__sync_fetch_and_add(&record->confirmed, 1);
}

SEC("tp_btf/udp_fail_queue_rcv_skb")
int BPF_PROG(guard_fail, int error, struct sock *sk, struct sk_buff *skb)
{
	__u32 zero = 0;
	struct lrp_guard_config *config = bpf_map_lookup_elem(&lrp_guard_config, &zero);
	struct lrp_guard_socket *record, fresh = {};
	struct lrp_guard_target target;
	__u64 cookie, now;

	if (error != -ENOMEM || (__u32)skb->skb_iif != lrp_guard_ifindex || !guard_is_ours(sk))
		return 0;
	if (!config || !guard_target_of(skb, &target) || !guard_port(config, target.port))
		return 0;
	cookie = bpf_get_socket_cookie(sk);
	now = bpf_ktime_get_ns();
	record = bpf_map_lookup_elem(&lrp_guard_sockets, &cookie);
	if (!record) {
		fresh.addr = target.addr;
		fresh.port = target.port;
		fresh.ipv6 = sk->__sk_common.skc_family == GUARD_AF_INET6;
		fresh.uid = sk->sk_uid.val;
		bpf_map_update_elem(&lrp_guard_sockets, &cookie, &fresh, BPF_NOEXIST);
		record = bpf_map_lookup_elem(&lrp_guard_sockets, &cookie);
		if (!record)
			return 0;
	}
	guard_learn(skb);
	guard_compare(skb, cookie, record);
	__sync_fetch_and_add(&record->kernel_drops, 1);
	record->seen_ns = now;
	if (!bpf_map_lookup_elem(&lrp_guard_targets, &target))
		bpf_map_update_elem(&lrp_guard_targets, &target, &now, BPF_ANY);
	if (!record->engaged) {
		record->engaged = 1;
		record->engaged_count++;
	}
	return 0;
}

/*
 * A datagram has been queued. One that is marked was condemned and found room after all. If no more
 * was predicted than was charged, the application had taken something out in between: the queue's
 * memory was larger when the guard looked than when the kernel did. When the kernel queues several at
 * once, only the last one is seen here.
 */
SEC("tp_btf/sk_data_ready")
int BPF_PROG(guard_ready, const struct sock *sk)
{
	const struct sk_buff_head *queue = &sk->sk_receive_queue;
	const struct sk_buff *skb = queue->prev;
	struct lrp_guard_socket *record;
	struct lrp_guard_mark mark;
	__u64 cookie;

	if (sk->sk_protocol != IPPROTO_UDP || (const void *)skb == (const void *)queue ||
	    !guard_mark_of(skb, &mark))
		return 0;
	record = bpf_map_lookup_elem(&lrp_guard_sockets, &mark.cookie);
	if (!record)
		return 0;
	cookie = sk->__sk_common.skc_cookie.counter;
	if (mark.cookie != cookie || mark.predicted > BPF_CORE_READ(skb, truesize))
		__sync_fetch_and_add(&record->wrong, 1);
	else
		__sync_fetch_and_add(&record->emptied, 1);
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * guard.h - early discard for kernel sockets: would the kernel drop this packet because its
 * socket's queue is full? [design 7]
 *
 * lrp_guard() answers for one packet. It is the whole of a program of its own, and LRP's program
 * calls that program where it would pass a packet to the kernel.
 *
 * The guard never condemns a packet for which the socket has room at that moment:
 *   - It looks only at sockets for which the kernel itself has dropped a packet.
 *   - It reads the memory of the socket's queue, as the kernel does, in the kernel's order.
 *   - What it takes for the packet's truesize is at most what the kernel has charged for any packet
 *     of this size class, and at most a bound from the driver's buffer.
 *   - Whatever may reach another socket than the look-up says passes.
 * A wrong answer in the other direction costs the kernel's own drop and nothing else.
 */
#ifndef LRP_BPF_GUARD_H
#define LRP_BPF_GUARD_H

#include "guard_abi.h"
#include "guard_kernel.h"
#include "parse.h"

#define GUARD_AF_INET  2
#define GUARD_AF_INET6 10
#define GUARD_LISTEN   10	  /* include/net/tcp_states.h */
#define GUARD_UDP_GRO  (7ul << 3) /* udp_flags: UDP_FLAGS_GRO_ENABLED, ACCEPT_FRAGLIST, ACCEPT_L4 */

/* Set by the loader. */
const volatile __u32 lrp_guard_ifindex;
const volatile __u64 lrp_guard_netns; /* its cookie */
const volatile __u32 lrp_guard_magic; /* of this guard's marks */
const volatile bool lrp_guard_native;
/* The kernel compares memory + truesize with the limit; else the memory alone. As probed. */
const volatile bool lrp_guard_adds_size;
/* One NUMA node: udp_prod_queue[0] is where the packet will be queued. */
const volatile bool lrp_guard_one_node;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lrp_guard_config);
} lrp_guard_config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, LRP_GUARD_TARGETS);
	__type(key, struct lrp_guard_target);
	__type(value, __u64); /* when it was put in; ns */
} lrp_guard_targets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, LRP_GUARD_SOCKETS);
	__type(key, __u64);
	__type(value, struct lrp_guard_socket);
} lrp_guard_sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LRP_GUARD_SIZES);
	__type(key, __u32);
	__type(value, struct lrp_guard_size);
} lrp_guard_sizes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LRP_GUARD_REASON_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} lrp_guard_reasons SEC(".maps");

struct guard_packet { /* what the parser has found */
	struct lrp_guard_target target;
	struct bpf_sock_tuple tuple;
	bool ipv6;
	__u32 length;
};

#define GUARD_KERNEL(type, pointer)                                                                \
	((type *)bpf_rdonly_cast(pointer, bpf_core_type_id_kernel(type)))

/* Two calls: the verifier wants to know the tuple's size. */
#define GUARD_LOOKUP(lookup, ctx, packet)                                                          \
	((packet)->ipv6 ? lookup(ctx, &(packet)->tuple, sizeof((packet)->tuple.ipv6),              \
				 BPF_F_CURRENT_NETNS, 0)                                           \
			: lookup(ctx, &(packet)->tuple, sizeof((packet)->tuple.ipv4),              \
				 BPF_F_CURRENT_NETNS, 0))

static __always_inline bool guard_port(const struct lrp_guard_config *config, __be16 port)
{
	__u32 number = bpf_ntohs(port), word = number >> 6;

	if (!(config->flags & LRP_GUARD_F_PORTS))
		return true;
	asm volatile("" : "+r"(word));
	return config->ports[word & (LRP_GUARD_PORT_MAP - 1)] & 1ull << (number & 63);
}

static __always_inline __u32 guard_size_class(__u32 length)
{
	__u32 class = length >> 6;

	return class < LRP_GUARD_SIZES ? class : LRP_GUARD_SIZES - 1;
}

/* ---- the packet --------------------------------------------------------------------------- */

static __always_inline bool guard_parse4(struct xdp_md *ctx, void *data, void *data_end,
					 struct lrp_transport *transport,
					 struct guard_packet *packet)
{
	struct iphdr *ip = data + sizeof(struct ethhdr);

	if (lrp_parse_ipv4(ctx, data, data_end, sizeof(struct ethhdr), transport))
		return false;
	if ((bpf_ntohl(ip->daddr) & 0xf0000000) == 0xe0000000 || ip->daddr == 0xffffffff)
		return false;
	packet->target.addr.byte[10] = packet->target.addr.byte[11] = 0xff;
	__builtin_memcpy(&packet->target.addr.byte[12], &ip->daddr, 4);
	packet->tuple.ipv4.saddr = ip->saddr;
	packet->tuple.ipv4.daddr = ip->daddr;
	return true;
}

static __always_inline bool guard_parse6(struct xdp_md *ctx, void *data, void *data_end,
					 struct lrp_transport *transport,
					 struct guard_packet *packet)
{
	struct ipv6hdr *ip = data + sizeof(struct ethhdr);

	if (lrp_parse_ipv6(ctx, data, data_end, sizeof(struct ethhdr), transport))
		return false;
	/* also for the verifier, which has forgotten the bounds over the call */
	data = lrp_data(ctx);
	ip = data + sizeof(struct ethhdr);
	if ((void *)(ip + 1) > lrp_data_end(ctx) || ip->daddr.s6_addr[0] == 0xff)
		return false;
	__builtin_memcpy(&packet->target.addr, &ip->daddr, 16);
	__builtin_memcpy(packet->tuple.ipv6.saddr, &ip->saddr, 16);
	__builtin_memcpy(packet->tuple.ipv6.daddr, &ip->daddr, 16);
	packet->ipv6 = true;
	return true;
}

/* A datagram or a SYN to one host, whole and untagged. */
static __always_inline bool guard_parse(struct xdp_md *ctx, struct guard_packet *packet)
{
	void *data = lrp_data(ctx), *data_end = lrp_data_end(ctx);
	struct lrp_transport transport = {};
	struct lrp_ports_header *ports;
	struct ethhdr *eth = data;
	bool syn, found;
	__be16 type;

	if ((void *)(eth + 1) > data_end || eth->h_dest[0] & 1)
		return false;
	type = *(__be16 *)(data + offsetof(struct ethhdr, h_proto));
	if (type == bpf_htons(ETH_P_IP))
		found = guard_parse4(ctx, data, data_end, &transport, packet);
	else if (type == bpf_htons(ETH_P_IPV6))
		found = guard_parse6(ctx, data, data_end, &transport, packet);
	else
		return false;
	if (!found || transport.whole != LRP_WHOLE ||
	    (transport.proto != IPPROTO_UDP && transport.proto != IPPROTO_TCP))
		return false;
	ports = lrp_parse_ports(&transport, lrp_data(ctx), lrp_data_end(ctx), &syn);
	if (!ports || (transport.proto == IPPROTO_TCP && !syn))
		return false;
	packet->target.port = ports->dest;
	packet->target.tcp = transport.proto == IPPROTO_TCP;
	if (!packet->ipv6) {
		packet->tuple.ipv4.sport = ports->source;
		packet->tuple.ipv4.dport = ports->dest;
	} else {
		packet->tuple.ipv6.sport = ports->source;
		packet->tuple.ipv6.dport = ports->dest;
	}
	packet->length = bpf_xdp_get_buff_len(ctx);
	return true;
}

/* ---- the socket ---------------------------------------------------------------------------- */

/* Does the kernel choose among the sockets by more than the look-up knows? */
static __always_inline bool guard_chosen_otherwise(const struct sock *sk, __u32 flags)
{
	struct sock_reuseport *group = sk->sk_reuseport_cb;

	if (group) {
		if (group->prog)
			return true;
		if (bpf_core_field_exists(group->incoming_cpu) && group->incoming_cpu)
			return true;
	}
	/* Sockets that share a port without a group are told apart by the CPU as well. */
	return flags & LRP_GUARD_F_RPS && BPF_CORE_READ_BITFIELD(&sk->__sk_common, skc_reuse);
}

static __always_inline bool guard_udp_special(const struct sock *sk)
{
	const struct udp_sock *udp = GUARD_KERNEL(struct udp_sock, sk);

	if (udp->encap_rcv)
		return true;
	if (bpf_core_field_exists(udp->udp_flags))
		return udp->udp_flags & GUARD_UDP_GRO;
	return BPF_CORE_READ_BITFIELD(GUARD_KERNEL(struct udp_sock___before_6_6, sk), gro_enabled);
}

/* The kernel's rule, net/ipv4/udp.c: __udp_enqueue_schedule_skb(). */
static __always_inline bool guard_udp_full(const struct sock *sk, __u32 truesize)
{
	__u32 limit = sk->sk_rcvbuf;
	__u64 used = (__u32)sk->sk_backlog.rmem_alloc.counter;

	if (lrp_guard_one_node && bpf_core_type_exists(struct udp_prod_queue)) {
		const struct udp_prod_queue *queue =
			GUARD_KERNEL(struct udp_sock, sk)->udp_prod_queue;

		if (queue)
			used += (__u32)queue->rmem_alloc.counter;
	}
	if (lrp_guard_adds_size)
		return used && used + truesize > limit;
	return used > limit;
}

/* At most what the kernel will charge for the packet; 0: not known. */
static __always_inline __u32 guard_truesize(struct xdp_md *ctx, __u32 length)
{
	__u32 class = guard_size_class(length), frame, bound, least;
	struct lrp_guard_size *size = bpf_map_lookup_elem(&lrp_guard_sizes, &class);
	const struct xdp_buff *buff = bpf_cast_to_kern_ctx(ctx);

	if (!size)
		return 0;
	least = *(volatile __u32 *)&size->least;
	frame = buff->frame_sz;
	/* The skb is built around the driver's buffer in native mode. In generic mode the buffer may
	 * have been reallocated without the charge having grown. */
	bound = lrp_guard_native ? frame + 256 : frame / 2 + 256;
	return least < bound ? least : bound;
}

static __always_inline __u32 guard_listen_drops(const struct sock *sk)
{
	if (bpf_core_field_exists(sk->sk_drop_counters)) {
		const struct numa_drop_counters *drops = sk->sk_drop_counters;

		if (drops)
			return drops->drops0.counter + drops->drops1.counter;
	}
	return sk->sk_drops.counter;
}

/* net/ipv4/tcp_input.c: tcp_conn_request(). */
static __always_inline bool guard_tcp_full(const struct sock *sk)
{
	const struct inet_connection_sock *icsk = GUARD_KERNEL(struct inet_connection_sock, sk);
	const struct net *net = sk->__sk_common.skc_net.net;

	if (sk->sk_ack_backlog > sk->sk_max_ack_backlog)
		return true;
	return !net->ipv4.sysctl_tcp_syncookies &&
	       (__u32)icsk->icsk_accept_queue.qlen.counter >= sk->sk_max_ack_backlog;
}

/* ---- verdicts ------------------------------------------------------------------------------- */

static __always_inline enum lrp_guard_reason
guard_mark(struct xdp_md *ctx, __u64 cookie, __u32 predicted, enum lrp_guard_reason reason)
{
	struct lrp_guard_mark *mark;

	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(*mark)))
		return LRP_GUARD_BARE;
	mark = (void *)(long)ctx->data_meta;
	if ((void *)(mark + 1) > lrp_data(ctx))
		return LRP_GUARD_BARE;
	mark->magic = lrp_guard_magic;
	mark->predicted = predicted;
	mark->cookie = cookie;
	return reason;
}

static __always_inline enum lrp_guard_reason guard_condemn(struct xdp_md *ctx,
							   const struct lrp_guard_config *config,
							   struct lrp_guard_socket *record,
							   __u64 cookie, __u32 predicted)
{
	bool shadow = config->flags & LRP_GUARD_F_SHADOW;
	enum lrp_guard_reason reason;
	__u64 nth;

	nth = __sync_fetch_and_add(&record->condemned, 1);
	if (!(nth & (LRP_GUARD_SAMPLE - 1)))
		record->seen_ns = bpf_ktime_get_ns();
	if (!shadow && nth % LRP_GUARD_SAMPLE != LRP_GUARD_SAMPLE - 1) {
		__sync_fetch_and_add(&record->dropped, 1);
		return LRP_GUARD_DROPPED;
	}
	reason = shadow ? LRP_GUARD_SHADOW : LRP_GUARD_SAMPLED;
	/* A SYN is compared by the listener's own counter. */
	if (!record->tcp)
		reason = guard_mark(ctx, cookie, predicted, reason);
	if (reason != LRP_GUARD_BARE)
		__sync_fetch_and_add(&record->marked, 1);
	return reason;
}

static __always_inline enum lrp_guard_reason guard_udp(struct xdp_md *ctx,
						       const struct lrp_guard_config *config,
						       const struct sock *sk,
						       const struct guard_packet *packet)
{
	__u64 cookie = sk->__sk_common.skc_cookie.counter;
	struct lrp_guard_socket *record = bpf_map_lookup_elem(&lrp_guard_sockets, &cookie);
	__u32 truesize;

	if (!record || !*(volatile __u32 *)&record->engaged)
		return LRP_GUARD_CALM;
	if (guard_udp_special(sk))
		return LRP_GUARD_SPECIAL;
	if (guard_chosen_otherwise(sk, config->flags))
		return LRP_GUARD_GROUP;
	truesize = guard_truesize(ctx, packet->length);
	if (!truesize)
		return LRP_GUARD_UNLEARNT;
	if (guard_udp_full(sk, truesize))
		return guard_condemn(ctx, config, record, cookie, truesize);
	__sync_fetch_and_add(&record->room, 1);
	/* Half empty: its next drop is the kernel's again. */
	if ((__u64)(__u32)sk->sk_backlog.rmem_alloc.counter * 2 < (__u32)sk->sk_rcvbuf)
		record->engaged = 0;
	return LRP_GUARD_ROOM;
}

/* Is the destination an address of this host? Without forwarding nothing else is delivered. */
static __always_inline bool guard_local(struct xdp_md *ctx, const struct guard_packet *packet)
{
	struct bpf_fib_lookup fib = {.ifindex = lrp_guard_ifindex, .l4_protocol = IPPROTO_TCP};
	long result;

	if (!packet->ipv6) {
		fib.family = GUARD_AF_INET;
		fib.ipv4_src = packet->tuple.ipv4.saddr;
		fib.ipv4_dst = packet->tuple.ipv4.daddr;
	} else {
		fib.family = GUARD_AF_INET6;
		__builtin_memcpy(fib.ipv6_src, packet->tuple.ipv6.saddr, 16);
		__builtin_memcpy(fib.ipv6_dst, packet->tuple.ipv6.daddr, 16);
	}
	result = bpf_fib_lookup(ctx, &fib, sizeof(fib), BPF_FIB_LOOKUP_DIRECT);
	return result == BPF_FIB_LKUP_RET_NOT_FWDED || result == BPF_FIB_LKUP_RET_FWD_DISABLED;
}

/* A listener is engaged by its drop counter: it has moved since the guard saw the socket first. */
static __always_inline enum lrp_guard_reason guard_tcp(struct xdp_md *ctx,
						       const struct lrp_guard_config *config,
						       const struct sock *sk,
						       const struct guard_packet *packet)
{
	__u64 cookie = sk->__sk_common.skc_cookie.counter;
	__u32 drops = guard_listen_drops(sk);
	struct lrp_guard_socket *record;

	if (!cookie)
		return LRP_GUARD_CALM; /* lrpd gives listeners one each second */
	record = bpf_map_lookup_elem(&lrp_guard_sockets, &cookie);
	if (!guard_tcp_full(sk)) {
		if (record) {
			record->drops = drops;
			record->engaged = 0;
			__sync_fetch_and_add(&record->room, 1);
			return LRP_GUARD_ROOM;
		}
		return LRP_GUARD_CALM;
	}
	if (!record) {
		struct lrp_guard_socket fresh = {.tcp = 1,
						 .drops = drops,
						 .addr = packet->target.addr,
						 .port = packet->target.port,
						 .ipv6 = sk->__sk_common.skc_family ==
							 GUARD_AF_INET6,
						 .uid = sk->sk_uid.val};

		bpf_map_update_elem(&lrp_guard_sockets, &cookie, &fresh, BPF_NOEXIST);
		return LRP_GUARD_CALM;
	}
	if (drops != record->drops && !record->engaged) {
		record->engaged = 1;
		record->engaged_count++;
		record->seen_ns = bpf_ktime_get_ns();
	}
	if (!record->engaged)
		return LRP_GUARD_CALM;
	if (drops != record->drops) {
		__u32 more = drops - record->drops;
		__u64 open = record->marked - record->confirmed;

		record->drops = drops;
		__sync_fetch_and_add(&record->kernel_drops, more);
		/* every drop answers one SYN that was passed for comparison */
		__sync_fetch_and_add(&record->confirmed, more < open ? more : open);
	}
	if (guard_chosen_otherwise(sk, config->flags))
		return LRP_GUARD_GROUP;
	return guard_condemn(ctx, config, record, cookie, 0);
}

static __always_inline enum lrp_guard_reason
guard_syn(struct xdp_md *ctx, const struct lrp_guard_config *config, struct guard_packet *packet)
{
	enum lrp_guard_reason reason = LRP_GUARD_UNSEEN;
	struct bpf_sock *found;

	if (!guard_port(config, packet->target.port))
		return LRP_GUARD_QUIET;
	/* bpf_sk_lookup_tcp() would turn a half-open connection into its listener. */
	found = GUARD_LOOKUP(bpf_skc_lookup_tcp, ctx, packet);
	if (!found)
		return reason;
	if (found->state == GUARD_LISTEN)
		reason = guard_local(ctx, packet)
				 ? guard_tcp(ctx, config, GUARD_KERNEL(struct sock, found), packet)
				 : LRP_GUARD_OTHER;
	bpf_sk_release(found);
	return reason;
}

static __always_inline enum lrp_guard_reason guard_decide(struct xdp_md *ctx)
{
	struct guard_packet packet = {};
	struct lrp_guard_config *config;
	enum lrp_guard_reason reason;
	struct bpf_sock *found;
	__u32 zero = 0;

	config = bpf_map_lookup_elem(&lrp_guard_config, &zero);
	if (!config || !guard_parse(ctx, &packet))
		return LRP_GUARD_OTHER;
	if (config->flags & LRP_GUARD_F_SUSPENDED)
		return LRP_GUARD_SUSPENDED;
	if (packet.target.tcp)
		return guard_syn(ctx, config, &packet);
	if (!bpf_map_lookup_elem(&lrp_guard_targets, &packet.target))
		return LRP_GUARD_QUIET;
	found = GUARD_LOOKUP(bpf_sk_lookup_udp, ctx, &packet);
	if (!found)
		return LRP_GUARD_UNSEEN;
	reason = guard_udp(ctx, config, GUARD_KERNEL(struct sock, found), &packet);
	bpf_sk_release(found);
	return reason;
}

/* XDP_DROP or XDP_PASS. */
static __always_inline int lrp_guard(struct xdp_md *ctx)
{
	__u32 reason = guard_decide(ctx);
	__u64 *count = bpf_map_lookup_elem(&lrp_guard_reasons, &reason);

	if (count)
		(*count)++;
	return reason == LRP_GUARD_DROPPED ? XDP_DROP : XDP_PASS;
}

#endif

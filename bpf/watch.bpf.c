/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * watch.bpf.c - the watcher: follows the sockets behind LRP's entries, in the kernel and at once.
 *
 * lrp_release (cgroup hook) runs when the last descriptor of a known socket is closed, also by the
 * death of its process. It shuts the port's entries: from this moment on the port's packets are the
 * kernel's. Ends that nobody else of the family holds change their generation. lrpd makes the maps
 * agree later. A socket that has not bound its port by number can leave the port while it is open.
 * lrpd does not take such sockets (lrp_locks).
 *
 * lrp_bound4 and lrp_bound6 (cgroup hooks) run when a UDP socket is bound. They shut a port of LRP
 * that another user binds.
 *
 * lrp_state (tracepoint) follows the connections that the kernel has on ports of LRP. XDP passes
 * their segments, and no process can make an entry for them. If a connection of LRP and one of the
 * kernel have the same four-tuple, the first wins, as in Linux.
 *
 * fentry programs would do the same in less code. Some kernels and sandboxes refuse them. Cgroup
 * hooks and tracepoints need BTF and CAP_SYS_ADMIN.
 *
 * Parameters (rodata, to be set before loading):
 *   lrp_netns  cookie of the network namespace
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "entry.h"
#include "maps.h"
#include "socket.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile __u64 lrp_netns;

static __always_inline bool is_ours(const struct sock *sk)
{
	return sk->__sk_common.skc_net.net->net_cookie == lrp_netns;
}

/* ---- a published socket leaves its port -------------------------------------------- */

static __always_inline void port_shut(bool v6, bool tcp, __u16 port, __u32 flags)
{
	__u32 index = LRP_PORT_INDEX(v6, tcp, port);
	__u64 *word = bpf_map_lookup_elem(&lrp_ports, &index);

	/* flags is the upper half: see struct lrp_port */
	if (word)
		__sync_fetch_and_and(word, ~((__u64)flags << 32));
}

/* Counts one socket fewer on the end. True: nobody has the end any more, and entries are left. */
static __always_inline bool end_leave(__u32 index)
{
	struct lrp_end *end;

	if (!index)
		return false;
	end = bpf_map_lookup_elem(&lrp_ends, &index);
	if (!end || __sync_fetch_and_add(&end->sockets, -1) != 1)
		return false;
	__sync_fetch_and_add(&end->generation, 1);
	return end->flows;
}

static __always_inline void quota_give(__u32 index)
{
	__u32 sum = LRP_QUOTA_ALL;
	struct lrp_quota *quota = bpf_map_lookup_elem(&lrp_quotas, &index);
	struct lrp_quota *all = bpf_map_lookup_elem(&lrp_quotas, &sum);

	if (quota)
		__sync_fetch_and_add(&quota->shadows, -1);
	if (all && index != LRP_QUOTA_ROOT)
		__sync_fetch_and_add(&all->shadows, -1);
}

static __always_inline void count_left(__u32 index)
{
	__u32 *count = bpf_map_lookup_elem(&lrp_left, &index);

	if (count)
		__sync_fetch_and_add(count, 1);
}

static __always_inline void left(__u64 cookie)
{
	struct lrp_event event = {.kind = LRP_EVENT_LEFT};
	struct lrp_shadow *found, shadow;
	bool tell;
	__u32 flags;

	found = bpf_map_lookup_elem(&lrp_shadows, &cookie);
	if (!found)
		return;
	shadow = *found;
	/* lrpd may be taking the record away at the same time: only one of both goes on. */
	if (bpf_map_delete_elem(&lrp_shadows, &cookie))
		return;
	event.index = LRP_LEFT_INDEX(shadow.tcp, shadow.port);
	if (shadow.reasons != LRP_SHADOW_FOUND)
		count_left(event.index);
	/* Connections of TCP go on by their exact entries. */
	flags = shadow.tcp ? LRP_PORT_ANY | LRP_PORT_BINDS
			   : LRP_PORT_ANY | LRP_PORT_BINDS | LRP_PORT_FLOWS | LRP_PORT_MULTICAST;
	if (!shadow.tcp || shadow.listens) {
		port_shut(false, shadow.tcp, shadow.port, flags);
		port_shut(true, shadow.tcp, shadow.port, flags);
	}
	tell = end_leave(shadow.end[0]);
	tell |= end_leave(shadow.end[1]);
	if (shadow.reasons & LRP_SHADOW_FOUND)
		quota_give(shadow.quota);
	/* A connection that has ended in order leaves nothing to be done. */
	if (tell || shadow.reasons != LRP_SHADOW_FOUND)
		bpf_ringbuf_output(&lrp_events, &event, sizeof(event), 0);
}

SEC("cgroup/sock_release")
int lrp_release(struct bpf_sock *sk)
{
	if (bpf_get_netns_cookie(sk) == lrp_netns)
		left(bpf_get_socket_cookie(sk));
	return 1;
}

/* ---- sockets that are bound beside ours ------------------------------------------ */

/* True: the target belongs to another user than the one who calls bind(). */
static __always_inline bool is_others(__u32 target)
{
	__u32 uid = (__u32)bpf_get_current_uid_gid(), *owner;
	struct lrp_owner *record;

	if (target & LRP_TARGET_GROUP) {
		__u32 index = target & ~LRP_TARGET_GROUP;
		struct lrp_group *group = bpf_map_lookup_elem(&lrp_groups, &index);

		if (!group)
			return true;
		target = group->endpoint[0]; /* a group is one user's */
	}
	owner = bpf_map_lookup_elem(&lrp_endpoint_owners, &target);
	record = owner ? bpf_map_lookup_elem(&lrp_owners, owner) : 0;
	return !record || record->uid != uid;
}

/*
 * A UDP socket is bound to an address where a socket of LRP receives. lrpd is told, and looks
 * whether the new socket is in the way. If another user binds, the port is shut until lrpd has
 * looked: the LRP socket may have been moved out of the way of this bind(). `bind`: the target of
 * the new socket's address, NULL: none. For TCP only listeners matter: see lrp_state.
 */
static __always_inline void bound(struct bpf_sock *sk, bool v6, bool wildcard, const __u32 *bind)
{
	struct lrp_event event = {.kind = LRP_EVENT_BOUND, .index = sk->src_port};
	__u32 index = LRP_PORT_INDEX(v6, false, event.index), flags;
	__u64 *word = bpf_map_lookup_elem(&lrp_ports, &index);
	bool any, own;
	__u64 port;

	if (!word || bpf_get_netns_cookie(sk) != lrp_netns)
		return;
	port = *(volatile __u64 *)word; /* target and flags as one */
	flags = port >> 32;
	any = flags & LRP_PORT_ANY;
	own = flags & LRP_PORT_BINDS && (wildcard || bind);
	if (!any && !own)
		return;
	/* Unless the port is LRP_PORT_MIXED, its target stands for all its sockets. */
	if (((any || !bind) && is_others((__u32)port)) || (own && bind && is_others(*bind)) ||
	    (own && !bind && flags & LRP_PORT_MIXED)) {
		/* In this order: lrpd opens no port that has the flag. */
		__sync_fetch_and_or(word, (__u64)LRP_PORT_SHUT << 32);
		port_shut(v6, false, event.index, LRP_PORT_ANY | LRP_PORT_BINDS);
	}
	bpf_ringbuf_output(&lrp_events, &event, sizeof(event), 0);
}

static __always_inline void bound_to4(struct bpf_sock *sk, __be32 addr)
{
	struct lrp_bind4 key = {
		.addr = addr, .port = bpf_htons((__u16)sk->src_port), .proto = IPPROTO_UDP};

	bound(sk, false, !addr, bpf_map_lookup_elem(&lrp_binds4, &key));
}

SEC("cgroup/post_bind4")
int lrp_bound4(struct bpf_sock *sk)
{
	if (sk->protocol == IPPROTO_UDP)
		bound_to4(sk, sk->src_ip4);
	return 1;
}

SEC("cgroup/post_bind6")
int lrp_bound6(struct bpf_sock *sk)
{
	struct lrp_bind6 key = {.proto = IPPROTO_UDP};
	__be32 *addr = (__be32 *)&key.addr;
	bool wildcard;

	if (sk->protocol != IPPROTO_UDP)
		return 1;
	addr[0] = sk->src_ip6[0];
	addr[1] = sk->src_ip6[1];
	addr[2] = sk->src_ip6[2];
	addr[3] = sk->src_ip6[3];
	wildcard = lrp_addr6_zero(&key.addr);
	key.port = bpf_htons((__u16)sk->src_port);
	if (wildcard || lrp_addr6_mapped(&key.addr))
		bound_to4(sk, addr[3]);
	if (!lrp_addr6_mapped(&key.addr))
		bound(sk, true, wildcard, bpf_map_lookup_elem(&lrp_binds6, &key));
	return 1;
}

/* ---- connections of the kernel ------------------------------------------------------- */

/* skc_num is 0 already when a socket that has not bound its port by number goes to CLOSE. */
static __always_inline __u16 port_of(const struct sock *sk)
{
	return bpf_ntohs(BPF_CORE_READ((const struct inet_sock *)sk, inet_sport));
}

static __always_inline void key6_of(const struct sock *sk, struct lrp_flow6 *key)
{
	__builtin_memset(key, 0, sizeof(*key));
	BPF_CORE_READ_INTO(&key->laddr, sk, __sk_common.skc_v6_rcv_saddr);
	BPF_CORE_READ_INTO(&key->raddr, sk, __sk_common.skc_v6_daddr);
	key->lport = bpf_htons(port_of(sk));
	key->rport = sk->__sk_common.skc_dport;
	key->proto = IPPROTO_TCP;
}

static __always_inline void kernel_flag(bool v6, __u16 port, bool noted)
{
	__u32 index = LRP_PORT_INDEX(v6, true, port);
	__u64 *word = bpf_map_lookup_elem(&lrp_ports, &index);

	if (word)
		__sync_fetch_and_or(word, (__u64)(noted ? LRP_PORT_KERNEL : LRP_PORT_CROWDED)
						  << 32);
}

/*
 * connect() goes to SYN_SENT before it asks whether the four-tuple is free, and to CLOSE if it is
 * not. So a socket in SYN_SENT takes no record from another, and only the socket of a record
 * deletes it.
 */
static __always_inline __u64 kernel_how(int now)
{
	return now == STATE_SYN_SENT ? BPF_NOEXIST : BPF_ANY;
}

static __always_inline struct lrp_kernel kernel_of(struct sock *sk)
{
	return (struct lrp_kernel){.seen = bpf_ktime_get_ns(), .cookie = bpf_get_socket_cookie(sk)};
}

static __always_inline void kernel_set4(struct sock *sk, int now)
{
	struct lrp_flow4 key = {
		.laddr = sk->__sk_common.skc_rcv_saddr,
		.raddr = sk->__sk_common.skc_daddr,
		.lport = bpf_htons(port_of(sk)),
		.rport = sk->__sk_common.skc_dport,
		.proto = IPPROTO_TCP,
	};
	struct lrp_kernel kernel = kernel_of(sk), *before;
	struct lrp_flow *flow;
	long err;

	if (now == STATE_CLOSE) {
		before = bpf_map_lookup_elem(&lrp_kernel4, &key);
		if (before && before->cookie == kernel.cookie)
			bpf_map_delete_elem(&lrp_kernel4, &key);
		return;
	}
	flow = bpf_map_lookup_elem(&lrp_flows4, &key);
	if (flow && lrp_entry_counts(*lrp_entry_second(flow)))
		return;
	err = bpf_map_update_elem(&lrp_kernel4, &key, &kernel, kernel_how(now));
	kernel_flag(false, port_of(sk), !err || err == -EEXIST);
}

static __always_inline void kernel_set6(struct sock *sk, const struct lrp_flow6 *key, int now)
{
	struct lrp_kernel kernel = kernel_of(sk), *before;
	struct lrp_flow *flow;
	long err;

	if (now == STATE_CLOSE) {
		before = bpf_map_lookup_elem(&lrp_kernel6, key);
		if (before && before->cookie == kernel.cookie)
			bpf_map_delete_elem(&lrp_kernel6, key);
		return;
	}
	flow = bpf_map_lookup_elem(&lrp_flows6, key);
	if (flow && lrp_entry_counts(*lrp_entry_second(flow)))
		return;
	err = bpf_map_update_elem(&lrp_kernel6, key, &kernel, kernel_how(now));
	kernel_flag(true, port_of(sk), !err || err == -EEXIST);
}

static __always_inline void kernel_set(struct sock *sk, int now)
{
	struct lrp_flow6 key;

	if (sk->__sk_common.skc_family == AF_INET) {
		kernel_set4(sk, now);
		return;
	}
	key6_of(sk, &key);
	if (lrp_addr6_mapped(&key.raddr))
		kernel_set4(sk, now);
	else
		kernel_set6(sk, &key, now);
}

/*
 * A kernel socket begins to listen on a port on which families of other users have ends. This is
 * possible with SO_REUSEADDR on both sides, if the others do not listen. The entries of these
 * families could catch the listener's clients. So the families lose the ends. Root's stay.
 */
/* Would a socket that listens on `addr` get what is sent to the end? */
static __always_inline bool overlaps(const struct sock *sk, const struct lrp_addr6 *addr,
				     const struct lrp_end *end)
{
	bool v6 = sk->__sk_common.skc_family == AF_INET6;

	if (end->v6 && (!v6 || lrp_addr6_mapped(addr)))
		return false;
	if (!end->v6 && v6 && !lrp_addr6_mapped(addr) &&
	    (!lrp_addr6_zero(addr) || BPF_CORE_READ_BITFIELD(&sk->__sk_common, skc_ipv6only)))
		return false;
	return lrp_addr6_zero(addr) || lrp_addr6_zero(&end->addr) ||
	       lrp_addr6_equal(addr, &end->addr);
}

static __always_inline bool evict(const struct sock *sk, __u32 index)
{
	__u64 cookie = sk->__sk_common.skc_cookie.counter;
	__u32 uid = sk->sk_uid.val;
	struct lrp_addr6 addr;
	struct lrp_end *end;
	bool any = false;

	if (cookie && bpf_map_lookup_elem(&lrp_shadows, &cookie))
		return false;
	lrp_socket_laddr(sk, &addr);
	for (__u32 i = 0; i < LRP_ENDS_ON_PORT && index; i++) {
		end = bpf_map_lookup_elem(&lrp_ends, &index);
		if (!end)
			break;
		if (end->owner && end->uid && end->uid != uid && overlaps(sk, &addr, end)) {
			end->owner = 0;
			__sync_fetch_and_add(&end->generation, 1);
			any = true;
		}
		index = end->next;
	}
	return any;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(lrp_state, struct sock *sk, int before, int now)
{
	struct lrp_event event = {.kind = LRP_EVENT_EVICT};
	__u32 port, *head;

	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	port = port_of(sk);
	head = bpf_map_lookup_elem(&lrp_end_heads, &port);
	if (!head || !*head || !is_ours(sk))
		return 0;
	if (now == STATE_LISTEN) {
		if (evict(sk, *head)) {
			/* A listener of these families loses the port, too. */
			port_shut(false, true, port, LRP_PORT_ANY | LRP_PORT_BINDS);
			port_shut(true, true, port, LRP_PORT_ANY | LRP_PORT_BINDS);
			count_left(LRP_LEFT_INDEX(true, port));
			event.index = port;
		}
	} else if (now == STATE_SYN_SENT || now == STATE_SYN_RECV || now == STATE_ESTABLISHED) {
		if (sk->__sk_common.skc_dport) /* else it has no peer yet */
			kernel_set(sk, now);
	} else if (now == STATE_CLOSE && before != STATE_LISTEN) {
		/* Also if the connection goes on in TIME_WAIT, without this socket: see
		 * kernel_tcp.c. */
		kernel_set(sk, now);
	}
	if (event.index)
		bpf_ringbuf_output(&lrp_events, &event, sizeof(event), 0);
	return 0;
}

/* ---- what lrpd asks about a socket ------------------------------------------------------- */

/*
 * Context of lrp_locks: a descriptor of the calling process. Returns the socket's sk_userlocks. The
 * caller has the descriptor open and knows that it is an INET socket's.
 */
struct lrp_locks_call {
	__u32 fd;
};

SEC("syscall")
int lrp_locks(struct lrp_locks_call *ctx)
{
	struct sock *sk = lrp_socket_of(*(volatile __u32 *)&ctx->fd);

	return sk ? BPF_CORE_READ_BITFIELD_PROBED(sk, sk_userlocks) : 0;
}

/* ---- what lrpd takes away ------------------------------------------------------------------ */

/* True: the entry's family, endpoint and end are still as when the family made or reserved it. */
static __always_inline bool entry_lives(const struct lrp_flow *flow, __u64 second)
{
	__u32 owner = flow->owner, endpoint = flow->endpoint, index = (__u32)second;
	struct lrp_family *family = bpf_map_lookup_elem(&lrp_families, &owner);
	__u32 *endpoint_owner = bpf_map_lookup_elem(&lrp_endpoint_owners, &endpoint);
	struct lrp_end *end = bpf_map_lookup_elem(&lrp_ends, &index);

	return family && family->generation && endpoint_owner && *endpoint_owner == owner && end &&
	       end->owner == owner && (!(second >> 32) || end->generation == second >> 32);
}

/*
 * Context of lrp_purge: the key of an exact entry of TCP. lrp_purge deletes the entry if it no
 * longer lives. Then the result is 1.
 *
 * Normally the program that puts a tombstone into an entry deletes it. Two programs that race for
 * entries of one family may leave a tombstone behind. lrp_purge marks a tombstone that it meets. It
 * deletes the tombstone when it meets it again. That is more than a grace period later, so no
 * program is about to delete that key any more.
 */
struct lrp_purge_call {
	__u32 v4;
	struct lrp_flow6 key; /* or lrp_flow4, in its first bytes */
};

static __always_inline int tombstone(const struct lrp_entry_key *key, struct lrp_flow *flow,
				     __u64 second)
{
	__u32 end = (__u32)second;

	if (second >> 32 == LRP_FLOW_TOMBSTONE)
		return lrp_entry_swap(lrp_entry_second(flow), second,
				      lrp_entry_word(end, LRP_FLOW_TOMBSTONE_SEEN))
			       ? 2
			       : 0;
	if (key->v4)
		bpf_map_delete_elem(&lrp_flows4, &key->key4);
	else
		bpf_map_delete_elem(&lrp_flows6, &key->key6);
	return 2;
}

SEC("syscall")
int lrp_purge(struct lrp_purge_call *ctx)
{
	struct lrp_entry_key key = {.v4 = *(volatile __u32 *)&ctx->v4};
	volatile __u32 *from = (volatile __u32 *)&ctx->key;
	__u32 *to = (__u32 *)&key.key6;
	struct lrp_flow *flow;
	__u64 second;

#pragma unroll
	for (int i = 0; i < (int)(sizeof(key.key6) / 4); i++)
		to[i] = from[i];
	flow = lrp_entry_find(&key);
	if (!flow || !flow->end)
		return 0;
	second = *(volatile __u64 *)lrp_entry_second(flow);
	if (second >> 32 >= LRP_FLOW_TOMBSTONE_SEEN)
		return tombstone(&key, flow, second);
	return !entry_lives(flow, second) && lrp_entry_remove(&key, flow, second);
}

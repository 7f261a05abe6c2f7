/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * authority.bpf.c - the system call by which a process changes the exact entries of its
 * TCP connections.
 *
 * lrpd loads the program once for each family and passes its descriptor. The processes of the
 * family run it with BPF_PROG_RUN, which needs no privilege (Linux 5.19). They never have a
 * descriptor of a map. The family's number and generation are constants of its program. So there is
 * no secret to be guessed or leaked, and a program whose family is gone does nothing. A map that a
 * client binds to the program with BPF_PROG_BIND_MAP is freed together with the program.
 *
 * These programs can be preempted. So check and change stand in one RCU read-side section. lrpd
 * takes an authority away, waits for a grace period, and purges the entries only then.
 *
 * Parameters (rodata, to be set before loading):
 *   lrp_owner, lrp_generation  the family, as in lrp_families
 *   lrp_netns                  cookie of the network namespace
 *   lrp_stall_step, lrp_stall  for tests: at this step the program spins for so many rounds
 *
 * bpf_rcu_read_lock() exists since Linux 6.2. On older kernels the program runs without it. Only
 * the embedded mode runs there, where one process trusts itself.
 */
#include <asm/errno.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "entry.h"
#include "maps.h"
#include "socket.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile __u32 lrp_owner;
const volatile __u64 lrp_generation;
const volatile __u64 lrp_netns;
const volatile __u32 lrp_stall_step;
const volatile __u32 lrp_stall;

extern void bpf_rcu_read_lock(void) __ksym __weak;
extern void bpf_rcu_read_unlock(void) __ksym __weak;

#define V4_MAPPED bpf_htonl(0xffff)

/* The verifier wants each field of the context at a fixed offset from the context pointer. */
#define FIELD(ctx, field) (*(volatile typeof((ctx)->field) *)&(ctx)->field)

struct call {
	__u32 op, endpoint, quota;
	__s32 fd;
	struct lrp_entry_key key;
	struct lrp_end_key end;
};

static __always_inline void copy_addr(__u32 to[4], const __u32 from[4])
{
	for (int i = 0; i < 4; i++)
		to[i] = *(volatile __u32 *)&from[i];
}

/* ---- for tests: a preemption at a step ------------------------------------ */

static long spin(__u32 index, void *ctx)
{
	return 0;
}

static __always_inline void stall_at(__u32 step)
{
	if (lrp_stall_step != step)
		return;
	/* Each does 2^23 rounds at most. */
	bpf_loop(lrp_stall, spin, NULL, 0);
	bpf_loop(lrp_stall, spin, NULL, 0);
	bpf_loop(lrp_stall, spin, NULL, 0);
	bpf_loop(lrp_stall, spin, NULL, 0);
}

/* ---- is the local end the family's ------------------------------------------ */

static __always_inline bool is_local(const struct call *call)
{
	struct lrp_local *local;
	struct lrp_addr6 addr6;
	__be32 addr4;

	if (call->key.v4) {
		addr4 = call->key.key4.laddr;
		if (bpf_ntohl(addr4) >> 24 == 127)
			return true;
		local = bpf_map_lookup_elem(&lrp_local4, &addr4);
	} else {
		addr6 = call->key.key6.laddr;
		local = bpf_map_lookup_elem(&lrp_local6, &addr6);
	}
	return local && local->kind == LRP_LOCAL_UNICAST;
}

/* True: another family has this address on this port. Then a wildcard end of ours
 * does not count. */
static __always_inline bool is_others(const struct call *call)
{
	__u32 port = bpf_ntohs(call->end.port), *head = bpf_map_lookup_elem(&lrp_end_heads, &port);
	__u32 index = head ? *(volatile __u32 *)head : 0;
	struct lrp_end *end;

	for (__u32 i = 0; i < LRP_ENDS_ON_PORT && index; i++) {
		end = bpf_map_lookup_elem(&lrp_ends, &index);
		if (!end)
			return true;
		if (*(volatile __u32 *)&end->sockets && end->owner != lrp_owner &&
		    end->v6 == !call->key.v4 && lrp_addr6_equal(&end->addr, &call->end.addr))
			return true;
		index = end->next;
	}
	return index;
}

/* The more specific end first. Returns 0 and the end's index, or -errno. */
static __always_inline int end_find(struct call *call, __u32 *index)
{
	struct lrp_end *end;
	__u32 *found;

	if (!is_local(call))
		return -EADDRNOTAVAIL;
	call->end.owner = lrp_owner;
	found = bpf_map_lookup_elem(&lrp_end_index, &call->end);
	if (!found) {
		if (is_others(call))
			return -EACCES;
		__builtin_memset(&call->end.addr, 0, sizeof(call->end.addr));
		found = bpf_map_lookup_elem(&lrp_end_index, &call->end);
	}
	if (!found || !*found)
		return -EADDRNOTAVAIL;
	*index = *found;
	end = bpf_map_lookup_elem(&lrp_ends, index);
	return end && end->owner == lrp_owner ? 0 : -EADDRNOTAVAIL;
}

/* The end's generation; 0: nobody of the family has the end at this moment. The generation is read
 * before the number of sockets. Otherwise it could be the one after the end's death, and count. */
static __always_inline __u32 end_generation(__u32 index)
{
	struct lrp_end *end = bpf_map_lookup_elem(&lrp_ends, &index);
	__u32 generation;

	if (!end)
		return 0;
	generation = *(volatile __u32 *)&end->generation;
	if (!*(volatile __u32 *)&end->sockets || end->owner != lrp_owner)
		return 0;
	return generation;
}

static __always_inline bool owns(__u32 endpoint)
{
	__u32 *owner = bpf_map_lookup_elem(&lrp_endpoint_owners, &endpoint);

	return owner && endpoint && *(volatile __u32 *)owner == lrp_owner;
}

/* ---- quotas ------------------------------------------------------------------- */

static __always_inline bool count_up(__u32 *count, __u32 limit)
{
	if (__sync_fetch_and_add(count, 1) < limit)
		return true;
	__sync_fetch_and_add(count, -1);
	return false;
}

static __always_inline struct lrp_quota *quota_of(__u32 index)
{
	return bpf_map_lookup_elem(&lrp_quotas, &index);
}

static __always_inline bool quotas_take(__u32 index)
{
	struct lrp_quota *quota = quota_of(index), *all = quota_of(LRP_QUOTA_ALL);

	if (!quota || !all || !count_up(&quota->flows, quota->limit))
		return false;
	if (index == LRP_QUOTA_ROOT || count_up(&all->flows, all->limit))
		return true;
	__sync_fetch_and_add(&quota->flows, -1);
	return false;
}

static __always_inline void shadows_give(__u32 index)
{
	struct lrp_quota *quota = quota_of(index), *all = quota_of(LRP_QUOTA_ALL);

	if (quota)
		__sync_fetch_and_add(&quota->shadows, -1);
	if (all && index != LRP_QUOTA_ROOT)
		__sync_fetch_and_add(&all->shadows, -1);
}

static __always_inline bool shadows_take(__u32 index)
{
	struct lrp_quota *quota = quota_of(index), *all = quota_of(LRP_QUOTA_ALL);

	if (!quota || !all || !count_up(&quota->shadows, quota->limit))
		return false;
	if (index == LRP_QUOTA_ROOT || count_up(&all->shadows, all->limit))
		return true;
	__sync_fetch_and_add(&quota->shadows, -1);
	return false;
}

/* ---- the caller's socket --------------------------------------------------------- */

static __always_inline bool is_bound_there(const struct sock *sk, const struct call *call)
{
	struct lrp_addr6 laddr;

	lrp_socket_laddr(sk, &laddr);
	return BPF_CORE_READ(sk, __sk_common.skc_net.net, net_cookie) == lrp_netns &&
	       BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP &&
	       BPF_CORE_READ(sk, __sk_common.skc_state) == STATE_CLOSE &&
	       BPF_CORE_READ(sk, __sk_common.skc_num) == bpf_ntohs(call->end.port) &&
	       BPF_CORE_READ_BITFIELD_PROBED(sk, sk_userlocks) & SOCK_BINDPORT_LOCK &&
	       lrp_addr6_equal(&laddr, &call->end.addr);
}

/*
 * The socket becomes one of those by which the family has the end. The program records the socket
 * first and then looks at it once more: after the record is made the watcher sees the socket leave.
 */
static __always_inline int shadow_add(const struct call *call, __u32 index)
{
	struct lrp_shadow shadow = {.port = bpf_ntohs(call->end.port),
				    .tcp = 1,
				    .quota = call->quota,
				    .reasons = LRP_SHADOW_FOUND};
	struct lrp_end *end = bpf_map_lookup_elem(&lrp_ends, &index);
	struct sock *sk = lrp_socket_of(call->fd);
	__u64 cookie;
	int err;

	if (!sk || !end)
		return -EBADF;
	cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	if (!cookie || !is_bound_there(sk, call))
		return -EBADF;
	if (!shadows_take(call->quota))
		return -EDQUOT;
	if (call->key.v4)
		shadow.end[0] = index;
	else
		shadow.end[1] = index;
	__sync_fetch_and_add(&end->sockets, 1);
	err = bpf_map_update_elem(&lrp_shadows, &cookie, &shadow, BPF_NOEXIST);
	stall_at(4);
	if (!err && (lrp_socket_of(call->fd) != sk ||
		     (__u64)BPF_CORE_READ(sk, __sk_common.skc_cookie.counter) != cookie ||
		     !is_bound_there(sk, call))) {
		err = -EBADF;
		/* If the record is gone already, the watcher has counted down. */
		if (bpf_map_delete_elem(&lrp_shadows, &cookie))
			return err;
	}
	if (!err)
		return 0;
	if (__sync_fetch_and_add(&end->sockets, -1) == 1)
		__sync_fetch_and_add(&end->generation, 1);
	shadows_give(call->quota);
	/* lrpd or an earlier call has recorded the socket, with the end that it has. */
	return err == -EEXIST ? 0 : err;
}

/* ---- the operations --------------------------------------------------------------- */

static __always_inline int flow_insert(const struct call *call, const struct lrp_flow *flow)
{
	return call->key.v4 ? bpf_map_update_elem(&lrp_flows4, &call->key.key4, flow, BPF_NOEXIST)
			    : bpf_map_update_elem(&lrp_flows6, &call->key.key6, flow, BPF_NOEXIST);
}

static __always_inline bool is_kernels(const struct call *call)
{
	return call->key.v4 ? bpf_map_lookup_elem(&lrp_kernel4, &call->key.key4) != NULL
			    : bpf_map_lookup_elem(&lrp_kernel6, &call->key.key6) != NULL;
}

static __always_inline int flow_delete(const struct call *call)
{
	struct lrp_flow *flow = lrp_entry_find(&call->key);

	if (!flow || flow->owner != lrp_owner || !flow->end)
		return -ENOENT;
	stall_at(2);
	return lrp_entry_remove(&call->key, flow, *(volatile __u64 *)lrp_entry_second(flow))
		       ? 0
		       : -ENOENT;
}

/*
 * Changes an entry of the same family and end. If the entry counts, it may lead to another
 * endpoint. If it does not count, it is made to count: it was reserved, or is left from an
 * earlier generation.
 */
static __always_inline int flow_change(struct call *call, struct lrp_flow *flow,
				       const struct lrp_flow *new)
{
	__u64 first = *(volatile __u64 *)lrp_entry_first(flow);
	__u64 second = *(volatile __u64 *)lrp_entry_second(flow);

	if (first >> 32 != lrp_owner || (__u32)second != new->end ||
	    second >> 32 >= LRP_FLOW_TOMBSTONE_SEEN)
		return -EEXIST;
	if (call->op == LRP_FLOW_RESERVE || (call->op == LRP_FLOW_ADD && lrp_entry_counts(second)))
		return -EEXIST;
	if (!lrp_entry_swap(lrp_entry_first(flow), first,
			    lrp_entry_word(new->endpoint, new->owner)))
		return -EEXIST;
	stall_at(3);
	if (second >> 32 != new->generation &&
	    !lrp_entry_swap(lrp_entry_second(flow), second,
			    lrp_entry_word(new->end, new->generation)))
		return -EEXIST;
	return 0;
}

/* An entry of another end or family that does not count blocks nobody: it is removed.
 * True: it is gone. */
static __always_inline bool flow_evict(const struct call *call, struct lrp_flow *flow)
{
	__u64 second = *(volatile __u64 *)lrp_entry_second(flow);

	return (__u32)second && !lrp_entry_counts(second) &&
	       lrp_entry_remove(&call->key, flow, second);
}

/* True: the kernel has more connections on ports of LRP than the maps can hold. Then the
 * four-tuple may be one of these. */
static __always_inline bool is_crowded(const struct call *call)
{
	__u32 index = LRP_PORT_INDEX(!call->key.v4, true, bpf_ntohs(call->end.port));
	struct lrp_port *port = bpf_map_lookup_elem(&lrp_ports, &index);

	return port && *(volatile __u32 *)&port->flags & LRP_PORT_CROWDED;
}

static __always_inline int flow_put(struct call *call)
{
	struct lrp_flow flow = {.endpoint = call->endpoint, .owner = lrp_owner}, *there;
	int err;

	err = end_find(call, &flow.end);
	if (!err && call->fd >= 0 && call->op != LRP_FLOW_RESERVE)
		err = shadow_add(call, flow.end);
	if (err)
		return err;
	if (call->op != LRP_FLOW_RESERVE) {
		flow.generation = end_generation(flow.end);
		if (!flow.generation)
			return -EADDRNOTAVAIL;
	}
	stall_at(2);
	if (is_crowded(call))
		return -ENOSPC;
	if (is_kernels(call))
		return -EEXIST;
	there = lrp_entry_find(&call->key);
	if (there &&
	    ((there->owner == lrp_owner && there->end == flow.end) || !flow_evict(call, there)))
		return flow_change(call, there, &flow);
	if (!quotas_take(call->quota))
		return -EDQUOT;
	stall_at(3);
	err = flow_insert(call, &flow);
	if (err)
		lrp_quota_give(call->quota);
	else
		lrp_end_count(flow.end, 1);
	return err;
}

static __always_inline int run(struct call *call)
{
	__u32 owner = lrp_owner;
	struct lrp_family *family = bpf_map_lookup_elem(&lrp_families, &owner);

	if (!family || *(volatile __u64 *)&family->generation != lrp_generation)
		return -ESTALE;
	call->quota = family->quota;
	stall_at(1);
	if (call->op == LRP_FLOW_DELETE)
		return flow_delete(call);
	if (call->op < LRP_FLOW_RESERVE || call->op > LRP_FLOW_SET)
		return -EINVAL;
	return owns(call->endpoint) ? flow_put(call) : -EPERM;
}

static __always_inline void call_read(struct call *call, const struct lrp_flow_call *ctx)
{
	__u32 laddr[4], raddr[4];
	__be16 lport = FIELD(ctx, lport), rport = FIELD(ctx, rport);

	call->op = FIELD(ctx, op);
	call->endpoint = FIELD(ctx, endpoint);
	call->fd = FIELD(ctx, fd);
	copy_addr(laddr, ctx->laddr);
	copy_addr(raddr, ctx->raddr);
	call->key.v4 = !raddr[0] && !raddr[1] && raddr[2] == V4_MAPPED;
	__builtin_memcpy(&call->end.addr, laddr, sizeof(call->end.addr));
	call->end.port = lport;
	call->end.family = call->key.v4 ? 4 : 6;
	if (call->key.v4) {
		call->key.key4.laddr = laddr[3];
		call->key.key4.raddr = raddr[3];
		call->key.key4.lport = lport;
		call->key.key4.rport = rport;
		call->key.key4.proto = IPPROTO_TCP;
		/* An IPv4 peer needs an IPv4 local address. */
		if (laddr[0] || laddr[1] || laddr[2] != V4_MAPPED)
			call->op = 0;
	} else {
		__builtin_memcpy(&call->key.key6.laddr, laddr, sizeof(call->key.key6.laddr));
		__builtin_memcpy(&call->key.key6.raddr, raddr, sizeof(call->key.key6.raddr));
		call->key.key6.lport = lport;
		call->key.key6.rport = rport;
		call->key.key6.proto = IPPROTO_TCP;
		if (!laddr[0] && !laddr[1] && laddr[2] == V4_MAPPED)
			call->op = 0;
	}
}

SEC("syscall")
int lrp_authority(struct lrp_flow_call *ctx)
{
	struct call call;
	int err;

	__builtin_memset(&call, 0, sizeof(call));
	call_read(&call, ctx);
	if (bpf_rcu_read_lock)
		bpf_rcu_read_lock();
	err = run(&call);
	if (bpf_rcu_read_unlock)
		bpf_rcu_read_unlock();
	return err;
}

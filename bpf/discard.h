/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * discard.h - does the channel take the packet: early discard [design 3].
 *
 * occupancy = enqueued - corrected - returned - lost, in frames, clamped at 0.
 * The user record is written by the application: whatever stands in it, it can
 * only make its own occupancy look smaller or larger, and the RX ring bounds
 * the rest.
 *
 * Loans: what a channel holds above its guarantee is borrowed from the pool's
 * surplus, first LRP_LOAN_FIRST frames, then in units of LRP_LOAN_UNIT. Nobody
 * gives back by himself; each time that something is borrowed, and several times when the surplus has run out, the
 * loan of the next channel in turn (the pool's cursor) is recomputed from its
 * occupancy. So the pool's counter is touched once per unit and never on the
 * way back, and a channel that has fallen silent is found as well.
 *
 * When half of the surplus is lent lrpd is told, once, which lets more of the UMEM's
 * frames circulate.
 */
#ifndef LRP_BPF_DISCARD_H
#define LRP_BPF_DISCARD_H

#include <stdbool.h>

#include "maps.h"

/*
 * True where several CPUs can run the program for one queue at a time: generic
 * mode, and several instances on one channel. In native mode a queue belongs to one
 * NAPI context, and plain additions save some 5 ns each. Set by the loader.
 */
const volatile bool lrp_concurrent = true;

/* Loans that are recomputed before a packet is dropped for want of surplus. */
#define LRP_LOAN_SCAN 4

#define LRP_COUNT(counter, n)                                                                      \
	do {                                                                                       \
		if (lrp_concurrent)                                                                \
			__sync_fetch_and_add(&(counter), n);                                       \
		else                                                                               \
			(counter) += (n);                                                          \
	} while (0)

static __always_inline struct lrp_user *lrp_user_of(const struct lrp_channel *channel)
{
	__u32 page_index = channel->user_page, slot = channel->user_slot;
	void *page = bpf_map_lookup_elem(&lrp_users, &page_index);

	return page ? bpf_map_lookup_elem(page, &slot) : NULL;
}

static __always_inline __u64 lrp_occupancy(const struct lrp_channel *channel,
					   const struct lrp_user *user)
{
	__u64 gone = *(volatile __u64 *)&user->returned + *(volatile __u64 *)&user->lost;
	__s64 held = *(volatile __u64 *)&channel->enqueued - channel->corrected - gone;

	return held > 0 ? held : 0;
}

/* The loan that this many frames need. */
static __always_inline __u32 lrp_loan_need(__u64 frames, __u32 guarantee)
{
	if (frames <= guarantee)
		return 0;
	if (frames - guarantee <= LRP_LOAN_FIRST)
		return LRP_LOAN_FIRST;
	return ((__u32)(frames - guarantee) + LRP_LOAN_UNIT - 1) & ~(LRP_LOAN_UNIT - 1);
}

/* Takes back what the next channel in turn has borrowed and no longer needs. */
static __always_inline void lrp_loan_recompute(const struct lrp_device *device,
					       struct lrp_pool *pool, __u32 queue)
{
	__u32 endpoints = device->endpoints, index, loan, need;
	struct lrp_channel *channel;
	struct lrp_user *user;

	index = __sync_fetch_and_add(&pool->cursor, 1);
	if (endpoints)
		index %= endpoints;
	index += queue * endpoints;
	channel = bpf_map_lookup_elem(&lrp_channels, &index);
	if (!channel)
		return;
	loan = *(volatile __u32 *)&channel->loan;
	if (!loan)
		return;
	user = lrp_user_of(channel);
	if (!user)
		return;
	need = lrp_loan_need(lrp_occupancy(channel, user), channel->guarantee);
	if (need >= loan)
		return;
	/* whoever changes the loan settles the difference with the pool */
	if (__sync_val_compare_and_swap(&channel->loan, loan, need) == loan)
		__sync_fetch_and_add(&pool->lent, need - loan);
}

/* Borrows `more` frames for the channel, all or none. */
static __always_inline bool lrp_loan_borrow(struct lrp_pool *pool, struct lrp_channel *channel,
					    __u32 loan, __u32 more)
{
	__u32 lent = __sync_fetch_and_add(&pool->lent, more);

	/* compared as 64-bit: a huge loan must not wrap */
	if ((__u64)lent + more <= pool->surplus &&
	    __sync_val_compare_and_swap(&channel->loan, loan, loan + more) == loan)
		return true;
	__sync_fetch_and_add(&pool->lent, -more);
	return false;
}

/* Few enough are left that lrpd should see to it. */
static __always_inline void lrp_loan_warn(const struct lrp_device *device, struct lrp_pool *pool,
					  __u32 queue)
{
	struct lrp_event event = {
		.kind = LRP_EVENT_SHORT, .index = device->ifindex, .queue = queue};
	__u32 surplus = pool->surplus;

	if (*(volatile __u32 *)&pool->lent <= surplus / 2 || *(volatile __u32 *)&pool->short_of ||
	    __sync_val_compare_and_swap(&pool->short_of, 0, 1))
		return;
	bpf_ringbuf_output(&lrp_events, &event, sizeof(event), 0);
}

/* Makes the channel's loan cover `frames` in all. */
static __always_inline bool lrp_loan_cover(const struct lrp_device *device,
					   struct lrp_channel *channel, __u64 frames, __u32 queue)
{
	__u32 need = lrp_loan_need(frames, channel->guarantee), loan;
	struct lrp_pool *pool;
	bool borrowed;

	loan = *(volatile __u32 *)&channel->loan;
	if (loan >= need)
		return true;
	pool = bpf_map_lookup_elem(&lrp_pools, &queue);
	if (!pool)
		return false;
	lrp_loan_recompute(device, pool, queue);
	borrowed = lrp_loan_borrow(pool, channel, loan, need - loan);
	lrp_loan_warn(device, pool, queue);
	if (borrowed)
		return true;
#pragma unroll
	for (int i = 1; i < LRP_LOAN_SCAN; i++)
		lrp_loan_recompute(device, pool, queue);
	/* another CPU, or the recomputation, may have changed it meanwhile */
	loan = *(volatile __u32 *)&channel->loan;
	return loan >= need || lrp_loan_borrow(pool, channel, loan, need - loan);
}

/*
 * May a packet join the channel? Returns LRP_XDP_ENQUEUED and in *frames how many
 * frames it takes, else the reason. Looks at the length only when there is room
 * for one frame at least: a full channel costs the least.
 */
static __always_inline enum lrp_xdp_reason
lrp_discard(struct xdp_md *ctx, const struct lrp_device *device, struct lrp_channel *channel,
	    const struct lrp_user *user, __u32 queue, __u32 *frames, __u32 *length)
{
	__u64 held = lrp_occupancy(channel, user);
	__u32 limit = channel->limit, payload = device->frame_payload;

	if (held >= limit)
		return LRP_XDP_DROP_FULL;
	*length = bpf_xdp_get_buff_len(ctx);
	*frames = 1;
	if (*length > payload && payload)
		*frames = (*length + payload - 1) / payload;
	held += *frames;
	if (held > limit)
		return LRP_XDP_DROP_FULL;
	if (held > channel->guarantee && !lrp_loan_cover(device, channel, held, queue))
		return LRP_XDP_DROP_SURPLUS;
	return LRP_XDP_ENQUEUED;
}

#endif

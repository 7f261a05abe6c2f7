/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * channel.c - see channel.h.
 *
 * The order of a return: push the frame, advance the consumer, count it in
 * user->returned. A reader of the ring (lrpd, after our death) thus finds each
 * frame in the ring until it is surely on the fill ring, and at most the one
 * at the consumer in both. And XDP admits no packet for which the ring has no
 * slot yet, since it learns last.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "channel.h"
#include "fill.h"
#include "ring_map.h"

/* The call that asks the kernel for losses costs more than all else in a settle, and there are none as
 * long as XDP lends only what the pool has: a batch of packets asks, or so many settles. */
#define SETTLES_ASK 64u

/* What the kernel lost of the frames that XDP has counted as enqueued: the fill
 * ring was empty, or the RX ring full. Of a packet in several frames it counts one. */
static int socket_losses(int fd, uint64_t *losses)
{
	struct xdp_statistics stats;
	socklen_t len = sizeof(stats);

	if (getsockopt(fd, SOL_XDP, XDP_STATISTICS, &stats, &len))
		return -errno;
	*losses = stats.rx_dropped + (len == sizeof(stats) ? stats.rx_ring_full : 0);
	return 0;
}

static void count_returned(struct lrp_chan *chan)
{
	uint32_t n = chan->returned_at - chan->counted_at;

	/* Noted first: who dies between the two has counted too little, which costs his
	 * own channel a batch until the next audit; too much would let it
	 * take frames of others. */
	chan->counted_at = chan->returned_at;
	atomic_signal_fence(memory_order_seq_cst);
	/* Atomic: lrp_chan_give_back() adds from other threads. Release: see above. */
	if (n && chan->user)
		__atomic_fetch_add(&chan->user->returned, n, __ATOMIC_RELEASE);
}

void lrp_chan_set_limit(struct lrp_chan *chan, uint32_t limit)
{
	uint32_t slots = chan->ring_mask + 1;

	if (limit == 0 || limit > slots)
		limit = slots;
	chan->batch = limit / 4 ? limit / 4 : 1;
}

int lrp_chan_open(struct lrp_chan *chan, struct lrp_pool_view *pool, int fd, uint32_t ring_size,
		  struct lrp_user *user, void *ring_map)
{
	struct xdp_mmap_offsets offsets;
	uint64_t losses;
	uint8_t *map;
	int error;

	memset(chan, 0, sizeof(*chan));
	chan->fd = -1;
	if (!ring_size || ring_size & (ring_size - 1))
		return -EINVAL;
	error = lrp_ring_offsets(fd, &offsets);
	if (!error)
		error = socket_losses(fd, &losses);
	if (error)
		return error;
	chan->ring_map = ring_map;
	if (!ring_map) {
		size_t size = lrp_ring_rx_size(&offsets, ring_size);

		error = lrp_ring_map(fd, XDP_PGOFF_RX_RING, size, &chan->ring_map);
		if (error)
			return error;
		chan->ring_map_size = size;
	}
	map = chan->ring_map;
	chan->producer = (_Atomic uint32_t *)(map + offsets.rx.producer);
	chan->consumer = (_Atomic uint32_t *)(map + offsets.rx.consumer);
	chan->desc = (const struct xdp_desc *)(map + offsets.rx.desc);
	chan->ring_mask = ring_size - 1;
	chan->pool = pool;
	chan->user = user;
	chan->fd = fd;
	/* A recycled ring goes on where its last owner stopped. */
	chan->returned_at = atomic_load_explicit(chan->consumer, memory_order_acquire);
	chan->next = chan->counted_at = chan->settled_at = chan->asked_at = chan->returned_at;
	if (user)
		chan->lost_base = __atomic_load_n(&user->lost, __ATOMIC_RELAXED) - losses;
	lrp_chan_set_limit(chan, 0);
	return 0;
}

void lrp_chan_close(struct lrp_chan *chan)
{
	if (chan->ring_map && chan->ring_map_size)
		munmap(chan->ring_map, chan->ring_map_size);
	if (chan->fd >= 0)
		close(chan->fd);
	memset(chan, 0, sizeof(*chan));
	chan->fd = -1;
}

/* Too many circulate: this one is to rest. */
static bool may_rest(struct lrp_pool_view *pool)
{
	uint32_t frames = pool->rest ? __atomic_load_n(&pool->rest->frames, __ATOMIC_RELAXED) : 0;

	while (frames && !__atomic_compare_exchange_n(&pool->rest->frames, &frames, frames - 1,
						      true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
	return frames;
}

/* In place of returning it, as lrp_chan_detach(): out of the ring with our mark, then lrpd's. */
static void let_rest(struct lrp_chan *chan, uint32_t at)
{
	uint64_t index =
		__atomic_load_n(&chan->desc[at & chan->ring_mask].addr, __ATOMIC_RELAXED) >>
		chan->pool->frame_shift;
	uint32_t *holder;

	if (index >= chan->pool->frames) { /* none of ours */
		atomic_store_explicit(chan->consumer, at + 1, memory_order_release);
		return;
	}
	holder = &chan->pool->frame[index].holder;
	__atomic_store_n(holder, LRP_FRAME_MARK(chan->id), __ATOMIC_RELEASE);
	atomic_fetch_add_explicit(&chan->held, 1, memory_order_relaxed);
	atomic_store_explicit(chan->consumer, at + 1, memory_order_release);
	__atomic_store_n(holder, LRP_FRAME_RESTING, __ATOMIC_RELEASE);
	atomic_fetch_sub_explicit(&chan->held, 1, memory_order_relaxed);
}

void lrp_chan_return_some(struct lrp_chan *chan, uint32_t count)
{
	uint32_t taken = chan->next - chan->returned_at;
	uint32_t at = chan->returned_at, end;
	struct lrp_fill_cursor cursor;
	bool broken = false;

	if (count > taken)
		count = taken;
	if (!count)
		return;
	cursor = lrp_fill_begin(chan->pool);
	chan->doubt_at = at;
	atomic_signal_fence(memory_order_seq_cst);
	chan->returning = true;
	for (end = at + count; at != end; at++) {
		chan->doubt_at = at;
		/* What lrp_chan_recover() reads must be stored in this order. */
		atomic_signal_fence(memory_order_seq_cst);
		if (__builtin_expect(broken || may_rest(chan->pool), 0)) {
			let_rest(chan, at);
		} else if (__builtin_expect(lrp_fill_put(chan->pool, &cursor,
							 chan->desc[at & chan->ring_mask].addr),
					    1)) {
			/* Release: we have read the descriptor before the kernel may write it anew.
			 */
			atomic_store_explicit(chan->consumer, at + 1, memory_order_release);
		} else {
			broken = true; /* lrpd knows, and brings the frames back */
			let_rest(chan, at);
		}
		chan->returned_at = at + 1;
	}
	atomic_signal_fence(memory_order_seq_cst);
	chan->returning = false;
	lrp_fill_end(chan->pool, &cursor);
	count_returned(chan);
}

void lrp_chan_detach(struct lrp_chan *chan)
{
	struct lrp_pool_view *pool = chan->pool;
	uint64_t addr = lrp_chan_desc(chan, 0)->addr;

	/* The consumer goes frame by frame and cannot pass one that still waits. */
	lrp_chan_return(chan);
	/* The mark comes first: at every moment the frame is in the ring, or marked. */
	__atomic_store_n(&pool->frame[addr >> pool->frame_shift].holder, LRP_FRAME_MARK(chan->id),
			 __ATOMIC_RELEASE);
	atomic_fetch_add_explicit(&chan->held, 1, memory_order_relaxed);
	chan->next++;
	atomic_store_explicit(chan->consumer, chan->next, memory_order_release);
	chan->returned_at = chan->next;
	/* Not returned to the fill ring yet, so not counted: it goes on using up the limit. */
	chan->counted_at = chan->returned_at;
}

int lrp_chan_give_back(struct lrp_chan *chan, uint64_t addr)
{
	struct lrp_pool_view *pool = chan->pool;
	uint64_t index = addr >> pool->frame_shift;
	uint32_t mark = LRP_FRAME_MARK(chan->id), returning = mark | LRP_FRAME_RETURNING;

	/* Two threads may give back the same frame by mistake: one of them succeeds. */
	if (index >= pool->frames ||
	    !__atomic_compare_exchange_n(&pool->frame[index].holder, &mark, returning, false,
					 __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return -EINVAL;
	/* The next holder may have put its own mark there already. */
	__atomic_compare_exchange_n(&pool->frame[index].holder, &returning,
				    lrp_fill_push(pool, addr) ? LRP_FRAME_FREE : LRP_FRAME_RESTING,
				    false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
	atomic_fetch_sub_explicit(&chan->held, 1, memory_order_relaxed);
	if (chan->user)
		__atomic_fetch_add(&chan->user->returned, 1, __ATOMIC_RELEASE);
	return 0;
}

uint64_t lrp_chan_dropped(const struct lrp_chan *chan)
{
	uint64_t sum;

	if (!chan->user)
		return 0;
	sum = __atomic_load_n(&chan->user->lost, __ATOMIC_RELAXED);
	for (uint32_t r = 0; r < LRP_DROP_REASON_COUNT; r++)
		sum += __atomic_load_n(&chan->user->dropped[r], __ATOMIC_RELAXED);
	return sum;
}

uint64_t lrp_chan_discarded(const struct lrp_chan *chan)
{
	struct lrp_channel record;
	union bpf_attr attr;

	if (chan->pool->records_fd < 0)
		return 0;
	/* Without libbpf: an application needs liblrp and libmnl only. */
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)chan->pool->records_fd;
	attr.key = (uintptr_t)&chan->id;
	attr.value = (uintptr_t)&record;
	if (syscall(SYS_bpf, BPF_MAP_LOOKUP_ELEM, &attr, sizeof(attr)))
		return 0;
	return record.drop_full + record.drop_surplus + record.drop_backlog;
}

bool lrp_chan_settle(struct lrp_chan *chan)
{
	uint64_t losses;
	bool idle = chan->next == chan->settled_at && chan->returned_at == chan->next;
	bool ask = ++chan->settles % SETTLES_ASK == 0 || chan->next - chan->asked_at >= chan->batch;

	if (!idle || ask) {
		chan->settled_at = chan->next;
		lrp_chan_return(chan);
		lrp_fill_settle(chan->pool, chan->fd);
	}
	if (ask && chan->user && !socket_losses(chan->fd, &losses)) {
		chan->asked_at = chan->next;
		__atomic_store_n(&chan->user->lost, chan->lost_base + losses, __ATOMIC_RELEASE);
	}
	return lrp_chan_available(chan, 1) == 0;
}

void lrp_chan_recover(struct lrp_chan *chan)
{
	struct lrp_pool_view *pool = chan->pool;
	uint32_t mark = LRP_FRAME_MARK(chan->id), none = LRP_FRAME_FREE;
	uint32_t at = atomic_load_explicit(chan->consumer, memory_order_acquire);
	uint64_t index;
	uint32_t *holder;

	/* Died between the store of the consumer and ours. */
	chan->returned_at = at;
	if ((int32_t)(chan->next - at) < 0)
		chan->next = at;
	index = __atomic_load_n(&chan->desc[at & chan->ring_mask].addr, __ATOMIC_RELAXED) >>
		pool->frame_shift;
	if (atomic_load_explicit(chan->producer, memory_order_acquire) != at &&
	    index < pool->frames) {
		holder = &pool->frame[index].holder;
		/* Died while detaching: nobody has seen the frame outside the ring. */
		if (__atomic_compare_exchange_n(holder, &mark, none, false, __ATOMIC_ACQ_REL,
						__ATOMIC_RELAXED))
			atomic_fetch_sub_explicit(&chan->held, 1, memory_order_relaxed);
		if (chan->returning && chan->doubt_at == at && chan->next != at) {
			/* Died around the push of this frame: returning it might double it. */
			__atomic_compare_exchange_n(holder, &none,
						    LRP_FRAME_MARK(chan->id) | LRP_FRAME_RETURNING,
						    false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
			atomic_store_explicit(chan->consumer, at + 1, memory_order_release);
			chan->returned_at = at + 1;
		}
	}
	chan->returning = false;
	count_returned(chan);
}

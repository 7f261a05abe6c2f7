/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * channel.h - one NI channel as its consumer sees it [design 3].
 *
 * A channel is an RX ring of frame descriptors, a quota and a user record.
 * The ring's three positions, all free-running 32-bit counters:
 *
 *     consumer (shared with the kernel, and with lrpd after our death)
 *        | taken, not yet returned
 *     next (ours)
 *        | delivered by the kernel, not yet looked at
 *     producer (the kernel's)
 *
 * A frame stays between consumer and producer until it is back on the fill
 * ring, so that lrpd finds the frames of a dead process by reading the ring. The
 * consumer moves one frame at a time, directly after that frame was returned:
 * at most one frame is in doubt at the moment of death. A frame that leaves
 * this order (zero-copy) is first marked in the frame table.
 *
 * Locks: none here. The caller makes sure that one thread at a time, of all
 * processes that share the channel, calls the functions marked [consumer].
 */
#ifndef LRP_RUNTIME_CHANNEL_H
#define LRP_RUNTIME_CHANNEL_H

#include <linux/if_xdp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <lrp/abi.h>

#ifndef XDP_PKT_CONTD
#define XDP_PKT_CONTD (1 << 0) /* Linux 6.6: the packet goes on in the next descriptor */
#endif

/* The pool of one (device, queue): UMEM and fill ring, mapped once per process. */
struct lrp_pool_view {
	uint8_t *umem;		 /* frames */
	struct lrp_frame *frame; /* frame table, behind the frames */
	struct lrp_rest *rest;	 /* behind that; NULL: nothing is to rest */
	uint64_t umem_size;	 /* of the whole mapping */
	uint32_t frames;
	uint32_t frame_size;
	uint32_t frame_shift; /* log2(frame_size) */
	uint32_t frame_payload;
	/* fill ring, multi-producer: see fill.h */
	_Atomic uint32_t *fill_producer;
	_Atomic uint64_t *fill_slot;
	_Atomic uint32_t *fill_flags; /* XDP_RING_NEED_WAKEUP */
	void *fill_map;
	uint64_t fill_map_size;
	uint32_t fill_size;  /* slots, a power of two, >= frames */
	uint32_t fill_shift; /* log2(fill_size) */
	uint32_t index;	     /* pool index, as lrpd counts them */
	uint32_t ifindex;
	uint32_t queue;
	uint32_t mtu;
	bool virtual_device; /* partial checksums are possible */
	int records_fd;	     /* lrp_channels, to read; the broker's; -1: not to be had */
};

struct lrp_chan {
	struct lrp_pool_view *pool;
	struct lrp_user *user;	    /* our record; XDP reads its first line */
	_Atomic uint32_t *producer; /* the kernel's */
	_Atomic uint32_t *consumer; /* ours; the kernel reads it */
	const struct xdp_desc *desc;
	void *ring_map;
	uint64_t ring_map_size; /* 0: not ours to unmap */
	uint32_t ring_mask;
	uint32_t next;	      /* first descriptor not yet taken */
	uint32_t returned_at; /* = *consumer: first descriptor not yet returned */
	uint32_t counted_at;  /* up to here user->returned has counted */
	uint32_t settled_at;  /* `next` at the last lrp_chan_settle() */
	uint32_t asked_at;    /* `next` when the kernel was last asked for losses */
	uint32_t settles;
	uint32_t doubt_at; /* while `returning`: the descriptor whose frame is being pushed */
	bool returning;
	uint32_t batch; /* return when so many are taken: a quarter of the limit */
	uint32_t id;	/* channel id within the device */
	uint32_t endpoint;
	int fd; /* AF_XDP socket */
	uint64_t
		lost_base; /* user->lost when we got the channel, less the socket's losses by then */
	_Atomic uint64_t held; /* detached frames not given back yet */
};

/*
 * Takes a bound AF_XDP socket. `ring_map`: its RX ring if that is mapped already (it stays the
 * caller's to unmap), else NULL, and the ring is mapped here (Linux 6.6 or later). `user` is NULL for
 * channels whose record is not ours (the fragment channel). Takes ownership of fd only on
 * success. The caller then sets id, endpoint and limit. Returns 0 or -errno.
 */
int lrp_chan_open(struct lrp_chan *chan, struct lrp_pool_view *pool, int fd, uint32_t ring_size,
		  struct lrp_user *user, void *ring_map);
/* Unmaps and closes. Frames must have been returned, else lrpd reclaims them. */
void lrp_chan_close(struct lrp_chan *chan);

/* [consumer] Descriptors that can be taken now, at most `max`. Acquire. */
static inline uint32_t lrp_chan_available(const struct lrp_chan *chan, uint32_t max)
{
	uint32_t n = atomic_load_explicit(chan->producer, memory_order_acquire) - chan->next;

	return n < max ? n : max;
}

/* [consumer] The descriptor `ahead` places after the next one; must be available. */
static inline const struct xdp_desc *lrp_chan_desc(const struct lrp_chan *chan, uint32_t ahead)
{
	return &chan->desc[(chan->next + ahead) & chan->ring_mask];
}

static inline uint8_t *lrp_chan_data(const struct lrp_chan *chan, const struct xdp_desc *desc)
{
	return chan->pool->umem + desc->addr;
}

/* [consumer] Returns the `count` oldest of the taken frames to the fill ring; waits for nobody. */
void lrp_chan_return_some(struct lrp_chan *chan, uint32_t count);

/* [consumer] Returns all taken frames. */
static inline void lrp_chan_return(struct lrp_chan *chan)
{
	lrp_chan_return_some(chan, chan->next - chan->returned_at);
}

/* [consumer] Sets the batch from the channel's limit, in frames. */
void lrp_chan_set_limit(struct lrp_chan *chan, uint32_t limit);

/* [consumer] Marks n descriptors as taken; returns the batch when it is large enough. */
static inline void lrp_chan_take(struct lrp_chan *chan, uint32_t n)
{
	chan->next += n;
	if (chan->next - chan->returned_at >= chan->batch)
		lrp_chan_return(chan);
}

/* [consumer] Takes the next descriptor's frame out of the ring's order, without returning
 * it: the caller gives it back with lrp_chan_give_back(). What was taken before is returned first. */
void lrp_chan_detach(struct lrp_chan *chan);
/* Any thread: returns a detached frame. `addr`: any address within it. A frame that the channel does
 * not hold is refused: -EINVAL. */
int lrp_chan_give_back(struct lrp_chan *chan, uint64_t addr);

/* [consumer] Before sleeping: returns the batch and, once a batch of packets or some settles, brings
 * `lost` up to date from XDP_STATISTICS. Returns true if the ring is still empty. */
bool lrp_chan_settle(struct lrp_chan *chan);

/* Any thread: packets that were dropped by the runtime or lost behind XDP; packets that XDP discarded
 * early (a system call). Both run on over owners. */
uint64_t lrp_chan_dropped(const struct lrp_chan *chan);
uint64_t lrp_chan_discarded(const struct lrp_chan *chan);

/*
 * [consumer] After the previous consumer of a shared channel died in the midst
 * of it (lrp_lock() said so): makes the positions agree. A frame of which nobody can know
 * whether it was returned already is left out and marked, for the audit to find.
 */
void lrp_chan_recover(struct lrp_chan *chan);

#endif

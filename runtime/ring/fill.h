/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * fill.h - many producers on one AF_XDP fill ring, lock-free [design 3, note 38].
 *
 * The kernel knows one producer. Here any process that has a channel of the
 * pool returns frames, and one that is stopped at any instruction delays
 * nobody. Slots hold `addr | lap`: in aligned mode the kernel masks the low
 * bits of an address, and they are as wide as a frame is long. The lap of
 * index p is (p >> log2(size)) + 1, cut to those bits; a ring of zeros is
 * empty. A producer CASes the slot from the previous lap to its frame with
 * this lap: then the frame is returned, whatever becomes of the producer. Moving
 * the index, which shows it to the kernel, is anybody's work: whoever comes next
 * and finds filled slots moves it over them. The ring has a slot for every
 * frame, so it is never full.
 */
#ifndef LRP_FILL_H
#define LRP_FILL_H

#include "channel.h"

/*
 * Bits of a lap tag: what an address leaves free, and no more than the index
 * has above the slot number, so that the tag and the index wrap together.
 */
static inline uint32_t lrp_fill_lap_mask(const struct lrp_pool_view *pool)
{
	uint32_t index_bits = 32 - pool->fill_shift;

	return (1u << (pool->frame_shift < index_bits ? pool->frame_shift : index_bits)) - 1;
}

/* The tag that the slot of index `p` has once it is filled. */
static inline uint32_t lrp_fill_lap(const struct lrp_pool_view *pool, uint32_t p)
{
	return ((p >> pool->fill_shift) + 1) & lrp_fill_lap_mask(pool);
}

/* The frame's address in a slot or descriptor, without tag or packet offset. */
static inline uint64_t lrp_fill_frame(const struct lrp_pool_view *pool, uint64_t value)
{
	return value & ~((uint64_t)pool->frame_size - 1);
}

/*
 * A ring that makes no sense: any process of the pool's users can write to it. All loops here end
 * after one lap or a few. A push that fails has changed nothing and has told lrpd
 * (lrp_rest.broken), which repairs the ring; the caller lets the frame rest
 * (LRP_FRAME_RESTING), and lrpd brings it back.
 */

/* Returns the frame that holds `addr`. Lock-free; never blocks. False: the ring is broken. */
bool lrp_fill_push(struct lrp_pool_view *pool, uint64_t addr);

/*
 * The same for many frames, moving the index once:
 *     struct lrp_fill_cursor c = lrp_fill_begin(pool);
 *     lrp_fill_put(pool, &c, addr); ...
 *     lrp_fill_end(pool, &c);
 * After a put that returned true a frame is others'; after end the kernel knows it.
 */
struct lrp_fill_cursor {
	uint32_t at; /* all slots from the index up to here were seen filled */
	uint32_t slot_mask;
	uint32_t lap_mask;
};

static inline struct lrp_fill_cursor lrp_fill_begin(const struct lrp_pool_view *pool)
{
	return (struct lrp_fill_cursor){
		.at = atomic_load_explicit(pool->fill_producer, memory_order_acquire),
		.slot_mask = pool->fill_size - 1,
		.lap_mask = lrp_fill_lap_mask(pool),
	};
}
bool lrp_fill_put(struct lrp_pool_view *pool, struct lrp_fill_cursor *cursor, uint64_t addr);
void lrp_fill_end(struct lrp_pool_view *pool, const struct lrp_fill_cursor *cursor);

/* Moves the index past slots that others filled and left behind, and, if the
 * driver asks for it (zero-copy), wakes it through `fd`. Whoever looks for frames in the ring
 * does this first. */
void lrp_fill_settle(struct lrp_pool_view *pool, int fd);

#endif

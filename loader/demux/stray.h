/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * stray.h - the orphans in one ring of the fragment endpoint, as the core knows them.
 *
 * Whoever has a channel of the pool can write the ring, the frames and the frame table. So the
 * core believes none of them for longer than one look. It has positions, descriptors and keys of
 * its own: a descriptor is read once, bounded, and kept; a packet is copied before it is parsed,
 * and what is parsed is what is injected; the consumer is the core's own counter, which it
 * stores but does not read. A producer that runs ahead of what XDP has sent is not believed.
 *
 * The orphans are found by a hash of their datagram (keyed: a remote host chooses the
 * datagrams). An event costs the same whatever is stored, and each orphan is looked at a bounded
 * number of times: when it comes, when its first fragment turns out to be the kernel's, and when
 * its time is over.
 *
 * A frame's holder says who may take it: FREE until reassembly or the core claims it by
 * compare-and-swap, DONE when reassembly has its copy. Only the core returns frames.
 */
#ifndef LRP_CORE_STRAY_H
#define LRP_CORE_STRAY_H

#include "../../runtime/ring/fill.h"
#include "../base/tables.h"

#define LRP_STRAY_LIFE_NS  1000000000ull /* an orphan waits so long for its first fragment */
#define LRP_STRAY_CLAIM_NS 1000000000ull /* a claim that stands longer is a dead process's */

struct lrp_core_stray_counts {
	uint64_t injected; /* orphans given to the kernel's stack */
	uint64_t expired;  /* their first was an LRP socket's, which did not fetch them in time */
	uint64_t failed;   /* the kernel did not take them, or they changed in memory */
	uint64_t nonsense; /* descriptors and positions that could not be */
};

/* What the ring asks for. `arg` is that of lrp_stray_ring. */
struct lrp_stray_ops {
	/* The way that the datagram's mark says: LRP_FRAGMENT_STORED if there is none,
	 * LRP_FRAGMENT_KERNEL also if orphans have passed. */
	uint32_t (*way)(void *arg, const struct lrp_fragment_key *key);
	/* From now on the datagram is the kernel's. */
	void (*mark)(void *arg, const struct lrp_fragment_key *key);
	/* Gives a packet to the kernel's stack; 0 or -errno. */
	int (*inject)(void *arg, const void *packet, uint32_t length);
};

struct lrp_stray {
	struct lrp_fragment_key key;
	uint32_t len;
	uint64_t addr;
	uint64_t seen_ns;
	uint16_t next;	/* slot of the same bucket */
	uint16_t state; /* enum in stray.c */
};

struct lrp_stray_ring {
	struct lrp_chan chan;
	const struct lrp_stray_ops *ops;
	void *arg;
	struct lrp_core_stray_counts *counts;
	const struct lrp_channel *channel; /* of the fragment endpoint; XDP counts there */
	struct lrp_user *user;		   /* its user record; NULL: none */
	uint64_t lost;			   /* frames that the kernel lost behind XDP */
	uint32_t head;	/* first that has not been returned: the ring's consumer */
	uint32_t tail;	/* first that has not been looked at */
	uint32_t base;	/* producer when `sent_base` was XDP's count */
	uint32_t slack; /* frames that XDP had counted, but not sent yet */
	uint64_t sent_base;
	uint64_t returned;	 /* as user->returned should be */
	bool nonsense;		 /* the producer cannot be */
	uint32_t candidate;	 /* what it was then, at ... */
	uint64_t sent_candidate; /* ... this count of XDP's */
	uint64_t secret;
	uint64_t work; /* steps ever taken, for tests */
	uint16_t bucket[LRP_FRAGMENT_RING];
	struct lrp_stray stray[LRP_FRAGMENT_RING];
	uint8_t packet[LRP_ORPHAN_MAX];
};

/*
 * Starts on an open ring of LRP_FRAGMENT_RING slots; the caller has set chan, channel, user, lost,
 * ops, arg and counts. What lies there already is looked at as if it had just come. XDP may have
 * counted up to `slack` frames that were not on the ring when `sent` was read from
 * channel->enqueued.
 */
void lrp_stray_start(struct lrp_stray_ring *ring, uint64_t sent, uint32_t slack, uint64_t secret);

/* Looks at what has come and what is due. Returns ms until it wants to run again, -1: not before
 * something comes. */
int lrp_stray_run(struct lrp_stray_ring *ring, uint64_t now_ns);

/* The datagram has turned out to be the kernel's. False: none of it has been looked at. */
bool lrp_stray_kernels(struct lrp_stray_ring *ring, const struct lrp_fragment_key *key);

/* The key that the XDP program has for the fragment `packet`. False: it is none. */
bool lrp_stray_key(const uint8_t *packet, size_t length, struct lrp_fragment_key *key);

#endif

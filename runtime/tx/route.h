/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * route.h - what is known about a destination, and until when it may be
 * believed [design 6]. Nothing is configured here: routes, addresses,
 * neighbours and path MTUs are the kernel's.
 */
#ifndef LRP_TX_ROUTE_H
#define LRP_TX_ROUTE_H

#include <string.h>
#include <time.h>

#include "device.h"
#include "tx.h"

/* The longest that an answer is believed when no change is reported. */
#define LRP_TX_VALID_NS 1000000000ull
/* A neighbour that is being resolved is asked for again after this. */
#define LRP_TX_RETRY_NS 10000000ull

static inline void lrp_tx_key_set(struct lrp_tx_key *key, const struct lrp_udp_datagram *d)
{
	memset(key, 0, sizeof(*key));
	if (d->family == AF_INET) {
		key->src.v4 = d->src.v4;
		key->dst.v4 = d->dst.v4;
	} else {
		key->src = d->src;
		key->dst = d->dst;
	}
	key->oif = d->oif;
	key->sport = d->sport;
	key->dport = d->dport;
	key->family = d->family;
	key->tos = d->tos;
	key->proto = IPPROTO_UDP;
}

static inline bool lrp_tx_key_match(const struct lrp_tx_key *key, const struct lrp_udp_datagram *d)
{
	if (key->sport != d->sport || key->dport != d->dport || key->family != d->family ||
	    key->tos != d->tos || key->proto != IPPROTO_UDP || key->oif != d->oif)
		return false;
	if (d->family == AF_INET)
		return key->dst.v4.s_addr == d->dst.v4.s_addr &&
		       key->src.v4.s_addr == d->src.v4.s_addr;
	return !memcmp(&key->dst, &d->dst, 16) && !memcmp(&key->src, &d->src, 16);
}

/* Nothing to ask: what `dest` says of its key is good. */
static inline bool lrp_tx_route_fresh(const struct lrp_tx_dest *dest, uint32_t epoch,
				      uint64_t now_ns)
{
	return dest->ifindex && dest->epoch == epoch && now_ns < dest->probe_ns;
}

/* False: the slot is another device's now, or this is a forked child, which opens its own. */
static inline bool lrp_tx_route_same_device(const struct lrp_tx_dest *dest)
{
	return atomic_load_explicit(&lrp_tx_devices[dest->slot].ifindex, memory_order_acquire) ==
	       dest->ifindex;
}

/*
 * The rest: asks the kernel if it is time to. True: `dest` is good now. False:
 * the packet goes through the kernel's own IP: the shadow, or a raw socket.
 * `confirmed`: the neighbour needs no packet that way now, since it is known to answer, or
 * since the kernel sees every packet [tap.h].
 */
bool lrp_tx_route_resolve(struct lrp_tx_dest *dest, const struct lrp_tx_key *key, uint32_t epoch,
			  uint64_t now_ns, bool confirmed);

/*
 * The peer is known to have heard us lately, so that this is the way: nothing has to be asked again as long as
 * somebody reports changes. False: resolve.
 */
bool lrp_tx_route_extend(struct lrp_tx_dest *dest, uint32_t epoch, uint64_t now_ns);

/* What goes through a raw socket needs a hop limit and a flow label before anything was asked. */
void lrp_tx_route_defaults(struct lrp_tx_dest *dest, const struct lrp_tx_key *key, uint64_t now_ns);

/* The priority that IP_TOS stands for. */
uint8_t lrp_tx_route_priority(const struct lrp_tx_key *key);

/* The flow label of segments there, network order; 0: none. */
uint32_t lrp_tx_route_label(const struct lrp_tx_key *key, uint64_t now_ns);
/* Two destinations that differ in their ports only may have different routes. */
bool lrp_tx_route_ports_matter(uint64_t now_ns);

/* The device did not take a frame (down, gone, smaller MTU): what is known is out of date. */
void lrp_tx_route_stale(struct lrp_tx_dest *dest);

/*
 * What an error means for the first packet that did not go: -errno for the
 * caller, or 0 when the way is not what it was and the kernel will know.
 */
int lrp_tx_route_failed(struct lrp_tx_dest *dest, int error);

/* Changes when a route, address, link or neighbour does; if anybody follows them. */
uint32_t lrp_tx_epoch(void);
bool lrp_tx_epoch_followed(void);

static inline uint64_t lrp_tx_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * route.h - what is known about a destination, and until when it may be
 * believed [design 6]. Nothing is configured here: routes, addresses,
 * neighbours and path MTUs are the kernel's.
 */
#ifndef LRP_TX_ROUTE_H
#define LRP_TX_ROUTE_H

#include <string.h>

#include "tx.h"

/* The longest that an answer is believed when no change is reported. */
#define LRP_TX_VALID_NS 1000000000ull
/* A neighbour that is being resolved is asked for again after this. */
#define LRP_TX_RETRY_NS 10000000ull

static inline void lrp_tx_key_set(struct lrp_tx_key *key, const struct lrp_tx_datagram *d)
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
}

static inline bool lrp_tx_key_match(const struct lrp_tx_key *key, const struct lrp_tx_datagram *d)
{
	if (key->sport != d->sport || key->dport != d->dport || key->family != d->family ||
	    key->tos != d->tos || key->oif != d->oif)
		return false;
	if (d->family == AF_INET)
		return key->dst.v4.s_addr == d->dst.v4.s_addr &&
		       key->src.v4.s_addr == d->src.v4.s_addr;
	return !memcmp(&key->dst, &d->dst, 16) && !memcmp(&key->src, &d->src, 16);
}

/* Nothing to ask: the datagram can be sent with what `dest` says. */
static inline bool lrp_tx_route_fresh(const struct lrp_tx_dest *dest,
				      const struct lrp_tx_datagram *d, uint32_t epoch,
				      uint64_t now_ns)
{
	return dest->ifindex && dest->epoch == epoch && now_ns < dest->probe_ns &&
	       lrp_tx_key_match(&dest->key, d);
}

/*
 * The rest: asks the kernel if it is time to. True: `dest` is good now. False:
 * the datagram goes through the shadow.
 */
bool lrp_tx_route_resolve(struct lrp_tx_dest *dest, const struct lrp_tx_datagram *d, uint32_t epoch,
			  uint64_t now_ns);

/* The device did not take a frame (down, gone, smaller MTU): what is known is out of date. */
void lrp_tx_route_stale(struct lrp_tx_dest *dest);

/* In the child of fork. */
void lrp_tx_route_forked(void);

#endif

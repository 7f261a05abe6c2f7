/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * peer.h - the way to a host, learnt by one TCP connection for the next one: the answer to a SYN and the
 * first segment of what is accepted need neither the raw socket nor two questions over netlink, if
 * somebody else from here talks to that host.
 *
 * Ports are left out of account. That is right as long as no policy rule and no multipath hash looks at
 * them; where one does nothing is learnt. What is learnt is believed as long as what it was learnt
 * from: a second at most.
 *
 * Threads: any; one mutex, held for a copy.
 */
#ifndef LRP_TX_PEER_H
#define LRP_TX_PEER_H

#include "tx.h"

/* True: `dest` says how to send to where `key` says. False: nothing is known, nothing changed. */
bool lrp_tx_peer_find(struct lrp_tx_dest *dest, const struct lrp_tx_key *key, uint32_t epoch,
		      uint64_t now_ns);
/* `dest` has just been found good. */
void lrp_tx_peer_learn(const struct lrp_tx_dest *dest, uint64_t now_ns);
/* It did not work. */
void lrp_tx_peer_forget(const struct lrp_tx_key *key);

#endif

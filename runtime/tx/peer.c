/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* peer.c - see peer.h: a table of the last ones, one place for each. */
#include "../base/fork.h"
#include "peer.h"

#include <netinet/in.h>
#include <pthread.h>
#include <string.h>

#include "route.h"

#define PEERS 256u

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct lrp_tx_dest peer[PEERS];

static struct lrp_tx_dest *place_of(const struct lrp_tx_key *key)
{
	const uint8_t *a = (const uint8_t *)&key->dst;
	uint32_t words[4], h;

	memcpy(words, a, sizeof(words));
	h = words[0] ^ words[1] * 3 ^ words[2] * 5 ^ words[3] * 7;
	return &peer[h * 2654435761u >> 24];
}

static struct lrp_tx_key without_ports(const struct lrp_tx_key *key)
{
	struct lrp_tx_key plain = *key;

	plain.sport = plain.dport = 0;
	return plain;
}

bool lrp_tx_peer_find(struct lrp_tx_dest *dest, const struct lrp_tx_key *key, uint32_t epoch,
		      uint64_t now_ns)
{
	struct lrp_tx_key plain = without_ports(key);
	struct lrp_tx_dest *p = place_of(&plain);
	bool found;

	pthread_mutex_lock(&lock);
	found = lrp_tx_route_fresh(p, epoch, now_ns) && !memcmp(&p->key, &plain, sizeof(plain)) &&
		lrp_tx_route_same_device(p);
	if (found)
		*dest = *p;
	pthread_mutex_unlock(&lock);
	if (!found)
		return false;
	dest->key = *key;
	dest->flow_label = lrp_tx_route_label(key, now_ns);
	return true;
}

void lrp_tx_peer_learn(const struct lrp_tx_dest *dest, uint64_t now_ns)
{
	struct lrp_tx_key plain = without_ports(&dest->key);
	struct lrp_tx_dest *p = place_of(&plain);

	if (!dest->ifindex || lrp_tx_route_ports_matter(now_ns))
		return;
	pthread_mutex_lock(&lock);
	*p = *dest;
	p->key = plain;
	pthread_mutex_unlock(&lock);
}

void lrp_tx_peer_forget(const struct lrp_tx_key *key)
{
	struct lrp_tx_key plain = without_ports(key);
	struct lrp_tx_dest *p = place_of(&plain);

	pthread_mutex_lock(&lock);
	p->ifindex = 0;
	pthread_mutex_unlock(&lock);
}

static void peer_fork_child(void)
{
	/* Devices are opened anew; another thread of the parent may have been writing. */
	pthread_mutex_init(&lock, NULL);
	memset(peer, 0, sizeof(peer));
}

static __attribute__((constructor)) void fork_register(void)
{
	static struct lrp_fork_handler handler = {
		.phase = LRP_FORK_STORES,
		.child = peer_fork_child,
	};

	lrp_fork_register(&handler);
}

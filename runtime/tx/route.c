/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* route.c - the life of a struct lrp_tx_dest, see route.h. */
#include "route.h"

#include <errno.h>
#include <netinet/ip.h>
#include <pthread.h>
#include <sys/random.h>

#include "../base/fork.h"
#include "../base/clock.h"
#include "../broker/broker.h"
#include "device.h"
#include "netlink.h"

enum state {
	STATE_NEW,    /* nothing is known: the next packet goes through the kernel's IP */
	STATE_SEEN,   /* one has just gone that way: the next one asks */
	STATE_READY,  /* can be sent to, until probe_ns */
	STATE_KERNEL, /* the kernel's, until probe_ns */
};

/* An answer about a link or the host is not asked for again within this time, whatever the epoch. */
#define LINK_LEAST_NS 10000000ull
#define LINKS	      64

struct cached_link {
	uint32_t ifindex, epoch;
	uint64_t asked_ns;
	int error;
	struct lrp_tx_link link;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct cached_link links[LINKS];
static struct lrp_tx_host host;
static uint64_t host_asked_ns;
static uint64_t secret;

static bool believe(uint64_t asked_ns, bool changed, uint64_t now_ns)
{
	uint64_t age = now_ns - asked_ns;

	return asked_ns && (age < LINK_LEAST_NS || (!changed && age < LRP_TX_VALID_NS));
}

/* `epoch`: on return that of the answer, which may be a little older. */
static int link_get(uint32_t ifindex, uint32_t *epoch, uint64_t now_ns, struct lrp_tx_link *out)
{
	struct cached_link *c = &links[ifindex % LINKS];
	int error;

	pthread_mutex_lock(&lock);
	if (c->ifindex != ifindex || !believe(c->asked_ns, c->epoch != *epoch, now_ns)) {
		c->error = lrp_tx_ask_link(ifindex, &c->link);
		c->ifindex = ifindex;
		c->epoch = *epoch;
		c->asked_ns = now_ns;
	}
	*out = c->link;
	*epoch = c->epoch;
	error = c->error;
	pthread_mutex_unlock(&lock);
	return error;
}

static int host_get(uint64_t now_ns, struct lrp_tx_host *out)
{
	int error = 0;

	pthread_mutex_lock(&lock);
	if (!secret)
		while (getrandom(&secret, sizeof(secret), 0) != sizeof(secret) || !secret)
			;
	if (!believe(host_asked_ns, false, now_ns)) {
		error = lrp_tx_ask_host(&host);
		host_asked_ns = error ? 0 : now_ns;
	}
	*out = host;
	pthread_mutex_unlock(&lock);
	return error;
}

static uint64_t mix(uint64_t h, uint64_t v)
{
	h = (h ^ v) * 0x9e3779b97f4a7c15ull;
	return h ^ h >> 32;
}

static uint64_t flow_hash(const struct lrp_tx_key *key, const union lrp_address *src)
{
	uint64_t h = secret, words[4];

	memcpy(words, src, 16);
	memcpy(words + 2, &key->dst, 16);
	for (int i = 0; i < 4; i++)
		h = mix(h, words[i]);
	return mix(h, (uint64_t)key->sport << 16 | key->dport);
}

/* The kernel's queueing disciplines see it: ip_tos2prio[]. */
uint8_t lrp_tx_route_priority(const struct lrp_tx_key *key)
{
	static const uint8_t of_class[4] = {0, 2, 6, 4};

	return key->family == AF_INET ? of_class[(key->tos & IPTOS_TOS_MASK) >> 3 & 3] : 0;
}

static uint16_t path_mtu(uint8_t family, const struct lrp_tx_route *route,
			 const struct lrp_tx_link *link)
{
	uint16_t mtu = link->mtu;

	if (family == AF_INET6 && link->mtu6 && link->mtu6 < mtu)
		mtu = link->mtu6;
	return route->mtu && route->mtu < mtu ? (uint16_t)route->mtu : mtu;
}

static uint32_t label_of(const struct lrp_tx_host *h, uint64_t hash)
{
	return h->auto_flow_label ? htonl((uint32_t)hash & 0xfffff) : 0;
}

static int ask(struct lrp_tx_dest *dest, uint64_t now_ns, bool *permanent)
{
	const struct lrp_tx_key *key = &dest->key;
	struct lrp_tx_route route = {0};
	struct lrp_tx_link link = {0};
	struct lrp_tx_host h;
	uint64_t hash;
	int error;

	error = host_get(now_ns, &h);
	if (!error && h.ipsec)
		error = -EOPNOTSUPP;
	if (!error)
		error = lrp_tx_ask_route(key, &route);
	if (!error)
		error = link_get(route.ifindex, &dest->epoch, now_ns, &link);
	if (!error)
		error = lrp_tx_device_open(route.ifindex, lrp_tx_route_priority(key));
	if (error < 0)
		return error;
	dest->slot = (uint8_t)error;
	/* What passes a TAP gets its link header from the kernel, which resolves and confirms. */
	*permanent = lrp_tx_devices[dest->slot].tap;
	if (!*permanent) {
		error = lrp_tx_ask_neighbour(&route, dest->l2, permanent);
		if (error)
			return error;
	}
	hash = flow_hash(key, &route.src);
	memcpy(dest->l2 + 6, link.mac, 6);
	dest->l2[12] = key->family == AF_INET ? 0x08 : 0x86;
	dest->l2[13] = key->family == AF_INET ? 0x00 : 0xdd;
	dest->mtu = path_mtu(key->family, &route, &link);
	dest->gso = link.gso;
	dest->src = route.src;
	dest->hop_limit = key->family == AF_INET ? h.ttl : link.hop_limit6;
	if (route.hop_limit)
		dest->hop_limit = route.hop_limit;
	if (!dest->id)
		dest->id = (uint16_t)(hash >> 32);
	dest->flow_label = label_of(&h, hash);
	dest->ifindex = route.ifindex;
	return 0;
}

static bool resolve(struct lrp_tx_dest *dest, uint32_t epoch, uint64_t now_ns)
{
	/* A change elsewhere must not put off the datagram that confirms the neighbour. */
	uint64_t confirm_ns = dest->state == STATE_READY && dest->ifindex ? dest->probe_ns : 0;
	bool permanent = false;
	int error;

	dest->ifindex = 0;
	dest->head.length = 0;
	dest->epoch = epoch;
	error = ask(dest, now_ns, &permanent);
	if (error) {
		dest->state = STATE_KERNEL;
		dest->probe_ns = now_ns + (error == -EAGAIN ? LRP_TX_RETRY_NS : LRP_TX_VALID_NS);
		return false;
	}
	dest->state = STATE_READY;
	dest->probe_ns = confirm_ns && !permanent ? confirm_ns : now_ns + LRP_TX_VALID_NS;
	dest->confirm = !permanent;
	return true;
}

bool lrp_tx_route_resolve(struct lrp_tx_dest *dest, const struct lrp_tx_key *key, uint32_t epoch,
			  uint64_t now_ns, bool confirmed)
{
	if (memcmp(&dest->key, key, sizeof(*key))) {
		memset(dest, 0, sizeof(*dest));
		dest->key = *key;
	}
	switch (dest->state) {
	case STATE_NEW:
		if (confirmed)
			break;
		dest->state = STATE_SEEN;
		return false;
	case STATE_READY:
		if (now_ns < dest->probe_ns || !dest->confirm)
			break;
		dest->ifindex = 0;
		if (confirmed)
			break;
		dest->state = STATE_SEEN;
		return false;
	case STATE_KERNEL:
		if (dest->epoch == epoch && now_ns < dest->probe_ns)
			return false;
		break;
	}
	return resolve(dest, epoch, now_ns);
}

bool lrp_tx_route_extend(struct lrp_tx_dest *dest, uint32_t epoch, uint64_t now_ns)
{
	/* Asking for the device looks whether its descriptors are still what they were. */
	if (dest->epoch != epoch || !lrp_tx_epoch_followed() ||
	    lrp_tx_device_open(dest->ifindex, lrp_tx_route_priority(&dest->key)) != dest->slot)
		return false;
	dest->probe_ns = now_ns + LRP_TX_VALID_NS;
	return true;
}

void lrp_tx_route_defaults(struct lrp_tx_dest *dest, const struct lrp_tx_key *key, uint64_t now_ns)
{
	struct lrp_tx_host h;

	if (dest->hop_limit || host_get(now_ns, &h))
		return;
	dest->hop_limit = key->family == AF_INET ? h.ttl : h.hop_limit6;
	dest->flow_label = label_of(&h, flow_hash(key, &key->src));
}

uint32_t lrp_tx_route_label(const struct lrp_tx_key *key, uint64_t now_ns)
{
	struct lrp_tx_host h;

	if (key->family == AF_INET || host_get(now_ns, &h))
		return 0;
	return label_of(&h, flow_hash(key, &key->src));
}

bool lrp_tx_route_ports_matter(uint64_t now_ns)
{
	struct lrp_tx_host h;

	return host_get(now_ns, &h) || h.ports_matter;
}

int lrp_tx_path(const struct lrp_tx_key *key, struct lrp_tx_path *path)
{
	const volatile struct lrp_status_page *status = lrp_broker_status();
	uint64_t now_ns = lrp_tx_now_ns();
	uint32_t epoch = lrp_tx_epoch();
	struct lrp_tx_route route = {0};
	struct lrp_tx_link link;
	struct lrp_tx_host h;
	int error;

	memset(path, 0, sizeof(*path));
	error = host_get(now_ns, &h);
	if (!error && h.ipsec)
		error = -EOPNOTSUPP;
	if (!error)
		error = lrp_tx_ask_route(key, &route);
	if (!error)
		error = link_get(route.ifindex, &epoch, now_ns, &link);
	if (error)
		return error;
	path->ifindex = route.ifindex;
	path->mtu = path_mtu(key->family, &route, &link);
	path->src = route.src;
	for (uint32_t i = 0; i < sizeof(status->pool) / sizeof(status->pool[0]); i++)
		path->attached |= status->pool[i].state && status->pool[i].ifindex == route.ifindex;
	return 0;
}

void lrp_tx_route_stale(struct lrp_tx_dest *dest)
{
	dest->ifindex = 0;
	dest->state = STATE_SEEN;
	pthread_mutex_lock(&lock);
	memset(links, 0, sizeof(links));
	pthread_mutex_unlock(&lock);
}

__attribute__((noinline)) int lrp_tx_route_failed(struct lrp_tx_dest *dest, int error)
{
	switch (error) {
	case -EAGAIN:
	case -ENOBUFS:
	case -EINTR:
	case -ENOMEM:
	case -EFAULT:
		return error;
	case -ENXIO: /* the device was removed */
	case -ENODEV:
	case -EBADFD: /* the TAP was removed */
	case -EBADF:  /* somebody closed descriptors that were not his */
	case -ENOTSOCK:
		lrp_tx_device_gone(dest->slot, dest->ifindex);
		break;
	}
	/* Down, a smaller MTU, ... */
	lrp_tx_route_stale(dest);
	return 0;
}

static void route_fork_child(void)
{
	/* Another thread of the parent may have been writing. */
	pthread_mutex_init(&lock, NULL);
	memset(links, 0, sizeof(links));
	host_asked_ns = 0;
}

static __attribute__((constructor)) void fork_register(void)
{
	static struct lrp_fork_handler handler = {
		.phase = LRP_FORK_STORES,
		.child = route_fork_child,
	};

	lrp_fork_register(&handler);
}

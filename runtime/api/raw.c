/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * raw.c - raw channels for programs written against libxdp [include/lrp/channel.h].
 *
 * libxdp 1.3.1 cannot adopt a socket that somebody else made, but its ring
 * functions are inline and need only the ring's struct: it is filled by hand.
 */
#include <errno.h>
#include <linux/filter.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <lrp/channel.h>

#include "../broker/broker.h"
#include "../ring/ring_map.h"

struct raw_set;

struct raw {
	struct raw_set *set;
	struct lrp_chan *chan;
};

/* The channels of one lrp_channel_open(). */
struct raw_set {
	struct lrp_endpoint ep;
	int shadow;
	struct raw raw[];
};

static void *heap_alloc(size_t size)
{
	return calloc(1, size);
}

static void heap_free(void *p, size_t size)
{
	(void)size;
	free(p);
}

static const struct lrp_allocator heap = {.alloc = heap_alloc, .free = heap_free};

/* Holds the port in the kernel's table. Nobody reads from it, so it keeps nothing. */
static int shadow_open(const struct sockaddr *addr, socklen_t addrlen)
{
	struct sock_filter none[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
	struct sock_fprog filter = {.len = 1, .filter = none};
	int fd = socket(addr->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0), error;

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) ||
	    bind(fd, addr, addrlen)) {
		error = -errno;
		close(fd);
		return error;
	}
	return fd;
}

static int raw_view(struct lrp_raw_channel *channel, struct raw *raw)
{
	struct lrp_chan *chan = raw->chan;
	struct xdp_mmap_offsets offsets;
	int error = lrp_ring_offsets(chan->fd, &offsets);

	if (error)
		return error;
	memset(channel, 0, sizeof(*channel));
	channel->rx.mask = chan->ring_mask;
	channel->rx.size = chan->ring_mask + 1;
	channel->rx.producer = (uint32_t *)chan->producer;
	channel->rx.consumer = (uint32_t *)chan->consumer;
	channel->rx.ring = (void *)chan->desc;
	channel->rx.flags = (uint32_t *)((uint8_t *)chan->ring_map + offsets.rx.flags);
	/* Nothing before our time: what a recycled ring still holds was meant for others. */
	channel->rx.cached_cons = channel->rx.cached_prod = chan->next;
	channel->fd = chan->fd;
	channel->umem = chan->pool->umem;
	channel->frame_size = chan->pool->frame_size;
	channel->ifindex = chan->pool->ifindex;
	channel->queue = chan->pool->queue;
	channel->priv = raw;
	return 0;
}

static int raw_open(struct raw_set **result, const struct sockaddr *addr, socklen_t addrlen,
		    uint32_t ring_size, struct lrp_raw_channel *channels, int max)
{
	struct lrp_endpoint ep;
	struct raw_set *set;
	int shadow, error;

	if (!lrp_broker_ready())
		return -ENETDOWN;
	shadow = shadow_open(addr, addrlen);
	if (shadow < 0)
		return shadow;
	error = lrp_endpoint_open(&ep, ring_size, 0, &heap);
	if (error) {
		close(shadow);
		return error;
	}
	/* A channel that nobody reads would swallow its share of the traffic. */
	if (ep.channels > (uint32_t)max)
		error = -E2BIG;
	set = calloc(1, sizeof(*set) + ep.channels * sizeof(set->raw[0]));
	if (!set)
		error = -ENOMEM;
	for (uint32_t i = 0; i < ep.channels && !error; i++) {
		set->raw[i] = (struct raw){.set = set, .chan = &ep.chan[i]};
		error = raw_view(&channels[i], &set->raw[i]);
	}
	if (!error)
		error = lrp_endpoint_publish(&ep, shadow, NULL, 0);
	if (error) {
		free(set);
		close(shadow);
		lrp_endpoint_close(&ep, &heap);
		return error;
	}
	set->ep = ep;
	set->shadow = shadow;
	*result = set;
	return 0;
}

int lrp_channel_open(const struct sockaddr *addr, socklen_t addrlen, uint32_t ring_size,
		     struct lrp_raw_channel *channels, int max)
{
	struct raw_set *set;
	int error;

	if (!addr || addrlen < sizeof(addr->sa_family) || !channels || max <= 0 ||
	    (addr->sa_family != AF_INET && addr->sa_family != AF_INET6)) {
		errno = EINVAL;
		return -1;
	}
	error = raw_open(&set, addr, addrlen, ring_size, channels, max);
	if (error) {
		errno = -error;
		return -1;
	}
	return (int)set->ep.channels;
}

void lrp_channel_return(struct lrp_raw_channel *channel, uint32_t count)
{
	struct lrp_chan *chan = ((struct raw *)channel->priv)->chan;

	/* What was peeked is taken. */
	chan->next = channel->rx.cached_cons;
	lrp_chan_return_some(chan, count);
	/* Drained: the caller will sleep, and what the kernel lost must not count against it. */
	if (chan->returned_at == chan->next && !lrp_chan_available(chan, 1))
		lrp_chan_settle(chan);
}

void lrp_channel_close(struct lrp_raw_channel *channels, int count)
{
	struct raw_set *set;

	if (!channels || count <= 0)
		return;
	set = ((struct raw *)channels[0].priv)->set;
	for (int i = 0; i < count; i++)
		((struct raw *)channels[i].priv)->chan->next = channels[i].rx.cached_cons;
	/* The shadow first: lrpd sees that it is gone, and the port is free. */
	close(set->shadow);
	lrp_endpoint_close(&set->ep, &heap);
	free(set);
	memset(channels, 0, (size_t)count * sizeof(*channels));
}

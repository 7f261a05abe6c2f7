/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * endpoint.c - endpoints: had, grown by the channels of new pools, published, given back.
 *
 * They are asked for in batches that grow while they are used up quickly, so
 * that opening thousands of sockets costs few requests and a program with one
 * socket takes one. What was fetched ahead lies in the stock.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/fd.h"
#include "../base/log.h"
#include "broker_internal.h"

#define STOCK_HOT_NS LRP_NS_PER_S /* a stock used up in less than this doubles */
#define DESCRIPTORS  3u		  /* with a channel go its ring's, a bell, a set */

/* What one ENDPOINTS reply brought and nobody has taken yet. */
struct stock {
	struct lrp_reply reply;
	int fds[LRP_CONTROL_MAX_FDS];
	uint32_t next;		   /* first endpoint not taken; == reply.count: empty */
	uint32_t ring_size, limit; /* as asked for */
	uint32_t epoch, incarnation;
	uint32_t batch; /* asked for next time */
	uint64_t fetched_ns;
};

static struct stock stock;
static struct fragment_set {
	struct lrp_endpoint ep;
	struct fragment_set *older; /* of other pools; a thread may still be reading it */
} * fragments;

static size_t array_size(uint32_t channels)
{
	return (channels ? channels : 1) * sizeof(struct lrp_chan);
}

/* ---- the stock ------------------------------------------------------------ */

void lrp_stock_forked(void)
{
	uint32_t channels = stock.reply.endpoints.channels;

	for (uint32_t i = stock.next; i < stock.reply.count; i++)
		lrp_broker_close_fds(&stock.fds[i * channels], (int)channels);
	memset(&stock, 0, sizeof(stock));
}

static int release(uint32_t id)
{
	struct lrp_request request = {.type = LRP_REQ_RELEASE, .endpoint = id};
	struct lrp_reply reply;

	return lrp_broker_call_plain(&request, NULL, 0, &reply);
}

void lrp_stock_drop(void)
{
	uint32_t channels = stock.reply.endpoints.channels;

	for (; stock.next < stock.reply.count; stock.next++) {
		lrp_broker_close_fds(&stock.fds[stock.next * channels], (int)channels);
		if (stock.incarnation == lrp_broker_incarnation)
			release(stock.reply.endpoints.endpoint[stock.next]);
	}
	stock.next = stock.reply.count = 0;
}

static bool stock_fits(uint32_t ring_size, uint32_t limit, uint32_t epoch)
{
	return stock.next < stock.reply.count && stock.ring_size == ring_size &&
	       stock.limit == limit && stock.epoch == epoch &&
	       stock.incarnation == lrp_broker_incarnation;
}

static int stock_fetch(uint32_t ring_size, uint32_t limit, uint32_t epoch)
{
	struct lrp_request request = {.type = LRP_REQ_ENDPOINTS};
	uint64_t now = lrp_now_ns();
	bool same = stock.ring_size == ring_size && stock.limit == limit;
	int count, error;

	lrp_stock_drop();
	/* One at first; twice as many each time that they were used up at once. */
	stock.batch =
		same && stock.batch && now - stock.fetched_ns < STOCK_HOT_NS ? stock.batch * 2 : 1;
	if (stock.batch > LRP_CONTROL_MAX_BATCH)
		stock.batch = LRP_CONTROL_MAX_BATCH;
	request.count = stock.batch;
	request.endpoints.ring_size = ring_size;
	request.endpoints.limit = limit;
	error = lrp_broker_call(&request, NULL, 0, &stock.reply, stock.fds, &count);
	if (error == -EMFILE && stock.reply.error == 0) {
		/* More than our descriptors allow; what came of them is closed again. */
		uint32_t got = stock.reply.count;

		if (got > LRP_CONTROL_MAX_BATCH)
			got = LRP_CONTROL_MAX_BATCH;
		for (uint32_t i = 0; i < got; i++)
			release(stock.reply.endpoints.endpoint[i]);
		if (stock.batch > 1) {
			stock.batch = request.count = 1;
			error = lrp_broker_call(&request, NULL, 0, &stock.reply, stock.fds, &count);
			if (error == -EMFILE && stock.reply.error == 0 && stock.reply.count)
				release(stock.reply.endpoints.endpoint[0]);
		}
	}
	if (!error && (stock.reply.count == 0 || stock.reply.count > LRP_CONTROL_MAX_BATCH ||
		       stock.reply.count * stock.reply.endpoints.channels != (uint32_t)count)) {
		lrp_broker_close_fds(stock.fds, count);
		error = -EPROTO;
	}
	if (error) {
		stock.reply.count = stock.next = 0;
		return error;
	}
	stock.next = 0;
	stock.ring_size = ring_size;
	stock.limit = limit;
	stock.epoch = epoch;
	stock.incarnation = lrp_broker_incarnation;
	stock.fetched_ns = now;
	return 0;
}

/* ---- endpoints ------------------------------------------------------------ */

static bool any_pool(void)
{
	const volatile struct lrp_status_page *page = lrp_broker_status();

	for (uint32_t i = 0; i < LRP_MAX_POOLS; i++)
		if (page->pool[i].state)
			return true;
	return false;
}

static uint32_t power_of_two_from(uint32_t n)
{
	return n <= 1 ? n : 1u << (32 - (uint32_t)__builtin_clz(n - 1));
}

/* The reply's endpoint number `index`; its descriptors are used up in any case. */
static int endpoint_map(struct lrp_endpoint *ep, const struct lrp_reply *reply, const int *fds,
			uint32_t index, uint32_t epoch, const struct lrp_allocator *allocator)
{
	uint32_t channels = reply->endpoints.channels, first = index * channels, i;
	struct lrp_chan *chan = allocator->alloc(array_size(channels));
	int error = chan ? 0 : -ENOMEM;

	ep->id = reply->endpoints.endpoint[index];
	ep->ring_size = reply->endpoints.ring_size;
	ep->limit = reply->endpoints.limit;
	ep->pools_epoch = epoch;
	ep->incarnation = lrp_broker_incarnation;
	for (i = 0; i < channels && !error; i++)
		error = lrp_mapping_open(&chan[i], &reply->endpoints.channel[first + i], ep->id,
					 fds[first + i], ep->ring_size, ep->limit);
	if (error) {
		i -= chan ? 1 : 0; /* the one that failed: its descriptor is still ours */
		lrp_mapping_close_all(chan, i, false);
		for (; i < channels; i++)
			close(fds[first + i]);
		allocator->free(chan, array_size(channels));
		release(ep->id);
		ep->id = LRP_ENDPOINT_NONE;
		return error;
	}
	ep->chan = chan;
	ep->channels = channels;
	return 0;
}

static int endpoint_take(struct lrp_endpoint *ep, uint32_t ring_size, uint32_t limit,
			 const struct lrp_allocator *allocator)
{
	uint32_t epoch = lrp_broker_status()->pools_epoch;
	int error;

	if (!stock_fits(ring_size, limit, epoch)) {
		error = stock_fetch(ring_size, limit, epoch);
		if (error)
			return error;
	}
	return endpoint_map(ep, &stock.reply, stock.fds, stock.next++, epoch, allocator);
}

/* Those of one request; the number, or -errno if there are none. */
static int batch_open(struct lrp_endpoint *ep, uint32_t count, uint32_t ring_size, uint32_t limit,
		      uint32_t guarantee, const struct lrp_allocator *allocator)
{
	struct lrp_request request = {.type = LRP_REQ_ENDPOINTS, .count = count};
	uint32_t epoch = lrp_broker_status()->pools_epoch, i, got = 0;
	int fds[LRP_CONTROL_MAX_FDS], n, error;
	struct lrp_reply reply;

	request.endpoints.ring_size = power_of_two_from(ring_size);
	request.endpoints.limit = limit;
	request.endpoints.guarantee = guarantee;
	error = lrp_broker_call(&request, NULL, 0, &reply, fds, &n);
	/* More than our descriptors allow. */
	if (error == -EMFILE && !reply.error)
		for (i = 0; i < reply.count && i < LRP_CONTROL_MAX_BATCH; i++)
			release(reply.endpoints.endpoint[i]);
	if (error)
		return error;
	if (!reply.count || reply.count > count ||
	    reply.count * reply.endpoints.channels != (uint32_t)n) {
		lrp_broker_close_fds(fds, n);
		return -EPROTO;
	}
	for (i = 0; i < reply.count; i++)
		if (!(error = endpoint_map(&ep[got], &reply, fds, i, epoch, allocator)))
			got++;
	return got ? (int)got : error;
}

int lrp_endpoint_batch(struct lrp_endpoint *ep, uint32_t count, uint32_t ring_size, uint32_t limit,
		       uint32_t guarantee, const struct lrp_allocator *allocator)
{
	int n = -ENETDOWN;

	memset(ep, 0, count * sizeof(*ep));
	lrp_broker_lock();
	if (lrp_fd_scarce((lrp_mapping_count() + count) * DESCRIPTORS))
		n = -EMFILE;
	else if (lrp_broker_connected() && any_pool())
		n = batch_open(ep, count < LRP_CONTROL_MAX_BATCH ? count : LRP_CONTROL_MAX_BATCH,
			       ring_size, limit, guarantee, allocator);
	lrp_broker_unlock();
	return n;
}

bool lrp_endpoint_current(const struct lrp_endpoint *ep)
{
	return ep->pools_epoch == lrp_broker_status()->pools_epoch &&
	       ep->incarnation == __atomic_load_n(&lrp_broker_incarnation, __ATOMIC_RELAXED);
}

void lrp_endpoint_leave(const struct lrp_endpoint *ep)
{
	struct lrp_chan mine;

	lrp_broker_lock();
	for (uint32_t i = 0; i < ep->channels; i++) {
		mine = ep->chan[i];
		lrp_mapping_close(&mine, false);
	}
	lrp_broker_unlock();
}

static int endpoint_open(struct lrp_endpoint *ep, uint32_t ring_size, uint32_t limit,
			 const struct lrp_allocator *allocator)
{
	int error;

	memset(ep, 0, sizeof(*ep));
	ep->id = LRP_ENDPOINT_NONE;
	if (!lrp_broker_connected())
		return -ENETDOWN;
	if (lrp_broker_mode == BROKER_ORPHAN)
		return -EOPNOTSUPP;
	if (ring_size > 1u << 20)
		return -EINVAL;
	if (!any_pool())
		return -ENETDOWN;
	ring_size = power_of_two_from(ring_size);
	error = endpoint_take(ep, ring_size, limit, allocator);
	/* ESTALE: lrpd was replaced while we asked. ENOENT: a device went while we asked for its pool. */
	if (error == -ESTALE || error == -ENOENT)
		error = any_pool() ? endpoint_take(ep, ring_size, limit, allocator) : -ENETDOWN;
	return error;
}

int lrp_endpoint_open(struct lrp_endpoint *ep, uint32_t ring_size, uint32_t limit,
		      const struct lrp_allocator *allocator)
{
	int error;

	lrp_broker_lock();
	error = endpoint_open(ep, ring_size, limit, allocator);
	lrp_broker_unlock();
	return error;
}

static bool has_pool(const struct lrp_endpoint *ep, uint32_t index)
{
	for (uint32_t i = 0; i < ep->channels; i++)
		if (ep->chan[i].pool->index == index)
			return true;
	return false;
}

/* Opens the endpoint's channel on one more pool as the next of the array, which has room. */
static int adopt(struct lrp_endpoint *ep, uint32_t index)
{
	struct lrp_request request = {.type = LRP_REQ_ADOPT};
	int fds[LRP_CONTROL_MAX_FDS], count, error;
	struct lrp_reply reply;

	request.adopt.endpoint = ep->id;
	request.adopt.pool = index;
	error = lrp_broker_call(&request, NULL, 0, &reply, fds, &count);
	if (error)
		return error;
	error = count == 1 ? lrp_mapping_open(&ep->chan[ep->channels], &reply.endpoints.channel[0],
					      ep->id, fds[0], reply.endpoints.ring_size,
					      reply.endpoints.limit)
			   : -EPROTO;
	if (error) {
		lrp_broker_close_fds(fds, count);
		return error;
	}
	ep->channels++;
	return 0;
}

/* The array with the channels of living pools, and room for all pools. */
static struct lrp_chan *array_grow(struct lrp_endpoint *ep, const struct lrp_allocator *allocator,
				   uint32_t room)
{
	struct lrp_chan *chan = allocator->alloc(array_size(room));
	uint32_t kept = 0;

	if (!chan)
		return NULL;
	for (uint32_t i = 0; i < ep->channels; i++) {
		/* What was taken is returned: attached again, the ring may be ours again as it is. If
		 * not, nobody reads the fill ring any more, which is harmless. */
		if (lrp_mapping_gone(&ep->chan[i]))
			lrp_mapping_close(&ep->chan[i], true);
		else
			chan[kept++] = ep->chan[i];
	}
	if (ep->chan)
		allocator->free(ep->chan, array_size(ep->channels));
	ep->chan = chan;
	ep->channels = kept;
	return chan;
}

static int endpoint_refresh(struct lrp_endpoint *ep, const struct lrp_allocator *allocator)
{
	uint32_t epoch, room = 0, ring_size = ep->ring_size, limit = ep->limit;
	const volatile struct lrp_status_page *page;
	int error = 0, first = 0;
	struct lrp_chan *exact;

	if (!lrp_broker_connected())
		return -ENETDOWN;
	if (lrp_broker_mode == BROKER_ORPHAN)
		return -EOPNOTSUPP;
	if (ep->incarnation != lrp_broker_incarnation) {
		lrp_mapping_close_all(ep->chan, ep->channels, false);
		if (ep->chan)
			allocator->free(ep->chan, array_size(ep->channels));
		return endpoint_open(ep, ring_size, limit, allocator);
	}
	page = lrp_broker_status();
	epoch = page->pools_epoch;
	for (uint32_t i = 0; i < LRP_MAX_POOLS; i++)
		room += page->pool[i].state != 0;
	if (room < ep->channels)
		room = ep->channels;
	if (!array_grow(ep, allocator, room))
		return -ENOMEM;
	for (uint32_t i = 0; i < LRP_MAX_POOLS && ep->channels < room; i++) {
		if (!page->pool[i].state || has_pool(ep, i))
			continue;
		error = adopt(ep, i);
		if (error == -ESTALE)
			return error;
		/* The others may work; what is missing the shadow serves. */
		if (error && !first)
			first = error;
	}
	/* The size of the array is known by the number of channels. */
	if (ep->channels != room) {
		exact = allocator->alloc(array_size(ep->channels));
		if (exact)
			memcpy(exact, ep->chan, ep->channels * sizeof(*exact));
		else
			lrp_mapping_close_all(ep->chan, ep->channels, false);
		allocator->free(ep->chan, array_size(room));
		ep->chan = exact;
		if (!exact) {
			ep->channels = 0;
			return -ENOMEM;
		}
	}
	ep->pools_epoch = epoch;
	return first;
}

bool lrp_endpoint_leftover(const struct lrp_endpoint *ep)
{
	bool left = false;

	lrp_broker_lock();
	for (uint32_t i = 0; i < ep->channels && !left; i++)
		left = lrp_mapping_gone(&ep->chan[i]) && lrp_chan_available(&ep->chan[i], 1);
	lrp_broker_unlock();
	return left;
}

int lrp_endpoint_refresh(struct lrp_endpoint *ep, const struct lrp_allocator *allocator)
{
	int error;

	if (ep->id == LRP_ENDPOINT_NONE)
		return -EINVAL;
	lrp_broker_lock();
	error = endpoint_refresh(ep, allocator);
	lrp_broker_unlock();
	return error;
}

/* One request about an endpoint that must still be ours. */
static int endpoint_call(const struct lrp_endpoint *ep, struct lrp_request *request,
			 const int *in_fds, int in_count, struct lrp_reply *reply)
{
	int error = -ESTALE;

	if (ep->id == LRP_ENDPOINT_NONE)
		return -EINVAL;
	lrp_broker_lock();
	if (ep->incarnation == lrp_broker_incarnation)
		error = lrp_broker_call_plain(request, in_fds, in_count, reply);
	lrp_broker_unlock();
	return error;
}

int lrp_endpoint_publish(struct lrp_endpoint *ep, int shadow_fd,
			 const struct lrp_membership_request *memberships, uint32_t count)
{
	struct lrp_request request = {.type = LRP_REQ_PUBLISH, .count = count};
	struct lrp_reply reply;

	if (count > sizeof(request.publish.membership) / sizeof(request.publish.membership[0]))
		return -E2BIG;
	request.publish.endpoint = ep->id;
	if (count)
		memcpy(request.publish.membership, memberships, count * sizeof(*memberships));
	return endpoint_call(ep, &request, &shadow_fd, 1, &reply);
}

int lrp_endpoint_withdraw(struct lrp_endpoint *ep)
{
	struct lrp_request request = {.type = LRP_REQ_PUBLISH};
	struct lrp_reply reply;

	request.publish.endpoint = ep->id;
	request.publish.flags = LRP_PUBLISH_WITHDRAW;
	return endpoint_call(ep, &request, NULL, 0, &reply);
}

int lrp_endpoint_limit(struct lrp_endpoint *ep, uint32_t limit)
{
	struct lrp_request request = {.type = LRP_REQ_LIMIT};
	struct lrp_reply reply;
	int error;

	request.limit.endpoint = ep->id;
	request.limit.limit = limit;
	error = endpoint_call(ep, &request, NULL, 0, &reply);
	if (error)
		return error;
	ep->limit = reply.limit.limit;
	for (uint32_t i = 0; i < ep->channels; i++)
		lrp_chan_set_limit(&ep->chan[i], ep->limit);
	return (int)ep->limit;
}

void lrp_endpoint_close(struct lrp_endpoint *ep, const struct lrp_allocator *allocator)
{
	int error = 0;

	if (ep->id == LRP_ENDPOINT_NONE)
		return;
	lrp_broker_lock();
	lrp_mapping_close_all(ep->chan, ep->channels, true);
	if (ep->chan)
		allocator->free(ep->chan, array_size(ep->channels));
	if (ep->incarnation == lrp_broker_incarnation && lrp_broker_mode != BROKER_ORPHAN)
		error = release(ep->id);
	lrp_broker_unlock();
	/* lrpd finds out by itself that the shadow is gone. */
	if (error)
		lrp_log(LRP_LOG_INFO, "endpoint %u: not released: %s", ep->id, strerror(-error));
	memset(ep, 0, sizeof(*ep));
	ep->id = LRP_ENDPOINT_NONE;
}

void lrp_endpoint_abandon(struct lrp_endpoint *ep, const struct lrp_allocator *allocator)
{
	uint32_t id = ep->id;

	if (ep->chan)
		allocator->free(ep->chan, array_size(ep->channels));
	memset(ep, 0, sizeof(*ep));
	ep->id = LRP_ENDPOINT_NONE;
	lrp_endpoint_released(id);
}

void lrp_endpoint_released(uint32_t id)
{
	if (id == LRP_ENDPOINT_NONE)
		return;
	lrp_broker_lock();
	if (lrp_broker_mode == BROKER_REMOTE || lrp_broker_mode == BROKER_EMBEDDED)
		release(id);
	lrp_broker_unlock();
}

/* ---- the fragment endpoint ------------------------------------------------ */

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

static bool fragments_current(const struct fragment_set *set)
{
	return set && set->ep.pools_epoch == lrp_broker_status()->pools_epoch &&
	       set->ep.incarnation == lrp_broker_incarnation;
}

static void fragments_open(void)
{
	struct fragment_set *set;

	set = calloc(1, sizeof(*set));
	if (!set)
		return;
	set->ep.id = LRP_ENDPOINT_FRAGMENT;
	set->ep.pools_epoch = lrp_broker_status()->pools_epoch;
	set->ep.incarnation = lrp_broker_incarnation;
	if (endpoint_refresh(&set->ep, &heap))
		lrp_log(LRP_LOG_INFO, "fragment channels: not all could be had");
	set->older = fragments;
	__atomic_store_n(&fragments, set, __ATOMIC_RELEASE);
}

struct lrp_endpoint *lrp_broker_fragments(void)
{
	struct fragment_set *set = __atomic_load_n(&fragments, __ATOMIC_ACQUIRE);

	if (!fragments_current(set)) {
		lrp_broker_lock();
		if (lrp_broker_connected() && lrp_broker_mode != BROKER_ORPHAN &&
		    !fragments_current(fragments))
			fragments_open();
		set = fragments;
		lrp_broker_unlock();
	}
	return set && set->ep.channels ? &set->ep : NULL;
}

void lrp_fragments_close(void)
{
	struct fragment_set *set = fragments, *older;

	__atomic_store_n(&fragments, NULL, __ATOMIC_RELEASE);
	for (; set; set = older) {
		older = set->older;
		lrp_mapping_close_all(set->ep.chan, set->ep.channels, false);
		free(set->ep.chan);
		free(set);
	}
}

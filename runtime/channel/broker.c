/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * broker.c - see broker.h.
 *
 * Endpoints are asked for in batches that grow while they are used up quickly,
 * so that opening thousands of sockets costs few requests and a program with
 * one socket takes one. What was fetched ahead lies in the stock.
 *
 * After fork the child has all mappings at the same addresses and all
 * descriptors. The connection and the stock stay the parent's.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/log.h"
#include "broker_internal.h"
#include "pool.h"

#define CONNECT_EVERY_NS LRP_NS_PER_S /* while no lrpd answers */
#define SILENCE_NS	 LRP_NS_PER_S /* every socket call would wait for the timeout else */
#define STOCK_HOT_NS	 LRP_NS_PER_S /* a stock used up in less than this doubles */
#define USER_PAGE_SIZE	 (LRP_USER_PAGE_RECORDS * sizeof(struct lrp_user))

enum broker_mode {
	BROKER_NONE,
	BROKER_REMOTE,
	BROKER_EMBEDDED,
	BROKER_ORPHAN, /* child of an embedding process: uses what it inherited, gets nothing new */
};

/* A mapped pool. Never freed while a channel or an application's zero-copy frame lies in it. */
struct mapped_pool {
	struct mapped_pool *next;
	struct lrp_pool_view view;
	uint32_t state; /* generation on the status page */
	uint32_t incarnation;
	uint32_t channels; /* open on it, in this process */
};

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

static const struct lrp_status_page no_status;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static enum broker_mode mode;
static const struct lrp_broker_source *source;
static uint64_t next_connect_ns;
static uint64_t silent_until_ns; /* lrpd did not answer: not asked again before */
static const volatile struct lrp_status_page *status = &no_status;
static struct mapped_pool *pools;
static struct lrp_user *user_page[LRP_USER_PAGES];
static struct stock stock;
static struct fragment_set {
	struct lrp_endpoint ep;
	struct fragment_set *older; /* of other pools; a thread may still be reading it */
} * fragments;

uint32_t lrp_broker_owner;
uint64_t lrp_broker_token;
uint32_t lrp_broker_incarnation;

void lrp_broker_close_fds(int *fds, int count)
{
	for (int i = 0; i < count; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

/* ---- fork ----------------------------------------------------------------- */

static void before_fork(void)
{
	pthread_mutex_lock(&mutex);
}

static void after_fork_parent(void)
{
	pthread_mutex_unlock(&mutex);
}

static void after_fork_child(void)
{
	uint32_t channels = stock.reply.endpoints.channels;

	for (uint32_t i = stock.next; i < stock.reply.count; i++)
		lrp_broker_close_fds(&stock.fds[i * channels], (int)channels);
	memset(&stock, 0, sizeof(stock));
	if (mode == BROKER_REMOTE)
		lrp_broker_remote_forked();
	else if (mode == BROKER_EMBEDDED)
		mode = BROKER_ORPHAN;
	pthread_mutex_unlock(&mutex);
}

static void start_once(void)
{
	pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

void lrp_broker_lock(void)
{
	pthread_once(&once, start_once);
	pthread_mutex_lock(&mutex);
}

void lrp_broker_unlock(void)
{
	pthread_mutex_unlock(&mutex);
}

/* ---- who we are ------------------------------------------------------------ */

const volatile struct lrp_status_page *lrp_broker_status(void)
{
	return __atomic_load_n(&status, __ATOMIC_ACQUIRE);
}

int lrp_broker_hello(const struct lrp_reply *reply, int page_fd, bool fresh)
{
	struct lrp_status_page *page;
	struct stat st;
	int error = 0;

	if (fstat(page_fd, &st) || (size_t)st.st_size < sizeof(*page)) {
		close(page_fd);
		return -EPROTO;
	}
	page = mmap(NULL, sizeof(*page), PROT_READ, MAP_SHARED, page_fd, 0);
	if (page == MAP_FAILED)
		error = -errno;
	close(page_fd);
	if (error)
		return error;
	if (page->magic != LRP_ABI_MAGIC || page->version != LRP_ABI_VERSION) {
		munmap(page, sizeof(*page));
		return -EPROTO;
	}
	/* An earlier page stays mapped: other threads may be reading it. */
	__atomic_store_n(&status, page, __ATOMIC_RELEASE);
	lrp_broker_owner = reply->hello.owner;
	lrp_broker_token = reply->hello.token;
	if (fresh) {
		lrp_broker_incarnation++;
		/* Records of the owner that we were stay mapped under the channels that use them. */
		memset(user_page, 0, sizeof(user_page));
	}
	return 0;
}

static bool connected(void)
{
	uint64_t now;

	if (mode == BROKER_EMBEDDED || mode == BROKER_ORPHAN)
		return true;
	/* Pid 0: it was stopped on purpose; another may have been started since. */
	if (mode == BROKER_REMOTE && lrp_broker_status()->lrpd_pid)
		return true;
	now = lrp_now_ns();
	if (now < next_connect_ns)
		return mode == BROKER_REMOTE;
	next_connect_ns = now + CONNECT_EVERY_NS;
	if (lrp_broker_remote_connect())
		return mode == BROKER_REMOTE;
	mode = BROKER_REMOTE;
	source = &lrp_broker_remote;
	return true;
}

bool lrp_broker_ready(void)
{
	bool ready;

	lrp_broker_lock();
	ready = connected();
	lrp_broker_unlock();
	return ready;
}

/* 0, or -errno of transport or answer. */
static int call(struct lrp_request *request, const int *in_fds, int in_count,
		struct lrp_reply *reply, int *fds, int *count)
{
	int error;

	*count = 0;
	if (!connected())
		return -ENETDOWN;
	if (mode == BROKER_ORPHAN)
		return -EOPNOTSUPP;
	/* Stopped on purpose, or it left the last request unanswered: nothing to wait for. */
	if (mode == BROKER_REMOTE &&
	    (!lrp_broker_status()->lrpd_pid || lrp_now_ns() < silent_until_ns))
		return -ENETDOWN;
	request->magic = LRP_ABI_MAGIC;
	request->version = LRP_ABI_VERSION;
	error = source->call(request, in_fds, in_count, reply, fds, count);
	if (error == -ETIMEDOUT) {
		silent_until_ns = lrp_now_ns() + SILENCE_NS;
		lrp_log_once(LRP_LOG_WARN,
			     "lrpd does not answer: new sockets are served by the kernel "
			     "until it does");
	}
	if (!error && reply->error) {
		error = reply->error < 0 ? reply->error : -EPROTO;
		lrp_broker_close_fds(fds, *count);
		*count = 0;
	}
	return error;
}

/* A request that has no descriptor in its answer. */
static int call_plain(struct lrp_request *request, const int *in_fds, int in_count,
		      struct lrp_reply *reply)
{
	int fds[LRP_CONTROL_MAX_FDS], count;
	int error = call(request, in_fds, in_count, reply, fds, &count);

	lrp_broker_close_fds(fds, count);
	return error;
}

/* ---- pools and user records -------------------------------------------------- */

static int pool_request(uint32_t index, int xsk_fd, struct lrp_pool_view *view)
{
	struct lrp_request request = {.type = LRP_REQ_POOL, .pool = index};
	int fds[LRP_CONTROL_MAX_FDS], count, error;
	struct lrp_reply reply;

	error = call(&request, NULL, 0, &reply, fds, &count);
	if (error)
		return error;
	error = count == 1 || count == 2 ? lrp_pool_map(view, index, &reply, fds[0], xsk_fd, NULL)
					 : -EPROTO;
	if (error == -EBUSY && source->fill_ring && source->fill_ring(index))
		error = lrp_pool_map(view, index, &reply, fds[0], xsk_fd, source->fill_ring(index));
	view->records_fd = -1;
	if (!error && count == 2)
		view->records_fd = fds[--count];
	lrp_broker_close_fds(fds, count);
	return error;
}

static int pool_get(uint32_t index, int xsk_fd, struct mapped_pool **result)
{
	struct mapped_pool *p;
	uint32_t state;
	int error;

	if (index >= LRP_MAX_POOLS)
		return -EPROTO;
	state = lrp_broker_status()->pool[index].state;
	for (p = pools; p; p = p->next)
		if (p->view.index == index && p->state == state &&
		    p->incarnation == lrp_broker_incarnation)
			break;
	if (!p) {
		p = calloc(1, sizeof(*p));
		if (!p)
			return -ENOMEM;
		error = pool_request(index, xsk_fd, &p->view);
		if (error) {
			free(p);
			return error;
		}
		p->state = state;
		p->incarnation = lrp_broker_incarnation;
		p->next = pools;
		pools = p;
	}
	p->channels++;
	*result = p;
	return 0;
}

static bool pool_gone(const struct mapped_pool *p)
{
	return p->incarnation != lrp_broker_incarnation ||
	       lrp_broker_status()->pool[p->view.index].state != p->state;
}

static struct mapped_pool *pool_of(const struct lrp_chan *chan)
{
	struct mapped_pool *p;

	for (p = pools; p && &p->view != chan->pool; p = p->next)
		;
	return p;
}

/* Unmaps what lrpd no longer has and nothing here lies in. */
static void pools_sweep(void)
{
	for (struct mapped_pool **at = &pools; *at;) {
		struct mapped_pool *p = *at;

		if (p->channels || !pool_gone(p)) {
			at = &p->next;
			continue;
		}
		*at = p->next;
		if (p->view.records_fd >= 0)
			close(p->view.records_fd);
		lrp_pool_unmap(&p->view);
		free(p);
	}
}

static void pool_put(struct mapped_pool *p)
{
	p->channels--;
	/* A pool that lrpd still has will be used again. */
	if (!p->channels && pool_gone(p))
		pools_sweep();
}

static int user_get(uint32_t page, uint32_t slot, struct lrp_user **user)
{
	struct lrp_request request = {.type = LRP_REQ_USER_PAGE, .pool = page};
	int fds[LRP_CONTROL_MAX_FDS], count, error;
	struct lrp_reply reply;
	void *map;

	if (page >= LRP_USER_PAGES || slot >= LRP_USER_PAGE_RECORDS)
		return -EPROTO;
	if (!user_page[page]) {
		error = call(&request, NULL, 0, &reply, fds, &count);
		if (error)
			return error;
		map = count == 1 ? mmap(NULL, USER_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
					fds[0], 0)
				 : MAP_FAILED;
		error = count == 1 ? -errno : -EPROTO;
		lrp_broker_close_fds(fds, count);
		if (map == MAP_FAILED)
			return error;
		user_page[page] = map;
	}
	*user = &user_page[page][slot];
	return 0;
}

/* ---- channels ------------------------------------------------------------------ */

static int chan_open(struct lrp_chan *chan, const struct lrp_channel_info *info, uint32_t endpoint,
		     int fd, uint32_t ring_size, uint32_t limit)
{
	struct mapped_pool *pool = NULL;
	struct lrp_user *user = NULL;
	int error;

	error = pool_get(info->pool, fd, &pool);
	if (error)
		return error;
	error = user_get(info->user_page, info->user_slot, &user);
	if (!error)
		error = lrp_chan_open(chan, &pool->view, fd, ring_size, user, NULL);
	if (error == -EBUSY && source->rx_ring && source->rx_ring(info->pool, endpoint))
		error = lrp_chan_open(chan, &pool->view, fd, ring_size, user,
				      source->rx_ring(info->pool, endpoint));
	if (error) {
		pool_put(pool);
		return error;
	}
	chan->id = info->channel;
	chan->endpoint = endpoint;
	lrp_chan_set_limit(chan, limit);
	return 0;
}

static void chan_close(struct lrp_chan *chan, bool settle)
{
	struct mapped_pool *pool = pool_of(chan);
	bool held = atomic_load_explicit(&chan->held, memory_order_acquire) != 0;

	if (settle)
		lrp_chan_settle(chan);
	lrp_chan_close(chan);
	/* The application still has frames of it in its hands: then it stays mapped. */
	if (pool && !held)
		pool_put(pool);
}

static void channels_close(struct lrp_chan *chan, uint32_t count, bool settle)
{
	for (uint32_t i = 0; i < count; i++)
		chan_close(&chan[i], settle);
}

static size_t array_size(uint32_t channels)
{
	return (channels ? channels : 1) * sizeof(struct lrp_chan);
}

/* ---- the stock ------------------------------------------------------------------- */

static int release(uint32_t id)
{
	struct lrp_request request = {.type = LRP_REQ_RELEASE, .endpoint = id};
	struct lrp_reply reply;

	return call_plain(&request, NULL, 0, &reply);
}

static void stock_drop(void)
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

	stock_drop();
	/* One at first; twice as many each time that they were used up at once. */
	stock.batch =
		same && stock.batch && now - stock.fetched_ns < STOCK_HOT_NS ? stock.batch * 2 : 1;
	if (stock.batch > LRP_CONTROL_MAX_BATCH)
		stock.batch = LRP_CONTROL_MAX_BATCH;
	request.count = stock.batch;
	request.endpoints.ring_size = ring_size;
	request.endpoints.limit = limit;
	error = call(&request, NULL, 0, &stock.reply, stock.fds, &count);
	if (error == -EMFILE && stock.reply.error == 0) {
		/* More than our descriptors allow; what came of them is closed again. */
		uint32_t got = stock.reply.count;

		if (got > LRP_CONTROL_MAX_BATCH)
			got = LRP_CONTROL_MAX_BATCH;
		for (uint32_t i = 0; i < got; i++)
			release(stock.reply.endpoints.endpoint[i]);
		if (stock.batch > 1) {
			stock.batch = request.count = 1;
			error = call(&request, NULL, 0, &stock.reply, stock.fds, &count);
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

/* ---- endpoints --------------------------------------------------------------------- */

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

static int endpoint_take(struct lrp_endpoint *ep, uint32_t ring_size, uint32_t limit,
			 const struct lrp_allocator *allocator)
{
	uint32_t epoch = lrp_broker_status()->pools_epoch, channels, first, i;
	struct lrp_chan *chan;
	int error;

	if (!stock_fits(ring_size, limit, epoch)) {
		error = stock_fetch(ring_size, limit, epoch);
		if (error)
			return error;
	}
	channels = stock.reply.endpoints.channels;
	first = stock.next * channels;
	chan = allocator->alloc(array_size(channels));
	if (!chan)
		return -ENOMEM;
	ep->id = stock.reply.endpoints.endpoint[stock.next++];
	ep->ring_size = stock.reply.endpoints.ring_size;
	ep->limit = stock.reply.endpoints.limit;
	ep->pools_epoch = epoch;
	ep->incarnation = lrp_broker_incarnation;
	for (i = 0, error = 0; i < channels && !error; i++)
		error = chan_open(&chan[i], &stock.reply.endpoints.channel[first + i], ep->id,
				  stock.fds[first + i], ep->ring_size, ep->limit);
	if (error) {
		i--; /* the one that failed: its descriptor is still ours */
		channels_close(chan, i, false);
		lrp_broker_close_fds(&stock.fds[first + i], (int)(channels - i));
		allocator->free(chan, array_size(channels));
		release(ep->id);
		ep->id = LRP_ENDPOINT_NONE;
		return error;
	}
	ep->chan = chan;
	ep->channels = channels;
	return 0;
}

static int endpoint_open(struct lrp_endpoint *ep, uint32_t ring_size, uint32_t limit,
			 const struct lrp_allocator *allocator)
{
	int error;

	memset(ep, 0, sizeof(*ep));
	ep->id = LRP_ENDPOINT_NONE;
	if (!connected())
		return -ENETDOWN;
	if (mode == BROKER_ORPHAN)
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
	error = call(&request, NULL, 0, &reply, fds, &count);
	if (error)
		return error;
	error = count == 1 ? chan_open(&ep->chan[ep->channels], &reply.endpoints.channel[0], ep->id,
				       fds[0], reply.endpoints.ring_size, reply.endpoints.limit)
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
		struct mapped_pool *pool = pool_of(&ep->chan[i]);

		/* What was taken is returned: attached again, the ring may be ours again as it is. If
		 * not, nobody reads the fill ring any more, which is harmless. */
		if (pool && pool_gone(pool))
			chan_close(&ep->chan[i], true);
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

	if (!connected())
		return -ENETDOWN;
	if (mode == BROKER_ORPHAN)
		return -EOPNOTSUPP;
	if (ep->incarnation != lrp_broker_incarnation) {
		channels_close(ep->chan, ep->channels, false);
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
			channels_close(ep->chan, ep->channels, false);
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
	for (uint32_t i = 0; i < ep->channels && !left; i++) {
		const struct mapped_pool *pool = pool_of(&ep->chan[i]);

		left = pool && pool_gone(pool) && lrp_chan_available(&ep->chan[i], 1);
	}
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
		error = call_plain(request, in_fds, in_count, reply);
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

int lrp_endpoint_publish_peer(struct lrp_endpoint *ep, int shadow_fd, const struct lrp_addr6 *peer,
			      __be16 port)
{
	struct lrp_request request = {.type = LRP_REQ_PUBLISH};
	struct lrp_reply reply;

	request.publish.endpoint = ep->id;
	request.publish.flags = LRP_PUBLISH_PEER;
	request.publish.peer = *peer;
	request.publish.peer_port = port;
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

int lrp_broker_tx(uint32_t ifindex)
{
	struct lrp_request request = {.type = LRP_REQ_TX, .tx.ifindex = ifindex};
	int fds[LRP_CONTROL_MAX_FDS], count, error;
	struct lrp_reply reply;

	lrp_broker_lock();
	error = call(&request, NULL, 0, &reply, fds, &count);
	lrp_broker_unlock();
	if (!error && count == 1)
		return fds[0];
	lrp_broker_close_fds(fds, count);
	return error ? error : -EPROTO;
}

void lrp_endpoint_close(struct lrp_endpoint *ep, const struct lrp_allocator *allocator)
{
	int error = 0;

	if (ep->id == LRP_ENDPOINT_NONE)
		return;
	lrp_broker_lock();
	channels_close(ep->chan, ep->channels, true);
	if (ep->chan)
		allocator->free(ep->chan, array_size(ep->channels));
	if (ep->incarnation == lrp_broker_incarnation && mode != BROKER_ORPHAN)
		error = release(ep->id);
	lrp_broker_unlock();
	/* lrpd finds out by itself that the shadow is gone. */
	if (error)
		lrp_log(LRP_LOG_INFO, "endpoint %u: not released: %s", ep->id, strerror(-error));
	memset(ep, 0, sizeof(*ep));
	ep->id = LRP_ENDPOINT_NONE;
}

void lrp_endpoint_released(uint32_t id)
{
	if (id == LRP_ENDPOINT_NONE)
		return;
	lrp_broker_lock();
	if (mode == BROKER_REMOTE || mode == BROKER_EMBEDDED)
		release(id);
	lrp_broker_unlock();
}

/* ---- the fragment endpoint ------------------------------------------------------------ */

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
		if (connected() && mode != BROKER_ORPHAN && !fragments_current(fragments))
			fragments_open();
		set = fragments;
		lrp_broker_unlock();
	}
	return set && set->ep.channels ? &set->ep : NULL;
}

static void fragments_close(void)
{
	struct fragment_set *set = fragments, *older;

	__atomic_store_n(&fragments, NULL, __ATOMIC_RELEASE);
	for (; set; set = older) {
		older = set->older;
		channels_close(set->ep.chan, set->ep.channels, false);
		free(set->ep.chan);
		free(set);
	}
}

/* ---- embedding -------------------------------------------------------------------------- */

int lrp_broker_embed(const char *ifname, uint32_t attach_mode, uint32_t frames, uint32_t frame_size,
		     char *error, size_t error_size)
{
	int result;

	lrp_broker_lock();
	if (mode == BROKER_REMOTE || mode == BROKER_ORPHAN) {
		lrp_broker_unlock();
		snprintf(error, error_size, "%s: this process %s; embed before the first socket",
			 ifname,
			 mode == BROKER_REMOTE ? "uses lrpd already"
					       : "was forked by one that embeds");
		return -EBUSY;
	}
	result = lrp_broker_embed_start(ifname, attach_mode, frames, frame_size, error, error_size);
	if (lrp_broker_embed_running()) {
		mode = BROKER_EMBEDDED;
		source = &lrp_broker_embedded;
	}
	lrp_broker_unlock();
	return result;
}

/* Channels whose rings are the core's mappings must not outlive it. */
static uint32_t borrowed_rings(void)
{
	uint32_t n = 0;

	for (struct mapped_pool *p = pools; p; p = p->next)
		if (!p->view.fill_map_size)
			n += p->channels;
	return n;
}

void lrp_broker_embed_close(void)
{
	uint32_t n;

	lrp_broker_lock();
	if (mode != BROKER_EMBEDDED) {
		lrp_broker_unlock();
		return;
	}
	stock_drop();
	fragments_close();
	n = borrowed_rings();
	if (n) {
		lrp_broker_unlock();
		lrp_log(LRP_LOG_WARN,
			"%u channels are still open: the interface stays attached until the "
			"process "
			"ends (close the sockets before lrp_embed_close())",
			n);
		return;
	}
	/* First, since the mutex is free while the service thread ends. */
	mode = BROKER_NONE;
	source = NULL;
	lrp_broker_embed_stop();
	lrp_broker_owner = 0;
	lrp_broker_token = 0;
	lrp_broker_incarnation++;
	memset(user_page, 0, sizeof(user_page));
	pools_sweep();
	__atomic_store_n(&status, &no_status, __ATOMIC_RELEASE);
	lrp_broker_unlock();
}

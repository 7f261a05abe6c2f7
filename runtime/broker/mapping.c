/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * mapping.c - what this process has mapped: pools, user records, and the channels in them.
 *
 * All functions are called with the broker's mutex held.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "broker_internal.h"
#include "../ring/pool.h"

#define USER_PAGE_SIZE (LRP_USER_PAGE_RECORDS * sizeof(struct lrp_user))

/* A mapped pool. Never freed while a channel or an application's zero-copy frame lies in it. */
struct mapped_pool {
	struct mapped_pool *next;
	struct lrp_pool_view view;
	uint32_t state; /* generation on the status page */
	uint32_t incarnation;
	uint32_t channels; /* open on it, in this process */
};

static struct mapped_pool *pools;
static struct lrp_user *user_page[LRP_USER_PAGES];

static int pool_request(uint32_t index, int xsk_fd, struct lrp_pool_view *view)
{
	struct lrp_request request = {.type = LRP_REQ_POOL, .pool = index};
	int fds[LRP_CONTROL_MAX_FDS], count, error;
	struct lrp_reply reply;

	error = lrp_broker_call(&request, NULL, 0, &reply, fds, &count);
	if (error)
		return error;
	error = count == 1 || count == 2 ? lrp_pool_map(view, index, &reply, fds[0], xsk_fd, NULL)
					 : -EPROTO;
	if (error == -EBUSY && lrp_broker_source->fill_ring && lrp_broker_source->fill_ring(index))
		error = lrp_pool_map(view, index, &reply, fds[0], xsk_fd,
				     lrp_broker_source->fill_ring(index));
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

void lrp_mapping_sweep(void)
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
		lrp_mapping_sweep();
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
		error = lrp_broker_call(&request, NULL, 0, &reply, fds, &count);
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

int lrp_mapping_open(struct lrp_chan *chan, const struct lrp_channel_info *info, uint32_t endpoint,
		     int fd, uint32_t ring_size, uint32_t limit)
{
	struct mapped_pool *pool = NULL;
	struct lrp_user *user = NULL;
	int error;

	error = pool_get(info->pool, fd, &pool);
	if (error)
		return error;
	/* The fragment endpoint's record is lrpd's. */
	if (endpoint != LRP_ENDPOINT_FRAGMENT)
		error = user_get(info->user_page, info->user_slot, &user);
	if (!error)
		error = lrp_chan_open(chan, &pool->view, fd, ring_size, user, NULL);
	if (error == -EBUSY && lrp_broker_source->rx_ring &&
	    lrp_broker_source->rx_ring(info->pool, endpoint))
		error = lrp_chan_open(chan, &pool->view, fd, ring_size, user,
				      lrp_broker_source->rx_ring(info->pool, endpoint));
	if (error) {
		pool_put(pool);
		return error;
	}
	chan->id = info->channel;
	chan->endpoint = endpoint;
	lrp_chan_set_limit(chan, limit);
	return 0;
}

void lrp_mapping_close(struct lrp_chan *chan, bool settle)
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

void lrp_mapping_close_all(struct lrp_chan *chan, uint32_t count, bool settle)
{
	for (uint32_t i = 0; i < count; i++)
		lrp_mapping_close(&chan[i], settle);
}

bool lrp_mapping_gone(const struct lrp_chan *chan)
{
	const struct mapped_pool *pool = pool_of(chan);

	return pool && pool_gone(pool);
}

void lrp_mapping_forget_users(void)
{
	memset(user_page, 0, sizeof(user_page));
}

uint32_t lrp_mapping_count(void)
{
	uint32_t n = 0;

	for (struct mapped_pool *p = pools; p; p = p->next)
		n += p->channels;
	return n;
}

uint32_t lrp_mapping_borrowed(void)
{
	uint32_t n = 0;

	for (struct mapped_pool *p = pools; p; p = p->next)
		if (!p->view.fill_map_size)
			n += p->channels;
	return n;
}

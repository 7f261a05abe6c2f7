/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * endpoint.c - handing out endpoints: guarantees (Invariant 1), quotas of users.
 *
 * AF_XDP sockets are recycled with the endpoint, since closing waits for a grace period: a free
 * endpoint whose rings were the same user's and have the wanted size is preferred, then one that
 * has none, then any. They never go to another user: whoever had one may have its rings mapped
 * still, and has left in them what he liked. Large ones, and those of a user other than root of
 * whom no family is left, are closed [channel.c].
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "../../runtime/base/log.h"
#include "../../runtime/ring/fill.h"
#include "../base/family.h"
#include "../pool/channel.h"
#include "../pool/circulate.h"
#include "../demux/release.h"
#include "endpoint.h"
#include "owner.h"
#include "quota.h"
#include "reclaim.h"

static uint32_t power_of_two_above(uint32_t n)
{
	uint32_t p = 1;

	while (p < n)
		p <<= 1;
	return p;
}

/* ---- guarantees ------------------------------------------------------------------ */

/*
 * Room for `more` guaranteed frames in every pool? What is lent at the moment is
 * above all guarantees, so it must fit beside them, too: the surplus shrinks at once, loans
 * only as their channels drain.
 */
static bool guarantee_fits(const struct lrp_core *core, uint32_t more)
{
	for (uint32_t i = 0; i < LRP_MAX_POOLS_TOTAL; i++) {
		const struct lrp_core_pool *pool = &core->pool[i];

		if (lrp_core_pool_on(pool) &&
		    (uint64_t)pool->guaranteed + more + pool->state->reserve > pool->state->frames)
			return false;
	}
	return true;
}

/* ---- whose sockets they were ------------------------------------------------------- */

/* A family of the user is gone. If it was the last one, so is what was kept for the next. */
void lrp_core_user_gone(struct lrp_core *core, uint32_t uid)
{
	for (uint32_t o = LRP_OWNER_LRPD + 1; o < LRP_OWNERS; o++)
		if (!uid || (core->state->owner[o].used && core->state->owner[o].uid == uid))
			return;
	for (uint32_t e = LRP_ENDPOINT_FIRST; e < core->state->endpoints; e++)
		if (core->state->endpoint[e].use == LRP_ENDPOINT_FREE &&
		    core->state->endpoint[e].socket_user == uid + 1)
			lrp_core_sockets_close(core, e);
}

/* ---- handing out --------------------------------------------------------------------- */

static uint32_t pick_free(const struct lrp_core *core, uint32_t ring_size, uint32_t user)
{
	const int *xsk[LRP_MAX_POOLS_TOTAL];
	uint32_t pools = 0, none = 0, other = 0;

	for (uint32_t i = 0; i < LRP_MAX_POOLS_TOTAL; i++)
		if (core->pool[i].xsk)
			xsk[pools++] = core->pool[i].xsk;
	for (uint32_t e = LRP_ENDPOINT_FIRST; e < core->state->endpoints; e++) {
		const struct lrp_endpoint_state *ep = &core->state->endpoint[e];
		bool sockets = false;

		if (ep->use != LRP_ENDPOINT_FREE)
			continue;
		for (uint32_t i = 0; i < pools && !sockets; i++)
			sockets = xsk[i][e] >= 0;
		if (sockets && ep->ring_size == ring_size && ep->socket_user == user)
			return e;
		if (sockets && !other)
			other = e;
		if (!sockets && !none)
			none = e;
	}
	return none ? none : other;
}

static int open_channels(struct lrp_core *core, uint32_t endpoint)
{
	for (uint32_t i = 0; i < LRP_MAX_POOLS_TOTAL; i++) {
		int err;

		if (!lrp_core_pool_live(&core->pool[i]))
			continue;
		err = lrp_core_channel_open(core, &core->pool[i], endpoint);
		if (err)
			return err;
	}
	return 0;
}

static int endpoint_make(struct lrp_core *core, const struct lrp_core_client *client,
			 uint32_t ring_size, uint32_t limit, uint32_t guarantee)
{
	uint32_t owner = client->owner, user = lrp_core_socket_user(core, owner);
	uint32_t e = pick_free(core, ring_size, user);
	struct lrp_endpoint_state *ep;
	int err;

	if (!e)
		return -ENOSPC;
	if (!guarantee_fits(core, guarantee))
		return -ENOBUFS;
	ep = &core->state->endpoint[e];
	/* In this order: whoever takes over from us in between finds none, not another's. */
	if (ep->socket_user != user)
		lrp_core_sockets_close(core, e);
	ep->socket_user = user;
	ep->owner = owner;
	ep->pid = (uint32_t)client->pid;
	ep->ring_size = ring_size;
	ep->limit = limit;
	ep->guarantee = guarantee;
	ep->generation++;
	memset(&ep->pub, 0, sizeof(ep->pub));
	ep->use = LRP_ENDPOINT_USED;
	lrp_core_family_endpoint(core, e, owner);
	lrp_core_guarantee_add(core, ep);
	core->state->owner[owner].endpoints++;
	err = open_channels(core, e);
	if (err) {
		lrp_core_release(core, e);
		return err;
	}
	return (int)e;
}

/* The fragment endpoint's record is lrpd's alone. */
static struct lrp_channel_info channel_info(const struct lrp_core *core, uint32_t index,
					    uint32_t endpoint)
{
	const struct lrp_core_pool *pool = &core->pool[index];
	const struct lrp_channel *channel = lrp_core_channel(core, pool, endpoint);
	bool own = endpoint != LRP_ENDPOINT_FRAGMENT;

	return (struct lrp_channel_info){
		.pool = index,
		.channel = lrp_core_channel_id(core, pool, endpoint),
		.user_page = own ? channel->user_page : LRP_USER_PAGES,
		.user_slot = own ? channel->user_slot : 0,
	};
}

static void put_channels(struct lrp_core *core, uint32_t endpoint, struct lrp_reply *reply,
			 int *out_fds, int *out_count)
{
	for (uint32_t i = 0; i < LRP_MAX_POOLS_TOTAL; i++) {
		struct lrp_core_pool *pool = &core->pool[i];

		if (!lrp_core_pool_live(pool))
			continue;
		reply->endpoints.channel[*out_count] = channel_info(core, i, endpoint);
		out_fds[(*out_count)++] = pool->xsk[endpoint];
	}
}

static uint32_t clamp_limit(const struct lrp_core *core, const struct lrp_endpoint_state *ep,
			    uint32_t limit)
{
	/* The kernel notices a full ring too late; CPUs may be past our test together. */
	uint32_t most =
		ep->ring_size > 2 * core->cpus ? ep->ring_size - core->cpus : ep->ring_size / 2;

	if (!limit || limit > most)
		limit = most;
	return limit < 1 ? 1 : limit;
}

/* Says which limit it was and how to raise it, unless that has been said. */
static int refusal(const struct lrp_core *core, int err, struct lrp_reply *reply)
{
	if (err == -ENOSPC)
		lrp_core_error(reply->error_text, err,
			       "all %u sockets of this network namespace are in use: lrpd "
			       "--endpoints N",
			       core->state->endpoints - LRP_ENDPOINT_FIRST);
	else if (err == -ENOBUFS)
		lrp_core_error(reply->error_text, err,
			       "all frames of an interface are guaranteed to sockets: lrp attach "
			       "IFACE --frames N with more");
	reply->length = (uint32_t)strlen(reply->error_text);
	return err;
}

int lrp_core_endpoints(struct lrp_core *core, struct lrp_core_client *client,
		       const struct lrp_request *request, struct lrp_reply *reply, int *out_fds,
		       int *out_count)
{
	uint32_t pools = lrp_core_pools(core), count = request->count, limit, guarantee, ring_size;
	char text[LRP_ERROR_SIZE] = "";
	uint32_t n, room;
	int err;

	if (!pools)
		return -ENETDOWN;
	if (count > LRP_CONTROL_MAX_BATCH)
		count = LRP_CONTROL_MAX_BATCH;
	if (count > LRP_CONTROL_MAX_FDS / pools)
		count = LRP_CONTROL_MAX_FDS / pools;
	ring_size = request->endpoints.ring_size ? request->endpoints.ring_size : LRP_DEFAULT_RING;
	if (ring_size > LRP_MAX_RING)
		return -EINVAL;
	ring_size = power_of_two_above(ring_size < 16 ? 16 : ring_size);
	/* A ring of 16 slots on a machine of 64 CPUs could not hold what these are about to add. */
	while (ring_size < 2 * core->cpus && ring_size < LRP_MAX_RING)
		ring_size <<= 1;
	limit = clamp_limit(core, &(struct lrp_endpoint_state){.ring_size = ring_size},
			    request->endpoints.limit);
	guarantee =
		request->endpoints.guarantee ? request->endpoints.guarantee : LRP_DEFAULT_GUARANTEE;
	if (guarantee > limit)
		guarantee = limit;
	room = lrp_quota_room(core, client->uid, count, ring_size, guarantee, &err, text);
	if (!room && lrp_core_reclaim_now(core))
		room = lrp_quota_room(core, client->uid, count, ring_size, guarantee, &err, text);
	if (!room) {
		memcpy(reply->error_text, text, sizeof(reply->error_text));
		return refusal(core, err, reply);
	}
	for (n = 0; n < room; n++) {
		int e = endpoint_make(core, client, ring_size, limit, guarantee);

		if (e == -ENOBUFS && lrp_core_reclaim_now(core))
			e = endpoint_make(core, client, ring_size, limit, guarantee);
		if (e < 0) {
			if (!n)
				return refusal(core, e, reply);
			break;
		}
		reply->endpoints.endpoint[n] = (uint32_t)e;
		put_channels(core, (uint32_t)e, reply, out_fds, out_count);
	}
	reply->count = n;
	reply->endpoints.channels = pools;
	reply->endpoints.ring_size = ring_size;
	reply->endpoints.limit = limit;
	lrp_core_owner_sync(core, client->owner);
	return 0;
}

int lrp_core_adopt(struct lrp_core *core, struct lrp_core_client *client,
		   const struct lrp_request *request, struct lrp_reply *reply, int *out_fds,
		   int *out_count)
{
	uint32_t index = request->adopt.pool, endpoint = request->adopt.endpoint;
	struct lrp_endpoint_state *ep = &core->state->endpoint[endpoint];
	struct lrp_core_pool *pool;
	int err;

	(void)client;
	if (index >= LRP_MAX_POOLS_TOTAL || !lrp_core_pool_live(&core->pool[index]))
		return -ENOENT;
	pool = &core->pool[index];
	err = lrp_core_channel_open(core, pool, endpoint);
	if (err)
		return err;
	reply->count = 1;
	reply->endpoints.endpoint[0] = endpoint;
	reply->endpoints.channels = 1;
	reply->endpoints.ring_size = ep->ring_size;
	reply->endpoints.limit = ep->limit;
	reply->endpoints.channel[0] = channel_info(core, index, endpoint);
	out_fds[0] = pool->xsk[endpoint];
	*out_count = 1;
	return 0;
}

int lrp_core_limit(struct lrp_core *core, uint32_t endpoint, uint32_t limit)
{
	struct lrp_endpoint_state *ep = &core->state->endpoint[endpoint];

	limit = clamp_limit(core, ep, limit);
	if (limit < ep->guarantee)
		limit = ep->guarantee;
	if (limit > ep->limit)
		lrp_core_limit_add(core, limit - ep->limit, limit);
	ep->limit = limit;
	for (uint32_t i = 0; i < LRP_MAX_POOLS_TOTAL; i++)
		if (lrp_core_pool_on(&core->pool[i]) && core->pool[i].health.state == LRP_POOL_WELL)
			lrp_core_channel(core, &core->pool[i], endpoint)->limit = limit;
	return (int)limit;
}

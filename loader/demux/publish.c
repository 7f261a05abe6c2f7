/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * publish.c - see publish.h.
 *
 * A socket that has left its port is out at once: the watcher shuts the port's entries in the maps
 * and counts in lrp_left.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "../../runtime/base/log.h"
#include "beside.h"
#include "end.h"
#include "flow.h"
#include "index.h"
#include "publish.h"
#include "release.h"
#include "shadow.h"
#include "watch.h"

#define PREDECESSORS 256u

static int by_cookie(const void *a, const void *b)
{
	uint64_t x = (*(const struct lrp_published *const *)a)->cookie;
	uint64_t y = (*(const struct lrp_published *const *)b)->cookie;

	return x < y ? -1 : x > y;
}

/* Endpoints that earlier sockets on this address left behind: the kernel let ours bind, so they
 * are gone, unless both reuse it. */
static void reclaim_predecessors(struct lrp_core *core, uint32_t endpoint,
				 const struct lrp_published *new)
{
	const struct lrp_published *found[PREDECESSORS];
	bool alive[PREDECESSORS];
	size_t count = 0;

	for_each_on_port(core, new->lport, e)
	{
		const struct lrp_published *pub = lrp_core_published(core, e);

		if (e != endpoint &&
		    pub->proto == new->proto &&count < PREDECESSORS &&lrp_core_shadow_visible(pub))
			found[count++] = pub;
	}
	if (!count)
		return;
	qsort(found, count, sizeof(found[0]), by_cookie);
	if (lrp_core_shadows_find(found, alive, count, new->lport))
		return;
	for (size_t i = 0; i < count; i++)
		if (!alive[i]) {
			const char *at =
				(const char *)found[i] - offsetof(struct lrp_endpoint_state, pub);

			lrp_core_release(core, (uint32_t)((const struct lrp_endpoint_state *)at -
							  core->state->endpoint));
		}
}

/* The memberships that the shadow has, of those that were named. */
static uint32_t read_memberships(int fd, const struct lrp_request *request,
				 struct lrp_published *pub)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < request->count; i++)
		if (lrp_core_shadow_member(fd, &request->publish.membership[i]))
			pub->membership[count++] = request->publish.membership[i];
	return count;
}

int lrp_core_publish(struct lrp_core *core, const struct lrp_request *request, int shadow_fd,
		     uint32_t *refused)
{
	uint32_t endpoint = request->publish.endpoint, count = request->count;
	uint32_t owner = core->state->endpoint[endpoint].owner;
	struct lrp_published *pub = lrp_core_published(core, endpoint), new, old;
	int err;

	if (core->map_fd[LRP_MAP_PORTS] < 0)
		return -ENETDOWN;
	err = lrp_core_shadow_read(core, shadow_fd, &new);
	/* Connections are found by exact entries alone. */
	if (!err && new.proto == IPPROTO_TCP && !new.listens)
		err = -EDESTADDRREQ;
	if (err)
		return err;
	for_each_on_port(core, new.lport,
			 e) if (e != endpoint &&
				lrp_core_published(core, e)->cookie ==
					new.cookie) return -EEXIST; /* one socket, one endpoint */
	reclaim_predecessors(core, endpoint, &new);
	new.membership_count = read_memberships(shadow_fd, request, &new);
	new.sequence = ++core->state->sequence;
	old = *pub;
	/* The order of binding is kept when a socket is published again. */
	if (old.on &&
	    old.cookie == new.cookie &&old.lport == new.lport &&old.connected == new.connected)
		new.sequence = old.sequence;
	if (old.on)
		lrp_core_withdraw(core, endpoint);
	if (new.proto == IPPROTO_TCP)
		err = lrp_core_ports_begin(core, &new.lport, 1);
	if (!err)
		err = lrp_core_watch(core, shadow_fd, owner, &new, LRP_SHADOW_PUBLISHED);
	/* What binds or listens from now on is noticed. */
	if (!err) {
		err = lrp_core_beside(core, &new, core->state->owner[owner].uid);
		if (err)
			lrp_core_unwatch(core, new.cookie, LRP_SHADOW_PUBLISHED);
	}
	if (new.proto == IPPROTO_TCP)
		lrp_core_ports_done(core, &new.lport, 1);
	if (err)
		return err;
	*pub = new;
	atomic_signal_fence(memory_order_seq_cst);
	pub->on = 1;
	core->state->endpoint[endpoint].missing = 0;
	lrp_core_sweep_in(core, 400);
	lrp_core_index_add(core, endpoint);
	core->sync_error = 0;
	*refused = lrp_core_sync_socket(core, pub) + count - new.membership_count;
	if (!core->sync_error) {
		/* Who bound after we had looked, and before the port was ours? */
		if (new.proto == IPPROTO_UDP && core->state->owner[owner].uid)
			lrp_core_port_bound(core, ntohs(new.lport));
		return 0;
	}
	/* Half in the maps is worse than not: the shadow serves it. */
	lrp_core_withdraw(core, endpoint);
	return -ENOSPC;
}

void lrp_core_withdraw(struct lrp_core *core, uint32_t endpoint)
{
	struct lrp_published *pub = lrp_core_published(core, endpoint), old = *pub;

	if (!old.on)
		return;
	lrp_core_index_remove(core, endpoint);
	pub->on = 0;
	lrp_core_unwatch(core, old.cookie, LRP_SHADOW_PUBLISHED);
	lrp_core_sync_socket(core, &old);
}

void lrp_core_port_left(struct lrp_core *core, uint32_t index)
{
	__be16 port = htons((uint16_t)index);

	if (index >= LRP_LEFT_ENTRIES)
		return;
	lrp_core_left_look(core, index);
	for_each_on_port(core, port, e) if (lrp_core_published(core, e)->on &&
					    lrp_core_published(core, e)->left)
		lrp_core_sync_socket(core, lrp_core_published(core, e));
	for (int v6 = 0; v6 <= 1; v6++)
		lrp_core_sync_port(core,
				   &(struct lrp_port_key){.v6 = v6,
							  .proto = index >= LRP_PORTS ? IPPROTO_TCP
										      : IPPROTO_UDP,
							  .port = port});
	core->claims_look |= index >= LRP_PORTS;
	/* Who has died is reclaimed, who has moved is not. */
	lrp_core_sweep_in(core, 0);
}

/* Events may be lost; the counts and the flags are not. */
void lrp_core_ports_left(struct lrp_core *core)
{
	if (!core->left)
		return;
	for (uint32_t index = 0; index < LRP_LEFT_ENTRIES; index++)
		if ((uint32_t)core->left[index] != core->left_seen[index])
			lrp_core_port_left(core, index);
	for (uint32_t port = 1; port < LRP_PORTS; port++)
		if (lrp_core_port_shut(core, port))
			lrp_core_port_bound(core, port);
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* end.c - see end.h. */
#include <bpf/bpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "../../runtime/base/log.h"
#include "beside.h"
#include "end.h"
#include "exact.h"
#include "flow.h"
#include "kernel_tcp.h"
#include "shadow.h"
#include "watch.h"

#define ENDS_PER_UID	   12288u	      /* of users other than root */
#define ENDS_OF_USERS	   (LRP_ENDS / 4 * 3) /* of all of them together; the rest is root's */
#define ENDS_PER_UID_PORT  8u
#define ENDS_OF_USERS_PORT (LRP_ENDS_ON_PORT / 4 * 3)
#define CLAIMS_PER_UID	   4096u
#define CLAIMS_OF_USERS	   (LRP_CLAIMS / 4 * 3)
#define IDLE_NS		   (60ull * 1000000000u) /* an end that is kept without a socket there */
#define IDLE_LOOK_NS	   (5ull * 1000000000u)
#define LEFT_LOOK_NS	   20000000ull /* between two looks for sockets that have left */

/* ---- the index -------------------------------------------------------------------- */

static struct lrp_end_key key_of(const struct lrp_end_state *state, uint32_t owner)
{
	return (struct lrp_end_key){.addr = state->addr,
				    .port = state->port,
				    .family = state->v6 ? 6 : 4,
				    .owner = owner};
}

static uint32_t index_find(struct lrp_core *core, const struct lrp_end_state *state)
{
	struct lrp_end_key key = key_of(state, state->owner);
	uint32_t end = 0;

	bpf_map_lookup_elem(core->map_fd[LRP_MAP_END_INDEX], &key, &end);
	return end;
}

/* ---- the ends of a port -------------------------------------------------------------- */

static uint64_t *head_of(const struct lrp_core *core, __be16 port)
{
	return &core->end_heads[ntohs(port)];
}

bool lrp_core_port_watched(const struct lrp_core *core, __be16 port)
{
	return *head_of(core, port) != 0;
}

/*
 * An end that belongs to nobody. It stands on ports that are watched before anybody has an end
 * there, so that the watcher follows the kernel's connections from then on. It is the last of its
 * chain.
 */
#define NOBODYS_END (LRP_ENDS - 1)

static void chain_add(struct lrp_core *core, uint32_t end)
{
	uint64_t *head = head_of(core, core->state->end[end].port);

	core->ends[end].next = (uint32_t)*head;
	__atomic_store_n(head, end, __ATOMIC_RELEASE);
}

static void chain_remove(struct lrp_core *core, __be16 port, uint32_t end)
{
	uint64_t *head = head_of(core, port);
	uint32_t at;

	if (*head == end) {
		__atomic_store_n(head, core->ends[end].next, __ATOMIC_RELEASE);
		return;
	}
	for (at = (uint32_t)*head; at; at = core->ends[at].next)
		if (core->ends[at].next == end) {
			__atomic_store_n(&core->ends[at].next, core->ends[end].next,
					 __ATOMIC_RELEASE);
			return;
		}
}

int lrp_core_ports_begin(struct lrp_core *core, const __be16 *ports, int count)
{
	bool fresh = false;
	int err;

	for (int i = 0; i < count; i++)
		if (!lrp_core_port_watched(core, ports[i])) {
			__atomic_store_n(head_of(core, ports[i]), NOBODYS_END, __ATOMIC_RELEASE);
			fresh = true;
		}
	if (!fresh)
		return 0;
	err = lrp_core_kernel_sync(core);
	/* Without room for all connections the ports are marked, and that is enough. */
	return err == -ENOSPC ? 0 : err;
}

void lrp_core_ports_done(struct lrp_core *core, const __be16 *ports, int count)
{
	for (int i = 0; i < count; i++) {
		chain_remove(core, ports[i], NOBODYS_END);
		if (!lrp_core_port_watched(core, ports[i]))
			lrp_core_sync_tcp_port(core, ports[i]);
	}
}

/* ---- taking ----------------------------------------------------------------------------- */

static bool may_have_more(const struct lrp_core *core, uint32_t uid, __be16 port)
{
	uint32_t mine = 0, users = 0, here = 0, mine_here = 0;

	for (uint32_t e = (uint32_t)*head_of(core, port); e; e = core->ends[e].next) {
		here++;
		mine_here += core->ends[e].uid == uid;
	}
	if (here >= LRP_ENDS_ON_PORT)
		return false;
	if (!uid)
		return true;
	for (uint32_t e = 1; e < LRP_ENDS; e++) {
		bool used = core->state->end[e].use != LRP_END_FREE;

		users += used && core->ends[e].uid;
		mine += used && core->ends[e].uid == uid;
	}
	return mine < ENDS_PER_UID && users < ENDS_OF_USERS && mine_here < ENDS_PER_UID_PORT &&
	       here < ENDS_OF_USERS_PORT;
}

/* Counts one more socket on an end. False: the family has lost the end. */
static bool socket_add(struct lrp_end *end)
{
	__atomic_fetch_add(&end->sockets, 1, __ATOMIC_ACQ_REL);
	if (__atomic_load_n(&end->owner, __ATOMIC_ACQUIRE))
		return true;
	__atomic_fetch_sub(&end->sockets, 1, __ATOMIC_ACQ_REL);
	return false;
}

static int end_make(struct lrp_core *core, const struct lrp_end_state *like)
{
	struct lrp_end_key key = key_of(like, like->owner);
	uint32_t uid = core->state->owner[like->owner].uid, e;
	struct lrp_end *end;
	int err;

	if (!may_have_more(core, uid, like->port))
		return -EDQUOT;
	for (e = 1; e < NOBODYS_END && core->state->end[e].use != LRP_END_FREE; e++)
		;
	if (e == NOBODYS_END)
		return -ENOSPC;
	end = &core->ends[e];
	end->uid = uid;
	end->v6 = like->v6;
	end->addr = like->addr;
	end->flows = 0;
	__atomic_fetch_add(&end->generation, 1, __ATOMIC_ACQ_REL); /* 0 is no generation */
	__atomic_store_n(&end->sockets, 1, __ATOMIC_RELEASE);
	__atomic_store_n(&end->owner, like->owner, __ATOMIC_RELEASE);
	core->state->end[e] = *like;
	core->state->end[e].use = LRP_END_USED;
	chain_add(core, e);
	err = bpf_map_update_elem(core->map_fd[LRP_MAP_END_INDEX], &key, &e, BPF_ANY) ? -errno : 0;
	if (!err)
		return (int)e;
	lrp_core_ends_give(core, (uint32_t[2]){e, 0});
	return err == -E2BIG ? -ENOSPC : err;
}

int lrp_core_ends_take(struct lrp_core *core, uint32_t owner, struct lrp_published *pub)
{
	pub->end[0] = pub->end[1] = 0;
	for (int v6 = 0; v6 <= 1; v6++) {
		struct lrp_end_state like = {.owner = owner, .port = pub->lport, .v6 = (uint8_t)v6};
		uint32_t found;
		int end;

		if (!(v6 ? pub->v6 : pub->v4))
			continue;
		if (!pub->wildcard)
			like.addr = pub->laddr;
		found = index_find(core, &like);
		if (found && socket_add(&core->ends[found])) {
			pub->end[v6] = found;
			continue;
		}
		end = end_make(core, &like);
		if (end < 0) {
			lrp_core_ends_give(core, pub->end);
			return end;
		}
		pub->end[v6] = (uint32_t)end;
	}
	return 0;
}

/* ---- giving up --------------------------------------------------------------------------- */

/* The grace period that is awaited goes on. Ends that were given up since it began wait
 * for the next one. */
static void purge_later(struct lrp_core *core)
{
	if (core->end_ticket)
		core->end_again = true;
	else
		core->end_ticket = lrp_core_grace_ask(core);
}

static void retire(struct lrp_core *core, uint32_t e)
{
	struct lrp_end_state *state = &core->state->end[e];
	struct lrp_end_key key = key_of(state, state->owner);

	if (state->use != LRP_END_USED)
		return;
	__atomic_store_n(&core->ends[e].owner, 0, __ATOMIC_RELEASE);
	__atomic_fetch_add(&core->ends[e].generation, 1, __ATOMIC_ACQ_REL);
	/* A newer end of the same family may stand there by now. */
	if (index_find(core, state) == e)
		bpf_map_delete_elem(core->map_fd[LRP_MAP_END_INDEX], &key);
	chain_remove(core, state->port, e);
	state->use = core->end_ticket ? LRP_END_RETIRING_NEXT : LRP_END_RETIRING;
	purge_later(core);
	lrp_core_sync_tcp_port(core, state->port);
}

/* lrpd has counted the end's last socket down. */
static void nobody_has(struct lrp_core *core, uint32_t e)
{
	if (!core->state->end[e].kept)
		retire(core, e);
	else
		__atomic_fetch_add(&core->ends[e].generation, 1, __ATOMIC_ACQ_REL);
}

bool lrp_core_ends_held(const struct lrp_core *core, const uint32_t end[2])
{
	for (int i = 0; i < 2; i++)
		if (end[i] && !__atomic_load_n(&core->ends[end[i]].owner, __ATOMIC_ACQUIRE))
			return false;
	return true;
}

void lrp_core_ends_give(struct lrp_core *core, const uint32_t end[2])
{
	for (int i = 0; i < 2; i++)
		if (end[i] &&
		    __atomic_fetch_sub(&core->ends[end[i]].sockets, 1, __ATOMIC_ACQ_REL) == 1)
			nobody_has(core, end[i]);
}

bool lrp_core_end_counts(const struct lrp_core *core, const struct lrp_flow *flow)
{
	return flow->end < LRP_ENDS && core->state->end[flow->end].use == LRP_END_USED &&
	       core->state->end[flow->end].owner == flow->owner &&
	       __atomic_load_n(&core->ends[flow->end].generation, __ATOMIC_ACQUIRE) ==
		       flow->generation;
}

/* Retires two kinds of ends: those whose last socket the watcher has seen leave, and those that the
 * watcher has taken away from their family. An end that is kept is not retired, but its entries are
 * purged, too. */
static void retire_left(struct lrp_core *core)
{
	for (uint32_t e = 1; e < LRP_ENDS; e++) {
		bool empty = !__atomic_load_n(&core->ends[e].sockets, __ATOMIC_ACQUIRE);

		if (core->state->end[e].use != LRP_END_USED)
			continue;
		if (!__atomic_load_n(&core->ends[e].owner, __ATOMIC_ACQUIRE) ||
		    (empty && !core->state->end[e].kept))
			retire(core, e);
		else if (empty && __atomic_load_n(&core->ends[e].flows, __ATOMIC_RELAXED))
			purge_later(core);
	}
}

/* The grace period is over: no program makes an entry any more under an end that was
 * given up before it. */
static void retiring_over(struct lrp_core *core)
{
	bool next = core->end_again;

	core->end_ticket = 0;
	core->end_again = false;
	lrp_core_flows_purge(core);
	for (uint32_t e = 1; e < LRP_ENDS; e++) {
		struct lrp_end_state *state = &core->state->end[e];

		if (state->use == LRP_END_RETIRING)
			state->use = LRP_END_RETIRED;
		else if (state->use == LRP_END_RETIRING_NEXT)
			state->use = LRP_END_RETIRING;
	}
	if (next)
		purge_later(core);
}

/* A record in lrp_shadows may still name the end. Then its number is not used again yet. */
static void retired_free(struct lrp_core *core)
{
	if (core->end_ticket && lrp_core_grace_over(core, core->end_ticket))
		retiring_over(core);
	for (uint32_t e = 1; e < LRP_ENDS; e++)
		if (core->state->end[e].use == LRP_END_RETIRED &&
		    !__atomic_load_n(&core->ends[e].sockets, __ATOMIC_ACQUIRE))
			core->state->end[e].use = LRP_END_FREE;
}

/* ---- claims --------------------------------------------------------------------------------- */

static struct lrp_claim_state *claim_find(struct lrp_core *core, uint64_t cookie)
{
	for (uint32_t c = 0; c < LRP_CLAIMS; c++)
		if (core->state->claim[c].cookie == cookie)
			return &core->state->claim[c];
	return NULL;
}

static void claim_end(struct lrp_core *core, struct lrp_claim_state *claim)
{
	uint64_t cookie = claim->cookie;

	claim->cookie = 0;
	lrp_core_unwatch(core, cookie, LRP_SHADOW_CLAIMED);
}

/* lrpd keeps the ends as the owner's. The owner has them with each socket that its program finds
 * there. */
static int keep(struct lrp_core *core, uint32_t owner, struct lrp_published *pub)
{
	int err = lrp_core_ends_take(core, owner, pub);

	if (err)
		return err;
	for (int i = 0; i < 2; i++)
		if (pub->end[i])
			core->state->end[pub->end[i]].kept = 1;
	lrp_core_ends_give(core, pub->end);
	if (!core->next_idle_ns)
		core->next_idle_ns = lrp_core_now_ns() + IDLE_LOOK_NS;
	return 0;
}

static bool may_claim_more(const struct lrp_core *core, uint32_t uid)
{
	uint32_t mine = 0, users = 0;

	if (!uid)
		return true;
	for (uint32_t c = 0; c < LRP_CLAIMS; c++) {
		uint32_t other = core->state->owner[core->state->claim[c].owner].uid;

		if (!core->state->claim[c].cookie || !other)
			continue;
		users++;
		mine += other == uid;
	}
	return mine < CLAIMS_PER_UID && users < CLAIMS_OF_USERS;
}

/* Makes a claim for the socket. A socket has at most one. */
static int claim_make(struct lrp_core *core, uint32_t owner, int fd, struct lrp_published *pub)
{
	struct lrp_claim_state *claim = claim_find(core, pub->cookie);
	int err;

	if (claim)
		return claim->owner == owner ? 0 : -EACCES;
	if (!may_claim_more(core, core->state->owner[owner].uid))
		return -EDQUOT;
	claim = claim_find(core, 0);
	if (!claim)
		return -ENOSPC;
	err = lrp_core_watch(core, fd, owner, pub, LRP_SHADOW_CLAIMED);
	if (err)
		return err;
	*claim = (struct lrp_claim_state){.owner = owner};
	claim->cookie = pub->cookie;
	return 0;
}

static int claim_one(struct lrp_core *core, uint32_t owner, int fd, bool kept)
{
	struct lrp_published pub;
	int err = lrp_core_shadow_read(core, fd, &pub);

	if (!err)
		err = lrp_core_beside(core, &pub, core->state->owner[owner].uid);
	if (!err)
		err = kept ? keep(core, owner, &pub) : claim_make(core, owner, fd, &pub);
	if (!err)
		lrp_core_sync_tcp_port(core, pub.lport);
	return err;
}

static int claim_ports(struct lrp_core *core, const int *fds, int count, __be16 *ports)
{
	for (int i = 0; i < count; i++) {
		struct lrp_published pub;
		int err = lrp_core_shadow_read(core, fds[i], &pub);

		if (!err && pub.proto != IPPROTO_TCP)
			err = -EPROTONOSUPPORT;
		if (err)
			return err;
		ports[i] = pub.lport;
	}
	return 0;
}

/* Connections that the kernel has on these ports stay the kernel's: lrpd knows them before an end
 * becomes the owner's. */
int lrp_core_claim(struct lrp_core *core, uint32_t owner, const int *fds, int count, bool kept)
{
	__be16 ports[LRP_CONTROL_MAX_FDS] = {0};
	int err;

	if (core->map_fd[LRP_MAP_PORTS] < 0)
		return -ENETDOWN;
	err = claim_ports(core, fds, count, ports);
	if (err)
		return err;
	err = lrp_core_ports_begin(core, ports, count);
	for (int i = 0; i < count && !err; i++)
		err = claim_one(core, owner, fds[i], kept);
	lrp_core_ports_done(core, ports, count);
	return err;
}

void lrp_core_claims_owner_gone(struct lrp_core *core, uint32_t owner)
{
	for (uint32_t c = 0; c < LRP_CLAIMS; c++)
		if (core->state->claim[c].cookie && core->state->claim[c].owner == owner)
			claim_end(core, &core->state->claim[c]);
	/* Ends without a claim: those that are kept, and those whose sockets the
	 * program has found. */
	for (uint32_t e = 1; e < LRP_ENDS; e++)
		if (core->state->end[e].use == LRP_END_USED && core->state->end[e].owner == owner)
			retire(core, e);
}

static void claims_left(struct lrp_core *core)
{
	for (uint32_t c = 0; c < LRP_CLAIMS; c++) {
		struct lrp_claim_state *claim = &core->state->claim[c];

		if (claim->cookie && !lrp_core_watched(core, claim->cookie))
			claim_end(core, claim);
	}
}

static void kept_idle(struct lrp_core *core)
{
	uint64_t now = lrp_core_now_ns();
	bool any = false;

	if (!core->next_idle_ns || now < core->next_idle_ns)
		return;
	for (uint32_t e = 1; e < LRP_ENDS; e++) {
		struct lrp_end_state *state = &core->state->end[e];

		if (state->use != LRP_END_USED || !state->kept)
			continue;
		any = true;
		if (__atomic_load_n(&core->ends[e].sockets, __ATOMIC_RELAXED))
			state->idle_ns = 0;
		else if (!state->idle_ns)
			state->idle_ns = now;
		else if (now - state->idle_ns > IDLE_NS)
			retire(core, e);
	}
	core->next_idle_ns = any ? now + IDLE_LOOK_NS : 0;
}

/* ---- from time to time ----------------------------------------------------------- */

uint64_t lrp_core_ends_run(struct lrp_core *core)
{
	uint64_t now = lrp_core_now_ns(), next;

	if (core->map_fd[LRP_MAP_PORTS] < 0)
		return 0;
	if (core->claims_look && now >= core->next_left_ns) {
		claims_left(core);
		retire_left(core);
		retired_free(core);
		core->claims_look = false;
		core->next_left_ns = lrp_core_now_ns() + LEFT_LOOK_NS;
	} else if (core->end_ticket && lrp_core_grace_over(core, core->end_ticket)) {
		retired_free(core);
	}
	kept_idle(core);
	next = core->next_idle_ns;
	if (core->claims_look && (!next || core->next_left_ns < next))
		next = core->next_left_ns;
	return next;
}

void lrp_core_ends_adopt(struct lrp_core *core)
{
	bool retiring = false, kept = false;

	/* An lrpd may have died between lrp_core_ports_begin() and lrp_core_ports_done(). */
	for (uint32_t port = 1; port < LRP_PORTS; port++)
		if (core->end_heads[port])
			chain_remove(core, htons((uint16_t)port), NOBODYS_END);

	for (uint32_t e = 1; e < LRP_ENDS; e++) {
		if (core->state->end[e].use == LRP_END_RETIRING_NEXT)
			core->state->end[e].use = LRP_END_RETIRING;
		retiring |= core->state->end[e].use == LRP_END_RETIRING;
		kept |= core->state->end[e].use == LRP_END_USED && core->state->end[e].kept;
	}
	if (retiring)
		purge_later(core);
	if (kept)
		core->next_idle_ns = lrp_core_now_ns() + IDLE_LOOK_NS;
	core->claims_look = true;
}

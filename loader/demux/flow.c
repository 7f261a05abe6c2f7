/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * flow.c - the demultiplexing maps. Every entry is computed from the table of
 * published sockets: sync_*() looks at all sockets that have to do with a key and
 * writes what follows, so that the order of events and a crash between two of
 * them do not matter.
 *
 * Precedence is the kernel's: a connected socket before one that is bound to the
 * address, before one on the wildcard. Of several sockets on one address the
 * last that was bound receives, or, with SO_REUSEPORT, all of them in turn.
 *
 * The exact entries of TCP are not in the table: the processes that have the connections make them
 * through their family's program. Here they are only taken away when their owner, endpoint or local
 * end is gone, and the peers are told.
 *
 * A socket that has left its port is out at once: the watcher shuts the port's entries in the maps
 * and counts in lrp_left. Before an entry is computed, sockets that have left are looked for if the
 * count has changed; after it was written, the count is read again.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "../../runtime/base/log.h"
#include "beside.h"
#include "end.h"
#include "exact.h"
#include "flow.h"
#include "fragment.h"
#include "release.h"
#include "shadow.h"
#include "watch.h"

struct port_key {
	bool v6;
	__u8 proto;
	__be16 port;
};

static struct lrp_published *published(struct lrp_core *core, uint32_t endpoint)
{
	return &core->state->endpoint[endpoint].pub;
}

static bool is_on(const struct lrp_published *pub)
{
	return pub->on && !pub->left;
}

static bool same_addr(const struct lrp_addr6 *a, const struct lrp_addr6 *b)
{
	return !memcmp(a, b, sizeof(*a));
}

static bool in_family(const struct lrp_published *pub, bool v6)
{
	return v6 ? pub->v6 : pub->v4;
}

/* ---- index by local port ------------------------------------------------------------ */

static void index_add(struct lrp_core *core, uint32_t endpoint)
{
	uint32_t *head = &core->by_port[published(core, endpoint)->lport];

	core->next_on_port[endpoint] = *head;
	*head = endpoint;
	lrp_core_strays_wanted(core, published(core, endpoint), true);
}

static void index_remove(struct lrp_core *core, uint32_t endpoint)
{
	uint32_t *at = &core->by_port[published(core, endpoint)->lport];

	while (*at && *at != endpoint)
		at = &core->next_on_port[*at];
	if (*at)
		*at = core->next_on_port[endpoint];
	lrp_core_strays_wanted(core, published(core, endpoint), false);
}

#define for_each_on_port(core, port, e)                                                            \
	for (uint32_t e = (core)->by_port[port]; e; e = (core)->next_on_port[e])

/* ---- targets ---------------------------------------------------------------------------- */

static const struct lrp_addr6 no_addr;

static struct lrp_group_state *find_group(struct lrp_core *core, const struct port_key *key,
					  const struct lrp_addr6 *addr, bool make)
{
	struct lrp_group_state *unused = NULL;

	for (uint32_t g = 0; g < LRP_GROUPS; g++) {
		struct lrp_group_state *group = &core->state->group[g];

		if (!group->used) {
			if (!unused)
				unused = group;
		} else if (group->ipv6 == key->v6 && group->proto == key->proto &&
			   group->port == key->port && same_addr(&group->addr, addr)) {
			return group;
		}
	}
	if (!make || !unused)
		return NULL;
	*unused = (struct lrp_group_state){
		.ipv6 = key->v6,
		.proto = key->proto,
		.port = key->port,
		.addr = *addr,
		.used = 1,
	};
	return unused;
}

/* Sockets that want what is sent to this address: unconnected, bound to it (NULL: to none). */
static bool wants(const struct lrp_published *pub, const struct port_key *key,
		  const struct lrp_addr6 *addr)
{
	if (!is_on(pub) || pub->connected || pub->proto != key->proto || !in_family(pub, key->v6))
		return false;
	return addr ? !pub->wildcard && same_addr(&pub->laddr, addr) : pub->wildcard;
}

/* Who receives: an endpoint or a group. Returns false if nobody does. */
static bool target_of(struct lrp_core *core, const struct port_key *key,
		      const struct lrp_addr6 *addr, uint32_t *target)
{
	struct lrp_group_state *group;
	struct lrp_group record = {0};
	uint32_t newest = 0, index;

	for_each_on_port(core, key->port, e)
	{
		const struct lrp_published *pub = published(core, e);

		if (!wants(pub, key, addr))
			continue;
		if (!newest || (int32_t)(pub->sequence - published(core, newest)->sequence) > 0)
			newest = e;
		if (pub->reuseport && record.count < LRP_GROUP_MAX)
			record.endpoint[record.count++] = e;
	}
	*target = newest;
	group = find_group(core, key, addr ? addr : &no_addr, record.count > 1);
	if (!newest || !published(core, newest)->reuseport || record.count < 2) {
		if (group)
			group->used = 0;
		return newest != 0;
	}
	if (!group) {
		lrp_log(LRP_LOG_WARN,
			"lrpd: more than %u SO_REUSEPORT groups: the last socket of "
			"port %u receives alone",
			LRP_GROUPS, ntohs(key->port));
		return true;
	}
	index = (uint32_t)(group - core->state->group);
	bpf_map_update_elem(core->map_fd[LRP_MAP_GROUPS], &index, &record, BPF_ANY);
	*target = LRP_TARGET_GROUP | index;
	return true;
}

/* ---- one key each -------------------------------------------------------------------------- */

static uint32_t left_index(const struct port_key *key)
{
	return LRP_LEFT_INDEX(key->proto == IPPROTO_TCP, ntohs(key->port));
}

/* True if none has left its port since the last time that we looked. */
static bool left_look(struct lrp_core *core, uint32_t index)
{
	__be16 port = htons((uint16_t)index);
	uint32_t count = (uint32_t)__atomic_load_n(&core->left[index], __ATOMIC_ACQUIRE);

	if (count == core->left_seen[index])
		return true;
	core->left_seen[index] = count;
	for_each_on_port(core, port, e)
	{
		struct lrp_published *pub = published(core, e);

		if (pub->on && LRP_LEFT_INDEX(pub->proto == IPPROTO_TCP, ntohs(port)) == index)
			pub->left |= !lrp_core_watched(core, pub->cookie) ||
				     !lrp_core_ends_held(core, pub->end);
	}
	return false;
}

/* One store: XDP reads target and flags as one word. Some flags are set by the watcher and taken
 * away by kernel_tcp.c and beside.c. */
static void port_store(struct lrp_core *core, uint32_t index, uint64_t word)
{
	const uint64_t kept = (uint64_t)(LRP_PORT_KERNEL | LRP_PORT_CROWDED | LRP_PORT_SHUT) << 32;
	const uint64_t open = (uint64_t)(LRP_PORT_ANY | LRP_PORT_BINDS) << 32;
	uint64_t *at = (uint64_t *)&core->ports[index], was = __atomic_load_n(at, __ATOMIC_ACQUIRE);
	uint64_t next;

	do {
		next = word | (was & kept);
		if (was & (uint64_t)LRP_PORT_SHUT << 32)
			next &= ~open;
	} while (!__atomic_compare_exchange_n(at, &was, next, false, __ATOMIC_ACQ_REL,
					      __ATOMIC_ACQUIRE));
}

static uint32_t uid_of(const struct lrp_core *core, uint32_t endpoint)
{
	return core->state->owner[core->state->endpoint[endpoint].owner].uid;
}

static uint64_t port_word(struct lrp_core *core, const struct port_key *key)
{
	union {
		struct lrp_port port;
		uint64_t word;
	} entry = {.word = 0};
	uint32_t uid = 0, bound = 0;

	if (target_of(core, key, NULL, &entry.port.target))
		entry.port.flags |= LRP_PORT_ANY;
	for_each_on_port(core, key->port, e)
	{
		const struct lrp_published *pub = published(core, e);

		if (!is_on(pub) || pub->proto != key->proto || !in_family(pub, key->v6))
			continue;
		if (pub->connected)
			entry.port.flags |= LRP_PORT_FLOWS;
		if (!pub->connected && !pub->wildcard)
			entry.port.flags |= LRP_PORT_BINDS;
		if (!pub->connected && bound && uid_of(core, e) != uid)
			entry.port.flags |= LRP_PORT_MIXED;
		if (!pub->connected) {
			bound = e;
			uid = uid_of(core, e);
		}
		if (pub->membership_count)
			entry.port.flags |= LRP_PORT_MULTICAST;
	}
	if (key->proto == IPPROTO_TCP && lrp_core_port_watched(core, key->port))
		entry.port.flags |= LRP_PORT_FLOWS;
	if (!(entry.port.flags & LRP_PORT_ANY))
		entry.port.target = bound;
	return entry.word;
}

/* Sockets that leave while we look are the rule under nobody: after so many rounds the
 * kernel serves them. */
#define ROUNDS 8

static void sync_port(struct lrp_core *core, const struct port_key *key)
{
	uint32_t index = LRP_PORT_INDEX(key->v6, key->proto == IPPROTO_TCP, ntohs(key->port));

	left_look(core, left_index(key));
	for (int i = 0; i < ROUNDS; i++) {
		port_store(core, index, port_word(core, key));
		if (left_look(core, left_index(key)))
			return;
	}
	port_store(core, index, 0);
}

static void update_or_delete(struct lrp_core *core, int fd, const void *key, const void *value,
			     bool there)
{
	if (there ? bpf_map_update_elem(fd, key, value, BPF_ANY)
		  : bpf_map_delete_elem(fd, key) && errno != ENOENT)
		core->sync_error = -errno; /* E2BIG: the map is full */
}

static void sync_bind(struct lrp_core *core, const struct port_key *key,
		      const struct lrp_addr6 *addr)
{
	uint32_t target;
	bool there = target_of(core, key, addr, &target);

	if (key->v6) {
		struct lrp_bind6 bind = {.addr = *addr, .port = key->port, .proto = key->proto};

		update_or_delete(core, core->map_fd[LRP_MAP_BINDS6], &bind, &target, there);
	} else {
		struct lrp_bind4 bind = {.port = key->port, .proto = key->proto};

		memcpy(&bind.addr, &addr->byte[12], 4);
		update_or_delete(core, core->map_fd[LRP_MAP_BINDS4], &bind, &target, there);
	}
}

/* The connected socket with the addresses and ports of `like`. */
static void sync_flow(struct lrp_core *core, const struct lrp_published *like, bool v6)
{
	struct lrp_flow flow = {0};
	uint32_t newest = 0;

	for_each_on_port(core, like->lport, e)
	{
		const struct lrp_published *pub = published(core, e);

		if (is_on(pub) && pub->connected && pub->proto == like->proto &&
		    in_family(pub, v6) && pub->rport == like->rport &&
		    same_addr(&pub->laddr, &like->laddr) && same_addr(&pub->raddr, &like->raddr) &&
		    (!newest || (int32_t)(pub->sequence - published(core, newest)->sequence) > 0))
			newest = e;
	}
	flow.endpoint = newest;
	flow.owner = core->state->endpoint[newest].owner;
	if (v6) {
		struct lrp_flow6 key = {
			.laddr = like->laddr,
			.raddr = like->raddr,
			.lport = like->lport,
			.rport = like->rport,
			.proto = like->proto,
		};

		update_or_delete(core, core->map_fd[LRP_MAP_FLOWS6], &key, &flow, newest != 0);
	} else {
		struct lrp_flow4 key = {
			.lport = like->lport,
			.rport = like->rport,
			.proto = like->proto,
		};

		memcpy(&key.laddr, &like->laddr.byte[12], 4);
		memcpy(&key.raddr, &like->raddr.byte[12], 4);
		update_or_delete(core, core->map_fd[LRP_MAP_FLOWS4], &key, &flow, newest != 0);
	}
}

/*
 * A group on a device: an entry only while all members are of one family, which
 * copies to each; else the kernel does. Returns true if there is an entry.
 */
static bool sync_membership(struct lrp_core *core, const struct lrp_membership *key)
{
	uint32_t member = 0;
	bool several = false;

	for_each_on_port(core, key->port, e)
	{
		const struct lrp_published *pub = published(core, e);

		if (!is_on(pub) || pub->connected || pub->proto != key->proto ||
		    !(pub->wildcard || same_addr(&pub->laddr, &key->group)))
			continue;
		for (uint32_t m = 0; m < pub->membership_count; m++) {
			if (!same_addr(&pub->membership[m].group, &key->group) ||
			    (pub->membership[m].ifindex &&
			     pub->membership[m].ifindex != key->ifindex))
				continue;
			if (member &&
			    core->state->endpoint[member].owner != core->state->endpoint[e].owner)
				several = true;
			if (!member || e < member)
				member = e;
			break;
		}
	}
	update_or_delete(core, core->map_fd[LRP_MAP_MEMBERSHIPS], key, &member, member && !several);
	return member && !several;
}

/* All keys that a socket has to do with. Returns how many of its memberships have no entry. */
static uint32_t sync_socket(struct lrp_core *core, const struct lrp_published *pub)
{
	uint32_t refused = 0;

	for (int v6 = 0; v6 <= 1; v6++) {
		struct port_key key = {.v6 = v6, .proto = pub->proto, .port = pub->lport};

		if (!in_family(pub, v6))
			continue;
		if (pub->connected)
			sync_flow(core, pub, v6);
		else if (!pub->wildcard)
			sync_bind(core, &key, &pub->laddr);
		sync_port(core, &key);
	}
	for (uint32_t m = 0; m < pub->membership_count; m++) {
		bool entry = false;

		for (uint32_t i = 0; i < LRP_MAX_DEVICES; i++) {
			struct lrp_membership key = {
				.group = pub->membership[m].group,
				.port = pub->lport,
				.proto = pub->proto,
				.ifindex = core->state->device[i].ifindex,
			};

			if (!lrp_core_device_live(&core->state->device[i]) ||
			    (pub->membership[m].ifindex &&
			     pub->membership[m].ifindex != key.ifindex))
				continue;
			entry |= sync_membership(core, &key);
		}
		refused += !entry;
	}
	return refused;
}

/* ---- publishing ---------------------------------------------------------------------------------
 */

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
		const struct lrp_published *pub = published(core, e);

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
	struct lrp_published *pub = published(core, endpoint), new, old;
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
				published(core, e)->cookie ==
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
	index_add(core, endpoint);
	core->sync_error = 0;
	*refused = sync_socket(core, pub) + count - new.membership_count;
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
	struct lrp_published *pub = published(core, endpoint), old = *pub;

	if (!old.on)
		return;
	index_remove(core, endpoint);
	pub->on = 0;
	lrp_core_unwatch(core, old.cookie, LRP_SHADOW_PUBLISHED);
	sync_socket(core, &old);
}

void lrp_core_port_left(struct lrp_core *core, uint32_t index)
{
	__be16 port = htons((uint16_t)index);

	if (index >= LRP_LEFT_ENTRIES)
		return;
	left_look(core, index);
	for_each_on_port(core, port, e) if (published(core, e)->on && published(core, e)->left)
		sync_socket(core, published(core, e));
	for (int v6 = 0; v6 <= 1; v6++)
		sync_port(core, &(struct port_key){.v6 = v6,
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

/* ---- the whole -------------------------------------------------------- */

/* Calls fn for each key; keys are collected first, since fn deletes. */
static void for_each_key(int fd, size_t key_size,
			 void (*fn)(struct lrp_core *core, const void *key), struct lrp_core *core)
{
	uint8_t *keys = NULL, *grown;
	size_t count = 0, room = 0;

	for (;;) {
		if (count == room) {
			room = room ? 2 * room : 256;
			grown = realloc(keys, room * key_size);
			if (!grown)
				break;
			keys = grown;
		}
		if (bpf_map_get_next_key(fd, count ? keys + (count - 1) * key_size : NULL,
					 keys + count * key_size))
			break;
		count++;
	}
	for (size_t i = 0; i < count; i++)
		fn(core, keys + i * key_size);
	free(keys);
}

static void from_bind4(struct lrp_core *core, const void *data)
{
	const struct lrp_bind4 *bind = data;
	struct port_key key = {.proto = bind->proto, .port = bind->port};
	struct lrp_addr6 addr = {.byte = {[10] = 0xff, [11] = 0xff}};

	memcpy(&addr.byte[12], &bind->addr, 4);
	sync_bind(core, &key, &addr);
}

static void from_bind6(struct lrp_core *core, const void *data)
{
	const struct lrp_bind6 *bind = data;
	struct port_key key = {.v6 = true, .proto = bind->proto, .port = bind->port};

	sync_bind(core, &key, &bind->addr);
}

static void from_flow4(struct lrp_core *core, const void *data)
{
	const struct lrp_flow4 *flow = data;
	struct lrp_published like = {
		.lport = flow->lport,
		.rport = flow->rport,
		.proto = flow->proto,
		.laddr.byte = {[10] = 0xff, [11] = 0xff},
		.raddr.byte = {[10] = 0xff, [11] = 0xff},
	};

	if (flow->proto == IPPROTO_TCP)
		return;
	memcpy(&like.laddr.byte[12], &flow->laddr, 4);
	memcpy(&like.raddr.byte[12], &flow->raddr, 4);
	sync_flow(core, &like, false);
}

static void from_flow6(struct lrp_core *core, const void *data)
{
	const struct lrp_flow6 *flow = data;
	struct lrp_published like = {
		.lport = flow->lport,
		.rport = flow->rport,
		.proto = flow->proto,
		.laddr = flow->laddr,
		.raddr = flow->raddr,
	};

	if (flow->proto != IPPROTO_TCP)
		sync_flow(core, &like, true);
}

/* ---- the whole, again --------------------------------------------------------------- */

void lrp_core_sync_udp_port(struct lrp_core *core, __be16 port, bool v6)
{
	sync_port(core, &(struct port_key){.v6 = v6, .proto = IPPROTO_UDP, .port = port});
}

void lrp_core_sync_tcp_port(struct lrp_core *core, __be16 port)
{
	for (int v6 = 0; v6 <= 1; v6++)
		sync_port(core, &(struct port_key){.v6 = v6, .proto = IPPROTO_TCP, .port = port});
}

static void from_membership(struct lrp_core *core, const void *data)
{
	sync_membership(core, data);
}

void lrp_core_memberships_rebuild(struct lrp_core *core)
{
	for_each_key(core->map_fd[LRP_MAP_MEMBERSHIPS], sizeof(struct lrp_membership),
		     from_membership, core);
	for (uint32_t e = LRP_ENDPOINT_FIRST; e < core->state->endpoints; e++)
		if (published(core, e)->on && published(core, e)->membership_count)
			sync_socket(core, published(core, e));
}

int lrp_core_flows_index(struct lrp_core *core)
{
	uint32_t *lost = calloc(core->state->endpoints, sizeof(*lost)), count = 0;

	core->by_port = calloc(65536, sizeof(*core->by_port));
	core->next_on_port = calloc(core->state->endpoints, sizeof(*core->next_on_port));
	core->left_seen = calloc(LRP_LEFT_ENTRIES, sizeof(*core->left_seen));
	if (!core->by_port || !core->next_on_port || !core->left_seen || !lost) {
		free(lost);
		return -ENOMEM;
	}
	for (uint32_t e = LRP_ENDPOINT_FIRST; e < core->state->endpoints; e++)
		if (published(core, e)->on && core->state->endpoint[e].use == LRP_ENDPOINT_USED)
			index_add(core, e);
		else if (published(core, e)->on)
			lost[count++] = e;
	/* Closed while lrpd was replaced. */
	for (uint32_t i = 0; i < count; i++) {
		published(core, lost[i])->on = 0;
		lrp_core_unwatch(core, published(core, lost[i])->cookie, LRP_SHADOW_PUBLISHED);
	}
	free(lost);
	return 0;
}

void lrp_core_flows_rebuild(struct lrp_core *core)
{
	for (uint32_t index = 0; index < LRP_PORT_ENTRIES; index++) {
		struct port_key key = {
			.v6 = index >> 17,
			.proto = index >> 16 & 1 ? IPPROTO_TCP : IPPROTO_UDP,
			.port = htons((uint16_t)index),
		};

		if (core->ports[index].flags ||
		    (key.proto == IPPROTO_TCP && lrp_core_port_watched(core, key.port)))
			sync_port(core, &key);
	}
	lrp_core_flows_purge(core);
	for_each_key(core->map_fd[LRP_MAP_BINDS4], sizeof(struct lrp_bind4), from_bind4, core);
	for_each_key(core->map_fd[LRP_MAP_BINDS6], sizeof(struct lrp_bind6), from_bind6, core);
	for_each_key(core->map_fd[LRP_MAP_FLOWS4], sizeof(struct lrp_flow4), from_flow4, core);
	for_each_key(core->map_fd[LRP_MAP_FLOWS6], sizeof(struct lrp_flow6), from_flow6, core);
	for_each_key(core->map_fd[LRP_MAP_MEMBERSHIPS], sizeof(struct lrp_membership),
		     from_membership, core);
	for (uint32_t e = LRP_ENDPOINT_FIRST; e < core->state->endpoints; e++)
		if (published(core, e)->on)
			sync_socket(core, published(core, e));
}

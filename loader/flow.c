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
 * The exact entries of TCP are not in the table: the processes that have the connections write them. Here
 * they are only taken away when their owner is gone, and the peers are told.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "../runtime/base/log.h"
#include "flow.h"
#include "reset.h"
#include "shadow.h"

struct port_key {
	bool v6;
	__u8 proto;
	__be16 port;
};

static struct lrp_published *published(struct lrp_core *core, uint32_t endpoint)
{
	return &core->state->endpoint[endpoint].pub;
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
}

static void index_remove(struct lrp_core *core, uint32_t endpoint)
{
	uint32_t *at = &core->by_port[published(core, endpoint)->lport];

	while (*at && *at != endpoint)
		at = &core->next_on_port[*at];
	if (*at)
		*at = core->next_on_port[endpoint];
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
	if (!pub->on || pub->connected || pub->proto != key->proto || !in_family(pub, key->v6))
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

static void sync_port(struct lrp_core *core, const struct port_key *key)
{
	uint32_t index = LRP_PORT_INDEX(key->v6, key->proto == IPPROTO_TCP, ntohs(key->port));
	union {
		struct lrp_port port;
		uint64_t word;
	} entry = {.word = 0};

	if (target_of(core, key, NULL, &entry.port.target))
		entry.port.flags |= LRP_PORT_ANY;
	for_each_on_port(core, key->port, e)
	{
		const struct lrp_published *pub = published(core, e);

		if (!pub->on || pub->proto != key->proto || !in_family(pub, key->v6))
			continue;
		if (pub->connected || pub->proto == IPPROTO_TCP)
			entry.port.flags |= LRP_PORT_FLOWS;
		if (!pub->connected && !pub->wildcard)
			entry.port.flags |= LRP_PORT_BINDS;
		if (pub->membership_count)
			entry.port.flags |= LRP_PORT_MULTICAST;
	}
	if (key->proto == IPPROTO_TCP && core->state->claim[key->port])
		entry.port.flags |= LRP_PORT_FLOWS;
	/* One store: XDP reads target and flags as one word. */
	__atomic_store_n((uint64_t *)&core->ports[index], entry.word, __ATOMIC_RELEASE);
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

		if (pub->on && pub->connected && pub->proto == like->proto && in_family(pub, v6) &&
		    pub->rport == like->rport && same_addr(&pub->laddr, &like->laddr) &&
		    same_addr(&pub->raddr, &like->raddr) &&
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

		if (!pub->on || pub->connected || pub->proto != key->proto ||
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

/* Endpoints that earlier sockets on this address left behind: the kernel let ours bind, so they
 * are gone, unless both reuse it. */
static void reclaim_predecessors(struct lrp_core *core, uint32_t endpoint,
				 const struct lrp_published *new)
{
	uint64_t cookie[256];
	uint32_t found[256];
	bool alive[256];
	size_t count = 0;

	for_each_on_port(core, new->lport, e)
	{
		const struct lrp_published *pub = published(core, e);
		size_t i;

		if (e == endpoint || pub->proto != new->proto || count == 256 ||
		    !lrp_core_shadow_visible(pub))
			continue;
		for (i = count++; i && cookie[i - 1] > pub->cookie; i--) {
			cookie[i] = cookie[i - 1];
			found[i] = found[i - 1];
		}
		cookie[i] = pub->cookie;
		found[i] = e;
	}
	if (!count || lrp_core_shadows_find(cookie, alive, count, new->lport))
		return;
	for (size_t i = 0; i < count; i++)
		if (!alive[i])
			lrp_core_release(core, found[i]);
}

int lrp_core_publish(struct lrp_core *core, const struct lrp_request *request, int shadow_fd,
		     uint32_t *refused)
{
	uint32_t endpoint = request->publish.endpoint, count = request->count;
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
	new.membership_count = count;
	memcpy(new.membership, request->publish.membership, count * sizeof(*new.membership));
	new.sequence = ++core->state->sequence;
	old = *pub;
	if (old.on) {
		/* The order of binding is kept when a socket is published again. */
		if (old.cookie == new.cookie &&
		    old.lport == new.lport &&old.connected == new.connected)
			new.sequence = old.sequence;
		index_remove(core, endpoint);
	}
	pub->on = 0;
	atomic_signal_fence(memory_order_seq_cst);
	*pub = new;
	atomic_signal_fence(memory_order_seq_cst);
	pub->on = 1;
	core->state->endpoint[endpoint].missing = 0;
	lrp_core_sweep_in(core, 400);
	index_add(core, endpoint);
	core->sync_error = 0;
	*refused = sync_socket(core, pub);
	if (old.on)
		sync_socket(core, &old);
	if (!core->sync_error)
		return 0;
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
	sync_socket(core, &old);
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

/* ---- what the owners write ----------------------------------------------------------- */

#define FLOW_BATCH 4096u /* more than ever are in one bucket */

/* The process that wrote it has the endpoint still, or one that it forked. */
static bool lives(const struct lrp_core *core, const struct lrp_flow *flow)
{
	const struct lrp_endpoint_state *ep = &core->state->endpoint[flow->endpoint];

	return flow->endpoint < core->state->endpoints && ep->use == LRP_ENDPOINT_USED &&
	       ep->owner == flow->owner && core->state->owner[flow->owner].used &&
	       !core->state->owner[flow->owner].gone;
}

static void peer4(const void *key, struct lrp_core_reset *peer)
{
	const struct lrp_flow4 *flow = key;

	*peer = (struct lrp_core_reset){.laddr.byte = {[10] = 0xff, [11] = 0xff},
					.raddr.byte = {[10] = 0xff, [11] = 0xff},
					.lport = flow->lport,
					.rport = flow->rport};
	memcpy(&peer->laddr.byte[12], &flow->laddr, 4);
	memcpy(&peer->raddr.byte[12], &flow->raddr, 4);
}

static void peer6(const void *key, struct lrp_core_reset *peer)
{
	const struct lrp_flow6 *flow = key;

	*peer = (struct lrp_core_reset){.laddr = flow->laddr,
					.raddr = flow->raddr,
					.lport = flow->lport,
					.rport = flow->rport};
}

struct flow_map {
	enum lrp_shared_map map;
	size_t key_size, proto_offset;
	void (*peer)(const void *key, struct lrp_core_reset *peer);
};

static const struct flow_map flow_maps[] = {
	{LRP_MAP_FLOWS4, sizeof(struct lrp_flow4), offsetof(struct lrp_flow4, proto), peer4},
	{LRP_MAP_FLOWS6, sizeof(struct lrp_flow6), offsetof(struct lrp_flow6, proto), peer6},
};

/* By batches: the owners write meanwhile, and after a key that has been deleted the next one is the
 * first. */
static void walk(struct lrp_core *core, const struct flow_map *m,
		 void (*see)(struct lrp_core *core, const struct flow_map *m, const uint8_t *key,
			     const struct lrp_flow *flow, void *arg),
		 void *arg)
{
	uint8_t *keys = malloc(FLOW_BATCH * m->key_size);
	struct lrp_flow *flows = malloc(FLOW_BATCH * sizeof(*flows));
	uint32_t from, to, count;
	bool more = keys && flows, first = true;

	while (more) {
		count = FLOW_BATCH;
		more = !bpf_map_lookup_batch(core->map_fd[m->map], first ? NULL : &from, &to, keys,
					     flows, &count, NULL);
		if (!more && errno != ENOENT)
			break;
		first = false;
		from = to;
		for (uint32_t i = 0; i < count; i++)
			if (keys[i * m->key_size + m->proto_offset] == IPPROTO_TCP)
				see(core, m, keys + i * m->key_size, &flows[i], arg);
	}
	free(keys);
	free(flows);
}

static void walk_all(struct lrp_core *core,
		     void (*see)(struct lrp_core *core, const struct flow_map *m,
				 const uint8_t *key, const struct lrp_flow *flow, void *arg),
		     void *arg)
{
	if (core->map_fd[LRP_MAP_PORTS] < 0)
		return;
	for (size_t i = 0; i < sizeof(flow_maps) / sizeof(flow_maps[0]); i++)
		walk(core, &flow_maps[i], see, arg);
}

static void purge(struct lrp_core *core, const struct flow_map *m, const uint8_t *key,
		  const struct lrp_flow *flow, void *unused)
{
	int fd = core->map_fd[m->map];
	struct lrp_core_reset peer;
	struct lrp_flow now;

	(void)unused;
	/* Asked again: it may be another's by now. */
	if (lives(core, flow) || bpf_map_lookup_elem(fd, key, &now) || lives(core, &now) ||
	    bpf_map_delete_elem(fd, key))
		return;
	m->peer(key, &peer);
	lrp_core_reset(core, &peer);
}

void lrp_core_flows_purge(struct lrp_core *core)
{
	walk_all(core, purge, NULL);
}

static void note(struct lrp_core *core, const struct flow_map *m, const uint8_t *key,
		 const struct lrp_flow *flow, void *arg)
{
	struct lrp_core_reset *ends = arg;

	if (flow->endpoint < core->state->endpoints)
		m->peer(key, &ends[flow->endpoint]);
}

struct lrp_core_reset *lrp_core_flows_ends(struct lrp_core *core)
{
	struct lrp_core_reset *ends = calloc(core->state->endpoints, sizeof(*ends));

	if (ends)
		walk_all(core, note, ends);
	return ends;
}

static void sync_tcp_port(struct lrp_core *core, __be16 port)
{
	for (int v6 = 0; v6 <= 1; v6++)
		sync_port(core, &(struct port_key){.v6 = v6, .proto = IPPROTO_TCP, .port = port});
}

int lrp_core_claim(struct lrp_core *core, uint32_t owner, const int *fds, int count)
{
	struct lrp_published pub;

	if (core->map_fd[LRP_MAP_PORTS] < 0)
		return -ENETDOWN;
	for (int i = 0; i < count; i++) {
		int err = lrp_core_shadow_read(core, fds[i], &pub);
		uint16_t *claim;

		if (!err && pub.proto != IPPROTO_TCP)
			err = -EPROTONOSUPPORT;
		if (err)
			return err;
		claim = &core->state->claim[pub.lport];
		*claim = *claim && *claim != owner ? LRP_CLAIM_SHARED : (uint16_t)owner;
		sync_tcp_port(core, pub.lport);
	}
	return 0;
}

void lrp_core_flows_owner_gone(struct lrp_core *core, uint32_t owner)
{
	if (core->map_fd[LRP_MAP_PORTS] < 0)
		return;
	lrp_core_flows_purge(core);
	for (uint32_t port = 0; port < 65536; port++) {
		if (core->state->claim[port] != owner)
			continue;
		core->state->claim[port] = 0;
		sync_tcp_port(core, (__be16)port);
	}
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
	core->by_port = calloc(65536, sizeof(*core->by_port));
	core->next_on_port = calloc(core->state->endpoints, sizeof(*core->next_on_port));
	if (!core->by_port || !core->next_on_port)
		return -ENOMEM;
	for (uint32_t e = LRP_ENDPOINT_FIRST; e < core->state->endpoints; e++)
		if (published(core, e)->on && core->state->endpoint[e].use == LRP_ENDPOINT_USED)
			index_add(core, e);
		else
			published(core, e)->on = 0;
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
		    (key.proto == IPPROTO_TCP && core->state->claim[key.port]))
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

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
#include "end.h"
#include "flow.h"
#include "index.h"
#include "watch.h"

static bool socket_is_on(const struct lrp_published *pub)
{
	return pub->on && !pub->left;
}

static bool in_family(const struct lrp_published *pub, bool v6)
{
	return v6 ? pub->v6 : pub->v4;
}

/* ---- targets ---------------------------------------------------------------------------- */

static const struct lrp_addr6 no_addr;

static struct lrp_group_state *group_find(struct lrp_core *core, const struct lrp_port_key *key,
					  const struct lrp_addr6 *addr, bool make)
{
	struct lrp_group_state *unused = NULL;

	for (uint32_t g = 0; g < LRP_GROUPS; g++) {
		struct lrp_group_state *group = &core->state->group[g];

		if (!group->used) {
			if (!unused)
				unused = group;
		} else if (group->ipv6 == key->v6 && group->proto == key->proto &&
			   group->port == key->port && lrp_core_same_addr(&group->addr, addr)) {
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
static bool socket_wants(const struct lrp_published *pub, const struct lrp_port_key *key,
			 const struct lrp_addr6 *addr)
{
	if (!socket_is_on(pub) || pub->connected || pub->proto != key->proto ||
	    !in_family(pub, key->v6))
		return false;
	return addr ? !pub->wildcard && lrp_core_same_addr(&pub->laddr, addr) : pub->wildcard;
}

/* Who receives: an endpoint or a group. Returns false if nobody does. */
static bool target_of(struct lrp_core *core, const struct lrp_port_key *key,
		      const struct lrp_addr6 *addr, uint32_t *target)
{
	struct lrp_group_state *group;
	struct lrp_group record = {0};
	uint32_t newest = 0, index;

	for_each_on_port(core, key->port, e)
	{
		const struct lrp_published *pub = lrp_core_published(core, e);

		if (!socket_wants(pub, key, addr))
			continue;
		if (!newest ||
		    (int32_t)(pub->sequence - lrp_core_published(core, newest)->sequence) > 0)
			newest = e;
		if (pub->reuseport && record.count < LRP_GROUP_MAX)
			record.endpoint[record.count++] = e;
	}
	*target = newest;
	group = group_find(core, key, addr ? addr : &no_addr, record.count > 1);
	if (!newest || !lrp_core_published(core, newest)->reuseport || record.count < 2) {
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

static uint32_t left_index(const struct lrp_port_key *key)
{
	return LRP_LEFT_INDEX(key->proto == IPPROTO_TCP, ntohs(key->port));
}

/* True if none has left its port since the last time that we looked. */
bool lrp_core_left_look(struct lrp_core *core, uint32_t index)
{
	__be16 port = htons((uint16_t)index);
	uint32_t count = (uint32_t)__atomic_load_n(&core->left[index], __ATOMIC_ACQUIRE);

	if (count == core->left_seen[index])
		return true;
	core->left_seen[index] = count;
	for_each_on_port(core, port, e)
	{
		struct lrp_published *pub = lrp_core_published(core, e);

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

static uint64_t port_word(struct lrp_core *core, const struct lrp_port_key *key)
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
		const struct lrp_published *pub = lrp_core_published(core, e);

		if (!socket_is_on(pub) || pub->proto != key->proto || !in_family(pub, key->v6))
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

void lrp_core_sync_port(struct lrp_core *core, const struct lrp_port_key *key)
{
	uint32_t index = LRP_PORT_INDEX(key->v6, key->proto == IPPROTO_TCP, ntohs(key->port));

	lrp_core_left_look(core, left_index(key));
	for (int i = 0; i < ROUNDS; i++) {
		port_store(core, index, port_word(core, key));
		if (lrp_core_left_look(core, left_index(key)))
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

void lrp_core_sync_bind(struct lrp_core *core, const struct lrp_port_key *key,
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
void lrp_core_sync_flow(struct lrp_core *core, const struct lrp_published *like, bool v6)
{
	struct lrp_flow flow = {0};
	uint32_t newest = 0;

	for_each_on_port(core, like->lport, e)
	{
		const struct lrp_published *pub = lrp_core_published(core, e);

		if (socket_is_on(pub) && pub->connected && pub->proto == like->proto &&
		    in_family(pub, v6) && pub->rport == like->rport &&
		    lrp_core_same_addr(&pub->laddr, &like->laddr) &&
		    lrp_core_same_addr(&pub->raddr, &like->raddr) &&
		    (!newest ||
		     (int32_t)(pub->sequence - lrp_core_published(core, newest)->sequence) > 0))
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
bool lrp_core_sync_membership(struct lrp_core *core, const struct lrp_membership *key)
{
	uint32_t member = 0;
	bool several = false;

	for_each_on_port(core, key->port, e)
	{
		const struct lrp_published *pub = lrp_core_published(core, e);

		if (!socket_is_on(pub) || pub->connected || pub->proto != key->proto ||
		    !(pub->wildcard || lrp_core_same_addr(&pub->laddr, &key->group)))
			continue;
		for (uint32_t m = 0; m < pub->membership_count; m++) {
			if (!lrp_core_same_addr(&pub->membership[m].group, &key->group) ||
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
uint32_t lrp_core_sync_socket(struct lrp_core *core, const struct lrp_published *pub)
{
	uint32_t refused = 0;

	for (int v6 = 0; v6 <= 1; v6++) {
		struct lrp_port_key key = {.v6 = v6, .proto = pub->proto, .port = pub->lport};

		if (!in_family(pub, v6))
			continue;
		if (pub->connected)
			lrp_core_sync_flow(core, pub, v6);
		else if (!pub->wildcard)
			lrp_core_sync_bind(core, &key, &pub->laddr);
		lrp_core_sync_port(core, &key);
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
			entry |= lrp_core_sync_membership(core, &key);
		}
		refused += !entry;
	}
	return refused;
}

void lrp_core_sync_udp_port(struct lrp_core *core, __be16 port, bool v6)
{
	lrp_core_sync_port(core,
			   &(struct lrp_port_key){.v6 = v6, .proto = IPPROTO_UDP, .port = port});
}

void lrp_core_sync_tcp_port(struct lrp_core *core, __be16 port)
{
	for (int v6 = 0; v6 <= 1; v6++)
		lrp_core_sync_port(
			core, &(struct lrp_port_key){.v6 = v6, .proto = IPPROTO_TCP, .port = port});
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* kernel_tcp.c - see kernel_tcp.h. */
#include <bpf/bpf.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "../../runtime/base/log.h"
#include "end.h"
#include "kernel_tcp.h"
#include "shadow.h"

#define LOOK_NS (1ull * 1000000000u)
#define REST_NS (10ull * 1000000000u) /* there was none the last time */
#define BATCH	1024u

/* include/net/tcp_states.h */
#define STATE_TIME_WAIT 6u
#define STATE_CLOSE	7u
#define STATE_LISTEN	10u

/*
 * A connection in TIME_WAIT does not count as the kernel's. Only two things can still come: the
 * peer's last FIN once more, or a new connection, which the port's listener is to have.
 */
#define STATES (~(1u << STATE_TIME_WAIT | 1u << STATE_CLOSE | 1u << STATE_LISTEN))

struct sync {
	struct lrp_core *core;
	uint64_t now_ns;
	uint32_t failed;
	/* Put into the map by us, not by the watcher. */
	struct inet_diag_sockid *fresh;
	uint8_t *family; /* of each */
	uint32_t count, room;
};

static bool is_mapped(const __be32 addr[4])
{
	return !addr[0] && !addr[1] && addr[2] == htonl(0xffff);
}

/* XDP looks into the map only if the port has the flag. The watcher sets the same flag. */
static void flag(struct lrp_core *core, bool v6, __be16 port, uint32_t which, bool on)
{
	uint64_t *word = (uint64_t *)&core->ports[LRP_PORT_INDEX(v6, true, ntohs(port))];
	const uint64_t bit = (uint64_t)which << 32;

	if (on)
		__atomic_fetch_or(word, bit, __ATOMIC_ACQ_REL);
	else
		__atomic_fetch_and(word, ~bit, __ATOMIC_ACQ_REL);
}

/* A connection that came first keeps its four-tuple: an entry of ours that counts stays. */
static bool taken(struct lrp_core *core, enum lrp_shared_map map, const void *key)
{
	struct lrp_flow flow;

	return !bpf_map_lookup_elem(core->map_fd[map], key, &flow) &&
	       lrp_core_end_counts(core, &flow);
}

static bool remember(struct sync *sync, uint8_t family, const struct inet_diag_sockid *id)
{
	if (sync->count == sync->room) {
		uint32_t room = sync->room ? 2 * sync->room : 64;
		void *fresh = realloc(sync->fresh, room * sizeof(*sync->fresh)), *families;

		if (!fresh)
			return false;
		sync->fresh = fresh;
		families = realloc(sync->family, room);
		if (!families)
			return false;
		sync->family = families;
		sync->room = room;
	}
	sync->fresh[sync->count] = *id;
	sync->family[sync->count++] = family;
	return true;
}

static void key4_of(const struct inet_diag_sockid *id, struct lrp_flow4 *key)
{
	bool mapped = is_mapped(id->idiag_dst);

	*key = (struct lrp_flow4){.laddr = id->idiag_src[mapped ? 3 : 0],
				  .raddr = id->idiag_dst[mapped ? 3 : 0],
				  .lport = id->idiag_sport,
				  .rport = id->idiag_dport,
				  .proto = IPPROTO_TCP};
}

static void key6_of(const struct inet_diag_sockid *id, struct lrp_flow6 *key)
{
	*key = (struct lrp_flow6){
		.lport = id->idiag_sport, .rport = id->idiag_dport, .proto = IPPROTO_TCP};
	memcpy(&key->laddr, id->idiag_src, 16);
	memcpy(&key->raddr, id->idiag_dst, 16);
}

/* Marks an entry as seen if the watcher has made it, else makes it. */
static void put(struct sync *sync, const struct inet_diag_msg *msg, bool v6, const void *key)
{
	struct lrp_core *core = sync->core;
	int fd = core->map_fd[v6 ? LRP_MAP_KERNEL6 : LRP_MAP_KERNEL4];
	struct lrp_kernel kernel = {
		.seen = sync->now_ns,
		.cookie = msg->id.idiag_cookie[0] | (uint64_t)msg->id.idiag_cookie[1] << 32,
	};

	if (taken(core, v6 ? LRP_MAP_FLOWS6 : LRP_MAP_FLOWS4, key) ||
	    !bpf_map_update_elem(fd, key, &kernel, BPF_EXIST))
		return;
	if (!bpf_map_update_elem(fd, key, &kernel, BPF_NOEXIST)) {
		flag(core, v6, msg->id.idiag_sport, LRP_PORT_KERNEL, true);
		/* If there is no memory, an entry of one that has ended stays until
		 * it is pruned. */
		remember(sync, msg->idiag_family, &msg->id);
	} else if (errno != EEXIST) {
		flag(core, v6, msg->id.idiag_sport, LRP_PORT_CROWDED, true);
		sync->failed++;
	}
}

static int on_connection(const struct nlmsghdr *nlh, void *data)
{
	const struct inet_diag_msg *msg = mnl_nlmsg_get_payload(nlh);
	struct sync *sync = data;

	if (nlh->nlmsg_type != SOCK_DIAG_BY_FAMILY || !(STATES >> msg->idiag_state & 1) ||
	    !lrp_core_port_watched(sync->core, msg->id.idiag_sport))
		return MNL_CB_OK;
	if (msg->idiag_family == AF_INET || is_mapped(msg->id.idiag_dst)) {
		struct lrp_flow4 key;

		key4_of(&msg->id, &key);
		put(sync, msg, false, &key);
	} else {
		struct lrp_flow6 key;

		key6_of(&msg->id, &key);
		put(sync, msg, true, &key);
	}
	return MNL_CB_OK;
}

/*
 * A connection may have ended after sock_diag showed it and before lrpd made its entry. The watcher
 * found no entry to take out then. So lrpd looks for each of these connections once more. The
 * watcher sees those that end later.
 */
static void look_again(struct sync *sync)
{
	struct lrp_core *core = sync->core;

	for (uint32_t i = 0; i < sync->count; i++) {
		const struct inet_diag_sockid *id = &sync->fresh[i];
		struct lrp_flow4 key4;
		struct lrp_flow6 key6;

		if (STATES >> lrp_core_diag_state(sync->family[i], id) & 1)
			continue;
		if (sync->family[i] == AF_INET || is_mapped(id->idiag_dst)) {
			key4_of(id, &key4);
			bpf_map_delete_elem(core->map_fd[LRP_MAP_KERNEL4], &key4);
		} else {
			key6_of(id, &key6);
			bpf_map_delete_elem(core->map_fd[LRP_MAP_KERNEL6], &key6);
		}
	}
	free(sync->fresh);
	free(sync->family);
}

int lrp_core_kernel_sync(struct lrp_core *core)
{
	struct sync sync = {.core = core, .now_ns = lrp_core_now_ns()};
	int err = lrp_core_diag_dump(AF_INET, IPPROTO_TCP, STATES, 0, on_connection, &sync);

	if (!err)
		err = lrp_core_diag_dump(AF_INET6, IPPROTO_TCP, STATES, 0, on_connection, &sync);
	look_again(&sync);
	if (err)
		lrp_log_once(LRP_LOG_WARN,
			     "lrpd: sock_diag: %s: connections that the kernel has on ports of LRP "
			     "are not seen (CONFIG_INET_TCP_DIAG)",
			     strerror(-err));
	if (sync.failed)
		lrp_log_once(
			LRP_LOG_WARN,
			"lrpd: more than %u connections of the kernel on ports of LRP: LRP may "
			"reset some of them",
			LRP_KERNELS);
	if (!core->next_kernel_ns)
		core->next_kernel_ns = lrp_core_now_ns() + LOOK_NS;
	return err ? err : sync.failed ? -ENOSPC : 0;
}

/* ---- what has ended ---------------------------------------------------------------------- */

/* Ports (network order) that still have one, as a set of bits. */
struct survivors {
	uint64_t port[65536 / 64];
	uint32_t count;
};

static bool has(const struct survivors *s, __be16 port)
{
	return s->port[port / 64] >> port % 64 & 1;
}

/* Deletes entries that were not seen since `since_ns`. False: not all were looked at. `port_at`:
 * offset of the local port in the key. */
static bool prune(int fd, size_t key_size, size_t port_at, uint64_t since_ns, struct survivors *s)
{
	uint8_t *keys = malloc(BATCH * key_size);
	struct lrp_kernel *seen = malloc(BATCH * sizeof(*seen));
	bool more = keys && seen, first = true, whole = more;
	uint32_t from, to, count;

	while (more) {
		count = BATCH;
		more = !bpf_map_lookup_batch(fd, first ? NULL : &from, &to, keys, seen, &count,
					     NULL);
		whole = more || errno == ENOENT;
		if (!whole)
			break;
		first = false;
		from = to;
		for (uint32_t i = 0; i < count; i++) {
			const uint8_t *key = keys + i * key_size;
			__be16 port;

			if (seen[i].seen < since_ns && !bpf_map_delete_elem(fd, key))
				continue;
			memcpy(&port, key + port_at, sizeof(port));
			s->port[port / 64] |= 1ull << port % 64;
			s->count++;
		}
	}
	free(keys);
	free(seen);
	return whole;
}

static void unflag(struct lrp_core *core, bool v6, const struct survivors *s)
{
	for (uint32_t port = 1; port < 65536; port++)
		if (core->ports[LRP_PORT_INDEX(v6, true, port)].flags & LRP_PORT_KERNEL &&
		    !has(s, htons((uint16_t)port)))
			flag(core, v6, htons((uint16_t)port), LRP_PORT_KERNEL, false);
}

static void reflag(struct lrp_core *core, bool v6, const struct survivors *s)
{
	for (uint32_t port = 1; port < 65536; port++)
		if (has(s, htons((uint16_t)port)))
			flag(core, v6, htons((uint16_t)port), LRP_PORT_KERNEL, true);
}

static uint32_t look(struct lrp_core *core, bool v6, uint64_t since_ns)
{
	int fd = core->map_fd[v6 ? LRP_MAP_KERNEL6 : LRP_MAP_KERNEL4];
	size_t size = v6 ? sizeof(struct lrp_flow6) : sizeof(struct lrp_flow4);
	size_t at = v6 ? offsetof(struct lrp_flow6, lport) : offsetof(struct lrp_flow4, lport);
	struct survivors *s = calloc(2, sizeof(*s));
	uint32_t count = 1;

	/* Flags are taken away only if all entries were looked at. */
	if (s && prune(fd, size, at, since_ns, &s[0])) {
		unflag(core, v6, &s[0]);
		/* The watcher may have added a connection meanwhile, whose port has
		 * lost its flag. */
		prune(fd, size, at, 0, &s[1]);
		reflag(core, v6, &s[1]);
		count = s[1].count;
	}
	free(s);
	return count;
}

/* There is room again, and all connections of the kernel are in the maps. */
static void uncrowd(struct lrp_core *core)
{
	for (uint32_t index = 0; index < LRP_PORT_ENTRIES; index++)
		if (core->ports[index].flags & LRP_PORT_CROWDED)
			flag(core, index >> 17, htons((uint16_t)index), LRP_PORT_CROWDED, false);
}

uint64_t lrp_core_kernel_run(struct lrp_core *core)
{
	uint64_t start = lrp_core_now_ns(), end;
	uint32_t count;
	int err;

	if (!core->next_kernel_ns || start < core->next_kernel_ns ||
	    core->map_fd[LRP_MAP_KERNEL4] < 0)
		return core->next_kernel_ns;
	err = lrp_core_kernel_sync(core);
	/* If sock_diag did not show all, there may be more: look again soon. */
	count = err && err != -ENOSPC ? 1 : look(core, false, start) + look(core, true, start);
	if (!err)
		uncrowd(core);
	/* Never more than a fiftieth of a CPU. */
	end = lrp_core_now_ns();
	core->next_kernel_ns = end + (count ? LOOK_NS : REST_NS) + 50 * (end - start);
	return core->next_kernel_ns;
}

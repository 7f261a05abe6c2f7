/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* guard_status.c - what the guards have done, as JSON. */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "../base/json.h"
#include "guard_internal.h"

static const char *const reason_name[] = {
#define X(NAME, name, text) #name,
	LRP_GUARD_REASONS(X)
#undef X
};

static struct json_object *reasons(const struct lrp_core *core, const struct lrp_core_guard *guard)
{
	struct json_object *all = json_object_new_object();
	uint64_t *value = calloc((size_t)libbpf_num_possible_cpus(), sizeof(*value));

	(void)core;
	for (uint32_t r = 0; value && all && r < LRP_GUARD_REASON_COUNT; r++) {
		uint64_t sum = 0;

		if (bpf_map_lookup_elem(guard->map_fd[LRP_GUARD_MAP_REASONS], &r, value))
			continue;
		for (int cpu = 0; cpu < libbpf_num_possible_cpus(); cpu++)
			sum += value[cpu];
		lrp_json_int(all, reason_name[r], sum);
	}
	free(value);
	return all;
}

static struct json_object *socket_json(const struct lrp_guard_socket *record,
				       const struct lrp_guard_owner *owner)
{
	struct json_object *json = json_object_new_object();
	char addr[INET6_ADDRSTRLEN] = "";
	bool v4 = IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)&record->addr);

	if (!json)
		return NULL;
	inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? &record->addr.byte[12] : &record->addr.byte[0],
		  addr, sizeof(addr));
	lrp_json_text(json, "protocol", record->tcp ? "tcp" : "udp");
	lrp_json_text(json, "address", addr);
	lrp_json_int(json, "port", ntohs(record->port));
	lrp_json_int(json, "uid", record->uid);
	lrp_json_int(json, "pid", owner ? owner->pid : 0);
	lrp_json_text(json, "comm", owner ? owner->comm : "");
	lrp_json_text(json, "cgroup", owner ? owner->cgroup : "");
	lrp_json_text(json, "unit", owner ? owner->unit : "");
	lrp_json_bool(json, "open", owner != NULL);
	lrp_json_bool(json, "engaged", record->engaged);
	lrp_json_int(json, "engaged_count", record->engaged_count);
	lrp_json_int(json, "condemned", record->condemned);
	lrp_json_int(json, "dropped", record->dropped);
	lrp_json_int(json, "kernel_drops", record->kernel_drops);
	lrp_json_int(json, "room", record->room);
	lrp_json_int(json, "compared", record->marked);
	lrp_json_int(json, "confirmed", record->confirmed);
	lrp_json_int(json, "emptied", record->emptied);
	lrp_json_int(json, "wrong", record->wrong);
	return json;
}

static const struct lrp_guard_owner *find(const struct lrp_guard_owner *owner, size_t count,
					  uint64_t cookie)
{
	for (size_t i = 0; i < count; i++)
		if (owner[i].cookie == cookie)
			return &owner[i];
	return NULL;
}

static struct json_object *sockets(const struct lrp_core_guard *guard,
				   const struct lrp_guard_owner *owner, size_t count)
{
	struct json_object *all = json_object_new_array();
	int fd = guard->map_fd[LRP_GUARD_MAP_SOCKETS];
	struct lrp_guard_socket record;
	uint64_t cookie, next;
	void *at = NULL;

	/* The map changes meanwhile; a round is bounded. */
	for (uint32_t i = 0; all && i < 2 * LRP_GUARD_SOCKETS; i++) {
		if (bpf_map_get_next_key(fd, at, &next))
			break;
		cookie = next;
		at = &cookie;
		if (bpf_map_lookup_elem(fd, &cookie, &record))
			continue;
		if (!record.condemned && !record.kernel_drops)
			continue; /* a listener that was full once and has dropped nothing */
		json_object_array_add(all, socket_json(&record, find(owner, count, cookie)));
	}
	return all;
}

static int by_cookie(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* The cookies that have a record of some guard, in order. How many; at most `room`. */
static size_t recorded(const struct lrp_core *core, uint64_t *cookie, size_t room)
{
	size_t n = 0;

	for (const struct lrp_core_guard *g = core->guards; g; g = g->next) {
		uint64_t *at = NULL;

		while (n < room &&
		       !bpf_map_get_next_key(g->map_fd[LRP_GUARD_MAP_SOCKETS], at, &cookie[n]))
			at = &cookie[n++];
	}
	qsort(cookie, n, sizeof(*cookie), by_cookie);
	return n;
}

/* Only the owners that have a record are looked for among the processes. */
static size_t wanted(const struct lrp_core *core, struct lrp_guard_owner *owner, size_t count)
{
	size_t room = 2 * LRP_GUARD_SOCKETS, known, n = 0;
	uint64_t *cookie = calloc(room, sizeof(*cookie));

	known = cookie ? recorded(core, cookie, room) : 0;
	for (size_t i = 0; i < count && known; i++)
		if (bsearch(&owner[i].cookie, cookie, known, sizeof(*cookie), by_cookie))
			owner[n++] = owner[i];
	free(cookie);
	return n;
}

struct json_object *lrp_core_guard_status(struct lrp_core *core)
{
	struct json_object *root = json_object_new_object(), *all = json_object_new_array();
	struct lrp_guard_owner *owner;
	size_t count;

	if (!root || !all) {
		json_object_put(root);
		json_object_put(all);
		return NULL;
	}
	lrp_guard_sockets(&owner, &count, false);
	count = wanted(core, owner, count);
	lrp_guard_owners(owner, count);
	for (const struct lrp_core_guard *guard = core->guards; guard; guard = guard->next) {
		struct json_object *json = json_object_new_object();

		if (!json || !guard->config) {
			json_object_put(json);
			continue;
		}
		lrp_json_text(json, "ifname", guard->ifname);
		lrp_json_text(json, "mode", guard->native ? "native" : "skb");
		lrp_json_bool(json, "beside_lrp", guard->next_fd >= 0);
		lrp_json_bool(json, "shadow", guard->config->flags & LRP_GUARD_F_SHADOW);
		lrp_json_bool(json, "all_ports", !(guard->config->flags & LRP_GUARD_F_PORTS));
		lrp_json_text(json, "suspended", guard->suspended);
		json_object_object_add(json, "reasons", reasons(core, guard));
		json_object_object_add(json, "sockets", sockets(guard, owner, count));
		json_object_array_add(all, json);
	}
	free(owner);
	json_object_object_add(root, "guards", all);
	return root;
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* status.c - what there is, as JSON; the lrp command prints it, programs may read it. */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <linux/if_xdp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../base/json.h"
#include "../pool/user_page.h"
#include "../demux/exact.h"
#include "../demux/fragment.h"
#include "../demux/reset.h"
#include "../demux/stray.h"
#include "../proxy/proxy.h"
#include "status.h"

static const char *const reason_name[] = {
#define X(NAME, name, text) #name,
	LRP_XDP_REASONS(X)
#undef X
};

static const char *const drop_name[] = {
#define X(NAME, name, text) #name,
	LRP_DROP_REASONS(X)
#undef X
};

static const char *const context_name[] = {
#define X(NAME, name, text) #name,
	LRP_CONTEXTS(X)
#undef X
};

int lrp_core_json_memfd(struct json_object *json, uint32_t *length)
{
	size_t size;
	const char *text = json_object_to_json_string_length(json, JSON_C_TO_STRING_PLAIN, &size);
	int fd = memfd_create("lrp-json", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int err = 0;

	if (fd < 0) {
		err = -errno;
	} else {
		size_t done = 0;

		while (text && done < size && !err) {
			ssize_t n = write(fd, text + done, size - done);

			if (n < 0)
				err = -errno;
			else
				done += (size_t)n;
		}
		lseek(fd, 0, SEEK_SET);
		/* Several users may get the same one. */
		if (!err && fcntl(fd, F_ADD_SEALS,
				  F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL))
			err = -errno;
	}
	*length = (uint32_t)size;
	json_object_put(json);
	if (err && fd >= 0)
		close(fd);
	return err ? err : fd;
}

/* ---- status ------------------------------------------------------------------------- */

static struct json_object *reasons(const struct lrp_core_device *device)
{
	struct json_object *out = json_object_new_object();
	int cpus = libbpf_num_possible_cpus();
	uint64_t *values = cpus > 0 ? calloc((size_t)cpus, sizeof(*values)) : NULL;

	for (uint32_t r = 0; values && r < LRP_XDP_REASON_COUNT; r++) {
		uint64_t sum = 0;

		if (!bpf_map_lookup_elem(device->map_fd[LRP_MAP_REASONS], &r, values))
			for (int c = 0; c < cpus; c++)
				sum += values[c];
		lrp_json_int(out, reason_name[r], sum);
	}
	free(values);
	return out;
}

static struct json_object *pool_status(const struct lrp_core *core,
				       const struct lrp_core_pool *pool)
{
	struct json_object *out = json_object_new_object();

	lrp_json_int(out, "pool", lrp_core_pool_index(core, pool));
	lrp_json_int(out, "queue", pool->state->queue);
	lrp_json_int(out, "frames", pool->state->frames);
	lrp_json_int(out, "frame_size", pool->state->frame_size);
	lrp_json_int(out, "circulating", pool->goal);
	lrp_json_int(out, "guaranteed", pool->guaranteed);
	lrp_json_int(out, "reserve", pool->state->reserve);
	lrp_json_int(out, "surplus", __atomic_load_n(&pool->shared->surplus, __ATOMIC_RELAXED));
	lrp_json_int(out, "lent", __atomic_load_n(&pool->shared->lent, __ATOMIC_RELAXED));
	lrp_json_int(out, "quarantined", pool->state->quarantined);
	lrp_json_int(out, "repairs", pool->health.total);
	lrp_json_bool(out, "passed_to_kernel", pool->health.state == LRP_POOL_PASSED);
	lrp_json_bool(out, "zerocopy", pool->state->zerocopy);
	lrp_json_bool(out, "several_frames", pool->state->sg);
	return out;
}

static struct json_object *device_status(const struct lrp_core *core,
					 const struct lrp_core_device *device)
{
	const struct lrp_device_state *state = device->state;
	struct json_object *out = json_object_new_object(), *pools = json_object_new_array();
	struct bpf_prog_info info = {0};
	__u32 length = sizeof(info);

	lrp_json_text(out, "ifname", state->ifname);
	lrp_json_int(out, "ifindex", state->ifindex);
	lrp_json_text(out, "mode", state->mode == LRP_MODE_NATIVE ? "native" : "skb");
	lrp_json_text(out, "attached_by", state->libxdp ? "libxdp" : "bpf_link");
	lrp_json_int(out, "mtu", state->mtu);
	lrp_json_int(out, "queues", state->queues);
	lrp_json_bool(out, "virtual", state->virtual_device);
	if (!bpf_obj_get_info_by_fd(device->prog_fd, &info, &length))
		lrp_json_int(out, "program", info.id);
	json_object_object_add(out, "reasons", reasons(device));
	for (uint32_t q = 0; q < state->queues; q++)
		if (state->pool[q] < LRP_MAX_POOLS_TOTAL &&
		    lrp_core_pool_on(&core->pool[state->pool[q]]))
			json_object_array_add(pools,
					      pool_status(core, &core->pool[state->pool[q]]));
	json_object_object_add(out, "pools", pools);
	return out;
}

static struct json_object *owners(const struct lrp_core *core)
{
	struct json_object *out = json_object_new_array();

	for (uint32_t o = LRP_OWNER_LRPD + 1; o < LRP_OWNERS; o++) {
		const struct lrp_owner_state *state = &core->state->owner[o];
		struct json_object *owner;

		if (!state->used)
			continue;
		owner = json_object_new_object();
		lrp_json_int(owner, "owner", o);
		lrp_json_int(owner, "pid", state->pid);
		lrp_json_int(owner, "uid", state->uid);
		lrp_json_text(owner, "comm", state->comm);
		lrp_json_int(owner, "endpoints", state->endpoints);
		json_object_array_add(out, owner);
	}
	return out;
}

struct json_object *lrp_core_status(struct lrp_core *core)
{
	struct json_object *out = json_object_new_object(), *devices = json_object_new_array();
	struct json_object *fragments = json_object_new_object();
	struct lrp_core_stray_counts counts;
	uint32_t used = 0;

	for (uint32_t e = LRP_ENDPOINT_FIRST; e < core->state->endpoints; e++)
		used += core->state->endpoint[e].use != LRP_ENDPOINT_FREE;
	lrp_json_int(out, "pid", (uint64_t)getpid());
	lrp_json_int(out, "endpoints", core->state->endpoints - 1);
	lrp_json_int(out, "endpoints_used", used);
	lrp_json_int(out, "quota_per_uid", core->state->quota);
	lrp_json_int(out, "pools_epoch", core->page->pools_epoch);
	lrp_json_int(out, "routes_epoch", core->page->routes_epoch);
	lrp_json_int(out, "family_memory_kib", core->page->family_memory_kib);
	if (core->pin_dir[0])
		lrp_json_text(out, "pins", core->pin_dir);
	for (uint32_t i = 0; i < LRP_MAX_DEVICES; i++)
		if (lrp_core_device_live(core->device[i].state))
			json_object_array_add(devices, device_status(core, &core->device[i]));
	json_object_object_add(out, "devices", devices);
	json_object_object_add(out, "owners", owners(core));
	lrp_core_strays_counts(core, &counts);
	lrp_json_int(fragments, "injected", counts.injected);
	lrp_json_int(fragments, "expired", counts.expired);
	lrp_json_int(fragments, "failed", counts.failed);
	lrp_json_int(fragments, "nonsense", counts.nonsense);
	json_object_object_add(out, "fragments", fragments);
	return out;
}

/* ---- channels ------------------------------------------------------------------------ */

static void add_address(struct json_object *to, const char *name, const struct lrp_addr6 *addr,
			__be16 port)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	char text[INET6_ADDRSTRLEN], whole[INET6_ADDRSTRLEN + 10];

	if (!memcmp(addr->byte, mapped, 12)) {
		inet_ntop(AF_INET, addr->byte + 12, text, sizeof(text));
		snprintf(whole, sizeof(whole), "%s:%u", text, ntohs(port));
	} else {
		inet_ntop(AF_INET6, addr->byte, text, sizeof(text));
		snprintf(whole, sizeof(whole), "[%s]:%u", text, ntohs(port));
	}
	lrp_json_text(to, name, whole);
}

static void add_user(struct json_object *to, const struct lrp_user *user)
{
	struct json_object *processed = json_object_new_object();
	struct json_object *dropped = json_object_new_object();

	for (uint32_t c = 0; c < LRP_CONTEXT_COUNT; c++)
		lrp_json_int(processed, context_name[c], user->processed[c]);
	for (uint32_t d = 0; d < LRP_DROP_REASON_COUNT; d++)
		lrp_json_int(dropped, drop_name[d], user->dropped[d]);
	json_object_object_add(to, "processed", processed);
	json_object_object_add(to, "dropped", dropped);
	lrp_json_int(to, "returned", user->returned);
	lrp_json_int(to, "lost", user->lost);
	lrp_json_bool(to, "closed", user->flags & LRP_USER_CLOSED);
}

static uint64_t occupancy(const struct lrp_channel *channel, const struct lrp_user *user)
{
	int64_t held =
		(int64_t)(channel->enqueued - channel->corrected - user->returned - user->lost);

	return held > 0 ? (uint64_t)held : 0;
}

/* `ends`: of a connection that its process has moved there. */
static struct json_object *channel_status(struct lrp_core *core, struct lrp_core_pool *pool,
					  uint32_t endpoint, const struct lrp_core_reset *ends)
{
	const struct lrp_endpoint_state *ep = &core->state->endpoint[endpoint];
	const struct lrp_channel *channel = lrp_core_channel(core, pool, endpoint);
	const struct lrp_user *user = lrp_core_user(core, channel);
	const char *proxy = lrp_core_proxy_name(core, endpoint);
	struct json_object *out = json_object_new_object();
	struct xdp_statistics stats;
	socklen_t length = sizeof(stats);

	lrp_json_int(out, "endpoint", endpoint);
	lrp_json_int(out, "channel", lrp_core_channel_id(core, pool, endpoint));
	lrp_json_text(out, "device", pool->device->state->ifname);
	lrp_json_int(out, "queue", pool->state->queue);
	lrp_json_int(out, "owner", ep->owner);
	lrp_json_int(out, "pid", core->state->owner[ep->owner].pid);
	lrp_json_text(out, "comm", endpoint ? core->state->owner[ep->owner].comm : "(fragments)");
	if (ep->pub.on) {
		lrp_json_text(out, "proto", ep->pub.proto == IPPROTO_TCP ? "tcp" : "udp");
		add_address(out, "local", &ep->pub.laddr, ep->pub.lport);
		if (ep->pub.connected)
			add_address(out, "peer", &ep->pub.raddr, ep->pub.rport);
		lrp_json_bool(out, "reuseport", ep->pub.reuseport);
		lrp_json_int(out, "memberships", ep->pub.membership_count);
	} else if (ends && ends->rport) {
		lrp_json_text(out, "proto", "tcp");
		add_address(out, "local", &ends->laddr, ends->lport);
		add_address(out, "peer", &ends->raddr, ends->rport);
	}
	if (proxy)
		lrp_json_text(out, "local", proxy);
	lrp_json_bool(out, "spare", endpoint && !ep->pub.on && !(ends && ends->rport) && !proxy);
	lrp_json_bool(out, "active", channel->flags & LRP_CHANNEL_ACTIVE);
	lrp_json_int(out, "ring", channel->ring_size);
	lrp_json_int(out, "limit", channel->limit);
	lrp_json_int(out, "guarantee", channel->guarantee);
	lrp_json_int(out, "loan", channel->loan);
	lrp_json_int(out, "enqueued", channel->enqueued);
	lrp_json_int(out, "packets", channel->packets);
	lrp_json_int(out, "bytes", channel->bytes);
	lrp_json_int(out, "drop_full", channel->drop_full);
	lrp_json_int(out, "drop_surplus", channel->drop_surplus);
	lrp_json_int(out, "drop_closed", channel->drop_closed);
	lrp_json_int(out, "drop_backlog", channel->drop_backlog);
	if (user) {
		lrp_json_int(out, "occupancy", occupancy(channel, user));
		add_user(out, user);
	}
	if (pool->xsk[endpoint] >= 0 &&
	    !getsockopt(pool->xsk[endpoint], SOL_XDP, XDP_STATISTICS, &stats, &length)) {
		lrp_json_int(out, "socket_dropped", stats.rx_dropped);
		lrp_json_int(out, "socket_ring_full", stats.rx_ring_full);
	}
	return out;
}

struct json_object *lrp_core_channels(struct lrp_core *core)
{
	struct json_object *out = json_object_new_object(), *channels = json_object_new_array();
	struct lrp_core_reset *ends = lrp_core_flows_ends(core);

	for (uint32_t e = 0; e < core->state->endpoints; e++) {
		if (core->state->endpoint[e].use == LRP_ENDPOINT_FREE)
			continue;
		for (uint32_t i = 0; i < LRP_MAX_POOLS_TOTAL; i++)
			if (lrp_core_pool_live(&core->pool[i]) && core->pool[i].xsk[e] >= 0)
				json_object_array_add(channels,
						      channel_status(core, &core->pool[i], e,
								     ends ? &ends[e] : NULL));
	}
	free(ends);
	json_object_object_add(out, "channels", channels);
	return out;
}

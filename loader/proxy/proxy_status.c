/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* proxy_status.c - the proxies as JSON. */
#include <json-c/json.h>
#include <string.h>

#include "../pool/user_page.h"
#include "proxy_internal.h"

struct sums { /* over all pools */
	uint64_t packets, queued, drops, lost;
};

static void add_int(struct json_object *to, const char *name, int64_t value)
{
	json_object_object_add(to, name, json_object_new_int64(value));
}

static void add_text(struct json_object *to, const char *name, const char *value)
{
	json_object_object_add(to, name, json_object_new_string(value));
}

static void add_bool(struct json_object *to, const char *name, bool value)
{
	json_object_object_add(to, name, json_object_new_boolean(value));
}

static struct sums sum(struct lrp_core *core, uint32_t endpoint)
{
	struct sums sums = {0};

	for (uint32_t i = 0; endpoint && i < LRP_MAX_POOLS_TOTAL; i++) {
		const struct lrp_channel *channel;
		const struct lrp_user *user;
		int64_t held;

		if (!lrp_core_pool_live(&core->pool[i]))
			continue;
		channel = lrp_core_channel(core, &core->pool[i], endpoint);
		user = lrp_core_user(core, channel);
		sums.packets += channel->packets;
		sums.drops += channel->drop_full + channel->drop_surplus;
		if (!user)
			continue;
		held = (int64_t)(channel->enqueued - channel->corrected - user->returned -
				 user->lost);
		sums.queued += held > 0 ? (uint64_t)held : 0;
		sums.lost += user->lost;
	}
	return sums;
}

static struct json_object *proxy(struct lrp_core *core, uint32_t kind)
{
	static const char *const class_name[LRP_PROXY_CLASSES] = {"rest", "first"};
	const struct lrp_proxies *shared = lrp_core_proxies_shared(core);
	const struct lrp_proxy_state *state = &core->state->proxy[kind];
	struct json_object *out = json_object_new_object(), *ports = json_object_new_array();
	struct lrp_proxy_stat stat = {0};
	bool alive = state->pid && lrp_core_proxy_stat(state->pid, &stat);
	char path[600];

	add_text(out, "kind", lrp_proxy_kind_name[kind]);
	add_bool(out, "on", state->on);
	add_bool(out, "serving", alive && shared && shared->endpoint[kind][0]);
	add_int(out, "pid", alive ? state->pid : 0);
	add_int(out, "nice", alive ? stat.nice : state->nice);
	add_int(out, "cpu_us", (int64_t)(stat.cpu_ns / 1000));
	lrp_core_proxy_cgroup_path(core, kind, path, sizeof(path));
	add_text(out, "cgroup", path);
	add_int(out, "limit", state->limit);
	for (int c = 0; c < LRP_PROXY_CLASSES; c++) {
		struct json_object *class = json_object_new_object();
		struct sums sums = sum(core, shared ? shared->endpoint[kind][c] : 0);

		add_int(class, "endpoint", shared ? shared->endpoint[kind][c] : 0);
		add_int(class, "packets", (int64_t)sums.packets);
		add_int(class, "queued", (int64_t)sums.queued);
		add_int(class, "drops", (int64_t)sums.drops);
		add_int(class, "lost", (int64_t)sums.lost);
		json_object_object_add(out, class_name[c], class);
	}
	add_int(out, "direct", shared ? (int64_t)shared->direct[kind] : 0);
	add_int(out, "restarts", state->restarts);
	for (uint32_t i = 0; i < state->ports && i < LRP_PROXY_PORTS; i++)
		json_object_array_add(ports, json_object_new_int(state->port[i]));
	json_object_object_add(out, "ports", ports);
	return out;
}

struct json_object *lrp_core_proxies(struct lrp_core *core)
{
	struct json_object *out = json_object_new_object(), *proxies = json_object_new_array();
	struct json_object *devices = json_object_new_array();
	bool on = false;

	for (uint32_t k = 0; k < LRP_PROXY_COUNT; k++) {
		json_object_array_add(proxies, proxy(core, k));
		on |= core->state->proxy[k].on;
	}
	for (uint32_t i = 0; i < LRP_MAX_DEVICES; i++) {
		const struct lrp_device_state *state = &core->state->device[i];
		struct json_object *device;

		if (!lrp_core_device_live(state))
			continue;
		device = json_object_new_object();
		add_text(device, "ifname", state->ifname);
		add_text(device, "mode", state->mode == LRP_MODE_NATIVE ? "native" : "skb");
		add_bool(device, "served", on && !core->proxies->refusal[i][0]);
		if (on && core->proxies->refusal[i][0])
			add_text(device, "refusal", core->proxies->refusal[i]);
		add_bool(device, "steered", lrp_core_proxy_steered(state));
		json_object_array_add(devices, device);
	}
	json_object_object_add(out, "proxies", proxies);
	json_object_object_add(out, "devices", devices);
	return out;
}

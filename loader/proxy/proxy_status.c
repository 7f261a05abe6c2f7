/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* proxy_status.c - the proxies as JSON. */
#include <json-c/json.h>
#include <string.h>

#include "../base/json.h"
#include "../pool/user_page.h"
#include "../device/link.h"
#include "proxy_internal.h"

struct sums { /* over all pools */
	uint64_t packets, queued, drops, lost;
};

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

	lrp_json_text(out, "kind", lrp_proxy_kind_name[kind]);
	lrp_json_bool(out, "on", state->on);
	lrp_json_bool(out, "serving", alive && shared && shared->endpoint[kind][0]);
	lrp_json_int(out, "pid", alive ? state->pid : 0);
	lrp_json_int(out, "nice", alive ? stat.nice : state->nice);
	lrp_json_int(out, "cpu_us", (stat.cpu_ns / 1000));
	lrp_core_proxy_cgroup_path(core, kind, path, sizeof(path));
	lrp_json_text(out, "cgroup", path);
	lrp_json_int(out, "limit", state->limit);
	for (int c = 0; c < LRP_PROXY_CLASSES; c++) {
		struct json_object *class = json_object_new_object();
		struct sums sums = sum(core, shared ? shared->endpoint[kind][c] : 0);

		lrp_json_int(class, "endpoint", shared ? shared->endpoint[kind][c] : 0);
		lrp_json_int(class, "packets", sums.packets);
		lrp_json_int(class, "queued", sums.queued);
		lrp_json_int(class, "drops", sums.drops);
		lrp_json_int(class, "lost", sums.lost);
		json_object_object_add(out, class_name[c], class);
	}
	lrp_json_int(out, "direct", shared ? (int64_t)shared->direct[kind] : 0);
	lrp_json_int(out, "restarts", state->restarts);
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
		lrp_json_text(device, "ifname", state->ifname);
		lrp_json_text(device, "mode", state->mode == LRP_MODE_NATIVE ? "native" : "skb");
		lrp_json_bool(device, "served", on && !core->proxies->refusal[i][0]);
		if (on && core->proxies->refusal[i][0])
			lrp_json_text(device, "refusal", core->proxies->refusal[i]);
		lrp_json_bool(device, "steered", lrp_core_link_steered(state->ifname));
		json_object_array_add(devices, device);
	}
	json_object_object_add(out, "proxies", proxies);
	json_object_object_add(out, "devices", devices);
	return out;
}

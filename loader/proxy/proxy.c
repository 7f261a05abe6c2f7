/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* proxy.c - see proxy.h: what is on, requests, what XDP is told. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../../runtime/base/log.h"
#include "../device/link.h"
#include "../device/local.h"
#include "../endpoint/endpoint.h"
#include "proxy_internal.h"

#define LOOK_NS 200000000ull /* at the processes */

const char *const lrp_proxy_kind_name[LRP_PROXY_COUNT] = {
#define X(NAME, name, text) #name,
	LRP_PROXY_KINDS(X)
#undef X
};

/* XDP forgets the endpoint before it is somebody else's. */
static void endpoint_released(struct lrp_core *core, uint32_t endpoint)
{
	struct lrp_proxies *shared = core->proxies ? lrp_core_proxies_shared(core) : NULL;

	for (uint32_t k = 0; shared && k < LRP_PROXY_COUNT; k++)
		for (int c = 0; c < LRP_PROXY_CLASSES; c++)
			if (shared->endpoint[k][c] == endpoint) {
				lrp_core_proxy_forget(core, k);
				core->proxies->next_ns = 0; /* its process has ended, perhaps */
			}
}

static bool any_on(const struct lrp_core *core)
{
	for (uint32_t k = 0; k < LRP_PROXY_COUNT; k++)
		if (core->state->proxy[k].on)
			return true;
	return false;
}

/* LRP_DEVICE_* of proxies for an attached device: looked up anew when links change. */
static uint16_t device_flags(struct lrp_core *core, uint32_t device)
{
	const struct lrp_device_state *state = &core->state->device[device];
	char *refusal = core->proxies->refusal[device];

	if (core->opts.embedded || !any_on(core))
		return 0;
	lrp_core_proxy_refusal(state, refusal, sizeof(core->proxies->refusal[device]));
	return (uint16_t)((refusal[0] ? 0 : LRP_DEVICE_PROXIED) |
			  (state->virtual_device ? LRP_DEVICE_VIRTUAL : 0));
}

void lrp_core_proxies_defaults(struct lrp_core *core)
{
	for (uint32_t k = 0; k < LRP_PROXY_COUNT; k++) {
		core->state->proxy[k].limit = LRP_PROXY_LIMIT;
		core->state->proxy[k].nice = k == LRP_PROXY_FORWARD ? 0 : LRP_PROXY_NICE;
	}
}

int lrp_core_proxies_open(struct lrp_core *core)
{
	core->proxies = calloc(1, sizeof(*core->proxies));
	if (!core->proxies)
		return -ENOMEM;
	core->hooks.endpoint_released = endpoint_released;
	core->hooks.device_flags = device_flags;
	if (!core->opts.embedded)
		lrp_core_proxy_cgroup_find(core->proxies);
	return 0;
}

void lrp_core_proxies_close(struct lrp_core *core)
{
	if (!core->proxies)
		return;
	for (uint32_t k = 0; core->state && !core->opts.embedded && k < LRP_PROXY_COUNT; k++) {
		lrp_core_proxy_forget(core, k);
		lrp_core_proxy_end(core, k);
		lrp_core_proxy_cgroup_remove(core, k);
	}
	if (core->proxies_shared)
		munmap(core->proxies_shared, sizeof(*core->proxies_shared));
	core->proxies_shared = NULL;
	free(core->proxies);
	core->proxies = NULL;
}

/* ---- XDP ------------------------------------------------------------------------------ */

struct lrp_proxies *lrp_core_proxies_shared(struct lrp_core *core)
{
	void *map;

	if (!core->proxies_shared && core->map_fd[LRP_MAP_PROXIES] >= 0) {
		map = mmap(NULL, sizeof(*core->proxies_shared), PROT_READ | PROT_WRITE, MAP_SHARED,
			   core->map_fd[LRP_MAP_PROXIES], 0);
		if (map != MAP_FAILED)
			core->proxies_shared = map;
	}
	return core->proxies_shared;
}

void lrp_core_proxies_write(struct lrp_core *core)
{
	struct lrp_proxies *shared = lrp_core_proxies_shared(core);
	const struct lrp_proxy_state *host = &core->state->proxy[LRP_PROXY_HOST];
	uint64_t port[65536 / 64] = {0};
	uint32_t on = 0;

	if (!shared)
		return;
	for (uint32_t i = 0; i < host->ports && i < LRP_PROXY_PORTS; i++)
		port[host->port[i] / 64] |= 1ull << host->port[i] % 64;
	for (uint32_t i = 0; i < 65536 / 64; i++)
		if (shared->port[i] != port[i])
			__atomic_store_n(&shared->port[i], port[i], __ATOMIC_RELAXED);
	for (uint32_t k = 0; k < LRP_PROXY_COUNT; k++)
		on |= core->state->proxy[k].on ? 1u << k : 0;
	__atomic_store_n(&shared->on, on, __ATOMIC_RELEASE);
}

void lrp_core_proxy_forget(struct lrp_core *core, uint32_t kind)
{
	struct lrp_proxies *shared = lrp_core_proxies_shared(core);

	for (int c = 0; shared && c < LRP_PROXY_CLASSES; c++)
		__atomic_store_n(&shared->endpoint[kind][c], 0, __ATOMIC_RELEASE);
	core->proxies->proxy[kind].serving = false;
}

const char *lrp_core_proxy_name(const struct lrp_core *core, uint32_t endpoint)
{
	for (uint32_t k = 0; core->proxies_shared && endpoint && k < LRP_PROXY_COUNT; k++)
		for (int c = 0; c < LRP_PROXY_CLASSES; c++)
			if (core->proxies_shared->endpoint[k][c] == endpoint)
				return lrp_proxy_kind_name[k];
	return NULL;
}

/* Devices that proxies serve. */
static uint32_t served(const struct lrp_core *core)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < LRP_MAX_DEVICES; i++)
		n += lrp_core_device_live(&core->state->device[i]) && !core->proxies->refusal[i][0];
	return n;
}

/* ---- requests -------------------------------------------------------------------------- */

static int check_set(const struct lrp_core *core, const struct lrp_proxy_request *request,
		     char *text)
{
	if (core->opts.embedded)
		return lrp_core_error(text, -EOPNOTSUPP, "proxies: they need lrpd");
	if (request->changes & LRP_PROXY_CHANGE_NICE && (request->nice < -20 || request->nice > 19))
		return lrp_core_error(text, -EINVAL, "--nice %d: -20 to 19 are possible",
				      request->nice);
	if (request->changes & LRP_PROXY_CHANGE_LIMIT &&
	    (request->limit < LRP_PROXY_LIMIT_MIN || request->limit > LRP_PROXY_LIMIT_MAX))
		return lrp_core_error(text, -EINVAL, "--limit %u: %u to %u frames are possible",
				      request->limit, LRP_PROXY_LIMIT_MIN, LRP_PROXY_LIMIT_MAX);
	if (request->changes & LRP_PROXY_CHANGE_PORTS && request->kinds != 1u << LRP_PROXY_HOST)
		return lrp_core_error(text, -EINVAL, "--ports: of the proxy host alone");
	if (request->changes & LRP_PROXY_CHANGE_CGROUP)
		return lrp_core_proxy_cgroup_check(core, request->cgroup, text);
	return 0;
}

static void set_limit(struct lrp_core *core, uint32_t kind, uint32_t limit)
{
	struct lrp_proxies *shared = lrp_core_proxies_shared(core);
	struct lrp_proxy_state *state = &core->state->proxy[kind];

	state->limit = limit;
	for (int c = 0; shared && c < LRP_PROXY_CLASSES; c++) {
		uint32_t e = shared->endpoint[kind][c];

		/* More than the ring has room for: another process, with a larger one. */
		if (e && lrp_core_limit(core, e, limit) < (int)limit) {
			lrp_core_proxy_restart(core, kind);
			return;
		}
	}
}

static void set_one(struct lrp_core *core, const struct lrp_proxy_request *request, uint32_t kind)
{
	struct lrp_proxy_state *state = &core->state->proxy[kind];

	if (request->changes & LRP_PROXY_CHANGE_NICE)
		state->nice = request->nice;
	if (request->changes & LRP_PROXY_CHANGE_PORTS) {
		state->ports = request->ports;
		memcpy(state->port, request->port, sizeof(state->port));
	}
	if (request->changes & LRP_PROXY_CHANGE_CGROUP)
		memcpy(state->cgroup, request->cgroup, sizeof(state->cgroup));
	if (request->changes & LRP_PROXY_CHANGE_LIMIT)
		set_limit(core, kind, request->limit);
	if (request->changes & (LRP_PROXY_CHANGE_NICE | LRP_PROXY_CHANGE_CGROUP) && state->pid)
		lrp_core_proxy_cgroup_enter(core, kind);
	if (request->changes & LRP_PROXY_CHANGE_ON && !state->on) {
		state->on = 1;
		core->proxies->proxy[kind].start_at_ns = 0;
		core->proxies->proxy[kind].failures = 0;
	}
	if (request->changes & LRP_PROXY_CHANGE_OFF)
		state->on = 0;
}

/* Says which devices are not served, and what else an administrator has to know. */
static int set_line(struct lrp_core *core, char *text)
{
	size_t used = 0;

	text[0] = 0;
	for (uint32_t i = 0; i < LRP_MAX_DEVICES; i++) {
		const struct lrp_device_state *state = &core->state->device[i];
		const char *refusal = core->proxies->refusal[i];
		int n = 0;

		if (!lrp_core_device_live(state) || used >= LRP_ERROR_SIZE)
			continue;
		if (refusal[0])
			n = snprintf(text + used, LRP_ERROR_SIZE - used, "%s%s: no proxies: %s",
				     used ? "; " : "", state->ifname, refusal);
		else if (lrp_core_link_steered(state->ifname))
			n = snprintf(text + used, LRP_ERROR_SIZE - used,
				     "%s%s: receive packet steering (rps_cpus) moves the work of "
				     "proxies to other CPUs, out of their control",
				     used ? "; " : "", state->ifname);
		used += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

int lrp_core_proxy_set(struct lrp_core *core, const struct lrp_proxy_request *request, char *text)
{
	bool was_on = any_on(core);
	int err = check_set(core, request, text);

	if (err)
		return err;
	for (uint32_t k = 0; k < LRP_PROXY_COUNT; k++)
		if (request->kinds & 1u << k)
			set_one(core, request, k);
	core->proxies->next_ns = 0;
	if (any_on(core) != was_on)
		lrp_core_local_sync(core); /* the devices' flags */
	if (request->changes & LRP_PROXY_CHANGE_ON && lrp_core_pools(core) && !served(core)) {
		for (uint32_t k = 0; k < LRP_PROXY_COUNT; k++)
			if (request->kinds & 1u << k)
				core->state->proxy[k].on = 0;
		err = -EOPNOTSUPP;
	}
	lrp_core_proxies_write(core);
	if (any_on(core))
		set_line(core, text);
	return err ? (set_line(core, text), err) : 0;
}

int lrp_core_proxy_serve(struct lrp_core *core, const struct lrp_core_client *client, uint32_t kind,
			 const uint32_t endpoint[LRP_PROXY_CLASSES])
{
	struct lrp_proxies *shared = lrp_core_proxies_shared(core);
	struct lrp_core_proxy *proxy;

	if (kind >= LRP_PROXY_COUNT || endpoint[0] == endpoint[1])
		return -EINVAL;
	if (!shared)
		return -ENETDOWN;
	proxy = &core->proxies->proxy[kind];
	/* Nobody else may take what is the kernel's. */
	if (!core->state->proxy[kind].pid || (pid_t)core->state->proxy[kind].pid != client->pid ||
	    client->uid || proxy->term_at_ns || proxy->kill_at_ns)
		return -EPERM;
	for (int c = 0; c < LRP_PROXY_CLASSES; c++)
		__atomic_store_n(&shared->endpoint[kind][c], endpoint[c], __ATOMIC_RELEASE);
	proxy->serving = true;
	proxy->beat_ns = lrp_core_now_ns();
	return 0;
}

/* ---- time --------------------------------------------------------------------------------- */

uint64_t lrp_core_proxies_run(struct lrp_core *core)
{
	struct lrp_core_proxies *proxies = core->proxies;
	uint64_t now = lrp_core_now_ns();
	bool work = false;

	if (core->opts.embedded)
		return 0;
	for (uint32_t k = 0; k < LRP_PROXY_COUNT; k++)
		work |= core->state->proxy[k].on || core->state->proxy[k].pid;
	if (!work)
		return 0;
	if (now < proxies->next_ns)
		return proxies->next_ns;
	proxies->next_ns = now + LOOK_NS;
	lrp_core_proxies_write(core);
	for (uint32_t k = 0; k < LRP_PROXY_COUNT; k++) {
		const struct lrp_core_proxy *proxy = &proxies->proxy[k];

		lrp_core_proxy_run(core, k, core->state->proxy[k].on && served(core), now);
		if (proxy->term_at_ns && proxy->term_at_ns < proxies->next_ns)
			proxies->next_ns = proxy->term_at_ns;
		if (proxy->start_at_ns > now && proxy->start_at_ns < proxies->next_ns)
			proxies->next_ns = proxy->start_at_ns;
	}
	return proxies->next_ns;
}

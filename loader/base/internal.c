/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* internal.c - see internal.h. */
#include <stdarg.h>
#include <time.h>

#include "internal.h"

const char *const lrp_shared_map_name[LRP_MAP_SHARED] = {
	[LRP_MAP_PORTS] = "lrp_ports",
	[LRP_MAP_LOCAL4] = "lrp_local4",
	[LRP_MAP_LOCAL6] = "lrp_local6",
	[LRP_MAP_BINDS4] = "lrp_binds4",
	[LRP_MAP_BINDS6] = "lrp_binds6",
	[LRP_MAP_FLOWS4] = "lrp_flows4",
	[LRP_MAP_FLOWS6] = "lrp_flows6",
	[LRP_MAP_GROUPS] = "lrp_groups",
	[LRP_MAP_MEMBERSHIPS] = "lrp_memberships",
	[LRP_MAP_USERS] = "lrp_users",
	[LRP_MAP_OWNERS] = "lrp_owners",
	[LRP_MAP_EVENTS] = "lrp_events",
	[LRP_MAP_END_INDEX] = "lrp_end_index",
	[LRP_MAP_ENDS] = "lrp_ends",
	[LRP_MAP_END_HEADS] = "lrp_end_heads",
	[LRP_MAP_ENDPOINT_OWNERS] = "lrp_endpoint_owners",
	[LRP_MAP_FAMILIES] = "lrp_families",
	[LRP_MAP_QUOTAS] = "lrp_quotas",
	[LRP_MAP_SHADOWS] = "lrp_shadows",
	[LRP_MAP_KERNEL4] = "lrp_kernel4",
	[LRP_MAP_KERNEL6] = "lrp_kernel6",
	[LRP_MAP_LEFT] = "lrp_left",
	[LRP_MAP_FRAGMENTS] = "lrp_fragments",
	[LRP_MAP_ORPHANS] = "lrp_orphans",
	[LRP_MAP_STRAYS] = "lrp_strays",
	[LRP_MAP_PROXIES] = "lrp_proxies",
};

const char *const lrp_device_map_name[LRP_MAP_PER_DEVICE] = {
	[LRP_MAP_DEVICE] = "lrp_device",   [LRP_MAP_CHANNELS] = "lrp_channels",
	[LRP_MAP_XSKS] = "lrp_xsks",	   [LRP_MAP_POOLS] = "lrp_pools",
	[LRP_MAP_REASONS] = "lrp_reasons",
};

uint64_t lrp_core_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int lrp_core_error(char *error, int err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error, LRP_ERROR_SIZE, format, args);
	va_end(args);
	return err;
}

void lrp_core_put(struct lrp_core *core, int fd, const char *format, ...)
{
	char name[sizeof(((struct lrp_core_kept *)0)->name)];
	va_list args;

	if (!core->opts.store.put || fd < 0)
		return;
	va_start(args, format);
	vsnprintf(name, sizeof(name), format, args);
	va_end(args);
	core->opts.store.put(core->opts.store.arg, name, fd);
}

void lrp_core_drop(struct lrp_core *core, const char *format, ...)
{
	char name[sizeof(((struct lrp_core_kept *)0)->name)];
	va_list args;

	if (!core->opts.store.drop)
		return;
	va_start(args, format);
	vsnprintf(name, sizeof(name), format, args);
	va_end(args);
	core->opts.store.drop(core->opts.store.arg, name);
}

uint32_t lrp_core_pools(const struct lrp_core *core)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < LRP_MAX_POOLS_TOTAL; i++)
		n += lrp_core_pool_live(&core->pool[i]);
	return n;
}

void lrp_core_sweep_in(struct lrp_core *core, uint32_t ms)
{
	uint64_t at = lrp_core_now_ns() + (uint64_t)ms * 1000000u;

	if (at < core->sweep_floor_ns)
		at = core->sweep_floor_ns;
	if (!core->next_sweep_ns || at < core->next_sweep_ns)
		core->next_sweep_ns = at;
}

void lrp_core_suspect(struct lrp_core *core, struct lrp_core_pool *pool)
{
	pool->health.suspect = true;
	core->next_check_ns = lrp_core_now_ns();
	core->checks = LRP_CHECKS_AFTER;
}

static bool batch_contains(const struct lrp_core_batch *batch, uint32_t endpoint)
{
	uint32_t low = 0, high = batch->count;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (batch->endpoint[mid] == endpoint)
			return true;
		if (batch->endpoint[mid] < endpoint)
			low = mid + 1;
		else
			high = mid;
	}
	return false;
}

bool lrp_core_in_batch(const struct lrp_core *core, uint32_t endpoint)
{
	return core->batch.endpoint && batch_contains(&core->batch, endpoint);
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* core.c - making and freeing a core, and its events. */
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../../runtime/base/log.h"
#include "../base/closer.h"
#include "../pool/circulate.h"
#include "../pool/quarantine.h"
#include "../pool/user_page.h"
#include "../demux/beside.h"
#include "../demux/end.h"
#include "../demux/exact.h"
#include "../demux/fragment.h"
#include "../demux/kernel_tcp.h"
#include "../demux/rebuild.h"
#include "../demux/reset.h"
#include "../demux/watch.h"
#include "../device/device.h"
#include "../device/local.h"
#include "../device/maps.h"
#include "../device/pin.h"
#include "../guard/guard.h"
#include "../proxy/proxy.h"
#include "../device/tap.h"
#include "../endpoint/memory.h"
#include "../endpoint/owner.h"
#include "../endpoint/reclaim.h"
#include "../endpoint/repair.h"
#include "core.h"
#include "state.h"

/* ---- making and freeing ------------------------------------------------------ */

static void raise_limits(bool embedded)
{
	struct rlimit limit;

	/* Not the application's: it may use select(). */
	if (!embedded && !getrlimit(RLIMIT_NOFILE, &limit) && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	/* Only matters without CAP_IPC_LOCK or before memory cgroup accounting of BPF; may be
	 * refused, then XDP_UMEM_REG or the map's creation says so. */
	limit.rlim_cur = limit.rlim_max = RLIM_INFINITY;
	if (setrlimit(RLIMIT_MEMLOCK, &limit) && !getrlimit(RLIMIT_MEMLOCK, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_MEMLOCK, &limit);
	}
}

static void init_fds(struct lrp_core *core)
{
	core->state_fd = core->page_fd = core->page_ro_fd = core->epoll_fd = -1;
	for (int m = 0; m < LRP_MAP_SHARED; m++)
		core->map_fd[m] = -1;
	for (uint32_t i = 0; i < LRP_USER_PAGES; i++)
		core->page_map_fd[i] = -1;
	for (uint32_t o = 0; o < LRP_OWNERS; o++)
		core->family_prog[o] = -1;
	for (uint32_t i = 0; i < LRP_MAX_DEVICES; i++) {
		core->device[i].prog_fd = core->device[i].link_fd = -1;
		for (int m = 0; m < LRP_MAP_PER_DEVICE; m++)
			core->device[i].map_fd[m] = -1;
	}
	for (uint32_t i = 0; i < LRP_MAX_POOLS_TOTAL; i++)
		core->pool[i].umem_fd = -1;
}

static int netns_cookie(uint64_t *cookie)
{
	socklen_t len = sizeof(*cookie);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, cookie, &len))
		err = -errno;
	close(fd);
	return err;
}

/* What waits for events. */
static int services_open(struct lrp_core *core, char *text)
{
	int err;

	core->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (core->epoll_fd < 0)
		return lrp_core_error(text, -errno, "epoll_create1: %s", strerror(errno));
	err = lrp_core_grace_open(core);
	if (err)
		return lrp_core_error(text, err, "RCU grace periods: %s", strerror(-err));
	err = lrp_core_local_open(core);
	if (err)
		return lrp_core_error(text, err, "rtnetlink: %s", strerror(-err));
	err = lrp_core_strays_open(core);
	if (err)
		return lrp_core_error(text, err, "fragment service: %s", strerror(-err));
	return 0;
}

/* Takes the tables over, or makes new ones. */
static int tables_open(struct lrp_core *core, uint32_t endpoints, char *text)
{
	int err;

	if (core->opts.kept_count)
		return lrp_core_state_take_over(core, text);
	err = lrp_core_state_new(core, endpoints);
	if (err)
		return lrp_core_error(text, err, "memory for the tables: %s", strerror(-err));
	lrp_core_proxies_defaults(core);
	lrp_core_pin_clean(core);
	for (uint32_t i = 0; i < LRP_MAX_DEVICES; i++)
		core->device[i].state = &core->state->device[i];
	return 0;
}

struct lrp_core *lrp_core_new(const struct lrp_core_opts *opts, char *error, size_t error_size)
{
	uint32_t endpoints = opts->endpoints ? opts->endpoints : LRP_ENDPOINTS;
	char text[LRP_ERROR_SIZE] = "out of memory";
	struct lrp_core *core = calloc(1, sizeof(*core));
	int err = -ENOMEM;

	if (!core)
		goto fail;
	core->opts = *opts;
	init_fds(core);
	raise_limits(opts->embedded);
	core->cpus = (uint32_t)sysconf(_SC_NPROCESSORS_CONF);
	if (endpoints < 2 || endpoints > 1u << 20) {
		err = lrp_core_error(text, -EINVAL, "%u endpoints: 2 to 1048576 are possible",
				     endpoints);
		goto fail;
	}
	err = netns_cookie(&core->netns_cookie);
	if (err) {
		lrp_core_error(text, err, "SO_NETNS_COOKIE: %s: Linux 6.1 or later is needed",
			       strerror(-err));
		goto fail;
	}
	err = services_open(core, text);
	if (err)
		goto fail;
	err = lrp_core_proxies_open(core);
	if (err)
		goto fail;
	if (opts->pin)
		lrp_core_pin_dir(core);
	if (!opts->embedded)
		lrp_taps_sweep();
	err = tables_open(core, endpoints, text);
	if (err)
		goto fail;
	err = lrp_core_flows_index(core);
	if (err)
		goto fail;
	err = lrp_core_state_open_page(core);
	if (err) {
		lrp_core_error(text, err, "status page: %s (is /proc mounted?)", strerror(-err));
		goto fail;
	}
	for (uint32_t i = 0; i < LRP_MAX_POOLS_TOTAL; i++)
		core->pool[i].state = &core->state->pool[i];
	if (core->map_fd[LRP_MAP_PORTS] >= 0) {
		lrp_core_local_sync(core);
		err = lrp_core_watch_open(core, text);
		if (err && !opts->embedded)
			goto fail;
		lrp_core_ends_adopt(core);
		lrp_core_kernel_sync(core);
		lrp_core_flows_rebuild(core);
		lrp_core_quarantine_adopt(core);
		if (core->closing)
			core->gather_at_ns = lrp_core_now_ns();
	}
	lrp_core_guard_adopt(core);
	lrp_core_memory_share(core);
	core->page->lrpd_pid = (uint32_t)getpid();
	if (!opts->kept_count) {
		lrp_core_put(core, core->state_fd, "state");
		lrp_core_put(core, core->page_fd, "status");
	}
	return core;

fail:
	snprintf(error, error_size, "%s", text);
	/* What it has taken over stays for the next one; the caller ends. */
	if (core && !opts->kept_count)
		lrp_core_free(core);
	errno = -err;
	return NULL;
}

void lrp_core_store_all(struct lrp_core *core)
{
	lrp_core_put(core, core->state_fd, "state");
	lrp_core_put(core, core->page_fd, "status");
	for (int m = 0; m < LRP_MAP_SHARED; m++)
		lrp_core_put(core, core->map_fd[m], "map:%s", lrp_shared_map_name[m]);
	for (uint32_t i = 0; i < LRP_USER_PAGES; i++)
		lrp_core_put(core, core->page_map_fd[i], "page:%u", i);
	lrp_core_watch_store(core);
	lrp_core_guard_store(core);
	for (uint32_t i = 0; i < LRP_MAX_DEVICES; i++) {
		struct lrp_core_device *device = &core->device[i];

		for (int m = 0; m < LRP_MAP_PER_DEVICE; m++)
			lrp_core_put(core, device->map_fd[m], "dev:%u:map:%s", i,
				     lrp_device_map_name[m]);
		lrp_core_put(core, device->prog_fd, "dev:%u:prog", i);
		lrp_core_put(core, device->link_fd, "dev:%u:link", i);
	}
	for (uint32_t i = 0; i < LRP_MAX_POOLS_TOTAL; i++) {
		struct lrp_core_pool *pool = &core->pool[i];

		lrp_core_put(core, pool->umem_fd, "pool:%u", i);
		for (uint32_t e = 0; pool->xsk && e < core->state->endpoints; e++)
			lrp_core_put(core, pool->xsk[e], "xsk:%u:%u", i, e);
	}
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void lrp_core_free(struct lrp_core *core)
{
	lrp_core_proxies_close(core);
	lrp_core_guard_close(core);
	if (core->state) {
		for (uint32_t i = 0; i < LRP_MAX_DEVICES; i++)
			if (core->device[i].state && core->device[i].state->used)
				lrp_core_device_close(core, &core->device[i]);
		for (uint32_t i = 0; i < LRP_OWNERS; i++)
			lrp_core_user_pages_free(core, i);
	}
	if (core->page) {
		core->page->lrpd_pid = 0;
		munmap(core->page, sizeof(*core->page));
	}
	lrp_core_resets_close(core);
	lrp_core_strays_close(core);
	lrp_core_local_close(core);
	lrp_core_grace_close(core);
	lrp_closer_end(&core->closer);
	lrp_core_reclaim_forget(core);
	ring_buffer__free(core->events);
	lrp_core_watch_close(core);
	lrp_core_unmap_shared(core);
	for (uint32_t o = 0; o < LRP_OWNERS; o++)
		close_fd(&core->family_prog[o]);
	for (int m = 0; m < LRP_MAP_SHARED; m++)
		close_fd(&core->map_fd[m]);
	lrp_core_pin_clean(core);
	if (core->state)
		munmap(core->state, core->state_size);
	close_fd(&core->state_fd);
	close_fd(&core->page_fd);
	close_fd(&core->page_ro_fd);
	close_fd(&core->epoll_fd);
	free(core->by_port);
	free(core->next_on_port);
	free(core->left_seen);
	free(core);
}

/* ---- events -------------------------------------------------------------------- */

int lrp_core_fd(struct lrp_core *core)
{
	return core->epoll_fd;
}

/* The earlier of a timeout in ms and a deadline (0: none). */
static int sooner(int timeout, uint64_t deadline_ns)
{
	uint64_t now = lrp_core_now_ns();
	int ms;

	if (!deadline_ns)
		return timeout;
	ms = deadline_ns > now ? (int)((deadline_ns - now) / 1000000u) + 1 : 0;
	return timeout < 0 || ms < timeout ? ms : timeout;
}

int lrp_core_run(struct lrp_core *core)
{
	struct epoll_event events[16];
	int n = epoll_wait(core->epoll_fd, events, 16, 0);
	int timeout;

	(void)n; /* edges and levels alike are only wake-ups; both look for themselves */
	lrp_core_local_run(core);
	if (core->events)
		ring_buffer__consume(core->events);
	timeout = lrp_core_strays_run(core);
	timeout = sooner(timeout, lrp_core_ends_run(core));
	timeout = sooner(timeout, lrp_core_kernel_run(core));
	timeout = sooner(timeout, lrp_core_beside_run(core));
	lrp_core_sweep(core);
	timeout = sooner(timeout, lrp_core_reclaim_run(core));
	lrp_core_owners_run(core);
	timeout = sooner(timeout, lrp_core_flows_run(core));
	timeout = sooner(timeout, lrp_core_repair_run(core));
	lrp_core_quarantine_run(core);
	timeout = sooner(timeout, lrp_core_guard_run(core));
	timeout = sooner(timeout, lrp_core_resets_run(core));
	timeout = sooner(timeout, lrp_core_rest_run(core));
	timeout = sooner(timeout, lrp_core_proxies_run(core));
	timeout = sooner(timeout, core->next_quarantine_ns);
	return sooner(timeout, core->next_sweep_ns);
}

void *lrp_core_rx_ring(struct lrp_core *core, __u32 pool, __u32 endpoint, size_t *size)
{
	if (pool >= LRP_MAX_POOLS_TOTAL || !core->pool[pool].rx ||
	    endpoint >= core->state->endpoints || !core->pool[pool].rx[endpoint].map)
		return NULL;
	*size = core->pool[pool].rx[endpoint].size;
	return core->pool[pool].rx[endpoint].map;
}

void *lrp_core_fill_ring(struct lrp_core *core, __u32 pool, size_t *size)
{
	if (pool >= LRP_MAX_POOLS_TOTAL || !lrp_core_pool_on(&core->pool[pool]))
		return NULL;
	*size = core->pool[pool].view.fill_map_size;
	return core->pool[pool].view.fill_map;
}

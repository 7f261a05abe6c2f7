/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * state.c - the tables that outlive lrpd: making them, and taking them over with
 * the descriptors that the keeper held.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../runtime/base/log.h"
#include "../pool/circulate.h"
#include "../pool/user_page.h"
#include "../guard/guard.h"
#include "../demux/watch.h"
#include "../device/device.h"
#include "../device/maps.h"
#include "core.h"
#include "state.h"

/* ---- memory that outlives us --------------------------------------------- */

static int sealed_memfd(const char *name, size_t size)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -errno;
	/* Clients get read-only descriptors; the mode keeps them from opening it anew through
	 * /proc/self/fd. */
	if (fchmod(fd, 0400) || ftruncate(fd, (off_t)size) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
		int err = -errno;

		close(fd);
		return err;
	}
	return fd;
}

static int map_state(struct lrp_core *core)
{
	struct stat st;

	if (fstat(core->state_fd, &st))
		return -errno;
	core->state_size = (size_t)st.st_size;
	core->state =
		mmap(NULL, core->state_size, PROT_READ | PROT_WRITE, MAP_SHARED, core->state_fd, 0);
	if (core->state == MAP_FAILED) {
		core->state = NULL;
		return -errno;
	}
	/* The families' tokens are in it: who has one is of the family. */
	if (madvise(core->state, core->state_size, MADV_DONTDUMP))
		lrp_log(LRP_LOG_WARN, "lrpd: core dumps will have tokens: %s", strerror(errno));
	core->page = mmap(NULL, sizeof(*core->page), PROT_READ | PROT_WRITE, MAP_SHARED,
			  core->page_fd, 0);
	if (core->page == MAP_FAILED) {
		core->page = NULL;
		return -errno;
	}
	return 0;
}

int lrp_core_state_open_page(struct lrp_core *core)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", core->page_fd);
	core->page_ro_fd = open(path, O_RDONLY | O_CLOEXEC);
	return core->page_ro_fd < 0 ? -errno : 0;
}

int lrp_core_state_new(struct lrp_core *core, uint32_t endpoints)
{
	size_t size = sizeof(struct lrp_core_state) +
		      (size_t)endpoints * sizeof(struct lrp_endpoint_state);
	int err;

	core->state_fd = sealed_memfd("lrp-state", size);
	if (core->state_fd < 0)
		return core->state_fd;
	core->page_fd = sealed_memfd("lrp-status", sizeof(*core->page));
	if (core->page_fd < 0)
		return core->page_fd;
	err = map_state(core);
	if (err)
		return err;
	core->state->magic = LRP_ABI_MAGIC;
	core->state->version = LRP_CORE_STATE_VERSION;
	core->state->endpoints = endpoints;
	core->state->quota = core->opts.max_channels_per_uid ? core->opts.max_channels_per_uid
							     : LRP_DEFAULT_QUOTA;
	core->state->connections = LRP_DEFAULT_CONNECTIONS;
	core->page->magic = LRP_ABI_MAGIC;
	core->page->version = LRP_ABI_VERSION;
	return 0;
}

/* ---- taking over ----------------------------------------------------------- */

static int check_sizes(const struct lrp_core_state *state, size_t size,
		       const struct lrp_status_page *page, char *error, size_t error_size)
{
	if (state->magic != LRP_ABI_MAGIC || page->magic != LRP_ABI_MAGIC) {
		snprintf(error, error_size, "what the keeper holds is no state of lrpd's");
		return -EPROTO;
	}
	if (state->version == LRP_CORE_STATE_VERSION && page->version == LRP_ABI_VERSION &&
	    state->endpoints >= 2 && state->endpoints <= 1u << 20 &&
	    size == sizeof(*state) + (size_t)state->endpoints * sizeof(struct lrp_endpoint_state))
		return 0;
	snprintf(error, error_size,
		 "the state is of another lrpd (state version %u, ABI %u, %zu bytes; this one has "
		 "%u and "
		 "%u): it stays as it is. Start the lrpd that made it, or `lrp stop` and attach "
		 "again",
		 state->version, page->version, size, LRP_CORE_STATE_VERSION,
		 (unsigned int)LRP_ABI_VERSION);
	return -EPROTO;
}

int lrp_core_state_check(const struct lrp_core_kept *kept, size_t count, char *error,
			 size_t error_size)
{
	struct lrp_core_state *state = MAP_FAILED;
	struct lrp_status_page *page = MAP_FAILED;
	struct stat state_stat = {0}, page_stat = {0};
	int err = -EPROTO, fd = -1, page_fd = -1;

	for (size_t i = 0; i < count; i++) {
		if (!strcmp(kept[i].name, "state"))
			fd = kept[i].fd;
		else if (!strcmp(kept[i].name, "status"))
			page_fd = kept[i].fd;
	}
	if (fd < 0 || page_fd < 0) {
		snprintf(error, error_size, "the keeper holds no state of lrpd's");
		return -EPROTO;
	}
	if (!fstat(fd, &state_stat) && state_stat.st_size >= (off_t)sizeof(*state))
		state = mmap(NULL, (size_t)state_stat.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (!fstat(page_fd, &page_stat) && page_stat.st_size >= (off_t)sizeof(*page))
		page = mmap(NULL, sizeof(*page), PROT_READ, MAP_SHARED, page_fd, 0);
	if (state != MAP_FAILED && page != MAP_FAILED)
		err = check_sizes(state, (size_t)state_stat.st_size, page, error, error_size);
	else
		snprintf(error, error_size,
			 "the state is of another lrpd (%lld bytes, too few for this one): it "
			 "stays as "
			 "it is. Start the lrpd that made it, or `lrp stop` and attach again",
			 (long long)state_stat.st_size);
	if (state != MAP_FAILED)
		munmap(state, (size_t)state_stat.st_size);
	if (page != MAP_FAILED)
		munmap(page, sizeof(*page));
	return err;
}

/* Files one kept descriptor. Returns true if it was ours to take. */
static bool take_kept(struct lrp_core *core, const struct lrp_core_kept *kept)
{
	unsigned int a, b;
	char name[32];

	if (sscanf(kept->name, "map:%31s", name) == 1) {
		for (int m = 0; m < LRP_MAP_SHARED; m++)
			if (!strcmp(name, lrp_shared_map_name[m])) {
				core->map_fd[m] = kept->fd;
				return true;
			}
	} else if (sscanf(kept->name, "page:%u", &a) == 1 && a < LRP_USER_PAGES) {
		core->page_map_fd[a] = kept->fd;
		return true;
	} else if (lrp_core_watch_kept(core, kept) || lrp_core_guard_kept(core, kept)) {
		return true;
	} else if (sscanf(kept->name, "dev:%u:map:%31s", &a, name) == 2 && a < LRP_MAX_DEVICES) {
		for (int m = 0; m < LRP_MAP_PER_DEVICE; m++)
			if (!strcmp(name, lrp_device_map_name[m])) {
				core->device[a].map_fd[m] = kept->fd;
				return true;
			}
	} else if (sscanf(kept->name, "dev:%u:%31s", &a, name) == 2 && a < LRP_MAX_DEVICES) {
		if (!strcmp(name, "prog")) {
			core->device[a].prog_fd = kept->fd;
			return true;
		}
		if (!strcmp(name, "link")) {
			core->device[a].link_fd = kept->fd;
			return true;
		}
	} else if (sscanf(kept->name, "pool:%u", &a) == 1 && a < LRP_MAX_POOLS_TOTAL) {
		core->pool[a].umem_fd = kept->fd;
		return true;
	} else if (sscanf(kept->name, "xsk:%u:%u", &a, &b) == 2 && a < LRP_MAX_POOLS_TOTAL &&
		   b < core->state->endpoints && core->pool[a].xsk) {
		core->pool[a].xsk[b] = kept->fd;
		return true;
	}
	return false;
}

static int alloc_pool_tables(struct lrp_core *core)
{
	for (uint32_t i = 0; i < LRP_MAX_POOLS_TOTAL; i++) {
		struct lrp_core_pool *pool = &core->pool[i];

		if (!core->state->pool[i].used)
			continue;
		pool->xsk = malloc(core->state->endpoints * sizeof(*pool->xsk));
		if (!pool->xsk)
			return -ENOMEM;
		for (uint32_t e = 0; e < core->state->endpoints; e++)
			pool->xsk[e] = -1;
	}
	return 0;
}

/*
 * The old lrpd may have died anywhere. What it had not finished attaching (a
 * device without program or link, a pool without UMEM) is taken down; all else goes
 * on. Flow maps are made to agree with the tables; endpoints that were being
 * closed are closed.
 */
int lrp_core_state_take_over(struct lrp_core *core, char *error)
{
	const struct lrp_core_kept *kept = core->opts.kept;
	int err;

	for (size_t i = 0; i < core->opts.kept_count; i++) {
		if (!strcmp(kept[i].name, "state"))
			core->state_fd = kept[i].fd;
		else if (!strcmp(kept[i].name, "status"))
			core->page_fd = kept[i].fd;
	}
	if (core->state_fd < 0 || core->page_fd < 0)
		return lrp_core_error(error, -ENODATA, "the keeper holds no state: start it anew");
	err = map_state(core);
	if (err)
		return lrp_core_error(error, err, "state of the earlier lrpd: %s", strerror(-err));
	if (core->state_size < sizeof(*core->state) || core->state->magic != LRP_ABI_MAGIC ||
	    core->state->version != LRP_CORE_STATE_VERSION ||
	    core->page->version != LRP_ABI_VERSION ||
	    core->state_size != sizeof(*core->state) + (size_t)core->state->endpoints *
							       sizeof(struct lrp_endpoint_state))
		return lrp_core_error(error, -EPROTO,
				      "the earlier lrpd was of another version: run `lrp stop` "
				      "and attach again");
	for (uint32_t i = 0; i < LRP_MAX_POOLS_TOTAL; i++)
		core->pool[i].state = &core->state->pool[i];
	err = alloc_pool_tables(core);
	if (err)
		return lrp_core_error(error, err, "out of memory");
	for (size_t i = 0; i < core->opts.kept_count; i++) {
		if (kept[i].fd == core->state_fd || kept[i].fd == core->page_fd ||
		    take_kept(core, &kept[i]))
			continue;
		close(kept[i].fd);
		lrp_core_drop(core, "%s", kept[i].name);
	}
	if (core->map_fd[LRP_MAP_PORTS] >= 0) {
		err = lrp_core_map_shared(core);
		if (err)
			return lrp_core_error(error, err, "mapping the shared maps: %s",
					      strerror(-err));
	}
	for (uint32_t i = 0; i < LRP_MAX_DEVICES; i++) {
		struct lrp_core_device *device = &core->device[i];

		device->state = &core->state->device[i];
		if (!device->state->used)
			continue;
		err = lrp_core_device_adopt(core, device);
		if (err) {
			lrp_log(LRP_LOG_WARN, "lrpd: %s: cannot be taken over (%s), detached",
				device->state->ifname, strerror(-err));
			lrp_core_device_close(core, device);
		}
	}
	for (uint32_t o = 0; o < LRP_OWNERS; o++)
		core->state->owner[o].endpoints = 0;
	for (uint32_t e = LRP_ENDPOINT_FIRST; e < core->state->endpoints; e++) {
		core->closing += core->state->endpoint[e].use == LRP_ENDPOINT_CLOSING;
		if (core->state->endpoint[e].use != LRP_ENDPOINT_FREE)
			core->state->owner[core->state->endpoint[e].owner].endpoints++;
	}
	for (uint32_t o = LRP_OWNER_LRPD + 1; o < LRP_OWNERS; o++)
		if (core->state->owner[o].used && core->state->owner[o].gone) {
			core->owners_gone++;
			core->owner_ticket[o] = lrp_core_grace_ask(core);
		}
	lrp_core_user_pages_adopt(core);
	lrp_core_guarantees(core);
	lrp_core_sweep_in(core, 0);
	return 0;
}

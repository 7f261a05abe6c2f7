/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * user_page.c - pages of user records. A page belongs to one family, whose processes map it
 * writable; what stands in it is theirs to say.
 *
 * A page is mapped here from before its family gets it until it is gone: it cannot be frozen
 * meanwhile (hold.h). A page that a new lrpd finds frozen all the same costs its family the
 * endpoints that have records there.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "../../runtime/base/log.h"
#include "../base/family.h"
#include "../base/hold.h"
#include "channel.h"
#include "user_page.h"

int lrp_core_user_page_map(struct lrp_core *core, uint32_t page)
{
	errno = 0;
	core->page_map[page] = lrp_hold_map("page:", core->page_map_fd[page]);
	return core->page_map[page] ? 0 : errno ? -errno : -ENOMEM;
}

static void page_drop(struct lrp_core *core, uint32_t page)
{
	bpf_map_delete_elem(core->map_fd[LRP_MAP_USERS], &page);
	lrp_hold_unmap(core->page_map[page]);
	core->page_map[page] = NULL;
	if (core->page_map_fd[page] >= 0)
		close(core->page_map_fd[page]);
	core->page_map_fd[page] = -1;
	core->state->page_owner[page] = 0;
	memset(core->slot_used[page], 0, sizeof(core->slot_used[page]));
	lrp_core_drop(core, "page:%u", page);
}

static int page_new(struct lrp_core *core, uint32_t owner)
{
	struct bpf_map_create_opts opts = {.sz = sizeof(opts), .map_flags = BPF_F_MMAPABLE};
	uint32_t page;
	int fd, err;

	for (page = 0; page < LRP_USER_PAGES && core->state->page_owner[page]; page++)
		;
	if (page == LRP_USER_PAGES)
		return -ENOSPC;
	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "lrp_user_page", sizeof(__u32),
			    sizeof(struct lrp_user), LRP_USER_PAGE_RECORDS, &opts);
	if (fd < 0)
		return fd;
	core->page_map_fd[page] = fd;
	err = lrp_core_user_page_map(core, page);
	if (!err && bpf_map_update_elem(core->map_fd[LRP_MAP_USERS], &page, &fd, BPF_ANY))
		err = -errno;
	if (err) {
		lrp_hold_unmap(core->page_map[page]);
		core->page_map[page] = NULL;
		core->page_map_fd[page] = -1;
		close(fd);
		return err;
	}
	core->state->page_owner[page] = owner + 1;
	memset(core->slot_used[page], 0, sizeof(core->slot_used[page]));
	lrp_core_put(core, fd, "page:%u", page);
	return (int)page;
}

int lrp_core_user_page_fd(struct lrp_core *core, uint32_t owner, uint32_t page)
{
	if (page >= LRP_USER_PAGES || core->page_map_fd[page] < 0)
		return -ENOENT;
	/* lrpd's own, that of the fragment endpoint, is nobody's. */
	if (owner == LRP_OWNER_LRPD || core->state->page_owner[page] != owner + 1)
		return -EPERM;
	return core->page_map_fd[page];
}

void lrp_core_user_pages_free(struct lrp_core *core, uint32_t owner)
{
	for (uint32_t page = 0; page < LRP_USER_PAGES; page++)
		if (core->state->page_owner[page] == owner + 1)
			page_drop(core, page);
}

/* ---- records -------------------------------------------------------------------------- */

/*
 * A channel has a record of its own: channels of one endpoint on different
 * queues are written on different CPUs. Which records are taken follows from the channels.
 */
int lrp_core_user_slot_take(struct lrp_core *core, uint32_t owner, uint32_t *page, uint32_t *slot)
{
	int made;

	for (uint32_t p = 0; p < LRP_USER_PAGES; p++) {
		if (core->state->page_owner[p] != owner + 1 || !core->page_map[p])
			continue;
		for (uint32_t s = 0; s < LRP_USER_PAGE_RECORDS; s++) {
			if (core->slot_used[p][s])
				continue;
			*page = p;
			*slot = s;
			goto found;
		}
	}
	made = page_new(core, owner);
	if (made < 0)
		return made;
	*page = (uint32_t)made;
	*slot = 0;
found:
	core->slot_used[*page][*slot] = 1;
	memset(&core->page_map[*page][*slot], 0, sizeof(struct lrp_user));
	return 0;
}

void lrp_core_user_slot_free(struct lrp_core *core, const struct lrp_channel *channel)
{
	if (channel->user_page < LRP_USER_PAGES && channel->user_slot < LRP_USER_PAGE_RECORDS)
		core->slot_used[channel->user_page][channel->user_slot] = 0;
}

struct lrp_user *lrp_core_user(struct lrp_core *core, const struct lrp_channel *channel)
{
	struct lrp_user *page =
		channel->user_page < LRP_USER_PAGES ? core->page_map[channel->user_page] : NULL;

	return page && channel->user_slot < LRP_USER_PAGE_RECORDS ? &page[channel->user_slot]
								  : NULL;
}

/* ---- after a takeover -------------------------------------------------------------------- */

static void slots_find(struct lrp_core *core)
{
	memset(core->slot_used, 0, sizeof(core->slot_used));
	for (uint32_t i = 0; i < LRP_MAX_POOLS_TOTAL; i++) {
		for (uint32_t e = 0; e < core->state->endpoints; e++) {
			const struct lrp_channel *channel;

			if (!lrp_core_pool_on(&core->pool[i]) ||
			    core->state->endpoint[e].use == LRP_ENDPOINT_FREE)
				continue;
			channel = lrp_core_channel(core, &core->pool[i], e);
			if (channel->user_page < LRP_USER_PAGES &&
			    channel->user_slot < LRP_USER_PAGE_RECORDS && channel->ring_size)
				core->slot_used[channel->user_page][channel->user_slot] = 1;
		}
	}
}

/* Has the endpoint a channel whose record is on the page? */
static bool uses_page(const struct lrp_core *core, uint32_t endpoint, uint32_t page)
{
	for (uint32_t i = 0; i < LRP_MAX_POOLS_TOTAL; i++)
		if (lrp_core_pool_on(&core->pool[i])) {
			const struct lrp_channel *channel =
				lrp_core_channel(core, &core->pool[i], endpoint);

			if (channel->ring_size && channel->user_page == page)
				return true;
		}
	return false;
}

/*
 * The family cannot be served on this page: it loses what has records there, nobody else does. The
 * demultiplexing maps are computed from the tables later, and find these endpoints closing.
 */
static void page_lost(struct lrp_core *core, uint32_t page, int err)
{
	uint32_t owner = core->state->page_owner[page] - 1, n = 0;
	const struct lrp_owner_state *family = &core->state->owner[owner];

	for (uint32_t e = LRP_ENDPOINT_FIRST; e < core->state->endpoints; e++) {
		struct lrp_endpoint_state *ep = &core->state->endpoint[e];

		if (ep->use != LRP_ENDPOINT_USED || ep->owner != owner || !uses_page(core, e, page))
			continue;
		for (uint32_t i = 0; i < LRP_MAX_POOLS_TOTAL; i++)
			if (lrp_core_pool_on(&core->pool[i]))
				lrp_core_channel_shut(core, &core->pool[i], e);
		lrp_core_family_endpoint(core, e, 0);
		ep->use = LRP_ENDPOINT_CLOSING;
		core->closing++;
		n++;
	}
	if (n)
		lrp_log(LRP_LOG_ERROR,
			"lrpd: user page %u of %s (pid %u, uid %u) cannot be mapped (%s): frozen, "
			"or memory is short; the %u endpoints with records on it are closed",
			page, family->comm, family->pid, family->uid, strerror(-err), n);
	page_drop(core, page);
}

/* Did the keeper not have it? XDP's map still knows the page. */
static void page_find(struct lrp_core *core, uint32_t page)
{
	__u32 id;

	if (core->page_map_fd[page] >= 0 || core->map_fd[LRP_MAP_USERS] < 0 ||
	    bpf_map_lookup_elem(core->map_fd[LRP_MAP_USERS], &page, &id))
		return;
	core->page_map_fd[page] = bpf_map_get_fd_by_id(id);
	if (core->page_map_fd[page] >= 0)
		lrp_core_put(core, core->page_map_fd[page], "page:%u", page);
}

/* lrpd's own page has nobody else's data: a new one for the fragment endpoint's channels. */
static void own_page_renew(struct lrp_core *core, uint32_t page)
{
	page_drop(core, page);
	for (uint32_t i = 0; i < LRP_MAX_POOLS_TOTAL; i++)
		if (lrp_core_pool_on(&core->pool[i])) {
			lrp_core_channel_shut(core, &core->pool[i], LRP_ENDPOINT_FRAGMENT);
			lrp_core_fragment_endpoint(core, &core->pool[i]);
		}
}

void lrp_core_user_pages_adopt(struct lrp_core *core)
{
	int error[LRP_USER_PAGES] = {0};
	bool own_lost = false;

	for (uint32_t i = 0; i < LRP_USER_PAGES; i++) {
		if (core->page_map_fd[i] >= 0 && !core->state->page_owner[i])
			page_drop(core, i);
		if (!core->state->page_owner[i])
			continue;
		page_find(core, i);
		error[i] = core->page_map_fd[i] < 0 ? -EBADF : lrp_core_user_page_map(core, i);
	}
	slots_find(core);
	for (uint32_t i = 0; i < LRP_USER_PAGES; i++) {
		if (!error[i])
			continue;
		if (core->state->page_owner[i] == LRP_OWNER_LRPD + 1) {
			own_page_renew(core, i);
			own_lost = true;
		} else {
			page_lost(core, i, error[i]);
		}
	}
	if (own_lost)
		lrp_log(LRP_LOG_WARN, "lrpd: the record of the fragment channels was made anew");
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* family.c - see family.h. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "../../runtime/base/log.h"
#include "authority.skel.h"
#include "family.h"
#include "reuse.h"

/* ---- quotas --------------------------------------------------------------------------- */

static uint32_t quota_find(struct lrp_core *core, uint32_t uid)
{
	uint32_t unused = 0;

	if (!uid)
		return LRP_QUOTA_ROOT;
	for (uint32_t q = LRP_QUOTA_ROOT + 1; q < LRP_QUOTAS; q++) {
		const struct lrp_quota_state *state = &core->state->quota_of[q];

		bool counts = core->quotas && (core->quotas[q].flows || core->quotas[q].shadows);

		/* Sockets that its user passed on may count still: for the same user. */
		if ((state->used || counts) && state->uid == uid)
			return q;
		if (!state->used && !unused && !counts)
			unused = q;
	}
	return unused;
}

static void quota_write(struct lrp_core *core, uint32_t quota)
{
	if (!core->quotas)
		return;
	core->quotas[quota].limit = quota == LRP_QUOTA_ROOT  ? LRP_FLOWS
				    : quota == LRP_QUOTA_ALL ? LRP_FLOWS / 4 * 3
							     : core->state->connections;
}

/* ---- families ------------------------------------------------------------------------------ */

static void family_write(struct lrp_core *core, uint32_t owner)
{
	const struct lrp_owner_state *state = &core->state->owner[owner];

	if (!core->families)
		return;
	core->families[owner].quota = state->quota;
	__atomic_store_n(&core->families[owner].generation,
			 state->used && !state->gone ? state->generation : 0, __ATOMIC_RELEASE);
}

int lrp_core_family_begin(struct lrp_core *core, uint32_t owner)
{
	struct lrp_owner_state *state = &core->state->owner[owner];
	uint32_t quota = quota_find(core, state->uid);

	if (!quota)
		return -EUSERS;
	core->state->quota_of[quota].uid = state->uid;
	core->state->quota_of[quota].used++;
	state->quota = quota;
	state->generation = ++core->state->family_generation;
	quota_write(core, quota);
	family_write(core, owner);
	return 0;
}

void lrp_core_family_shut(struct lrp_core *core, uint32_t owner)
{
	if (core->families)
		__atomic_store_n(&core->families[owner].generation, 0, __ATOMIC_RELEASE);
	if (core->family_prog[owner] >= 0)
		close(core->family_prog[owner]);
	core->family_prog[owner] = -1;
}

void lrp_core_family_end(struct lrp_core *core, uint32_t owner)
{
	struct lrp_quota_state *quota = &core->state->quota_of[core->state->owner[owner].quota];

	lrp_core_family_shut(core, owner);
	if (quota->used)
		quota->used--;
}

void lrp_core_families_sync(struct lrp_core *core)
{
	for (uint32_t q = 0; q < LRP_QUOTAS; q++)
		core->state->quota_of[q].used = 0;
	for (uint32_t o = LRP_OWNER_LRPD + 1; o < LRP_OWNERS; o++)
		if (core->state->owner[o].used)
			core->state->quota_of[core->state->owner[o].quota].used++;
	for (uint32_t q = 0; q < LRP_QUOTAS; q++)
		quota_write(core, q);
	for (uint32_t o = LRP_OWNER_LRPD + 1; o < LRP_OWNERS; o++)
		family_write(core, o);
	for (uint32_t e = LRP_ENDPOINT_FIRST; e < core->state->endpoints; e++) {
		const struct lrp_endpoint_state *ep = &core->state->endpoint[e];

		lrp_core_family_endpoint(core, e, ep->use == LRP_ENDPOINT_USED ? ep->owner : 0);
	}
}

void lrp_core_family_endpoint(struct lrp_core *core, uint32_t endpoint, uint32_t owner)
{
	if (core->endpoint_owners)
		__atomic_store_n(&core->endpoint_owners[endpoint], owner, __ATOMIC_RELEASE);
}

/* ---- the program ----------------------------------------------------------------- */

static int silent(enum libbpf_print_level level, const char *format, va_list args)
{
	char line[512];

	vsnprintf(line, sizeof(line), format, args);
	line[strcspn(line, "\n")] = 0;
	if (level != LIBBPF_DEBUG)
		lrp_log(LRP_LOG_DEBUG, "%s", line);
	return 0;
}

static int load(struct lrp_core *core, uint32_t owner)
{
	libbpf_print_fn_t print = libbpf_set_print(silent);
	struct authority_bpf *skel = authority_bpf__open();
	int err, fd = -1;

	if (!skel) {
		err = -errno;
		goto out;
	}
	skel->rodata->lrp_owner = owner;
	skel->rodata->lrp_netns = core->netns_cookie;
	skel->rodata->lrp_generation = core->state->owner[owner].generation;
	err = lrp_core_reuse_maps(core, skel->obj, NULL);
	if (!err)
		err = authority_bpf__load(skel);
	if (!err) {
		fd = fcntl(bpf_program__fd(skel->progs.lrp_authority), F_DUPFD_CLOEXEC, 3);
		if (fd < 0)
			err = -errno;
	}
	authority_bpf__destroy(skel);
out:
	libbpf_set_print(print);
	return err ? err : fd;
}

int lrp_core_family_program(struct lrp_core *core, uint32_t owner)
{
	int fd;

	if (core->map_fd[LRP_MAP_PORTS] < 0)
		return -ENETDOWN;
	if (core->family_prog[owner] >= 0)
		return core->family_prog[owner];
	fd = load(core, owner);
	if (fd < 0) {
		lrp_log_once(
			LRP_LOG_ERROR,
			"lrpd: the program for connections does not load: %s: TCP is the kernel's",
			strerror(-fd));
		return fd;
	}
	return core->family_prog[owner] = fd;
}

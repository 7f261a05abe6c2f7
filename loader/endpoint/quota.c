/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* quota.c - see quota.h. */
#include <errno.h>

#include "quota.h"

#define RING_HEADER 384u /* struct xdp_rx_tx_ring, two cache lines apart, rounded up */
#define PAGE	    4096u
#define HINT	    "root raises it with lrpd --%s N or `%s = N` in /etc/lrp/lrpd.conf"

uint64_t lrp_quota_ring_bytes(uint32_t ring_size)
{
	uint64_t bytes = RING_HEADER + (uint64_t)ring_size * sizeof(struct xdp_desc);

	return (bytes + PAGE - 1) / PAGE * PAGE;
}

void lrp_quota_use(const struct lrp_core *core, uint32_t uid, struct lrp_quota_use *use)
{
	uint32_t pools = lrp_core_pools(core);

	*use = (struct lrp_quota_use){0};
	for (uint32_t o = LRP_OWNER_LRPD + 1; o < LRP_OWNERS; o++)
		if (core->state->owner[o].used && core->state->owner[o].uid == uid)
			use->endpoints += core->state->owner[o].endpoints;
	if (!use->endpoints)
		return;
	for (uint32_t e = LRP_ENDPOINT_FIRST; e < core->state->endpoints; e++) {
		const struct lrp_endpoint_state *ep = &core->state->endpoint[e];

		if (ep->use == LRP_ENDPOINT_FREE || ep->owner >= LRP_OWNERS ||
		    core->state->owner[ep->owner].uid != uid)
			continue;
		use->frames += ep->ring_size;
		use->ring_bytes += pools * lrp_quota_ring_bytes(ep->ring_size);
	}
}

static uint64_t fit(uint64_t limit, uint64_t used, uint64_t each)
{
	return limit > used && each ? (limit - used) / each : 0;
}

uint32_t lrp_quota_room(const struct lrp_core *core, uint32_t uid, uint32_t wanted,
			uint32_t ring_size, uint32_t guarantee, int *error, char *text)
{
	uint64_t mib = core->opts.max_ring_mib_per_uid ? core->opts.max_ring_mib_per_uid
						       : LRP_DEFAULT_RING_MIB;
	uint64_t slots =
		core->opts.max_frames_per_uid ? core->opts.max_frames_per_uid : LRP_DEFAULT_SLOTS;
	uint64_t each = lrp_core_pools(core) * lrp_quota_ring_bytes(ring_size);
	struct lrp_quota_use use;
	uint64_t room;

	*error = 0;
	if (!uid)
		return wanted;
	if (guarantee > LRP_DEFAULT_GUARANTEE) {
		*error = lrp_core_error(text, -EPERM,
					"a socket of uid %u may be guaranteed %u frames at most",
					uid, LRP_DEFAULT_GUARANTEE);
		return 0;
	}
	lrp_quota_use(core, uid, &use);
	room = fit(core->state->quota, use.endpoints, 1);
	if (!room)
		*error = lrp_core_error(text, -EDQUOT,
					"uid %u has %u sockets, its limit (quota); " HINT, uid,
					use.endpoints, "quota", "quota");
	if (room && !fit(mib << 20, use.ring_bytes, each))
		*error = lrp_core_error(
			text, -EDQUOT,
			"uid %u has rings of %llu KiB and wants %llu more, its limit is "
			"%llu MiB (ring-memory); " HINT,
			uid, (unsigned long long)use.ring_bytes >> 10,
			(unsigned long long)each >> 10, (unsigned long long)mib, "ring-memory",
			"ring-memory");
	else if (room && !fit(slots, use.frames, ring_size))
		*error = lrp_core_error(
			text, -EDQUOT,
			"uid %u has rings for %llu frames and wants %u more, its limit "
			"is %llu (frames); " HINT,
			uid, (unsigned long long)use.frames, ring_size, (unsigned long long)slots,
			"frames", "frames");
	if (*error)
		return 0;
	if (fit(mib << 20, use.ring_bytes, each) < room)
		room = fit(mib << 20, use.ring_bytes, each);
	if (fit(slots, use.frames, ring_size) < room)
		room = fit(slots, use.frames, ring_size);
	return room < wanted ? (uint32_t)room : wanted;
}

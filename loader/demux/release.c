/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* release.c - see release.h. */
#include "../base/family.h"
#include "../pool/channel.h"
#include "publish.h"
#include "release.h"

void lrp_core_release(struct lrp_core *core, uint32_t endpoint)
{
	struct lrp_endpoint_state *ep = &core->state->endpoint[endpoint];

	if (ep->use != LRP_ENDPOINT_USED)
		return;
	lrp_core_withdraw(core, endpoint);
	if (core->hooks.endpoint_released)
		core->hooks.endpoint_released(core, endpoint);
	ep->use = LRP_ENDPOINT_CLOSING;
	lrp_core_family_endpoint(core, endpoint, 0);
	core->closing++;
	if (!core->gather_at_ns)
		core->gather_at_ns = lrp_core_now_ns() + LRP_GATHER_MS * 1000000ull;
	for (uint32_t i = 0; i < LRP_MAX_POOLS_TOTAL; i++)
		if (lrp_core_pool_on(&core->pool[i]))
			lrp_core_channel_shut(core, &core->pool[i], endpoint);
}

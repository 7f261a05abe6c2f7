/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* index.c - see index.h. */
#include "fragment.h"
#include "index.h"

void lrp_core_index_add(struct lrp_core *core, uint32_t endpoint)
{
	uint32_t *head = &core->by_port[lrp_core_published(core, endpoint)->lport];

	core->next_on_port[endpoint] = *head;
	*head = endpoint;
	lrp_core_strays_wanted(core, lrp_core_published(core, endpoint), true);
}

void lrp_core_index_remove(struct lrp_core *core, uint32_t endpoint)
{
	uint32_t *at = &core->by_port[lrp_core_published(core, endpoint)->lport];

	while (*at && *at != endpoint)
		at = &core->next_on_port[*at];
	if (*at)
		*at = core->next_on_port[endpoint];
	lrp_core_strays_wanted(core, lrp_core_published(core, endpoint), false);
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* index.h - published sockets by local port, from struct lrp_core_state. */
#ifndef LRP_CORE_INDEX_H
#define LRP_CORE_INDEX_H

#include <string.h>

#include "../base/internal.h"

static inline struct lrp_published *lrp_core_published(struct lrp_core *core, uint32_t endpoint)
{
	return &core->state->endpoint[endpoint].pub;
}

static inline bool lrp_core_same_addr(const struct lrp_addr6 *a, const struct lrp_addr6 *b)
{
	return !memcmp(a, b, sizeof(*a));
}

/* The endpoint's socket has been published on its port, or is no longer. */
void lrp_core_index_add(struct lrp_core *core, uint32_t endpoint);
void lrp_core_index_remove(struct lrp_core *core, uint32_t endpoint);

/* `port` as in lrp_published.lport. The body may not remove `e`. */
#define for_each_on_port(core, port, e)                                                            \
	for (uint32_t e = (core)->by_port[port]; e; e = (core)->next_on_port[e])

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* channel.h - an endpoint's channels: one in each pool. 0 or -errno. */
#ifndef LRP_CORE_CHANNEL_H
#define LRP_CORE_CHANNEL_H

#include "../base/internal.h"

/* Makes the endpoint's channel in this pool, if it is not there, and opens it to XDP. */
int lrp_core_channel_open(struct lrp_core *core, struct lrp_core_pool *pool, uint32_t endpoint);
/* Shut to XDP; what is under way still arrives: a grace period follows. */
void lrp_core_channel_shut(struct lrp_core *core, struct lrp_core_pool *pool, uint32_t endpoint);
/* Last step of reclaiming: the record is free, the loan given back. */
void lrp_core_channel_free(struct lrp_core *core, struct lrp_core_pool *pool, uint32_t endpoint);
/* The fragment endpoint: one for all processes, its records in lrpd's own page. */
int lrp_core_fragment_endpoint(struct lrp_core *core, struct lrp_core_pool *pool);

/* Who may get sockets again that the owner has had: as socket_user in struct lrp_endpoint_state. */
uint32_t lrp_core_socket_user(const struct lrp_core *core, uint32_t owner);
/* Closes the endpoint's AF_XDP sockets in all pools. */
void lrp_core_sockets_close(struct lrp_core *core, uint32_t endpoint);

#endif

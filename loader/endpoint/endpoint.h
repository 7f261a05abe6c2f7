/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* endpoint.h - handing out endpoints. 0 or -errno. */
#ifndef LRP_CORE_ENDPOINT_H
#define LRP_CORE_ENDPOINT_H

#include "../base/internal.h"

int lrp_core_endpoints(struct lrp_core *core, struct lrp_core_client *client,
		       const struct lrp_request *request, struct lrp_reply *reply, int *out_fds,
		       int *out_count);
int lrp_core_adopt(struct lrp_core *core, struct lrp_core_client *client,
		   const struct lrp_request *request, struct lrp_reply *reply, int *out_fds,
		   int *out_count);
void lrp_core_user_gone(struct lrp_core *core, uint32_t uid); /* unless he has families left */
int lrp_core_limit(struct lrp_core *core, uint32_t endpoint, uint32_t limit);

#endif

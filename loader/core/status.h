/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* status.h - what there is, as JSON. */
#ifndef LRP_CORE_STATUS_H
#define LRP_CORE_STATUS_H

#include "../base/internal.h"

struct json_object *lrp_core_status(struct lrp_core *core);
struct json_object *lrp_core_channels(struct lrp_core *core);
int lrp_core_json_memfd(struct json_object *json, uint32_t *length); /* takes json */

#endif

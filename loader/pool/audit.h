/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* audit.h - is each frame of a pool in exactly one place? */
#ifndef LRP_CORE_AUDIT_H
#define LRP_CORE_AUDIT_H

#include "../base/internal.h"

struct json_object;

/* LRP_REQ_AUDIT. Takes 300 ms at most. */
struct json_object *lrp_core_audit(struct lrp_core *core);

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* quarantine.h - frames in doubt, and frames that go back. */
#ifndef LRP_CORE_QUARANTINE_H
#define LRP_CORE_QUARANTINE_H

#include "../base/internal.h"

void lrp_core_quarantine(struct lrp_core *core, struct lrp_core_pool *pool, uint32_t frame);
void lrp_core_quarantine_run(struct lrp_core *core);
void lrp_core_quarantine_adopt(struct lrp_core *core);
/* Back on the fill ring; at rest, if the ring is broken. */
bool lrp_core_frame_return(struct lrp_core_pool *pool, uint32_t frame);

#endif

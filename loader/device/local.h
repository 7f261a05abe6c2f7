/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* local.h - local addresses and devices, followed over rtnetlink. */
#ifndef LRP_CORE_LOCAL_H
#define LRP_CORE_LOCAL_H

#include "../base/internal.h"

int lrp_core_local_open(struct lrp_core *core);
void lrp_core_local_close(struct lrp_core *core);
void lrp_core_local_run(struct lrp_core *core);
/* Reads all and makes lrp_device, lrp_local4 and lrp_local6 agree; detaches devices that are
 * gone. 0 or -errno. */
int lrp_core_local_sync(struct lrp_core *core);

#endif

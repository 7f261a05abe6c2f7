/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* rebuild.h - making all entries of the demultiplexing maps agree with the published sockets. */
#ifndef LRP_CORE_REBUILD_H
#define LRP_CORE_REBUILD_H

#include "../base/internal.h"

int lrp_core_flows_index(struct lrp_core *core); /* once, when the state is there */
/* Maps := table, and what living owners wrote. */
void lrp_core_flows_rebuild(struct lrp_core *core);
void lrp_core_memberships_rebuild(struct lrp_core *core); /* devices came or went */

#endif

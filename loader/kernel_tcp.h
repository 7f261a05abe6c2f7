/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * kernel_tcp.h - TCP connections that the kernel has on ports of LRP: lrp_kernel4 and lrp_kernel6,
 * which XDP asks before it looks for entries of ours. The watcher follows them from the moment a
 * port is watched; what was there before, and what it cannot see, is read from sock_diag.
 */
#ifndef LRP_CORE_KERNEL_TCP_H
#define LRP_CORE_KERNEL_TCP_H

#include "internal.h"

/* All that the kernel has now on watched ports is in the maps when this returns. 0; -ENOSPC: there
 * was no room for all, and their ports are marked; or -errno: not all was seen. */
int lrp_core_kernel_sync(struct lrp_core *core);
/* Takes out what has ended. When to come again, 0: there is none. */
uint64_t lrp_core_kernel_run(struct lrp_core *core);

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * kernel_tcp.h - TCP connections that the kernel has on ports of LRP.
 *
 * They are in the maps lrp_kernel4 and lrp_kernel6. XDP looks there before it looks for entries of
 * LRP. The watcher writes these maps from the moment a port is watched. lrpd reads from sock_diag
 * the connections that were there before, and those that the watcher cannot see.
 */
#ifndef LRP_CORE_KERNEL_TCP_H
#define LRP_CORE_KERNEL_TCP_H

#include "../base/internal.h"

/* Writes all connections that the kernel has now on watched ports into the maps. 0; -ENOSPC: there
 * was no room for all, and the ports of the others are marked; or -errno: not all were seen. */
int lrp_core_kernel_sync(struct lrp_core *core);
/* Takes out connections that have ended. Returns when to call again; 0: there is none. */
uint64_t lrp_core_kernel_run(struct lrp_core *core);

#endif

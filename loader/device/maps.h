/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* maps.h - the BPF maps that this process has mapped, and the events of XDP. 0 or -errno. */
#ifndef LRP_CORE_MAPS_H
#define LRP_CORE_MAPS_H

#include "../base/internal.h"

/* The shared maps that are mmapable, and the ring of events. Again: nothing. */
int lrp_core_map_shared(struct lrp_core *core);
void lrp_core_unmap_shared(struct lrp_core *core);
/* The device's channels and pools. */
int lrp_core_map_device(struct lrp_core *core, struct lrp_core_device *device);

#endif

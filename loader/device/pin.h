/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* pin.h - pins for bpftool. Failures are logged and change nothing. */
#ifndef LRP_CORE_PIN_H
#define LRP_CORE_PIN_H

#include "../base/internal.h"

int lrp_core_pin_dir(struct lrp_core *core); /* finds or makes the directory */
void lrp_core_pin_clean(struct lrp_core *core);
void lrp_core_pin_shared(struct lrp_core *core);
void lrp_core_pin_device(struct lrp_core *core, struct lrp_core_device *device);
void lrp_core_unpin_device(struct lrp_core *core, struct lrp_core_device *device);

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* state.h - the core's tables in memory that the keeper holds. 0 or -errno. */
#ifndef LRP_CORE_STATE_H
#define LRP_CORE_STATE_H

#include "../base/internal.h"

int lrp_core_state_new(struct lrp_core *core, uint32_t endpoints);
/* From opts->kept; `error` gets a line (LRP_ERROR_SIZE). */
int lrp_core_state_take_over(struct lrp_core *core, char *error);
/* The read-only descriptor of the status page, for clients. */
int lrp_core_state_open_page(struct lrp_core *core);

#endif

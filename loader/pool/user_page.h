/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* user_page.h - pages of user records, which the families write. 0 or -errno. */
#ifndef LRP_CORE_USER_PAGE_H
#define LRP_CORE_USER_PAGE_H

#include "../base/internal.h"

int lrp_core_user_page_fd(struct lrp_core *core, uint32_t owner, uint32_t page);
int lrp_core_user_page_map(struct lrp_core *core, uint32_t page);
void lrp_core_user_pages_free(struct lrp_core *core, uint32_t owner);
void lrp_core_user_pages_adopt(struct lrp_core *core); /* after a takeover; devices are there */
/* A record of zeros for a channel. */
int lrp_core_user_slot_take(struct lrp_core *core, uint32_t owner, uint32_t *page, uint32_t *slot);
void lrp_core_user_slot_free(struct lrp_core *core, const struct lrp_channel *channel);
/* Its owner writes it: read each value once. NULL: it has none. */
struct lrp_user *lrp_core_user(struct lrp_core *core, const struct lrp_channel *channel);

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * family.h - what a process family may change by itself: its program [bpf/authority.bpf.c], the
 * endpoints that the program knows to be the family's, and the number of exact entries that its
 * user may have.
 */
#ifndef LRP_CORE_FAMILY_H
#define LRP_CORE_FAMILY_H

#include "internal.h"

/* A family has come (state->owner[owner] is filled in but for quota and
 * generation): 0 or -errno. */
int lrp_core_family_begin(struct lrp_core *core, uint32_t owner);
/* From now on its programs do nothing. */
void lrp_core_family_shut(struct lrp_core *core, uint32_t owner);
/* Its entries have been purged: its user's quota is given up with the last family. */
void lrp_core_family_end(struct lrp_core *core, uint32_t owner);
/* When the maps are there. */
void lrp_core_families_sync(struct lrp_core *core);

/* The family's program: a descriptor, the core's, or -errno. */
int lrp_core_family_program(struct lrp_core *core, uint32_t owner);
/* Whose endpoint it is, 0: nobody's. Taken away before a grace period and given to somebody
 * else after it. */
void lrp_core_family_endpoint(struct lrp_core *core, uint32_t endpoint, uint32_t owner);
#endif

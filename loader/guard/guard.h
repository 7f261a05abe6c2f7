/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * guard.h - early discard for kernel sockets on an interface [bpf/guard.h].
 *
 * lrpd holds the programs. They act without it: its work is to attach them, to look each second
 * whether something may change where packets go, and to tell what happened. When lrpd dies the
 * kernel takes the programs away; packets then end where they would have ended. The keeper has the
 * maps, so the next lrpd puts the guard back with its settings and counters.
 *
 * On an interface of LRP the guard has no link of its own: LRP's program calls it through
 * lrp_guard_next where it would pass a packet to the kernel.
 */
#ifndef LRP_CORE_GUARD_H
#define LRP_CORE_GUARD_H

#include "../base/internal.h"

struct lrp_core_guard; /* of one interface */

/* LRP_REQ_GUARD: on, changed, or off. 0 or -errno; a line in `text`, also if it succeeded. */
int lrp_core_guard(struct lrp_core *core, const struct lrp_guard_request *request, char *text);
/* LRP_REQ_GUARD_STATUS. NULL: out of memory. */
struct json_object *lrp_core_guard_status(struct lrp_core *core);

/* Before an interface is attached or detached: gives its hook free. Afterwards: takes its place
 * again, alone or behind LRP's program. */
void lrp_core_guard_yield(struct lrp_core *core, const char *ifname);
void lrp_core_guard_follow(struct lrp_core *core, const char *ifname);

/* When to call again in CLOCK_MONOTONIC ns; 0: no need. */
uint64_t lrp_core_guard_run(struct lrp_core *core);
void lrp_core_guard_close(struct lrp_core *core);
/* The keeper's descriptors; after a takeover: the guards again; to a new keeper. */
bool lrp_core_guard_kept(struct lrp_core *core, const struct lrp_core_kept *kept);
void lrp_core_guard_adopt(struct lrp_core *core);
void lrp_core_guard_store(struct lrp_core *core);

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* owner.h - process families: who they are, and what is done when somebody of them is gone. */
#ifndef LRP_CORE_OWNER_H
#define LRP_CORE_OWNER_H

#include "../base/client.h"

struct lrp_core;

int lrp_core_hello(struct lrp_core *core, struct lrp_core_client *client,
		   const struct lrp_request *request, struct lrp_reply *reply);
void lrp_core_owner_sync(struct lrp_core *core, __u32 owner); /* its record in lrp_owners */
/* Frees families that are gone. */
void lrp_core_owners_run(struct lrp_core *core);
/* Releases endpoints whose shadow is gone, when it is time to look. */
void lrp_core_sweep(struct lrp_core *core);

/* A process of the family has ended or closed its connection: endpoints whose shadow is gone are
 * reclaimed. `family_gone`: all of them. */
void lrp_core_client_gone(struct lrp_core *core, __u32 owner, bool family_gone);

/* A process of the family that runs under this uid. */
void lrp_core_member_joined(struct lrp_core *core, __u32 owner, uid_t uid);

/* Nobody has a connection of that process any more: the process is gone, and so are those that it
 * has forked since. Releases the endpoints that it got, unless they are published. */
void lrp_core_member_gone(struct lrp_core *core, __u32 owner, pid_t pid);

/* True if owner (of a client that was handed over) exists and belongs to uid. */
bool lrp_core_owner_valid(struct lrp_core *core, __u32 owner, uid_t uid);

/* After a new core took over: owners without a connection that were not claimed meanwhile. */
void lrp_core_reclaim_unclaimed(struct lrp_core *core, const bool *claimed);

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* sched_internal.h - what sched.c, helper.c and eager.c share. */
#ifndef LRP_SCHED_INTERNAL_H
#define LRP_SCHED_INTERNAL_H

#include "../sock/socket.h"
#include "drive.h"

/* The process's thread, helper or eager: its wait set, and what it is looking at just now. */
extern int lrp_sched_epfd;
extern _Atomic(struct lrp_view *) lrp_sched_hazard;

extern struct lrp_drive_ops lrp_drive_ops;

void *lrp_helper_main(void *ready); /* sem_t *: posted when it has its own descriptors */
void *lrp_eager_main(void *unused);

/* Announces that the thread looks at `l`; false: it must not (any more). */
static inline bool lrp_sched_enter(struct lrp_view *l)
{
	atomic_store(&lrp_sched_hazard, l);
	if (atomic_load(&l->helped))
		return true;
	atomic_store(&lrp_sched_hazard, NULL);
	return false;
}

/* Moves on. */
static inline void lrp_sched_leave(void)
{
	atomic_store(&lrp_sched_hazard, NULL);
}

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * sched.h - where and when input runs, if not in the receive call: the idle
 * helper (helper.c) or the eager thread (eager.c), one per process and never both.
 *
 * LRP_EAGER=1 chooses the eager thread, LRP_HELPER=0 turns the helper off.
 */
#ifndef LRP_SCHED_H
#define LRP_SCHED_H

#include <stdatomic.h>
#include <stdbool.h>

struct lrp_view;
struct lrp_endpoint;
struct lrp_rxq;

/* What those do whose sockets are driven; registered in a constructor. */
struct lrp_drive_ops {
	/* The eager thread has got a packet of the socket: takes what there is, or a part of it. */
	void (*drain)(struct lrp_view *l);
	/* Closes an endpoint and frees what is beside its channels. */
	void (*discard)(struct lrp_endpoint *ep, struct lrp_rxq *q);
};

void lrp_drive_register(const struct lrp_drive_ops *ops);

bool lrp_eager(void); /* LRP_EAGER=1 */

/*
 * The socket has channels now: they are to be watched. Called again after the
 * application's own wait set was made, since wake-ups go to who registered
 * first. Setup lock held.
 */
void lrp_sched_watch(struct lrp_view *l);

/*
 * The socket's channels are about to be unmapped or moved. Afterwards the
 * thread does not begin to look at them. Returns true if it is not just doing so either. If
 * it is (a helper that was preempted in the middle), the caller must not unmap
 * them, but may give them to lrp_sched_bury(). Never waits for the helper.
 */
bool lrp_sched_forget(struct lrp_view *l);

/* Takes over an endpoint and what is beside its channels: closes it when the helper has moved on,
 * which a later call of these functions finds out. lrpd has had it back long before: it asks the
 * kernel whether the shadow is alive. */
void lrp_sched_bury(struct lrp_endpoint *ep, struct lrp_rxq *q);

/* The helper found its CPU busy and sleeps until a receiver passes by. */
extern atomic_bool lrp_helper_parked;
void lrp_helper_unpark(void);

static inline void lrp_helper_pass(void)
{
	if (__builtin_expect(atomic_load_explicit(&lrp_helper_parked, memory_order_relaxed), 0))
		lrp_helper_unpark();
}

#endif

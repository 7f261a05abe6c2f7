/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * grace.h - RCU grace periods off the event loop.
 *
 * The core takes something away from XDP, or from a program that a client runs. Both read inside
 * one RCU read-side section. Before the core gives that thing to somebody else, it waits until
 * every section has ended that may have seen it. Such a grace period takes 10 to 30 ms, so a
 * thread of its own waits for it.
 *
 *     take it out of the maps;
 *     ticket = lrp_core_grace_ask(core);
 *     ... in a later lrp_core_run():
 *     if (lrp_core_grace_over(core, ticket))
 *             nobody sees it any more
 *
 * One grace period serves all tickets that were asked for before it began. When it is over,
 * lrp_core_fd() becomes readable, so that lrp_core_run() is called.
 *
 * Threads: as for the core, one at a time. The thread inside touches nothing of the core.
 */
#ifndef LRP_CORE_GRACE_H
#define LRP_CORE_GRACE_H

#include <stdbool.h>
#include <stdint.h>

struct lrp_core;

/* Needs core->epoll_fd. 0 or -errno. Close may be called without a successful open. */
int lrp_core_grace_open(struct lrp_core *core);
void lrp_core_grace_close(struct lrp_core *core);

/* The ticket of a grace period that has not begun yet; never 0. */
uint64_t lrp_core_grace_ask(struct lrp_core *core);
/* Have all read-side sections ended that ran when the ticket was asked for? True for ticket 0. */
bool lrp_core_grace_over(const struct lrp_core *core, uint64_t ticket);
/* Blocks until then, for 200 ms at most. Is it over? A task that is kept from running inside its
 * section, or a stopped virtual CPU, makes a grace period as long as it likes. */
bool lrp_core_grace_wait(struct lrp_core *core, uint64_t ticket);

#endif

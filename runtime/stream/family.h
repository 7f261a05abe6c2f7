/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * family.h - the processes that share an arena, and what one of them does for another that is dead.
 *
 * A process that is killed, or that ends by _exit(), says nothing. The kernel closes its
 * descriptors; its connections lie in the arena, where nobody would look at them again. So one
 * member of the family, the guardian, has a pidfd of each of the others in the set of its APP
 * thread. When a member dies, the guardian closes what that one alone held (orphan.c). The others
 * have a pidfd of the guardian: when that one dies, one of them takes its place.
 *
 * The family begins with the first fork() of a process that has a TCP socket. A member need not
 * have talked to lrpd, nor have made a call of ours. Somebody must be left whose APP thread runs.
 *
 * Threads: any. Only the APP thread calls lrp_family_event().
 */
#ifndef LRP_FAMILY_H
#define LRP_FAMILY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct lrp_hub;
struct lrp_sock;

/* All hubs that were ever made in this arena; they are type-stable. */
void lrp_family_add_hub(struct lrp_hub *hub);
void lrp_family_each_hub(void (*f)(struct lrp_hub *hub, void *arg), void *arg);

/* The APP thread of this process sleeps on this set from now on. Events whose data are odd are
 * lrp_family_event()'s. */
void lrp_family_attach(int epfd);
void lrp_family_event(uint64_t data);

/* The hub is locked, and not this process's: its own is to look at it, for sleepers and timers. */
void lrp_family_post(struct lrp_hub *hub);

/* Who closes what a dead process leaves behind. In a constructor. */
void lrp_family_on_death(void (*close_for)(pid_t pid, uint64_t start));

/* ---- fork.c, for kind.c ------------------------------------------------------ */

void lrp_stream_fork_register(void);

/* ---- orphan.c --------------------------------------------------------------- */

/* The process is dead: closes the connections and listeners that only it had, and gives back its
 * channels. May be called again. */
void lrp_orphans_close(pid_t pid, uint64_t start);

#endif

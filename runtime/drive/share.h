/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * share.h - the APP thread takes its CPU time out of its owner's [paper 3.4, design 5].
 *
 * The kernel schedules threads, so a process whose APP thread and whose owner can both run gets two
 * shares of a busy CPU. Who has no right to change weights (an unprivileged process could never raise
 * its nice value again) can only abstain: while others wait for the CPU as well and the owner
 * can run, APP does not, but for a small part of what the owner gets, so that acknowledgements do not
 * cease. When the owner blocks APP takes its place. On a CPU that nobody else wants there is no limit.
 *
 * What it needs to know the kernel tells in /proc; where that is not mounted there is no limit.
 * Called by the APP thread only.
 */
#ifndef LRP_SHARE_H
#define LRP_SHARE_H

#include <stdint.h>
#include <sys/types.h>

/* /proc/self/task/<tid>/<name>, in place of what *fd was open for, if not -1. */
void lrp_share_file(int *fd, pid_t tid, const char *name);
/* The owner is this thread of our process; again if it has ended. */
void lrp_share_open(pid_t owner);
/* Before segments are processed: 0, or for how long APP has to leave them where they are. */
int64_t lrp_share_wait_ns(void);

#endif

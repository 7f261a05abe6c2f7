/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * self.h - the pid of this process, without a system call. Right after fork, too; not in the child of
 * vfork() or of clone() past the C library, which has nothing of ours.
 *
 * Threads: any.
 */
#ifndef LRP_SELF_H
#define LRP_SELF_H

#include <sys/types.h>

pid_t lrp_self(void);

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * cgroup.h - the APP thread is in its owner's cgroup [design 5], as far as CPU time goes: version 2 with
 * threaded cgroups, or the `cpu` controller of version 1. A thread that may not be moved stays where it is.
 *
 * Threads: the APP thread's alone, but for lrp_cgroup_parse().
 */
#ifndef LRP_CGROUP_H
#define LRP_CGROUP_H

#include <stdbool.h>
#include <sys/types.h>

/* Room for "/sys/fs/cgroup", a controller, a path, and a file in it. */
#define LRP_CGROUP_PATH 1024

/* The file to which a thread's id is written to join the cgroup that rules over CPU time, by the text of
 * /proc/<pid>/task/<tid>/cgroup; false: none, or too long. */
bool lrp_cgroup_parse(const char *text, char path[LRP_CGROUP_PATH]);

/* The owner is this thread of our process; again if it has ended. */
void lrp_cgroup_open(pid_t owner);
/* Joins the owner's if it is another now. */
void lrp_cgroup_follow(void);

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * rundir.h - where lrpd of a network namespace is met: sockets in
 * LRP_RUN_DIR/<cookie of the network namespace>/, a directory that only root can write.
 *
 * The cookie (SO_NETNS_COOKIE) is never used again before the next boot, and
 * asking for it needs neither /proc nor a privilege. An abstract address could be held by any user;
 * a name in this directory cannot.
 *
 * Threads: any.
 */
#ifndef LRP_RUNDIR_H
#define LRP_RUNDIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LRP_RUNDIR_PATH 64 /* room for a path; fits a sockaddr_un */

/* The cookie of the network namespace in which fd (a socket) was made; fd < 0: of this thread.
 * 0 or -errno. */
int lrp_rundir_cookie(int fd, uint64_t *cookie);

/* The path of `file` in the directory of this network namespace; NULL: of the
 * directory. 0 or -errno. */
int lrp_rundir_path(char path[LRP_RUNDIR_PATH], const char *file);

/*
 * 0 if root made the directory and everything above it, and nobody else can write there.
 * -ENOENT: it is not there. -EPERM: it cannot be trusted.
 *
 * Inside a user namespace root's own uid is not mapped and shows as the overflow uid. There
 * a directory of the overflow uid counts as root's: "/" decides what this process runs
 * anyway, and only its owner can have put the next directory there.
 */
int lrp_rundir_trusted(void);

/*
 * Connects a SOCK_SEQPACKET socket to `file` there. flags: SOCK_NONBLOCK or 0. A
 * blocking connect waits two seconds at most. The descriptor, or:
 * -ENOENT, -ECONNREFUSED   nobody serves this network namespace
 * -EACCES                  this user is not admitted: see lrp_rundir_policy()
 * -EAGAIN                  more wait to be accepted than may
 * -EPERM                   what is there is not root's
 */
int lrp_rundir_connect(const char *file, int flags);

/* One line that says who is admitted and how one becomes admitted; "" if it cannot be read. */
void lrp_rundir_policy(char *text, size_t size);

/* Does this process run in a user namespace other than the first? False if /proc does not tell. */
bool lrp_rundir_in_userns(void);

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * admission.h - who may use LRP, and who may change it.
 *
 * Use: root, the users that the settings name, and members of the group that they
 * name; supplementary groups count. Change (attach, detach, stop, audit): processes with
 * CAP_NET_ADMIN in the user namespace that owns this network namespace, or in one above it. A uid
 * says nothing about that: root of a container is uid 0, too, and so is `unshare -U -r` of root.
 *
 * /proc shows the capabilities that a process has when somebody looks. Those it had when it sent a
 * request may have been fewer: exec of a setuid program keeps pid and pidfd. What the kernel
 * checked while the process ran cannot be changed later: TCP_REPAIR on a socket.
 */
#ifndef LRP_CORE_ADMISSION_H
#define LRP_CORE_ADMISSION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "conf.h"

struct lrp_admission {
	uint64_t netns_cookie;
	bool has_gid;
	gid_t gid;
	uid_t uid[LRP_CONF_UIDS];
	uint32_t uids;
	char text[512]; /* who is admitted and how one becomes admitted; one line */
};

/* Looks the group up. A group that does not exist admits nobody, and the text says so. */
int lrp_admission_init(struct lrp_admission *admission, const struct lrp_conf *conf);

/* The mode and the group that the control socket's file is to have. */
mode_t lrp_admission_mode(const struct lrp_admission *admission);

/* May the peer of this connection use LRP? */
bool lrp_admission_may_use(const struct lrp_admission *admission, int fd, const struct ucred *cred);

/* The process that made the peer's end; a descriptor or -errno. It names that process for ever. */
int lrp_admission_pidfd(int fd, const struct ucred *cred);

#define LRP_ADMISSION_NEEDS "needs CAP_NET_ADMIN over this network namespace: use sudo"

/* A socket that is to prove a capability later: the cookie of a TCP socket of this network
 * namespace that is not in repair mode. 0: fd is anything else. */
uint64_t lrp_admission_unproven(int fd);

/* Has somebody with CAP_NET_ADMIN over this network namespace set TCP_REPAIR on that socket since
 * then? fd may be anything. False for cookie 0. */
bool lrp_admission_proves(int fd, uint64_t cookie);

/* NULL: the process may now change what LRP does here. Else why not, a line for people. */
const char *lrp_admission_refuses(int pidfd);

#endif

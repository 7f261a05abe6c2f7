/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* guard_internal.h - between the files of the guard. */
#ifndef LRP_CORE_GUARD_INTERNAL_H
#define LRP_CORE_GUARD_INTERNAL_H

#include "../../bpf/guard_abi.h"
#include "guard.h"
#include "guard_probe.h"

enum lrp_guard_map {
	LRP_GUARD_MAP_CONFIG,
	LRP_GUARD_MAP_SOCKETS,
	LRP_GUARD_MAP_SIZES,
	LRP_GUARD_MAP_TARGETS,
	LRP_GUARD_MAP_REASONS,
	LRP_GUARD_MAPS
};

struct lrp_core_guard {
	struct lrp_core_guard *next;
	uint32_t ifindex; /* 0: only descriptors of the lrpd before, not adopted yet */
	char ifname[IFNAMSIZ];
	int map_fd[LRP_GUARD_MAPS]; /* the first ones are kept over lrpd's death */
	int prog_fd, link_fd;	    /* link_fd -1: called by LRP's program, or out of place */
	int next_fd;		    /* lrp_guard_next of LRP's program; it lives while we hold it */
	int fail_fd, ready_fd;	    /* the tracepoints' links */
	bool native;		    /* for which the program was loaded */
	char suspended[128];	    /* why everything passes; "" */
	struct lrp_guard_config *config; /* mapped */
};

extern const char *const lrp_guard_map_name[LRP_GUARD_MAPS];

/* guard_path.c: what may change where packets go between XDP and the socket. True: `why` names it. */
bool lrp_guard_diverted(const char *ifname, uint32_t ifindex, char *why, size_t size);

/* guard_owner.c: the sockets of this network namespace and who has them. */
struct lrp_guard_owner {
	uint64_t cookie;
	uint32_t inode;
	uint32_t pid; /* 0: not found */
	char comm[16];
	char cgroup[256];
	char unit[128]; /* of systemd; "" */
};
/* *owners is malloc'ed. UDP sockets and TCP listeners; gives each a cookie. 0 or -errno. */
int lrp_guard_sockets(struct lrp_guard_owner **owners, size_t *count, bool listeners_only);
/* Finds the processes of those with a cookie in the list; the others keep pid 0. */
void lrp_guard_owners(struct lrp_guard_owner *owners, size_t count);

#endif

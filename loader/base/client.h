/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* client.h - who asks the core, and what the core is made with. */
#ifndef LRP_CORE_CLIENT_H
#define LRP_CORE_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <lrp/control.h>

struct lrp_core_client { /* who asks; kept by the caller, one per connection */
	pid_t pid;
	uid_t uid;
	__u32 owner; /* set by LRP_REQ_HELLO */
	bool admin;  /* may change what LRP does in this network namespace: CAP_NET_ADMIN over it */
	const char *refusal; /* if not: why, a line for people */
};

/* A descriptor under the name that a keeper has it by. */
struct lrp_core_kept {
	char name[48];
	int fd;
};

/* Where descriptors are kept over the core's death; all NULL: nowhere. */
struct lrp_core_store {
	void *arg;
	void (*put)(void *arg, const char *name, int fd);
	void (*drop)(void *arg, const char *name);
};

struct lrp_core_opts {
	__u32 endpoints; /* 0: LRP_ENDPOINTS */
	/* What one uid other than 0 may have; 0: default. */
	__u32 max_channels_per_uid; /* endpoints */
	__u32 max_ring_mib_per_uid; /* memory of their rings */
	__u32 max_frames_per_uid;   /* slots of their rings on one queue */
	bool pin;		    /* pin maps and programs under /sys/fs/bpf/lrp/ */
	bool embedded;		    /* one family, rings mapped before bind (Linux 6.1) */
	struct lrp_core_store store;
	const struct lrp_core_kept *kept; /* descriptors of the core before us; taken over */
	size_t kept_count;
};

#endif

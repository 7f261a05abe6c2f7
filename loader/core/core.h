/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * core.h - what lrpd and an embedding process have in common: devices, UMEMs,
 * channels, flows, owners. It answers requests; how they arrive is the
 * caller's business.
 *
 * Threads: all calls on one core from one thread at a time.
 */
#ifndef LRP_CORE_H
#define LRP_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <lrp/control.h>

struct lrp_core;

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

/*
 * Can this core take over what a keeper has? Only reads, and maps nothing writable. -EPROTO and
 * a line in error: it is of a core that this one does not understand. Nothing of it may then
 * be touched: one that does understand it, or packets, need it.
 */
int lrp_core_state_check(const struct lrp_core_kept *kept, size_t count, char *error,
			 size_t error_size);

struct lrp_core *lrp_core_new(const struct lrp_core_opts *opts, char *error, size_t error_size);
/* Takes the program off all interfaces: all traffic is the kernel's at once. What is left, closing
 * thousands of AF_XDP sockets, can take seconds: lrp_core_free(). */
void lrp_core_silence(struct lrp_core *core);
/* Detaches everything and frees. */
void lrp_core_free(struct lrp_core *core);

/*
 * Answers one request. in_fds: descriptors that came with it (borrowed).
 * out_fds: room for LRP_CONTROL_MAX_FDS; descriptors to send. out_owned[i]: the
 * caller closes out_fds[i]; else it is borrowed from the core until the next call. reply->fds =
 * *out_count. Never blocks for longer than a close of an AF_XDP socket, but
 * for ATTACH and DETACH.
 */
void lrp_core_request(struct lrp_core *core, struct lrp_core_client *client,
		      const struct lrp_request *request, const int *in_fds, int in_count,
		      struct lrp_reply *reply, int *out_fds, bool *out_owned, int *out_count);

/* What does not depend on the core's state: magic, version, length, type, counts, strings, number
 * of descriptors. 0 or -errno. */
int lrp_core_check_request(const void *message, size_t length, int fd_count);

/* A process of the family has ended or closed its connection: endpoints whose shadow is gone are
 * reclaimed. `family_gone`: all of them. */
void lrp_core_client_gone(struct lrp_core *core, __u32 owner, bool family_gone);

/* A process of the family that runs under this uid. */
void lrp_core_member_joined(struct lrp_core *core, __u32 owner, uid_t uid);

/* Nobody has a connection of that process any more, so it is gone, and so are those that it forked since:
 * endpoints that it got, unless they are published, and the exact entries that lead to them. */
void lrp_core_member_gone(struct lrp_core *core, __u32 owner, pid_t pid);

/* Descriptor to poll for netlink and fragment events, and what to call when it
 * is readable or after `timeout_ms` (returned; -1: none). */
int lrp_core_fd(struct lrp_core *core);
int lrp_core_run(struct lrp_core *core);

/* Gives all descriptors to the store again: it is a new one and empty. */
void lrp_core_store_all(struct lrp_core *core);

/* True if owner (of a client that was handed over) exists and belongs to uid. */
bool lrp_core_owner_valid(struct lrp_core *core, __u32 owner, uid_t uid);

/* After a new core took over: owners without a connection that were not claimed meanwhile. */
void lrp_core_reclaim_unclaimed(struct lrp_core *core, const bool *claimed);

/*
 * Embedded only: the rings as this process has them mapped already, since
 * Linux before 6.6 does not map rings of a bound socket. NULL: map them
 * yourself. Valid until the device is detached; do not unmap.
 */
void *lrp_core_rx_ring(struct lrp_core *core, __u32 pool, __u32 endpoint, size_t *size);
void *lrp_core_fill_ring(struct lrp_core *core, __u32 pool, size_t *size);

#endif

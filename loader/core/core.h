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

#include "../base/client.h"
#include "../device/park.h"
#include "../endpoint/owner.h"

struct lrp_core;

/*
 * Can this core take over what a keeper has? Only reads, and maps nothing writable. -EPROTO and
 * a line in error: it is of a core that this one does not understand. Nothing of it may then
 * be touched: one that does understand it, or packets, need it.
 */
int lrp_core_state_check(const struct lrp_core_kept *kept, size_t count, char *error,
			 size_t error_size);

struct lrp_core *lrp_core_new(const struct lrp_core_opts *opts, char *error, size_t error_size);
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

/* Descriptor to poll for netlink and fragment events, and what to call when it
 * is readable or after `timeout_ms` (returned; -1: none). */
int lrp_core_fd(struct lrp_core *core);
int lrp_core_run(struct lrp_core *core);

/* Gives all descriptors to the store again: it is a new one and empty. */
void lrp_core_store_all(struct lrp_core *core);

/*
 * Embedded only: the rings as this process has them mapped already, since
 * Linux before 6.6 does not map rings of a bound socket. NULL: map them
 * yourself. Valid until the device is detached; do not unmap.
 */
void *lrp_core_rx_ring(struct lrp_core *core, __u32 pool, __u32 endpoint, size_t *size);
void *lrp_core_fill_ring(struct lrp_core *core, __u32 pool, size_t *size);

#endif

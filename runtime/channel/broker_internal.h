/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * broker_internal.h - between broker.c, which knows what to ask for, and the two
 * that know whom: broker_remote.c (lrpd) and broker_embed.c (the core in this
 * process).
 *
 * All functions here are called with the broker's mutex held.
 */
#ifndef LRP_BROKER_INTERNAL_H
#define LRP_BROKER_INTERNAL_H

#include "broker.h"

struct lrp_broker_source {
	/*
	 * One request, one reply. fds: room for LRP_CONTROL_MAX_FDS, the caller's to close.
	 * Returns 0 or -errno of the transport; the answer's own error is in reply->error.
	 */
	int (*call)(struct lrp_request *request, const int *in_fds, int in_count,
		    struct lrp_reply *reply, int *fds, int *count);
	/* Rings that are mapped already, for kernels that map none of a bound socket. NULL: none. */
	void *(*rx_ring)(uint32_t pool, uint32_t endpoint);
	void *(*fill_ring)(uint32_t pool);
};

/* lrpd. call() connects anew when it must; ESTALE: we became another owner by that, and the
 * request was not sent again. */
extern const struct lrp_broker_source lrp_broker_remote;
int lrp_broker_remote_connect(void);
void lrp_broker_remote_forked(void); /* in the child: the connection is the parent's */

/* This process. */
extern const struct lrp_broker_source lrp_broker_embedded;
int lrp_broker_embed_start(const char *ifname, uint32_t mode, uint32_t frames, uint32_t frame_size,
			   char *error, size_t error_size);
bool lrp_broker_embed_running(void);
/* Unlocks the mutex while it waits for the service thread. */
void lrp_broker_embed_stop(void);

/* The family's identity, as the last HELLO gave it; zeros: none. */
extern uint32_t lrp_broker_owner;
extern uint64_t lrp_broker_token;
/* Changes when we became another owner: endpoints of the one before are nobody's. */
extern uint32_t lrp_broker_incarnation;
/* Takes over a HELLO's reply and the status page's descriptor, which it closes. `fresh`: not the
 * owner that we were, so all that we had is gone. 0 or -errno. */
int lrp_broker_hello(const struct lrp_reply *reply, int page_fd, bool fresh);

void lrp_broker_lock(void);
void lrp_broker_unlock(void);

void lrp_broker_close_fds(int *fds, int count);

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * broker_internal.h - between broker.c, through which all is asked for, those who know what to
 * ask (endpoint.c, mapping.c) and the two that know whom: broker_remote.c (lrpd) and
 * embedded.c (the core in this process).
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

enum lrp_broker_mode {
	BROKER_NONE,
	BROKER_REMOTE,
	BROKER_EMBEDDED,
	BROKER_ORPHAN, /* child of an embedding process: uses what it inherited, gets nothing new */
};

extern enum lrp_broker_mode lrp_broker_mode;
extern const struct lrp_broker_source *lrp_broker_source;

bool lrp_broker_connected(void); /* tries to */
/* 0, or -errno of transport or answer. fds: as in struct lrp_broker_source. */
int lrp_broker_call(struct lrp_request *request, const int *in_fds, int in_count,
		    struct lrp_reply *reply, int *fds, int *count);
/* A request that has no descriptor in its answer. */
int lrp_broker_call_plain(struct lrp_request *request, const int *in_fds, int in_count,
			  struct lrp_reply *reply);

/* ---- mapping.c ---------------------------------------------------------- */

/* Makes a channel of what lrpd said about it; fd becomes its own if that succeeds. 0 or -errno. */
int lrp_mapping_open(struct lrp_chan *chan, const struct lrp_channel_info *info, uint32_t endpoint,
		     int fd, uint32_t ring_size, uint32_t limit);
/* settle: what was taken is returned first. */
void lrp_mapping_close(struct lrp_chan *chan, bool settle);
void lrp_mapping_close_all(struct lrp_chan *chan, uint32_t count, bool settle);
bool lrp_mapping_gone(const struct lrp_chan *chan); /* lrpd no longer has its pool */
void lrp_mapping_sweep(void);	     /* unmaps what lrpd no longer has and nothing here lies in */
void lrp_mapping_forget_users(void); /* records stay mapped under the channels that use them */
uint32_t lrp_mapping_count(void);    /* channels that are mapped */
/* Channels whose rings are the core's mappings: they must not outlive it. */
uint32_t lrp_mapping_borrowed(void);

/* ---- endpoint.c --------------------------------------------------------- */

void lrp_stock_drop(void);   /* gives back what nobody has taken */
void lrp_stock_forked(void); /* in the child: the stock is the parent's */
void lrp_fragments_close(void);

/* ---- the two sources: lrpd, here, and the embedded core, in embedded.h ------- */

/* lrpd. call() connects anew when it must; ESTALE: we became another owner by that, and the
 * request was not sent again. */
extern const struct lrp_broker_source lrp_broker_remote;
int lrp_broker_remote_connect(void);
int lrp_broker_remote_fd(void);	     /* the connection; -1: none */
void lrp_broker_remote_forked(void); /* in the child: the connection is the parent's */

/* The family, as the last HELLO gave it; 0: none. What proves it is broker_remote.c's. */
extern uint32_t lrp_broker_owner;
/* Changes when we became another owner: endpoints of the one before are nobody's. */
extern uint32_t lrp_broker_incarnation;
/* Takes over a HELLO's reply and the status page's descriptor, which it closes. `fresh`: not the
 * owner that we were, so all that we had is gone. 0 or -errno. */
int lrp_broker_hello(const struct lrp_reply *reply, int page_fd, bool fresh);

void lrp_broker_lock(void);
void lrp_broker_unlock(void);

void lrp_broker_close_fds(int *fds, int count);

#endif

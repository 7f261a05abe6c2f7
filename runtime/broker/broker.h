/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * broker.h - where channels come from: lrpd over its control socket, or, in
 * embedded mode, the same code in this process. One request, one reply
 * [control.h]; what is behind makes no difference to the caller.
 *
 * A process without lrpd and not embedded has no broker: lrp_broker_ready()
 * is false and sockets are served by their shadows alone.
 *
 * Threads: all functions may be called from any thread (one mutex inside, off
 * the data path). After fork the child gets its own connection at its first
 * request.
 */
#ifndef LRP_BROKER_H
#define LRP_BROKER_H

#include <stdbool.h>
#include <stdint.h>

#include <lrp/abi.h>
#include <lrp/control.h>

#include "../ring/channel.h"

#define LRP_MAX_POOLS	  (LRP_MAX_DEVICES * 4u)
#define LRP_ENDPOINT_NONE UINT32_MAX

/* One endpoint of this process: its channels, one per pool. */
struct lrp_endpoint {
	uint32_t id; /* LRP_ENDPOINT_NONE: none */
	uint32_t channels;
	uint32_t pools_epoch; /* status page's value when it was made or refreshed */
	uint32_t incarnation; /* of the family with lrpd; the broker's */
	uint32_t ring_size;
	uint32_t limit;
	struct lrp_chan *chan; /* array of `channels`, owned by the endpoint */
};

bool lrp_broker_ready(void);	    /* connects on first use */
bool lrp_broker_ready_or_say(void); /* the same; if not, a line on stderr, once */
bool lrp_broker_has_fd(int fd);	    /* is it a connection to lrpd? Mutex or a single thread */
const volatile struct lrp_status_page *lrp_broker_status(void); /* zeros while there is none */

/*
 * Makes an endpoint with rings of at least `ring_size` slots (0: default) and a
 * ceiling of `limit` frames. 0 or -errno: ENOBUFS (guarantees would exceed the
 * UMEM), EMFILE, EDQUOT, ENETDOWN (nothing attached: not an error for sockets).
 * `alloc` and `free` place the channel array (the arena, for sockets that are shared over
 * fork).
 */
struct lrp_allocator {
	void *(*alloc)(size_t size);
	void (*free)(void *p, size_t size);
};
int lrp_endpoint_open(struct lrp_endpoint *ep, uint32_t ring_size, uint32_t limit,
		      const struct lrp_allocator *allocator);
/* Up to `count` with one request, for whoever keeps some ready; `guarantee` in frames, 0: default. How
 * many, or -errno. */
int lrp_endpoint_batch(struct lrp_endpoint *ep, uint32_t count, uint32_t ring_size, uint32_t limit,
		       uint32_t guarantee, const struct lrp_allocator *allocator);
/* False: pools have come or gone since, or lrpd was replaced. Asks nobody. */
bool lrp_endpoint_current(const struct lrp_endpoint *ep);
/* This process has no more use for its mappings and descriptors; another goes on with them. */
void lrp_endpoint_leave(const struct lrp_endpoint *ep);
/* After pools_epoch changed: takes channels on new pools, closes those of pools that went. The array
 * may be replaced. When lrpd itself was replaced by one that does not know us, it is another endpoint
 * afterwards. The caller publishes again. 0, or -errno of what could not be had; ep is sound in any case. */
int lrp_endpoint_refresh(struct lrp_endpoint *ep, const struct lrp_allocator *allocator);
/* True if a channel that a refresh would close still has packets: they came before whatever comes
 * now, and there will be no more of them. */
bool lrp_endpoint_leftover(const struct lrp_endpoint *ep);
/* Makes demultiplexing agree with the shadow socket: its local and peer address. 0 or -errno. */
/* ESTALE, here and below: the lrpd that made the endpoint is gone for good; refresh. */
int lrp_endpoint_publish(struct lrp_endpoint *ep, int shadow_fd,
			 const struct lrp_membership_request *memberships, uint32_t count);
int lrp_endpoint_withdraw(struct lrp_endpoint *ep);
int lrp_endpoint_limit(struct lrp_endpoint *ep, uint32_t limit); /* actual limit or -errno */
/* Returns all frames, unmaps, closes, frees the array, and tells lrpd that this process has let go
 * of it. The last process that has it calls this, after it closed the shadow, so that the port is
 * nobody's when the call returns. */
void lrp_endpoint_close(struct lrp_endpoint *ep, const struct lrp_allocator *allocator);
/* The same of an endpoint that a process of the family had, which is dead: nothing of it
 * is mapped here. */
void lrp_endpoint_abandon(struct lrp_endpoint *ep, const struct lrp_allocator *allocator);
/* Tells lrpd only: this process has closed its shadow, others may still have theirs. */
void lrp_endpoint_released(uint32_t id);

/*
 * Exact entries of TCP connections [abi.h: struct lrp_flow_call], which the process changes through
 * its family's program.
 *
 * lrp_flows_open() asks lrpd for the program; 0 or -errno. The others ask nobody and wait for
 * nobody; any thread, no lock. 0, or -errno of the program, or ENETDOWN: without the program, or
 * the endpoint is not of the lrpd that it is of; EPERM also: a filter of system calls forbids
 * bpf(). Addresses: struct in_addr or in6_addr.
 */
struct lrp_flow_name {
	int family;
	const void *laddr, *raddr;
	__be16 lport, rport;
};
int lrp_flows_open(void);
/* The four-tuple is the family's; XDP does not look at the entry before lrp_flow_set_bound().
 * EEXIST: it is another's. */
int lrp_flow_reserve(const struct lrp_flow_name *name, const struct lrp_endpoint *ep);
/* XDP finds it. Also for an entry that the family has already. */
int lrp_flow_set(const struct lrp_flow_name *name, const struct lrp_endpoint *ep);
/* The same with a socket that is bound to the local end: the family has the end
 * while that is open. */
int lrp_flow_set_bound(const struct lrp_flow_name *name, const struct lrp_endpoint *ep, int shadow);
void lrp_flow_clear(const struct lrp_flow_name *name);
/*
 * These sockets are bound: the family may make exact entries on their ends while one of them lives.
 * `keep`: they are going to be closed, and the ends are the family's again with each socket that it
 * binds there. 0 or -errno.
 */
int lrp_flows_claim(const int *shadow_fds, uint32_t count, bool keep);

/*
 * A descriptor to send frames through to an attached device, for a process without CAP_NET_RAW
 * [tx/tap.h]; the caller's. -errno: ENODEV (not attached), EDQUOT, EOPNOTSUPP, ENETDOWN (no lrpd).
 */
int lrp_broker_tx(uint32_t ifindex);

/*
 * The fragment endpoint's channels of all pools, for reassembly. NULL: none. The
 * core is the consumer of these rings; others only read descriptors and claim frames
 * [abi.h: struct lrp_frame]. Good until the next call from this process that sees other pools.
 */
struct lrp_endpoint *lrp_broker_fragments(void);

/* Attaches an interface in this process; once per interface. 0 or -errno, and one line in `error`:
 * what failed, on what, and the way out. A process that uses lrpd already: EBUSY. */
int lrp_broker_embed(const char *ifname, uint32_t mode, uint32_t frames, uint32_t frame_size,
		     char *error, size_t error_size);
void lrp_broker_embed_close(void);
/* Called by it first: whoever keeps endpoints ready gives them back. NULL: nobody. */
extern void (*lrp_broker_closing)(void);

#endif

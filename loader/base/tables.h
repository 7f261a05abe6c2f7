/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tables.h - the core's state that outlives lrpd: a memfd that the keeper holds.
 *
 * These are plain tables without pointers, so that a new lrpd goes on where the old one
 * stopped, at whatever instruction that was. The demultiplexing maps are always
 * computed from these tables, never read back: a half-done update is
 * mended by doing it again. An lrpd of another build maps the same bytes: every change of a layout
 * is a new LRP_CORE_STATE_VERSION.
 */
#ifndef LRP_CORE_TABLES_H
#define LRP_CORE_TABLES_H

#include <stddef.h>

#include <lrp/control.h>

#include "../../bpf/authority.h"

#define LRP_CORE_STATE_VERSION 7u
#define LRP_MAX_POOLS_TOTAL    (LRP_MAX_DEVICES * 4u) /* as in struct lrp_status_page */
#define LRP_MEMBERSHIPS_MAX    16u
#define LRP_FRAGMENT_RING      1024u
#define LRP_QUARANTINE	       256u
#define LRP_NO_POOL	       UINT32_MAX
#define LRP_CLAIMS	       16384u /* bound TCP sockets of connections, see LRP_REQ_CLAIM */

enum lrp_endpoint_use {
	LRP_ENDPOINT_FREE,
	LRP_ENDPOINT_USED,
	LRP_ENDPOINT_CLOSING, /* no longer in the maps; rings to be drained */
};

/* What a shadow is bound and connected to. Addresses of IPv4 are ::ffff:a.b.c.d. */
struct lrp_published {
	__u32 on;	/* last to be written, first to be cleared */
	__u32 sequence; /* of two sockets on one port the later one receives */
	__u64 cookie;	/* SO_COOKIE: the socket's identity, never reused */
	struct lrp_addr6 laddr, raddr;
	__be16 lport, rport;
	__u8 proto;
	__u8 v4, v6; /* families that it receives */
	__u8 wildcard;
	__u8 connected;
	__u8 reuseport;
	__u8 listens; /* TCP */
	__u8 left;    /* it has left this address: the kernel's, until it is published again */
	__u32 end[2]; /* TCP: index into lrp_ends, of IPv4 and IPv6; 0: none */
	__u32 membership_count;
	struct lrp_membership_request membership[LRP_MEMBERSHIPS_MAX];
};

struct lrp_endpoint_state {
	__u32 use; /* enum lrp_endpoint_use */
	__u32 owner;
	__u32 ring_size; /* of its sockets; kept when it is free, so that they can be recycled */
	__u32 limit;
	__u32 guarantee;
	__u32 generation;
	__u32 missing;	   /* looks in a row that did not find its shadow */
	__u32 pid;	   /* who asked for it */
	__u32 socket_user; /* uid + 1 of the one user who has had its sockets; 0: nobody */
	struct lrp_published pub;
};

struct lrp_owner_state {
	__u32 used;
	__u32 uid;
	__u32 pid; /* the family's first process */
	__u32 endpoints;
	__u32 gone;  /* the whole family; its endpoints are being reclaimed */
	__u32 quota; /* of its user: index into lrp_quotas */
	__u32 mixed; /* members run under several uids */
	__u32 pad;
	__u64 token[2];
	__u64 generation; /* as in lrp_families */
	__u64 start_time;
	char comm[16];
};

struct lrp_pool_state {
	__u32 used; /* generation, as on the status page */
	__u32 device;
	__u32 queue;
	__u32 frames;
	__u32 frame_size;
	__u32 fill_size;
	__u32 reserve;	   /* frames that are never lent: the kernel's and the driver's */
	__u32 circulating; /* the first so many frames are, or rest; the others were never needed */
	__u32 zerocopy;
	__u32 sg;
	__u32 quarantined;
	struct { /* frames whose holder died while it returned them */
		__u32 frame;
		__u32 misses;	   /* audits that found it nowhere */
		__u32 at_producer; /* fill ring's producer at the last of them */
	} quarantine[LRP_QUARANTINE];
};

struct lrp_device_state {
	__u32 used;
	__u32 ifindex;
	char ifname[IFNAMSIZ];
	__u32 mode; /* LRP_MODE_NATIVE or LRP_MODE_SKB */
	__u32 libxdp;
	__u32 parked; /* detached, but sockets still have its channels: see lrp_core_detach() */
	__u32 frames; /* of each pool */
	__u32 queues;
	__u32 mtu;
	__u32 virtual_device;
	__u32 frame_payload;
	__u64 program; /* lrp_core_xdp_hash() of what is attached */
	__u32 pool[LRP_MAX_QUEUES];
};

struct lrp_group_state {
	__u32 used;
	__u8 ipv6;
	__u8 proto;
	__be16 port;
	struct lrp_addr6 addr; /* of the bind; zeros: wildcard */
};

enum lrp_end_use {
	LRP_END_FREE,
	LRP_END_USED,
	/* nobody's; a grace period, then entries that were made under it are purged */
	LRP_END_RETIRING,
	LRP_END_RETIRING_NEXT, /* the same, but of the grace period after the one that is awaited */
	LRP_END_RETIRED,       /* they are; sockets that it was taken away from name it still */
};

/* What lrp_ends does not say, since the watcher writes there. */
struct lrp_end_state {
	__u32 use; /* enum lrp_end_use */
	__u32 owner;
	struct lrp_addr6 addr; /* zeros: wildcard */
	__be16 port;
	__u8 v6;
	__u8 kept; /* the family's also while it has no socket there: see LRP_CLAIM_KEEP */
	__u32 pad;
	__u64 idle_ns; /* kept: no socket was there since; 0: there is one */
};

/* A bound TCP socket that a process named because it has connections on its port. */
struct lrp_claim_state {
	__u64 cookie; /* 0: unused */
	__u32 owner;
	__u32 pad;
};

struct lrp_quota_state {
	__u32 used; /* families */
	__u32 uid;
};

/* A proxy as it was set, and the process that serves it. */
struct lrp_proxy_state {
	__u32 on;
	__u32 pid; /* 0: none */
	__u64 start_time;
	__s32 nice;
	__u32 limit;
	__u32 restarts;
	__u32 ports;
	__u16 port[LRP_PROXY_PORTS];
	char cgroup[LRP_PROXY_CGROUP]; /* "": its own */
};

struct lrp_core_state {
	__u32 magic;
	__u32 version;
	__u32 endpoints;
	__u32 quota;
	__u32 sequence;
	__u32 generation;
	__u64 family_generation;
	__u32 connections; /* exact entries that a user other than root may have */
	__u32 pad;
	struct lrp_owner_state owner[LRP_OWNERS];
	struct lrp_device_state device[LRP_MAX_DEVICES];
	struct lrp_pool_state pool[LRP_MAX_POOLS_TOTAL];
	struct lrp_group_state group[LRP_GROUPS];
	__u32 page_owner[LRP_USER_PAGES]; /* owner + 1; 0: no page */
	struct lrp_end_state end[LRP_ENDS];
	struct lrp_claim_state claim[LRP_CLAIMS];
	struct lrp_quota_state quota_of[LRP_QUOTAS]; /* by lrp_quotas */
	struct lrp_proxy_state proxy[LRP_PROXY_COUNT];
	struct lrp_endpoint_state endpoint[]; /* `endpoints` of them */
};

_Static_assert(sizeof(struct lrp_published) == 392, "layout");
_Static_assert(sizeof(struct lrp_endpoint_state) == 432, "layout");
_Static_assert(sizeof(struct lrp_owner_state) == 80, "layout");
_Static_assert(sizeof(struct lrp_pool_state) == 3116, "layout");
_Static_assert(sizeof(struct lrp_device_state) == 320, "layout");
_Static_assert(sizeof(struct lrp_group_state) == 24, "layout");
_Static_assert(sizeof(struct lrp_end_state) == 40, "layout");
_Static_assert(sizeof(struct lrp_claim_state) == 16, "layout");
_Static_assert(sizeof(struct lrp_quota_state) == 8, "layout");
_Static_assert(offsetof(struct lrp_core_state, owner) == 40, "layout");
_Static_assert(offsetof(struct lrp_core_state, device) == 81960, "layout");
_Static_assert(offsetof(struct lrp_core_state, pool) == 87080, "layout");
_Static_assert(offsetof(struct lrp_core_state, group) == 286504, "layout");
_Static_assert(offsetof(struct lrp_core_state, page_owner) == 311080, "layout");
_Static_assert(offsetof(struct lrp_core_state, end) == 315176, "layout");
_Static_assert(offsetof(struct lrp_core_state, claim) == 1625896, "layout");
_Static_assert(offsetof(struct lrp_core_state, quota_of) == 1888040, "layout");
_Static_assert(sizeof(struct lrp_proxy_state) == 320, "layout");
_Static_assert(offsetof(struct lrp_core_state, proxy) == 1896232, "layout");
_Static_assert(offsetof(struct lrp_core_state, endpoint) == 1897512, "layout");

#endif

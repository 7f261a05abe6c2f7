/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * control.h - messages between lrpd and its clients.
 *
 * Transport: SOCK_SEQPACKET on LRP_RUN_DIR/<network namespace's cookie>/LRP_CONTROL_FILE, a
 * directory that only root can write; the client checks that [runtime/base/rundir.h].
 * LRP_ADMIN_FILE beside it is the same for root alone, so that nobody else's connections keep
 * root out. One request, one reply, in order, on one connection per process. A
 * request is a struct lrp_request, descriptors in SCM_RIGHTS.
 *
 * Requests are idempotent: after a timeout or a reconnect the client sends them again. If it sends
 * a request again on the same connection, it adds LRP_REQ_AGAIN to the type. lrpd does not execute
 * such a request if it has answered that id on that connection.
 *
 * A client that is not admitted gets one reply with id 0, error and text. Then lrpd closes the
 * connection. A client beyond the limit of connections gets the same.
 *
 * Requests that change the host (attach, detach, stop, audit) need CAP_NET_ADMIN over the network
 * namespace. A process that is not root proves that it has the capability:
 *   1. LRP_REQ_PROVE shows lrpd a TCP socket of this network namespace.
 *   2. The process sets TCP_REPAIR on that socket. The kernel checks the capability in this call.
 *   3. The request carries the socket.
 * A proof is good for the next such request on its connection.
 *
 * lrpd is never asked for anything per packet or per connection. The processes make the exact
 * entries of TCP connections themselves, through their family's program.
 *
 * A process family: the process that said LRP_REQ_HELLO first and what it
 * forked. The first process's connection is inherited by the children; it is the
 * family's lifeline. A child makes a socket pair and hands lrpd one end of it in
 * LRP_REQ_MEMBER over the lifeline. The pair is the child's own connection, of the same family.
 * This works wherever the child is by then (chroot, another uid, other namespaces).
 *
 * If the lifeline is gone, the child connects to the socket in LRP_RUN_DIR. Its hello carries the
 * family's owner id. lrpd checks `token`: 128 bits that lrpd made and that only the family's
 * processes have. It checks the uid, too, unless the family is root's: its members may drop root.
 */
#ifndef LRP_CONTROL_H
#define LRP_CONTROL_H

#include <linux/if.h>
#include <linux/in6.h>
#include <linux/types.h>

#include <lrp/abi.h>

#define LRP_RUN_DIR	       "/run/lrp"
#define LRP_CONTROL_FILE       "control"
#define LRP_ADMIN_FILE	       "admin"	/* root only */
#define LRP_KEEPER_FILE	       "keeper" /* lrpd to keeper only */
#define LRP_POLICY_FILE	       "policy" /* one line of text: who is admitted, and how */
#define LRP_CONTROL_MAX_BATCH  64	/* endpoints in one reply */
#define LRP_CONTROL_MAX_FDS    250
#define LRP_CONTROL_TIMEOUT_MS 2000

enum lrp_request_type {
	LRP_REQ_HELLO = 1, /* -> reply.hello, fd: status page (read-only memfd) */
	LRP_REQ_POOL, /* pool index -> reply.pool, fds: UMEM memfd, lrp_channels (to read; may be missing) */
	LRP_REQ_USER_PAGE, /* -> reply.user_page, fd: inner map to mmap */
	LRP_REQ_ENDPOINTS, /* count, ring_size -> reply.endpoints, fds: one AF_XDP socket per channel */
	LRP_REQ_ADOPT, /* endpoint, pool -> as ENDPOINTS, for a pool attached after the endpoint was made */
	LRP_REQ_PUBLISH, /* endpoint, fd: shadow -> make demultiplexing agree with the shadow */
	LRP_REQ_LIMIT,	 /* endpoint, limit -> reply.limit */
	LRP_REQ_RELEASE, /* endpoint: this process closed its shadow */
	/* for the command; the reply's text comes in a memfd as JSON */
	LRP_REQ_ATTACH, /* [fd: proof]. CAP_NET_ADMIN over the network namespace */
	LRP_REQ_DETACH, /* as ATTACH */
	LRP_REQ_STATUS,
	LRP_REQ_CHANNELS,
	LRP_REQ_AUDIT, /* as ATTACH */
	LRP_REQ_STOP,  /* as ATTACH; detaches everything, ends lrpd and keeper */
	LRP_REQ_TX,    /* ifindex of an attached device -> fd: a TAP queue to send through */
	/* -> fd: the family's program, for the entries of TCP connections [abi.h: lrp_flow_call] */
	LRP_REQ_FLOWS,
	/* fds: bound TCP sockets: the family may make entries of connections on their ports */
	LRP_REQ_CLAIM,
	LRP_REQ_PROVE,	      /* fd: a TCP socket without TCP_REPAIR, for a proof */
	LRP_REQ_PROXIES,      /* the list, as STATUS */
	LRP_REQ_PROXY_SET,    /* as ATTACH */
	LRP_REQ_PROXY_SERVE,  /* from a proxy: the endpoints that it serves */
	LRP_REQ_GUARD,	      /* as ATTACH; early discard for kernel sockets */
	LRP_REQ_GUARD_STATUS, /* as AUDIT */
	/* fd: one end of a SOCK_SEQPACKET pair, a connection of the family. No reply */
	LRP_REQ_MEMBER = 64,
	LRP_REQ_AGAIN = 0x8000, /* flag */
};

enum lrp_attach_mode { LRP_MODE_AUTO, LRP_MODE_NATIVE, LRP_MODE_SKB };

struct lrp_membership_request {
	struct lrp_addr6 group; /* IPv4 as ::ffff:a.b.c.d */
	__u32 ifindex;		/* 0: all devices */
};

struct lrp_attach_request {
	char ifname[IFNAMSIZ];
	__u32 mode;	  /* enum lrp_attach_mode */
	__u32 frames;	  /* per queue; power of two; 0: default */
	__u32 frame_size; /* 2048 or 4096; 0: from the MTU */
	__u32 libxdp;	  /* attach through libxdp's dispatcher, beside other programs */
};

enum lrp_proxy_change {
	LRP_PROXY_CHANGE_ON = 1 << 0,
	LRP_PROXY_CHANGE_OFF = 1 << 1,
	LRP_PROXY_CHANGE_NICE = 1 << 2,
	LRP_PROXY_CHANGE_LIMIT = 1 << 3,
	LRP_PROXY_CHANGE_CGROUP = 1 << 4,
	LRP_PROXY_CHANGE_PORTS = 1 << 5, /* HOST */
	LRP_PROXY_CHANGE_ALL = (1 << 6) - 1,
};

#define LRP_PROXY_PORTS	 16u  /* named ports of HOST */
#define LRP_PROXY_CGROUP 256u /* bytes of a path */

struct lrp_proxy_request {
	__u32 kinds;   /* bit per kind */
	__u32 changes; /* LRP_PROXY_CHANGE_* */
	__s32 nice;
	__u32 limit; /* frames on each of its channels */
	__u32 ports;
	__u16 port[LRP_PROXY_PORTS];
	/* below the root of the hierarchy that shares out CPU time; "": its own */
	char cgroup[LRP_PROXY_CGROUP];
};

#define LRP_GUARD_RANGES 64u

enum {
	LRP_GUARD_SET_OFF = 1 << 0,
	LRP_GUARD_SET_SHADOW = 1 << 1, /* pass everything, compare with the kernel */
	/* nothing changes where packets for `range` go: not NAT, TPROXY, IPVS, IPsec or tc */
	LRP_GUARD_SET_TRUST = 1 << 2,
};

struct lrp_guard_request {
	char ifname[IFNAMSIZ];
	__u32 mode;   /* enum lrp_attach_mode; of a guard alone on its interface */
	__u32 flags;  /* LRP_GUARD_SET_* */
	__u32 ranges; /* 0: all ports */
	__u32 pad;
	struct {
		__u16 first, last; /* ports, host order */
	} range[LRP_GUARD_RANGES];
};

struct lrp_request {
	__u32 magic;   /* LRP_ABI_MAGIC */
	__u16 version; /* LRP_ABI_VERSION */
	__u16 type;    /* enum lrp_request_type */
	__u32 id;      /* echoed in the reply */
	__u32 count;   /* ENDPOINTS: how many; PUBLISH: memberships that follow */
	union {
		struct {
			__u32 owner; /* of the family, 0 for a new one */
			__u32 pad;
			__u64 token[2]; /* of the family, zeros for a new one */
		} hello;
		__u32 pool;
		struct {
			__u32 ring_size; /* slots of each RX ring: power of two, 0: default */
			__u32 limit;	 /* ceiling in frames, 0: ring_size less the CPUs */
			__u32 guarantee; /* 0: default */
		} endpoints;
		struct {
			__u32 endpoint;
			__u32 pool;
		} adopt;
		struct {
			__u32 endpoint;
			__u32 flags; /* LRP_PUBLISH_* */
			struct lrp_membership_request membership[16];
		} publish;
		struct {
			__u32 endpoint;
			__u32 limit;
		} limit;
		__u32 endpoint;
		struct {
			__u32 flags; /* LRP_CLAIM_* */
		} claim;
		struct {
			__u32 ifindex;
		} tx;
		struct lrp_attach_request attach;
		struct lrp_proxy_request proxy;
		struct {
			__u32 kind;
			__u32 endpoint[LRP_PROXY_CLASSES];
		} serve;
		struct lrp_guard_request guard;
		__u32 raw[100];
	};
};
_Static_assert(sizeof(struct lrp_request) == 16 + 400, "control");

/* PUBLISH: withdraw the endpoint from demultiplexing, without a descriptor. */
#define LRP_PUBLISH_WITHDRAW 1u

/* CLAIM: the client is going to close the sockets. The ends stay the family's until a minute has
 * passed without a socket of the family there. */
#define LRP_CLAIM_KEEP 1u

struct lrp_channel_info {
	__u32 pool; /* index into the pools */
	__u32 channel;
	__u32 user_page;
	__u32 user_slot;
};

struct lrp_reply {
	__u32 magic;
	__u32 id;
	__s32 error;  /* 0 or -errno */
	__u32 count;  /* endpoints, or memberships refused */
	__u32 fds;    /* descriptors in this message */
	__u32 length; /* bytes of text in the memfd, or of error_text */
	union {
		struct {
			__u32 owner;
			__u32 pools; /* number of slots; see struct lrp_status_page */
			__u64 token[2];
		} hello;
		struct {
			__u64 umem_size; /* whole memfd */
			__u32 frames;
			__u32 frame_size;
			__u32 headroom;	 /* packet data starts this far into a frame, at least */
			__u32 fill_size; /* slots of the fill ring */
			__u32 ifindex;
			__u32 queue;
			__u32 virtual_device; /* partial checksums are possible (veth, lo, tap) */
			__u32 mtu;
			__u32 frame_payload;
		} pool;
		struct {
			__u32 page;
		} user_page;
		struct {
			/* one fd per channel, in the order of `channel`; channels of one
			 * endpoint follow each other */
			__u32 endpoint[LRP_CONTROL_MAX_BATCH];
			__u32 channels; /* per endpoint */
			__u32 ring_size;
			__u32 limit;
			struct lrp_channel_info channel[LRP_CONTROL_MAX_FDS];
		} endpoints;
		struct {
			__u32 limit;
		} limit;
		char error_text[512]; /* one line: what failed, on what, and the way out */
	};
};

/*
 * The status page: written by lrpd, mapped read-only by every client, so that
 * nobody has to ask whether something changed.
 */
struct lrp_status_page {
	__u32 magic;
	__u32 version;
	__u32 pools_epoch;	 /* changes when a pool comes or goes */
	__u32 routes_epoch;	 /* changes when a route, address, link or neighbour does */
	__u32 lrpd_pid;		 /* 0 while none runs */
	__u32 family_memory_kib; /* what buffers of TCP of one family may take; 0: not known */
	__u32 pad[10];
	struct {
		__u32 state; /* 0: none; else a generation: a pool of that index was attached */
		__u32 ifindex;
		__u32 queue;
		__u32 pad;
	} pool[LRP_MAX_DEVICES * 4];
};

#endif

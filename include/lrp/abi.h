/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * abi.h - all that the XDP program, lrpd and the runtime share.
 *
 * Each record says who writes it. An application can write its own user
 * records and nothing else; limits, owners and counters of the XDP program are
 * out of its reach. Every struct is a BPF map key or value, typed with BTF, so
 * `bpftool map dump` shows these names.
 *
 * Byte order: fields of type __be16 and __be32 are in network order; all else
 * is in host order.
 */
#ifndef LRP_ABI_H
#define LRP_ABI_H

#include <linux/types.h>

#define LRP_ABI_MAGIC	0x3250524cu /* "LRP2", little-endian */
#define LRP_ABI_VERSION 2

/* Cache line of the machines that this runs on; records that two CPUs write
 * are kept this far apart. */
#define LRP_CACHE_LINE 64

/*
 * An endpoint is what a packet is demultiplexed to: one socket (or the fragment
 * endpoint). It has one channel on each queue of each attached device. Within
 * a device, channel id = rx_queue * endpoints + endpoint, which indexes both
 * lrp_channels and lrp_xsks.
 */
#define LRP_ENDPOINT_FRAGMENT 0u    /* fragments that came before their first */
#define LRP_ENDPOINT_FIRST    1u    /* the first that a socket can have */
#define LRP_ENDPOINTS	      8192u /* default number per network namespace */
#define LRP_MAX_DEVICES	      16u
#define LRP_MAX_QUEUES	      64u
#define LRP_GROUP_MAX	      64u /* members of one SO_REUSEPORT group */
#define LRP_GROUPS	      1024u
#define LRP_USER_PAGES	      1024u /* pages of user records */
#define LRP_USER_PAGE_RECORDS 256u
#define LRP_LOCALS	      4096u  /* local addresses of one family */
#define LRP_FLOWS	      65536u /* connected sockets and connections */
#define LRP_BINDS	      16384u /* sockets bound to one address */
#define LRP_MEMBERSHIPS	      4096u  /* multicast memberships */
#define LRP_FRAGMENTS	      8192u  /* datagrams whose fragments have a mark */
#define LRP_DEVICE_ADDR4      4u     /* IPv4 addresses kept in the device record */
#define LRP_VLAN_WORDS	      64u    /* 4096 bits */

/*
 * Every packet that reaches the program is counted once under one of these.
 * LRP_XDP_REASONS(X): X(NAME, name, what it means). The first is delivery, the
 * pass_ ones go to the kernel's stack, the rest are dropped.
 */
#define LRP_XDP_REASONS(X)                                                                         \
	X(ENQUEUED, enqueued, "put on a channel")                                                  \
	X(PASS_PROTOCOL, pass_protocol,                                                            \
	  "not IPv4 or IPv6, or no UDP, TCP or ICMP error: the kernel's")                          \
	X(PASS_MAC, pass_mac, "not addressed to this device's MAC")                                \
	X(PASS_ADDRESS, pass_address, "destination is not a local address: to be forwarded")       \
	X(PASS_PORT, pass_port, "no LRP socket on this port")                                      \
	X(PASS_INACTIVE, pass_inactive,                                                            \
	  "socket has no channel on this queue yet: its shadow serves it")                         \
	X(PASS_PEER, pass_peer, "socket on this port is connected to another peer")                \
	X(PASS_KERNEL, pass_kernel, "connection of a kernel socket on a port that LRP also uses")  \
	X(PASS_VLAN, pass_vlan, "VLAN that no device of this host uses")                           \
	X(PASS_MULTICAST, pass_multicast, "group with members in several families, or none")       \
	X(PASS_FRAGMENT, pass_fragment, "fragment of a datagram that is the kernel's")             \
	X(PASS_ORPHAN, pass_orphan,                                                                \
	  "fragment before its first that no LRP socket could want, or beyond the budget")         \
	X(PASS_MALFORMED, pass_malformed,                                                          \
	  "too short or malformed: the kernel counts and drops it")                                \
	X(PASS_TUNNEL, pass_tunnel, "more VLAN tags or extension headers than are walked")         \
	X(DROP_FULL, drop_full, "early discard: channel at its limit")                             \
	X(DROP_SURPLUS, drop_surplus, "early discard: above its guarantee and no surplus left")    \
	X(DROP_CLOSED, drop_closed, "early discard: socket shut down for receiving")               \
	X(DROP_BACKLOG, drop_backlog, "early discard: SYN to a listener over its backlog")         \
	X(DROP_OWNER, drop_owner, "flow names a channel that its owner does not own")              \
	X(DROP_MARTIAN, drop_martian, "source address that cannot be")                             \
	X(DROP_REDIRECT, drop_redirect, "no AF_XDP socket behind an active channel")

enum lrp_xdp_reason {
#define X(NAME, name, text) LRP_XDP_##NAME,
	LRP_XDP_REASONS(X)
#undef X
		LRP_XDP_REASON_COUNT
};

/* Why the runtime dropped a packet that it took from a channel. Counted in the
 * user record of the channel. */
#define LRP_DROP_REASONS(X)                                                                        \
	X(IP_HEADER, ip_header, "IP header malformed")                                             \
	X(CHECKSUM, checksum, "checksum wrong")                                                    \
	X(LENGTH, length, "UDP or IP length does not fit the packet")                              \
	X(STALE, stale, "meant for an earlier owner of the channel")                               \
	X(PEER, peer, "not from the peer that the socket is connected to")                         \
	X(FRAGMENT, fragment, "fragment overlaps, is too large, or came too late")                 \
	X(MEMORY, memory, "reassembly or copy memory at its bound")                                \
	X(PROTOCOL, protocol, "not for this kind of socket")

enum lrp_drop_reason {
#define X(NAME, name, text) LRP_DROP_##NAME,
	LRP_DROP_REASONS(X)
#undef X
		LRP_DROP_REASON_COUNT
};

/* Where a packet's protocol processing ran. */
#define LRP_CONTEXTS(X)                                                                            \
	X(CALL, call, "in the receive call of the application")                                    \
	X(HELPER, helper, "ahead of the call, by the SCHED_IDLE helper")                           \
	X(EAGER, eager, "at arrival, by the eager thread (LRP_EAGER=1)")                           \
	X(APP, app, "by the APP thread, at its owner's priority")

enum lrp_context {
#define X(NAME, name, text) LRP_CONTEXT_##NAME,
	LRP_CONTEXTS(X)
#undef X
		LRP_CONTEXT_COUNT
};

/* ---- demultiplexing: written by lrpd, read by XDP ---------------------- */

enum lrp_device_flags {
	LRP_DEVICE_LOOPBACK = 1 << 0, /* no MAC test, no martian test */
	LRP_DEVICE_ALLMULTI = 1 << 1, /* accept any multicast MAC */
	LRP_DEVICE_PROXIED = 1 << 2,  /* proxies serve it: see lrp_proxies */
	LRP_DEVICE_VIRTUAL = 1 << 3,  /* checksums may be partial */
};

/* lrp_device: ARRAY of 1, one per attached device. Written by lrpd. */
struct lrp_device {
	__u8 mac[6];
	__u16 flags; /* LRP_DEVICE_* */
	__u32 ifindex;
	__u32 endpoints; /* endpoints per queue: the stride of channel ids */
	__u32 queues;
	__u32 frame_payload; /* bytes of packet that one frame holds */
	__u32 addr4_count;   /* how many of addr4 are valid */
	__u32 mtu;
	__be32 addr4[LRP_DEVICE_ADDR4]; /* local unicast addresses, tried before lrp_local4 */
	__u64 vlans[LRP_VLAN_WORDS];	/* outer VLAN ids that this host uses on the device */
};
_Static_assert(sizeof(struct lrp_device) == 48 + 8 * LRP_VLAN_WORDS, "abi");

/* lrp_local4 (key __be32) and lrp_local6 (key struct lrp_addr6): HASH. */
struct lrp_addr6 {
	__u8 byte[16];
};

enum lrp_local_kind {
	LRP_LOCAL_UNICAST = 1,
	LRP_LOCAL_BROADCAST = 2, /* a subnet's broadcast address */
};

struct lrp_local {
	__u32 kind;    /* enum lrp_local_kind */
	__u32 ifindex; /* link-local IPv6: valid on this device only; else 0 */
};

enum lrp_port_flags {
	LRP_PORT_ANY = 1 << 0,	     /* a socket bound to the wildcard address: target */
	LRP_PORT_BINDS = 1 << 1,     /* sockets bound to one address: see lrp_binds */
	LRP_PORT_FLOWS = 1 << 2,     /* connected sockets, TCP: see lrp_flows */
	LRP_PORT_MULTICAST = 1 << 3, /* memberships on this port: see lrp_memberships */
	LRP_PORT_KERNEL = 1 << 4,    /* TCP: the kernel has connections, too: see lrp_kernel4 */
	LRP_PORT_CROWDED = 1 << 5,   /* TCP: and some for which lrp_kernel4 had no room */
	LRP_PORT_SHUT = 1 << 6,	     /* UDP: no ANY, no BINDS until lrpd has looked who is there */
	LRP_PORT_MIXED = 1 << 7,     /* UDP: its sockets belong to several users */
};

/*
 * lrp_ports: ARRAY, indexed by LRP_PORT_INDEX(). The first look: a port that no
 * LRP socket uses costs one array access. Entries with no flag are not LRP's.
 */
struct lrp_port {
	__u32 target; /* of LRP_PORT_ANY, else one of LRP_PORT_BINDS; see LRP_TARGET_GROUP */
	__u32 flags;  /* LRP_PORT_* */
};

#define LRP_PORT_INDEX(ipv6, tcp, port_host)                                                       \
	(((ipv6) ? 1u << 17 : 0u) | ((tcp) ? 1u << 16 : 0u) | (__u32)(port_host))
#define LRP_PORT_ENTRIES (1u << 18)

/* A target is an endpoint, or with this bit set the index of a group. */
#define LRP_TARGET_GROUP 0x80000000u

/* lrp_binds4 and lrp_binds6: HASH, socket bound to one address -> __u32 target. */
struct lrp_bind4 {
	__be32 addr;
	__be16 port;
	__u8 proto;
	__u8 pad;
};

struct lrp_bind6 {
	struct lrp_addr6 addr;
	__be16 port;
	__u8 proto;
	__u8 pad[5];
};

/* lrp_flows4 and lrp_flows6: HASH, connected socket or connection -> struct lrp_flow. */
struct lrp_flow4 {
	__be32 laddr;
	__be32 raddr;
	__be16 lport;
	__be16 rport;
	__u8 proto;
	__u8 pad[3];
};
_Static_assert(sizeof(struct lrp_flow4) == 16, "abi");

struct lrp_flow6 {
	struct lrp_addr6 laddr;
	struct lrp_addr6 raddr;
	__be16 lport;
	__be16 rport;
	__u8 proto;
	__u8 pad[3];
};
_Static_assert(sizeof(struct lrp_flow6) == 40, "abi");

/*
 * lrpd writes the entries of UDP. A process changes those of its own TCP connections by running its
 * family's program (struct lrp_flow_call), which checks the local end. No client has the maps. XDP
 * looks for an entry only on ports that have LRP_PORT_FLOWS. It refuses an entry whose owner does
 * not own the channel, and ignores one whose end has another generation by now.
 */
struct lrp_flow {
	__u32 endpoint;
	__u32 owner;	  /* must be the owner of the endpoint's channel */
	__u32 end;	  /* TCP: index into lrp_ends; 0: written by lrpd */
	__u32 generation; /* of the end, when the entry was made; 0: reserved */
};
_Static_assert(sizeof(struct lrp_flow) == 16, "abi");

enum lrp_flow_op {
	LRP_FLOW_RESERVE =
		1,    /* nobody else of LRP gets the four-tuple; XDP does not look at it yet */
	LRP_FLOW_ADD, /* a new entry, or one that the family has reserved */
	LRP_FLOW_SET, /* the same, or lets the family's own entry lead to another endpoint */
	LRP_FLOW_DELETE,
};

/*
 * Context of a family's program (LRP_REQ_FLOWS), for BPF_PROG_RUN. The program is the authority: it
 * is made for one family, and whoever has its descriptor is of the family. Its return value is 0 or
 * -errno: EADDRNOTAVAIL (no living socket of the family has the local end, or the address is not
 * the host's), EACCES (another family has the local address on this port), EPERM (the endpoint is
 * not the family's), EEXIST (another connection, of LRP or the kernel, has the four-tuple), EDQUOT
 * (the user's entries), E2BIG (the map is full), ESTALE (the family is gone), EBADF (fd), EINVAL.
 *
 * ADD, SET: with fd >= 0 that socket becomes one of those by which the family has the end, if lrpd
 * knows the end as the family's [LRP_REQ_CLAIM]: a TCP socket of the caller that is bound to laddr
 * and lport and neither connected nor listening, has bound the port by number, and whose SO_COOKIE
 * has been read.
 */
struct lrp_flow_call {
	__u32 op; /* enum lrp_flow_op */
	__u32 endpoint;
	__be32 laddr[4], raddr[4]; /* IPv4 as ::ffff:a.b.c.d */
	__be16 lport, rport;
	__s32 fd; /* -1: none */
};
_Static_assert(sizeof(struct lrp_flow_call) == 48, "abi");

/* lrp_groups: ARRAY. A SO_REUSEPORT group; a member is chosen by hash. */
struct lrp_group {
	__u32 count;
	__u32 endpoint[LRP_GROUP_MAX];
};

/* lrp_memberships: HASH, multicast group joined on a device -> __u32 endpoint.
 * A group with members in unrelated families has no entry: the kernel copies. */
struct lrp_membership {
	struct lrp_addr6 group; /* IPv4 as ::ffff:a.b.c.d */
	__be16 port;
	__u8 proto;
	__u8 pad;
	__u32 ifindex;
};
_Static_assert(sizeof(struct lrp_membership) == 24, "abi");

/* ---- fragments ----------------------------------------------------------- */

/* The datagram that a fragment belongs to. */
struct lrp_fragment_key {
	struct lrp_addr6 saddr; /* IPv4 as ::ffff:a.b.c.d */
	struct lrp_addr6 daddr;
	__u32 id; /* as in the header, network order; IPv4: 16 bits, zero-extended */
	__u8 proto;
	__u8 family; /* 4 or 6 */
	__u16 pad;
};
_Static_assert(sizeof(struct lrp_fragment_key) == 40, "abi");

/*
 * lrp_fragments: LRU_HASH, datagram -> the way that all of its fragments go. XDP changes a mark
 * by compare-and-swap of both fields. A mark counts for LRP_FRAGMENT_TICKS, which is as long as
 * reassembly waits.
 */
struct lrp_fragment {
	__u32 endpoint; /* or LRP_FRAGMENT_* */
	__u32 since;	/* CLOCK_MONOTONIC in ticks of 2^LRP_FRAGMENT_TICK_SHIFT ns */
} __attribute__((aligned(8)));
_Static_assert(sizeof(struct lrp_fragment) == 8, "abi");

#define LRP_FRAGMENT_KERNEL	0xffffffffu /* the first has passed to the kernel */
#define LRP_FRAGMENT_PASSED	0xfffffffeu /* orphans have passed: the first follows them */
#define LRP_FRAGMENT_STORED	0xfffffffdu /* orphans are stored; the first has not come */
#define LRP_FRAGMENT_TICK_SHIFT 20u
#define LRP_FRAGMENT_TICKS	((__u32)(30000000000ull >> LRP_FRAGMENT_TICK_SHIFT))

/*
 * An orphan is a fragment that came before the first of its datagram. It is stored on the
 * fragment endpoint for about a second while an LRP socket could want it and the budgets last.
 * Otherwise it passes to the kernel, and its datagram with it.
 */
#define LRP_ORPHANS_PER_SECOND 512u /* of the network namespace */
#define LRP_ORPHANS_PER_SOURCE 128u /* of one source (hashed) in a second */
#define LRP_ORPHAN_SOURCES     256u
#define LRP_ORPHAN_MAX	       3400u /* bytes that BPF_PROG_RUN takes as a live frame */

/* lrp_orphans: ARRAY of 1. A budget is (second << 32 | stored in this second). */
struct lrp_orphans {
	__u32 wanted[2]; /* UDP sockets that receive IPv4 and IPv6; written by lrpd */
	__u32 pad[14];
	__u64 budget; /* all below is written by XDP */
	__u64 pad2[7];
	__u64 source[LRP_ORPHAN_SOURCES];
};
_Static_assert(__builtin_offsetof(struct lrp_orphans, source) == 128, "abi");

/* lrp_strays: RINGBUF of struct lrp_fragment_key, from XDP to lrpd: orphans of this datagram are
 * stored, and it turned out to be the kernel's. */
#define LRP_STRAY_BYTES 65536u

/* ---- proxies ------------------------------------------------------------- */

/*
 * A proxy is a process that hands to the kernel's stack what no socket of LRP owns [3.5]. Each has
 * two endpoints. XDP puts on the first what must not drown in a flood of the rest.
 */
#define LRP_PROXY_KINDS(X)                                                                         \
	X(ARP, arp, "ARP and RARP; first: what is addressed to this host alone")                   \
	X(ICMP, icmp, "ICMP, ICMPv6, IGMP, MLD; first: all but echo requests")                     \
	X(FORWARD, forward, "IP packets that are not for this host")                               \
	X(HOST, host, "all else that is for this host; first: named ports")

enum lrp_proxy_kind {
#define X(NAME, name, text) LRP_PROXY_##NAME,
	LRP_PROXY_KINDS(X)
#undef X
		LRP_PROXY_COUNT
};

enum lrp_proxy_class { LRP_PROXY_REST, LRP_PROXY_FIRST, LRP_PROXY_CLASSES };

/* A proxy that has not said for so long that it lives is passed by. */
#define LRP_PROXY_PATIENCE_NS 800000000ull

/* lrp_proxies: ARRAY of 1. Written by lrpd, but for `direct`. */
struct lrp_proxies {
	__u32 on; /* bit per kind */
	__u32 pad;
	__u32 endpoint[LRP_PROXY_COUNT][LRP_PROXY_CLASSES];
	/* packets of the kind that went to the kernel directly while it was on; XDP */
	__u64 direct[LRP_PROXY_COUNT];
	__u64 port[65536 / 64]; /* destination ports of UDP and TCP that are HOST's first */
};
_Static_assert(sizeof(struct lrp_proxies) == 8 + 32 + 32 + 8192, "abi");

/* ---- channels ----------------------------------------------------------- */

enum lrp_channel_flags {
	LRP_CHANNEL_ACTIVE = 1 << 0, /* an AF_XDP socket is bound and its owner has it */
};

/*
 * lrp_channels: ARRAY, one per (queue, endpoint) of a device. What an early
 * discard touches lies in the first line: with thousands of sockets the cost of
 * a packet is that of the lines that it brings in. lrpd writes flags to
 * `corrected`, endpoint, generation and ring_size; XDP the rest; both exchange `loan` atomically.
 *
 * Occupancy, in frames: enqueued - corrected - user.returned - user.lost,
 * clamped at 0. A packet of n frames is accepted when occupancy + n <= limit and, for what lies
 * above the guarantee, the surplus of the pool allows a loan.
 */
struct lrp_channel {
	__u32 flags;	 /* LRP_CHANNEL_* */
	__u32 limit;	 /* ceiling, frames */
	__u32 guarantee; /* frames that no other channel can take */
	__u32 owner;	 /* process family */
	__u32 user_page; /* where its user record is */
	__u32 user_slot;
	__u64 corrected; /* enqueued at the last time that the channel changed hands or was audited */
	__u64 enqueued;	 /* frames redirected to the AF_XDP socket, ever */
	__u64 packets;	 /* packets redirected */
	__u64 bytes;	 /* their length from the link header on */
	__u64 drop_full; /* packets discarded early, by reason */
	/* second line */
	__u64 drop_surplus;
	__u64 drop_closed;
	__u64 drop_backlog;
	__u32 loan; /* frames borrowed from the surplus, in units of LRP_LOAN_UNIT */
	__u32 endpoint;
	__u32 generation; /* counts owners of this channel */
	__u32 ring_size;  /* slots of the RX ring */
	__u64 pad[3];
} __attribute__((aligned(LRP_CACHE_LINE)));
_Static_assert(__builtin_offsetof(struct lrp_channel, drop_surplus) == LRP_CACHE_LINE, "abi");
_Static_assert(sizeof(struct lrp_channel) == 128, "abi");

/* Loans are rounded up to this many frames, so that the pool's counter is
 * touched once per so many packets; the first is smaller, since many channels may need
 * one at the same time. */
#define LRP_LOAN_FIRST 8u
#define LRP_LOAN_UNIT  32u

/* lrp_pools: ARRAY, one per queue of a device. */
struct lrp_pool {
	__u32 surplus; /* frames above all guarantees and the reserve; written by lrpd */
	__u32 frames;  /* of the UMEM; written by lrpd */
	__u32 lent;    /* sum of all loans; atomic: XDP, and lrpd when it reclaims */
	__u32 cursor;  /* next channel whose loan is recomputed when the surplus runs out; XDP */
	__u32 short_of; /* much of the surplus is lent, and lrpd knows: set by XDP, cleared by lrpd */
	__u32 pad0;
	__u64 pad[5];
};
_Static_assert(sizeof(struct lrp_pool) == 64, "abi");

/* lrp_events: RINGBUF of these, from the programs to lrpd. */
enum lrp_event_kind {
	LRP_EVENT_SHORT = 1, /* index: ifindex; queue: its pool is short of frames that circulate */
	LRP_EVENT_LEFT,	 /* index: LRP_LEFT_INDEX() of the port that a published socket has left */
	LRP_EVENT_EVICT, /* index: TCP port; families have lost ends of it to a kernel socket */
	LRP_EVENT_BOUND, /* index: UDP port that has a socket, and on which one was bound */
};
struct lrp_event {
	__u32 kind; /* enum lrp_event_kind */
	__u32 index;
	__u32 queue;
	__u32 pad;
};
#define LRP_EVENT_BYTES 4096u

enum lrp_user_flags {
	LRP_USER_CLOSED = 1 << 0,    /* shutdown(SHUT_RD): drop all */
	LRP_USER_BACKLOG = 1 << 1,   /* listen backlog full: drop SYNs */
	LRP_USER_CONNECTED = 1 << 2, /* accept exact flows only; others pass to the kernel */
};

/*
 * User record: what a runtime writes about its channel. Inner arrays of
 * lrp_users (ARRAY_OF_MAPS of mmapable ARRAYs with LRP_USER_PAGE_RECORDS
 * records); a process maps its own pages only. XDP reads the first line.
 */
struct lrp_user {
	__u64 returned; /* frames put back on the fill ring */
	__u64 lost;	/* frames that the kernel lost behind XDP: from XDP_STATISTICS */
	__u32 flags;	/* LRP_USER_* */
	__u32 pad0;
	__u64 beat_ns; /* proxies: CLOCK_MONOTONIC when it last said that it lives; lrpd, too */
	__u64 pad1[4];
	/* statistics; XDP does not read these */
	__u64 processed[LRP_CONTEXT_COUNT]; /* packets, by where they were processed */
	__u32 dropped[LRP_DROP_REASON_COUNT];
} __attribute__((aligned(LRP_CACHE_LINE)));
_Static_assert(sizeof(struct lrp_user) == 128, "abi");

/* lrp_owners: ARRAY, one per process family; for people and for adoption by a
 * new lrpd. Written by lrpd. */
#define LRP_OWNERS     1024u
#define LRP_OWNER_LRPD 0u
struct lrp_owner {
	__u32 pid; /* the family's first process, 0 if free */
	__u32 uid;
	__u64 start_time; /* of pid, in clock ticks since boot */
	__u32 channels;
	__u32 user_pages;
	char comm[16];
};
_Static_assert(sizeof(struct lrp_owner) == 40, "abi");

/* ---- UMEM --------------------------------------------------------------- */

/*
 * The UMEM of a pool is a memfd: `frames` frames of `frame_size` bytes, then one
 * struct lrp_frame per frame (page-aligned). Only the frames are registered
 * with the kernel. A trust domain is one UMEM: whoever has a channel can read
 * and write all of it.
 *
 * holder: 0 while the kernel, the fill ring or an RX ring between its consumer
 * and producer has the frame. A runtime that takes a frame out of its ring
 * without returning it (zero-copy receive) first stores its channel's mark. A
 * fragment on the fragment channel is claimed with a compare-and-swap from 0
 * and released as LRP_FRAME_DONE; whoever then advances the ring's consumer
 * past it returns the frame.
 */
struct lrp_frame {
	__u32 holder;
};
#define LRP_FRAME_FREE		   0u
#define LRP_FRAME_MARK(channel_id) ((__u32)(channel_id) + 1u)
/* Set beside a channel's mark while its frame is being pushed on the fill ring: if
 * the process dies now, the frame may be there or not, and is quarantined. */
#define LRP_FRAME_RETURNING 0x40000000u
/* Out of circulation, lrpd's; beside it RETURNING while lrpd lets it circulate again. */
#define LRP_FRAME_RESTING      0x3fffffffu
#define LRP_FRAME_CLAIM(owner) (0x80000000u | (__u32)(owner))
#define LRP_FRAME_DONE	       0xffffffffu

/*
 * Behind the frame table, at LRP_REST_OFFSET from its beginning. Who returns a frame and finds
 * `frames` above 0 takes one off and, in place of returning the frame, lets it rest: out of
 * the ring with his mark first, as if he kept it, then LRP_FRAME_RESTING.
 */
struct lrp_rest {
	__u32 frames; /* so many more are to rest; set by lrpd */
	__u32 broken; /* set by who found the fill ring to make no sense; cleared by lrpd */
	__u32 pad[14];
};
#define LRP_REST_OFFSET(frames)                                                                    \
	(((frames) * sizeof(struct lrp_frame) + LRP_CACHE_LINE - 1) & ~(LRP_CACHE_LINE - 1ul))

#endif

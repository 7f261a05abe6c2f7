/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * authority.h - who may direct the segments of which local end.
 *
 * The maps here are shared by the XDP program, the families' program (authority.bpf.c), the watcher
 * (watch.bpf.c) and lrpd. No client has any of them.
 *
 * A local end is a TCP port on one address, or on all addresses of an IP family. lrpd knows an end
 * as a process family's when it has seen a socket of that family bound to it. The family has the
 * end while such a socket lives. Either lrpd has seen the socket, or the family's program has found
 * it in the caller's descriptor table. The watcher counts these sockets down when they leave the
 * port. With the last one the end's generation changes. Then no exact entry that was made under the
 * old generation has any effect.
 */
#ifndef LRP_BPF_AUTHORITY_H
#define LRP_BPF_AUTHORITY_H

#include <linux/types.h>

#include <lrp/abi.h>

#define LRP_ENDS    32768u
#define LRP_SHADOWS 65536u
#define LRP_KERNELS 32768u /* connections of the kernel, of one IP family, on watched ports */
#define LRP_QUOTAS  1024u  /* users that have families */

/* lrp_end_index: HASH -> __u32 index into lrp_ends. Written by lrpd. */
struct lrp_end_key {
	struct lrp_addr6 addr; /* IPv4 as ::ffff:a.b.c.d; zeros: every address of the family */
	__be16 port;
	__u8 family; /* 4 or 6 */
	__u8 pad;
	__u32 owner;
};
_Static_assert(sizeof(struct lrp_end_key) == 24, "abi");

/* lrp_ends: ARRAY. Entry 0 stays zero: entries that lrpd itself has written name it
 * as their end. */
struct lrp_end {
	__u32 owner;	  /* written by lrpd; the watcher writes 0 when the family loses it */
	__u32 generation; /* from 1; watcher and lrpd count up when nobody has the end any more */
	__u32 sockets;	  /* bound to it; lrpd and program count up, all three count down */
	__u32 flows;	  /* exact entries; counted by the families' program and lrpd */
	__u32 uid;	  /* written by lrpd, as is the rest */
	__u32 next;	  /* on the same port, see lrp_end_heads; 0: none */
	__u32 v6;
	__u32 pad;
	struct lrp_addr6 addr; /* as in its key */
	__u64 pad1[2];
};
_Static_assert(sizeof(struct lrp_end) == 64, "abi");

/* lrp_end_heads: ARRAY by TCP port in host order -> __u32 first end of the port; 0: the port
 * is not watched. lrpd makes no more ends on a port than LRP_ENDS_ON_PORT, so that programs
 * see all of them. */
#define LRP_PORTS	 65536u
#define LRP_ENDS_ON_PORT 64u

/* lrp_endpoint_owners: ARRAY by endpoint -> __u32 owner; 0: nobody's. Written by lrpd. */

/* lrp_families: ARRAY by owner. Written by lrpd. */
struct lrp_family {
	__u64 generation; /* 0: none; never used twice */
	__u32 quota;	  /* index into lrp_quotas */
	__u32 pad;
};

/* lrp_quotas: ARRAY, one per user; the first is the sum of all but root. */
struct lrp_quota {
	__u32 flows;   /* exact entries; counted by the families' program and lrpd */
	__u32 limit;   /* of flows, and of shadows; written by lrpd */
	__u32 shadows; /* sockets that the program has found; counted by program and watcher */
	__u32 pad;
};
#define LRP_QUOTA_ALL  0u
#define LRP_QUOTA_ROOT 1u

/* lrp_shadows: HASH, SO_COOKIE of a bound socket that lrpd or a family's program has seen ->
 * what it holds. */
enum lrp_shadow_reason {
	LRP_SHADOW_PUBLISHED = 1 << 0,
	LRP_SHADOW_CLAIMED = 1 << 1,
	LRP_SHADOW_FOUND = 1 << 2, /* by the program */
};
struct lrp_shadow {
	__u32 end[2]; /* TCP: IPv4, IPv6; 0: none */
	__u16 port;   /* host order */
	__u8 tcp;
	__u8 listens; /* published as a listener */
	__u16 quota;  /* FOUND: index into lrp_quotas */
	__u8 reasons; /* enum lrp_shadow_reason */
	__u8 pad;
};
_Static_assert(sizeof(struct lrp_shadow) == 16, "abi");

/* lrp_kernel4, lrp_kernel6: HASH, four-tuple of a kernel connection on a watched port.
 * Written by watcher and lrpd. */
struct lrp_kernel {
	__u64 seen;   /* last, bpf_ktime_get_ns() */
	__u64 cookie; /* SO_COOKIE of the connection's socket */
};

/* lrp_left: ARRAY -> __u32, how often a socket of lrp_shadows has left the port. */
#define LRP_LEFT_INDEX(tcp, port_host) (((tcp) ? LRP_PORTS : 0u) + (__u32)(port_host))
#define LRP_LEFT_ENTRIES	       (2u * LRP_PORTS)

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * guard_abi.h - what the guard's programs share with lrpd: maps' records, counters, verdicts.
 */
#ifndef LRP_BPF_GUARD_ABI_H
#define LRP_BPF_GUARD_ABI_H

#include <linux/types.h>

#include <lrp/abi.h>

#define LRP_GUARD_SOCKETS  4096u /* with a record; the least recently used one goes first */
#define LRP_GUARD_TARGETS  4096u /* addresses and ports that are looked at */
#define LRP_GUARD_SIZES	   160u	 /* classes of 64 bytes of packet length */
#define LRP_GUARD_SAMPLE   256u	 /* one in so many condemned packets passes and is compared */
#define LRP_GUARD_PORT_MAP (65536u / 64u)

/*
 * How a packet ended that reached the guard while its address and port were looked at. X(NAME,
 * name, what it means). A condemned packet is counted once as sampled, shadow, bare or dropped.
 */
#define LRP_GUARD_REASONS(X)                                                                       \
	X(OTHER, other, "not UDP, not a SYN, a fragment, a VLAN tag, broadcast or multicast")      \
	X(QUIET, quiet, "no socket of this address and port is watched")                           \
	X(UNSEEN, unseen, "no socket, a half-open or a closing connection: the kernel answers")    \
	X(GROUP, group, "SO_REUSEPORT group whose choice depends on the packet or the CPU")        \
	X(SPECIAL, special, "encapsulation socket or UDP_GRO")                                     \
	X(SUSPENDED, suspended, "another part of the kernel may change where packets go")          \
	X(CALM, calm, "the kernel has not dropped for this socket since it had room")              \
	X(UNLEARNT, unlearnt, "what the kernel charges for this size is not known yet")            \
	X(ROOM, room, "the queue has room")                                                        \
	X(SAMPLED, sampled, "condemned; passed to compare with the kernel")                        \
	X(SHADOW, shadow, "condemned; passed in shadow mode")                                      \
	X(BARE, bare, "condemned; passed: the driver has no room for the mark to compare by")      \
	X(DROPPED, dropped, "condemned and dropped")

enum lrp_guard_reason {
#define X(NAME, name, text) LRP_GUARD_##NAME,
	LRP_GUARD_REASONS(X)
#undef X
		LRP_GUARD_REASON_COUNT
};

enum {
	LRP_GUARD_F_SHADOW = 1 << 0,
	LRP_GUARD_F_PORTS = 1 << 1,	/* only the ports in lrp_guard_ports */
	LRP_GUARD_F_SUSPENDED = 1 << 2, /* pass everything */
	LRP_GUARD_F_RPS = 1 << 3,	/* another CPU may enqueue */
	LRP_GUARD_F_TRUST = 1 << 4,	/* lrpd: nothing changes where the packets go */
};

struct lrp_guard_config { /* one; mmapped by lrpd */
	__u32 flags;
	__u32 mode;			 /* enum lrp_attach_mode, as asked for */
	__u64 ports[LRP_GUARD_PORT_MAP]; /* bit per port, host order */
};

struct lrp_guard_target { /* key of lrp_guard_targets; IPv4 as ::ffff:a.b.c.d */
	struct lrp_addr6 addr;
	__be16 port;
	__u16 tcp;
};

struct lrp_guard_socket { /* by socket cookie */
	__u64 condemned;  /* packets that found the queue full */
	__u64 dropped;	  /* of these, by the guard */
	__u64 marked;	  /* of these, passed with a mark to compare */
	__u64 confirmed;  /* marked, and dropped by the kernel for want of room */
	__u64 emptied;	  /* marked, and queued: the application had made room in between */
	__u64 wrong;	  /* marked, and the verdict was wrong: predicted more than was charged, or
			   * another socket's */
	__u64 room;	  /* packets that found room while the socket was watched */
	__u64 kernel_drops; /* the kernel's own for want of room, as the guard saw them */
	__u64 engaged_count;
	__u64 seen_ns; /* last condemned or dropped */
	__u32 engaged;
	__u32 drops; /* TCP: the listener's counter when it was first seen */
	struct lrp_addr6 addr;
	__be16 port;
	__u8 tcp;
	__u8 ipv6;
	__u32 uid;
};

struct lrp_guard_size { /* by class of packet length */
	__u32 least; /* what the kernel charged for a packet of this class, the least seen; 0: none */
	__u32 over; /* times that less was charged than predicted */
};

struct lrp_guard_mark { /* before a condemned packet that passes, as XDP metadata */
	__u32 magic;
	__u32 predicted;
	__u64 cookie;
};

_Static_assert(sizeof(struct lrp_guard_target) == 20, "no holes in a key");
_Static_assert(sizeof(struct lrp_guard_mark) == 16, "metadata is a multiple of 4 of at most 32");

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * socket.h - what the files of this folder share: the socket, and a process's
 * view of it.
 *
 * struct lrp_sock lies in the arena: one per socket, shared by all processes
 * that inherited it over fork. struct lrp_view is private: one per socket and
 * process, found by descriptor (table.c). The shadow, the kernel's socket
 * that gives the descriptor, keeps what the kernel can keep: O_NONBLOCK,
 * addresses, options of the sending side, loopback's datagrams.
 *
 * Locks, in this order:
 *   setup  bind, connect, options, a change of channels; held over requests to lrpd
 *   rx     what receives: held for the time of a copy, never while sleeping
 * Both are robust and shared by processes. Whoever gets `rx` after its holder died calls
 * lrp_sock_recover().
 */
#ifndef LRP_SOCKET_H
#define LRP_SOCKET_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <lrp/abi.h>
#include <lrp/lrp.h>

#include "../base/arena.h"
#include "../base/lock.h"
#include "../broker/broker.h"
#include "../ring/channel.h"
#include "../ip/packet.h"
#include "cancel.h"

#define lrp_likely(x)	__builtin_expect(!!(x), 1)
#define lrp_unlikely(x) __builtin_expect(!!(x), 0)

struct lrp_conn;
struct lrp_hub;
struct lrp_reassembly;
struct lrp_ready;
struct lrp_errqueue;

/* What accompanies a datagram if the application asked for it (cmsg.c). */
enum lrp_rx_option {
	LRP_RX_TIMESTAMP = 1 << 0,
	LRP_RX_TIMESTAMPNS = 1 << 1,
	LRP_RX_TIMESTAMPING = 1 << 2,
	LRP_RX_OVERFLOW = 1 << 3,
	LRP_RX_PKTINFO4 = 1 << 4,
	LRP_RX_TTL = 1 << 5,
	LRP_RX_TOS = 1 << 6,
	LRP_RX_ORIGDST4 = 1 << 7,
	LRP_RX_PKTINFO6 = 1 << 8,
	LRP_RX_HOPLIMIT = 1 << 9,
	LRP_RX_TCLASS = 1 << 10,
	LRP_RX_ORIGDST6 = 1 << 11,
	LRP_RX_NEW_TIMESTAMP = 1 << 12, /* 64-bit layout was asked for by its own option name */
};

enum lrp_kind_number { LRP_KIND_DGRAM, LRP_KIND_STREAM, LRP_KINDS };

enum lrp_sock_state {
	LRP_SOCK_CLOSED = 1 << 0, /* last descriptor of the last process is gone */
	LRP_SOCK_REAPED = 1 << 1, /* its channels too */
	LRP_SOCK_SHUT_RD = 1 << 2,
	LRP_SOCK_RECVERR4 = 1 << 3,
	LRP_SOCK_RECVERR6 = 1 << 4,
	LRP_SOCK_HELPER_IN = 1 << 5, /* the helper was reading when it was closed */
};

/* Which addresses a datagram must carry to be this socket's. */
enum lrp_match {
	LRP_MATCH_LOCAL = 1 << 0, /* bound to one address */
	LRP_MATCH_PEER = 1 << 1,  /* connected */
	LRP_MATCH_NO4 = 1 << 2,	  /* no IPv4 */
	LRP_MATCH_NO6 = 1 << 3,	  /* no IPv6 */
};

enum lrp_peeked { LRP_PEEKED_NONE, LRP_PEEKED_CHANNEL, LRP_PEEKED_SHADOW };

/* Beside each channel: what the receiver knows about its ring. */
struct lrp_rxq {
	uint32_t known;	   /* producer as last read: descriptors before it are there */
	uint32_t scanned;  /* ICMP errors before it have been taken (error.c) */
	uint32_t serial;   /* of the change that brought it: see struct lrp_sock.serial */
	uint32_t verdicts; /* slots of `verdict` */
	uint32_t helped;   /* the helper has looked at those before; written by it alone */
	uint32_t pad;
	uint64_t head; /* verdict of a packet that was looked at and not taken: drive/verdict.h */
	_Atomic(_Atomic uint64_t *) verdict; /* the helper's side table, by ring index, or NULL */
	/* the record's statistics when the channel became ours: they run on over owners */
	uint64_t processed_base[LRP_CONTEXT_COUNT];
	uint64_t dropped_base, discarded_base;
};

struct lrp_member {
	struct lrp_addr6 group; /* IPv4 as ::ffff:a.b.c.d */
	uint32_t ifindex;
	uint32_t filtered; /* source filters: the kernel's to apply, not published */
};
#define LRP_MEMBERS_MAX 16

/* A process that has a TCP socket [holder.c]. */
struct lrp_holder {
	_Atomic pid_t pid; /* 0: it has let go */
	uint64_t start;
	struct lrp_holder *_Atomic next; /* changes in struct lrp_sock only, and only once */
};

enum lrp_stream_mode { LRP_STREAM_KERNEL, LRP_STREAM_LISTENER, LRP_STREAM_CONNECTION };

/* What a TCP socket has besides [stream.h]. Changed under setup and hub->lock. */
struct lrp_stream {
	_Atomic uint32_t mode; /* enum lrp_stream_mode */
	struct lrp_hub *hub;
	struct lrp_conn *conn;
	bool told;    /* connect() has reported the outcome */
	uint64_t set; /* options that were set, by index: accepted sockets inherit them */
	_Atomic int64_t sndtimeo_ns;
};

/* What a UDP socket has besides. */
struct lrp_dgram {
	/* receiving; written under rx */
	uint32_t current;	     /* channel that is being drained */
	uint32_t burst;		     /* packets left until the next channel has its turn */
	uint32_t since_shadow;	     /* packets since the shadow was read */
	uint32_t match;		     /* LRP_MATCH_* */
	_Atomic uint32_t rx_options; /* LRP_RX_* */
	__be16 lport, rport;
	uint8_t peeked;	     /* enum lrp_peeked */
	bool drain_shadow;   /* what the shadow has came before what the channels have */
	bool eager;	     /* the eager thread drains the channels */
	int eventfd;	     /* eager mode: signalled when a datagram is ready; -1 */
	_Atomic int waiters; /* eager mode: threads that sleep or are about to */
	struct in_addr laddr4, raddr4;
	uint32_t scope;	     /* ifindex that a link-local address or SO_BINDTODEVICE asks for */
	struct lrp_rxq *rxq; /* parallel to ep.chan */
	struct lrp_endpoint ep;
	struct lrp_ready *ready; /* processed datagrams: eager mode, reassembly */
	struct in6_addr laddr6, raddr6;
	_Atomic int error_soft;
	/* a ring that was replaced by a larger one, until it is empty */
	struct lrp_endpoint old;
	struct lrp_rxq *old_rxq;
	uint64_t old_until_ns;
	struct lrp_reassembly *reassembly;
	size_t reassembly_size;
	uint64_t fragment_until_ns; /* fragments are missing: look for them until then */
	struct lrp_errqueue *errors;
	_Atomic uint64_t kernel;		   /* datagrams that came through the shadow */
	uint64_t dropped_before, discarded_before; /* of channels that it had earlier */
	uint64_t processed_before[LRP_CONTEXT_COUNT];

	/* set-up; written under setup */
	pid_t opener __attribute__((
		aligned(LRP_CACHE_LINE))); /* process that mapped the channels of the last change */
	uint32_t limit;			   /* frames: SO_RCVBUF */
	bool bound, connected, published;
	bool slow_send; /* an option that only the kernel's send path knows */
	bool corked;	/* the shadow holds the first parts of a datagram: MSG_MORE */
	bool no_check;
	uint8_t pmtu4, pmtu6;		/* IP_PMTUDISC_* */
	uint8_t ttl, hops, tos, tclass; /* of what is sent; ttl, hops 0: the kernel's default */
	uint32_t path_mtu;		/* to the peer, as an ICMP error said; 0: unknown */
	uint32_t bound_ifindex;		/* SO_BINDTODEVICE */
	uint32_t timestamping;		/* SO_TIMESTAMPING flags */
	uint32_t members;
	struct lrp_member member[LRP_MEMBERS_MAX];
};

/*
 * Type-stable: it is used again for sockets of the same kind only, so that who comes too late finds
 * at worst another socket.
 */
struct lrp_sock {
	/* receiving; written under rx */
	struct lrp_lock rx __attribute__((aligned(LRP_CACHE_LINE)));
	uint8_t kind;		/* enum lrp_kind_number; never changes */
	_Atomic uint32_t state; /* LRP_SOCK_*; begins anew with each socket, as all below */
	uint8_t domain;		/* AF_INET or AF_INET6 */
	_Atomic int error;	/* pending, as sk_err */
	union {
		struct lrp_dgram dgram;
		struct lrp_stream stream;
	};

	/* set-up; written under setup */
	struct lrp_lock setup __attribute__((aligned(LRP_CACHE_LINE)));
	_Atomic uint32_t procs;	 /* processes that have it */
	_Atomic uint32_t serial; /* counts changes of the channels */
	bool v6only;
	bool touched; /* the shadow differs from a new one, or others have it: stream/shadow.c */
	_Atomic int64_t rcvtimeo_ns; /* 0: none */
	struct lrp_holder holder;    /* of TCP: who made it, and who got it by fork */
	struct lrp_sock *next_free;
};

/* One process's view of a socket. Type-stable: never unmapped. */
/* Of an accepted socket: another descriptor of it, which may be used for the next one. */
struct lrp_shadow {
	int fd; /* -1: none */
	bool nonblocking;
	const struct lrp_hub
		*listener; /* whose options it has, and as of when; NULL: not accepted */
	uint32_t serial, options;
};

struct lrp_view {
	struct lrp_sock *sock;
	_Atomic int refs;	   /* descriptors of this process */
	_Atomic int sleepers;	   /* threads that sleep on it: ready/ready.h */
	_Atomic int epfd;	   /* made at the first wait; -1 */
	bool borrowed;		   /* it is the hub's */
	atomic_bool asleep;	   /* a thread sleeps on it: stream_wait.c */
	uint32_t serial;	   /* sock->serial of which this process has the mappings */
	uint32_t wait_serial;	   /* sock->serial that epfd watches */
	_Atomic bool shadow_ready; /* the last wait said so */
	atomic_bool app;	   /* the APP thread of this process watches its hub: stream.h */
	atomic_bool helped;	   /* the helper or the eager thread watches it */
	int fd;			   /* a descriptor of the shadow */
	struct lrp_shadow shadow;
	struct lrp_view *prev, *next; /* all of this process; also the free list */
	struct lrp_view *deferred;
};

/* Where the next datagram lies; what is needed to take it. */
struct lrp_from {
	struct lrp_chan *chan; /* NULL: the ready queue */
	uint32_t descs;
	uint32_t ifindex;
	uint64_t time_ns; /* CLOCK_REALTIME of its processing, 0: now */
};

/* ---- table.c ------------------------------------------------------------ */

#define LRP_FDS (1u << 20)
extern _Atomic(struct lrp_view *) *lrp_fd_table;
extern __thread int
	lrp_inside; /* this thread is in a call that a signal handler must not disturb */

static inline struct lrp_view *lrp_view_of(int fd)
{
	if (lrp_unlikely((unsigned int)fd >= LRP_FDS || !lrp_fd_table))
		return NULL;
	return atomic_load_explicit(&lrp_fd_table[fd], memory_order_acquire);
}

int lrp_table_init(void);
/* Makes `fd` ours. The socket's counts are up to date afterwards. */
int lrp_table_add(int fd, struct lrp_sock *s, struct lrp_view **local);
int lrp_table_dup(int newfd, struct lrp_view *l);
/* Takes `fd` out; true if it was the process's last of that socket: then the caller has to call
 * lrp_sock_leave() and lrp_view_free(). */
bool lrp_table_remove(int fd, struct lrp_view **local);
void lrp_view_free(struct lrp_view *l);
void lrp_table_forget(struct lrp_view *l); /* of a local whose last descriptor is gone */
struct lrp_sock *lrp_sock_alloc(enum lrp_kind_number kind);
void lrp_sock_free(struct lrp_sock *s);
/* Calls f for every socket of this process, with the table locked; the second one: by the caller, who
 * is a handler of fork() [base/fork.h: LRP_FORK_SOCKETS]. */
void lrp_table_each(void (*f)(struct lrp_view *l, void *arg), void *arg);
void lrp_table_each_locked(void (*f)(struct lrp_view *l, void *arg), void *arg);
/* A descriptor of this process for a socket of which is() is true; -1: none, or not to be had now. */
int lrp_table_find(bool (*is)(const struct lrp_view *l, const void *arg), const void *arg);
/* Calls f for every socket that was ever made in this arena, by whatever process; they are type-stable.
 * No lock. */
void lrp_sock_each(void (*f)(struct lrp_sock *s, void *arg), void *arg);

/* ---- life.c, bind.c, linear.c ----------------------------------------------------------- */

/* What a call returns that failed with -errno. */
static inline int lrp_fail(int error)
{
	errno = -error;
	return -1;
}

struct lrp_sock *lrp_sock_new(int fd, int domain, enum lrp_kind_number kind);
/* As bind(2), but a port that the kernel is to choose is bound by its number
 * [bind.c]. 0 or -errno. */
int lrp_bind_port(int fd, const struct sockaddr *addr, socklen_t len);
/* The same to the wildcard address, if the socket has no port yet. */
int lrp_bind_any(int fd, int domain);
/* 0 or -EBADF: takes the setup lock of the socket that fd is. */
int lrp_setup_lock(int fd, struct lrp_view **local);
void lrp_setup_unlock(struct lrp_view *l);

/* Makes what an API call finds on the descriptor nobody's; as lrp_close(), but -errno. */
int lrp_sock_close(int fd);
void lrp_sock_leave(struct lrp_view *l);
void lrp_sock_reap(struct lrp_sock *s);
void lrp_sock_recover(struct lrp_sock *s); /* the holder of rx was killed while he held it */
/* What was closed in signal handlers, up to now. */
void lrp_close_deferred(void);
/* MSG_DONTWAIT, or the shadow's O_NONBLOCK. */
bool lrp_nonblocking(int fd, int flags);
extern const struct lrp_allocator lrp_arena_allocator;
/* A packet in several descriptors, copied together into memory of the thread. 0, a drop reason as
 * lrp_ip_input() has it, or -EAGAIN: the rest is published with the next flush. */
int lrp_linear(struct lrp_chan *chan, uint32_t avail, struct lrp_packet *p, uint32_t *descs);

/* True if this process has the mappings of the socket's channels. */
static inline bool lrp_view_mapped(const struct lrp_view *l)
{
	return l->serial == atomic_load_explicit(&l->sock->serial, memory_order_relaxed);
}

/* rx. Afterwards the descriptor may have been closed: check with lrp_view_of(fd) == l. */
static inline void lrp_rx_lock(struct lrp_sock *s)
{
	if (lrp_unlikely(lrp_lock(&s->rx)))
		lrp_sock_recover(s);
}

static inline void lrp_rx_unlock(struct lrp_sock *s)
{
	lrp_unlock(&s->rx);
	/* Whoever closed the last descriptor while we were inside left the rest to us. */
	if (lrp_unlikely(atomic_load_explicit(&s->state, memory_order_seq_cst) & LRP_SOCK_CLOSED))
		lrp_sock_reap(s);
}

/* The pending error, positive, and clears it. */
static inline int lrp_error_take(struct lrp_sock *s)
{
	if (lrp_likely(!atomic_load_explicit(&s->error, memory_order_relaxed)))
		return 0;
	return atomic_exchange(&s->error, 0);
}

/* ---- secret.c --------------------------------------------------------------- */

/* Random, the same in all processes of the family: hashes, ISNs. */
const uint64_t *lrp_secret(void);
/* The same in all processes until the host boots anew: timestamps of active opens, which a peer in
 * TIME_WAIT compares with those of an earlier process on the same port (RFC 6191). */
const uint64_t *lrp_secret_of_host(void);

/* ---- holder.c ----------------------------------------------------------- */

/* Of a TCP socket: this process has made it, has inherited it, lets go of it. */
void lrp_holder_first(struct lrp_sock *s);
void lrp_holder_inherited(struct lrp_sock *s);
void lrp_holder_left(struct lrp_sock *s);
/* True if no other living process has it; corrects `procs` by those that died with it. */
bool lrp_holder_last(struct lrp_sock *s);
/* The process is dead: true if it had the socket still; the caller counts it out of `procs`. */
bool lrp_holder_drop(struct lrp_sock *s, pid_t pid, uint64_t start);
void lrp_holder_free(struct lrp_sock *s);
/* When it started, in ticks since boot; 0: it is dead, 1: nobody can tell (no /proc). */
uint64_t lrp_holder_started(pid_t pid);
uint64_t lrp_holder_start(void); /* the calling one */

#endif

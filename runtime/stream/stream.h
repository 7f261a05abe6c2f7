/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * stream.h - TCP sockets: what the files of this folder share.
 *
 * A *hub* is an endpoint and whatever is demultiplexed from it in software: one connection, or a
 * listener, its half-open connections (tcp/listen.h) and those that nobody has accepted yet. It lies
 * in the arena, and one robust lock guards all of it: whoever holds the lock is the consumer of the
 * channels.
 *
 * An accepted connection that has to wait for something moves to a hub of its own (spare.c), by an
 * exact entry in XDP's map. Segments that were on their way meanwhile come to the listener's hub, whose table has the
 * connection until it ends. Whoever finds them there processes them, also if the connection is
 * another process's, and tells that one [family.h]. Without a spare hub it stays where it is. With
 * a listener that several processes have, a connection moves when it is accepted.
 *
 * A process may be stopped while it has the lock of a hub. Nobody waits for the lock of a
 * listener's hub for ever: after 20 ms the hub is stalled, and its SYNs are the kernel's.
 *
 * A socket is in one of three modes, which never go back but to KERNEL: when a connect() failed, and when
 * a listener was shut down or its hub is broken:
 *   KERNEL      not connected yet, or served by the kernel: calls go to the descriptor
 *   LISTENER    the hub's; the kernel's socket listens, too, for all other interfaces
 *   CONNECTION  one of the hub's
 *
 * Order of locks: sock->setup, the listener's hub->lock, a connection's hub->lock, the table of
 * TIME_WAIT, the spare hubs. Requests to lrpd are never made under any of these but the first.
 */
#ifndef LRP_STREAM_H
#define LRP_STREAM_H

#include <poll.h>

#include "../drive/app.h"
#include "../tcp/flowtable.h"
#include "../tcp/listen.h"
#include "../tcp/tcp.h"
#include "../tcp/timewait.h"
#include "../tx/tcp_send.h"
#include "../ready/ready.h"
#include "../sock/socket.h"

struct lrp_hub;
struct lrp_waits;

#define LRP_STALLED_NS (20 * (int64_t)LRP_NS_PER_MS) /* who has a lock as long is stopped */
#define LRP_SETTLES_NS (20 * (int64_t)LRP_NS_PER_MS) /* what lasts as long gets an exact entry */

struct lrp_conn {
	struct lrp_tcp tcp;
	struct lrp_tcp_flow flow;
	struct lrp_hub *hub;
	struct lrp_tx_dest dest;
	struct lrp_conn *prev, *next; /* all of the hub */
	struct lrp_conn *later;	      /* in the accept queue */
	struct lrp_conn *next_touched;
	struct lrp_conn *next_left; /* of a stalled hub */
	bool touched;
	bool held;  /* a socket has it, or the accept queue */
	bool exact; /* XDP's map has an entry for it */
	bool over;  /* it has ended, and a socket has it still: its four-tuple is free */
	bool news;  /* something came for it since the last lrp_hub_flush(): who sleeps is woken */
	int64_t born_ns;
	uint32_t dropped;
	uint64_t processed[LRP_CONTEXT_COUNT]; /* its segments: where */
};

struct lrp_hub_slot {
	struct lrp_tcp_flow_head head;
	struct lrp_conn *conn;
};

enum lrp_hub_role {
	LRP_HUB_SPARE,	    /* nobody's, or about to get its connection: spare.c */
	LRP_HUB_CONNECTION, /* one connection's own */
	LRP_HUB_LISTENER,   /* its channels get what is for nobody else on the port: accept.c */
	LRP_HUB_TIMEWAIT, /* for segments of connections in TIME_WAIT, and nothing else: waits.c */
	LRP_HUB_ROLES
};

/* What a hub does in its role. Lock held; each may be NULL. */
struct lrp_hub_ops {
	/* A segment that belongs to no connection of the hub. 0 or a drop reason, as lrp_ip_input(). */
	int (*segment)(struct lrp_hub *hub, int64_t now, const struct lrp_tcp_flow *flow,
		       const struct lrp_tcp_segment *s, enum lrp_context context);
	/* An ICMP error about such a segment, whose sequence number that is. */
	void (*unreachable)(struct lrp_hub *hub, const struct lrp_tcp_flow *flow, uint32_t seq,
			    bool fatal);
	/* A call of the application has come. */
	void (*attend)(struct lrp_hub *hub);
	int64_t (*deadline)(const struct lrp_hub *hub); /* of timers(); LRP_TCP_NEVER */
	void (*timers)(struct lrp_hub *hub, int64_t now);
	/* Nobody has it any more, nor will: it is to be closed. NULL: never. */
	bool (*unused)(const struct lrp_hub *hub);
};

/* In a constructor: private to the process, since the hub itself lies in memory that others write. */
void lrp_hub_register(enum lrp_hub_role role, const struct lrp_hub_ops *ops);

/* LRP_HUB_CONNECTION */
struct lrp_hub_own {
	struct lrp_hub *parent; /* its listener's, whose table has it; NULL: opened from here */
	struct lrp_conn *ended; /* it has, and the parent's table has it still */
};

/* LRP_HUB_LISTENER */
struct lrp_hub_listen {
	pid_t acceptor;	   /* the thread that accepted last: stream_wait.c */
	bool open;	   /* connections are taken */
	bool reuseport;	   /* others listen, too: who gets a packet changes when they come and go */
	uint32_t children; /* hubs of connections that it accepted */
	bool lingers;	   /* some of them are in TIME_WAIT, on the process's own hub for that */
	__be16 port;
	struct lrp_tcp_listener core;
	struct lrp_tcp_half *half;
	struct lrp_conn *queue, **queue_end;
	int64_t settle_ns; /* connections are old enough for an exact entry */
	int64_t gate_ns;   /* SYNs are kept away until then; LRP_TCP_NEVER: they are not */
	uint32_t cookies;  /* sent while nobody called, in this interval */
	uint32_t queued, backlog;
};

struct lrp_hub {
	struct lrp_lock lock;
	struct lrp_driven
		driven; /* its serial changes when the hub is closed: see lrp_hub_lock_if() */
	_Atomic uint32_t options;  /* changes when one is set that accepted sockets inherit */
	_Atomic uint32_t sleepers; /* threads that wait for something of the hub; */
	_Atomic uint32_t waiters;  /* those of them that wait for a connection, not a listener */
	uint8_t role;		   /* enum lrp_hub_role */
	struct lrp_endpoint ep;
	int bell;     /* eventfd, edge-triggered: another thread made something ready */
	int set;      /* epoll instance of channels and bell, kept with a spare hub; or -1 */
	bool tainted; /* not to be used again: somebody may sleep on it still */
	bool foreign; /* of a process that is dead: its channels are not mapped here */
	pid_t pid;    /* the process whose mappings the channels are; 0: another that it forked */
	pid_t user;   /* the process that made a call on it last, and has mapped it; 0: none */
	struct lrp_hub *mail_next; /* family.c */
	_Atomic bool mailed;
	uint32_t turn; /* counts who has held the lock; */
	/* for the holder of this turn nothing has changed that concerns poll()'s events, unless it is in
	 * the channels; of a hub with one connection */
	uint32_t seen_turn;
	short seen; /* the events */
	/* reset when the hub is used again, all below */
	int hold; /* descriptor of the shadow when its owner has closed his; or -1 */
	pid_t hold_pid;
	bool broken; /* a holder of the lock died: all is reset */
	/* A holder of the lock was stopped: a listener's SYNs are the kernel's from then on, and
	 * nobody waits for the lock. Whoever gets it goes on as ever. */
	_Atomic bool stalled;
	_Atomic bool missed;		 /* somebody wanted the lock in vain */
	_Atomic(struct lrp_conn *) left; /* closed meanwhile: for the next one that has the lock */
	struct lrp_tcp_flow_table table; /* of struct lrp_hub_slot */
	struct lrp_conn *conns;
	struct lrp_conn *touched; /* since the last lrp_hub_flush() */
	/* While the lock is held for a receive call: whose, and where its bytes go at once; or NULL. */
	struct lrp_conn *reader;
	struct lrp_tcp_into *into;
	/* While the lock is held for a send call: whose output waits for what the call adds; or NULL. */
	struct lrp_conn *writer;

	struct lrp_hub_own own;
	struct lrp_hub_listen listen;
	struct lrp_waits *waits; /* a listener's: the family's; of the hub for TIME_WAIT: its own */
	uint64_t processed[LRP_CONTEXT_COUNT];
	uint64_t dropped;
	uint64_t discarded_before; /* by XDP on its channels, for whoever had them earlier */
	struct lrp_hub *next_free;
};

static inline bool lrp_hub_is(const struct lrp_hub *hub, enum lrp_hub_role role)
{
	return hub->role == role;
}

static inline struct lrp_hub *lrp_hub_driven(struct lrp_driven *d)
{
	return (struct lrp_hub *)((char *)d - offsetof(struct lrp_hub, driven));
}

/* The view's hub is to be looked after in this process from now on; with its lock or without. */
static inline void lrp_stream_watch(struct lrp_view *l)
{
	struct lrp_hub *hub = l->sock->stream.hub;

	atomic_store(&l->app, lrp_app_watch(&hub->driven, &hub->ep));
}

/* A holder of the lock died. Any time: closing takes the hub away first. */
static inline bool lrp_stream_broken(const struct lrp_view *l)
{
	const struct lrp_hub *hub = l->sock->stream.hub;

	return atomic_load(&l->sock->stream.mode) != LRP_STREAM_KERNEL && hub && hub->broken;
}

/* Its hub is a listener's whose holder is, or was, stopped. */
static inline bool lrp_stream_stalled(const struct lrp_view *l)
{
	const struct lrp_hub *hub = l->sock->stream.hub;

	return hub && atomic_load_explicit(&hub->stalled, memory_order_relaxed);
}

/* ---- hub.c, hub_lock.c, hub_input.c, hub_output.c, conn.c, flow.c ------------- */

struct lrp_hub *lrp_hub_new(void);
/* Takes the lock; false: it is not held, since the descriptor is not this socket's any more or its
 * mode has changed. */
bool lrp_hub_lock(struct lrp_view *l, int fd, enum lrp_stream_mode mode);
/* For whoever knows the hub by itself: false if it has been closed since `serial`, or its holder is
 * stopped. */
bool lrp_hub_lock_if(struct lrp_hub *hub, uint32_t serial);
/* Sends what is due, wakes who sleeps, releases the lock, and closes the hub if nothing is left of
 * it. */
void lrp_hub_unlock(struct lrp_hub *hub);

/* Lock held, all below. */
/* Drains the channels: all that has arrived is processed. `mine`: the caller's, who is told of it by
 * the call, so that only other threads that wait for it are woken; or NULL. */
void lrp_hub_input(struct lrp_hub *hub, int64_t now, const struct lrp_conn *mine,
		   enum lrp_context context);
/* Of a port that nobody listens on: forgets connections that only wait for their end. */
void lrp_hub_forget(struct lrp_hub *hub, int64_t now);
/* Runs timers that are due. */
void lrp_hub_timers(struct lrp_hub *hub, int64_t now);
/* Something was asked of the connection: lrp_hub_flush() sends what follows from it. */
void lrp_hub_touch(struct lrp_conn *c);
/* `mine`: as for lrp_hub_input(). */
void lrp_hub_flush(struct lrp_hub *hub, int64_t now, const struct lrp_conn *mine);
/* Another process has changed something of it [lrp_family_post()]. Lock not held. */
void lrp_hub_mail(struct lrp_hub *hub);
/* Gives frames back; true if nothing new has arrived. */
bool lrp_hub_settle(struct lrp_hub *hub);
/* Channels for it, of `limit` frames each. -errno. */
int lrp_hub_open(struct lrp_hub *hub, uint32_t limit);
/* By XDP, since it has its channels; any time. */
uint64_t lrp_hub_discarded(const struct lrp_hub *hub);
/* Of a hub that no other thread has seen. */
void lrp_hub_discard(struct lrp_hub *hub);
/* A table for more than one connection: a listener's. False: no memory. */
bool lrp_hub_table(struct lrp_hub *hub);
/* Gives its endpoint back; nobody has it any more. Asks lrpd. */
void lrp_hub_dispose(struct lrp_hub *hub);
/* This process has closed its socket, which others have, on a connection's hub: unmaps that. */
void lrp_hub_leave(struct lrp_hub *hub, uint32_t serial);
/* Lock of `from` held, not that of `to`, which is a spare one: the connection gets channels of
 * its own. False: it could not be told to XDP, and nothing has changed. */
bool lrp_hub_move(struct lrp_hub *from, struct lrp_conn *c, struct lrp_hub *to, int64_t now);
/* Locks of the hub and of its parent held: the connection goes back to its listener's channels. False:
 * it has to stay. `mapped`: the hub's channels are, here, and are drained. */
bool lrp_hub_return(struct lrp_hub *hub, struct lrp_conn *c, int64_t now, bool mapped);
/* Tells XDP where segments are to go: to this hub. 0 or -errno. */
int lrp_flow_expose(const struct lrp_tcp_flow *flow, const struct lrp_hub *hub);
/* The four-tuple is ours, but XDP does not look there yet; -EEXIST: another connection has it, of
 * whatever process. */
int lrp_flow_claim(const struct lrp_tcp_flow *flow, const struct lrp_hub *hub);
/* XDP does from now on, while the socket `shadow`, which is bound to the local end, is open. */
int lrp_flow_expose_bound(const struct lrp_tcp_flow *flow, const struct lrp_hub *hub, int shadow);
void lrp_flow_hide(const struct lrp_tcp_flow *flow);
int lrp_conn_expose(struct lrp_conn *c, const struct lrp_hub *hub);
/* NULL: no memory. In the hub's table; CLOSED. */
struct lrp_conn *lrp_conn_new(struct lrp_hub *hub, const struct lrp_tcp_flow *flow,
			      const struct lrp_tcp_options *o);
/* The socket lets go of it: it ends by itself. */
void lrp_conn_release(struct lrp_conn *c, int64_t now, bool abort);
/* The same of one on a stalled hub, whose lock is not to be had: the peer is reset now. */
void lrp_conn_leave(struct lrp_hub *hub, struct lrp_conn *c);

/* Takes the lock of a hub whose channels need not be mapped here; lets go of it. */
void lrp_hub_seize(struct lrp_hub *hub);
void lrp_hub_release(struct lrp_hub *hub);
/* Such a hub, and its parent (or NULL), are locked: resets the peer, and the connection is gone. */
void lrp_conn_orphaned(struct lrp_hub *hub, struct lrp_conn *c);
/* Nobody uses such a hub any more. Releases the lock; lrpd gets the channels back. */
void lrp_hub_bury(struct lrp_hub *hub);

/* ---- kind.c ------------------------------------------------------------------ */

/* For lrp_sock_new(). Who uses it gets all of the folder from the linker. */
extern const enum lrp_kind_number lrp_stream_kind;

static inline bool lrp_is_stream(const struct lrp_view *l)
{
	return l->sock->kind == LRP_KIND_STREAM;
}

/* ---- stats.c ----------------------------------------------------------------- */

void lrp_stream_stats(struct lrp_view *l, int fd, struct lrp_stats *now);

/* ---- exit.c ------------------------------------------------------------------ */

/* What is to be done when the process ends is done: see there. Once per program is enough. */
void lrp_exit_register(void);

/* ---- accept.c --------------------------------------------------------------- */

int lrp_stream_listen(struct lrp_view *l, int fd, int backlog); /* setup lock held */
int lrp_stream_accept(struct lrp_view *l, int fd, int flags, struct sockaddr_storage *addr,
		      socklen_t *len);

/* The hub is broken: the kernel's socket, which listens, too, takes over the port. Setup lock not held. */
void lrp_listen_abandon(struct lrp_view *l, int fd);
/* The listener was that of a process that is dead, its channels are not mapped here: the same, but
 * for what was accepted or waits for it. */
void lrp_listen_orphaned(struct lrp_hub *hub);
/* Resets what was not accepted; no more is taken. */
void lrp_listen_stop(struct lrp_hub *hub, int64_t now);

/* ---- waits.c ---------------------------------------------------------------- */

/* The listeners' table; NULL: no memory. */
struct lrp_waits *lrp_waits_get(void);
/* As lrp_tcp_timewait_input(), for a listener. */
enum lrp_tcp_timewait_result lrp_waits_input(struct lrp_waits *w, int64_t now,
					     const struct lrp_tcp_flow *flow,
					     const struct lrp_tcp_segment *s,
					     struct lrp_tcp_tx *reply, uint32_t *iss);
/* The connection is in TIME_WAIT; `listener`: that accepted it, locked, or NULL. True: its exact entry
 * leads to the process's own hub now; false: it has to go. */
bool lrp_waits_add(struct lrp_hub *listener, const struct lrp_conn *c, int64_t now);
/* The listener is about to be closed: its go to the process's own hub. */
void lrp_waits_part(struct lrp_hub *listener, int64_t now);
/* The socket, which holds the port of some, is kept open that long; the descriptor is taken. */
void lrp_waits_hold(int fd);
/* True: the flow was this process's in TIME_WAIT, an active open may have it, with this ISN; its entry
 * has yet to lead elsewhere. */
bool lrp_waits_reuse(const struct lrp_tcp_flow *flow, int64_t now, uint32_t *iss);
/* Makes the own hub, if there is none; by the thread that has no lock. */
void lrp_waits_start(void);
/* Its process is dead, and it is locked: the entries go. */
void lrp_waits_leave(struct lrp_hub *hub);

/* ---- ports.c ---------------------------------------------------------------- */

/*
 * The flow of an active open is made its own: XDP's exact entry leads to `hub`, and the shadow is bound
 * to flow->lport; 0: one is chosen. *iss: the ISN to use, 0: any. May ask lrpd.
 *
 * 0 or -errno; then there is no entry. EEXIST: a connection to the same peer has the port, or each that
 * can be had; EADDRINUSE: there is no other. ENETDOWN, EXDEV, EPERM and others: not to be had here.
 */
int lrp_port_take(const struct lrp_hub *hub, int fd, int domain, struct lrp_tcp_flow *flow,
		  uint32_t *iss);
/* In a child, which knows no ports yet. */
void lrp_ports_forget(void);

/* ---- shadow.c --------------------------------------------------------------- */

/* A descriptor for what is accepted, and where it comes from: if s->fd is not -1 it has its listener's
 * options already. -1 with errno. */
int lrp_shadow_get(const struct lrp_hub *listener, int domain, int flags, struct lrp_shadow *s);
/* `fd`, its last descriptor, is about to be closed. */
void lrp_shadow_keep(struct lrp_view *l, int fd);

/* ---- spare.c ---------------------------------------------------------------- */

#define LRP_SPARES_FEW 4u /* for who has had none so far */
/* So many hubs are to be ready from now on; returns at once. */
void lrp_spare_want(uint32_t count);
/* And some of them now. Asks lrpd. */
void lrp_spare_fill(uint32_t count);
/* A hub with channels, which nobody else has. NULL: none is ready. Asks nobody, waits for nobody. */
struct lrp_hub *lrp_spare_take(void);
/* Nothing uses it any more. */
void lrp_spare_put(struct lrp_hub *hub);
/* The thread is to give it back to lrpd. Returns at once. */
void lrp_spare_bury(struct lrp_hub *hub);
/* Gives all back, in the calling thread. */
void lrp_spare_drop(void);

/* ---- stream.c --------------------------------------------------------------- */

/* The mode was not what was expected: -EBADF (closed), -ECONNRESET (the hub is broken), or 0: look
 * again. */
int lrp_stream_changed(struct lrp_view *l, int fd);
int lrp_stream_connect(struct lrp_view *l, int fd, const struct sockaddr *addr, socklen_t addrlen);
int lrp_stream_shutdown(struct lrp_view *l, int fd, int how);
int lrp_stream_name(struct lrp_view *l, int fd, struct sockaddr *addr, socklen_t *len, bool peer);
int lrp_stream_ioctl(struct lrp_view *l, int fd, unsigned long request, void *arg);
/* Before the last descriptor is closed; may linger. */
void lrp_stream_closing(struct lrp_view *l, int fd);
/* When it has been closed; whatever lrp_stream_closing() did not see. */
void lrp_stream_end(struct lrp_sock *s);
/* The address as a socket of `domain` has it. */
socklen_t lrp_stream_address(struct sockaddr_storage *to, int domain, uint8_t family,
			     const union lrp_address *addr, __be16 port);

/* ---- stream_io.c ------------------------------------------------------------ */

ssize_t lrp_stream_receive(struct lrp_view *l, int fd, struct msghdr *msg, int flags);
ssize_t lrp_stream_send(struct lrp_view *l, int fd, const struct msghdr *msg, int flags);

/* ---- stream_options.c -------------------------------------------------------- */

int lrp_stream_setsockopt(struct lrp_view *l, int fd, int level, int name, const void *value,
			  socklen_t len);
int lrp_stream_getsockopt(struct lrp_view *l, int fd, int level, int name, void *value,
			  socklen_t *len);
/* What the shadow has been told. */
void lrp_stream_options(struct lrp_view *l, int fd, struct lrp_tcp_options *o);
int64_t lrp_stream_defer(int fd); /* TCP_DEFER_ACCEPT */
/* SO_BINDTODEVICE: the kernel's, for demultiplexing knows no device. */
bool lrp_stream_on_device(const struct lrp_view *l, int fd);
int lrp_stream_ecn(void); /* net.ipv4.tcp_ecn: 0, else accepted; 1, 3 and 4: offered, too */
uint8_t lrp_stream_syn_linear(void); /* net.ipv4.tcp_syn_linear_timeouts, Linux 6.5 and later */
int lrp_stream_somaxconn(void);
/* SO_LINGER; asks the shadow only if it was ever set. */
void lrp_stream_linger(struct lrp_view *l, int fd, struct linger *on);
/* An accepted socket has the options of its listener; `kept`: its shadow has them. */
void lrp_stream_inherit(struct lrp_view *from, int from_fd, struct lrp_view *to, int to_fd,
			bool kept);

/* ---- stream_wait.c ----------------------------------------------------------- */

/* A new epoll instance of the hub's channels and bell, and of a listener's shadow (-1: none); -errno. */
int lrp_stream_set(const struct lrp_hub *hub, int listener);
/* An accepted connection that is on its listener's channels, and could have its own; any time. */
static inline bool lrp_stream_unsettled(const struct lrp_view *l)
{
	const struct lrp_stream *stream = &l->sock->stream;

	return lrp_is_stream(l) && atomic_load(&stream->mode) == LRP_STREAM_CONNECTION &&
	       stream->hub && lrp_hub_is(stream->hub, LRP_HUB_LISTENER) &&
	       atomic_load(&l->sock->procs) == 1 && atomic_load(&l->epfd) < 0;
}
/* Then it gets them. */
void lrp_stream_settle(int fd);
/* The calling thread has accepted from the listener; NULL: forget that. */
void lrp_stream_accepting(struct lrp_view *l, int fd);
/* hub->lock held on entry, not on return. Sleeps until something may have changed. 0, -EAGAIN
 * (deadline; 0: none), -EINTR, -EBADF. */
int lrp_stream_wait(struct lrp_view *l, int fd, uint64_t deadline_ns);
/* In the child of fork: the set is the parent's. */
void lrp_stream_forked(struct lrp_view *l);
extern const struct lrp_ready_ops lrp_stream_ready;

/* How the segments of a flow are sent. */
static inline struct lrp_tx_tcp lrp_stream_how(const struct lrp_tcp_flow *flow,
					       const struct lrp_tcp_options *o)
{
	bool six = flow->family == AF_INET6;

	return (struct lrp_tx_tcp){.flow = flow, .tos = o->tos[six], .ttl = o->ttl[six]};
}

/* The answer to a stranger. */
static inline void lrp_stream_answer(const struct lrp_hub *hub, const struct lrp_tcp_flow *flow,
				     const struct lrp_tcp_tx *tx)
{
	struct lrp_tx_tcp how = lrp_stream_how(flow, &hub->listen.core.opt);

	lrp_tx_send_tcp(NULL, &how, tx, 1, MSG_DONTWAIT);
}

#endif

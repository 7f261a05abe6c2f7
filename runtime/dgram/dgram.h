/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * dgram.h - UDP sockets: what the files of this folder share.
 */
#ifndef LRP_DGRAM_H
#define LRP_DGRAM_H

#include "../ready/ready.h"
#include "../sock/socket.h"

/* ---- kind.c, life.c, calls.c: see sock/kind.h ------------------------------ */

/* For lrp_sock_new(). Who uses it gets all of the folder from the linker. */
extern const enum lrp_kind_number lrp_dgram_kind;
void lrp_dgram_init(struct lrp_sock *s, int fd);
void lrp_dgram_leave(struct lrp_view *l);
void lrp_dgram_end(struct lrp_sock *s);
int lrp_dgram_connect(struct lrp_view *l, int fd, const struct sockaddr *addr, socklen_t addrlen);
int lrp_dgram_shutdown(struct lrp_view *l, int fd, int how);
int lrp_dgram_name(struct lrp_view *l, int fd, struct sockaddr *addr, socklen_t *len, bool peer);
int lrp_dgram_ioctl(struct lrp_view *l, int fd, unsigned long request, void *arg);
void lrp_dgram_stats(struct lrp_view *l, int fd, struct lrp_stats *now);

/* ---- send.c, receive.c, zerocopy.c: see sock/kind.h -------------------------- */

ssize_t lrp_dgram_send(struct lrp_view *l, int fd, const struct msghdr *msg, int flags);
int lrp_dgram_send_many(struct lrp_view *l, int fd, struct mmsghdr *msgs, unsigned int count,
			int flags);
ssize_t lrp_dgram_receive(struct lrp_view *l, int fd, struct msghdr *msg, int flags);
int lrp_dgram_receive_many(struct lrp_view *l, int fd, struct mmsghdr *msgs, unsigned int count,
			   int flags, bool more);
int lrp_dgram_zc_receive(struct lrp_view *l, int fd, struct lrp_zc *dgrams, unsigned int count,
			 int flags);
int lrp_dgram_zc_return(struct lrp_view *l, struct lrp_zc *dgrams, unsigned int count);

/* ---- wait.c ------------------------------------------------------------- */

extern const struct lrp_ready_ops lrp_dgram_ready;
/* Sleeps until something may be received. 0, -EAGAIN (deadline), -EINTR, -EBADF. */
int lrp_wait(struct lrp_view *l, int fd, uint64_t deadline_ns);
/* A channel came or goes: the set that sleepers sleep on follows. */
void lrp_wait_add(struct lrp_view *l, int chan_fd);
void lrp_wait_remove(struct lrp_view *l, int chan_fd);
/* Somebody put a datagram on the ready queue. */
void lrp_wait_signal(struct lrp_view *l);

/* ---- channels.c --------------------------------------------------------- */

/* After the shadow was bound or connected, or its memberships changed: reads its addresses, takes
 * an endpoint if there is none, publishes. Setup lock held. */
void lrp_sock_publish(struct lrp_view *l, int fd);
uint32_t lrp_cpus(void); /* that this machine can have: XDP may exceed a limit by one frame each */
/* Changes the ceiling to s->dgram.limit, by a new ring if need be. Setup lock held. */
void lrp_sock_resize(struct lrp_view *l, int fd);
/* Closes an endpoint and frees what is beside its channels. */
void lrp_endpoint_discard(struct lrp_endpoint *ep, struct lrp_rxq *q);
/* The same of one that nobody receives from any more, but that the helper may still read. */
void lrp_endpoint_retire(struct lrp_endpoint *ep, struct lrp_rxq *q, bool helper_is_out);
void lrp_dgram_recover(struct lrp_sock *s); /* the holder of rx was killed while he held it */
/* What needs no doing per packet: channels of new pools, the old ring of a resize. */
void lrp_sock_tick(struct lrp_view *l, int fd);
void lrp_sock_user_flags(struct lrp_sock *s, uint32_t set, uint32_t clear);
/* Tells XDP whether the socket is shut down for reading, or connected. */
void lrp_sock_flags_sync(struct lrp_sock *s);

/* ---- input.c ------------------------------------------------------------ */

/* rx held. The next datagram of the channels or the ready queue, verified and this socket's;
 * false: none is there. The packet stays where it is until lrp_input_take(). */
bool lrp_input_next(struct lrp_view *l, struct lrp_packet *p, struct lrp_from *from,
		    enum lrp_context context);
void lrp_input_take(struct lrp_sock *s, const struct lrp_from *from);
/* Returns all taken frames: before the caller may sleep elsewhere. */
void lrp_input_return(struct lrp_view *l);
/* True if there is something to look at; processes nothing. */
bool lrp_input_pending(struct lrp_view *l);
/* The ring that a larger one replaced still holds something. */
bool lrp_old_pending(const struct lrp_view *l);

/* ---- queue.c ------------------------------------------------------------ */

/* Datagrams that have been processed and wait for their receiver, copied. rx held. */
int lrp_ready_push(struct lrp_sock *s, const struct lrp_packet *p, uint32_t ifindex,
		   uint64_t time_ns);
bool lrp_ready_peek(struct lrp_sock *s, struct lrp_packet *p, struct lrp_from *from);
void lrp_ready_pop(struct lrp_sock *s);
void lrp_ready_free(struct lrp_sock *s);
bool lrp_ready_empty(const struct lrp_sock *s);

/* ---- fragments.c -------------------------------------------------------- */

/* rx held. A fragment came; whole datagrams go to the ready queue. Returns a drop reason as
 * lrp_ip_input() does, or 0. */
int lrp_fragment_input(struct lrp_sock *s, const struct lrp_packet *p, const struct lrp_chan *chan);
/* Looks for fragments that came before their first. */
void lrp_fragment_collect(struct lrp_sock *s);
void lrp_fragment_free(struct lrp_sock *s);

/* ---- cmsg.c ------------------------------------------------------------- */

/* Copies a datagram out as recvmsg() does. Returns what recvmsg() returns. */
ssize_t lrp_deliver(struct lrp_view *l, const struct lrp_packet *p, const struct lrp_from *from,
		    struct msghdr *msg, int flags);
void lrp_cmsg_put(struct msghdr *msg, size_t *used, int level, int type, const void *data,
		  size_t len);
/* The sender's address as the socket's domain has it; returns its length. */
socklen_t lrp_peer_name(const struct lrp_sock *s, const struct lrp_packet *p, uint32_t ifindex,
			struct sockaddr_storage *name);

/* ---- error.c ------------------------------------------------------------ */

int lrp_icmp_received(struct lrp_sock *s, const struct lrp_packet *p, const struct lrp_chan *chan);
/* Looks at what is in the rings for ICMP errors without receiving; takes no lock if they are empty. */
void lrp_error_scan(struct lrp_view *l);
ssize_t lrp_error_receive(struct lrp_view *l, int fd, struct msghdr *msg, int flags);
bool lrp_error_queued(const struct lrp_sock *s);
/* Takes over what the shadow's error queue has, so that its EPOLLERR ends. */
void lrp_error_adopt(struct lrp_view *l, int fd);
void lrp_error_free(struct lrp_sock *s);

/* ---- multicast.c -------------------------------------------------------- */

/* Membership options: sets them on the shadow and publishes the group. -errno. */
int lrp_multicast_set(struct lrp_view *l, int fd, int level, int name, const void *value,
		      socklen_t len);
uint32_t lrp_multicast_requests(const struct lrp_sock *s, struct lrp_membership_request *requests);

/* ---- options.c ---------------------------------------------------------- */

/* Reads what the shadow has from the start: SO_RCVBUF, TTL, ... */
void lrp_options_init(struct lrp_sock *s, int fd);
uint32_t lrp_limit_of_rcvbuf(int rcvbuf);
int lrp_dgram_setsockopt(struct lrp_view *l, int fd, int level, int name, const void *value,
			 socklen_t len);
int lrp_dgram_getsockopt(struct lrp_view *l, int fd, int level, int name, void *value,
			 socklen_t *len);

#endif

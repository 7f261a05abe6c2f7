/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * receive.c - the receive calls.
 *
 * A call takes the socket's rx lock, processes the next packet of its channels
 * and copies it out. The shadow, where loopback and unattached interfaces
 * deliver, is read when the rings are empty and once every SHADOW_EVERY packets
 * when they are not, outside the lock.
 */
#include <fcntl.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../drive/drive.h"
#include "dgram.h"

#define SHADOW_EVERY 64u

static ssize_t from_shadow(struct lrp_view *l, int fd, struct msghdr *msg, int flags)
{
	struct lrp_sock *s = l->sock;
	ssize_t n;

	atomic_store_explicit(&l->shadow_ready, false, memory_order_relaxed);
	n = recvmsg(fd, msg, (flags & ~MSG_WAITFORONE) | MSG_DONTWAIT);
	if (n < 0) {
		s->dgram.since_shadow = 0;
		if (errno == EAGAIN)
			s->dgram.drain_shadow = false;
		if (s->dgram.peeked == LRP_PEEKED_SHADOW)
			s->dgram.peeked = LRP_PEEKED_NONE;
		if (errno == EAGAIN)
			/* Woken by the error queue alone: take it over, or it wakes us for ever. */
			lrp_error_adopt(l, fd);
		return -errno;
	}
	if (flags & MSG_PEEK) {
		s->dgram.peeked = LRP_PEEKED_SHADOW;
	} else {
		atomic_fetch_add_explicit(&s->dgram.kernel, 1, memory_order_relaxed);
		s->dgram.peeked = LRP_PEEKED_NONE;
		/* There may be more: sooner than after another SHADOW_EVERY. */
		s->dgram.since_shadow = SHADOW_EVERY * 7 / 8;
	}
	return n;
}

/* True if it is the shadow's turn before the channels'. */
static inline bool shadow_first(struct lrp_view *l)
{
	struct lrp_sock *s = l->sock;

	/* Datagrams of a ring that was replaced are older still. */
	if (lrp_unlikely(s->dgram.drain_shadow) && s->dgram.peeked == LRP_PEEKED_NONE &&
	    !lrp_old_pending(l))
		return true;
	if (lrp_likely(s->dgram.peeked == LRP_PEEKED_NONE))
		return s->dgram.since_shadow >= SHADOW_EVERY ||
		       atomic_load_explicit(&l->shadow_ready, memory_order_relaxed);
	return s->dgram.peeked == LRP_PEEKED_SHADOW;
}

/* From the channels: up to `count` datagrams. Returns how many (>= 1), or -errno. */
static inline int from_channels(struct lrp_view *l, int fd, struct mmsghdr *msgs,
				unsigned int count, int flags)
{
	struct lrp_sock *s = l->sock;
	struct lrp_packet p;
	struct lrp_from from;
	unsigned int n = 0;
	ssize_t len;

	lrp_rx_lock(s);
	if (lrp_unlikely(lrp_view_of(fd) != l)) {
		lrp_rx_unlock(s);
		return -EBADF;
	}
	while (n < count && lrp_input_next(l, &p, &from, LRP_CONTEXT_CALL)) {
		len = lrp_deliver(l, &p, &from, &msgs[n].msg_hdr, flags);
		msgs[n].msg_len = (unsigned int)len;
		n++;
		if (lrp_unlikely(flags & MSG_PEEK)) {
			s->dgram.peeked = LRP_PEEKED_CHANNEL;
			break;
		}
		lrp_input_take(s, &from);
	}
	lrp_rx_unlock(s);
	return n ? (int)n : -EAGAIN;
}

/* One attempt at up to `count` datagrams: > 0 how many, or -errno. Does not block. */
static int attempt(struct lrp_view *l, int fd, struct mmsghdr *msgs, unsigned int count, int flags)
{
	int error = lrp_error_take(l->sock), n;
	ssize_t len;

	if (lrp_unlikely(error))
		return -error;
	if (lrp_unlikely(shadow_first(l))) {
		lrp_sock_tick(l, fd);
		len = from_shadow(l, fd, &msgs[0].msg_hdr, flags);
		if (len != -EAGAIN) {
			msgs[0].msg_len = (unsigned int)len;
			return len < 0 ? (int)len : 1;
		}
	}
	n = from_channels(l, fd, msgs, count, flags);
	if (lrp_unlikely(n == -EAGAIN)) {
		error = lrp_error_take(l->sock);
		if (error)
			return -error;
	}
	return n;
}

/*
 * Waits for the first datagram as the flags say and takes up to `count`. `more`: the caller has
 * datagrams already, so that nothing has to be asked of the kernel when the channels are empty.
 */
static int receive_some(struct lrp_view *l, int fd, struct mmsghdr *msgs, unsigned int count,
			int flags, bool more)
{
	uint64_t deadline = 0;
	bool asked = false, timed = false;
	int64_t timeo;
	ssize_t len;
	int n;

	for (;;) {
		n = attempt(l, fd, msgs, count, flags);
		if (lrp_likely(n != -EAGAIN) || more)
			return n;
		if (!asked) {
			lrp_helper_pass();
			/* Only now: O_NONBLOCK is kept by the shadow, and asking costs a call. */
			if (lrp_nonblocking(fd, flags)) {
				len = from_shadow(l, fd, &msgs[0].msg_hdr, flags);
				msgs[0].msg_len = (unsigned int)len;
				if (len == -EAGAIN) {
					lrp_input_return(l);
					lrp_sock_tick(l, fd);
				}
				return len < 0 ? (int)len : 1;
			}
			timeo = atomic_load_explicit(&l->sock->rcvtimeo_ns, memory_order_relaxed);
			timed = timeo != 0;
			if (timed)
				deadline = lrp_now_ns() + (uint64_t)timeo;
			asked = true;
		}
		if (atomic_load_explicit(&l->sock->state, memory_order_relaxed) &
		    LRP_SOCK_SHUT_RD) {
			/* As Linux: what the shadow still has, then end of file. */
			len = from_shadow(l, fd, &msgs[0].msg_hdr, flags);
			if (len == -EAGAIN) {
				msgs[0].msg_hdr.msg_namelen = 0;
				msgs[0].msg_hdr.msg_controllen = 0;
				msgs[0].msg_hdr.msg_flags = 0;
				len = 0;
			}
			msgs[0].msg_len = (unsigned int)len;
			return len < 0 ? (int)len : 1;
		}
		n = lrp_wait(l, fd, deadline);
		/* With a timeout a signal always interrupts, as in the kernel. */
		if (n == -EINTR && !timed && lrp_signals_restart())
			continue;
		if (n)
			return n;
	}
}

ssize_t lrp_dgram_receive(struct lrp_view *l, int fd, struct msghdr *msg, int flags)
{
	struct mmsghdr one;
	int n;

	if (lrp_unlikely(flags & MSG_ERRQUEUE))
		return lrp_error_receive(l, fd, msg, flags);
	one.msg_hdr = *msg;
	n = receive_some(l, fd, &one, 1, flags, false);
	if (lrp_unlikely(n < 0))
		return n;
	msg->msg_namelen = one.msg_hdr.msg_namelen;
	msg->msg_controllen = one.msg_hdr.msg_controllen;
	msg->msg_flags = one.msg_hdr.msg_flags;
	return (ssize_t)one.msg_len;
}

int lrp_dgram_receive_many(struct lrp_view *l, int fd, struct mmsghdr *msgs, unsigned int count,
			   int flags, bool more)
{
	ssize_t len;

	if (lrp_likely(!(flags & MSG_ERRQUEUE)))
		return receive_some(l, fd, msgs, count, flags, more);
	len = lrp_error_receive(l, fd, &msgs[0].msg_hdr, flags);
	msgs[0].msg_len = (unsigned int)len;
	return len < 0 ? (int)len : 1;
}

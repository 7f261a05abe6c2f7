/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * zerocopy.c - datagrams that stay in the frame they came in.
 *
 * A frame is marked in the frame table and leaves its ring; it goes on using
 * up the socket's quota until it comes back. A cookie is the frame's address
 * and its pool; copies carry their own address with the top bit set.
 */
#include <stdlib.h>

#include "../base/clock.h"
#include "../drive/drive.h"
#include "dgram.h"

#define COOKIE_COPY	  (1ull << 63)
#define COOKIE_POOL_SHIFT 48
#define ADDR_MASK	  ((1ull << COOKIE_POOL_SHIFT) - 1)

/* Keeps what the cookie of a copy points to apart from any other memory. */
struct copy {
	uint64_t magic;
	uint64_t size;
	uint8_t data[];
};
#define COPY_MAGIC 0x6c72705f7a63ull

static int take_copy(struct lrp_view *l, struct lrp_zc *zc, const void *data, uint32_t len)
{
	struct copy *copy = malloc(sizeof(*copy) + (len ? len : 1));

	(void)l;
	if (!copy)
		return -ENOMEM;
	copy->magic = COPY_MAGIC;
	copy->size = len;
	memcpy(copy->data, data, len);
	zc->data = copy->data;
	zc->len = len;
	zc->cookie = COOKIE_COPY | (uint64_t)(uintptr_t)copy;
	/* cppcheck-suppress memleak ; the cookie keeps it */
	return 0;
}

/* rx held. */
static int take_one(struct lrp_view *l, struct lrp_zc *zc)
{
	struct lrp_sock *s = l->sock;
	struct lrp_packet p;
	struct lrp_from from;
	int error;

	if (!lrp_input_next(l, &p, &from, LRP_CONTEXT_CALL))
		return -EAGAIN;
	memset(&zc->peer, 0, sizeof(zc->peer));
	lrp_peer_name(s, &p, from.ifindex, &zc->peer);
	if (!from.chan || from.descs > 1) {
		error = take_copy(l, zc, p.payload, p.payload_len);
		if (!error)
			lrp_input_take(s, &from);
		return error;
	}
	zc->data = (void *)p.payload;
	zc->len = p.payload_len;
	zc->cookie = lrp_chan_desc(from.chan, 0)->addr | (uint64_t)(from.chan->pool->index + 1)
								 << COOKIE_POOL_SHIFT;
	lrp_chan_detach(from.chan);
	s->dgram.peeked = LRP_PEEKED_NONE;
	s->dgram.burst--;
	s->dgram.since_shadow++;
	return 0;
}

static int from_shadow(struct lrp_view *l, int fd, struct lrp_zc *zc)
{
	static __thread uint8_t *buffer;
	struct iovec iov = {.iov_len = 65536};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_name = &zc->peer,
			     .msg_namelen = sizeof(zc->peer)};
	ssize_t n;

	if (!buffer)
		buffer = malloc(65536);
	if (!buffer)
		return -ENOMEM;
	iov.iov_base = buffer;
	atomic_store(&l->shadow_ready, false);
	memset(&zc->peer, 0, sizeof(zc->peer));
	n = recvmsg(fd, &msg, MSG_DONTWAIT);
	if (n < 0) {
		n = -errno;
		l->sock->dgram.since_shadow = 0;
		if (n == -EAGAIN) {
			l->sock->dgram.drain_shadow = false;
			lrp_error_adopt(l, fd);
		}
		return (int)n;
	}
	atomic_fetch_add_explicit(&l->sock->dgram.kernel, 1, memory_order_relaxed);
	return take_copy(l, zc, buffer, (uint32_t)n);
}

static int attempt(struct lrp_view *l, int fd, struct lrp_zc *dgrams, unsigned int count)
{
	struct lrp_sock *s = l->sock;
	unsigned int n = 0;
	int error = lrp_error_take(s);

	if (error)
		return -error;
	if (s->dgram.since_shadow >= 64 || s->dgram.drain_shadow || atomic_load(&l->shadow_ready)) {
		error = from_shadow(l, fd, &dgrams[0]);
		if (error != -EAGAIN)
			return error ? error : 1;
	}
	lrp_rx_lock(s);
	error = lrp_view_of(fd) == l ? 0 : -EBADF;
	while (!error && n < count) {
		error = take_one(l, &dgrams[n]);
		n += !error;
	}
	lrp_rx_unlock(s);
	if (n)
		return (int)n;
	error = error == -EAGAIN ? lrp_error_take(s) : -error;
	return error ? -error : -EAGAIN;
}

int lrp_dgram_zc_receive(struct lrp_view *l, int fd, struct lrp_zc *dgrams, unsigned int count,
			 int flags)
{
	int64_t timeo;
	uint64_t deadline = 0;
	int n;

	if (flags & ~MSG_DONTWAIT)
		return -EOPNOTSUPP;
	if (!count)
		return -EINVAL;
	timeo = atomic_load(&l->sock->rcvtimeo_ns);
	if (timeo)
		deadline = lrp_now_ns() + (uint64_t)timeo;
	for (;;) {
		n = attempt(l, fd, dgrams, count);
		if (n != -EAGAIN)
			break;
		lrp_helper_pass();
		if (lrp_nonblocking(fd, flags)) {
			n = from_shadow(l, fd, &dgrams[0]);
			n = n ? n : 1;
			if (n == -EAGAIN) {
				lrp_input_return(l);
				lrp_sock_tick(l, fd);
			}
			break;
		}
		if (atomic_load(&l->sock->state) & LRP_SOCK_SHUT_RD) {
			n = -ESHUTDOWN;
			break;
		}
		n = lrp_wait(l, fd, deadline);
		if (n && !(n == -EINTR && !timeo && lrp_signals_restart()))
			break;
	}
	return n;
}

/* setup held: channels do not change. */
static int give_back(struct lrp_sock *s, uint64_t cookie)
{
	uint32_t pool = (uint32_t)(cookie >> COOKIE_POOL_SHIFT) - 1, i;
	int error = -EINVAL;

	for (i = 0; error && i < s->dgram.ep.channels; i++)
		if (s->dgram.ep.chan[i].pool->index == pool)
			error = lrp_chan_give_back(&s->dgram.ep.chan[i], cookie & ADDR_MASK);
	for (i = 0; error && i < s->dgram.old.channels; i++)
		if (s->dgram.old.chan[i].pool->index == pool)
			error = lrp_chan_give_back(&s->dgram.old.chan[i], cookie & ADDR_MASK);
	return error;
}

int lrp_dgram_zc_return(struct lrp_view *l, struct lrp_zc *dgrams, unsigned int count)
{
	unsigned int i;
	int error = 0, e;

	for (i = 0; i < count; i++) {
		uint64_t cookie = dgrams[i].cookie;
		struct copy *copy = (void *)(uintptr_t)(cookie & ~COOKIE_COPY);

		dgrams[i].cookie = 0;
		if (!cookie) {
			e = -EINVAL;
		} else if (cookie & COOKIE_COPY) {
			e = copy->magic == COPY_MAGIC ? 0 : -EINVAL;
			copy->magic = 0;
			free(copy);
		} else {
			e = give_back(l->sock, cookie);
		}
		/* The others are returned all the same. */
		if (e)
			error = e;
	}
	return error;
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* receive.c - the calls that receive. */
#include <errno.h>

#include "../base/clock.h"
#include "../sock/kind.h"

static inline ssize_t result(ssize_t n)
{
	if (lrp_likely(n >= 0))
		return n;
	errno = (int)-n;
	return -1;
}

LRP_API ssize_t lrp_recvmsg(int fd, struct msghdr *msg, int flags)
{
	LRP_CALL_POINT;
	struct lrp_view *l = lrp_view_of(fd);

	return result(l ? lrp_kind_of(l->sock)->receive(l, fd, msg, flags) : -EBADF);
}

LRP_API ssize_t lrp_recvfrom(int fd, void *buf, size_t len, int flags, struct sockaddr *addr,
			     socklen_t *addrlen)
{
	LRP_CALL_POINT;
	struct lrp_view *l = lrp_view_of(fd);
	struct iovec iov = {.iov_base = buf, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (lrp_unlikely(!l))
		return result(-EBADF);
	if (addr) {
		if ((int)*addrlen < 0)
			return result(-EINVAL);
		msg.msg_name = addr;
		msg.msg_namelen = *addrlen;
	}
	n = lrp_kind_of(l->sock)->receive(l, fd, &msg, flags);
	if (addr && n >= 0)
		*addrlen = msg.msg_namelen;
	return result(n);
}

LRP_API ssize_t lrp_recv(int fd, void *buf, size_t len, int flags)
{
	return lrp_recvfrom(fd, buf, len, flags, NULL, NULL);
}

LRP_API ssize_t lrp_read(int fd, void *buf, size_t len)
{
	return lrp_recvfrom(fd, buf, len, 0, NULL, NULL);
}

LRP_API ssize_t lrp_readv(int fd, const struct iovec *iov, int count)
{
	struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)count};

	if (count < 0 || count > 1024) {
		errno = EINVAL;
		return -1;
	}
	return lrp_recvmsg(fd, &msg, 0);
}

/*
 * As Linux has it: the timeout is looked at after each datagram and not while
 * waiting for one, and is updated to what is left of it; an error after the first
 * datagram is kept for the next call.
 */
LRP_API int lrp_recvmmsg(int fd, struct mmsghdr *msgs, unsigned int count, int flags,
			 struct timespec *timeout)
{
	LRP_CALL_POINT;
	struct lrp_view *l = lrp_view_of(fd);
	uint64_t end = 0, now;
	unsigned int done = 0;
	int n = 0;

	if (!l)
		return (int)result(-EBADF);
	if (timeout) {
		if (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= 1000000000)
			return (int)result(-EINVAL);
		end = lrp_now_ns() + (uint64_t)timeout->tv_sec * LRP_NS_PER_S +
		      (uint64_t)timeout->tv_nsec;
	}
	if (count > 1024)
		count = 1024;
	while (done < count) {
		/* A timeout is looked at after each. */
		unsigned int want = timeout ? 1 : count - done;

		n = lrp_kind_of(l->sock)->receive_many(l, fd, msgs + done, want,
						       flags & ~MSG_WAITFORONE,
						       done && flags & MSG_DONTWAIT);
		if (n < 0)
			break;
		done += (unsigned int)n;
		if (flags & MSG_WAITFORONE)
			flags |= MSG_DONTWAIT;
		if (timeout) {
			now = lrp_now_ns();
			timeout->tv_sec = now < end ? (time_t)((end - now) / LRP_NS_PER_S) : 0;
			timeout->tv_nsec = now < end ? (long)((end - now) % LRP_NS_PER_S) : 0;
			if (now >= end)
				break;
		}
		if (atomic_load_explicit(&l->sock->state, memory_order_relaxed) &
			    LRP_SOCK_SHUT_RD &&
		    !msgs[done - 1].msg_len)
			break;
	}
	if (done) {
		if (n < 0 && n != -EAGAIN && n != -EINTR && n != -EBADF)
			atomic_store(&l->sock->error, -n);
		return (int)done;
	}
	return (int)result(n);
}

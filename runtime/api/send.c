/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* send.c - the calls that send. */
#include <errno.h>

#include "../sock/kind.h"

static inline ssize_t result(ssize_t n)
{
	if (lrp_likely(n >= 0))
		return n;
	errno = (int)-n;
	return -1;
}

LRP_API ssize_t lrp_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	LRP_CALL_POINT;
	struct lrp_view *l = lrp_view_of(fd);

	return result(l ? lrp_kind_of(l->sock)->send(l, fd, msg, flags) : -EBADF);
}

LRP_API ssize_t lrp_sendto(int fd, const void *buf, size_t len, int flags,
			   const struct sockaddr *addr, socklen_t addrlen)
{
	LRP_CALL_POINT;
	struct lrp_view *l = lrp_view_of(fd);
	struct iovec iov = {.iov_base = (void *)buf, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (addr) {
		msg.msg_name = (void *)addr;
		msg.msg_namelen = addrlen;
	}
	return result(l ? lrp_kind_of(l->sock)->send(l, fd, &msg, flags) : -EBADF);
}

LRP_API ssize_t lrp_send(int fd, const void *buf, size_t len, int flags)
{
	return lrp_sendto(fd, buf, len, flags, NULL, 0);
}

LRP_API ssize_t lrp_write(int fd, const void *buf, size_t len)
{
	return lrp_sendto(fd, buf, len, 0, NULL, 0);
}

LRP_API ssize_t lrp_writev(int fd, const struct iovec *iov, int count)
{
	struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)count};

	if (count < 0 || count > 1024) {
		errno = EINVAL;
		return -1;
	}
	return lrp_sendmsg(fd, &msg, 0);
}

LRP_API int lrp_sendmmsg(int fd, struct mmsghdr *msgs, unsigned int count, int flags)
{
	LRP_CALL_POINT;
	struct lrp_view *l = lrp_view_of(fd);

	if (!l)
		return (int)result(-EBADF);
	return (int)result(
		lrp_kind_of(l->sock)->send_many(l, fd, msgs, count > 1024 ? 1024 : count, flags));
}

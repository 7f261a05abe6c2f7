/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * socket.c - the calls that make, name and configure a socket.
 *
 * The shadow comes first and goes last. It is bound by the kernel, so the
 * kernel rules on ports and privileges; only then does lrpd, which reads the
 * addresses from the shadow itself, make demultiplexing follow. What arrives in
 * between is the shadow's, and is read from there.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "../dgram/dgram.h"
#include "../sock/kind.h"
#include "../stream/stream.h"

LRP_API int lrp_socket(int domain, int type, int protocol)
{
	LRP_CALL;
	struct lrp_view *l;
	struct lrp_sock *s;
	int fd, error;

	error = lrp_table_init();
	if (error)
		return lrp_fail(error);
	lrp_close_deferred();
	fd = socket(domain, type, protocol);
	if (fd < 0)
		return -1;
	type &= ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
	if ((domain != AF_INET && domain != AF_INET6) ||
	    !((type == SOCK_DGRAM && (!protocol || protocol == IPPROTO_UDP)) ||
	      (type == SOCK_STREAM && (!protocol || protocol == IPPROTO_TCP)))) {
		close(fd);
		return lrp_fail(-EOPNOTSUPP);
	}
	lrp_inside++;
	s = lrp_sock_new(fd, domain, type == SOCK_STREAM ? lrp_stream_kind : lrp_dgram_kind);
	error = s ? lrp_table_add(fd, s, &l) : -ENOMEM;
	lrp_inside--;
	if (error) {
		if (s)
			lrp_sock_free(s);
		close(fd);
		return lrp_fail(error);
	}
	return fd;
}

LRP_API int lrp_bind(int fd, const struct sockaddr *addr, socklen_t addrlen)
{
	LRP_CALL;
	struct lrp_view *l;
	int error = lrp_setup_lock(fd, &l);

	if (error)
		return lrp_fail(error);
	error = lrp_bind_port(fd, addr, addrlen);
	if (!error && lrp_kind_of(l->sock)->bound)
		lrp_kind_of(l->sock)->bound(l, fd);
	lrp_setup_unlock(l);
	return error ? lrp_fail(error) : 0;
}

LRP_API int lrp_connect(int fd, const struct sockaddr *addr, socklen_t addrlen)
{
	LRP_CALL_POINT;
	struct lrp_view *l = lrp_view_of(fd);
	int error = l ? lrp_kind_of(l->sock)->connect(l, fd, addr, addrlen) : -EBADF;

	return error ? lrp_fail(error) : 0;
}

LRP_API int lrp_listen(int fd, int backlog)
{
	LRP_CALL;
	struct lrp_view *l;
	int (*call)(struct lrp_view *, int, int);
	int error = lrp_setup_lock(fd, &l);

	if (error)
		return lrp_fail(error);
	call = lrp_kind_of(l->sock)->listen;
	error = call ? call(l, fd, backlog) : -EOPNOTSUPP;
	lrp_setup_unlock(l);
	return error ? lrp_fail(error) : 0;
}

LRP_API int lrp_accept4(int fd, struct sockaddr *addr, socklen_t *addrlen, int flags)
{
	LRP_CALL_POINT;
	struct lrp_view *l = lrp_view_of(fd);
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	int n;

	if (!l)
		n = -EBADF;
	else if (addr && (int)*addrlen < 0)
		n = -EINVAL;
	else if (flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC))
		n = -EINVAL;
	else if (!lrp_kind_of(l->sock)->accept)
		n = -EOPNOTSUPP;
	else
		n = lrp_kind_of(l->sock)->accept(l, fd, flags, &from, &len);
	if (n < 0)
		return lrp_fail(n);
	if (addr) {
		memcpy(addr, &from, *addrlen < len ? *addrlen : len);
		*addrlen = len;
	}
	return n;
}

LRP_API int lrp_accept(int fd, struct sockaddr *addr, socklen_t *addrlen)
{
	return lrp_accept4(fd, addr, addrlen, 0);
}

LRP_API int lrp_shutdown(int fd, int how)
{
	LRP_CALL;
	struct lrp_view *l;
	int error = lrp_setup_lock(fd, &l);

	if (error)
		return lrp_fail(error);
	error = lrp_kind_of(l->sock)->shutdown(l, fd, how);
	lrp_setup_unlock(l);
	return error ? lrp_fail(error) : 0;
}

static int name_of(int fd, struct sockaddr *addr, socklen_t *addrlen, bool peer)
{
	struct lrp_view *l = lrp_view_of(fd);
	int error = l ? lrp_kind_of(l->sock)->name(l, fd, addr, addrlen, peer) : -EBADF;

	return error ? lrp_fail(error) : 0;
}

LRP_API int lrp_getsockname(int fd, struct sockaddr *addr, socklen_t *addrlen)
{
	LRP_CALL;
	return name_of(fd, addr, addrlen, false);
}

LRP_API int lrp_getpeername(int fd, struct sockaddr *addr, socklen_t *addrlen)
{
	LRP_CALL;
	return name_of(fd, addr, addrlen, true);
}

static int dup_with(int fd, int cmd, int arg)
{
	struct lrp_view *l = lrp_view_of(fd);
	int newfd, error;

	if (!l)
		return lrp_fail(-EBADF);
	newfd = fcntl(fd, cmd, arg);
	if (newfd < 0)
		return -1;
	l->sock->touched = true;
	lrp_inside++;
	error = lrp_table_dup(newfd, l);
	lrp_inside--;
	if (error) {
		close(newfd);
		return lrp_fail(error);
	}
	return newfd;
}

LRP_API int lrp_dup(int fd)
{
	LRP_CALL;
	return dup_with(fd, F_DUPFD, 0);
}

LRP_API int lrp_fcntl(int fd, int cmd, ...)
{
	LRP_CALL;
	struct lrp_view *l = lrp_view_of(fd);
	va_list ap;
	long arg;

	va_start(ap, cmd);
	arg = va_arg(ap, long);
	va_end(ap);
	if (!l)
		return lrp_fail(-EBADF);
	switch (cmd) {
	case F_DUPFD:
	case F_DUPFD_CLOEXEC:
		return dup_with(fd, cmd, (int)arg);
	case F_SETFL:
		/* SIGIO would come for the shadow's datagrams alone. */
		if (arg & O_ASYNC)
			return lrp_fail(-EOPNOTSUPP);
		l->sock->touched = true;
		return fcntl(fd, cmd, arg);
	case F_GETFL:
	case F_GETFD:
	case F_SETFD:
		return fcntl(fd, cmd, arg);
	default:
		return lrp_fail(-EOPNOTSUPP);
	}
}

LRP_API int lrp_ioctl(int fd, unsigned long request, ...)
{
	LRP_CALL;
	struct lrp_view *l = lrp_view_of(fd);
	va_list ap;
	void *arg;
	int error;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	error = l ? lrp_kind_of(l->sock)->ioctl(l, fd, request, arg) : -EBADF;
	return error ? lrp_fail(error) : 0;
}

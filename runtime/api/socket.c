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
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../base/fd.h"
#include "../drive/drive.h"
#include "../stream/stream.h"

int lrp_setup_lock(int fd, struct lrp_view **local)
{
	struct lrp_view *l = lrp_view_of(fd);

	if (!l)
		return -EBADF;
	lrp_inside++;
	lrp_lock(&l->sock->setup);
	if (lrp_view_of(fd) != l) {
		lrp_setup_unlock(l);
		return -EBADF;
	}
	*local = l;
	return 0;
}

void lrp_setup_unlock(struct lrp_view *l)
{
	lrp_unlock(&l->sock->setup);
	lrp_inside--;
}

struct lrp_sock *lrp_sock_new(int fd, int domain, bool is_stream)
{
	struct lrp_sock *s = lrp_sock_alloc();
	struct lrp_holder *holders;

	if (!s)
		return NULL;
	/* A thread that found it by a descriptor now closed may hold the lock for a moment. */
	lrp_rx_lock(s);
	holders = atomic_load(&s->holder.next);
	memset((char *)s + sizeof(s->rx), 0, offsetof(struct lrp_sock, setup) - sizeof(s->rx));
	memset((char *)&s->setup + sizeof(s->setup), 0,
	       sizeof(*s) - offsetof(struct lrp_sock, setup) - sizeof(s->setup));
	s->domain = (uint8_t)domain;
	s->ep.id = s->old.id = LRP_ENDPOINT_NONE;
	s->eventfd = -1;
	atomic_store(&s->holder.next, holders);
	atomic_store(&s->procs, 1);
	lrp_holder_first(s);
	s->is_stream = is_stream;
	lrp_options_init(s, fd);
	if (lrp_eager() && !is_stream) {
		s->eventfd = lrp_fd_aside(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
		s->eager = true;
	}
	lrp_rx_unlock(s);
	return s;
}

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
	lrp_stream_linked();
	lrp_dgram_linked();
	s = lrp_sock_new(fd, domain, type == SOCK_STREAM);
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
	if (!error && !lrp_is_stream(l))
		lrp_sock_publish(l, fd);
	lrp_setup_unlock(l);
	return error ? lrp_fail(error) : 0;
}

LRP_API int lrp_connect(int fd, const struct sockaddr *addr, socklen_t addrlen)
{
	LRP_CALL_POINT;
	struct lrp_view *l = lrp_view_of(fd);
	int error;

	if (l && lrp_is_stream(l)) {
		error = lrp_stream_connect(l, fd, addr, addrlen);
		return error ? lrp_fail(error) : 0;
	}
	error = lrp_setup_lock(fd, &l);
	if (error)
		return lrp_fail(error);
	/* What cannot be bound here connect() binds, and the kernel serves. */
	if (addr && addrlen >= sizeof(addr->sa_family) && addr->sa_family != AF_UNSPEC)
		(void)lrp_bind_any(fd, l->sock->domain);
	if (connect(fd, addr, addrlen))
		error = -errno;
	else
		lrp_sock_publish(l, fd);
	lrp_setup_unlock(l);
	return error ? lrp_fail(error) : 0;
}

/* Setup lock held or not: the first call that needs a port gives the socket one. */
int lrp_sock_autobind(int fd)
{
	struct lrp_view *locked;
	int error;

	error = lrp_setup_lock(fd, &locked);
	if (error)
		return error;
	if (!locked->sock->bound) {
		error = lrp_bind_any(fd, locked->sock->domain);
		if (error == -EINVAL)
			error = 0;
		if (!error)
			lrp_sock_publish(locked, fd);
	}
	lrp_setup_unlock(locked);
	return error;
}

LRP_API int lrp_shutdown(int fd, int how)
{
	LRP_CALL;
	struct lrp_view *l;
	struct lrp_sock *s;
	int error = lrp_setup_lock(fd, &l), r;

	if (error)
		return lrp_fail(error);
	s = l->sock;
	if (lrp_is_stream(l)) {
		error = lrp_stream_shutdown(l, fd, how);
		lrp_setup_unlock(l);
		return error ? lrp_fail(error) : 0;
	}
	r = shutdown(fd, how);
	error = r ? -errno : 0;
	/* Even an unconnected socket is shut down by it, and only then says ENOTCONN. */
	if ((!r || error == -ENOTCONN) && (how == SHUT_RD || how == SHUT_RDWR)) {
		atomic_fetch_or(&s->state, LRP_SOCK_SHUT_RD);
		lrp_sock_flags_sync(s);
	}
	/* Sending fails from now on, as the shadow says it. */
	if ((!r || error == -ENOTCONN) && (how == SHUT_WR || how == SHUT_RDWR))
		s->slow_send = true;
	lrp_setup_unlock(l);
	return error ? lrp_fail(error) : 0;
}

LRP_API int lrp_getsockname(int fd, struct sockaddr *addr, socklen_t *addrlen)
{
	LRP_CALL;
	struct lrp_view *l = lrp_view_of(fd);
	int error = -EBADF;

	if (l && !lrp_is_stream(l))
		return getsockname(fd, addr, addrlen);
	if (l)
		error = lrp_stream_name(l, fd, addr, addrlen, false);
	return error ? lrp_fail(error) : 0;
}

LRP_API int lrp_getpeername(int fd, struct sockaddr *addr, socklen_t *addrlen)
{
	LRP_CALL;
	struct lrp_view *l = lrp_view_of(fd);
	int error = -EBADF;

	if (l && !lrp_is_stream(l))
		return getpeername(fd, addr, addrlen);
	if (l)
		error = lrp_stream_name(l, fd, addr, addrlen, true);
	return error ? lrp_fail(error) : 0;
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
	l->sock->stream.touched = true;
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
		l->sock->stream.touched = true;
		return fcntl(fd, cmd, arg);
	case F_GETFL:
	case F_GETFD:
	case F_SETFD:
		return fcntl(fd, cmd, arg);
	default:
		return lrp_fail(-EOPNOTSUPP);
	}
}

/* Bytes of the next datagram, as FIONREAD on a UDP socket has it. */
static int next_length(struct lrp_view *l, int fd, int *length)
{
	struct lrp_packet p;
	struct lrp_from from;
	bool found;

	lrp_rx_lock(l->sock);
	found = lrp_input_next(l, &p, &from, LRP_CONTEXT_CALL);
	if (found) {
		*length = (int)p.payload_len;
		l->sock->peeked = LRP_PEEKED_CHANNEL;
	}
	lrp_rx_unlock(l->sock);
	return found ? 0 : ioctl(fd, FIONREAD, length);
}

LRP_API int lrp_ioctl(int fd, unsigned long request, ...)
{
	LRP_CALL;
	struct lrp_view *l = lrp_view_of(fd);
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (!l)
		return lrp_fail(-EBADF);
	if (lrp_is_stream(l)) {
		int error = lrp_stream_ioctl(l, fd, request, arg);

		return error ? lrp_fail(error) : 0;
	}
	switch (request) {
	case FIONREAD: /* = SIOCINQ */
		return next_length(l, fd, arg);
	case FIONBIO:
	case FIONCLEX:
	case FIOCLEX:
	case TIOCOUTQ: /* = SIOCOUTQ */
		return ioctl(fd, request, arg);
	default:
		/* Questions about interfaces are asked on any socket. */
		if (request >= SIOCGIFNAME && request <= SIOCGIFTXQLEN)
			return ioctl(fd, request, arg);
		return lrp_fail(-EOPNOTSUPP);
	}
}

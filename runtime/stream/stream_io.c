/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * stream_io.c - reading from and writing to a connection: input runs first, in
 * the calling thread, for its own socket.
 */
#include <signal.h>
#include <stdlib.h>

#include "../base/clock.h"
#include "stream.h"

#define PIECES 16u /* of an iovec on the stack */
#define RECEIVE_FLAGS                                                                              \
	(MSG_DONTWAIT | MSG_PEEK | MSG_WAITALL | MSG_OOB | MSG_TRUNC | MSG_NOSIGNAL |              \
	 MSG_CMSG_CLOEXEC | MSG_WAITFORONE)
#define SEND_FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE | MSG_OOB | MSG_EOR | MSG_CONFIRM)

/* One call's progress. */
struct job {
	const struct msghdr *msg;
	size_t total, done;
	struct iovec stack[PIECES], *piece; /* what is left */
	uint32_t pieces;
	bool blocking, asked, partial; /* partial: whatever is there will do */
	int64_t timeo;
	uint64_t deadline;
};

static int job_begin(struct job *j, const struct msghdr *msg)
{
	size_t i;

	if (msg->msg_iovlen > 1024)
		return -EMSGSIZE;
	j->msg = msg;
	j->total = j->done = 0;
	j->asked = j->partial = false;
	for (i = 0; i < msg->msg_iovlen; i++)
		j->total += msg->msg_iov[i].iov_len;
	j->piece = j->stack;
	if (msg->msg_iovlen > PIECES) {
		j->piece = malloc(msg->msg_iovlen * sizeof(*j->piece));
		if (!j->piece)
			return -ENOBUFS;
	}
	memcpy(j->piece, msg->msg_iov, msg->msg_iovlen * sizeof(*j->piece));
	j->pieces = (uint32_t)msg->msg_iovlen;
	return 0;
}

static ssize_t job_end(struct job *j, ssize_t result)
{
	if (j->piece != j->stack)
		free(j->piece);
	return result;
}

static void job_advance(struct job *j, size_t n)
{
	size_t skip = j->done + n, i, at = 0;

	j->done = skip;
	for (i = 0; i < j->msg->msg_iovlen && skip >= j->msg->msg_iov[i].iov_len; i++)
		skip -= j->msg->msg_iov[i].iov_len;
	for (; i < j->msg->msg_iovlen; i++, at++) {
		j->piece[at] = j->msg->msg_iov[i];
		j->piece[at].iov_base = (uint8_t *)j->piece[at].iov_base + skip;
		j->piece[at].iov_len -= skip;
		skip = 0;
	}
	j->pieces = (uint32_t)at;
}

/* Hub locked, not afterwards. Sleeps if the call may; 0: look again. */
static int job_wait(struct job *j, struct lrp_view *l, int fd, int flags,
		    const _Atomic int64_t *timeo)
{
	int error;

	if (!j->asked) {
		j->asked = true;
		j->blocking = !lrp_nonblocking(fd, flags);
		j->timeo = atomic_load(timeo);
		j->deadline = j->timeo ? lrp_now_ns() + (uint64_t)j->timeo : 0;
	}
	if (!j->blocking) {
		/* Frames go back before the caller turns to something else. */
		lrp_hub_settle(l->sock->stream.hub);
		lrp_hub_unlock(l->sock->stream.hub);
		return -EAGAIN;
	}
	error = lrp_stream_wait(l, fd, j->deadline);
	return error == -EINTR && !j->timeo && lrp_signals_restart() ? 0 : error;
}

/* ---- receiving --------------------------------------------------------------- */

static int tcp_flags(int flags)
{
	return (flags & MSG_PEEK ? LRP_TCP_PEEK : 0) | (flags & MSG_OOB ? LRP_TCP_OOB : 0) |
	       (flags & MSG_TRUNC ? LRP_TCP_TRUNC : 0);
}

/* No more will come than is there. */
static bool ended(const struct lrp_tcp *c)
{
	return lrp_tcp_ready(c) & (LRP_TCP_READ_CLOSED | LRP_TCP_ERROR) ||
	       c->state == LRP_TCP_CLOSED;
}

/* Bytes that the call has to return unless the stream ends before. */
static size_t needed(const struct lrp_conn *c, const struct job *j, int flags)
{
	size_t low;

	if (flags & MSG_WAITALL)
		return j->total;
	low = lrp_tcp_low_water(&c->tcp);
	return j->total < low ? j->total : low;
}

/* Hub locked. What recvmsg() returns, or -EAGAIN: the call has to wait for more. */
static ssize_t read_some(struct lrp_conn *c, struct job *j, int64_t now, int flags)
{
	ssize_t n = lrp_tcp_read(&c->tcp, now, j->piece, j->pieces, tcp_flags(flags));
	size_t got;

	if (flags & MSG_OOB)
		return n;
	if (n > 0 && !(flags & MSG_PEEK)) {
		lrp_hub_touch(c);
		job_advance(j, (size_t)n);
	}
	if (n <= 0 && !j->done)
		return n;
	/* An error is for the next call. */
	if (n < 0 && n != -EAGAIN)
		c->tcp.error = (int)-n;
	got = flags & MSG_PEEK ? (size_t)n : j->done;
	if (!j->partial && (n > 0 || n == -EAGAIN) && got < needed(c, j, flags) && !ended(&c->tcp))
		return -EAGAIN;
	return (ssize_t)got;
}

/* Hub locked. What lies in the buffer is the caller's, then what lies in the channel: of that no byte
 * passes the buffer that the caller has room for. */
static void input(struct lrp_stream *stream, struct job *j, int64_t now, int flags)
{
	struct lrp_conn *c = stream->conn;
	struct lrp_hub *hub = stream->hub;
	struct lrp_tcp_into into = {0};
	ssize_t n;

	/* The mark of urgent data ends a read: lrp_tcp_read() sees to it. */
	if (!(flags & (MSG_PEEK | MSG_OOB | MSG_TRUNC)) && !c->tcp.rcv_urgent) {
		if (lrp_tcp_readable(&c->tcp)) {
			n = lrp_tcp_read(&c->tcp, now, j->piece, j->pieces, 0);
			job_advance(j, n > 0 ? (size_t)n : 0);
			lrp_hub_touch(c);
		}
		into = (struct lrp_tcp_into){j->piece, j->pieces, 0};
		hub->reader = c;
		hub->into = &into;
	}
	lrp_hub_input(hub, now, c, LRP_CONTEXT_CALL);
	hub->reader = NULL;
	hub->into = NULL;
	if (into.done) {
		job_advance(j, into.done);
		lrp_hub_touch(c);
	}
}

static ssize_t receive(struct lrp_view *l, int fd, struct job *j, int flags)
{
	struct lrp_stream *stream = &l->sock->stream;
	size_t had;
	int64_t now;
	ssize_t n;
	int error;

	for (;;) {
		if (!lrp_hub_lock(l, fd, LRP_STREAM_CONNECTION)) {
			error = lrp_stream_changed(l, fd);
			if (error == -ECONNRESET && lrp_stream_stalled(l) &&
			    lrp_nonblocking(fd, flags))
				error = -EAGAIN; /* until its holder goes on */
			if (error)
				return error;
			n = LRP_SLEEP(recvmsg(fd, (struct msghdr *)j->msg, flags));
			return n < 0 ? -errno : n;
		}
		now = (int64_t)lrp_now_ns();
		had = j->done;
		input(stream, j, now, flags);
		if (j->done > had && stream->conn->tcp.rcv_urgent)
			n = (ssize_t)j->done;
		else
			n = read_some(stream->conn, j, now, flags);
		lrp_hub_flush(stream->hub, now, stream->conn);
		if (n != -EAGAIN) {
			lrp_hub_unlock(stream->hub);
			return n;
		}
		/* Urgent data is not waited for. */
		if (flags & MSG_OOB) {
			lrp_hub_unlock(stream->hub);
			return -EAGAIN;
		}
		error = job_wait(j, l, fd, flags, &l->sock->rcvtimeo_ns);
		if (error) {
			if (flags & MSG_PEEK && !j->partial) {
				j->partial = j->asked = true;
				j->blocking = false;
				continue;
			}
			return j->done ? (ssize_t)j->done : error;
		}
	}
}

ssize_t lrp_stream_receive(struct lrp_view *l, int fd, struct msghdr *msg, int flags)
{
	struct job j;
	ssize_t n;

	if (atomic_load(&l->sock->stream.mode) != LRP_STREAM_CONNECTION) {
		n = LRP_SLEEP(recvmsg(fd, msg, flags));
		return n < 0 ? -errno : n;
	}
	if (flags & MSG_ERRQUEUE)
		return -EAGAIN;
	if (flags & ~RECEIVE_FLAGS)
		return -EOPNOTSUPP;
	n = job_begin(&j, msg);
	if (n)
		return n;
	n = job_end(&j, receive(l, fd, &j, flags));
	if (n >= 0) {
		msg->msg_namelen = 0;
		msg->msg_controllen = 0;
		msg->msg_flags = (flags & MSG_CMSG_CLOEXEC) | (flags & MSG_OOB && n ? MSG_OOB : 0);
	}
	return n;
}

/* ---- sending ------------------------------------------------------------------- */

static ssize_t send_all(struct lrp_view *l, int fd, struct job *j, int flags)
{
	int io = (flags & MSG_MORE ? LRP_TCP_MORE : 0) | (flags & MSG_OOB ? LRP_TCP_OOB : 0) |
		 (flags & MSG_EOR ? LRP_TCP_EOR : 0);
	struct lrp_stream *stream = &l->sock->stream;
	int64_t now;
	ssize_t n;
	int error;

	for (;;) {
		if (!lrp_hub_lock(l, fd, LRP_STREAM_CONNECTION)) {
			error = lrp_stream_changed(l, fd);
			if (error == -ECONNRESET && lrp_stream_stalled(l) &&
			    lrp_nonblocking(fd, flags))
				error = -EAGAIN; /* until its holder goes on */
			if (error)
				return error;
			n = LRP_SLEEP(sendmsg(fd, j->msg, flags));
			return n < 0 ? -errno : n;
		}
		now = (int64_t)lrp_now_ns();
		/* What acknowledgements allow goes out together with what is written now. */
		stream->hub->writer = stream->conn;
		lrp_hub_input(stream->hub, now, stream->conn, LRP_CONTEXT_CALL);
		stream->hub->writer = NULL;
		n = lrp_tcp_write(&stream->conn->tcp, now, j->piece, j->pieces, io);
		if (n > 0) {
			job_advance(j, (size_t)n);
			lrp_hub_touch(stream->conn);
		}
		lrp_hub_flush(stream->hub, now, stream->conn);
		if (j->done == j->total || (n < 0 && n != -EAGAIN)) {
			lrp_hub_unlock(stream->hub);
			return j->done || n >= 0 ? (ssize_t)j->done : n;
		}
		/* What was sent may have made room for more already. */
		if (n > 0) {
			lrp_hub_unlock(stream->hub);
			continue;
		}
		error = job_wait(j, l, fd, flags, &stream->sndtimeo_ns);
		if (error)
			return j->done ? (ssize_t)j->done : error;
	}
}

ssize_t lrp_stream_send(struct lrp_view *l, int fd, const struct msghdr *msg, int flags)
{
	struct job j;
	ssize_t n;

	if (atomic_load(&l->sock->stream.mode) != LRP_STREAM_CONNECTION) {
		n = LRP_SLEEP(sendmsg(fd, msg, flags));
		return n < 0 ? -errno : n;
	}
	if (flags & ~SEND_FLAGS || msg->msg_controllen)
		return -EOPNOTSUPP;
	n = job_begin(&j, msg);
	if (n)
		return n;
	n = job_end(&j, send_all(l, fd, &j, flags));
	if (n == -EPIPE && !(flags & MSG_NOSIGNAL))
		raise(SIGPIPE);
	return n;
}

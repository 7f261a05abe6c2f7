/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* test_stream_flags.c - the corners of reading, writing and waiting: flags of calls, urgent
 * data, errors, readiness; on a kernel socket and on ours. */
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "stream_peer.h"

#define ALL (POLLIN | POLLPRI | POLLOUT | POLLRDHUP | POLLRDNORM | POLLWRNORM)

static void events(struct run *r, const char *when, int fd)
{
	struct pollfd p = {.fd = fd, .events = ALL};

	note_result(r, when, r->ops->poll(&p, 1, 0));
	note(r, "  events %x", (unsigned int)p.revents);
}

/* Waits until poll() reports one of them; then says all. */
static void events_after(struct run *r, const char *when, int fd, short awaited)
{
	struct pollfd p = {.fd = fd, .events = awaited};

	r->ops->poll(&p, 1, 3000);
	events(r, when, fd);
}

static void timeout_ms(struct run *r, int fd, int ms)
{
	struct timeval tv = {.tv_usec = ms * 1000};

	r->ops->setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
}

static int unread(struct run *r, int fd)
{
	int n = -1;

	return r->ops->ioctl(fd, FIONREAD, &n) ? -errno : n;
}

static void reset_by(int peer)
{
	struct linger hard = {.l_onoff = 1};

	setsockopt(peer, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(peer);
}

/* ---- reading ---------------------------------------------------------------------- */

static void waitall(struct run *r)
{
	int peer, fd = accepted_socket(r, &peer);

	timeout_ms(r, fd, 50);
	send(peer, "abc", 3, 0);
	do_recvfrom(r, fd, 10, MSG_WAITALL); /* until the timeout */
	send(peer, "def", 3, 0);
	do_recvfrom(r, fd, 10, MSG_WAITALL | MSG_PEEK);
	arrive();
	do_recvfrom(r, fd, 10, MSG_WAITALL | MSG_DONTWAIT);
	do_recvfrom(r, fd, 10, MSG_WAITALL | MSG_DONTWAIT);
	do_recvfrom(r, fd, 10, MSG_WAITALL);
	timeout_ms(r, fd, 2000);
	send(peer, "ghi", 3, 0);
	shutdown(peer, SHUT_WR);
	do_recvfrom(r, fd, 10, MSG_WAITALL); /* until the end */
	do_recvfrom(r, fd, 10, MSG_WAITALL);
	r->ops->close(fd);
	close(peer);
}

/* An error does not take away what came before. */
static void waitall_reset(struct run *r)
{
	int peer, fd = opened_socket(r, &peer);

	send(peer, "abc", 3, 0);
	arrive();
	reset_by(peer);
	arrive();
	events(r, "reset", fd);
	note_result(r, "FIONREAD", unread(r, fd));
	do_recvfrom(r, fd, 10, MSG_WAITALL);
	do_recvfrom(r, fd, 10, 0);
	do_recvfrom(r, fd, 10, 0);
	events(r, "read", fd);
	note_result(r, "send", r->ops->send(fd, "x", 1, MSG_NOSIGNAL));
	r->ops->close(fd);
}

static void peek(struct run *r)
{
	int peer, fd = accepted_socket(r, &peer);
	char a[2], b[4];
	struct iovec iov[] = {{a, 2}, {b, 4}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};

	send(peer, "abcdef", 6, 0);
	arrive();
	do_recvfrom(r, fd, 4, MSG_PEEK);
	note_result(r, "recvmsg", r->ops->recvmsg(fd, &msg, MSG_PEEK));
	note_data(r, b, 4);
	note_result(r, "peek, trunc", r->ops->recv(fd, NULL, 100, MSG_PEEK | MSG_TRUNC));
	note_result(r, "trunc", r->ops->recv(fd, NULL, 2, MSG_TRUNC));
	note_result(r, "FIONREAD", unread(r, fd));
	do_recvfrom(r, fd, 10, MSG_TRUNC);
	send(peer, "gh", 2, 0);
	do_recvfrom(r, fd, 10, 0);
	shutdown(peer, SHUT_WR);
	arrive();
	do_recvfrom(r, fd, 10, MSG_PEEK);
	do_recvfrom(r, fd, 0, MSG_PEEK);
	do_recvfrom(r, fd, 10, 0);
	note_result(r, "error queue", r->ops->recv(fd, a, 1, MSG_ERRQUEUE));
	r->ops->close(fd);
	close(peer);
}

static void names(struct run *r)
{
	int peer, fd = opened_socket(r, &peer);
	struct sockaddr_storage a;
	socklen_t len = addr_client(r, &a, 1);
	struct mmsghdr m[3];
	struct iovec iov[3];
	char buf[3][4], c;

	/* An address is nothing to a connection. */
	note_result(r, "sendto", r->ops->sendto(fd, "hello", 5, 0, (void *)&a, len));
	note_result(r, "peer", recv(peer, buf, 5, 0));
	send(peer, "0123456789", 10, 0);
	do_recvmsg(r, fd, 3, 100, 0);
	do_recvmsg(r, fd, 3, 0, MSG_CMSG_CLOEXEC);
	memset(m, 0, sizeof(m));
	for (int i = 0; i < 3; i++) {
		iov[i] = (struct iovec){buf[i], 2};
		m[i].msg_hdr.msg_iov = &iov[i];
		m[i].msg_hdr.msg_iovlen = 1;
	}
	note_result(r, "recvmmsg", r->ops->recvmmsg(fd, m, 2, 0, NULL));
	note_result(r, "lengths", (long)(m[0].msg_len * 10 + m[1].msg_len));
	iov[1].iov_len = 0;
	note_result(r, "sendmmsg", r->ops->sendmmsg(fd, m, 3, 0));
	note_result(r, "peer", recv(peer, &a, 4, MSG_WAITALL));
	note_data(r, &a, 4);
	note_result(r, "sendmsg, bad pieces", r->ops->writev(fd, iov, -1));
	note_result(r, "read 0", r->ops->read(fd, &c, 0));
	r->ops->close(fd);
	close(peer);
}

/* More pieces than a stack holds, some of them empty. */
static void pieces(struct run *r)
{
	enum { COUNT = 300 };
	int peer, fd = accepted_socket(r, &peer), i;
	static char out[COUNT * 3], in[COUNT * 3];
	struct iovec iov[COUNT];
	ssize_t n, total = 0;

	for (i = 0; i < COUNT * 3; i++)
		out[i] = (char)(i * 7);
	for (i = 0; i < COUNT; i++)
		iov[i] = (struct iovec){out + i * 3, i % 5 ? 3 : 0};
	note_result(r, "writev", r->ops->writev(fd, iov, COUNT));
	n = recv(peer, in, 240 * 3, MSG_WAITALL);
	note_result(r, "peer", n);
	note_data(r, in, n);
	send(peer, out, sizeof(out), 0);
	memset(in, 0, sizeof(in));
	for (i = 0; i < COUNT; i++)
		iov[i].iov_base = in + i * 3;
	while (total < 240 * 3 && (n = r->ops->readv(fd, iov, COUNT)) > 0)
		total += n;
	note_result(r, "readv", total);
	note_data(r, in, sizeof(in));
	note_result(r, "too many", r->ops->writev(fd, iov, 1025));
	r->ops->close(fd);
	close(peer);
}

/* ---- urgent data --------------------------------------------------------------------- */

static void at_mark(struct run *r, int fd)
{
	int at = -1;

	note_result(r, "SIOCATMARK", r->ops->ioctl(fd, SIOCATMARK, &at));
	note(r, "  %d", at);
}

static void urgent_out(struct run *r)
{
	int peer, fd = opened_socket(r, &peer), at = -1;
	struct pollfd p = {.fd = peer, .events = POLLPRI};
	char buf[16] = "";

	note_result(r, "send", r->ops->send(fd, "abc", 3, 0));
	note_result(r, "oob", r->ops->send(fd, "de!", 3, MSG_OOB));
	note_result(r, "send", r->ops->send(fd, "fgh", 3, 0));
	note_result(r, "peer", poll(&p, 1, 2000));
	arrive();
	note_result(r, "oob", recv(peer, buf, 5, MSG_OOB));
	note_data(r, buf, 1);
	note_result(r, "before the mark", recv(peer, buf, 16, 0));
	note_data(r, buf, 5);
	ioctl(peer, SIOCATMARK, &at);
	note_result(r, "at the mark", at);
	note_result(r, "after", recv(peer, buf, 16, 0));
	note_data(r, buf, 3);
	r->ops->close(fd);
	close(peer);
}

static void urgent_in(struct run *r)
{
	int peer, fd = accepted_socket(r, &peer);
	char c = 0;

	note_result(r, "none", r->ops->recv(fd, &c, 1, MSG_OOB));
	at_mark(r, fd);
	send(peer, "1", 1, MSG_OOB);
	events_after(r, "alone", fd, POLLPRI);
	at_mark(r, fd);
	note_result(r, "FIONREAD", unread(r, fd));
	note_result(r, "peek", r->ops->recv(fd, &c, 1, MSG_OOB | MSG_PEEK));
	note_result(r, "oob", r->ops->recv(fd, &c, 1, MSG_OOB));
	note_data(r, &c, 1);
	events(r, "taken", fd);
	note_result(r, "again", r->ops->recv(fd, &c, 1, MSG_OOB));
	do_recvfrom(r, fd, 10, MSG_DONTWAIT);
	send(peer, "abc2", 4, MSG_OOB);
	events_after(r, "behind data", fd, POLLPRI);
	note_result(r, "FIONREAD", unread(r, fd));
	do_recvfrom(r, fd, 2, 0);
	at_mark(r, fd);
	do_recvfrom(r, fd, 10, 0);
	at_mark(r, fd);
	do_recvmsg(r, fd, 1, 0, MSG_OOB);
	/* The second one makes the first a part of the stream. */
	send(peer, "d3", 2, MSG_OOB);
	events_after(r, "once more", fd, POLLPRI);
	send(peer, "e4", 2, MSG_OOB);
	arrive();
	do_recvfrom(r, fd, 10, 0);
	do_recvfrom(r, fd, 10, MSG_DONTWAIT);
	note_result(r, "oob", r->ops->recv(fd, &c, 1, MSG_OOB));
	note_data(r, &c, 1);
	send(peer, "f", 1, 0);
	do_recvfrom(r, fd, 10, 0);
	at_mark(r, fd);
	r->ops->close(fd);
	close(peer);
}

static void urgent_inline(struct run *r)
{
	int peer, fd = accepted_socket(r, &peer), on = 1;
	char c = 0;

	r->ops->setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on));
	send(peer, "ab!", 3, MSG_OOB);
	events_after(r, "urgent", fd, POLLPRI);
	send(peer, "cd", 2, 0);
	arrive();
	note_result(r, "oob", r->ops->recv(fd, &c, 1, MSG_OOB));
	note_result(r, "FIONREAD", unread(r, fd));
	do_recvfrom(r, fd, 10, 0);
	at_mark(r, fd);
	events(r, "at the mark", fd);
	do_recvfrom(r, fd, 10, 0);
	at_mark(r, fd);
	events(r, "past it", fd);
	r->ops->close(fd);
	close(peer);
}

/* ---- the pipe is broken --------------------------------------------------------------- */

static volatile int pipes;

static void on_pipe(int sig)
{
	(void)sig;
	pipes++;
}

static void broken_pipe(struct run *r)
{
	int peer, fd = opened_socket(r, &peer);
	struct iovec iov = {"x", 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	signal(SIGPIPE, on_pipe);
	pipes = 0;
	reset_by(peer);
	arrive();
	note_result(r, "send", r->ops->send(fd, "x", 1, 0));
	note_result(r, "signals", pipes);
	note_result(r, "send", r->ops->send(fd, "x", 1, 0));
	note_result(r, "signals", pipes);
	note_result(r, "sendmsg", r->ops->sendmsg(fd, &msg, MSG_NOSIGNAL));
	note_result(r, "writev", r->ops->writev(fd, &iov, 1));
	note_result(r, "signals", pipes);
	note_result(r, "send 0", r->ops->send(fd, "x", 0, 0));
	note_result(r, "oob", r->ops->send(fd, "x", 1, MSG_OOB | MSG_NOSIGNAL));
	note_result(r, "recv", r->ops->recv(fd, &iov, 1, 0));
	note_result(r, "shutdown", r->ops->shutdown(fd, SHUT_RDWR));
	note_result(r, "signals", pipes);
	signal(SIGPIPE, SIG_IGN);
	r->ops->close(fd);
}

/* What is written to a peer who has closed brings a reset. */
static void closed_peer(struct run *r)
{
	int peer, fd = accepted_socket(r, &peer);

	close(peer);
	events_after(r, "closed", fd, POLLRDHUP);
	note_result(r, "send", r->ops->send(fd, "x", 1, MSG_NOSIGNAL));
	arrive();
	events(r, "reset", fd);
	note_result(r, "send", r->ops->send(fd, "x", 1, MSG_NOSIGNAL));
	note_result(r, "send", r->ops->send(fd, "x", 1, MSG_NOSIGNAL));
	do_recvfrom(r, fd, 10, 0);
	r->ops->close(fd);
}

/* ---- readiness --------------------------------------------------------------------------- */

static void ready_connecting(struct run *r)
{
	struct sockaddr_storage a;
	socklen_t len = addr_client(r, &a, CLOSED_PORT);
	int fd = stream_socket(r, SOCK_NONBLOCK), lfd, peer;

	events(r, "fresh", fd);
	do_recvfrom(r, fd, 1, 0);
	note_result(r, "send", r->ops->send(fd, "x", 1, MSG_NOSIGNAL));
	note_result(r, "shutdown", r->ops->shutdown(fd, SHUT_WR));
	note_result(r, "refused", r->ops->connect(fd, (void *)&a, len));
	events_after(r, "refused", fd, POLLOUT);
	note_result(r, "connect", r->ops->connect(fd, (void *)&a, len));
	events(r, "told", fd);
	lfd = peer_listen(r);
	len = addr_client(r, &a, SERVICE_PORT);
	note_result(r, "connect", r->ops->connect(fd, (void *)&a, len));
	events_after(r, "connected", fd, POLLOUT);
	note_result(r, "connect", r->ops->connect(fd, (void *)&a, len));
	note_result(r, "connect", r->ops->connect(fd, (void *)&a, len));
	peer = accept(lfd, NULL, NULL);
	note_result(r, "send", r->ops->send(fd, "x", 1, 0));
	close(peer);
	close(lfd);
	r->ops->close(fd);
}

/* Nobody answers yet. */
static void ready_syn_sent(struct run *r)
{
	struct sockaddr_storage a;
	socklen_t len = addr_client(r, &a, SERVICE_PORT);
	int fd = stream_socket(r, SOCK_NONBLOCK), error = -1;
	socklen_t size = sizeof(error);

	client_run(r->family == AF_INET ? "ip route add blackhole 198.18.1.1/32"
					: "ip -6 route add blackhole 2001:db8:1::1/128");
	note_result(r, "connect", r->ops->connect(fd, (void *)&a, len));
	events(r, "asked", fd);
	note_result(r, "connect", r->ops->connect(fd, (void *)&a, len));
	note_result(r, "SO_ERROR", r->ops->getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size));
	note(r, "  %d", error);
	do_recvfrom(r, fd, 1, 0);
	note_result(r, "send", r->ops->send(fd, "x", 1, MSG_NOSIGNAL));
	len = sizeof(a);
	note_result(r, "getpeername", r->ops->getpeername(fd, (void *)&a, &len));
	note_result(r, "FIONREAD", unread(r, fd));
	client_run(r->family == AF_INET ? "ip route del blackhole 198.18.1.1/32"
					: "ip -6 route del blackhole 2001:db8:1::1/128");
	r->ops->close(fd);
}

static void ready_listening(struct run *r)
{
	int lfd = listener(r, 5), peer, fd;

	events(r, "listening", lfd);
	peer = peer_connect(r);
	events_after(r, "somebody came", lfd, POLLIN);
	fd = r->ops->accept(lfd, NULL, NULL);
	events(r, "accepted", lfd);
	events(r, "it", fd);
	note_result(r, "FIONREAD", unread(r, lfd));
	note_result(r, "shutdown", r->ops->shutdown(lfd, SHUT_RD));
	events(r, "shut down", lfd);
	note_result(r, "accept", r->ops->accept(lfd, NULL, NULL));
	note_result(r, "send", send(peer, "hello", 5, 0));
	do_recvfrom(r, fd, 10, 0);
	r->ops->close(fd);
	r->ops->close(lfd);
	close(peer);
}

static void ready_closing(struct run *r)
{
	int peer, fd = accepted_socket(r, &peer);
	struct sockaddr_storage a;
	socklen_t len = sizeof(a);

	note_result(r, "shut reading", r->ops->shutdown(fd, SHUT_RD));
	events(r, "shut reading", fd);
	do_recvfrom(r, fd, 10, 0);
	send(peer, "late", 4, 0);
	arrive();
	events(r, "data nevertheless", fd);
	do_recvfrom(r, fd, 10, 0);
	do_recvfrom(r, fd, 10, 0);
	note_result(r, "shut writing", r->ops->shutdown(fd, SHUT_WR));
	arrive();
	events(r, "both", fd);
	note_result(r, "once more", r->ops->shutdown(fd, SHUT_RDWR));
	note_result(r, "neither", r->ops->shutdown(fd, 5));
	close(peer);
	arrive();
	events(r, "the peer, too", fd);
	note_result(r, "at the end", r->ops->shutdown(fd, SHUT_RDWR));
	note_result(r, "getpeername", r->ops->getpeername(fd, (void *)&a, &len));
	r->ops->close(fd);
}

static const struct test_case cases[] = {
	CASE(waitall, 5),	  CASE(waitall_reset, 2),    CASE(peek, 3),
	CASE(names, 2),		  CASE(pieces, 2),	     CASE(urgent_out, 1),
	CASE(urgent_in, 5),	  CASE(urgent_inline, 2),    CASE(broken_pipe, 1),
	CASE(closed_peer, 2),	  CASE(ready_connecting, 1), CASE(ready_syn_sent, 0),
	CASE(ready_listening, 1), CASE(ready_closing, 2),
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}

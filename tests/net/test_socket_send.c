/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* test_socket_send.c - sending, connecting, shutting down: on a kernel socket and on ours. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "socket_harness.h"

/* What the peer got, and from where. */
static void peer_got(struct run *r, int fd)
{
	static char buf[70000];
	struct sockaddr_storage a;
	socklen_t len = sizeof(a);
	long n = recvfrom(fd, buf, sizeof(buf), 0, (void *)&a, &len);

	note_result(r, "peer got", n);
	if (n >= 0) {
		note_data(r, buf, n);
		note_addr(r, &a, len);
	}
}

static void to_peer(struct run *r)
{
	static const unsigned int len[] = {0, 1, 2, 14, 1400, 1452, 1472, 1473, 3000, 8192, 60000};
	static char data[65536];
	struct sockaddr_storage a;
	socklen_t alen = addr_client(r, &a, PEER_PORT);
	int fd = bound_socket(r);
	size_t i, j;

	for (i = 0; i < sizeof(len) / sizeof(len[0]); i++) {
		for (j = 0; j < len[i]; j++)
			data[j] = (char)(i * 31 + j);
		note_result(r, "sendto", r->ops->sendto(fd, data, len[i], 0, (void *)&a, alen));
		peer_got(r, r->peer);
	}
	/* Too long for any datagram. */
	note_result(r, "sendto", r->ops->sendto(fd, data, 65536, 0, (void *)&a, alen));
	note_result(r, "no address", r->ops->send(fd, data, 10, 0));
	note_result(r, "short address", r->ops->sendto(fd, data, 10, 0, (void *)&a, 7));
	addr_client(r, &a, 0);
	note_result(r, "port 0", r->ops->sendto(fd, data, 10, 0, (void *)&a, alen));
	a.ss_family = AF_UNIX;
	note_result(r, "family", r->ops->sendto(fd, data, 10, 0, (void *)&a, alen));
	r->ops->close(fd);
}

static void gathered(struct run *r)
{
	struct iovec iov[] = {{"one ", 4}, {"", 0}, {"two ", 4}, {"three", 5}};
	struct sockaddr_storage a;
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 4, .msg_name = &a};
	struct mmsghdr msgs[6];
	int fd = bound_socket(r), i, n;

	msg.msg_namelen = addr_client(r, &a, PEER_PORT);
	for (i = 0; i < 3; i++) {
		note_result(r, "sendmsg", r->ops->sendmsg(fd, &msg, 0));
		peer_got(r, r->peer);
	}
	for (i = 0; i < 6; i++)
		msgs[i] = (struct mmsghdr){.msg_hdr = msg};
	msgs[3].msg_hdr.msg_iovlen = 1;
	n = r->ops->sendmmsg(fd, msgs, 6, 0);
	note_result(r, "sendmmsg", n);
	for (i = 0; i < n; i++) {
		note(r, " len %u", msgs[i].msg_len);
		peer_got(r, r->peer);
	}
	msgs[0].msg_hdr.msg_name = NULL;
	note_result(r, "sendmmsg, first bad", r->ops->sendmmsg(fd, msgs, 6, 0));
	msgs[0].msg_hdr.msg_name = &a;
	msgs[2].msg_hdr.msg_name = NULL;
	n = r->ops->sendmmsg(fd, msgs, 6, 0);
	note_result(r, "sendmmsg, third bad", n);
	for (i = 0; i < n; i++)
		peer_got(r, r->peer);
	note_result(r, "sendmmsg, none", r->ops->sendmmsg(fd, msgs, 0, 0));
	r->ops->close(fd);
}

static void connected(struct run *r)
{
	struct sockaddr_storage a;
	struct sockaddr unspec = {.sa_family = AF_UNSPEC};
	struct iovec iov[] = {{"wri", 3}, {"tev", 3}};
	socklen_t len = sizeof(a);
	int fd = bound_socket(r), i;

	note_result(r, "getpeername", r->ops->getpeername(fd, (void *)&a, &len));
	note_result(r, "connect", r->ops->connect(fd, (void *)&a, addr_client(r, &a, PEER_PORT)));
	len = sizeof(a);
	note_result(r, "getpeername", r->ops->getpeername(fd, (void *)&a, &len));
	note_addr(r, &a, len);
	len = sizeof(a);
	note_result(r, "getsockname", r->ops->getsockname(fd, (void *)&a, &len));
	note_addr(r, &a, len);
	for (i = 0; i < 3; i++) {
		note_result(r, "send", r->ops->send(fd, "by send", 7, 0));
		peer_got(r, r->peer);
	}
	note_result(r, "write", r->ops->write(fd, "by write", 8));
	peer_got(r, r->peer);
	note_result(r, "writev", r->ops->writev(fd, iov, 2));
	peer_got(r, r->peer);
	/* only the peer's datagrams come through */
	other_text(r, "not for you");
	peer_text(r, "for you");
	arrive();
	do_recvfrom(r, fd, 100, 0);
	do_recvfrom(r, fd, 100, MSG_DONTWAIT);
	/* a connected socket may still send elsewhere */
	note_result(r, "sendto",
		    r->ops->sendto(fd, "aside", 5, 0, (void *)&a, addr_client(r, &a, OTHER_PORT)));
	peer_got(r, r->other);
	/* to another peer, and to none */
	note_result(r, "connect", r->ops->connect(fd, (void *)&a, addr_client(r, &a, OTHER_PORT)));
	other_text(r, "now for you");
	do_recvfrom(r, fd, 100, 0);
	note_result(r, "disconnect", r->ops->connect(fd, &unspec, sizeof(unspec)));
	note_result(r, "send", r->ops->send(fd, "x", 1, 0));
	len = sizeof(a);
	note_result(r, "getsockname", r->ops->getsockname(fd, (void *)&a, &len));
	note_addr(r, &a, len);
	peer_text(r, "after that");
	do_recvfrom(r, fd, 100, 0);
	r->ops->close(fd);
}

static void implicit_bind(struct run *r)
{
	struct sockaddr_storage a, mine;
	socklen_t len = sizeof(mine);
	int fd = new_socket(r);
	char buf[64];
	long n;

	note_result(r, "getsockname", r->ops->getsockname(fd, (void *)&mine, &len));
	note_addr(r, &mine, len);
	note_result(
		r, "sendto",
		r->ops->sendto(fd, "who am I", 8, 0, (void *)&a, addr_client(r, &a, PEER_PORT)));
	len = sizeof(mine);
	note_result(r, "getsockname", r->ops->getsockname(fd, (void *)&mine, &len));
	note(r, "port %s", ((struct sockaddr_in *)&mine)->sin_port ? "given" : "none");
	n = client_socket(r->family, SOCK_DGRAM, 0);
	addr_server(r, &a, ntohs(((struct sockaddr_in *)&mine)->sin_port));
	note_result(r, "answer", sendto((int)n, "you", 3, 0, (void *)&a, len));
	close((int)n);
	note_result(r, "recv", r->ops->recv(fd, buf, sizeof(buf), 0));
	note_result(r, "bind again", r->ops->bind(fd, (void *)&a, addr_any(r, &a, PORT)));
	r->ops->close(fd);
	/* by connect, on a socket of its own */
	fd = new_socket(r);
	note_result(r, "connect", r->ops->connect(fd, (void *)&a, addr_client(r, &a, PEER_PORT)));
	len = sizeof(mine);
	r->ops->getsockname(fd, (void *)&mine, &len);
	note(r, "port %s", ((struct sockaddr_in *)&mine)->sin_port ? "given" : "none");
	r->ops->close(fd);
}

static void flags(struct run *r)
{
	struct sockaddr_storage a;
	socklen_t alen = addr_client(r, &a, PEER_PORT);
	static const int flag[] = {0,		MSG_DONTWAIT, MSG_NOSIGNAL, MSG_DONTROUTE,
				   MSG_CONFIRM, MSG_OOB,      MSG_EOR};
	int fd = bound_socket(r);
	size_t i, k;

	for (i = 0; i < sizeof(flag) / sizeof(flag[0]); i++)
		for (k = 0; k < 2; k++) {
			long n = r->ops->sendto(fd, "flag", 4, flag[i], (void *)&a, alen);

			note(r, "flag %x", (unsigned int)flag[i]);
			note_result(r, "sendto", n);
			if (n >= 0)
				peer_got(r, r->peer);
		}
	/* parts of one datagram */
	note_result(r, "MSG_MORE", r->ops->sendto(fd, "first ", 6, MSG_MORE, (void *)&a, alen));
	note_result(r, "last", r->ops->sendto(fd, "last", 4, 0, (void *)&a, alen));
	peer_got(r, r->peer);
	r->ops->close(fd);
}

static void shutdowns(struct run *r)
{
	struct sockaddr_storage a;
	socklen_t alen = addr_client(r, &a, PEER_PORT);
	int fd = bound_socket(r);

	note_result(r, "shutdown unconnected", r->ops->shutdown(fd, SHUT_RD));
	do_recvfrom(r, fd, 100, 0);
	do_recvfrom(r, fd, 100, MSG_DONTWAIT);
	r->ops->close(fd);
	fd = bound_socket(r);
	note_result(r, "connect", r->ops->connect(fd, (void *)&a, alen));
	peer_text(r, "before");
	arrive();
	note_result(r, "SHUT_RD", r->ops->shutdown(fd, SHUT_RD));
	do_recvfrom(r, fd, 100, 0);
	do_recvfrom(r, fd, 100, 0);
	note_result(r, "send", r->ops->send(fd, "still", 5, 0));
	peer_got(r, r->peer);
	note_result(r, "SHUT_WR", r->ops->shutdown(fd, SHUT_WR));
	note_result(r, "send", r->ops->send(fd, "no more", 7, MSG_NOSIGNAL));
	note_result(r, "bad how", r->ops->shutdown(fd, 7));
	r->ops->close(fd);
	fd = bound_socket(r);
	note_result(r, "connect", r->ops->connect(fd, (void *)&a, alen));
	note_result(r, "SHUT_WR", r->ops->shutdown(fd, SHUT_WR));
	note_result(r, "send", r->ops->send(fd, "no more", 7, MSG_NOSIGNAL));
	peer_text(r, "receiving goes on");
	do_recvfrom(r, fd, 100, 0);
	r->ops->close(fd);
}

static void binding(struct run *r)
{
	struct sockaddr_storage a;
	int fd = bound_socket(r), fd2 = new_socket(r), one = 1;
	socklen_t len;

	note_result(r, "bind twice", r->ops->bind(fd, (void *)&a, addr_any(r, &a, PORT + 1)));
	note_result(r, "in use", r->ops->bind(fd2, (void *)&a, addr_any(r, &a, PORT)));
	len = addr_client(r, &a, PORT);
	note_result(r, "not ours", r->ops->bind(fd2, (void *)&a, len));
	note_result(r, "short", r->ops->bind(fd2, (void *)&a, 6));
	a.ss_family = AF_UNIX;
	note_result(r, "family", r->ops->bind(fd2, (void *)&a, len));
	note_result(r, "no descriptor", r->ops->bind(12345, (void *)&a, len));
	/* with both saying so */
	r->ops->close(fd);
	r->ops->close(fd2);
	fd = new_socket(r);
	fd2 = new_socket(r);
	r->ops->setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	r->ops->setsockopt(fd2, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	note_result(r, "first", r->ops->bind(fd, (void *)&a, addr_any(r, &a, PORT)));
	note_result(r, "second", r->ops->bind(fd2, (void *)&a, addr_any(r, &a, PORT)));
	peer_text(r, "to the last");
	do_recvfrom(r, fd2, 100, 0);
	do_recvfrom(r, fd, 100, MSG_DONTWAIT);
	r->ops->close(fd2);
	arrive();
	peer_text(r, "to the one that is left");
	do_recvfrom(r, fd, 100, 0);
	r->ops->close(fd);
	/* one address, and the port alone */
	fd = new_socket(r);
	fd2 = new_socket(r);
	r->ops->setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	r->ops->setsockopt(fd2, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	note_result(r, "address", r->ops->bind(fd, (void *)&a, addr_server(r, &a, PORT)));
	note_result(r, "wildcard", r->ops->bind(fd2, (void *)&a, addr_any(r, &a, PORT)));
	peer_text(r, "to the more specific");
	do_recvfrom(r, fd, 100, 0);
	do_recvfrom(r, fd2, 100, MSG_DONTWAIT);
	r->ops->close(fd);
	r->ops->close(fd2);
}

/* Each datagram of one source goes to one member, and all arrive. */
static void reuseport(struct run *r)
{
	int fd[4], i, k, one = 1, got, per[4] = {0}, wrong = 0;
	struct sockaddr_storage a;
	char buf[64];

	for (i = 0; i < 4; i++) {
		fd[i] = new_socket(r);
		r->ops->setsockopt(fd[i], SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
		note_result(r, "bind", r->ops->bind(fd[i], (void *)&a, addr_any(r, &a, PORT)));
	}
	for (i = 0; i < 50; i++) {
		peer_text(r, "peer");
		other_text(r, "other");
	}
	arrive();
	for (i = 0, got = 0; i < 4; i++)
		while (r->ops->recv(fd[i], buf, sizeof(buf), MSG_DONTWAIT) > 0) {
			got++;
			per[i]++;
		}
	for (k = 0; k < 4; k++)
		wrong += per[k] % 50 != 0;
	note(r, "got %d, members with parts of a flow %d", got, wrong);
	for (i = 0; i < 4; i++)
		r->ops->close(fd[i]);
}

static void other_families(struct run *r)
{
	static const int type[] = {SOCK_RAW, SOCK_SEQPACKET, 77};
	size_t i;

	/* What LRP does not do is refused, not done by the kernel in secret. */
	for (i = 0; i < sizeof(type) / sizeof(type[0]) && r->lrp; i++)
		if (r->ops->socket(r->family, type[i], 0) >= 0)
			note(r, "type %d was accepted", type[i]);
	note_result(r, "protocol", r->ops->socket(r->family, SOCK_DGRAM, IPPROTO_TCP));
	note_result(r, "family", r->ops->socket(77, SOCK_DGRAM, 0));
}

static const struct test_case cases[] = {
	CASE(to_peer, 0),	CASE(gathered, 0),    CASE(connected, 3),
	CASE(implicit_bind, 1), CASE(flags, 0),	      CASE(shutdowns, 2),
	CASE(binding, 3),	CASE(reuseport, 100), CASE(other_families, 0),
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}

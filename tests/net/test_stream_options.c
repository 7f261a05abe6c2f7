/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* test_stream_options.c - options of TCP sockets: what they say, and what they do to a connection,
 * on a kernel socket and on ours. What the wire sees is asked of the peer, or of a packet socket
 * beside it. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../lib/bed.h"
#include "stream_peer.h"

/* ---- helpers ------------------------------------------------------------------ */

static int set(struct run *r, int fd, int level, int name, int value)
{
	return r->ops->setsockopt(fd, level, name, &value, sizeof(value));
}

static int get(struct run *r, int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	if (r->ops->getsockopt(fd, level, name, &value, &len))
		return -errno;
	return value;
}

static void set_get(struct run *r, int fd, int level, int name, int value)
{
	note(r, "option %d/%d to %d", level, name, value);
	note_result(r, "  set", set(r, fd, level, name, value));
	note_result(r, "  get", get(r, fd, level, name));
}

static struct tcp_info peer_info(int peer)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	getsockopt(peer, IPPROTO_TCP, TCP_INFO, &info, &len);
	return info;
}

/* Segments with data that the peer has got since it had `before`. */
static uint32_t data_segments(int peer, uint32_t before)
{
	return peer_info(peer).tcpi_data_segs_in - before;
}

/* What the peer can read now. */
static long peer_has(int peer)
{
	static char buf[70000];

	return recv(peer, buf, sizeof(buf), MSG_DONTWAIT | MSG_TRUNC);
}

/* Reads exactly so much at the peer. */
static long peer_reads(int peer, size_t len)
{
	static char buf[70000];

	return recv(peer, buf, len, MSG_WAITALL);
}

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/* ---- values ------------------------------------------------------------------- */

static void values_of(struct run *r, int fd)
{
	set_get(r, fd, SOL_SOCKET, SO_KEEPALIVE, 7);
	set_get(r, fd, SOL_SOCKET, SO_OOBINLINE, 1);
	set_get(r, fd, SOL_SOCKET, SO_RCVLOWAT, 100);
	set_get(r, fd, SOL_SOCKET, SO_RCVLOWAT, 0);
	set_get(r, fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set_get(r, fd, IPPROTO_TCP, TCP_NODELAY, 0);
	set_get(r, fd, IPPROTO_TCP, TCP_CORK, 1);
	set_get(r, fd, IPPROTO_TCP, TCP_CORK, 0);
	set_get(r, fd, IPPROTO_TCP, TCP_KEEPIDLE, 100);
	set_get(r, fd, IPPROTO_TCP, TCP_KEEPIDLE, 0);
	set_get(r, fd, IPPROTO_TCP, TCP_KEEPINTVL, 40000);
	set_get(r, fd, IPPROTO_TCP, TCP_KEEPCNT, 128);
	set_get(r, fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
	set_get(r, fd, IPPROTO_TCP, TCP_SYNCNT, 2);
	set_get(r, fd, IPPROTO_TCP, TCP_LINGER2, 5);
	set_get(r, fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 10);
	set_get(r, fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 0);
	set_get(r, fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 12345);
	set_get(r, fd, IPPROTO_TCP, TCP_USER_TIMEOUT, -1);
	set_get(r, fd, IPPROTO_TCP, TCP_QUICKACK, 0);
	set_get(r, fd, IPPROTO_TCP, TCP_QUICKACK, 1);
	set_get(r, fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 16384);
	set_get(r, fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, -1);
	set_get(r, fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 0);
	set_get(r, fd, IPPROTO_TCP, TCP_MAXSEG, 87);
	set_get(r, fd, IPPROTO_TCP, TCP_MAXSEG, 40000);
	set_get(r, fd, SOL_SOCKET, SO_SNDBUF, 30000);
	set_get(r, fd, SOL_SOCKET, SO_SNDBUF, 1);
	set_get(r, fd, SOL_SOCKET, SO_RCVBUF, 30000);
	set_get(r, fd, SOL_SOCKET, SO_RCVBUF, 1);
	set_get(r, fd, SOL_SOCKET, SO_TYPE, 1);
	set_get(r, fd, SOL_SOCKET, SO_PROTOCOL, 1);
	set_get(r, fd, SOL_SOCKET, SO_DOMAIN, 1);
	set_get(r, fd, SOL_SOCKET, SO_ACCEPTCONN, 1);
	if (r->family == AF_INET) {
		set_get(r, fd, IPPROTO_IP, IP_TOS, 0x17);
		set_get(r, fd, IPPROTO_IP, IP_TOS, 0);
		set_get(r, fd, IPPROTO_IP, IP_TTL, 0);
		set_get(r, fd, IPPROTO_IP, IP_TTL, 17);
		set_get(r, fd, IPPROTO_IP, IP_TTL, -1);
	} else {
		set_get(r, fd, IPPROTO_IPV6, IPV6_TCLASS, 0x17);
		set_get(r, fd, IPPROTO_IPV6, IPV6_TCLASS, 256);
		set_get(r, fd, IPPROTO_IPV6, IPV6_TCLASS, -1);
		set_get(r, fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 17);
		set_get(r, fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 256);
		set_get(r, fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, -1);
	}
}

static void congestion_of(struct run *r, int fd)
{
	static const char *const names[] = {"reno", "cubic", ""};
	char name[16];
	socklen_t len;
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		note_result(r, names[i],
			    r->ops->setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, names[i],
					       (socklen_t)strlen(names[i])));
		len = sizeof(name);
		memset(name, 0, sizeof(name));
		note_result(r, "get",
			    r->ops->getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len));
		note(r, "  %s, %u", name, len);
	}
}

/* Values that are no int, lengths that do not fit. */
static void lengths_of(struct run *r, int fd)
{
	struct linger linger = {.l_onoff = 2, .l_linger = 3};
	struct timeval tv = {.tv_sec = 3, .tv_usec = 1000001};
	char bytes[64] = {1};
	socklen_t len;

	note_result(r, "linger", r->ops->setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, 4));
	note_result(r, "linger", r->ops->setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, 8));
	len = sizeof(linger);
	note_result(r, "linger", r->ops->getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &len));
	note(r, "  %d %d, %u", linger.l_onoff, linger.l_linger, len);
	linger.l_onoff = 0;
	r->ops->setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, 8);
	note_result(r, "nodelay, a byte",
		    r->ops->setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, bytes, 1));
	note_result(r, "nodelay, long",
		    r->ops->setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, bytes, 64));
	len = 2;
	note_result(r, "get, short", r->ops->getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, bytes, &len));
	note(r, "  %d, %u", bytes[0], len);
	len = 64;
	note_result(r, "get, long", r->ops->getsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, bytes, &len));
	note(r, "  %u", len);
	len = (socklen_t)-1;
	note_result(r, "get, negative", r->ops->getsockopt(fd, IPPROTO_TCP, TCP_INFO, bytes, &len));
	len = 7;
	note_result(r, "info, short", r->ops->getsockopt(fd, IPPROTO_TCP, TCP_INFO, bytes, &len));
	note(r, "  state %d, %u", bytes[0], len);
	note_result(r, "info, set", r->ops->setsockopt(fd, IPPROTO_TCP, TCP_INFO, bytes, 4));
	note_result(r, "timeo", r->ops->setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	tv.tv_usec = 500000;
	note_result(r, "timeo", r->ops->setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	note_result(r, "timeo", r->ops->setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, 4));
	len = sizeof(tv);
	note_result(r, "timeo", r->ops->getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, &len));
	note(r, "  %ld.%06ld", (long)tv.tv_sec, (long)tv.tv_usec);
	note_result(r, "unknown", r->ops->setsockopt(fd, IPPROTO_TCP, 12345, bytes, 4));
	len = 4;
	note_result(r, "unknown", r->ops->getsockopt(fd, IPPROTO_TCP, 12345, bytes, &len));
}

static void values_fresh(struct run *r)
{
	int fd = stream_socket(r, 0);

	congestion_of(r, fd);
	note_result(r, "no such algorithm",
		    r->ops->setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "no-such", 7));
	values_of(r, fd);
	lengths_of(r, fd);
	if (r->family == AF_INET6)
		set_get(r, fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	r->ops->close(fd);
}

static void values_connected(struct run *r)
{
	int peer, fd = opened_socket(r, &peer);

	congestion_of(r, fd);
	values_of(r, fd);
	lengths_of(r, fd);
	note_result(r, "send", r->ops->send(fd, "still alive", 11, 0));
	note_result(r, "peer", peer_reads(peer, 11));
	r->ops->close(fd);
	close(peer);
}

static void values_listening(struct run *r)
{
	int fd = listener(r, 5), peer[3], i;
	struct tcp_info info;
	socklen_t len = sizeof(info);

	congestion_of(r, fd);
	values_of(r, fd);
	lengths_of(r, fd);
	for (i = 0; i < 3; i++)
		peer[i] = peer_connect(r);
	arrive();
	note_result(r, "info", r->ops->getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len));
	note(r, "state %u, %u of %u wait", info.tcpi_state, info.tcpi_unacked, info.tcpi_sacked);
	r->ops->close(fd);
	for (i = 0; i < 3; i++)
		close(peer[i]);
}

/* Offered, accepted or neither, as the administrator says. */
static void ecn(struct run *r)
{
	const char *const modes[] = {"0", "1", "2"};
	int fd, peer, i, k;
	char command[64];
	FILE *f;

	for (i = 0; i < 3; i++) {
		f = fopen("/proc/sys/net/ipv4/tcp_ecn", "w");
		if (!f || fputs(modes[i], f) < 0 || fclose(f))
			exit(1);
		for (k = 1; k <= 2; k++) {
			snprintf(command, sizeof(command), "sysctl -qw net.ipv4.tcp_ecn=%d", k);
			if (client_run(command))
				exit(1);
			fd = opened_socket(r, &peer);
			note(r, "here %s, there %d: opened %x", modes[i], k,
			     peer_info(peer).tcpi_options & TCPI_OPT_ECN);
			r->ops->close(fd);
			close(peer);
			fd = accepted_socket(r, &peer);
			note(r, "accepted %x", peer_info(peer).tcpi_options & TCPI_OPT_ECN);
			r->ops->close(fd);
			close(peer);
		}
	}
}

/* What the SYN has offered stays offered, whatever is set before the peer answers. */
static void ecn_while_opening(struct run *r)
{
	int lfd = peer_listen(r), fd = stream_socket(r, SOCK_NONBLOCK), peer;
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	struct tcp_info info = {0};
	struct sockaddr_storage a;
	socklen_t len = addr_client(r, &a, SERVICE_PORT), size = sizeof(info);

	bed_sh("sysctl -qw net.ipv4.tcp_ecn=1");
	if (client_run("sysctl -qw net.ipv4.tcp_ecn=1"))
		exit(1);
	note_result(r, "connect", r->ops->connect(fd, (void *)&a, len));
	set(r, fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 5000);
	note_result(r, "poll", r->ops->poll(&p, 1, 1000));
	note_result(r, "info", r->ops->getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size));
	note(r, "agreed %x", info.tcpi_options & TCPI_OPT_ECN);
	bed_sh("sysctl -qw net.ipv4.tcp_ecn=2");
	client_run("sysctl -qw net.ipv4.tcp_ecn=2");
	peer = accept(lfd, NULL, NULL);
	close(peer);
	close(lfd);
	r->ops->close(fd);
}

/* Demultiplexing knows no device: the kernel's connection. */
static void on_a_device(struct run *r)
{
	int lfd = peer_listen(r), fd = stream_socket(r, 0), peer;
	struct sockaddr_storage a;
	socklen_t len = addr_client(r, &a, SERVICE_PORT);

	note_result(r, "set", r->ops->setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "s0", 2));
	note_result(r, "connect", r->ops->connect(fd, (void *)&a, len));
	note_result(r, "the kernel's", getpeername(fd, (void *)&a, &len));
	peer = accept(lfd, NULL, NULL);
	note_result(r, "send", r->ops->send(fd, "x", 1, 0));
	note_result(r, "peer", peer_reads(peer, 1));
	close(peer);
	close(lfd);
	r->ops->close(fd);
}

/* What was set before listen() and after it rules what is accepted. */
static void inherited(struct run *r)
{
	struct linger linger = {.l_onoff = 1, .l_linger = 3};
	int fd = stream_socket(r, 0), lfd = fd, peer;
	struct sockaddr_storage a;
	char name[16] = "";
	socklen_t len = addr_any(r, &a, PORT);
	int level = r->family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;

	set(r, lfd, SOL_SOCKET, SO_REUSEADDR, 1);
	set(r, lfd, IPPROTO_TCP, TCP_NODELAY, 1);
	set(r, lfd, IPPROTO_TCP, TCP_USER_TIMEOUT, 4321);
	set(r, lfd, IPPROTO_TCP, TCP_MAXSEG, 700);
	set(r, lfd, SOL_SOCKET, SO_RCVBUF, 20000);
	set(r, lfd, level, r->family == AF_INET ? IP_TOS : IPV6_TCLASS, 0x10);
	r->ops->setsockopt(lfd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
	if (r->ops->bind(lfd, (void *)&a, len) || r->ops->listen(lfd, 5))
		exit(1);
	set(r, lfd, SOL_SOCKET, SO_KEEPALIVE, 1);
	set(r, lfd, IPPROTO_TCP, TCP_KEEPIDLE, 55);
	set(r, lfd, IPPROTO_TCP, TCP_LINGER2, 6);
	set(r, lfd, SOL_SOCKET, SO_SNDBUF, 25000);
	set(r, lfd, SOL_SOCKET, SO_RCVLOWAT, 2);
	set(r, lfd, level, r->family == AF_INET ? IP_TTL : IPV6_UNICAST_HOPS, 33);
	r->ops->setsockopt(lfd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	peer = peer_connect(r);
	fd = r->ops->accept(lfd, NULL, NULL);
	note_result(r, "reuse", get(r, fd, SOL_SOCKET, SO_REUSEADDR));
	note_result(r, "nodelay", get(r, fd, IPPROTO_TCP, TCP_NODELAY));
	note_result(r, "user timeout", get(r, fd, IPPROTO_TCP, TCP_USER_TIMEOUT));
	note_result(r, "maxseg", get(r, fd, IPPROTO_TCP, TCP_MAXSEG));
	note_result(r, "the peer's", peer_info(peer).tcpi_snd_mss);
	note_result(r, "keepalive", get(r, fd, SOL_SOCKET, SO_KEEPALIVE));
	note_result(r, "keepidle", get(r, fd, IPPROTO_TCP, TCP_KEEPIDLE));
	note_result(r, "linger2", get(r, fd, IPPROTO_TCP, TCP_LINGER2));
	note_result(r, "sndbuf", get(r, fd, SOL_SOCKET, SO_SNDBUF));
	note_result(r, "rcvbuf", get(r, fd, SOL_SOCKET, SO_RCVBUF));
	note_result(r, "rcvlowat", get(r, fd, SOL_SOCKET, SO_RCVLOWAT));
	note_result(r, "tos", get(r, fd, level, r->family == AF_INET ? IP_TOS : IPV6_TCLASS));
	note_result(r, "ttl", get(r, fd, level, r->family == AF_INET ? IP_TTL : IPV6_UNICAST_HOPS));
	note_result(r, "accepts", get(r, fd, SOL_SOCKET, SO_ACCEPTCONN));
	len = sizeof(name) - 1;
	note_result(r, "cc", r->ops->getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len));
	note(r, "  %s", name);
	len = sizeof(linger);
	note_result(r, "linger", r->ops->getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &len));
	note(r, "  %d %d", linger.l_onoff, linger.l_linger);
	close(peer);
	r->ops->close(fd);
	r->ops->close(lfd);
}

/* ---- small segments ------------------------------------------------------------- */

/* Three small writes: a segment each. */
static void nodelay(struct run *r)
{
	int peer, fd = opened_socket(r, &peer), i;
	uint32_t before = peer_info(peer).tcpi_data_segs_in;

	set(r, fd, IPPROTO_TCP, TCP_NODELAY, 1);
	for (i = 0; i < 3; i++)
		r->ops->send(fd, "0123456789", 10, 0);
	note_result(r, "peer", peer_reads(peer, 30));
	note_result(r, "segments", data_segments(peer, before));
	r->ops->close(fd);
	close(peer);
}

/* Nothing leaves while it is corked, but full segments; all that is left when it is not. */
static void cork(struct run *r)
{
	int peer, fd = accepted_socket(r, &peer), i;
	uint32_t before = peer_info(peer).tcpi_data_segs_in;
	struct pollfd p = {.fd = peer, .events = POLLIN};
	static char buf[3000];

	set(r, fd, IPPROTO_TCP, TCP_CORK, 1);
	set(r, fd, IPPROTO_TCP, TCP_NODELAY, 1);
	for (i = 0; i < 3; i++)
		r->ops->send(fd, "0123456789", 10, 0);
	/* It waits 200 ms: no more is known of a busy machine. */
	note_result(r, "segments", data_segments(peer, before));
	set(r, fd, IPPROTO_TCP, TCP_CORK, 0);
	note_result(r, "peer", peer_reads(peer, 30));
	note_result(r, "segments", data_segments(peer, before));
	set(r, fd, IPPROTO_TCP, TCP_CORK, 1);
	r->ops->send(fd, buf, sizeof(buf), 0);
	note_result(r, "full segments", peer_reads(peer, sizeof(buf) / 1448 * 1448) / 1000);
	note_result(r, "the rest comes by itself", poll(&p, 1, 2000));
	note_result(r, "is", peer_has(peer) > 0);
	r->ops->send(fd, buf, 10, 0);
	r->ops->close(fd);
	note_result(r, "close() uncorks", peer_reads(peer, 10));
	note_result(r, "end", peer_reads(peer, 10));
	close(peer);
}

/* TCP_NODELAY sends what TCP_CORK holds, each time it is set, and that only. */
static void nodelay_of_corked(struct run *r)
{
	int peer, fd = accepted_socket(r, &peer), i;
	uint32_t before = peer_info(peer).tcpi_data_segs_in;

	set(r, fd, IPPROTO_TCP, TCP_CORK, 1);
	for (i = 1; i < 4; i++) {
		r->ops->send(fd, "0123456789", 10, 0);
		set(r, fd, IPPROTO_TCP, TCP_NODELAY, 1);
		arrive();
		note_result(r, "segments", data_segments(peer, before));
		note_result(r, "has", peer_has(peer));
	}
	r->ops->close(fd);
	close(peer);
}

/* A record ends a segment, also a corked one: what follows does not fill it. */
static void records(struct run *r)
{
	int peer, fd = accepted_socket(r, &peer), i;
	uint32_t before = peer_info(peer).tcpi_data_segs_in;

	set(r, fd, IPPROTO_TCP, TCP_CORK, 1);
	for (i = 0; i < 4; i++)
		note_result(r, "send", r->ops->send(fd, "0123456789", 10, i < 3 ? MSG_EOR : 0));
	arrive();
	note_result(r, "segments", data_segments(peer, before));
	set(r, fd, IPPROTO_TCP, TCP_CORK, 0);
	note_result(r, "peer", peer_reads(peer, 40));
	note_result(r, "segments", data_segments(peer, before));
	r->ops->close(fd);
	close(peer);
}

static void more(struct run *r)
{
	int peer, fd = opened_socket(r, &peer);
	uint32_t before = peer_info(peer).tcpi_data_segs_in;
	struct iovec iov[] = {{"ab", 2}, {"cd", 2}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};

	r->ops->send(fd, "01234", 5, MSG_MORE);
	r->ops->sendmsg(fd, &msg, MSG_MORE);
	note_result(r, "segments", data_segments(peer, before));
	r->ops->send(fd, "56789", 5, 0);
	note_result(r, "peer", peer_reads(peer, 14));
	note_result(r, "segments", data_segments(peer, before));
	r->ops->send(fd, "last", 4, MSG_MORE);
	r->ops->shutdown(fd, SHUT_WR);
	note_result(r, "peer", peer_reads(peer, 4));
	note_result(r, "end", peer_reads(peer, 1));
	r->ops->close(fd);
	close(peer);
}

/* ---- sizes ------------------------------------------------------------------------ */

static void maxseg(struct run *r)
{
	int fd = stream_socket(r, 0), lfd = peer_listen(r), peer;
	struct sockaddr_storage a;
	socklen_t len = addr_client(r, &a, SERVICE_PORT);
	static char buf[5000];
	uint32_t before;

	set_get(r, fd, IPPROTO_TCP, TCP_MAXSEG, 900);
	note_result(r, "connect", r->ops->connect(fd, (void *)&a, len));
	peer = accept(lfd, NULL, NULL);
	note_result(r, "ours", get(r, fd, IPPROTO_TCP, TCP_MAXSEG));
	note_result(r, "the peer's", peer_info(peer).tcpi_snd_mss);
	before = peer_info(peer).tcpi_data_segs_in;
	r->ops->send(fd, buf, sizeof(buf), 0);
	note_result(r, "peer", peer_reads(peer, sizeof(buf)));
	note_result(r, "segments", data_segments(peer, before));
	set_get(r, fd, IPPROTO_TCP, TCP_MAXSEG, 500);
	before = peer_info(peer).tcpi_data_segs_in;
	r->ops->send(fd, buf, sizeof(buf), 0);
	note_result(r, "peer", peer_reads(peer, sizeof(buf)));
	note_result(r, "segments", data_segments(peer, before));
	r->ops->close(fd);
	close(peer);
	close(lfd);
}

/* The peer can send no more than about the buffer holds: not a megabyte, if it was asked for
 * little. */
static void receive_buffer(struct run *r)
{
	int fd = stream_socket(r, 0), lfd = peer_listen(r), peer;
	struct sockaddr_storage a;
	socklen_t len = addr_client(r, &a, SERVICE_PORT);
	static char buf[65536];
	long sent = 0, got = 0, n;

	set_get(r, fd, SOL_SOCKET, SO_RCVBUF, 30000);
	r->ops->connect(fd, (void *)&a, len);
	peer = accept(lfd, NULL, NULL);
	n = 16384;
	setsockopt(peer, SOL_SOCKET, SO_SNDBUF, &n, sizeof(int));
	fcntl(peer, F_SETFL, O_NONBLOCK);
	for (int idle = 0; idle < 5 && sent < 2000000;) {
		n = send(peer, buf, sizeof(buf), 0);
		idle = n > 0 ? 0 : idle + 1;
		sent += n > 0 ? n : 0;
		if (n <= 0)
			arrive();
	}
	note_result(r, "little was taken", sent < 300000);
	shutdown(peer, SHUT_WR);
	while ((n = r->ops->recv(fd, buf, sizeof(buf), 0)) > 0)
		got += n;
	note_result(r, "end", n);
	note_result(r, "missing", sent - got);
	r->ops->close(fd);
	close(peer);
	close(lfd);
}

/* What is offered is what was asked for, though it is less than the buffers that we begin with. */
static void small_receive_buffer(struct run *r)
{
	int fd = stream_socket(r, 0), lfd = peer_listen(r), peer;
	struct sockaddr_storage a;
	socklen_t len = addr_client(r, &a, SERVICE_PORT);
	static char buf[65536];
	long sent = 0, n;

	set_get(r, fd, SOL_SOCKET, SO_RCVBUF, 9000);
	r->ops->connect(fd, (void *)&a, len);
	peer = accept(lfd, NULL, NULL);
	note_result(r, "window", peer_info(peer).tcpi_snd_wnd <= 9000);
	fcntl(peer, F_SETFL, O_NONBLOCK);
	for (int idle = 0; idle < 5 && sent < 2000000;) {
		n = send(peer, buf, sizeof(buf), 0);
		idle = n > 0 ? 0 : idle + 1;
		sent += n > 0 ? n : 0;
		if (n <= 0)
			arrive();
	}
	n = r->ops->recv(fd, buf, sizeof(buf), MSG_PEEK);
	note_result(r, "little was taken", n > 4000 && n <= 18000);
	r->ops->close(fd);
	close(peer);
	close(lfd);
}

/* TCP_NOTSENT_LOWAT: little waits behind what the window allows, and poll() waits with it. */
static void little_waits(struct run *r)
{
	int peer, fd = accepted_socket(r, &peer), small = 8192, n;
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	static char buf[4096];
	long sent = 0, got = 0;

	setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	set(r, fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 16384);
	for (int idle = 0; idle < 5 && sent < 20000000;) {
		n = (int)r->ops->send(fd, buf, sizeof(buf), MSG_DONTWAIT);
		idle = n > 0 ? 0 : idle + 1;
		sent += n > 0 ? n : 0;
		if (n <= 0)
			arrive();
	}
	got = peer_has(peer);
	note_result(r, "little waits", sent - got < 110000);
	note_result(r, "poll", r->ops->poll(&p, 1, 0));
	for (; got < sent; got += n) {
		n = (int)peer_reads(peer, (size_t)(sent - got < 60000 ? sent - got : 60000));
		if (n <= 0)
			break;
	}
	note_result(r, "missing", sent - got);
	note_result(r, "poll", r->ops->poll(&p, 1, 2000));
	note_result(r, "events", p.revents);
	r->ops->close(fd);
	close(peer);
}

/* A send buffer takes about what it was given; poll() says when there is room again. */
static void send_buffer(struct run *r)
{
	int peer, fd = accepted_socket(r, &peer);
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	static char buf[65536];
	long sent = 0, got = 0, n;

	set_get(r, fd, SOL_SOCKET, SO_SNDBUF, 20000);
	n = 16384;
	setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &n, sizeof(int));
	for (int idle = 0; idle < 5 && sent < 20000000;) {
		n = r->ops->send(fd, buf, sizeof(buf), MSG_DONTWAIT);
		idle = n > 0 ? 0 : idle + 1;
		sent += n > 0 ? n : 0;
		if (n <= 0)
			arrive();
	}
	note_result(r, "full", r->ops->send(fd, buf, sizeof(buf), MSG_DONTWAIT));
	note_result(r, "little was taken", sent < 600000);
	note_result(r, "poll", r->ops->poll(&p, 1, 0));
	while (got < sent &&
	       (n = peer_reads(peer, (size_t)(sent - got < 60000 ? sent - got : 60000))) > 0)
		got += n;
	note_result(r, "missing", sent - got);
	note_result(r, "poll", r->ops->poll(&p, 1, 2000));
	note_result(r, "events", p.revents);
	note_result(r, "send", r->ops->send(fd, buf, 1000, MSG_DONTWAIT));
	r->ops->close(fd);
	close(peer);
}

/* recv() and poll() wait for so much, and take less at the end. */
static void low_water(struct run *r)
{
	struct timeval soon = {.tv_usec = 50000};
	int peer, fd = accepted_socket(r, &peer);
	struct pollfd p = {.fd = fd, .events = POLLIN};

	set_get(r, fd, SOL_SOCKET, SO_RCVLOWAT, 10);
	send(peer, "12345", 5, 0);
	note_result(r, "poll", r->ops->poll(&p, 1, 30));
	note_result(r, "recv",
		    r->ops->setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon)));
	do_recvfrom(r, fd, 20, MSG_PEEK | MSG_DONTWAIT);
	do_recvfrom(r, fd, 3, 0);
	do_recvfrom(r, fd, 20, 0);
	send(peer, "0123456789", 10, 0);
	note_result(r, "poll", r->ops->poll(&p, 1, 2000));
	note_result(r, "events", p.revents);
	do_recvfrom(r, fd, 20, 0);
	send(peer, "end", 3, 0);
	shutdown(peer, SHUT_WR);
	note_result(r, "poll", r->ops->poll(&p, 1, 2000));
	do_recvfrom(r, fd, 20, 0);
	r->ops->close(fd);
	close(peer);
}

/* ---- accepting ---------------------------------------------------------------------- */

static void defer_accept(struct run *r)
{
	int lfd = listener(r, 5), peer, fd;
	struct pollfd p = {.fd = lfd, .events = POLLIN};

	set_get(r, lfd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 10);
	r->ops->fcntl(lfd, F_SETFL, O_NONBLOCK);
	peer = peer_connect(r);
	arrive();
	note_result(r, "poll", r->ops->poll(&p, 1, 0));
	note_result(r, "accept", r->ops->accept(lfd, NULL, NULL));
	send(peer, "hello", 5, 0);
	note_result(r, "poll", r->ops->poll(&p, 1, 2000));
	fd = r->ops->accept(lfd, NULL, NULL);
	note_result(r, "accept", fd < 0 ? fd : 0);
	do_recvfrom(r, fd, 10, MSG_DONTWAIT);
	r->ops->send(fd, "bye", 3, 0);
	note_result(r, "peer", peer_reads(peer, 3));
	r->ops->close(fd);
	close(peer);
	r->ops->close(lfd);
}

/* ---- closing ------------------------------------------------------------------------- */

static void linger_zero(struct run *r)
{
	struct linger hard = {.l_onoff = 1};
	int peer, fd = opened_socket(r, &peer);
	char c;

	r->ops->setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	note_result(r, "close", r->ops->close(fd));
	note_result(r, "peer", recv(peer, &c, 1, 0));
	close(peer);
	/* A copy of the descriptor keeps it. */
	fd = opened_socket(r, &peer);
	r->ops->setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	int copy = r->ops->dup(fd);
	r->ops->close(fd);
	note_result(r, "send", r->ops->send(copy, "x", 1, 0));
	note_result(r, "peer", peer_reads(peer, 1));
	r->ops->close(copy);
	note_result(r, "peer", recv(peer, &c, 1, 0));
	close(peer);
}

/* Reads to the end, but begins late. The result: how much it was. */
static void *late_reader(void *arg)
{
	int peer = *(int *)arg;
	char buf[20000];
	long got = 0, n;

	usleep(200000);
	while ((n = recv(peer, buf, sizeof(buf), 0)) > 0)
		got += n;
	return (void *)(n ? -1 : got);
}

/* close() waits for a peer who reads late, and no longer than it was told to if he never does. */
static void linger_time(struct run *r)
{
	struct linger wait = {.l_onoff = 1, .l_linger = 10};
	int peer, fd = accepted_socket(r, &peer), small = 8192;
	static char buf[100000];
	pthread_t thread;
	double start;
	void *got;

	setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	r->ops->setsockopt(fd, SOL_SOCKET, SO_LINGER, &wait, sizeof(wait));
	set(r, fd, SOL_SOCKET, SO_SNDBUF, 400000);
	pthread_create(&thread, NULL, late_reader, &peer);
	note_result(r, "send", r->ops->send(fd, buf, sizeof(buf), 0));
	start = seconds();
	note_result(r, "close", r->ops->close(fd));
	note_result(r, "it waited", seconds() - start > 0.1);
	note_result(r, "not to the end", seconds() - start < 9);
	pthread_join(thread, &got);
	note_result(r, "the peer has", (long)got);
	close(peer);
}

static void linger_in_vain(struct run *r)
{
	struct linger wait = {.l_onoff = 1, .l_linger = 1};
	int peer, fd = accepted_socket(r, &peer), small = 8192;
	static char buf[100000];
	double start;
	long got = 0, n;

	setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	r->ops->setsockopt(fd, SOL_SOCKET, SO_LINGER, &wait, sizeof(wait));
	set(r, fd, SOL_SOCKET, SO_SNDBUF, 400000);
	note_result(r, "send", r->ops->send(fd, buf, sizeof(buf), 0));
	start = seconds();
	note_result(r, "close", r->ops->close(fd));
	note_result(r, "it waited", seconds() - start > 0.9);
	while ((n = recv(peer, buf, sizeof(buf), 0)) > 0)
		got += n;
	note_result(r, "end", n);
	note_result(r, "the peer has all", got);
	close(peer);
}

/* ---- a silent peer ----------------------------------------------------------------------- */

enum { KEEP, USER, KEEP_USER, SYN, SILENT, ALIVE = SILENT, ALL };

static void keepalive(struct run *r, int fd, int count)
{
	set(r, fd, IPPROTO_TCP, TCP_KEEPIDLE, 1);
	set(r, fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
	set(r, fd, IPPROTO_TCP, TCP_KEEPCNT, count);
	set(r, fd, SOL_SOCKET, SO_KEEPALIVE, 1);
}

static int opening_socket(struct run *r)
{
	struct sockaddr_storage a;
	socklen_t len = addr_client(r, &a, SERVICE_PORT);
	int fd = stream_socket(r, SOCK_NONBLOCK);

	set(r, fd, IPPROTO_TCP, TCP_SYNCNT, 1);
	note_result(r, "connect", r->ops->connect(fd, (void *)&a, len));
	return fd;
}

/* What a socket says that has failed. */
static void failed(struct run *r, int fd, const char *name, short events)
{
	char c;

	note(r, "%s: events %x", name, (unsigned int)events);
	note_result(r, "  recv", r->ops->recv(fd, &c, 1, 0));
	note_result(r, "  recv", r->ops->recv(fd, &c, 1, 0));
	note_result(r, "  send", r->ops->send(fd, &c, 1, MSG_NOSIGNAL));
	note_result(r, "  SO_ERROR", get(r, fd, SOL_SOCKET, SO_ERROR));
}

/*
 * Nothing comes back over IPv4 from the client any more: who asked for it, is told. All at once.
 * Over IPv6 the peer answers when it is asked, and nobody is told anything.
 *
 * A SYN is sent after 1 second as tcp_syn_linear_timeouts says, after 1 more by TCP_SYNCNT, and
 * given up 2 seconds later. Linux before 6.5 has TCP_SYNCNT alone.
 */
static void silence(struct run *r)
{
	static const char *const name[] = {"keepalive", "user timeout", "both", "connect"};
	struct pollfd p[ALL];
	double end = seconds() + 20, opened;
	int peer[ALL], i;
	uint32_t before;

	for (i = KEEP; i <= KEEP_USER; i++)
		p[i].fd = opened_socket(r, &peer[i]);
	r->family = AF_INET6;
	p[ALIVE].fd = opened_socket(r, &peer[ALIVE]);
	r->family = AF_INET;
	before = peer_info(peer[ALIVE]).tcpi_segs_in;
	keepalive(r, p[KEEP].fd, 1);
	keepalive(r, p[KEEP_USER].fd, 100);
	keepalive(r, p[ALIVE].fd, 1);
	set(r, p[USER].fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 700);
	set(r, p[KEEP_USER].fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 1500);
	bed_sh("sysctl -qw net.ipv4.tcp_syn_linear_timeouts=1 2>/dev/null || true");
	/* It does not answer ARP either; that is not what is to be heard of. */
	bed_sh("ip neigh change 198.18.1.2 dev s0 nud permanent");
	if (client_run("ip route add blackhole 198.18.1.1/32"))
		exit(1);
	note_result(r, "send", r->ops->send(p[USER].fd, "x", 1, 0));
	opened = seconds();
	p[SYN].fd = opening_socket(r);
	for (i = 0; i < SILENT; i++) {
		p[i].events = POLLIN | POLLOUT | POLLRDHUP;
		do
			r->ops->poll(&p[i], 1, 50);
		while (!(p[i].revents & POLLERR) && seconds() < end);
		failed(r, p[i].fd, name[i], p[i].revents);
	}
	note(r, "connect() was given up after %d s", (int)(seconds() - opened + 0.5));
	bed_sh("sysctl -qw net.ipv4.tcp_syn_linear_timeouts=4 2>/dev/null || true");
	client_run("ip route del blackhole 198.18.1.1/32");
	bed_sh("ip neigh change 198.18.1.2 dev s0 nud reachable");
	p[ALIVE].events = POLLIN;
	note_result(r, "alive", r->ops->poll(&p[ALIVE], 1, 0));
	note_result(r, "was asked", peer_info(peer[ALIVE]).tcpi_segs_in > before);
	for (i = 0; i < ALL; i++) {
		r->ops->close(p[i].fd);
		if (i != SYN)
			close(peer[i]);
	}
}

/* ---- what the connection tells ------------------------------------------------------------- */

static void info(struct run *r)
{
	static char buf[10000];
	int peer, fd = opened_socket(r, &peer);
	struct tcp_info i;
	socklen_t len = sizeof(i);

	set(r, fd, IPPROTO_TCP, TCP_NODELAY, 1);
	r->ops->send(fd, buf, sizeof(buf), 0);
	note_result(r, "peer", peer_reads(peer, sizeof(buf)));
	r->ops->send(fd, buf, 1, 0);
	note_result(r, "peer", peer_reads(peer, 1));
	send(peer, buf, 5000, 0);
	note_result(r, "recv", r->ops->recv(fd, buf, 5000, MSG_WAITALL));
	arrive();
	memset(&i, 0xee, sizeof(i));
	note_result(r, "info", r->ops->getsockopt(fd, IPPROTO_TCP, TCP_INFO, &i, &len));
	note(r, "state %u ca %u retransmits %u probes %u backoff %u options %x", i.tcpi_state,
	     i.tcpi_ca_state, i.tcpi_retransmits, i.tcpi_probes, i.tcpi_backoff, i.tcpi_options);
	note(r, "snd_wscale %u snd_mss %u advmss %u pmtu %u", i.tcpi_snd_wscale, i.tcpi_snd_mss,
	     i.tcpi_advmss, i.tcpi_pmtu);
	note(r, "unacked %u sacked %u lost %u retrans %u fackets %u total %u", i.tcpi_unacked,
	     i.tcpi_sacked, i.tcpi_lost, i.tcpi_retrans, i.tcpi_fackets, i.tcpi_total_retrans);
	/* Linux counts its SYN among the bytes that were acknowledged. */
	note(r, "acked %d received %llu sent %llu retrans %llu notsent %u",
	     i.tcpi_bytes_acked - i.tcpi_bytes_sent <= 1, i.tcpi_bytes_received, i.tcpi_bytes_sent,
	     i.tcpi_bytes_retrans, i.tcpi_notsent_bytes);
	note(r, "data in %u out %u delivered %d", i.tcpi_data_segs_in, i.tcpi_data_segs_out,
	     i.tcpi_delivered > 6);
	note(r, "rtt %d rto %d window %d segments %d", i.tcpi_rtt > 0 && i.tcpi_rtt < 1000000,
	     i.tcpi_rto >= 200000 &&
		     i.tcpi_rto<2000000, i.tcpi_snd_cwnd >= 10, i.tcpi_segs_in> i
			     .tcpi_data_segs_in &&
		     i.tcpi_segs_out > i.tcpi_data_segs_out);
	note(r, "since: data sent %d received %d ack %d", i.tcpi_last_data_sent < 1000,
	     i.tcpi_last_data_recv < 1000, i.tcpi_last_ack_recv < 1000);
	note(r, "receive: mss %d ssthresh %d space %d", i.tcpi_rcv_mss > 500,
	     i.tcpi_rcv_ssthresh > 10000, i.tcpi_rcv_space > 10000);
	close(peer);
	arrive();
	r->ops->getsockopt(fd, IPPROTO_TCP, TCP_INFO, &i, &len);
	note(r, "state %u", i.tcpi_state);
	r->ops->close(fd);
}

/* ---- headers --------------------------------------------------------------------------------- */

/* Hears all segments that reach the client. */
static int listen_in(struct run *r)
{
	struct timeval soon = {.tv_usec = 300000};
	int fd = client_socket(AF_PACKET, SOCK_DGRAM,
			       htons(r->family == AF_INET ? ETH_P_IP : ETH_P_IPV6));

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon));
	return fd;
}

/* Type of service and time to live of the segments that came from the socket under test, as long as
 * they stay the same one line; up to the one with the FIN. Pure ACKs are left out: there may be
 * more or fewer. */
static void heard(struct run *r, int sniffer)
{
	bool four = r->family == AF_INET;
	unsigned int tos, ttl, last = 0, flags = 0;
	struct sockaddr_storage a;
	const void *ours;
	unsigned char p[2000];
	const unsigned char *tcp;
	ssize_t n;

	addr_server(r, &a, 0);
	ours = four ? (void *)&((struct sockaddr_in *)&a)->sin_addr
		    : (void *)&((struct sockaddr_in6 *)&a)->sin6_addr;
	while (!(flags & 1) && (n = recv(sniffer, p, sizeof(p), 0)) > 0) {
		tcp = p + (four ? 20 : 40);
		if (n < (four ? 40 : 60) || p[four ? 9 : 6] != IPPROTO_TCP ||
		    memcmp(p + (four ? 12 : 8), ours, four ? 4 : 16) || tcp[13] == 0x10)
			continue;
		flags = tcp[13];
		tos = four ? p[1] : (unsigned int)((p[0] & 15) << 4 | p[1] >> 4);
		ttl = p[four ? 8 : 7];
		if (last != (tos << 8 | ttl))
			note(r, "  tos %x ttl %u from flags %x", tos, ttl, flags & ~8u);
		last = tos << 8 | ttl;
	}
	close(sniffer);
}

static int ip_set(struct run *r, int fd, int tos, int ttl)
{
	if (r->family == AF_INET)
		return set(r, fd, IPPROTO_IP, IP_TOS, tos) | set(r, fd, IPPROTO_IP, IP_TTL, ttl);
	return set(r, fd, IPPROTO_IPV6, IPV6_TCLASS, tos) |
	       set(r, fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, ttl);
}

static void talk(struct run *r, int fd, int peer)
{
	r->ops->send(fd, "hello", 5, 0);
	note_result(r, "peer", peer_reads(peer, 5));
}

static void header_opened(struct run *r)
{
	int fd = stream_socket(r, 0), lfd = peer_listen(r), sniffer = listen_in(r), peer;
	struct sockaddr_storage a;
	socklen_t len = addr_client(r, &a, SERVICE_PORT);

	note_result(r, "set", ip_set(r, fd, 0x48, 33));
	note_result(r, "connect", r->ops->connect(fd, (void *)&a, len));
	peer = accept(lfd, NULL, NULL);
	talk(r, fd, peer);
	note_result(r, "set", ip_set(r, fd, 0x20, 200));
	talk(r, fd, peer);
	/* Back to the default. */
	note_result(r, "set", ip_set(r, fd, 0, -1));
	talk(r, fd, peer);
	r->ops->close(fd);
	heard(r, sniffer);
	close(peer);
	close(lfd);
}

static void header_accepted(struct run *r)
{
	int lfd = listener(r, 5), sniffer = listen_in(r), peer, fd;

	note_result(r, "set", ip_set(r, lfd, 0x48, 33));
	peer = peer_connect(r);
	fd = r->ops->accept(lfd, NULL, NULL);
	talk(r, fd, peer);
	note_result(r, "set", ip_set(r, fd, 0x10, 44));
	talk(r, fd, peer);
	r->ops->close(fd);
	heard(r, sniffer);
	close(peer);
	r->ops->close(lfd);
}

static const struct test_case cases[] = {
	CASE(values_fresh, 0),
	CASE(values_connected, 1),
	CASE(values_listening, 3),
	CASE(ecn, 6),
	CASE(ecn_while_opening, 1),
	CASE(on_a_device, 0),
	CASE(inherited, 0),
	CASE(nodelay, 2),
	CASE(cork, 2),
	CASE(nodelay_of_corked, 2),
	CASE(records, 2),
	CASE(more, 2),
	CASE(maxseg, 2),
	CASE(receive_buffer, 2),
	CASE(small_receive_buffer, 2),
	CASE(send_buffer, 2),
	CASE(little_waits, 2),
	CASE(low_water, 3),
	CASE(defer_accept, 1),
	CASE(linger_zero, 1),
	CASE4(linger_time, 0),
	CASE6(linger_in_vain, 0),
	CASE4(silence, 0),
	CASE(info, 3),
	CASE(header_opened, 2),
	CASE(header_accepted, 1),
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * stream.c - a TCP socket's life: connect, names, shutdown, close.
 *
 * A connection is ours if its route leaves through an attached device; else the
 * kernel's socket connects, and all calls are the kernel's from then on. The shadow of a connection
 * of ours is bound to its local address, which reserves the port [ports.c], and knows nothing of the
 * peer; it never enters a kernel epoll, since it would report a hang-up for ever.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <linux/sockios.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/fd.h"
#include "../base/self.h"
#include "../drive/app.h"
#include "../tcp/isn.h"
#include "../tx/netlink.h"
#include "stream.h"

#define LIMIT 512u /* frames of a connection's channel */

int lrp_stream_changed(struct lrp_view *l, int fd)
{
	if (lrp_view_of(fd) != l)
		return -EBADF;
	if (atomic_load(&l->sock->stream.mode) == LRP_STREAM_CONNECTION && lrp_stream_stalled(l))
		return -ECONNRESET;
	return lrp_stream_broken(l) ? -ECONNRESET : 0;
}

/* ---- addresses -------------------------------------------------------------- */

socklen_t lrp_stream_address(struct sockaddr_storage *to, int domain, uint8_t family,
			     const union lrp_address *addr, __be16 port)
{
	struct sockaddr_in *in = (struct sockaddr_in *)to;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)to;

	memset(to, 0, sizeof(*to));
	if (domain == AF_INET) {
		*in = (struct sockaddr_in){
			.sin_family = AF_INET, .sin_port = port, .sin_addr = addr->v4};
		return sizeof(*in);
	}
	in6->sin6_family = AF_INET6;
	in6->sin6_port = port;
	if (family == AF_INET6) {
		in6->sin6_addr = addr->v6;
	} else {
		in6->sin6_addr.s6_addr[10] = in6->sin6_addr.s6_addr[11] = 0xff;
		memcpy(&in6->sin6_addr.s6_addr[12], &addr->v4, 4);
	}
	return sizeof(*in6);
}

/* Of a connection of ours, or as the socket's domain has it. False: not an address that we connect
 * to. */
static bool read_address(const struct sockaddr_storage *from, socklen_t len, uint8_t *family,
			 union lrp_address *addr, __be16 *port)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)from;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)from;

	memset(addr, 0, sizeof(*addr));
	if (from->ss_family == AF_INET && len >= sizeof(*in)) {
		*family = AF_INET;
		addr->v4 = in->sin_addr;
		*port = in->sin_port;
		return true;
	}
	if (from->ss_family != AF_INET6 || len < sizeof(*in6) ||
	    IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr) || in6->sin6_flowinfo)
		return false;
	*port = in6->sin6_port;
	*family = AF_INET6;
	addr->v6 = in6->sin6_addr;
	if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
		*family = AF_INET;
		memset(addr, 0, sizeof(*addr));
		memcpy(&addr->v4, &in6->sin6_addr.s6_addr[12], 4);
	}
	return true;
}

static bool is_any(const union lrp_address *addr, uint8_t family)
{
	return family == AF_INET ? addr->v4.s_addr == INADDR_ANY
				 : IN6_IS_ADDR_UNSPECIFIED(&addr->v6);
}

/* ---- connect() ---------------------------------------------------------------- */

/*
 * Both ends of the connection but for the local port if the socket is not bound, and the MTU. False:
 * the kernel's to make.
 */
static bool choose(struct lrp_view *l, int fd, const struct sockaddr_storage *to, socklen_t len,
		   struct lrp_tcp_flow *flow, uint32_t *mtu)
{
	struct sockaddr_storage local;
	socklen_t local_len = sizeof(local);
	struct lrp_tx_tcp how = {.flow = flow};
	struct lrp_tx_path path;
	uint8_t family;
	__be16 port;

	memset(flow, 0, sizeof(*flow));
	if (!lrp_broker_ready_or_say() || !lrp_tx_ready() || to->ss_family != l->sock->domain ||
	    !read_address(to, len, &flow->family, &flow->raddr, &flow->rport) || !flow->rport ||
	    is_any(&flow->raddr, flow->family) ||
	    getsockname(fd, (struct sockaddr *)&local, &local_len) ||
	    !read_address(&local, local_len, &family, &flow->laddr, &port))
		return false;
	if ((l->sock->v6only && flow->family == AF_INET) || lrp_stream_on_device(l, fd))
		return false;
	if (port && is_any(&flow->laddr, family))
		return false; /* bound to a port of all addresses: lrpd publishes no such end */
	if (port && family != flow->family)
		return false;
	flow->lport = port;
	if (lrp_tx_tcp_path(&how, &path) || !path.attached)
		return false;
	*mtu = path.mtu;
	if (!port)
		flow->laddr = path.src;
	return !is_any(&flow->laddr, flow->family);
}

/* One with channels. NULL: none can be had. */
static struct lrp_hub *hub_for_one(void)
{
	struct lrp_hub *hub = lrp_spare_take();

	if (hub)
		return hub;
	hub = lrp_hub_new();
	if (hub && lrp_hub_open(hub, LIMIT)) {
		lrp_hub_discard(hub);
		hub = NULL;
	}
	lrp_spare_want(LRP_SPARES_FEW);
	return hub;
}

/* The hub's connection, which XDP knows already, and the hub locked; NULL: no memory, and it is not. */
static struct lrp_conn *first_of(struct lrp_hub *hub, const struct lrp_tcp_flow *flow,
				 const struct lrp_tcp_options *o)
{
	struct lrp_conn *c;

	/* APP may have it already, as a spare one. */
	if (!lrp_hub_lock_if(hub, atomic_load(&hub->driven.serial)))
		return NULL;
	c = lrp_conn_new(hub, flow, o);
	if (c) {
		c->exact = c->held = true;
		hub->role = LRP_HUB_CONNECTION;
		return c;
	}
	hub->role = LRP_HUB_SPARE; /* until it is discarded */
	lrp_hub_unlock(hub);
	return NULL;
}

/* Setup lock held. Sends the SYN; -ENOTCONN: the kernel's turn; or another error of connect(). */
static int open_connection(struct lrp_view *l, int fd, const struct sockaddr_storage *to,
			   socklen_t len)
{
	struct lrp_stream *stream = &l->sock->stream;
	int64_t now = (int64_t)lrp_now_ns();
	struct lrp_tcp_options o;
	struct lrp_tcp_flow flow;
	struct lrp_hub *hub;
	struct lrp_conn *c;
	uint32_t mtu, iss;
	int error, ecn;
	bool given;

	if (!choose(l, fd, to, len, &flow, &mtu))
		return -ENOTCONN;
	hub = hub_for_one();
	if (!hub)
		return -ENOTCONN;
	lrp_stream_options(l, fd, &o);
	ecn = lrp_stream_ecn();
	o.ecn = ecn == 1 || ecn == 3 || ecn == 4;
	o.syn_linear = lrp_stream_syn_linear();
	given = flow.lport != 0;
	error = lrp_port_take(hub, fd, l->sock->domain, &flow, &iss);
	c = error ? NULL : first_of(hub, &flow, &o);
	if (!c) {
		if (!error)
			lrp_flow_hide(&flow);
		lrp_hub_discard(hub);
		/* The kernel, which does not know of the other one, would connect. */
		return given && error == -EEXIST ? -EADDRNOTAVAIL : -ENOTCONN;
	}
	lrp_tcp_connect(&c->tcp, now, flow.family, mtu,
			iss ? iss : lrp_tcp_isn(lrp_secret(), &flow, now),
			lrp_tcp_ts_offset(lrp_secret_of_host(), &flow));
	lrp_wait_close(l);
	stream->conn = c;
	stream->hub = hub;
	stream->told = false;
	atomic_store(&stream->mode, LRP_STREAM_CONNECTION);
	lrp_stream_watch(l);
	lrp_hub_touch(c);
	lrp_hub_unlock(hub);
	return 0;
}

/* The connection failed, and connect() has said so: another may be made. Hub locked, not after. */
static void stream_forget(struct lrp_stream *stream, int64_t now)
{
	struct lrp_hub *hub = stream->hub;

	lrp_conn_release(stream->conn, now, false);
	stream->conn = NULL;
	atomic_store(&stream->mode, LRP_STREAM_KERNEL);
	lrp_hub_unlock(hub);
	stream->hub = NULL;
}

/* What connect() says about a connection that exists, -EAGAIN: it is being opened. Hub locked; not
 * after another error than -EAGAIN. */
static int outcome(struct lrp_stream *stream, int64_t now)
{
	struct lrp_tcp *tcp = &stream->conn->tcp;
	int error;

	if (tcp->state == LRP_TCP_SYN_SENT || tcp->state == LRP_TCP_SYN_RCVD)
		return -EAGAIN;
	if (tcp->state == LRP_TCP_CLOSED && !stream->told) {
		error = lrp_tcp_error(tcp);
		stream_forget(stream, now);
		return error ? -error : -ECONNABORTED;
	}
	error = stream->told ? -EISCONN : 0;
	stream->told = true;
	lrp_hub_unlock(stream->hub);
	return error;
}

static int wait_connected(struct lrp_view *l, int fd)
{
	struct lrp_stream *stream = &l->sock->stream;
	int64_t timeo = atomic_load(&stream->sndtimeo_ns), now;
	uint64_t deadline = timeo ? lrp_now_ns() + (uint64_t)timeo : 0;
	int error;

	for (;;) {
		if (!lrp_hub_lock(l, fd, LRP_STREAM_CONNECTION)) {
			error = lrp_stream_changed(l, fd);
			return error ? error : -ECONNABORTED;
		}
		now = (int64_t)lrp_now_ns();
		lrp_hub_input(stream->hub, now, stream->conn, LRP_CONTEXT_CALL);
		error = outcome(stream, now);
		if (error != -EAGAIN)
			return error;
		error = lrp_stream_wait(l, fd, deadline);
		if (error == -EINTR && !timeo && lrp_signals_restart())
			continue;
		if (error == -EAGAIN)
			return -EINPROGRESS;
		if (error)
			return error;
	}
}

int lrp_stream_connect(struct lrp_view *l, int fd, const struct sockaddr *addr, socklen_t addrlen)
{
	struct lrp_stream *stream = &l->sock->stream;
	struct sockaddr_storage to = {0};
	struct lrp_view *locked;
	int error = lrp_setup_lock(fd, &locked), opened = -ENOTCONN;

	if (error)
		return error;
	if (atomic_load(&stream->mode) == LRP_STREAM_KERNEL && addr &&
	    addrlen >= sizeof(addr->sa_family) && addrlen <= sizeof(to)) {
		memcpy(&to, addr, addrlen);
		opened = open_connection(l, fd, &to, addrlen);
	}
	if (atomic_load(&stream->mode) != LRP_STREAM_CONNECTION) {
		lrp_setup_unlock(locked);
		if (opened != -ENOTCONN)
			return opened;
		return LRP_SLEEP(connect(fd, addr, addrlen)) ? -errno : 0;
	}
	if (lrp_nonblocking(fd, 0)) {
		error = !opened ? -EINPROGRESS : -ECONNRESET;
		if (opened && lrp_hub_lock(l, fd, LRP_STREAM_CONNECTION)) {
			int64_t now = (int64_t)lrp_now_ns();

			lrp_hub_input(stream->hub, now, stream->conn, LRP_CONTEXT_CALL);
			error = outcome(stream, now);
			if (error == -EAGAIN) {
				lrp_hub_unlock(stream->hub);
				error = -EALREADY;
			}
		}
		lrp_setup_unlock(locked);
		return error;
	}
	lrp_setup_unlock(locked);
	return wait_connected(l, fd);
}

/* ---- names ---------------------------------------------------------------------- */

int lrp_stream_name(struct lrp_view *l, int fd, struct sockaddr *addr, socklen_t *len, bool peer)
{
	struct lrp_stream *stream = &l->sock->stream;
	struct sockaddr_storage name;
	const struct lrp_tcp_flow *flow;
	socklen_t size;
	uint8_t state;

	if (!lrp_hub_lock(l, fd, LRP_STREAM_CONNECTION)) {
		int error = lrp_stream_changed(l, fd);

		if (error)
			return error;
		return (peer ? getpeername : getsockname)(fd, addr, len) ? -errno : 0;
	}
	flow = &stream->conn->flow;
	state = stream->conn->tcp.state;
	size = lrp_stream_address(&name, l->sock->domain, flow->family,
				  peer ? &flow->raddr : &flow->laddr,
				  peer ? flow->rport : flow->lport);
	lrp_hub_unlock(stream->hub);
	if (peer &&
	    (state == LRP_TCP_CLOSED || state == LRP_TCP_SYN_SENT || state == LRP_TCP_TIME_WAIT))
		return -ENOTCONN;
	if ((int)*len < 0)
		return -EINVAL;
	memcpy(addr, &name, *len < size ? *len : size);
	*len = size;
	return 0;
}

/* ---- ioctl ---------------------------------------------------------------------- */

int lrp_stream_ioctl(struct lrp_view *l, int fd, unsigned long request, void *arg)
{
	struct lrp_stream *stream = &l->sock->stream;
	struct lrp_tcp *tcp;
	int error = 0;

	if ((request != FIONREAD && request != SIOCOUTQ && request != SIOCATMARK &&
	     request != SIOCOUTQNSD) ||
	    !lrp_hub_lock(l, fd, LRP_STREAM_CONNECTION)) {
		error = lrp_stream_changed(l, fd);
		if (error)
			return error;
		if (request != FIONREAD && request != SIOCOUTQ && request != SIOCATMARK &&
		    request != SIOCOUTQNSD && request != FIONBIO && request != FIONCLEX &&
		    request != FIOCLEX && !(request >= SIOCGIFNAME && request <= SIOCGIFTXQLEN))
			return -EOPNOTSUPP;
		l->sock->touched |= request == FIONBIO;
		return ioctl(fd, request, arg) ? -errno : 0;
	}
	tcp = &stream->conn->tcp;
	lrp_hub_input(stream->hub, (int64_t)lrp_now_ns(), stream->conn, LRP_CONTEXT_CALL);
	if (request == FIONREAD)
		*(int *)arg = (int)lrp_tcp_readable(tcp);
	else if (request == SIOCOUTQ)
		*(int *)arg = (int)lrp_tcp_unsent(tcp);
	else if (request == SIOCOUTQNSD)
		*(int *)arg = (int)(tcp->snd_end - tcp->snd_nxt);
	else
		*(int *)arg = lrp_tcp_at_mark(tcp);
	lrp_hub_unlock(stream->hub);
	return 0;
}

/* ---- shutdown and close ------------------------------------------------------------ */

/* Hub locked, not after. It listens no more, another may on the same port: what this one still has is
 * found by exact entries alone. */
static void withdraw(struct lrp_hub *hub, int fd)
{
	uint32_t serial = atomic_load(&hub->driven.serial);
	bool any = hub->conns || hub->listen.children || hub->listen.lingers;

	hub->listen.children++; /* it stays there meanwhile */
	lrp_hub_unlock(hub);
	if (any)
		lrp_flows_claim(&fd, 1, false);
	lrp_endpoint_withdraw(&hub->ep);
	if (lrp_hub_lock_if(hub, serial)) {
		hub->listen.children--;
		lrp_hub_unlock(hub);
	}
}

int lrp_stream_shutdown(struct lrp_view *l, int fd, int how)
{
	struct lrp_stream *stream = &l->sock->stream;
	int64_t now = (int64_t)lrp_now_ns();
	struct lrp_tcp *tcp;
	int error = 0;

	if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR)
		return -EINVAL;
	if (lrp_hub_lock(l, fd, LRP_STREAM_CONNECTION)) {
		tcp = &stream->conn->tcp;
		lrp_hub_input(stream->hub, now, stream->conn, LRP_CONTEXT_CALL);
		if (tcp->state == LRP_TCP_CLOSED || tcp->state == LRP_TCP_TIME_WAIT)
			error = -ENOTCONN;
		else
			lrp_tcp_shutdown(tcp, now, how != SHUT_WR, how != SHUT_RD);
		stream->conn->news = true;
		lrp_hub_touch(stream->conn);
		lrp_hub_flush(stream->hub, now, NULL);
		lrp_hub_unlock(stream->hub);
		return error;
	}
	error = lrp_stream_changed(l, fd);
	if (error)
		return error;
	if (how != SHUT_WR && lrp_hub_lock(l, fd, LRP_STREAM_LISTENER)) {
		struct lrp_hub *hub = stream->hub;

		lrp_listen_stop(hub, now);
		stream->hub = NULL;
		atomic_store(&stream->mode, LRP_STREAM_KERNEL);
		withdraw(hub, fd);
	}
	return shutdown(fd, how) ? -errno : 0;
}

static bool waiting(const struct lrp_conn *c)
{
	return c && c->tcp.state == LRP_TCP_TIME_WAIT;
}

/*
 * The port has to stay ours while connections are there: the shadow is kept, but no longer
 * listens, so that it can be bound anew with SO_REUSEADDR, as the kernel has it. A port that the
 * kernel chose is let go of by that, and bound again.
 */
static void hold(struct lrp_hub *hub, int fd)
{
	struct sockaddr_storage local;
	socklen_t len = sizeof(local);
	int kept, on = 0;
	socklen_t size = sizeof(on);

	if (hub->hold >= 0)
		return;
	kept = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	kept = kept >= 0 ? lrp_fd_aside(kept) : -1;
	if (kept < 0)
		return;
	getsockopt(kept, SOL_SOCKET, SO_ACCEPTCONN, &on, &size);
	if (on && !getsockname(kept, (struct sockaddr *)&local, &len)) {
		shutdown(kept, SHUT_RD);
		(void)!bind(kept, (struct sockaddr *)&local, len); /* EINVAL: it has it still */
	}
	hub->hold = kept;
	hub->hold_pid = lrp_self();
}

/* SO_LINGER: close() waits until all is acknowledged, or so long; as in Linux also of a socket that
 * does not block else. */
static void linger(struct lrp_view *l, int fd, int seconds)
{
	uint64_t deadline = lrp_now_ns() + (uint64_t)seconds * LRP_NS_PER_S;
	struct lrp_stream *stream = &l->sock->stream;
	int64_t now;

	while (lrp_hub_lock(l, fd, LRP_STREAM_CONNECTION)) {
		struct lrp_tcp *tcp = &stream->conn->tcp;

		now = (int64_t)lrp_now_ns();
		lrp_tcp_shutdown(tcp, now, false, true);
		lrp_hub_touch(stream->conn);
		lrp_hub_input(stream->hub, now, stream->conn, LRP_CONTEXT_CALL);
		if (tcp->state != LRP_TCP_FIN_WAIT_1 && tcp->state != LRP_TCP_CLOSING &&
		    tcp->state != LRP_TCP_LAST_ACK) {
			lrp_hub_unlock(stream->hub);
			return;
		}
		if (lrp_stream_wait(l, fd, deadline))
			return;
	}
}

/*
 * The hub of a connection that is about to be closed, locked; NULL: it is another's now. That of an
 * accepted one is its listener's from now on: its own channels are free for the next one, and what the
 * peer still says to the end comes where others are received from, and wakes nobody.
 */
static struct lrp_hub *go_home(struct lrp_view *l, int fd, int64_t now)
{
	struct lrp_stream *stream = &l->sock->stream;
	struct lrp_hub *hub, *parent;
	uint32_t serial;
	bool home;

	if (!lrp_hub_lock(l, fd, LRP_STREAM_CONNECTION))
		return NULL;
	hub = stream->hub;
	hub->tainted |= !lrp_hub_is(hub, LRP_HUB_LISTENER) && atomic_load(&hub->sleepers) > 0;
	/* What has arrived and was not read decides between FIN and reset. */
	lrp_hub_input(hub, now, stream->conn, LRP_CONTEXT_CALL);
	parent = hub->pid == lrp_self() ? hub->own.parent : NULL;
	if (!parent)
		return hub;
	serial = atomic_load(&parent->driven.serial);
	lrp_hub_unlock(hub);
	home = lrp_hub_lock_if(parent, serial);
	if (!lrp_hub_lock(l, fd, LRP_STREAM_CONNECTION)) {
		if (home)
			lrp_hub_unlock(parent);
		return NULL;
	}
	if (!home)
		return hub;
	if (!lrp_hub_return(hub, stream->conn, now, true)) {
		lrp_hub_unlock(parent);
		return hub;
	}
	stream->hub = parent;
	lrp_hub_unlock(hub);
	return parent;
}

void lrp_stream_closing(struct lrp_view *l, int fd)
{
	struct linger on;
	struct lrp_stream *stream = &l->sock->stream;
	struct lrp_hub *hub;
	bool listener = false;
	int64_t now;

	lrp_stream_linger(l, fd, &on);
	if (on.l_onoff && on.l_linger)
		linger(l, fd, on.l_linger);
	now = (int64_t)lrp_now_ns();
	hub = go_home(l, fd, now);
	if (hub) {
		lrp_shadow_keep(l, fd);
		lrp_conn_release(stream->conn, now, on.l_onoff && !on.l_linger);
		lrp_hub_flush(hub, now, NULL);
		/* The shadow of an accepted connection holds nothing. */
		if (!lrp_hub_is(hub, LRP_HUB_LISTENER) && !hub->own.parent &&
		    (hub->conns || waiting(hub->own.ended)))
			hold(hub, fd);
	} else if (lrp_hub_lock(l, fd, LRP_STREAM_LISTENER)) {
		hub = stream->hub;
		lrp_listen_stop(hub, now);
		lrp_hub_flush(hub, now, NULL);
		if (hub->conns || hub->listen.children || hub->listen.lingers)
			hold(hub, fd);
		listener = true;
	} else {
		return;
	}
	stream->hub = NULL;
	stream->conn = NULL;
	atomic_store(&stream->mode, LRP_STREAM_KERNEL);
	if (listener)
		withdraw(hub, fd);
	else
		lrp_hub_unlock(hub);
}

void lrp_stream_end(struct lrp_sock *s)
{
	struct lrp_stream *stream = &s->stream;
	struct lrp_hub *hub = stream->hub;
	int64_t now = (int64_t)lrp_now_ns();

	if (!hub)
		return;
	if (!lrp_hub_lock_if(hub, atomic_load(&hub->driven.serial))) {
		if (stream->conn && !hub->broken && atomic_load(&hub->stalled))
			lrp_conn_leave(hub, stream->conn);
		return;
	}
	if (stream->conn)
		lrp_conn_release(stream->conn, now, false);
	else
		lrp_listen_stop(hub, now);
	stream->hub = NULL;
	stream->conn = NULL;
	lrp_hub_unlock(hub);
}

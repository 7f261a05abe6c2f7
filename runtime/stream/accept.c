/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * accept.c - listening: lrp_listen(), the accept queue, lrp_accept4().
 *
 * The kernel's socket listens, too, for loopback and interfaces that are not attached; what it
 * accepts is handed out as a socket in KERNEL mode. Half-open connections and those that nobody has
 * accepted yet are on the listener's channels; what is accepted gets channels of its own when it first has to
 * wait for something (stream_wait.c), if a spare hub is there; at close() it gives them back and is the
 * listener's again. So a connection that is answered at once costs no change of XDP's maps.
 *
 * More in the accept queue than the backlog allows: the channel's flag makes further SYNs die in
 * XDP, unanswered [paper 3.4], until accept() has made room. Half-open table full: SYN cookies; if nobody
 * calls, so many in an interval, and the flag for the rest of it.
 */
#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/log.h"
#include "../drive/app.h"
#include "stream.h"

#define HALVES	   1024u
#define SPARES	   64u	 /* hubs to be ready, at most so many to begin with */
#define LIMIT	   1024u /* frames of a listener's channel */
#define STALLED_MS 20	 /* between two looks at a hub whose holder is stopped */
#define COOKIES	   64u	 /* in an interval, while nobody calls */
#define COOKIES_NS (20 * (int64_t)LRP_NS_PER_MS)

/* ---- segments ------------------------------------------------------------- */

static void backlog_flag(struct lrp_hub *hub)
{
	bool full = hub->listen.queued > hub->listen.backlog,
	     gated = hub->listen.gate_ns != LRP_TCP_NEVER;
	bool was = hub->listen.core.full || hub->listen.core.gated;
	uint32_t i;

	hub->listen.core.full = full;
	hub->listen.core.gated = gated;
	full |= gated;
	if (full == was)
		return;
	for (i = 0; i < hub->ep.channels; i++) {
		if (full)
			__atomic_fetch_or(&hub->ep.chan[i].user->flags, LRP_USER_BACKLOG,
					  __ATOMIC_RELEASE);
		else
			__atomic_fetch_and(&hub->ep.chan[i].user->flags, ~LRP_USER_BACKLOG,
					   __ATOMIC_RELEASE);
	}
}

/*
 * Half-open connections have filled their table, and nobody is asking for connections: cookies are sent,
 * but not without end, since it is others whose CPU time they would cost. The flag keeps further SYNs
 * away until the next interval, or until the application calls.
 */
static void gate(struct lrp_hub *hub, int64_t now, enum lrp_context context)
{
	if (context != LRP_CONTEXT_APP || hub->listen.core.table.used < hub->listen.core.max_used)
		return;
	if (++hub->listen.cookies < COOKIES)
		return;
	hub->listen.cookies = 0;
	hub->listen.gate_ns = now + COOKIES_NS;
	backlog_flag(hub);
}

/* SYNs are let in again. */
static void listen_attend(struct lrp_hub *hub)
{
	if (!hub->listen.open)
		return;
	hub->listen.cookies = 0;
	if (hub->listen.gate_ns == LRP_TCP_NEVER)
		return;
	hub->listen.gate_ns = LRP_TCP_NEVER;
	backlog_flag(hub);
}

static void opened(struct lrp_hub *hub, int64_t now, const struct lrp_tcp_flow *flow,
		   const struct lrp_tcp_segment *s, const struct lrp_tcp_opened *o)
{
	struct lrp_conn *c = lrp_conn_new(hub, flow, &hub->listen.core.opt);

	if (!c)
		return; /* the peer's data will be answered by a reset */
	lrp_tcp_accept(&c->tcp, now, flow->family, hub->listen.core.mtu, o);
	lrp_tcp_input(&c->tcp, now, s, NULL);
	c->born_ns = now;
	if (hub->listen.reuseport)
		/* Who comes or goes on the port must not take over its segments. */
		lrp_conn_expose(c, hub);
	else if (hub->listen.settle_ns == LRP_TCP_NEVER)
		hub->listen.settle_ns = now + LRP_SETTLES_NS;
	c->held = c->news = true;
	c->later = NULL;
	*hub->listen.queue_end = c;
	hub->listen.queue_end = &c->later;
	hub->listen.queued++;
	backlog_flag(hub);
	lrp_hub_touch(c);
}

static int listen_segment(struct lrp_hub *hub, int64_t now, const struct lrp_tcp_flow *flow,
			  const struct lrp_tcp_segment *s, enum lrp_context context)
{
	struct lrp_tcp_opened o;
	struct lrp_tcp_tx reply;
	uint32_t iss = 0;

	switch (lrp_waits_input(hub->waits, now, flow, s, &reply, &iss)) {
	case LRP_TCP_TIMEWAIT_REPLY:
		lrp_stream_answer(hub, flow, &reply);
		return 0;
	case LRP_TCP_TIMEWAIT_DROP:
		return 0;
	case LRP_TCP_TIMEWAIT_NONE:
	case LRP_TCP_TIMEWAIT_REUSE:
		break;
	}
	if (!hub->listen.open) {
		if (lrp_tcp_reset_for(s, &reply))
			lrp_stream_answer(hub, flow, &reply);
		return 0;
	}
	switch (lrp_tcp_listen_input(&hub->listen.core, now, flow, s, iss, &reply, &o)) {
	case LRP_TCP_LISTEN_REPLY:
		lrp_stream_answer(hub, flow, &reply);
		gate(hub, now, context);
		return 0;
	case LRP_TCP_LISTEN_OPENED:
		opened(hub, now, flow, s, &o);
		return 0;
	case LRP_TCP_LISTEN_DROP:
		return 0;
	}
	return 0;
}

/* What lasts gets an exact entry: if we are killed, lrpd knows by it whom to tell. The short ones, which are the
 * many, do without. */
static void conns_expose(struct lrp_hub *hub, int64_t now)
{
	struct lrp_conn *c;

	hub->listen.settle_ns = LRP_TCP_NEVER;
	for (c = hub->conns; c; c = c->next) {
		if (c->exact)
			continue;
		if (c->born_ns + LRP_SETTLES_NS <= now)
			lrp_conn_expose(c, hub);
		else if (c->born_ns + LRP_SETTLES_NS < hub->listen.settle_ns)
			hub->listen.settle_ns = c->born_ns + LRP_SETTLES_NS;
	}
}

static void listen_timers(struct lrp_hub *hub, int64_t now)
{
	struct lrp_tcp_flow flow;
	struct lrp_tcp_tx reply;

	if (!hub->listen.open)
		return;
	if (now >= hub->listen.settle_ns)
		conns_expose(hub, now);
	if (now >= hub->listen.gate_ns)
		listen_attend(hub);
	while (lrp_tcp_listen_timer(&hub->listen.core, now, &flow, &reply))
		lrp_stream_answer(hub, &flow, &reply);
}

/* Expired entries of TIME_WAIT are as good as gone: nobody need wake up for them. */
static int64_t listen_deadline(const struct lrp_hub *hub)
{
	int64_t at;

	if (!hub->listen.open)
		return LRP_TCP_NEVER;
	at = lrp_tcp_listen_deadline(&hub->listen.core);
	at = at < hub->listen.settle_ns ? at : hub->listen.settle_ns;
	return at < hub->listen.gate_ns ? at : hub->listen.gate_ns;
}

static void listen_unreachable(struct lrp_hub *hub, const struct lrp_tcp_flow *flow, uint32_t seq,
			       bool fatal)
{
	if (hub->listen.open)
		lrp_tcp_listen_unreachable(&hub->listen.core, flow, seq, fatal);
}

static bool listen_unused(const struct lrp_hub *hub)
{
	return !hub->listen.open && !hub->conns && !hub->listen.children;
}

static __attribute__((constructor)) void listen_register(void)
{
	static const struct lrp_hub_ops ops = {
		.segment = listen_segment,
		.unreachable = listen_unreachable,
		.attend = listen_attend,
		.deadline = listen_deadline,
		.timers = listen_timers,
		.unused = listen_unused,
	};

	lrp_hub_register(LRP_HUB_LISTENER, &ops);
}

void lrp_listen_stop(struct lrp_hub *hub, int64_t now)
{
	struct lrp_tcp_flow flow;
	struct lrp_tcp_tx reset;
	struct lrp_conn *c;

	while (lrp_tcp_listen_close(&hub->listen.core, &flow, &reset))
		lrp_stream_answer(hub, &flow, &reset);
	while ((c = hub->listen.queue)) {
		hub->listen.queue = c->later;
		lrp_conn_release(c, now, true);
	}
	hub->listen.queue_end = &hub->listen.queue;
	hub->listen.queued = 0;
	hub->listen.open = false;
	/* From now on nothing else leads to those that are about to end. */
	for (c = hub->conns; c; c = c->next)
		if (!c->exact)
			lrp_conn_expose(c, hub);
	lrp_waits_part(hub, now);
	lrp_arena_free(hub->listen.half, HALVES * sizeof(*hub->listen.half));
}

void lrp_listen_orphaned(struct lrp_hub *hub)
{
	struct lrp_tcp_flow flow;
	struct lrp_tcp_tx reset;
	struct lrp_conn *c;

	while (lrp_tcp_listen_close(&hub->listen.core, &flow, &reset))
		lrp_stream_answer(hub, &flow, &reset);
	for (c = hub->listen.queue; c; c = c->later)
		c->held = false;
	hub->listen.queue = NULL;
	hub->listen.open = false;
	lrp_arena_free(hub->listen.half, HALVES * sizeof(*hub->listen.half));
}

/* ---- listen() --------------------------------------------------------------- */

static struct lrp_hub *make_hub(struct lrp_view *l, int fd, uint32_t backlog)
{
	struct lrp_hub *hub = lrp_hub_new();
	struct lrp_tcp_options o;
	struct sockaddr_in6 local; /* the port is where sockaddr_in has it */
	socklen_t len = sizeof(int), local_len = sizeof(local);
	int reuseport = 0;
	uint8_t secret[32];

	if (!hub)
		return NULL;
	hub->listen.half = lrp_arena_alloc(HALVES * sizeof(*hub->listen.half));
	hub->waits = lrp_waits_get();
	if (!hub->listen.half || !hub->waits || !lrp_hub_table(hub) ||
	    getrandom(secret, sizeof(secret), 0) != sizeof(secret) || lrp_hub_open(hub, LIMIT))
		goto fail;
	lrp_stream_options(l, fd, &o);
	o.ecn = lrp_stream_ecn() > 0;
	lrp_tcp_listen_init(&hub->listen.core, &o, hub->listen.half, HALVES, HALVES / 4 * 3,
			    secret);
	hub->listen.core.rcv_wscale = o.wscale ? lrp_tcp_wscale(o.rcv_max) : 0;
	hub->listen.core.mtu = hub->ep.channels ? hub->ep.chan[0].pool->mtu : 1500;
	hub->listen.core.defer_ns = lrp_stream_defer(fd);
	getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &reuseport, &len);
	hub->listen.reuseport = reuseport != 0;
	if (getsockname(fd, (struct sockaddr *)&local, &local_len))
		goto fail;
	hub->listen.port = local.sin6_port;
	hub->listen.backlog = backlog;
	hub->role = LRP_HUB_LISTENER;
	hub->listen.open = true;
	if (!lrp_endpoint_publish(&hub->ep, fd, NULL, 0))
		return hub;
fail:
	lrp_arena_free(hub->listen.half, HALVES * sizeof(*hub->listen.half));
	hub->listen.open = false;
	lrp_hub_discard(hub);
	return NULL;
}

/* Setup lock held; the kernel's socket listens. What cannot be had leaves it to the kernel. */
static void listen_begin(struct lrp_view *l, int fd, uint32_t backlog)
{
	struct lrp_stream *stream = &l->sock->stream;
	struct lrp_hub *hub;

	if (!lrp_broker_ready_or_say() || !lrp_tx_ready())
		return;
	hub = make_hub(l, fd, backlog);
	if (!hub) {
		lrp_log_once(LRP_LOG_WARN,
			     "no channel for a listening socket: the kernel serves it");
		return;
	}
	lrp_wait_close(l);
	stream->hub = hub;
	atomic_store(&stream->mode, LRP_STREAM_LISTENER);
	/* Somebody must answer SYNs while nobody accepts. */
	lrp_stream_watch(l);
	lrp_spare_fill(backlog < SPARES ? backlog + 1 : SPARES);
}

int lrp_stream_listen(struct lrp_view *l, int fd, int backlog)
{
	struct lrp_stream *stream = &l->sock->stream;
	int most = lrp_stream_somaxconn();
	uint32_t queue = (uint32_t)(backlog < 0 || backlog > most ? most : backlog);

	if (atomic_load(&stream->mode) == LRP_STREAM_CONNECTION)
		return -EINVAL;
	/* listen() binds what this cannot. */
	(void)lrp_bind_any(fd, l->sock->domain);
	if (listen(fd, backlog))
		return -errno;
	if (lrp_hub_lock(l, fd, LRP_STREAM_LISTENER)) {
		stream->hub->listen.backlog = queue;
		backlog_flag(stream->hub);
		lrp_hub_unlock(stream->hub);
	} else {
		listen_begin(l, fd, queue);
	}
	return 0;
}

/* ---- accept() ----------------------------------------------------------------- */

/* A descriptor for what is accepted, and its socket. */
static int socket_for(struct lrp_view *listener, int listener_fd, int fd, bool kept,
		      struct lrp_view **l)
{
	struct lrp_sock *s;
	int error;

	lrp_inside++;
	s = lrp_sock_new(fd, listener->sock->domain, LRP_KIND_STREAM);
	error = s ? lrp_table_add(fd, s, l) : -ENOMEM;
	lrp_inside--;
	if (error) {
		if (s)
			lrp_sock_free(s);
		close(fd);
		return error;
	}
	lrp_stream_inherit(listener, listener_fd, *l, fd, kept);
	return 0;
}

/* Whose connection was accepted; it may have been reset since. */
struct peer {
	struct sockaddr_storage addr;
	socklen_t len;
};

/* From the kernel's queue: -EAGAIN if it is empty. Our other acceptors wait for the lock. */
static int accept_kernel(struct lrp_view *l, int fd, int flags, struct peer *from)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct lrp_hub *hub = l->sock->stream.hub;
	struct lrp_view *made;
	int n = -EAGAIN, error;
	bool locked;

	if (poll(&p, 1, 0) <= 0)
		return -EAGAIN;
	locked = lrp_hub_lock(l, fd, LRP_STREAM_LISTENER);
	if (!locked && !lrp_stream_stalled(l))
		return -EAGAIN;
	/* Of a stalled one several may want the last: then one of them waits for the next. */
	if (poll(&p, 1, 0) > 0) {
		n = accept4(fd, (struct sockaddr *)&from->addr, &from->len, flags);
		n = n < 0 ? -errno : n;
	}
	if (locked)
		lrp_hub_unlock(hub);
	if (n < 0)
		return n;
	error = socket_for(l, fd, n, false, &made);
	return error ? error : n;
}

static bool waiting(struct lrp_view *l, int fd)
{
	struct lrp_hub *hub = l->sock->stream.hub;
	bool any = false;

	if (lrp_hub_lock(l, fd, LRP_STREAM_LISTENER)) {
		lrp_hub_input(hub, (int64_t)lrp_now_ns(), NULL, LRP_CONTEXT_CALL);
		any = hub->listen.queue != NULL;
		lrp_hub_unlock(hub);
	}
	return any;
}

/* Lock held: the first of the queue. */
static struct lrp_conn *take_first(struct lrp_hub *hub)
{
	struct lrp_conn *c = hub->listen.queue;

	if (!c)
		return NULL;
	hub->listen.queue = c->later;
	if (!hub->listen.queue)
		hub->listen.queue_end = &hub->listen.queue;
	hub->listen.queued--;
	backlog_flag(hub);
	return c;
}

/* From ours. */
static int accept_ours(struct lrp_view *l, int fd, int flags, struct peer *from)
{
	struct lrp_hub *hub = l->sock->stream.hub;
	struct lrp_conn *c = NULL;
	struct lrp_shadow shadow;
	struct lrp_view *made;
	int n, error;

	if (!waiting(l, fd))
		return -EAGAIN;
	/* First what can fail: the connection stays in the queue. */
	n = lrp_shadow_get(hub, l->sock->domain, flags, &shadow);
	error = n < 0 ? -errno : socket_for(l, fd, n, shadow.fd >= 0, &made);
	if (error) {
		if (shadow.fd >= 0)
			close(shadow.fd);
		return error;
	}
	made->shadow = shadow;
	error = -EAGAIN;
	if (lrp_hub_lock(l, fd, LRP_STREAM_LISTENER)) {
		c = take_first(hub);
		if (c) {
			made->sock->stream.conn = c;
			made->sock->stream.hub = c->hub;
			made->sock->stream.told = true;
			from->len = lrp_stream_address(&from->addr, l->sock->domain, c->flow.family,
						       &c->flow.raddr, c->flow.rport);
			atomic_store(&made->sock->stream.mode, LRP_STREAM_CONNECTION);
			lrp_stream_accepting(l, fd);
			error = 0;
		}
		lrp_hub_unlock(hub);
	}
	if (!error) {
		lrp_stream_watch(made);
		/* Another process may be stopped with the listener's lock: not with this one's. */
		if (atomic_load(&l->sock->procs) > 1)
			lrp_stream_settle(n);
		return n;
	}
	(void)lrp_sock_close(n);
	return error;
}

void lrp_listen_abandon(struct lrp_view *l, int fd)
{
	struct lrp_stream *stream = &l->sock->stream;
	struct lrp_view *locked;

	if (lrp_setup_lock(fd, &locked))
		return;
	if (locked == l && atomic_load(&stream->mode) == LRP_STREAM_LISTENER &&
	    stream->hub->broken) {
		lrp_endpoint_withdraw(&stream->hub->ep);
		atomic_store(&stream->mode, LRP_STREAM_KERNEL);
		lrp_log_once(LRP_LOG_WARN, "a process was killed while it received for a listening "
					   "socket: the kernel serves it from now on");
	}
	lrp_setup_unlock(locked);
}

/* For a connection in the kernel's queue, or a moment: the holder of the hub may go on. */
static int wait_kernel(int fd, uint64_t deadline)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	if (deadline && lrp_now_ns() >= deadline)
		return -EAGAIN;
	return LRP_SLEEP(poll(&p, 1, STALLED_MS)) < 0 ? -errno : 0;
}

static int accept_any(struct lrp_view *l, int fd, int flags, struct peer *from)
{
	int64_t timeo = atomic_load(&l->sock->rcvtimeo_ns);
	uint64_t deadline = timeo ? lrp_now_ns() + (uint64_t)timeo : 0;
	struct lrp_view *made;
	int n;

	for (;;) {
		if (lrp_view_of(fd) != l)
			return -EBADF;
		if (atomic_load(&l->sock->stream.mode) != LRP_STREAM_LISTENER) {
			n = LRP_SLEEP(
				accept4(fd, (struct sockaddr *)&from->addr, &from->len, flags));
			if (n < 0)
				return -errno;
			return socket_for(l, fd, n, false, &made) ? -ENOMEM : n;
		}
		n = accept_ours(l, fd, flags, from);
		if (n == -EAGAIN)
			n = accept_kernel(l, fd, flags, from);
		if (n != -EAGAIN)
			return n;
		if (lrp_stream_broken(l)) {
			lrp_listen_abandon(l, fd);
			continue;
		}
		if (lrp_nonblocking(fd, 0))
			return -EAGAIN;
		if (!lrp_hub_lock(l, fd, LRP_STREAM_LISTENER)) {
			n = lrp_stream_stalled(l) ? wait_kernel(fd, deadline) : 0;
			if (n == -EINTR && !timeo && lrp_signals_restart())
				n = 0;
			if (n)
				return n;
			continue;
		}
		if (l->sock->stream.hub->listen.queue) {
			lrp_hub_unlock(l->sock->stream.hub);
			continue;
		}
		n = lrp_stream_wait(l, fd, deadline);
		if (n == -EINTR && !timeo && lrp_signals_restart())
			continue;
		if (n)
			return n;
	}
}

int lrp_stream_accept(struct lrp_view *l, int fd, int flags, struct sockaddr_storage *addr,
		      socklen_t *len)
{
	struct peer from = {.len = sizeof(from.addr)};
	int n = accept_any(l, fd, flags, &from);

	if (n >= 0) {
		*addr = from.addr;
		*len = from.len;
	}
	return n;
}

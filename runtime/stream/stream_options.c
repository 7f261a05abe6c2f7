/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * stream_options.c - options of TCP sockets. The shadow checks and keeps them, so errors and
 * what getsockopt() says are the kernel's; a connection of ours takes over what they
 * mean. An option that is not in the table is refused.
 */
#include <fcntl.h>
#include <linux/tcp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/fd.h"
#include "stream.h"

enum way {
	TCP,	/* a connection's behaviour: read again from the shadow after it was set */
	SHADOW, /* the kernel's alone, or of the time before connect() and listen() */
	OURS,	/* not kept by the shadow: set_ours(), get_ours() */
	READ,
};

struct option {
	int level, name;
	enum way way;
	bool inherit; /* an accepted socket has its listener's */
};

/* An index into it is a bit of lrp_stream.set: at most 64. */
static const struct option options[] = {
	{SOL_SOCKET, SO_ERROR, OURS, false},
	{SOL_SOCKET, SO_RCVTIMEO, OURS, true},
	{SOL_SOCKET, SO_SNDTIMEO, OURS, true},
	{SOL_SOCKET, SO_TYPE, READ, false},
	{SOL_SOCKET, SO_DOMAIN, READ, false},
	{SOL_SOCKET, SO_PROTOCOL, READ, false},
	{SOL_SOCKET, SO_ACCEPTCONN, READ, false},
	{SOL_SOCKET, SO_COOKIE, READ, false},
	{SOL_SOCKET, SO_NETNS_COOKIE, READ, false},
	{SOL_SOCKET, SO_REUSEADDR, SHADOW, true},
	{SOL_SOCKET, SO_REUSEPORT, SHADOW, false},
	{SOL_SOCKET, SO_BINDTODEVICE, SHADOW, false},
	{SOL_SOCKET, SO_LINGER, SHADOW, true},
	{SOL_SOCKET, SO_KEEPALIVE, TCP, true},
	{SOL_SOCKET, SO_OOBINLINE, TCP, true},
	{SOL_SOCKET, SO_RCVLOWAT, TCP, true},
	{SOL_SOCKET, SO_RCVBUF, TCP, true},
	{SOL_SOCKET, SO_SNDBUF, TCP, true},
	{IPPROTO_TCP, TCP_NODELAY, TCP, true},
	{IPPROTO_TCP, TCP_CORK, TCP, true},
	{IPPROTO_TCP, TCP_NOTSENT_LOWAT, TCP, true},
	{IPPROTO_TCP, TCP_MAXSEG, OURS, true},
	{IPPROTO_TCP, TCP_KEEPIDLE, TCP, true},
	{IPPROTO_TCP, TCP_KEEPINTVL, TCP, true},
	{IPPROTO_TCP, TCP_KEEPCNT, TCP, true},
	{IPPROTO_TCP, TCP_USER_TIMEOUT, TCP, true},
	{IPPROTO_TCP, TCP_SYNCNT, TCP, true},
	{IPPROTO_TCP, TCP_LINGER2, TCP, true},
	{IPPROTO_TCP, TCP_DEFER_ACCEPT, SHADOW, false},
	{IPPROTO_TCP, TCP_QUICKACK, OURS, false},
	{IPPROTO_TCP, TCP_CONGESTION, OURS, true},
	{IPPROTO_TCP, TCP_INFO, OURS, false},
	{SOL_IP, IP_TOS, TCP, true},
	{SOL_IP, IP_TTL, TCP, true},
	{SOL_IPV6, IPV6_TCLASS, TCP, true},
	{SOL_IPV6, IPV6_UNICAST_HOPS, TCP, true},
	{SOL_IPV6, IPV6_V6ONLY, SHADOW, false},
};
_Static_assert(sizeof(options) / sizeof(options[0]) <= 64, "bits of lrp_stream.set");

static int option_find(int level, int name)
{
	size_t i;

	for (i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		if (options[i].level == level && options[i].name == name)
			return (int)i;
	return -1;
}

/* ---- what the shadow says ------------------------------------------------------- */

static int get(int fd, int level, int name, int fallback)
{
	socklen_t len = sizeof(fallback);

	getsockopt(fd, level, name, &fallback, &len);
	return fallback;
}

static uint32_t positive(int value, uint32_t fallback)
{
	return value > 0 ? (uint32_t)value : fallback;
}

static void from_shadow(int fd, struct lrp_tcp_options *o)
{
	char name[LRP_TCP_CC_NAME] = "";
	socklen_t len = sizeof(name) - 1;
	const struct lrp_tcp_cc_ops *cc;

	lrp_tcp_options_default(o);
	o->nodelay = get(fd, IPPROTO_TCP, TCP_NODELAY, 0);
	o->cork = get(fd, IPPROTO_TCP, TCP_CORK, 0);
	o->keepalive = get(fd, SOL_SOCKET, SO_KEEPALIVE, 0);
	o->oob_inline = get(fd, SOL_SOCKET, SO_OOBINLINE, 0);
	o->keep_idle_s = positive(get(fd, IPPROTO_TCP, TCP_KEEPIDLE, 0), o->keep_idle_s);
	o->keep_interval_s = positive(get(fd, IPPROTO_TCP, TCP_KEEPINTVL, 0), o->keep_interval_s);
	o->keep_count = positive(get(fd, IPPROTO_TCP, TCP_KEEPCNT, 0), o->keep_count);
	o->user_timeout_ms = positive(get(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 0), 0);
	o->syn_retries = positive(get(fd, IPPROTO_TCP, TCP_SYNCNT, 0), o->syn_retries);
	o->linger2_s = positive(get(fd, IPPROTO_TCP, TCP_LINGER2, 0), o->linger2_s);
	if (!getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len) &&
	    (cc = lrp_tcp_cc_find(name)))
		o->cc = cc;
}

/* What the shadow says if somebody has set it, else `fallback`: these have other defaults here. */
static uint32_t if_set(const struct lrp_stream *stream, int fd, int level, int name,
		       uint32_t fallback)
{
	if (!(stream->set >> option_find(level, name) & 1))
		return fallback;
	return positive(get(fd, level, name, 0), fallback);
}

void lrp_stream_options(struct lrp_view *l, int fd, struct lrp_tcp_options *o)
{
	const struct lrp_stream *stream = &l->sock->stream;

	from_shadow(fd, o);
	o->mss = (uint16_t)if_set(stream, fd, IPPROTO_TCP, TCP_MAXSEG, 0);
	o->rcv_low = if_set(stream, fd, SOL_SOCKET, SO_RCVLOWAT, 0);
	/* The kernel doubles what it is asked for, and counts its overhead in it: the window that
	 * it offers is what was asked for. */
	o->rcv_min = if_set(stream, fd, SOL_SOCKET, SO_RCVBUF, 0) / 2;
	o->snd_min = if_set(stream, fd, SOL_SOCKET, SO_SNDBUF, 0);
	if (o->rcv_min)
		o->rcv_max = o->rcv_min;
	if (o->snd_min)
		o->snd_max = o->snd_min;
	/* The window must be able to bring what is waited for. */
	if (o->rcv_min / 2 < o->rcv_low)
		o->rcv_min = o->rcv_low < o->rcv_max / 2 ? 2 * o->rcv_low : o->rcv_max;
	o->notsent_low = if_set(stream, fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 0);
	o->tos[0] = (uint8_t)if_set(stream, fd, SOL_IP, IP_TOS, 0);
	o->ttl[0] = (uint8_t)if_set(stream, fd, SOL_IP, IP_TTL, 0);
	o->tos[1] = (uint8_t)if_set(stream, fd, SOL_IPV6, IPV6_TCLASS, 0);
	o->ttl[1] = (uint8_t)if_set(stream, fd, SOL_IPV6, IPV6_UNICAST_HOPS, 0);
}

bool lrp_stream_on_device(const struct lrp_view *l, int fd)
{
	char name[IFNAMSIZ] = "";
	socklen_t len = sizeof(name);

	return l->sock->stream.set >> option_find(SOL_SOCKET, SO_BINDTODEVICE) & 1 &&
	       !getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &len) && len && name[0];
}

/* A number that may change; the file stays open. 0 too if this kernel does not have it. */
static int sysctl(_Atomic int *file, const char *path)
{
	char text[12] = "";
	int fd = atomic_load(file), made;

	if (fd < 0) {
		made = lrp_fd_aside(open(path, O_RDONLY | O_CLOEXEC));
		if (made < 0)
			return 0;
		if (atomic_compare_exchange_strong(file, &fd, made))
			fd = made;
		else
			close(made);
	}
	return pread(fd, text, sizeof(text) - 1, 0) > 0 ? atoi(text) : 0;
}

int lrp_stream_ecn(void)
{
	static _Atomic int file = -1;

	return sysctl(&file, "/proc/sys/net/ipv4/tcp_ecn");
}

uint8_t lrp_stream_syn_linear(void)
{
	static _Atomic int file = -1;
	int timeouts = sysctl(&file, "/proc/sys/net/ipv4/tcp_syn_linear_timeouts");

	return timeouts > 0 && timeouts <= 127 ? (uint8_t)timeouts : 0;
}

int64_t lrp_stream_defer(int fd)
{
	return get(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 0) * (int64_t)LRP_NS_PER_S;
}

int lrp_stream_somaxconn(void)
{
	char text[16] = "";
	int fd = open("/proc/sys/net/core/somaxconn", O_RDONLY | O_CLOEXEC), most = 0;

	if (fd >= 0) {
		if (read(fd, text, sizeof(text) - 1) > 0)
			most = atoi(text);
		close(fd);
	}
	return most > 0 ? most : SOMAXCONN;
}

/* The connection, or the listener for those to come, follows the shadow. `push`: TCP_NODELAY was
 * set. */
static void apply(struct lrp_view *l, int fd, bool push)
{
	struct lrp_stream *stream = &l->sock->stream;
	struct lrp_tcp_options o;

	/* Read when it connects or listens; an accepted one has its listener's already. */
	if (atomic_load(&stream->mode) == LRP_STREAM_KERNEL)
		return;
	lrp_stream_options(l, fd, &o);
	if (lrp_hub_lock(l, fd, LRP_STREAM_CONNECTION)) {
		/* Read when it connected. */
		o.ecn = stream->conn->tcp.opt.ecn;
		o.syn_linear = stream->conn->tcp.opt.syn_linear;
		lrp_tcp_options_set(&stream->conn->tcp, (int64_t)lrp_now_ns(), &o);
		if (push)
			lrp_tcp_push(&stream->conn->tcp, (int64_t)lrp_now_ns());
		lrp_hub_touch(stream->conn);
		lrp_hub_unlock(stream->hub);
	} else if (lrp_hub_lock(l, fd, LRP_STREAM_LISTENER)) {
		o.ecn = stream->hub->listen.core.opt.ecn;
		stream->hub->listen.core.opt = o;
		stream->hub->listen.core.defer_ns = lrp_stream_defer(fd);
		lrp_hub_unlock(stream->hub);
	}
}

/* ---- setting -------------------------------------------------------------------- */

static int64_t duration(const void *value, socklen_t len)
{
	struct timeval tv = {0};

	memcpy(&tv, value, len < sizeof(tv) ? len : sizeof(tv));
	if (tv.tv_sec < 0)
		return 1;
	if (tv.tv_sec > (int64_t)1 << 30)
		return 0;
	return (int64_t)tv.tv_sec * 1000000000 + (int64_t)tv.tv_usec * 1000;
}

static void set_ours(struct lrp_view *l, int fd, const struct option *o, const void *value,
		     socklen_t len)
{
	struct lrp_stream *stream = &l->sock->stream;
	int v = 0;

	if (o->name == SO_RCVTIMEO && o->level == SOL_SOCKET) {
		atomic_store(&l->sock->rcvtimeo_ns, duration(value, len));
	} else if (o->name == SO_SNDTIMEO && o->level == SOL_SOCKET) {
		atomic_store(&stream->sndtimeo_ns, duration(value, len));
	} else if (o->level == IPPROTO_TCP &&
		   (o->name == TCP_MAXSEG || o->name == TCP_CONGESTION)) {
		apply(l, fd, false);
	} else if (o->level == IPPROTO_TCP && o->name == TCP_QUICKACK) {
		memcpy(&v, value, len < sizeof(v) ? len : sizeof(v));
		if (lrp_hub_lock(l, fd, LRP_STREAM_CONNECTION)) {
			lrp_tcp_quickack(&stream->conn->tcp, v != 0);
			lrp_hub_touch(stream->conn);
			lrp_hub_unlock(stream->hub);
		}
	}
}

/* An algorithm that the kernel may have, but a connection of ours has not. */
static bool unknown_cc(const struct lrp_view *l, const void *value, socklen_t len)
{
	char name[LRP_TCP_CC_NAME] = "";

	memcpy(name, value, len < sizeof(name) - 1 ? len : sizeof(name) - 1);
	return atomic_load(&l->sock->stream.mode) != LRP_STREAM_KERNEL && !lrp_tcp_cc_find(name);
}

int lrp_stream_setsockopt(struct lrp_view *l, int fd, int level, int name, const void *value,
			  socklen_t len)
{
	int i = option_find(level, name);

	if (i < 0)
		return -ENOPROTOOPT;
	if (level == IPPROTO_TCP && name == TCP_CONGESTION && unknown_cc(l, value, len))
		return len ? -ENOENT : -EINVAL;
	/* A connection in the kernel's sense is none: only it knows these by itself. */
	if (setsockopt(fd, level, name, value, len))
		return -errno;
	l->sock->stream.set |= 1ull << i;
	l->sock->touched = true;
	if (level == SOL_IPV6 && name == IPV6_V6ONLY)
		l->sock->v6only = get(fd, level, name, 0) != 0;
	if (options[i].way == OURS)
		set_ours(l, fd, &options[i], value, len);
	else if (options[i].way == TCP || name == TCP_DEFER_ACCEPT)
		apply(l, fd,
		      level == IPPROTO_TCP && name == TCP_NODELAY && get(fd, level, name, 0));
	if (options[i].inherit && lrp_hub_lock(l, fd, LRP_STREAM_LISTENER)) {
		atomic_fetch_add(&l->sock->stream.hub->options, 1);
		lrp_hub_unlock(l->sock->stream.hub);
	}
	return 0;
}

void lrp_stream_linger(struct lrp_view *l, int fd, struct linger *on)
{
	socklen_t len = sizeof(*on);

	memset(on, 0, sizeof(*on));
	if (l->sock->stream.set >> option_find(SOL_SOCKET, SO_LINGER) & 1)
		getsockopt(fd, SOL_SOCKET, SO_LINGER, on, &len);
}

void lrp_stream_inherit(struct lrp_view *from, int from_fd, struct lrp_view *to, int to_fd,
			bool kept)
{
	uint64_t set = from->sock->stream.set;
	uint8_t value[64];
	socklen_t len;
	size_t i;

	for (i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		if (!(set >> i & 1) || !options[i].inherit)
			continue;
		if (kept) {
			to->sock->stream.set |= 1ull << i;
			continue;
		}
		len = sizeof(value);
		if (getsockopt(from_fd, options[i].level, options[i].name, value, &len))
			continue;
		/* The kernel doubles what it is asked for. */
		if (options[i].level == SOL_SOCKET &&
		    (options[i].name == SO_RCVBUF || options[i].name == SO_SNDBUF)) {
			int half = *(int *)value / 2;

			memcpy(value, &half, sizeof(half));
		}
		lrp_stream_setsockopt(to, to_fd, options[i].level, options[i].name, value, len);
	}
	to->sock->touched = false;
	if (!kept)
		return;
	atomic_store(&to->sock->rcvtimeo_ns, atomic_load(&from->sock->rcvtimeo_ns));
	atomic_store(&to->sock->stream.sndtimeo_ns, atomic_load(&from->sock->stream.sndtimeo_ns));
}

/* ---- getting ---------------------------------------------------------------------- */

static int option_put(void *value, socklen_t *len, const void *from, socklen_t size)
{
	if ((int)*len < 0)
		return -EINVAL;
	if (*len > size)
		*len = size;
	memcpy(value, from, *len);
	return 0;
}

/* Hub locked. -ENOPROTOOPT: the shadow knows. */
static int get_ours(struct lrp_view *l, int level, int name, void *value, socklen_t *len)
{
	struct lrp_stream *stream = &l->sock->stream;
	struct lrp_tcp *tcp = &stream->conn->tcp;
	int64_t now = (int64_t)lrp_now_ns();
	struct tcp_info info;
	int v;

	lrp_hub_input(stream->hub, now, stream->conn, LRP_CONTEXT_CALL);
	if (level == SOL_SOCKET && name == SO_ERROR) {
		v = lrp_tcp_error(tcp);
		/* The outcome of a connect() that failed is known now. */
		return option_put(value, len, &v, sizeof(v));
	}
	if (level != IPPROTO_TCP)
		return -ENOPROTOOPT;
	if (name == TCP_INFO) {
		memset(&info, 0, sizeof(info));
		lrp_tcp_info(tcp, now, &info);
		return option_put(value, len, &info, sizeof(info));
	}
	if (name == TCP_MAXSEG && tcp->state != LRP_TCP_CLOSED && tcp->state != LRP_TCP_SYN_SENT) {
		v = tcp->mss;
		return option_put(value, len, &v, sizeof(v));
	}
	if (name == TCP_QUICKACK) {
		v = !tcp->pingpong;
		return option_put(value, len, &v, sizeof(v));
	}
	if (name == TCP_CONGESTION) {
		char cc[LRP_TCP_CC_NAME] = "";

		strncpy(cc, tcp->opt.cc->name, sizeof(cc) - 1);
		return option_put(value, len, cc, sizeof(cc));
	}
	return -ENOPROTOOPT;
}

/* Of a listener: how many wait to be accepted, with those of the shadow. */
static void add_queue(struct lrp_view *l, int fd, void *value, socklen_t len)
{
	struct tcp_info *info = value;

	if (len < offsetof(struct tcp_info, tcpi_unacked) + sizeof(info->tcpi_unacked) ||
	    !lrp_hub_lock(l, fd, LRP_STREAM_LISTENER))
		return;
	lrp_hub_input(l->sock->stream.hub, (int64_t)lrp_now_ns(), NULL, LRP_CONTEXT_CALL);
	info->tcpi_unacked += l->sock->stream.hub->listen.queued;
	lrp_hub_unlock(l->sock->stream.hub);
}

int lrp_stream_getsockopt(struct lrp_view *l, int fd, int level, int name, void *value,
			  socklen_t *len)
{
	int i = option_find(level, name), error = -ENOPROTOOPT;
	const int off = 0;

	if (i < 0)
		return -ENOPROTOOPT;
	if (options[i].way == OURS && lrp_hub_lock(l, fd, LRP_STREAM_CONNECTION)) {
		error = get_ours(l, level, name, value, len);
		lrp_hub_unlock(l->sock->stream.hub);
	}
	/* The shadow's port is shared: that is not the application's doing [ports.c]. */
	if (level == SOL_SOCKET && name == SO_REUSEPORT && !(l->sock->stream.set >> i & 1))
		error = option_put(value, len, &off, sizeof(off));
	if (error == -ENOPROTOOPT)
		error = getsockopt(fd, level, name, value, len) ? -errno : 0;
	if (!error && level == IPPROTO_TCP && name == TCP_INFO)
		add_queue(l, fd, value, *len);
	return error;
}

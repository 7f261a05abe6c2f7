/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* kind.c - TCP sockets, as the folders below know them. */
#include <netinet/in.h>

#include "../base/clock.h"
#include "../drive/app.h"
#include "../sock/kind.h"
#include "family.h"
#include "stream.h"

/* In the APP thread. */
static bool hub_run(struct lrp_driven *d, uint32_t serial, bool timers_only)
{
	struct lrp_hub *hub = lrp_hub_driven(d);
	int64_t now = (int64_t)lrp_now_ns();

	if (!lrp_hub_lock_if(hub, serial))
		return false;
	if (!timers_only) {
		lrp_hub_input(hub, now, NULL, LRP_CONTEXT_APP);
		lrp_hub_settle(hub);
	} else {
		d->armed_ns = LRP_TCP_NEVER;
		if (now >= atomic_load(&d->deadline_ns))
			lrp_hub_timers(hub, now);
		lrp_app_deadline(d);
	}
	lrp_hub_unlock(hub);
	return true;
}

static void stream_init(struct lrp_sock *s, int fd)
{
	int on = 0;
	socklen_t len = sizeof(on);

	/* A connection asks for the rest when it opens. */
	if (s->domain == AF_INET6 && !getsockopt(fd, SOL_IPV6, IPV6_V6ONLY, &on, &len))
		s->v6only = on != 0;
}

static void stream_closing(struct lrp_view *l, int fd)
{
	if (lrp_holder_last(l->sock))
		lrp_stream_closing(l, fd);
}

static void stream_leave(struct lrp_view *l)
{
	struct lrp_sock *s = l->sock;
	struct lrp_hub *hub = s->stream.hub;
	/* While we count, nobody closes it. */
	uint32_t serial = hub ? atomic_load(&hub->driven.serial) : 0;

	lrp_wait_close(l);
	lrp_holder_left(s);
	if (atomic_fetch_sub(&s->procs, 1) == 1) {
		atomic_fetch_or(&s->state, LRP_SOCK_CLOSED);
		lrp_sock_reap(s);
	} else if (hub) {
		lrp_hub_leave(hub, serial);
	}
}

static void stream_end(struct lrp_sock *s)
{
	lrp_unlock(&s->rx);
	lrp_stream_end(s);
}

static int receive_many(struct lrp_view *l, int fd, struct mmsghdr *msgs, unsigned int count,
			int flags, bool more)
{
	ssize_t len = lrp_stream_receive(l, fd, &msgs[0].msg_hdr, flags);

	(void)count;
	(void)more;
	msgs[0].msg_len = (unsigned int)len;
	return len < 0 ? (int)len : 1;
}

static int send_many(struct lrp_view *l, int fd, struct mmsghdr *msgs, unsigned int count,
		     int flags)
{
	unsigned int done;
	ssize_t n = 0;

	for (done = 0; done < count; done++) {
		n = lrp_stream_send(l, fd, &msgs[done].msg_hdr, flags);
		if (n < 0)
			break;
		msgs[done].msg_len = (unsigned int)n;
	}
	return done ? (int)done : (int)n;
}

const enum lrp_kind_number lrp_stream_kind = LRP_KIND_STREAM;

static const struct lrp_kind kind = {
	.ready = &lrp_stream_ready,
	.init = stream_init,
	.closing = stream_closing,
	.wake = lrp_wait_ring,
	.leave = stream_leave,
	.end = stream_end,
	.connect = lrp_stream_connect,
	.listen = lrp_stream_listen,
	.accept = lrp_stream_accept,
	.shutdown = lrp_stream_shutdown,
	.name = lrp_stream_name,
	.ioctl = lrp_stream_ioctl,
	.setsockopt = lrp_stream_setsockopt,
	.getsockopt = lrp_stream_getsockopt,
	.receive = lrp_stream_receive,
	.receive_many = receive_many,
	.send = lrp_stream_send,
	.send_many = send_many,
	.stats = lrp_stream_stats,
};

static __attribute__((constructor)) void stream_register(void)
{
	static const struct lrp_app_ops app = {
		.run = hub_run,
		.starts = lrp_exit_register,
		.attach = lrp_family_attach,
		.event = lrp_family_event,
	};

	lrp_kind_register(LRP_KIND_STREAM, &kind);
	lrp_app_register(&app);
	lrp_stream_fork_register();
	lrp_family_on_death(lrp_orphans_close);
}

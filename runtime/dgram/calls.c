/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* calls.c - the calls that name and configure a UDP socket, as far as not in files of their own. */
#include <errno.h>
#include <sys/ioctl.h>

#include "dgram.h"

int lrp_dgram_connect(struct lrp_view *l, int fd, const struct sockaddr *addr, socklen_t addrlen)
{
	int error = lrp_setup_lock(fd, &l);

	if (error)
		return error;
	/* What cannot be bound here connect() binds, and the kernel serves. */
	if (addr && addrlen >= sizeof(addr->sa_family) && addr->sa_family != AF_UNSPEC)
		(void)lrp_bind_any(fd, l->sock->domain);
	if (connect(fd, addr, addrlen))
		error = -errno;
	else
		lrp_sock_publish(l, fd);
	lrp_setup_unlock(l);
	return error;
}

int lrp_dgram_shutdown(struct lrp_view *l, int fd, int how)
{
	struct lrp_sock *s = l->sock;
	int error = shutdown(fd, how) ? -errno : 0;

	/* Even an unconnected socket is shut down by it, and only then says ENOTCONN. */
	if ((!error || error == -ENOTCONN) && (how == SHUT_RD || how == SHUT_RDWR)) {
		atomic_fetch_or(&s->state, LRP_SOCK_SHUT_RD);
		lrp_sock_flags_sync(s);
	}
	/* Sending fails from now on, as the shadow says it. */
	if ((!error || error == -ENOTCONN) && (how == SHUT_WR || how == SHUT_RDWR))
		s->dgram.slow_send = true;
	return error;
}

int lrp_dgram_name(struct lrp_view *l, int fd, struct sockaddr *addr, socklen_t *len, bool peer)
{
	(void)l;
	return (peer ? getpeername(fd, addr, len) : getsockname(fd, addr, len)) ? -errno : 0;
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
		l->sock->dgram.peeked = LRP_PEEKED_CHANNEL;
	}
	lrp_rx_unlock(l->sock);
	return found || !ioctl(fd, FIONREAD, length) ? 0 : -errno;
}

int lrp_dgram_ioctl(struct lrp_view *l, int fd, unsigned long request, void *arg)
{
	switch (request) {
	case FIONREAD: /* = SIOCINQ */
		return next_length(l, fd, arg);
	case FIONBIO:
	case FIONCLEX:
	case FIOCLEX:
	case TIOCOUTQ: /* = SIOCOUTQ */
		break;
	default:
		/* Questions about interfaces are asked on any socket. */
		if (request < SIOCGIFNAME || request > SIOCGIFTXQLEN)
			return -EOPNOTSUPP;
	}
	return ioctl(fd, request, arg) ? -errno : 0;
}

static void add(const struct lrp_endpoint *ep, const struct lrp_rxq *q,
		uint64_t processed[LRP_CONTEXT_COUNT], struct lrp_stats *now)
{
	uint32_t i, r;

	for (i = 0; i < ep->channels; i++) {
		const struct lrp_user *user = ep->chan[i].user;

		for (r = 0; r < LRP_CONTEXT_COUNT; r++)
			processed[r] += __atomic_load_n(&user->processed[r], __ATOMIC_RELAXED) -
					q[i].processed_base[r];
		now->dropped += lrp_chan_dropped(&ep->chan[i]) - q[i].dropped_base;
		now->discarded += lrp_chan_discarded(&ep->chan[i]) - q[i].discarded_base;
	}
}

void lrp_dgram_stats(struct lrp_view *l, int fd, struct lrp_stats *now)
{
	uint64_t processed[LRP_CONTEXT_COUNT];
	struct lrp_sock *s = l->sock;

	(void)fd;
	lrp_rx_lock(s);
	memcpy(processed, s->dgram.processed_before, sizeof(processed));
	now->dropped = s->dgram.dropped_before;
	now->discarded = s->dgram.discarded_before;
	add(&s->dgram.ep, s->dgram.rxq, processed, now);
	add(&s->dgram.old, s->dgram.old_rxq, processed, now);
	now->call = processed[LRP_CONTEXT_CALL];
	now->helper = processed[LRP_CONTEXT_HELPER];
	now->eager = processed[LRP_CONTEXT_EAGER];
	now->app = processed[LRP_CONTEXT_APP];
	now->kernel = atomic_load(&s->dgram.kernel);
	now->channels = s->dgram.ep.channels;
	now->channel_fd = s->dgram.ep.channels ? (uint64_t)s->dgram.ep.chan[0].fd : UINT64_MAX;
	lrp_rx_unlock(s);
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* stats.c - where a socket's packets were processed: the proof of laziness. */
#include <stddef.h>

#include "../stream/stream.h"

#ifndef LRP_VERSION
#define LRP_VERSION "unknown"
#endif

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

/* A connection's own; a listener's are those of all that came on its channels. */
static void stream_stats(struct lrp_view *l, int fd, struct lrp_stats *now)
{
	const uint64_t *processed;
	struct lrp_hub *hub;

	now->channel_fd = UINT64_MAX;
	if (lrp_hub_lock(l, fd, LRP_STREAM_CONNECTION)) {
		hub = l->sock->stream.hub;
		processed = l->sock->stream.conn->processed;
		now->dropped = l->sock->stream.conn->dropped;
	} else if (lrp_hub_lock(l, fd, LRP_STREAM_LISTENER)) {
		hub = l->sock->stream.hub;
		processed = hub->processed;
		now->dropped = hub->dropped;
	} else {
		return;
	}
	now->call = processed[LRP_CONTEXT_CALL];
	now->eager = processed[LRP_CONTEXT_EAGER];
	now->app = processed[LRP_CONTEXT_APP];
	/* What is discarded on its listener's channels nobody can tell apart. */
	if (hub->listen.open || !lrp_hub_is(hub, LRP_HUB_LISTENER))
		now->discarded = lrp_hub_discarded(hub);
	now->channels = hub->ep.channels;
	if (hub->ep.channels)
		now->channel_fd = (uint64_t)hub->ep.chan[0].fd;
	lrp_hub_unlock(hub);
}

LRP_API int lrp_stats(int fd, struct lrp_stats *stats)
{
	LRP_CALL;
	uint64_t processed[LRP_CONTEXT_COUNT];
	struct lrp_stats now = {.sz = sizeof(now)};
	struct lrp_view *l;
	struct lrp_sock *s;
	size_t sz;
	int error = stats->sz < offsetof(struct lrp_stats, call) ? -EINVAL : lrp_setup_lock(fd, &l);

	if (error) {
		errno = -error;
		return -1;
	}
	s = l->sock;
	if (lrp_is_stream(l)) {
		stream_stats(l, fd, &now);
		goto out;
	}
	lrp_rx_lock(s);
	memcpy(processed, s->processed_before, sizeof(processed));
	now.dropped = s->dropped_before;
	now.discarded = s->discarded_before;
	add(&s->ep, s->rxq, processed, &now);
	add(&s->old, s->old_rxq, processed, &now);
	now.call = processed[LRP_CONTEXT_CALL];
	now.helper = processed[LRP_CONTEXT_HELPER];
	now.eager = processed[LRP_CONTEXT_EAGER];
	now.app = processed[LRP_CONTEXT_APP];
	now.kernel = atomic_load(&s->kernel);
	now.channels = s->ep.channels;
	now.channel_fd = s->ep.channels ? (uint64_t)s->ep.chan[0].fd : UINT64_MAX;
	lrp_rx_unlock(s);
out:
	lrp_setup_unlock(l);
	sz = stats->sz < sizeof(now) ? stats->sz : sizeof(now);
	now.sz = sz;
	memcpy(stats, &now, sz);
	return 0;
}

LRP_API const char *lrp_version(void)
{
	return LRP_VERSION;
}

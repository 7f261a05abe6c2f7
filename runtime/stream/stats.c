/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* stats.c - lrp_stats() of a TCP socket. */
#include "stream.h"

/* A connection's own; a listener's are those of all that came on its channels. */
void lrp_stream_stats(struct lrp_view *l, int fd, struct lrp_stats *now)
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

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* proxy.h - a proxy tells lrpd that it serves, and XDP that it lives [abi.h: lrp_proxies]. */
#ifndef LRP_BROKER_PROXY_H
#define LRP_BROKER_PROXY_H

#include "broker.h"

/* From now on XDP puts the packets of this kind on the endpoints' channels. 0 or -errno: EPERM (the
 * process is not the one that lrpd has started for this kind), ESTALE (lrpd was replaced). */
int lrp_proxy_serve(enum lrp_proxy_kind kind, const struct lrp_endpoint ep[LRP_PROXY_CLASSES]);

/* The connection to lrpd, to poll for its end: neither lrpd nor its keeper is there any more. It
 * stays the broker's. -1: none. */
int lrp_proxy_lifeline(void);

/* XDP passes the channel by unless this is called several times a second. */
static inline void lrp_proxy_beat(struct lrp_chan *chan, uint64_t now_ns)
{
	if (chan->user)
		__atomic_store_n(&chan->user->beat_ns, now_ns, __ATOMIC_RELEASE);
}

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * reset.h - peers of connections whose process is dead are reset, idle ones too [design 8].
 *
 * Nobody knows the sequence numbers any more but the peer. So it is asked: a bare ACK out of
 * its window makes it answer with an ACK (RFC 9293 3.10.7.4), which reaches the kernel now that
 * the connection's entry is gone; the kernel has no such connection and resets the peer with
 * exactly the number that it wants (RFC 5961 3.2). Who is no longer there, or is a stranger on
 * these ports, is told nothing that it would not hear from anybody.
 */
#ifndef LRP_CORE_RESET_H
#define LRP_CORE_RESET_H

#include "../base/internal.h"

/* One connection, as we see it; IPv4 as ::ffff:a.b.c.d. Its entry is gone from the maps. */
struct lrp_core_reset {
	struct lrp_addr6 laddr, raddr;
	__be16 lport, rport;
};

/* Its peer is going to be asked, soon. What there is no memory for hears when it sends. */
void lrp_core_reset(struct lrp_core *core, const struct lrp_core_reset *peer);
/* Asks those whose time has come; when to be called again (CLOCK_MONOTONIC), 0: never. */
uint64_t lrp_core_resets_run(struct lrp_core *core);
void lrp_core_resets_close(struct lrp_core *core);

#endif

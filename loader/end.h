/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * end.h - local ends of TCP, and who has them [bpf/authority.h].
 *
 * An end that is given up is taken out of the index at once; its entries no longer count; after
 * a grace period, in which a program that had already looked comes to its end, they are purged and
 * their peers reset. Only then is its number used again.
 */
#ifndef LRP_CORE_END_H
#define LRP_CORE_END_H

#include "internal.h"

/* One more socket of the owner's on the ends of *pub, which become pub->end. 0 or -errno:
 * EDQUOT, ENOSPC. */
int lrp_core_ends_take(struct lrp_core *core, uint32_t owner, struct lrp_published *pub);
/* One socket fewer. */
/* False: one of them was taken away from its family. */
bool lrp_core_ends_held(const struct lrp_core *core, const uint32_t end[2]);
void lrp_core_ends_give(struct lrp_core *core, const uint32_t end[2]);
/* A watched port: XDP looks for exact entries of connections there. */
bool lrp_core_port_watched(const struct lrp_core *core, __be16 port);

/* From here on the ports are watched, and the connections that the kernel has there are known.
 * After that ends may be taken there. 0; or -errno: not all connections are known. Always followed
 * by the second. */
int lrp_core_ports_begin(struct lrp_core *core, const __be16 *ports, int count);
void lrp_core_ports_done(struct lrp_core *core, const __be16 *ports, int count);
/* Does an exact entry of TCP count: its end has not been given up since it was made. */
bool lrp_core_end_counts(const struct lrp_core *core, const struct lrp_flow *flow);

/*
 * LRP_REQ_CLAIM: the owner has these bound TCP sockets. `keep`: lrpd knows their ends as the
 * family's also when they are closed, until a minute has passed without a socket there. 0, or
 * -errno of the first that cannot be: as lrp_core_shadow_read() and lrp_core_watch();
 * EPROTONOSUPPORT: not TCP.
 */
int lrp_core_claim(struct lrp_core *core, uint32_t owner, const int *fds, int count, bool keep);
void lrp_core_claims_owner_gone(struct lrp_core *core, uint32_t owner);

/* Sockets that have left, ends that nobody has any more, or that are kept and not used. When to
 * come again, 0: no need. */
uint64_t lrp_core_ends_run(struct lrp_core *core);
/* After a takeover. */
void lrp_core_ends_adopt(struct lrp_core *core);

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * end.h - local ends of TCP, and who has them [bpf/authority.h].
 *
 * lrpd gives an end up in this order:
 *   1. It takes the end out of the index. The end's entries no longer count.
 *   2. It waits for a grace period: a program that had already looked ends meanwhile.
 *   3. It purges the entries and resets their peers.
 *   4. Only then is the end's number used again.
 */
#ifndef LRP_CORE_END_H
#define LRP_CORE_END_H

#include "../base/internal.h"

/* Counts one more socket of the owner on the ends of *pub, and writes their numbers to pub->end.
 * 0 or -errno: EDQUOT, ENOSPC. */
int lrp_core_ends_take(struct lrp_core *core, uint32_t owner, struct lrp_published *pub);
/* False: one of the ends was taken away from its family. */
bool lrp_core_ends_held(const struct lrp_core *core, const uint32_t end[2]);
/* Counts one socket fewer on these ends. */
void lrp_core_ends_give(struct lrp_core *core, const uint32_t end[2]);
/* A watched port: XDP looks for exact entries of connections there. */
bool lrp_core_port_watched(const struct lrp_core *core, __be16 port);

/* lrp_core_ports_begin(): from now on the ports are watched, and the connections that the kernel
 * has there are known. Then ends may be taken there. 0; or -errno: not all connections are known.
 * lrp_core_ports_done() follows in any case. */
int lrp_core_ports_begin(struct lrp_core *core, const __be16 *ports, int count);
void lrp_core_ports_done(struct lrp_core *core, const __be16 *ports, int count);
/* True: the exact entry of TCP counts. Its end has not been given up since the entry was made. */
bool lrp_core_end_counts(const struct lrp_core *core, const struct lrp_flow *flow);

/*
 * LRP_REQ_CLAIM: the owner has these bound TCP sockets. `keep`: their ends stay the family's after
 * the sockets are closed, until a minute has passed without a socket of the family there. 0, or
 * -errno of the first socket that is refused: as lrp_core_shadow_read(), lrp_core_watch() and
 * lrp_core_beside(); EPROTONOSUPPORT: not TCP.
 */
int lrp_core_claim(struct lrp_core *core, uint32_t owner, const int *fds, int count, bool keep);
void lrp_core_claims_owner_gone(struct lrp_core *core, uint32_t owner);

/* Gives up the claims of sockets that have left, and ends that nobody has or that are kept and not
 * used. Returns when to call again; 0: no need. */
uint64_t lrp_core_ends_run(struct lrp_core *core);
/* After a takeover from the lrpd before. */
void lrp_core_ends_adopt(struct lrp_core *core);

#endif

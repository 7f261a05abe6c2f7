/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * watch.h - the sockets behind LRP's entries, followed in the kernel [bpf/watch.bpf.c].
 *
 * lrpd begins to watch a socket before it answers the request. It ends when the socket leaves its
 * port or lrpd forgets it. Either the watcher or lrpd takes the socket's record out of lrp_shadows.
 * Whoever does gives up what the socket holds, so that happens exactly once.
 */
#ifndef LRP_CORE_WATCH_H
#define LRP_CORE_WATCH_H

#include "../base/internal.h"

/* Loads and attaches the watcher's programs. The maps must exist. Replaces the programs of an lrpd
 * before this one. 0 or -errno with a line in `text`. */
int lrp_core_watch_open(struct lrp_core *core, char *text);
void lrp_core_watch_close(struct lrp_core *core);
bool lrp_core_watch_kept(struct lrp_core *core, const struct lrp_core_kept *kept);
void lrp_core_watch_store(struct lrp_core *core);

/*
 * Watches the socket `fd`. *pub is what lrp_core_shadow_read() said about it. If it is a TCP
 * socket, takes its ends for the owner and fills in pub->end. 0 or -errno:
 *   ENOLCK         the socket has not bound its port by number: it can leave the port while open
 *   EADDRNOTAVAIL  it has left the port meanwhile
 *   EACCES         another family has it
 *   EDQUOT, ENOSPC
 */
int lrp_core_watch(struct lrp_core *core, int fd, uint32_t owner, struct lrp_published *pub,
		   enum lrp_shadow_reason reason);
/* Takes one reason away. With the last reason the socket's ends are given up. */
void lrp_core_unwatch(struct lrp_core *core, uint64_t cookie, enum lrp_shadow_reason reason);
/* False: the socket has left its port. True also if nothing can be watched. */
bool lrp_core_watched(struct lrp_core *core, uint64_t cookie);

/* Deletes an exact entry of TCP, unless it lives again by now. `key`: struct lrp_flow4 or
 * lrp_flow6. True: this call has deleted it. */
bool lrp_core_purge(struct lrp_core *core, bool v4, const void *key);

#endif

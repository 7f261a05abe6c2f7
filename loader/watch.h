/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * watch.h - the sockets behind LRP's entries, followed in the kernel [bpf/watch.bpf.c].
 *
 * A socket is watched from before lrpd answers until it leaves its port, or lrpd forgets it.
 * What it holds is given up exactly once, by whoever takes its record out of lrp_shadows: the
 * watcher, or lrpd.
 */
#ifndef LRP_CORE_WATCH_H
#define LRP_CORE_WATCH_H

#include "internal.h"

/* Loads and attaches; the maps are there. Replaces the programs of an lrpd before this one. 0 or
 * -errno with a line in `text`. */
int lrp_core_watch_open(struct lrp_core *core, char *text);
void lrp_core_watch_close(struct lrp_core *core);
bool lrp_core_watch_kept(struct lrp_core *core, const struct lrp_core_kept *kept);
void lrp_core_watch_store(struct lrp_core *core);

/*
 * Watches the socket that `fd` is, of which *pub is what lrp_core_shadow_read() said, and takes its
 * ends for the owner (TCP; pub->end is filled in). 0 or -errno: ENOLCK (it can leave its port while
 * it is open, since it has not bound it by number), EADDRNOTAVAIL (it has left meanwhile), EACCES
 * (another family has it), EDQUOT, ENOSPC.
 */
int lrp_core_watch(struct lrp_core *core, int fd, uint32_t owner, struct lrp_published *pub,
		   enum lrp_shadow_reason reason);
/* The reason is gone. With the last one the socket's ends are given up. */
void lrp_core_unwatch(struct lrp_core *core, uint64_t cookie, enum lrp_shadow_reason reason);
/* False: the socket has left its port. True also where nothing can be watched. */
bool lrp_core_watched(struct lrp_core *core, uint64_t cookie);

/* Deletes an exact entry of TCP, unless it lives again by now. `key`: struct lrp_flow4 or
 * lrp_flow6. True: it is gone, by us. */
bool lrp_core_purge(struct lrp_core *core, bool v4, const void *key);

#endif

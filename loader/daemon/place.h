/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * place.h - lrpd's directory LRP_RUN_DIR/<cookie of the network namespace>/: making it, the
 * sockets in it, and who may make them. 0 or -errno.
 */
#ifndef LRP_CORE_PLACE_H
#define LRP_CORE_PLACE_H

#include <stdbool.h>
#include <sys/types.h>

/* Makes the directory, which nobody but root can write from then on; removes those of network
 * namespaces that are gone. -EPERM: what is there is not root's. */
int lrp_place_make(void);

/*
 * One lrpd at a time starts or replaces a keeper in this network namespace. Waits for
 * so long; a descriptor that holds the lock until it is closed, or -EBUSY.
 */
int lrp_place_lock(unsigned int patience_ms);

/*
 * Listens there, non-blocking. A socket file that nobody serves any more, as kill -9 leaves it, is
 * replaced. -EADDRINUSE: somebody serves it, *pid. With the lock held.
 */
int lrp_place_listen(const char *file, mode_t mode, gid_t gid, int backlog, pid_t *pid);

/* Is there still a file of that name? */
bool lrp_place_has(const char *file);
/* Whom the kernel lets connect. */
int lrp_place_allow(const char *file, mode_t mode, gid_t gid);

/* A file with one line of text that everybody can read. */
int lrp_place_write(const char *file, const char *line);

/* Removes what is in the directory but the lock; `all`: that and the directory, too. */
void lrp_place_remove(bool all);

#endif

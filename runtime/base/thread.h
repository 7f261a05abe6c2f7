/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* thread.h - starting the runtime's own threads. */
#ifndef LRP_THREAD_H
#define LRP_THREAD_H

#include <pthread.h>
#include <stddef.h>

#define LRP_THREAD_STACK ((size_t)256 << 10) /* enough for all but the core */

/*
 * Starts a thread that takes none of the application's signals. `stack`: bytes, 0: the default.
 * `joinable` gets its name for pthread_join(); NULL: it is detached. 0 or an errno.
 */
int lrp_thread_start(void *(*run)(void *), void *arg, size_t stack, pthread_t *joinable);

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * fd.h - descriptors of the runtime's own, which the application does not know: out of its way.
 *
 * They do not take the lowest numbers, which it expects to get, nor those that select() can name, nor does
 * it meet its limit of open files the earlier for them: they lie above the soft limit that the
 * process came with, which is raised by as many, as far as the hard limit goes.
 *
 * Threads: any.
 */
#ifndef LRP_FD_H
#define LRP_FD_H

#include <stdbool.h>
#include <stdint.h>

/* The descriptor, closed on exec, at another number if one can be had; a negative one is returned as it
 * is. errno is kept. */
int lrp_fd_aside(int fd);

/* Another descriptor for the same, there; -1: none can be had. */
int lrp_fd_aside_of(int fd);

/* Are so many of its own too many for the runtime? A quarter of the hard limit is its share; the rest is for
 * the application's sockets. */
bool lrp_fd_scarce(uint32_t count);

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * memory.h - buffers of TCP, within the family's share of tcp_mem [tcp(7)].
 *
 * As in Linux, buffers stop growing at two thirds of it, and there are no new connections beyond
 * it. Connections that exist go on with the buffers they have.
 */
#ifndef LRP_SOCKET_MEMORY_H
#define LRP_SOCKET_MEMORY_H

#include <stdint.h>

/* Of a new connection, and of one whose buffer grows: from the arena, with any contents. NULL:
 * none left. */
void *lrp_memory_first(uint32_t size);
void *lrp_memory_grown(uint32_t size);

#endif

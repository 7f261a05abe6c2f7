/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tcp_mem.h - how much memory this host gives to TCP [tcp(7), tcp_mem]. */
#ifndef LRP_TCP_MEM_H
#define LRP_TCP_MEM_H

#include <stdint.h>

/* The third number of net.ipv4.tcp_mem, in bytes. The kernel shows it in the first network
 * namespace only; elsewhere what Linux sets at boot, three 32nds of the memory. */
uint64_t lrp_tcp_mem_bytes(void);

#endif

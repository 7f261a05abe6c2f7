/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* trace.h - the last packets of a simulation, as tcpdump would show them. */
#ifndef LRP_SIM_TRACE_H
#define LRP_SIM_TRACE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

void trace_begin(void);
/* A TCP segment of `len` bytes goes out at `at_ns`; `forth`: from the client. */
void trace_packet(int64_t at_ns, bool forth, const uint8_t *l4, uint32_t len);
void trace_dump(FILE *to);

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* lrp_guard.h - `lrp guard`: early discard for kernel sockets. */
#ifndef LRP_TOOLS_GUARD_H
#define LRP_TOOLS_GUARD_H

/* argv[0] is "guard". The exit code of the command. */
int lrp_guard_command(int argc, char **argv);

#endif

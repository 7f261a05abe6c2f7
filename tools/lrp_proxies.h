/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* lrp_proxies.h - `lrp proxies`: listing and changing the proxies. */
#ifndef LRP_TOOLS_PROXIES_H
#define LRP_TOOLS_PROXIES_H

int lrp_proxies(int argc, char **argv); /* the exit code */
/* On: those that need no decision, arp, icmp and forward. The exit code. */
int lrp_proxies_default(int fd);

#endif

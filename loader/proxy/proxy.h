/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * proxy.h - the proxies [3.5]: which are on, the processes that serve them, what XDP is told.
 *
 * XDP puts a packet on a proxy's channel while four things are true: the kind is on, a process
 * serves it, that process has given a sign of life within LRP_PROXY_PATIENCE_NS, and the device is
 * one that proxies serve. Else the packet goes to the kernel directly, as without proxies.
 *
 * The process gives the sign itself, several times a second. While it waits for the CPU, lrpd gives
 * it: a proxy of low priority on a busy host is slow, not dead. A process that ends, is stopped or
 * hangs is killed and started again, and the log says so.
 *
 * Not in embedded mode.
 */
#ifndef LRP_CORE_PROXY_H
#define LRP_CORE_PROXY_H

#include "../base/internal.h"

struct json_object;

int lrp_core_proxies_open(struct lrp_core *core);
void lrp_core_proxies_defaults(struct lrp_core *core); /* into a new state */
/* Ends the processes, removes their cgroups. */
void lrp_core_proxies_close(struct lrp_core *core);
/* When to come again, 0: no need. */
uint64_t lrp_core_proxies_run(struct lrp_core *core);

/* LRP_REQ_PROXY_SET. 0 or -errno, and a line for people in text. */
int lrp_core_proxy_set(struct lrp_core *core, const struct lrp_proxy_request *request, char *text);
/* LRP_REQ_PROXY_SERVE; both endpoints are the client's. */
int lrp_core_proxy_serve(struct lrp_core *core, const struct lrp_core_client *client, uint32_t kind,
			 const uint32_t endpoint[LRP_PROXY_CLASSES]);
/* LRP_REQ_PROXIES */
struct json_object *lrp_core_proxies(struct lrp_core *core);

/* The kind's name if the endpoint is a proxy's, else NULL. */
const char *lrp_core_proxy_name(const struct lrp_core *core, uint32_t endpoint);

#endif

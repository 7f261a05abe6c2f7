/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* lrp_client.h - the command's side of the control socket. */
#ifndef LRP_TOOLS_CLIENT_H
#define LRP_TOOLS_CLIENT_H

#include <json-c/json.h>
#include <stdbool.h>

#include <lrp/control.h>

/* Connects; with `start`, starts lrpd if none runs, and says so. -1 and a line on stderr on
 * failure. */
int lrp_client_connect(bool start, bool *started);

/* Asks a keeper whose lrpd is gone how it stands, or ends it, and says so. 0: done. 1: refused. 2:
 * there is a lrpd, or no keeper. */
int lrp_client_keeper(bool stop);

/* Sends and waits. 0, or -errno as lrpd answered or because it did not (then said on stderr). */
int lrp_client_call(int fd, struct lrp_request *request, struct lrp_reply *reply, int *passed);

/* A request whose answer is JSON. NULL and a line on stderr on failure. */
struct json_object *lrp_client_json(int fd, unsigned int type);

#endif

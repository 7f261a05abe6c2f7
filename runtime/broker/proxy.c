/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* proxy.c - see proxy.h. */
#include "proxy.h"

#include <errno.h>
#include <stddef.h>

#include "broker_internal.h"

int lrp_proxy_serve(enum lrp_proxy_kind kind, const struct lrp_endpoint ep[LRP_PROXY_CLASSES])
{
	struct lrp_request request = {.type = LRP_REQ_PROXY_SERVE};
	struct lrp_reply reply;
	int error = -ESTALE;

	request.serve.kind = kind;
	for (int c = 0; c < LRP_PROXY_CLASSES; c++)
		request.serve.endpoint[c] = ep[c].id;
	lrp_broker_lock();
	if (ep[0].incarnation == lrp_broker_incarnation &&
	    ep[1].incarnation == lrp_broker_incarnation)
		error = lrp_broker_call_plain(&request, NULL, 0, &reply);
	lrp_broker_unlock();
	return error;
}

int lrp_proxy_lifeline(void)
{
	int fd;

	lrp_broker_lock();
	fd = lrp_broker_mode == BROKER_REMOTE ? lrp_broker_remote_fd() : -1;
	lrp_broker_unlock();
	return fd;
}

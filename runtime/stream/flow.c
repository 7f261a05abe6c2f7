/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* flow.c - exact entries in XDP's map, by the flow of a connection [broker/broker.h]. */
#include "hub_internal.h"

static struct lrp_flow_name name_of(const struct lrp_tcp_flow *flow)
{
	return (struct lrp_flow_name){.family = flow->family,
				      .laddr = &flow->laddr,
				      .raddr = &flow->raddr,
				      .lport = flow->lport,
				      .rport = flow->rport};
}

int lrp_flow_expose(const struct lrp_tcp_flow *flow, const struct lrp_hub *hub)
{
	struct lrp_flow_name name = name_of(flow);

	return lrp_flow_set(&name, &hub->ep);
}

int lrp_flow_claim(const struct lrp_tcp_flow *flow, const struct lrp_hub *hub)
{
	struct lrp_flow_name name = name_of(flow);

	return lrp_flow_reserve(&name, &hub->ep);
}

int lrp_flow_expose_bound(const struct lrp_tcp_flow *flow, const struct lrp_hub *hub, int shadow)
{
	struct lrp_flow_name name = name_of(flow);

	return lrp_flow_set_bound(&name, &hub->ep, shadow);
}

void lrp_flow_hide(const struct lrp_tcp_flow *flow)
{
	struct lrp_flow_name name = name_of(flow);

	lrp_flow_clear(&name);
}

int lrp_conn_expose(struct lrp_conn *c, const struct lrp_hub *hub)
{
	int error = c->over ? 0 : lrp_flow_expose(&c->flow, hub);

	c->exact |= !error && !c->over;
	return error;
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* shadow.h - the kernel socket behind an LRP socket, as lrpd sees it. */
#ifndef LRP_CORE_SHADOW_H
#define LRP_CORE_SHADOW_H

#include <linux/inet_diag.h>
#include <linux/netlink.h>

#include "../base/internal.h"

/*
 * Fills all of *pub but on, sequence and memberships. 0 or -errno: EXDEV (of
 * another network namespace), EDESTADDRREQ (not bound), EAFNOSUPPORT and
 * EPROTONOSUPPORT (not UDP or TCP over IP), EOPNOTSUPP (bound to a device).
 */
int lrp_core_shadow_read(struct lrp_core *core, int fd, struct lrp_published *pub);

/*
 * Which of these sockets exist, and have the local address, port and state of which they were
 * published? `pub` sorted by cookie, ascending; alive[i] is set for each. `port` (network order)
 * narrows the search, 0: all. 0 or -errno, then nothing is known about any.
 */
int lrp_core_shadows_find(const struct lrp_published *const *pub, bool *alive, size_t count,
			  __be16 port);

/* Every socket of the family and protocol in one of the states (a bit each); `port` as
 * above. 0 or -errno. */
int lrp_core_diag_dump(uint8_t family, uint8_t protocol, uint32_t states, __be16 port,
		       int (*on_socket)(const struct nlmsghdr *nlh, void *data), void *data);

/* The state of the TCP connection with this four-tuple (include/net/tcp_states.h), 0: there is
 * none; LISTEN: a listener would have its next segment. */
uint32_t lrp_core_diag_state(uint8_t family, const struct inet_diag_sockid *id);

/* Is the socket a member of the group on that device, from any source? The kernel says so. */
bool lrp_core_shadow_member(int fd, const struct lrp_membership_request *membership);

/* False: lrp_core_shadows_find() does not find such a socket on this kernel, alive or not. */
bool lrp_core_shadow_visible(const struct lrp_published *pub);

/* False also for a socket that was never published. */
bool lrp_core_shadow_alive(struct lrp_core *core, uint32_t endpoint);

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* beside.c - see beside.h. */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <string.h>
#include <time.h>

#include "../../runtime/base/log.h"
#include "beside.h"
#include "flow.h"
#include "publish.h"
#include "shadow.h"

#define STATE_LISTEN 10 /* include/net/tcp_states.h */
/* The watcher's hook runs before bind() returns, and sock_diag shows the port only afterwards. So
 * lrpd looks after this time. */
#define BIND_NS	 25000000ull
#define SLICE_NS 10000000ull /* of looks in a row */

struct beside {
	const struct lrp_core *core;
	const struct lrp_published *pub;
	uint32_t uid;	     /* of the family */
	uint32_t own, other; /* uid of the socket; of one beside it that is not `uid`'s */
	bool own_seen, other_seen, more_users;
};

/* What a socket of the kernel receives. */
struct place {
	struct lrp_addr6 addr; /* IPv4: mapped */
	bool v4, v6, wildcard;
};

static int on_attribute(const struct nlattr *attr, void *data)
{
	if (mnl_attr_get_type(attr) == INET_DIAG_SKV6ONLY)
		*(bool *)data = mnl_attr_get_u8(attr) != 0;
	return MNL_CB_OK;
}

static void place_of(const struct nlmsghdr *nlh, const struct inet_diag_msg *msg,
		     struct place *place)
{
	static const struct lrp_addr6 none, mapped = {.byte = {[10] = 0xff, [11] = 0xff}};
	bool only = false;

	*place = (struct place){.addr = mapped};
	if (msg->idiag_family == AF_INET) {
		memcpy(&place->addr.byte[12], msg->id.idiag_src, 4);
		place->v4 = true;
		place->wildcard = !msg->id.idiag_src[0];
		return;
	}
	mnl_attr_parse(nlh, sizeof(*msg), on_attribute, &only);
	memcpy(&place->addr, msg->id.idiag_src, sizeof(place->addr));
	place->wildcard = !memcmp(&place->addr, &none, sizeof(none));
	place->v4 = !memcmp(&place->addr, &mapped, 12) || (place->wildcard && !only);
	place->v6 = memcmp(&place->addr, &mapped, 12) != 0;
}

static bool overlaps(const struct lrp_published *pub, const struct place *place)
{
	return ((pub->v4 && place->v4) || (pub->v6 && place->v6)) &&
	       (pub->wildcard || place->wildcard ||
		!memcmp(&pub->laddr, &place->addr, sizeof(place->addr)));
}

/* A socket that is bound to a device which is not attached receives nothing from attached ones. */
static bool on_our_device(const struct lrp_core *core, uint32_t ifindex)
{
	for (uint32_t i = 0; ifindex && i < LRP_MAX_DEVICES; i++)
		if (core->state->device[i].used && core->state->device[i].ifindex == ifindex)
			return true;
	return !ifindex;
}

static int on_socket(const struct nlmsghdr *nlh, void *data)
{
	const struct inet_diag_msg *msg = mnl_nlmsg_get_payload(nlh);
	struct beside *beside = data;
	struct place place;

	if (nlh->nlmsg_type != SOCK_DIAG_BY_FAMILY || msg->id.idiag_sport != beside->pub->lport)
		return MNL_CB_OK;
	if ((msg->id.idiag_cookie[0] | (uint64_t)msg->id.idiag_cookie[1] << 32) ==
	    beside->pub->cookie) {
		beside->own = msg->idiag_uid;
		beside->own_seen = true;
		return MNL_CB_OK;
	}
	place_of(nlh, msg, &place);
	if (msg->idiag_uid == beside->uid || !overlaps(beside->pub, &place) ||
	    !on_our_device(beside->core, msg->id.idiag_if))
		return MNL_CB_OK;
	beside->more_users |= beside->other_seen && beside->other != msg->idiag_uid;
	beside->other = msg->idiag_uid;
	beside->other_seen = true;
	return MNL_CB_OK;
}

int lrp_core_beside(const struct lrp_core *core, const struct lrp_published *pub, uint32_t uid)
{
	struct beside beside = {.core = core, .pub = pub, .uid = uid};
	uint32_t states = pub->proto == IPPROTO_TCP ? 1u << STATE_LISTEN : ~0u;
	int err;

	/* The kernel gives a connected socket what its peer sends, whatever other
	 * sockets are there. */
	if (pub->proto == IPPROTO_UDP && pub->connected)
		return 0;
	err = lrp_core_diag_dump(AF_INET, pub->proto, states, pub->lport, on_socket, &beside);
	if (!err)
		err = lrp_core_diag_dump(AF_INET6, pub->proto, states, pub->lport, on_socket,
					 &beside);
	if (err)
		return err;
	/* A socket keeps the uid of the user who made it, also when it was passed to another
	 * process. The same is true of the sockets of its group. */
	return beside.other_seen &&
			       (beside.more_users || !beside.own_seen || beside.other != beside.own)
		       ? -EADDRINUSE
		       : 0;
}

/* ---- sockets that are bound later ------------------------------------------------ */

static uint64_t *word_of(const struct lrp_core *core, bool v6, uint32_t port)
{
	return (uint64_t *)&core->ports[LRP_PORT_INDEX(v6, false, port)];
}

bool lrp_core_port_shut(const struct lrp_core *core, uint32_t port)
{
	const uint64_t shut = (uint64_t)LRP_PORT_SHUT << 32;

	return (__atomic_load_n(word_of(core, false, port), __ATOMIC_ACQUIRE) |
		__atomic_load_n(word_of(core, true, port), __ATOMIC_ACQUIRE)) &
	       shut;
}

static bool port_take(uint64_t *ports, uint32_t port)
{
	bool has = ports[port / 64] >> port % 64 & 1;

	ports[port / 64] &= ~(1ull << port % 64);
	return has;
}

void lrp_core_port_bound(struct lrp_core *core, uint32_t port)
{
	core->bound[port % 65536 / 64] |= 1ull << port % 64;
	if (!core->next_beside_ns)
		core->next_beside_ns = lrp_core_now_ns() + BIND_NS;
}

static void look(struct lrp_core *core, uint32_t port)
{
	uint32_t next;

	/* First: who binds while we look shuts the port again. It stays empty until the end. */
	for (int v6 = 0; v6 <= 1; v6++)
		__atomic_fetch_and(word_of(core, v6, port), ~((uint64_t)LRP_PORT_SHUT << 32),
				   __ATOMIC_ACQ_REL);
	for (uint32_t e = core->by_port[htons((uint16_t)port)]; e; e = core->next_on_port[e]) {
		struct lrp_published *pub = &core->state->endpoint[e].pub;
		uint32_t uid = core->state->owner[core->state->endpoint[e].owner].uid;

		if (!pub->on || pub->proto != IPPROTO_UDP ||
		    lrp_core_beside(core, pub, uid) != -EADDRINUSE)
			continue;
		pub->left = 1;
		lrp_log(LRP_LOG_INFO,
			"lrpd: UDP port %u of uid %u: another user's socket is beside it: the "
			"kernel's from now on",
			port, uid);
	}
	for (uint32_t e = core->by_port[htons((uint16_t)port)]; e; e = next) {
		next = core->next_on_port[e];
		if (core->state->endpoint[e].pub.proto == IPPROTO_UDP &&
		    core->state->endpoint[e].pub.left)
			lrp_core_withdraw(core, e);
	}
	for (int v6 = 0; v6 <= 1; v6++)
		lrp_core_sync_udp_port(core, htons((uint16_t)port), v6);
}

/* A port that is marked waits for the second round from then on: BIND_NS at least. */
uint64_t lrp_core_beside_run(struct lrp_core *core)
{
	uint64_t start = lrp_core_now_ns(), now = start;
	bool more = false, marked = false;

	if (!core->next_beside_ns || start < core->next_beside_ns)
		return core->next_beside_ns;
	for (uint32_t port = 1; port < 65536; port++) {
		if (!core->bound_before[port / 64])
			port |= 63; /* none of these */
		else if (now - start > SLICE_NS)
			more |= core->bound_before[port / 64] >> port % 64 & 1;
		else if (port_take(core->bound_before, port)) {
			look(core, port);
			now = lrp_core_now_ns();
		}
	}
	for (uint32_t i = 0; i < 65536 / 64 && !more; i++) {
		marked |= core->bound[i] != 0;
		core->bound_before[i] = core->bound[i];
		core->bound[i] = 0;
	}
	/* Never more than a tenth of a CPU. */
	core->next_beside_ns = more || marked ? now + (more ? 0 : BIND_NS) + 10 * (now - start) : 0;
	return core->next_beside_ns;
}

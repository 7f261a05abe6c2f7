/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * local.c - the host's own addresses, kept from rtnetlink: what is local, the
 * subnets' broadcasts, the devices' MACs and VLANs; links that go away. An event of
 * addresses or links leads to a new reading of all of them: they are rare, and a lost
 * event (ENOBUFS) is then no special case. Routes and neighbours only
 * advance the status page's epoch.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "../../runtime/base/log.h"
#include "device.h"
#include "link.h"
#include "local.h"

#define SYNC_TRIES 8
#define NEIGHBOURS 1024u /* remembered, so that a confirmation is not taken for a change */

struct neighbour {
	uint32_t ifindex;
	uint8_t family, valid;
	uint8_t dst[16];
	uint8_t lladdr[32];
};

struct lrp_core_local {
	struct mnl_socket *events;
	struct neighbour neighbour[NEIGHBOURS]; /* by hash, the last one there */
};

int lrp_core_local_open(struct lrp_core *core)
{
	struct epoll_event event = {.events = EPOLLIN};
	static const int groups[] = {
		RTNLGRP_LINK,	    RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
		RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE,	 RTNLGRP_NEIGH,
	};
	struct lrp_core_local *local = calloc(1, sizeof(*local));
	int size = 1 << 20;

	if (!local)
		return -ENOMEM;
	core->local = local;
	local->events = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!local->events || mnl_socket_bind(local->events, 0, MNL_SOCKET_AUTOPID) < 0)
		return -errno;
	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
		int group = groups[i];

		if (mnl_socket_setsockopt(local->events, NETLINK_ADD_MEMBERSHIP, &group,
					  sizeof(group)) < 0)
			return -errno;
	}
	setsockopt(mnl_socket_get_fd(local->events), SOL_SOCKET, SO_RCVBUFFORCE, &size,
		   sizeof(size));
	event.data.fd = mnl_socket_get_fd(local->events);
	return epoll_ctl(core->epoll_fd, EPOLL_CTL_ADD, event.data.fd, &event) ? -errno : 0;
}

void lrp_core_local_close(struct lrp_core *core)
{
	if (!core->local)
		return;
	if (core->local->events)
		mnl_socket_close(core->local->events);
	free(core->local);
	core->local = NULL;
}

/* ---- reading all of it ------------------------------------------------------------------ */

struct local4 {
	__be32 addr;
	uint32_t kind, ifindex; /* of the device that has it */
};

struct local6 {
	struct lrp_addr6 addr;
	uint32_t ifindex; /* 0 unless link-local */
};

struct reading {
	struct local4 *v4;
	size_t v4_count, v4_room;
	struct local6 *v6;
	size_t v6_count, v6_room;
	struct lrp_device device[LRP_MAX_DEVICES];
	bool seen[LRP_MAX_DEVICES];
	struct lrp_core *core;
};

static bool grow(void **array, size_t count, size_t *room, size_t size)
{
	void *grown;

	if (count < *room)
		return true;
	*room = *room ? *room * 2 : 64;
	grown = realloc(*array, *room * size);
	if (!grown)
		return false;
	*array = grown;
	return true;
}

static bool add_v4(struct reading *r, __be32 addr, uint32_t kind, uint32_t ifindex)
{
	for (size_t i = 0; i < r->v4_count; i++)
		if (r->v4[i].addr == addr && r->v4[i].kind <= kind)
			return true; /* unicast wins */
	if (!grow((void **)&r->v4, r->v4_count, &r->v4_room, sizeof(*r->v4)))
		return false;
	r->v4[r->v4_count++] = (struct local4){addr, kind, ifindex};
	return true;
}

static bool read_addr4(struct reading *r, const struct ifaddrmsg *ifa, const struct nlattr *local,
		       const struct nlattr *broadcast)
{
	__be32 addr = mnl_attr_get_u32(local);
	bool ok = add_v4(r, addr, LRP_LOCAL_UNICAST, ifa->ifa_index);

	if (ok && broadcast)
		ok = add_v4(r, mnl_attr_get_u32(broadcast), LRP_LOCAL_BROADCAST, ifa->ifa_index);
	/* The kernel makes this one whether it was configured or not (fib_add_ifaddr). */
	if (ok && ifa->ifa_prefixlen < 31 && (ntohl(addr) >> 24) != 127)
		ok = add_v4(r, addr | htonl(ifa->ifa_prefixlen ? ~0u >> ifa->ifa_prefixlen : ~0u),
			    LRP_LOCAL_BROADCAST, ifa->ifa_index);
	return ok;
}

static bool read_addr6(struct reading *r, const struct ifaddrmsg *ifa, uint32_t flags,
		       const struct nlattr *attr)
{
	struct local6 entry = {.ifindex = ifa->ifa_scope == RT_SCOPE_LINK ? ifa->ifa_index : 0};

	/* Until duplicate address detection is done the address is not ours. */
	if ((flags & IFA_F_TENTATIVE && !(flags & IFA_F_OPTIMISTIC)) || flags & IFA_F_DADFAILED)
		return true;
	memcpy(&entry.addr, mnl_attr_get_payload(attr), sizeof(entry.addr));
	for (size_t i = 0; i < r->v6_count; i++)
		if (!memcmp(&r->v6[i].addr, &entry.addr, sizeof(entry.addr))) {
			if (r->v6[i].ifindex != entry.ifindex)
				r->v6[i].ifindex = 0; /* the same on two devices */
			return true;
		}
	if (!grow((void **)&r->v6, r->v6_count, &r->v6_room, sizeof(*r->v6)))
		return false;
	r->v6[r->v6_count++] = entry;
	return true;
}

static int on_addr(const struct nlmsghdr *nlh, void *data)
{
	const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *attr, *local = NULL, *address = NULL, *broadcast = NULL;
	uint32_t flags = ifa->ifa_flags;
	struct reading *r = data;
	bool ok = true;

	if (nlh->nlmsg_type != RTM_NEWADDR)
		return MNL_CB_OK;
	mnl_attr_for_each(attr, nlh, sizeof(*ifa))
	{
		switch (mnl_attr_get_type(attr)) {
		case IFA_LOCAL:
			local = attr;
			break;
		case IFA_ADDRESS:
			address = attr;
			break;
		case IFA_BROADCAST:
			broadcast = attr;
			break;
		case IFA_FLAGS:
			flags = mnl_attr_get_u32(attr);
			break;
		}
	}
	if (!local) /* no peer: the address is our own */
		local = address;
	if (!local)
		return MNL_CB_OK;
	if (ifa->ifa_family == AF_INET && mnl_attr_get_payload_len(local) == 4)
		ok = read_addr4(r, ifa, local, broadcast);
	else if (ifa->ifa_family == AF_INET6 && mnl_attr_get_payload_len(local) == 16)
		ok = read_addr6(r, ifa, flags, local);
	if (ok)
		return MNL_CB_OK;
	errno = ENOMEM;
	return MNL_CB_ERROR;
}

static int attached(const struct lrp_core *core, uint32_t ifindex)
{
	for (int i = 0; i < (int)LRP_MAX_DEVICES; i++)
		if (core->state->device[i].used && core->state->device[i].ifindex == ifindex)
			return i;
	return -1;
}

static void read_vlan(struct reading *r, const struct nlattr *linkinfo, uint32_t lower)
{
	int i = attached(r->core, lower);
	const struct nlattr *attr, *sub;
	bool vlan = false;

	mnl_attr_for_each_nested(attr, linkinfo)
	{
		if (mnl_attr_get_type(attr) == IFLA_INFO_KIND)
			vlan = !strcmp(mnl_attr_get_str(attr), "vlan");
		if (mnl_attr_get_type(attr) != IFLA_INFO_DATA || !vlan || i < 0)
			continue;
		mnl_attr_for_each_nested(sub, attr)
		{
			uint16_t id;

			if (mnl_attr_get_type(sub) != IFLA_VLAN_ID)
				continue;
			id = mnl_attr_get_u16(sub) & 4095;
			r->device[i].vlans[id / 64] |= 1ull << id % 64;
		}
	}
}

static int on_link(const struct nlmsghdr *nlh, void *data)
{
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *attr, *linkinfo = NULL;
	struct reading *r = data;
	uint32_t lower = 0;
	int i;

	if (nlh->nlmsg_type != RTM_NEWLINK)
		return MNL_CB_OK;
	i = attached(r->core, (uint32_t)ifi->ifi_index);
	if (i >= 0) {
		r->seen[i] = true;
		if (ifi->ifi_flags & IFF_LOOPBACK)
			r->device[i].flags |= LRP_DEVICE_LOOPBACK;
		if (ifi->ifi_flags & IFF_ALLMULTI)
			r->device[i].flags |= LRP_DEVICE_ALLMULTI;
	}
	mnl_attr_for_each(attr, nlh, sizeof(*ifi))
	{
		uint16_t type = mnl_attr_get_type(attr);

		if (type == IFLA_LINK)
			lower = mnl_attr_get_u32(attr);
		else if (type == IFLA_LINKINFO)
			linkinfo = attr;
		else if (i >= 0 && type == IFLA_ADDRESS && mnl_attr_get_payload_len(attr) == 6)
			memcpy(r->device[i].mac, mnl_attr_get_payload(attr), 6);
		else if (i >= 0 && type == IFLA_IFNAME)
			snprintf(r->core->state->device[i].ifname, IFNAMSIZ, "%s",
				 mnl_attr_get_str(attr));
		else if (i >= 0 && type == IFLA_MTU)
			r->core->state->device[i].mtu = mnl_attr_get_u32(attr);
	}
	if (linkinfo && lower)
		read_vlan(r, linkinfo, lower);
	return MNL_CB_OK;
}

/* ---- into the maps ------------------------------------------------------------------------ */

static void write_devices(struct lrp_core *core, struct reading *r)
{
	for (uint32_t i = 0; i < LRP_MAX_DEVICES; i++) {
		const struct lrp_device_state *state = &core->state->device[i];
		struct lrp_device *device = &r->device[i];
		uint32_t zero = 0;

		if (!state->used || core->device[i].map_fd[LRP_MAP_DEVICE] < 0)
			continue;
		device->ifindex = state->ifindex;
		device->endpoints = core->state->endpoints;
		device->queues = state->queues;
		device->frame_payload = state->frame_payload;
		device->mtu = state->mtu;
		if (core->hooks.device_flags)
			device->flags |= core->hooks.device_flags(core, i);
		device->vlans[0] |= 1; /* priority tags */
		for (size_t a = 0; a < r->v4_count && device->addr4_count < LRP_DEVICE_ADDR4; a++)
			if (r->v4[a].kind == LRP_LOCAL_UNICAST &&
			    r->v4[a].ifindex == state->ifindex)
				device->addr4[device->addr4_count++] = r->v4[a].addr;
		bpf_map_update_elem(core->device[i].map_fd[LRP_MAP_DEVICE], &zero, device, BPF_ANY);
	}
}

static bool has_v4(const struct reading *r, const void *key)
{
	for (size_t i = 0; i < r->v4_count; i++)
		if (!memcmp(&r->v4[i].addr, key, 4))
			return true;
	return false;
}

static bool has_v6(const struct reading *r, const void *key)
{
	for (size_t i = 0; i < r->v6_count; i++)
		if (!memcmp(&r->v6[i].addr, key, 16))
			return true;
	return false;
}

/* Deletes what is not in the reading. */
static void prune(int fd, size_t size, bool (*has)(const struct reading *r, const void *key),
		  const struct reading *r)
{
	uint8_t key[16], next[16];
	bool more = !bpf_map_get_next_key(fd, NULL, key);

	for (uint32_t i = 0; more && i < 2 * LRP_LOCALS; i++) {
		more = !bpf_map_get_next_key(fd, key, next);
		if (!has(r, key))
			bpf_map_delete_elem(fd, key);
		memcpy(key, next, size);
	}
}

static int write_locals(struct lrp_core *core, const struct reading *r)
{
	int fd4 = core->map_fd[LRP_MAP_LOCAL4], fd6 = core->map_fd[LRP_MAP_LOCAL6];
	int failed = 0;

	for (size_t i = 0; i < r->v4_count; i++) {
		struct lrp_local local = {.kind = r->v4[i].kind};

		failed += bpf_map_update_elem(fd4, &r->v4[i].addr, &local, BPF_ANY) != 0;
	}
	for (size_t i = 0; i < r->v6_count; i++) {
		struct lrp_local local = {.kind = LRP_LOCAL_UNICAST, .ifindex = r->v6[i].ifindex};

		failed += bpf_map_update_elem(fd6, &r->v6[i].addr, &local, BPF_ANY) != 0;
	}
	prune(fd4, 4, has_v4, r);
	prune(fd6, 16, has_v6, r);
	if (failed)
		lrp_log(LRP_LOG_WARN,
			"lrpd: %d local addresses beyond the %u that fit: traffic to "
			"them is the kernel's",
			failed, LRP_LOCALS);
	return 0;
}

static int sync_once(struct lrp_core *core)
{
	struct reading *r = calloc(1, sizeof(*r));
	int err;

	if (!r)
		return -ENOMEM;
	r->core = core;
	err = lrp_core_netlink_dump(RTM_GETLINK, AF_UNSPEC, on_link, r);
	if (!err)
		err = lrp_core_netlink_dump(RTM_GETADDR, AF_UNSPEC, on_addr, r);
	if (!err) {
		for (uint32_t i = 0; i < LRP_MAX_DEVICES; i++) {
			if (!core->state->device[i].used || r->seen[i])
				continue;
			lrp_log(LRP_LOG_WARN, "lrpd: %s: interface is gone, detached",
				core->state->device[i].ifname);
			lrp_core_device_close(core, &core->device[i]);
		}
		if (core->map_fd[LRP_MAP_LOCAL4] >= 0) {
			write_devices(core, r);
			err = write_locals(core, r);
		}
	}
	free(r->v4);
	free(r->v6);
	free(r);
	return err;
}

int lrp_core_local_sync(struct lrp_core *core)
{
	int err = -EINTR;

	/* The kernel says by EINTR that something has changed while it was listed. */
	for (int i = 0; i < SYNC_TRIES && err == -EINTR; i++)
		err = sync_once(core);
	return err;
}

/* ---- events ---------------------------------------------------------------------------------- */

/* A neighbour that is confirmed again is no change; another MAC, or none, is. */
static bool neighbour_changed(struct lrp_core_local *local, const struct nlmsghdr *nlh)
{
	const struct ndmsg *nd = mnl_nlmsg_get_payload(nlh);
	struct neighbour now = {.ifindex = (uint32_t)nd->ndm_ifindex, .family = nd->ndm_family};
	const struct nlattr *attr;
	struct neighbour *known;
	uint32_t hash = now.ifindex;

	mnl_attr_for_each(attr, nlh, sizeof(*nd))
	{
		uint16_t length = mnl_attr_get_payload_len(attr);

		if (mnl_attr_get_type(attr) == NDA_DST && length <= sizeof(now.dst))
			memcpy(now.dst, mnl_attr_get_payload(attr), length);
		else if (mnl_attr_get_type(attr) == NDA_LLADDR && length <= sizeof(now.lladdr))
			memcpy(now.lladdr, mnl_attr_get_payload(attr), length);
	}
	now.valid = nlh->nlmsg_type == RTM_NEWNEIGH &&
		    nd->ndm_state & (NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE |
				     NUD_PERMANENT | NUD_NOARP);
	for (size_t i = 0; i < sizeof(now.dst); i++)
		hash = (hash ^ now.dst[i]) * 16777619u;
	known = &local->neighbour[hash % NEIGHBOURS];
	if (!memcmp(known, &now, sizeof(now)))
		return false;
	*known = now;
	return true;
}

struct batch {
	struct lrp_core_local *local;
	bool links_or_addresses, routes;
};

static int on_event(const struct nlmsghdr *nlh, void *data)
{
	struct batch *batch = data;

	switch (nlh->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
	case RTM_NEWADDR:
	case RTM_DELADDR:
		batch->links_or_addresses = batch->routes = true;
		break;
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		batch->routes = true;
		break;
	case RTM_NEWNEIGH:
	case RTM_DELNEIGH:
		batch->routes |= neighbour_changed(batch->local, nlh);
		break;
	}
	return MNL_CB_OK;
}

void lrp_core_local_run(struct lrp_core *core)
{
	struct batch batch = {.local = core->local};
	char buffer[32768];

	/* Bounded: whoever changes routes without end must not keep us here. */
	for (int i = 0; i < 256; i++) {
		ssize_t n = mnl_socket_recvfrom(core->local->events, buffer, sizeof(buffer));

		if (n < 0 && errno == ENOBUFS) {
			batch.links_or_addresses = batch.routes = true;
			continue;
		}
		if (n <= 0)
			break;
		mnl_cb_run(buffer, (size_t)n, 0, 0, on_event, &batch);
	}
	if (batch.links_or_addresses) {
		int err = lrp_core_local_sync(core);

		if (err)
			lrp_log(LRP_LOG_ERROR, "lrpd: reading addresses: %s", strerror(-err));
	}
	if (batch.routes)
		__atomic_fetch_add(&core->page->routes_epoch, 1, __ATOMIC_RELEASE);
}

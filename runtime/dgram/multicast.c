/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * multicast.c - memberships [design 3].
 *
 * The shadow joins: the kernel does IGMP and MLD, and counts. What it joined
 * without source filters is published, so that the group's datagrams come to
 * the channel. Groups with source filters, and those beyond LRP_MEMBERS_MAX, stay the kernel's
 * and arrive through the shadow.
 */
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "dgram.h"

/* The interface that the kernel takes when the application named none: the route's. */
static uint32_t route_ifindex(int family, const void *group, size_t len)
{
	struct {
		struct nlmsghdr nlh;
		struct rtmsg rtm;
		struct rtattr attr;
		uint8_t dst[16];
	} req = {0};
	union {
		struct nlmsghdr nlh;
		char bytes[4096];
	} reply;
	int nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	uint32_t ifindex = 0;
	ssize_t n;

	if (nl < 0)
		return 0;
	req.nlh.nlmsg_len = NLMSG_LENGTH(sizeof(req.rtm)) + RTA_LENGTH(len);
	req.nlh.nlmsg_type = RTM_GETROUTE;
	req.nlh.nlmsg_flags = NLM_F_REQUEST;
	req.rtm.rtm_family = (unsigned char)family;
	req.rtm.rtm_dst_len = (unsigned char)(len * 8);
	req.attr.rta_type = RTA_DST;
	req.attr.rta_len = (unsigned short)RTA_LENGTH(len);
	memcpy(req.dst, group, len);
	n = send(nl, &req, req.nlh.nlmsg_len, 0) < 0 ? -1 : recv(nl, &reply, sizeof(reply), 0);
	close(nl);
	if (n > 0 && NLMSG_OK(&reply.nlh, (size_t)n) && reply.nlh.nlmsg_type == RTM_NEWROUTE) {
		struct rtmsg *rtm = NLMSG_DATA(&reply.nlh);
		struct rtattr *a = RTM_RTA(rtm);
		size_t left = RTM_PAYLOAD(&reply.nlh);

		for (; RTA_OK(a, left); a = RTA_NEXT(a, left))
			if (a->rta_type == RTA_OIF)
				memcpy(&ifindex, RTA_DATA(a), sizeof(ifindex));
	}
	return ifindex;
}

static uint32_t ifindex_of_address(int fd, struct in_addr address)
{
	struct ifreq ifr[64];
	struct ifconf conf = {.ifc_len = sizeof(ifr), .ifc_req = ifr};
	int i;

	if (ioctl(fd, SIOCGIFCONF, &conf))
		return 0;
	for (i = 0; i < conf.ifc_len / (int)sizeof(ifr[0]); i++)
		if (((struct sockaddr_in *)&ifr[i].ifr_addr)->sin_addr.s_addr == address.s_addr)
			return ioctl(fd, SIOCGIFINDEX, &ifr[i]) ? 0 : (uint32_t)ifr[i].ifr_ifindex;
	return 0;
}

static void group4(struct lrp_addr6 *group, struct in_addr a)
{
	memset(group, 0, sizeof(*group));
	group->byte[10] = group->byte[11] = 0xff;
	memcpy(&group->byte[12], &a, 4);
}

static bool from_sockaddr(const struct sockaddr_storage *sa, uint32_t ifindex, struct lrp_member *m)
{
	if (sa->ss_family == AF_INET) {
		struct in_addr a = ((const struct sockaddr_in *)sa)->sin_addr;

		group4(&m->group, a);
		m->ifindex = ifindex ? ifindex : route_ifindex(AF_INET, &a, 4);
	} else if (sa->ss_family == AF_INET6) {
		const struct in6_addr *a = &((const struct sockaddr_in6 *)sa)->sin6_addr;

		memcpy(&m->group, a, sizeof(m->group));
		m->ifindex = ifindex ? ifindex : route_ifindex(AF_INET6, a, 16);
	} else {
		return false;
	}
	return true;
}

/* Which group on which interface a request is about. */
static bool parse(int fd, int level, int name, const void *value, socklen_t len,
		  struct lrp_member *m)
{
	memset(m, 0, sizeof(*m));
	switch (name) {
	case MCAST_JOIN_GROUP:
	case MCAST_LEAVE_GROUP: {
		const struct group_req *req = value;

		return len >= sizeof(*req) && from_sockaddr(&req->gr_group, req->gr_interface, m);
	}
	case MCAST_JOIN_SOURCE_GROUP:
	case MCAST_LEAVE_SOURCE_GROUP:
	case MCAST_BLOCK_SOURCE:
	case MCAST_UNBLOCK_SOURCE: {
		const struct group_source_req *req = value;

		m->filtered = 1;
		return len >= sizeof(*req) && from_sockaddr(&req->gsr_group, req->gsr_interface, m);
	}
	}
	if (level == SOL_IPV6) {
		const struct ipv6_mreq *req = value;

		if (len < sizeof(*req))
			return false;
		memcpy(&m->group, &req->ipv6mr_multiaddr, sizeof(m->group));
		m->ifindex = req->ipv6mr_interface
				     ? req->ipv6mr_interface
				     : route_ifindex(AF_INET6, &req->ipv6mr_multiaddr, 16);
		return true;
	}
	if (name == IP_ADD_MEMBERSHIP || name == IP_DROP_MEMBERSHIP) {
		struct ip_mreqn req = {0};

		if (len < sizeof(struct ip_mreq))
			return false;
		memcpy(&req, value, len < sizeof(req) ? len : sizeof(req));
		group4(&m->group, req.imr_multiaddr);
		if (len >= sizeof(req) && req.imr_ifindex)
			m->ifindex = (uint32_t)req.imr_ifindex;
		else if (req.imr_address.s_addr)
			m->ifindex = ifindex_of_address(fd, req.imr_address);
		else
			m->ifindex = route_ifindex(AF_INET, &req.imr_multiaddr, 4);
		return true;
	} else {
		const struct ip_mreq_source *req = value;

		if (len < sizeof(*req))
			return false;
		m->filtered = 1;
		group4(&m->group, req->imr_multiaddr);
		m->ifindex = req->imr_interface.s_addr
				     ? ifindex_of_address(fd, req->imr_interface)
				     : route_ifindex(AF_INET, &req->imr_multiaddr, 4);
		return true;
	}
}

static bool is_leave(int level, int name)
{
	return (level == SOL_IP && name == IP_DROP_MEMBERSHIP) ||
	       (level == SOL_IPV6 && name == IPV6_LEAVE_GROUP) || name == MCAST_LEAVE_GROUP;
}

static struct lrp_member *member_find(struct lrp_sock *s, const struct lrp_member *m)
{
	uint32_t i;

	for (i = 0; i < s->dgram.members; i++)
		if (!memcmp(&s->dgram.member[i].group, &m->group, sizeof(m->group)) &&
		    s->dgram.member[i].ifindex == m->ifindex)
			return &s->dgram.member[i];
	return NULL;
}

/* Setup lock held. */
int lrp_multicast_set(struct lrp_view *l, int fd, int level, int name, const void *value,
		      socklen_t len)
{
	struct lrp_sock *s = l->sock;
	struct lrp_member m, *have;
	bool known = value && parse(fd, level, name, value, len, &m);

	if (setsockopt(fd, level, name, value, len))
		return -errno;
	if (!known || !m.ifindex)
		return 0; /* the kernel understood it, so the shadow has it */
	have = member_find(s, &m);
	if (is_leave(level, name)) {
		if (have)
			*have = s->dgram.member[--s->dgram.members];
	} else if (have) {
		have->filtered |= m.filtered;
	} else if (s->dgram.members < LRP_MEMBERS_MAX) {
		s->dgram.member[s->dgram.members++] = m;
	}
	if (s->dgram.bound)
		lrp_sock_publish(l, fd);
	return 0;
}

uint32_t lrp_multicast_requests(const struct lrp_sock *s, struct lrp_membership_request *requests)
{
	uint32_t i, n = 0;

	for (i = 0; i < s->dgram.members; i++) {
		if (s->dgram.member[i].filtered)
			continue;
		requests[n].group = s->dgram.member[i].group;
		requests[n++].ifindex = s->dgram.member[i].ifindex;
	}
	return n;
}

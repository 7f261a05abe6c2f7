/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* netlink.c - questions to the kernel, see netlink.h. */
#include <netinet/in.h> /* before linux/ipv6.h, which else defines its own in6_addr */

#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/fib_rules.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <linux/ipv6.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <linux/xfrm.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <libmnl/libmnl.h>

#include "../base/fork.h"
#include "../base/fd.h"
#include "netlink.h"

#define ANSWER_BYTES	 16384
#define ANSWER_TIMEOUT_S 1

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int route_fd = -1, xfrm_fd = -1;
static uint32_t sequence;
static char answer[ANSWER_BYTES] __attribute__((aligned(8))); /* under the lock */

static int netlink_open(int protocol)
{
	struct timeval timeout = {.tv_sec = ANSWER_TIMEOUT_S};
	struct sockaddr_nl local = {.nl_family = AF_NETLINK};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);

	if (fd < 0)
		return -errno;
	fd = lrp_fd_aside(fd);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) ||
	    bind(fd, (struct sockaddr *)&local, sizeof(local))) {
		int error = -errno;

		close(fd);
		return error;
	}
	return fd;
}

/*
 * One question, one message in answer, which stays valid until the lock is
 * released. -errno also when the kernel says so.
 */
static int exchange(int *fd, int protocol, struct nlmsghdr *question, const struct nlmsghdr **reply)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};

	if (*fd < 0) {
		*fd = netlink_open(protocol);
		if (*fd < 0)
			return *fd;
	}
	question->nlmsg_flags = NLM_F_REQUEST;
	question->nlmsg_seq = ++sequence;
	if (sendto(*fd, question, question->nlmsg_len, 0, (struct sockaddr *)&kernel,
		   sizeof(kernel)) < 0) {
		int error = -errno;

		/* Not ours any more: the application closed descriptors that it did not open. */
		if (error == -EBADF || error == -ENOTSOCK || error == -EAFNOSUPPORT)
			*fd = -1;
		return error;
	}
	for (;;) {
		ssize_t n = recv(*fd, answer, sizeof(answer), 0);
		const struct nlmsghdr *h = (const struct nlmsghdr *)answer;
		int left = (int)n;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!mnl_nlmsg_ok(h, left))
			return -EPROTO;
		if (h->nlmsg_seq != sequence) /* the late answer to a question that timed out */
			continue;
		if (h->nlmsg_type == NLMSG_ERROR) {
			const struct nlmsgerr *e = mnl_nlmsg_get_payload(h);

			return e->error ? e->error : -EPROTO;
		}
		*reply = h;
		return 0;
	}
}

static size_t address_len(uint8_t family)
{
	return family == AF_INET ? 4 : 16;
}

static bool address_any(uint8_t family, const union lrp_address *a)
{
	static const union lrp_address none;

	return !memcmp(a, &none, address_len(family));
}

static int route_metrics(const struct nlattr *metrics, struct lrp_tx_route *route)
{
	const struct nlattr *a;

	mnl_attr_for_each_nested(a, metrics)
	{
		uint32_t value;

		if (mnl_attr_validate(a, MNL_TYPE_U32) < 0)
			continue;
		value = mnl_attr_get_u32(a);
		switch (mnl_attr_get_type(a)) {
		case RTAX_LOCK:
			/* The kernel sends without DF there: ip_dont_fragment(). */
			if (value & (1u << RTAX_MTU))
				return -EOPNOTSUPP;
			break;
		case RTAX_MTU:
			route->mtu = value;
			break;
		case RTAX_HOPLIMIT:
			route->hop_limit = (uint8_t)value;
			break;
		}
	}
	return 0;
}

static int route_parse(const struct nlmsghdr *reply, const struct lrp_tx_key *key,
		       struct lrp_tx_route *route)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(reply);
	const struct nlattr *a;
	int error;

	memset(route, 0, sizeof(*route));
	if (reply->nlmsg_type != RTM_NEWROUTE || rtm->rtm_type != RTN_UNICAST)
		return -EOPNOTSUPP;
	route->via_family = key->family;
	route->via = key->dst;
	route->src = key->src;
	mnl_attr_for_each(a, reply, sizeof(*rtm))
	{
		size_t len = mnl_attr_get_payload_len(a);
		const void *data = mnl_attr_get_payload(a);

		switch (mnl_attr_get_type(a)) {
		case RTA_OIF:
			route->ifindex = mnl_attr_get_u32(a);
			break;
		case RTA_GATEWAY:
			if (len != address_len(key->family))
				return -EOPNOTSUPP;
			memcpy(&route->via, data, len);
			break;
		case RTA_VIA: {
			const struct rtvia *via = data;

			if (len != sizeof(*via) + 16 || via->rtvia_family != AF_INET6)
				return -EOPNOTSUPP;
			route->via_family = AF_INET6;
			memcpy(&route->via, via->rtvia_addr, 16);
			break;
		}
		case RTA_PREFSRC:
			if (len == address_len(key->family) && address_any(key->family, &key->src))
				memcpy(&route->src, data, len);
			break;
		case RTA_METRICS:
			error = route_metrics(a, route);
			if (error)
				return error;
			break;
		case RTA_ENCAP:
		case RTA_ENCAP_TYPE:
		case RTA_MULTIPATH:
		case RTA_NEWDST:
			return -EOPNOTSUPP;
		}
	}
	if (!route->ifindex || address_any(key->family, &route->src))
		return -EOPNOTSUPP;
	return 0;
}

/* Under the lock: the kernel's answer to a route lookup. */
static int route_query(const struct lrp_tx_key *key, const struct nlmsghdr **reply)
{
	char question[256] __attribute__((aligned(8))) = {0};
	struct nlmsghdr *h = mnl_nlmsg_put_header(question);
	struct rtmsg *rtm;
	size_t len = address_len(key->family);

	h->nlmsg_type = RTM_GETROUTE;
	rtm = mnl_nlmsg_put_extra_header(h, sizeof(*rtm));
	rtm->rtm_family = key->family;
	rtm->rtm_dst_len = (uint8_t)(8 * len);
	rtm->rtm_tos = key->tos & 0xfc; /* the ECN bits choose no route, and are refused */
	mnl_attr_put(h, RTA_DST, len, &key->dst);
	if (!address_any(key->family, &key->src)) {
		rtm->rtm_src_len = (uint8_t)(8 * len);
		mnl_attr_put(h, RTA_SRC, len, &key->src);
	}
	if (key->oif)
		mnl_attr_put_u32(h, RTA_OIF, key->oif);
	if (key->dport) { /* policy rules and multipath may look at these */
		mnl_attr_put_u8(h, RTA_IP_PROTO, key->proto);
		mnl_attr_put_u16(h, RTA_SPORT, key->sport);
		mnl_attr_put_u16(h, RTA_DPORT, key->dport);
	}
	return exchange(&route_fd, NETLINK_ROUTE, h, reply);
}

/*
 * IPv4 refuses a lookup from an address that is not local; IPv6 answers it, so
 * that the sender must see to it that it does not lie about its address.
 */
static int source_check(const struct lrp_tx_key *key)
{
	struct lrp_tx_key self = {.family = AF_INET6, .dst = key->src, .oif = 0};
	const struct nlmsghdr *reply;
	const struct rtmsg *rtm;
	int error;

	if (key->family != AF_INET6 || address_any(AF_INET6, &key->src))
		return 0;
	if (IN6_IS_ADDR_LINKLOCAL(&key->src.v6))
		self.oif = key->oif;
	error = route_query(&self, &reply);
	if (error)
		return error;
	rtm = mnl_nlmsg_get_payload(reply);
	return rtm->rtm_type == RTN_LOCAL ? 0 : -EOPNOTSUPP;
}

int lrp_tx_ask_route(const struct lrp_tx_key *key, struct lrp_tx_route *route)
{
	const struct nlmsghdr *reply;
	int error;

	pthread_mutex_lock(&lock);
	error = source_check(key);
	if (!error)
		error = route_query(key, &reply);
	if (!error)
		error = route_parse(reply, key, route);
	pthread_mutex_unlock(&lock);
	return error;
}

static int neighbour_parse(const struct nlmsghdr *reply, uint8_t mac[6], bool *permanent)
{
	const struct ndmsg *ndm = mnl_nlmsg_get_payload(reply);
	const struct nlattr *a;

	if (reply->nlmsg_type != RTM_NEWNEIGH ||
	    !(ndm->ndm_state &
	      (NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT | NUD_NOARP)))
		return -EAGAIN;
	*permanent = ndm->ndm_state & (NUD_PERMANENT | NUD_NOARP);
	mnl_attr_for_each(a, reply, sizeof(*ndm))
	{
		if (mnl_attr_get_type(a) != NDA_LLADDR || mnl_attr_get_payload_len(a) != 6)
			continue;
		memcpy(mac, mnl_attr_get_payload(a), 6);
		return 0;
	}
	return -EAGAIN;
}

int lrp_tx_ask_neighbour(const struct lrp_tx_route *route, uint8_t mac[6], bool *permanent)
{
	char question[128] __attribute__((aligned(8))) = {0};
	struct nlmsghdr *h = mnl_nlmsg_put_header(question);
	const struct nlmsghdr *reply;
	struct ndmsg *ndm;
	int error;

	h->nlmsg_type = RTM_GETNEIGH;
	ndm = mnl_nlmsg_put_extra_header(h, sizeof(*ndm));
	ndm->ndm_family = route->via_family;
	ndm->ndm_ifindex = (int)route->ifindex;
	mnl_attr_put(h, NDA_DST, address_len(route->via_family), &route->via);
	pthread_mutex_lock(&lock);
	error = exchange(&route_fd, NETLINK_ROUTE, h, &reply);
	if (!error)
		error = neighbour_parse(reply, mac, permanent);
	pthread_mutex_unlock(&lock);
	return error == -ENOENT ? -EAGAIN : error;
}

/*
 * Is a run of datagrams that leaves in one piece cut up before anybody can see
 * it? The kernel does it itself above a device without UDP segmentation; a
 * physical device does it in hardware. A virtual one with the feature hands the
 * piece to its peer, where a generic-mode XDP program or a packet socket would
 * take it for one long datagram: not there.
 */
static bool segments_before_the_wire(const char *name)
{
	static const char feature[] = "tx-udp-segmentation";
	static int index = -1; /* under the lock */
	struct ethtool_drvinfo driver = {.cmd = ETHTOOL_GDRVINFO};
	struct {
		struct ethtool_sset_info info;
		uint32_t count;
	} sset = {.info = {.cmd = ETHTOOL_GSSET_INFO, .sset_mask = 1ull << ETH_SS_FEATURES}};
	struct {
		struct ethtool_gfeatures head;
		struct ethtool_get_features_block block[8];
	} features = {.head = {.cmd = ETHTOOL_GFEATURES, .size = 8}};
	struct ifreq request = {0};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool result = false;

	if (fd < 0)
		return false;
	memcpy(request.ifr_name, name, sizeof(request.ifr_name));
	if (index < 0) {
		struct ethtool_gstrings *strings;

		request.ifr_data = (void *)&sset;
		if (ioctl(fd, SIOCETHTOOL, &request) || sset.count > 256)
			goto out;
		strings = calloc(1, sizeof(*strings) + 256 * ETH_GSTRING_LEN);
		if (!strings)
			goto out;
		strings->cmd = ETHTOOL_GSTRINGS;
		strings->string_set = ETH_SS_FEATURES;
		strings->len = sset.count;
		request.ifr_data = (void *)strings;
		if (!ioctl(fd, SIOCETHTOOL, &request))
			for (uint32_t i = 0; i < strings->len && i < 256; i++)
				if (!strncmp((char *)strings->data + i * ETH_GSTRING_LEN, feature,
					     ETH_GSTRING_LEN))
					index = (int)i;
		free(strings);
		if (index < 0)
			goto out;
	}
	request.ifr_data = (void *)&features;
	if (ioctl(fd, SIOCETHTOOL, &request))
		goto out;
	if (!(features.block[index / 32].active & (1u << (index % 32)))) {
		result = true;
		goto out;
	}
	request.ifr_data = (void *)&driver;
	if (!ioctl(fd, SIOCETHTOOL, &request))
		result = driver.bus_info[0] && strcmp(driver.driver, "virtio_net");
out:
	close(fd);
	return result;
}

static void link_inet6(const struct nlattr *spec, struct lrp_tx_link *link)
{
	const struct nlattr *family, *a;

	mnl_attr_for_each_nested(family, spec)
	{
		if (mnl_attr_get_type(family) != AF_INET6)
			continue;
		mnl_attr_for_each_nested(a, family)
		{
			const int32_t *conf = mnl_attr_get_payload(a);

			if (mnl_attr_get_type(a) != IFLA_INET6_CONF ||
			    mnl_attr_get_payload_len(a) <= DEVCONF_MTU6 * sizeof(*conf))
				continue;
			link->hop_limit6 = (uint8_t)conf[DEVCONF_HOPLIMIT];
			link->mtu6 =
				(uint16_t)(conf[DEVCONF_MTU6] > UINT16_MAX ? UINT16_MAX
									   : conf[DEVCONF_MTU6]);
		}
	}
}

static int link_parse(const struct nlmsghdr *reply, struct lrp_tx_link *link)
{
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(reply);
	const struct nlattr *a, *info;
	bool ethernet = false;

	memset(link, 0, sizeof(*link));
	if (reply->nlmsg_type != RTM_NEWLINK || ifi->ifi_type != ARPHRD_ETHER ||
	    (ifi->ifi_flags & IFF_LOOPBACK))
		return -EOPNOTSUPP;
	if (!(ifi->ifi_flags & IFF_UP))
		return -ENETDOWN;
	mnl_attr_for_each(a, reply, sizeof(*ifi))
	{
		uint32_t mtu;

		switch (mnl_attr_get_type(a)) {
		case IFLA_ADDRESS:
			if (mnl_attr_get_payload_len(a) == 6) {
				memcpy(link->mac, mnl_attr_get_payload(a), 6);
				ethernet = true;
			}
			break;
		case IFLA_MTU:
			mtu = mnl_attr_get_u32(a);
			link->mtu = (uint16_t)(mtu > UINT16_MAX ? UINT16_MAX : mtu);
			break;
		case IFLA_IFNAME:
			snprintf(link->name, sizeof(link->name), "%s", mnl_attr_get_str(a));
			break;
		case IFLA_AF_SPEC:
			link_inet6(a, link);
			break;
		case IFLA_LINKINFO:
			mnl_attr_for_each_nested(
				info,
				a) if (mnl_attr_get_type(info) == IFLA_INFO_KIND &&
				       !strcmp(mnl_attr_get_str(info), "vrf")) return -EOPNOTSUPP;
			break;
		}
	}
	return ethernet && link->mtu ? 0 : -EOPNOTSUPP;
}

int lrp_tx_ask_link(uint32_t ifindex, struct lrp_tx_link *link)
{
	char question[128] __attribute__((aligned(8))) = {0};
	struct nlmsghdr *h = mnl_nlmsg_put_header(question);
	const struct nlmsghdr *reply;
	struct ifinfomsg *ifi;
	int error;

	h->nlmsg_type = RTM_GETLINK;
	ifi = mnl_nlmsg_put_extra_header(h, sizeof(*ifi));
	ifi->ifi_index = (int)ifindex;
	mnl_attr_put_u32(h, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	pthread_mutex_lock(&lock);
	error = exchange(&route_fd, NETLINK_ROUTE, h, &reply);
	if (!error)
		error = link_parse(reply, link);
	if (!error)
		link->gso = segments_before_the_wire(link->name);
	pthread_mutex_unlock(&lock);
	return error;
}

/* Only CAP_NET_ADMIN may ask. Who may not, and sends past IPsec, was given CAP_NET_RAW to do so. */
static bool ipsec_policies(void)
{
	char question[64] __attribute__((aligned(8))) = {0};
	struct nlmsghdr *h = mnl_nlmsg_put_header(question);
	const struct nlmsghdr *reply;
	const struct nlattr *a;
	bool found = false;

	h->nlmsg_type = XFRM_MSG_GETSPDINFO;
	*(uint32_t *)mnl_nlmsg_put_extra_header(h, sizeof(uint32_t)) = 0;
	pthread_mutex_lock(&lock);
	if (!exchange(&xfrm_fd, NETLINK_XFRM, h, &reply))
		mnl_attr_for_each(a, reply,
				  sizeof(uint32_t)) if (mnl_attr_get_type(a) == XFRMA_SPD_INFO &&
							mnl_attr_get_payload_len(a) >=
								sizeof(struct xfrmu_spdinfo))
		{
			const struct xfrmu_spdinfo *spd = mnl_attr_get_payload(a);

			found = spd->outcnt;
		}
	pthread_mutex_unlock(&lock);
	return found;
}

/* The first character of a sysctl; `none`: it cannot be read. */
static char sysctl(const char *path, char none)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char value = none;

	if (fd < 0)
		return none;
	if (read(fd, &value, 1) != 1)
		value = none;
	close(fd);
	return value;
}

static int rule_looks_at_ports(const struct nlmsghdr *reply, void *data)
{
	const struct nlattr *a;
	bool *found = data;

	mnl_attr_for_each(a, reply, sizeof(struct fib_rule_hdr)) *found |=
		mnl_attr_get_type(a) == FRA_SPORT_RANGE || mnl_attr_get_type(a) == FRA_DPORT_RANGE;
	return MNL_CB_OK;
}

/* Who cannot tell says yes. */
static bool rules_look_at_ports(uint8_t family)
{
	struct mnl_socket *s = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	char buf[ANSWER_BYTES] __attribute__((aligned(8))) = {0};
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	bool found = false;
	struct fib_rule_hdr *rule;
	ssize_t n = -1;
	int more;

	if (!s)
		return true;
	h->nlmsg_type = RTM_GETRULE;
	h->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	rule = mnl_nlmsg_put_extra_header(h, sizeof(*rule));
	rule->family = family;
	more = mnl_socket_bind(s, 0, MNL_SOCKET_AUTOPID) < 0 ||
			       mnl_socket_sendto(s, h, h->nlmsg_len) < 0
		       ? MNL_CB_ERROR
		       : MNL_CB_OK;
	while (more == MNL_CB_OK) {
		n = mnl_socket_recvfrom(s, buf, sizeof(buf));
		more = n < 0 ? MNL_CB_ERROR
			     : mnl_cb_run(buf, (size_t)n, 0, mnl_socket_get_portid(s),
					  rule_looks_at_ports, &found);
	}
	mnl_socket_close(s);
	return found || more != MNL_CB_STOP;
}

int lrp_tx_ask_host(struct lrp_tx_host *host)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), ttl = 64;
	socklen_t len = sizeof(ttl);
	char mode;

	if (fd < 0)
		return -errno;
	getsockopt(fd, IPPROTO_IP, IP_TTL, &ttl, &len);
	close(fd);
	host->ttl = (uint8_t)ttl;
	fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ttl = 64;
	if (fd >= 0) {
		getsockopt(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, &ttl, &len);
		close(fd);
	}
	host->hop_limit6 = (uint8_t)ttl;
	mode = sysctl("/proc/sys/net/ipv6/auto_flowlabels", '1');
	host->auto_flow_label = mode == '1' || mode == '2'; /* unless opted out; always */
	host->ipsec = ipsec_policies();
	host->ports_matter = sysctl("/proc/sys/net/ipv4/fib_multipath_hash_policy", '0') != '0' ||
			     sysctl("/proc/sys/net/ipv6/fib_multipath_hash_policy", '0') != '0' ||
			     rules_look_at_ports(AF_INET) || rules_look_at_ports(AF_INET6);
	return 0;
}

static void netlink_fork_child(void)
{
	pthread_mutex_init(&lock, NULL);
	if (route_fd >= 0)
		close(route_fd);
	if (xfrm_fd >= 0)
		close(xfrm_fd);
	route_fd = -1;
	xfrm_fd = -1;
}

static __attribute__((constructor)) void fork_register(void)
{
	static struct lrp_fork_handler handler = {
		.phase = LRP_FORK_STORES,
		.child = netlink_fork_child,
	};

	lrp_fork_register(&handler);
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tap.c - see tap.h. */
#include "tap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_mirred.h>
#include <linux/virtio_net.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define NETLINK_BUFFER 1024

/* ---- rtnetlink -------------------------------------------------------------------- */

static int talk(struct nlmsghdr *request)
{
	char buffer[8192] __attribute__((aligned(8)));
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	ssize_t n;
	int err = 0;

	if (!nl)
		return -errno;
	request->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
	request->nlmsg_seq = 1;
	if (mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    mnl_socket_sendto(nl, request, request->nlmsg_len) < 0)
		err = -errno;
	if (!err) {
		n = mnl_socket_recvfrom(nl, buffer, sizeof(buffer));
		if (n < 0 ||
		    mnl_cb_run(buffer, (size_t)n, 1, mnl_socket_get_portid(nl), NULL, NULL) < 0)
			err = -errno;
	}
	mnl_socket_close(nl);
	return err;
}

static struct tcmsg *tc_message(struct nlmsghdr *request, uint16_t type, uint32_t ifindex)
{
	struct tcmsg *tc = mnl_nlmsg_put_extra_header(request, sizeof(*tc));

	request->nlmsg_type = type;
	request->nlmsg_flags = NLM_F_CREATE | NLM_F_EXCL;
	tc->tcm_family = AF_UNSPEC;
	tc->tcm_ifindex = (int)ifindex;
	return tc;
}

static int add_ingress(uint32_t ifindex)
{
	char buffer[NETLINK_BUFFER] __attribute__((aligned(8))) = {0};
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct tcmsg *tc = tc_message(request, RTM_NEWQDISC, ifindex);

	tc->tcm_parent = TC_H_INGRESS;
	tc->tcm_handle = TC_H_MAKE(TC_H_INGRESS, 0);
	mnl_attr_put_strz(request, TCA_KIND, "ingress");
	return talk(request);
}

/* All that comes in goes into `device`. u32 with an empty mask: matchall is not everywhere. */
static int add_redirect(uint32_t ifindex, uint32_t device)
{
	char buffer[NETLINK_BUFFER] __attribute__((aligned(8))) = {0};
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct tcmsg *tc = tc_message(request, RTM_NEWTFILTER, ifindex);
	struct {
		struct tc_u32_sel sel;
		struct tc_u32_key key;
	} match = {.sel = {.flags = TC_U32_TERMINAL, .nkeys = 1}};
	struct tc_mirred mirred = {
		.action = TC_ACT_STOLEN, .eaction = TCA_INGRESS_REDIR, .ifindex = device};
	struct nlattr *options, *actions, *action, *inner;

	tc->tcm_parent = TC_H_MAKE(TC_H_INGRESS, 0);
	tc->tcm_info = TC_H_MAKE(1u << 16, htons(ETH_P_ALL));
	mnl_attr_put_strz(request, TCA_KIND, "u32");
	options = mnl_attr_nest_start(request, TCA_OPTIONS);
	actions = mnl_attr_nest_start(request, TCA_U32_ACT);
	action = mnl_attr_nest_start(request, 1);
	mnl_attr_put_strz(request, TCA_ACT_KIND, "mirred");
	inner = mnl_attr_nest_start(request, TCA_ACT_OPTIONS);
	mnl_attr_put(request, TCA_MIRRED_PARMS, sizeof(mirred), &mirred);
	mnl_attr_nest_end(request, inner);
	mnl_attr_nest_end(request, action);
	mnl_attr_nest_end(request, actions);
	mnl_attr_put(request, TCA_U32_SEL, sizeof(match), &match);
	mnl_attr_nest_end(request, options);
	return talk(request);
}

/* No address by itself and no ARP, before it comes up. */
static int link_up(uint32_t ifindex)
{
	char buffer[NETLINK_BUFFER] __attribute__((aligned(8))) = {0};
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(request, sizeof(*ifi));
	struct nlattr *spec, *inet6;

	request->nlmsg_type = RTM_NEWLINK;
	ifi->ifi_index = (int)ifindex;
	ifi->ifi_flags = IFF_UP | IFF_NOARP;
	ifi->ifi_change = IFF_UP | IFF_NOARP;
	mnl_attr_put_u32(request, IFLA_TXQLEN, 1);
	spec = mnl_attr_nest_start(request, IFLA_AF_SPEC);
	inet6 = mnl_attr_nest_start(request, AF_INET6);
	mnl_attr_put_u8(request, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
	mnl_attr_nest_end(request, inet6);
	mnl_attr_nest_end(request, spec);
	return talk(request);
}

/* ---- ioctls ------------------------------------------------------------------------- */

static int interface_name(int probe, uint32_t ifindex, struct ifreq *request)
{
	memset(request, 0, sizeof(*request));
	request->ifr_ifindex = (int)ifindex;
	return ioctl(probe, SIOCGIFNAME, request) ? -errno : 0;
}

static int get_mac(int probe, uint32_t ifindex, uint8_t mac[6])
{
	struct ifreq request;
	int err = interface_name(probe, ifindex, &request);

	if (err)
		return err;
	if (ioctl(probe, SIOCGIFHWADDR, &request))
		return -errno;
	memcpy(mac, request.ifr_hwaddr.sa_data, 6);
	return 0;
}

static int set_mac(int probe, uint32_t ifindex, const uint8_t mac[6])
{
	struct ifreq request;
	int err = interface_name(probe, ifindex, &request);

	if (err)
		return err;
	request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
	memcpy(request.ifr_hwaddr.sa_data, mac, 6);
	return ioctl(probe, SIOCSIFHWADDR, &request) ? -errno : 0;
}

static int get_mtu(int probe, uint32_t ifindex, int *mtu)
{
	struct ifreq request;
	int err = interface_name(probe, ifindex, &request);

	if (err)
		return err;
	if (ioctl(probe, SIOCGIFMTU, &request))
		return -errno;
	*mtu = request.ifr_mtu;
	return 0;
}

static int set_mtu(int probe, uint32_t ifindex, int mtu)
{
	struct ifreq request;
	int err = interface_name(probe, ifindex, &request);

	if (err)
		return err;
	request.ifr_mtu = mtu;
	return ioctl(probe, SIOCSIFMTU, &request) ? -errno : 0;
}

/* Neither address nor router solicitation. Not there: this kernel has no IPv6. */
static void no_ipv6(int probe, uint32_t ifindex)
{
	struct ifreq request;
	char path[128];
	int fd;

	if (interface_name(probe, ifindex, &request))
		return;
	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", request.ifr_name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	(void)!write(fd, "1", 1);
	close(fd);
}

/* A socket for ioctls about interfaces. */
static int probe_open(void)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

static int tun_open(int probe, uint32_t *ifindex)
{
	struct ifreq request = {0};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	snprintf(request.ifr_name, sizeof(request.ifr_name), LRP_PROXY_TAP_PREFIX "%%d");
	request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
	if (ioctl(fd, TUNSETIFF, &request) || ioctl(probe, SIOCGIFINDEX, &request)) {
		err = -errno;
		close(fd);
		return err;
	}
	*ifindex = (uint32_t)request.ifr_ifindex;
	return fd;
}

/* ---- the device ----------------------------------------------------------------------- */

int lrp_proxy_tap_open(struct lrp_proxy_tap *tap, uint32_t device, char *error, size_t size)
{
	const char *what = "a TAP device (/dev/net/tun)";
	int probe = probe_open(), err = probe < 0 ? probe : 0, mtu = 0;

	*tap = (struct lrp_proxy_tap){.fd = -1, .device = device};
	if (!err)
		err = get_mac(probe, device, tap->mac);
	if (!err)
		err = get_mtu(probe, device, &mtu);
	if (!err) {
		tap->fd = tun_open(probe, &tap->ifindex);
		err = tap->fd < 0 ? tap->fd : 0;
	}
	if (!err) {
		what = "setting its MAC";
		err = set_mac(probe, tap->ifindex, tap->mac);
	}
	if (!err) {
		what = "setting its MTU";
		err = set_mtu(probe, tap->ifindex, mtu);
		no_ipv6(probe, tap->ifindex);
	}
	if (!err) {
		what = "its ingress qdisc (CONFIG_NET_SCH_INGRESS)";
		err = add_ingress(tap->ifindex);
	}
	if (!err) {
		what = "its redirect (CONFIG_NET_CLS_U32, CONFIG_NET_ACT_MIRRED)";
		err = add_redirect(tap->ifindex, device);
	}
	if (!err) {
		what = "bringing it up";
		err = link_up(tap->ifindex);
	}
	if (probe >= 0)
		close(probe);
	if (err) {
		snprintf(error, size, "%s: %s", what, strerror(-err));
		lrp_proxy_tap_close(tap);
	}
	return err;
}

void lrp_proxy_tap_close(struct lrp_proxy_tap *tap)
{
	if (tap->fd >= 0)
		close(tap->fd);
	tap->fd = -1;
}

int lrp_proxy_tap_check(struct lrp_proxy_tap *tap)
{
	int probe = probe_open(), err = probe < 0 ? probe : 0;
	int mtu = 0, mtu_is = 0;
	uint8_t want[6] = {0}, is[6] = {0};

	if (!err)
		err = get_mtu(probe, tap->device, &mtu);
	if (!err)
		err = get_mtu(probe, tap->ifindex, &mtu_is);
	if (!err && mtu != mtu_is)
		err = set_mtu(probe, tap->ifindex, mtu);
	if (!err)
		err = get_mac(probe, tap->device, want);
	if (!err)
		err = get_mac(probe, tap->ifindex, is);
	if (!err && memcmp(want, is, 6))
		err = set_mac(probe, tap->ifindex, want);
	if (!err)
		memcpy(tap->mac, want, 6);
	if (probe >= 0)
		close(probe);
	return err;
}

int lrp_proxy_tap_write(const struct lrp_proxy_tap *tap, const uint8_t *frame, uint32_t length,
			const struct lrp_partial *partial)
{
	struct virtio_net_hdr header = {0};
	struct iovec iov[2] = {{&header, sizeof(header)}, {(void *)frame, length}};

	if (partial) {
		header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		header.csum_start = partial->start;
		header.csum_offset = partial->offset;
	}
	return writev(tap->fd, iov, 2) < 0 ? -errno : 0;
}

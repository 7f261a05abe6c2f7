/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * link.c - what a network interface is, and whether LRP can attach to it: kind,
 * queues, lower devices, a program that is there already.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <glob.h>
#include <libmnl/libmnl.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kernel.h"
#include "link.h"

#define DUMP_TRIES 8

struct link_row {
	uint32_t ifindex, master, lower, mtu, flags;
	uint16_t type;
	char ifname[IFNAMSIZ];
	char kind[32];
	uint8_t mac[6];
	bool has_lower;
};

struct link_dump {
	struct link_row *row;
	size_t count, room;
};

static void read_linkinfo(const struct nlattr *nest, struct link_row *row)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, nest) if (mnl_attr_get_type(attr) == IFLA_INFO_KIND)
		snprintf(row->kind, sizeof(row->kind), "%s", mnl_attr_get_str(attr));
}

static int on_link(const struct nlmsghdr *nlh, void *data)
{
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
	struct link_dump *dump = data;
	const struct nlattr *attr;
	struct link_row *row;

	if (nlh->nlmsg_type != RTM_NEWLINK)
		return MNL_CB_OK;
	if (dump->count == dump->room) {
		size_t room = dump->room ? dump->room * 2 : 32;
		struct link_row *grown = realloc(dump->row, room * sizeof(*grown));

		if (!grown) {
			errno = ENOMEM;
			return MNL_CB_ERROR;
		}
		dump->row = grown;
		dump->room = room;
	}
	row = &dump->row[dump->count++];
	memset(row, 0, sizeof(*row));
	row->ifindex = (uint32_t)ifi->ifi_index;
	row->flags = ifi->ifi_flags;
	row->type = ifi->ifi_type;
	mnl_attr_for_each(attr, nlh, sizeof(*ifi))
	{
		switch (mnl_attr_get_type(attr)) {
		case IFLA_IFNAME:
			snprintf(row->ifname, sizeof(row->ifname), "%s", mnl_attr_get_str(attr));
			break;
		case IFLA_MTU:
			row->mtu = mnl_attr_get_u32(attr);
			break;
		case IFLA_MASTER:
			row->master = mnl_attr_get_u32(attr);
			break;
		case IFLA_LINK:
			row->lower = mnl_attr_get_u32(attr);
			row->has_lower = true;
			break;
		case IFLA_ADDRESS:
			if (mnl_attr_get_payload_len(attr) == sizeof(row->mac))
				memcpy(row->mac, mnl_attr_get_payload(attr), sizeof(row->mac));
			break;
		case IFLA_LINKINFO:
			read_linkinfo(attr, row);
			break;
		}
	}
	return MNL_CB_OK;
}

int lrp_core_netlink_dump(uint16_t type, uint8_t family, lrp_core_netlink_fn fn, void *data)
{
	char buffer[32768];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buffer);
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	struct rtgenmsg *gen;
	ssize_t n;
	int err = 0, more = MNL_CB_OK;

	if (!nl)
		return -errno;
	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	nlh->nlmsg_seq = 1;
	/* A whole ifinfomsg or ifaddrmsg: strict checking may be on. */
	gen = mnl_nlmsg_put_extra_header(nlh, type == RTM_GETLINK ? sizeof(struct ifinfomsg)
								  : sizeof(struct ifaddrmsg));
	gen->rtgen_family = family;
	if (mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0)
		err = -errno;
	while (!err && more > MNL_CB_STOP) {
		n = mnl_socket_recvfrom(nl, buffer, sizeof(buffer));
		if (n < 0) {
			err = -errno;
			break;
		}
		more = mnl_cb_run(buffer, (size_t)n, 1, mnl_socket_get_portid(nl), fn, data);
		if (more < 0)
			err = -errno;
	}
	mnl_socket_close(nl);
	return err;
}

/* ---- ethtool ---------------------------------------------------------------------- */

static int ethtool(const char *ifname, void *command)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = {0};
	int err = 0;

	if (fd < 0)
		return -errno;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", ifname);
	ifr.ifr_data = command;
	if (ioctl(fd, SIOCETHTOOL, &ifr))
		err = -errno;
	close(fd);
	return err;
}

static uint32_t rx_queues(const char *ifname)
{
	struct ethtool_channels channels = {.cmd = ETHTOOL_GCHANNELS};
	struct ethtool_rxnfc rings = {.cmd = ETHTOOL_GRXRINGS};

	if (!ethtool(ifname, &channels) && channels.rx_count + channels.combined_count)
		return channels.rx_count + channels.combined_count;
	if (!ethtool(ifname, &rings) && rings.data)
		return (uint32_t)rings.data;
	return 1;
}

static uint32_t rx_ring(const char *ifname)
{
	struct ethtool_ringparam ring = {.cmd = ETHTOOL_GRINGPARAM};

	return ethtool(ifname, &ring) ? 0 : ring.rx_pending;
}

/* Does the other end hand over packets whose checksum is still to be computed? */
static bool makes_partial_checksums(const struct link_row *row)
{
	struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
	static const char *const kinds[] = {"veth", "tun", "netkit", "dummy"};

	if (row->flags & IFF_LOOPBACK)
		return true;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(row->kind, kinds[i]))
			return true;
	return !ethtool(row->ifname, &info) &&
	       (!strcmp(info.driver, "virtio_net") || !strcmp(info.driver, "tun") ||
		!strcmp(info.driver, "vif") || !strcmp(info.driver, "hv_netvsc"));
}

/* ---- the whole picture --------------------------------------------------------------- */

static void add_name(char *list, size_t size, const char *name)
{
	size_t used = strlen(list);

	snprintf(list + used, size - used, "%s%s", used ? ", " : "", name);
}

static void find_lower(const struct link_dump *dump, const struct link_row *row, char *list,
		       size_t size)
{
	list[0] = 0;
	for (size_t i = 0; i < dump->count; i++) {
		const struct link_row *other = &dump->row[i];

		if (other->master == row->ifindex ||
		    (row->has_lower && other->ifindex == row->lower &&
		     other->ifindex != row->ifindex))
			add_name(list, size, other->ifname);
	}
}

static void find_upper(const struct link_dump *dump, const struct link_row *row,
		       struct lrp_link_info *info)
{
	static const char *const stacked[] = {"macvlan", "macvtap", "ipvlan", "ipvtap"};

	for (size_t i = 0; i < dump->count; i++) {
		const struct link_row *other = &dump->row[i];

		if (row->master && other->ifindex == row->master) {
			memcpy(info->master, other->ifname, sizeof(info->master));
			memcpy(info->master_kind, other->kind, sizeof(info->master_kind));
		}
		if (!other->has_lower || other->lower != row->ifindex ||
		    other->ifindex == row->ifindex)
			continue;
		if (!strcmp(other->kind, "vlan"))
			memcpy(info->vlan, other->ifname, sizeof(info->vlan));
		for (size_t k = 0; k < sizeof(stacked) / sizeof(stacked[0]); k++)
			if (!strcmp(other->kind, stacked[k]))
				memcpy(info->stacked, other->ifname, sizeof(info->stacked));
	}
}

static void find_program(struct lrp_link_info *info)
{
	struct bpf_xdp_query_opts query = {.sz = sizeof(query)};
	struct bpf_prog_info prog = {0};
	__u32 len = sizeof(prog);
	int fd;

	if (bpf_xdp_query((int)info->ifindex, 0, &query))
		return;
	info->prog_id = query.drv_prog_id   ? query.drv_prog_id
			: query.skb_prog_id ? query.skb_prog_id
			: query.hw_prog_id  ? query.hw_prog_id
					    : query.prog_id;
	if (!info->prog_id)
		return;
	snprintf(info->prog_name, sizeof(info->prog_name), "?");
	fd = bpf_prog_get_fd_by_id(info->prog_id);
	if (fd < 0)
		return;
	if (!bpf_obj_get_info_by_fd(fd, &prog, &len))
		snprintf(info->prog_name, sizeof(info->prog_name), "%s", prog.name);
	close(fd);
}

int lrp_core_link_info(const char *ifname, struct lrp_link_info *info)
{
	struct link_dump dump = {0};
	int err = -EINTR;

	/* Something has changed while it was listed. */
	for (int i = 0; i < DUMP_TRIES && err == -EINTR; i++) {
		dump.count = 0;
		err = lrp_core_netlink_dump(RTM_GETLINK, AF_UNSPEC, on_link, &dump);
	}
	memset(info, 0, sizeof(*info));
	if (!err)
		err = -ENODEV;
	for (size_t i = 0; i < dump.count && err == -ENODEV; i++) {
		const struct link_row *row = &dump.row[i];

		if (strcmp(row->ifname, ifname))
			continue;
		err = 0;
		info->ifindex = row->ifindex;
		info->mtu = row->mtu;
		info->flags = row->flags;
		info->loopback = row->flags & IFF_LOOPBACK;
		memcpy(info->ifname, row->ifname, sizeof(info->ifname));
		memcpy(info->kind, row->kind, sizeof(info->kind));
		memcpy(info->mac, row->mac, sizeof(info->mac));
		find_lower(&dump, row, info->lower, sizeof(info->lower));
		find_upper(&dump, row, info);
		info->virtual_device = makes_partial_checksums(row);
		info->queues = rx_queues(ifname);
		info->rx_ring = rx_ring(ifname);
		find_program(info);
	}
	free(dump.row);
	return err;
}

int lrp_core_link_refusal(const struct lrp_link_info *info, bool libxdp, char *text)
{
	static const struct {
		const char *kind, *what;
	} upper[] = {
		{"bond", "a bond"},	   {"team", "a team"},
		{"bridge", "a bridge"},	   {"macvlan", "a macvlan"},
		{"macvtap", "a macvtap"},  {"ipvlan", "an ipvlan"},
		{"vlan", "a VLAN device"}, {"openvswitch", "an Open vSwitch port"},
	};

	for (size_t i = 0; i < sizeof(upper) / sizeof(upper[0]); i++) {
		if (strcmp(info->kind, upper[i].kind))
			continue;
		return lrp_core_error(text, -EOPNOTSUPP, "%s is %s: attach to %s%s instead",
				      info->ifname, upper[i].what,
				      info->lower[0] ? "what is below it: " : "the device below it",
				      info->lower);
	}
	if (info->prog_id && !strcmp(info->prog_name, "lrp_xdp")) {
		char who[64];

		lrp_program_holder(info->prog_id, who, sizeof(who));
		return lrp_core_error(
			text, -EBUSY,
			"%s is LRP's already: %s has it; end that, or let all use lrpd "
			"(lrp attach %s, and no lrp_embed)",
			info->ifname, who[0] ? who : "a process that cannot be seen from here",
			info->ifname);
	}
	if (info->prog_id && !libxdp)
		return lrp_core_error(text, -EBUSY,
				      "%s already has an XDP program (%s, id %u): remove it "
				      "(ip link set dev %s xdp off), or attach beside it with "
				      "--libxdp",
				      info->ifname, info->prog_name, info->prog_id, info->ifname);
	if (info->queues > LRP_MAX_QUEUES)
		return lrp_core_error(text, -E2BIG,
				      "%s has %u queues, %u are possible: reduce them (ethtool -L "
				      "%s combined %u)",
				      info->ifname, info->queues, LRP_MAX_QUEUES, info->ifname,
				      LRP_MAX_QUEUES);
	return 0;
}

bool lrp_core_link_steered(const char *ifname)
{
	char pattern[128], line[256];
	bool steered = false;
	glob_t found;

	snprintf(pattern, sizeof(pattern), "/sys/class/net/%s/queues/rx-*/rps_cpus", ifname);
	if (glob(pattern, 0, NULL, &found))
		return false;
	for (size_t i = 0; i < found.gl_pathc && !steered; i++) {
		FILE *f = fopen(found.gl_pathv[i], "re");

		/* Hexadecimal words with commas between; all zero: off. */
		if (f && fgets(line, sizeof(line), f))
			steered = strspn(line, "0,\n") != strlen(line);
		if (f)
			fclose(f);
	}
	globfree(&found);
	return steered;
}

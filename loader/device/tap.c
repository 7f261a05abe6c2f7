/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tap.c - see tap.h. */
#include "tap.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../bpf/tx_tap.h"
#include "tx_tap.skel.h"

struct lrp_taps {
	struct tx_tap_bpf *skel;
	int map_fd;
	uint32_t ifindex;
};

static int fail(char *error, size_t error_size, int err, const char *what)
{
	snprintf(error, error_size, "%s: %s", what, strerror(-err));
	return err;
}

/* ---- the program ------------------------------------------------------------ */

int lrp_taps_new(struct lrp_taps **out, uint32_t ifindex, const struct lrp_tap_maps *maps,
		 char *error, size_t error_size)
{
	const struct {
		const char *name;
		int fd;
	} shared[] = {
		{"lrp_ports", maps->ports},	  {"lrp_local4", maps->local4},
		{"lrp_local6", maps->local6},	  {"lrp_binds4", maps->binds4},
		{"lrp_binds6", maps->binds6},	  {"lrp_flows4", maps->flows4},
		{"lrp_flows6", maps->flows6},	  {"lrp_groups", maps->groups},
		{"lrp_channels", maps->channels}, {"lrp_ends", maps->ends},
		{"lrp_kernel4", maps->kernel4},	  {"lrp_kernel6", maps->kernel6},
	};
	struct lrp_taps *taps = calloc(1, sizeof(*taps));
	struct bpf_map *map;
	int err = 0;

	if (!taps)
		return -ENOMEM;
	taps->ifindex = ifindex;
	taps->skel = tx_tap_bpf__open();
	if (!taps->skel) {
		err = fail(error, error_size, -errno, "opening the program for sending");
		goto out;
	}
	/* maps.h defines more than this program looks at; those are not made. */
	bpf_object__for_each_map(map, taps->skel->obj)
	{
		bool given = false;

		for (size_t i = 0; i < sizeof(shared) / sizeof(shared[0]) && !given; i++) {
			given = !strcmp(bpf_map__name(map), shared[i].name);
			if (given && !err) /* and takes that map's name */
				err = bpf_map__reuse_fd(map, shared[i].fd);
		}
		if (!given && map != taps->skel->maps.lrp_tx_taps)
			bpf_map__set_autocreate(map, false);
	}
	if (!err)
		err = tx_tap_bpf__load(taps->skel);
	if (err) {
		fail(error, error_size, err, "loading the program for sending");
		goto out;
	}
	taps->map_fd = bpf_map__fd(taps->skel->maps.lrp_tx_taps);
	*out = taps;
	return 0;
out:
	tx_tap_bpf__destroy(taps->skel);
	free(taps);
	return err;
}

static int attach(struct lrp_taps *taps, int ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex,
		    .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, check, .prog_fd = bpf_program__fd(taps->skel->progs.lrp_tx_check));
	LIBBPF_OPTS(bpf_tc_opts, mute, .prog_fd = bpf_program__fd(taps->skel->progs.lrp_tx_mute));
	int err = bpf_tc_hook_create(&hook);

	if (err)
		return err;
	hook.attach_point = BPF_TC_INGRESS;
	err = bpf_tc_attach(&hook, &check);
	if (err)
		return err;
	hook.attach_point = BPF_TC_EGRESS;
	return bpf_tc_attach(&hook, &mute);
}

/* ---- the device --------------------------------------------------------------- */

static int rtnl_talk(struct nlmsghdr *request)
{
	char buf[8192] __attribute__((aligned(8)));
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
		n = mnl_socket_recvfrom(nl, buf, sizeof(buf));
		if (n < 0 ||
		    mnl_cb_run(buf, (size_t)n, 1, mnl_socket_get_portid(nl), NULL, NULL) < 0)
			err = -errno;
	}
	mnl_socket_close(nl);
	return err;
}

/* No address by itself, no ARP, as large as any device behind it; then up. */
static int link_up(int ifindex)
{
	char buf[512] __attribute__((aligned(8))) = {0};
	struct nlmsghdr *request = mnl_nlmsg_put_header(buf);
	struct nlattr *spec, *inet6;
	struct ifinfomsg *ifi;

	request->nlmsg_type = RTM_NEWLINK;
	ifi = mnl_nlmsg_put_extra_header(request, sizeof(*ifi));
	ifi->ifi_index = ifindex;
	ifi->ifi_flags = IFF_UP | IFF_NOARP;
	ifi->ifi_change = IFF_UP | IFF_NOARP;
	spec = mnl_attr_nest_start(request, IFLA_AF_SPEC);
	inet6 = mnl_attr_nest_start(request, AF_INET6);
	mnl_attr_put_u8(request, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
	mnl_attr_nest_end(request, inet6);
	mnl_attr_nest_end(request, spec);
	return rtnl_talk(request);
}

static int link_del(int ifindex)
{
	char buf[128] __attribute__((aligned(8))) = {0};
	struct nlmsghdr *request = mnl_nlmsg_put_header(buf);
	struct ifinfomsg *ifi;

	request->nlmsg_type = RTM_DELLINK;
	ifi = mnl_nlmsg_put_extra_header(request, sizeof(*ifi));
	ifi->ifi_index = ifindex;
	return rtnl_talk(request);
}

static int tap_open(int *ifindex)
{
	struct ifreq request = {0};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC), sndbuf = LRP_TAP_SNDBUF, probe, err;

	if (fd < 0)
		return -errno;
	snprintf(request.ifr_name, sizeof(request.ifr_name), LRP_TAP_PREFIX "%%d");
	request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
	probe = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (probe < 0 || ioctl(fd, TUNSETIFF, &request) || ioctl(fd, TUNSETSNDBUF, &sndbuf) ||
	    ioctl(probe, SIOCGIFINDEX, &request)) {
		err = -errno;
		if (probe >= 0)
			close(probe);
		close(fd);
		return err;
	}
	close(probe);
	*ifindex = request.ifr_ifindex;
	return fd;
}

/* A TAP that went with its holder has left its record behind. */
static bool record_stale(uint32_t tap)
{
	struct ifreq request = {0};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool gone;

	if (fd < 0)
		return false;
	request.ifr_ifindex = (int)tap;
	gone = ioctl(fd, SIOCGIFNAME, &request) && errno == ENODEV;
	close(fd);
	return gone;
}

/* Forgets what is gone. Returns how many the family has. */
static uint32_t owner_count(struct lrp_taps *taps, uint32_t owner)
{
	uint32_t key, next, count = 0;
	struct lrp_tx_tap tap;
	int err;

	for (err = bpf_map_get_next_key(taps->map_fd, NULL, &key); !err; key = next) {
		err = bpf_map_get_next_key(taps->map_fd, &key, &next);
		if (bpf_map_lookup_elem(taps->map_fd, &key, &tap))
			continue;
		if (record_stale(key))
			bpf_map_delete_elem(taps->map_fd, &key);
		else
			count += tap.owner == owner;
	}
	return count;
}

int lrp_tap_new(struct lrp_taps *taps, uint32_t owner, char *error, size_t error_size)
{
	struct lrp_tx_tap tap = {.owner = owner, .ifindex = taps->ifindex};
	int ifindex = 0, fd, err;
	uint32_t key;

	if (owner_count(taps, owner) >= LRP_TAP_PER_OWNER)
		return fail(error, error_size, -EDQUOT, "TAP queues of one process family");
	fd = tap_open(&ifindex);
	if (fd < 0)
		return fail(error, error_size, fd, "a TAP device for sending (/dev/net/tun)");
	key = (uint32_t)ifindex;
	/* Closed until the program is there; and the program lets nothing through without a record. */
	err = attach(taps, ifindex);
	if (!err && bpf_map_update_elem(taps->map_fd, &key, &tap, BPF_ANY))
		err = -errno;
	if (!err)
		err = link_up(ifindex);
	if (!err)
		return fd;
	bpf_map_delete_elem(taps->map_fd, &key);
	close(fd);
	return fail(error, error_size, err, "setting up a TAP device for sending");
}

/* Of all families if `all`. */
static void remove_taps(struct lrp_taps *taps, uint32_t owner, bool all)
{
	uint32_t key, next;
	struct lrp_tx_tap tap;
	int err;

	for (err = bpf_map_get_next_key(taps->map_fd, NULL, &key); !err; key = next) {
		err = bpf_map_get_next_key(taps->map_fd, &key, &next);
		if (bpf_map_lookup_elem(taps->map_fd, &key, &tap) || (!all && tap.owner != owner))
			continue;
		/* Its record first: from now on nothing passes, whatever becomes of the device. */
		bpf_map_delete_elem(taps->map_fd, &key);
		link_del((int)key);
	}
}

void lrp_taps_owner_gone(struct lrp_taps *taps, uint32_t owner)
{
	remove_taps(taps, owner, false);
}

void lrp_taps_free(struct lrp_taps *taps)
{
	if (!taps)
		return;
	remove_taps(taps, 0, true);
	tx_tap_bpf__destroy(taps->skel);
	free(taps);
}

void lrp_taps_count(struct lrp_taps *taps, uint32_t owner, struct lrp_tap_counts *counts)
{
	uint32_t key, next;
	struct lrp_tx_tap tap;
	int err;

	memset(counts, 0, sizeof(*counts));
	for (err = bpf_map_get_next_key(taps->map_fd, NULL, &key); !err; key = next) {
		err = bpf_map_get_next_key(taps->map_fd, &key, &next);
		if (bpf_map_lookup_elem(taps->map_fd, &key, &tap) || tap.owner != owner)
			continue;
		counts->taps++;
		counts->passed += tap.passed;
		counts->dropped_source += tap.dropped_source;
		counts->dropped_malformed += tap.dropped_malformed;
		counts->dropped_size += tap.dropped_size;
	}
}

/* ---- what an earlier lrpd left -------------------------------------------------- */

struct found {
	uint32_t count;
	int ifindex[256];
};

static int sweep_link(const struct nlmsghdr *h, void *data)
{
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(h);
	bool ours = false, tun = false;
	struct found *found = data;
	const struct nlattr *a, *info;

	mnl_attr_for_each(a, h, sizeof(*ifi))
	{
		if (mnl_attr_get_type(a) == IFLA_IFNAME)
			ours = !strncmp(mnl_attr_get_str(a), LRP_TAP_PREFIX,
					strlen(LRP_TAP_PREFIX));
		if (mnl_attr_get_type(a) == IFLA_LINKINFO)
			mnl_attr_for_each_nested(info, a) tun |=
				mnl_attr_get_type(info) == IFLA_INFO_KIND &&
				!strcmp(mnl_attr_get_str(info), "tun");
	}
	if (ours && tun && found->count < 256)
		found->ifindex[found->count++] = ifi->ifi_index;
	return MNL_CB_OK;
}

void lrp_taps_sweep(void)
{
	static char buf[32768] __attribute__((aligned(8)));
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	struct nlmsghdr *request = mnl_nlmsg_put_header(buf);
	struct found found = {0};
	ssize_t n;

	if (!nl)
		return;
	request->nlmsg_type = RTM_GETLINK;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	request->nlmsg_seq = 1;
	mnl_nlmsg_put_extra_header(request, sizeof(struct ifinfomsg));
	if (mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) >= 0 &&
	    mnl_socket_sendto(nl, request, request->nlmsg_len) >= 0)
		while ((n = mnl_socket_recvfrom(nl, buf, sizeof(buf))) > 0 &&
		       mnl_cb_run(buf, (size_t)n, 1, mnl_socket_get_portid(nl), sweep_link,
				  &found) > 0)
			;
	mnl_socket_close(nl);
	for (uint32_t i = 0; i < found.count; i++)
		link_del(found.ifindex[i]);
}

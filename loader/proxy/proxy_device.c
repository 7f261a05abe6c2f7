/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * proxy_device.c - whether proxies can serve a device.
 *
 * A port of a bridge, bond, team or VRF, and a device below a macvlan, gives its frames to what is
 * above, by rules of its own: which of them are this host's cannot be seen in XDP. A VLAN tag that
 * the sender or the hardware has taken out of the frame is lost with the redirect to a channel, so
 * VLAN devices need tags that stay in the frame.
 */
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../device/link.h"
#include "proxy_internal.h"

#define RXVLAN (1u << 8) /* ETH_FLAG_RXVLAN, which <linux/ethtool.h> has by another name */

/* Turns the stripping of VLAN tags off. True: it is off. */
static bool keeps_tags(const char *ifname)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ethtool_value flags = {.cmd = ETHTOOL_GFLAGS};
	struct ifreq request = {0};
	bool off = false;

	if (fd < 0)
		return false;
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", ifname);
	request.ifr_data = (void *)&flags;
	if (!ioctl(fd, SIOCETHTOOL, &request)) {
		off = !(flags.data & RXVLAN);
		flags.cmd = ETHTOOL_SFLAGS;
		flags.data &= ~RXVLAN;
		off = off || !ioctl(fd, SIOCETHTOOL, &request);
	}
	close(fd);
	return off;
}

void lrp_core_proxy_refusal(const struct lrp_device_state *state, char *text, size_t size)
{
	struct lrp_link_info info;

	text[0] = 0;
	if (lrp_core_link_info(state->ifname, &info))
		return; /* gone, which others find out */
	if (info.loopback)
		snprintf(text, size, "it is the loopback device, whose packets never wait");
	else if (info.master[0])
		snprintf(text, size, "it is a port of %s (%s): the kernel serves what is above it",
			 info.master, info.master_kind[0] ? info.master_kind : "?");
	else if (info.stacked[0])
		snprintf(text, size, "%s lies on it: the kernel serves what is above it",
			 info.stacked);
	else if (info.vlan[0] && !strcmp(info.kind, "veth"))
		snprintf(text, size,
			 "%s lies on it, and the tags of a veth's frames are not in the frames",
			 info.vlan);
	else if (!info.virtual_device && !keeps_tags(state->ifname) && info.vlan[0])
		snprintf(text, size,
			 "%s lies on it, and its hardware takes VLAN tags out: ethtool -K %s "
			 "rxvlan off",
			 info.vlan, state->ifname);
}

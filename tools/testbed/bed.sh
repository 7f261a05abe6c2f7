#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#
# The throw-away test bed: network namespaces that vanish with the process.
#
#   bed.sh CMD [ARG...]   runs CMD in it; `bed.sh bash` gives a shell inside
#   . bed.sh              in a script that already runs inside: the functions below
#
# CMD runs as process 1 of its own pid, mount and network namespaces, so that
# whatever it starts, attaches or pins is gone when it ends, kill -9 included:
# /run/netns, /run/lrp, /etc/lrp and /sys/fs/bpf are private, and no name outlives the mount
# namespace.
#
#    client ns           this namespace ("server")          blaster ns
#   198.18.1.2 c0 ────── s0 198.18.1.1
#                                     198.18.2.1 s1 ──────── b0 198.18.2.2
#   2001:db8:1::2                2001:db8:1::1, 2001:db8:2::1         2001:db8:2::2

bed_inside() { [ "${LRP_BED:-}" = 1 ]; }

# bed_pair NS DEV PEERDEV NET [QUEUES]: a namespace joined to this one by veth.
bed_pair()
{
	local ns=$1 dev=$2 peer=$3 net=$4 queues=${5:-1}

	[ -e "/run/netns/$ns" ] || ip netns add "$ns"
	ip link add "$dev" numrxqueues "$queues" numtxqueues "$queues" type veth \
		peer name "$peer" numrxqueues "$queues" numtxqueues "$queues" netns "$ns"
	# Duplicate address detection would delay the first use by a second.
	sysctl -qw "net.ipv6.conf.$dev.accept_dad=0"
	ip netns exec "$ns" sysctl -qw "net.ipv6.conf.$peer.accept_dad=0"
	ip addr add "198.18.$net.1/24" dev "$dev"
	ip addr add "2001:db8:$net::1/64" dev "$dev" nodad
	ip link set "$dev" up
	ip -n "$ns" addr add "198.18.$net.2/24" dev "$peer"
	ip -n "$ns" addr add "2001:db8:$net::2/64" dev "$peer" nodad
	ip -n "$ns" link set "$peer" up
	ip -n "$ns" link set lo up
	ip -n "$ns" route add default via "198.18.$net.1" 2>/dev/null || true
}

# lrpd maps rings of bound AF_XDP sockets, which Linux allows from 6.6 on.
bed_needs_lrpd()
{
	[ "$(printf '%s\n' 6.6 "$(uname -r)" | sort -V | head -n 1)" = 6.6 ] && return
	echo "lrpd needs Linux 6.6 or later: see uname -r"
	exit 77
}

# bed_net: client and blaster, as drawn above.
bed_net()
{
	bed_pair client s0 c0 1 "${1:-1}"
	bed_pair blaster s1 b0 2 "${1:-1}"
}

bed_setup()
{
	mount --make-rprivate /
	mount -t proc proc /proc
	mkdir -p /run/netns
	mount -t tmpfs tmpfs /run/netns
	# lrpd's directory and its settings are the bed's own, too. Tests have clients of uid 65534.
	mkdir -p /run/lrp /etc/lrp
	mount -t tmpfs -o mode=0755 tmpfs /run/lrp
	mount -t tmpfs -o mode=0755 tmpfs /etc/lrp
	echo "allow-uid = 65534" >/etc/lrp/lrpd.conf
	mount -t sysfs sysfs /sys
	mkdir -p /sys/fs/bpf
	mount -t bpf bpf /sys/fs/bpf
	ip link set lo up
	sysctl -qw net.core.rmem_max=268435456 net.core.wmem_max=268435456 2>/dev/null || true
	ulimit -l unlimited 2>/dev/null || true
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
	if [ "${LRP_BED_ENTER:-}" = 1 ]; then
		unset LRP_BED_ENTER
		export LRP_BED=1
		bed_setup || exit 1
		# Not exec: process 1 reaps what its children leave behind.
		"$@"
		exit
	fi
	[ $# -gt 0 ] || { sed -n '4,17s/^# \{0,1\}//p' "$0"; exit 2; }
	if [ "$(id -u)" != 0 ]; then
		echo "bed.sh: namespaces need root; run it with sudo" >&2
		exit 77
	fi
	LRP_BED_ENTER=1 exec unshare -n -m -p --fork --kill-child "$0" "$@"
fi

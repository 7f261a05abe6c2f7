# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#
# proxies.sh - what the tests of proxies share. Sourced, inside the bed.
#
#    client ns ── c0 ════ s0 ── here ── s1 ════ b0 ── blaster ns
#                          (forwards between the two)

top=$(cd "$(dirname "$0")/../.." && pwd)
cd "$top" || exit 1
if [ "${LRP_BED:-}" != 1 ]; then exec tools/testbed/bed.sh "$0" "$@"; fi
. tools/testbed/bed.sh
bed_needs_lrpd
build=${LRP_BUILD:-$top/build}
export PATH=$build/bin:$PATH:/usr/sbin
failed=0
work=$(mktemp -d)
started=()
trap 'kill "${started[@]}" 2>/dev/null; umount "$work/cpu" 2>/dev/null; rm -rf "$work"' EXIT

fail()
{
	echo "FAIL: $*"
	failed=1
}

client() { ip netns exec client "$@"; }
blaster() { ip netns exec blaster "$@"; }

# tools NAME...: the test needs them
tools()
{
	local tool
	for tool in "$@"; do
		command -v "$tool" >/dev/null || { echo "$tool is missing: make deps"; exit 77; }
	done
}

wait_for() # TENTHS COMMAND...
{
	local n=$1
	shift
	while ! "$@" >/dev/null 2>&1; do
		n=$((n - 1))
		[ $n -gt 0 ] || return 1
		sleep 0.1
	done
}

# proxies_begin MODE: a cpu hierarchy of our own, lrpd with a log, both interfaces attached
proxies_begin()
{
	bed_net 2>/dev/null || { fail "test bed"; exit 1; }
	mkdir "$work/cpu"
	mount -t cgroup -o cpu none "$work/cpu" 2>/dev/null
	# Router and gateway.
	sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	# Its own ring instead of the CPU's backlog, and XDP transmission into it.
	client ethtool -K c0 gro on >/dev/null
	blaster ethtool -K b0 gro on >/dev/null
	ip -n client -6 route add default via 2001:db8:1::1 2>/dev/null
	ip -n blaster -6 route add default via 2001:db8:2::1 2>/dev/null
	lrpd --log "$work/log" || fail "lrpd does not start"
	lrp attach s0 --mode "$1" >/dev/null || fail "attach s0"
	lrp attach s1 --mode "$1" >/dev/null || fail "attach s1"
}

proxy() { lrp proxies --json | jq -r ".proxies[] | select(.kind == \"$1\") | $2"; }
serves() { [ "$(proxy "$1" .serving)" = true ]; }
all_serve()
{
	local kind
	for kind in "$@"; do
		wait_for 50 serves "$kind" || fail "$kind does not serve"
	done
}
packets() { proxy "$1" '.first.packets + .rest.packets'; }

# through KIND COMMAND...: it succeeds, by way of the proxy and by no other
through()
{
	local kind=$1 was direct out
	shift
	was=$(packets "$kind")
	direct=$(proxy "$kind" .direct)
	out=$("$@" 2>&1) || fail "$kind: $*: $out"
	[ "$(packets "$kind")" -gt "$was" ] || fail "$kind: $*: nothing came through the proxy"
	[ "$(proxy "$kind" .direct)" = "$direct" ] ||
		fail "$kind: $*: $(($(proxy "$kind" .direct) - direct)) packets took the direct path"
}

clean_end()
{
	local own
	own=$(proxy arp .cgroup)
	lrp stop >/dev/null || fail "lrp stop"
	wait_for 20 eval '! pgrep lrp-' || fail "left behind: $(pgrep -a lrp-)"
	[ -z "$own" ] || [ -z "$(ls -d "${own%-arp}"-* 2>/dev/null)" ] ||
		fail "cgroups left behind: $(ls -d "${own%-arp}"-*)"
	! ip -o link | grep -q lrppx || fail "TAP devices left behind"
}

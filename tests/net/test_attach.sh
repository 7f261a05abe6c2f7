#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#
# lrp attach, detach, status, channels, stop: native, generic and lo; several queues; what is
# refused, and with which words; pins; what is left behind (nothing).
#
#    client ns ── c0 ════ s0 ── here
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
cd "$top" || exit 1
if [ "${LRP_BED:-}" != 1 ]; then exec tools/testbed/bed.sh "$0" "$@"; fi
. tools/testbed/bed.sh
bed_needs_lrpd
build=${LRP_BUILD:-$top/build}
export PATH=$build/bin:$PATH
failed=0
events=$(mktemp)
trap 'rm -f "$events"' EXIT

fail()
{
	echo "FAIL: $*"
	failed=1
}

# expect RC PATTERN COMMAND...: exit code, and the one line it prints
expect()
{
	local rc=$1 pattern=$2 out
	shift 2
	out=$("$@" 2>&1)
	[ $? = "$rc" ] || fail "$*: exit code is not $rc: $out"
	grep -Eq -- "$pattern" <<<"$out" || fail "$*: '$out' does not match '$pattern'"
	[ "$rc" != 1 ] || [ "$(wc -l <<<"$out")" = 1 ] || fail "$*: more than one line: $out"
}

json() { lrp status --json | jq -e "$1" >/dev/null || fail "status: not true: $1"; }

bed_net 2>/dev/null || { fail "test bed"; exit 1; }

# ---- without lrpd
expect 2 'Usage' lrp
expect 2 'unknown command' lrp nonsense
expect 2 'which interface' lrp attach
expect 2 'auto, native or skb' lrp attach s0 --mode fast
expect 2 'not a number' lrp attach s0 --frames many
expect 2 'not a name' lrp attach a-name-that-is-too-long
expect 0 'lrp [0-9]' lrp version
expect 0 'attach IFACE' lrp help
expect 1 'no lrpd runs' lrp status
expect 1 'no lrpd runs' lrp stop

# ---- refusals; the lrpd that was started for them ends with them
expect 1 'nosuch0: no such interface' lrp attach nosuch0
expect 1 'no lrpd runs' lrp status
ip link add br0 type bridge
ip link add m0 type veth peer name m1
ip link set m0 master br0
expect 1 'br0 is a bridge: attach to what is below it: m0' lrp attach br0
if ip link add link s0 name mv0 type macvlan 2>/dev/null; then
	expect 1 'mv0 is a macvlan: attach to what is below it: s0' lrp attach mv0
	ip link del mv0
fi
expect 1 'must be a power of two' lrp attach s0 --frames 1000
expect 1 '64 frames are too few: .* use --frames 256' lrp attach s0 --frames 64
expect 1 '2048 or 4096' lrp attach s0 --frame-size 1024
ip link set m0 up
if ip link set dev m0 xdp object $build/bpf/pass.bpf.o section xdp.frags 2>/dev/null ||
	{ bpftool prog load $build/bpf/pass.bpf.o /sys/fs/bpf/pass && bpftool net attach xdp pinned \
		/sys/fs/bpf/pass dev m0; } 2>/dev/null; then
	expect 1 'm0 already has an XDP program \(lrp_pass, id [0-9]+\): .*--libxdp' lrp attach m0
	ip link set dev m0 xdp off 2>/dev/null || bpftool net detach xdp dev m0
	rm -f /sys/fs/bpf/pass
else
	fail "cannot attach another program for the test"
fi
out=$(setpriv --reuid 65534 --clear-groups lrp attach s0 2>&1) && fail "attached without root"
grep -q 'only root can start one' <<<"$out" || fail "unprivileged attach: $out"
expect 1 'must be started by root' setpriv --reuid 65534 --clear-groups $build/bin/lrpd
out=$(setpriv --bounding-set -bpf,-sys_admin,-perfmon $build/bin/lrp attach s0 2>&1)
grep -q 'missing CAP_BPF, CAP_PERFMON;' <<<"$out" || fail "without CAP_BPF: $out"
lrp stop 2>/dev/null
# Refused before the interface was touched: nobody saw a change of it.
ip monitor link dev s0 >$events &
monitor=$!
sleep 0.2
out=$(setpriv --bounding-set -sys_admin,-perfmon $build/bin/lrp attach s0 2>&1)
grep -q 'missing CAP_PERFMON;.*CAP_IPC_LOCK' <<<"$out" || fail "without CAP_PERFMON: $out"
lrp stop 2>/dev/null
sleep 0.2
kill $monitor
[ ! -s $events ] || fail "touched before it was refused: $(cat $events)"

# ---- who embeds it is named, to a second one and to lrpd (by the 15 letters of /proc/PID/comm)
example-embedded s0 >/dev/null &
embedded=$!
for _ in $(seq 100); do
	ip -d link show s0 | grep -q 'prog/xdp id' && break
	sleep 0.1
done
out=$(timeout 5 example-embedded s0 2>&1) && fail "embedded twice"
grep -q "s0 is LRP's already: example-embedde (pid $embedded) has it" <<<"$out" ||
	fail "second embedding: $out"
expect 1 "s0 is LRP's already: example-embedde \(pid $embedded\) has it" lrp attach s0
kill -9 $embedded
wait $embedded 2>/dev/null
lrp stop 2>/dev/null

# ---- without lrpd TCP says what UDP says
for example in "echo 7007" "tcp_echo 7009"; do
	# shellcheck disable=SC2086
	timeout 1 example-$example >/dev/null 2>$events
	[ "$(grep -c 'no lrpd answers and no interface is embedded' $events)" = 1 ] ||
		fail "example-$example without lrpd: $(cat $events)"
done

# ---- native
expect 0 's0: attached in native mode, 1 queue, 4096 frames of 2048 bytes' lrp attach s0 --frames 4096
json '.devices[0] | .ifname == "s0" and .mode == "native" and .queues == 1 and .attached_by == "bpf_link"'
json '.devices[0].pools[0] | .frames == 4096 and .frame_size == 2048'
json '.devices[0].reasons | has("enqueued") and has("drop_full") and has("pass_port")'
ip -d link show s0 | grep -q 'prog/xdp id' || fail "no program on s0"
expect 0 'lrp_xdp' bpftool prog show name lrp_xdp
expect 1 'another lrpd serves .*pid [0-9]+' $build/bin/lrpd --foreground
expect 1 'another lrpd serves .*pid [0-9]+' $build/bin/lrpd
before=$(lrp status --json | jq '.devices[0].program')
expect 0 's0: program replaced' lrp attach s0
[ "$(lrp status --json | jq '.devices[0].program')" != "$before" ] || fail "program is the same"
pins=$(lrp status --json | jq -r .pins)
dump=$(bpftool map dump pinned "$pins/dev-$(cat /sys/class/net/s0/ifindex)/lrp_device" 2>&1)
for field in mac ifindex endpoints frame_payload addr4; do
	grep -q "\"$field\"" <<<"$dump" || fail "bpftool map dump lrp_device shows no $field: $dump"
done
bpftool map dump pinned "$pins/lrp_local4" | grep -q '"kind"' || fail "lrp_local4 has no addresses"
ip netns exec client ping -c 2 -i 0.2 -W 2 -q 198.18.1.1 >/dev/null || fail "no ping in native mode"

# ---- addresses and links are followed
ip addr add 198.18.77.1/24 dev s0
sleep 0.3
locals=$(bpftool -j map dump pinned "$pins/lrp_local4" | jq -r '.[].key | join(".")')
grep -q '0xc6.0x12.0x4d.0x01' <<<"$locals" || fail "new address is not in lrp_local4: $locals"
grep -q '0xc6.0x12.0x4d.0xff' <<<"$locals" || fail "its broadcast is not in lrp_local4"
ip addr del 198.18.77.1/24 dev s0
sleep 0.3
bpftool -j map dump pinned "$pins/lrp_local4" | jq -r '.[].key | join(".")' |
	grep -q '0xc6.0x12.0x4d' && fail "address that is gone is in lrp_local4"
epoch=$(lrp status --json | jq .routes_epoch)
ip route add 198.18.99.0/24 via 198.18.1.2
sleep 0.2
[ "$(lrp status --json | jq .routes_epoch)" != "$epoch" ] || fail "routes_epoch did not change"

# ---- detach; generic; lo; several queues; jumbo; all at once
expect 0 's0: detached' lrp detach s0
expect 1 's0: is not attached' lrp detach s0
ip -d link show s0 | grep -q 'prog/xdp' && fail "program is on s0 after detach"
expect 0 's0: attached in skb mode' lrp attach s0 --mode skb
ip netns exec client ping -c 2 -i 0.2 -W 2 -q 198.18.1.1 >/dev/null || fail "no ping in skb mode"
expect 0 'lo: attached in skb mode.*native mode is not available' lrp attach lo --frames 4096
expect 1 'lo is attached already, in another way: lrp detach lo first' lrp attach lo --mode native
expect 0 'lo: detached' lrp detach lo
expect 1 'lo: attaching in native mode: ' lrp attach lo --mode native
expect 0 'lo: attached in skb mode' lrp attach lo --frames 4096
ping -c 2 -i 0.2 -W 2 -q 127.0.0.1 >/dev/null || fail "no ping on lo"
bed_pair four q0 q1 9 4 2>/dev/null
expect 0 'q0: attached in native mode, 4 queues, 2048 frames' lrp attach q0 --frames 2048
json '.devices | length == 3'
ip link add j0 mtu 9000 type veth peer name j1 mtu 9000
ip link set j0 up
ip link set j1 up
expect 0 'j0: attached in native mode, 1 queue, 1024 frames of 4096 bytes each, several frames a packet' \
	lrp attach j0 --frames 1024
lrp status >/dev/null || fail "status"
lrp channels >/dev/null || fail "channels"
lrp channels --json | jq -e '.channels | length == 7' >/dev/null || fail "channels: not 7"
lrp status --audit --json | jq -e '.audit.ok and (.audit.pools | length == 7) and
	([.audit.pools[] | .free + .queued + .held + .quarantined + .kernel == .frames] | all)' \
	>/dev/null || fail "audit: $(lrp status --audit --json | jq -c .audit)"
expect 0 'every frame is accounted for' lrp status --audit
out=$(setpriv --reuid 65534 --clear-groups $build/bin/lrp detach s0 2>&1) &&
	fail "detached without root"
grep -q 'detach: needs CAP_NET_ADMIN over this network namespace' <<<"$out" ||
	fail "unprivileged detach: $out"
setpriv --reuid 65534 --clear-groups $build/bin/lrp status >/dev/null || fail "status needs root"

# ---- an interface that goes away
ip link del j0
sleep 0.5
json '[.devices[].ifname] | index("j0") == null'
expect 0 'lo: detached' lrp detach --all
json '.devices | length == 0'

# ---- beside other programs
expect 0 's0: attached in (native|skb) mode through libxdp' lrp attach s0 --libxdp
ip netns exec client ping -c 2 -i 0.2 -W 2 -q 198.18.1.1 >/dev/null || fail "no ping through libxdp"
expect 0 's0: detached' lrp detach s0
ip -d link show s0 | grep -q 'prog/xdp' && fail "program is on s0 after detach from libxdp"

# ---- nothing is left
expect 0 '' lrp stop
sleep 0.2
pgrep -x 'lrpd|lrp-keeper' >/dev/null && fail "processes are left: $(pgrep -lx 'lrpd|lrp-keeper')"
[ ! -e "$pins" ] || fail "pins are left in $pins"
grep -q '@lrp' /proc/net/unix && fail "sockets are left"
exit $failed

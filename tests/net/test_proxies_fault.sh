#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#
# Proxies that are killed, stopped and starved; kill -9 of lrpd, and of lrpd and its keeper; what
# `lrp proxies` refuses and changes; nothing is left behind.
set -u
. "$(dirname "$0")/proxies.sh"
tools ping arping
proxies_begin native

expect() # RC PATTERN COMMAND...
{
	local rc=$1 pattern=$2 out
	shift 2
	out=$("$@" 2>&1)
	[ $? = "$rc" ] || fail "$*: exit code is not $rc: $out"
	grep -Eq -- "$pattern" <<<"$out" || fail "$*: '$out' does not match '$pattern'"
}

now_ms() { echo $(($(date +%s%N) / 1000000)); }
serves_as_not() { [ "$(proxy "$1" .serving)" = true ] && [ "$(proxy "$1" .pid)" != "$2" ]; }

# pings SECONDS: in the background, one each 20 ms, with a line for each answer
pings() { client ping -n -D -i 0.02 -w "$1" 198.18.1.1 >"$work/pings"; }

# longest gap between two answers, ms
gap()
{
	awk -F '[][]' '/icmp_seq/ { if (last && $2 - last > gap) gap = $2 - last; last = $2; n++ }
		END { if (n < 2) print 99999; else printf "%d\n", gap * 1000 }' "$work/pings"
}

# ---- off by default, and what is refused
[ "$(proxy icmp .on)" = false ] || fail "a proxy is on that nobody asked for"
expect 2 'no such kind' lrp proxies on tcp
expect 2 'which ones' lrp proxies on
expect 2 '-20 to 19' lrp proxies set icmp --nice 20
expect 1 '32 to 16384' lrp proxies set icmp --limit 1
expect 1 'cgroup.*nosuch.*No such file' lrp proxies set icmp --cgroup nosuch
expect 1 'without ..' lrp proxies set icmp --cgroup ../other
expect 1 'the proxy host alone' lrp proxies set icmp --ports 22
expect 1 'proxies: .*CAP_NET_ADMIN' setpriv --reuid 65534 --regid 65534 --clear-groups lrp proxies on icmp
expect 0 'arp +off' setpriv --reuid 65534 --regid 65534 --clear-groups lrp proxies

# ---- on
expect 0 '' lrp proxies on arp icmp
all_serve arp icmp
through icmp client ping -q -c 2 -i 0.2 -W 2 198.18.1.1

# ---- set, while packets come
mkdir "$work/cpu/mine" 2>/dev/null
expect 0 '' lrp proxies set icmp --nice 10 --limit 100
pid=$(proxy icmp .pid)
[ "$(proxy icmp '.nice, .limit' | tr '\n' ' ')" = "10 100 " ] || fail "set: $(proxy icmp .)"
[ "$(lrp channels --json | jq '[.channels[] | select(.local == "icmp") | .limit] | unique | .[]')" = 100 ] ||
	fail "the channels have another limit"
own=$(proxy icmp .cgroup)
if [ -n "$own" ]; then
	[ "$(cat "$own/cpu.shares")" = 110 ] || fail "nice 10: shares $(cat "$own/cpu.shares")"
	grep -qx "$pid" "$own/cgroup.procs" || fail "it is not in its cgroup"
	renice -n 5 -p "$pid" >/dev/null
	wait_for 20 eval "[ \$(cat $own/cpu.shares) = 335 ]" || fail "renice 5: shares $(cat "$own/cpu.shares")"
	expect 0 '' lrp proxies set icmp --cgroup mine
	grep -qx "$pid" "$work/cpu/mine/cgroup.procs" || fail "it is not in the cgroup that was set"
	expect 0 '' lrp proxies set icmp --cgroup own
	grep -qx "$pid" "$own/cgroup.procs" || fail "it is not back in its own cgroup"
fi
through icmp client ping -q -c 1 -W 2 198.18.1.1
# More than its rings hold: another process.
expect 0 '' lrp proxies set icmp --limit 4000
wait_for 30 serves_as_not icmp "$pid" || fail "limit 4000: the old process serves"
[ "$(lrp channels --json | jq '[.channels[] | select(.local == "icmp") | .limit] | unique | .[]')" = 4000 ] ||
	fail "limit 4000: the channels have another"
through icmp client ping -q -c 1 -W 2 198.18.1.1
[ "$(proxy icmp .restarts)" = 0 ] || fail "a change of the limit counts as a fault"

# ---- killed: packets go to the kernel at once, and another one serves
pings 2 &
sleep 0.5
pid=$(proxy icmp .pid)
kill -9 "$pid"
wait_for 20 serves_as_not icmp "$pid" || fail "killed: no other one serves"
wait $!
[ "$(gap)" -lt 300 ] || fail "killed: $(gap) ms without an answer"
grep -q "proxy icmp (pid $pid) was killed by signal 9: its packets go to the kernel directly" "$work/log" ||
	fail "killed: no line in the log: $(cat "$work/log")"
through icmp client ping -q -c 1 -W 2 198.18.1.1

# ---- stopped: noticed within a second
pings 3 &
sleep 0.5
pid=$(proxy icmp .pid)
kill -STOP "$pid"
begin=$(now_ms)
wait_for 15 grep -q "proxy icmp (pid $pid) gives no sign of life (stopped)" "$work/log" ||
	fail "stopped: no line in the log: $(cat "$work/log")"
took=$(($(now_ms) - begin))
[ "$took" -lt 1100 ] || fail "stopped: said after $took ms"
wait_for 20 serves_as_not icmp "$pid" || fail "stopped: no other one serves"
wait $!
[ "$(gap)" -lt 1000 ] || fail "stopped: $(gap) ms without an answer"
[ "$(proxy icmp .restarts)" = 2 ] || fail "restarts: $(proxy icmp .restarts)"
through icmp client ping -q -c 1 -W 2 198.18.1.1

# ---- lrpd killed: the proxy goes on, under the next lrpd
pid=$(proxy icmp .pid)
lrpd=$(lrp status --json | jq .pid)
pings 2 &
sleep 0.3
kill -9 "$lrpd"
wait_for 50 eval "[ \"\$(lrp status --json | jq .pid)\" != $lrpd ]" || fail "no new lrpd"
wait $!
[ "$(gap)" -lt 300 ] || fail "lrpd killed: $(gap) ms without an answer"
[ "$(proxy icmp .pid)" = "$pid" ] || fail "lrpd killed: another process serves"
through icmp client ping -q -c 1 -W 2 198.18.1.1
# And is watched by it.
kill -9 "$pid"
wait_for 20 serves_as_not icmp "$pid" || fail "the new lrpd starts no other one"

# ---- off, and on again
expect 0 '' lrp proxies off arp icmp
wait_for 20 eval '! pgrep lrp-icmp' || fail "off, but it runs"
client ping -q -c 1 -W 2 198.18.1.1 >/dev/null || fail "off: no ping"
expect 0 '' lrp proxies on arp icmp
all_serve arp icmp

# ---- a port of a bridge is not served, by name
if ip link add br0 type bridge 2>/dev/null; then
	ip link set s1 master br0
	wait_for 10 eval 'lrp proxies | grep -q "s1: no proxies: it is a port of br0 (bridge)"' ||
		fail "port of a bridge: $(lrp proxies)"
	ip link del br0
	wait_for 10 eval '! lrp proxies | grep -q "no proxies"' || fail "no longer a port: $(lrp proxies)"
fi
# Packet steering is reported.
if echo 1 >/sys/class/net/s1/queues/rx-0/rps_cpus 2>/dev/null; then
	expect 0 's1: receive packet steering' lrp proxies
	echo 0 >/sys/class/net/s1/queues/rx-0/rps_cpus
fi

# ---- a device goes, and comes
expect 0 '' lrp detach s1
through icmp client ping -q -c 1 -W 2 198.18.1.1
lrp attach s1 >/dev/null || fail "attach again"
wait_for 20 eval "lrp channels --json | jq -e '[.channels[] | select(.local == \"icmp\" and .device == \"s1\")] | length == 2'" ||
	fail "no channels on a device that came later"
through icmp blaster ping -q -c 1 -W 2 198.18.2.1

# ---- lrpd and keeper killed: the proxies end, and the kernel serves
kill -9 "$(lrp status --json | jq .pid)" $(pgrep lrp-keeper)
wait_for 30 eval '! pgrep "lrp-(arp|icmp)"' || fail "proxies without lrpd: $(pgrep -a lrp-)"
[ -z "$own" ] || [ -z "$(ls -d "${own%-icmp}"-* 2>/dev/null)" ] || fail "cgroups left behind"
client ping -q -c 1 -W 2 198.18.1.1 >/dev/null || fail "lrpd and keeper killed: no ping"
rmdir "$work/cpu/mine" 2>/dev/null
exit $failed

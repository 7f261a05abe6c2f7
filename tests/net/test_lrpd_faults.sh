#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#
# kill -9 of lrpd, of the keeper, of both, of applications, and detach: all under load. Traffic
# goes on, a new lrpd takes over, frames come back within a second, the audit is clean.
#
#    client ns ── c0 ════ s0 ── here (7000: the receiver; 7100: who gets killed)
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
cd "$top" || exit 1
if [ "${LRP_BED:-}" != 1 ]; then exec tools/testbed/bed.sh "$0" "$@"; fi
. tools/testbed/bed.sh
bed_needs_lrpd
build=${LRP_BUILD:-$top/build}
export PATH=$build/bin:$PATH
failed=0

fail()
{
	echo "FAIL: $*"
	failed=1
}

audit() # what has just happened
{
	local out
	out=$(lrp status --audit --json 2>&1)
	jq -e .audit.ok >/dev/null 2>&1 <<<"$out" ||
		fail "audit after $1: $(jq -c .audit 2>/dev/null <<<"$out" || echo "$out")"
}

# of the socket on a port: a field of lrp channels --json
channel() { lrp channels --json | jq "[.channels[] | select(.local // \"\" | endswith(\":$1\"))][0].$2"; }

wait_for() # SECONDS/10 COMMAND...
{
	local n=$1
	shift
	while ! "$@" >/dev/null 2>&1; do
		n=$((n - 1))
		[ $n -gt 0 ] || return 1
		sleep 0.1
	done
}

flows() # NAME: the receiver on 7000 gets packets through its channel
{
	local a b
	a=$(channel 7000 packets)
	sleep 0.3
	b=$(channel 7000 packets)
	[ "$b" -gt "$a" ] 2>/dev/null || fail "no packets reach the channel after $1 ($a, $b)"
}

new_lrpd() # OLD: another lrpd answers
{
	local now
	now=$(lrp status --json 2>/dev/null | jq .pid)
	[ -n "$now" ] && [ "$now" != "$1" ]
}

gone() { for p; do [ ! -e "/proc/$p" ] || return 1; done; }
stopped() { for p; do grep -q '^State:.T' "/proc/$p/status" || return 1; done; }

bed_net 2>/dev/null || { fail "test bed"; exit 1; }
lrp attach s0 --frames 16384 || exit 1
sink --system lrp --port 7000 >/dev/null & receiver=$!
wait_for 30 eval '[ "$(channel 7000 active)" = true ]' || fail "the receiver has no channel"
ip netns exec client lrp-load --device c0 --to 198.18.1.1 --port 7000 --rate 50k --seconds 200 \
	>/dev/null 2>&1 & load=$!
ip netns exec client lrp-load --device c0 --to 198.18.1.1 --port 7100 --rate 50k --seconds 200 \
	>/dev/null 2>&1 & load2=$!
wait_for 30 eval '[ "$(channel 7000 packets)" -gt 0 ]' || fail "no load"

# ---- lrpd
for i in 1 2 3; do
	old=$(lrp status --json | jq .pid)
	before=$(channel 7000 packets)
	kill -9 "$old"
	wait_for 30 new_lrpd "$old" || fail "no new lrpd ($i)"
	[ "$(channel 7000 packets)" -gt "$before" ] || fail "packets stopped while lrpd was dead"
	[ "$(channel 7000 pid)" = $receiver ] || fail "the new lrpd does not know the receiver"
	flows "kill -9 of lrpd ($i)"
	audit "kill -9 of lrpd ($i)"
done
sink --system lrp --port 7100 >/dev/null & victim=$!
wait_for 30 eval '[ "$(channel 7100 active)" = true ]' || fail "the new lrpd gives no channels"
kill $victim

# ---- keeper
old=$(pgrep -x lrp-keeper)
kill -9 "$old"
wait_for 30 eval 'k=$(pgrep -x lrp-keeper) && [ "$k" != "'"$old"'" ]' || fail "no new keeper"
flows "kill -9 of the keeper"
old=$(lrp status --json | jq .pid)
kill -9 "$old"
wait_for 30 new_lrpd "$old" || fail "the new keeper starts no lrpd"
flows "kill -9 of keeper, then lrpd"
audit "kill -9 of keeper, then lrpd"

# ---- a keeper that is stopped does not stop lrpd
kill -STOP "$(pgrep -x lrp-keeper)"
for i in 1 2 3 4 5; do
	sink --system lrp --port 7100 >/dev/null & victim=$!
	wait_for 30 eval '[ "$(channel 7100 pid)" = '$victim' ]' || fail "lrpd waits for its keeper"
	kill -9 $victim
	wait $victim 2>/dev/null
	wait_for 15 eval '[ "$(channel 7100 pid)" = null ]' || fail "socket of a dead process stays"
done
kill -CONT "$(pgrep -x lrp-keeper)"

# ---- applications, under flood, several times
for i in 1 2 3 4 5; do
	sink --system lrp --port 7100 --active 8 >/dev/null & victim=$!
	wait_for 30 eval '[ "$(channel 7100 packets)" -gt 0 ]' || fail "victim receives nothing"
	kill -9 $victim
	wait $victim 2>/dev/null
	wait_for 10 eval '[ "$(channel 7100 pid)" = null ]' || fail "not reclaimed within a second"
done
audit "kill -9 of applications"

# ---- lrpd and an application at once
sink --system lrp --port 7100 >/dev/null & victim=$!
wait_for 30 eval '[ "$(channel 7100 packets)" -gt 0 ]' || fail "victim receives nothing"
old=$(lrp status --json | jq .pid)
kill -9 "$old" $victim
wait $victim 2>/dev/null
wait_for 30 new_lrpd "$old" || fail "no new lrpd"
wait_for 12 eval '[ "$(channel 7100 pid)" = null ]' || fail "not reclaimed by the new lrpd"
flows "kill -9 of lrpd and an application"
audit "kill -9 of lrpd and an application"

# ---- a stopped application fills only its own channel
sink --system lrp --port 7100 >/dev/null & victim=$!
wait_for 30 eval '[ "$(channel 7100 packets)" -gt 0 ]' || fail "victim receives nothing"
kill -STOP $victim
wait_for 30 eval '[ "$(channel 7100 drop_full)" -gt 0 ]' || fail "no early discard for a stopped process"
flows "SIGSTOP of another application"
audit "SIGSTOP of an application"
kill -9 $victim
wait $victim 2>/dev/null
wait_for 10 eval '[ "$(channel 7100 pid)" = null ]' || fail "stopped process is not reclaimed"

# ---- detach under load, and attach again while the receiver is there
for i in 1 2 3; do
	lrp detach s0 >/dev/null || fail "detach under load"
	ip -d link show s0 | grep -q 'prog/xdp' && fail "program is there after detach"
	sleep 0.2
	lrp attach s0 >/dev/null || fail "attach after detach"
	wait_for 20 eval '[ "$(channel 7000 active)" = true ]' || fail "no channel after attaching again"
	flows "detach and attach ($i)"
	audit "detach and attach ($i)"
done

# ---- both: the kernel serves the sockets
lrpd_pid=$(lrp status --json | jq .pid)
keeper_pid=$(pgrep -x lrp-keeper)
# Stopped first: else one could start the other again between the two signals.
kill -STOP "$lrpd_pid" "$keeper_pid"
wait_for 100 stopped "$lrpd_pid" "$keeper_pid" || fail "lrpd and keeper do not stop"
kill -9 "$lrpd_pid" "$keeper_pid"
wait_for 30 eval '! ip -d link show s0 | grep -q prog/xdp' || fail "program stays when lrpd and keeper are dead"
ip netns exec client ping -c 2 -i 0.2 -W 2 -q 198.18.1.1 >/dev/null || fail "no ping when both are dead"
# (A process with AF_XDP sockets takes a while to die.)
wait_for 100 gone "$lrpd_pid" "$keeper_pid" || fail "a killed process is still there"
pgrep -x 'lrpd|lrp-keeper' >/dev/null && fail "something restarted"
kill $load $load2 $receiver
wait $load $load2 $receiver 2>/dev/null
expect_attach() { lrp attach s0 --frames 16384; }
wait_for 40 expect_attach || fail "attach after both were killed: $(lrp attach s0 2>&1)"
audit "both killed"
lrp stop || fail "stop"
exit $failed

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#
# A lrpd that cannot go on where the last one was: it leaves everything as it is, the keeper does
# not start it for ever, `lrp status` and `lrp stop` are answered without it, packets go on, and one
# that can goes on as if nothing had been.
#
#    client ns ── c0 ════ s0 ── here (7000: a receiver)
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
cd "$top" || exit 1
if [ "${LRP_BED:-}" != 1 ]; then exec tools/testbed/bed.sh "$0" "$@"; fi
. tools/testbed/bed.sh
bed_needs_lrpd
# Programs of our own, to be replaced while they run.
bin=/run/lrp/bin
mkdir -p $bin
cp "${LRP_BUILD:-$top/build}"/bin/{lrp,lrpd,lrp-keeper,lrp-load,sink} $bin
export PATH=$bin:$PATH
failed=0

fail()
{
	echo "FAIL: $*"
	failed=1
}

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

channel() {
	lrp channels --json |
		jq "[.channels[] | select(.local // \"\" | endswith(\":$1\"))][0].$2"
}
keeper() { pgrep -x lrp-keeper; }
kept() { ls -l "/proc/$(keeper)/fd" | sed -n "s/.* \([0-9]*\) -> \/memfd:$1.*/\1/p" | head -n 1; }
state() { echo "/proc/$(keeper)/fd/$(kept lrp-state)"; }
# The version, second word of the state: a lrpd with another one sees what ours sees now.
version() { printf "\\x$1" | dd of="$(state)" bs=1 seek=4 conv=notrunc status=none; }
sums() { cat "$(state)" "/proc/$(keeper)/fd/$(kept lrp-status)" | md5sum; }
held() { ls "/proc/$(keeper)/fd" | wc -l; }
lrpd_gone() { ! pgrep -x lrpd; }

answered() # SECONDS COMMAND...: ends in time, with whatever status
{
	local limit=$1 rc
	shift
	out=$(timeout "$limit" "$@" 2>&1)
	rc=$?
	[ $rc -ne 124 ] || fail "$*: no answer within $limit s"
	return $rc
}

bed_net 2>/dev/null || { fail "test bed"; exit 1; }
lrp attach s0 --frames 4096 >/dev/null || exit 1
sink --system lrp --port 7000 >/run/lrp/sink.out & receiver=$!
wait_for 30 eval '[ "$(channel 7000 active)" = true ]' || fail "the receiver has no channel"
ip netns exec client lrp-load --device c0 --to 198.18.1.1 --port 7000 --rate 20k --seconds 120 \
	>/dev/null 2>&1 & load=$!
wait_for 30 eval '[ "$(channel 7000 packets)" -gt 0 ]' || fail "no load"
first=$(channel 7000 packets)

# ---- a state that the next lrpd does not understand
right=$(printf %02x "$(od -An -tu4 -j4 -N4 "$(state)" | tr -d ' ')")
fds=$(($(held) - 1)) # all but the connection of lrpd
version 63
before=$(sums)
kill -9 "$(pgrep -x lrpd)"
wait_for 50 lrpd_gone || fail "lrpd is there"
sleep 1
keeper_pid=$(keeper)
for i in 1 2 3 4 5; do
	lrpd_gone || fail "it is started again and again"
	sleep 0.2
done
[ "$(sums)" = "$before" ] || fail "state or status page were touched"
[ "$(held)" = "$fds" ] || fail "the keeper holds $(held) descriptors, not $fds"
answered 4 lrp status && fail "status says that all is well"
grep -q 'no lrpd serves' <<<"$out" && grep -q 'state version 99' <<<"$out" || fail "status: $out"
lrpd 2>/run/lrp/err && fail "lrpd with a foreign state starts"
grep -q 'state version 99' /run/lrp/err || fail "lrpd says $(cat /run/lrp/err)"
lrpd --foreground 2>/dev/null
[ $? = 3 ] || fail "status of lrpd is not 3"
[ "$(sums)" = "$before" ] || fail "state or status page were touched"
ip -d link show s0 | grep -q prog/xdp || fail "the program is gone"
answered 8 setpriv --reuid 65534 --clear-groups lrp stop && fail "anybody can stop the keeper"
answered 4 unshare -U -r lrp stop && fail "root of a user namespace can stop the keeper"
[ "$(keeper)" = "$keeper_pid" ] || fail "another keeper"

# ---- back to the one that made it
version "$right"
lrpd || fail "the lrpd that made the state does not start"
[ "$(channel 7000 pid)" = $receiver ] || fail "it does not know the receiver"
second=$(channel 7000 packets)
[ "$second" -gt "$first" ] || fail "no packets meanwhile"
sink --system lrp --port 7100 >/dev/null & other=$!
wait_for 30 eval '[ "$(channel 7100 active)" = true ]' || fail "no channel for a new socket"
kill $other
wait $other 2>/dev/null
sleep 0.5
third=$(channel 7000 packets)
[ "$third" -gt "$second" ] || fail "a new socket has taken the receiver's channel"
lrp status --audit >/dev/null || fail "audit: $(lrp status --audit --json | jq -c .audit)"

# ---- a lrpd that fails at once, each time
mv $bin/lrpd $bin/lrpd.good
printf '#!/bin/sh\necho >>/run/lrp/starts\nexit 1\n' >$bin/lrpd
chmod 755 $bin/lrpd
kill -9 "$(pgrep -x 'lrpd|lrpd.good')"
sleep 4
starts=$(wc -l </run/lrp/starts)
[ "$starts" -ge 3 ] && [ "$starts" -le 8 ] || fail "$starts starts in four seconds"
answered 4 lrp status && fail "status says that all is well"
grep -q 'starts of lrpd failed' <<<"$out" || fail "status: $out"
mv $bin/lrpd.good $bin/lrpd
# By hand, or the keeper's next try.
lrpd 2>/dev/null || wait_for 20 lrp status || fail "no lrpd that works"
[ "$(channel 7000 pid)" = $receiver ] || fail "it does not know the receiver"
[ "$(channel 7000 packets)" -gt "$third" ] || fail "no packets meanwhile"
lrp status --audit >/dev/null || fail "audit: $(lrp status --audit --json | jq -c .audit)"

# ---- the end, without a lrpd
version 63
kill -9 "$(pgrep -x lrpd)"
sleep 1
answered 5 lrp stop || fail "lrp stop: $out"
wait_for 50 eval '! keeper' || fail "the keeper is there after lrp stop"
wait_for 50 eval '! ip -d link show s0 | grep -q prog/xdp' ||
	fail "the program is there after lrp stop"
kill $load $receiver
wait $load $receiver 2>/dev/null
wait_for 50 lrp attach s0 || fail "attach afterwards: $(lrp attach s0 2>&1)"
lrp stop || fail "stop"
exit $failed

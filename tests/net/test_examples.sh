#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#
# The programs of docs/examples do what they say, for clients on the wire, and their packets come
# through channels.
#
#    client ns ── c0 ════ s0 ── here: the example
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

client() { timeout 20 ip netns exec client "$@"; }

# until_true COMMAND...: within ten seconds
until_true()
{
	for _ in $(seq 100); do
		"$@" && return
		sleep 0.1
	done
	fail "not within ten seconds: $*"
}

enqueued() { lrp status --json | jq '[.. | .enqueued? | numbers] | add'; }

# has_channel PORT: an LRP socket on it is being demultiplexed to
has_channel() { lrp channels --json | jq -e ".channels[] | select(.local // \"\" | endswith(\":$1\"))" >/dev/null; }

bed_net 2>/dev/null || { fail "test bed"; exit 1; }

# ---- embedded.c counts datagrams, without lrpd
trap 'rm -f "$out"' EXIT
out=$(mktemp)
stdbuf -o0 example-embedded s0 >"$out" &
pid=$!
received() { [ "$(tr '\r' '\n' <"$out" | tail -n 1)" = "3 datagrams" ]; }
until_true bash -c "ss -Hlun sport = :7000 | grep -q 7000"
client bash -c 'for i in 1 2 3; do echo x >/dev/udp/198.18.1.1/7000; done'
until_true received
kill -9 $pid
wait $pid 2>/dev/null

lrp attach s0 >/dev/null || fail "lrp attach s0"

# ---- echo.c, IPv4 and IPv6
example-echo 7007 &
pid=$!
until_true has_channel 7007
before=$(enqueued)
for host in 198.18.1.1 2001:db8:1::1; do
	got=$(client bash -c "exec 3<>/dev/udp/$host/7007; echo over $host >&3; head -n 1 <&3")
	[ "$got" = "over $host" ] || fail "echo: '$got' from $host"
done
[ "$(enqueued)" -ge $((before + 2)) ] || fail "echo: not through a channel"
kill $pid
wait $pid 2>/dev/null

# ---- raw_channel.c
example-raw_channel 7008 2 >"$out" &
pid=$!
until_true has_channel 7008
client bash -c 'echo one >/dev/udp/198.18.1.1/7008; echo two >/dev/udp/2001:db8:1::1/7008'
until_true bash -c "! kill -0 $pid 2>/dev/null"
[ "$(wc -l <"$out")" -ge 2 ] || fail "raw_channel: $(cat "$out")"
kill $pid 2>/dev/null
wait $pid 2>/dev/null

# ---- tcp_echo.c: several clients at once, each a quarter of a megabyte
example-tcp_echo 7009 &
pid=$!
until_true has_channel 7009
before=$(enqueued)
clients=()
for i in 1 2 3 4; do
	host=198.18.1.1
	[ $((i % 2)) = 0 ] && host=2001:db8:1::1
	client bash -c "
		exec 3<>/dev/tcp/$host/7009
		seq -f '$i %060.0f' 4000 >&3 &
		cmp <(seq -f '$i %060.0f' 4000) <(head -c \$(seq -f '$i %060.0f' 4000 | wc -c) <&3)" &
	clients+=($!)
done
for c in "${clients[@]}"; do
	wait "$c" || fail "tcp_echo: a client did not get back what it sent"
done
[ "$(enqueued)" -gt $((before + 100)) ] || fail "tcp_echo: not through a channel"
kill $pid
wait $pid 2>/dev/null

lrp stop >/dev/null || fail "lrp stop"
exit $failed

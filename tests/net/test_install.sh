#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#
# make install ends in a system that runs, and make uninstall leaves nothing. In a DESTDIR, and in
# a /usr/local and an /etc of this test's own.
#
#    client ns ── c0 ════ s0 ── here: docs/examples/echo.c, built against what was installed
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
cd "$top" || exit 1
if [ "${LRP_BED:-}" != 1 ]; then exec tools/testbed/bed.sh "$0" "$@"; fi
. tools/testbed/bed.sh
bed_needs_lrpd
unset MAKEFLAGS MAKELEVEL MFLAGS DESTDIR PREFIX
failed=0

fail()
{
	echo "FAIL: $*"
	failed=1
}

until_true() # COMMAND...: within ten seconds
{
	for _ in $(seq 100); do
		"$@" >/dev/null 2>&1 && return
		sleep 0.1
	done
	fail "not within ten seconds: $*"
}

nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }

has_channel() {
	lrp channels --json | jq -e ".channels[] | select(.local // \"\" | endswith(\":$1\"))"
}

files() { (cd "$1" && find . ! -type d | sort); }

# echo_works MODE: a client on the wire gets back what it sends, by a channel
echo_works()
{
	local pid got

	setpriv --reuid 65534 --regid 65534 --clear-groups /mnt/echo 7007 &
	pid=$!
	until_true has_channel 7007
	got=$(timeout 20 ip netns exec client bash -c \
		'exec 3<>/dev/udp/198.18.1.1/7007; echo over the wire >&3; head -n 1 <&3')
	[ "$got" = "over the wire" ] || fail "$1: echo: '$got'"
	lrp channels --json |
		jq -e '[.channels[] | select(.local // "" | endswith(":7007")) | .packets] | add > 0' \
		>/dev/null || fail "$1: not by a channel"
	kill $pid
	wait $pid 2>/dev/null
}

# embedded_works PROGRAM: counts a datagram that a client on the wire sends
embedded_works()
{
	local pid

	stdbuf -o0 "/mnt/$1" s0 >"/mnt/$1.out" 2>&1 &
	pid=$!
	until_true sh -c 'ss -Hlun sport = :7000 | grep -q 7000'
	ip netns exec client bash -c 'echo one >/dev/udp/198.18.1.1/7000'
	until_true grep -q '1 datagrams' "/mnt/$1.out"
	kill $pid
	wait $pid 2>/dev/null
}

mount -t tmpfs tmpfs /mnt # what this test makes goes with it

# ---- what is missing is named; nothing is, for an ordinary user
mkdir -p /mnt/tree/tools
cp Makefile /mnt/tree
cp tools/deps.sh /mnt/tree/tools
out=$(nobody /mnt/tree/tools/deps.sh no-such-package=x:no-such-program 2>&1) &&
	fail "deps.sh finds no-such-program"
grep -q 'sudo apt-get install no-such-package$' <<<"$out" || fail "deps.sh: $out"
out=$(nobody make --no-print-directory -s -C /mnt/tree deps 2>&1) ||
	fail "make deps as nobody: $out"
out=$(nobody make --no-print-directory -s -C /mnt/tree deps CLANG=clang-99 2>&1) &&
	fail "make finds clang-99"
grep -q 'clang-99' <<<"$out" || fail "make CLANG=clang-99: $out"

# ---- into a DESTDIR: nothing outside
bed_net 2>/dev/null || { fail "test bed"; exit 1; }
mount -t tmpfs tmpfs /usr/local
cp -a /etc /mnt/etc
mount --bind /mnt/etc /etc
mkdir -p /var/cache/ldconfig
mount -t tmpfs tmpfs /var/cache/ldconfig
mkdir -p /usr/local/lib
groups=$(cat /etc/group)
out=$(make --no-print-directory -s install DESTDIR=/mnt/dest PREFIX=/usr 2>&1) ||
	fail "make install DESTDIR: $out"
for f in usr/sbin/lrp usr/sbin/lrpd usr/sbin/lrp-keeper usr/lib/liblrp.so.0 usr/lib/liblrp.a \
	usr/lib/liblrp-embed.so.0 usr/lib/liblrp-embed.a \
	usr/lib/pkgconfig/lrp.pc usr/lib/pkgconfig/lrp-embed.pc \
	usr/include/lrp/lrp.h usr/lib/systemd/system/lrpd.service; do
	[ -e /mnt/dest/$f ] || fail "DESTDIR: no $f"
done
[ "$(cat /etc/group)" = "$groups" ] || fail "DESTDIR: a group was made"
[ -z "$(files /usr/local)" ] || fail "DESTDIR: files in /usr/local"
make --no-print-directory -s uninstall DESTDIR=/mnt/dest PREFIX=/usr >/dev/null ||
	fail "uninstall DESTDIR"
[ -z "$(files /mnt/dest)" ] || fail "uninstall DESTDIR leaves $(files /mnt/dest)"

# ---- into /usr/local
out=$(make --no-print-directory -s install 2>&1) || fail "make install: $out"
getent group lrp >/dev/null || fail "no group lrp"
ldconfig -p | grep -q liblrp.so.0 || fail "the linker does not know liblrp.so.0"
for program in /usr/local/sbin/* /usr/local/bin/*; do
	ls /usr/local/share/man/man*/"$(basename "$program")".[1-8] >/dev/null 2>&1 ||
		fail "no manual page of $program"
done
for f in /usr/local/sbin/lrpd /usr/local/sbin/lrp-keeper /usr/local/lib/liblrp{,-embed}.so.0; do
	readelf -Wd "$f" | grep -Eq 'BIND_NOW|FLAGS.* NOW' || fail "$f is not linked with -z now"
	readelf -Wl "$f" | grep -q GNU_RELRO || fail "$f has no RELRO"
	readelf -Wh "$f" | grep -q 'Type: *DYN' || fail "$f is not position-independent"
	readelf -Ws "$f" | grep -q __stack_chk_fail || fail "$f has no stack protector"
done
hash -r
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# shellcheck disable=SC2046
out=$(gcc -Wall -Werror -o /mnt/echo docs/examples/echo.c $(pkg-config --cflags --libs lrp) 2>&1) ||
	fail "building against it: $out"
for example in docs/examples/*.c; do
	out=$(gcc -Wall -Werror -c -o /dev/null "$example" $(pkg-config --cflags lrp) 2>&1) ||
		fail "$example: $out"
done
ldd /mnt/echo | grep -q '/usr/local/lib/liblrp.so.0' || fail "echo: $(ldd /mnt/echo)"
others=$(ldd /mnt/echo | grep -v 'linux-vdso\|ld-linux\|liblrp\.so\|libmnl\.so\|libc\.so')
[ -z "$others" ] || fail "a program with -llrp needs more than libc and libmnl: $others"

# ---- the embedded mode: liblrp opens its library, or the program is linked with it
# shellcheck disable=SC2046
out=$(gcc -o /mnt/opens docs/examples/embedded.c $(pkg-config --cflags --libs lrp) 2>&1 &&
	gcc -o /mnt/linked docs/examples/embedded.c $(pkg-config --cflags --libs lrp-embed) 2>&1 &&
	gcc -o /mnt/static docs/examples/embedded.c $(pkg-config --cflags --libs --static lrp-embed |
		sed 's/-llrp\(-embed\)\?\b/-l:liblrp\1.a/g') 2>&1) ||
	fail "building the embedded example: $out"
ldd /mnt/opens | grep -q liblrp-embed && fail "opens: $(ldd /mnt/opens)"
ldd /mnt/linked | grep -q liblrp-embed || fail "linked: $(ldd /mnt/linked)"
ldd /mnt/static | grep -q liblrp && fail "static: $(ldd /mnt/static)"
for program in opens linked static; do
	embedded_works $program
done
mv /usr/local/lib/liblrp-embed.so.0 /mnt/away
out=$(/mnt/opens s0 2>&1) && fail "opens: works without liblrp-embed.so"
grep -q 'liblrp-embed.so.0' <<<"$out" || fail "opens, without liblrp-embed.so: $out"
mv /mnt/away /usr/local/lib/liblrp-embed.so.0
lrp attach s0 --frames 4096 >/dev/null || fail "lrp attach s0"
# An ordinary user has no sbin in PATH.
nobody env PATH=/usr/local/bin:/usr/bin:/bin lrp status >/dev/null ||
	fail "lrp status of an ordinary user"
echo_works "started by lrp attach"
lrp stop >/dev/null || fail "lrp stop"

# ---- as the unit starts it: with its capabilities, and no new privileges
caps=$(sed -n 's/^CapabilityBoundingSet=//p' /usr/local/lib/systemd/system/lrpd.service |
	tr 'A-Z' 'a-z' | sed 's/cap_/+/g; s/ /,/g')
grep -q 'ExecStart=/usr/local/sbin/lrpd --foreground' /usr/local/lib/systemd/system/lrpd.service ||
	fail "ExecStart"
setpriv --bounding-set "-all,$caps" --inh-caps=-all --no-new-privs lrpd --foreground &
daemon=$!
until_true lrp status
lrp attach s0 --frames 4096 >/dev/null || fail "lrp attach s0 with the unit's capabilities"
echo_works "with the unit's capabilities"
lrp stop >/dev/null || fail "lrp stop"
wait $daemon
if command -v systemd-analyze >/dev/null; then
	out=$(systemd-analyze verify --man=no /usr/local/lib/systemd/system/lrpd.service 2>&1 |
		grep lrpd.service)
	[ -z "$out" ] || fail "systemd-analyze verify: $out"
fi

# ---- and away
make --no-print-directory -s uninstall >/dev/null || fail "make uninstall"
[ -z "$(files /usr/local)" ] || fail "uninstall leaves $(files /usr/local)"
[ -d /usr/local/include/lrp ] && fail "uninstall leaves include/lrp"
getent group lrp >/dev/null && fail "uninstall leaves the group"
ldconfig -p | grep -q liblrp && fail "uninstall leaves liblrp in the linker's cache"
exit $failed

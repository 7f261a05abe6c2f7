#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#
# deps.sh PACKAGE=WHAT...: names the Debian packages that are missing and installs them, as root and
# where there is apt-get. WHAT shows that a package is there:
#
#   x:NAME    a program
#   c:HEADER  a header that CC finds
#   r:NAME    a file of CLANG's runtime; % in PACKAGE is CLANG's version
#   f:PATH    a file
set -u
PATH=$PATH:/usr/sbin:/sbin
log=${TMPDIR:-/tmp}/lrp-deps.log

have()
{
	case $1 in
	x:*) command -v "${1#x:}" >/dev/null ;;
	c:*) echo "#include <${1#c:}>" | ${CC:-gcc} -E -o /dev/null - 2>/dev/null ;;
	r:*) compgen -G "$(${CLANG:-clang} -print-runtime-dir 2>/dev/null)/${1#r:}*" >/dev/null ;;
	f:*) [ -e "${1#f:}" ] ;;
	esac
}

# find PACKAGE=WHAT...: in $missing what is not there
find()
{
	missing=()
	for entry in "$@"; do
		have "${entry#*=}" || missing+=("${entry%%=*}")
	done
}

install()
{
	[ ${#missing[@]} -gt 0 ] || return 0
	if ! command -v apt-get >/dev/null; then
		echo "missing, by the names of Debian's packages: ${missing[*]}" >&2
		exit 1
	fi
	if [ "$(id -u)" != 0 ]; then
		echo "missing; run: sudo apt-get install ${missing[*]}" >&2
		exit 1
	fi
	echo "Installing from Debian's packages: ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq &&
		apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$log" 2>&1 ||
		{ tail -n 20 "$log" >&2; exit 1; }
}

first=() then=()
for entry in "$@"; do
	case $entry in
	*=r:*) then+=("$entry") ;;
	*) first+=("$entry") ;;
	esac
done
find "${first[@]}"
install
# Only now is there a clang to ask.
version=$(${CLANG:-clang} -dumpversion 2>/dev/null)
find "${then[@]/\%/${version%%.*}}"
install

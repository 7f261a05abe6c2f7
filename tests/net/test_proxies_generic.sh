#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#
# Normal life with the proxies arp, icmp and forward on, in generic mode.
set -u
. "$(dirname "$0")/proxies.sh"
. tests/net/proxies_life.sh
proxies_begin skb
lrp proxies on arp icmp forward || fail "proxies on"
life arp icmp forward
clean_end
exit $failed

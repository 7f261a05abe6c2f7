# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#
# proxies_life.sh - normal life with proxies on, by the tools that people use. Sourced by
# test_proxies_native.sh and test_proxies_generic.sh.

tools nft arping ping traceroute tracepath radvd udhcpd udhcpc tcpdump

snmp() { # IP-family-file FIELD-NAME, of this namespace
	nstat -asz "$1" 2>/dev/null | awk -v name="$1" '$1 == name { print $2 }'
}

rx() { cat "/sys/class/net/$1/statistics/rx_packets"; }

life_arp()
{
	through arp client arping -q -c 2 -w 3 -I c0 198.18.1.1
	ip neigh flush dev s0
	# The answer to our own question.
	through arp ping -q -c 1 -W 2 198.18.1.2
	through arp arping -q -c 2 -w 3 -I s0 198.18.1.2
	# The neighbour has another MAC and says so.
	client ip link set c0 address 02:00:00:00:00:77
	through arp client arping -q -U -c 1 -I c0 198.18.1.2
	wait_for 10 eval 'ip neigh show 198.18.1.2 | grep -q 02:00:00:00:00:77' ||
		fail "gratuitous ARP: $(ip neigh show 198.18.1.2)"
}

life_ping()
{
	through icmp client ping -q -c 2 -i 0.2 -W 2 198.18.1.1
	through icmp client ping -q -c 2 -i 0.2 -W 2 2001:db8:1::1
	through icmp ping -q -c 2 -i 0.2 -W 2 198.18.1.2
	through icmp ping -q -c 2 -i 0.2 -W 2 2001:db8:1::2
	through icmp client ping -q -c 2 -i 0.2 -W 2 -s 1400 198.18.1.1
	ip -6 neigh flush dev s0
	through icmp ping -q -c 1 -W 2 2001:db8:1::2
}

# Each packet is counted once: by the device, by IP, by ICMP, and by whoever listens.
life_count()
{
	local echoes received device seen
	# A short snapshot: the ring has room for as many packets as come.
	tcpdump -i s0 -n -s 96 -B 4096 --immediate-mode -l 'icmp[0] == 8' >"$work/dump" 2>"$work/dump.said" &
	started+=($!)
	wait_for 50 grep -q 'listening on' "$work/dump.said" || fail "tcpdump: $(cat "$work/dump.said")"
	echoes=$(snmp IcmpInEchos) device=$(rx s0) received=$(snmp IpInReceives)
	through icmp client ping -q -f -c 200 -W 2 198.18.1.1
	echoes=$(($(snmp IcmpInEchos) - echoes))
	received=$(($(snmp IpInReceives) - received))
	device=$(($(rx s0) - device))
	[ "$echoes" = 200 ] || fail "200 echo requests, ICMP counts $echoes"
	[ "$received" -ge 200 ] && [ "$received" -le 205 ] || fail "200 packets, IP counts $received"
	[ "$device" -ge 200 ] && [ "$device" -le 205 ] || fail "200 packets, the device counts $device"
	wait_for 20 eval "[ \$(wc -l <$work/dump) -ge 200 ]"
	seen=$(wc -l <"$work/dump")
	[ "$seen" = 200 ] || fail "200 echo requests, tcpdump saw $seen"
}

life_forward()
{
	local out errors
	through forward client ping -q -c 2 -i 0.2 -W 2 198.18.2.2
	through forward client ping -q -c 2 -i 0.2 -W 2 2001:db8:2::2
	through forward client traceroute -n -q 1 -w 2 -m 3 198.18.2.2
	out=$(client traceroute -n -q 1 -w 2 -m 3 198.18.2.2)
	grep -Eq '^ 1  198.18.1.1 ' <<<"$out" && grep -Eq '^ 2  198.18.2.2 ' <<<"$out" ||
		fail "traceroute: $out"
	# Checksums that the sender has left to the device: a closed port answers only if they are right.
	errors=$(blaster nstat -asz UdpInCsumErrors TcpInCsumErrors 2>/dev/null | awk '!/^#/ { n += $2 } END { print n + 0 }')
	through forward client bash -c 'for i in 1 2 3 4; do echo "number $i" >/dev/udp/198.18.2.2/9; sleep 0.02; done'
	out=$(client timeout 3 bash -c 'echo x >/dev/tcp/198.18.2.2/9' 2>&1)
	grep -q refused <<<"$out" || fail "TCP to a closed port behind the gateway: $out"
	[ "$(blaster nstat -asz UdpInCsumErrors TcpInCsumErrors 2>/dev/null | awk '!/^#/ { n += $2 } END { print n + 0 }')" = "$errors" ] ||
		fail "forwarded packets had wrong checksums"
	out=$(blaster nstat -asz UdpNoPorts 2>/dev/null | awk '$1 == "UdpNoPorts" { print $2 }')
	[ "${out:-0}" -ge 4 ] || fail "of 4 datagrams to a closed port ${out:-0} arrived"
	# Filters see what is forwarded.
	nft 'table inet proxies {
		chain forward { type filter hook forward priority 0; ip daddr 198.18.2.2 drop; }
	}' || fail "nft"
	client ping -q -c 1 -W 0.5 198.18.2.2 >/dev/null && fail "netfilter does not see it"
	nft delete table inet proxies
}

# The gateway's other side is narrower; and somebody tells us that his is.
life_pmtu()
{
	local out
	ip link set s1 mtu 1300
	out=$(client tracepath -n -m 3 198.18.2.2)
	grep -q 'pmtu 1300' <<<"$out" || fail "tracepath: $out"
	ip link set s1 mtu 1500
	ip -n client link add n0 mtu 1200 type veth peer name n1
	ip -n client addr add 198.18.9.1/24 dev n0
	ip -n client link set n0 up
	ip -n client link set n1 up
	client sysctl -qw net.ipv4.ip_forward=1
	ip route add 198.18.9.0/24 via 198.18.1.2
	through icmp bash -c '! ping -q -c 1 -W 1 -M do -s 1400 198.18.9.2'
	ip route get 198.18.9.2 | grep -q 'mtu 1200' ||
		fail "path MTU: $(ip route get 198.18.9.2)"
	ip route del 198.18.9.0/24
}

advertised()
{
	client radvd -n -C "$work/radvd.conf" -p "$work/radvd.pid" >/dev/null 2>&1 &
	echo $! >"$work/radvd"
	wait_for 60 has_address
}

address_is_taken()
{
	ip addr add 2001:db8:1::2/64 dev s0
	wait_for 30 eval 'ip -6 addr show dev s0 | grep -q "2001:db8:1::2.*dadfailed"'
}

life_ipv6()
{
	cat >"$work/radvd.conf" <<-END
		interface c0 {
			AdvSendAdvert on;
			MinRtrAdvInterval 3;
			MaxRtrAdvInterval 4;
			prefix 2001:db8:77::/64 { };
		};
	END
	sysctl -qw net.ipv6.conf.s0.accept_ra=2 net.ipv6.conf.s0.autoconf=1
	client sysctl -qw net.ipv6.conf.all.forwarding=1
	has_address() { ip -6 addr show dev s0 | grep -q '2001:db8:77:.*global'; }
	through icmp advertised
	started+=("$(cat "$work/radvd")")
	# The address is the client's: its answer must come through.
	sysctl -qw net.ipv6.conf.s0.accept_dad=1
	through icmp address_is_taken
	ip addr del 2001:db8:1::2/64 dev s0
}

asked_for_groups()
{
	ip -n client link set br0 type bridge mcast_querier 0
	ip -n client link set br0 type bridge mcast_querier 1
	wait_for 50 eval 'bridge -n client mdb show | grep -q "grp 239.1.2.3"'
}

# A snooping switch with a querier learns of our group by the answer to its question.
life_igmp()
{
	ip addr add 239.1.2.3/32 dev s0 autojoin
	if ! ip -n client link add br0 type bridge mcast_querier 1 2>/dev/null; then
		echo "no bridge on this kernel: IGMP left out"
		ip addr del 239.1.2.3/32 dev s0
		return
	fi
	ip -n client link set c0 master br0
	ip -n client link set br0 up
	ip -n client addr add 198.18.1.3/24 dev br0
	ip -n client link set br0 type bridge mcast_query_use_ifaddr 1 2>/dev/null
	# The reports of our joining are over: ask, and want the answer within a second.
	ip -n client link set br0 type bridge mcast_query_response_interval 100
	through icmp asked_for_groups
	ip addr del 239.1.2.3/32 dev s0
	ip -n client link del br0
}

life_dhcp()
{
	cat >"$work/udhcpd.conf" <<-END
		start 198.18.1.100
		end 198.18.1.110
		interface c0
		lease_file $work/leases
		pidfile $work/udhcpd.pid
		option subnet 255.255.255.0
	END
	: >"$work/leases"
	client udhcpd -f "$work/udhcpd.conf" >/dev/null 2>&1 &
	started+=($!)
	sleep 0.3
	timeout 8 udhcpc -i s0 -n -q -f -t 3 -T 1 -s /bin/true >"$work/dhcp" 2>&1 ||
		fail "udhcpc: $(cat "$work/dhcp")"
}

life() # KIND...
{
	all_serve "$@"
	life_arp
	life_ping
	life_count
	life_forward
	life_pmtu
	life_dhcp
	life_ipv6
	life_igmp
	lrp status --audit >/dev/null || fail "audit: $(lrp status --audit | tail -n 3)"
	grep -v 'started (pid' "$work/log" && fail "lrpd's log has lines"
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What lrp_tx_send_tcp() puts on the wire, read there by the receiving side's own parsers, which
 * check every length and checksum: over the packet socket, and over the raw socket that stands in
 * while nothing is known of the way. Without privilege: test_tx_tap.c.
 */
#include "tx_tcp.h"

#define MSS4 1448u

enum way { PACKET, RAW };

/* The frames from *at on are the segments of `tx`. */
static void expect_segments(const struct frames *frames, uint32_t *at,
			    const struct lrp_tcp_flow *flow, const struct lrp_tcp_tx *tx,
			    uint8_t tos)
{
	uint32_t step = tx->mss ? tx->mss : tx->payload_len, offset = 0;

	do {
		uint32_t len = tx->payload_len - offset < step ? tx->payload_len - offset : step;
		uint8_t flags = tx->flags;
		struct lrp_packet p;
		struct lrp_tcp_segment s = parse(frames, (*at)++, &p);

		if (offset)
			flags &= (uint8_t)~LRP_TCP_CWR;
		if (offset + len < tx->payload_len)
			flags &= (uint8_t) ~(LRP_TCP_PSH | LRP_TCP_FIN);
		assert_int_equal(s.flags, flags);
		assert_int_equal(s.seq, tx->seq + offset);
		assert_int_equal(s.ack, tx->ack);
		assert_int_equal(s.window, tx->window);
		assert_int_equal(s.len, len);
		assert_int_equal(s.ts_val, 0x11223344);
		assert_int_equal(s.ts_ecr, 0x55667788);
		assert_memory_equal(s.payload, stream + offset, len);
		assert_int_equal(p.tos, tos | tx->ecn);
		assert_int_equal(p.sport, flow->lport);
		assert_memory_equal(&p.src, &flow->laddr, flow->family == AF_INET ? 4 : 16);
		assert_memory_equal(&p.dst, &flow->raddr, flow->family == AF_INET ? 4 : 16);
		if (flow->family == AF_INET)
			assert_int_equal(p.frame[14 + 6] & 0xe0, 0x40); /* DF */
		else
			assert_true(p.flow_label & htonl(0xfffff));
		offset += len;
	} while (offset < tx->payload_len);
}

static void send_and_expect(enum way way, struct lrp_tx_dest *dest, const struct lrp_tx_tcp *how,
			    const struct lrp_tcp_tx *tx, uint32_t count)
{
	struct frames frames;
	uint32_t at = 0;

	if (way == PACKET)
		warm(dest, how);
	capture_drop(capture);
	assert_int_equal(lrp_tx_send_tcp(way == PACKET ? dest : NULL, how, tx, count, 0), count);
	usleep(2000);
	capture_take(capture, &frames, 200);
	for (uint32_t i = 0; i < count; i++)
		expect_segments(&frames, &at, how->flow, &tx[i], how->tos & 0xfc);
	assert_int_equal(frames.count, at);
	frames_free(&frames);
}

static void for_each_way(void (*test)(enum way way, int family))
{
	for (int f = 0; f < 2; f++)
		for (enum way way = PACKET; way <= RAW; way++)
			test(way, f ? AF_INET6 : AF_INET);
}

static uint16_t mss_of(int family)
{
	return (uint16_t)(family == AF_INET ? MSS4 : MSS4 - 20);
}

static void single(enum way way, int family)
{
	static const uint32_t sizes[] = {0,   1,   2,	 3,    127,  128, 129,
					 130, 500, 1000, 1427, 1428, 1448};
	struct lrp_tcp_flow flow = flow_of(family);
	struct lrp_tx_tcp how = {.flow = &flow, .tos = 0x2b};
	struct lrp_tx_dest dest = {0};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]) && sizes[i] <= mss_of(family);
	     i++) {
		struct lrp_tcp_tx tx = segment(LRP_TCP_ACK | LRP_TCP_PSH, sizes[i], mss_of(family));

		tx.ecn = 2;
		send_and_expect(way, &dest, &how, &tx, 1);
	}
}

static void test_single_segments(void **state)
{
	(void)state;
	for_each_way(single);
}

static void runs(enum way way, int family)
{
	struct lrp_tcp_flow flow = flow_of(family);
	struct lrp_tx_tcp how = {.flow = &flow};
	struct lrp_tx_dest dest = {0};
	uint32_t mss = mss_of(family);

	for (uint32_t segments = 2; segments <= 44; segments += 7)
		for (uint32_t last = 1; last <= mss; last += mss - 1) {
			struct lrp_tcp_tx tx =
				segment(LRP_TCP_ACK | LRP_TCP_PSH | LRP_TCP_FIN | LRP_TCP_CWR,
					(segments - 1) * mss + last, (uint16_t)mss);

			tx.ecn = 2;
			send_and_expect(way, &dest, &how, &tx, 1);
		}
}

/* Cut up on the way: PSH and FIN on the last, CWR on the first, options on each. */
static void test_runs(void **state)
{
	(void)state;
	for_each_way(runs);
}

static void many(enum way way, int family)
{
	struct lrp_tcp_flow flow = flow_of(family);
	struct lrp_tx_tcp how = {.flow = &flow};
	struct lrp_tx_dest dest = {0};
	struct lrp_tcp_tx tx[40];

	for (uint32_t i = 0; i < 40; i++) {
		tx[i] = segment(LRP_TCP_ACK, i % 3 ? 200 * i % 1400 : 3u * mss_of(family),
				mss_of(family));
		tx[i].seq += i;
	}
	send_and_expect(way, &dest, &how, tx, 40);
}

static void test_many_at_once(void **state)
{
	(void)state;
	for_each_way(many);
}

/* ---- the way ----------------------------------------------------------------------- */

static void no_neighbours(void)
{
	bed_sh("ip neigh flush dev s0 && ip neigh flush all; ip -6 neigh flush dev s0");
	bed_sh("ip neigh del 198.18.1.2 dev s0 2>/dev/null; ip neigh del 2001:db8:1::2 dev s0 "
	       "2>/dev/null; true");
	epoch++;
}

/* The kernel resolves the neighbour and keeps the SYN until then; without memory (a stranger) as
 * well. */
static void unresolved(enum way way, int family)
{
	struct lrp_tcp_flow flow = flow_of(family);
	struct lrp_tx_tcp how = {.flow = &flow};
	struct lrp_tx_dest dest = {0};
	struct lrp_tcp_tx tx = segment(LRP_TCP_SYN, 0, 0);
	struct frames frames;
	uint32_t at = 0;

	no_neighbours();
	capture_drop(capture);
	assert_int_equal(lrp_tx_send_tcp(way == RAW ? NULL : &dest, &how, &tx, 1, MSG_DONTWAIT), 1);
	capture_take(capture, &frames, 2000);
	expect_segments(&frames, &at, &flow, &tx, 0);
	frames_free(&frames);
}

static void test_unresolved_neighbour(void **state)
{
	(void)state;
	for_each_way(unresolved);
}

/* A connection's whole beginning goes out in order, though the neighbour is resolved in the middle
 * of it. */
static void in_order(enum way way, int family)
{
	struct lrp_tcp_flow flow = flow_of(family);
	struct lrp_tx_tcp how = {.flow = &flow};
	struct lrp_tx_dest dest = {0};
	struct frames frames;

	if (way == RAW)
		return;
	no_neighbours();
	capture_drop(capture);
	for (uint32_t i = 0; i < 100; i++) {
		struct lrp_tcp_tx tx = segment(LRP_TCP_ACK, 10, 0);

		tx.seq = i;
		assert_int_equal(lrp_tx_send_tcp(&dest, &how, &tx, 1, 0), 1);
		usleep(i > 20 ? 1000 : 0);
	}
	assert_true(dest.ifindex > 0);
	capture_take(capture, &frames, 1000);
	assert_int_equal(frames.count, 100);
	for (uint32_t i = 0; i < 100; i++) {
		struct lrp_packet p;

		assert_int_equal(parse(&frames, i, &p).seq, i);
	}
	frames_free(&frames);
}

static void test_order_while_resolving(void **state)
{
	(void)state;
	bed_sh("sysctl -qw net.ipv4.neigh.s0.unres_qlen_bytes=1000000 "
	       "net.ipv6.neigh.s0.unres_qlen_bytes=1000000");
	for_each_way(in_order);
}

/* The device that its scope names, on either way. */
static void test_link_local(void **state)
{
	struct lrp_tcp_flow flow = flow_to(AF_INET6, "fe80::5:2");
	struct lrp_tx_tcp how = {.flow = &flow, .oif = if_nametoindex("s0")};
	struct lrp_tcp_tx tx = segment(LRP_TCP_ACK, 500, 0);
	struct lrp_tx_dest dest = {0};

	(void)state;
	bed_sh("ip addr add fe80::5:1/64 dev s0 nodad && "
	       "ip -n client addr add fe80::5:2/64 dev c0 nodad");
	flow.laddr = address(AF_INET6, "fe80::5:1");
	send_and_expect(RAW, NULL, &how, &tx, 1);
	send_and_expect(PACKET, &dest, &how, &tx, 1);
	assert_int_equal(dest.ifindex, how.oif);
}

/* Nobody is there: the kernel gives up after its time, and the caller's timers go on. */
static void test_nobody_there(void **state)
{
	struct lrp_tcp_flow flow = flow_to(AF_INET, "198.18.1.77");
	struct lrp_tx_tcp how = {.flow = &flow};
	struct lrp_tx_dest dest = {0};
	struct lrp_tcp_tx tx = segment(LRP_TCP_SYN, 0, 0);

	(void)state;
	for (int i = 0; i < 5; i++) {
		int n = lrp_tx_send_tcp(&dest, &how, &tx, 1, MSG_DONTWAIT);

		assert_true(n == 1 || n == -EHOSTUNREACH);
		assert_int_equal(dest.ifindex, 0);
		usleep(10000);
	}
}

/* Sends for some seconds, or until the neighbour is asked; true if it was. */
static bool probed_while_sending(int flags, uint32_t seconds)
{
	struct lrp_tcp_flow flow = flow_of(AF_INET);
	struct lrp_tx_tcp how = {.flow = &flow};
	struct lrp_tcp_tx tx = segment(LRP_TCP_ACK, 10, 0);
	int arp = socket_in("client", AF_PACKET, SOCK_RAW, htons(ETH_P_ARP));
	struct lrp_tx_dest dest = {0};
	uint8_t buf[64];
	bool asked = false;

	no_neighbours();
	bed_sh("ping -c1 -W1 198.18.1.2 >/dev/null");
	warm(&dest, &how);
	while (recv(arp, buf, sizeof(buf), MSG_DONTWAIT) > 0)
		;
	for (uint32_t i = 0; i < 10 * seconds && !asked; i++) {
		ssize_t n;

		assert_int_equal(lrp_tx_send_tcp(&dest, &how, &tx, 1, flags), 1);
		usleep(100000);
		while ((n = recv(arp, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
			asked |= n >= 22 && buf[21] == 1 && !memcmp(buf + 28, &flow.laddr, 4);
	}
	close(arp);
	/* Reachable, or just being asked: never left to itself. */
	bed_sh("ip neigh show 198.18.1.2 dev s0 | grep -q 'REACHABLE\\|DELAY\\|PROBE'");
	capture_drop(capture);
	return asked;
}

static void test_neighbour_confirmed(void **state)
{
	(void)state;
	/* An entry lives for 1.5 to 4.5 seconds by itself, and a second more when it is used. */
	bed_sh("sysctl -qw net.ipv4.neigh.s0.base_reachable_time_ms=3000 "
	       "net.ipv4.neigh.s0.delay_first_probe_time=1");
	/* Progress is confirmation: nobody has to be asked. */
	assert_false(probed_while_sending(MSG_CONFIRM, 7));
	/* Without it the kernel asks. */
	assert_true(probed_while_sending(0, 12));
	bed_sh("sysctl -qw net.ipv4.neigh.s0.base_reachable_time_ms=30000 "
	       "net.ipv4.neigh.s0.delay_first_probe_time=5");
}

static void too_long(enum way way, int family)
{
	struct lrp_tcp_flow flow = flow_of(family);
	struct lrp_tx_tcp how = {.flow = &flow};
	struct lrp_tx_dest dest = {0};
	uint16_t mss = (uint16_t)(1300 - (1500 - mss_of(family)));
	struct lrp_tcp_tx fits = segment(LRP_TCP_ACK, 5u * mss, mss),
			  one = segment(LRP_TCP_ACK, mss + 1u, 0);
	struct lrp_tcp_tx run = segment(LRP_TCP_ACK, 5u * mss, (uint16_t)(mss + 1));
	struct lrp_tx_path path;

	bed_sh(family == AF_INET ? "ip route add 198.18.1.2/32 dev s0 mtu 1300"
				 : "ip route add 2001:db8:1::2/128 dev s0 mtu 1300");
	epoch++;
	assert_int_equal(lrp_tx_tcp_path(&how, &path), 0);
	assert_int_equal(path.mtu, 1300);
	if (way == PACKET)
		warm(&dest, &how);
	assert_int_equal(lrp_tx_send_tcp(&dest, &how, &one, 1, 0), -EMSGSIZE);
	assert_int_equal(dest.mtu, 1300);
	if (way == RAW)
		memset(&dest, 0, sizeof(dest));
	assert_int_equal(lrp_tx_send_tcp(&dest, &how, &run, 1, 0), -EMSGSIZE);
	assert_int_equal(dest.mtu, 1300);
	send_and_expect(way, &dest, &how, &fits, 1);
	bed_sh(family == AF_INET ? "ip route del 198.18.1.2/32 dev s0"
				 : "ip route del 2001:db8:1::2/128 dev s0");
	epoch++;
}

static void test_path_mtu(void **state)
{
	struct lrp_tcp_flow flow = flow_of(AF_INET);
	struct lrp_tx_tcp how = {.flow = &flow};
	struct lrp_tcp_tx tx = segment(LRP_TCP_ACK, LRP_TX_RUN_MAX + 1, 1000);

	(void)state;
	for_each_way(too_long);
	assert_int_equal(lrp_tx_send_tcp(NULL, &how, &tx, 1, 0), -EINVAL);
}

static int path_to(int family, const char *dst, bool bound, struct lrp_tx_path *path)
{
	struct lrp_tcp_flow flow = flow_to(family, dst);
	struct lrp_tx_tcp how = {.flow = &flow};

	if (!bound)
		memset(&flow.laddr, 0, sizeof(flow.laddr));
	return lrp_tx_tcp_path(&how, path);
}

static void test_path(void **state)
{
	union lrp_address four = address(AF_INET, "198.18.2.1"),
			  six = address(AF_INET6, "2001:db8:2::1");
	struct lrp_tx_path path;

	(void)state;
	assert_int_equal(path_to(AF_INET, "198.18.2.2", false, &path), 0);
	assert_int_equal(path.ifindex, if_nametoindex("s1"));
	assert_int_equal(path.mtu, 1500);
	assert_int_equal(path.src.v4.s_addr, four.v4.s_addr);
	assert_false(path.attached);
	assert_int_equal(path_to(AF_INET, "198.18.2.2", true, &path), 0);
	assert_int_equal(path.src.v4.s_addr, address(AF_INET, "198.18.1.1").v4.s_addr);
	assert_int_equal(path_to(AF_INET6, "2001:db8:2::2", false, &path), 0);
	assert_memory_equal(&path.src, &six, 16);
	/* The kernel's own. */
	assert_int_equal(path_to(AF_INET, "127.0.0.1", false, &path), -EOPNOTSUPP);
	assert_int_equal(path_to(AF_INET, "198.18.2.1", false, &path), -EOPNOTSUPP);
	assert_int_equal(path_to(AF_INET6, "::1", false, &path), -EOPNOTSUPP);
	assert_int_equal(path_to(AF_INET, "198.18.1.255", false, &path), -EOPNOTSUPP);
	assert_int_equal(path_to(AF_INET, "203.0.113.1", false, &path), -ENETUNREACH);
	assert_int_equal(path_to(AF_INET6, "2001:db8:99::1", false, &path), -ENETUNREACH);
	bed_sh("ip route add unreachable 203.0.113.1");
	assert_int_equal(path_to(AF_INET, "203.0.113.1", false, &path), -EHOSTUNREACH);
	bed_sh("ip route del unreachable 203.0.113.1");
}

static void test_no_route(void **state)
{
	struct lrp_tcp_flow flow = flow_to(AF_INET, "203.0.113.1");
	struct lrp_tx_tcp how = {.flow = &flow};
	struct lrp_tx_dest dest = {0};
	struct lrp_tcp_tx tx = segment(LRP_TCP_SYN, 0, 0);

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_int_equal(lrp_tx_send_tcp(&dest, &how, &tx, 1, 0), -ENETUNREACH);
	assert_int_equal(lrp_tx_send_tcp(NULL, &how, &tx, 1, 0), -ENETUNREACH);
	/* A source that is not this host's: the raw socket of IPv6 looks at it. */
	flow = flow_of(AF_INET6);
	flow.laddr = address(AF_INET6, "2001:db8:1::9");
	assert_int_equal(lrp_tx_send_tcp(NULL, &how, &tx, 1, 0), -EINVAL);
}

/* ---- local congestion ---------------------------------------------------------------- */

/* What was not reported as refused arrives. */
static void congested(enum way way, int family)
{
	struct lrp_tcp_flow flow = flow_of(family);
	struct lrp_tx_tcp how = {.flow = &flow};
	struct lrp_tx_dest dest = {0};
	struct lrp_tcp_tx tx = segment(LRP_TCP_ACK, 1000, 1000), batch[8];
	uint32_t handed = 0, refused = 0;

	warm(&dest, &how);
	for (int i = 0; i < 8; i++)
		batch[i] = tx;
	bed_sh("tc qdisc add dev s0 root tbf rate 8mbit burst 2000 limit 6000");
	epoch++;
	capture_drop(capture);
	for (int i = 0; i < 20; i++) {
		uint32_t count = i % 2 ? 8 : 1;
		int n = lrp_tx_send_tcp(way == PACKET ? &dest : NULL, &how, batch, count,
					MSG_CONFIRM);

		assert_true(n > 0 || n == -ENOBUFS);
		handed += n > 0 ? (uint32_t)n : 0;
		refused += n < (int)count;
	}
	assert_in_range(refused, 5, 20);
	assert_in_range(handed, 3, 100);
	assert_int_equal(arrived(300), handed);
	bed_sh("tc qdisc del dev s0 root");
	epoch++;
}

static void test_dropped_by_the_qdisc(void **state)
{
	(void)state;
	for_each_way(congested);
}

/* A run is taken whole or not at all. */
static void test_dropped_run(void **state)
{
	struct lrp_tcp_flow flow = flow_of(AF_INET);
	struct lrp_tx_tcp how = {.flow = &flow};
	struct lrp_tx_dest dest = {0};
	struct lrp_tcp_tx tx = segment(LRP_TCP_ACK, 10 * 1000, 1000);
	uint32_t handed = 0;
	int n;

	(void)state;
	warm(&dest, &how);
	bed_sh("tc qdisc add dev s0 root tbf rate 8mbit burst 20000 limit 25000");
	epoch++;
	capture_drop(capture);
	while ((n = lrp_tx_send_tcp(&dest, &how, &tx, 1, MSG_CONFIRM)) == 1)
		handed++;
	assert_int_equal(n, -ENOBUFS);
	assert_in_range(handed, 1, 10);
	assert_int_equal(arrived(300), 10 * handed);
	bed_sh("tc qdisc del dev s0 root");
	epoch++;
}

static void full_buffer(enum way way, int family)
{
	struct lrp_tcp_flow flow = flow_of(family);
	struct lrp_tx_tcp how = {.flow = &flow};
	struct lrp_tx_dest dest = {0};
	struct lrp_tcp_tx tx = segment(LRP_TCP_ACK, 1000, 1000);
	uint32_t handed = 0;
	int n;

	warm(&dest, &how);
	bed_sh("tc qdisc add dev s0 root tbf rate 8mbit burst 2000 limit 100000000");
	epoch++;
	capture_drop(capture);
	do {
		n = lrp_tx_send_tcp(way == PACKET ? &dest : NULL, &how, &tx, 1,
				    MSG_DONTWAIT | MSG_CONFIRM);
		handed += n > 0;
	} while (n > 0 && handed < 5000);
	assert_int_equal(n, -EAGAIN);
	assert_true(handed >= 10);
	/* Waited for. */
	assert_int_equal(lrp_tx_send_tcp(way == PACKET ? &dest : NULL, &how, &tx, 1, MSG_CONFIRM),
			 1);
	assert_int_equal(arrived(300), handed + 1);
	bed_sh("tc qdisc del dev s0 root");
	epoch++;
}

static void test_full_send_buffer(void **state)
{
	(void)state;
	for_each_way(full_buffer);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_single_segments),
		cmocka_unit_test(test_runs),
		cmocka_unit_test(test_many_at_once),
		cmocka_unit_test(test_unresolved_neighbour),
		cmocka_unit_test(test_order_while_resolving),
		cmocka_unit_test(test_link_local),
		cmocka_unit_test(test_nobody_there),
		cmocka_unit_test(test_neighbour_confirmed),
		cmocka_unit_test(test_path_mtu),
		cmocka_unit_test(test_path),
		cmocka_unit_test(test_no_route),
		cmocka_unit_test(test_dropped_by_the_qdisc),
		cmocka_unit_test(test_dropped_run),
		cmocka_unit_test(test_full_send_buffer),
	};

	(void)argc;
	bed_enter(argv);
	return cmocka_run_group_tests(tests, setup, NULL) ? 1 : 0;
}

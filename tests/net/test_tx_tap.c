/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Sending without privilege: what the TAP of a process family lets through,
 * and what its holder cannot do with it.
 *
 *    [family 7] lrptx0 --tc: whose source is it?--> s0 198.18.1.1 ==== c0 198.18.1.2
 *
 * The maps that say what belongs to whom are the test's own, filled as PUBLISH fills them.
 */
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <sys/wait.h>
#include <time.h>

#include <bpf/bpf.h>

#include <lrp/abi.h>

#include "../../bpf/authority.h"
#include "../../loader/device/tap.h"
#include "../../runtime/ip/ip_input.h"
#include "../../runtime/tx/tcp_send.h"
#include "../../runtime/wire/checksum.h"
#include "tx_bed.h"

#define FAMILY 7u
#define OTHER  8u
#define NOBODY 65534
#define VNET   sizeof(struct virtio_net_hdr)

static struct lrp_tap_maps maps;
static struct lrp_taps *taps;
static int capture, shadow4;
static int child_tap = -1; /* what a child's lrp_tx_send() gets instead of lrpd's answer */

/* ---- what PUBLISH would have done ------------------------------------------- */

static int map_new(enum bpf_map_type type, uint32_t key, uint32_t value, uint32_t entries)
{
	int fd = bpf_map_create(type, NULL, key, value, entries, NULL);

	assert_true(fd >= 0);
	return fd;
}

static void put(int map, const void *key, const void *value)
{
	assert_int_equal(bpf_map_update_elem(map, key, value, BPF_ANY), 0);
}

static void port_set(bool ipv6, uint16_t port, uint32_t target, uint32_t flags)
{
	uint32_t index = LRP_PORT_INDEX(ipv6, false, port);
	struct lrp_port value = {.target = target, .flags = flags};

	put(maps.ports, &index, &value);
}

static void channel_set(uint32_t endpoint, uint32_t owner)
{
	struct lrp_channel channel = {
		.owner = owner, .endpoint = endpoint, .flags = owner ? LRP_CHANNEL_ACTIVE : 0};

	put(maps.channels, &endpoint, &channel);
}

static void maps_make(void)
{
	struct lrp_local local = {.kind = LRP_LOCAL_UNICAST};
	struct lrp_local broadcast = {.kind = LRP_LOCAL_BROADCAST};
	union lrp_address a;

	maps.ports = bpf_map_create(BPF_MAP_TYPE_ARRAY, NULL, 4, sizeof(struct lrp_port),
				    LRP_PORT_ENTRIES, NULL);
	maps.local4 = map_new(BPF_MAP_TYPE_HASH, 4, sizeof(struct lrp_local), 64);
	maps.local6 = map_new(BPF_MAP_TYPE_HASH, 16, sizeof(struct lrp_local), 64);
	maps.binds4 = map_new(BPF_MAP_TYPE_HASH, sizeof(struct lrp_bind4), 4, 64);
	maps.binds6 = map_new(BPF_MAP_TYPE_HASH, sizeof(struct lrp_bind6), 4, 64);
	maps.flows4 =
		map_new(BPF_MAP_TYPE_HASH, sizeof(struct lrp_flow4), sizeof(struct lrp_flow), 64);
	maps.flows6 =
		map_new(BPF_MAP_TYPE_HASH, sizeof(struct lrp_flow6), sizeof(struct lrp_flow), 64);
	maps.ends = bpf_map_create(
		BPF_MAP_TYPE_ARRAY, NULL, 4, sizeof(struct lrp_end), LRP_ENDS,
		&(struct bpf_map_create_opts){.sz = sizeof(struct bpf_map_create_opts),
					      .map_flags = BPF_F_MMAPABLE});
	maps.kernel4 = bpf_map_create(
		BPF_MAP_TYPE_HASH, NULL, sizeof(struct lrp_flow4), 8, LRP_KERNELS,
		&(struct bpf_map_create_opts){.sz = sizeof(struct bpf_map_create_opts),
					      .map_flags = BPF_F_NO_PREALLOC});
	maps.kernel6 = bpf_map_create(
		BPF_MAP_TYPE_HASH, NULL, sizeof(struct lrp_flow6), 8, LRP_KERNELS,
		&(struct bpf_map_create_opts){.sz = sizeof(struct bpf_map_create_opts),
					      .map_flags = BPF_F_NO_PREALLOC});
	assert_true(maps.ends >= 0 && maps.kernel4 >= 0 && maps.kernel6 >= 0);
	maps.groups = map_new(BPF_MAP_TYPE_ARRAY, 4, sizeof(struct lrp_group), 4);
	maps.channels = map_new(BPF_MAP_TYPE_ARRAY, 4, sizeof(struct lrp_channel), 256);
	assert_true(maps.ports >= 0);
	a = address(AF_INET, "198.18.1.1");
	put(maps.local4, &a, &local);
	a = address(AF_INET, "198.18.2.1");
	put(maps.local4, &a, &local);
	a = address(AF_INET, "198.18.1.255");
	put(maps.local4, &a, &broadcast);
	a = address(AF_INET6, "2001:db8:1::1");
	put(maps.local6, &a, &local);
	channel_set(5, FAMILY);
	channel_set(6, OTHER);
	port_set(false, SPORT, 5, LRP_PORT_ANY);
	port_set(true, SPORT, 5, LRP_PORT_ANY);
	port_set(false, SPORT + 1, 6, LRP_PORT_ANY);
	port_set(true, SPORT + 1, 6, LRP_PORT_ANY);
}

static int tap_get(uint32_t owner)
{
	char error[256] = "";
	int fd = lrp_tap_new(taps, owner, error, sizeof(error));

	if (fd < 0)
		fprintf(stderr, "%s\n", error);
	assert_true(fd >= 0);
	return fd;
}

/* ---- frames as a hostile holder would write them ------------------------------- */

struct packet {
	uint8_t bytes[4096];
	uint32_t length;
};

static uint8_t *ip_of(struct packet *p)
{
	return p->bytes + VNET + 14;
}

static void checksum4(struct packet *p)
{
	uint16_t sum;

	memset(ip_of(p) + 10, 0, 2);
	sum = (uint16_t)~lrp_checksum_fold(lrp_checksum_header4(ip_of(p), 5));
	memcpy(ip_of(p) + 10, &sum, 2);
}

static struct packet packet4(const char *src, uint16_t sport, uint32_t payload)
{
	struct packet p = {.length = (uint32_t)VNET + 14 + 28 + payload};
	uint8_t *ip = ip_of(&p);
	union lrp_address s = address(AF_INET, src), d = address(AF_INET, "198.18.1.2");
	uint16_t words[4] = {htons(sport), htons(DPORT), htons((uint16_t)(8 + payload)), 0};

	memcpy(p.bytes + VNET, "\x02\0\0\0\0\x99\x02\0\0\0\0\x98\x08\0", 14);
	ip[0] = 0x45;
	ip[2] = (uint8_t)((28 + payload) >> 8);
	ip[3] = (uint8_t)(28 + payload);
	ip[8] = 64;
	ip[9] = IPPROTO_UDP;
	memcpy(ip + 12, &s, 4);
	memcpy(ip + 16, &d, 4);
	memcpy(ip + 20, words, 8);
	checksum4(&p);
	return p;
}

static struct packet packet6(const char *src, uint16_t sport, uint32_t payload)
{
	struct packet p = {.length = (uint32_t)VNET + 14 + 48 + payload};
	uint8_t *ip = ip_of(&p);
	union lrp_address s = address(AF_INET6, src), d = address(AF_INET6, "2001:db8:1::2");
	uint16_t words[4] = {htons(sport), htons(DPORT), htons((uint16_t)(8 + payload)), htons(1)};

	memcpy(p.bytes + VNET, "\x02\0\0\0\0\x99\x02\0\0\0\0\x98\x86\xdd", 14);
	ip[0] = 0x60;
	ip[4] = (uint8_t)((8 + payload) >> 8);
	ip[5] = (uint8_t)(8 + payload);
	ip[6] = IPPROTO_UDP;
	ip[7] = 64;
	memcpy(ip + 8, &s, 16);
	memcpy(ip + 24, &d, 16);
	memcpy(ip + 40, words, 8);
	return p;
}

static struct lrp_tap_counts counts(uint32_t owner)
{
	struct lrp_tap_counts c;

	lrp_taps_count(taps, owner, &c);
	return c;
}

static uint32_t arrived(void)
{
	struct frames frames;
	uint32_t n;

	capture_take(capture, &frames, 30);
	n = frames.count;
	frames_free(&frames);
	return n;
}

enum verdict { PASSED, SOURCE, MALFORMED, SIZE };

/* Written to the family's TAP, it must end as said, and be counted so. */
static void expect(int fd, const struct packet *p, enum verdict verdict)
{
	struct lrp_tap_counts before = counts(FAMILY), after;

	capture_drop(capture);
	assert_int_equal(write(fd, p->bytes, p->length), p->length);
	assert_int_equal(arrived(), verdict == PASSED);
	after = counts(FAMILY);
	assert_int_equal(after.passed - before.passed, verdict == PASSED);
	assert_int_equal(after.dropped_source - before.dropped_source, verdict == SOURCE);
	assert_int_equal(after.dropped_malformed - before.dropped_malformed, verdict == MALFORMED);
	assert_int_equal(after.dropped_size - before.dropped_size, verdict == SIZE);
}

static void expect4(int fd, const char *src, uint16_t sport, enum verdict verdict)
{
	struct packet p = packet4(src, sport, 20);

	expect(fd, &p, verdict);
}

static void expect6(int fd, const char *src, uint16_t sport, enum verdict verdict)
{
	struct packet p = packet6(src, sport, 20);

	expect(fd, &p, verdict);
}

static void test_wildcard_sockets(void **state)
{
	int fd = tap_get(FAMILY);

	(void)state;
	expect4(fd, "198.18.1.1", SPORT, PASSED);
	expect4(fd, "198.18.2.1", SPORT, PASSED); /* local, on another interface */
	expect6(fd, "2001:db8:1::1", SPORT, PASSED);
	expect4(fd, "198.18.1.1", SPORT + 1, SOURCE); /* another family's port */
	expect6(fd, "2001:db8:1::1", SPORT + 1, SOURCE);
	expect4(fd, "198.18.1.1", SPORT + 2, SOURCE); /* nobody's */
	expect4(fd, "198.18.1.77", SPORT, SOURCE);    /* not this host's */
	expect4(fd, "198.18.1.255", SPORT, SOURCE);
	expect4(fd, "0.0.0.0", SPORT, SOURCE);
	expect4(fd, "127.0.0.1", SPORT, SOURCE);
	expect6(fd, "2001:db8:1::77", SPORT, SOURCE);
	expect6(fd, "::", SPORT, SOURCE);
	close(fd);
}

static void test_bound_and_connected_sockets(void **state)
{
	struct lrp_bind4 bind4 = {.addr = address(AF_INET, "198.18.1.1").v4.s_addr,
				  .port = htons(6000),
				  .proto = IPPROTO_UDP};
	struct lrp_bind6 bind6 = {.port = htons(6000), .proto = IPPROTO_UDP};
	struct lrp_flow4 flow4 = {.laddr = bind4.addr,
				  .lport = htons(6001),
				  .rport = htons(DPORT),
				  .raddr = address(AF_INET, "198.18.1.2").v4.s_addr,
				  .proto = IPPROTO_UDP};
	struct lrp_flow6 flow6 = {
		.lport = htons(6001), .rport = htons(DPORT), .proto = IPPROTO_UDP};
	union lrp_address six = address(AF_INET6, "2001:db8:1::1");
	union lrp_address peer6 = address(AF_INET6, "2001:db8:1::2");
	struct lrp_flow flow = {.endpoint = 5, .owner = FAMILY};
	uint32_t mine = 5, others = 6;
	int fd = tap_get(FAMILY);

	(void)state;
	port_set(false, 6000, 0, LRP_PORT_BINDS);
	port_set(true, 6000, 0, LRP_PORT_BINDS);
	memcpy(&bind6.addr, &six, 16);
	put(maps.binds4, &bind4, &mine);
	put(maps.binds6, &bind6, &mine);
	expect4(fd, "198.18.1.1", 6000, PASSED);
	expect4(fd, "198.18.2.1", 6000, SOURCE);
	expect6(fd, "2001:db8:1::1", 6000, PASSED);
	put(maps.binds4, &bind4, &others);
	put(maps.binds6, &bind6, &others);
	expect4(fd, "198.18.1.1", 6000, SOURCE);
	expect6(fd, "2001:db8:1::1", 6000, SOURCE);

	port_set(false, 6001, 0, LRP_PORT_FLOWS);
	port_set(true, 6001, 0, LRP_PORT_FLOWS);
	memcpy(&flow6.laddr, &six, 16);
	memcpy(&flow6.raddr, &peer6, 16);
	put(maps.flows4, &flow4, &flow);
	put(maps.flows6, &flow6, &flow);
	expect4(fd, "198.18.1.1", 6001, PASSED);
	expect6(fd, "2001:db8:1::1", 6001, PASSED);
	/* Of another peer's connection, and one whose endpoint went to another family. */
	bpf_map_delete_elem(maps.flows4, &flow4);
	flow4.rport = htons(DPORT + 1);
	put(maps.flows4, &flow4, &flow);
	expect4(fd, "198.18.1.1", 6001, SOURCE);
	flow.endpoint = 6;
	put(maps.flows6, &flow6, &flow);
	expect6(fd, "2001:db8:1::1", 6001, SOURCE);
	close(fd);
}

static void test_reuseport_groups(void **state)
{
	struct lrp_group group = {.count = 3, .endpoint = {6, 6, 5}};
	uint32_t index = 2;
	int fd = tap_get(FAMILY);

	(void)state;
	put(maps.groups, &index, &group);
	port_set(false, 6002, LRP_TARGET_GROUP | 2, LRP_PORT_ANY);
	expect4(fd, "198.18.1.1", 6002, PASSED);
	group.count = 2; /* the third has left */
	put(maps.groups, &index, &group);
	expect4(fd, "198.18.1.1", 6002, SOURCE);
	close(fd);
}

/* The socket is closed, or its endpoint is another's by now: at once. */
static void test_follows_the_owner(void **state)
{
	int fd = tap_get(FAMILY);

	(void)state;
	channel_set(5, OTHER);
	expect4(fd, "198.18.1.1", SPORT, SOURCE);
	channel_set(5, 0);
	expect4(fd, "198.18.1.1", SPORT, SOURCE);
	channel_set(5, FAMILY);
	port_set(false, SPORT, 5, 0);
	expect4(fd, "198.18.1.1", SPORT, SOURCE);
	port_set(false, SPORT, 5, LRP_PORT_ANY);
	expect4(fd, "198.18.1.1", SPORT, PASSED);
	close(fd);
}

static void test_malformed(void **state)
{
	struct packet good = packet4("198.18.1.1", SPORT, 100), p;
	struct packet good6 = packet6("2001:db8:1::1", SPORT, 100);
	int fd = tap_get(FAMILY);

	(void)state;
	expect(fd, &good, PASSED);
	expect(fd, &good6, PASSED);
	/* Fragments say nothing of ports. */
	p = good, ip_of(&p)[6] = 0x20, checksum4(&p), expect(fd, &p, MALFORMED);
	p = good, ip_of(&p)[7] = 1, checksum4(&p), expect(fd, &p, MALFORMED);
	/* Options would move the ports. */
	p = good, ip_of(&p)[0] = 0x46, checksum4(&p), expect(fd, &p, MALFORMED);
	p = good, ip_of(&p)[0] = 0x55, checksum4(&p), expect(fd, &p, MALFORMED);
	p = good, ip_of(&p)[8] = 0, checksum4(&p), expect(fd, &p, MALFORMED);
	p = good, ip_of(&p)[9] = IPPROTO_ICMP, checksum4(&p), expect(fd, &p, MALFORMED);
	p = good, ip_of(&p)[9] = IPPROTO_UDPLITE, checksum4(&p), expect(fd, &p, MALFORMED);
	/* Nobody has that port for TCP. */
	p = good, ip_of(&p)[9] = IPPROTO_TCP, checksum4(&p), expect(fd, &p, SOURCE);
	p = good, ip_of(&p)[3]++, checksum4(&p), expect(fd, &p, MALFORMED);
	p = good, ip_of(&p)[3]--, checksum4(&p), expect(fd, &p, MALFORMED);
	p = good, p.length++, expect(fd, &p, MALFORMED);
	p = good, p.bytes[VNET + 13] = 0x06, expect(fd, &p, MALFORMED); /* ARP */
	p = good, memcpy(p.bytes + VNET + 12, "\x81\0\0\x05", 4), expect(fd, &p, MALFORMED);
	p = good6, ip_of(&p)[6] = IPPROTO_FRAGMENT, expect(fd, &p, MALFORMED);
	p = good6, ip_of(&p)[6] = IPPROTO_HOPOPTS, expect(fd, &p, MALFORMED);
	p = good6, ip_of(&p)[6] = IPPROTO_ICMPV6, expect(fd, &p, MALFORMED);
	p = good6, ip_of(&p)[0] = 0x50, expect(fd, &p, MALFORMED);
	p = good6, ip_of(&p)[5]++, expect(fd, &p, MALFORMED);
	/* Each shorter than its headers. */
	for (uint32_t n = 15; n < 14 + 24; n++) {
		struct lrp_tap_counts before = counts(FAMILY);

		p = good;
		p.length = (uint32_t)VNET + n;
		assert_int_equal(write(fd, p.bytes, p.length), p.length);
		assert_int_equal(counts(FAMILY).passed, before.passed);
	}
	assert_int_equal(arrived(), 0);
	/* Larger than the device takes. */
	p = packet4("198.18.1.1", SPORT, 1472);
	expect(fd, &p, PASSED);
	p = packet4("198.18.1.1", SPORT, 1473);
	expect(fd, &p, SIZE);
	close(fd);
}

/* The link header is the kernel's, whatever the holder wrote. */
static void test_link_header_is_the_kernels(void **state)
{
	struct packet p = packet4("198.18.1.1", SPORT, 20);
	uint8_t ours[6], theirs[6];
	struct frames frames;
	struct ifreq request = {.ifr_name = "s0"};
	int fd = tap_get(FAMILY);

	(void)state;
	assert_int_equal(ioctl(shadow4, SIOCGIFHWADDR, &request), 0);
	memcpy(ours, request.ifr_hwaddr.sa_data, 6);
	memcpy(p.bytes + VNET, "\x02\xde\xad\xde\xad\x01\x02\xde\xad\xde\xad\x02", 12);
	capture_drop(capture);
	assert_int_equal(write(fd, p.bytes, p.length), p.length);
	capture_take(capture, &frames, 100);
	assert_int_equal(frames.count, 1);
	memcpy(theirs, frames.bytes[0], 6);
	assert_memory_equal(frames.bytes[0] + 6, ours, 6);
	assert_memory_not_equal(theirs, p.bytes + VNET, 6);
	assert_int_equal(frames.length[0], p.length - VNET);
	assert_memory_equal(frames.bytes[0] + 14, p.bytes + VNET + 14, frames.length[0] - 14);
	frames_free(&frames);
	/* To all: not through here. */
	memset(p.bytes + VNET, 0xff, 6);
	assert_int_equal(write(fd, p.bytes, p.length), p.length);
	assert_int_equal(arrived(), 0);
	close(fd);
}

/* ---- what the holder of the descriptor might try ---------------------------------- */

static int in_child(int (*run)(void))
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		if (setresgid(NOBODY, NOBODY, NOBODY) || setresuid(NOBODY, NOBODY, NOBODY))
			_exit(120);
		_exit(run());
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static int child_tries(void)
{
	struct ifreq other = {.ifr_name = "s0", .ifr_flags = IFF_TAP | IFF_NO_PI};
	struct ifreq queue = {.ifr_flags = IFF_DETACH_QUEUE};
	struct ifreq mac = {.ifr_hwaddr = {.sa_family = 1, .sa_data = "\x02\1\2\3\4\5"}};
	struct ifreq own = {0};
	int probe = socket(AF_INET, SOCK_DGRAM, 0), size = INT32_MAX;
	char buf[2048];

	/* Another device; a filter program of its own; the namespace behind it. */
	if (!ioctl(child_tap, TUNSETIFF, &other) || !ioctl(child_tap, TUNSETQUEUE, &queue) ||
	    !ioctl(child_tap, TUNSETLINK, 1) || !ioctl(child_tap, TUNGETDEVNETNS, 0))
		return 1;
	/* Of its own TAP it can change these; the parent sees what follows from that. */
	ioctl(child_tap, TUNSETPERSIST, 1);
	ioctl(child_tap, TUNSETSNDBUF, &size);
	ioctl(child_tap, SIOCSIFHWADDR, &mac);
	/* The interface itself: neither up nor down, nor an address, nor of other programs. */
	if (ioctl(child_tap, TUNGETIFF, &own))
		return 2;
	own.ifr_flags = 0;
	if (!ioctl(probe, SIOCSIFFLAGS, &own) || errno != EPERM)
		return 3;
	/* Nothing to be heard. */
	if (pwritev2(child_tap, NULL, 0, -1, 0) > 0)
		return 4;
	fcntl(child_tap, F_SETFL, O_NONBLOCK);
	if (read(child_tap, buf, sizeof(buf)) >= 0 || errno != EAGAIN)
		return 5;
	return 0;
}

static void test_holder_cannot_reconfigure(void **state)
{
	struct ifreq own = {0};
	char command[160];
	int again;

	(void)state;
	child_tap = tap_get(FAMILY);
	assert_int_equal(ioctl(child_tap, TUNGETIFF, &own), 0);
	/* Traffic that would go out through the TAP, were it heard. */
	snprintf(command, sizeof(command),
		 "ip route add 198.18.50.0/24 dev %s && ip route add 2001:db8:50::/64 dev %s",
		 own.ifr_name, own.ifr_name);
	bed_sh(command);
	assert_true(system("ping -c2 -i 0.2 -W1 198.18.50.1 >/dev/null 2>&1; "
			   "ping -c2 -i 0.2 -W1 2001:db8:50::1 >/dev/null 2>&1") >= 0);
	assert_int_equal(in_child(child_tries), 0);
	/* What the child did changes nothing of what passes. */
	expect4(child_tap, "198.18.1.1", SPORT, PASSED);
	expect4(child_tap, "198.18.1.1", SPORT + 1, SOURCE);
	/* Made persistent, it goes with its family nevertheless. */
	close(child_tap);
	assert_true(if_nametoindex(own.ifr_name) > 0);
	lrp_taps_owner_gone(taps, FAMILY);
	assert_int_equal(if_nametoindex(own.ifr_name), 0);
	/* So do TAPs that are in use, and their holders hear of it. */
	child_tap = tap_get(FAMILY);
	again = tap_get(OTHER);
	lrp_taps_owner_gone(taps, FAMILY);
	assert_int_equal(write(child_tap, "x", 1), -1);
	assert_int_equal(errno, EBADFD);
	assert_int_equal(counts(OTHER).taps, 1);
	close(child_tap);
	close(again);
}

static void test_quota_and_end(void **state)
{
	int fd[LRP_TAP_PER_OWNER];
	char error[256] = "";
	struct ifreq own = {0};

	(void)state;
	for (uint32_t i = 0; i < LRP_TAP_PER_OWNER; i++)
		fd[i] = tap_get(OTHER);
	assert_int_equal(lrp_tap_new(taps, OTHER, error, sizeof(error)), -EDQUOT);
	assert_true(error[0]);
	assert_int_equal(ioctl(fd[0], TUNGETIFF, &own), 0);
	close(fd[0]);
	/* Gone with its last descriptor, and not counted any more. */
	assert_int_equal(if_nametoindex(own.ifr_name), 0);
	fd[0] = tap_get(OTHER);
	for (uint32_t i = 0; i < LRP_TAP_PER_OWNER; i++)
		close(fd[i]);
	fd[0] = tap_get(OTHER);
	assert_int_equal(ioctl(fd[0], TUNGETIFF, &own), 0);
	lrp_taps_sweep(); /* as a new lrpd does */
	assert_int_equal(if_nametoindex(own.ifr_name), 0);
	assert_true(if_nametoindex("s0") > 0);
	close(fd[0]);
}

/* ---- lrp_tx_send() over it ---------------------------------------------------------- */

static int opener(uint32_t ifindex)
{
	return ifindex == if_nametoindex("s0") && child_tap >= 0 ? dup(child_tap) : -ENODEV;
}

static uint8_t payload[4000];

static struct iovec pair_iov[64];
static struct lrp_udp_datagram pair[64];
static struct lrp_tx_dest pair_dest, *pair_dests[64];

static void batch_of(uint32_t length)
{
	for (int i = 0; i < 64; i++) {
		pair_iov[i] = (struct iovec){payload + i, length};
		pair[i] = datagram(AF_INET, "198.18.1.2", &pair_iov[i]);
		pair_dests[i] = &pair_dest;
	}
}

/* Two alike: a run. */
static int send_pair(int flags)
{
	return lrp_tx_send(pair_dests, pair, 2, flags);
}

static int warm_pair(void)
{
	int n = 0;

	for (int i = 0; i < 100 && !(n = send_pair(0)); i++) {
		shadow_send(shadow4, &pair[0]);
		usleep(10000);
	}
	return n;
}

static int child_sends(void)
{
	struct lrp_udp_datagram big;
	struct lrp_tx_dest *dests[2] = {&pair_dest, &pair_dest};
	int n, done = 0;

	lrp_tx_tap_from(opener);
	if (!lrp_tx_ready())
		return 1;
	batch_of(30);
	if (warm_pair() != 2 || !lrp_tx_devices[pair_dest.slot].tap)
		return 2;
	/* Alone it is the shadow's, which is faster. */
	if (tx_one(&pair_dest, &pair[0], 0) != 0)
		return 6;
	while (done < 64) {
		n = lrp_tx_send(pair_dests, pair + done, (uint32_t)(64 - done), MSG_DONTWAIT);
		if (n <= 0)
			return 3;
		done += n;
	}
	/* Fragments are the shadow's. */
	big = pair[0];
	pair_iov[0].iov_len = big.length = 3000;
	if (lrp_tx_send(dests, (struct lrp_udp_datagram[]){big, big}, 2, 0) != 0)
		return 4;
	/* Not ours: refused at the TAP, and lost. */
	pair_iov[0].iov_len = 30;
	pair[0].sport = pair[1].sport = htons(SPORT + 1);
	send_pair(0);
	if (send_pair(0) != 2)
		return 5;
	return 0;
}

static int child_has_no_runs(void)
{
	lrp_tx_tap_from(opener);
	batch_of(30);
	for (int i = 0; i < 10; i++)
		if (send_pair(0))
			return 1;
	return 0;
}

static void test_send_in_runs(void **state)
{
	struct lrp_tap_counts before, after;
	struct frames frames;
	uint32_t ok = 0;

	(void)state;
	bed_sh("ethtool -K s0 tx-udp-segmentation off >/dev/null");
	child_tap = tap_get(FAMILY);
	before = counts(FAMILY);
	capture_drop(capture);
	assert_int_equal(in_child(child_sends), 0);
	capture_take(capture, &frames, 100);
	for (uint32_t i = 0; i < frames.count; i++)
		ok += frames.length[i] == 14 + 28 + 30 && frames.bytes[i][35] == (SPORT & 255);
	/* One through the shadow at least, a pair, the batch; none of another's port. */
	assert_in_range(ok, 67, 300);
	assert_int_equal(ok, frames.count);
	for (uint32_t i = 0; i < 64; i++)
		assert_memory_equal(frames.bytes[frames.count - 64 + i] + 42, payload + i, 30);
	frames_free(&frames);
	after = counts(FAMILY);
	/* A run is one frame until the device. */
	assert_int_equal(after.passed - before.passed, 2);
	assert_int_equal(after.dropped_source - before.dropped_source, 1);
	close(child_tap);
}

static void test_no_runs_no_tap(void **state)
{
	(void)state;
	bed_sh("ethtool -K s0 tx on tx-udp-segmentation on >/dev/null");
	child_tap = tap_get(FAMILY);
	assert_int_equal(in_child(child_has_no_runs), 0);
	assert_int_equal(counts(FAMILY).passed, 0);
	close(child_tap);
	bed_sh("ethtool -K s0 tx-udp-segmentation off >/dev/null");
}

static int child_congests(void)
{
	struct timespec a, b;
	int n, sent = 0;

	lrp_tx_tap_from(opener);
	batch_of(1400);
	if (warm_pair() != 2)
		return 4;
	do {
		n = send_pair(MSG_DONTWAIT);
		sent += n > 0;
	} while (n >= 0 && sent < 10000);
	if (n != -EAGAIN || sent < 10 || sent > 1000)
		return 1;
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (int i = 0; i < 50; i++)
		if (send_pair(0) < 0)
			return 2;
	clock_gettime(CLOCK_MONOTONIC, &b);
	return (b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000 >= 50 ? 0 : 3;
}

/* What waits in the device's queue counts against the TAP's send buffer. */
static void test_local_congestion(void **state)
{
	(void)state;
	bed_sh("tc qdisc add dev s0 root tbf rate 8mbit burst 2000 limit 100000000");
	child_tap = tap_get(FAMILY);
	assert_int_equal(in_child(child_congests), 0);
	close(child_tap);
	bed_sh("tc qdisc del dev s0 root");
	capture_drop(capture);
}

static int sending[2];

static int child_loses_its_tap(void)
{
	int n = 1, gone;

	lrp_tx_tap_from(opener);
	batch_of(30);
	if (warm_pair() != 2)
		return 1;
	gone = child_tap;
	child_tap = -1; /* as if the device was detached: lrpd has none for it */
	if (write(sending[1], "s", 1) != 1)
		return 3;
	for (int i = 0; i < 50 && n; i++) {
		n = send_pair(0);
		usleep(10000);
	}
	if (n || send_pair(0))
		return 2;
	child_tap = gone;
	return 0;
}

/* lrpd takes the TAP away: the shadow serves on. */
static void test_tap_removed_under_the_sender(void **state)
{
	pid_t pid;
	int status;
	char c;

	(void)state;
	assert_int_equal(pipe(sending), 0);
	child_tap = tap_get(FAMILY);
	pid = fork();
	if (!pid) {
		if (setresuid(NOBODY, NOBODY, NOBODY))
			_exit(120);
		_exit(child_loses_its_tap());
	}
	close(sending[1]);
	assert_int_equal(read(sending[0], &c, 1), 1);
	lrp_taps_owner_gone(taps, FAMILY);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	close(child_tap);
}

/* ---- lrp_tx_send_tcp() over it ----------------------------------------------------- */

static struct lrp_tcp_flow tcp_flow(int family)
{
	struct lrp_tcp_flow flow = {
		.family = (uint8_t)family, .lport = htons(SPORT), .rport = htons(DPORT)};

	flow.laddr = address(family, family == AF_INET ? "198.18.1.1" : "2001:db8:1::1");
	flow.raddr = address(family, family == AF_INET ? "198.18.1.2" : "2001:db8:1::2");
	return flow;
}

/* A SYN, a reset to a stranger, a run; all to a neighbour that nobody has resolved. */
static int child_opens(void)
{
	lrp_tx_tap_from(opener);
	for (int f = 0; f < 2; f++) {
		struct lrp_tcp_flow flow = tcp_flow(f ? AF_INET6 : AF_INET);
		struct lrp_tx_tcp how = {.flow = &flow};
		struct lrp_tx_dest dest = {0};
		struct lrp_tcp_tx syn = {.seq = 1, .flags = LRP_TCP_SYN};
		struct lrp_tcp_tx reset = {.seq = 2, .flags = LRP_TCP_RST};
		struct lrp_tcp_tx run = {.seq = 3,
					 .flags = LRP_TCP_ACK | LRP_TCP_PSH,
					 .mss = 1000,
					 .payload_len = 3500,
					 .payload = {{payload, 3500}}};

		if (lrp_tx_send_tcp(&dest, &how, &syn, 1, 0) != 1 || !lrp_tx_devices[dest.slot].tap)
			return 1;
		if (lrp_tx_send_tcp(NULL, &how, &reset, 1, MSG_DONTWAIT) != 1)
			return 2;
		if (lrp_tx_send_tcp(&dest, &how, &run, 1, 0) != 1)
			return 3;
	}
	return 0;
}

static void test_tcp_to_unresolved_neighbour(void **state)
{
	static const uint32_t seq[] = {1, 2, 3, 1003, 2003, 3003},
			      length[] = {0, 0, 1000, 1000, 1000, 500};
	struct frames frames;

	(void)state;
	for (int f = 0; f < 2; f++) {
		uint32_t index = LRP_PORT_INDEX(f, true, SPORT);
		struct lrp_port port = {.target = 5, .flags = LRP_PORT_ANY};

		put(maps.ports, &index, &port);
	}
	bed_sh("ethtool -K s0 tx off tso off gso off >/dev/null; ip neigh flush dev s0; "
	       "ip neigh del 198.18.1.2 dev s0 2>/dev/null; ip neigh del 2001:db8:1::2 dev s0 "
	       "2>/dev/null; "
	       "ip netns exec client ethtool -K c0 gro off >/dev/null");
	child_tap = tap_get(FAMILY);
	wanted_proto = IPPROTO_TCP;
	capture_drop(capture);
	assert_int_equal(in_child(child_opens), 0);
	usleep(50000);
	capture_take(capture, &frames, 1000);
	assert_int_equal(frames.count, 12);
	for (uint32_t i = 0; i < 12; i++) {
		struct lrp_packet p = {.frame = frames.bytes[i], .frame_len = frames.length[i]};
		struct lrp_tcp_segment s;

		assert_int_equal(lrp_ip_input(&p), 0);
		assert_int_equal(lrp_tcp_segment_parse(&p, p.frame + p.l4_offset, false, &s), 0);
		assert_int_equal(s.seq, seq[i % 6]);
		assert_int_equal(s.len, length[i % 6]);
		assert_memory_equal(s.payload, payload + (i % 6 < 2 ? 0 : s.seq - 3), s.len);
		assert_int_equal(!!(s.flags & LRP_TCP_PSH), i % 6 == 5);
	}
	frames_free(&frames);
	wanted_proto = IPPROTO_UDP;
	close(child_tap);
}

static int child_has_no_way(void)
{
	struct lrp_tcp_flow flow = tcp_flow(AF_INET);
	struct lrp_tx_tcp how = {.flow = &flow};
	struct lrp_tx_dest dest = {0};
	struct lrp_tcp_tx syn = {.seq = 1, .flags = LRP_TCP_SYN};

	/* No lrpd; one that has no TAP for the device; no route. */
	if (lrp_tx_send_tcp(&dest, &how, &syn, 1, 0) != -EOPNOTSUPP)
		return 1;
	lrp_tx_tap_from(opener);
	if (lrp_tx_send_tcp(&dest, &how, &syn, 1, 0) != -EOPNOTSUPP ||
	    lrp_tx_send_tcp(NULL, &how, &syn, 1, 0) != -EOPNOTSUPP)
		return 2;
	flow.raddr = address(AF_INET, "203.0.113.1");
	return lrp_tx_send_tcp(&dest, &how, &syn, 1, 0) == -ENETUNREACH ? 0 : 3;
}

static void test_tcp_without_any_way(void **state)
{
	(void)state;
	child_tap = -1;
	assert_int_equal(in_child(child_has_no_way), 0);
}

static int setup(void **state)
{
	char error[256] = "";

	(void)state;
	if (access("/dev/net/tun", W_OK)) {
		fprintf(stderr, "/dev/net/tun is missing (CONFIG_TUN)\n");
		exit(77);
	}
	bed_sh(BED_NET);
	bed_sh("ethtool -K s0 tx off >/dev/null");
	bed_sh("ping -c5 -i 0.2 -W1 198.18.1.2 >/dev/null && ping -c5 -i 0.2 -W1 2001:db8:1::2 "
	       ">/dev/null");
	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)(i * 7 + 3);
	capture = capture_open("client", "c0");
	shadow4 = shadow_open(AF_INET);
	lrp_tx_epoch_from(&epoch);
	maps_make();
	if (lrp_taps_new(&taps, if_nametoindex("s0"), &maps, error, sizeof(error))) {
		fprintf(stderr, "%s\n", error);
		exit(1);
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	lrp_taps_free(taps);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wildcard_sockets),
		cmocka_unit_test(test_bound_and_connected_sockets),
		cmocka_unit_test(test_reuseport_groups),
		cmocka_unit_test(test_follows_the_owner),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_link_header_is_the_kernels),
		cmocka_unit_test(test_holder_cannot_reconfigure),
		cmocka_unit_test(test_quota_and_end),
		cmocka_unit_test(test_send_in_runs),
		cmocka_unit_test(test_no_runs_no_tap),
		cmocka_unit_test(test_local_congestion),
		cmocka_unit_test(test_tap_removed_under_the_sender),
		cmocka_unit_test(test_tcp_to_unresolved_neighbour),
		cmocka_unit_test(test_tcp_without_any_way),
	};

	(void)argc;
	bed_enter(argv);
	return cmocka_run_group_tests(tests, setup, teardown) ? 1 : 0;
}

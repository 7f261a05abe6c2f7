/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What lrp_tx_send() puts on the wire against what the kernel's own UDP socket
 * puts there for the same datagram, byte by byte. Left out of the comparison is
 * what is arbitrary by its RFC: identifications and the IPv6 flow label.
 */
#include <netinet/udp.h>
#include <sys/ioctl.h>

#include "tx_bed.h"

#include "../../runtime/wire/checksum.h"

static uint8_t pattern[65536];
static int capture, shadow4, shadow6;

struct variant {
	int family;
	int tos, ttl;			       /* -1: the socket's default */
	bool no_checksum, dont, dont_fragment; /* IP_PMTUDISC_DONT, _DO */
};

static void set(int fd, int level, int option, int value)
{
	assert_int_equal(setsockopt(fd, level, option, &value, sizeof(value)), 0);
}

static void kernel_options(int fd, const struct variant *v)
{
	int pmtu = v->dont	      ? IP_PMTUDISC_DONT
		   : v->dont_fragment ? IP_PMTUDISC_DO
				      : IP_PMTUDISC_WANT;

	if (v->family == AF_INET) {
		set(fd, IPPROTO_IP, IP_TOS, v->tos < 0 ? 0 : v->tos);
		set(fd, IPPROTO_IP, IP_TTL, v->ttl);
		set(fd, IPPROTO_IP, IP_MTU_DISCOVER, pmtu);
		set(fd, SOL_SOCKET, SO_NO_CHECK, v->no_checksum);
	} else {
		set(fd, IPPROTO_IPV6, IPV6_TCLASS, v->tos);
		set(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, v->ttl);
		set(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, pmtu);
	}
}

static struct lrp_udp_datagram datagram_of(const struct variant *v, const struct iovec *iov)
{
	struct lrp_udp_datagram d =
		datagram(v->family, v->family == AF_INET ? "198.18.1.2" : "2001:db8:1::2", iov);

	d.tos = (uint8_t)(v->tos < 0 ? 0 : v->tos);
	d.ttl = (uint8_t)(v->ttl < 0 ? 0 : v->ttl);
	d.no_checksum = v->no_checksum;
	d.no_df = v->dont;
	d.dont_fragment = v->dont_fragment;
	return d;
}

static bool is4(const uint8_t *f)
{
	return f[12] == 0x08;
}

/* Blanks what is arbitrary, after checking it. `id`: that of the datagram's first fragment. */
static void normalise(uint8_t *f, uint32_t *id, bool first)
{
	uint32_t own;

	if (is4(f)) {
		assert_int_equal(lrp_checksum_fold(lrp_checksum_header4(f + 14, 5)), 0xffff);
		own = (uint32_t)(f[18] << 8 | f[19]);
		memset(f + 18, 0, 2);
		memset(f + 24, 0, 2);
	} else {
		/* A flow label is there, whoever made it. */
		assert_true((f[15] & 0x0f) | f[16] | f[17]);
		f[15] &= 0xf0;
		f[16] = f[17] = 0;
		own = 0;
		if (f[20] == IPPROTO_FRAGMENT) {
			memcpy(&own, f + 58, 4);
			memset(f + 58, 0, 4);
		}
	}
	if (first)
		*id = own;
	else
		assert_int_equal(own, *id);
}

static void dump(const char *who, const uint8_t *f, uint32_t len)
{
	fprintf(stderr, "%-6s", who);
	for (uint32_t i = 0; i < len && i < 96; i++)
		fprintf(stderr, "%02x%s", f[i], i % 16 == 15 ? " " : "");
	fprintf(stderr, " (%u)\n", len);
}

static void same_frames(struct frames *kernel, struct frames *ours, bool one_datagram)
{
	uint32_t kernel_id = 0, our_id = 0;

	assert_true(kernel->count > 0);
	if (kernel->count != ours->count)
		fprintf(stderr, "kernel %u frames, ours %u\n", kernel->count, ours->count);
	assert_int_equal(kernel->count, ours->count);
	for (uint32_t i = 0; i < kernel->count; i++) {
		normalise(kernel->bytes[i], &kernel_id, !i || !one_datagram);
		normalise(ours->bytes[i], &our_id, !i || !one_datagram);
		if (kernel->length[i] != ours->length[i] ||
		    memcmp(kernel->bytes[i], ours->bytes[i], kernel->length[i])) {
			fprintf(stderr, "frame %u of %u\n", i, kernel->count);
			dump("kernel", kernel->bytes[i], kernel->length[i]);
			dump("ours", ours->bytes[i], ours->length[i]);
			fail();
		}
	}
}

static void compare(const struct variant *v, uint32_t length)
{
	struct iovec whole = {pattern, length};
	struct iovec pieces[3] = {
		{pattern, length / 3},
		{pattern + length / 3, length / 7},
		{pattern + length / 3 + length / 7, length - length / 3 - length / 7}};
	struct lrp_udp_datagram d = datagram_of(v, &whole);
	int fd = v->family == AF_INET ? shadow4 : shadow6, sent, error;
	struct frames kernel, ours, scattered;
	struct lrp_tx_dest dest = {0};
	struct lrp_udp_datagram small = d;
	struct iovec tiny = {pattern, 1};

	kernel_options(fd, v);
	small.iov = &tiny;
	small.length = 1;
	tx_warm(&dest, &small, fd);
	capture_drop(capture);

	error = shadow_send(fd, &d);
	capture_take(capture, &kernel, error ? 2 : 100);
	do
		sent = tx_one(&dest, &d, 0);
	while (!sent && dest.state == 1); /* the datagram of the second that is the kernel's */
	if (error) {
		assert_int_equal(sent, error);
		assert_int_equal(kernel.count, 0);
		return;
	}
	assert_int_equal(sent, 1);
	capture_take(capture, &ours, 100);
	d.iov = pieces;
	d.iov_count = 3;
	do
		sent = tx_one(&dest, &d, 0);
	while (!sent && dest.state == 1);
	assert_int_equal(sent, 1);
	capture_take(capture, &scattered, 100);

	same_frames(&kernel, &ours, true);
	for (uint32_t i = 0, id; i < scattered.count; i++)
		normalise(scattered.bytes[i], &id, true);
	assert_int_equal(ours.count, scattered.count);
	for (uint32_t i = 0; i < ours.count; i++) {
		assert_int_equal(ours.length[i], scattered.length[i]);
		assert_memory_equal(ours.bytes[i], scattered.bytes[i], ours.length[i]);
	}
	frames_free(&kernel);
	frames_free(&ours);
	frames_free(&scattered);
}

static const uint32_t sizes[] = {0,	1,     2,     13,    14,    15,	   127,	 128,  129,  511,
				 512,	513,   1000,  1451,  1452,  1453,  1471, 1472, 1473, 1474,
				 1480,	2000,  2952,  2953,  4000,  8951,  8972, 8973, 9000, 16000,
				 30000, 60000, 65506, 65507, 65508, 65527, 65528};

static void all_sizes(void)
{
	static const struct variant plain[] = {
		{.family = AF_INET, .tos = 0, .ttl = -1},
		{.family = AF_INET6, .tos = 0, .ttl = -1},
		{.family = AF_INET, .tos = 0, .ttl = -1, .no_checksum = true},
		{.family = AF_INET, .tos = 0, .ttl = -1, .dont = true},
		{.family = AF_INET, .tos = 0, .ttl = -1, .dont_fragment = true},
		{.family = AF_INET6, .tos = 0, .ttl = -1, .dont_fragment = true},
	};

	for (size_t v = 0; v < sizeof(plain) / sizeof(plain[0]); v++)
		for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
			compare(&plain[v], sizes[s]);
}

static void test_sizes_mtu_1500(void **state)
{
	(void)state;
	all_sizes();
}

static void set_mtu(int mtu)
{
	char command[160];

	snprintf(command, sizeof(command),
		 "ip link set s0 mtu %d && ip -n client link set c0 mtu %d", mtu, mtu);
	bed_sh(command);
	epoch++;
	usleep(20000);
}

static void test_sizes_mtu_9000(void **state)
{
	(void)state;
	set_mtu(9000);
	all_sizes();
	set_mtu(1500);
}

static void test_sizes_odd_mtu(void **state)
{
	(void)state;
	set_mtu(1499);
	all_sizes();
	set_mtu(1500);
}

static void test_header_fields(void **state)
{
	static const int toses[] = {0, 0x10, 0x08, 0x1c, 0xb8, 0xff}, ttls[] = {1, 2, 64, 255};

	(void)state;
	for (int f = 0; f < 2; f++)
		for (size_t t = 0; t < sizeof(toses) / sizeof(toses[0]); t++)
			for (size_t l = 0; l < sizeof(ttls) / sizeof(ttls[0]); l++) {
				struct variant v = {.family = f ? AF_INET6 : AF_INET,
						    .tos = toses[t],
						    .ttl = ttls[l]};

				compare(&v, 14);
				compare(&v, 700);
				compare(&v, 3000);
			}
}

/* Default TTL and hop limit are the host's and the interface's. */
static void test_default_ttl(void **state)
{
	struct variant four = {.family = AF_INET, .ttl = -1}, six = {.family = AF_INET6, .ttl = -1};

	(void)state;
	bed_sh("sysctl -qw net.ipv4.ip_default_ttl=77 net.ipv6.conf.s0.hop_limit=78");
	epoch++;
	usleep(1100000);
	compare(&four, 14);
	compare(&six, 14);
	bed_sh("sysctl -qw net.ipv4.ip_default_ttl=64 net.ipv6.conf.s0.hop_limit=64");
	bed_sh("ip route add 198.18.1.2/32 dev s0 hoplimit 33");
	epoch++;
	usleep(1100000);
	compare(&four, 14);
	bed_sh("ip route del 198.18.1.2/32 dev s0");
	epoch++;
}

/* A route with a smaller MTU than its device, as path MTU discovery makes them. */
static void test_route_mtu(void **state)
{
	struct variant four = {.family = AF_INET, .ttl = -1};
	struct variant dont = {.family = AF_INET, .ttl = -1, .dont_fragment = true};

	(void)state;
	bed_sh("ip route add 198.18.1.2/32 dev s0 mtu 1300");
	epoch++;
	compare(&four, 1272);
	compare(&four, 1273);
	compare(&four, 5000);
	compare(&dont, 1272);
	compare(&dont, 1273);
	bed_sh("ip route del 198.18.1.2/32 dev s0");
	epoch++;
}

/* A sum of zero is sent as 0xffff [RFC 768]. */
static void test_zero_checksum(void **state)
{
	struct variant v = {.family = AF_INET, .ttl = -1};
	uint8_t kept[2] = {pattern[0], pattern[1]};
	uint32_t hits = 0;

	(void)state;
	for (uint32_t value = 0; value < 65536; value++) {
		struct lrp_udp_datagram d;
		struct iovec iov = {pattern, 2};
		uint64_t sum;

		pattern[0] = (uint8_t)(value >> 8);
		pattern[1] = (uint8_t)value;
		d = datagram_of(&v, &iov);
		sum = lrp_checksum_pseudo4(address(AF_INET, "198.18.1.1").v4, d.dst.v4, IPPROTO_UDP,
					   10);
		sum += (uint64_t)d.sport + d.dport + htons(10) + lrp_checksum_sum(pattern, 2);
		if (lrp_checksum_fold(sum) != 0xffff)
			continue;
		hits++;
		compare(&v, 2);
	}
	assert_true(hits >= 1);
	memcpy(pattern, kept, 2);
}

/* With checksums left to the device, larger datagrams are as the kernel hands them over. */
static void test_partial_checksums(void **state)
{
	struct variant four = {.family = AF_INET, .ttl = -1}, six = {.family = AF_INET6, .ttl = -1};

	(void)state;
	bed_sh("ethtool -K s0 tx on >/dev/null");
	compare(&four, 129);
	compare(&four, 1400);
	compare(&six, 129);
	compare(&six, 1400);
	bed_sh("ethtool -K s0 tx off >/dev/null");
}

static void batch_against_kernel(int family, uint32_t length, uint32_t last, uint32_t count,
				 bool expect_run)
{
	struct variant v = {.family = family, .ttl = -1};
	int fd = family == AF_INET ? shadow4 : shadow6, n, done = 0;
	struct iovec iov[100];
	struct lrp_udp_datagram d[100];
	struct lrp_tx_dest dest = {0}, *dests[100];
	struct frames kernel, ours;

	kernel_options(fd, &v);
	for (uint32_t i = 0; i < count; i++) {
		iov[i] = (struct iovec){pattern + 7 * i, i == count - 1 ? last : length};
		d[i] = datagram_of(&v, &iov[i]);
		dests[i] = &dest;
	}
	tx_warm(&dest, d, fd);
	assert_int_equal(dest.gso, expect_run);
	capture_drop(capture);
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(shadow_send(fd, &d[i]), 0);
	capture_take(capture, &kernel, 100);
	while (done < (int)count) {
		n = lrp_tx_send(dests, d + done, count - (uint32_t)done, 0);
		assert_true(n >= 0);
		if (!n && dest.state != 1) /* but for the one of the second */
			fail();
		done += n;
	}
	capture_take(capture, &ours, 100);
	assert_int_equal(kernel.count, count);
	same_frames(&kernel, &ours, false);
	frames_free(&kernel);
	frames_free(&ours);
}

static void batches(bool expect_run)
{
	static const uint32_t lengths[] = {1, 14, 37, 200, 512, 1000, 1452};

	for (int f = 0; f < 2; f++)
		for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
			int family = f ? AF_INET6 : AF_INET;

			batch_against_kernel(family, lengths[i], lengths[i], 64, expect_run);
			batch_against_kernel(family, lengths[i], (lengths[i] + 1) / 2, 64,
					     expect_run);
			batch_against_kernel(family, lengths[i],
					     lengths[i] + 1 > 1452 ? 0 : lengths[i] + 1, 100,
					     expect_run);
			batch_against_kernel(family, lengths[i], 0, 2, expect_run);
		}
}

/* Where the kernel cuts runs up before the device; every datagram is a frame of its own. */
static void test_batches_in_runs(void **state)
{
	(void)state;
	bed_sh("ethtool -K s0 tx-udp-segmentation off >/dev/null");
	epoch++;
	usleep(20000);
	batches(true);
}

/* Where veth would hand the whole piece to its peer, runs are not used. */
static void test_batches_without_runs(void **state)
{
	(void)state;
	bed_sh("ethtool -K s0 tx on tx-udp-segmentation on >/dev/null && ethtool -K s0 tx on "
	       ">/dev/null");
	epoch++;
	usleep(20000);
	/* A checksum of small datagrams is ours in single sends only: batches are compared whole. */
	batches(false);
	bed_sh("ethtool -K s0 tx off >/dev/null");
	epoch++;
}

static void test_reassembled_by_the_kernel(void **state)
{
	(void)state;
	for (int f = 0; f < 2; f++) {
		struct variant v = {.family = f ? AF_INET6 : AF_INET, .ttl = -1};
		int fd = f ? shadow6 : shadow4, size = 8 << 20;
		int receiver = socket_in("client", v.family, SOCK_DGRAM, 0);
		struct sockaddr_storage local;
		union lrp_address any = {0};
		struct lrp_tx_dest dest = {0};
		static uint8_t got[70000];

		setsockopt(receiver, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
		assert_int_equal(bind(receiver, (struct sockaddr *)&local,
				      sockaddr_of(&local, v.family, &any, DPORT)),
				 0);
		for (uint32_t length = 0; length <= 65507; length += length < 3000 ? 61 : 977) {
			uint32_t use = length + 977 > 65507 ? 65507 : length;
			struct iovec iov = {pattern, use};
			struct lrp_udp_datagram d = datagram_of(&v, &iov);
			struct pollfd p = {.fd = receiver, .events = POLLIN};
			int n;

			tx_warm(&dest, &d, fd);
			while (recv(receiver, got, sizeof(got), MSG_DONTWAIT) >= 0)
				;
			do
				n = tx_one(&dest, &d, 0);
			while (!n && dest.state == 1);
			assert_int_equal(n, 1);
			assert_int_equal(poll(&p, 1, 1000), 1);
			assert_int_equal(recv(receiver, got, sizeof(got), MSG_DONTWAIT), use);
			assert_memory_equal(got, pattern, use);
		}
		close(receiver);
	}
	capture_drop(capture);
}

static int setup(void **state)
{
	(void)state;
	bed_sh(BED_NET);
	/* Full checksums, as on a wire; no merging on the way. */
	bed_sh("ethtool -K s0 tx off >/dev/null");
	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(i * 31 + (i >> 8) * 17 + 5);
	capture = capture_open("client", "c0");
	shadow4 = shadow_open(AF_INET);
	shadow6 = shadow_open(AF_INET6);
	lrp_tx_epoch_from(&epoch);
	if (!lrp_tx_ready()) {
		fprintf(stderr, "no packet socket: CAP_NET_RAW is missing\n");
		exit(77);
	}
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes_mtu_1500),
		cmocka_unit_test(test_sizes_mtu_9000),
		cmocka_unit_test(test_sizes_odd_mtu),
		cmocka_unit_test(test_header_fields),
		cmocka_unit_test(test_default_ttl),
		cmocka_unit_test(test_route_mtu),
		cmocka_unit_test(test_zero_checksum),
		cmocka_unit_test(test_partial_checksums),
		cmocka_unit_test(test_batches_in_runs),
		cmocka_unit_test(test_batches_without_runs),
		cmocka_unit_test(test_reassembled_by_the_kernel),
	};

	(void)argc;
	bed_enter(argv);
	return cmocka_run_group_tests(tests, setup, NULL) ? 1 : 0;
}

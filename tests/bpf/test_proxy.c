/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Twin of bpf/proxy.h: which packets go on which proxy's channel, and when they pass by. */
#include "harness.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "../lib/bed.h"

#define PORT	     1000 /* of an LRP socket */
#define UDP_ENDPOINT 1
#define NAMED	     22

/* Endpoints of a kind: REST, FIRST. */
#define REST(kind)  (10 + 2 * LRP_PROXY_##kind)
#define FIRST(kind) (11 + 2 * LRP_PROXY_##kind)

#define ALL ((1u << LRP_PROXY_COUNT) - 1)

static struct lrp_proxies *proxies;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void beat(struct harness *h, uint64_t at_ns)
{
	for (uint32_t e = 10; e < 10 + 2 * LRP_PROXY_COUNT; e++)
		harness_user(h, 0, e)->beat_ns = at_ns;
}

static int setup(void **state)
{
	struct harness *h;

	harness_setup(state);
	h = *state;
	harness_any(h, 4, IPPROTO_UDP, PORT, UDP_ENDPOINT);
	proxies = mmap(NULL, sizeof(*proxies), PROT_READ | PROT_WRITE, MAP_SHARED,
		       harness_map(h, "lrp_proxies"), 0);
	assert_ptr_not_equal(proxies, MAP_FAILED);
	for (uint32_t k = 0; k < LRP_PROXY_COUNT; k++)
		for (uint32_t c = 0; c < LRP_PROXY_CLASSES; c++) {
			uint32_t endpoint = 10 + 2 * k + c;
			struct lrp_channel *channel = harness_channel(h, 0, endpoint);

			channel->limit = channel->guarantee = 1u << 20;
			proxies->endpoint[k][c] = endpoint;
		}
	proxies->on = ALL;
	proxies->port[NAMED / 64] = 1ull << NAMED;
	h->device->flags |= LRP_DEVICE_PROXIED;
	h->device->mtu = 1500;
	beat(h, now_ns());
	return 0;
}

static int teardown(void **state)
{
	munmap(proxies, sizeof(*proxies));
	return harness_teardown(state);
}

static void test_kinds(void **state)
{
	static const struct spec echo = {.proto = IPPROTO_ICMP, .icmp_type = 8};
	const struct table_case table[] = {
		{"an LRP socket's own", {.dport = PORT}, LRP_XDP_ENQUEUED, UDP_ENDPOINT, NULL},
		{"ARP to all",
		 {.ether_type = 0x0806, .mac = MAC_BROADCAST},
		 LRP_XDP_ENQUEUED,
		 REST(ARP),
		 NULL},
		{"ARP to us",
		 {.ether_type = 0x0806, .mac = MAC_OURS},
		 LRP_XDP_ENQUEUED,
		 FIRST(ARP),
		 NULL},
		{"RARP",
		 {.ether_type = 0x8035, .mac = MAC_OURS},
		 LRP_XDP_ENQUEUED,
		 FIRST(ARP),
		 NULL},
		{"echo request", echo, LRP_XDP_ENQUEUED, REST(ICMP), NULL},
		{"echo reply",
		 {.proto = IPPROTO_ICMP, .icmp_type = 0},
		 LRP_XDP_ENQUEUED,
		 FIRST(ICMP),
		 NULL},
		{"time exceeded, about nothing of LRP",
		 {.proto = IPPROTO_ICMP, .icmp_type = 11, .quoted = &echo},
		 LRP_XDP_ENQUEUED,
		 FIRST(ICMP),
		 NULL},
		{"neighbour solicitation",
		 {.family = 6, .proto = IPPROTO_ICMPV6, .icmp_type = 135},
		 LRP_XDP_ENQUEUED,
		 FIRST(ICMP),
		 NULL},
		{"echo request, IPv6",
		 {.family = 6, .proto = IPPROTO_ICMPV6, .icmp_type = 128},
		 LRP_XDP_ENQUEUED,
		 REST(ICMP),
		 NULL},
		{"foreign address",
		 {.dst = FOREIGN4, .dport = PORT},
		 LRP_XDP_ENQUEUED,
		 REST(FORWARD),
		 NULL},
		{"foreign address, ICMP",
		 {.proto = IPPROTO_ICMP, .icmp_type = 0, .dst = FOREIGN4},
		 LRP_XDP_ENQUEUED,
		 REST(FORWARD),
		 NULL},
		{"foreign address, IPv6",
		 {.family = 6, .dst = FOREIGN6, .dport = PORT},
		 LRP_XDP_ENQUEUED,
		 REST(FORWARD),
		 NULL},
		{"another station's frame, seen in promiscuous mode",
		 {.dst = FOREIGN4, .dport = PORT, .mac = MAC_OTHER},
		 LRP_XDP_ENQUEUED,
		 REST(HOST),
		 NULL},
		{"closed port", {.dport = 9}, LRP_XDP_ENQUEUED, REST(HOST), NULL},
		{"named port, TCP",
		 {.proto = IPPROTO_TCP, .dport = NAMED, .tcp_flags = 2},
		 LRP_XDP_ENQUEUED,
		 FIRST(HOST),
		 NULL},
		{"broadcast",
		 {.dst = OURS4_BROADCAST, .mac = MAC_BROADCAST, .dport = 67},
		 LRP_XDP_ENQUEUED,
		 REST(HOST),
		 NULL},
		{"another protocol", {.proto = 47}, LRP_XDP_ENQUEUED, REST(HOST), NULL},
		{"neither IP nor ARP", {.ether_type = 0x88cc}, LRP_XDP_ENQUEUED, REST(HOST), NULL},
	};

	harness_table(*state, table, sizeof(table) / sizeof(table[0]));
	assert_int_equal(proxies->direct[LRP_PROXY_HOST], 0);
}

static void expect_pass(struct harness *h, const char *what, const struct spec *spec,
			uint64_t direct)
{
	uint64_t before = proxies->direct[LRP_PROXY_HOST];

	harness_expect_spec(h, what, spec, LRP_XDP_PASS_PORT, ANY_ENDPOINT);
	assert_int_equal(proxies->direct[LRP_PROXY_HOST] - before, direct);
}

static void test_passed_by(void **state)
{
	struct harness *h = *state;
	const struct spec closed = {.dport = 9}, large = {.dport = 9, .payload = 1600};

	beat(h, now_ns() - LRP_PROXY_PATIENCE_NS - 50000000u);
	expect_pass(h, "no sign of life", &closed, 1);
	beat(h, now_ns());
	expect_pass(h, "more than the MTU", &large, 1);
	proxies->endpoint[LRP_PROXY_HOST][LRP_PROXY_REST] = 0;
	expect_pass(h, "nobody serves", &closed, 1);
	proxies->endpoint[LRP_PROXY_HOST][LRP_PROXY_REST] = REST(HOST);
	harness_expect_spec(h, "served again", &closed, LRP_XDP_ENQUEUED, REST(HOST));
	proxies->on = ALL & ~(1u << LRP_PROXY_HOST);
	expect_pass(h, "the kind is off", &closed, 0);
	proxies->on = 0;
	expect_pass(h, "all are off", &closed, 0);
	proxies->on = ALL;
	h->device->flags &= (uint16_t)~LRP_DEVICE_PROXIED;
	expect_pass(h, "a device that proxies do not serve", &closed, 0);
}

static void test_full(void **state)
{
	struct harness *h = *state;
	const struct spec closed = {.dport = 9};
	struct lrp_channel *channel = &h->channel[REST(HOST)];

	channel->limit = 2;
	harness_expect_spec(h, "first", &closed, LRP_XDP_ENQUEUED, REST(HOST));
	harness_expect_spec(h, "second", &closed, LRP_XDP_ENQUEUED, REST(HOST));
	/* Discarded early, not handed to the kernel. */
	harness_expect_spec(h, "third", &closed, LRP_XDP_DROP_FULL, REST(HOST));
	assert_int_equal(proxies->direct[LRP_PROXY_HOST], 0);
	/* What must not drown does not. */
	harness_expect_spec(h, "named", &(struct spec){.proto = IPPROTO_TCP, .dport = NAMED},
			    LRP_XDP_ENQUEUED, FIRST(HOST));
}

/* Where a checksum may be partial in a place that nobody finds. */
static void test_virtual(void **state)
{
	struct harness *h = *state;

	h->device->flags |= LRP_DEVICE_VIRTUAL;
	harness_expect_spec(h, "UDP", &(struct spec){.dport = 9}, LRP_XDP_ENQUEUED, REST(HOST));
	harness_expect_spec(h, "GRE", &(struct spec){.proto = 47}, LRP_XDP_PASS_PROTOCOL,
			    ANY_ENDPOINT);
	expect_pass(h, "VXLAN", &(struct spec){.dport = 4789}, 0);
	expect_pass(h, "VXLAN, Linux's first port", &(struct spec){.dport = 8472}, 0);
	expect_pass(h, "GENEVE", &(struct spec){.dport = 6081}, 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_kinds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_passed_by, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_virtual, setup, teardown),
	};

	(void)argc;
	bed_enter(argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

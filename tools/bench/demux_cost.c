/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * demux_cost.c - what demultiplexing and early discard cost, in nanoseconds a
 * packet, above a program that counts and drops.
 *
 *   demux_cost [--json] [--rounds N] [--repeat N] [--concurrent] [--sockets N]
 *
 * BPF_PROG_TEST_RUN runs a program over one packet many times on one CPU and
 * says how long a run took. Each case is measured once a round, with the drop
 * program directly before it; printed are the medians over the rounds and, as
 * spread, the distance between the quartiles of the difference. What this leaves out is
 * the same for both programs: the driver's work, and the first touch of the packet.
 *
 * Many sockets: TEST_RUN repeats one packet, and keeps what a program writes to
 * it. So bpf/vary.bpf.c runs first, puts a random one of N destination ports into the
 * packet and tail-calls the program; N = 1 goes exactly the same way. The control is
 * the drop program behind the same wrapper, with the same N.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/if_xdp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <lrp/abi.h>

#include "drop.skel.h"
#include "lrp_xdp.skel.h"
#include "vary.skel.h"

#define BASE_PORT    10000
#define SPECIAL_PORT 30000 /* bound, connected and so on */
#define LIMIT	     128u
#define MAX_ROUNDS   101

static struct lrp_xdp_bpf *xdp;
static struct drop_bpf *drop;
static struct vary_bpf *vary;
static struct lrp_channel *channels;
static struct lrp_port *ports;
static unsigned int rounds = 51, repeat = 20000, sockets = 4000;
static bool json, concurrent;

static void die(const char *what, int error)
{
	fprintf(stderr, "demux_cost: %s: %s\n", what, strerror(error < 0 ? -error : error));
	exit(error == -EPERM || error == EPERM ? 77 : 1);
}

static void *map_memory(struct bpf_map *map, size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);

	if (memory == MAP_FAILED)
		die(bpf_map__name(map), errno);
	return memory;
}

static void put(struct bpf_map *map, const void *key, const void *value)
{
	int rc = bpf_map_update_elem(bpf_map__fd(map), key, value, BPF_ANY);

	if (rc)
		die(bpf_map__name(map), rc);
}

/* ---- packets --------------------------------------------------------------- */

struct frame {
	uint8_t data[128];
	uint32_t len;
};

static void build4(struct frame *frame, uint8_t proto, const char *dst, uint16_t sport,
		   uint16_t dport)
{
	uint8_t *p = frame->data;

	memset(frame, 0, sizeof(*frame));
	p[0] = 2;
	p[5] = 1;
	p[12] = 0x08;
	p[14] = 0x45;
	p[17] = proto == IPPROTO_TCP ? 40 : 42; /* 14 bytes of payload */
	p[22] = 64;
	p[23] = proto;
	inet_pton(AF_INET, "198.18.1.2", p + 26);
	inet_pton(AF_INET, dst, p + 30);
	p[34] = sport >> 8;
	p[35] = sport & 0xff;
	p[36] = dport >> 8;
	p[37] = dport & 0xff;
	p[39] = 22;
	frame->len = 60;
}

static void build6(struct frame *frame, const char *dst, uint16_t sport, uint16_t dport)
{
	uint8_t *p = frame->data;

	memset(frame, 0, sizeof(*frame));
	p[0] = 2;
	p[5] = 1;
	p[12] = 0x86;
	p[13] = 0xdd;
	p[14] = 0x60;
	p[19] = 22;
	p[20] = IPPROTO_UDP;
	p[21] = 64;
	inet_pton(AF_INET6, "2001:db8:1::2", p + 22);
	inet_pton(AF_INET6, dst, p + 38);
	p[54] = sport >> 8;
	p[55] = sport & 0xff;
	p[56] = dport >> 8;
	p[57] = dport & 0xff;
	p[59] = 22;
	frame->len = 76;
}

/* ---- set-up ------------------------------------------------------------------ */

static void open_port(bool ipv6, bool tcp, uint16_t port, uint32_t endpoint, uint32_t flags)
{
	struct lrp_port *entry = &ports[LRP_PORT_INDEX(ipv6, tcp, port)];

	entry->target = endpoint;
	entry->flags = flags;
}

/* The channel of an endpoint: full, or never. */
static void open_channel(uint32_t endpoint, bool full)
{
	struct lrp_channel *channel = &channels[endpoint];

	channel->limit = full ? LIMIT : 0x7fffffff;
	channel->guarantee = channel->limit;
	channel->enqueued = full ? LIMIT : 0;
	channel->endpoint = endpoint;
	channel->user_page = endpoint / LRP_USER_PAGE_RECORDS;
	channel->user_slot = endpoint % LRP_USER_PAGE_RECORDS;
	channel->flags = LRP_CHANNEL_ACTIVE;
}

static void set_up(void)
{
	LIBBPF_OPTS(bpf_map_create_opts, page_opts, .map_flags = BPF_F_MMAPABLE);
	struct lrp_local unicast = {.kind = LRP_LOCAL_UNICAST};
	struct lrp_flow4 flow4 = {
		.lport = htons(SPECIAL_PORT + 1), .rport = htons(7), .proto = IPPROTO_UDP};
	struct lrp_flow6 flow6 = {
		.lport = htons(SPECIAL_PORT + 1), .rport = htons(7), .proto = IPPROTO_UDP};
	struct lrp_bind4 bind4 = {.port = htons(SPECIAL_PORT), .proto = IPPROTO_UDP};
	struct lrp_bind6 bind6 = {.port = htons(SPECIAL_PORT), .proto = IPPROTO_UDP};
	struct lrp_flow to = {.endpoint = 1};
	struct lrp_device *device;
	uint32_t endpoint;
	uint8_t address[16];
	int rc, fd, slots = 64;

	xdp = lrp_xdp_bpf__open();
	drop = drop_bpf__open_and_load();
	vary = vary_bpf__open_and_load();
	if (!xdp || !drop || !vary)
		die("loading the programs (needs root)", errno);
	xdp->rodata->lrp_concurrent = concurrent;
	rc = lrp_xdp_bpf__load(xdp);
	if (rc)
		die("loading lrp_xdp", rc);
	device = map_memory(xdp->maps.lrp_device, 4096);
	channels = map_memory(xdp->maps.lrp_channels, LRP_ENDPOINTS * sizeof(*channels));
	ports = map_memory(xdp->maps.lrp_ports, LRP_PORT_ENTRIES * sizeof(*ports));
	for (uint32_t page = 0; page <= sockets / LRP_USER_PAGE_RECORDS; page++) {
		fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "lrp_user_page", sizeof(uint32_t),
				    sizeof(struct lrp_user), LRP_USER_PAGE_RECORDS, &page_opts);
		if (fd < 0)
			die("user page", fd);
		put(xdp->maps.lrp_users, &page, &fd);
		close(fd);
	}

	memcpy(device->mac, (uint8_t[]){2, 0, 0, 0, 0, 1}, 6);
	device->ifindex = 42;
	device->endpoints = LRP_ENDPOINTS;
	device->queues = 1;
	device->frame_payload = 3500;
	device->addr4_count = 1;
	inet_pton(AF_INET, "198.18.1.1", &device->addr4[0]);
	inet_pton(AF_INET, "198.18.3.1", address);
	put(xdp->maps.lrp_local4, address, &unicast);
	inet_pton(AF_INET6, "2001:db8:1::1", address);
	put(xdp->maps.lrp_local6, address, &unicast);

	for (endpoint = 1; endpoint <= sockets; endpoint++) {
		open_port(false, false, BASE_PORT + endpoint - 1, endpoint, LRP_PORT_ANY);
		open_channel(endpoint, true);
	}
	endpoint = 1;
	open_port(true, false, BASE_PORT, 1, LRP_PORT_ANY);
	bind4.addr = device->addr4[0];
	memcpy(&bind6.addr, address, 16);
	open_port(false, false, SPECIAL_PORT, 0, LRP_PORT_BINDS);
	open_port(true, false, SPECIAL_PORT, 0, LRP_PORT_BINDS);
	put(xdp->maps.lrp_binds4, &bind4, &endpoint);
	put(xdp->maps.lrp_binds6, &bind6, &endpoint);
	flow4.laddr = device->addr4[0];
	inet_pton(AF_INET, "198.18.1.2", &flow4.raddr);
	memcpy(&flow6.laddr, address, 16);
	inet_pton(AF_INET6, "2001:db8:1::2", &flow6.raddr);
	open_port(false, false, SPECIAL_PORT + 1, 0, LRP_PORT_FLOWS);
	open_port(true, false, SPECIAL_PORT + 1, 0, LRP_PORT_FLOWS);
	put(xdp->maps.lrp_flows4, &flow4, &to);
	put(xdp->maps.lrp_flows6, &flow6, &to);
	/* what is accepted goes to an AF_XDP socket; TEST_RUN stops before it */
	fd = socket(AF_XDP, SOCK_RAW, 0);
	if (fd < 0 || setsockopt(fd, SOL_XDP, XDP_RX_RING, &slots, sizeof(slots)))
		die("AF_XDP socket", errno);
	endpoint = LRP_ENDPOINTS - 1;
	open_channel(endpoint, false);
	channels[endpoint].user_page = 0;
	channels[endpoint].user_slot = 0;
	open_port(false, false, SPECIAL_PORT + 2, endpoint, LRP_PORT_ANY);
	put(xdp->maps.lrp_xsks, &endpoint, &fd);
}

/*
 * TEST_RUN enters a program into the kernel's dispatcher of XDP programs and takes it out again,
 * at some 25 ms each, unless it is there already. So each is attached to a device of a network
 * namespace that ends with this process.
 */
static void settle_in(void)
{
	static const char *const device[] = {"lo", "d0", "d1"};
	int prog[] = {bpf_program__fd(xdp->progs.lrp_xdp), bpf_program__fd(drop->progs.lrp_drop),
		      bpf_program__fd(vary->progs.lrp_vary)};

	if (unshare(CLONE_NEWNET))
		die("a network namespace (needs root)", errno);
	if (system("ip link add d0 type veth peer name d1"))
		die("ip link add", EIO);
	for (int i = 0; i < 3; i++) {
		int rc = bpf_xdp_attach(if_nametoindex(device[i]), prog[i], XDP_FLAGS_SKB_MODE,
					NULL);

		if (rc)
			die("attaching", rc);
	}
	setpriority(PRIO_PROCESS, 0, -20); /* the machine may have other work */
}

/* ---- measuring ------------------------------------------------------------------ */

static double run(int prog, const struct frame *frame, uint32_t verdict)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame->data, .data_size_in = frame->len,
		    .repeat = repeat);
	int rc = bpf_prog_test_run_opts(prog, &opts);

	if (rc)
		die("BPF_PROG_TEST_RUN", rc);
	if (opts.retval != verdict) {
		fprintf(stderr, "demux_cost: verdict %u, expected %u\n", opts.retval, verdict);
		exit(1);
	}
	return opts.duration;
}

static int by_value(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

static double quantile(double *values, double q)
{
	qsort(values, rounds, sizeof(*values), by_value);
	return values[(unsigned int)(q * (rounds - 1) + 0.5)];
}

struct cost_case {
	const char *name, *text;
	uint32_t verdict;
	uint32_t many; /* through the wrapper that varies the port over so many; 0: directly */
	struct frame frame;
	double with[MAX_ROUNDS], above[MAX_ROUNDS];
	/* results */
	double ns, above_ns, spread_ns;
};

static struct cost_case cases[] = {
	{.name = "udp4_any", .text = "discard: UDP/IPv4, socket on the wildcard address"},
	{.name = "udp4_any_hashed", .text = "the same, destination not in the device's quick list"},
	{.name = "udp4_bound", .text = "discard: UDP/IPv4, socket bound to an address"},
	{.name = "udp4_connected", .text = "discard: UDP/IPv4, connected socket"},
	{.name = "udp6_any", .text = "discard: UDP/IPv6, socket on the wildcard address"},
	{.name = "udp6_bound", .text = "discard: UDP/IPv6, socket bound to an address"},
	{.name = "udp6_connected", .text = "discard: UDP/IPv6, connected socket"},
	{.name = "udp4_accept",
	 .text = "accept and redirect: UDP/IPv4, without AF_XDP's part",
	 .verdict = XDP_REDIRECT},
	{.name = "pass_port", .text = "pass: no LRP socket on the port", .verdict = XDP_PASS},
	{.name = "pass_tcp", .text = "pass: TCP, no LRP socket on the port", .verdict = XDP_PASS},
	{.name = "pass_address", .text = "pass: to be forwarded", .verdict = XDP_PASS},
	{.name = "sockets_1", .text = "discard, port chosen per packet among 1", .many = 1},
	{.name = "sockets_many", .text = "discard, port chosen per packet among all sockets"},
};
enum { ONE = sizeof(cases) / sizeof(cases[0]) - 2, MANY, CASES };

static void build_cases(void)
{
	build4(&cases[0].frame, IPPROTO_UDP, "198.18.1.1", 7, BASE_PORT);
	build4(&cases[1].frame, IPPROTO_UDP, "198.18.3.1", 7, BASE_PORT);
	build4(&cases[2].frame, IPPROTO_UDP, "198.18.1.1", 7, SPECIAL_PORT);
	build4(&cases[3].frame, IPPROTO_UDP, "198.18.1.1", 7, SPECIAL_PORT + 1);
	build6(&cases[4].frame, "2001:db8:1::1", 7, BASE_PORT);
	build6(&cases[5].frame, "2001:db8:1::1", 7, SPECIAL_PORT);
	build6(&cases[6].frame, "2001:db8:1::1", 7, SPECIAL_PORT + 1);
	build4(&cases[7].frame, IPPROTO_UDP, "198.18.1.1", 7, SPECIAL_PORT + 2);
	build4(&cases[8].frame, IPPROTO_UDP, "198.18.1.1", 7, 9);
	build4(&cases[9].frame, IPPROTO_TCP, "198.18.1.1", 7, 22);
	build4(&cases[10].frame, IPPROTO_UDP, "198.18.77.7", 7, BASE_PORT);
	build4(&cases[ONE].frame, IPPROTO_UDP, "198.18.1.1", 7, BASE_PORT);
	cases[MANY].frame = cases[ONE].frame;
	cases[MANY].many = sockets;
	for (int i = 0; i < CASES; i++)
		if (!cases[i].verdict)
			cases[i].verdict = XDP_DROP;
}

static void select_next(int prog)
{
	uint32_t zero = 0;

	put(vary->maps.vary_next, &zero, &prog);
}

static void measure(struct cost_case *c, unsigned int round)
{
	int lrp = bpf_program__fd(xdp->progs.lrp_xdp),
	    floor = bpf_program__fd(drop->progs.lrp_drop);
	int wrapper = bpf_program__fd(vary->progs.lrp_vary);
	double without;

	vary->data->vary_ports = c->many;
	if (c->many) {
		select_next(floor);
		without = run(wrapper, &c->frame, XDP_DROP);
		select_next(lrp);
		c->with[round] = run(wrapper, &c->frame, c->verdict);
	} else {
		without = run(floor, &c->frame, XDP_DROP);
		c->with[round] = run(lrp, &c->frame, c->verdict);
	}
	c->above[round] = c->with[round] - without;
}

static void report(struct cost_case *c)
{
	c->ns = quantile(c->with, 0.5);
	c->above_ns = quantile(c->above, 0.5);
	c->spread_ns = quantile(c->above, 0.75) - quantile(c->above, 0.25);
	if (json)
		printf("{\"experiment\":\"demux_cost\",\"case\":\"%s\",\"ns\":%.1f,\"above_drop_"
		       "ns\":%.1f,"
		       "\"spread_ns\":%.1f,\"repeats\":%u,\"concurrent\":%s}\n",
		       c->name, c->ns, c->above_ns, c->spread_ns, rounds,
		       concurrent ? "true" : "false");
	else
		printf("  %-52s %6.1f %8.1f %7.1f\n", c->text, c->ns, c->above_ns, c->spread_ns);
}

/* Rounds outside, cases inside: what disturbs the machine for a while disturbs all alike. */
static void measure_cases(void)
{
	build_cases();
	for (unsigned int round = 0; round < rounds; round++)
		for (int i = 0; i < CASES; i++)
			measure(&cases[i], round);
	for (int i = 0; i < CASES; i++)
		report(&cases[i]);
	if (json)
		printf("{\"experiment\":\"demux_cost\",\"case\":\"scale\",\"sockets\":%u,\"more_"
		       "ns\":%.1f,"
		       "\"ratio\":%.3f}\n",
		       sockets, cases[MANY].ns - cases[ONE].ns, cases[MANY].ns / cases[ONE].ns);
	else
		printf("  %u sockets against one: %.1f ns more, %.3f x (wrapper included in "
		       "both)\n",
		       sockets, cases[MANY].ns - cases[ONE].ns, cases[MANY].ns / cases[ONE].ns);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--json")) {
			json = true;
		} else if (!strcmp(argv[i], "--concurrent")) {
			concurrent = true;
		} else if (!strcmp(argv[i], "--rounds") && i + 1 < argc) {
			rounds = strtoul(argv[++i], NULL, 0);
		} else if (!strcmp(argv[i], "--repeat") && i + 1 < argc) {
			repeat = strtoul(argv[++i], NULL, 0);
		} else if (!strcmp(argv[i], "--sockets") && i + 1 < argc) {
			sockets = strtoul(argv[++i], NULL, 0);
		} else {
			fprintf(stderr, "usage: demux_cost [--json] [--concurrent] [--rounds N] "
					"[--repeat N] [--sockets N]\n");
			return 2;
		}
	}
	if (!rounds || rounds > MAX_ROUNDS || !repeat || !sockets || sockets > LRP_ENDPOINTS - 2) {
		fprintf(stderr, "demux_cost: 1 to %d rounds, 1 to %u sockets\n", MAX_ROUNDS,
			LRP_ENDPOINTS - 2);
		return 2;
	}
	set_up();
	settle_in();
	if (!json)
		printf("  %-52s %6s %8s %7s\n",
		       concurrent ? "counters atomic" : "counters plain (native mode)", "ns",
		       "- drop", "spread");
	measure_cases();
	lrp_xdp_bpf__destroy(xdp);
	drop_bpf__destroy(drop);
	vary_bpf__destroy(vary);
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "harness.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_xdp.h>
#include <linux/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lrp_xdp.skel.h"

#define PAGE 4096ul

static void *map_memory(struct bpf_map *map, size_t size)
{
	void *memory = mmap(NULL, (size + PAGE - 1) & ~(PAGE - 1), PROT_READ | PROT_WRITE,
			    MAP_SHARED, bpf_map__fd(map), 0);

	if (memory == MAP_FAILED)
		fail_msg("mmap of %s: %s", bpf_map__name(map), strerror(errno));
	return memory;
}

int harness_map(struct harness *h, const char *name)
{
	return bpf_object__find_map_fd_by_name(h->skel->obj, name);
}

static void put(struct bpf_map *map, const void *key, const void *value)
{
	int rc = bpf_map_update_elem(bpf_map__fd(map), key, value, BPF_ANY);

	if (rc)
		fail_msg("update of %s: %s", bpf_map__name(map), strerror(-rc));
}

static int address_of(const char *text, uint8_t out[16])
{
	if (inet_pton(AF_INET6, text, out) == 1)
		return 6;
	if (inet_pton(AF_INET, text, out) == 1)
		return 4;
	fail_msg("not an address: %s", text);
	return 0;
}

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
	return level == LIBBPF_WARN ? vfprintf(stderr, format, args) : 0;
}

/* An RX ring is all that the XSKMAP asks for. */
static int make_xsk(void)
{
	int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0), slots = 64;

	if (fd < 0 || setsockopt(fd, SOL_XDP, XDP_RX_RING, &slots, sizeof(slots)))
		fail_msg("AF_XDP socket: %s", strerror(errno));
	return fd;
}

static void make_page(struct harness *h)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE);
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "lrp_user_page", sizeof(__u32),
				sizeof(struct lrp_user), LRP_USER_PAGE_RECORDS, &opts);
	__u32 zero = 0;

	if (fd < 0)
		fail_msg("user page: %s", strerror(-fd));
	put(h->skel->maps.lrp_users, &zero, &fd);
	h->user = mmap(NULL, LRP_USER_PAGE_RECORDS * sizeof(struct lrp_user),
		       PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (h->user == MAP_FAILED)
		fail_msg("mmap of user page: %s", strerror(errno));
	close(fd);
}

void harness_open(struct harness *h, bool concurrent)
{
	struct lrp_xdp_bpf *skel;
	int rc;

	memset(h, 0, sizeof(*h));
	libbpf_set_print(quiet);
	h->skel = skel = lrp_xdp_bpf__open();
	if (!skel)
		fail_msg("open: %s", strerror(errno));
	skel->rodata->lrp_concurrent = concurrent;
	bpf_map__set_max_entries(skel->maps.lrp_channels, H_CHANNELS);
	bpf_map__set_max_entries(skel->maps.lrp_xsks, H_CHANNELS);
	bpf_map__set_max_entries(skel->maps.lrp_pools, H_QUEUES);
	rc = lrp_xdp_bpf__load(skel);
	if (rc)
		fail_msg("load: %s", strerror(-rc));
	h->prog = bpf_program__fd(skel->progs.lrp_xdp);
	h->cpus = libbpf_num_possible_cpus();
	h->xsk = make_xsk();
	h->device = map_memory(skel->maps.lrp_device, sizeof(*h->device));
	h->channel = map_memory(skel->maps.lrp_channels, H_CHANNELS * sizeof(*h->channel));
	h->pool = map_memory(skel->maps.lrp_pools, H_QUEUES * sizeof(*h->pool));
	h->port = map_memory(skel->maps.lrp_ports, LRP_PORT_ENTRIES * sizeof(*h->port));
	h->group = map_memory(skel->maps.lrp_groups, LRP_GROUPS * 264ul);
	h->orphans = map_memory(skel->maps.lrp_orphans, sizeof(*h->orphans));
	make_page(h);

	h->orphans->wanted[0] = h->orphans->wanted[1] = 1;
	memcpy(h->device->mac, mac_ours, 6);
	h->device->ifindex = H_IFINDEX;
	h->device->endpoints = H_ENDPOINTS;
	h->device->queues = H_QUEUES;
	h->device->frame_payload = H_PAYLOAD;
	h->device->addr4_count = 2;
	inet_pton(AF_INET, OURS4, &h->device->addr4[0]);
	inet_pton(AF_INET, OURS4_SECOND, &h->device->addr4[1]);
	h->device->vlans[0] = 1ull << 5;   /* VLAN 5 */
	h->device->vlans[63] = 1ull << 62; /* VLAN 4094 */
	harness_local(h, OURS4, LRP_LOCAL_UNICAST, 0);
	harness_local(h, OURS4_SECOND, LRP_LOCAL_UNICAST, 0);
	harness_local(h, OURS4_HASHED, LRP_LOCAL_UNICAST, 0);
	harness_local(h, OURS4_BROADCAST, LRP_LOCAL_BROADCAST, 0);
	harness_local(h, "127.0.0.1", LRP_LOCAL_UNICAST, 0);
	harness_local(h, "::1", LRP_LOCAL_UNICAST, 0);
	harness_local(h, OURS6, LRP_LOCAL_UNICAST, 0);
	harness_local(h, OURS6_LINK, LRP_LOCAL_UNICAST, H_IFINDEX);
	harness_channel(h, 0, LRP_ENDPOINT_FRAGMENT);
}

void harness_close(struct harness *h)
{
	munmap(h->device, PAGE);
	munmap(h->channel, H_CHANNELS * sizeof(*h->channel));
	munmap(h->pool, PAGE);
	munmap(h->port, LRP_PORT_ENTRIES * sizeof(*h->port));
	munmap(h->group, (LRP_GROUPS * 264ul + PAGE - 1) & ~(PAGE - 1));
	munmap(h->orphans, PAGE);
	munmap(h->user, LRP_USER_PAGE_RECORDS * sizeof(struct lrp_user));
	close(h->xsk);
	lrp_xdp_bpf__destroy(h->skel);
}

int harness_setup(void **state)
{
	struct harness *h = malloc(sizeof(*h));

	harness_open(h, true);
	*state = h;
	return 0;
}

int harness_teardown(void **state)
{
	harness_close(*state);
	free(*state);
	return 0;
}

struct lrp_user *harness_user(struct harness *h, uint32_t queue, uint32_t endpoint)
{
	return &h->user[queue * H_ENDPOINTS + endpoint];
}

struct lrp_channel *harness_channel(struct harness *h, uint32_t queue, uint32_t endpoint)
{
	__u32 id = queue * H_ENDPOINTS + endpoint;
	struct lrp_channel *channel = &h->channel[id];

	channel->limit = H_LIMIT;
	channel->guarantee = H_LIMIT;
	channel->owner = H_OWNER;
	channel->endpoint = endpoint;
	channel->user_page = 0;
	channel->user_slot = id;
	channel->flags = LRP_CHANNEL_ACTIVE;
	put(h->skel->maps.lrp_xsks, &id, &h->xsk);
	return channel;
}

void harness_no_socket(struct harness *h, uint32_t queue, uint32_t endpoint)
{
	__u32 id = queue * H_ENDPOINTS + endpoint;

	bpf_map_delete_elem(bpf_map__fd(h->skel->maps.lrp_xsks), &id);
}

static void open_target(struct harness *h, uint32_t target)
{
	if (!(target & LRP_TARGET_GROUP))
		harness_channel(h, 0, target);
}

static struct lrp_port *port_of(struct harness *h, int family, int proto, uint16_t port)
{
	return &h->port[LRP_PORT_INDEX(family == 6, proto == IPPROTO_TCP, port)];
}

void harness_any(struct harness *h, int family, int proto, uint16_t port, uint32_t target)
{
	struct lrp_port *entry = port_of(h, family, proto, port);

	entry->target = target;
	entry->flags |= LRP_PORT_ANY;
	open_target(h, target);
}

void harness_bind(struct harness *h, int proto, const char *addr, uint16_t port, uint32_t target)
{
	uint8_t bytes[16];
	int family = address_of(addr, bytes);

	if (!proto)
		proto = IPPROTO_UDP;
	port_of(h, family, proto, port)->flags |= LRP_PORT_BINDS;
	if (family == 4) {
		struct lrp_bind4 key = {.port = htons(port), .proto = proto};

		memcpy(&key.addr, bytes, 4);
		put(h->skel->maps.lrp_binds4, &key, &target);
	} else {
		struct lrp_bind6 key = {.port = htons(port), .proto = proto};

		memcpy(&key.addr, bytes, 16);
		put(h->skel->maps.lrp_binds6, &key, &target);
	}
	open_target(h, target);
}

void harness_end(struct harness *h, uint32_t index, uint32_t generation)
{
	struct lrp_end end = {.owner = H_OWNER, .generation = generation, .sockets = 1};

	put(h->skel->maps.lrp_ends, &index, &end);
	h->end = index;
	h->generation = generation;
}

void harness_kernel(struct harness *h, const char *laddr, uint16_t lport, const char *raddr,
		    uint16_t rport)
{
	uint8_t local[16], remote[16];
	int family = address_of(laddr, local);
	struct lrp_kernel seen = {.seen = 1};

	address_of(raddr, remote);
	port_of(h, family, IPPROTO_TCP, lport)->flags |= LRP_PORT_KERNEL;
	if (family == 4) {
		struct lrp_flow4 key = {
			.lport = htons(lport), .rport = htons(rport), .proto = IPPROTO_TCP};

		memcpy(&key.laddr, local, 4);
		memcpy(&key.raddr, remote, 4);
		put(h->skel->maps.lrp_kernel4, &key, &seen);
	} else {
		struct lrp_flow6 key = {
			.lport = htons(lport), .rport = htons(rport), .proto = IPPROTO_TCP};

		memcpy(&key.laddr, local, 16);
		memcpy(&key.raddr, remote, 16);
		put(h->skel->maps.lrp_kernel6, &key, &seen);
	}
}

void harness_flow(struct harness *h, int proto, const char *laddr, uint16_t lport,
		  const char *raddr, uint16_t rport, uint32_t endpoint)
{
	struct lrp_flow flow = {
		.endpoint = endpoint, .owner = H_OWNER, .end = h->end, .generation = h->generation};
	uint8_t local[16], remote[16];
	int family = address_of(laddr, local);

	address_of(raddr, remote);
	if (!proto)
		proto = IPPROTO_UDP;
	port_of(h, family, proto, lport)->flags |= LRP_PORT_FLOWS;
	if (family == 4) {
		struct lrp_flow4 key = {
			.lport = htons(lport), .rport = htons(rport), .proto = proto};

		memcpy(&key.laddr, local, 4);
		memcpy(&key.raddr, remote, 4);
		put(h->skel->maps.lrp_flows4, &key, &flow);
	} else {
		struct lrp_flow6 key = {
			.lport = htons(lport), .rport = htons(rport), .proto = proto};

		memcpy(&key.laddr, local, 16);
		memcpy(&key.raddr, remote, 16);
		put(h->skel->maps.lrp_flows6, &key, &flow);
	}
	harness_channel(h, 0, endpoint);
}

static void mapped(uint8_t out[16], const char *addr)
{
	uint8_t bytes[16];

	if (address_of(addr, bytes) == 6) {
		memcpy(out, bytes, 16);
		return;
	}
	memset(out, 0, 10);
	out[10] = out[11] = 0xff;
	memcpy(out + 12, bytes, 4);
}

void harness_member(struct harness *h, const char *group, uint16_t port, uint32_t ifindex,
		    uint32_t endpoint)
{
	struct lrp_membership key = {.port = htons(port), .proto = IPPROTO_UDP, .ifindex = ifindex};
	uint8_t bytes[16];

	mapped(key.group.byte, group);
	port_of(h, address_of(group, bytes), IPPROTO_UDP, port)->flags |= LRP_PORT_MULTICAST;
	put(h->skel->maps.lrp_memberships, &key, &endpoint);
	harness_channel(h, 0, endpoint);
}

void harness_local(struct harness *h, const char *addr, uint32_t kind, uint32_t ifindex)
{
	struct lrp_local local = {.kind = kind, .ifindex = ifindex};
	uint8_t bytes[16];

	if (address_of(addr, bytes) == 4)
		put(h->skel->maps.lrp_local4, bytes, &local);
	else
		put(h->skel->maps.lrp_local6, bytes, &local);
}

uint32_t harness_group(struct harness *h, uint32_t index, uint32_t count, const uint32_t *endpoints)
{
	/* an array's elements lie at multiples of 8 bytes */
	struct lrp_group *group = (void *)((char *)h->group + index * 264ul);

	group->count = count;
	for (uint32_t i = 0; i < count; i++) {
		group->endpoint[i] = endpoints[i];
		harness_channel(h, 0, endpoints[i]);
	}
	return LRP_TARGET_GROUP | index;
}

static void read_counts(struct harness *h, uint64_t count[LRP_XDP_REASON_COUNT])
{
	uint64_t *value = calloc(h->cpus, sizeof(*value));

	for (__u32 reason = 0; reason < LRP_XDP_REASON_COUNT; reason++) {
		count[reason] = 0;
		bpf_map_lookup_elem(bpf_map__fd(h->skel->maps.lrp_reasons), &reason, value);
		for (int cpu = 0; cpu < h->cpus; cpu++)
			count[reason] += value[cpu];
	}
	free(value);
}

uint64_t harness_count(struct harness *h, enum lrp_xdp_reason reason)
{
	uint64_t count[LRP_XDP_REASON_COUNT];

	read_counts(h, count);
	return count[reason];
}

uint64_t harness_count_all(struct harness *h)
{
	uint64_t count[LRP_XDP_REASON_COUNT], sum = 0;

	read_counts(h, count);
	for (int i = 0; i < LRP_XDP_REASON_COUNT; i++)
		sum += count[i];
	return sum;
}

const char *harness_reason(enum lrp_xdp_reason reason)
{
	static const char *const name[] = {
#define X(NAME, text, meaning) [LRP_XDP_##NAME] = #text,
		LRP_XDP_REASONS(X)
#undef X
	};

	return reason < LRP_XDP_REASON_COUNT ? name[reason] : "?";
}

static uint32_t verdict_of(enum lrp_xdp_reason reason)
{
	if (reason == LRP_XDP_ENQUEUED)
		return XDP_REDIRECT;
	return reason < LRP_XDP_DROP_FULL ? XDP_PASS : XDP_DROP;
}

enum lrp_xdp_reason harness_run(struct harness *h, const char *what, const struct packet *packet)
{
	uint64_t before[LRP_XDP_REASON_COUNT], after[LRP_XDP_REASON_COUNT];
	uint8_t out[PACKET_MAX + 256];
	struct xdp_md ctx_in = {
		.data_end = packet->len,
		.ingress_ifindex = h->ifindex,
		.rx_queue_index = h->queue,
	};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet->data, .data_size_in = packet->len,
		    .data_out = out, .data_size_out = sizeof(out), .repeat = 1);
	int rc, reason = -1;

	if (h->ifindex) {
		opts.ctx_in = &ctx_in;
		opts.ctx_size_in = sizeof(ctx_in);
	}
	read_counts(h, before);
	rc = bpf_prog_test_run_opts(h->prog, &opts);
	if (rc)
		fail_msg("%s: BPF_PROG_TEST_RUN of %u bytes: %s", what, packet->len, strerror(-rc));
	read_counts(h, after);
	for (int i = 0; i < LRP_XDP_REASON_COUNT; i++) {
		if (after[i] == before[i])
			continue;
		if (after[i] != before[i] + 1 || reason >= 0)
			fail_msg("%s: counted more than once (%s)", what, harness_reason(i));
		reason = i;
	}
	if (reason < 0)
		fail_msg("%s: counted under no reason", what);
	if (opts.retval != verdict_of(reason))
		fail_msg("%s: reason %s, but verdict %u", what, harness_reason(reason),
			 opts.retval);
	h->reason = reason;
	h->verdict = opts.retval;
	h->meta_len = opts.data_size_out - packet->len;
	if (h->meta_len == sizeof(h->meta))
		memcpy(&h->meta, out, sizeof(h->meta));
	if (opts.data_size_out < packet->len ||
	    memcmp(out + h->meta_len, packet->data, packet->len))
		fail_msg("%s: the packet was changed", what);
	return reason;
}

static void expect_channels(struct harness *h, const char *what, const struct lrp_channel *before,
			    const struct packet *packet, uint32_t endpoint)
{
	uint32_t id = h->queue * H_ENDPOINTS + endpoint;

	for (uint32_t i = 0; i < H_CHANNELS; i++) {
		struct lrp_channel want = before[i], got = h->channel[i];

		if (i == id) {
			switch (h->reason) {
			case LRP_XDP_ENQUEUED:
				want.enqueued += (packet->len + H_PAYLOAD - 1) / H_PAYLOAD;
				want.packets++;
				want.bytes += packet->len;
				break;
			case LRP_XDP_DROP_FULL:
				want.drop_full++;
				break;
			case LRP_XDP_DROP_SURPLUS:
				want.drop_surplus++;
				break;
			case LRP_XDP_DROP_CLOSED:
				want.drop_closed++;
				break;
			case LRP_XDP_DROP_BACKLOG:
				want.drop_backlog++;
				break;
			default:
				break;
			}
		}
		want.loan = got.loan; /* the discard tests look at loans */
		if (memcmp(&want, &got, sizeof(want)))
			fail_msg("%s: %s: counters of channel %u: enqueued %lld packets %lld bytes "
				 "%lld "
				 "full %lld surplus %lld closed %lld backlog %lld too many",
				 what, harness_reason(h->reason), i,
				 (long long)(got.enqueued - want.enqueued),
				 (long long)(got.packets - want.packets),
				 (long long)(got.bytes - want.bytes),
				 (long long)(got.drop_full - want.drop_full),
				 (long long)(got.drop_surplus - want.drop_surplus),
				 (long long)(got.drop_closed - want.drop_closed),
				 (long long)(got.drop_backlog - want.drop_backlog));
	}
}

void harness_expect(struct harness *h, const char *what, const struct packet *packet,
		    enum lrp_xdp_reason reason, uint32_t endpoint)
{
	struct lrp_channel *before = malloc(H_CHANNELS * sizeof(*before));

	memcpy(before, h->channel, H_CHANNELS * sizeof(*before));
	harness_run(h, what, packet);
	if (h->reason != reason)
		fail_msg("%s: %s, expected %s", what, harness_reason(h->reason),
			 harness_reason(reason));
	if (endpoint != ANY_ENDPOINT)
		expect_channels(h, what, before, packet, endpoint);
	free(before);
}

void harness_expect_spec(struct harness *h, const char *what, const struct spec *spec,
			 enum lrp_xdp_reason reason, uint32_t endpoint)
{
	struct packet packet;

	packet_build(&packet, spec);
	harness_expect(h, what, &packet, reason, endpoint);
}

void harness_table(struct harness *h, const struct table_case *table, size_t count)
{
	struct packet packet;

	for (size_t i = 0; i < count; i++) {
		packet_build(&packet, &table[i].spec);
		if (table[i].mutate)
			table[i].mutate(&packet);
		harness_expect(h, table[i].what, &packet, table[i].reason, table[i].endpoint);
	}
}

int64_t harness_fragment(struct harness *h, const struct packet *packet, int family,
			 uint8_t fragment_proto, uint32_t id)
{
	struct lrp_fragment_key key = {.proto = fragment_proto, .family = family};
	const uint8_t *ip = packet->data + packet->l3;
	struct lrp_fragment where;

	if (family == 4) {
		key.saddr.byte[10] = key.saddr.byte[11] = 0xff;
		key.daddr.byte[10] = key.daddr.byte[11] = 0xff;
		memcpy(&key.saddr.byte[12], ip + 12, 4);
		memcpy(&key.daddr.byte[12], ip + 16, 4);
		key.id = htons(id);
	} else {
		memcpy(&key.saddr, ip + 8, 16);
		memcpy(&key.daddr, ip + 24, 16);
		key.id = htonl(id);
	}
	if (bpf_map_lookup_elem(bpf_map__fd(h->skel->maps.lrp_fragments), &key, &where))
		return -1;
	return where.endpoint;
}
